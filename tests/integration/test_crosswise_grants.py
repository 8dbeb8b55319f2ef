# SPDX-License-Identifier: Apache-2.0
"""Claims that are made of a snapshot of another namespace (the alpha gate CrossNamespaceVolumeDataSource, of the API server and of
csi-provisioner), by upstream's program and by ours, and what both write for the same. Needs kube-apiserver and etcd, and the
comparison the external-* sets; what lacks is skipped, and says so."""
import pytest

from crosswise import CORE, SIDES, brought_up, judge
from harness import wait_until
from mock_driver import MockDriver
from test_crosswise_mock import OPTIONS, Story, in_lane, needs_upstream, set_up   # noqa: F401 (what skips them)
from test_snapshot_metadata import CRDS, crd

GATE = '--feature-gates=CrossNamespaceVolumeDataSource=true'
GRANTS = '/apis/gateway.networking.k8s.io/v1beta1'


@pytest.fixture
def gated(work, top):
    def mock(directory):
        (directory / 'driver').mkdir()
        return MockDriver(directory / 'driver').start()
    with brought_up(top, work, crds=True, make_driver=mock, flags=[GATE]) as c:
        set_up(c)
        c.probe.call(f'create {CRDS}', crd('gateway.networking.k8s.io', 'v1beta1', 'referencegrants', 'ReferenceGrant', 'Namespaced'))
        wait_until('grants are served', lambda: c.probe.ask(f'get {GRANTS}/referencegrants').startswith('ok'))
        yield c


def restore_elsewhere(side):
    """From the namespace of the side into another, which is not let and then is."""
    other = f'{side.ns}-more'
    claims = f'{CORE}/namespaces/{other}/persistentvolumeclaims'
    side.start_all(csi_provisioner=[*OPTIONS['csi-provisioner'], GATE])
    side.claim('data')
    side.wait_bound('data')
    side.add('cut', claim='data')
    side.wait_ready(side.snap('cut'))
    side.probe.call(f'create {CORE}/namespaces', {'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': other}})
    side.probe.call(f'create {claims}', {
        'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': 'back'}, 'spec': {
            'storageClassName': 'now', 'accessModes': ['ReadWriteOnce'], 'resources': {'requests': {'storage': '16Mi'}},
            'dataSourceRef': {'apiGroup': 'snapshot.storage.k8s.io', 'kind': 'VolumeSnapshot', 'name': 'cut', 'namespace': side.ns}}})
    wait_until('it is told', lambda: any("isn't allowed" in e['message'] for e in side.get(f'{CORE}/namespaces/{other}/events')['items']))
    side.probe.call(f'create {GRANTS}/namespaces/{side.ns}/referencegrants', {
        'apiVersion': 'gateway.networking.k8s.io/v1beta1', 'kind': 'ReferenceGrant', 'metadata': {'name': 'g'}, 'spec': {
            'from': [{'group': '', 'kind': 'PersistentVolumeClaim', 'namespace': other}],
            'to': [{'group': 'snapshot.storage.k8s.io', 'kind': 'VolumeSnapshot', 'name': 'cut'}]}})
    wait_until('it is bound', lambda: side.get(f'{claims}/back').get('status', {}).get('phase') == 'Bound')
    volume = f'{CORE}/persistentvolumes/{side.get(f"{claims}/back")["spec"]["volumeName"]}'
    wait_until('so is its volume', lambda: side.get(volume)['status'].get('phase') == 'Bound')
    side.note('back', f'{claims}/back', volume)
    if side.name == 'upstream':   # its finalizer stays where dataSourceRef alone names the snapshot, until it sweeps
        kept = [f for f in side.get(side.snap('cut'))['metadata']['finalizers'] if not f.startswith('provisioner.')]
        side.patch(side.snap('cut'), {'metadata': {'finalizers': kept}})
    side.delete(side.snap('cut'))
    side.wait_gone(side.snap('cut'))
    side.delete(f'{claims}/back')
    side.wait_gone(f'{claims}/back', volume)
    side.drop('data')
    side.stop_all()
    assert side.cross.driver.n_left() == (0, 0)
    return side.seen


@in_lane
def test_a_snapshot_of_another_namespace(gated):
    restore_elsewhere(Story(gated, 'ours'))


@needs_upstream
def test_what_both_write_of_it_is_the_same(gated):
    ours, theirs = (restore_elsewhere(Story(gated, name)) for name in reversed(SIDES))
    judge(ours, theirs, [])
