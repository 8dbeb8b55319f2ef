# SPDX-License-Identifier: Apache-2.0
"""Thin volumes through the whole program: what they take, what they give back, what a full pool does to them and to others."""
import fcntl
import os
import struct

import pytest
from harness import GIB, MIB, Code, Driver, Volume, csi, fails, in_threads, mount_cap, of_snapshot, of_volume, wait_until
from test_doctor import ctl, status
from test_endpoint import free_port
from test_health import health, metric, node_health, storage

THIN = {'provisioning': 'thin'}
FITRIM = 0xc0185879


def xfs(*flags):
    return mount_cap('xfs', flags=flags)


def thin(driver, work, size=400 * MIB, flags=(), **words):
    return Volume(driver, work, cap=xfs(*flags), size=size, parameters=THIN, **words)


def capacity(driver):
    told = driver.calls.controller.GetCapacity(csi.GetCapacityRequest(
        parameters={**THIN, 'csi.storage.k8s.io/fstype': 'xfs'}))
    return told.available_capacity, told.maximum_volume_size.value


def write(path, size):
    with open(path, 'wb', buffering=0) as f:
        for _ in range(0, size, MIB):
            f.write(b'x' * MIB)
        os.fsync(f.fileno())


def remove(path):
    os.truncate(path, 0)
    os.unlink(path)
    os.sync()


def trim(directory):
    fd = os.open(directory, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, FITRIM, struct.pack('<QQQ', 0, (1 << 64) - 1, 0))
    finally:
        os.close(fd)


@pytest.mark.parametrize('flags', [(), ('discard',)], ids=['fstrim', 'discard'])
def test_room_is_taken_by_writing_and_given_back_by_discard(driver, pool, work, flags):
    before = status(pool)
    v = thin(driver, work, size=4 * GIB, flags=flags).up()    # the pool has 3
    born = status(pool)
    assert (born['thin_volumes'], born['thin_bytes']) == (before['thin_volumes'] + 1, before['thin_bytes'] + 4 * GIB)
    assert 60 * MIB < before['free_bytes'] - born['free_bytes'] < 80 * MIB    # the log of its xfs
    write(v.target / 'a', 200 * MIB)
    assert status(pool)['free_bytes'] < born['free_bytes'] - 195 * MIB
    assert status(pool)['thin_used_bytes'] > born['thin_used_bytes'] + 195 * MIB
    driver.kill()
    driver.start()
    assert status(pool)['thin_bytes'] == born['thin_bytes']
    remove(v.target / 'a')
    if flags:
        wait_until('it is given back', lambda: status(pool)['free_bytes'] > born['free_bytes'] - 10 * MIB)
    else:
        assert status(pool)['free_bytes'] < born['free_bytes'] - 195 * MIB
        trim(v.target)
    assert status(pool)['free_bytes'] > born['free_bytes'] - 10 * MIB
    v.down()
    assert status(pool)['thin_bytes'] == before['thin_bytes']


def test_what_getcapacity_tells_is_what_can_be_made(own_pool, work):
    d = Driver(work, own_pool, '--pool-overcommit=1.5').start()
    try:
        room, most = capacity(d)
        assert room == most > d.calls.controller.GetCapacity(csi.GetCapacityRequest()).available_capacity
        with fails(Code.RESOURCE_EXHAUSTED, '1.5 times', '--pool-overcommit'):
            thin(d, work, size=most + 4096).create()
        half = most // 2 // 4096 * 4096
        v = thin(d, work, size=half).create()
        room, most = capacity(d)
        w = thin(d, work, size=most).create()
        assert capacity(d)[0] < MIB
        with fails(Code.OUT_OF_RANGE, 'are free'):
            d.calls.expand(v.id, GIB * 2)
        w.delete()
        d.calls.expand(v.id, half + 256 * MIB)
        v.delete()
        d.stop()
    finally:
        d.end()


