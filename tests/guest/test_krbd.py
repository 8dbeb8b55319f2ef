# SPDX-License-Identifier: Apache-2.0
"""Images of a real Ceph on a kernel that has a client for them (krbd.py)."""
import os
import random
import time
import uuid

import api_nodes
import ceph_driver
import ceph_node
import cluster
import grpc
import pods
import pytest
from ceph_node import is_refused, kill_within
from guest import Failed
from harness import GIB, MIB, Code, Mode, block_cap, csi, fails, mount_cap, wait_until
from krbd import Node, Volume

journal = pytest.importorskip('journal', reason='krbd: SKIPPED: python3-rados and python3-rbd are not installed')
BYTES = os.urandom(1 << 20)
WATCHED_S = 45  # what a client that died has open is seen for 30 s


@pytest.fixture(scope='module')
def top(tmp_path_factory):
    return tmp_path_factory.mktemp('krbd')


@pytest.fixture(scope='module')
def ceph():
    with ceph_node.opened('krbd') as up:
        yield up


@pytest.fixture(scope='module')
def controller(ceph, top):
    driver = ceph_driver.Driver(top, ceph, '--controllerserver').start()
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
    """After the test nothing is mapped on it, and nothing is left in the pool."""
    up = machines.up or machines.boot()
    yield up
    up = machines.up or machines.boot()
    left, log = [up.maps(), up.mounts()], up.driver_log()[-4000:]
    try:
        assert up.is_bare(), f'left on the node: {left}\n{log}'
        ceph_driver.wait_nothing_left(ceph, journal)
    except AssertionError:
        machines.cut()
        ceph_driver.wipe(ceph, journal)
        raise


@pytest.fixture
def rng(seed):
    return random.Random(seed)


def image_bytes(ceph, volume, offset, n):
    """What is in the image, by another client."""
    with ceph_driver.pool_of(ceph) as io, journal.rbd.Image(io, volume.image, read_only=True) as image:
        return image.read(offset, n)


def watchers(ceph, volume):
    with ceph_driver.pool_of(ceph) as io, journal.rbd.Image(io, volume.image, read_only=True) as image:
        return [watcher['addr'] for watcher in image.watchers_list()]


def until_forgotten(call):
    """As a CO repeats it while the dead client's watch is still seen."""
    def attempt():
        try:
            call()
        except grpc.RpcError as e:
            assert e.code() == Code.FAILED_PRECONDITION and 'still in use' in e.details(), f'{e.code()}: {e.details()}'
            return False
        return True
    wait_until('its watch is not seen any more', attempt, WATCHED_S + ceph_node.PATIENCE)


@pytest.mark.parametrize('fs', ['ext4', 'xfs'])
def test_a_volume_lives(ceph, controller, node, fs):
    """Mapped with the key in no file, growing in use; a snapshot of it is what it was, also beside it on the same node."""
    v = Volume(controller, node, f'pv-life-{fs}', mount_cap(fs)).up()
    (number, image), = node.maps().items()
    assert image == v.image
    assert ceph.secrets()['userKey'] not in node.attribute(number, 'config_info')
    assert node.attribute(number, 'client_addr').startswith(f'{ceph_node.address_of(1)}:0/')
    v.write('a', BYTES)

    snap = controller.snapshot(f'snap-{fs}', v.id)
    v.write('a', BYTES[::-1])
    restored = Volume(controller, node, f'pv-restored-{fs}', v.cap,
                      made=controller.restore(f'pv-restored-{fs}', snap.snapshot_id, 400 * MIB, caps=[v.cap])).up()
    assert len(node.maps()) == 2
    assert restored.read('a', len(BYTES)) == BYTES
    assert v.read('a', len(BYTES)) == BYTES[::-1]

    controller.expand(v.id, GIB)
    node.calls.node_expand(v.id, v.target, GIB, staging_target_path=v.staging)
    assert node.look(v.target)[0] > 900 * MIB
    v.write('b', BYTES)
    v.down().up()
    assert node.look(v.target)[0] > 900 * MIB
    assert (v.read('a', len(BYTES)), v.read('b', len(BYTES))) == (BYTES[::-1], BYTES)

    for volume in restored, v:
        volume.down()
    assert node.is_bare()
    restored.delete()
    controller.delete_snapshot(snap.snapshot_id)
    v.delete()


def test_a_raw_device_is_the_image(ceph, controller, node):
    v = Volume(controller, node, 'pv-raw', block_cap()).up()
    node.write(v.target, 5 * MIB, BYTES)
    assert image_bytes(ceph, v, 5 * MIB, len(BYTES)) == BYTES
    assert node.look(v.target)[0] == 400 * MIB
    controller.expand(v.id, GIB)
    node.calls.node_expand(v.id, v.target, GIB, staging_target_path=v.staging)
    assert node.look(v.target)[0] == GIB
    v.down().delete()


