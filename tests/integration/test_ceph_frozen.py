# SPDX-License-Identifier: Apache-2.0
"""A Ceph that stops in the middle of it all, and comes back: each call is answered by its deadline, none waits for ever, none has
to be waited for by others, and no process has to be started anew. On a cluster of this file's own, since an OSD that was stopped
is no longer what it was."""
import time

import cluster
import grpc
import pytest
from ceph_driver import Driver, wait_nothing_left
from harness import GIB, Code, in_threads, wait_until

journal = pytest.importorskip('journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
# The library's own limit is 10 s an operation; the first one under way may have begun before the freeze.
ENDS_S, WITHOUT_DEADLINE_S, N = 25, 120, 12


@pytest.fixture(scope='module')
def own_ceph():
    lacking = cluster.missing()
    if lacking:
        pytest.skip(f'Ceph: SKIPPED: {lacking}')
    with cluster.opened() as found:
        yield found


@pytest.fixture
def own(work, own_ceph):
    d = Driver(work, own_ceph).start()
    try:
        yield d
        d.stop()
        wait_nothing_left(own_ceph, journal, 120)
    finally:
        own_ceph.thaw()
        d.end()


def answered(call):
    """(seconds, None or the error)"""
    began = time.monotonic()
    try:
        call()
    except grpc.RpcError as e:
        return time.monotonic() - began, e
    return time.monotonic() - began, None


def settled(call, *codes):
    """The call, repeated as a CO does while what it says is that it may be."""
    def attempt():
        try:
            return call() or True
        except grpc.RpcError as e:
            assert e.code() in codes, f'{e.code()}: {e.details()}'
            return None
    return wait_until('the call works again', attempt, 90)


def test_every_call_is_answered(own, own_ceph):
    """Under load, and without a deadline of the caller's that would help. Then all is done, by the same process."""
    calls = own.calls
    v = calls.create('pv-0', GIB).volume_id
    s = calls.snapshot('snapshot-0', v).snapshot_id
    work = [lambda n=n: calls.create(f'pv-new-{n}', timeout=WITHOUT_DEADLINE_S) for n in range(N)] + [
        lambda: calls.snapshot('snapshot-new', v, timeout=WITHOUT_DEADLINE_S),
        lambda: calls.restore('pv-restored', s, GIB, timeout=WITHOUT_DEADLINE_S),
        lambda: calls.expand(v, 2 * GIB, timeout=WITHOUT_DEADLINE_S)]
    with own_ceph.frozen():
        answers = in_threads(*[lambda call=call: answered(call) for call in work])
        for seconds, error in answers:
            assert error is not None
            assert error.code() in (Code.UNAVAILABLE, Code.ABORTED), f'{error.code()}: {error.details()}'
            assert 'c1' in error.details() or error.code() == Code.ABORTED, error.details()
            assert seconds < ENDS_S, f'{seconds:.1f} s: {error.details()}'
        # It is known by now that nobody answers: whoever comes is told so at once, but for the one who asks.
        again = in_threads(*[lambda n=n: answered(lambda: calls.create(f'pv-late-{n}', timeout=WITHOUT_DEADLINE_S))
                             for n in range(N)])
        assert sorted(seconds for seconds, _ in again)[N // 2] < 2, again
        assert calls.probe() is not None
    pid = own.process.child.pid
    passing = (Code.UNAVAILABLE, Code.ABORTED)
    made = [settled(lambda n=n: calls.create(f'pv-new-{n}'), *passing).volume_id for n in range(N)]
    made += [settled(lambda n=n: calls.create(f'pv-late-{n}'), *passing).volume_id for n in range(N)]
    new = settled(lambda: calls.snapshot('snapshot-new', v), *passing).snapshot_id
    made.append(settled(lambda: calls.restore('pv-restored', s, GIB), *passing).volume_id)
    assert settled(lambda: calls.expand(v, 2 * GIB), *passing).capacity_bytes == 2 * GIB
    assert own.process.child.pid == pid and own.process.child.poll() is None
    for volume_id in made:
        settled(lambda volume_id=volume_id: calls.delete(volume_id), *passing, Code.FAILED_PRECONDITION)
    for snapshot_id in new, s:
        settled(lambda snapshot_id=snapshot_id: calls.delete_snapshot(snapshot_id), *passing, Code.FAILED_PRECONDITION)
    settled(lambda: calls.delete(v), *passing, Code.FAILED_PRECONDITION)


def test_a_short_deadline_is_kept(own, own_ceph):
    """The caller has gone: the call is over for the driver too, soon after, and the same one is let in once all is well."""
    with own_ceph.frozen():
        seconds, error = answered(lambda: own.calls.create('pv-1', timeout=2))
        assert error.code() in (Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE)
        assert seconds < 8   # not by the library's time-out
    passing = (Code.UNAVAILABLE, Code.ABORTED)
    v = settled(lambda: own.calls.create('pv-1'), *passing).volume_id
    settled(lambda: own.calls.delete(v), *passing, Code.FAILED_PRECONDITION)


def test_it_ends_while_frozen(own, own_ceph):
    """Told to end in the middle of calls that hang in the library, the program does."""
    with own_ceph.frozen():
        in_threads(*[lambda n=n: answered(lambda: own.calls.create(f'pv-{n}', timeout=1)) for n in range(4)])
        began = time.monotonic()
        own.process.terminate(60)
        assert time.monotonic() - began < 40
    own.start()
    for n in range(4):
        v = settled(lambda n=n: own.calls.create(f'pv-{n}'), Code.UNAVAILABLE, Code.ABORTED).volume_id
        settled(lambda v=v: own.calls.delete(v), Code.UNAVAILABLE, Code.ABORTED, Code.FAILED_PRECONDITION)
