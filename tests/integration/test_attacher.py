# SPDX-License-Identifier: Apache-2.0
"""`cleat controller --controllers=attacher` against a real API server and a driver that attaches. The test is the
controller-manager: it makes and deletes the attachments. Needs kube-apiserver and etcd; without them it is skipped, and
says so."""
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time
import uuid

import pytest

import apiserver
from attach_driver import ATTACHES, LISTS, MULTI_WRITER, NAME, READONLY, AttachDriver
from harness import CLEAT, PATIENCE, Code, starting, wait_until

SERVER, ETCD = apiserver.find_programs()
MISSING = '; '.join(why for is_there, why in (
    (SERVER, 'not built yet: kube-apiserver (tests/tools/build kubernetes, 10 minutes once; make e2e does it)'),
    (ETCD, 'the machine lacks etcd (tools/deps e2e)')) if not is_there)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'SKIPPED: {MISSING}')

PORT, HTTP = 6443, 9811
UPSTREAM = apiserver.find_tool('external-attacher', 'csi-attacher')
needs_upstream = pytest.mark.skipif(
    not UPSTREAM, reason='SKIPPED: not built yet: external-attacher (tests/tools/build external-attacher, 5 minutes once)')
ATTACHMENTS = '/apis/storage.k8s.io/v1/volumeattachments'
VOLUMES, CSI_NODES = '/api/v1/persistentvolumes', '/apis/storage.k8s.io/v1/csinodes'
FINALIZER = 'external-attacher/attach-cleat-test'
RBAC = '/apis/rbac.authorization.k8s.io/v1'
# docs/attacher.md, under "Rights"
RULES = [
    {'apiGroups': [''], 'resources': ['persistentvolumes'], 'verbs': ['get', 'list', 'watch', 'patch']},
    {'apiGroups': ['storage.k8s.io'], 'resources': ['volumeattachments'], 'verbs': ['get', 'list', 'watch', 'patch']},
    {'apiGroups': ['storage.k8s.io'], 'resources': ['volumeattachments/status'], 'verbs': ['patch']},
    {'apiGroups': ['storage.k8s.io'], 'resources': ['csinodes'], 'verbs': ['get', 'list', 'watch']},
    {'apiGroups': [''], 'resources': ['secrets'], 'verbs': ['get']},
    {'apiGroups': ['coordination.k8s.io'], 'resources': ['leases'], 'verbs': ['get', 'create', 'update']},
]


