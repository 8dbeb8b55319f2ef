# SPDX-License-Identifier: Apache-2.0
"""Orphans and `cleat ctl explain` on a real API server: the test is the scheduler, the controller-manager, and whoever takes
finalizers off by hand. Needs kube-apiserver and etcd; without them it is skipped, and says so."""
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

PORT, HTTP = 6443, 9813
CORE, STORAGE = '/api/v1', '/apis/storage.k8s.io/v1'
CLAIMS, VOLUMES = f'{CORE}/namespaces/default/persistentvolumeclaims', f'{CORE}/persistentvolumes'
PROVISIONER = 'volume.kubernetes.io/storage-provisioner'


class Lab:
    def __init__(self, cluster, probe, directory):
        self.cluster, self.probe, self.dir = cluster, probe, directory
        self.config = cluster.kubeconfig('lab', PORT, {'token': 'admin-token'})
        self.controller, self.log = None, directory / 'controller.log'
        self.id = probe.call(f'get {CORE}/namespaces/kube-system')['metadata']['uid']
        self.driver = Driver(directory, None, '--backend=mem', '--mem-size=4Gi', f'--cluster-id={self.id}', node='n1').start()
        segments = dict(self.driver.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments)
        probe.call(f'create {CORE}/nodes', {'apiVersion': 'v1', 'kind': 'Node', 'metadata': {'name': 'n1', 'labels': segments}})
        probe.call(f'create {STORAGE}/csinodes', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSINode', 'metadata': {'name': 'n1'},
            'spec': {'drivers': [{'name': DRIVER, 'nodeID': 'n1', 'topologyKeys': list(segments)}]}})
        probe.call(f'create {STORAGE}/csidrivers', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSIDriver', 'metadata': {'name': DRIVER}, 'spec': {'attachRequired': False}})
        self.add_class('now', 'Immediate')

    def add_class(self, name, mode):
        self.probe.call(f'create {STORAGE}/storageclasses', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'StorageClass', 'metadata': {'name': name}, 'provisioner': DRIVER,
            'volumeBindingMode': mode})

    def start(self, *options, controllers='provisioner,orphans'):
        words = [CLEAT, 'controller', f'--csi-address=unix://{self.driver.socket}', f'--controllers={controllers}',
                 f'--kubeconfig={self.config}', f'--http-endpoint=127.0.0.1:{HTTP}', '--extra-create-metadata',
                 '--orphans-interval=1s', *options]
        with starting, open(self.log, 'ab') as f:
            self.controller = subprocess.Popen(self.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL)

    def stop(self):
        if self.controller:
            self.controller.terminate()
            assert self.controller.wait(PATIENCE) == 0, self.log.read_text()
        self.controller = None

    def page(self, path):
        return subprocess.run(self.cluster.inside(['curl', '-s', f'http://127.0.0.1:{HTTP}{path}']), capture_output=True, text=True,
                              check=False).stdout

    def ctl(self, *words):
        return subprocess.run(self.cluster.inside([CLEAT, 'ctl', *words, f'--endpoint=unix://{self.driver.socket}',
                                                   f'--kubeconfig={self.config}']), capture_output=True, text=True, check=False)

    def json(self, *words):
        done = self.ctl(*words, '-o', 'json')
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def claim(self, name, storage_class='now', **spec):
        """Its UID."""
        return self.probe.call(f'create {CLAIMS}', {
            'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': name, 'annotations': {PROVISIONER: DRIVER}},
            'spec': {'storageClassName': storage_class, 'accessModes': ['ReadWriteOnce'],
                     'resources': {'requests': {'storage': '16Mi'}}, **spec}})['metadata']['uid']

    def volume_of(self, name):
        """Claims a volume and waits for it; the names of both PV and volume."""
        pv = f'pvc-{self.claim(name)}'
        wait_until('it has a volume', lambda: self.probe.ask(f'get {VOLUMES}/{pv}').startswith('ok'))
        wait_until('its intent is settled', lambda: pv[4:] not in self.probe.ask(
            f'get /apis/coordination.k8s.io/v1/namespaces/default/leases/cleat-{DRIVER.replace(".", "-")}-intents'))
        return pv

    def tear_away(self, name, pv):
        """The claim, and the PV by somebody who takes its finalizers off."""
        self.probe.call(f'patch merge {VOLUMES}/{pv}', {'metadata': {'finalizers': None}})
        self.probe.ask(f'delete {CLAIMS}/{name}')
        self.probe.ask(f'delete {VOLUMES}/{pv}')

    def volumes(self):
        return [v.volume_id for v in self.driver.calls.volumes()]

    def events(self, name):
        return [e for e in self.probe.call(f'get {CORE}/namespaces/default/events')['items'] if e['involvedObject'].get('name') == name]

    def end(self):
        self.stop()
        self.driver.end()


