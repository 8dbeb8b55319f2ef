# SPDX-License-Identifier: Apache-2.0
"""Loop devices that nobody used before, that others bound, and what is left of ours."""
import contextlib
import errno
import fcntl
import pathlib

from harness import Code, Volume, fails, sh


def remove_idle_loops():
    """Those that are bound to nothing and open nowhere: what an earlier user set in a device's queue stays with its number."""
    with open('/dev/loop-control', 'rb') as control:
        for entry in pathlib.Path('/sys/block').glob('loop*'):
            try:
                if not (entry / 'loop').exists():
                    fcntl.ioctl(control, 0x4C81, int(entry.name[4:]))  # LOOP_CTL_REMOVE
            except OSError as e:
                if e.errno not in (errno.EBUSY, errno.ENODEV):
                    raise


@contextlib.contextmanager
def sysfs_read_only():
    sh('mount', '-o', 'remount,bind,ro', '/sys')
    try:
        yield
    finally:
        sh('mount', '-o', 'remount,bind,rw', '/sys')


def test_a_device_that_was_never_used(volume):
    remove_idle_loops()
    v = volume().create().stage().publish()
    (v.target / 'file').write_text('kept')
    assert (v.target / 'file').read_text() == 'kept'


def test_read_only_sysfs_is_named_with_the_way_out(driver, work):
    remove_idle_loops()
    v = Volume(driver, work).create()
    with sysfs_read_only(), fails(Code.FAILED_PRECONDITION, 'discard_max_bytes', 'Read-only file system', 'privileged',
                                  "node's network"):
        v.stage()
    v.stage().unstage().delete()
