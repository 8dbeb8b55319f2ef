# SPDX-License-Identifier: Apache-2.0
"""Snapshots of several volumes at one moment, with real mounts; and that no filesystem stays frozen, whoever is killed."""
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest
from harness import (CLEAT, MIB, PATIENCE, Code, block_cap, csi, fails, mount_cap, of_snapshot, sh, wait_until)
from test_kill import SEED
from test_snapshot import SIZES, read, write

GROUPS = int(os.environ.get('CLEAT_GROUPS', '12'))
KILLS = int(os.environ.get('CLEAT_KILLS', '20'))

# Numbers are written in turns: to the first file, then to the second. What of them a snapshot has is read from both.
WRITER = '''
import os, sys
fds = [os.open(p, os.O_RDWR | os.O_CREAT | int(sys.argv[1]), 0o600) for p in sys.argv[2:]]
n = 0
while True:
    n += 1
    for fd in fds:
        os.pwrite(fd, n.to_bytes(8, 'big').ljust(4096, b'.'), 0)
        os.pwrite(fd, n.to_bytes(8, 'big').ljust(4096, b'.'), 4096 * (1 + n % 256))
'''


@contextlib.contextmanager
def writing(flags, *volumes):
    """A process that writes to the volumes in their order, again and again."""
    child = subprocess.Popen([sys.executable, '-c', WRITER, str(flags), *(str(v.target / 'n') for v in volumes)])
    try:
        wait_until('it writes', lambda: all((v.target / 'n').exists() for v in volumes))
        yield child
        assert child.poll() is None, 'the writer failed'
    finally:
        child.kill()
        child.wait()


def number(v):
    with open(v.target / 'n', 'rb') as f:
        return int.from_bytes(f.read(8), 'big')


def members(group):
    return [s.snapshot_id for s in group.snapshots]


def restored(volume, snapshot_id, cap):
    return volume(cap=cap, size=0, volume_content_source=of_snapshot(snapshot_id)).up()


def take_apart(driver, group):
    driver.calls.delete_group(group.group_snapshot_id, members(group))


@pytest.mark.parametrize('fs', ['ext4', 'xfs'])
@pytest.mark.parametrize('flags', [0, os.O_DSYNC], ids=['buffered', 'synced'])
def test_no_group_has_a_later_write_without_the_earlier_one(driver, volume, fs, flags):
    cap = mount_cap(fs)
    one, two = (volume(cap=cap, size=SIZES[fs]).up() for _ in range(2))
    last = 0
    with writing(flags, one, two):
        groups = []
        for i in range(GROUPS):
            groups.append(driver.calls.group(f'g{i}', [two.id, one.id]))
            wait_until('it writes on', lambda before=number(one): number(one) > before)
    for group in groups:
        by_source = {s.source_volume_id: s.snapshot_id for s in group.snapshots}
        first, second = (restored(volume, by_source[v.id], cap) for v in (one, two))
        a, b = number(first), number(second)
        assert b <= a <= b + 1, f'the first volume has {a}, the second {b}'
        assert a > last
        last = a
        first.down()
        second.down()
        take_apart(driver, group)


def test_snapshots_that_are_no_group_do_break_that_order(driver, volume, snapshot):
    """That the test above can fail: one snapshot after the other has the later write without the earlier one."""
    cap = mount_cap('ext4')
    one, two = (volume(cap=cap, size=SIZES['ext4']).up() for _ in range(2))
    with writing(0, one, two):
        taken = [snapshot(v, freeze) for v, freeze in ((one, 'first'), (two, 'second'))]
    a, b = (number(restored(volume, s, cap)) for s in taken)
    assert b > a


