# SPDX-License-Identifier: Apache-2.0
"""csi-external-health-monitor-controller by its own name, before a real API server with the gate CSIVolumeHealth and without it, and a
real driver; with the documented rights and no other. Needs kube-apiserver and etcd; without them it is skipped, and says so."""
import pathlib
import subprocess
import tempfile

import pytest

import apiserver
from harness import CLEAT, DRIVER, PATIENCE, sh, starting, wait_until
from test_health import set_direct

SERVER, ETCD = apiserver.find_programs()
MISSING = '; '.join(why for is_there, why in (
    (SERVER, 'not built yet: kube-apiserver (tests/tools/build kubernetes, 10 minutes once; make e2e does it)'),
    (ETCD, 'the machine lacks etcd (tools/deps e2e)')) if not is_there)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'SKIPPED: {MISSING}')

PORT, HTTP = 6443, 9813
CORE, RBAC = '/api/v1', '/apis/rbac.authorization.k8s.io/v1'
CLAIMS = f'{CORE}/namespaces/default/persistentvolumeclaims'
RIGHTS = [('persistentvolumes', ['get', 'list', 'watch']), ('persistentvolumeclaims', ['get', 'list', 'watch']),
          ('persistentvolumeclaims/status', ['patch']), ('events', ['create', 'patch'])]


class Claims:
    def __init__(self, cluster, probe, directory, driver):
        self.cluster, self.probe, self.dir, self.driver = cluster, probe, directory, driver
        self.process = None
        probe.call(f'create {CORE}/namespaces/default/serviceaccounts', {
            'apiVersion': 'v1', 'kind': 'ServiceAccount', 'metadata': {'name': 'monitor'}})
        probe.call(f'create {RBAC}/clusterroles', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRole', 'metadata': {'name': 'monitor'},
            'rules': [{'apiGroups': [''], 'resources': [r], 'verbs': v} for r, v in RIGHTS]})
        probe.call(f'create {RBAC}/clusterrolebindings', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRoleBinding', 'metadata': {'name': 'monitor'},
            'roleRef': {'apiGroup': 'rbac.authorization.k8s.io', 'kind': 'ClusterRole', 'name': 'monitor'},
            'subjects': [{'kind': 'ServiceAccount', 'name': 'monitor', 'namespace': 'default'}]})

    def bind(self, name, handle):
        """A claim and its volume, as the controller-manager leaves them."""
        claim = self.probe.call(f'create {CLAIMS}', {
            'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': name},
            'spec': {'accessModes': ['ReadWriteOnce'], 'volumeName': f'pv-{name}', 'storageClassName': '',
                     'resources': {'requests': {'storage': '64Mi'}}}})
        self.probe.call(f'create {CORE}/persistentvolumes', {
            'apiVersion': 'v1', 'kind': 'PersistentVolume', 'metadata': {'name': f'pv-{name}'},
            'spec': {'accessModes': ['ReadWriteOnce'], 'capacity': {'storage': '64Mi'}, 'csi': {'driver': DRIVER, 'volumeHandle': handle},
                     'claimRef': {'namespace': 'default', 'name': name, 'uid': claim['metadata']['uid'], 'kind': 'PersistentVolumeClaim',
                                  'apiVersion': 'v1'}}})
        self.probe.call(f'write merge status - {CORE}/persistentvolumes/pv-{name}', {'status': {'phase': 'Bound'}})

    def start(self):
        token = self.probe.call(f'create {CORE}/namespaces/default/serviceaccounts/monitor/token', {
            'apiVersion': 'authentication.k8s.io/v1', 'kind': 'TokenRequest', 'spec': {}})['status']['token']
        config = self.cluster.kubeconfig('monitor', PORT, {'token': token})
        link = self.dir / 'csi-external-health-monitor-controller'
        link.symlink_to(CLEAT)
        self.log = self.dir / 'monitor.log'
        words = [link, f'--csi-address={self.driver.socket}', f'--kubeconfig={config}', f'--http-endpoint=127.0.0.1:{HTTP}',
                 '-list-volumes-interval', '500ms', '--monitor-interval=1m']
        with starting, open(self.log, 'ab') as f:
            self.process = subprocess.Popen(self.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL)

    def health(self, name):
        status = self.probe.call(f'get {CLAIMS}/{name}').get('status', {})
        return {c['reason']: c for c in status.get('healthStatus', {}).get('healthConditions', [])}

    def events(self, name):
        found = self.probe.call(f'get {CORE}/namespaces/default/events')['items']
        return {e['reason']: e for e in found if e['involvedObject'].get('name') == name}

    def page(self, path):
        return subprocess.run(self.cluster.inside(['curl', '-s', f'http://127.0.0.1:{HTTP}{path}']), capture_output=True, text=True,
                              check=False).stdout

    def end(self):
        if self.process:
            self.process.terminate()
            assert self.process.wait(PATIENCE) == 0, self.log.read_text()[-4000:]


@pytest.fixture
def claims(work, top, driver, request):
    cluster = apiserver.Cluster(pathlib.Path(tempfile.mkdtemp(prefix='health-', dir=top)), SERVER, ETCD)
    try:
        cluster.start(PORT, *request.param)
        probe = apiserver.Probe(cluster, cluster.kubeconfig('test', PORT, {'token': 'admin-token'}), work / 'probe.log')
        try:
            c = Claims(cluster, probe, work, driver)
            yield c
            c.end()
        finally:
            if c.process:
                c.process.kill()
            probe.close()
    finally:
        cluster.close()


@pytest.mark.parametrize('claims', [['--feature-gates=CSIVolumeHealth=true'], []], ids=['gate', 'no-gate'], indirect=True)
def test_claims_are_told_how_their_volumes_are(claims, driver, pool, volume, request):
    has_gate = 'no-gate' not in request.node.name
    well = volume().up()
    before = set(pool.loops())
    ill = volume().up()
    (device,) = set(pool.loops()) - before
    claims.bind('well', well.id)
    claims.bind('ill', ill.id)
    set_direct(device, 0)
    claims.start()
    event = wait_until('an Event tells of it', lambda: claims.events('ill').get('VolumeConditionAbnormal'))
    assert event['type'] == 'Warning' and 'Degraded (' in event['message'], event
    assert 'cleat_volumes_unwell{driver_name="%s"} 1' % DRIVER in claims.page('/metrics')
    if has_gate:
        (found,) = wait_until('the status has it', lambda: claims.health('ill')).values()
        assert found['status'] == 'Degraded' and found['message'] in event['message']
    else:
        wait_until('that is said', lambda: 'keeps no healthStatus' in claims.log.read_text())
        assert not claims.health('ill')

    driver.restart()   # while it is away nothing changes, and nothing is told anew
    sh('losetup', '--direct-io=on', device)
    wait_until('it is told to be well', lambda: 'VolumeConditionNormal' in claims.events('ill'))
    wait_until('the status is empty', lambda: not claims.health('ill'))
    assert not claims.health('well') and not claims.events('well')
    assert claims.events('ill')['VolumeConditionAbnormal'].get('count', 1) == 1
    assert 'Forbidden' not in claims.log.read_text() and 'forbidden' not in claims.log.read_text()
