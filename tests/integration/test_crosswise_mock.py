# SPDX-License-Identifier: Apache-2.0
"""Our sidecars by upstream's names, and upstream's own, at another vendor's driver: the mock of Kubernetes, on a real API server
with a real binder. All that the driver can is gone through, what both write and what both ask of the driver is laid side by
side. Needs kube-apiserver and etcd, and the comparison the external-* sets; what lacks is skipped, and says so."""
import contextlib
import os
import re
import signal

import pytest

from crosswise import ATTRIBUTES, CORE, PROGRAMS, PVS, SIDES, STORAGE, brought_up, judge, judge_events, missing
from harness import registration, wait_until
from mock_driver import BUILT_IN, MockDriver
from test_crosswise_snapshots import CONTENTS, SNAP, Snaps
from test_endpoint import free_port
from test_sidecars import KUBELET_PATH, answers, register, registry, start  # noqa: F401 (fixtures)

MISSING = missing()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'SKIPPED: {MISSING}')
NOT_HERE = '' if os.environ.get('CLEAT_CROSSWISE') else 'a lane of its own: make crosswise'
in_lane = pytest.mark.skipif(bool(NOT_HERE), reason=f'SKIPPED: {NOT_HERE}')
NO_UPSTREAM = missing(*((set_, program) for program, (set_, _) in PROGRAMS.items())) or NOT_HERE
needs_upstream = pytest.mark.skipif(bool(NO_UPSTREAM), reason=f'SKIPPED: {NO_UPSTREAM}')
DRIVER = MockDriver.name
ATTACHMENTS, NODES, CSI_NODES = f'{STORAGE}/volumeattachments', f'{CORE}/nodes', f'{STORAGE}/csinodes'
CAPACITIES = f'{STORAGE}/namespaces/default/csistoragecapacities'
SELECTED = 'volume.kubernetes.io/selected-node'
# As in the manifests of csi-driver-host-path, whose sidecars these are.
OPTIONS = {
    'csi-provisioner': ['--feature-gates=Topology=true', '--enable-capacity', '--capacity-ownerref-level=-1', '--extra-create-metadata',
                        '--default-fstype=ext4', '--timeout=10s'],
    'csi-attacher': ['--default-fstype=ext4'], 'csi-resizer': ['-handle-volume-inuse-error=false'],
    'csi-snapshotter': ['--extra-create-metadata'], 'snapshot-controller': []}
# Ids that the driver counts up, by the fields that hold them.
HANDLES = 'volumeHandle', 'snapshotHandle', 'volume_id', 'snapshot_id', 'source_volume_id'
WORDS = (re.compile(r'\d{13}-\d+-'), 'IDENTITY-'), (re.compile(r'\b(volume|snapshot) \d+\b'), r'\1 HANDLE')


def set_up(c):
    c.start_manager()
    for name, value in ('a', MockDriver.topology_value), ('b', 'another-node'), ('c', 'a-third-node'):
        add_node(c, name, value)
    c.add_class('now')
    c.add_class('late', volumeBindingMode='WaitForFirstConsumer')
    c.add_class('kept', reclaimPolicy='Retain', mountOptions=['noatime'])
    c.add_class('secret', parameters={'csi.storage.k8s.io/provisioner-secret-name': 'key', 'csi.storage.k8s.io/fstype': 'xfs',
                                      'csi.storage.k8s.io/provisioner-secret-namespace': '${pvc.namespace}', 'tier': 'gold',
                                      'csi.storage.k8s.io/controller-publish-secret-name': 'key',
                                      'csi.storage.k8s.io/controller-publish-secret-namespace': '${pvc.namespace}'})
    c.add_class('wrong', parameters={'csi.storage.k8s.io/colour': 'blue'})
    c.add_class('placed', allowedTopologies=[{'matchLabelExpressions': [
        {'key': MockDriver.topology_key, 'values': [MockDriver.topology_value, 'another-node']}]}])
    c.probe.call(f'create {SNAP}/volumesnapshotclasses', snapshot_class('deletes', 'Delete'))
    c.probe.call(f'create {SNAP}/volumesnapshotclasses', snapshot_class('keeps', 'Retain'))
    for name in 'quick', 'slow':
        c.probe.call(f'create {ATTRIBUTES}', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'VolumeAttributesClass', 'metadata': {'name': name}, 'driverName': DRIVER,
            'parameters': {'speed': name}})