def test_a_group_of_what_is_up_and_what_is_not(driver, pool, volume):
    up = volume(cap=mount_cap('ext4'), size=64 * MIB).up()
    down = volume(cap=block_cap(), size=16 * MIB).up()
    write(up, 'up')
    write(down, 'down')
    down.unpublish().unstage()
    group = driver.calls.group('g', [up.id, down.id])
    assert group.ready_to_use
    assert {s.source_volume_id for s in group.snapshots} == {up.id, down.id}
    assert {s.group_snapshot_id for s in group.snapshots} == {group.group_snapshot_id}
    write(up, 'later')
    again = driver.calls.group('g', [down.id, up.id])
    assert again == group
    assert driver.calls.get_group(group.group_snapshot_id, members(group)) == group
    driver.restart()
    assert driver.calls.get_group(group.group_snapshot_id, members(group)) == group
    assert len(driver.calls.snapshots()) == 2
    for s in group.snapshots:
        v = restored(volume, s.snapshot_id, mount_cap('ext4') if s.source_volume_id == up.id else block_cap())
        assert read(v) == ('up' if s.source_volume_id == up.id else 'down')
        v.down()
    with fails(Code.ALREADY_EXISTS, 'other volumes'):
        driver.calls.group('g', [up.id])
    take_apart(driver, group)
    take_apart(driver, group)
    assert pool.snapshots() == []
    with fails(Code.NOT_FOUND):
        driver.calls.get_group(group.group_snapshot_id, members(group))


def test_the_largest_group_of_mounted_volumes(driver, volume):
    made = [volume(size=16 * MIB) for _ in range(128)]
    for v in made:
        v.up()
        write(v, v.name)
    group = driver.calls.group('large', [v.id for v in made])
    assert len(group.snapshots) == 128
    for v in made:
        write(v, 'on')
    last = group.snapshots[-1]
    copy = restored(volume, last.snapshot_id, mount_cap())
    assert read(copy) == next(v.name for v in made if v.id == last.source_volume_id)
    take_apart(driver, group)


def test_capabilities(driver):
    plugin = driver.calls.identity.GetPluginCapabilities(csi.GetPluginCapabilitiesRequest())
    assert csi.PluginCapability.Service.GROUP_CONTROLLER_SERVICE in [c.service.type for c in plugin.capabilities]
    caps = driver.calls.group_controller.GroupControllerGetCapabilities(csi.GroupControllerGetCapabilitiesRequest())
    assert [c.rpc.type for c in caps.capabilities] == [
        csi.GroupControllerServiceCapability.RPC.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT]


def test_ctl_takes_groups_apart_and_together(driver, volume):
    def ctl(*words):
        return sh(CLEAT, 'ctl', *words, f'--endpoint=unix://{driver.socket}')

    one, two = (volume(size=64 * MIB).create() for _ in range(2))
    made = json.loads(ctl('group', 'create', 'daily', f'--member={one.name}', f'--member={two.id}', '-o=json'))
    assert [s['source_volume_id'] for s in made['snapshots']] == sorted([one.id, two.id])
    table = ctl('group', 'list')
    assert 'daily' in table and 'ready' in table and one.name in table
    assert json.loads(ctl('group', 'show', 'daily', '-o=json')) == made
    assert json.loads(ctl('groups', 'ls', '-o=json'))['items'] == [made]
    assert ctl('group', 'list', '-o=id').strip() == made['group_snapshot_id']
    assert 'daily' in ctl('snapshot', 'list')
    assert 'deleted' in ctl('group', 'delete', 'daily')
    assert ctl('group', 'list', '-o=id') == ''
    assert ctl('snapshot', 'list', '-o=id') == ''


