# SPDX-License-Identifier: Apache-2.0
"""A volume's life as kubelet leads it: every kind of access, and what the workload then finds."""
import os
import re
import stat
import subprocess

import pytest
from harness import (DRIVER, GIB, MIB, Code, Mode, block_cap, csi, fails, in_threads, mount_cap, mountinfo, sh)


def fs_at(path):
    return next((fs for point, _, fs, _ in reversed(mountinfo()) if point == str(path)), None)


def options_at(path):
    return sh('findmnt', '-n', '-o', 'VFS-OPTIONS,FS-OPTIONS', path).replace(' ', ',').strip().split(',')


def test_identity_says_who_it_is(driver):
    info = driver.calls.identity.GetPluginInfo(csi.GetPluginInfoRequest())
    assert info.name == DRIVER
    assert info.vendor_version
    services = [c.service.type for c in driver.calls.identity.GetPluginCapabilities(
        csi.GetPluginCapabilitiesRequest()).capabilities]
    assert csi.PluginCapability.Service.CONTROLLER_SERVICE in services
    assert csi.PluginCapability.Service.VOLUME_ACCESSIBILITY_CONSTRAINTS in services
    probe = driver.calls.probe()
    assert not probe.HasField('ready') or probe.ready.value


def test_node_info_names_node_and_pool(driver):
    info = driver.calls.node.NodeGetInfo(csi.NodeGetInfoRequest())
    assert info.node_id == 'n1'
    (key, value), = info.accessible_topology.segments.items()
    assert re.fullmatch(re.escape(DRIVER) + '/[0-9a-f]{32}', key)
    assert value == 'here'


def test_volumes_topology_is_the_nodes(driver, volume):
    info = driver.calls.node.NodeGetInfo(csi.NodeGetInfoRequest())
    made = driver.calls.create('topo', accessibility_requirements=csi.TopologyRequirement(
        requisite=[info.accessible_topology]))
    assert [dict(t.segments) for t in made.accessible_topology] == [dict(info.accessible_topology.segments)]
    driver.calls.delete(made.volume_id)


@pytest.mark.parametrize('fs', ['ext4', 'xfs', ''])
def test_filesystem_volume_keeps_its_data(volume, fs):
    size = 320 * MIB
    v = volume(cap=mount_cap(fs), size=size).up()
    assert fs_at(v.target) == (fs or 'ext4')
    (v.target / 'hello').write_text('world')
    v.unpublish().unstage()
    assert not v.target.exists()
    assert not (v.staging / 'hello').exists()
    v.stage().publish()
    assert (v.target / 'hello').read_text() == 'world'


def test_staging_is_on_a_direct_io_loop_device_with_4096_byte_sectors(volume, pool):
    v = volume().up()
    (device, file), = pool.loops().items()
    name = os.path.basename(device)
    assert os.path.exists(file)
    assert open(f'/sys/block/{name}/loop/dio').read().strip() == '1'
    assert open(f'/sys/block/{name}/queue/logical_block_size').read().strip() == '4096'
    assert v.calls.volumes()[0].volume_id == v.id


def test_the_loop_device_goes_when_the_volume_is_unstaged(volume, pool):
    v = volume().up()
    v.unpublish()
    assert len(pool.loops()) == 1
    v.unstage()
    assert pool.loops() == {}


def test_block_volume_is_a_device_of_the_exact_size(volume):
    v = volume(cap=block_cap(), size=48 * MIB).up()
    assert stat.S_ISBLK(os.stat(v.target).st_mode)
    assert int(sh('blockdev', '--getsize64', v.target)) == 48 * MIB
    with open(v.target, 'r+b', buffering=0) as f:
        f.seek(MIB)
        f.write(b'raw' + bytes(4093))
        os.fsync(f.fileno())
    v.unpublish()
    assert not v.target.exists()
    v.unstage().stage().publish()
    with open(v.target, 'rb') as f:
        f.seek(MIB)
        assert f.read(3) == b'raw'


