# SPDX-License-Identifier: Apache-2.0
"""The whole life of volumes on each filesystem that a pool can lie on."""
import subprocess
import time

import harness
import pytest
from harness import CLEAT, GIB, MIB, Code, block_cap, csi, fails, mount_cap, of_snapshot, of_volume, sh, wait_until

FREEZE = {'freeze': 'true'}


@pytest.fixture(params=['xfs', 'btrfs', 'ext4'])
def medium(request):
    return request.param


@pytest.fixture
def pool(work, medium):
    p = harness.Pool(work, size=4 * GIB, fs=medium)
    yield p
    left = p.loops()
    assert not left, f'loop devices left behind: {left}'
    assert (p.files(), p.snapshots()) == ([], [])
    p.unmount()


def read(v):
    return (v.target / 'file').read_text()


def snapshot_in_use(driver, medium, v, name):
    """Of a mounted volume: where nothing can be shared it has to be frozen."""
    if medium == 'ext4':
        with fails(Code.FAILED_PRECONDITION, 'cannot share blocks'):
            driver.calls.snapshot(name, v.id)
        return driver.calls.snapshot(name, v.id, parameters=FREEZE)
    return driver.calls.snapshot(name, v.id)


@pytest.mark.parametrize('fs', ['ext4', 'xfs'])
def test_the_whole_life(driver, medium, volume, fs):
    cap, size = mount_cap(fs), 320 * MIB
    v = volume(cap=cap, size=size).up()
    (v.target / 'file').write_text('then')
    taken = snapshot_in_use(driver, medium, v, 's').snapshot_id
    (v.target / 'file').write_text('later')
    of_s = volume(cap=cap, size=0, volume_content_source=of_snapshot(taken)).up()
    assert read(of_s) == 'then'
    of_v = volume(cap=cap, size=size + 64 * MIB, volume_content_source=of_volume(v.id)).up()
    assert read(of_v) == 'later'
    v.unpublish().unstage()
    driver.calls.expand(v.id, size + 64 * MIB)
    v.stage().publish()
    driver.calls.node_expand(v.id, v.target)
    assert read(v) == 'later'
    second = driver.calls.snapshot('t', v.id, parameters=FREEZE)
    assert second.size_bytes == size + 64 * MIB
    driver.restart()
    assert read(v) == 'later'
    of_v.unpublish().unstage()
    for snapshot_id in (taken, second.snapshot_id):
        driver.calls.delete_snapshot(snapshot_id)
    assert (read(v), read(of_s)) == ('later', 'then')


def test_raw_block_and_changed_blocks(driver, medium, volume, snapshot):
    cap = block_cap()
    v = volume(cap=cap, size=64 * MIB).up()

    def write(place, text):
        with open(v.target, 'r+b', buffering=0) as f:
            f.seek(place)
            f.write(text.ljust(4096, b'\0'))

    write(MIB, b'one')
    v.unpublish().unstage()
    base = snapshot(v)
    v.stage().publish()
    write(8 * MIB, b'two')
    v.unpublish().unstage()
    target = snapshot(v)
    said = [(r.byte_offset, r.size_bytes) for m in driver.calls.metadata.GetMetadataDelta(csi.GetMetadataDeltaRequest(
        base_snapshot_id=base, target_snapshot_id=target), timeout=40) for r in m.block_metadata]
    changed = [(8 * MIB, 4096)]
    # where nothing is shared all that is allocated in either is told
    assert said == (changed if medium != 'ext4' else [(MIB, 4096), *changed])


def test_groups_where_blocks_are_shared(driver, medium, volume):
    v = volume(cap=mount_cap('ext4'), size=64 * MIB).up()
    w = volume(cap=mount_cap('ext4'), size=64 * MIB).create()
    if medium == 'ext4':
        with fails(Code.FAILED_PRECONDITION, 'cannot make snapshots of a group'):
            driver.calls.group('g', [v.id, w.id])
        return
    group = driver.calls.group('g', [v.id, w.id])
    assert len(group.snapshots) == 2
    driver.calls.delete_group(group.group_snapshot_id, [s.snapshot_id for s in group.snapshots])


def test_says_what_it_lies_on(driver, medium, pool):
    said = sh(CLEAT, 'ctl', 'info', f'--endpoint=unix://{driver.socket}')
    assert f': {medium}' in said
    assert ('snapshots: full copies' in said) == (medium == 'ext4')
    said = sh(CLEAT, 'ctl', 'pool', 'status', pool.dir)
    assert f'lies on    {medium}' in said
    done = subprocess.run([CLEAT, 'ctl', 'doctor', f'--pool={pool.dir}'], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize('medium', ['ext4'])
def test_what_is_copied_goes_on_from_call_to_call(driver, volume, snapshot):
    cap = block_cap()
    v = volume(cap=cap, size=800 * MIB).up()
    with open(v.target, 'r+b', buffering=0) as f:
        for i in range(800):
            f.write(bytes([i % 251]) * MIB)
    v.unpublish().unstage()
    taken = snapshot(v, name='s')
    wait_until('the snapshot is ready', lambda: driver.calls.snapshot('s', v.id).ready_to_use)
    made, end = None, time.monotonic() + 120
    while not made:
        try:
            made = driver.calls.create('c', size=0, caps=[cap], timeout=1.5, volume_content_source=of_snapshot(taken))
        except harness.grpc.RpcError as e:
            assert e.code() in (Code.ABORTED, Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE), e
            assert time.monotonic() < end
            time.sleep(0.1)
    sh('cmp', next(driver.pool.dir.glob('pvc-*')), driver.pool.dir / 'c')
    driver.calls.delete(made.volume_id)


def test_a_thick_volume_is_overwritten_in_a_full_pool(driver, pool, volume):
    v = volume(cap=block_cap(), size=256 * MIB).up()
    with open(pool.dir / 'filler', 'wb') as f, pytest.raises(OSError, match='No space'):
        while True:
            f.write(bytes(8 * MIB))
    (pool.dir / 'filler').chmod(0o600)
    for mark in (b'1', b'2', b'3'):
        sh('dd', f'of={v.target}', 'if=/dev/zero', 'bs=4M', 'count=64', 'oflag=direct', 'conv=notrunc,fsync')
        with open(v.target, 'r+b', buffering=0) as f:
            f.write(mark * 4096)
    (pool.dir / 'filler').unlink()


@pytest.mark.parametrize('medium', ['btrfs'])
def test_btrfs_is_asked_for_no_copy_on_write_and_what_is_made_of_a_volume_is_as_that(driver, pool, volume, snapshot):
    def has_attribute(path):
        return 'C' in sh('lsattr', '-d', path).split()[0]

    cap = block_cap()
    v = volume(cap=cap, size=64 * MIB).create()
    assert has_attribute(pool.dir)
    assert has_attribute(pool.dir / v.name)
    sh('chattr', '-C', pool.dir)
    w = volume(cap=cap, size=64 * MIB).create()
    assert not has_attribute(pool.dir / w.name)
    for one, has in ((v, True), (w, False)):
        taken = snapshot(one)
        for source in (of_snapshot(taken), of_volume(one.id)):
            made = volume(cap=cap, size=0, volume_content_source=source).up()
            assert has_attribute(pool.dir / made.name) == has
    driver.restart()
    assert 'copy-on-write' in driver.process.text()