def test_pods_are_held_to_the_limits_of_the_image(controller, node):
    """They are librbd's settings, of which the kernel's client knows nothing: a pod's cgroup has them that were there when the volume
    was staged, also after a kill of the agent, and others from the next staging on."""
    pods.make_kubepods(node)
    cap, uid = mount_cap('ext4'), str(uuid.uuid4())
    v = Volume(controller, node, 'pv-limits', cap,
               made=controller.create('pv-limits', 400 * MIB, [cap], parameters=ceph_driver.class_of(),
                                      mutable_parameters={'writeIOPS': '10'}))
    v.target = f'/pool/kubelet/pods/{uid}/volumes/kubernetes.io~csi/pv-limits/mount'
    node.make_dir(v.target.rpartition('/')[0])
    pod = pods.Group(node, uid, f'{v.target}/file').start()

    def up():
        v.stage()
        node.calls.publish(v.id, v.staging, v.target, cap, volume_context=v.context)

    def down():
        node.calls.unpublish(v.id, v.target)
        assert pod.is_limited()
        v.unstage()

    up()
    assert pod.is_limited(wiops=10)
    pod.direct_writes(60)  # so that the place is there
    writes = 60 / pod.direct_writes(60)
    controller.modify(v.id, {'writeIOPS': 'max', 'readIOPS': '10'})
    node.kill_driver()
    pods.write(node, f'{pod.group}/io.max', f'{next(iter(pod.limits()))} wiops=max')
    node.spawn_driver()
    wait_until('it is limited after a kill', lambda: pod.is_limited(wiops=10), ceph_node.PATIENCE)
    down()
    up()
    assert pod.is_limited(riops=10)
    reads = 60 / pod.direct_reads(60)
    free_writes = 60 / pod.direct_writes(60)
    print(f'a second: limited to 10: {writes:.1f} writes, {reads:.1f} reads; without a limit {free_writes:.0f} writes')
    assert writes < 12 and reads < 12 and free_writes > 2 * writes
    controller.modify(v.id, {'readIOPS': 'max'})
    down()
    up()
    assert pod.is_limited()
    down()
    pod.remove()
    v.delete()


def test_read_only_is_so_in_the_kernel(ceph, controller, node):
    """By the mount where a pod asks for it, and by the map where the claim does."""
    v = Volume(controller, node, 'pv-ro', mount_cap('ext4')).stage().publish(readonly=True)
    with pytest.raises(Failed, match='Read-only'):
        v.write('a', b'x')
    node.calls.unpublish(v.id, v.target)
    v.publish().write('a', BYTES)
    v.down().delete()

    v = Volume(controller, node, 'pv-reader', block_cap(Mode.SINGLE_NODE_READER_ONLY)).stage().publish(readonly=True)
    assert node.read(f'/sys/block/rbd{next(iter(node.maps()))}/ro', 0, 8) == b'1\n'
    with pytest.raises(Failed, match='ermi'):
        node.write(v.target, 0, b'x')
    assert not watchers(ceph, v)
    v.down().delete()


@pytest.mark.parametrize('options', ['queue_depth=64,alloc_size=65536', 'ms_mode=crc', 'ms_mode=secure'])
def test_the_class_s_options_are_the_kernel_s(ceph, controller, node, options):
    """Those of the second protocol go to the monitors' other port."""
    node.set_monitors([ceph_node.CLUSTER_ADDRESS])
    v = Volume(controller, node, 'pv-options', mapOptions=f'krbd:{options}').up()
    said = node.attribute(*node.maps(), 'config_info')
    assert f',{options} ' in said and said.startswith(f'{ceph_node.CLUSTER_ADDRESS}:{3300 if "ms_mode" in options else 6789} ')
    v.write('a', BYTES)
    v.down().delete()
    node.set_monitors(ceph.monitors)


def test_what_the_kernel_does_not_take_is_said(ceph, controller, node):
    v = Volume(controller, node, 'pv-wrong', mapOptions='krbd:no_such_option')
    with fails(Code.INVALID_ARGUMENT, "the map options 'no_such_option'"):
        v.stage()
    v.delete()
    v = Volume(controller, node, 'pv-unlocked', mapOptions='krbd:lock_on_read')
    with fails(Code.FAILED_PRECONDITION, "'lock_on_read'", 'exclusive-lock'):
        v.stage()
    v.delete()

    v = Volume(controller, node, 'pv-features', imageFeatures='layering,exclusive-lock')
    with ceph_driver.pool_of(ceph) as io, journal.rbd.Image(io, v.image) as image:
        image.update_features(journal.rbd.RBD_FEATURE_JOURNALING, True)
    with fails(Code.FAILED_PRECONDITION, 'journaling', 'mounter=fuse'):
        v.stage()
    assert node.is_bare()
    with ceph_driver.pool_of(ceph) as io, journal.rbd.Image(io, v.image) as image:
        image.update_features(journal.rbd.RBD_FEATURE_JOURNALING, False)
    v.stage()
    node.calls.unstage(v.id, v.staging)
    v.delete()


def test_who_keeps_a_device_is_named(controller, node):
    v = Volume(controller, node, 'pv-busy').stage()
    number, = node.maps()
    pid = node.ask('start', '/run/holder.log', 'sh', '-c', f'exec sleep 1000 < /dev/rbd{number}').decode()
    with fails(Code.FAILED_PRECONDITION, f'unmap \'/dev/rbd{number}\': it is in use', pid):
        node.calls.unstage(v.id, v.staging)
    ceph_node.end(node, pid)
    node.calls.unstage(v.id, v.staging)
    assert node.is_bare()
    v.delete()


