# SPDX-License-Identifier: Apache-2.0
"""`cleat controller --agents` against a real API server and three real drivers, each a node's. The test is the scheduler and the
controller-manager. Needs kube-apiserver and etcd; without them it is skipped, and says so."""
import json
import os
import pathlib
import signal
import socket
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
    more = ()   # options of the controller
    nodes = 'n1', 'n2', 'n3'
    program = CLEAT   # the controller's
    server, server_flags = apiserver.HOST, ()   # as its clients reach the API server

    @staticmethod
    def program_of(name):
        """The agent's on that node."""
        return CLEAT

    def __init__(self, cluster, probe, directory):
        self.cluster, self.probe, self.dir = cluster, probe, directory
        self.drivers, self.controller = {}, None

    def add_driver(self, name):
        """Its segments."""
        directory = self.dir / name
        directory.mkdir()
        self.drivers[name] = driver = Driver(directory, None, '--backend=mem', '--mem-size=4Gi', node=name,
                                             program=self.program_of(name)).start()
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

    def token(self):
        """Of the controller."""
        return 'admin-token'

    def start(self, controllers='provisioner', **environment):
        config = self.cluster.kubeconfig('fleet', PORT, {'token': self.token()}, self.server)
        self.log = self.dir / 'controller.log'
        words = [self.program, 'controller', *self.agents(), f'--controllers={controllers}', *self.more, f'--kubeconfig={config}',
                 f'--http-endpoint=127.0.0.1:{HTTP}', '--retry-interval-max=1s']
        with starting, open(self.log, 'ab') as f:
            self.controller = subprocess.Popen(self.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL,
                                               env={**os.environ, **environment})
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


class Hasty(Fleet):
    more = ('--timeout=5s',)


class Crowd(Fleet):
    """Beside it many that take a connection and never say a word."""
    n_silent = 60

    def __init__(self, *args):
        super().__init__(*args)
        self.silent = []
        for i in range(self.n_silent):
            self.silent.append(socket.socket(socket.AF_UNIX))
            self.silent[-1].bind(str(self.dir / f's{i}'))
            self.silent[-1].listen(16)

    def agents(self):
        return [super().agents()[0] + ''.join(f',unix://{s.getsockname()}' for s in self.silent)]

    def end(self):
        super().end()
        for s in self.silent:
            s.close()


class Behind(Fleet):
    """The agents are behind a Service: each a slice of its own, as they differ in their ports here, all in the cluster's namespace."""

    families = {'IPv4': apiserver.SELF}

    def __init__(self, *args):
        super().__init__(*args)
        self.ports, self.processes = {}, {}

    def address(self, name):
        return f'tcp://{apiserver.SELF}:{self.ports[name]}'

    def run(self, name):
        words = [self.program_of(name), 'driver', f'--endpoint={self.address(name)}', '--insecure', f'--node-id={name}', '--backend=mem', '--mem-size=4Gi']
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
        for family, address in self.families.items():
            body = {
                'apiVersion': 'discovery.k8s.io/v1', 'kind': 'EndpointSlice', 'addressType': family,
                'metadata': {'name': self.slice_name(name, family), 'labels': {'kubernetes.io/service-name': 'agents'}},
                'endpoints': [{'addresses': [address], 'nodeName': name, 'conditions': conditions}],
                'ports': [{'name': 'other', 'port': 1}, {'name': 'agent', 'port': self.ports[name], 'protocol': 'TCP'}]}
            self.probe.call(f'{verb} {SLICES}', body)

    @staticmethod
    def slice_name(name, family='IPv4'):
        return f'agents-{name}' + ('-6' if family == 'IPv6' else '')

    def agents(self):
        return ['--agents-service=default/agents', '--insecure']

    def node_of(self, handle):
        return [n for n in self.processes if any(v['volume_id'] == handle for v in (self.ctl(n, 'volume', 'list') or {'items': []})['items'])]

    def end(self):
        super().end()
        for p in self.processes.values():
            p.kill()
            p.wait()