class Lab:
    """The API server, what the tests make there, the driver and the controllers."""

    def __init__(self, cluster, probe, directory):
        self.cluster, self.probe, self.dir = cluster, probe, directory
        self.id = uuid.uuid4().hex[:8]
        self.driver = AttachDriver(directory / 'csi.sock')
        self.controllers, self.n_started = [], 0
        self.program = CLEAT

    def begin(self):
        self.driver.start()
        self.add_node('n1')
        return self

    # --- objects

    def add_node(self, name):
        self.probe.call(f'create {CSI_NODES}', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSINode', 'metadata': {'name': self.named(name)},
            'spec': {'drivers': [{'name': NAME, 'nodeID': f'i-{name}', 'topologyKeys': []}]}})

    def named(self, name):
        return f'{name}-{self.id}'

    def add_volume(self, name, **csi):
        self.probe.call(f'create {VOLUMES}', {
            'apiVersion': 'v1', 'kind': 'PersistentVolume', 'metadata': {'name': self.named(name)},
            'spec': {'accessModes': ['ReadWriteOnce'], 'capacity': {'storage': '1Gi'},
                     'persistentVolumeReclaimPolicy': 'Retain',
                     'csi': {'driver': NAME, 'volumeHandle': name, 'fsType': 'xfs', **csi}}})

    def attach(self, name, node='n1'):
        self.probe.call(f'create {ATTACHMENTS}', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'VolumeAttachment', 'metadata': {'name': self.named(name)},
            'spec': {'attacher': NAME, 'nodeName': self.named(node),
                     'source': {'persistentVolumeName': self.named(name)}}})

    def detach(self, name):
        self.probe.call(f'delete {ATTACHMENTS}/{self.named(name)}')

    def get(self, path, name):
        answer = self.probe.ask(f'get {path}/{self.named(name)}')
        if answer.startswith('err NOT_FOUND'):
            return None
        assert answer.startswith('ok'), answer
        return apiserver.json.loads(answer[3:])

    def attachment(self, name):
        return self.get(ATTACHMENTS, name)

    def is_attached(self, name):
        found = self.attachment(name)
        return found and found.get('status', {}).get('attached')

    def error(self, name, kind='attachError'):
        return (self.attachment(name) or {}).get('status', {}).get(kind)

    def wait_attached(self, *names, seconds=PATIENCE):
        for name in names:
            wait_until(f'{name} is attached', lambda name=name: self.is_attached(name), seconds)

    def wait_gone(self, *names, path=ATTACHMENTS, seconds=PATIENCE):
        for name in names:
            wait_until(f'{name} is gone', lambda name=name: self.get(path, name) is None, seconds)

    def mine(self):
        """Attachments that this test made and that are still there."""
        items = self.probe.call(f'get {ATTACHMENTS}')['items']
        return {item['metadata']['name'].rsplit('-', 1)[0]: item for item in items
                if item['metadata']['name'].endswith(self.id)}

    # --- controllers

    def start(self, *more, user='limited', wait=True, env=()):
        self.n_started += 1
        log = self.dir / f'controller-{self.n_started}.log'
        config = self.cluster.kubeconfig(f'attacher-{self.id}', PORT, {'token': f'{user}-token'})
        words = [*(['env', *env] if env else []), self.program, *([] if self.program != CLEAT else ['controller', '--controllers=attacher']),
                 f'--csi-address=unix://{self.driver.socket}', f'--kubeconfig={config}', *more]
        with starting, open(log, 'ab') as f:
            process = subprocess.Popen(self.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL)
        process.log = log
        self.controllers.append(process)
        if wait:
            wait_until('the driver was found', lambda: 'driver is ready' in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
        return process

    def call_by_upstreams_name(self):
        self.program = str(self.dir / 'csi-attacher')
        pathlib.Path(self.program).symlink_to(CLEAT)

    def start_upstream(self, *more):
        ours, self.program = self.program, UPSTREAM
        try:
            return self.start('--v=3', *more, wait=False, user='admin')
        finally:
            self.program = ours

    def kill(self, process):
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, process.log.read_text()

    def probe_text(self, path):
        """What the API server answers that is no JSON."""
        done = subprocess.run(self.cluster.inside(['curl', '-s', '--cacert', self.cluster.ca.cert, '-H', 'Authorization: Bearer admin-token',
                                                   f'https://{apiserver.HOST}:{PORT}{path}']), capture_output=True, text=True, check=True)
        return done.stdout

    def metrics(self):
        done = subprocess.run(self.cluster.inside(['curl', '-s', f'http://127.0.0.1:{HTTP}/metrics']),
                              capture_output=True, text=True, check=True)
        return done.stdout

    def end(self):
        for process in self.controllers:
            if process.poll() is None:
                self.kill(process)
        self.driver.stop()
        for path in (ATTACHMENTS, VOLUMES, CSI_NODES):
            for item in self.probe.call(f'get {path}')['items']:
                name = item['metadata']['name']
                if name.endswith(self.id):
                    self.probe.ask(f'delete {path}/{name}')
                    self.probe.ask(f'patch merge {path}/{name} {{"metadata":{{"finalizers":null}}}}')


@pytest.fixture(scope='module')
def cluster(top):
    c = apiserver.Cluster(pathlib.Path(tempfile.mkdtemp(prefix='attacher-', dir=top)), SERVER, ETCD)
    try:
        with open(c.dir / 'tokens.csv', 'a', encoding='utf-8') as f:
            f.write('limited-token,limited,3\n')
        c.start(PORT)
        probe = apiserver.Probe(c, c.kubeconfig('rights', PORT, {'token': 'admin-token'}), c.dir / 'probe.log')
        probe.call(f'create {RBAC}/clusterroles', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRole', 'metadata': {'name': 'limited'}, 'rules': RULES})
        probe.call(f'create {RBAC}/clusterrolebindings', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRoleBinding', 'metadata': {'name': 'limited'},
            'roleRef': {'apiGroup': 'rbac.authorization.k8s.io', 'kind': 'ClusterRole', 'name': 'limited'},
            'subjects': [{'apiGroup': 'rbac.authorization.k8s.io', 'kind': 'User', 'name': 'limited'}]})
        probe.close()
        yield c
    finally:
        c.close()


@pytest.fixture
def lab(cluster, work):
    probe = apiserver.Probe(cluster, cluster.kubeconfig('test', PORT, {'token': 'admin-token'}), work / 'probe.log')
    found = Lab(cluster, probe, work)
    try:
        yield found.begin()
    finally:
        found.end()
        probe.close()


def test_attach_and_detach_with_no_more_than_the_rights_that_are_documented(lab):
    lab.probe.call('create /api/v1/namespaces/default/secrets', {
        'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': lab.named('key')}, 'stringData': {'user': 'xyz'}})
    lab.add_volume('vol', volumeAttributes={'hint': 'on'},
                   controllerPublishSecretRef={'name': lab.named('key'), 'namespace': 'default'})
    lab.attach('vol')
    controller = lab.start()
    lab.wait_attached('vol')
    found = lab.attachment('vol')
    assert found['metadata']['finalizers'] == [FINALIZER]
    assert found['metadata']['annotations'] == {'csi.alpha.kubernetes.io/node-id': 'i-n1'}
    assert found['status'] == {'attached': True, 'attachmentMetadata': {'device': 'disk-of-vol'}}
    assert FINALIZER in lab.get(VOLUMES, 'vol')['metadata']['finalizers']
    asked = lab.driver.last
    assert (asked.volume_id, asked.node_id, asked.readonly) == ('vol', 'i-n1', False)
    assert dict(asked.volume_context) == {'hint': 'on'} and dict(asked.secrets) == {'user': 'xyz'}
    assert asked.volume_capability.mount.fs_type == 'xfs'
    lab.probe.call(f'delete {VOLUMES}/{lab.named("vol")}')
    lab.detach('vol')
    lab.wait_gone('vol')
    assert dict(lab.driver.last.secrets) == {'user': 'xyz'} and not lab.driver.attached
    lab.wait_gone('vol', path=VOLUMES)
    assert 'xyz' not in controller.log.read_text()
    lab.stop(controller)