@pytest.fixture(scope='module')
def server(top):
    cluster = apiserver.Cluster(pathlib.Path(tempfile.mkdtemp(prefix='orphans-', dir=top)), SERVER, ETCD)
    try:
        cluster.start(PORT)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def lab(server, work):
    probe = apiserver.Probe(server, server.kubeconfig('test', PORT, {'token': 'admin-token'}), work / 'probe.log')
    found = None
    try:
        found = Lab(server, probe, work)
        yield found
    finally:
        if found:
            found.end()
        for path in CLAIMS, VOLUMES, f'{STORAGE}/storageclasses', f'{STORAGE}/csinodes', f'{STORAGE}/csidrivers', f'{CORE}/nodes', \
                f'{CORE}/namespaces/default/pods':
            for item in probe.call(f'get {path}')['items']:
                name = item['metadata']['name']
                if item['metadata'].get('finalizers'):
                    probe.ask(f'patch merge {path}/{name} ' + json.dumps({'metadata': {'finalizers': None}}))
                probe.ask(f'delete {path}/{name}')
        probe.close()


def test_an_orphan_is_told_listed_adopted_and_deleted(lab):
    lab.start()
    kept, lost = lab.volume_of('kept'), lab.volume_of('lost')
    assert lab.json('orphans', 'list')['items'] == []
    lab.tear_away('lost', lost)
    (handle,) = [v for v in lab.volumes() if v.endswith(lost)]

    wait_until('it is counted', lambda: 'cleat_orphans{kind="volume"} 1' in lab.page('/metrics'))
    (event,) = wait_until('it is an Event', lambda: lab.events(DRIVER))
    assert event['reason'] == 'OrphanFound' and handle in event['message'] and event['involvedObject']['kind'] == 'CSIDriver'
    assert event['source']['component'] == f'orphans {DRIVER}'
    (one,) = lab.json('orphans', 'list')['items']
    assert (one['id'], one['name'], one['bytes'], one['claim']) == (handle, lost, 16 << 20, 'default/lost')
    assert one['made_for_this_cluster'] and one['created'].endswith('Z') and 'no PersistentVolume' in one['why']
    assert handle in lab.ctl('orphans', 'list').stdout

    # nothing by default, and nothing of what is none
    assert 'would be deleted' in lab.ctl('orphans', 'delete', lost).stdout and handle in lab.volumes()
    refused = lab.ctl('orphans', 'delete', kept, '--yes')
    assert refused.returncode == 1 and 'is no orphan' in refused.stderr

    assert lab.json('orphans', 'adopt', lost, '--for=default/back')['object'] == lost
    pv = lab.probe.call(f'get {VOLUMES}/{lost}')
    spec = pv['spec']
    assert spec['csi']['volumeHandle'] == handle and spec['persistentVolumeReclaimPolicy'] == 'Retain'
    assert spec['csi']['volumeAttributes'] == {'filesystem': 'ext4'} and spec['csi']['fsType'] == 'ext4'
    assert spec['claimRef']['name'] == 'back' and 'uid' not in spec['claimRef']
    like = lab.probe.call(f'get {VOLUMES}/{kept}')['spec']
    assert spec['nodeAffinity'] == like['nodeAffinity'] and spec['capacity'] == like['capacity']
    assert lab.json('orphans', 'list')['items'] == []
    wait_until('it is counted no more', lambda: 'cleat_orphans{kind="volume"} 0' in lab.page('/metrics'))

    lab.probe.ask(f'delete {VOLUMES}/{lost}')
    lab.probe.ask(f'patch merge {VOLUMES}/{lost} ' + json.dumps({'metadata': {'finalizers': None}}))
    wait_until('it is an orphan again', lambda: lab.json('orphans', 'list')['items'])
    assert lab.json('orphans', 'delete', lost, '--yes')['done'] == 'deleted'
    assert [v for v in lab.volumes() if v.endswith(lost)] == [] and [v for v in lab.volumes() if v.endswith(kept)]


def test_what_the_operator_switched_on_deletes_those_of_this_cluster_alone(lab):
    other = 'pvc-0b5e9d3c-5d5e-4c8e-9d6e-0a8f6f1d2c3b'
    lab.driver.calls.create('not-of-a-claim')
    lab.start('--orphans-delete-after=2s')
    kept, lost = lab.volume_of('kept'), lab.volume_of('lost')
    lab.tear_away('lost', lost)
    wait_until('it goes', lambda: not [v for v in lab.volumes() if v.endswith(lost)])
    assert len(lab.volumes()) == 2 and [v for v in lab.volumes() if v.endswith(kept)]
    wait_until('it is an Event', lambda: [e for e in lab.events(DRIVER) if e['reason'] == 'OrphanDeleted' and lost in e['message']])
    lab.stop()

    # the same pool, of another cluster: it does not take this one's, and this one not its
    lab.driver.stop()
    second = Driver(lab.dir, None, '--backend=mem', '--mem-size=4Gi', '--cluster-id=another', node='n1').start()
    try:
        second.calls.create(other)
        lab.driver = second
        assert lab.json('orphans', 'list')['items'] == []
        refused = lab.ctl('orphans', 'delete', other, '--yes', '--any-owner')
        assert refused.returncode == 1 and 'is no orphan' in refused.stderr
    finally:
        second.end()