def brought_up(kind, work, top, *controllers, **environment):
    cluster = apiserver.Cluster(pathlib.Path(tempfile.mkdtemp(prefix='fleet-', dir=top)), SERVER, ETCD)
    try:
        cluster.start(PORT, *kind.server_flags)
        probe = apiserver.Probe(cluster, cluster.kubeconfig('test', PORT, {'token': 'admin-token'}), work / 'probe.log')
        f = kind(cluster, probe, work)
        try:
            for name in f.nodes:
                f.add_node(name)
            f.add_class('now', 'Immediate')
            f.add_class('later', 'WaitForFirstConsumer')
            f.start(*controllers, **environment)
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
def hasty(work, top):
    yield from brought_up(Hasty, work, top)


@pytest.fixture
def crowd(work, top):
    yield from brought_up(Crowd, work, top)


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
    page = fleet.page('/metrics')
    assert 'cleat_nodes{state="reachable"} 3' in page and 'cleat_fleet_pools{state="served"} 3' in page

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
        return [e['message'] for e in events if e['involvedObject'].get('name') == 'again-n2' and str(fleet.drivers['n2'].socket) in e['message']]
    wait_until('the claim is told which node it waits for', said)


def test_who_comes_back_does_not_wait_for_those_that_never_answer(crowd):
    """Looks at these take five seconds each: one after the other they would take half a minute."""
    def count(state):
        lines = crowd.page('/metrics').splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(f'cleat_nodes{{state="{state}"}}')), None)
    wait_until('all are known', lambda: count('reachable') == 3 and crowd.log.read_text().count('is not served') >= crowd.n_silent, 90)
    for d in crowd.drivers.values():
        d.kill()
    wait_until('they are away', lambda: count('reachable') == 0, 90)
    for d in crowd.drivers.values():
        d.start()
    wait_until('they are served again', lambda: count('reachable') == 3, 12)


def test_agents_behind_a_service_come_and_go(behind):
    for node in behind.ports:
        behind.claim(f'on-{node}', 'later', **{'volume.kubernetes.io/selected-node': node})
    wait_until('all have volumes', lambda: len(behind.volumes()) == 3)
    for claim, (handle, _) in behind.volumes().items():
        assert behind.node_of(handle) == [claim.removeprefix('on-')]

    config = behind.cluster.kubeconfig('ctl', PORT, {'token': 'admin-token'})
    words = [CLEAT, 'ctl', 'volume', 'list', '-ojson', '--insecure', f'--kubeconfig={config}']
    listed = subprocess.run(behind.cluster.inside([*words, '--agents-service=default/agents']), capture_output=True, text=True, check=True)
    assert {v['volume_id'] for v in json.loads(listed.stdout)['items']} == {handle for handle, _ in behind.volumes().values()}
    missing = subprocess.run(behind.cluster.inside([*words, '--agents-service=nobody']), capture_output=True, text=True, check=False)
    assert missing.returncode == 1 and 'no EndpointSlice of Service default/nobody' in missing.stderr

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

    # what people see of it, beside the controller
    config = behind.cluster.kubeconfig('ctl', PORT, {'token': 'admin-token'})

    def items(*words):
        done = subprocess.run(behind.cluster.inside([CLEAT, 'ctl', *words, '-ojson', '--insecure', '--agents-service=default/agents',
                                                     f'--kubeconfig={config}']), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)['items']
    assert [(n['node'], n['reachable'], n['pools']) for n in items('node', 'list')] == [(f'n{i}', True, 1) for i in range(1, 5)]
    made = [handle for handle, _ in behind.volumes().values()]
    pools = items('pool', 'list')
    assert [p['node'] for p in pools] == ['n1', 'n2', 'n3', 'n4'] and all(p['available_bytes'] > 1 << 30 for p in pools)
    for p in pools:
        assert p['volumes'] == sum(p['identity'].replace('-', '') in handle for handle in made)
    behind.processes['n3'].kill()
    behind.processes['n3'].wait()
    nodes = {n['node']: n for n in items('node', 'list')}
    assert not nodes['n3']['reachable'] and 'refused' in nodes['n3']['why'] and nodes['n4']['reachable']
    assert [p['node'] for p in items('pool', 'list')] == ['n1', 'n2', 'n4']


