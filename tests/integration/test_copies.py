# SPDX-License-Identifier: Apache-2.0
"""Snapshots that are copied in the background: told as not ready, through kills, and never in a pod's way."""
import hashlib
import os
import time

import pytest
from harness import MIB, Code, block_cap, csi, fails, of_snapshot, of_volume, wait_until

SIZE, DATA = 576 * MIB, 480  # MiB of data: more than a call copies
FRAGMENTED = {'maxExtents': '1', 'whenFragmented': 'copy'}


def write(v, mark):
    """Every second MiB first, so that the file below is in many pieces."""
    with open(v.target, 'r+b', buffering=0) as f:
        for start in (0, 1):
            for i in range(start, DATA, 2):
                f.seek(i * MIB)
                f.write(bytes([(mark + i) % 251]) * MIB)
            os.fsync(f.fileno())


def digest(v):
    with open(v.target, 'rb') as f:
        return hashlib.file_digest(f, 'sha256').hexdigest()


@pytest.fixture
def written(volume):
    """A volume with data that nobody uses, and what it has."""
    v = volume(cap=block_cap(), size=SIZE).up()
    write(v, 1)
    has = digest(v)
    v.unpublish().unstage()
    return v, has


def ready(driver, name, v):
    wait_until('the snapshot is ready', lambda: driver.calls.snapshot(name, v.id, parameters=FRAGMENTED).ready_to_use)


def get(driver, snapshot_id):
    return driver.calls.controller.GetSnapshot(csi.GetSnapshotRequest(snapshot_id=snapshot_id)).snapshot


def test_a_copy_survives_kills_and_is_told_until_it_is_ready(driver, volume, snapshot, written):
    v, has = written
    taken = snapshot(v, name='s', parameters=FRAGMENTED)
    assert not get(driver, taken).ready_to_use
    listed, = driver.calls.snapshots()
    assert (listed.snapshot_id, listed.ready_to_use) == (taken, False)
    with fails(Code.FAILED_PRECONDITION, 'not ready'):
        driver.calls.create('early', size=0, caps=[block_cap()], volume_content_source=of_snapshot(taken))
    for _ in range(3):
        driver.restart()
        time.sleep(1.1)  # that it has begun
    ready(driver, 's', v)
    v.stage().publish()
    write(v, 2)
    copy = volume(cap=block_cap(), size=0, volume_content_source=of_snapshot(taken)).up()
    assert digest(copy) == has
    assert digest(v) != has


def test_a_pod_does_not_wait_and_the_snapshot_is_of_its_moment(driver, volume, snapshot, written):
    v, has = written
    taken = snapshot(v, name='s', parameters=FRAGMENTED)
    began = time.monotonic()
    v.stage().publish()
    assert time.monotonic() - began < 5
    assert get(driver, taken).ready_to_use
    write(v, 2)
    v.unpublish().unstage()
    copy = volume(cap=block_cap(), size=0, volume_content_source=of_snapshot(taken)).up()
    assert digest(copy) == has


def test_the_volume_can_be_grown_or_deleted_meanwhile(driver, volume, snapshot, written):
    v, has = written
    taken = snapshot(v, name='s', parameters=FRAGMENTED)
    driver.calls.expand(v.id, SIZE + 64 * MIB)
    assert get(driver, taken).ready_to_use
    driver.calls.delete_snapshot(taken)
    taken = snapshot(v, name='t', parameters=FRAGMENTED)
    assert not get(driver, taken).ready_to_use
    v.delete()
    assert get(driver, taken).ready_to_use
    copy = volume(cap=block_cap(), size=0, volume_content_source=of_snapshot(taken)).up()
    with open(copy.target, 'rb') as f:
        assert hashlib.sha256(f.read(SIZE)).hexdigest() == has


def test_a_copy_is_deleted_while_it_is_made(driver, pool, snapshot, written):
    v, _ = written
    before = pool.available()
    taken = snapshot(v, name='s', parameters=FRAGMENTED)
    time.sleep(1.3)
    driver.calls.delete_snapshot(taken)
    assert driver.calls.snapshots() == []
    assert pool.snapshots() == []
    wait_until('its room is there again', lambda: pool.available() >= before - 16 * MIB)
    clone = driver.calls.create('c', size=0, caps=[block_cap()], volume_content_source=of_volume(v.id))
    driver.calls.delete(clone.volume_id)
