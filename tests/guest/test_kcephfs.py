# SPDX-License-Identifier: Apache-2.0
"""Subvolumes of a real CephFS on a kernel that has a client for them (kcephfs.py)."""
import errno
import os
import random
import time

import ceph_node
import cephfs_driver
import cluster
import grpc
import kcephfs
import pytest
from ceph_node import kill_within
from cephfs_driver import SHARED
from guest import Failed
from harness import GIB, MIB, Code, Mode, fails, mount_cap, wait_until
from kcephfs import Node, Volume

fs_journal = pytest.importorskip('fs_journal', reason='cephfs: SKIPPED: python3-rados and python3-rbd are not installed')
BYTES = os.urandom(1 << 20)
# Of a way down whose cluster is silent: 5 s until that is known, 20 s for the kernel, and what a guest takes.
FORCED_S = 60


@pytest.fixture(scope='module')
def top(tmp_path_factory):
    return tmp_path_factory.mktemp('kcephfs')


@pytest.fixture(scope='module')
def ceph():
    with ceph_node.opened('cephfs', filesystem=True) as up:
        yield up


@pytest.fixture(scope='module')
def controller(ceph, top):
    driver = cephfs_driver.Driver(top, ceph, '--controllerserver').start()
    try:
        yield driver.calls
        driver.stop()
    finally:
        driver.end()


@pytest.fixture(scope='module')
def machines(top, ceph):
    made = ceph_node.Machines(Node, top, ceph)
    yield made
    made.cut()


@pytest.fixture
def node(machines, ceph):
    """After the test nothing is mounted on it, and nothing is left in the filesystem."""
    up = machines.up or machines.boot()
    yield up
    up = machines.up or machines.boot()
    left, log = up.mounts(), up.driver_log()[-4000:]
    try:
        assert not left, f'left on the node: {left}\n{log}'
        assert not fs_journal.left(ceph)
    except AssertionError:
        machines.cut()
        fs_journal.wipe(ceph)
        raise


@pytest.fixture
def other(top, ceph):
    """A second node, for as long as the test takes."""
    made = ceph_node.Machines(Node, top, ceph, 2)
    try:
        yield made.boot()
    finally:
        made.cut()


@pytest.fixture
def rng(seed):
    return random.Random(seed)


def total(calls, v):
    return [u.total for u in calls.stats(v.id, v.target).usage if u.unit == 1]


def test_a_volume_lives(ceph, controller, node):
    """Mounted by the kernel, growing in use; a snapshot of it is what it was, also beside it on the same node."""
    v = Volume(controller, node, 'pv-life').up()
    for point in v.staging, v.target:
        kind, options = node.mounts()[point]
        assert kind == 'ceph' and 'recover_session=clean' in options and f'name={cluster.FS_USER}' in options
    assert len(kcephfs.sessions(ceph, node.address)) == 1
    v.write('a', BYTES)

    snap = controller.snapshot('snap-life', v.id)
    v.write('a', BYTES[::-1])
    restored = Volume(controller, node, 'pv-restored', made=controller.restored('pv-restored', snap.snapshot_id)).up()
    assert restored.read('a', len(BYTES)) == BYTES
    assert v.read('a', len(BYTES)) == BYTES[::-1]

    assert total(node.calls, v) == [GIB]
    controller.expand(v.id, 2 * GIB)
    wait_until('the node sees it', lambda: total(node.calls, v) == [2 * GIB])
    v.down().up()
    assert node.look(v.target)[0] == 2 * GIB
    assert v.read('a', len(BYTES)) == BYTES[::-1]

    for volume in restored, v:
        volume.down()
    assert node.is_bare() and not kcephfs.sessions(ceph, node.address)
    restored.delete()
    controller.delete_snapshot(snap.snapshot_id)
    v.delete()


def test_its_size_is_its_limit(controller, node):
    v = Volume(controller, node, 'pv-full', size=16 * MIB).up()

    def fill():
        for n in range(64):
            v.write(f'file-{n}', BYTES)
    with pytest.raises(Failed, match=os.strerror(errno.EDQUOT)):
        fill()
    controller.expand(v.id, 256 * MIB)
    wait_until('the node sees it', lambda: node.look(v.target)[0] == 256 * MIB)
    fill()
    v.down().delete()


def sees(machine, path, data):
    """What another client has synced. A file that is new was seen as empty for a moment, once: fsync(2) of Linux does not wait until
    the metadata server knows the size (ceph_fsync). For longer than that it may not be."""
    began, tries = time.monotonic(), []

    def is_there():
        tries.append(len(machine.read(path, 0, len(data) + 1) or b''))
        return machine.read(path, 0, len(data)) == data
    wait_until(f'{path} is as it was written', is_there, 10)
    if len(tries) > 1:
        print(f'{path}: seen after {time.monotonic() - began:.2f} s, as {tries} bytes')


