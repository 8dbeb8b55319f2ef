# SPDX-License-Identifier: Apache-2.0
"""This version and the one before it beside each other, as an upgrade and a rollback have them for a while: agents of the one with the
controller of the other, agents of both, and a node whose agent is replaced under its volumes. What holds of one version is held
to hold of two, by the same tests. For `make skew`, which builds the version before and says by CLEAT_BEFORE where it is."""
import os
import pathlib
import subprocess

import pytest

if 'CLEAT_BEFORE' not in os.environ:
    pytest.skip('skew: SKIPPED: a lane of its own; `make skew` runs it', allow_module_level=True)

import test_certificates
import test_fleet
import test_fleet_cluster
from harness import CLEAT, GIB, MIB, Driver, Pool, Volume, block_cap, mount_cap, of_snapshot, of_volume
from test_certificates import test_each_agent_has_a_certificate_of_its_own_node_and_renews_it  # noqa: F401
from test_fleet import test_a_volume_lives_on_one_of_them_and_is_found_from_all, test_capacity_is_of_all  # noqa: F401
from test_fleet_cluster import (  # noqa: F401
    test_a_pool_that_is_gone_for_good_is_forgotten_and_one_that_came_back_is_remembered, test_agents_behind_a_service_come_and_go,
    test_claims_land_on_the_nodes_that_they_are_for_and_one_that_is_away_holds_up_its_own)

pytestmark = test_fleet_cluster.pytestmark
BEFORE = os.path.join(os.environ['CLEAT_BEFORE'], 'build/cleat')

# Who is of which version: the controller, and the agent of a node.
WAYS = {
    'new controller': (CLEAT, lambda name: BEFORE),
    'old controller': (BEFORE, lambda name: CLEAT),
    'new controller, half of the agents': (CLEAT, lambda name: BEFORE if name == 'n2' else CLEAT),
    'old controller, half of the agents': (BEFORE, lambda name: CLEAT if name == 'n2' else BEFORE),
}


def skewed(kind, way):
    controller, agent = WAYS[way]
    return type(f'Skewed{kind.__name__}', (kind,), {'program': controller, 'program_of': staticmethod(agent)})


@pytest.fixture(params=WAYS)
def fleet(work, top, request):
    yield from test_fleet_cluster.brought_up(skewed(test_fleet_cluster.Fleet, request.param), work, top)


@pytest.fixture(params=WAYS)
def behind(work, top, request):
    yield from test_fleet_cluster.brought_up(skewed(test_fleet_cluster.Behind, request.param), work, top)


@pytest.fixture(params=list(WAYS)[:2])
def hasty(work, top, request):
    yield from test_fleet_cluster.brought_up(skewed(test_fleet_cluster.Hasty, request.param), work, top)


@pytest.fixture(params=list(WAYS)[:2])
def certified(work, top, request):
    yield from test_fleet_cluster.brought_up(skewed(test_certificates.Certified, request.param), work, top, 'provisioner,certificates')


@pytest.fixture(params=list(WAYS)[::2])
def nodes(work, request):
    """Those of test_fleet, which asks them all by `cleat ctl` of this version."""
    agent = WAYS[request.param][1]
    all_nodes = []
    for name, size in [('n1', 1), ('n2', 4), ('n3', 2)]:
        directory = work / name
        directory.mkdir()
        all_nodes.append(Driver(directory, None, '--backend=mem', f'--mem-size={size}Gi', node=name, program=agent(name)).start())
    yield all_nodes
    for n in all_nodes:
        n.end()


# ---- an agent is replaced on its node ----

@pytest.fixture(params=['upgrade', 'rollback'])
def replaced(work, request):
    """A node's driver, of the one version until `replace`, of the other from then on."""
    first, second = (BEFORE, CLEAT) if request.param == 'upgrade' else (CLEAT, BEFORE)
    pool = Pool(work, size=6 * GIB)
    driver = Driver(work, pool, program=first).start()

    def replace():
        """And back, when called again."""
        driver.stop()
        driver.program = second if driver.program == first else first
        driver.start()
    driver.replace = replace
    try:
        yield driver
    finally:
        driver.end()
        pool.unmount()


