# SPDX-License-Identifier: Apache-2.0
"""Drivers on several nodes as one: what `cleat ctl --agents` and `cleat controller --agents` ask of csi/router, here with real drivers."""
import json

import pytest
from harness import MIB, Driver, csi
from test_process import cleat



@pytest.fixture
def nodes(work):
    """Three, the second of them with the roomiest pool."""
    all_nodes = []
    for name, size in [('n1', 1), ('n2', 4), ('n3', 2)]:
        directory = work / name
        directory.mkdir()
        all_nodes.append(Driver(directory, None, '--backend=mem', f'--mem-size={size}Gi', node=name).start())
    yield all_nodes
    for n in all_nodes:
        n.end()


def ctl(nodes, *words):
    return cleat('ctl', *words, '--agents=' + ','.join(f'unix://{n.socket}' for n in nodes))


def good(nodes, *words):
    done = ctl(nodes, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def items(nodes, kind):
    return json.loads(good(nodes, kind, 'list', '-ojson'))['items']


def test_a_volume_lives_on_one_of_them_and_is_found_from_all(nodes):
    v = good(nodes, 'volume', 'create', 'data', '--size=64Mi', '-o', 'id').strip()
    assert good(nodes, 'volume', 'create', 'data', '--size=64Mi', '-o', 'id').strip() == v
    assert [len(n.calls.volumes()) for n in nodes] == [0, 1, 0]   # where most is free
    assert v in good(nodes, 'volume', 'show', 'data', '-ojson')
    s = good(nodes, 'snapshot', 'create', 'snap', '--volume=data', '-o', 'id').strip()
    copy = good(nodes, 'volume', 'create', 'copy', '--from-snapshot=snap', '-o', 'id').strip()
    assert len(nodes[1].calls.volumes()) == 2
    assert {i['volume_id'] for i in items(nodes, 'volume')} == {v, copy}
    assert [i['snapshot_id'] for i in items(nodes, 'snapshot')] == [s]
    good(nodes, 'volume', 'expand', 'copy', '--size=128Mi')
    for kind, one in ('volume', copy), ('snapshot', s), ('volume', v):
        good(nodes, kind, 'delete', one)
    assert items(nodes, 'volume') == items(nodes, 'snapshot') == []


def test_a_node_that_is_away_takes_nothing_down_but_its_own(nodes):
    ids = [n.calls.create(f'v{i}').volume_id for i, n in enumerate(nodes)]
    nodes[1].kill()
    assert ids[0] in good(nodes, 'volume', 'show', ids[0], '-ojson')
    done = ctl(nodes, 'volume', 'list')   # what is not in a list would be taken for gone
    assert done.returncode == 1 and str(nodes[1].socket) in done.stderr and 'UNAVAILABLE' in done.stderr, done.stderr
    done = ctl(nodes, 'volume', 'delete', ids[1])
    assert done.returncode == 1 and 'UNAVAILABLE' in done.stderr, done.stderr
    good(nodes, 'volume', 'delete', ids[2])
    nodes[1].start()   # memory: its pool is another one now
    assert len(items(nodes, 'volume')) == 1


def test_a_pool_that_two_show_is_nobodys(nodes):
    """As after a disk was copied; here one driver that is reached by two ways."""
    kept, shared = [n.calls.create('v').volume_id for n in nodes[:2]]
    other = nodes[1].socket.with_name('other.sock')
    other.symlink_to(nodes[1].socket)
    agents = '--agents=' + ','.join(f'unix://{path}' for path in (nodes[0].socket, nodes[1].socket, other))
    said = json.loads(cleat('ctl', 'node', 'list', agents, '-ojson').stdout)['items']
    assert sorted(i['shared_pools'] for i in said) == [0, 1, 1]
    said = cleat('ctl', 'node', 'list', agents).stdout
    assert said.count('another node shows a pool of it, too') == 2, said
    done = cleat('ctl', 'volume', 'delete', shared, agents)
    assert done.returncode == 1 and 'UNAVAILABLE' in done.stderr and str(nodes[1].socket) in done.stderr and str(other) in done.stderr, done.stderr
    assert cleat('ctl', 'volume', 'create', 'new', '--size=64Mi', agents).returncode == 0
    assert [len(n.calls.volumes()) for n in nodes] == [2, 1, 0]   # n2 has more room
    assert cleat('ctl', 'volume', 'delete', kept, agents).returncode == 0


def test_capacity_is_of_all(nodes):
    one = [n.calls.controller.GetCapacity(csi.GetCapacityRequest()).available_capacity for n in nodes]
    assert json.loads(good(nodes, 'info', '-ojson'))['available_capacity'] == sum(one)


@pytest.mark.parametrize('agents, named', [
    ('tcp://10.0.0.1', '--tls-cert'),
    ('unix:///a,unix:///a', "'unix:///a' is there twice"),
    ('unix:///a,', None),
    (',unix:///a', '--agents'),
    ('unix:///a,,unix:///b', '--agents'),
    ('nowhere', '--agents'),
])
def test_wrong_addresses_are_named(agents, named):
    for words in ['ctl', 'info', '--timeout=2s'], ['controller', '--kubeconfig=/nowhere']:
        done = cleat(*words, f'--agents={agents}')
        if named:
            assert done.returncode == 2 and named in done.stderr, done.stderr
        else:
            assert done.returncode == 1, done.stderr


@pytest.mark.parametrize('words, named', [
    (['--agents-service=agents'], '--tls-cert'),
    (['--agents-service=a/b/c', '--insecure'], '--agents-service=a/b/c'),
    (['--agents-service=/b', '--insecure'], '--agents-service=/b'),
    (['--agents-service=b', '--agents=unix:///a', '--insecure'], 'exclude each other'),
])
def test_wrong_services_are_named(words, named):
    done = cleat('controller', '--kubeconfig=/nowhere', *words)
    assert done.returncode == 2 and named in done.stderr, done.stderr