def scatter(v):
    """Writes that leave the volume's file in some 20,000 pieces, so that sharing them takes a fifth of a second."""
    r = random.Random(SEED)
    with open(v.target, 'r+b', buffering=0) as f:
        places = sorted(r.sample(range(v.create_words['size'] // 8192), 20000))
        for place in places:
            os.pwrite(f.fileno(), b'x' * 4096, place * 8192)
        os.fsync(f.fileno())


def guards_of(pid):
    """The guards that the driver has, by its children."""
    found = []
    for entry in pathlib.Path('/proc').iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / 'stat').read_text().rsplit(')', 1)[1].split()[1])
                if parent == pid and b'freeze-guard' in (entry / 'cmdline').read_bytes():
                    found.append(int(entry.name))
    return found


def try_to_write(v):
    """A process that writes into the volume, which waits while that is frozen."""
    return subprocess.Popen([sys.executable, '-c', f'open({str(v.target / "try")!r}, "w").write("x")'])


def is_done(child, seconds):
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(seconds) == 0
    return False


def kill_in_mid_freeze(driver, pool, v, other, name, alone):
    """SIGKILL to the driver and its guards at once; a process that waits to write, or None if it was too early or too late."""
    done = threading.Event()

    def cut():
        with contextlib.suppress(grpc.RpcError):
            if alone:
                driver.calls.snapshot(name, v.id, parameters={'freeze': 'true', 'maxExtents': '0'})
            else:
                driver.calls.group(name, [v.id, other.id], parameters={'maxExtents': '0'})
        done.set()

    records = pool.dir / '.cleat' / 'frozen'
    caller = threading.Thread(target=cut)
    caller.start()
    while not done.is_set() and not list(records.iterdir()):
        time.sleep(0.0005)
    time.sleep(random.uniform(0.02, 0.12))
    guards = guards_of(driver.process.child.pid)
    for pid in guards:
        os.kill(pid, signal.SIGSTOP)  # so that none thaws when the driver goes
    driver.kill()
    for pid in guards:
        os.kill(pid, signal.SIGKILL)
    caller.join()
    child = try_to_write(v)
    if is_done(child, 1):
        return None
    return child


@contextlib.contextmanager
def thawed_in_the_end(*volumes):
    try:
        yield
    finally:
        for v in volumes:
            subprocess.run(['fsfreeze', '-u', v.staging], check=False, capture_output=True)


@pytest.fixture
def frozen(driver, pool, volume):
    """A volume that is frozen, with nobody alive to thaw it; and who waits to write to it."""
    other = volume(cap=block_cap(), size=512 * MIB).up()
    scatter(other)
    other.unpublish().unstage()
    v = volume(size=64 * MIB).up()
    with thawed_in_the_end(v):
        for i in range(20):
            child = kill_in_mid_freeze(driver, pool, v, other, f'g{i}', False)
            if child:
                break
            driver.start()
        else:
            pytest.fail('never caught in mid-freeze')
        assert list((pool.dir / '.cleat' / 'frozen').iterdir()) != []
        yield v, child
        assert list((pool.dir / '.cleat' / 'frozen').iterdir()) == []
        assert pool.snapshots() == [] or driver.calls.groups()
        for group_id, snapshot_ids in driver.calls.groups().items():
            driver.calls.delete_group(group_id, snapshot_ids)


def test_what_was_left_frozen_is_thawed_at_the_next_start(driver, frozen):
    v, child = frozen
    assert not is_done(child, 0.5)
    driver.start()
    assert is_done(child, PATIENCE)
    write(v, 'on')
    assert read(v) == 'on'


def test_what_was_unmounted_while_it_was_frozen_is_thawed_when_it_is_staged(driver, frozen):
    v, child = frozen
    child.kill()  # it ends when the filesystem is thawed; until then it keeps its mount namespace's mount busy
    for path in v.target, v.staging:
        subprocess.run(['umount', '-l', path], check=True)
    driver.start()
    v.stage().publish()
    child.wait(PATIENCE)
    write(v, 'on')
    assert read(v) == 'on'


def test_random_kills_leave_no_half_of_a_group(driver, pool, volume):
    """The driver alone is killed at any time; groups are whole or not there, and writing goes on."""
    r = random.Random(SEED)
    one, two = (volume(size=64 * MIB).up() for _ in range(2))
    stop = threading.Event()
    failures = []

    def live():
        n = 0
        while not stop.is_set():
            n += 1
            with contextlib.suppress(grpc.RpcError, ValueError, AttributeError):
                group = driver.calls.group(f'k{n % 3}', [one.id, two.id], timeout=5)
                if len(group.snapshots) != 2:
                    failures.append(group)
                if n % 2:
                    driver.calls.delete_group(group.group_snapshot_id, members(group), timeout=5)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        for _ in range(KILLS):
            time.sleep(r.uniform(0, 0.15))
            driver.restart()
            with contextlib.suppress(grpc.RpcError):
                for snapshot_ids in driver.calls.groups().values():
                    assert len(snapshot_ids) in (0, 1, 2)  # the list is no moment in time
    finally:
        stop.set()
        thread.join()
    driver.restart()
    for group_id, snapshot_ids in driver.calls.groups().items():
        assert len(snapshot_ids) == 2
        driver.calls.get_group(group_id, snapshot_ids)
        driver.calls.delete_group(group_id, snapshot_ids)
    assert failures == []
    assert pool.snapshots() == []
    for name in 'groups', 'frozen':
        assert list((pool.dir / '.cleat' / name).iterdir()) == []
    for v in one, two:
        write(v, 'on')
        assert read(v) == 'on'
