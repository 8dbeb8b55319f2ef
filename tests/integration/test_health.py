# SPDX-License-Identifier: Apache-2.0
"""Stats and health of volumes and pools: what is broken here is broken for real, and is told as long as it is so."""
import contextlib
import ctypes
import fcntl
import json
import os
import re
import struct
import subprocess

import pytest
from harness import (GIB, MIB, PATIENCE, Code, Driver, Mode, Pool, Volume, block_cap, csi, fails, loops_below, mount_cap,
                     sh, wait_until)
from test_condition import break_ext4
from test_endpoint import free_port
from test_process import ctl, get

DEGRADED, INACCESSIBLE, DATA_LOSS = csi.DEGRADED, csi.INACCESSIBLE, csi.DATA_LOSS
LOOP_SET_DIRECT_IO = 0x4C08
XFS_IOC_GOINGDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2
XFS = mount_cap('xfs')


def node_health(v, **paths):
    reply = v.calls.node.NodeGetVolumeHealth(csi.NodeGetVolumeHealthRequest(volume_id=v.id, **paths), timeout=PATIENCE)
    assert reply.volume_health.volume_id == v.id
    return {e.reason: e for e in reply.volume_health.health_statuses}


def health(v):
    """By the node and by the controller, which have to agree."""
    found = node_health(v)
    got = v.calls.controller.ControllerGetVolumeHealth(csi.ControllerGetVolumeHealthRequest(volume_id=v.id), timeout=PATIENCE)
    assert [e.reason for e in got.volume_health.health_statuses] == list(found)
    listed = [e for e in unhealthy(v.calls) if e.volume_id == v.id]
    assert [e.reason for e in (listed[0].health_statuses if listed else ())] == list(found)
    return found


def unhealthy(calls, **request):
    return calls.controller.ControllerListVolumeHealth(csi.ControllerListVolumeHealthRequest(**request),
                                                       timeout=PATIENCE).entries


def storage(d):
    reply = d.calls.node.NodeGetStorageHealth(csi.NodeGetStorageHealthRequest(), timeout=PATIENCE)
    assert not any(e.HasField('volume_capability') for e in reply.backend_health)
    return {e.reason: e for e in reply.backend_health}


def only(found, reason, status, *texts):
    assert list(found) == [reason], found
    assert found[reason].status == status
    for text in texts:
        assert str(text) in found[reason].message, found[reason].message
    return True


def set_direct(device, on):
    with open(device, 'rb') as f:
        fcntl.ioctl(f, LOOP_SET_DIRECT_IO, on)


def shut_down(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, XFS_IOC_GOINGDOWN, struct.pack('I', NO_LOG_FLUSH))
    finally:
        os.close(fd)


def metric(port, name, **labels):
    text = get(port, '/metrics')[1]
    words = ','.join(f'{k}="{v}"' for k, v in labels.items())
    found = re.search(rf'^{name}{re.escape("{" + words + "}") if words else ""} (\S+)$', text, re.M)
    return float(found[1]) if found else None


def test_all_is_well(volume, driver):
    for cap in (mount_cap(), block_cap()):
        v = volume(cap=cap).create()
        assert health(v) == {}
        v.stage()
        assert health(v) == {}
        v.publish()
        assert health(v) == {}
        assert node_health(v, staging_target_path=str(v.staging), volume_publish_path=str(v.target)) == {}
        assert node_health(v, staging_target_path='/nowhere', volume_publish_path='/nowhere/else') == {}
    assert storage(driver) == {}
    with fails(Code.NOT_FOUND):
        driver.calls.node.NodeGetVolumeHealth(csi.NodeGetVolumeHealthRequest(volume_id='nothing'))


