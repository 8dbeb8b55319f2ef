# SPDX-License-Identifier: Apache-2.0
"""The chart's nodeDeployment: the provisioners of two nodes with the arguments, the rights and the policy of tests/chart/nodes.yaml, which is what
the chart renders, and tokens as kubelet gets them for a pod. Then what somebody can do who has one of the tokens. Against a real API server."""
import json
import os
import signal
import subprocess

import pytest
import yaml

import apiserver
from harness import CLEAT, DRIVER, PATIENCE, ROOT, starting, wait_until
from test_fleet_cluster import CORE, PORT, STORAGE, Fleet, brought_up, pytestmark  # noqa: F401 (what skips them)

SPACE, ACCOUNT = 'storage', 'cleat-node'
LEASES = f'/apis/coordination.k8s.io/v1/namespaces/{SPACE}/leases'
CAPACITIES = f'{STORAGE}/namespaces/{SPACE}/csistoragecapacities'
PVS, CLAIMS = f'{CORE}/persistentvolumes', f'{CORE}/namespaces/default/persistentvolumeclaims'
NODE_KEY = 'volume.kubernetes.io/selected-node'


def rendered():
    return [part for part in yaml.safe_load_all((ROOT / 'tests/chart/nodes.yaml').read_text()) if part]


def collection(part):
    space = part['metadata'].get('namespace')
    kind = part['kind'].lower()
    return f'/apis/{part["apiVersion"]}/' + (f'namespaces/{space}/' if space else '') + (kind[:-1] + 'ies' if kind.endswith('y') else kind + 's')


class Charted(Fleet):
    nodes = 'n1', 'n2'

    def __init__(self, *args):
        super().__init__(*args)
        self.provisioners, self.pods = {}, {}
        self.probe.call(f'create {CORE}/namespaces', {'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': SPACE}})
        self.probe.call(f'create {CORE}/namespaces/{SPACE}/serviceaccounts', {
            'apiVersion': 'v1', 'kind': 'ServiceAccount', 'metadata': {'name': ACCOUNT}})
        parts = rendered()
        (agent,) = (part for part in parts if part['kind'] == 'DaemonSet')
        pod = agent['spec']['template']['spec']
        assert pod['serviceAccountName'] == ACCOUNT and pod['automountServiceAccountToken']
        (self.container,) = (c for c in pod['containers'] if c['name'] == 'provisioner')
        for part in parts:
            if part['metadata']['name'] == 'cleat-provisioner':
                self.probe.call(f'create {collection(part)}', part)

    def token_of(self, node):
        """Of the account; None: of no pod."""
        spec = {'expirationSeconds': 3600}
        if node:
            self.pods[node] = pod = self.probe.call(f'create {CORE}/namespaces/{SPACE}/pods', {
                'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': f'cleat-node-{node}'},
                'spec': {'nodeName': node, 'serviceAccountName': ACCOUNT, 'containers': [{'name': 'a', 'image': 'a'}]}})
            spec['boundObjectRef'] = {'apiVersion': 'v1', 'kind': 'Pod', 'name': pod['metadata']['name'], 'uid': pod['metadata']['uid']}
        return self.probe.call(f'create {CORE}/namespaces/{SPACE}/serviceaccounts/{ACCOUNT}/token', {
            'apiVersion': 'authentication.k8s.io/v1', 'kind': 'TokenRequest', 'spec': spec})['status']['token']

    def wait_policy(self):
        """The API server heeds a new policy a moment later."""
        loose = apiserver.Probe(self.cluster, self.cluster.kubeconfig('loose', PORT, {'token': self.token_of(None)}), self.dir / 'loose.log')
        lease = {'apiVersion': 'coordination.k8s.io/v1', 'kind': 'Lease', 'metadata': {'name': 'x'}, 'spec': {}}
        try:
            wait_until('the policy counts', lambda: "the token is of no node's pod" in loose.ask(f'create {LEASES} {json.dumps(lease)}'))
        finally:
            loose.close()
        self.probe.ask(f'delete {LEASES}/x')

    def start(self):
        self.wait_policy()
        for number, name in enumerate(self.drivers):
            config = self.cluster.kubeconfig(f'provisioner-{name}', PORT, {'token': self.token_of(name)})
            log = self.dir / f'provisioner-{name}.log'
            given = {'NODE_NAME': name, 'POD_NAME': self.pods[name]['metadata']['name'], 'POD_NAMESPACE': SPACE}
            assert {entry['name'] for entry in self.container['env']} == set(given)
            words = [word.replace('$(NODE_NAME)', name).replace('unix:///csi/csi.sock', str(self.drivers[name].socket)).replace(
                ':9810', f':{9810 + number}') for word in self.container['args']]
            with starting, open(log, 'ab') as f:
                self.provisioners[name] = subprocess.Popen(
                    self.cluster.inside([CLEAT, *words, f'--kubeconfig={config}', '--retry-interval-max=1s']), stdout=f, stderr=f,
                    stdin=subprocess.DEVNULL, env={**os.environ, **given})
            wait_until('it works', lambda path=log: 'driver is ready' in path.read_text())

    def end(self):
        for name, process in self.provisioners.items():
            process.terminate()
            log = (self.dir / f'provisioner-{name}.log').read_text()
            assert process.wait(PATIENCE) in (0, -signal.SIGKILL), log
            assert 'forbidden' not in log.lower() and 'not allowed' not in log, log
        super().end()


