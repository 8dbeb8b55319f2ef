# SPDX-License-Identifier: Apache-2.0
"""From cleat's provisioner by upstream's name to upstream's own, and back: what one has made the other deletes, PVs differ in
nothing but names, and `cleat ctl handover` says when the way is clear and takes away what is left. The test is the
controller-manager. Needs kube-apiserver, etcd and external-provisioner; without them it is skipped, and says so."""
import datetime
import signal
import subprocess

import pytest

import apiserver
from harness import CLEAT, DRIVER, PATIENCE, starting, wait_until
from test_fleet_cluster import CLAIMS, CORE, MISSING, PORT, Fleet, brought_up

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'SKIPPED: {MISSING}')
UPSTREAM = apiserver.find_tool('external-provisioner', 'csi-provisioner')
needs_upstream = pytest.mark.skipif(
    not UPSTREAM, reason='SKIPPED: not built yet: external-provisioner (tests/tools/build external-provisioner, 5 minutes once)')
LEASES = '/apis/coordination.k8s.io/v1/namespaces/default/leases'
OWN = 'cleat-' + ''.join(c if c.isalnum() else '-' for c in DRIVER)


class Swap(Fleet):
    nodes = 'n1',   # upstream's provisioner offers the topology of any one of several, and a driver behind one socket is at one
    running, n_started = None, 0

    def start(self, *_, **__):
        """Each test says what runs."""
        self.ours = self.dir / 'csi-provisioner'
        self.ours.symlink_to(CLEAT)
        self.config = self.cluster.kubeconfig('swap', PORT, {'token': 'admin-token'})

    def run(self, program):
        self.n_started += 1
        log = self.dir / f'provisioner-{self.n_started}.log'
        words = [program, f'--csi-address={self.drivers["n1"].socket}', f'--kubeconfig={self.config}', '--v=2', '--leader-election',
                 '--leader-election-lease-duration=4s', '--leader-election-renew-deadline=3s', '--leader-election-retry-period=1s',
                 '--feature-gates=Topology=true', '--timeout=10s', '--retry-interval-start=500ms', '--worker-threads=10']
        with starting, open(log, 'ab') as f:
            self.running = subprocess.Popen(self.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL)
        self.running.log = log

    def stop(self):
        self.running.send_signal(signal.SIGTERM)
        self.running.wait(PATIENCE)
        self.running = None

    def ctl(self, *words):
        return subprocess.run(self.cluster.inside([CLEAT, 'ctl', f'--kubeconfig={self.config}', 'handover', *words]),
                              capture_output=True, text=True, check=False)

    def pv_of(self, claim):
        found = [pv for pv in self.probe.call(f'get {CORE}/persistentvolumes')['items'] if pv['spec']['claimRef']['name'] == claim]
        return found[0] if found else None

    def provision(self, claim):
        self.claim(claim, 'now')
        return wait_until(f'{claim} has a volume', lambda: self.pv_of(claim))

    def release(self, pv):
        """As controllers of the cluster do when a claim is deleted; the volume has to go."""
        name, claim = pv['metadata']['name'], pv['spec']['claimRef']['name']
        self.probe.call(f'delete {CLAIMS}/{claim}')
        self.probe.ask(f'patch merge {CLAIMS}/{claim} {{"metadata":{{"finalizers":null}}}}')
        self.probe.call(f'patch merge {CORE}/persistentvolumes/{name}/status {{"status":{{"phase":"Released"}}}}')
        wait_until('the volume is gone', lambda: not self.node_of(pv['spec']['csi']['volumeHandle']))

        def is_let_go():
            left = self.pv_of(claim)
            return not left or not any('external-provisioner' in f for f in left['metadata'].get('finalizers', []))
        wait_until('its finalizer is gone', is_let_go)

    def end(self):
        if self.running:
            self.running.kill()
            self.running.wait()
        super().end()


@pytest.fixture
def swap(work, top):
    yield from brought_up(Swap, work, top)


def shape(pv):
    """What does not depend on which claim it was, or when."""
    spec, meta = dict(pv['spec']), pv['metadata']
    csi = dict(spec['csi'])
    assert csi['volumeAttributes'].pop('storage.kubernetes.io/csiProvisionerIdentity').endswith(DRIVER)
    csi['volumeAttributes'] = sorted(csi['volumeAttributes'])
    spec['csi'] = {k: v for k, v in csi.items() if k != 'volumeHandle'}
    spec['claimRef'] = sorted(spec['claimRef'])
    return spec, meta['annotations'], sorted(meta['finalizers']), meta['name'].split('-')[0]