def opened(work, top, *options):
    def mock(directory):
        (directory / 'driver').mkdir()
        return MockDriver(directory / 'driver', *options).start()
    with brought_up(top, work, crds=True, make_driver=mock) as c:
        set_up(c)
        yield c


@pytest.fixture
def cross(work, top):
    yield from opened(work, top, '-topology')


@pytest.fixture
def narrow(work, top):
    """At a driver that is at one volume a node at most, grows nothing that was attached, and leaves the end of growth to nodes."""
    yield from opened(work, top, '-attach-limit=1', '-disable-online-expansion', '-node-expand-required')


def snapshot_class(name, policy):
    return {'apiVersion': 'snapshot.storage.k8s.io/v1', 'kind': 'VolumeSnapshotClass', 'driver': DRIVER, 'deletionPolicy': policy,
            'metadata': {'name': name}, 'parameters': {'kind': 'crash-consistent'}}


def add_node(cross, name, value):
    """As kubelet makes one known. The driver attaches to the node of its own name only."""
    cross.probe.call(f'create {NODES}', {'apiVersion': 'v1', 'kind': 'Node', 'metadata': {
        'name': name, 'labels': {MockDriver.topology_key: value}}})
    cross.probe.call(f'create {CSI_NODES}', {
        'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSINode', 'metadata': {'name': name}, 'spec': {'drivers': [
            {'name': DRIVER, 'nodeID': DRIVER if name == 'a' else f'node-{name}', 'topologyKeys': [MockDriver.topology_key]}]}})


class Story(Snaps):
    """One side's life at the driver."""

    def __init__(self, cross, name):
        super().__init__(cross, name)
        self.seen, self.begin = {}, cross.driver.n_called()
        self.probe.call(f'create {self.path("secrets")}', {
            'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'key'}, 'stringData': {'word': 'xyz'}})

    def start_all(self, **options):
        for program, words in OPTIONS.items():
            self.start(program, *options.get(program.replace('-', '_'), words))

    def stop_all(self):
        for program in OPTIONS:
            self.stop(program)

    # --- what it has written

    def shape(self, thing):
        if isinstance(thing, dict):
            thing = {k: 'HANDLE' if k in HANDLES and v else v for k, v in thing.items()}
        elif isinstance(thing, str):
            for pattern, word in WORDS:
                thing = pattern.sub(word, thing)
        return super().shape(thing)

    def note(self, stop, *paths):
        self.seen[stop] = dict(zip('abc', (self.shape(self.get(p)) for p in paths)))

    def asked(self):
        """What the driver was asked, each thing once: how often what failed is asked again is a matter of time."""
        found = {}
        for method, request, error in self.cross.driver.called(self.begin):
            if not method.startswith(('Get', 'Probe', 'ControllerGetCap', 'List', 'NodeGetInfo')):
                line = str((self.shape(request), self.shape(error)))
                found.setdefault(method, set()).add(line)
        return found

    def events(self):
        """Ours and upstream's, without those of the binder, which tells each time that it still waits. The source is that of ours:
        upstream's provisioner has its host and a number that it draws in it."""
        return [(*e[:5], *(word.partition('_')[0] for word in e[5:])) for e in super().events() if 'persistentvolume-controller' not in e]

    # --- claims

    def claim(self, name, of='now', size='16Mi', modes=('ReadWriteOnce',), node=None, **spec):
        self.probe.call(f'create {self.claims()}', {
            'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': name, 'annotations': {SELECTED: node} if node else {}},
            'spec': {'storageClassName': of, 'accessModes': list(modes), 'resources': {'requests': {'storage': size}}, **spec}})

    def volume_of(self, name):
        """Its PV's path."""
        pv = self.get(self.claims(name))['spec'].get('volumeName')
        self.own(pv)
        return f'{PVS}/{pv}'

    def wait_bound(self, *names):
        for name in names:
            wait_until(f'{name} is bound', lambda name=name: self.get(self.claims(name)).get('status', {}).get('phase') == 'Bound')
            wait_until('so is its volume', lambda name=name: self.get(self.volume_of(name))['status'].get('phase') == 'Bound')

    def drop(self, name):
        """The claim, and with it the volume."""
        volume = self.volume_of(name)
        self.delete(self.claims(name))
        self.wait_gone(self.claims(name), volume)

    def of_snapshot(self, name):
        return {'dataSource': {'apiGroup': 'snapshot.storage.k8s.io', 'kind': 'VolumeSnapshot', 'name': name}}

    def of_claim(self, name):
        return {'dataSource': {'kind': 'PersistentVolumeClaim', 'name': name}}

    # --- attachments

    def attachment(self, name):
        return f'{ATTACHMENTS}/{self.ns}-{name}'

    def attach(self, name, claim, node='a'):
        self.probe.call(f'create {ATTACHMENTS}', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'VolumeAttachment', 'metadata': {'name': f'{self.ns}-{name}'},
            'spec': {'attacher': DRIVER, 'nodeName': node, 'source': {
                'persistentVolumeName': self.volume_of(claim).rpartition('/')[2]}}})

    def wait_attached(self, name):
        wait_until(f'{name} is attached', lambda: self.status(self.attachment(name)).get('attached'))