def test_by_upstreams_name_it_takes_upstreams_options(lab):
    lab.call_by_upstreams_name()
    lab.add_volume('vol')
    lab.attach('vol')
    controller = lab.start('--timeout=5s', '--reconcile-sync=30s', '--max-entries=10', '--worker-threads=10',
                           '--retry-interval-start=1s', '--retry-interval-max=5m', '--default-fstype=ext4', '--leader-election')
    lab.wait_attached('vol')
    lab.detach('vol')
    lab.wait_gone('vol')
    lab.stop(controller)


LEASE = '/apis/coordination.k8s.io/v1/namespaces/default/leases/external-attacher-leader-attach-cleat-test'


@pytest.fixture
def lease(lab):
    """Upstream's, gone before and after."""
    lab.probe.ask(f'delete {LEASE}')
    yield lambda: apiserver.json.loads(lab.probe.ask(f'get {LEASE}')[3:])
    lab.probe.ask(f'delete {LEASE}')


# What the manifests of vendors have behind the address: ceph-csi's, hostpath's, aws-ebs's.
VENDORS = {
    'ceph-csi': ['--v=1', '--leader-election=true', '--retry-interval-start=500ms', '--default-fstype=ext4'],
    'hostpath': ['-v=5', '--logtostderr'],
    'aws-ebs': ['--timeout=6m', '--v=2', '--leader-election=true', '--http-endpoint=0.0.0.0:3303', '--kube-api-burst=20',
                '--kube-api-qps=10.0', '--worker-threads=100', '--retry-interval-max=5m', '--automaxprocs=true',
                '--feature-gates=MutableCSINodeAllocatableCount=true', '--leader-election-labels=team:storage'],
}