def test_a_pool_that_thin_volumes_fill(own_pool, work):
    """Told at 80 and 90 %, refused from 90 on, ENOSPC at the end; a thick volume beside it has what it was promised; room helps."""
    port = free_port()
    d = Driver(work, own_pool, f'--http-endpoint=127.0.0.1:{port}', '--pool-overcommit=3').start()
    try:
        thick = Volume(d, work, size=64 * MIB).up()
        v = thin(d, work, size=1200 * MIB).up()
        assert health(v) == {}
        usable = status(own_pool)['total_bytes'] - status(own_pool)['kept_bytes']
        n = 0
        while status(own_pool)['percent'] < 82:
            write(v.target / f'f{n}', 16 * MIB)
            n += 1
        assert list(health(v)) == list(storage(d)) == ['PoolNearlyFull']
        other = thin(d, work, size=300 * MIB).create()
        while status(own_pool)['percent'] < 91:
            write(v.target / f'f{n}', 16 * MIB)
            n += 1
        assert list(health(v)) == list(storage(d)) == ['PoolAlmostFull']
        assert health(thick) == health(other) == {}
        assert capacity(d)[0] == 0
        for words in ({}, {'volume_content_source': of_volume(v.id)}):
            with fails(Code.RESOURCE_EXHAUSTED, "'default'", '% full', 'fstrim'):
                thin(d, work, size=1200 * MIB, **words).create()
        with fails(Code.RESOURCE_EXHAUSTED, '% full'):
            d.calls.expand(v.id, 1300 * MIB)
        d.calls.create(other.name, caps=[other.cap], size=300 * MIB, parameters=THIN)    # it is there
        with pytest.raises(OSError, match='No space left|Input/output'):
            write(v.target / 'all', usable)
        assert status(own_pool)['overdrawn_bytes'] > 0
        assert 'PoolOverdrawn' in storage(d)
        d.restart()    # in a pool without a byte; a look comes first, then one each minute
        wait_until('the metrics are there', lambda: metric(port, 'cleat_volume_conditions', condition='pool_almost_full') == 1)
        assert metric(port, 'cleat_pool_overdrawn_bytes', pool='default') > 0
        assert metric(port, 'cleat_pool_thin_provisioned_bytes', pool='default') == 1500 * MIB
        assert metric(port, 'cleat_pool_overcommit_ratio', pool='default') == 3
        write(thick.target / 'mine', 40 * MIB)    # promised, and there
        for name in os.listdir(v.target):
            remove(v.target / name)
        trim(v.target)
        wait_until('the pool has its room again', lambda: not node_health(v))    # XFS frees in the background
        assert health(v) == storage(d) == {}
        write(v.target / 'again', 50 * MIB)
        for one in (v, thick):
            one.down()
        other.delete()
        d.stop()
    finally:
        d.end()


def test_copies_of_thin_volumes_are_what_their_class_says(driver, pool, work):
    v = thin(driver, work).up()
    (v.target / 'data').write_bytes(os.urandom(8 * MIB))
    snapshot = driver.calls.snapshot('s', v.id)
    copies = [Volume(driver, work, cap=xfs(), size=400 * MIB, parameters=parameters, volume_content_source=source)
              for source in (of_snapshot(snapshot.snapshot_id), of_volume(v.id)) for parameters in (THIN, {})]
    try:
        for copy in copies:
            free = status(pool)['free_bytes']
            copy.up()
            assert (copy.target / 'data').read_bytes() == (v.target / 'data').read_bytes()
            taken = free - status(pool)['free_bytes']
            assert taken < 30 * MIB if copy.create_words['parameters'] else taken > 300 * MIB
        driver.calls.expand(copies[0].id, 600 * MIB)
        driver.calls.node_expand(copies[0].id, copies[0].target)
        assert os.statvfs(copies[0].target).f_blocks * 4096 > 500 * MIB
        with fails(Code.ALREADY_EXISTS, 'thin'):
            driver.calls.create(v.name, caps=[v.cap], size=400 * MIB)
    finally:
        in_threads(*[copy.down for copy in copies])
    driver.calls.delete_snapshot(snapshot.snapshot_id)
    v.down()


def test_the_operator_sees_what_is_promised(driver, pool, work):
    v = thin(driver, work, size=2 * GIB).create()
    text = ctl('pool', 'status', pool.dir).stdout
    assert '1 of them, promised 2' in text and '--pool-overcommit=2' in text
    assert b'\nprovisioning=thin\n' in os.getxattr(pool.dir / v.name, 'user.cleat.volume')
    assert status(pool, '--pool-overcommit=1')['thin_available_bytes'] < status(pool)['thin_available_bytes']
    v.delete()