def grow(side, name, size):
    side.patch(side.claims(name), {'spec': {'resources': {'requests': {'storage': size}}}})
    wait_until('it has grown', lambda: side.status(side.claims(name))['capacity']['storage'] == size)


def provision(side):
    """Claims of all modes, and those that cannot be served."""
    side.claim('plain')
    side.claim('raw', volumeMode='Block', modes=('ReadWriteMany',))
    side.claim('read', modes=('ReadOnlyMany',))
    side.claim('alone', modes=('ReadWriteOncePod',))
    side.claim('kept', 'kept')
    side.claim('secret', 'secret')
    side.claim('placed', 'placed')
    side.claim('late', 'late', node='a')
    side.claim('changed', volumeAttributesClassName='quick')
    good = 'plain', 'raw', 'read', 'alone', 'kept', 'secret', 'placed', 'late', 'changed'
    side.wait_bound(*good)
    for name in good:
        side.told(name, 'Provisioning', 'ProvisioningSucceeded')
        side.note(name, side.claims(name), side.volume_of(name))
    side.claim('huge', size='2Ti')
    side.claim('wrong', 'wrong')
    side.claim('nowhere', 'late', node='no-such-node')
    side.claim('foreign', dataSourceRef={'apiGroup': 'example.com', 'kind': 'Thing', 'name': 'x'})
    side.claim('untimely', **side.of_snapshot('not-there'))
    side.claim('orphan', **side.of_claim('not-there'))
    for name in 'huge', 'wrong', 'nowhere', 'untimely', 'orphan':
        side.told(name, 'ProvisioningFailed')
        side.note(name, side.claims(name))
    for name in 'huge', 'wrong', 'nowhere', 'foreign', 'untimely', 'orphan':
        side.delete(side.claims(name))
        side.wait_gone(side.claims(name))


def copies(side):
    """Snapshots, restored as large and larger, and clones."""
    side.add('cut', claim='plain')
    side.add('kept', claim='plain', of='keeps')
    for name in 'cut', 'kept':
        side.wait_ready(side.snap(name))
        side.told(name, 'CreatingSnapshot', 'SnapshotCreated', 'SnapshotReady')
        side.note(f'snapshot {name}', side.snap(name), side.content_of(name))
    side.claim('restored', **side.of_snapshot('cut'))
    side.claim('larger', size='32Mi', **side.of_snapshot('cut'))
    side.claim('cloned', **side.of_claim('plain'))
    side.wait_bound('restored', 'larger', 'cloned')
    for name in 'restored', 'larger', 'cloned':
        side.told(name, 'ProvisioningSucceeded')
        side.note(name, side.claims(name), side.volume_of(name))
    wait_until('no snapshot holds the claim', lambda: 'as-source' not in str(side.get(side.claims('plain'))['metadata']['finalizers']))
    side.claim('smaller', size='8Mi', **side.of_claim('plain'))
    side.claim('other', volumeMode='Block', **side.of_snapshot('cut'))
    side.told('smaller', 'ProvisioningFailed')
    side.told('other', 'ProvisioningFailed')
    for name in 'smaller', 'other':
        side.note(name, side.claims(name))
        side.delete(side.claims(name))
    handle = side.get(side.content_of('kept'))['status']['snapshotHandle']
    for name, of in ('pre', handle), ('pre-wrong', '999999'):
        side.probe.call(f'create {CONTENTS}', {
            'apiVersion': 'snapshot.storage.k8s.io/v1', 'kind': 'VolumeSnapshotContent', 'metadata': {'name': f'{side.ns}-{name}'},
            'spec': {'deletionPolicy': 'Retain', 'driver': DRIVER, 'source': {'snapshotHandle': of}, 'volumeSnapshotClassName': 'keeps',
                     'volumeSnapshotRef': {'namespace': side.ns, 'name': name}}})
        side.add(name, content=f'{side.ns}-{name}', of='keeps')
    side.wait_ready(side.snap('pre'))
    wait_until('there is no such snapshot', lambda: side.error(side.snap('pre-wrong')))
    for name in 'pre', 'pre-wrong':
        side.note(f'snapshot {name}', side.snap(name), f'{CONTENTS}/{side.ns}-{name}')
        side.delete(side.snap(name))
        side.delete(f'{CONTENTS}/{side.ns}-{name}')
        side.wait_gone(side.snap(name), f'{CONTENTS}/{side.ns}-{name}')


