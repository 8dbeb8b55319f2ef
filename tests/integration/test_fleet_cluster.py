# SPDX-License-Identifier: Apache-2.0
"""`cleat controller --agents` against a real API server and three real drivers, each a node's. The test is the scheduler and the
controller-manager. Needs kube-apiserver and etcd; without them it is skipped, and says so."""
import json
import pathlib
import subprocess
import tempfile

import pytest

import apiserver
from harness import CLEAT, DRIVER, PATIENCE, Driver, csi, starting, wait_until

SERVER, ETCD = apiserver.find_programs()
MISSING = '; '.join(why for is_there, why in (
    (SERVER, 'not built yet: kube-apiserver (tests/tools/build kubernetes, 10 minutes once; make e2e does it)'),
    (ETCD, 'the machine lacks etcd (tools/deps e2e)')) if not is_there)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'SKIPPED: {MISSING}')

PORT, HTTP = 6443, 9812
STORAGE, CORE = '/apis/storage.k8s.io/v1', '/api/v1'
SLICES = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices'
CLAIMS = f'{CORE}/namespaces/default/persistentvolumeclaims'


class Fleet:
    def __init__(self, cluster, probe, directory):
        self.cluster, self.probe, self.dir = cluster, probe, directory
        self.drivers, self.controller = {}, None

    def add_driver(self, name):
        """Its segments."""
        directory = self.dir / name
        directory.mkdir()
        self.drivers[name] = driver = Driver(directory, None, '--backend=mem', '--mem-size=4Gi', node=name).start()
        return dict(driver.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments)

    def add_node(self, name):
        """As kubelet makes them known: the pool is a label of the node, and a key of its CSINode."""
        segments = self.add_driver(name)
        self.probe.call(f'create {CORE}/nodes', {
            'apiVersion': 'v1', 'kind': 'Node', 'metadata': {'name': name, 'labels': segments}})
        self.probe.call(f'create {STORAGE}/csinodes', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSINode', 'metadata': {'name': name},
            'spec': {'drivers': [{'name': DRIVER, 'nodeID': name, 'topologyKeys': list(segments)}]}})

    def add_class(self, name, mode):
        self.probe.call(f'create {STORAGE}/storageclasses', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'StorageClass', 'metadata': {'name': name}, 'provisioner': DRIVER,
            'volumeBindingMode': mode})

    def claim(self, name, storage_class, **annotations):
        self.probe.call(f'create {CLAIMS}', {
            'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim',
            'metadata': {'name': name, 'annotations': {'volume.kubernetes.io/storage-provisioner': DRIVER, **annotations}},
            'spec': {'storageClassName': storage_class, 'accessModes': ['ReadWriteOnce'],
                     'resources': {'requests': {'storage': '16Mi'}}}})

    def volumes(self):
        """Of each claim that has one, the node whose driver has it by the PV, and by the driver."""
        found = {}
        for pv in self.probe.call(f'get {CORE}/persistentvolumes')['items']:
            handle = pv['spec']['csi']['volumeHandle']
            terms = pv['spec']['nodeAffinity']['required']['nodeSelectorTerms']
            keys = [e['key'] for term in terms for e in term['matchExpressions']]
            found[pv['spec']['claimRef']['name']] = (handle, keys)
        return found

    def node_of(self, handle):
        return [n for n, d in self.drivers.items() if d.process.child.poll() is None and
                handle in [v.volume_id for v in d.calls.volumes()]]

    def agents(self):
        return ['--agents=' + ','.join(f'unix://{d.socket}' for d in self.drivers.values())]

    def start(self):
        config = self.cluster.kubeconfig('fleet', PORT, {'token': 'admin-token'})
        self.log = self.dir / 'controller.log'
        words = [CLEAT, 'controller', *self.agents(), '--controllers=provisioner', f'--kubeconfig={config}',
                 f'--http-endpoint=127.0.0.1:{HTTP}', '--retry-interval-max=1s']
        with starting, open(self.log, 'ab') as f:
            self.controller = subprocess.Popen(self.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL)
        wait_until('it works', lambda: 'driver is ready' in self.log.read_text())

    def page(self, path):
        done = subprocess.run(self.cluster.inside(['curl', '-s', f'http://127.0.0.1:{HTTP}{path}']), capture_output=True, text=True,
                              check=False)
        return done.stdout

    def end(self):
        if self.controller:
            self.controller.terminate()
            assert self.controller.wait(PATIENCE) == 0, self.log.read_text()
        for d in self.drivers.values():
            d.end()


