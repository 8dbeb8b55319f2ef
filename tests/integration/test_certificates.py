# SPDX-License-Identifier: Apache-2.0
"""Agents that have their certificates from the API server, by requests that the controller signs: against a real API server, with the rights
of the chart. Needs kube-apiserver and etcd; without them it is skipped, and says so."""
import base64
import json
import subprocess
import time

import pytest

from certs import Authority
from harness import CLEAT, DRIVER, sh, starting, wait_until
from test_fleet_cluster import CORE, PORT, Behind, brought_up, pytestmark   # noqa: F401
from test_node import Kubelet

CSRS = '/apis/certificates.k8s.io/v1/certificatesigningrequests'
RBAC = '/apis/rbac.authorization.k8s.io/v1'
ACCOUNTS = f'{CORE}/namespaces/default/serviceaccounts'
SIGNER = f'{DRIVER}/agent'
LIFETIME = 15

# As charts/cleat/templates/rbac.yaml has them.
AGENT_RULES = [{'apiGroups': ['certificates.k8s.io'], 'resources': ['certificatesigningrequests'], 'verbs': ['create', 'get']}]
SIGNER_RULES = [
    {'apiGroups': ['certificates.k8s.io'], 'resources': ['certificatesigningrequests'], 'verbs': ['list', 'watch']},
    {'apiGroups': ['certificates.k8s.io'],
     'resources': ['certificatesigningrequests/approval', 'certificatesigningrequests/status'], 'verbs': ['patch']},
    {'apiGroups': ['certificates.k8s.io'], 'resources': ['signers'], 'resourceNames': [SIGNER], 'verbs': ['approve', 'sign']},
]
OTHER_RULES = [{'apiGroups': ['', 'storage.k8s.io', 'coordination.k8s.io', 'discovery.k8s.io', 'snapshot.storage.k8s.io'],
                'resources': ['*'], 'verbs': ['*']}]


