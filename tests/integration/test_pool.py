# SPDX-License-Identifier: Apache-2.0
"""Pools that are full, missing, of the wrong kind, with foreign or damaged files, moved, or rebooted."""
import contextlib
import os
import shutil
import subprocess
import time

import grpc
import pytest
from harness import (CLEAT, GIB, MIB, Code, Driver, Pool, Process, Volume, block_cap, csi, fails, mount_cap, mountinfo, sh,
                     wait_until)
from test_endpoint import free_port
from test_process import get


def refused(work, *words, status=1):
    """The program ends at once; what it says."""
    p = Process(work / 'refused.log', 'driver', f'--endpoint=unix://{work}/refused.sock', '--node-id=n1', *words)
    try:
        assert p.wait() == status, p.text()
        assert not (work / 'refused.sock').exists()
        return p.text()
    finally:
        p.kill()


def test_missing_pool(work):
    said = refused(work, f'--pool={work}/nothing')
    assert f'{work}/nothing' in said


def test_pool_that_is_a_file(work):
    (work / 'file').write_text('x')
    said = refused(work, f'--pool={work}/file')
    assert f'{work}/file' in said
    assert (work / 'file').read_text() == 'x'


def test_pool_on_the_wrong_filesystem(work):
    (work / 'dir').mkdir()
    sh('mount', '-t', 'tmpfs', 'none', work / 'dir')
    try:
        said = refused(work, f'--pool={work}/dir')
        assert f'{work}/dir' in said
        assert 'tmpfs' in said
        assert 'mkfs.xfs' in said
        assert os.listdir(work / 'dir') == []
    finally:
        sh('umount', work / 'dir')


def test_pool_on_xfs_without_reflink(work):
    with open(work / 'img', 'wb') as f:
        f.truncate(320 * MIB)
    sh('mkfs.xfs', '-q', '-m', 'reflink=0', work / 'img')
    (work / 'dir').mkdir()
    sh('mount', '-o', 'loop', work / 'img', work / 'dir')
    try:
        assert 'reflink' in refused(work, f'--pool={work}/dir')
    finally:
        sh('umount', work / 'dir')


def test_read_only_pool(own_pool, work):
    sh('mount', '-o', 'remount,ro', own_pool.dir)
    assert 'read-only' in refused(work, f'--pool={own_pool.dir}').lower()


def test_same_filesystem_twice(own_pool, work):
    (own_pool.dir / 'a').mkdir()
    (own_pool.dir / 'b').mkdir()
    said = refused(work, '--pool-init', f'--pool=a={own_pool.dir}/a', f'--pool=b={own_pool.dir}/b')
    assert "as pool 'a'" in said


def test_pool_of_a_living_process(driver, pool, work):
    said = refused(work, f'--pool={pool.dir}')
    assert str(pool.dir) in said
    assert str(driver.process.child.pid) in said
    driver.calls.probe()


def superblock(path):
    said = subprocess.run(['dumpe2fs', '-h', path], capture_output=True, text=True, check=True).stdout
    return [line for line in said.splitlines()
            if not line.startswith(('Filesystem UUID', 'Filesystem created', 'Last write', 'Last checked', 'Directory Hash', 'Checksum',
                                    'Lifetime'))]


def test_ext4_is_the_same_whatever_mke2fs_conf_says(driver, pool, work, volume):
    before = volume(size=96 * MIB).create()
    wanted = superblock(pool.dir / before.name)
    (work / 'conf').write_text('[defaults]\n\tbase_features = sparse_super\n\tdefault_mntopts = journal_data\n'
                               '\tinode_ratio = 1048576\n\thash_alg = tea\n\terrors = panic\n'
                               '\tenable_periodic_fsck = 1\n\treserved_ratio = 9\n'
                               '[fs_types]\n\text4 = {\n\t\tinode_ratio = 524288\n\t}\n')
    for template in (pool.dir / '.cleat/templates').iterdir():
        template.unlink()
    sh('mount', '--bind', work / 'conf', '/etc/mke2fs.conf')
    try:
        after = volume(size=96 * MIB).create()
    finally:
        sh('umount', '/etc/mke2fs.conf')
    assert superblock(pool.dir / after.name) == wanted
    assert 'Default mount options:    user_xattr acl' in wanted


