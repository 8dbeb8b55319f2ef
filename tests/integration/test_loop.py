# SPDX-License-Identifier: Apache-2.0
"""Loop devices that nobody used before, that others bound, and what is left of ours."""
import contextlib
import errno
import fcntl
import os
import pathlib
import re
import subprocess
import threading

import pytest
from harness import MIB, Code, Volume, fails, in_threads, loops_below, mountinfo, sh

OURS = range(0x3000, 0x4000)


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


def our_devices():
    """{number: whether it is bound} of the devices with numbers of cleat's own, but for those that somebody else was
    given because they were free: `mount -o loop` for the pool, say."""
    found = {}
    for entry in pathlib.Path('/sys/block').glob('loop*'):
        if int(entry.name[4:]) in OURS and not is_somebody_elses(entry):
            found[int(entry.name[4:])] = (entry / 'loop').exists()
    return found


def is_somebody_elses(entry):
    """Ours lie over a volume's file or over one in memory."""
    with contextlib.suppress(OSError):
        file = (entry / 'loop/backing_file').read_text().strip()
        return not file.startswith('/memfd:') and not re.search(r'/pvc-[-0-9a-f]{36}( |$)', file)
    return False


@contextlib.contextmanager
def losetup(file, *options):
    device = sh('losetup', '--find', '--show', *options, file).strip()
    try:
        yield device
    finally:
        subprocess.run(['losetup', '--detach', device], check=False)  # cleat may have done it


def device_of(v):
    return next(row[3] for row in mountinfo() if row[0] == str(v.staging))


def test_numbers_are_our_own_and_go_after_use(driver, work):
    v = Volume(driver, work).create().stage()
    device = device_of(v)
    number = int(device.removeprefix('/dev/loop'))
    assert number in OURS
    assert pathlib.Path(f'/sys/block/loop{number}/queue/discard_max_bytes').read_text() == '0\n'
    more = [Volume(driver, work).create().stage() for _ in range(3)]
    v.unstage().delete()
    for w in more:
        w.unstage().delete()
    assert [n for n, bound in our_devices().items() if not bound] == []
    assert len(our_devices()) == 2  # kept for the next, bound to nothing of anybody's
    Volume(driver, work).create().stage().unstage().delete()
    driver.stop()
    assert our_devices() == {}
    driver.start()


def test_the_next_user_of_a_device_has_discard(driver, work):
    for _ in range(3):
        Volume(driver, work).create().stage().unstage().delete()
    (work / 'theirs').touch()
    os.truncate(work / 'theirs', 16 * MIB)
    held = []
    with contextlib.ExitStack() as stack:
        for _ in range(6):  # all that are free, and then some
            held.append(stack.enter_context(losetup(work / 'theirs')))
        for device in held:
            queue = pathlib.Path('/sys/block', device.removeprefix('/dev/'), 'queue')
            assert (queue / 'discard_max_hw_bytes').read_text() == (queue / 'discard_max_bytes').read_text(), device


def test_racing_threads_leave_no_devices(driver, work):
    def live(i):
        for _ in range(4):
            Volume(driver, work).create().stage().unstage().delete()
    in_threads(*[lambda i=i: live(i) for i in range(8)])
    left = our_devices()
    assert len(left) <= 2 + 2, left  # spares, and some that somebody looked at


def test_devices_of_a_killed_process_are_collected(driver, work):
    volumes = [Volume(driver, work).create().stage() for _ in range(3)]
    numbers = {int(device_of(v).removeprefix('/dev/loop')) for v in volumes}
    driver.kill()
    for v in volumes:
        sh('umount', v.staging)
    assert numbers <= set(our_devices())
    driver.start()
    assert not numbers & set(our_devices())
    for v in volumes:
        v.unstage().delete()


@pytest.mark.parametrize('options', [['-b', '512', '--direct-io=on'], ['-b', '4096', '--direct-io=on', '-o', '4096'],
                                     ['-b', '4096', '--direct-io=off'], ['-b', '4096', '--direct-io=on', '-r']])
def test_a_device_that_somebody_bound_is_refused_by_name(driver, pool, work, options):
    v = Volume(driver, work).create()
    with losetup(pool.dir / v.name, *options) as device:
        with fails(Code.FAILED_PRECONDITION, device):
            v.stage()
        assert loops_below(pool.dir).keys() == {device}
    v.stage().unstage().delete()


def test_a_device_that_somebody_bound_well_is_taken(driver, pool, work):
    v = Volume(driver, work).create()
    with losetup(pool.dir / v.name, '-b', '4096', '--direct-io=on') as device:
        v.stage()
        assert device_of(v) == device
        assert pathlib.Path(f'/sys/block/{device[5:]}/queue/discard_max_bytes').read_text() == '0\n'
        v.unstage()
        assert loops_below(pool.dir) == {}
    v.delete()


def test_a_device_by_a_name_that_is_gone(driver, pool, work):
    v = Volume(driver, work).create()
    os.link(pool.dir / v.name, pool.dir / '.rescue')
    with losetup(pool.dir / '.rescue', '-b', '512') as device:
        os.unlink(pool.dir / '.rescue')
        with fails(Code.FAILED_PRECONDITION, device):
            v.stage()
        (work / 'rescued').mkdir()
        sh('mount', device, work / 'rescued')
        try:
            with fails(Code.FAILED_PRECONDITION, device):
                v.delete()
        finally:
            sh('umount', work / 'rescued')
    v.stage().unstage().delete()


def test_a_foreign_device_whose_file_has_a_very_long_path(driver, pool, work):
    here = os.open('.', os.O_RDONLY)
    try:
        os.chdir(work)
        for _ in range(20):
            os.mkdir('d' * 250)
            os.chdir('d' * 250)
        with open('file', 'wb') as f:
            f.truncate(MIB)
        with losetup('file'):
            # also while somebody reads the volume, which makes cleat look at all devices
            v = Volume(driver, work).create()
            with open(pool.dir / v.name, 'rb'):
                v.stage().unstage()
            v.delete()
    finally:
        os.chdir(here)
        os.close(here)


def test_readers_of_the_file_disturb_nobody(driver, pool, work):
    v = Volume(driver, work).create()
    stop = threading.Event()

    def read():
        while not stop.is_set():
            with open(pool.dir / v.name, 'rb') as f:
                f.read(4096)
    threads = [threading.Thread(target=read) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        for _ in range(10):
            v.stage().unstage()
    finally:
        stop.set()
        for t in threads:
            t.join()
    v.delete()