class Certified(Behind):
    def __init__(self, *args):
        super().__init__(*args)
        self.agents_ca, self.controllers_ca = Authority(self.dir, 'agents'), Authority(self.dir, 'controllers')
        self.cert = self.controllers_ca.issue('controller')
        self.kubelets, self.pods = {}, 0
        self.more = (f'--driver-name={DRIVER}', '--agents-account=default/agents', f'--agents-ca-cert={self.agents_ca.cert}',
                     f'--agents-ca-key={self.agents_ca.key}', f'--agents-certificate-lifetime={LIFETIME}s', '--leader-election',
                     '--leader-election-namespace=default')
        self.account('agents', AGENT_RULES)
        self.account('controller', SIGNER_RULES + OTHER_RULES)

    def account(self, name, rules):
        self.probe.call(f'create {ACCOUNTS}', {'apiVersion': 'v1', 'kind': 'ServiceAccount', 'metadata': {'name': name}})
        self.probe.call(f'create {RBAC}/clusterroles', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRole', 'metadata': {'name': name}, 'rules': rules})
        self.probe.call(f'create {RBAC}/clusterrolebindings', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRoleBinding', 'metadata': {'name': name},
            'roleRef': {'apiGroup': 'rbac.authorization.k8s.io', 'kind': 'ClusterRole', 'name': name},
            'subjects': [{'kind': 'ServiceAccount', 'name': name, 'namespace': 'default'}]})

    def token_of(self, account, node=None):
        """As kubelet gets one for a pod of the account on that node; without one, as a person does."""
        spec = {'expirationSeconds': 3600}
        if node:
            self.pods += 1
            name = f'agent-{self.pods}'
            pod = self.probe.call(f'create {CORE}/namespaces/default/pods', {
                'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name},
                'spec': {'nodeName': node, 'serviceAccountName': account, 'containers': [{'name': 'a', 'image': 'a'}]}})
            spec['boundObjectRef'] = {'apiVersion': 'v1', 'kind': 'Pod', 'name': name, 'uid': pod['metadata']['uid']}
        reply = self.probe.call(f'create {ACCOUNTS}/{account}/token', {
            'apiVersion': 'authentication.k8s.io/v1', 'kind': 'TokenRequest', 'spec': spec})
        return reply['status']['token']

    def token(self):
        return self.token_of('controller')

    def run(self, name, node=None):
        """The agent at the port of `name`; of that node, or of another with that one's credentials."""
        node = node or name
        if name not in self.kubelets:
            self.kubelets[name] = Kubelet(self.directory(f'kubelet-{name}'))
        config = self.cluster.kubeconfig(f'agent-{name}', PORT, {'token': self.token_of('agents', node)}, self.server)
        words = [self.program_of(name), 'node', f'--node-id={node}', '--backend=mem', '--mem-size=4Gi', f'--kubelet-dir={self.kubelets[name].dir}',
                 f'--fleet-endpoint={self.address(name)}', f'--certificate-signer={SIGNER}', f'--tls-ca={self.controllers_ca.cert}',
                 f'--kubeconfig={config}']
        with starting, open(self.agent_log(name), 'ab') as f:
            self.processes[name] = subprocess.Popen(self.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL)

    def directory(self, name):
        path = self.dir / name
        path.mkdir()
        return path

    def agent_log(self, name):
        return self.dir / f'{name}.log'

    def ctl(self, name, *words):
        socket = self.kubelets[name].dir / 'plugins' / DRIVER / 'csi.sock'
        done = subprocess.run([CLEAT, 'ctl', *words, '-ojson', f'--endpoint=unix://{socket}'], capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def agents(self):
        return ['--agents-service=default/agents', f'--tls-cert={self.cert[0]}', f'--tls-key={self.cert[1]}',
                f'--tls-ca={self.agents_ca.cert}']

    def requests(self):
        return self.probe.call(f'get {CSRS}')['items']

    def end(self):
        super().end()
        for k in self.kubelets.values():
            k.end()


@pytest.fixture
def certified(work, top):
    yield from brought_up(Certified, work, top, 'provisioner,certificates')


def request(directory, names, *extensions):
    """PEM in base64."""
    key, out = directory / 'x.key', directory / 'x.csr'
    more = [word for e in extensions for word in ('-addext', e)]
    sh('openssl', 'req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/', '-keyout', key,
       '-out', out, '-addext', f'subjectAltName={names}', *more)
    return base64.b64encode(out.read_bytes()).decode()


def create_as(cluster, token, name, body):
    """By curl: the probe is somebody else."""
    spec = {'apiVersion': 'certificates.k8s.io/v1', 'kind': 'CertificateSigningRequest', 'metadata': {'name': name}, 'spec': {
        'signerName': SIGNER, 'usages': ['digital signature', 'server auth'], 'expirationSeconds': 3600, **body}}
    done = subprocess.run(cluster.inside(['curl', '-s', '--cacert', cluster.ca.cert, '-H', f'Authorization: Bearer {token}', '-H',
                                          'Content-Type: application/json', '-d', json.dumps(spec), f'https://127.0.0.1:{PORT}{CSRS}']),
                          capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)['kind'] == 'CertificateSigningRequest', done.stdout


def conditions(certified, name):
    (found,) = [r for r in certified.requests() if r['metadata']['name'] == name]
    return [(c['type'], c.get('reason'), c.get('message', '')) for c in found['status'].get('conditions', [])]


def refuses(certified, name, reason, words):
    ((kind, why, message),) = wait_until('it is answered', lambda: conditions(certified, name))
    assert (kind, why) == ('Denied', reason) and words in message, (kind, why, message)


def test_each_agent_has_a_certificate_of_its_own_node_and_renews_it(certified):
    for node in certified.ports:
        certified.claim(f'on-{node}', 'later', **{'volume.kubernetes.io/selected-node': node})
    wait_until('all have volumes', lambda: len(certified.volumes()) == 3)
    issued = [r for r in certified.requests() if r['status'].get('certificate')]
    assert len(issued) >= 3
    for r in issued:
        text = subprocess.run(['openssl', 'x509', '-noout', '-text'], input=base64.b64decode(r['status']['certificate']),
                              capture_output=True, check=True).stdout.decode()
        (node,) = r['spec']['extra']['authentication.kubernetes.io/node-name']
        assert f'URI:cleat://node/{node}\n' in text and 'CA:FALSE' in text
        assert 'TLS Web Server Authentication\n' in text and 'Client' not in text
        assert [c['type'] for c in r['status']['conditions']] == ['Approved']
    # the next ones, while connections stay
    wait_until('all have renewed', lambda: all(certified.agent_log(n).read_text().count('certificate of this agent is in use') >= 3
                                               for n in certified.ports), 3 * LIFETIME)
    certified.claim('later', 'later', **{'volume.kubernetes.io/selected-node': 'n1'})
    wait_until('it has a volume', lambda: 'later' in certified.volumes())
    assert 'is not served' not in certified.log.read_text().partition('driver is ready')[2]


def test_a_node_that_answers_for_another_is_refused_and_named(certified):
    certified.processes['n3'].kill()
    certified.processes['n3'].wait()
    certified.run('n3', node='n2')   # what a thief of node n2 has, at n3's address
    wait_until('it has its certificate', lambda: certified.agent_log('n3').read_text().count('certificate of this agent is in use') >= 2)
    told = 'not for cleat://node/n3, but for: URI:cleat://node/n2'
    ready = wait_until('it is told', lambda: told in certified.page('/readyz') and certified.page('/readyz'))
    assert ready.startswith('ok\n') and 'node n3: ' in ready
    assert 'cleat_tls_refused_total{side="client",reason="name"}' in certified.page('/metrics')
    certified.claim('on-n3', 'later', **{'volume.kubernetes.io/selected-node': 'n3'})
    certified.claim('on-n2', 'later', **{'volume.kubernetes.io/selected-node': 'n2'})
    wait_until('the other has a volume', lambda: 'on-n2' in certified.volumes())
    assert 'on-n3' not in certified.volumes() and certified.ctl('n3', 'volume', 'list')['items'] == []
    log = certified.log.read_text()
    assert told in log and log.count('TLS handshake failed') <= 2
    certified.processes['n3'].kill()
    certified.processes['n3'].wait()
    certified.run('n3')
    wait_until('n3 is served again', lambda: 'node n3' not in certified.page('/readyz'), 60)


def test_an_api_server_that_is_away_costs_nothing_until_a_certificate_ends(certified):
    def asked():
        """By a new connection, as whoever knows the node's name makes it."""
        done = subprocess.run(certified.cluster.inside([
            CLEAT, 'ctl', 'info', f'--endpoint={certified.address("n1")}', '--tls-server-name=cleat://node/n1', '--timeout=2s',
            f'--tls-cert={certified.cert[0]}', f'--tls-key={certified.cert[1]}', f'--tls-ca={certified.agents_ca.cert}']),
            capture_output=True, text=True, check=False)
        return 'ok' if done.returncode == 0 else done.stderr
    log = certified.agent_log('n1')
    assert asked() == 'ok'
    certified.cluster.stop(PORT)
    wait_until('the next is asked for in vain', lambda: 'no new certificate for this agent' in log.read_text(), 2 * LIFETIME)
    assert asked() == 'ok'
    wait_until('the last has ended', lambda: 'expired' in asked(), 2 * LIFETIME)
    known = log.read_text().count('certificate of this agent is in use')
    certified.cluster.start(PORT)
    wait_until('there is another', lambda: log.read_text().count('certificate of this agent is in use') > known, 90)
    assert asked() == 'ok'
    certified.claim('after', 'later', **{'volume.kubernetes.io/selected-node': 'n1'})
    wait_until('it has a volume', lambda: 'after' in certified.volumes(), 90)


def test_what_others_ask_for_is_denied_with_the_reason(certified, work):
    own, cluster = certified.token_of('agents', 'n2'), certified.cluster
    good = request(work, 'URI:cleat://node/n2')
    create_as(cluster, own, 'good', {'request': good})
    wait_until('it is signed', lambda: [c[0] for c in conditions(certified, 'good')] == ['Approved'])
    create_as(cluster, own, 'other', {'request': request(work, 'URI:cleat://node/n3')})
    refuses(certified, 'other', 'WrongName', "may be 'cleat://node/n2' and not 'cleat://node/n3'")
    create_as(cluster, own, 'more', {'request': request(work, 'URI:cleat://node/n2,DNS:agent.cleat.internal')})
    refuses(certified, 'more', 'WrongRequest', 'another number of names than one')
    create_as(cluster, own, 'authority', {'request': request(work, 'URI:cleat://node/n2', 'basicConstraints=critical,CA:TRUE')})
    refuses(certified, 'authority', 'WrongRequest', 'another number of extensions than one')
    create_as(cluster, own, 'client', {'request': good, 'usages': ['digital signature', 'server auth', 'client auth']})
    refuses(certified, 'client', 'WrongUsages', 'server auth alone')
    create_as(cluster, certified.token_of('agents'), 'nowhere', {'request': good})
    refuses(certified, 'nowhere', 'NoNode', 'not bound to a pod')
    create_as(cluster, 'admin-token', 'admin', {'request': good})
    refuses(certified, 'admin', 'NotAnAgent', "'admin' is not the agents' account")
    create_as(cluster, own, 'foreign', {'request': good, 'signerName': 'example.com/other'})
    time.sleep(1)
    assert conditions(certified, 'foreign') == []   # nobody's here
    page = certified.page('/metrics')
    assert 'cleat_agent_certificates_total{result="denied"} 6' in page