@pytest.mark.parametrize('spoil', ['superblock', 'inside', 'size'])
def test_a_spoilt_template_is_made_anew(driver, pool, volume, spoil):
    volume(size=80 * MIB).create()
    template, = (pool.dir / '.cleat/templates').glob(f'*-{80 * MIB}')
    with open(template, 'r+b') as f:
        f.seek({'superblock': 1024, 'inside': 4096, 'size': 0}[spoil])
        if spoil == 'size':
            f.truncate(79 * MIB)
        else:
            f.write(bytes(512))
    v = volume(size=80 * MIB).create()
    sh('e2fsck', '-fn', pool.dir / v.name)
    assert 'a template was spoilt' in driver.process.text()
    v.stage()


def test_two_pools_and_a_parameter_that_chooses(work, own_pool):
    second = Pool(work, size=GIB, name='second')
    d = Driver(work, None, f'--pool=one={own_pool.dir}', f'--pool=two={second.dir}').start()
    try:
        segments = d.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments
        assert len(segments) == 2 and set(segments.values()) == {'here'}
        seen = {}
        for name, p in [('one', own_pool), ('two', second)]:
            made = d.calls.create(f'in-{name}', parameters={'pool': name})
            (seen[name],) = made.accessible_topology[0].segments
            assert len(p.files()) == 1
            d.calls.delete(made.volume_id)
        assert sorted(seen.values()) == sorted(segments)
        d.stop()
    finally:
        d.end()
        second.unmount()


def test_full_pool_is_told_and_heals(own_pool, work):
    d = Driver(work, own_pool).start()
    try:
        made = []
        with fails(Code.RESOURCE_EXHAUSTED):
            for i in range(100):
                made.append(d.calls.create(f'v{i}', size=100 * MIB).volume_id)
        assert 2 <= len(made) < 10
        files = own_pool.files()
        with fails(Code.RESOURCE_EXHAUSTED):
            d.calls.create('one-more', size=100 * MIB)
        assert own_pool.files() == files
        assert own_pool.available() > 10 * MIB, 'the reserve'
        d.calls.delete(made.pop())
        made.append(d.calls.create('one-more', size=100 * MIB).volume_id)
        for volume_id in made:
            d.calls.delete(volume_id)
        d.stop()
    finally:
        d.end()


def test_filled_from_outside(own_pool, work):
    """Someone else's data takes the space: volumes that are there keep working, since they are thick."""
    d = Driver(work, own_pool).start()
    try:
        v = Volume(d, work, size=200 * MIB).up()
        room = own_pool.available()
        sh('fallocate', '-l', room - 8 * MIB, own_pool.dir / 'foreign-data')
        with fails(Code.RESOURCE_EXHAUSTED):
            d.calls.create('more', size=64 * MIB)
        (v.target / 'fill').write_bytes(os.urandom(100 * MIB))
        os.sync()
        v.down()
        d.stop()
        assert (own_pool.dir / 'foreign-data').exists()
    finally:
        d.end()


def test_foreign_files_are_left_alone(own_pool, work):
    (own_pool.dir / 'notes.txt').write_text('mine')
    (own_pool.dir / 'dir').mkdir()
    (own_pool.dir / 'dir' / 'x').write_text('mine')
    os.symlink('/etc/passwd', own_pool.dir / 'link')
    os.mkfifo(own_pool.dir / 'pipe')
    before = sorted(os.listdir(own_pool.dir))
    d = Driver(work, own_pool).start()
    try:
        assert d.calls.volumes() == []
        v = Volume(d, work).up().down()
        d.calls.delete(v.id)
        d.stop()
    finally:
        d.end()
    assert (own_pool.dir / 'notes.txt').read_text() == 'mine'
    assert (own_pool.dir / 'dir' / 'x').read_text() == 'mine'
    assert set(before) <= set(os.listdir(own_pool.dir))