@pytest.mark.parametrize('cap', [mount_cap(), block_cap()], ids=['mount', 'block'])
def test_a_file_that_somebody_removed(driver, pool, work, cap):
    """Its bytes live on in the device, which is found and named; also by the next process; and nothing else is touched."""
    v, other = Volume(driver, work, cap=cap).up(), Volume(driver, work, cap=cap).up()
    (device, _), = [(d, f) for d, f in pool.loops().items() if f.endswith(v.name)]
    (pool.dir / v.name).unlink()
    for _ in range(2):
        only(health(v), 'BackingFileMissing', DEGRADED, device, 'copy')
        assert health(other) == {}
        only(storage(driver), 'BackingFilesMissing', csi.STORAGE_DEGRADED, device, v.name)
        assert [e.volume_id for e in unhealthy(driver.calls)] == [v.id]
        driver.restart()
    v.unpublish().unstage()
    with fails(Code.NOT_FOUND):
        node_health(v)
    assert storage(driver) == {} and list(pool.loops().values()) == [str(pool.dir / other.name)]
    v.delete()
    other.down()


def test_a_file_that_was_put_back_under_its_name_is_not_the_device_s(driver, pool, work):
    v = Volume(driver, work).up()
    sh('cp', '--preserve=xattr', '--sparse=always', pool.dir / v.name, pool.dir / 'copy')
    (pool.dir / v.name).unlink()
    (pool.dir / 'copy').rename(pool.dir / v.name)
    only(health(v), 'BackingFileMissing', DEGRADED)
    v.unpublish().unstage()
    assert health(v) == {}
    v.stage().publish().down()


def test_direct_io_that_was_turned_off(volume, pool):
    v = volume().create().stage().publish()
    (device, _), = pool.loops().items()
    set_direct(device, 0)
    only(health(v), 'DirectIOLost', DEGRADED, device, 'losetup --direct-io=on')
    sh('losetup', '--direct-io=on', device)  # as the message says
    assert health(v) == {}


def test_a_volume_that_may_be_buffered_is_well_without_direct_io(volume, pool):
    v = volume(parameters={'directIO': 'preferred'}).create().stage()
    (device, _), = pool.loops().items()
    set_direct(device, 0)
    assert health(v) == {}


def test_an_ext4_that_went_read_only(volume, pool):
    v = volume(cap=mount_cap(flags=['errors=remount-ro'])).create().stage().publish()
    break_ext4(v, pool)
    only(health(v), 'FilesystemReadOnly', DEGRADED, v.target.parent.parent, ' since 20', v.id, 'cleat ctl volume check')
    v.calls.stats(v.id, v.target)
    v.unpublish().unstage()
    subprocess.run(['e2fsck', '-fy', pool.dir / v.name], check=False, capture_output=True)
    v.stage().publish()
    assert health(v) == {}


def test_an_ext4_that_counted_an_error_and_went_on(volume, pool):
    v = volume(cap=mount_cap(flags=['errors=continue'])).create().stage().publish()
    break_ext4(v, pool)
    only(health(v), 'FilesystemErrors', DEGRADED, '1 errors since 20', v.id, 'cleat ctl volume check')
    v.unpublish().unstage()
    subprocess.run(['e2fsck', '-fy', pool.dir / v.name], check=False, capture_output=True)
    v.stage()
    assert health(v) == {}


@pytest.mark.parametrize('cap', [mount_cap(), XFS], ids=['ext4', 'xfs'])
def test_a_filesystem_that_somebody_remounted_read_only(volume, cap):
    v = volume(cap=cap, size=320 * MIB).create().stage().publish()
    sh('mount', '-o', 'remount,ro', v.staging)
    only(health(v), 'FilesystemReadOnly', DEGRADED, v.id)
    sh('mount', '-o', 'remount,rw', v.staging)
    assert health(v) == {}


def test_an_xfs_that_was_shut_down(volume):
    v = volume(cap=XFS, size=320 * MIB).create().stage().publish()
    shut_down(v.staging)
    only(health(v), 'FilesystemShutDown', INACCESSIBLE, v.dir, 'shut down', 'staged anew')
    with fails(Code.INTERNAL, str(v.target), 'Input/output error'):
        v.calls.stats(v.id, v.target)
    v.unpublish().unstage().stage().publish()
    assert health(v) == {}
    v.calls.stats(v.id, v.target)