def attach(side):
    """To the driver's node and to one that it does not know; and what is attached grows and is cut."""
    side.attach('plain', 'plain')
    side.attach('secret', 'secret')
    side.attach('astray', 'raw', node='b')
    for name in 'plain', 'secret':
        side.wait_attached(name)
        side.note(f'attachment {name}', side.attachment(name), side.volume_of(name))
    wait_until('the error is told', lambda: side.status(side.attachment('astray')).get('attachError'))
    side.note('attachment astray', side.attachment('astray'))
    grow(side, 'plain', '24Mi')
    side.told('plain', 'VolumeResizeSuccessful')
    side.note('grown', side.claims('plain'), side.volume_of('plain'))
    side.patch(side.claims('plain'), {'spec': {'volumeAttributesClassName': 'quick'}})
    wait_until('it is changed', lambda: side.status(side.claims('plain')).get('currentVolumeAttributesClassName') == 'quick')
    side.told('plain', 'VolumeModifySuccessful')
    side.note('modified', side.claims('plain'), side.volume_of('plain'))
    # It goes when its attachments have gone, whichever order is asked for.
    volume = side.volume_of('secret')
    side.delete(side.claims('secret'))
    side.wait_gone(side.claims('secret'))
    wait_until('that is told', lambda: any('still attached' in e[4] for e in side.events()))
    side.note('volume that is attached yet', volume)
    for name in 'secret', 'plain':
        side.delete(side.attachment(name))
        side.wait_gone(side.attachment(name))
    side.wait_gone(volume)
    side.delete(side.attachment('astray'))
    wait_until('the driver does not know', lambda: side.status(side.attachment('astray')).get('detachError'))
    side.note('attachment astray, detached', side.attachment('astray'))
    side.patch(side.attachment('astray'), {'metadata': {'finalizers': None}})
    side.wait_gone(side.attachment('astray'))


def capacity(side):
    """One object for the segment of each node and class that waits."""
    def told():
        found = side.get(CAPACITIES)['items']
        return found if len(found) == 3 else None
    objects = wait_until('three nodes are told of', told)
    shapes = sorted((side.shape(o) for o in objects), key=lambda o: str(o['nodeTopology']))
    for o in shapes:
        del o['metadata']['name']   # docs/provisioner.md: of what it is of, and not by chance
    side.seen['capacity'] = dict(zip('abc', shapes))


@contextlib.contextmanager
def without_class(side, name):
    path = f'{STORAGE}/storageclasses/{name}'
    had = side.get(path)
    side.delete(path)
    yield
    had['metadata'] = {'name': name}
    side.probe.call(f'create {STORAGE}/storageclasses', had)


def end(side):
    """In every order."""
    snapshot, content = side.snap('cut'), side.content_of('cut')
    side.drop('plain')                       # before its snapshot and its clone
    side.delete(snapshot)                    # before what was restored of it
    side.wait_gone(snapshot, content)
    for name in 'restored', 'larger', 'cloned', 'raw', 'read':
        side.drop(name)
    kept = side.content_of('kept')
    side.delete(side.snap('kept'))
    side.wait_gone(side.snap('kept'))
    side.note('content that is kept', kept)
    side.patch(kept, {'spec': {'deletionPolicy': 'Delete'}})
    side.delete(kept)
    side.wait_gone(kept)
    volume = side.volume_of('late')          # the volume before its claim
    side.delete(volume)
    side.note('volume that goes before its claim', volume)
    side.delete(side.claims('late'))
    side.wait_gone(side.claims('late'), volume)
    volume = side.volume_of('kept')          # kept, and then after all not
    side.delete(side.claims('kept'))
    wait_until('it is released', lambda: side.get(volume)['status']['phase'] == 'Released')
    side.note('volume that is kept', volume)
    side.patch(volume, {'spec': {'persistentVolumeReclaimPolicy': 'Delete'}})
    side.wait_gone(volume)
    with without_class(side, 'now'):         # the class before its claims
        side.drop('alone')
        side.drop('changed')
    side.drop('placed')


