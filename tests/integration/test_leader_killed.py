# SPDX-License-Identifier: Apache-2.0
"""Two `cleat controller`s of one Lease at another vendor's driver, under a load of claims, clones, snapshots, growths and ends of
them. Whoever leads is ended ten seconds after it began to, by SIGKILL and SIGTERM in turn: nothing is lost, nothing is there
twice. CLEAT_LEADERS says how many are ended. Needs kube-apiserver and etcd; without them it is skipped, and says so."""
import itertools
import os
import signal
import subprocess
import threading
import time

import apiserver
from crosswise import ELECTION, PORT, PVS, RETRIES
from harness import CLEAT, PATIENCE, starting, wait_until
from mock_driver import BUILT_IN
from test_crosswise_mock import CONTENTS, SNAP, Story, cross, pytestmark  # noqa: F401 (fixture, and what skips it)

LEADERS = int(os.environ.get('CLEAT_LEADERS', '2'))
LEADS_S = 10
SMALL, GROWN = '16Mi', '32Mi'
LEASE = '/apis/coordination.k8s.io/v1/namespaces/default/leases/cleat-io-kubernetes-storage-mock'
CONTROLLERS = 'provisioner,attacher,resizer,snapshotter,snapshot-controller'


class Replica:
    """Each of its processes is another pod: one of the same name would take its own Lease up again."""

    def __init__(self, cross, name):
        self.cross, self.name, self.n_started, self.process = cross, name, 0, None

    def is_called(self, identity):
        return identity == f'{self.name}-{self.n_started}'

    def start(self):
        self.n_started += 1
        log = self.cross.dir / f'{self.name}-{self.n_started}.log'
        words = [CLEAT, 'controller', f'--controllers={CONTROLLERS}', f'--csi-address={self.cross.driver.socket}', *ELECTION, *RETRIES,
                 f'--kubeconfig={self.cross.config}', f'--leader-election-identity={self.name}-{self.n_started}']
        with starting, open(log, 'ab') as f:
            self.process = subprocess.Popen(self.cross.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL)

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(PATIENCE)


class Killer(threading.Thread):
    """Ends LEADERS leaders, each when it has led for ten seconds, and starts it anew. What a thread has started goes with that
    thread (apiserver.WITH_US), so it stays until close()."""

    def __init__(self, cross, directory):
        super().__init__()
        self.replicas = [Replica(cross, name) for name in ('r1', 'r2')]
        self.probe = apiserver.Probe(cross.cluster, cross.cluster.kubeconfig('killer', PORT, {'token': 'admin-token'}),
                                     directory / 'killer.log')
        self.ended, self.error = [], None
        self.is_done, self.may_go = threading.Event(), threading.Event()

    def leader(self):
        """The replica that leads, in a list; [] while none of those that live does."""
        answer = self.probe.ask(f'get {LEASE}')
        identity = apiserver.json.loads(answer[3:])['spec'].get('holderIdentity') if answer.startswith('ok') else None
        return [r for r in self.replicas if r.is_called(identity)]

    def run(self):
        try:
            for how in itertools.islice(itertools.cycle((signal.SIGKILL, signal.SIGTERM)), LEADERS):
                (leader,) = wait_until('another leads', self.leader)
                time.sleep(LEADS_S)
                assert self.leader() == [leader], 'a leader that nobody ended leads no more'
                leader.end(how)
                leader.start()
                self.ended.append(how)
        except AssertionError as e:
            self.error = e
        finally:
            self.is_done.set()
            self.may_go.wait()

    def close(self):
        self.is_done.wait()
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.end(signal.SIGKILL)
        self.may_go.set()
        self.join()
        self.probe.close()


