# SPDX-License-Identifier: Apache-2.0
"""A manager of Ceph that does not answer in time, and answers later: each call ends by its time limit, the process lives, and goes on
as soon as the manager does. On a cluster of this file's own."""
import time

import ceph_driver
import cephfs_driver
import cluster
import grpc
import pytest
from harness import GIB, Code, of_volume, wait_until

journal = pytest.importorskip('journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
fs_journal = pytest.importorskip('fs_journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
ENDS_S, WITHOUT_DEADLINE_S, THREADS, ROUNDS = 15, 60, 4, 3
PASSING = (Code.UNAVAILABLE, Code.ABORTED)


@pytest.fixture(scope='module')
def own_ceph():
    lacking = cluster.missing(True)
    if lacking:
        pytest.skip(f'Ceph: SKIPPED: {lacking}')
    with cluster.opened(filesystem=True) as found:
        yield found


@pytest.fixture
def cephfs(work, own_ceph):
    d = cephfs_driver.Driver(work, own_ceph).start()
    try:
        yield d
        d.stop()
        wait_until('nothing is left in the filesystem', lambda: not fs_journal.left(own_ceph), 30)
    finally:
        own_ceph.thaw('mgr')
        d.end()


@pytest.fixture
def rbd(work, own_ceph):
    d = ceph_driver.Driver(work, own_ceph).start()
    try:
        yield d
        d.stop()
        ceph_driver.wait_nothing_left(own_ceph, journal)
    finally:
        own_ceph.thaw('mgr')
        d.end()


def refused(call):
    """How long it took, and what it said. The caller's deadline may be over a moment before the call before is."""
    while True:
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as e:
            call()
        if e.value.code() != Code.ABORTED:
            break
        time.sleep(0.01)
    assert e.value.code() in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED), f'{e.value.code()}: {e.value.details()}'
    return time.monotonic() - began, e.value.details()


def made_of(ceph, known):
    """The handle of what the journal has besides the volume that is known; None: nothing yet."""
    found = [name.rsplit('.', 1)[1] for name in fs_journal.objects(ceph)
             if name.startswith(('csi.volume.', 'csi.snap.')) and name.rsplit('.', 1)[1] not in known]
    assert len(found) <= 1, found
    return f'{known[:-36]}{found[0]}' if found else None


def settled(call):
    def attempt():
        try:
            return call() or True
        except grpc.RpcError as e:
            assert e.code() in PASSING, f'{e.code()}: {e.details()}'
            return None
    return wait_until('the call works again', attempt, 30)


def check_alive(driver, pid):
    """The late answer comes within moments."""
    time.sleep(1)
    assert driver.process.child.poll() is None, 'the process has ended'
    assert driver.process.child.pid == pid


def test_a_late_answer_is_taken(cephfs, own_ceph):
    v = cephfs.calls.create('pv-0', GIB).volume_id
    pid = cephfs.process.child.pid
    with own_ceph.frozen('mgr'):
        seconds, said = refused(lambda: cephfs.calls.create('pv-1', GIB, timeout=WITHOUT_DEADLINE_S))
        assert 9 < seconds < ENDS_S
        assert cephfs.calls.probe() is not None
    check_alive(cephfs, pid)
    assert "'c1'" in said and 'may be done yet' in said, said
    w = settled(lambda: cephfs.calls.create('pv-1', GIB)).volume_id
    for volume_id in v, w:
        settled(lambda volume_id=volume_id: cephfs.calls.delete(volume_id))
    check_alive(cephfs, pid)


def test_callers_who_leave_are_bounded(cephfs, own_ceph):
    """Each has gone before the time limit; of those whom the manager has not answered there are four, and then no more."""
    v = cephfs.calls.create('pv-0', GIB).volume_id
    pid = cephfs.process.child.pid
    with own_ceph.frozen('mgr'):
        for _ in range(THREADS):
            refused(lambda: cephfs.calls.expand(v, 2 * GIB, timeout=0.5))
        seconds, said = wait_until('it is refused at once', lambda: [
            found for found in [refused(lambda: cephfs.calls.expand(v, 2 * GIB, timeout=0.5))] if 'the oldest is' in found[1]], 20)[0]
        assert seconds < 0.4, said
    check_alive(cephfs, pid)
    assert settled(lambda: cephfs.calls.expand(v, 2 * GIB)).capacity_bytes == 2 * GIB
    settled(lambda: cephfs.calls.delete(v))
    check_alive(cephfs, pid)


def test_a_process_ends_while_the_manager_hangs(cephfs, own_ceph):
    with own_ceph.frozen('mgr'):
        refused(lambda: cephfs.calls.create('pv-0', GIB, timeout=1))
        cephfs.process.terminate(20)
    cephfs.start()
    settled(lambda: cephfs.calls.delete(settled(lambda: cephfs.calls.create('pv-0', GIB)).volume_id))


@pytest.mark.parametrize('what', ('create', 'clone', 'snapshot'))
def test_what_a_killed_process_has_sent_is_done_first(cephfs, own_ceph, what):
    """The manager has it and does nothing yet; the process after that deletes what it was for. Were it done after all that, something
    would be left that nobody knows."""
    calls = [cephfs.calls]
    v = cephfs.calls.create('pv-0', GIB).volume_id
    begin = {'create': lambda: calls[0].create('pv-1', GIB, timeout=1),
             'clone': lambda: calls[0].create('pv-1', GIB, volume_content_source=of_volume(v), timeout=1),
             'snapshot': lambda: calls[0].snapshot('snapshot-1', v, timeout=1)}[what]
    for _ in range(ROUNDS):
        with own_ceph.frozen('mgr'):
            refused(begin)
            cephfs.restart()
            calls[0] = cephfs.calls
            begun = made_of(own_ceph, v)
            delete = cephfs.calls.delete_snapshot if what == 'snapshot' else cephfs.calls.delete
            if begun:
                refused(lambda: delete(begun, timeout=1))
        if begun:
            settled(lambda: delete(begun))
    settled(lambda: cephfs.calls.delete(v))


def test_an_image_is_deleted_whatever_the_manager_does(rbd, own_ceph):
    """The manager is only told to clear the trash: it may do that whenever it likes."""
    v = rbd.calls.create('pv-0').volume_id
    s = rbd.calls.snapshot('snapshot-0', v).snapshot_id
    w = rbd.calls.restore('pv-1', s).volume_id
    pid = rbd.process.child.pid
    with own_ceph.frozen('mgr'):
        began = time.monotonic()
        try:
            rbd.calls.delete(v, timeout=WITHOUT_DEADLINE_S)
        except grpc.RpcError as e:
            assert e.code() in PASSING, f'{e.code()}: {e.details()}'
        assert time.monotonic() - began < 3 * ENDS_S
    check_alive(rbd, pid)
    for call in (lambda: rbd.calls.delete(v), lambda: rbd.calls.delete(w), lambda: rbd.calls.delete_snapshot(s)):
        ceph_driver.settled(lambda call=call: settled(call))
    check_alive(rbd, pid)