PARTS = provision, copies, attach, capacity, end


def go_through_everything(side):
    side.start_all()
    for part in PARTS:
        part(side)
    leases = {program: side.lease(program) for program in OPTIONS}
    side.stop_all()
    assert side.cross.driver.n_left() == (0, 0)
    return side.seen, side.events(), leases, side.asked()


def test_everything_with_ours_alone(cross):
    """Each step waits for what it is to come to; at the end nothing is left at the driver."""
    go_through_everything(Story(cross, 'ours'))


def come_to_limits(side):
    """What the driver refuses, and what it leaves to others."""
    side.start_all(csi_resizer=[])
    for name in 'first', 'second', 'third':
        side.claim(name)
    side.wait_bound('first', 'second', 'third')
    side.attach('first', 'first')
    side.wait_attached('first')
    side.attach('second', 'second')
    wait_until('there is no room', lambda: side.status(side.attachment('second')).get('attachError'))
    side.note('no room', side.attachment('second'))
    for name in 'first', 'third':
        side.patch(side.claims(name), {'spec': {'resources': {'requests': {'storage': '32Mi'}}}})

    def state(name):
        return side.status(side.claims(name)).get('allocatedResourceStatuses', {}).get('storage')
    wait_until('it is kubelet\'s turn', lambda: state('third') == 'NodeResizePending')
    side.told('third', 'FileSystemResizeRequired')
    side.told('first', 'VolumeResizeFailed')
    wait_until('the error stands', lambda: 'ControllerResizeError' in str(side.status(side.claims('first')).get('conditions')))
    for name in 'first', 'third':
        side.note(f'growth of {name}', side.claims(name), side.volume_of(name))
    side.delete(side.attachment('first'))
    side.wait_gone(side.attachment('first'))
    side.wait_attached('second')
    side.note('room', side.attachment('second'))
    side.delete(side.attachment('second'))
    side.wait_gone(side.attachment('second'))
    for name in 'first', 'second', 'third':
        side.drop(name)
    side.stop_all()
    assert side.cross.driver.n_left() == (0, 0)
    return side.seen, side.events(), side.asked()


# What differs, and why (docs/provisioner.md, attacher.md, resizer.md, snapshots.md).
NO_RPC = 'the words of gRPC are left away'
OBJECTS = [
    (r'attachment astray.*: a\.status\.(attach|detach)Error\.message', NO_RPC),
    (r'snapshot (cut|kept): a\.metadata\.finalizers', "upstream's -bound-protection comes when it looks at the snapshot again", 'may be')]
EVENTS = [
    ('ours: PersistentVolume pvc-UID Normal VolumeDelete .* is still attached to node a', 'it is no failure yet'),
    ('upstream: PersistentVolume pvc-UID Warning VolumeFailedDelete .* is still attached to node a', 'the same'),
    ('upstream: PersistentVolumeClaim (restored|larger) Warning ProvisioningFailed .* the object has been modified.*',
     'its two programs write to the snapshot at one moment', 'may be'),
    ('(ours|upstream): PersistentVolumeClaim foreign Normal Provisioning .*', 'what a populator does is not done here'),
    ('(ours|upstream): PersistentVolumeClaim (nowhere|orphan|other|smaller|untimely|wrong) Warning ProvisioningFailed .*',
     'what is refused without asking the driver is said in other words')]


@needs_upstream
def test_what_both_write_and_ask_for_the_same_is_the_same(cross):
    seen = {name: go_through_everything(Story(cross, name)) for name in SIDES}
    (ours, our_events, our_leases, we_asked), (theirs, their_events, their_leases, they_asked) = seen['ours'], seen['upstream']
    judge(ours, theirs, OBJECTS)
    judge_events(our_events, their_events, EVENTS)
    judge({'leases': our_leases}, {'leases': their_leases}, [])
    assert we_asked == they_asked


