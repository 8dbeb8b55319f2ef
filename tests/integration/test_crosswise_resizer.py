# SPDX-License-Identifier: Apache-2.0
"""Upstream's csi-resizer and ours at `cleat driver`, on one real API server: the same claims before each, what they write laid
side by side, and the one in the place of the other in mid-work. Needs kube-apiserver, etcd and external-resizer; without them it
is skipped, and says so."""
import signal

import pytest

from crosswise import ATTRIBUTES, SIDES, Side, brought_up, judge, judge_events, missing
from harness import DRIVER, GIB, MIB, wait_until

MISSING = missing(('external-resizer', 'csi-resizer'))
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'SKIPPED: {MISSING}')
RESIZER = 'csi-resizer'
PRE_RESIZE = 'volume.alpha.kubernetes.io/pre-resize-capacity'


@pytest.fixture
def cross(work, top):
    with brought_up(top, work) as c:
        yield c


def add_attributes(cross, name, **parameters):
    cross.probe.call(f'create {ATTRIBUTES}', {
        'apiVersion': 'storage.k8s.io/v1', 'kind': 'VolumeAttributesClass', 'metadata': {'name': name}, 'driverName': DRIVER,
        'parameters': parameters})


def ask(side, name, size):
    side.patch(side.claims(name), {'spec': {'resources': {'requests': {'storage': str(size)}}}})


def ask_attributes(side, name, attributes):
    side.patch(side.claims(name), {'spec': {'volumeAttributesClassName': attributes}})


def status(side, name):
    return side.get(side.claims(name))['status']


def conditions(side, name):
    return {c['type'] for c in status(side, name).get('conditions', [])}


def resize_state(side, name):
    return status(side, name).get('allocatedResourceStatuses', {}).get('storage')


def modify_state(side, name):
    return status(side, name).get('modifyVolumeStatus', {}).get('status')


def reasons(side, name):
    return {e[3] for e in side.events() if e[1] == name}


def finish_on_node(side, name):
    """As kubelet does."""
    size = side.get(side.pv(name))['spec']['capacity']['storage']
    side.patch(f'{side.claims(name)}/status', {'status': {
        'capacity': {'storage': size}, 'allocatedResourceStatuses': None, 'conditions': None}})


def go_through_everything(side):
    """The list of the issue, as far as a resizer has to do with it; the shapes that it left at each stop."""
    seen = {}

    def note(stop, *names):
        seen[stop] = side.shapes(*[p for n in names for p in (side.claims(n), side.pv(n))])
    for name in 'grown', 'greedy', 'changed', 'wrong', 'early':
        side.add_claim(name)
    side.start(RESIZER)

    ask(side, 'grown', '32Mi')
    wait_until('it is kubelet\'s turn', lambda: resize_state(side, 'grown') == 'NodeResizePending')
    wait_until('that is told', lambda: 'FileSystemResizeRequired' in reasons(side, 'grown'))
    note('grown by the controller', 'grown')
    finish_on_node(side, 'grown')
    wait_until('the mark is gone', lambda: PRE_RESIZE not in side.get(side.pv('grown'))['metadata'].get('annotations', {}))
    note('grown', 'grown')

    ask(side, 'greedy', 100 * GIB)
    wait_until('it is infeasible', lambda: resize_state(side, 'greedy') == 'ControllerResizeInfeasible')
    wait_until('that is told', lambda: 'VolumeResizeFailed' in reasons(side, 'greedy'))
    note('infeasible', 'greedy')
    ask(side, 'greedy', 64 * MIB)
    wait_until('it is kubelet\'s turn', lambda: resize_state(side, 'greedy') == 'NodeResizePending')
    wait_until('that is told', lambda: 'FileSystemResizeRequired' in reasons(side, 'greedy'))
    note('asked for less after all', 'greedy')

    ask_attributes(side, 'changed', 'quick')
    wait_until('it is changed', lambda: status(side, 'changed').get('currentVolumeAttributesClassName') == 'quick')
    wait_until('that is told', lambda: 'VolumeModifySuccessful' in reasons(side, 'changed'))
    note('modified', 'changed')
    ask_attributes(side, 'wrong', 'unknown')
    wait_until('it is infeasible', lambda: modify_state(side, 'wrong') == 'Infeasible' and 'ModifyVolumeError' in conditions(side, 'wrong'))
    wait_until('that is told', lambda: 'VolumeModifyFailed' in reasons(side, 'wrong'))
    note('modified wrongly', 'wrong')
    ask_attributes(side, 'wrong', 'quick')
    wait_until('it is changed', lambda: status(side, 'wrong').get('currentVolumeAttributesClassName') == 'quick')
    note('modified after all', 'wrong')
    ask_attributes(side, 'early', 'not-there')
    wait_until('it waits', lambda: modify_state(side, 'early') == 'Pending')
    wait_until('that is told', lambda: 'VolumeModifyFailed' in reasons(side, 'early'))
    note('class not there', 'early')
    lease = side.lease(RESIZER)
    side.stop(RESIZER)
    return seen, side.events(), lease