def volume_file(p):
    file, = p.files()
    return p.dir / file


def test_damaged_volume_is_listed_never_served_never_deleted(own_pool, work):
    d = Driver(work, own_pool).start()
    try:
        v = Volume(d, work).create()
        file = volume_file(own_pool)
        d.stop()
        os.truncate(file, 4096 * 3 + 5)
        d.start()
        v.staging.mkdir(parents=True)
        assert [x.volume_id for x in d.calls.volumes()] in ([v.id], [])
        with fails(Code.DATA_LOSS):
            d.calls.stage(v.id, v.staging)
        with fails(Code.FAILED_PRECONDITION):
            d.calls.delete(v.id)
        assert file.exists()
        assert own_pool.loops() == {}
        d.stop()
    finally:
        d.end()


def test_second_hard_link_keeps_its_bytes(own_pool, work):
    """A person's rescue copy: the volume is neither served nor deleted, and whole again when the other name is gone."""
    d = Driver(work, own_pool).start()
    try:
        v = Volume(d, work).create()
        file = volume_file(own_pool)
        (own_pool.dir / '.keep').mkdir()
        os.link(file, own_pool.dir / '.keep' / 'rescue')
        blocks = file.stat().st_blocks
        v.staging.mkdir(parents=True)
        with fails(Code.FAILED_PRECONDITION, 'hard links'):
            d.calls.delete(v.id)
        with fails(Code.DATA_LOSS, 'hard links'):
            d.calls.stage(v.id, v.staging)
        assert (own_pool.dir / '.keep' / 'rescue').stat().st_blocks == blocks
        assert own_pool.loops() == {}
        os.unlink(own_pool.dir / '.keep' / 'rescue')
        os.rmdir(own_pool.dir / '.keep')
        d.calls.delete(v.id)
        assert own_pool.files() == []
        d.stop()
    finally:
        d.end()


def test_record_removed_from_a_volume(own_pool, work):
    d = Driver(work, own_pool).start()
    try:
        v = Volume(d, work).create()
        file = volume_file(own_pool)
        d.stop()
        for name in os.listxattr(file):
            os.removexattr(file, name)
        d.start()
        v.staging.mkdir(parents=True)
        with pytest.raises(Exception) as e:
            d.calls.stage(v.id, v.staging)
        assert e.value.code() in (Code.DATA_LOSS, Code.NOT_FOUND)
        with contextlib.suppress(grpc.RpcError):
            d.calls.delete(v.id)
        assert file.exists(), 'a file without our record is nobody\'s to delete'
        d.stop()
    finally:
        d.end()


def test_pool_unmounted_under_the_driver_is_never_mixed_up_with_the_directory_below(own_pool, work):
    """The driver holds the pool itself, not its path: what it makes is in the pool, and the bare mount point stays empty."""
    d = Driver(work, own_pool).start()
    try:
        d.calls.create('before')
        sh('umount', '-l', own_pool.dir)
        d.calls.create('after')
        assert os.listdir(own_pool.dir) == []
        d.kill()
        own_pool.mount()
        d.start()
        assert len(d.calls.volumes()) == 2
        for v in d.calls.volumes():
            d.calls.delete(v.volume_id)
        d.stop()
    finally:
        d.end()


def test_reboot(own_pool, work):
    """Everything unmounted and detached behind the driver's back, then a fresh driver: kubelet's next calls work."""
    d = Driver(work, own_pool).start()
    try:
        v = Volume(d, work).up()
        (v.target / 'x').write_text('before')
        os.sync()
        d.kill()
        sh('umount', v.target)
        sh('umount', v.staging)
        own_pool.unmount()
        own_pool.mount()
        assert own_pool.loops() == {}
        d.start()
        with fails(Code.FAILED_PRECONDITION):
            v.publish()
        v.unpublish()
        v.unstage()
        v.stage().publish()
        assert (v.target / 'x').read_text() == 'before'
        v.down()
        d.stop()
    finally:
        d.end()