@needs_upstream
def test_there_and_back(swap):
    swap.run(swap.ours)
    first, kept = swap.provision('first'), swap.provision('kept')
    swap.stop()
    shown = swap.ctl('show', DRIVER)
    assert (shown.returncode, f'would delete lease default/{OWN}-intents' in shown.stdout) == (0, True), shown.stderr
    done = swap.ctl('finish', DRIVER, '--yes')
    assert (done.returncode, f'deleted lease default/{OWN}-intents' in done.stdout) == (0, True), done.stderr
    assert 'nothing of cleat' in swap.ctl('show', DRIVER).stdout

    swap.run(UPSTREAM)
    second, other = swap.provision('second'), swap.provision('other')
    assert shape(first) == shape(second)
    swap.release(first)
    swap.stop()

    swap.run(swap.ours)
    third = swap.provision('third')
    swap.release(second)
    swap.release(third)
    swap.stop()

    swap.run(UPSTREAM)
    swap.release(kept)
    swap.release(other)
    assert not any(d.calls.volumes() for d in swap.drivers.values())


def test_nothing_is_handed_over_while_something_is_on_the_way(swap):
    swap.run(swap.ours)
    swap.provision('first')
    swap.stop()
    intents = f'{LEASES}/{OWN}-intents'
    swap.probe.call(f'patch merge {intents} {{"metadata":{{"annotations":{{"intents.cleat.csi/4711":"{{}}"}}}}}}')
    for words in (['show'], ['finish', '--yes']):
        refused = swap.ctl(*words[:1], DRIVER, *words[1:])
        assert refused.returncode == 1 and '4711' in refused.stderr, refused.stderr
    swap.probe.call(f'patch merge {intents} {{"metadata":{{"annotations":{{"intents.cleat.csi/4711":null}}}}}}')

    def held(seconds_ago):
        then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds_ago)
        return {'apiVersion': 'coordination.k8s.io/v1', 'kind': 'Lease', 'metadata': {'name': OWN},
                'spec': {'holderIdentity': 'somebody', 'leaseDurationSeconds': 15, 'renewTime': then.strftime('%Y-%m-%dT%H:%M:%S.%fZ')}}
    swap.probe.call(f'create {LEASES}', held(0))
    refused = swap.ctl('finish', DRIVER, '--yes')
    assert refused.returncode == 1 and "'somebody' leads" in refused.stderr
    swap.probe.call(f'delete {LEASES}/{OWN}')
    swap.probe.call(f'create {LEASES}', held(120))   # killed long ago
    assert swap.ctl('finish', DRIVER).stdout.count('would delete') == 2   # without --yes
    assert swap.ctl('finish', DRIVER, '--yes').stdout.count('deleted lease') == 2
    assert swap.ctl('finish', DRIVER, '--yes').returncode == 0


def test_the_journals_of_nodes_count(swap):
    """Where each node has a provisioner, each has a journal; another driver's, whose name begins alike, is its own."""
    def journal(name, annotations):
        swap.probe.call(f'create {LEASES}', {'apiVersion': 'coordination.k8s.io/v1', 'kind': 'Lease',
                                             'metadata': {'name': name, 'annotations': annotations}})
    journal(f'{OWN}-intents-n1', {'intents.cleat.csi/term': 'x'})
    journal(f'{OWN}-intents-n2', {'intents.cleat.csi/term': 'y', 'intents.cleat.csi/4712': '{}'})
    journal(f'{OWN}-intentsome', {})
    # That there is a PV does not say that it is of the volume which this node made.
    swap.probe.call(f'create {CORE}/persistentvolumes', {
        'apiVersion': 'v1', 'kind': 'PersistentVolume', 'metadata': {'name': 'pvc-4712'},
        'spec': {'capacity': {'storage': '1Gi'}, 'accessModes': ['ReadWriteOnce'], 'csi': {'driver': DRIVER, 'volumeHandle': 'elsewhere'}}})
    for words in (['show'], ['finish', '--yes']):
        refused = swap.ctl(*words[:1], DRIVER, *words[1:])
        assert refused.returncode == 1 and '4712' in refused.stderr, refused.stderr
    swap.probe.call(f'patch merge {LEASES}/{OWN}-intents-n2 {{"metadata":{{"annotations":{{"intents.cleat.csi/4712":null}}}}}}')
    done = swap.ctl('finish', DRIVER, '--yes')
    assert (done.returncode, done.stdout.count('deleted lease')) == (0, 2), done.stderr
    left = [lease['metadata']['name'] for lease in swap.probe.call(f'get {LEASES}')['items']]
    assert [name for name in left if name.startswith(OWN)] == [f'{OWN}-intentsome']