class Load:
    """What is wanted now: sizes of claims, what each is cloned of, and of what claims the snapshots and attachments are."""

    def __init__(self, side):
        self.side, self.n = side, 0
        self.claims, self.sources, self.snaps, self.attachments = {}, {}, {}, {}

    def step(self):
        """A claim comes; of those that are bound one is cloned, cut, attached or grown; and the oldest of all go."""
        side, n = self.side, self.n
        self.n += 1
        phases = {c['metadata']['name']: c['status'].get('phase') for c in side.get(side.claims())['items']}
        bound = [name for name in self.claims if phases.get(name) == 'Bound']
        source = bound[-1] if bound and n % 3 == 0 else None
        self.claims[f'c-{n}'], self.sources[f'c-{n}'] = GROWN if source else SMALL, source
        side.claim(f'c-{n}', size=self.claims[f'c-{n}'], **(side.of_claim(source) if source else {}))
        if bound:
            self.use(n, bound)
        # What something is being cloned or cut of stays, and what is attached, as a claim does that a pod has.
        in_use = {self.sources[name] for name in self.claims if phases.get(name) != 'Bound'} | set(self.attachments.values())
        snaps = self.statuses()
        in_use |= {of for name, of in self.snaps.items() if not snaps.get(name, {}).get('readyToUse')}
        if len(bound) > 10 and bound[0] not in in_use:
            side.delete(side.claims(bound[0]))
            del self.claims[bound[0]]
        if len(self.snaps) > 6:
            side.delete(side.snap(next(iter(self.snaps))))
            del self.snaps[next(iter(self.snaps))]
        if len(self.attachments) > 4:
            side.delete(side.attachment(next(iter(self.attachments))))
            del self.attachments[next(iter(self.attachments))]

    def use(self, n, bound):
        side, name = self.side, bound[n % len(bound)]
        if n % 3 == 0:
            side.add(f's-{n}', claim=name)
            self.snaps[f's-{n}'] = name
        elif n % 3 == 1:
            side.patch(side.claims(name), {'spec': {'resources': {'requests': {'storage': GROWN}}}})
            self.claims[name] = GROWN
        elif name not in self.attachments.values():
            side.attach(f'a-{n}', name)
            self.attachments[f'a-{n}'] = name

    def statuses(self):
        return {s['metadata']['name']: s.get('status', {}) for s in self.side.get(self.side.path('volumesnapshots', SNAP))['items']}

    def is_as_wanted(self):
        side = self.side
        claims = {c['metadata']['name']: c['status'] for c in side.get(side.claims())['items']}
        snaps = self.statuses()
        return (claims.keys() == self.claims.keys() and
                all(s.get('phase') == 'Bound' and s['capacity']['storage'] == self.claims[name] for name, s in claims.items()) and
                snaps.keys() == set(self.snaps) and all(s.get('readyToUse') for s in snaps.values()) and
                all(side.status(side.attachment(name)).get('attached') for name in self.attachments))

    def end(self):
        side = self.side
        for paths in map(side.attachment, self.attachments), map(side.snap, self.snaps), map(side.claims, self.claims):
            for path in paths:
                side.delete(path)


def test_leaders_are_killed_under_load(cross, work):   # noqa: F811 (fixture)
    driver, load = cross.driver, Load(Story(cross, 'ours'))
    killer = Killer(cross, work)
    for replica in killer.replicas:
        replica.start()
    killer.start()
    try:
        while not killer.is_done.is_set():
            load.step()
            time.sleep(0.1)
        assert killer.error is None and len(killer.ended) == LEADERS, (killer.error, killer.ended)
        wait_until('all is as is wanted', load.is_as_wanted, 3 * PATIENCE)

        def is_right():
            """What the cluster tells of is what the driver has."""
            volumes, snapshots = driver.calls.volumes()[BUILT_IN:], driver.calls.snapshots()[BUILT_IN:]
            names = [v.volume_context['name'] for v in volumes]
            assert len(names) == len(set(names)), 'a volume is there twice'
            attached = {v.volume_id for v in volumes if any(key.endswith('/dev') for key in v.volume_context)}
            pvs = {pv['metadata']['name']: pv['spec']['csi']['volumeHandle'] for pv in cross.get(PVS)['items']}
            contents = [c['status']['snapshotHandle'] for c in cross.get(CONTENTS)['items']]
            wanted = {pvs[load.side.volume_of(name).rpartition('/')[2]] for name in load.attachments.values()}
            return (sorted(pvs.values()) == sorted(v.volume_id for v in volumes) and attached == wanted and
                    sorted(contents) == sorted(s.snapshot_id for s in snapshots))
        wait_until('nothing is lost, and nothing left over', is_right)
        load.end()
        wait_until('all has gone', lambda: driver.n_left() == (0, 0) and not cross.get(PVS)['items'] and not cross.get(CONTENTS)['items'])
        print(f'{LEADERS} leaders ended, {load.n} claims made')
    finally:
        killer.close()