def adopt(how, directory, status=0):
    done = subprocess.run([CLEAT, 'ctl', 'pool', 'adopt', how, directory], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_pool_moved_to_another_path_and_node(own_pool, work):
    """A volume belongs to its pool: adopted under another path and name of node, it is the same, and so is its segment."""
    d = Driver(work, own_pool).start()
    try:
        v = Volume(d, work).up()
        (v.target / 'x').write_text('moved')
        segments = dict(d.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments)
        v.unpublish().unstage()
        assert 'in use by another cleat' in adopt('--moved', own_pool.dir, status=1)
        d.stop()
        own_pool.unmount()
        own_pool.dir = work / 'elsewhere'
        own_pool.dir.mkdir()
        own_pool.mount()
        p = Process(work / 'refused.log', 'driver', f'--endpoint=unix://{work}/refused.sock', '--node-id=n2',
                    f'--pool={own_pool.dir}')
        assert p.wait() == 1
        assert "served by node 'n1', now by 'n2'" in p.text() and f'adopt --copy {own_pool.dir}' in p.text()
        adopt('--moved', own_pool.dir)
        d = Driver(work, own_pool, node='n2').start()
        v.driver = d
        assert dict(d.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments) == segments
        v.stage().publish()
        assert (v.target / 'x').read_text() == 'moved'
        v.down()
        d.stop()
    finally:
        d.end()


def test_a_disk_that_is_put_into_another_node_is_followed_where_that_is_said(own_pool, work):
    """At another path, while the agent there runs; and what is no move is still refused."""
    there = work / 'there'
    there.mkdir()
    d = Driver(work, own_pool).start()
    (work / 'n2').mkdir()
    second = Pool(work / 'n2', name='second')
    other = Driver(work / 'n2', second, f'--pool=moved={there}', '--pool-follow-moved', node='n2')
    try:
        v = Volume(d, work).up()
        (v.target / 'x').write_text('moved')
        (segment,) = d.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments
        v.unpublish().unstage()
        d.stop()
        own_pool.unmount()
        other.start()
        sh('mount', '-o', 'loop', own_pool.image, there)
        wait_until('it is served', lambda: segment in other.calls.node.NodeGetInfo(
            csi.NodeGetInfoRequest()).accessible_topology.segments, 90)
        told = other.process.text()
        assert 'taken to be moved here' in told and 'before=n1' in told.replace('"', '')
        v.driver = other
        v.stage().publish()
        assert (v.target / 'x').read_text() == 'moved'
        v.down()
        other.stop()
        assert "served by node 'n2', now by 'n1'" in refused(work, f'--pool={there}')   # without the option
        (there / 'copy').mkdir()
        shutil.copytree(there / '.cleat', there / 'copy/.cleat')
        assert 'directory' in refused(work, f'--pool={there}/copy', '--pool-follow-moved')
    finally:
        other.end()
        d.end()
        with contextlib.suppress(AssertionError):   # if it never was mounted
            sh('umount', there)
        second.unmount()
        own_pool.mount()


def test_pool_moved_to_another_directory_of_its_filesystem(own_pool, work):
    """With the filesystem's UUID as identity, DeleteVolume of what is now elsewhere answered OK."""
    first, second = own_pool.dir / 'first', own_pool.dir / 'second'
    first.mkdir()
    d = Driver(work, None, f'--pool={first}', '--pool-init').start()
    try:
        made = d.calls.create('v')
        d.stop()
        second.mkdir()
        d = Driver(work, None, f'--pool={second}', '--pool-init').start()
        with fails(Code.UNAVAILABLE):
            d.calls.delete(made.volume_id)
        assert (first / 'v').exists()
        d.stop()
        shutil.rmtree(second)
        first.rename(second)
        d = Driver(work, None, f'--pool={second}').start()
        d.calls.delete(made.volume_id)
        assert not (second / 'v').exists()
        d.stop()
    finally:
        d.end()


def test_copy_of_a_pool(own_pool, work):
    """Files copied to another disk: refused; as --copy a pool of its own, whose old volumes are reported, not served."""
    other = Pool(work, size=GIB, name='other')
    d = Driver(work, own_pool).start()
    try:
        made = d.calls.create('v')
        d.stop()
        sh('cp', '-a', f'{own_pool.dir}/.', other.dir)
        assert 'filesystem' in refused(work, f'--pool={other.dir}')
        adopt('--copy', other.dir)
        d = Driver(work, None, f'--pool=a={own_pool.dir}', f'--pool=b={other.dir}').start()
        assert [v.volume_id for v in d.calls.volumes()] == [made.volume_id]
        assert 'made for pool' in d.process.text()
        d.calls.delete(made.volume_id)
        assert own_pool.files() == [] and other.files() == ['v']
        d.stop()
    finally:
        d.end()
        other.unmount()


def test_directory_whose_disk_is_not_mounted(own_pool, work):
    """A directory on another filesystem is made a pool only when told; a bind mount of one is such a directory too."""
    (own_pool.dir / 'deep').mkdir()
    said = refused(work, f'--pool={own_pool.dir}/deep')
    assert '--pool-init' in said and 'not mounted' in said
    assert os.listdir(own_pool.dir / 'deep') == []
    (work / 'bound').mkdir()
    sh('mount', '--bind', own_pool.dir / 'deep', work / 'bound')
    try:
        assert '--pool-init' in refused(work, f'--pool={work}/bound')
    finally:
        sh('umount', work / 'bound')
    sh('mount', '--bind', own_pool.dir, work / 'bound')
    try:
        Driver(work, None, f'--pool={work}/bound').start().stop()
    finally:
        sh('umount', work / 'bound')


def test_disk_mounted_over_the_pool_later(own_pool, work):
    (own_pool.dir / 'p').mkdir()
    other = Pool(work, size=GIB, name='other')
    d = Driver(work, None, f'--pool={own_pool.dir}/p', '--pool-init').start()
    try:
        sh('mount', '--bind', other.dir, own_pool.dir / 'p')
        with fails(Code.UNAVAILABLE, 'something was mounted at'):
            d.calls.create('v')
        assert other.files() == []
        sh('umount', own_pool.dir / 'p')
        d.calls.delete(d.calls.create('v').volume_id)
        d.stop()
    finally:
        d.end()
        sh('umount', other.dir)


def test_image_pool_is_made_used_and_found_again(work):
    image = work / 'pool.img'
    d = Driver(work, None, f'--pool-image={image}', '--pool-size=1Gi').start()
    try:
        v = Volume(d, work).up()
        (v.target / 'x').write_text('kept')
        v.unpublish().unstage()
        d.restart()
        v.stage().publish()
        assert (v.target / 'x').read_text() == 'kept'
        v.down()
        d.stop()
    finally:
        d.end()
        for point, *_ in reversed(mountinfo()):
            if point.startswith(f'{work}/'):
                sh('umount', point)
    assert image.stat().st_size >= GIB


def test_image_that_is_something_else(work):
    (work / 'precious').write_bytes(b'not a filesystem' * 4096)
    said = refused(work, f'--pool-image={work}/precious', '--pool-size=1Gi')
    assert f'{work}/precious' in said
    assert (work / 'precious').read_bytes() == b'not a filesystem' * 4096


def test_image_that_does_not_fit(work):
    said = refused(work, f'--pool-image={work}/big.img', '--pool-size=8Ki')
    assert 'pool' in said
    assert not (work / 'big.img').exists() or shutil.disk_usage(work).free > 0


@pytest.mark.parametrize('cap', [mount_cap(), mount_cap('xfs'), block_cap()], ids=['ext4', 'xfs', 'block'])
def test_what_goes_down_needs_no_living_pool(work, own_pool, cap):
    """The pool's XFS is shut down under a published volume: unpublish and unstage still leave nothing."""
    d = Driver(work, own_pool).start()
    try:
        v = Volume(d, work, cap=cap, size=320 * MIB).up()
        sh('xfs_io', '-x', '-c', 'shutdown', own_pool.dir)
        with fails(Code.FAILED_PRECONDITION, str(v.target)):
            v.unstage()
        v.unpublish().unpublish()
        assert not v.target.exists()
        v.unstage().unstage()
        assert not [m for m in mountinfo() if m[0].startswith(str(v.dir))]
        wait_until('the device is gone', lambda: not own_pool.loops())
        with pytest.raises(grpc.RpcError):
            v.delete()
    finally:
        d.end()


@pytest.mark.parametrize('cap', [mount_cap(), block_cap()], ids=['ext4', 'block'])
def test_what_goes_down_needs_no_file(work, own_pool, cap):
    """A person removes the volume's file while it is published."""
    d = Driver(work, own_pool).start()
    try:
        v = Volume(d, work, cap=cap).up()
        (own_pool.dir / v.name).unlink()
        with fails(Code.FAILED_PRECONDITION, '/dev/loop', 'removed by somebody'):
            v.delete()
        v.unpublish().unstage()
        wait_until('the device is gone', lambda: not own_pool.loops())
        v.delete()
        d.stop()
    finally:
        d.end()


def test_missing_pool_among_several(own_pool, work):
    """The others are served, it is named, and it is served as soon as it is there; its volumes are nobody's meanwhile."""
    port = free_port()
    second = Pool(work, size=GIB, name='second')
    words = (f'--pool=one={own_pool.dir}', f'--pool=two={second.dir}', f'--http-endpoint=127.0.0.1:{port}')
    d = Driver(work, None, *words).start()
    try:
        volume = Volume(d, work, parameters={'pool': 'two'}).up()
        d.kill()
        volume_id = volume.id
        sh('umount', '-l', second.dir)
        d.start()
        with fails(Code.UNAVAILABLE, str(second.dir)):
            d.calls.delete(volume_id)
        with fails(Code.UNAVAILABLE, str(second.dir)):
            d.calls.stage(volume_id, volume.staging)
        with fails(Code.UNAVAILABLE, 'two'):
            d.calls.create('x', parameters={'pool': 'two'})
        volume.unpublish().unstage()
        assert d.calls.create('v').volume_id in [v.volume_id for v in d.calls.volumes()]
        assert len(d.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments) == 1
        status, text = get(port, '/readyz')
        assert status == 200 and str(second.dir) in text
        assert 'cleat_pools_missing 1' in get(port, '/metrics')[1]
        second.mount()
        wait_until('it is served', lambda: get(port, '/readyz')[1] == 'ok\n')
        assert len(d.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments) == 2
        assert 'cleat_pools_missing 0' in get(port, '/metrics')[1]
        d.calls.delete(volume_id)
        assert second.files() == []
        d.stop()
    finally:
        d.end()
        second.unmount()


@pytest.mark.parametrize('is_alone', [True, False], ids=['alone', 'among several'])
def test_pool_that_dies_and_comes_back(own_pool, work, is_alone):
    """Its place is let go of, so that it can be unmounted and mounted again; then it is served without a restart."""
    port = free_port()
    second = Pool(work, size=GIB, name='second')
    words = [] if is_alone else [f'--pool=one={own_pool.dir}']
    d = Driver(work, None, *words, f'--pool=two={second.dir}', f'--http-endpoint=127.0.0.1:{port}').start()
    try:
        volume = Volume(d, work, parameters={'pool': 'two'}).up()
        (volume.target / 'file').write_text('kept')
        sh('sync', '-f', volume.target)
        sh('xfs_io', '-x', '-c', 'shutdown -f', second.dir)
        wait_until('it is named', lambda: str(second.dir) in get(port, '/readyz')[1])
        assert get(port, '/readyz')[0] == (503 if is_alone else 200)
        for call in (lambda: d.calls.delete(volume.id), lambda: d.calls.create('x', parameters={'pool': 'two'}),
                     lambda: d.calls.stage(volume.id, work)):
            with fails(Code.UNAVAILABLE, str(second.dir)):
                call()
        volume.unpublish().unstage()
        sh('umount', second.dir)
        time.sleep(1.5)  # a look at the bare directory, which must not become a pool
        assert os.listdir(second.dir) == []
        second.mount()
        wait_until('it is served', lambda: get(port, '/readyz')[1] == 'ok\n')
        volume.stage().publish()
        assert (volume.target / 'file').read_text() == 'kept'
        volume.down()
        d.stop()
    finally:
        d.end()
        second.unmount()


def test_several_pools_of_one_name(own_pool, work):
    """A name is a kind: the roomiest takes a volume, a repeated call finds it where it is."""
    second = Pool(work, size=3 * GIB, name='second')
    d = Driver(work, None, f'--pool={own_pool.dir}', f'--pool={second.dir}').start()
    try:
        made = d.calls.create('v', size=GIB, parameters={'pool': 'default'})
        assert own_pool.files() == [] and second.files() == ['v']
        assert d.calls.create('v', size=GIB, parameters={'pool': 'default'}).volume_id == made.volume_id
        capacity = d.calls.controller.GetCapacity(csi.GetCapacityRequest(parameters={'pool': 'default'}))
        assert 0 < capacity.maximum_volume_size.value < capacity.available_capacity
        d.calls.delete(made.volume_id)
        d.stop()
    finally:
        d.end()
        second.unmount()


def test_a_volume_keeps_whose_it_is(own_pool, work):
    d = Driver(work, own_pool, '--cluster-id=c-1').start()
    try:
        d.calls.create('v', parameters={'csi.storage.k8s.io/pvc/name': 'data', 'csi.storage.k8s.io/pvc/namespace': 'shop',
                                        'csi.storage.k8s.io/pv/name': 'v'})
        record = os.getxattr(own_pool.dir / 'v', 'user.cleat.volume').decode()
        assert {'cluster=c-1', 'claim-namespace=shop', 'claim-name=data'} <= set(record.splitlines())
        (listed,) = d.calls.volumes()
        assert listed.volume_context['cleat.csi/cluster'] == 'c-1' and listed.volume_context['cleat.csi/claim'] == 'shop/data'
        os.setxattr(own_pool.dir / 'v', 'user.cleat.volume', record.replace('cleat 1\n', 'cleat 1\nneeds=wings\n').encode())
        with fails(Code.FAILED_PRECONDITION, "'wings'"):
            d.calls.delete(volume_id_of(d, 'v'))
        assert (own_pool.dir / 'v').exists()
        d.stop()
    finally:
        d.end()


def volume_id_of(d, name):
    (key,) = d.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments
    return f'v1-{key.split("/")[1]}-{name}'


def test_written_by_calls_that_are_too_short(driver, pool):
    """Each call has less time than it needs and comes some way; a restart in between begins anew."""
    def create():
        try:
            return driver.calls.create('written', parameters={'allocation': 'written'}, timeout=0.4)
        except grpc.RpcError as e:
            # a busy machine may not get as far as to say so in time
            assert e.code() in (Code.ABORTED, Code.DEADLINE_EXCEEDED), e.details()
            assert e.code() != Code.ABORTED or 'of 64 MiB are written' in e.details()
            return None

    before = pool.available()
    for _ in range(2):
        assert create() is None
    assert pool.files() == []
    wait_until('its blocks are taken', lambda: create() or before - pool.available() >= 64 * MIB)
    driver.restart()
    wait_until('the blocks of the dead are free', lambda: before - pool.available() < 32 * MIB)
    made = [create()]
    while made[-1] is None:
        made.append(create())
    assert len(made) > 4
    file, = pool.files()
    with open(pool.dir / file, 'rb') as f:
        assert os.lseek(f.fileno(), 0, os.SEEK_HOLE) == 64 * MIB
    driver.calls.delete(made[-1].volume_id)