@in_lane
def test_limits_of_the_driver(narrow):
    come_to_limits(Story(narrow, 'ours'))


LIMITS = [(r'no room: a\.status\.attachError\.message', NO_RPC), (r'growth of first: a\..*\.ControllerResizeError\.message', NO_RPC)]
EVENTS_OF_LIMITS = [(f'{side}: PersistentVolumeClaim first Warning VolumeResizeFailed .*', NO_RPC) for side in SIDES]


@needs_upstream
def test_what_both_write_at_the_limits_of_the_driver_is_the_same(narrow):
    seen = {name: come_to_limits(Story(narrow, name)) for name in SIDES}
    (ours, our_events, we_asked), (theirs, their_events, they_asked) = seen['ours'], seen['upstream']
    judge(ours, theirs, LIMITS)
    judge_events(our_events, their_events, EVENTS_OF_LIMITS)
    assert we_asked == they_asked


# --- where volumes are asked for

TOPOLOGIES = {
    'as it is': [], 'strict': ['--strict-topology'], 'not for what is bound at once': ['--immediate-topology=false'],
    'without': ['--feature-gates=Topology=false']}


def ask_for_places(side):
    """{options: {claim: accessibility_requirements that CreateVolume had}}"""
    found = {}
    for what, words in TOPOLOGIES.items():
        begin = side.cross.driver.n_called()
        side.start('csi-provisioner', '--extra-create-metadata', *words)
        names = 'web-0', 'web-1', 'web-2', 'data', 'placed', 'late'
        for name in names:
            side.claim(name, name if name in ('placed', 'late') else 'now', node='a' if name == 'late' else None)
        side.wait_bound(*names)
        found[what] = {request['parameters']['csi.storage.k8s.io/pvc/name']: request.get('accessibility_requirements')
                       for method, request, _ in side.cross.driver.called(begin) if method == 'CreateVolume'}
        for name in names:
            side.drop(name)
        side.stop('csi-provisioner')
    return found


def values(terms):
    return [t['segments'][MockDriver.topology_key] for t in terms]


@in_lane
def test_places_that_are_asked_for(cross):
    found = ask_for_places(Story(cross, 'ours'))
    here, everywhere = MockDriver.topology_value, {'a-third-node', 'another-node', MockDriver.topology_value}
    for what in 'as it is', 'strict':
        now = [values(found[what][f'web-{i}']['preferred']) for i in range(3)]
        assert len({order[0] for order in now}) == 3 and all(set(order) == everywhere for order in now), 'a set is spread'
        assert set(values(found[what]['placed']['requisite'])) == {here, 'another-node'}
        assert values(found[what]['late']['preferred'])[0] == here
    assert values(found['strict']['late']['requisite']) == [here]
    assert set(values(found['as it is']['late']['requisite'])) == everywhere
    assert found['not for what is bound at once']['web-0'] is None and found['not for what is bound at once']['late']
    assert not any(found['without'].values())


@needs_upstream
def test_places_that_both_ask_for_are_the_same(cross):
    found = {name: ask_for_places(Story(cross, name)) for name in SIDES}
    assert found['ours'] == found['upstream']


# --- on its node


@pytest.fixture
def mock(work):
    (work / 'driver').mkdir()
    d = MockDriver(work / 'driver').start()
    yield d
    d.end()


def test_its_liveness_and_its_registration(mock, start, registry):   # noqa: F811 (fixtures)
    port = free_port()
    probe = start('livenessprobe', f'--csi-address={mock.socket}', '--probe-timeout=3s', f'--health-port={port}')
    assert wait_until('its page is there', lambda: answers(port)) == (200, 'ok')
    registrar = register(start, mock, registry)
    info = registry.call('GetInfo', registration.InfoRequest(), DRIVER)
    assert (info.type, info.name, info.endpoint, list(info.supported_versions)) == ('CSIPlugin', DRIVER, KUBELET_PATH, ['1.0.0'])
    registry.call('NotifyRegistrationStatus', registration.RegistrationStatus(plugin_registered=True), DRIVER)
    mock.kill()
    wait_until('it is seen to be gone', lambda: answers(port)[0] == 500)
    mock.start()
    wait_until('it is seen to be back', lambda: answers(port) == (200, 'ok'))
    assert probe.terminate() == registrar.terminate() == 0