def test_a_raw_device_that_was_taken_away(volume, pool):
    v = volume(cap=block_cap()).create().stage()
    (device, _), = pool.loops().items()
    sh('losetup', '--detach', device)
    assert pool.loops() == {}
    only(node_health(v, staging_target_path=str(v.staging)), 'DeviceGone', INACCESSIBLE, v.staging)
    assert node_health(v) == {}  # nobody uses it, and nobody says so
    v.unstage().stage().publish()
    (device, _), = pool.loops().items()
    sh('losetup', '--detach', device)
    assert pool.loops() == {}
    only(health(v), 'DeviceGone', INACCESSIBLE, v.target, 'staged anew')
    v.unpublish().unstage()
    assert health(v) == {}
    v.stage().publish()
    assert health(v) == {}


def test_a_device_under_a_mount_stays_whoever_detaches_it(volume, pool):
    v = volume().create().stage().publish()
    (device, _), = pool.loops().items()
    sh('losetup', '--detach', device)
    assert list(pool.loops()) == [device] and health(v) == {}


def test_a_damaged_volume(own_pool, work):
    d = Driver(work, own_pool).start()
    try:
        v, other = Volume(d, work).create(), Volume(d, work).create()
        os.truncate(own_pool.dir / v.name, 4096)
        only(health(v), 'VolumeDamaged', DATA_LOSS, 'backup')
        assert health(other) == {}
        d.restart()  # a pool counts its damaged files when its directory has changed
        only(storage(d), 'VolumesDamaged', csi.STORAGE_DEGRADED, '1 damaged volumes')
        d.stop()
    finally:
        d.end()


def test_a_pool_that_fills_up(own_pool, work):
    port = free_port()
    d = Driver(work, own_pool, f'--http-endpoint=127.0.0.1:{port}').start()
    try:
        step = d.calls.controller.GetCapacity(csi.GetCapacityRequest()).available_capacity // 50 // MIB * MIB
        made, seen = [], []
        while seen[-1:] != ['PoolAlmostFull']:
            made.append(Volume(d, work, cap=block_cap(), size=step).create())
            now = storage(d)
            for reason, low, high in (('PoolNearlyFull', 80, 90), ('PoolAlmostFull', 90, 100)):
                if reason in now:
                    only(now, reason, csi.STORAGE_DEGRADED, "'default'", 'left')
                    assert low <= int(re.search(r'(\d+) %', now[reason].message)[1]) < high
            seen += [r for r in now if r not in seen]
        assert seen == ['PoolNearlyFull', 'PoolAlmostFull'] and 25 < len(made) < 50
        d.restart()
        wait_until('the metric is there', lambda: metric(port, 'cleat_pool_conditions', pool='default',
                                                         condition='almost_full') == 1)
        assert metric(port, 'cleat_pool_conditions', pool='default', condition='nearly_full') == 0
        while made:
            made.pop().delete()
        assert storage(d) == {}
        d.stop()
    finally:
        d.end()


def test_a_pool_whose_disk_died(own_pool, work):
    """Its volumes are told as out of reach: while the driver still has the pool, and after it has let go of it."""
    port = free_port()
    d = Driver(work, own_pool, f'--http-endpoint=127.0.0.1:{port}').start()
    try:
        v = Volume(d, work).up()
        shut_down(own_pool.dir)
        only(node_health(v), 'PoolGone', INACCESSIBLE, own_pool.dir)
        wait_until('it is let go of', lambda: metric(port, 'cleat_pools_missing') == 1)
        only(node_health(v), 'PoolGone', INACCESSIBLE, own_pool.dir)
        only(storage(d), 'PoolGone', csi.STORAGE_UNREACHABLE, own_pool.dir)
        with fails(Code.UNAVAILABLE):
            d.calls.controller.ControllerGetVolumeHealth(csi.ControllerGetVolumeHealthRequest(volume_id=v.id))
        v.unpublish().unstage()
        own_pool.unmount()
        own_pool.mount()
        wait_until('it is back', lambda: storage(d) == {})
        assert health(v) == {}
        v.delete()
        d.stop()
    finally:
        d.end()