def test_read_only_publish_refuses_writes_and_staging_does_not(volume):
    v = volume().create().stage()
    v.publish(readonly=True)
    with pytest.raises(OSError, match='[Rr]ead-only'):
        (v.target / 'x').write_text('x')
    (v.staging / 'x').write_text('x')
    assert (v.target / 'x').read_text() == 'x'


def test_read_only_block_publish_refuses_writes(volume):
    v = volume(cap=block_cap()).create().stage()
    v.publish(readonly=True)
    with pytest.raises(OSError):
        with open(v.target, 'r+b', buffering=0) as f:
            f.write(bytes(4096))


def test_a_read_only_block_target_stays_so_beside_a_writer(volume, pool):
    v = volume(cap=block_cap(Mode.SINGLE_NODE_MULTI_WRITER)).create().stage()
    reader, writer = v.dir / 'pod-reader', v.dir / 'pod-writer'
    v.publish(target=reader, readonly=True)
    v.publish(target=writer)
    with open(writer, 'r+b', buffering=0) as f:
        f.write(b'written' + bytes(4089))
        os.fsync(f.fileno())
    with pytest.raises(OSError):
        with open(reader, 'r+b', buffering=0) as f:
            f.write(bytes(4096))
    # not by turning the flag of the device back, either
    subprocess.run(['blockdev', '--setrw', str(reader)], check=False)
    with pytest.raises(OSError):
        with open(reader, 'r+b', buffering=0) as f:
            f.write(bytes(4096))
            os.fsync(f.fileno())
    other = v.dir / 'pod-late'
    v.publish(target=other, readonly=True)
    with open(other, 'rb') as f:
        assert f.read(7) == b'written'
    assert len(pool.loops()) == 2
    v.unpublish(target=reader)
    v.unpublish(target=other)
    assert len(pool.loops()) == 1
    v.unpublish(target=writer)
    v.unstage()
    assert pool.loops() == {}


def test_reader_only_mode_is_read_only(volume):
    v = volume(cap=mount_cap(mode=Mode.SINGLE_NODE_READER_ONLY)).up()
    with pytest.raises(OSError, match='[Rr]ead-only'):
        (v.target / 'x').write_text('x')


def test_mount_flags_reach_the_mount(volume):
    v = volume(cap=mount_cap(flags=['noatime', 'nodev'])).up()
    assert {'noatime', 'nodev'} <= set(options_at(v.target))


def test_flags_of_a_pv_that_changed_reach_the_second_pod(volume):
    v = volume(cap=mount_cap(mode=Mode.SINGLE_NODE_MULTI_WRITER, flags=['noatime', 'nodev', 'discard'])).up()
    other = v.dir / 'pod2' / 'mount'
    v.cap = mount_cap(mode=Mode.SINGLE_NODE_MULTI_WRITER, flags=['discard', 'noexec', 'nosuid', 'defaults'])
    v.publish(target=other)
    options = set(options_at(other))
    assert {'noexec', 'nosuid', 'relatime'} <= options
    assert not {'noatime', 'nodev'} & options
    v.publish(target=other)
    v.cap = mount_cap(mode=Mode.SINGLE_NODE_MULTI_WRITER, flags=['sync'])
    with fails(Code.FAILED_PRECONDITION, "'sync'"):
        v.publish(target=v.dir / 'pod3')
    v.unpublish(target=other)


def test_sizes_with_letters_are_taken(volume):
    v = volume(cap=mount_cap('xfs', flags=['allocsize=1M', 'defaults']), size=320 * MIB).up()
    assert any(w.startswith('allocsize=') for w in options_at(v.target))


def test_two_pods_share_a_volume_of_a_multi_writer_mode(volume):
    v = volume(cap=mount_cap(mode=Mode.SINGLE_NODE_MULTI_WRITER)).up()
    other = v.dir / 'pod2' / 'mount'
    v.publish(target=other)
    (v.target / 'x').write_text('from one')
    assert (other / 'x').read_text() == 'from one'
    v.unpublish(target=other)
    assert (v.target / 'x').exists()


