# SPDX-License-Identifier: Apache-2.0
"""`csi-provisioner --node-deployment` beside each of two nodes' drivers, against a real API server. The test is the scheduler and the
controller-manager."""
import os
import signal
import subprocess

import pytest
from harness import CLEAT, DRIVER, PATIENCE, starting, wait_until
from test_fleet_cluster import CLAIMS, CORE, PORT, STORAGE, Fleet, brought_up, pytestmark  # noqa: F401 (what skips them)

OBJECTS = f'{STORAGE}/namespaces/default/csistoragecapacities'


class Each(Fleet):
    """A provisioner a node, and none for all."""

    def __init__(self, *args):
        super().__init__(*args)
        self.provisioners = {}
        os.symlink(CLEAT, self.dir / 'csi-provisioner')

    def start(self):
        for name in self.drivers:
            self.run(name)

    def run(self, name):
        config = self.cluster.kubeconfig(f'provisioner-{name}', PORT, {'token': 'admin-token'})
        log = self.dir / f'provisioner-{name}.log'
        words = [self.dir / 'csi-provisioner', f'--csi-address={self.drivers[name].socket}', f'--kubeconfig={config}', '--v=2',
                 '--node-deployment', '--node-deployment-base-delay=500ms', '--node-deployment-max-delay=1s', '--enable-capacity',
                 '--capacity-ownerref-level=-1', '--retry-interval-max=1s']
        with starting, open(log, 'ab') as f:
            self.provisioners[name] = subprocess.Popen(
                self.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL,
                env={**os.environ, 'NODE_NAME': name, 'NAMESPACE': 'default'})
        wait_until('it works', lambda: 'driver is ready' in log.read_text())

    def end(self):
        for name, process in self.provisioners.items():
            process.terminate()
            assert process.wait(PATIENCE) in (0, -signal.SIGKILL), (self.dir / f'provisioner-{name}.log').read_text()
        super().end()


@pytest.fixture
def each(work, top):
    yield from brought_up(Each, work, top)


def test_each_node_makes_and_deletes_its_own(each):
    for i in range(6):
        each.claim(f'now-{i}', 'now')
    for node in each.drivers:
        each.claim(f'on-{node}', 'later', **{'volume.kubernetes.io/selected-node': node})
    wait_until('all have volumes', lambda: len(each.volumes()) == 6 + len(each.drivers))
    for claim, (handle, keys) in each.volumes().items():
        (node,) = each.node_of(handle)
        assert keys[0].split('/')[1] in handle
        found = each.probe.call(f'get {CLAIMS}/{claim}')
        assert found['metadata']['annotations']['volume.kubernetes.io/selected-node'] == node
        if claim.startswith('on-'):
            assert claim == f'on-{node}'
    assert sum(len(d.calls.volumes()) for d in each.drivers.values()) == 6 + len(each.drivers)

    managers = {o['metadata']['labels']['csi.storage.k8s.io/managed-by'] for o in
                wait_until('all are told of', lambda: [o for o in [each.probe.call(f'get {OBJECTS}')['items']] if len(o) == 3])[0]}
    assert managers == {f'external-provisioner-{node}' for node in each.drivers}
    leases = each.probe.call('get /apis/coordination.k8s.io/v1/namespaces/default/leases')['items']
    journals = [lease['metadata']['name'] for lease in leases if 'intents' in lease['metadata']['name']]
    assert sorted(name.rpartition('-intents-')[2] for name in journals) == sorted(each.drivers)

    # The PVs of a node whose provisioner is away wait for it.
    each.provisioners['n2'].kill()
    each.provisioners['n2'].wait()
    made = each.volumes()
    for claim in made:
        each.probe.call(f'delete {CLAIMS}/{claim}')
    for pv in each.probe.call(f'get {CORE}/persistentvolumes')['items']:   # as the controller-manager does
        pv['status'] = {'phase': 'Released'}
        each.probe.call(f'update {CORE}/persistentvolumes/{pv["metadata"]["name"]}/status', pv)
    wait_until('the others have deleted theirs',
               lambda: all(each.node_of(handle) == ['n2'] for handle, _ in each.volumes().values()))
    assert not each.drivers['n1'].calls.volumes() and not each.drivers['n3'].calls.volumes()
    assert len(each.drivers['n2'].calls.volumes()) == len(each.volumes()) > 0
    each.run('n2')
    wait_until('nothing is left', lambda: not each.volumes() and not each.drivers['n2'].calls.volumes())


def test_one_driver_is_called_by_its_provisioner_alone(each):
    """A claim that nobody may have stays as it is."""
    each.claim('nowhere', 'later', **{'volume.kubernetes.io/selected-node': 'n9'})
    each.claim('unscheduled', 'later')
    each.claim('last', 'now')
    wait_until('the last one has a volume', lambda: 'last' in each.volumes())
    assert set(each.volumes()) == {'last'}
    assert DRIVER in each.probe.call(f'get {CORE}/persistentvolumes')['items'][0]['spec']['csi']['driver']