def test_many_write_to_one(controller, node, other):
    """Two nodes, two pods at one of them, and a pod that may only read."""
    here = Volume(controller, node, 'pv-shared').up().publish(pod='second')
    there = here.at(other).up().publish(readonly=True, pod='reader')
    places = [(node, here.target), (node, here.target_of('second')), (other, there.target)]
    for n, (machine, place) in enumerate(places):
        machine.write(f'{place}/file-{n}', 0, BYTES[n:])
    for machine, place in [*places, (other, there.target_of('reader'))]:
        for n in range(len(places)):
            sees(machine, f'{place}/file-{n}', BYTES[n:])
    with pytest.raises(Failed, match=os.strerror(errno.EROFS)):
        other.write(f'{there.target_of("reader")}/file-0', 0, b'no')
    there.write('file-0', BYTES[::-1])
    sees(node, f'{here.target}/file-0', BYTES[::-1])
    here.unpublish('second').down()
    there.write('file-1', BYTES[::-1])
    there.unpublish('reader').down()
    assert other.is_bare()
    here.delete()


def test_read_only_is_so(controller, node):
    """By the pod's mount, and by the claim's mode."""
    v = Volume(controller, node, 'pv-ro').stage().publish(readonly=True)
    with pytest.raises(Failed, match=os.strerror(errno.EROFS)):
        v.write('a', b'x')
    v.unpublish().publish().write('a', BYTES)
    v.down()
    reading = Volume(controller, node, 'pv-ro', mount_cap(mode=Mode.MULTI_NODE_READER_ONLY),
                     made=type('Made', (), {'volume_id': v.id, 'volume_context': v.context})).up()
    with pytest.raises(Failed, match=os.strerror(errno.EROFS)):
        reading.write('a', b'x')
    assert reading.read('a', len(BYTES)) == BYTES
    reading.down()
    v.delete()


@pytest.mark.parametrize(('monitors', 'options'), [
    (['{}'], ''), (['{}:6789'], 'wsize=65536,nocrc'), (['{}'], 'ms_mode=crc'), (['{}:3300'], ''), (['[v2:{0}:3300/0,v1:{0}:6789/0]'], ''),
    (['[v2:{0}:3300/0,v1:{0}:6789/0]'], 'ms_mode=secure')])
def test_the_class_s_options_are_the_kernel_s(ceph, controller, node, monitors, options):
    """Monitors in each way that config.json may name them; of those the ones that speak as the options say."""
    node.set_monitors([text.format(ceph_node.CLUSTER_ADDRESS) for text in monitors])
    v = Volume(controller, node, 'pv-options', mount_cap('', ['noatime'], Mode.MULTI_NODE_MULTI_WRITER),
               kernelMountOptions=options or None)
    try:
        v.up()
        said = node.mounts()[v.staging][1]
        assert not {*options.split(','), 'noatime'} - {*said, ''}, said
        v.write('a', BYTES)
        assert v.read('a', len(BYTES)) == BYTES
        v.down()
    finally:
        node.set_monitors(ceph.monitors)
    v.delete()


def test_what_is_wrong_is_said(ceph, controller, node):
    """In words, and nothing is mounted."""
    v = Volume(controller, node, 'pv-wrong')
    good, unknown = ceph.fs_secrets(), 'no metadata server of filesystem'
    for words, code, *texts in (
            # of what keeps it from the cluster's map the kernel tells nothing
            ({'secrets': {**good, 'userKey': cluster.make_key()}}, Code.UNAVAILABLE, unknown, f"user '{cluster.FS_USER}'"),
            ({'secrets': {**good, 'userID': 'nobody'}}, Code.UNAVAILABLE, unknown, "user 'nobody'"),
            ({'volume_context': {**v.context, 'fsName': 'nowhere'}}, Code.UNAVAILABLE, f"{unknown} 'nowhere'"),
            ({'secrets': {**good, 'userKey': 'no key'}}, Code.INVALID_ARGUMENT, 'secret'),
            ({'volume_context': {**v.context, 'subvolumePath': '/volumes/csi/nowhere'}}, Code.NOT_FOUND, 'nowhere'),
            ({'volume_context': {**v.context, 'kernelMountOptions': 'no_such_option'}}, Code.INVALID_ARGUMENT, 'no_such_option'),
            ({'volume_context': {**v.context, 'kernelMountOptions': 'wsize=17'}}, Code.INVALID_ARGUMENT, 'wsize')):
        with fails(code, *texts):
            v.stage(**words)
        assert node.is_bare()
    node.set_monitors(['10.98.0.99:6789'])
    try:
        with fails(Code.UNAVAILABLE, '10.98.0.99'):
            v.stage(volume_context={**v.context, 'kernelMountOptions': 'mount_timeout=5'})
        node.set_monitors(['v2:10.98.0.1:3300/0'])
        with fails(Code.INVALID_ARGUMENT, 'ms_mode'):
            v.stage(volume_context={**v.context, 'kernelMountOptions': 'ms_mode=legacy'})
    finally:
        node.set_monitors(ceph.monitors)
    assert node.is_bare()
    v.delete()