def pod(name, claim):
    return {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name}, 'spec': {
        'automountServiceAccountToken': False, 'containers': [{'name': 'c', 'image': 'x'}],
        'volumes': [{'name': 'v', 'persistentVolumeClaim': {'claimName': claim}}]}}


def test_what_waits_is_explained(lab):
    def blocker(*words):
        return lab.json('explain', *words)['blocker']

    lab.add_class('later', 'WaitForFirstConsumer')
    lab.claim('classless', 'gone')
    lab.claim('late', 'later')
    lab.claim('waits')
    assert blocker('pvc', 'classless')['rule'] == 'class-missing'
    text = lab.ctl('explain', 'pvc', 'classless').stdout
    assert 'blocker: StorageClass gone is not there (StorageClass gone, class-missing)' in text and 'next:    kubectl' in text
    assert blocker('pvc', 'late')['rule'] == 'no-consumer'
    lab.probe.call(f'create {CORE}/namespaces/default/pods', pod('app', 'late'))
    assert blocker('pvc', 'late')['rule'] == 'consumer-not-scheduled'
    assert blocker('pod', 'app') is None    # that the scheduler has not looked is no finding
    lab.probe.call(f'create {CORE}/namespaces/default/pods', pod('lonely', 'nobody'))
    found = blocker('pod', 'lonely')
    assert found['rule'] == 'claim-missing' and found['object'] == 'PersistentVolumeClaim default/nobody'
    missing = lab.ctl('explain', 'snapshot', 'x')
    assert missing.returncode == 1 and 'there is no VolumeSnapshot default/x, or the cluster has none of this kind' in missing.stderr
    assert lab.ctl('explain', 'pvc', 'classless', '-n', 'kube-system').returncode == 1

    # nobody works yet, and nobody can say that somebody should: no Lease
    answer = lab.json('explain', 'pvc', 'waits')
    assert answer['blocker'] is None and answer['leases'] == []
    assert 'nothing found that blocks' in lab.ctl('explain', 'pvc', 'waits').stdout
    lab.start('--leader-election', '--leader-election-lease-duration=3s', '--leader-election-renew-deadline=2s',
              '--leader-election-retry-period=500ms')
    wait_until('it works', lambda: any(lease['leads'] for lease in lab.json('explain', 'pvc', 'waits')['leases']))
    lab.controller.kill()
    lab.controller.wait()
    lab.controller = None
    lab.claim('orphaned')
    found = wait_until('it is told', lambda: blocker('pvc', 'orphaned'))
    assert found['rule'] == 'nobody-leads' and found['object'].startswith('Lease default/cleat-') and 'get pods' in found['next']


def test_a_volume_on_a_cordoned_node_is_explained_and_who_may_not_read_all_is_told(lab):
    lab.start()
    pv = lab.volume_of('data')
    lab.probe.call(f'patch merge {CLAIMS}/data', {'spec': {'volumeName': pv}})
    lab.probe.call(f'patch merge {CLAIMS}/data/status', {'status': {'phase': 'Bound'}})
    lab.probe.call(f'create {CORE}/namespaces/default/pods', pod('app', 'data'))
    assert lab.json('explain', 'pod', 'app')['blocker'] is None
    lab.probe.call(f'patch merge {CORE}/nodes/n1', {'spec': {'unschedulable': True}})
    answer = lab.json('explain', 'pod', 'app')
    assert answer['blocker']['rule'] == 'volume-node-takes-no-pods' and 'node n1 alone' in answer['blocker']['what']
    assert [f['kind'] for f in answer['chain']][:3] == ['Pod', 'PersistentVolumeClaim', 'StorageClass']
    lab.probe.ask(f'delete {CORE}/nodes/n1')
    assert lab.json('explain', 'pod', 'app')['blocker']['rule'] == 'volume-nowhere'

    rbac = '/apis/rbac.authorization.k8s.io/v1'
    lab.probe.call(f'create {rbac}/clusterroles', {'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRole', 'metadata': {'name': 'few'}, 'rules': [
        {'apiGroups': [''], 'resources': ['pods', 'persistentvolumeclaims'], 'verbs': ['get', 'list']}]})
    lab.probe.call(f'create {rbac}/clusterrolebindings', {
        'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRoleBinding', 'metadata': {'name': 'few'},
        'roleRef': {'apiGroup': 'rbac.authorization.k8s.io', 'kind': 'ClusterRole', 'name': 'few'},
        'subjects': [{'kind': 'User', 'name': 'nobody', 'apiGroup': 'rbac.authorization.k8s.io'}]})
    lab.config = lab.cluster.kubeconfig('few', PORT, {'token': 'nobody-token'})
    answer = lab.json('explain', 'pod', 'app')
    assert answer['blocker'] is None and any(t.startswith('PersistentVolume ') for t in answer['unread'])
    assert 'not read: ' in lab.ctl('explain', 'pod', 'app').stdout
    refused = lab.ctl('explain', 'attachment', 'x')
    assert refused.returncode == 1 and 'PERMISSION_DENIED' in refused.stderr
