# SPDX-License-Identifier: Apache-2.0
"""Filesystems that are not well: what the kernel and the superblock say of them decides, and people are told what to run."""
import os
import pathlib
import subprocess

import pytest
from harness import MIB, Code, fails, mount_cap, sh, wait_until


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