def test_pages(own_pool, work):
    d = Driver(work, own_pool).start()
    try:
        made = sorted((Volume(d, work, cap=block_cap()).create() for _ in range(5)), key=lambda v: v.id)
        for v in made[::2]:
            os.truncate(own_pool.dir / v.name, 4096)
        first = d.calls.controller.ControllerListVolumeHealth(csi.ControllerListVolumeHealthRequest(max_entries=2))
        assert [e.volume_id for e in first.entries] == [made[0].id, made[2].id] and first.next_token
        rest = d.calls.controller.ControllerListVolumeHealth(
            csi.ControllerListVolumeHealthRequest(starting_token=first.next_token))
        assert [e.volume_id for e in rest.entries] == [made[4].id] and not rest.next_token
        with fails(Code.ABORTED):
            unhealthy(d.calls, starting_token='nonsense')
        with fails(Code.INVALID_ARGUMENT):
            unhealthy(d.calls, max_entries=-1)
        d.stop()
    finally:
        d.end()


def test_after_a_reboot_all_comes_back_and_is_well(own_pool, work):
    d = Driver(work, own_pool).start()
    try:
        caps = [mount_cap(), XFS, block_cap()]
        volumes = [Volume(d, work, cap=c, size=(320 if c is XFS else 64) * MIB).up() for c in caps[:2]]
        raw = Volume(d, work, cap=caps[2]).up()
        for v in volumes:
            (v.target / 'x').write_text('before')
        os.sync()
        d.kill()
        for v in [*volumes, raw]:
            sh('umount', v.target)
        for v in volumes:
            sh('umount', v.staging)
        for device in own_pool.loops():
            sh('losetup', '--detach', device)
        own_pool.unmount()
        own_pool.mount()
        d.start()
        assert not unhealthy(d.calls)
        for v in [*volumes, raw]:
            v.stage().publish()
            assert health(v) == {}
        assert all((v.target / 'x').read_text() == 'before' for v in volumes)
        for v in [*volumes, raw]:
            v.down()
        d.stop()
    finally:
        d.end()


def test_pools_and_nodes_do_not_mix(own_pool, work):
    """Two pools with a volume of one name each, and another node's driver with its own, all on this machine."""
    second, third = (Pool(work, size=GIB, name=n) for n in ('second', 'third'))
    d = Driver(work, None, f'--pool=one={own_pool.dir}').start()
    (work / 'n2').mkdir()
    other = Driver(work / 'n2', third, node='n2').start()
    try:
        name = 'pvc-same'
        one, two = (Volume(d, work / n, name=name) for n in 'ab')
        one.create()
        d.stop()
        d.words[-1] = f'--pool=two={second.dir}'
        d.start()
        two.create()
        d.stop()
        d.words += [f'--pool=one={own_pool.dir}']
        d.start()
        one.stage().publish()
        far = Volume(other, work / 'c', name=name).up()
        (own_pool.dir / name).unlink()
        only(health(one), 'BackingFileMissing', DEGRADED, "'one'")
        assert health(two) == {} and health(far) == {}
        assert [e.volume_id for e in unhealthy(d.calls)] == [one.id] and not unhealthy(other.calls)
        assert storage(other) == {}
        two.stage().publish()
        assert health(two) == {} and health(far) == {}
        assert loops_below(second.dir) and loops_below(third.dir)
        for v in (far, two, one):
            v.down()
        d.stop()
        other.stop()
    finally:
        d.end()
        other.end()
        for p in (second, third):
            p.unmount()