@pytest.mark.parametrize('vendor', VENDORS)
def test_a_vendors_command_line_works_as_it_is(lab, lease, vendor):
    lab.call_by_upstreams_name()
    lab.add_volume('vol')
    lab.attach('vol')
    controller = lab.start(*VENDORS[vendor])
    lab.wait_attached('vol')
    if vendor == 'aws-ebs':
        assert lease()['metadata']['labels'] == {'team': 'storage'}
        pages = [subprocess.run(lab.cluster.inside(['curl', '-s', f'http://127.0.0.1:3303/{page}']), capture_output=True, text=True,
                                check=True).stdout for page in ('healthz/leader-election', 'metrics')]
        assert pages[0].strip() == 'ok'
        assert 'leader_election_master_status{name="external-attacher-leader-attach-cleat-test"} 1' in pages[1]
        assert 'MutableCSINodeAllocatableCount is GA' in controller.log.read_text()
    lab.detach('vol')
    lab.wait_gone('vol')
    lab.stop(controller)


def test_by_upstreams_name_who_loses_the_lease_ends(lab, lease):
    lab.call_by_upstreams_name()
    controller = lab.start('--leader-election', '--leader-election-retry-period=1s', '--leader-election-renew-deadline=5s')
    wait_until('it leads', lambda: 'lease won' in controller.log.read_text())
    lab.probe.call(f'patch merge {LEASE} {{"spec":{{"holderIdentity":"another"}}}}')
    assert controller.wait(PATIENCE) == 1
    assert 'ending as upstream' in controller.log.read_text()
    assert lease()['spec']['holderIdentity'] == 'another'


@needs_upstream
def test_upstreams_program_and_ours_exclude_each_other(lab, lease):
    """As in a rolling swap of the image: the one waits until the other has gone, both ways."""
    lab.call_by_upstreams_name()
    options = ['--leader-election', '--leader-election-lease-duration=4s', '--leader-election-renew-deadline=3s',
               '--leader-election-retry-period=1s']
    theirs = lab.start_upstream(*options)
    wait_until('upstream leads', lambda: lab.probe.ask(f'get {LEASE}').startswith('ok'))
    ours = lab.start(*options, env=('POD_NAME=ours',))
    lab.add_volume('vol')
    lab.attach('vol')
    lab.wait_attached('vol')
    time.sleep(2)   # it would have had the time to take it
    assert 'lease won' not in ours.log.read_text() and lease()['spec']['holderIdentity'] != 'ours'
    lab.kill(theirs)
    wait_until('ours leads', lambda: 'lease won' in ours.log.read_text())
    theirs = lab.start_upstream(*options)
    lab.detach('vol')
    lab.wait_gone('vol')
    assert 'became leader' not in theirs.log.read_text() and lease()['spec']['holderIdentity'] == 'ours'
    lab.stop(ours)
    lab.attach('vol')
    lab.wait_attached('vol')
    assert lease()['spec']['holderIdentity'] != 'ours'
    lab.kill(theirs)


def test_what_the_driver_says_stands_in_the_status(lab):
    lab.driver.failures = {'publish': Code.RESOURCE_EXHAUSTED}
    lab.add_volume('vol')
    lab.attach('vol')
    lab.start()
    wait_until('the error is told', lambda: lab.error('vol'))
    assert lab.error('vol')['errorCode'] == 8 and 'the driver says no' in lab.error('vol')['message']
    lab.driver.failures = {}
    lab.wait_attached('vol')
    assert 'attachError' not in lab.attachment('vol')['status']
    lab.driver.failures = {'unpublish': Code.NOT_FOUND}
    lab.detach('vol')
    wait_until('the error is told', lambda: lab.error('vol', 'detachError'))
    assert lab.attachment('vol')['metadata']['finalizers'] == [FINALIZER]
    lab.driver.failures = {}
    lab.wait_gone('vol')