# --- the one in the place of the other

WAYS = [('upstream', 'ours'), ('ours', 'upstream')]


def attached(cross):
    """Ids of the volumes that the driver has at its node."""
    return sorted(v.volume_id for v in cross.driver.calls.volumes() if f'{DRIVER}/dev' in v.volume_context)


def handle_of(side, name):
    return side.get(side.volume_of(name))['spec']['csi']['volumeHandle']


def wait_under_way(side, turn):
    """Each call of the turn has been begun, as far as the objects tell."""
    claims = side.claims
    side.told(f'new-{turn}', 'Provisioning')
    for what, is_begun in (
            ('snapshot', lambda: 'being-created' in str(side.get(side.content_of(f'cut-{turn}')))),
            ('growth', lambda: 'ControllerResizeInProgress' in str(side.status(claims('grown')))),
            ('modification', lambda: side.status(claims('changed')).get('modifyVolumeStatus', {}).get('status') == 'InProgress'),
            ('attachment', lambda: side.get(side.attachment(f'on-{turn}'))['metadata'].get('finalizers'))):
        wait_until(f'the {what} is under way', is_begun)


def one_turn(side, turn, size, attributes, second, how):
    """Calls of each kind are under way when each program of the first is ended; the second goes on under the same Leases."""
    cross, before = side.cross, turn - 1
    gone = side.volume_of(f'new-{before}'), side.snap(f'cut-{before}'), side.content_of(f'cut-{before}'), side.attachment(f'on-{before}')
    with cross.driver_asleep():
        side.claim(f'new-{turn}')
        side.add(f'cut-{turn}', claim='grown')
        side.attach(f'on-{turn}', f'base-{turn % 2}')
        side.patch(side.claims('grown'), {'spec': {'resources': {'requests': {'storage': size}}}})
        side.patch(side.claims('changed'), {'spec': {'volumeAttributesClassName': attributes}})
        for path in side.claims(f'new-{before}'), side.snap(f'cut-{before}'), side.attachment(f'on-{before}'):
            side.delete(path)
        wait_under_way(side, turn)
        wait_until('so is what goes', lambda: side.get(gone[0])['status']['phase'] == 'Released' and
                   side.get(gone[2])['metadata'].get('deletionTimestamp'))
        for program in OPTIONS:
            cross.stop(program, how)
    for program, words in OPTIONS.items():
        cross.start(second, program, *words)
    side.wait_bound(f'new-{turn}')
    side.wait_ready(side.snap(f'cut-{turn}'))
    side.wait_attached(f'on-{turn}')
    wait_until('it has grown', lambda: side.status(side.claims('grown'))['capacity']['storage'] == size)
    wait_until('it is changed', lambda: side.status(side.claims('changed')).get('currentVolumeAttributesClassName') == attributes)
    side.wait_gone(*gone)
    assert attached(cross) == [handle_of(side, f'base-{turn % 2}')]
    volumes = side.get(PVS)['items']
    assert cross.driver.n_left() == (len(volumes), 1) == (5, 1)
    assert {v['spec']['csi']['volumeHandle'] for v in volumes} == {v.volume_id for v in cross.driver.calls.volumes()[BUILT_IN:]}


@needs_upstream
@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize('first, second', WAYS)
def test_the_one_ends_what_the_other_began_and_back(cross, first, second, how):
    side = Story(cross, 'both')
    for program, words in OPTIONS.items():
        cross.start(first, program, *words)
    for name in 'base-0', 'base-1', 'grown', 'changed', 'new-0':
        side.claim(name)
    side.wait_bound('base-0', 'base-1', 'grown', 'changed', 'new-0')
    side.add('cut-0', claim='grown')
    side.wait_ready(side.snap('cut-0'))
    side.attach('on-0', 'base-0')
    side.wait_attached('on-0')
    grow(side, 'grown', '24Mi')   # they know by now what the driver can
    one_turn(side, 1, '32Mi', 'quick', second, how)
    one_turn(side, 2, '48Mi', 'slow', first, how)
    side.delete(side.attachment('on-2'))
    side.delete(side.snap('cut-2'))
    side.wait_gone(side.attachment('on-2'), side.snap('cut-2'))
    for name in 'base-0', 'base-1', 'grown', 'changed', 'new-2':
        side.drop(name)
    assert cross.driver.n_left() == (0, 0)
