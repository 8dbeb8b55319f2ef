# SPDX-License-Identifier: Apache-2.0
"""Capacity of three nodes' drivers as CSIStorageCapacity objects of a real API server. The test is the scheduler and kubelet."""
import os
import signal
import time

import pytest
from harness import DRIVER, wait_until
from test_fleet_cluster import CORE, STORAGE, Fleet, brought_up, pytestmark  # noqa: F401 (what skips them)

OBJECTS = f'{STORAGE}/namespaces/default/csistoragecapacities'
LABELS = {'csi.storage.k8s.io/drivername': DRIVER, 'csi.storage.k8s.io/managed-by': 'external-provisioner'}
MAX_AGE = 4
GIB, MIB = 1 << 30, 1 << 20


def in_bytes(quantity):
    for suffix, factor in (('Ki', 1 << 10), ('Mi', MIB), ('Gi', GIB)):
        if quantity.endswith(suffix):
            return int(quantity.removesuffix(suffix)) * factor
    return int(quantity)


class Told(Fleet):
    more = (f'--capacity-max-age={MAX_AGE}s', '--timeout=1s', '--capacity-ownerref-level=2', '--capacity-poll-interval=2s')

    def put(self, name, segment, labels, capacity='1Mi'):
        self.probe.call(f'create {OBJECTS}', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSIStorageCapacity', 'metadata': {'name': name, 'labels': labels},
            'nodeTopology': {'matchLabels': segment}, 'storageClassName': 'later', 'capacity': capacity})

    def objects(self):
        return [o for o in self.probe.call(f'get {OBJECTS}')['items'] if o['metadata'].get('labels') == LABELS]

    def of(self, name):
        """Those of a node's pool."""
        key = next(iter(self.segments[name]))
        return [o for o in self.objects() if key in o['nodeTopology'].get('matchLabels', {})]

    def room(self, name):
        """Capacity and largest volume, once there is one that says it."""
        (found,) = wait_until(f'{name} is told of', lambda: self.of(name))
        return in_bytes(found['capacity']), in_bytes(found.get('maximumVolumeSize', '0'))

    def add_driver(self, name):
        self.segments = getattr(self, 'segments', {})
        self.segments[name] = segments = super().add_driver(name)
        if name == 'n3':   # the last one: what there is before the controller starts
            pod = {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'us', 'ownerReferences': [
                {'apiVersion': 'apps/v1', 'kind': 'ReplicaSet', 'name': 'set', 'uid': 'set-uid', 'controller': True}]},
                'spec': {'containers': [{'name': 'c', 'image': 'i'}]}}
            self.probe.call(f'create {CORE}/namespaces/default/pods', pod)
            self.probe.call('create /apis/apps/v1/namespaces/default/replicasets', {
                'apiVersion': 'apps/v1', 'kind': 'ReplicaSet', 'metadata': {'name': 'set', 'ownerReferences': [
                    {'apiVersion': 'apps/v1', 'kind': 'Deployment', 'name': 'ours', 'uid': 'deployment-uid', 'controller': True}]},
                'spec': {'selector': {'matchLabels': {'a': 'b'}}, 'template': {
                    'metadata': {'labels': {'a': 'b'}}, 'spec': {'containers': [{'name': 'c', 'image': 'i'}]}}}})
            self.put('csisc-upstreams', self.segments['n1'], LABELS)
            self.put('csisc-stale', {'gone': 'here'}, LABELS)
            self.put('foreign', {'gone': 'here'}, {**LABELS, 'csi.storage.k8s.io/managed-by': 'somebody'})
        return segments


@pytest.fixture
def told(work, top):
    yield from brought_up(Told, work, top, 'provisioner,capacity', POD_NAME='us', NAMESPACE='default')


def test_each_nodes_room_is_told_and_follows_what_is_made_and_deleted(told):
    for node in told.drivers:
        wait_until(f'{node} has room', lambda node=node: told.room(node)[0] > GIB)
    wait_until('the stale one is gone', lambda: len(told.objects()) == 3)
    assert [o['metadata']['name'] for o in told.of('n1')] == ['csisc-upstreams']   # taken over
    for o in told.objects():
        (owner,) = o['metadata']['ownerReferences']
        assert owner == {'apiVersion': 'apps/v1', 'kind': 'Deployment', 'name': 'ours', 'uid': 'deployment-uid', 'controller': True}
        assert o['storageClassName'] == 'later'
    foreign = told.probe.call(f'get {OBJECTS}/foreign')
    assert foreign['capacity'] == '1Mi'

    before, other = told.room('n2'), told.room('n1')
    told.claim('data', 'later', **{'volume.kubernetes.io/selected-node': 'n2'})
    wait_until('it has a volume', lambda: 'data' in told.volumes())
    began = time.monotonic()
    wait_until('there is less room', lambda: before[0] - told.room('n2')[0] >= 16 * MIB)
    assert time.monotonic() - began < 1   # not by the look of every two seconds
    assert told.room('n1') == other

    told.probe.call(f'delete {OBJECTS}/{told.of("n1")[0]["metadata"]["name"]}')
    wait_until('it is made again', lambda: [o['metadata']['name'] != 'csisc-upstreams' for o in told.of('n1')] == [True])

    os.kill(told.drivers['n2'].process.child.pid, signal.SIGSTOP)
    kept = told.room('n2')
    time.sleep(MAX_AGE / 2)
    assert told.room('n2') == kept   # nobody knows better yet
    wait_until('it is withdrawn', lambda: not told.of('n2'), 60)
    assert told.room('n1') == other
    page = told.page('/metrics')
    wait_until('it is counted', lambda: 'csistoragecapacities_desired_current 2' in told.page('/metrics'))
    assert 'csistoragecapacities_desired_goal 3' in page and 'csistoragecapacities_obsolete 0' in told.page('/metrics')
    os.kill(told.drivers['n2'].process.child.pid, signal.SIGCONT)
    wait_until('it is back', lambda: told.of('n2'), 60)

    told.probe.call(f'delete {CORE}/nodes/n3')
    wait_until('with its node it goes', lambda: not told.of('n3'))
    told.probe.call(f'delete {STORAGE}/storageclasses/later')
    wait_until('with its class it goes', lambda: not told.objects())
    assert told.probe.call(f'get {OBJECTS}/foreign')['metadata'] == foreign['metadata']
