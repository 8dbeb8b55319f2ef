# SPDX-License-Identifier: Apache-2.0
"""What the crosswise tests stand on: a real API server, one driver (`cleat driver` with its volumes in memory, or the mock of
mock_driver.py), and upstream's Go programs and ours by the same names and with the same options at it, in turn. The test is the
cluster's kubelet, and its controller-manager where none is started. Each side works in a namespace of its own with objects of
the same names, so that what one has written can be compared with what the other has."""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile

import apiserver
from harness import CLEAT, MIB, PATIENCE, Driver, starting, wait_until

SERVER, ETCD = apiserver.find_programs()
PORT = 6443
CORE, STORAGE = '/api/v1', '/apis/storage.k8s.io/v1'
SNAP, GROUP = '/apis/snapshot.storage.k8s.io/v1', '/apis/groupsnapshot.storage.k8s.io/v1'
PVS, CLASSES, ATTRIBUTES = f'{CORE}/persistentvolumes', f'{STORAGE}/storageclasses', f'{STORAGE}/volumeattributesclasses'
SIDES = 'upstream', 'ours'
# Which set of tests/tools has upstream's, and the Lease that it works under.
PROGRAMS = {
    'csi-provisioner': ('external-provisioner', '{}'), 'csi-attacher': ('external-attacher', 'external-attacher-leader-{}'),
    'csi-resizer': ('external-resizer', 'external-resizer-{}'), 'csi-snapshotter': ('external-snapshotter', 'external-snapshotter-leader-{}'),
    'snapshot-controller': ('external-snapshotter', 'snapshot-controller-leader')}
ELECTION = ['--leader-election', '--leader-election-namespace=default', '--leader-election-lease-duration=4s',
            '--leader-election-renew-deadline=3s', '--leader-election-retry-period=1s']
RETRIES = ['--retry-interval-start=200ms', '--retry-interval-max=1s']


def missing(*tools):
    """Why these tests cannot be run, or nothing. tools: (set of tests/tools, program of it)"""
    return '; '.join(why for is_there, why in [
        (SERVER, 'not built yet: kube-apiserver (tests/tools/build kubernetes, 10 minutes once; make e2e does it)'),
        (ETCD, 'the machine lacks etcd (tools/deps e2e)'),
        *((apiserver.find_tool(set_, program), f'not built yet: {set_} (tests/tools/build {set_}, 5 minutes once)')
          for set_, program in tools)] if not is_there)


UUID = re.compile(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')
TIME = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z')
HANDLE = re.compile(r'[0-9a-f]{32,64}')
FREE = re.compile(r'\d+Mi are free')
OF_THE_SERVER = 'uid', 'resourceVersion', 'creationTimestamp', 'managedFields', 'generation', 'deletionTimestamp', \
    'deletionGracePeriodSeconds', 'selfLink'


class Side:
    """What one of the two works on. Programs are run by it, one at a time for each name."""

    def __init__(self, cross, name):
        self.cross, self.name, self.ns = cross, name, f'of-{name}'
        self.probe = cross.probe
        self.probe.call(f'create {CORE}/namespaces', {'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': self.ns}})

    def path(self, kind, group=CORE):
        return f'{group}/namespaces/{self.ns}/{kind}'

    def claims(self, name=None):
        return self.path('persistentvolumeclaims') + (f'/{name}' if name else '')

    def pv(self, name):
        return f'{PVS}/{self.ns}-{name}'

    def get(self, path):
        return self.cross.get(path)

    def patch(self, path, body):
        return self.probe.call(f'patch merge {path}', body)

    def add_claim(self, name, size=16 * MIB, handle=None, **labels):
        """A claim that is bound to a volume of the driver, as after provisioning."""
        claim = self.probe.call(f'create {self.claims()}', {
            'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': name, 'labels': labels},
            'spec': {'storageClassName': 'grows', 'accessModes': ['ReadWriteOnce'], 'volumeName': f'{self.ns}-{name}',
                     'resources': {'requests': {'storage': str(size)}}}})
        handle = handle or self.cross.driver.calls.create(f'{self.ns}-{name}', size).volume_id
        self.probe.call(f'create {PVS}', {
            'apiVersion': 'v1', 'kind': 'PersistentVolume', 'metadata': {'name': f'{self.ns}-{name}'},
            'spec': {'storageClassName': 'grows', 'accessModes': ['ReadWriteOnce'], 'capacity': {'storage': str(size)},
                     'persistentVolumeReclaimPolicy': 'Retain', 'csi': {'driver': self.cross.driver.name, 'volumeHandle': handle},
                     'claimRef': {'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'namespace': self.ns, 'name': name,
                                  'uid': claim['metadata']['uid']}}})
        self.patch(f'{self.pv(name)}/status', {'status': {'phase': 'Bound'}})
        self.patch(f'{self.claims(name)}/status', {'status': {
            'phase': 'Bound', 'accessModes': ['ReadWriteOnce'], 'capacity': {'storage': str(size)}}})
        return handle

    # --- what it has written

    def shape(self, thing):
        """An object without what no two of it have in common. Lists whose order says nothing are sorted."""
        if isinstance(thing, dict):
            return {k: self.shape(v) for k, v in thing.items() if k not in OF_THE_SERVER and v not in ({}, [], None)}
        if isinstance(thing, list) and thing and isinstance(thing[0], dict) and 'type' in thing[0]:
            return {c['type']: self.shape(c) for c in thing}   # conditions
        if isinstance(thing, list):
            return sorted((self.shape(v) for v in thing), key=json.dumps)
        if isinstance(thing, int) and thing > 10 ** 15:
            return 'TIME'   # nanoseconds since 1970
        if isinstance(thing, str):
            thing = re.sub(r'(upstream|ours)-\d+', 'HOST', thing.replace(self.ns, 'NS'))
            for pattern, word in (UUID, 'UID'), (TIME, 'TIME'), (HANDLE, 'HANDLE'), (FREE, 'some are free'):
                thing = pattern.sub(word, thing)
        return thing

    def shapes(self, *paths):
        return {self.shape(path): self.shape(self.get(path)) for path in paths}

    def events(self):
        """Of all objects of this side: kind, name, type, reason, message, and from whom."""
        found = []
        for ns in self.ns, 'default':
            for e in self.probe.call(f'get {CORE}/namespaces/{ns}/events')['items']:
                of = e['involvedObject']
                if ns == self.ns or self.is_mine(of.get('name', '')):
                    found.append(tuple(self.shape(s) for s in (
                        of.get('kind', ''), of.get('name', ''), e['type'], e['reason'], e['message'],
                        e['source'].get('component', ''), e.get('reportingComponent', ''))))
        return sorted(set(found))

    def is_mine(self, name):
        return self.ns in name or name in self.cross.owners.get(self.name, ())

    def lease(self, name):
        """As it is while it is held."""
        return self.shape(self.get(self.cross.lease_of(name)))

    # --- programs

    def start(self, name, *options, wait=True):
        """The Lease is a new one: how often it changed hands is of no interest."""
        self.probe.ask(f'delete {self.cross.lease_of(name)}')
        return self.cross.start(self.name, name, *options, wait=wait)

    def stop(self, name, how=signal.SIGTERM):
        self.cross.stop(name, how)