def words_of(node, pid):
    try:
        return b''.join(node.read(f'/proc/{pid}/{name}', 0, 1 << 16) or b'' for name in ('cmdline', 'environ'))
    except Failed:  # it has ended
        return b''


def test_the_key_is_in_no_place(ceph, controller, node):
    key = ceph.fs_secrets()['userKey']
    v = Volume(controller, node, 'pv-key').up()
    other = Volume(controller, node, 'pv-key-2')
    with fails(Code.UNAVAILABLE, 'nobody'):
        other.stage(secrets={'userID': 'nobody', 'userKey': key})
    other.delete()
    for pid in node.sure('ls', '/proc').split():
        assert not pid.isdigit() or key.encode() not in words_of(node, pid)
    for path in '/proc/mounts', '/proc/self/mountinfo', '/proc/keys':
        assert key.encode() not in (node.read(path, 0, 1 << 20) or b'')
    assert key not in node.sure('dmesg') + node.console() + node.driver_log()
    node.write('/tmp/key', 0, key.encode(), sync=False)
    assert not node.run('busybox', 'grep', '-rlsFf', '/tmp/key', '/pool', '/etc', '/run')[1]   # a socket cannot be read
    node.remove('/tmp/key')
    v.down().delete()


def test_a_volume_that_a_person_made(ceph, controller, node):
    fs_journal.manager(ceph, 'fs subvolume create', sub_name='by-hand', group_name='csi', size=GIB, mode='777')
    path = fs_journal.look(ceph, 'by-hand')['path']
    context = {'clusterID': 'c1', 'fsName': cluster.FILESYSTEM, 'staticVolume': 'true', 'rootPath': path}
    v = Volume(controller, node, 'pv-static', made=type('Made', (), {'volume_id': 'data of ours', 'volume_context': context})).up()
    assert node.mounts()[v.target][0] == 'ceph'
    v.write('a', BYTES)
    node.restart_driver()
    v.up()
    assert v.read('a', len(BYTES)) == BYTES
    v.down().delete()
    assert node.is_bare()
    fs_journal.manager(ceph, 'fs subvolume rm', sub_name='by-hand', group_name='csi')


def test_an_agent_that_is_killed_leaves_nothing(controller, node, rng):
    """While it stages and while it unstages; either call, whichever comes next, ends what was begun."""
    v = Volume(controller, node, 'pv-killed')
    began = time.monotonic()
    v.stage()
    took = time.monotonic() - began
    v.publish().write('a', BYTES)
    node.restart_driver()
    assert v.up().read('a', len(BYTES)) == BYTES
    v.down()
    cut = 0
    for n in range(6):
        cut += not kill_within(node, v.stage, rng.uniform(0.01, took))
        if n % 2:
            v.unstage()
            assert node.is_bare()
        v.up()
        assert len(node.mounts()) == 2
        assert v.read('a', len(BYTES)) == BYTES
        v.unpublish()
        cut += not kill_within(node, v.unstage, rng.uniform(0.01, 0.5))
        v.unstage()
        assert node.is_bare()
    print(f'killed in mid-call: {cut} of 12')
    assert cut > 0
    v.delete()


def test_one_that_was_evicted_comes_back(ceph, controller, node):
    """By itself, with all that was synced."""
    v = Volume(controller, node, 'pv-evicted').up()
    v.write('a', BYTES)
    kcephfs.evict(ceph, node.address)

    def is_back():
        try:
            return v.read('a', len(BYTES)) == BYTES
        except Failed:
            return False
    wait_until('it reads again', is_back, ceph_node.PATIENCE)
    wait_until('it writes again', lambda: v.write('b', BYTES) is None, ceph_node.PATIENCE)
    assert total(node.calls, v) == [GIB]
    v.down().delete()


