# SPDX-License-Identifier: Apache-2.0
"""csi-snapshot-metadata by its own name, before a real API server (its own TokenReviews and SubjectAccessReviews, tokens of service
accounts) and a real driver; asked by grpcio. Needs kube-apiserver and etcd; without them it is skipped, and says so."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

import apiserver
from certs import Authority
from harness import CLEAT, DRIVER, MIB, PATIENCE, block_cap, starting, wait_until
from test_changed import BLOCK, allocated, changed_blocks, delta, ranges_of
from test_changed import pair as long_pair  # noqa: F401 (a fixture: streams that are longer than what is on its way)

SERVER, ETCD = apiserver.find_programs()
MISSING = '; '.join(why for is_there, why in (
    (SERVER, 'not built yet: kube-apiserver (tests/tools/build kubernetes, 10 minutes once; make e2e does it)'),
    (ETCD, 'the machine lacks etcd (tools/deps e2e)')) if not is_there)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'SKIPPED: {MISSING}')

API, PORT, HTTP = 6443, 50051, 8080
CORE, RBAC = '/api/v1', '/apis/rbac.authorization.k8s.io/v1'
CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
SNAP, CBT = 'snapshot.storage.k8s.io', 'cbt.storage.k8s.io'
SNAPSHOTS, CONTENTS, CLASSES = 'volumesnapshots', 'volumesnapshotcontents', 'volumesnapshotclasses'
SERVICES, AUDIENCE = 'snapshotmetadataservices', 'backup.example.com'
# What docs/snapshot-metadata.md says that the program needs, and no more.
RIGHTS = [('authentication.k8s.io', 'tokenreviews', 'create'), ('authorization.k8s.io', 'subjectaccessreviews', 'create'),
          (CBT, SERVICES, 'get'), (SNAP, SNAPSHOTS, 'get'), (SNAP, CONTENTS, 'get'), (SNAP, CLASSES, 'get'), (SNAP, CLASSES, 'list'),
          ('', 'secrets', 'get')]


def crd(group, version, plural, kind, scope):
    schema = {'openAPIV3Schema': {'type': 'object', 'x-kubernetes-preserve-unknown-fields': True}}
    return {'apiVersion': 'apiextensions.k8s.io/v1', 'kind': 'CustomResourceDefinition',
            'metadata': {'name': f'{plural}.{group}', 'annotations': {'api-approved.kubernetes.io': 'unapproved, of a test'}},
            'spec': {'group': group, 'scope': scope, 'names': {'plural': plural, 'singular': kind.lower(), 'kind': kind},
                     'versions': [{'name': version, 'served': True, 'storage': True, 'schema': schema}]}}


class Backups:
    """A cluster without controllers: the test makes the objects that they would."""

    def __init__(self, cluster, probe, directory, driver):
        self.cluster, self.probe, self.dir, self.driver = cluster, probe, directory, driver
        self.ca = Authority(directory, 'metadata-ca')
        self.server = self.client = None
        self.renew(*self.ca.issue('server'))
        for group, version, plural, kind, scope in (
                (SNAP, 'v1', SNAPSHOTS, 'VolumeSnapshot', 'Namespaced'), (SNAP, 'v1', CONTENTS, 'VolumeSnapshotContent', 'Cluster'),
                (SNAP, 'v1', CLASSES, 'VolumeSnapshotClass', 'Cluster'), (CBT, 'v1beta1', SERVICES, 'SnapshotMetadataService', 'Cluster')):
            probe.call(f'create {CRDS}', crd(group, version, plural, kind, scope))
            wait_until(f'{plural} are there', lambda g=group, v=version, p=plural: self.probe.ask(f'get /apis/{g}/{v}/{p}').startswith('ok'))
        for ns in 'apps', 'other':
            probe.call(f'create {CORE}/namespaces', {'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': ns}})
        for name in 'cleat', 'backup', 'nobody':
            probe.call(f'create {CORE}/namespaces/apps/serviceaccounts', {
                'apiVersion': 'v1', 'kind': 'ServiceAccount', 'metadata': {'name': name}})
        self.allow('cleat', RIGHTS, cluster_wide=True)
        self.allow('backup', [(SNAP, SNAPSHOTS, 'get')])
        self.service()
        self.snapshot_class('snaps', {})

    def renew(self, cert, key):
        for source, name in (cert, 'tls.crt'), (key, 'tls.key'):
            shutil.copy(source, self.dir / f'{name}.new')
            os.replace(self.dir / f'{name}.new', self.dir / name)

    def allow(self, account, rights, cluster_wide=False):
        kind, path = ('ClusterRole', RBAC) if cluster_wide else ('Role', f'{RBAC}/namespaces/apps')
        self.probe.call(f'create {path}/{kind.lower()}s', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': kind, 'metadata': {'name': account},
            'rules': [{'apiGroups': [g], 'resources': [r], 'verbs': [v]} for g, r, v in rights]})
        self.probe.call(f'create {path}/{kind.lower()}bindings', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': f'{kind}Binding', 'metadata': {'name': account},
            'roleRef': {'apiGroup': 'rbac.authorization.k8s.io', 'kind': kind, 'name': account},
            'subjects': [{'kind': 'ServiceAccount', 'name': account, 'namespace': 'apps'}]})

    def token(self, account, audience=AUDIENCE):
        made = self.probe.call(f'create {CORE}/namespaces/apps/serviceaccounts/{account}/token', {
            'apiVersion': 'authentication.k8s.io/v1', 'kind': 'TokenRequest', 'spec': {'audiences': [audience] if audience else []}})
        return made['status']['token']

    def put(self, path, body):
        """As kubectl apply, without a thought."""
        name = body['metadata']['name']
        self.probe.ask(f'delete {path}/{name}')
        return self.probe.call(f'create {path}', body)

    def service(self, **spec):
        self.put(f'/apis/{CBT}/v1beta1/{SERVICES}', {
            'apiVersion': f'{CBT}/v1beta1', 'kind': 'SnapshotMetadataService', 'metadata': {'name': DRIVER},
            'spec': {'audience': AUDIENCE, 'address': f'127.0.0.1:{PORT}', 'caCert': '', **spec}})

    def snapshot_class(self, name, parameters, driver=DRIVER, default=False):
        self.put(f'/apis/{SNAP}/v1/{CLASSES}', {
            'apiVersion': f'{SNAP}/v1', 'kind': 'VolumeSnapshotClass', 'driver': driver, 'deletionPolicy': 'Delete', 'parameters': parameters,
            'metadata': {'name': name, 'annotations': {'snapshot.storage.kubernetes.io/is-default-class': 'true'} if default else {}}})

    def bound(self, name, handle, ns='apps', ready=True, driver=DRIVER, class_name='snaps', ref=None, annotations=None):
        snapshot = self.put(f'/apis/{SNAP}/v1/namespaces/{ns}/{SNAPSHOTS}', {
            'apiVersion': f'{SNAP}/v1', 'kind': 'VolumeSnapshot', 'metadata': {'name': name},
            'spec': {'source': {'persistentVolumeClaimName': 'data'}, **({'volumeSnapshotClassName': class_name} if class_name else {})},
            'status': {'readyToUse': ready, 'boundVolumeSnapshotContentName': f'content-{ns}-{name}'}})
        self.put(f'/apis/{SNAP}/v1/{CONTENTS}', {
            'apiVersion': f'{SNAP}/v1', 'kind': 'VolumeSnapshotContent',
            'metadata': {'name': f'content-{ns}-{name}', 'annotations': annotations or {}},
            'spec': {'driver': driver, 'deletionPolicy': 'Delete', 'source': {'volumeHandle': 'v'},
                     'volumeSnapshotRef': ref or {'namespace': ns, 'name': name, 'uid': snapshot['metadata']['uid']}},
            'status': {'readyToUse': ready, 'snapshotHandle': handle}})

    def start(self, *more, is_ready=True):
        config = self.cluster.kubeconfig('cleat', API, {'token': self.token('cleat', None)})
        link = self.dir / 'csi-snapshot-metadata'
        if not link.exists():
            link.symlink_to(CLEAT)
        self.log = self.dir / 'metadata.log'
        words = [link, f'--csi-address={self.driver.socket}', f'-tls-cert={self.dir}/tls.crt', f'-tls-key={self.dir}/tls.key',
                 f'--kubeconfig={config}', '--kube-api-qps=0', '-v=5', *more]
        with starting, open(self.log, 'ab') as f:
            self.server = subprocess.Popen(self.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL)
        if is_ready:
            wait_until('it serves', lambda: self.page('/health') == 'ok')

    def stop(self):
        self.server.terminate()
        status = self.server.wait(PATIENCE)
        self.server = None
        return status

    def new_client(self, host='127.0.0.1'):
        words = [sys.executable, pathlib.Path(__file__).parent / 'metadata_client.py', f'{host}:{PORT}', self.ca.cert]
        with starting:
            return subprocess.Popen(self.cluster.inside(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, rpc, client=None, timeout=60, hold=False, **request):
        client = client or self.client
        client.stdin.write(json.dumps({'rpc': rpc, 'timeout': timeout, 'hold': hold, 'request': request}) + '\n')
        return json.loads(client.stdout.readline())

    def allocated(self, token, name, ns='apps', **more):
        return self.ask('GetMetadataAllocated', **{'security_token': token, 'namespace': ns, 'snapshot_name': name, **more})

    def delta(self, token, base, name, ns='apps', **more):
        return self.ask('GetMetadataDelta', **{
            'security_token': token, 'namespace': ns, 'base_snapshot_id': base, 'target_snapshot_name': name, **more})

    def page(self, path):
        return subprocess.run(self.cluster.inside(['curl', '-s', f'http://127.0.0.1:{HTTP}{path}']), capture_output=True, text=True,
                              check=False).stdout

    def end(self):
        if self.server:
            assert self.stop() == 0, self.log.read_text()[-4000:]
        if self.client:
            self.client.kill()
            self.client.wait()


@pytest.fixture
def backups(work, top, driver):
    cluster = apiserver.Cluster(pathlib.Path(tempfile.mkdtemp(prefix='metadata-', dir=top)), SERVER, ETCD)
    try:
        cluster.start(API)
        probe = apiserver.Probe(cluster, cluster.kubeconfig('test', API, {'token': 'admin-token'}), work / 'probe.log')
        try:
            b = Backups(cluster, probe, work, driver)
            try:
                b.client = b.new_client()
                yield b
            finally:
                b.end()
        finally:
            probe.close()
    finally:
        cluster.close()


@pytest.fixture
def pair(volume, snapshot):
    """A raw volume and two snapshots: single blocks differ. (volume, name, id, name, id)"""
    v = volume(cap=block_cap(), size=64 * MIB).up()
    names = 'metadata-a', 'metadata-b'
    ids = []
    for step, name in zip((2, 7), names):
        with open(v.target, 'r+b', buffering=0) as f:
            for i in range(0, 8000, step):
                os.pwrite(f.fileno(), name.encode() * 8, i * BLOCK)
        ids.append(snapshot(v, name, parameters={'maxExtents': '0'}))
    return v, names[0], ids[0], names[1], ids[1]


def ranges(reply):
    assert reply['code'] == 'OK', reply
    return [tuple(r) for _, _, found in reply['messages'] for r in found]


def refused(reply, code, *texts):
    assert reply['code'] == code, reply
    for text in texts:
        assert text in reply['details'], reply
    assert not reply['messages']


def test_a_backup_is_told_what_the_driver_tells_and_nobody_else_is(backups, driver, pool, pair):
    _, a_name, a, b_name, b = pair
    files = pool.dir / '.cleat' / 'snapshots'
    backups.bound('first', a)
    backups.bound('second', b)
    backups.start()
    token = backups.token('backup')

    found = ranges(backups.allocated(token, 'first'))
    assert found == ranges_of(allocated(driver, a)) and len(found) > 1000
    changed = ranges(backups.delta(token, a, 'second'))
    assert changed == ranges_of(delta(driver, a, b))
    differing = changed_blocks(files / a_name, files / b_name)
    told = {n for at, size in changed for n in range(at // BLOCK, (at + size) // BLOCK)}
    assert differing and differing <= told
    cut = backups.delta(token, a, 'second', starting_offset=changed[10][0], max_results=7)
    assert ranges(cut) == changed[10:] and {len(m[2]) for m in cut['messages'][:-1]} == {7}
    assert all(m[0] == 2 and m[1] == 64 * MIB for m in cut['messages'])

    refused(backups.allocated('', 'first'), 'INVALID_ARGUMENT', 'security_token')
    refused(backups.allocated(token, ''), 'INVALID_ARGUMENT', 'snapshot_name')
    refused(backups.allocated(token, 'first', ns=''), 'INVALID_ARGUMENT', 'namespace')
    refused(backups.allocated(token, 'first', ns='../apps'), 'INVALID_ARGUMENT', 'namespace')
    refused(backups.allocated(token, '../first'), 'INVALID_ARGUMENT', 'name')
    refused(backups.delta(token, '', 'second'), 'INVALID_ARGUMENT', 'base_snapshot_id')
    refused(backups.allocated(token, 'first', max_results=-1), 'INVALID_ARGUMENT', 'max_results')
    refused(backups.allocated('rubbish', 'first'), 'UNAUTHENTICATED')
    refused(backups.allocated(backups.token('backup', 'other.example.com'), 'first'), 'UNAUTHENTICATED', AUDIENCE)
    refused(backups.allocated(backups.token('backup', None), 'first'), 'UNAUTHENTICATED')   # the API server's own audience
    refused(backups.allocated(backups.token('nobody'), 'first'), 'PERMISSION_DENIED', 'nobody', 'apps')
    refused(backups.allocated(token, 'first', ns='other'), 'PERMISSION_DENIED', 'other')
    refused(backups.allocated(token, 'none'), 'UNAVAILABLE', 'none')
    # the driver's own words
    refused(backups.allocated(token, 'first', starting_offset=-1), 'OUT_OF_RANGE', 'starting_offset')
    refused(backups.delta(token, b, 'first'), 'INVALID_ARGUMENT', 'newer')
    refused(backups.delta(token, 'nonsense', 'first'), 'NOT_FOUND', 'nonsense')

    assert backups.ask('Check')['status'] == 1
    assert backups.ask('Check', service='x')['code'] == 'NOT_FOUND'
    metrics = backups.page('/metrics')
    assert f'snapshot_metadata_controller_operations_seconds_count{{driver_name="{DRIVER}",method_name="MetadataDelta",grpc_status_code="OK"}} 2' in metrics
    assert 'grpc_status_code="Unauthenticated"' in metrics
    text = backups.log.read_text()
    assert token not in text and 'rubbish' not in text and 'GetMetadataDelta' in text


def test_objects_that_do_not_fit_are_refused(backups, driver, pair):
    _, _, a, _, b = pair
    backups.start()
    token = backups.token('backup')
    backups.bound('pending', a, ready=False)
    refused(backups.allocated(token, 'pending'), 'UNAVAILABLE', 'not yet ready')
    backups.bound('foreign', a, driver='other.csi')
    refused(backups.allocated(token, 'foreign'), 'INVALID_ARGUMENT', 'other.csi')
    # A snapshot that points to what was bound to another: whoever may write its status would read all namespaces.
    backups.bound('stolen', a, ref={'namespace': 'other', 'name': 'stolen'})
    refused(backups.allocated(token, 'stolen'), 'FAILED_PRECONDITION', 'not bound')
    backups.bound('again', a, ref={'namespace': 'apps', 'name': 'again', 'uid': 'of-one-that-is-gone'})
    refused(backups.allocated(token, 'again'), 'FAILED_PRECONDITION', 'not bound')

    # Secrets: of the class, of the only default, of the content when the class is gone.
    secret = {'csi.storage.k8s.io/snapshotter-secret-name': 'key-${volumesnapshot.name}', 'csi.storage.k8s.io/snapshotter-secret-namespace': '${volumesnapshot.namespace}'}
    backups.snapshot_class('keyed', secret)
    backups.bound('keyed', a, class_name='keyed')
    refused(backups.allocated(token, 'keyed'), 'UNAVAILABLE', 'apps/key-keyed')
    backups.probe.call(f'create {CORE}/namespaces/apps/secrets', {
        'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'key-keyed'}, 'stringData': {'password': 'hunter2'}})
    assert ranges(backups.allocated(token, 'keyed')) == ranges_of(allocated(driver, a))
    backups.bound('classless', a, class_name=None)
    assert ranges(backups.allocated(token, 'classless'))   # no default: none needed
    backups.snapshot_class('default', secret, default=True)
    refused(backups.allocated(token, 'classless'), 'UNAVAILABLE', 'key-classless')
    backups.snapshot_class('default-of-others', {}, driver='other.csi', default=True)
    refused(backups.allocated(token, 'classless'), 'UNAVAILABLE', 'key-classless')
    backups.snapshot_class('default-too', {}, default=True)
    refused(backups.allocated(token, 'classless'), 'UNAVAILABLE', 'multiple default', 'default-too')
    backups.bound('orphan', a, class_name='gone')
    refused(backups.allocated(token, 'orphan'), 'UNAVAILABLE', 'gone')
    backups.bound('orphan', a, class_name='gone', annotations={
        'snapshot.storage.kubernetes.io/deletion-secret-name': 'key-keyed', 'snapshot.storage.kubernetes.io/deletion-secret-namespace': 'apps'})
    assert ranges(backups.allocated(token, 'orphan'))
    assert 'hunter2' not in backups.log.read_text()

    # The one who says which tokens are taken.
    backups.probe.ask(f'delete /apis/{CBT}/v1beta1/{SERVICES}/{DRIVER}')
    refused(backups.allocated(token, 'keyed'), 'INTERNAL', 'SnapshotMetadataService')
    assert backups.stop() == 0
    backups.start(f'--audience={AUDIENCE}')
    assert ranges(backups.allocated(token, 'keyed'))
    backups.cluster.stop(API)
    refused(backups.allocated(token, 'keyed', timeout=20), 'INTERNAL', 'authenticate')
    backups.cluster.start(API)
    assert ranges(backups.allocated(token, 'keyed'))


def test_certificates_drivers_and_slow_readers_come_and_go(backups, driver, long_pair):  # noqa: F811
    _, a, _ = long_pair
    backups.bound('first', a)
    token = backups.token('backup')
    driver.kill()
    backups.start('--max-streaming-duration-min=1', is_ready=False)
    wait_until('it says that it waits', lambda: 'not ready' in backups.page('/health'))
    driver.start()
    wait_until('it serves', lambda: backups.page('/health') == 'ok')
    whole = ranges(backups.allocated(token, 'first'))
    assert len(whole) == 40000

    # Certificates: an authority more, and this server's is of it from the next connection on.
    backups.renew(*Authority(backups.dir, 'another').issue('server'))
    wait_until('the new one is shown', lambda: backups.allocated(token, 'first', timeout=5)['code'] == 'UNAVAILABLE')
    backups.renew(*backups.ca.issue('renewed'))
    wait_until('the renewed one is shown', lambda: backups.allocated(token, 'first', timeout=5)['code'] == 'OK')

    # Readers that do not read: less than 1 MiB each, however long the stream. Each host has 8 of the 16 workers.
    def private():
        rollup = pathlib.Path(f'/proc/{backups.server.pid}/smaps_rollup').read_text()
        return int(next(line.split()[1] for line in rollup.splitlines() if line.startswith('Anonymous:')))
    before = private()
    here, there = sleepers = [backups.new_client(host) for host in ('127.0.0.1', '[::1]')]

    def sleep(client):
        return backups.ask('GetMetadataAllocated', client, hold=True, timeout=600, security_token=token, namespace='apps',
                           snapshot_name='first', max_results=1)
    try:
        for client, n in (here, 8), (there, 2):
            for _ in range(n):
                assert sleep(client)['code'] == 'OK'
        assert 'cleat_workers_busy{lane="stream"} 10' in backups.page('/metrics')   # none of them is through
        refused(sleep(here), 'UNAVAILABLE', '127.0.0.1', '8 calls')
        backups.client.kill()
        backups.client = backups.new_client('[::1]')
        assert ranges(backups.allocated(token, 'first')) == whole
        grown = private() - before
        print(f'10 readers that do not read: {grown} KiB more')
        assert grown < 10 * 1024 or 'san' in CLEAT   # sanitizers keep what was freed
        # The driver goes under them, and comes back.
        driver.restart()
        wait_until('it is told of again', lambda: backups.allocated(token, 'first')['code'] == 'OK')
        assert ranges(backups.allocated(token, 'first')) == whole
        # The end does not wait for those who sleep, but for its 20 s.
        for _ in range(3):
            assert sleep(there)['code'] == 'OK'
        assert backups.stop() == 0
    finally:
        for client in sleepers:
            client.kill()
            client.wait()


def test_command_lines(work):
    def says(*words):
        link = work / 'csi-snapshot-metadata'
        if not link.exists():
            link.symlink_to(CLEAT)
        done = subprocess.run([link, *words], capture_output=True, text=True, check=False, env={'PATH': os.environ['PATH']})
        return done.returncode, done.stdout + done.stderr
    for words, text in (((), '--tls-cert'), (('--tls-cert=x',), '--tls-key'), (('--tls-cert=x', '--tls-key=y', '--port=0'), '--port'),
                        (('--tls-cert=x', '--tls-key=y', '--tls-min-version=VersionTLS10'), 'VersionTLS12'),
                        (('--tls-cert=x', '--tls-key=y', '--max-streaming-duration-min=0'), '--max-streaming-duration-min')):
        status, said = says(*words)
        assert status == 1 and text in said, said
    assert says('--version')[0] == 0
