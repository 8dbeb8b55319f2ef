# SPDX-License-Identifier: Apache-2.0
"""All controllers in one process, at a cluster that lacks something: a right, or the CRDs of snapshots until later. What needs it
waits and says so, by name; the others work. Needs kube-apiserver and etcd; without them it is skipped, and says so."""
import json
import subprocess

import pytest

import apiserver
from crosswise import PORT, add_crds, brought_up, missing
from harness import CLEAT, PATIENCE, starting, wait_until
from mock_driver import MockDriver
from test_crosswise_mock import CAPACITIES, Story, add_node, snapshot_class
from test_crosswise_snapshots import SNAP

MISSING = missing()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'SKIPPED: {MISSING}')
RBAC = '/apis/rbac.authorization.k8s.io/v1'
HTTP = '127.0.0.1:9809'
ALL = ['*']
# All that the controllers do, but: no watch of capacities, and nothing about the status of a claim.
RULES = [
    ('', ['persistentvolumes', 'persistentvolumeclaims', 'events', 'secrets', 'nodes', 'pods'], ALL),
    ('storage.k8s.io', ['storageclasses', 'volumeattachments', 'volumeattachments/status', 'volumeattributesclasses', 'csinodes',
                        'csidrivers'], ALL),
    ('storage.k8s.io', ['csistoragecapacities'], ['create', 'update', 'patch', 'delete', 'get']),
    ('snapshot.storage.k8s.io', ALL, ALL), ('groupsnapshot.storage.k8s.io', ALL, ALL), ('coordination.k8s.io', ['leases'], ALL)]


class Lacking:
    def __init__(self, cross, work):
        self.cross, self.log, self.process = cross, work / 'controller.log', None
        side = cross.probe
        side.call(f'create {RBAC}/clusterroles', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRole', 'metadata': {'name': 'most'}, 'rules': [
                {'apiGroups': [group], 'resources': resources, 'verbs': verbs} for group, resources, verbs in RULES]})
        side.call(f'create {RBAC}/clusterrolebindings', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRoleBinding', 'metadata': {'name': 'most'},
            'roleRef': {'apiGroup': 'rbac.authorization.k8s.io', 'kind': 'ClusterRole', 'name': 'most'},
            'subjects': [{'apiGroup': 'rbac.authorization.k8s.io', 'kind': 'User', 'name': 'nobody'}]})

    def start(self):
        words = [CLEAT, 'controller', f'--csi-address={self.cross.driver.socket}', f'--http-endpoint={HTTP}', '--capacity-ownerref-level=-1',
                 f'--kubeconfig={self.cross.cluster.kubeconfig("nobody", PORT, {"token": "nobody-token"})}', '--retry-interval-max=1s',
                 '--controllers=provisioner,attacher,resizer,capacity,snapshotter,snapshot-controller']
        with starting, open(self.log, 'ab') as f:
            self.process = subprocess.Popen(self.cross.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL)
        wait_until('it serves', lambda: self.page('/healthz'))

    def page(self, path):
        return subprocess.run(self.cross.cluster.inside(['curl', '-s', f'http://{HTTP}{path}']), capture_output=True, text=True,
                              check=False).stdout

    def wait_line(self, *words):
        wait_until(f'the log says {words}', lambda: any(all(w in line for w in words) for line in self.log.read_text().split('\n')))

    def end(self):
        if self.process:
            self.process.terminate()
            assert self.process.wait(PATIENCE) == 0
            print(self.log.read_text()[-3000:])


@pytest.fixture
def lacking(work, top):
    def mock(directory):
        (directory / 'driver').mkdir()
        return MockDriver(directory / 'driver', '-topology').start()
    with brought_up(top, work, make_driver=mock) as c:
        c.start_manager()
        add_node(c, 'a', MockDriver.topology_value)
        c.add_class('now')
        c.add_class('late', volumeBindingMode='WaitForFirstConsumer')
        lacks = Lacking(c, work)
        try:
            lacks.start()
            yield lacks
        finally:
            lacks.end()


def grant(lacking, group, resource):
    role = lacking.cross.get(f'{RBAC}/clusterroles/most')
    role['rules'].append({'apiGroups': [group], 'resources': [resource], 'verbs': ALL})
    lacking.cross.probe.call(f'patch merge {RBAC}/clusterroles/most', {'rules': role['rules']})


def test_what_is_missing_is_named_and_holds_up_nobody_else(lacking):
    side = Story(lacking.cross, 'ours')
    side.claim('data')
    side.wait_bound('data')
    side.attach('data', 'data')
    side.wait_attached('data')
    lacking.wait_line('does not let us watch', 'csistoragecapacities', 'needed by capacity', 'nobody')
    lacking.wait_line('waiting for its CRD', 'volumesnapshotcontents')
    wait_until('the page names it', lambda: 'watch csistoragecapacities' in lacking.page('/readyz'))
    assert 'needed by capacity' in lacking.page('/readyz')

    side.patch(side.claims('data'), {'spec': {'resources': {'requests': {'storage': '24Mi'}}}})
    side.told('data', 'VolumeResizeFailed')
    lacking.wait_line('persistentvolumeclaims/status', 'patch', 'resize')
    assert 'patch persistentvolumeclaims/status' in str(side.events())
    side.claim('more')
    side.wait_bound('more')

    grant(lacking, '', 'persistentvolumeclaims/status')
    wait_until('it has grown', lambda: side.status(side.claims('data'))['capacity']['storage'] == '24Mi')
    grant(lacking, 'storage.k8s.io', 'csistoragecapacities')
    wait_until('room is told', lambda: side.get(CAPACITIES)['items'], 90)
    wait_until('the CRDs alone are waited for', lambda: lacking.page('/readyz').startswith('ok'))
    assert 'waiting for the CRD of volumesnapshotcontents' in lacking.page('/readyz')

    add_crds(lacking.cross.cluster)
    wait_until('the kinds are served', lambda: side.probe.ask(f'get {SNAP}/volumesnapshotclasses').startswith('ok'))
    side.probe.call(f'create {SNAP}/volumesnapshotclasses', snapshot_class('deletes', 'Delete'))
    wait_until('nothing is waited for', lambda: 'CRD' not in lacking.page('/readyz'), 90)
    side.add('cut', claim='data')
    side.wait_ready(side.snap('cut'))
    content = side.content_of('cut')
    side.delete(side.snap('cut'))
    side.delete(side.attachment('data'))
    side.wait_gone(side.snap('cut'), content, side.attachment('data'))
    for name in 'data', 'more':
        side.drop(name)
    assert lacking.cross.driver.n_left() == (0, 0)
