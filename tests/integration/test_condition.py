# SPDX-License-Identifier: Apache-2.0
"""Filesystems that are not well: what the kernel and the superblock say of them decides, and people are told what to run."""
import json
import os
import pathlib
import subprocess

import pytest
from harness import MIB, Code, Mode, block_cap, fails, mount_cap, sh, wait_until
from test_process import cleat


def image(volume, pool):
    return pool.dir / volume.name


def break_ext4(volume, pool):
    """An error as if the kernel had found one."""
    (device, _), = pool.loops().items()
    pathlib.Path(f'/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error').write_text('1')


def test_an_ext4_that_went_read_only_is_not_published_for_writing(volume, pool):
    v = volume(cap=mount_cap(flags=['errors=remount-ro'])).create().stage()
    break_ext4(v, pool)
    with fails(Code.FAILED_PRECONDITION, 'went read-only', v.id, 'cleat ctl volume check'):
        v.publish()
    assert not v.target.exists()
    v.publish(readonly=True)
    v.unpublish().unstage()
    with fails(Code.FAILED_PRECONDITION, 'records errors', v.id, 'cleat ctl volume check'):
        v.stage()
    assert pool.loops() == {}
    subprocess.run(['e2fsck', '-fy', image(v, pool)], check=False, capture_output=True)
    v.stage().publish()
    (v.target / 'x').write_text('x')


def test_an_ext4_that_recorded_an_error_and_went_on_is_not_staged_again(volume, pool):
    v = volume().create().stage()
    break_ext4(v, pool)
    v.unstage()
    with fails(Code.FAILED_PRECONDITION, 'records errors'):
        v.stage()
    subprocess.run(['e2fsck', '-fy', image(v, pool)], check=False, capture_output=True)
    v.stage()


def copy_while_dirty(v, pool):
    """The bytes of a filesystem that was never unmounted, as after a power cut."""
    for i in range(20):
        (v.staging / f'd{i}').mkdir()
        (v.staging / f'd{i}' / 'f').write_text('x' * 5000)
    sh('sync', '-f', v.staging)
    dirty = pool.dir.parent / 'dirty'
    sh('cp', '--sparse=always', image(v, pool), dirty)
    v.unstage()
    return dirty


@pytest.mark.parametrize('fs', ['ext4', 'xfs'])
def test_a_journal_that_wants_to_be_replayed_is_normal(volume, pool, fs):
    v = volume(cap=mount_cap(fs), size=320 * MIB).create().stage()
    dirty = copy_while_dirty(v, pool)
    sh('dd', f'if={dirty}', f'of={image(v, pool)}', 'bs=1M', 'conv=notrunc,sparse', 'status=none')
    dirty.unlink()
    v.stage().publish()
    assert (v.target / 'd19' / 'f').read_text() == 'x' * 5000


def spoil(path, at, n):
    with open(path, 'r+b') as f:
        f.seek(at)
        f.write(os.urandom(n))
        os.fsync(f.fileno())


def test_an_ext4_journal_that_cannot_be_replayed_is_told(volume, pool):
    v = volume().create().stage()
    dirty = copy_while_dirty(v, pool)
    first = int(sh('debugfs', '-R', 'blocks <8>', dirty).split()[0])
    sh('cp', '--sparse=always', dirty, image(v, pool))
    dirty.unlink()
    spoil(image(v, pool), first * 4096, 4096)
    with fails(Code.FAILED_PRECONDITION, v.id, 'repaired', 'cleat ctl volume check'):
        v.stage()
    assert pool.loops() == {}


def xfs_db(path, *commands):
    return subprocess.run(['xfs_db', '-x', *(w for c in commands for w in ('-c', c)), str(path)], check=True,
                          capture_output=True, text=True).stdout


def test_an_xfs_that_needs_repair_is_told(volume, pool):
    v = volume(cap=mount_cap('xfs'), size=320 * MIB).create()
    bits = int(xfs_db(image(v, pool), 'sb 0', 'p features_incompat').split('=')[1], 0)
    xfs_db(image(v, pool), 'sb 0', f'write -d features_incompat {bits | 0x10:#x}')
    with fails(Code.FAILED_PRECONDITION, v.id, 'records errors', 'cleat ctl volume check'):
        v.stage()
    subprocess.run(['xfs_repair', image(v, pool)], check=True, capture_output=True)
    v.stage()


def test_an_xfs_that_was_shut_down_is_not_published(volume, pool):
    v = volume(cap=mount_cap('xfs'), size=320 * MIB).create().stage()
    sh('xfs_io', '-x', '-c', 'shutdown -f', v.staging)
    with fails(Code.FAILED_PRECONDITION, 'shut down', v.id):
        v.publish()
    v.unstage().stage().publish()


@pytest.mark.parametrize('fs, flag', [('xfs', 'logbsize=17'), ('xfs', 'allocsize=1000'), ('ext4', 'commit=abc'),
                                      ('ext4', 'data=sometimes')])