class Behind(Fleet):
    """The agents are behind a Service: each a slice of its own, as they differ in their ports here, all in the cluster's namespace."""

    def __init__(self, *args):
        super().__init__(*args)
        self.ports, self.processes = {}, {}

    def address(self, name):
        return f'tcp://{apiserver.SELF}:{self.ports[name]}'

    def run(self, name):
        words = [CLEAT, 'driver', f'--endpoint={self.address(name)}', '--insecure', f'--node-id={name}', '--backend=mem', '--mem-size=4Gi']
        with starting, open(self.dir / f'{name}.log', 'ab') as f:
            self.processes[name] = subprocess.Popen(self.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL)

    def ctl(self, name, *words):
        done = subprocess.run(self.cluster.inside([CLEAT, 'ctl', *words, '-ojson', '--insecure', f'--endpoint={self.address(name)}']),
                              capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def add_driver(self, name):
        self.ports[name] = 10001 + len(self.ports)
        self.run(name)
        facts = wait_until('it answers', lambda: self.ctl(name, 'info'))
        self.slice(name)
        return facts['accessible_topology']

    def slice(self, name, verb='create', **conditions):
        body = {
            'apiVersion': 'discovery.k8s.io/v1', 'kind': 'EndpointSlice', 'addressType': 'IPv4',
            'metadata': {'name': f'agents-{name}', 'labels': {'kubernetes.io/service-name': 'agents'}},
            'endpoints': [{'addresses': [apiserver.SELF], 'nodeName': name, 'conditions': conditions}],
            'ports': [{'name': 'other', 'port': 1}, {'name': 'agent', 'port': self.ports[name], 'protocol': 'TCP'}]}
        self.probe.call(f'{verb} {SLICES}', body)

    def agents(self):
        return ['--agents-service=default/agents', '--insecure']

    def node_of(self, handle):
        return [n for n in self.processes if any(v['volume_id'] == handle for v in (self.ctl(n, 'volume', 'list') or {'items': []})['items'])]

    def end(self):
        super().end()
        for p in self.processes.values():
            p.kill()
            p.wait()


def brought_up(kind, work, top):
    cluster = apiserver.Cluster(pathlib.Path(tempfile.mkdtemp(prefix='fleet-', dir=top)), SERVER, ETCD)
    try:
        cluster.start(PORT)
        probe = apiserver.Probe(cluster, cluster.kubeconfig('test', PORT, {'token': 'admin-token'}), work / 'probe.log')
        f = kind(cluster, probe, work)
        try:
            for name in 'n1', 'n2', 'n3':
                f.add_node(name)
            f.add_class('now', 'Immediate')
            f.add_class('later', 'WaitForFirstConsumer')
            f.start()
            yield f
        finally:
            f.end()
            probe.close()
    finally:
        cluster.close()


@pytest.fixture
def fleet(work, top):
    yield from brought_up(Fleet, work, top)


@pytest.fixture
def behind(work, top):
    yield from brought_up(Behind, work, top)


def test_claims_land_on_the_nodes_that_they_are_for_and_one_that_is_away_holds_up_its_own(fleet):
    for i in range(9):
        fleet.claim(f'now-{i}', 'now')
    for node in fleet.drivers:
        fleet.claim(f'on-{node}', 'later', **{'volume.kubernetes.io/selected-node': node})
    wait_until('all have volumes', lambda: len(fleet.volumes()) == 12)
    made = fleet.volumes()
    for claim, (handle, keys) in made.items():
        (node,) = fleet.node_of(handle)
        assert len(keys) == 1 and keys[0].split('/')[1] in handle   # the PV is where its pool is
        if claim.startswith('on-'):
            assert claim == f'on-{node}'
    assert len({fleet.node_of(made[f'now-{i}'][0])[0] for i in range(9)}) > 1
    assert 'cleat_nodes{state="reachable"} 3' in fleet.page('/metrics')

    fleet.drivers['n2'].kill()
    for node in fleet.drivers:
        fleet.claim(f'again-{node}', 'later', **{'volume.kubernetes.io/selected-node': node})
    wait_until('the others have volumes', lambda: {'again-n1', 'again-n3'} <= set(fleet.volumes()))
    assert 'again-n2' not in fleet.volumes()
    wait_until('it is told', lambda: 'cleat_nodes{state="away"} 1' in fleet.page('/metrics'), 90)
    ready = fleet.page('/readyz')
    assert ready.startswith('ok\n') and str(fleet.drivers['n2'].socket) in ready

    def said():
        events = fleet.probe.call(f'get {CORE}/namespaces/default/events')['items']
        return [e['message'] for e in events if e['involvedObject']['name'] == 'again-n2' and str(fleet.drivers['n2'].socket) in e['message']]
    wait_until('the claim is told which node it waits for', said)


def test_agents_behind_a_service_come_and_go(behind):
    for node in behind.ports:
        behind.claim(f'on-{node}', 'later', **{'volume.kubernetes.io/selected-node': node})
    wait_until('all have volumes', lambda: len(behind.volumes()) == 3)
    for claim, (handle, _) in behind.volumes().items():
        assert behind.node_of(handle) == [claim.removeprefix('on-')]

    behind.add_node('n4')   # a machine more
    behind.claim('on-n4', 'later', **{'volume.kubernetes.io/selected-node': 'n4'})
    wait_until('it has a volume', lambda: 'on-n4' in behind.volumes())
    assert behind.node_of(behind.volumes()['on-n4'][0]) == ['n4']

    behind.probe.call(f'delete {SLICES}/agents-n1')   # one less
    wait_until('it is gone', lambda: 'cleat_nodes{state="reachable"} 3' in behind.page('/metrics'))
    behind.claim('again-n1', 'later', **{'volume.kubernetes.io/selected-node': 'n1'})
    behind.claim('again-n2', 'later', **{'volume.kubernetes.io/selected-node': 'n2'})
    wait_until('the other has a volume', lambda: 'again-n2' in behind.volumes())
    assert 'again-n1' not in behind.volumes()
    behind.slice('n1')
    wait_until('it is back', lambda: 'again-n1' in behind.volumes())
    assert behind.node_of(behind.volumes()['again-n1'][0]) == ['n1']
    assert "a node's driver is a member no more" in behind.log.read_text()
