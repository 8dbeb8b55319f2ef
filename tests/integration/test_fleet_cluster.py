# SPDX-License-Identifier: Apache-2.0
"""`cleat controller --agents` against a real API server and three real drivers, each a node's. The test is the scheduler and the
controller-manager. Needs kube-apiserver and etcd; without them it is skipped, and says so."""
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
CLAIMS = f'{CORE}/namespaces/default/persistentvolumeclaims'


class Fleet:
    def __init__(self, cluster, probe, directory):
        self.cluster, self.probe, self.dir = cluster, probe, directory
        self.drivers, self.controller = {}, None

    def add_node(self, name):
        """As kubelet makes them known: the pool is a label of the node, and a key of its CSINode."""
        directory = self.dir / name
        directory.mkdir()
        driver = Driver(directory, None, '--backend=mem', '--mem-size=4Gi', node=name).start()
        segments = dict(driver.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments)
        self.probe.call(f'create {CORE}/nodes', {
            'apiVersion': 'v1', 'kind': 'Node', 'metadata': {'name': name, 'labels': segments}})
        self.probe.call(f'create {STORAGE}/csinodes', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSINode', 'metadata': {'name': name},
            'spec': {'drivers': [{'name': DRIVER, 'nodeID': name, 'topologyKeys': list(segments)}]}})
        self.drivers[name] = driver

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

    def start(self):
        config = self.cluster.kubeconfig('fleet', PORT, {'token': 'admin-token'})
        agents = ','.join(f'unix://{d.socket}' for d in self.drivers.values())
        self.log = self.dir / 'controller.log'
        words = [CLEAT, 'controller', f'--agents={agents}', '--controllers=provisioner', f'--kubeconfig={config}',
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


@pytest.fixture
def fleet(work, top):
    cluster = apiserver.Cluster(pathlib.Path(tempfile.mkdtemp(prefix='fleet-', dir=top)), SERVER, ETCD)
    try:
        cluster.start(PORT)
        probe = apiserver.Probe(cluster, cluster.kubeconfig('test', PORT, {'token': 'admin-token'}), work / 'probe.log')
        f = Fleet(cluster, probe, work)
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