# What differs, and why (docs/resizer.md).
OBJECTS = [(r'infeasible: .*\.ControllerResizeError\.message', 'the words of gRPC are left away')]
EVENTS = [(rf'{who}: PersistentVolumeClaim {claim} Warning {reason} {words}', 'the words of gRPC are left away')
          for claim, reason, words in (('greedy', 'VolumeResizeFailed', 'resize volume .*expand volume.*'),
                                       ('wrong', 'VolumeModifyFailed', '.*mutable_parameters.*')) for who in SIDES]


def test_what_both_write_for_the_same_is_the_same(cross):
    add_attributes(cross, 'quick', writeIOPS='500')
    add_attributes(cross, 'unknown', colour='blue')
    seen = {name: go_through_everything(Side(cross, name)) for name in SIDES}
    (ours, our_events, our_lease), (theirs, their_events, their_lease) = seen['ours'], seen['upstream']
    judge(ours, theirs, OBJECTS)
    judge_events(our_events, their_events, EVENTS)
    judge({'lease': our_lease}, {'lease': their_lease}, [])


WAYS = [('upstream', 'ours'), ('ours', 'upstream')]


@pytest.mark.parametrize('first, second', WAYS)
def test_the_one_ends_what_the_other_began(cross, first, second):
    add_attributes(cross, 'quick', writeIOPS='500')
    add_attributes(cross, 'slow', writeIOPS='50')
    side = Side(cross, 'both')
    handle = side.add_claim('grown')
    side.add_claim('changed')
    side.add_claim('half')
    cross.start(first, RESIZER)
    ask(side, 'half', '32Mi')
    wait_until('it is kubelet\'s turn', lambda: resize_state(side, 'half') == 'NodeResizePending')
    with cross.driver_asleep():
        ask(side, 'grown', '32Mi')
        ask_attributes(side, 'changed', 'quick')
        wait_until('the calls are under way', lambda: resize_state(side, 'grown') == 'ControllerResizeInProgress' and
                   modify_state(side, 'changed') == 'InProgress')
        cross.stop(RESIZER, signal.SIGKILL)
        ask(side, 'grown', '64Mi')          # what was begun is in doubt, so it is ended first
        ask_attributes(side, 'changed', 'slow')
        finish_on_node(side, 'half')
    cross.start(second, RESIZER)
    wait_until('it is kubelet\'s turn', lambda: resize_state(side, 'grown') == 'NodeResizePending')
    assert status(side, 'grown')['allocatedResources']['storage'] == '32Mi'
    wait_until('what the first left is cleared away', lambda: PRE_RESIZE not in side.get(side.pv('half'))['metadata'].get('annotations', {}))
    finish_on_node(side, 'grown')
    wait_until('the rest is grown', lambda: resize_state(side, 'grown') == 'NodeResizePending' and
               status(side, 'grown')['allocatedResources']['storage'] == '64Mi')
    assert [v.capacity_bytes for v in cross.driver.calls.volumes() if v.volume_id == handle] == [64 * MIB]
    wait_until('it is changed', lambda: status(side, 'changed').get('currentVolumeAttributesClassName') == 'slow')
    assert side.get(side.pv('changed'))['spec']['volumeAttributesClassName'] == 'slow'
    wait_until('nothing is left of it', lambda: not status(side, 'changed').get('modifyVolumeStatus') and not conditions(side, 'changed'))
