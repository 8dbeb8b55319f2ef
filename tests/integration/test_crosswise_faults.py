# SPDX-License-Identifier: Apache-2.0
"""Our sidecars by upstream's names at the mock driver of Kubernetes, on a real API server with a real binder, and between them a
proxy that lets calls go wrong: with each code, late, never, with a connection that breaks, and with an answer that is none; before
the driver has heard of it, and after it has done it. In the end all is as it was asked for, and nothing is left. Needs
kube-apiserver and etcd; without them it is skipped, and says so."""
import collections

import pytest

from crosswise import CORE, PVS, STORAGE, brought_up
from fault_proxy import FAULTS, FaultProxy, word_of
from harness import Code, wait_until
from mock_driver import MockDriver
from test_crosswise_mock import ATTACHMENTS, DRIVER, OPTIONS, Story, in_lane, set_up
from test_crosswise_snapshots import CONTENTS

# Each for himself: what fails is the first and the second call of each kind that is about one of his objects.
LIVES = {word_of(fault): fault for fault in FAULTS}
MORE = {'csi-provisioner': ['--timeout=2s', '--capacity-poll-interval=1s'], 'csi-attacher': ['--timeout=2s', '--reconcile-sync=200ms'],
        'csi-resizer': ['--timeout=2s'], 'csi-snapshotter': ['--timeout=2s'], 'snapshot-controller': []}
OF_LIVES = 'CreateVolume', 'DeleteVolume', 'ControllerPublishVolume', 'ControllerUnpublishVolume', 'CreateSnapshot', 'DeleteSnapshot', \
    'ControllerExpandVolume', 'ControllerModifyVolume'
# The others are asked after each connection that broke.
OF_ALL = 'ListVolumes', 'GetCapacity', 'ControllerGetCapabilities', 'GetPluginCapabilities', 'GetPluginInfo'
# What these say is not tried again soon (docs/resizer.md, docs/provisioner.md): the user has to want something else.
REST = [word_of(c) for c in (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, Code.NOT_FOUND)]