def test_an_agent_that_is_killed_leaves_nothing(controller, node, rng):
    """While it stages and while it unstages; either call, whichever comes next, ends what was begun."""
    v = Volume(controller, node, 'pv-killed')
    began = time.monotonic()
    v.up()
    took = time.monotonic() - began
    v.write('a', BYTES)
    v.down()
    cut = 0
    for n in range(5):
        cut += not kill_within(node, v.stage, rng.uniform(0.02, took))
        if n % 2:
            node.calls.unstage(v.id, v.staging)
            assert node.is_bare()
        v.up()
        assert v.read('a', len(BYTES)) == BYTES
        node.calls.unpublish(v.id, v.target)
        cut += not kill_within(node, lambda: node.calls.unstage(v.id, v.staging), rng.uniform(0.02, 1))
        node.calls.unstage(v.id, v.staging)
        assert node.is_bare()
    print(f'killed in mid-call: {cut} of 10')
    assert cut > 0
    v.delete()


@pytest.mark.parametrize('fs', ['ext4', 'xfs'])
def test_what_was_synced_outlives_a_power_cut(ceph, controller, machines, node, fs):
    """In use when the power goes. The next boot has neither map nor mount; the CO stages it anew."""
    v = Volume(controller, node, f'pv-cut-{fs}', mount_cap(fs)).up()
    v.write('a', BYTES)
    v.write('b', BYTES, sync=False)
    machines.cut()
    v.node = machines.boot()
    assert v.node.is_bare()
    until_forgotten(v.stage)
    v.publish()
    assert v.read('a', len(BYTES)) == BYTES
    v.down().delete()


@pytest.fixture
def nodes(top):
    if api_nodes.missing():
        pytest.skip(f'fencing: SKIPPED: {api_nodes.missing()}')
    found = api_nodes.Nodes(top)
    try:
        found.add('n1', ceph_node.address_of(1))
        yield found
    finally:
        found.close()


@pytest.fixture
def fencer(ceph, nodes, tmp_path):
    """A controller that shuts lost nodes out."""
    driver = ceph_driver.Driver(tmp_path, ceph, '--controllerserver', '--fence-nodes', f'--kubeconfig={nodes.kubeconfig}').start()
    try:
        driver.calls.secrets = ceph.secrets(cluster.FENCER)
        yield driver.calls
        driver.stop()
    finally:
        driver.end()


def attach(calls, volume):
    return calls._call(calls.controller.ControllerPublishVolume, csi.ControllerPublishVolumeRequest(
        volume_id=volume.id, node_id='n1', volume_capability=volume.cap))


def detach(calls, volume):
    return calls._call(calls.controller.ControllerUnpublishVolume, csi.ControllerUnpublishVolumeRequest(
        volume_id=volume.id, node_id='n1'))


@pytest.mark.parametrize('fs', ['', 'ext4', 'xfs'])
def test_a_kernel_that_is_shut_out_writes_no_more(ceph, controller, node, nodes, fencer, fs):
    """What it holds it writes to in vain, and gives back; it maps nothing again until it is let in. Then all is there that was
    synced before, and nothing that was written late."""
    v = Volume(controller, node, f'pv-shut-out-{fs}', mount_cap(fs) if fs else block_cap())
    path = f'{v.target}/a' if fs else v.target
    attach(fencer, v)
    v.up()
    nodes.use('n1', ceph_driver.NAME, v.id)
    node.write(path, 0, BYTES)
    with ceph_driver.pool_of(ceph) as io, journal.rbd.Image(io, v.image, read_only=True) as image:
        name, address = image.metadata_get('cleat/client').split()[:2]
    assert name == 'n1' and watchers(ceph, v) == [address]

    nodes.fall_silent('n1')
    nodes.taint('n1', api_nodes.OUT_OF_SERVICE)
    detach(fencer, v)
    assert not watchers(ceph, v)
    wait_until('a late write is refused', lambda: is_refused(node.write, path, 0, BYTES[::-1]), 60)
    if not fs:
        assert image_bytes(ceph, v, 0, len(BYTES)) == BYTES
    v.down()
    assert node.is_bare()
    with fails(Code.UNAVAILABLE, 'blocklist'):
        v.stage()
    assert node.is_bare()

    nodes.taint('n1')
    nodes.use('n1', ceph_driver.NAME)
    with fails(Code.FAILED_PRECONDITION, "node 'n1' was lost"):
        attach(fencer, v)
    nodes.boot('n1')
    attach(fencer, v)

    def is_up():
        try:
            v.up()
        except grpc.RpcError as e:
            assert e.code() == Code.UNAVAILABLE and 'blocklist' in e.details(), f'{e.code()}: {e.details()}'
            return False
        return True
    wait_until('the OSD has heard of it', is_up, ceph_node.PATIENCE)
    assert node.read(path, 0, len(BYTES)) == BYTES
    v.down()
    detach(fencer, v)
    v.delete()