def test_a_burst_of_detaches_that_hang_holds_up_no_attach(lab):
    names = [f'old-{i}' for i in range(40)]
    gate = threading.Event()
    for name in [*names, 'new']:
        lab.add_volume(name)
    for name in names:
        lab.attach(name)
    lab.start()
    lab.wait_attached(*names)
    lab.driver.before = lambda method, volume: gate.wait(PATIENCE) if method == 'unpublish' else None
    try:
        for name in names:
            lab.detach(name)
        wait_until('every worker hangs in a detach', lambda: lab.driver.count('unpublish') >= 16)
        began = time.monotonic()
        lab.attach('new')
        lab.wait_attached('new', seconds=10)
        took = time.monotonic() - began
    finally:
        gate.set()
    assert took < 5, took
    lab.wait_gone(*names)
    print(f'attached within {took * 1000:.0f} ms beside {len(names)} detaches that hang')


def test_a_node_that_is_gone(lab):
    lab.add_volume('vol')
    lab.attach('vol')
    lab.start()
    lab.wait_attached('vol')
    lab.probe.call(f'delete {CSI_NODES}/{lab.named("n1")}')
    lab.detach('vol')
    lab.wait_gone('vol')
    assert lab.driver.calls[-1] == ('unpublish', 'vol', 'i-n1')


def test_what_is_detached_behind_its_back_is_attached_again(lab):
    lab.driver.caps = (*ATTACHES, *LISTS)
    names = [f'vol-{i}' for i in range(5)]
    for name in names:
        lab.add_volume(name)
        lab.attach(name)
    lab.start('--attacher-reconcile-sync=1s', '--attacher-max-entries=2')
    lab.wait_attached(*names)
    lab.driver.failures = {'list': Code.UNAVAILABLE}
    before = lab.driver.count('publish')
    lab.driver.attached.discard(('vol-3', 'i-n1'))
    time.sleep(2.5)
    assert lab.driver.count('publish') == before, 'a list that cannot be had counts'
    lab.driver.failures = {}
    wait_until('it is attached again', lambda: ('vol-3', 'i-n1') in lab.driver.attached)
    assert lab.driver.count('publish') == before + 1


@pytest.mark.parametrize('has_controller', [True, False])
def test_a_driver_that_does_not_attach(lab, has_controller):
    lab.driver.stop()
    lab.driver = AttachDriver(lab.dir / 'plain.sock', caps=(), has_controller=has_controller).start()
    lab.add_volume('vol')
    lab.attach('vol')
    lab.start()
    lab.wait_attached('vol')
    assert 'finalizers' not in lab.attachment('vol')['metadata']
    lab.detach('vol')
    lab.wait_gone('vol')
    assert not lab.driver.calls


# (at which of the driver's calls, in which half of it) the process is killed
MOMENTS = [(method, half) for method in ('publish', 'unpublish') for half in ('before', 'after')]


@pytest.mark.parametrize('method, half', MOMENTS)
def test_killed_in_the_midst_of_a_call(lab, method, half):
    lab.add_volume('vol')
    lab.attach('vol')
    controller = lab.start()
    reached = threading.Event()

    def kill(called, _volume):
        if called == method and not reached.is_set():
            lab.kill(controller)
            reached.set()
    setattr(lab.driver, half, kill)
    if method == 'unpublish':
        lab.wait_attached('vol')
        lab.detach('vol')
    assert reached.wait(PATIENCE)
    time.sleep(0.2)
    assert lab.attachment('vol')['metadata']['finalizers'] == [FINALIZER]
    lab.start()
    if method == 'publish':
        lab.wait_attached('vol')
        assert lab.driver.attached == {('vol', 'i-n1')}
        lab.detach('vol')
    lab.wait_gone('vol')
    assert not lab.driver.attached


