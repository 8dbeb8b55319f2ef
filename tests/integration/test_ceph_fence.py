# SPDX-License-Identifier: Apache-2.0
"""Nodes that are lost are shut out of a real Ceph, and let in again: two nodes with networks of their own, a controller, and an
API server that says how the nodes are. The nodes' images are served by a process of ours; what a kernel with a client does when it
is shut out is in tests/guest."""
import contextlib
import os
import pathlib
import random
import subprocess

import api_nodes
import ceph_driver
import cluster
import grpc
import harness
import pytest
from apiserver import WITH_US
from ceph_driver import NAME, pool_of
from harness import MIB, Code, block_cap, fails, wait_until

journal = pytest.importorskip('journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
A, B = b'a' * MIB, b'b' * MIB
CLIENT = 'cleat/client'


class Network:
    """A namespace behind a link of its own; its end here goes with it."""

    def __init__(self, number, name):
        self.name = name
        self.here, self.there = f'198.18.{number}.1', f'198.18.{number}.11'   # of no network (RFC 2544)
        self.holder = subprocess.Popen([*WITH_US, 'unshare', '--net', 'sh', '-c', 'echo up && exec sleep infinity'],
                                       stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == 'up\n'
        link = f'cleat{number}'
        harness.sh('ip', 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', self.holder.pid)
        harness.sh('ip', 'address', 'add', f'{self.here}/24', 'dev', link)
        harness.sh('ip', 'link', 'set', link, 'up')
        for words in (f'address add {self.there}/24 dev eth0', 'link set lo up', 'link set eth0 up', f'route add default via {self.here}'):
            harness.sh(*self.inside('ip', *words.split()))

    def inside(self, *words):
        return [*WITH_US, 'nsenter', f'--net=/proc/{self.holder.pid}/ns/net', '--', *words]

    def close(self):
        self.holder.kill()
        self.holder.wait()


class Node(ceph_driver.Driver):
    """The driver of a node, in the node's network."""

    def __init__(self, directory, ceph, network, secrets):
        directory.mkdir()
        super().__init__(directory, ceph, '--nodeserver', f'--state-dir={directory}/state')
        (directory / 'state').mkdir()
        self.network, self.own_secrets = network, secrets
        self.words[self.words.index('--nodeid=n1')] = f'--nodeid={network.name}'

    def spawn(self):
        self.n_starts += 1
        program, *words = self.network.inside(self.program, *self.words)
        self.process = harness.Process(self.dir / f'cleat-{self.n_starts}.log', *words, program=program)
        self.connect()

    def secrets(self):
        return self.own_secrets


class Volume:
    """Raw, so that what is in it is what was written."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        made = lab.controller.calls.create(name, 16 * MIB, [block_cap()])
        self.id, self.context = made.volume_id, dict(made.volume_context)
        lab.volumes.append(self)

    def paths(self, node):
        staging, target = node.dir / f'{self.name}-staging', node.dir / f'{self.name}-target'
        staging.mkdir(exist_ok=True)
        return staging, target

    def attach(self, node):
        controller = self.lab.controller.calls
        controller._call(controller.controller.ControllerPublishVolume, harness.csi.ControllerPublishVolumeRequest(
            volume_id=self.id, node_id=node.network.name, volume_capability=block_cap()))

    def detach(self, node):
        controller = self.lab.controller.calls
        controller._call(controller.controller.ControllerUnpublishVolume, harness.csi.ControllerUnpublishVolumeRequest(
            volume_id=self.id, node_id=node.network.name))

    def up(self, node):
        staging, target = self.paths(node)
        node.calls.stage(self.id, staging, block_cap(), volume_context=self.context)
        node.calls.publish(self.id, staging, target, block_cap(), volume_context=self.context)
        self.lab.nodes.use(node.network.name, NAME, self.id)
        return target

    def down(self, node):
        staging, target = self.paths(node)
        node.calls.unpublish(self.id, target)
        node.calls.unstage(self.id, staging)
        self.lab.nodes.use(node.network.name, NAME)

    def image(self, io):
        return journal.rbd.Image(io, self.context['imageName'], read_only=True)

    def bytes(self, n=MIB):
        with pool_of(self.lab.ceph) as io, self.image(io) as image:
            return image.read(0, n)

    def client(self):
        """The node that its metadata name, and where it is; None."""
        with pool_of(self.lab.ceph) as io, self.image(io) as image, contextlib.suppress(KeyError):
            return tuple(image.metadata_get(CLIENT).split()[:2])
        return None


def write(path, data):
    """Past the page cache, and synced."""
    with open(path, 'r+b', buffering=0) as f:
        f.write(data)
        os.fsync(f.fileno())


def is_refused(path, data):
    try:
        write(path, data)
    except OSError:
        return True
    return False


class Lab:
    def __init__(self, top, ceph, networks, nodes, stack):
        """stack: ends what was begun."""
        self.ceph, self.networks, self.nodes, self.volumes = ceph, networks, nodes, []
        secrets = ceph.secrets(cluster.FENCER)
        (top / 'controller').mkdir()
        self.controller = ceph_driver.Driver(top / 'controller', ceph, '--controllerserver', '--fence-nodes',
                                             f'--kubeconfig={nodes.kubeconfig}')
        self.workers = [Node(top / network.name, ceph, network, secrets) for network in networks]
        for driver in self.controller, *self.workers:
            stack.callback(driver.end)
            driver.start()
        stack.callback(self.take_down)
        self.controller.calls.secrets = secrets

    def take_down(self):
        """Whatever a test that failed left up goes with it."""
        for volume in self.volumes:
            for worker in self.workers:
                with contextlib.suppress(grpc.RpcError, AssertionError):
                    volume.down(worker)

    def blocked(self):
        return set(self.ceph.command(prefix='osd dump')['blocklist'])


@pytest.fixture
def lab(top, work):
    lacking = cluster.missing() or api_nodes.missing()
    if lacking:
        pytest.skip(f'fencing: SKIPPED: {lacking}')
    with contextlib.ExitStack() as stack:
        number = random.randrange(0, 250, 2)
        networks = []
        for i, name in enumerate(('n1', 'n2')):
            networks.append(Network(number + i, name))
            stack.callback(networks[-1].close)
        ceph = stack.enter_context(cluster.opened(address=networks[0].here))
        nodes = api_nodes.Nodes(top)
        stack.callback(nodes.close)
        for network in networks:
            nodes.add(network.name, network.there)
        yield Lab(work, ceph, networks, nodes, stack)


def test_a_node_that_is_lost_writes_no_more(lab):
    """It runs on and holds its device; what it writes late is refused, what the next node writes stays. Mapping again, from the same
    address, is refused as well, until it is back."""
    first, second = lab.workers
    here = lab.networks[0].there
    v = Volume(lab, 'pv-fenced')
    v.attach(first)
    held = v.up(first)
    write(held, A)
    assert v.bytes() == A
    assert v.client()[0] == 'n1' and v.client()[1].startswith(f'{here}:0/')

    # a detach that is forced without the taint shuts nobody out, and the next node is told who has it
    lab.nodes.fall_silent('n1')
    v.detach(first)
    v.attach(second)
    with fails(Code.FAILED_PRECONDITION, 'still in use', here, "node 'n1'", 'out-of-service'):
        v.up(second)
    assert f'{here}:0/0' not in lab.blocked()

    lab.nodes.taint('n1', api_nodes.OUT_OF_SERVICE)
    v.detach(first)
    assert f'{here}:0/0' in lab.blocked()
    assert v.client() is None
    wait_until('its watch has told', lambda: is_refused(held, B), 10)
    taken = v.up(second)
    assert pathlib.Path(taken).open('rb').read(MIB) == A
    with pytest.raises(OSError):
        write(held, B)
    assert v.bytes() == A
    write(taken, B[::-1])
    assert v.client()[0] == 'n2'

    # the same address, another client
    v.down(first)
    other = Volume(lab, 'pv-other')
    with fails(Code.FAILED_PRECONDITION, "node 'n1' was lost"):
        other.attach(first)
    with fails(Code.UNAVAILABLE, 'blocklist'):
        other.up(first)
    assert v.bytes() == B

    # back: without the taint, ready, and it has no volume of before
    lab.nodes.taint('n1')
    with fails(Code.FAILED_PRECONDITION, "node 'n1' was lost"):
        other.attach(first)
    lab.nodes.boot('n1')
    other.attach(first)
    assert f'{here}:0/0' not in lab.blocked()
    wait_until('the OSD has heard of it', lambda: is_up(other, first))
    write(other.paths(first)[1], A)
    assert other.bytes() == A
    for volume, node in (other, first), (v, second):
        volume.down(node)
        volume.detach(node)
        ceph_driver.settled(lab.controller.calls.delete, volume.id)


def is_up(volume, node):
    try:
        volume.up(node)
    except grpc.RpcError as e:
        assert e.code() == Code.UNAVAILABLE and 'blocklist' in e.details(), f'{e.code()}: {e.details()}'
        return False
    return True


def test_what_was_given_back_fences_nobody(lab):
    """After an unstaging the image names no client; a node that goes then, for good, leaves its address to whoever gets it."""
    first, _ = lab.workers
    v = Volume(lab, 'pv-back')
    v.attach(first)
    v.up(first)
    assert v.client()[0] == 'n1'
    v.down(first)
    wait_until('the image names nobody', lambda: v.client() is None)
    v.detach(first)
    lab.nodes.remove('n1')
    v.detach(first)
    assert not {address for address in lab.blocked() if address.endswith(':0/0')}
    with fails(Code.NOT_FOUND, "no node 'n1'"):
        v.attach(first)
    ceph_driver.settled(lab.controller.calls.delete, v.id)


STORAGE = '/apis/storage.k8s.io/v1'


@pytest.fixture
def attacher(lab, work):
    """Ours, as the chart starts it where nodes are fenced; and the objects that a volume is attached by."""
    nodes = lab.nodes
    nodes.probe.call('create /api/v1/namespaces/default/secrets', {
        'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'ceph'}, 'stringData': lab.controller.calls.secrets})
    nodes.probe.call(f'create {STORAGE}/csinodes', {
        'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSINode', 'metadata': {'name': 'n1'},
        'spec': {'drivers': [{'name': NAME, 'nodeID': 'n1', 'topologyKeys': []}]}})
    kubeconfig = nodes.cluster.kubeconfig('attacher', nodes.door.port, {'token': 'admin-token'})
    process = harness.Process(work / 'attacher.log', 'controller', '--controllers=attacher', '--attacher-lend-expand-secret',
                              f'--csi-address=unix://{lab.controller.socket}', f'--kubeconfig={kubeconfig}')
    yield process
    process.kill()


def test_the_taint_alone_shuts_a_node_out(lab, attacher):
    """By what Kubernetes does then: it takes the VolumeAttachment away. The volume's class is one of ceph-csi's, with a secret for
    growing and none for attaching. The next attachment lets the node in, once it is back."""
    first, _ = lab.workers
    probe, here = lab.nodes.probe, f'{lab.networks[0].there}:0/0'
    v = Volume(lab, 'pv-tainted')
    probe.call('create /api/v1/persistentvolumes', {
        'apiVersion': 'v1', 'kind': 'PersistentVolume', 'metadata': {'name': v.name},
        'spec': {'accessModes': ['ReadWriteOnce'], 'capacity': {'storage': '16Mi'}, 'volumeMode': 'Block',
                 'persistentVolumeReclaimPolicy': 'Retain',
                 'csi': {'driver': NAME, 'volumeHandle': v.id,
                         'controllerExpandSecretRef': {'name': 'ceph', 'namespace': 'default'}}}})

    def attachment():
        answer = probe.ask(f'get {STORAGE}/volumeattachments/va')
        return api_nodes.apiserver.json.loads(answer[3:]) if answer.startswith('ok') else None

    def attach():
        probe.call(f'create {STORAGE}/volumeattachments', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'VolumeAttachment', 'metadata': {'name': 'va'},
            'spec': {'attacher': NAME, 'nodeName': 'n1', 'source': {'persistentVolumeName': v.name}}})

    def is_attached():
        return attachment().get('status', {}).get('attached')

    attach()
    wait_until('it is attached', is_attached)
    held = v.up(first)
    write(held, A)
    lab.nodes.fall_silent('n1')
    lab.nodes.taint('n1', api_nodes.OUT_OF_SERVICE)
    probe.call(f'delete {STORAGE}/volumeattachments/va')
    wait_until('it is detached', lambda: attachment() is None)
    assert here in lab.blocked()
    wait_until('its watch has told', lambda: is_refused(held, B), 10)
    assert v.bytes() == A

    v.down(first)
    lab.nodes.taint('n1')
    attach()
    wait_until('the attachment says why it waits',
               lambda: "node 'n1' was lost" in attachment().get('status', {}).get('attachError', {}).get('message', ''))
    lab.nodes.boot('n1')
    wait_until('it is attached', is_attached)
    assert here not in lab.blocked()
    probe.call(f'delete {STORAGE}/volumeattachments/va')
    wait_until('it is detached', lambda: attachment() is None)
    ceph_driver.settled(lab.controller.calls.delete, v.id)


def test_whoever_may_not_ask_about_nodes_detaches_nothing(lab):
    """The API server's refusal is the call's: nothing is taken for lost, or for well, that is not known."""
    first, _ = lab.workers
    v = Volume(lab, 'pv-asked')
    lab.nodes.probe.ask(f'delete {api_nodes.RBAC}/clusterrolebindings/driver')
    with fails(Code.PERMISSION_DENIED, "whether node 'n1' is lost", 'nodes'):
        v.detach(first)
    ceph_driver.settled(lab.controller.calls.delete, v.id)