KINDS = {
    'ext4': (mount_cap('ext4'), {}, 64 * MIB),
    'xfs': (mount_cap('xfs'), {}, 320 * MIB),
    'raw': (block_cap(), {}, 64 * MIB),
    'thin': (mount_cap('xfs'), {'provisioning': 'thin'}, 320 * MIB),
    'written': (mount_cap('ext4'), {'allocation': 'written'}, 64 * MIB),
    'buffered': (mount_cap('ext4'), {'directIO': 'preferred'}, 64 * MIB),
}


def write(volume, text):
    """Over the first bytes of what is there."""
    if volume.cap.HasField('block'):
        with open(volume.target, 'r+b', buffering=0) as f:
            f.write(text.encode().ljust(4096, b'\0'))
    else:
        (volume.target / 'file').write_text(text)


def read(volume):
    if volume.cap.HasField('block'):
        with open(volume.target, 'rb') as f:
            return f.read(4096).rstrip(b'\0').decode()
    return (volume.target / 'file').read_text()


@pytest.mark.parametrize('kind', KINDS)
def test_what_one_version_made_and_mounted_is_the_others(replaced, work, kind):
    cap, parameters, size = KINDS[kind]
    v = Volume(replaced, work, cap=cap, size=size, parameters=parameters).up()
    write(v, 'first')
    snap = replaced.calls.snapshot('snap', v.id)
    unused = Volume(replaced, work, cap=cap, size=size, parameters=parameters).create()   # raw ones in use are in no group
    group = replaced.calls.group('group', [unused.id])
    before = [(s.snapshot_id, s.ready_to_use, s.size_bytes, s.group_snapshot_id) for s in replaced.calls.snapshots()]
    listed = replaced.calls.volumes()

    replaced.replace()
    assert read(v) == 'first'
    write(v, 'second')
    assert replaced.calls.volumes() == listed
    assert [(s.snapshot_id, s.ready_to_use, s.size_bytes, s.group_snapshot_id) for s in replaced.calls.snapshots()] == before
    # asked again, as kubelet and the controllers do, and nothing is made twice
    assert replaced.calls.create(v.name, caps=[cap], size=size, parameters=parameters).volume_id == v.id
    assert replaced.calls.snapshot('snap', v.id).snapshot_id == snap.snapshot_id
    assert replaced.calls.group('group', [unused.id]).group_snapshot_id == group.group_snapshot_id
    v.stage().publish()
    assert len(replaced.pool.loops()) == 1
    replaced.calls.stats(v.id, v.target, v.staging)
    v.unpublish().unstage()
    replaced.calls.expand(v.id, 2 * size)
    v.stage().publish()   # its filesystem grows here
    restored = Volume(replaced, work, cap=cap, size=2 * size, parameters=parameters,
                      volume_content_source=of_snapshot(snap.snapshot_id)).up()
    assert read(restored) == 'first'
    restored.unpublish().unstage()

    replaced.replace()   # and back: what the other grew, restored and took down
    assert read(v) == 'second'
    restored.stage().publish()
    assert read(restored) == 'first'
    clone = Volume(replaced, work, cap=cap, size=2 * size, parameters=parameters, volume_content_source=of_volume(v.id)).up()
    assert read(clone) == 'second'
    for each in v, restored, clone:
        each.down()
    unused.delete()
    replaced.calls.delete_group(group.group_snapshot_id, [s.snapshot_id for s in group.snapshots])
    replaced.calls.delete_snapshot(snap.snapshot_id)
    assert not replaced.pool.files() and not replaced.pool.snapshots()


def test_limits_of_io_stay(replaced, work):
    made = replaced.calls.create('limited', mutable_parameters={'readIOPS': '500'})
    replaced.replace()
    replaced.calls.modify(made.volume_id, {'writeBandwidth': '20Mi'})
    shown = subprocess.run([CLEAT, 'ctl', 'volume', 'show', 'limited', '-ojson', f'--endpoint=unix://{replaced.socket}'],
                           capture_output=True, text=True, check=True).stdout
    replaced.replace()
    again = subprocess.run([CLEAT, 'ctl', 'volume', 'show', 'limited', '-ojson', f'--endpoint=unix://{replaced.socket}'],
                           capture_output=True, text=True, check=True).stdout
    assert again == shown
    replaced.calls.delete(made.volume_id)


def test_the_version_before_is_another():
    """Else all of this would compare the program with itself."""
    assert pathlib.Path(BEFORE).read_bytes() != pathlib.Path(CLEAT).read_bytes()