def test_killed_again_and_again_under_load(lab):
    """Two replicas, whoever leads is killed; attachments come and go meanwhile. Then all is as was asked for last."""
    names = [f'vol-{i}' for i in range(60)]
    stop = threading.Event()
    election = ['--leader-election', '--leader-election-lease-duration=3s', '--leader-election-renew-deadline=2s',
                '--leader-election-retry-period=500ms']
    for name in names:
        lab.add_volume(name)

    def replica(i):
        while not stop.is_set():
            process = lab.start(*election, f'--leader-election-identity=r{i}', wait=False)
            wait_until('it leads, or all is over', lambda: stop.is_set() or 'lease won' in process.log.read_text(), 120)
            stop.wait(0.4)
            if not stop.is_set():
                lab.kill(process)
    replicas = [threading.Thread(target=replica, args=(i,)) for i in range(2)]
    for thread in replicas:
        thread.start()
    wanted = set()
    try:
        for turn in range(4):
            for i, name in enumerate(names):
                if (i + turn) % 2 == 0 and name not in wanted:
                    if lab.attachment(name) is None:
                        lab.attach(name)
                        wanted.add(name)
                elif name in wanted and (i + turn) % 3:
                    lab.detach(name)
                    wanted.discard(name)
            time.sleep(3)
    finally:
        stop.set()
        for thread in replicas:
            thread.join()
    kills = sum(1 for process in lab.controllers if process.poll() == -signal.SIGKILL)
    lab.wait_attached(*sorted(wanted))
    wait_until('the others are gone', lambda: set(lab.mine()) == wanted)
    assert lab.driver.attached == {(name, 'i-n1') for name in wanted}
    assert kills >= 3, kills
    print(f'{kills} leaders killed, {len(lab.driver.calls)} calls, {len(wanted)} attached at the end')
    for process in lab.controllers:
        if process.poll() is None:
            lab.stop(process)


def writes_of(metrics):
    return sum(float(m[1]) for m in re.finditer(
        r'^rest_client_requests_total\{[^}]*method="(?:PATCH|PUT|POST|DELETE)"[^}]*\} (\S+)$', metrics, re.M))


def test_a_hundred(lab):
    """Figures for the record; what is asserted is generous, for machines under load."""
    names = [f'vol-{i}' for i in range(100)]
    for name in names:
        lab.add_volume(name)
    lab.start(f'--http-endpoint=127.0.0.1:{HTTP}')
    wait_until('it is up', lambda: 'rest_client' in lab.metrics())

    def timed(act, is_over):
        before, began = writes_of(lab.metrics()), time.monotonic()
        for name in names:
            act(name)
        made = time.monotonic() - began
        wait_until('all are through', is_over)
        return made, time.monotonic() - began, writes_of(lab.metrics()) - before
    made, took, writes = timed(lab.attach, lambda: all(i.get('status', {}).get('attached') for i in lab.mine().values()))
    assert len(lab.driver.attached) == 100
    print(f'100 attaches: made in {made:.2f} s, attached after {took:.2f} s, {writes:.0f} writes')
    assert writes == 300 and took < 20
    made, took, writes = timed(lab.detach, lambda: not lab.mine())
    assert not lab.driver.attached
    print(f'100 detaches: asked for in {made:.2f} s, gone after {took:.2f} s, {writes:.0f} writes')
    assert writes == 100 and took < 20


@needs_upstream
def test_in_turn_with_external_attacher(lab):
    """Each goes on where the other was killed."""
    lab.add_volume('vol')
    for first, second in ((lab.start_upstream, lab.start), (lab.start, lab.start_upstream)):
        lab.attach('vol')
        one = first()
        lab.wait_attached('vol')
        lab.kill(one)
        before = lab.attachment('vol')
        other = second()
        lab.detach('vol')
        lab.wait_gone('vol')
        assert before['metadata']['finalizers'] == [FINALIZER] and not lab.driver.attached
        lab.kill(other)
    # In the midst of a detach that fails.
    for first, second in ((lab.start_upstream, lab.start), (lab.start, lab.start_upstream)):
        lab.attach('vol')
        one = first()
        lab.wait_attached('vol')
        lab.driver.failures = {'unpublish': Code.INTERNAL}
        lab.detach('vol')
        wait_until('the error is told', lambda: lab.error('vol', 'detachError'))
        lab.kill(one)
        lab.driver.failures = {}
        other = second()
        lab.wait_gone('vol')
        assert not lab.driver.attached
        lab.kill(other)
    other = lab.start()
    lab.probe.call(f'delete {VOLUMES}/{lab.named("vol")}')
    lab.wait_gone('vol', path=VOLUMES)
    lab.stop(other)