def test_a_pool_that_is_gone_for_good_is_forgotten_and_one_that_came_back_is_remembered(hasty):
    for node in hasty.drivers:
        hasty.claim(f'on-{node}', 'later', **{'volume.kubernetes.io/selected-node': node})
    wait_until('all have volumes', lambda: len(hasty.volumes()) == 3)
    handle, (label,) = hasty.volumes()['on-n2']
    identity = label.split('/')[1]
    names = {pv['spec']['claimRef']['name']: pv['metadata']['name'] for pv in hasty.probe.call(f'get {CORE}/persistentvolumes')['items']}
    config = hasty.cluster.kubeconfig('ctl', PORT, {'token': 'admin-token'})

    def ctl(*words):
        done = subprocess.run(hasty.cluster.inside([CLEAT, 'ctl', *words, f'--kubeconfig={config}']), capture_output=True, text=True,
                              check=False)
        return done.returncode, done.stdout + done.stderr

    victim = hasty.drivers['n2'].process.child
    victim.send_signal(signal.SIGSTOP)   # nobody knows that its disk is well
    try:
        hasty.probe.call(f'delete {CLAIMS}/on-n2')
        hasty.probe.call(f'write merge status - {CORE}/persistentvolumes/{names["on-n2"]}', {'status': {'phase': 'Released'}})
        assert ctl('pool', 'forget', 'x')[0] == 1
        code, said = ctl('pool', 'forget', '0' * 32)
        assert code == 0 and 'would be forgotten' in said and 'pvc-' not in said
        code, said = ctl('pool', 'forget', identity)
        assert code == 0 and 'would be forgotten' in said and names['on-n2'] in said and 'default/on-n2' in said
        assert names['on-n1'] not in said
        code, said = ctl('pool', 'forget', identity, '--driver-name=other.csi')
        assert code == 1 and 'cleat-other-csi-intents' in said
        code, said = ctl('pool', 'forget', identity, '--yes', '-o', 'json')
        assert code == 0 and json.loads(said)['lost'] == [
            {'kind': 'PersistentVolume', 'name': names['on-n2'], 'of': 'default/on-n2'}]
        wait_until('its volume is gone', lambda: 'on-n2' not in hasty.volumes(), 90)
        hasty.claim('now', 'now')
        hasty.claim('again-n2', 'later', **{'volume.kubernetes.io/selected-node': 'n2'})
        wait_until('others are served', lambda: 'now' in hasty.volumes())
    finally:
        victim.send_signal(signal.SIGCONT)
    wait_until('it is told', lambda: '1 of its pools were forgotten' in hasty.page('/readyz'))
    wait_until('it is counted', lambda: 'cleat_fleet_pools{state="forgotten"} 1' in hasty.page('/metrics'))
    assert hasty.node_of(hasty.volumes()['now'][0]) != ['n2']
    assert hasty.node_of(handle) == ['n2'] and 'again-n2' not in hasty.volumes()

    assert ctl('pool', 'remember', identity)[0] == 0
    wait_until('it is told', lambda: 'forgotten' not in hasty.page('/readyz'))
    hasty.claim('back-n2', 'later', **{'volume.kubernetes.io/selected-node': 'n2'})
    wait_until('it is served', lambda: 'back-n2' in hasty.volumes())
    assert hasty.node_of(hasty.volumes()['back-n2'][0]) == ['n2']
