# SPDX-License-Identifier: Apache-2.0
"""All of upstream's sidecars at `cleat driver` (whose volumes are in memory), and ours in their place: claims from their beginning to
their end, with a real binder, and what both write laid side by side. Needs kube-apiserver, etcd and the external-* sets; what
lacks is skipped, and says so."""
import pytest

from crosswise import CORE, PVS, SIDES, STORAGE, brought_up, judge
from harness import DRIVER, csi, wait_until
from test_crosswise_mock import Story, grow, in_lane, needs_upstream   # noqa: F401 (what skips them)
from test_crosswise_snapshots import SNAP

OPTIONS = {'csi-provisioner': ['--extra-create-metadata', '--default-fstype=ext4'], 'csi-resizer': [],
           'csi-snapshotter': ['--extra-create-metadata'], 'snapshot-controller': []}


@pytest.fixture
def cross(work, top):
    with brought_up(top, work, crds=True) as c:
        c.start_manager()
        segments = dict(c.driver.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments)
        c.probe.call(f'create {CORE}/nodes', {'apiVersion': 'v1', 'kind': 'Node', 'metadata': {'name': 'n1', 'labels': segments}})
        c.probe.call(f'create {STORAGE}/csinodes', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSINode', 'metadata': {'name': 'n1'}, 'spec': {
                'drivers': [{'name': DRIVER, 'nodeID': 'n1', 'topologyKeys': list(segments)}]}})
        c.probe.call(f'create {STORAGE}/csidrivers', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSIDriver', 'metadata': {'name': DRIVER}, 'spec': {'attachRequired': False}})
        c.add_class('now')
        c.add_class('late', volumeBindingMode='WaitForFirstConsumer', parameters={'csi.storage.k8s.io/fstype': 'xfs'})
        c.add_class('kept', reclaimPolicy='Retain')
        c.add_class('wrong', parameters={'poool': 'x'})
        c.probe.call(f'create {SNAP}/volumesnapshotclasses', {
            'apiVersion': 'snapshot.storage.k8s.io/v1', 'kind': 'VolumeSnapshotClass', 'metadata': {'name': 'deletes'}, 'driver': DRIVER,
            'deletionPolicy': 'Delete'})
        yield c


def make(side):
    side.claim('plain')
    side.claim('raw', volumeMode='Block')
    side.claim('alone', modes=('ReadWriteOncePod',))
    side.claim('late', 'late', node='n1', size='512Mi')
    side.wait_bound('plain', 'raw', 'alone', 'late')
    side.add('cut', claim='plain')
    side.wait_ready(side.snap('cut'))
    side.claim('restored', **side.of_snapshot('cut'))
    side.claim('larger', size='32Mi', **side.of_snapshot('cut'))
    side.claim('cloned', **side.of_claim('plain'))
    side.wait_bound('restored', 'larger', 'cloned')
    for name in 'plain', 'raw', 'alone', 'late', 'restored', 'larger', 'cloned':
        side.told(name, 'ProvisioningSucceeded')
        side.note(name, side.claims(name), side.volume_of(name))
    side.note('snapshot', side.content_of('cut'))
    for name, of, modes in ('many', 'now', ('ReadOnlyMany',)), ('shared', 'now', ('ReadWriteMany',)), ('wrong', 'wrong', ('ReadWriteOnce',)):
        side.claim(name, of, modes=modes)
        side.told(name, 'ProvisioningFailed')
        side.note(name, side.claims(name))
        side.delete(side.claims(name))


def bind_again(side):
    """A volume that was kept goes to another claim, and then with it."""
    side.claim('kept', 'kept')
    side.wait_bound('kept')
    volume = side.volume_of('kept')
    side.delete(side.claims('kept'))
    wait_until('it is released', lambda: side.get(volume)['status']['phase'] == 'Released')
    side.patch(volume, {'spec': {'claimRef': None}})
    wait_until('it is free', lambda: side.get(volume)['status']['phase'] == 'Available')
    side.claim('again', 'kept', volumeName=volume.rpartition('/')[2])
    side.wait_bound('again')
    side.note('bound again', side.claims('again'), volume)
    side.patch(volume, {'spec': {'persistentVolumeReclaimPolicy': 'Delete'}})
    wait_until('it has its finalizer', lambda: 'external-provisioner' in str(side.get(volume)['metadata']['finalizers']))
    side.drop('again')


def change_and_end(side):
    grow(side, 'raw', '24Mi')
    side.note('grown', side.claims('raw'), side.volume_of('raw'))
    side.patch(side.claims('plain'), {'spec': {'resources': {'requests': {'storage': '24Mi'}}}})
    side.told('plain', 'FileSystemResizeRequired')
    side.note('grows on its node', side.claims('plain'), side.volume_of('plain'))
    content = side.content_of('cut')
    side.drop('plain')
    side.delete(side.snap('cut'))
    wait_until('the snapshot is gone', lambda: side.get(side.snap('cut')) is None and side.get(content) is None)
    for name in 'restored', 'larger', 'cloned', 'raw', 'alone', 'late':
        side.drop(name)
    assert not side.get(PVS)['items'] and not side.cross.driver.calls.volumes() and not side.cross.driver.calls.snapshots()


class AtCleat(Story):
    def __init__(self, cross, name):
        cross.driver.n_called = lambda: 0
        super().__init__(cross, name)


def go_through_everything(side):
    for program, words in OPTIONS.items():
        side.start(program, *words)
    make(side)
    bind_again(side)
    change_and_end(side)
    for program in OPTIONS:
        side.stop(program)
    return side.seen, side.events()


@in_lane
def test_everything_with_ours_at_our_driver(cross):
    go_through_everything(AtCleat(cross, 'ours'))


@needs_upstream
def test_what_both_write_at_our_driver_is_the_same(cross):
    (ours, our_events), (theirs, their_events) = (go_through_everything(AtCleat(cross, name)) for name in reversed(SIDES))
    judge(ours, theirs, [])
    differing = {e[:4] for e in set(our_events) ^ set(their_events)}
    assert {(kind, reason) for kind, _, _, reason in differing} <= {('PersistentVolumeClaim', 'ProvisioningFailed')}, differing