class Cross:
    def __init__(self, cluster, probe, directory, driver):
        self.cluster, self.probe, self.dir, self.driver = cluster, probe, directory, driver
        self.running, self.n_started, self.owners = {}, 0, {}
        self.config = cluster.kubeconfig('cross', PORT, {'token': 'admin-token'})
        self.configs = {}   # of programs that have less rights
        (directory / 'ours').mkdir()
        self.add_class('grows')

    def add_class(self, name, **more):
        self.probe.call(f'create {CLASSES}', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'StorageClass', 'metadata': {'name': name}, 'provisioner': self.driver.name,
            'allowVolumeExpansion': True, **more})

    def lease_of(self, program):
        name = PROGRAMS[program][1].format(self.driver.name.replace('.', '-'))
        return f'/apis/coordination.k8s.io/v1/namespaces/default/leases/{name}'

    def get(self, path):
        answer = self.probe.ask(f'get {path}')
        if answer.startswith('err NOT_FOUND'):
            return None
        assert answer.startswith('ok'), answer
        return json.loads(answer[3:])

    def program(self, side, name):
        if side == 'upstream':
            return apiserver.find_tool(PROGRAMS[name][0], name)
        ours = self.dir / 'ours' / name
        if not ours.exists():
            ours.symlink_to(CLEAT)
        return ours

    def start(self, side, name, *options, wait=True):
        """It leads when this returns, unless `wait` is not wanted. None waits for the lease of another: nobody has one."""
        self.n_started += 1
        log = self.dir / f'{name}-{self.n_started}-{side}.log'
        address = [f'--csi-address={self.driver.socket}'] if name != 'snapshot-controller' else []
        host = f'{side}-{self.n_started}'   # a pod's name, by which its election knows it
        words = ['unshare', '--uts', 'sh', '-c', 'hostname "$0" && exec "$@"', host, self.program(side, name), *address, f'--kubeconfig={self.configs.get(name, self.config)}', *ELECTION, *RETRIES, '--v=4', *options]
        with starting, open(log, 'ab') as f:
            process = subprocess.Popen(self.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL,
                                       env={**os.environ, 'NAMESPACE': 'default'})
        process.log, process.side = log, side
        self.running[name] = process
        if wait:

            def leads():
                assert process.poll() is None, log.read_text()[-3000:]
                found = self.get(self.lease_of(name))
                return found and found['spec'].get('holderIdentity', '').startswith(host)
            wait_until(f'{side} {name} leads', leads)
        return process

    def start_manager(self):
        """Kubernetes' own binder of claims and volumes, and what protects both."""
        controllers = 'persistentvolume-binder-controller', 'persistentvolumeclaim-protection-controller', \
            'persistentvolume-protection-controller'
        self.cluster.run('manager', [SERVER.with_name('kube-controller-manager'), f'--kubeconfig={self.config}', '--leader-elect=false',
                                     f'--controllers={",".join(controllers)}', f'--cert-dir={self.dir}/manager', '--kube-api-qps=1000',
                                     '--kube-api-burst=2000', '--v=1'])

    def stop(self, name, how=signal.SIGTERM):
        process = self.running.pop(name)
        process.send_signal(how)
        process.wait(PATIENCE)

    @contextlib.contextmanager
    def driver_asleep(self):
        """It takes connections and answers nothing: whoever calls it is in doubt."""
        child = self.driver.process.child
        child.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            child.send_signal(signal.SIGCONT)

    def logs(self):
        return ''.join(f'--- {p.name}\n{p.read_text()[-2500:]}\n' for p in sorted(self.dir.glob('*.log')))

    def end(self):
        for name in list(self.running):
            self.stop(name, signal.SIGKILL)


