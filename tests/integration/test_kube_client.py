# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes client against a real API server: verbs, errors, watches, what happens when the server goes away, a
compacted history, Events and the lease. Needs kube-apiserver and etcd; without them it is skipped, and says so."""
import pathlib
import re
import signal
import tempfile
import uuid

import pytest

import apiserver
from harness import wait_until

SERVER, ETCD = apiserver.find_programs()
MISSING = '; '.join(why for is_there, why in (
    (SERVER, 'not built yet: kube-apiserver (tests/tools/build kubernetes, 10 minutes once; make e2e does it)'),
    (ETCD, 'the machine lacks etcd (tools/deps e2e)')) if not is_there)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'SKIPPED: {MISSING}')

MAIN, OTHER = 6443, 6444
CLAIMS, VOLUMES, CLASSES = 'persistentvolumeclaims', 'persistentvolumes', 'storageclasses'
CLAIM_PATH = f'/api/v1/namespaces/default/{CLAIMS}'
ADMIN = {'token': 'admin-token'}


@pytest.fixture(scope='module')
def cluster(top):
    c = apiserver.Cluster(pathlib.Path(tempfile.mkdtemp(prefix='kube-', dir=top)), SERVER, ETCD)
    try:
        c.start(MAIN)
        yield c
    finally:
        c.close()


@pytest.fixture
def connect(cluster, tmp_path):
    """connect(user, port) gives a probe; all are closed at the end and must end well."""
    probes = []

    def make(user=None, port=MAIN):
        config = cluster.kubeconfig(f'p{len(probes)}', port, user or ADMIN)
        probes.append(apiserver.Probe(cluster, config, tmp_path / f'probe{len(probes)}.log'))
        return probes[-1]
    yield make
    for p in probes:
        p.close()


@pytest.fixture
def probe(connect):
    return connect()


def claim(name, size='1Gi', **meta):
    return {'kind': 'PersistentVolumeClaim', 'apiVersion': 'v1', 'metadata': {'name': name, **meta}, 'spec': {
        'accessModes': ['ReadWriteOnce'], 'storageClassName': 'fast', 'resources': {'requests': {'storage': size}}}}


def volume(name):
    return {'kind': 'PersistentVolume', 'apiVersion': 'v1', 'metadata': {'name': name}, 'spec': {
        'accessModes': ['ReadWriteOnce'], 'storageClassName': 'fast', 'capacity': {'storage': '1Gi'},
        'persistentVolumeReclaimPolicy': 'Delete', 'csi': {'driver': 'pool.cleat.csi', 'volumeHandle': f'handle-{name}'}}}


def unique(prefix):
    return f'{prefix}-{uuid.uuid4().hex[:8]}'


def test_verbs(probe):
    name = unique('verbs')
    made = probe.call(f'create {CLAIM_PATH}', claim(name))
    assert made['metadata']['uid']
    assert probe.call(f'get {CLAIM_PATH}/{name}')['metadata']['uid'] == made['metadata']['uid']
    made['metadata']['labels'] = {'a': 'b', 'text': 'c'}
    assert probe.call(f'update {CLAIM_PATH}/{name}', made)['metadata']['labels']['a'] == 'b'
    patched = probe.call(f'patch merge {CLAIM_PATH}/{name}', {'metadata': {'annotations': {'x': 'ü "quoted"'}}})
    assert patched['metadata']['annotations']['x'] == 'ü "quoted"'
    patched = probe.call(f'patch json {CLAIM_PATH}/{name}',
                         [{'op': 'add', 'path': '/metadata/finalizers', 'value': ['cleat.test/a']}])
    assert patched['metadata']['finalizers'] == ['cleat.test/a']
    probe.call(f'patch strategic {CLAIM_PATH}/{name}', {'metadata': {'finalizers': ['cleat.test/b']}})
    assert set(probe.call(f'get {CLAIM_PATH}/{name}')['metadata']['finalizers']) == {'cleat.test/a', 'cleat.test/b'}
    probe.call(f'delete {CLAIM_PATH}/{name}')
    assert probe.call(f'get {CLAIM_PATH}/{name}')['metadata']['deletionTimestamp']
    probe.call(f'patch merge {CLAIM_PATH}/{name}', {'metadata': {'finalizers': None}})
    assert probe.ask(f'get {CLAIM_PATH}/{name}').startswith(f'err NOT_FOUND get {CLAIMS}: ')
    assert probe.ask('health') == 'ok 1 '


def test_status_is_written_by_its_subresource_alone(probe):
    name = unique('status')
    probe.call(f'create {CLAIM_PATH}', claim(name))
    path, lost = f'{CLAIM_PATH}/{name}', {'status': {'phase': 'Lost'}}
    assert probe.call(f'write merge - - {path}', lost)['status']['phase'] == 'Pending'
    got = probe.call(f'write merge status - {path}', {**lost, 'spec': {'volumeName': 'elsewhere'}})
    assert got['status']['phase'] == 'Lost' and 'volumeName' not in got['spec']
    assert probe.ask(f'write merge nonesuch - {path} {{}}').startswith('err NOT_FOUND patch persistentvolumeclaims/nonesuch: ')
    assert probe.ask(f'write merge ../x - {path} {{}}').startswith("err INVALID_ARGUMENT patch")


def test_applied_fields_belong_to_their_manager(probe):
    path = f'/api/v1/namespaces/default/configmaps/{unique("apply")}'

    def config(**data):
        return {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': path.rsplit('/', 1)[1]}, 'data': data}
    made = probe.call(f'write apply - one {path}', config(a='1', b='1'))
    assert [(m['manager'], m['operation']) for m in made['metadata']['managedFields']] == [('one', 'Apply')]
    answer = probe.ask(f'write apply - two {path} {apiserver.json.dumps(config(a="2"))}')
    assert answer.startswith('err ABORTED apply configmaps: ') and '"one"' in answer
    assert probe.call(f'write force - two {path}', config(a='2'))['data'] == {'a': '2', 'b': '1'}
    assert probe.call(f'write apply - one {path}', config())['data'] == {'a': '2'}
    assert probe.ask(f'write apply - - {path} {apiserver.json.dumps(config())}').startswith('err INVALID_ARGUMENT')
    merged = probe.call(f'write merge - three {path}', {'data': {'c': '3'}})
    assert 'three' in [m['manager'] for m in merged['metadata']['managedFields']]


def test_errors_have_the_right_code_and_name_verb_and_resource(probe):
    name = unique('errors')
    made = probe.call(f'create {CLAIM_PATH}', claim(name))
    assert probe.ask(f'create {CLAIM_PATH} {apiserver.json.dumps(claim(name))}').startswith(
        f'err ALREADY_EXISTS create {CLAIMS}: ')
    stale = made['metadata']['resourceVersion']
    probe.call(f'patch merge {CLAIM_PATH}/{name}', {'metadata': {'labels': {'a': 'b'}}})
    answer = probe.ask(f'patch merge {CLAIM_PATH}/{name} {{"metadata":{{"resourceVersion":"{stale}","labels":{{"a":"c"}}}}}}')
    assert answer.startswith(f'err ABORTED patch {CLAIMS}: ')
    assert probe.ask(f'patch json {CLAIM_PATH}/{name} [{{"op":"test","path":"/metadata/name","value":"x"}}]').startswith(
        f'err INVALID_ARGUMENT patch {CLAIMS}: ')
    assert probe.ask(f'create {CLAIM_PATH} {{}}').startswith('err INVALID_ARGUMENT')
    assert probe.ask(f'create {CLAIM_PATH} {apiserver.json.dumps(claim("Bad_Name"))}').startswith('err INVALID_ARGUMENT')
    assert probe.ask(f'patch merge {CLAIM_PATH} {{}}').startswith('err UNIMPLEMENTED')
    assert probe.ask('get /api/v1/nonesuch').startswith('err NOT_FOUND')
    probe.call(f'delete {CLAIM_PATH}/{name}')


def test_deleting_is_idempotent_and_never_hits_a_namesake(probe):
    name = unique('delete')
    first = probe.call(f'create {CLAIM_PATH}', claim(name))['metadata']['uid']
    probe.call(f'delete {CLAIM_PATH}/{name} {first}')
    probe.call(f'delete {CLAIM_PATH}/{name} {first}')
    second = probe.call(f'create {CLAIM_PATH}', claim(name))['metadata']['uid']
    probe.call(f'delete {CLAIM_PATH}/{name} {first}')
    assert probe.call(f'get {CLAIM_PATH}/{name}')['metadata']['uid'] == second
    probe.call(f'delete {CLAIM_PATH}/{name} {second}')


def test_missing_rights_name_verb_and_resource(connect):
    nobody = connect({'token': 'nobody-token'})
    answer = nobody.ask(f'get /api/v1/{VOLUMES}')
    assert answer.startswith(f'err PERMISSION_DENIED get {VOLUMES}: ') and 'nobody' in answer
    nobody.ask(f'watch {VOLUMES}')
    wait_until('the informer says what is missing', lambda: nobody.ask(f'trouble {VOLUMES}') != 'ok ')
    assert re.match(rf'ok watch {VOLUMES}: .*forbidden', nobody.ask(f'trouble {VOLUMES}'))
    assert nobody.ask(f'synced {VOLUMES}') == 'ok 0'


def wait_for_line(p, *words):
    wait_until(f'the log says {words}', lambda: any(all(w in line for w in words) for line in p.stderr.read_text().split('\n')), 10)


def test_client_certificate_and_bad_token(connect, cluster):
    cert, key = cluster.user_cert
    answer = connect({'client-certificate': str(cert), 'client-key': str(key)}).ask(f'get /api/v1/{VOLUMES}')
    assert answer.startswith('err PERMISSION_DENIED') and 'probe-by-certificate' in answer
    stranger = connect({'token': 'wrong'})
    assert stranger.ask(f'get /api/v1/{VOLUMES}').startswith(f'err UNAUTHENTICATED get {VOLUMES}: ')
    assert stranger.ask('health').startswith('ok 0 get')
    wait_for_line(stranger, 'trouble with the API server', 'Unauthorized')


def test_a_rotated_token_file_is_read_again(connect, cluster):
    file = cluster.dir / 'token'
    file.write_text('wrong\n')
    p = connect({'tokenFile': str(file)})
    assert p.ask(f'get /api/v1/{VOLUMES}').startswith('err UNAUTHENTICATED')
    file.write_text('admin-token\n')
    assert p.ask(f'get /api/v1/{VOLUMES}').startswith('ok')


def test_a_certificate_by_another_authority_is_refused(connect, cluster):
    other = apiserver.Authority(cluster.dir, 'other')
    p = connect()
    p.close()
    config = cluster.kubeconfig('other-ca', MAIN, ADMIN)
    config.write_text(config.read_text().replace(str(cluster.ca.cert), str(other.cert)))
    stranger = apiserver.Probe(cluster, config, cluster.dir / 'other.log')
    answer = stranger.ask(f'get /api/v1/{VOLUMES}')
    assert answer.startswith('err UNAVAILABLE') and 'certificate' in answer
    wait_for_line(stranger, 'trouble with the API server', 'certificate', 'age=')
    stranger.close()


def watch_all(p):
    for kind in (CLAIMS, VOLUMES, CLASSES):
        assert p.ask(f'watch {kind}') == 'ok'
    for kind in (CLAIMS, VOLUMES, CLASSES):
        p.wait_synced(kind)


def test_watches_of_three_kinds(probe):
    before, after, pv, sc = unique('before'), unique('after'), unique('pv'), unique('sc')
    probe.call(f'create {CLAIM_PATH}', claim(before))
    watch_all(probe)
    probe.wait_change(f'new {CLAIMS} default/{before} ')
    assert probe.ask(f'find {CLAIMS} default/{before}').startswith('ok')
    probe.call(f'create {CLAIM_PATH}', claim(after))
    probe.call(f'create /api/v1/{VOLUMES}', volume(pv))
    probe.call('create /apis/storage.k8s.io/v1/storageclasses', {
        'kind': 'StorageClass', 'apiVersion': 'storage.k8s.io/v1', 'metadata': {'name': sc}, 'provisioner': 'p'})
    probe.wait_change(f'new {CLAIMS} default/{after} ')
    probe.wait_change(f'new {VOLUMES} /{pv} ')
    probe.wait_change(f'new {CLASSES} /{sc} ')
    probe.call(f'patch merge {CLAIM_PATH}/{after}', {'metadata': {'labels': {'a': 'b'}}})
    probe.wait_change(f'changed {CLAIMS} default/{after} ')
    for path in (f'{CLAIM_PATH}/{before}', f'{CLAIM_PATH}/{after}', f'/api/v1/{VOLUMES}/{pv}',
                 f'/apis/storage.k8s.io/v1/storageclasses/{sc}'):
        probe.call(f'delete {path}')
    probe.wait_change(f'gone {CLAIMS} default/{after} ')
    probe.wait_change(f'gone {VOLUMES} /{pv} ')
    assert probe.ask(f'find {CLAIMS} default/{after}') == 'none'
    assert probe.ask(f'trouble {CLAIMS}') == 'ok '


def test_own_writes_are_seen_once_and_at_once(probe):
    name = unique('note')
    watch_all(probe)
    made = probe.call(f'create {CLAIM_PATH}', claim(name))
    probe.ask(f'note {CLAIMS} {apiserver.json.dumps(made)}')
    assert probe.ask(f'find {CLAIMS} default/{name}') == f'ok {made["metadata"]["resourceVersion"]}'
    probe.call(f'delete {CLAIM_PATH}/{name}')
    probe.wait_change(f'gone {CLAIMS} default/{name} ')
    assert sum(f'new {CLAIMS} default/{name} ' in c for c in probe.changes) == 1
    # The answer to a write arrives after the watch has told the object's end: it must not come back to life.
    probe.ask(f'note {CLAIMS} {apiserver.json.dumps(made)}')
    assert probe.ask(f'find {CLAIMS} default/{name}') == 'none'


def test_a_killed_server_comes_back(probe, cluster):
    name, gone = unique('killed'), unique('gone')
    probe.call(f'create {CLAIM_PATH}', claim(gone))
    watch_all(probe)
    cluster.stop(MAIN, signal.SIGKILL)
    answer = probe.ask(f'get {CLAIM_PATH}/{gone}')
    assert answer.startswith(f'err UNAVAILABLE get {CLAIMS}: '), answer
    assert probe.ask('health').startswith('ok 0 ')
    wait_for_line(probe, 'trouble with the API server', 'connect')
    wait_until('the informer says so', lambda: probe.ask(f'trouble {CLAIMS}').startswith(f'ok watch {CLAIMS}: '))
    try:
        with cluster.another(OTHER):
            p = apiserver.Probe(cluster, cluster.kubeconfig('second', OTHER, ADMIN), cluster.dir / 'second.log')
            p.call(f'delete {CLAIM_PATH}/{gone}')
            p.call(f'create {CLAIM_PATH}', claim(name))
            p.close()
    finally:
        cluster.start(MAIN)
    probe.wait_change(f'new {CLAIMS} default/{name} ', 90)
    probe.wait_change(f'gone {CLAIMS} default/{gone} ', 90)
    wait_until('the trouble is over', lambda: probe.ask(f'trouble {CLAIMS}') == 'ok ')
    assert probe.ask('health') == 'ok 1 '
    wait_for_line(probe, 'the API server is well again')
    probe.call(f'delete {CLAIM_PATH}/{name}')
    probe.wait_change(f'gone {CLAIMS} default/{name} ')


def test_a_server_that_shuts_down_in_order_is_left_in_order(probe, cluster):
    """SIGTERM: GOAWAY, watches are ended; requests go on once it is back."""
    watch_all(probe)
    cluster.stop(MAIN, signal.SIGTERM)
    cluster.start(MAIN)
    name = unique('order')
    wait_until('requests go through', lambda: probe.ask(f'create {CLAIM_PATH} {apiserver.json.dumps(claim(name))}')
               .startswith(('ok', 'err ALREADY_EXISTS')))
    probe.wait_change(f'new {CLAIMS} default/{name} ', 90)
    probe.call(f'delete {CLAIM_PATH}/{name}')


def test_a_server_without_streaming_lists_is_read_in_pages(cluster, connect):
    with cluster.another(OTHER, '--feature-gates=WatchList=false'):
        p = connect(port=OTHER)
        names = [unique('page') for _ in range(620)]
        for name in names:
            p.call(f'create /api/v1/{VOLUMES}', volume(name))
        watch_all(p)
        for name in names:
            assert p.ask(f'find {VOLUMES} /{name}').startswith('ok')
        for name in names:
            p.call(f'delete /api/v1/{VOLUMES}/{name}')
        p.wait_change(f'gone {VOLUMES} /{names[0]} ')
        p.wait_change(f'gone {VOLUMES} /{names[-1]} ')
        assert p.ask(f'trouble {VOLUMES}') == 'ok '


def test_events_are_counted(probe):
    name = unique('event')
    probe.call(f'create {CLAIM_PATH}', claim(name))
    watch_all(probe)
    for _ in range(3):
        probe.ask(f'event {CLAIMS} default/{name} Warning ProvisioningFailed pool is full: "a" > ü')
    probe.ask(f'event {CLAIMS} default/{name} Normal Provisioning another')

    def events():
        every = probe.call('get /api/v1/namespaces/default/events')['items']
        return sorted(((e['reason'], e) for e in every if e['involvedObject'].get('name') == name), key=lambda x: x[0])
    wait_until('both are written and counted', lambda: [(r, e['count']) for r, e in events()] ==
               [('Provisioning', 1), ('ProvisioningFailed', 3)])
    event = events()[1][1]
    assert event['type'] == 'Warning' and event['message'] == 'pool is full: "a" > ü'
    assert event['source'] == {'component': 'kube-probe'} and event['reportingInstance'] == 'probe-0'
    assert event['involvedObject']['kind'] == 'PersistentVolumeClaim'
    assert event['metadata']['name'].startswith(f'{name}.')
    for _ in range(40):
        probe.ask(f'event {CLAIMS} default/{name} Normal Provisioning another')
    wait_until('the flood ends at its budget', lambda: events()[0][1]['count'] == 22)
    probe.call(f'delete {CLAIM_PATH}/{name}')


LEASE_PATH = '/apis/coordination.k8s.io/v1/namespaces/default/leases'


def test_the_lease_changes_hands(connect):
    name = unique('lease')
    a, b = connect(), connect()
    a.ask(f'lease {name} a')
    a.wait_change('won')
    b.ask(f'lease {name} b')
    first = a.call(f'get {LEASE_PATH}/{name}')['spec']
    assert first['holderIdentity'] == 'a' and first['leaseDurationSeconds'] == 3 and first['leaseTransitions'] == 0
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z', first['renewTime'])
    wait_until('it is renewed', lambda: a.call(f'get {LEASE_PATH}/{name}')['spec']['renewTime'] > first['renewTime'])
    assert a.ask('held') == 'ok 1' and b.ask('held') == 'ok 0'
    a.ask('release')
    b.wait_change('won')
    spec = b.call(f'get {LEASE_PATH}/{name}')['spec']
    assert spec['holderIdentity'] == 'b' and spec['leaseTransitions'] >= 1


def test_the_lease_of_a_stopped_holder_is_taken_and_it_notices(connect):
    name = unique('lease')
    a, b = connect(), connect()
    a.ask(f'lease {name} a')
    a.wait_change('won')
    b.ask(f'lease {name} b')
    a.process.send_signal(signal.SIGSTOP)
    try:
        b.wait_change('won')
    finally:
        a.process.send_signal(signal.SIGCONT)
    a.wait_change('lost')
    assert a.ask('held') == 'ok 0'
    assert b.ask('held') == 'ok 1'


def test_the_lease_is_lost_with_the_server_and_won_again(connect, cluster):
    name = unique('lease')
    a = connect()
    a.ask(f'lease {name} a')
    a.wait_change('won')
    cluster.stop(MAIN, signal.SIGKILL)
    try:
        a.wait_change('lost')
    finally:
        cluster.start(MAIN)
    wait_until('it is won again', lambda: a.changes.count('won') == 2, 60)
    assert a.ask('held') == 'ok 1'