@contextlib.contextmanager
def silent_mount(path):
    """A filesystem whose server takes requests and answers none: whoever looks into it hangs until it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open('/dev/fuse', os.O_RDWR | os.O_CLOEXEC)
    options = f'fd={fd},rootmode=40000,user_id=0,group_id=0'.encode()
    assert libc.mount(b'silent', str(path).encode(), b'fuse', 0, options) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        os.close(fd)  # which ends all that wait
        sh('umount', path)


def test_a_mount_that_hangs_keeps_one_worker(work, pool):
    """Calls for it end in time, whatever hangs; later ones are refused at once; all others go on."""
    port = free_port()
    d = Driver(work, pool, f'--http-endpoint=127.0.0.1:{port}').start()
    v, other = Volume(d, work).up(), Volume(d, work).up()
    hole = work / 'hole'
    hole.mkdir()

    def stats(timeout):
        return d.calls.node.NodeGetVolumeStats(csi.NodeGetVolumeStatsRequest(
            volume_id=v.id, volume_path=str(hole / 'in' / 'it')), timeout=timeout)

    try:
        with silent_mount(hole):
            with fails(Code.DEADLINE_EXCEEDED):
                stats(1)
            wait_until('it is told', lambda: list(node_health(v)) == ['NotAnswering'])
            for _ in range(12):  # more than there are workers
                with fails(Code.UNAVAILABLE, v.id, 'has not come back since'):
                    stats(PATIENCE)
            only(node_health(v), 'NotAnswering', INACCESSIBLE, 'since 20')
            assert d.calls.stats(other.id, other.target).usage and health(other) == {}
            Volume(d, work).up().down()
            assert metric(port, 'cleat_workers_busy', lane='look') == 1
            wait_until('it is counted', lambda: metric(port, 'cleat_looks_hanging') == 1)
        wait_until('it is well again', lambda: node_health(v) == {})
        assert d.calls.stats(v.id, v.target).usage
        v.down()
        other.down()
        d.stop()
    finally:
        d.end()


def test_conditions_are_metrics_and_lines_of_the_log(work, pool):
    port = free_port()
    d = Driver(work, pool, f'--http-endpoint=127.0.0.1:{port}').start()
    try:
        v = Volume(d, work).up()
        (device, _), = pool.loops().items()
        set_direct(device, 0)
        d.restart()  # a look comes first, then one each minute
        wait_until('it is counted', lambda: metric(port, 'cleat_volume_conditions', condition='direct_io_lost') == 1)
        assert metric(port, 'cleat_volume_conditions', condition='read_only') == 0
        line, = [li for li in d.process.text().splitlines() if 'volume is not well' in li]
        assert 'DirectIOLost' in line and v.id in line
        v.down()
        d.stop()
    finally:
        d.end()


def test_ctl_tells_what_is_wrong(driver, pool, work):
    assert ctl(driver, 'health').stdout == 'all pools and volumes are well\n'
    v = Volume(driver, work).up()
    (pool.dir / v.name).unlink()
    text = ctl(driver, 'health').stdout
    assert re.search(rf'^- +STORAGE_DEGRADED +BackingFilesMissing .*{v.name}', text, re.M)
    assert re.search(rf'^{v.id} +DEGRADED +BackingFileMissing ', text, re.M)
    assert ctl(driver, 'health', '-oid').stdout == f'{v.id}\n'
    told = json.loads(ctl(driver, 'health', '-ojson').stdout)
    assert told['entries'][0]['health_statuses'][0]['status'] == 'DEGRADED'
    v.unpublish().unstage()
    assert json.loads(ctl(driver, 'health', '-ojson').stdout) == {'backend_health': [], 'entries': []}


def test_stats_of_a_raw_device_are_its_size(volume):
    v = volume(cap=block_cap(Mode.SINGLE_NODE_WRITER), size=64 * MIB).create().stage().publish()
    usage, = v.calls.stats(v.id, v.target).usage
    assert (usage.unit, usage.total, usage.used) == (csi.VolumeUsage.BYTES, 64 * MIB, 0)