def add_crds(cluster):
    """Upstream's, as they are."""
    folder = pathlib.Path(subprocess.run([apiserver.ROOT / 'tests/tools/build', 'snapshot-crds'], capture_output=True, text=True,
                                         check=True).stdout.strip())
    for file in sorted(folder.glob('*.storage.k8s.io_*.yaml')):
        done = subprocess.run(cluster.inside([
            'curl', '-sf', '--cacert', cluster.ca.cert, '-H', 'Authorization: Bearer admin-token', '-H', 'Content-Type: application/yaml',
            '--data-binary', f'@{file}', f'https://{apiserver.HOST}:{PORT}/apis/apiextensions.k8s.io/v1/customresourcedefinitions']),
            capture_output=True, text=True, check=False)
        assert done.returncode == 0, (file, done.stdout, done.stderr)


def cleats_driver(work):
    (work / 'driver').mkdir()
    return Driver(work / 'driver', None, '--backend=mem', '--mem-size=4Gi').start()


@contextlib.contextmanager
def brought_up(top, work, crds=False, make_driver=cleats_driver, flags=()):
    cluster = apiserver.Cluster(pathlib.Path(tempfile.mkdtemp(prefix='cross-', dir=top)), SERVER, ETCD)
    try:
        cluster.start(PORT, *flags)
        if crds:
            add_crds(cluster)
        probe = apiserver.Probe(cluster, cluster.kubeconfig('test', PORT, {'token': 'admin-token'}), work / 'probe.log')
        if crds:
            for group in SNAP, GROUP:
                wait_until('the kinds are served', lambda group=group: probe.ask(f'get {group}/' + (
                    'volumesnapshots' if group == SNAP else 'volumegroupsnapshots')).startswith('ok'))
        driver = make_driver(work)
        try:
            cross = Cross(cluster, probe, work, driver)
            try:
                yield cross
            finally:
                print(cross.logs())
                cross.end()
        finally:
            driver.end()
            probe.close()
    finally:
        cluster.close()


def differences(mine, theirs, at=''):
    """[(where, ours, upstream's)] of two shapes."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return [d for k in sorted({*mine, *theirs}) for d in differences(mine.get(k), theirs.get(k), f'{at}.{k}' if at else k)]
    return [] if mine == theirs else [(at, mine, theirs)]


def judge(mine, theirs, known):
    """Of two {stop: shapes}: each difference is one of the known, and each of the known is one. known: [(pattern of 'stop: where',
    why[, 'may be': not each time])]; docs/ has them in words."""
    unused, strange = {pattern for pattern, _, *may_be in known if not may_be}, []
    assert set(mine) == set(theirs)
    for stop in mine:
        for where, ours, upstreams in differences(mine[stop], theirs[stop]):
            fitting = {pattern for pattern, *_ in known if re.fullmatch(pattern, f'{stop}: {where}')}
            unused -= fitting
            if not fitting:
                strange.append(f'{stop}: {where}:\n  ours     {ours}\n  upstream {upstreams}')
    assert not strange, '\n'.join(strange)
    assert not unused, f'these are no differences any more: {unused}'


def judge_events(mine, theirs, known):
    """Of two lists of events: known are [(pattern of 'ours|upstream: kind name type reason message', why)]."""
    unused, strange = {pattern for pattern, _, *may_be in known if not may_be}, []
    for e in sorted(set(mine) ^ set(theirs)):
        line = f'{"ours" if e in mine else "upstream"}: {" ".join(e[:5])}'
        fitting = {pattern for pattern, *_ in known if re.fullmatch(pattern, line)}
        unused -= fitting
        if not fitting:
            strange.append(line + f' by {e[5]}|{e[6]}')
    assert not strange, '\n'.join(strange)
    assert not unused, f'these are no differences any more: {unused}'