def plain(item):
    """An object without what is another one's each time: names, times, versions. Errors by their code."""
    meta = item['metadata']
    for key in ('name', 'uid', 'resourceVersion', 'creationTimestamp', 'managedFields', 'deletionTimestamp',
                'deletionGracePeriodSeconds'):
        meta.pop(key, None)
    item['spec'].pop('source', None)
    item['spec'].pop('nodeName', None)
    item.get('status', {}).pop('lastPhaseTransitionTime', None)
    for key in ('attachError', 'detachError'):
        if key in item.get('status', {}):
            error = item['status'][key]
            assert 'the driver says no' in error.pop('message')
            assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', error.pop('time'))
    return item


@needs_upstream
def test_objects_are_those_of_external_attacher(lab):
    def story(name, start):
        """What the objects look like at each point of a volume's life."""
        seen = []

        def current():
            """Upstream may leave an error that is over (once in twenty runs): its patch is against what its cache had."""
            found = plain(lab.attachment(name))
            if start == lab.start_upstream:
                found['status'].pop('attachError', None)
            return found
        lab.driver.failures = {'publish': Code.RESOURCE_EXHAUSTED}
        lab.add_volume(name, volumeHandle='same', readOnly=True, volumeAttributes={'hint': 'on'})
        lab.attach(name)
        process = start()
        wait_until('the error is told', lambda: lab.error(name))
        seen.append(plain(lab.attachment(name)))
        lab.driver.failures = {}
        lab.wait_attached(name)
        asked = lab.driver.last
        seen += [current(), plain(lab.get(VOLUMES, name)), asked.volume_capability, asked.readonly,
                 dict(asked.volume_context), asked.node_id]
        lab.driver.failures = {'unpublish': Code.INTERNAL}
        lab.detach(name)
        wait_until('the error is told', lambda: lab.error(name, 'detachError'))
        seen.append(current())
        lab.driver.failures = {}
        lab.wait_gone(name)
        seen.append(plain(lab.get(VOLUMES, name)))
        lab.kill(process)
        return seen
    for caps in (ATTACHES, (*ATTACHES, READONLY, MULTI_WRITER)):
        lab.driver.caps = caps
        n = len(caps)
        ours = story(f'ours-{n}', lab.start)
        theirs = story(f'theirs-{n}', lab.start_upstream)
        for mine, other in zip(ours, theirs, strict=True):
            assert mine == other, f"{mine}\nis not\n{other}"


def patches(lab):
    """Requests that wrote to attachments and volumes, as the API server counts them."""
    done = lab.probe_text('/metrics')
    return sum(float(m[1]) for m in re.finditer(
        r'^apiserver_request_total\{[^}]*resource="(?:volumeattachments|persistentvolumes)"[^}]*verb="(?:PATCH|PUT)"[^}]*\} (\S+)$', done, re.M))


@needs_upstream
@pytest.mark.parametrize('which', ['ours', 'upstream with raised limits'])
def test_figures_beside_external_attacher(lab, which):
    """A hundred attachments and their end, for the record. By default upstream has 5 requests a second and takes a minute."""
    names = [f'vol-{i}' for i in range(100)]
    for name in names:
        lab.add_volume(name)
    if which == 'ours':
        lab.start()
    else:
        process = lab.start_upstream('--kube-api-qps=100', '--kube-api-burst=200', '--worker-threads=100')
        wait_until('it works', lambda: 'Starting' in process.log.read_text())
    figures = []
    for act, is_over in ((lab.attach, lambda: all(i.get('status', {}).get('attached') for i in lab.mine().values())),
                         (lab.detach, lambda: not lab.mine())):
        before, began = patches(lab), time.monotonic()
        for name in names:
            act(name)
        wait_until('all are through', is_over, 150)
        figures.append(f'{time.monotonic() - began:.2f} s, {patches(lab) - before:.0f} writes')
    print(f'{which}: 100 attaches {figures[0]}; 100 detaches {figures[1]}')
    assert not lab.driver.attached