@pytest.fixture
def charted(work, top):
    yield from brought_up(Charted, work, top)


def release(fleet, *claims):
    """Deletes them, and does as the controller-manager does."""
    for claim in claims:
        fleet.probe.call(f'delete {CLAIMS}/{claim}')
    for pv in fleet.probe.call(f'get {PVS}')['items']:
        if pv['spec']['claimRef']['name'] in claims:
            fleet.probe.call(f'patch merge {PVS}/{pv["metadata"]["name"]}/status', {'status': {'phase': 'Released'}})


def test_each_node_has_the_rights_that_it_needs(charted):
    """Made, told of and deleted, each by its own node, and nothing of it refused."""
    for node in charted.drivers:
        for i in range(2):
            charted.claim(f'on-{node}-{i}', 'later', **{NODE_KEY: node})
    for i in range(3):
        charted.claim(f'now-{i}', 'now')
    wait_until('all have volumes', lambda: len(charted.volumes()) == 7)
    for claim, (handle, _) in charted.volumes().items():
        (node,) = charted.node_of(handle)
        assert not claim.startswith('on-') or claim.startswith(f'on-{node}-')
        assert charted.probe.call(f'get {CLAIMS}/{claim}')['metadata']['annotations'][NODE_KEY] == node

    def told():
        found = charted.probe.call(f'get {CAPACITIES}')['items']
        return found if len(found) == 2 else None
    for capacity in wait_until('both are told of', told):
        node = capacity['metadata']['labels']['csi.storage.k8s.io/managed-by'].removeprefix('external-provisioner-')
        (owner,) = capacity['metadata']['ownerReferences']
        assert (owner['kind'], owner['uid']) == ('Pod', charted.pods[node]['metadata']['uid'])
    leases = [lease['metadata']['name'] for lease in charted.probe.call(f'get {LEASES}')['items']]
    assert sorted(name.rpartition('-intents-')[2] for name in leases) == sorted(charted.drivers)

    release(charted, *charted.volumes())
    wait_until('nothing is left', lambda: not charted.volumes() and not any(d.calls.volumes() for d in charted.drivers.values()))