def test_capacity_is_at_least_what_was_asked_and_sizes_are_told_alike(driver, volume):
    v = volume(size=100 * 1000 * 1000).create()
    told = driver.calls.volumes()[0]
    assert told.capacity_bytes >= 100 * 1000 * 1000
    assert told.capacity_bytes % 4096 == 0
    got = driver.calls.controller.ControllerGetVolume(csi.ControllerGetVolumeRequest(volume_id=v.id)).volume
    assert got.capacity_bytes == told.capacity_bytes


def test_stats_agree_with_the_filesystem(volume):
    v = volume(size=256 * MIB).up()
    (v.target / 'fill').write_bytes(os.urandom(20 * MIB))
    os.sync()
    usage = {u.unit: u for u in v.calls.stats(v.id, v.target).usage}
    s = os.statvfs(v.target)
    assert usage[csi.VolumeUsage.BYTES].total == s.f_blocks * s.f_frsize
    assert usage[csi.VolumeUsage.BYTES].used >= 20 * MIB
    assert usage[csi.VolumeUsage.INODES].total == s.f_files


def test_block_stats_tell_the_size(volume):
    v = volume(cap=block_cap(), size=48 * MIB).up()
    usage, = v.calls.stats(v.id, v.target).usage
    assert (usage.unit, usage.total) == (csi.VolumeUsage.BYTES, 48 * MIB)


def test_capacity_shrinks_by_what_is_promised(driver, volume):
    def capacity():
        return driver.calls.controller.GetCapacity(csi.GetCapacityRequest()).available_capacity
    before = capacity()
    volume(size=GIB).create()
    assert before - capacity() >= GIB


def test_list_pages_hold_every_volume_once(driver, volume):
    ids = sorted(volume(size=16 * MIB).create().id for _ in range(7))
    found, token, pages = [], '', 0
    while True:
        page = driver.calls.controller.ListVolumes(csi.ListVolumesRequest(max_entries=3, starting_token=token))
        assert len(page.entries) <= 3
        found += [e.volume.volume_id for e in page.entries]
        pages, token = pages + 1, page.next_token
        if not token:
            break
    assert sorted(found) == ids
    assert pages == 3


def test_validate_confirms_what_it_can_do_and_says_why_not(driver, volume):
    v = volume().create()
    ask = driver.calls.controller.ValidateVolumeCapabilities
    good = ask(csi.ValidateVolumeCapabilitiesRequest(volume_id=v.id, volume_capabilities=[mount_cap()]))
    assert list(good.confirmed.volume_capabilities) == [mount_cap()]
    bad = ask(csi.ValidateVolumeCapabilitiesRequest(
        volume_id=v.id, volume_capabilities=[mount_cap(mode=Mode.MULTI_NODE_MULTI_WRITER)]))
    assert not bad.HasField('confirmed')
    assert 'MULTI_NODE_MULTI_WRITER' in bad.message


def test_a_volume_in_use_is_not_deleted(volume):
    v = volume().up()
    with fails(Code.FAILED_PRECONDITION):
        v.delete()
    (v.target / 'x').write_text('alive')


def test_ten_volumes_at_once(volume):
    volumes = [volume(size=32 * MIB) for _ in range(10)]
    results = in_threads(*(v.up for v in volumes))
    assert [r for r in results if isinstance(r, Exception)] == []
    for v in volumes:
        (v.target / 'name').write_text(v.name)
    for v in volumes:
        assert (v.target / 'name').read_text() == v.name
    results = in_threads(*(v.down for v in volumes))
    assert [r for r in results if isinstance(r, Exception)] == []


def test_fs_group_is_left_to_kubelet_or_honoured(driver, volume):
    caps = [c.rpc.type for c in driver.calls.node.NodeGetCapabilities(
        csi.NodeGetCapabilitiesRequest()).capabilities]
    if csi.NodeServiceCapability.RPC.VOLUME_MOUNT_GROUP not in caps:
        with fails(Code.INVALID_ARGUMENT, 'volume_mount_group'):
            volume(cap=mount_cap(group='4321')).up()
        return
    v = volume(cap=mount_cap(group='4321')).up()
    s = os.stat(v.target)
    assert s.st_gid == 4321
    assert s.st_mode & 0o2770 == 0o2770