def test_one_that_stays_away_is_taken_down_and_had_again(ceph, controller, node):
    """As the class may wish it: errors until it is staged anew."""
    v = Volume(controller, node, 'pv-away', kernelMountOptions='recover_session=no').up()
    v.write('a', BYTES)
    v.write('b', BYTES, sync=False)
    kcephfs.evict(ceph, node.address)

    def is_away():
        try:
            v.read('c', 1)
        except Failed:
            return True
        return False
    wait_until('it is refused', is_away, ceph_node.PATIENCE)
    with pytest.raises(grpc.RpcError) as said:
        node.calls.stats(v.id, v.target)
    print(said.value.details())
    began = time.monotonic()
    v.down()
    assert time.monotonic() - began < FORCED_S
    assert v.up().read('a', len(BYTES)) == BYTES
    v.down().delete()


@pytest.mark.parametrize('silent', [['mds'], ['mds', 'osd', 'mon']])
def test_what_is_silent_is_taken_down(ceph, controller, node, silent):
    """By force, within a time; what was synced is there afterwards."""
    v = Volume(controller, node, 'pv-silent').up()
    v.write('a', BYTES)
    v.write('b', BYTES, sync=False)
    with kcephfs.frozen(ceph, *silent):
        with fails(Code.UNAVAILABLE, 'does not answer'):
            node.calls.stats(v.id, v.target)
        began = time.monotonic()
        v.down()
        took = time.monotonic() - began
        assert node.is_bare()
    print(f'down in {took:.1f} s')
    assert took < FORCED_S
    assert v.up().read('a', len(BYTES)) == BYTES
    v.down().delete()


def test_what_is_not_written_out_yet_stays_mounted(ceph, controller, node):
    """While the disks are silent and the metadata server is not. No call hangs, other volumes go on, and nothing is lost."""
    v, beside = Volume(controller, node, 'pv-dirty').up(), Volume(controller, node, 'pv-beside').up()
    v.write('a', BYTES)
    v.write('a', BYTES[::-1], sync=False)
    with kcephfs.frozen(ceph, 'osd'):
        v.unpublish()
        for most in FORCED_S, 20:
            began = time.monotonic()
            with fails(Code.UNAVAILABLE, 'it stays mounted'):
                v.unstage()
            assert time.monotonic() - began < most
        assert v.staging in node.mounts()
        beside.down()
    wait_until('it is down', lambda: ceph_node.attempt(v.unstage) or node.is_bare(), ceph_node.PATIENCE)
    assert v.up().read('a', len(BYTES)) == BYTES[::-1]
    v.down()
    for volume in v, beside:
        volume.delete()


@pytest.mark.parametrize('dirty', [False, True])
def test_one_that_is_shut_out_is_taken_down(ceph, controller, machines, node, dirty):
    """By its address, as a fence does it: no client of that node is let in again. It goes down all the same, asked again as a CO does:
    what was not written out, Linux 6.12 stumbles over (a BUG of its own: busy inodes), and with it whoever unmounts, a child of the
    agent's. That kernel is not used any more here."""
    v = Volume(controller, node, 'pv-shut-out').up()
    v.write('a', BYTES)
    if dirty:
        v.write('b', BYTES, sync=False)
    ceph.command(prefix='osd blocklist', blocklistop='add', addr=node.address)
    try:
        kcephfs.evict(ceph, node.address)
        began = time.monotonic()
        wait_until('it is down', lambda: ceph_node.attempt(v.down) or node.is_bare(), FORCED_S)
        print(f'down in {time.monotonic() - began:.1f} s')
        v.down()
    finally:
        ceph.command(prefix='osd blocklist', blocklistop='rm', addr=node.address)
    if 'kernel BUG' in node.sure('dmesg'):
        print('the kernel stumbled')
        assert dirty
        machines.cut()
        v.node = machines.boot()
    wait_until('it is let in', lambda: ceph_node.attempt(v.up) or len(v.node.mounts()) == 2, ceph_node.PATIENCE)
    assert v.read('a', len(BYTES)) == BYTES
    v.down().delete()


def test_what_was_synced_outlives_a_power_cut(controller, machines, node):
    """In use when the power goes. The next boot has no mount; the CO stages it anew."""
    v = Volume(controller, node, 'pv-cut').up()
    v.write('a', BYTES)
    v.write('b', BYTES, sync=False)
    machines.cut()
    v.node = machines.boot()
    assert v.node.is_bare()
    v.up()
    assert v.read('a', len(BYTES)) == BYTES
    v.write('a', BYTES[::-1])
    v.down().delete()