def test_what_a_stolen_node_cannot_do(charted):
    """Who has the token of n1's pod writes for n1, and nothing else."""
    for node in charted.drivers:
        charted.claim(f'on-{node}', 'later', **{NODE_KEY: node})
    wait_until('both have volumes', lambda: len(charted.volumes()) == 2 and len(charted.probe.call(f'get {CAPACITIES}')['items']) == 2)
    charted.claim('of-n2', 'none', **{NODE_KEY: 'n2'})
    charted.claim('free', 'none')
    bound = {pv['spec']['claimRef']['name']: pv for pv in charted.probe.call(f'get {PVS}')['items']}
    for pv in bound.values():
        charted.probe.call(f'patch merge {PVS}/{pv["metadata"]["name"]}/status', {'status': {'phase': 'Bound'}})
    capacity = next(c for c in charted.probe.call(f'get {CAPACITIES}')['items'] if 'n2' in str(c['metadata']['labels']))
    journal = next(lease for lease in charted.probe.call(f'get {LEASES}')['items'] if lease['metadata']['name'].endswith('-n2'))

    config = charted.cluster.kubeconfig('thief', PORT, {'token': charted.probe.call(
        f'create {CORE}/namespaces/{SPACE}/serviceaccounts/{ACCOUNT}/token', {
            'apiVersion': 'authentication.k8s.io/v1', 'kind': 'TokenRequest', 'spec': {'expirationSeconds': 3600, 'boundObjectRef': {
                'apiVersion': 'v1', 'kind': 'Pod', 'name': 'cleat-node-n1', 'uid': charted.pods['n1']['metadata']['uid']}}})['status']['token']})
    thief = apiserver.Probe(charted.cluster, config, charted.dir / 'thief.log')

    def refused(command, body=None, why=''):
        with pytest.raises(AssertionError) as answer:
            thief.call(command, body)
        assert 'PERMISSION_DENIED' in str(answer.value) and why in str(answer.value), (command, answer.value)

    pv = bound['on-n2']['metadata']['name']
    foreign = {'apiVersion': 'v1', 'kind': 'PersistentVolume', 'metadata': {'name': 'foreign'}, 'spec': {
        'accessModes': ['ReadWriteOnce'], 'capacity': {'storage': '1Gi'}, 'hostPath': {'path': '/'}}}
    try:
        refused(f'delete {PVS}/{pv}', why='deletes no volume that is bound')
        refused(f'patch merge {PVS}/{pv}', {'spec': {'claimRef': {'name': 'mine'}}}, 'changes no spec')
        refused(f'create {PVS}', foreign, f'writes to volumes of {DRIVER} alone')
        charted.probe.call(f'create {PVS}', foreign)
        refused(f'delete {PVS}/foreign', why=f'writes to volumes of {DRIVER} alone')
        claim = charted.probe.call(f'get {CLAIMS}/of-n2')
        claim['metadata']['annotations'][NODE_KEY] = 'n1'
        refused(f'update {CLAIMS}/of-n2', claim, 'takes claims for its own node alone')
        del claim['metadata']['annotations'][NODE_KEY]
        refused(f'update {CLAIMS}/of-n2', claim, 'takes claims for its own node alone')
        claim = charted.probe.call(f'get {CLAIMS}/free')
        claim['metadata']['annotations'][NODE_KEY] = 'n2'
        refused(f'update {CLAIMS}/free', claim, 'takes claims for its own node alone')
        claim['metadata']['annotations'][NODE_KEY] = 'n1'
        thief.call(f'update {CLAIMS}/free', claim)   # as it does when it competes
        claim = charted.probe.call(f'get {CLAIMS}/free')
        claim['spec']['volumeName'] = pv
        refused(f'update {CLAIMS}/free', claim, 'changes no spec')
        refused(f'update {LEASES}/{journal["metadata"]["name"]}', journal, "writes to its own node's journal alone")
        lease = {'apiVersion': 'coordination.k8s.io/v1', 'kind': 'Lease', 'metadata': {'name': 'cleat-pool-cleat-csi'}, 'spec': {}}
        refused(f'create {LEASES}', lease, "writes to its own node's journal alone")   # the controller's election
        for name in 'intents-xn1', 'intents-n1-2', 'intents-x-intents-n1', 'intents.2-n2':
            lease['metadata']['name'] = f'cleat-pool-cleat-csi-{name}'
            refused(f'create {LEASES}', lease, "writes to its own node's journal alone")
        lease['metadata']['name'] = 'cleat-pool-cleat-csi-intents.2-n1'
        thief.call(f'create {LEASES}', lease)
        refused(f'delete {CAPACITIES}/{capacity["metadata"]["name"]}', why="tells of its own node's room alone")
        refused(f'patch merge {CAPACITIES}/{capacity["metadata"]["name"]}', {'capacity': '1Ei'}, "tells of its own node's room alone")
        for path in f'{CORE}/secrets', f'{CORE}/namespaces/{SPACE}/configmaps', LEASES, '/apis/storage.k8s.io/v1/volumeattachments':
            refused(f'get {path}')
        refused(f'patch merge {CORE}/nodes/n1', {'metadata': {'labels': {'x': 'y'}}})
    finally:
        thief.close()