def test_a_value_that_the_kernel_refuses_is_named(volume, pool, fs, flag):
    v = volume(cap=mount_cap(fs, flags=['noatime', flag, 'discard']), size=320 * MIB).create()
    with fails(Code.INVALID_ARGUMENT, f"'{flag}'"):
        v.stage()
    assert pool.loops() == {}
    wait_until('nothing is mounted', lambda: not os.path.ismount(v.staging))


def check(pool, volume, *words):
    return cleat('ctl', 'volume', 'check', f'--pool={pool.dir}', volume, *words)


def test_check_finds_and_mends_an_ext4(volume, pool):
    v = volume(cap=mount_cap(flags=['errors=remount-ro'])).create()
    done = check(pool, v.id)
    assert (done.returncode, done.stderr) == (0, '')
    assert f'volume {v.name}: ext4 clean\n' in done.stdout and 'Pass 1' in done.stdout
    v.stage()
    done = check(pool, v.id, '--repair')
    assert done.returncode == 1 and 'FAILED_PRECONDITION' in done.stderr and '/dev/loop' in done.stderr
    break_ext4(v, pool)
    v.unstage()
    done = check(pool, v.name, '-ojson')
    assert done.returncode == 1 and '--repair' in done.stderr
    assert json.loads(done.stdout)['verdict'] == 'has errors'
    with fails(Code.FAILED_PRECONDITION):
        v.stage()
    done = check(pool, v.name, '--repair')
    assert done.returncode == 0 and f'volume {v.name}: ext4 ' in done.stdout
    v.stage().publish()


def test_check_finds_and_mends_an_xfs(volume, pool):
    v = volume(cap=mount_cap('xfs'), size=320 * MIB).create()
    assert check(pool, v.id).returncode == 0
    bits = int(xfs_db(image(v, pool), 'sb 0', 'p features_incompat').split('=')[1], 0)
    xfs_db(image(v, pool), 'sb 0', f'write -d features_incompat {bits | 0x10:#x}')
    done = check(pool, v.id)
    assert done.returncode == 1 and 'has errors' in done.stdout
    done = check(pool, v.id, '--repair')
    assert done.returncode == 0 and 'xfs repaired' in done.stdout
    v.stage()
    sh('touch', v.staging / 'x')
    sh('xfs_io', '-x', '-c', 'shutdown -f', v.staging)
    v.unstage()
    done = check(pool, v.id, '--repair')
    assert done.returncode == 1 and 'log' in done.stderr and 'volume stage' in done.stderr
    v.stage().unstage()
    assert check(pool, v.id, '--repair').returncode == 0


def test_an_xfs_that_was_cut_off_while_it_grew_is_not_made_smaller(volume, pool):
    """Its growth is in the first superblock, the copies in the other groups are older, which xfs_repair would go by."""
    v = volume(cap=mount_cap('xfs'), size=320 * MIB).create().stage()
    group = 80 * MIB
    with image(v, pool).open('r+b', buffering=0) as f:
        old = os.pread(f.fileno(), 512, group)
        v.calls.expand(v.id, 512 * MIB)
        v.calls.node_expand(v.id, v.staging)
        v.unstage()
        for at in range(group, 512 * MIB, group):
            os.pwrite(f.fileno(), old, at)
    for words in (), ('--repair',):
        done = check(pool, v.id, *words)
        assert done.returncode == 1 and 'cut off while it grew' in done.stderr and 'volume stage' in done.stderr
    v.stage()
    assert os.statvfs(v.staging).f_blocks * os.statvfs(v.staging).f_frsize > 400 * MIB
    v.unstage()
    assert check(pool, v.id).returncode == 0


def test_check_and_attach_keep_out_of_each_others_way(volume, pool):
    """Also where no device is seen: the claim goes with the opening of the file."""
    v = volume().create().stage()
    locked = subprocess.run(['flock', '--exclusive', '--nonblock', image(v, pool), 'true'], check=False)
    assert locked.returncode == 1, 'the device has no claim'
    v.unstage()
    with subprocess.Popen(['flock', '--exclusive', image(v, pool), 'sh', '-c', 'echo; read x'],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with fails(Code.ABORTED, 'checked'):
            v.stage()
        done = check(pool, v.id)
        assert done.returncode == 1 and 'FAILED_PRECONDITION' in done.stderr
        holder.communicate(b'\n')
    v.stage()


def test_check_says_what_it_wants(volume, pool):
    v = volume(cap=block_cap(Mode.SINGLE_NODE_WRITER)).create()
    done = check(pool, v.id)
    assert done.returncode == 1 and 'raw block' in done.stderr
    done = check(pool, 'nothing')
    assert done.returncode == 1 and 'NOT_FOUND' in done.stderr and str(pool.dir) in done.stderr
    done = cleat('ctl', 'volume', 'check', v.id)
    assert done.returncode == 2 and '--pool' in done.stderr