class Plan:
    """Who is let down when."""

    def __init__(self):
        self.n = collections.Counter()
        self.volumes, self.snapshots = {}, {}   # whose they are

    def find_life(self, request):
        names = getattr(request, 'parameters', {})
        name = names.get('csi.storage.k8s.io/pvc/name') or names.get('csi.storage.k8s.io/volumesnapshot/name') or ''
        return name.partition('.')[2] or self.volumes.get(getattr(request, 'volume_id', '')) or \
            self.snapshots.get(getattr(request, 'snapshot_id', ''))

    def fault(self, method, request):
        life = self.find_life(request) if method in OF_LIVES else None
        if life is None and method not in OF_ALL:
            return None
        self.n[method, life] += 1
        n = self.n[method, life] - 1
        if life:
            return (('before', 'after')[n], LIVES[life]) if n < 2 else None
        return ('before', FAULTS[n // 2]) if n % 2 and n // 2 < len(FAULTS) else None

    def answered(self, method, request, reply):
        life = self.find_life(request)
        if method == 'CreateVolume' and life:
            self.volumes[reply.volume.volume_id] = life
        if method == 'CreateSnapshot' and life:
            self.snapshots[reply.snapshot.snapshot_id] = life


@pytest.fixture
def faulty(work, top):
    def proxy(directory):
        for name in 'driver', 'proxy':
            (directory / name).mkdir()
        return FaultProxy(MockDriver(directory / 'driver', '-topology').start(), directory / 'proxy')
    with brought_up(top, work, crds=True, make_driver=proxy) as c:
        set_up(c)
        for life in LIVES:
            c.add_class(life)
        yield c


class Lives(Story):
    def make_class_anew(self, life):
        path = f'{STORAGE}/storageclasses/{life}'
        had = self.get(path)
        self.delete(path)
        had['metadata'] = {'name': life}
        self.probe.call(f'create {STORAGE}/storageclasses', had)

    def until(self, what, is_so, nudge=lambda life: None):
        """All are so; those that rest are asked anew."""
        for life in LIVES:
            tries = 0
            while True:
                try:
                    wait_until(f'{life}: {what}', lambda life=life: is_so(life), 3 if life in REST and tries < 4 else 40)
                    break
                except AssertionError:
                    tries += 1
                    if life not in REST or tries > 4:
                        raise
                    nudge(life)

    def is_bound(self, name):
        return self.get(self.claims(name)).get('status', {}).get('phase') == 'Bound'

    def ask_for(self, life, mib):
        self.patch(self.claims(f'claim.{life}'), {'spec': {'resources': {'requests': {'storage': f'{mib}Mi'}}}})

    def grow(self):
        asked = dict.fromkeys(LIVES, 24)

        def ask(life):
            asked[life] += 1
            self.ask_for(life, asked[life])
        for life in LIVES:
            ask(life)
        self.until('it has grown', lambda life: self.status(self.claims(f'claim.{life}'))['capacity']['storage'] == f'{asked[life]}Mi', ask)

    def modify(self):
        wanted = {}

        def want(life):
            wanted[life] = 'slow' if wanted.get(life) == 'quick' else 'quick'
            self.patch(self.claims(f'claim.{life}'), {'spec': {'volumeAttributesClassName': wanted[life]}})
        for life in LIVES:
            want(life)
        self.until('it is modified', lambda life: self.status(self.claims(f'claim.{life}')).get(
            'currentVolumeAttributesClassName') == wanted[life], want)


def live(side):
    for life in LIVES:
        side.claim(f'claim.{life}', life)
    side.until('it is bound', lambda life: side.is_bound(f'claim.{life}'), side.make_class_anew)
    for life in LIVES:
        side.attach(life, f'claim.{life}')
        side.add(f'cut.{life}', claim=f'claim.{life}')
    side.until('it is attached', lambda life: side.status(side.attachment(life)).get('attached'))
    side.until('it is cut', lambda life: side.status(side.snap(f'cut.{life}')).get('readyToUse'))
    for life in LIVES:
        side.claim(f'back.{life}', life, **side.of_snapshot(f'cut.{life}'))
    side.grow()
    side.modify()
    side.until('it is restored', lambda life: side.is_bound(f'back.{life}'), side.make_class_anew)


def end(side):
    for life in LIVES:
        side.delete(side.attachment(life))
        for path in side.snap(f'cut.{life}'), side.claims(f'claim.{life}'), side.claims(f'back.{life}'):
            side.delete(path)
    for path in ATTACHMENTS, CONTENTS, PVS:
        wait_until(f'nothing is left of {path}', lambda path=path: not side.get(path)['items'])


@in_lane
def test_each_call_fails_in_each_way(faulty):
    plan, side = Plan(), Lives(faulty, 'ours')
    proxy = faulty.driver
    side.start_all(**{p.replace('-', '_'): OPTIONS[p] + MORE[p] for p in OPTIONS})
    proxy.answered, proxy.fault = plan.answered, plan.fault   # as there, what fails at the start ends a program
    live(side)
    attached = {v.volume_id for v in proxy.calls.volumes() if f'{DRIVER}/dev' in v.volume_context}
    assert len(attached) == len(LIVES), 'each is where it was wanted'
    volumes = {v['spec']['csi']['volumeHandle'] for v in side.get(PVS)['items']}
    assert len(volumes) == 2 * len(LIVES) and proxy.n_left() == (2 * len(LIVES), len(LIVES)), 'nothing is there twice'
    end(side)
    assert proxy.n_left() == (0, 0)
    assert all(p.poll() is None for p in faulty.running.values()), 'nobody has ended over it'
    side.stop_all()
    wanted = {(m, when, f) for m in OF_LIVES for when in ('before', 'after') for f in FAULTS} | \
        {(m, 'before', f) for m in ('ListVolumes', 'GetCapacity') for f in FAULTS}
    assert not wanted - proxy.happened
    assert not side.get(f'{CORE}/namespaces/{side.ns}/persistentvolumeclaims')['items']


@in_lane
def test_one_namespace_that_floods_holds_up_no_other(faulty):
    """At a driver that takes its time."""
    flood, other = Story(faulty, 'flood'), Story(faulty, 'ours')
    faulty.driver.fault = lambda method, request: ('before', 'delay') if method == 'CreateVolume' else None
    other.start('csi-provisioner', '--worker-threads=10', *OPTIONS['csi-provisioner'])
    for i in range(200):
        flood.claim(f'many-{i}')
    wait_until('the flood is being served', lambda: other.get(PVS)['items'])
    other.claim('one')
    other.wait_bound('one')
    assert len(other.get(PVS)['items']) < 100
    assert len(flood.get(flood.claims())['items']) == 200
