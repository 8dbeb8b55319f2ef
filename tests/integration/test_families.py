# SPDX-License-Identifier: Apache-2.0
"""IPv6 beside IPv4, and alone: where agents are reached, and the API server. Needs kube-apiserver and etcd; without them it is skipped, and
says so."""
import json
import subprocess

import pytest

from harness import CLEAT, sh, wait_until
from test_certificates import Certified
from test_fleet_cluster import PORT, SLICES, Behind, brought_up, pytestmark  # noqa: F401
import apiserver

SIX = 'fd00::99'   # an EndpointSlice takes no loopback address


class Six:
    """Has the address. What has one family or both comes with it."""

    def __init__(self, cluster, *args):
        sh(*cluster.inside(['ip', '-6', 'address', 'add', f'{SIX}/128', 'dev', 'lo', 'nodad']))
        super().__init__(cluster, *args)

    def peers(self):
        """The addresses at which the controller has connections to agents, as the kernel writes them: of IPv4, of IPv6."""
        done = [sh(*self.cluster.inside(['ss', '--no-header', '--numeric', '--tcp', family, 'state', 'established'])) for family in ('-4', '-6')]
        ports = {str(port) for port in self.ports.values()}
        return [{line.split()[3].rpartition(':')[2] for line in text.splitlines() if line.split()[3].rpartition(':')[2] in ports} for text in done]


class Dual(Six, Behind):
    """Every address of the node, as the chart has it."""
    families = {'IPv6': SIX, 'IPv4': apiserver.SELF}

    def address(self, name):
        return f'tcp://:{self.ports[name]}'

    def ctl(self, name, *words):
        done = subprocess.run(self.cluster.inside([CLEAT, 'ctl', *words, '-ojson', '--insecure', f'--endpoint=tcp://[{SIX}]:{self.ports[name]}']),
                              capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None


class Alone(Six, Certified):
    """And with certificates, which name no address."""
    families = {'IPv6': SIX}
    server, server_flags = '[::1]', ('--bind-address=::',)

    def address(self, name):
        return f'tcp://[{SIX}]:{self.ports[name]}'


@pytest.fixture
def dual(work, top):
    yield from brought_up(Dual, work, top)


@pytest.fixture
def alone(work, top):
    yield from brought_up(Alone, work, top, 'provisioner,certificates')


def serves(fleet, tag):
    """A claim on each node."""
    for node in fleet.ports:
        fleet.claim(f'{tag}-{node}', 'later', **{'volume.kubernetes.io/selected-node': node})
    wait_until('all have volumes', lambda: {f'{tag}-{node}' for node in fleet.ports} <= set(fleet.volumes()))
    for claim, (handle, _) in fleet.volumes().items():
        assert fleet.node_of(handle) == [claim.rpartition('-')[2]]


def test_a_node_of_both_families_is_one_member_by_ipv4_and_by_ipv6_when_that_is_all(dual):
    serves(dual, 'both')
    ports = {str(port) for port in dual.ports.values()}
    assert 'cleat_nodes{state="reachable"} 3' in dual.page('/metrics')
    assert dual.peers() == [ports, set()]
    for node in dual.ports:
        dual.probe.call(f'delete {SLICES}/{dual.slice_name(node)}')
    wait_until('all are reached by the other', lambda: dual.peers() == [set(), ports])
    serves(dual, 'six')
    assert 'cleat_nodes{state="reachable"} 3' in dual.page('/metrics') and 'node n' not in dual.page('/readyz')
    dual.probe.call(f'delete {SLICES}/{dual.slice_name("n3", "IPv6")}')   # no family is left
    wait_until('it is no member', lambda: 'cleat_nodes{state="reachable"} 2' in dual.page('/metrics'))
    dual.slice_name = lambda name, family='IPv4': f'again-{name}-{family.lower()}'
    for node in dual.ports:
        dual.slice(node)
    wait_until('all are reached by IPv4 again', lambda: dual.peers() == [ports, set()])
    serves(dual, 'again')


def test_ipv6_alone(alone):
    serves(alone, 'data')
    assert alone.peers() == [set(), {str(port) for port in alone.ports.values()}]
    config = alone.cluster.kubeconfig('ctl', PORT, {'token': 'admin-token'}, alone.server)
    listed = subprocess.run(alone.cluster.inside([CLEAT, 'ctl', 'node', 'list', '-ojson', f'--kubeconfig={config}', *alone.agents()]),
                            capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr
    assert [(n['node'], n['reachable']) for n in json.loads(listed.stdout)['items']] == [(node, True) for node in sorted(alone.ports)]
