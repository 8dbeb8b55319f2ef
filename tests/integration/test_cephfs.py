# SPDX-License-Identifier: Apache-2.0
"""Subvolumes of a real CephFS: a volume's life with snapshots, restores and clones, on a node too, each call again, what is wrong
with a class or a secret. After each test filesystem and journal are as empty as before."""
import os
import signal
import uuid

import cephfs_driver
import cluster
import grpc
import pytest
from cephfs_driver import Driver, Volume, class_of, subvolume_of
from harness import GIB, MIB, Code, Mode, block_cap, fails, mount_cap, wait_until

fs_journal = pytest.importorskip('fs_journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
look, snapshots, subvolumes = fs_journal.look, fs_journal.snapshots, fs_journal.subvolumes


def test_a_life(cephfs, fs_ceph):
    calls = cephfs.calls
    v = calls.create('pv-1', GIB)
    name = subvolume_of(v.volume_id)
    info = look(fs_ceph, name)
    assert (v.capacity_bytes, info['bytes_quota'], info['mode'] & 0o7777) == (GIB, GIB, 0o777)
    assert dict(v.volume_context) == {'clusterID': 'c1', 'fsName': 'cephfs', 'subvolumeName': name, 'subvolumePath': info['path']}
    s = calls.snapshot('snapshot-1', v.volume_id)
    assert (s.source_volume_id, s.size_bytes, s.ready_to_use) == (v.volume_id, GIB, True)
    r = calls.restored('pv-2', s.snapshot_id, 2 * GIB)
    assert (r.capacity_bytes, r.content_source.snapshot.snapshot_id) == (2 * GIB, s.snapshot_id)
    assert look(fs_ceph, subvolume_of(r.volume_id))['bytes_quota'] == 2 * GIB
    c = calls.cloned('pv-3', v.volume_id)
    assert c.content_source.volume.volume_id == v.volume_id
    assert len(snapshots(fs_ceph, name)) == 1, 'the snapshot that a clone is made of is gone with it'
    grown = calls.expand(v.volume_id, 3 * GIB)
    assert (grown.capacity_bytes, grown.node_expansion_required) == (3 * GIB, False)
    for volume_id in c.volume_id, r.volume_id, v.volume_id:
        calls.delete(volume_id)
    assert subvolumes(fs_ceph) == {name}, 'it stays for its snapshot'
    again = calls.restored('pv-4', s.snapshot_id)
    calls.delete(again.volume_id)
    calls.delete_snapshot(s.snapshot_id)


def test_bytes_go_along(cephfs, work):
    """What was in the volume when its snapshot was cut is in what is restored, whatever was written since; a clone has what there
    is when it is made."""
    calls = cephfs.calls
    source = Volume(cephfs, work, calls.create('pv-1'))
    path = source.up() / 'file'
    path.write_bytes(b'before' * 5000)
    s = calls.snapshot('snapshot-1', source.id).snapshot_id
    path.write_bytes(b'after.' * 5000)
    restored = Volume(cephfs, work, calls.restored('pv-2', s))
    cloned = Volume(cephfs, work, calls.cloned('pv-3', source.id))
    path.write_bytes(b'later.' * 5000)
    assert (restored.up() / 'file').read_bytes() == b'before' * 5000
    assert (cloned.up() / 'file').read_bytes() == b'after.' * 5000
    assert path.read_bytes() == b'later.' * 5000
    for volume in restored, cloned, source:
        volume.down()
        calls.delete(volume.id)
    calls.delete_snapshot(s)


def test_many_write_to_one(cephfs, fs_ceph, work):
    """From two nodes, which two drivers are here, at two targets each; and one that may only read."""
    (work / 'other').mkdir()
    other = Driver(work / 'other', fs_ceph).start()
    try:
        made = cephfs.calls.create('pv-1')
        here, there = Volume(cephfs, work, made), Volume(other, work / 'other', made)
        one, two, three = here.up(), here.publish('second'), there.up()
        reading = there.publish('reading', readonly=True)
        for n, place in enumerate((one, two, three)):
            (place / f'file-{n}').write_text(f'of {n}')
        for place in one, two, three, reading:
            assert sorted(p.name for p in place.iterdir()) == ['file-0', 'file-1', 'file-2']
            assert (place / 'file-2').read_text() == 'of 2'
        with pytest.raises(OSError):
            (reading / 'file-0').write_text('no')
        here.down()
        (three / 'file-0').write_text('on')
        there.down()
        other.stop()
    finally:
        other.end()
    cephfs.calls.delete(made.volume_id)


def test_its_size_is_its_limit(cephfs, work):
    """It holds what was asked and no more; growth is seen by those who have it mounted."""
    v = Volume(cephfs, work, cephfs.calls.create('pv-1', 16 * MIB))
    place = v.up()

    def fill(n):
        with open(place / 'file', 'ab', buffering=0) as f:
            for _ in range(n):
                f.write(b'x' * MIB)
            os.fsync(f.fileno())

    stats = cephfs.calls.stats(v.id, str(place))
    assert [u.total for u in stats.usage if u.unit == 1] == [16 * MIB]
    with pytest.raises(OSError):
        for _ in range(64):
            fill(1)
    cephfs.calls.expand(v.id, 64 * MIB)
    wait_until('it is larger', lambda: os.statvfs(place).f_blocks * os.statvfs(place).f_frsize == 64 * MIB)
    wait_until('it can be written to', lambda: fill(1) is None)
    v.down()
    cephfs.calls.delete(v.id)


def test_the_mount_outlives_the_agent(cephfs, work):
    v = Volume(cephfs, work, cephfs.calls.create('pv-1'))
    place = v.up()
    (place / 'file').write_text('before')
    servers = cephfs_driver.servers_of(v.id)
    assert len(servers) == 1
    cephfs.kill()
    (place / 'file').write_text('meanwhile')
    cephfs.start()
    v.up()
    assert cephfs_driver.servers_of(v.id) == servers
    assert (place / 'file').read_text() == 'meanwhile'
    v.down()
    cephfs_driver.wait_ended(v.id)
    cephfs.calls.delete(v.id)


def test_a_server_that_dies(cephfs, fs_ceph, work):
    """What uses it gets errors; nothing that goes down needs it, statistics do not hang, and it can be had again."""
    v = Volume(cephfs, work, cephfs.calls.create('pv-1'))
    place = v.up()
    (place / 'file').write_text('kept')
    cephfs_driver.kill_client(fs_ceph, v.id)
    with pytest.raises(OSError):
        (place / 'file').read_text()
    with pytest.raises(grpc.RpcError):
        cephfs.calls.stats(v.id, str(place), timeout=10)
    v.down()
    assert (v.up() / 'file').read_text() == 'kept'
    v.down()
    cephfs.calls.delete(v.id)


def test_one_that_answers_nobody(cephfs, work):
    """Its server is stopped, as one whose cluster is away: it comes down all the same."""
    v = Volume(cephfs, work, cephfs.calls.create('pv-1'))
    place = v.up()
    server, = cephfs_driver.fuses_of(v.id)
    os.kill(server, signal.SIGSTOP)
    try:
        with fails(Code.UNAVAILABLE, 'does not answer'):
            cephfs.calls.stats(v.id, str(place))
        v.down()
    finally:
        os.kill(server, signal.SIGCONT)
    cephfs_driver.wait_ended(v.id)
    cephfs.calls.delete(v.id)


def test_one_that_is_given_up(cephfs, fs_ceph, work):
    """The time is up while no monitor answers: its ceph-fuse ends, and nothing is mounted when it could be."""
    v = Volume(cephfs, work, cephfs.calls.create('pv-1'))
    monitor = fs_ceph.process('mon')
    monitor.send(signal.SIGSTOP)
    try:
        with fails(Code.DEADLINE_EXCEEDED):
            v.stage(timeout=3)
        cephfs_driver.wait_ended(v.id)
        assert not cephfs_driver.fuses_at(v.staging)
    finally:
        monitor.send(signal.SIGCONT)
    assert not os.path.ismount(v.staging)
    v.up()
    v.down()
    cephfs_driver.wait_ended(v.id)
    wait_until('nothing is kept of it', lambda: not list(cephfs.dir.rglob(v.id)))
    cephfs.calls.delete(v.id)


def test_keys_are_in_no_place(cephfs, fs_ceph, work):
    key = fs_ceph.fs_secrets()['userKey'].encode()
    v = Volume(cephfs, work, cephfs.calls.create('pv-1'))
    v.up()
    for pid in cephfs_driver.servers_of(v.id) + cephfs_driver.fuses_of(v.id) + [cephfs.process.child.pid]:
        for name in 'cmdline', 'environ':
            with open(f'/proc/{pid}/{name}', 'rb') as f:
                assert key not in f.read()
    v.down()
    assert key.decode() not in cephfs.process.text()
    assert not [p for p in cephfs.dir.rglob('*') if p.is_file() and key in p.read_bytes()]
    cephfs.calls.delete(v.id)


def test_a_volume_that_a_person_made(cephfs, fs_ceph, work):
    """Its PV says which path; its id is whatever it is."""
    fs_journal.manager(fs_ceph, 'fs subvolume create', sub_name='by-hand', group_name='csi', size=GIB, mode='777')
    path = look(fs_ceph, 'by-hand')['path']
    context = {'clusterID': 'c1', 'fsName': 'cephfs', 'staticVolume': 'true', 'rootPath': path}
    made = type('Made', (), {'volume_id': 'data of ours/' + 'x' * 40, 'volume_context': context})
    v = Volume(cephfs, work, type('Made', (), {'volume_id': 'x' * 40, 'volume_context': context}))
    v.id = made.volume_id
    with fails(Code.NOT_FOUND, 'staticVolume'):
        v.stage(volume_context={k: w for k, w in context.items() if k != 'staticVolume'})
    (v.up() / 'file').write_text('here')
    v.down()
    cephfs.calls.delete(v.id)
    assert 'by-hand' in subvolumes(fs_ceph)
    fs_journal.manager(fs_ceph, 'fs subvolume rm', sub_name='by-hand', group_name='csi')


def test_a_node_needs_no_rights_of_an_administrator(cephfs, fs_ceph, work):
    secrets = fs_ceph.fs_secrets('fs-node')
    v = Volume(cephfs, work, cephfs.calls.create('pv-1'))
    v.stage(secrets={'userID': secrets['userID'], 'userKey': secrets['userKey']})
    (v.publish() / 'file').write_text('here')
    v.down()
    with fails(Code.PERMISSION_DENIED, 'mgr'):
        cephfs.calls.create('pv-2', secrets=secrets)
    cephfs.calls.delete(v.id)


# --- again

def test_each_call_ten_times(cephfs, fs_ceph):
    calls = cephfs.calls

    def ten(call):
        answers = [call() for _ in range(10)]
        assert all(answer == answers[0] for answer in answers)
        return answers[0]

    v = ten(lambda: calls.create('pv-1')).volume_id
    s = ten(lambda: calls.snapshot('snapshot-1', v)).snapshot_id
    r = ten(lambda: calls.restored('pv-2', s)).volume_id
    c = ten(lambda: calls.cloned('pv-3', v)).volume_id
    assert len(subvolumes(fs_ceph)) == 3
    ten(lambda: calls.expand(v, 2 * GIB))
    for volume_id in r, c:
        ten(lambda: calls.delete(volume_id))
    ten(lambda: calls.delete_snapshot(s))
    ten(lambda: calls.delete(v))


def test_a_name_for_something_else(cephfs):
    calls = cephfs.calls
    v, other = calls.create('pv-1').volume_id, calls.create('pv-2').volume_id
    with fails(Code.ALREADY_EXISTS, 'pv-1'):
        calls.create('pv-1', 2 * GIB)
    s = calls.snapshot('snapshot-1', v).snapshot_id
    with fails(Code.ALREADY_EXISTS, 'snapshot-1'):
        calls.snapshot('snapshot-1', other)
    r = calls.restored('pv-3', s).volume_id
    with fails(Code.ALREADY_EXISTS):
        calls.create('pv-3')
    with fails(Code.ALREADY_EXISTS):
        calls.create('pv-3', volume_content_source=cephfs_driver.harness.of_volume(other))
    with fails(Code.OUT_OF_RANGE):
        calls.create('pv-4', 16 * MIB, volume_content_source=cephfs_driver.harness.of_snapshot(s))
    calls.delete_snapshot(s)
    for volume_id in v, other, r:
        calls.delete(volume_id)


# --- what bad input gets

WRONG_CLASS = {
    'no cluster': ({'clusterID': None}, ['clusterID']),
    'unknown cluster': ({'clusterID': 'c9'}, ['c9', 'c1']),
    'no filesystem': ({'fsName': None}, ['fsName']),
    'missing filesystem': ({'fsName': 'nowhere'}, ['nowhere', 'cephfs']),
    'missing pool': ({'pool': 'nowhere'}, ['nowhere']),
    'unknown mounter': ({'mounter': 'nfs'}, ['nfs']),
    'unknown parameter': ({'fsname': 'cephfs'}, ["'fsname'"]),
    'who the client is': ({'kernelMountOptions': 'name=admin'}, ['name']),
    'not done here': ({'encrypted': 'true'}, ['encrypted']),
}


@pytest.mark.parametrize('name', WRONG_CLASS)
def test_a_class_that_is_wrong(cephfs, name):
    words, texts = WRONG_CLASS[name]
    try:
        cephfs.calls.create('pv-1', parameters=class_of(**words))
    except grpc.RpcError as e:
        assert e.code() == Code.INVALID_ARGUMENT and all(text in e.details() for text in texts), f'{e.code()}: {e.details()}'
    else:
        raise AssertionError('made')
    if name == 'missing pool':  # only the manager knows, when the name is reserved
        cephfs.calls.delete(cephfs.calls.create('pv-1').volume_id)


def test_wrong_on_a_node(cephfs, fs_ceph, work):
    """Each in words, in time, and with nothing mounted."""
    v = Volume(cephfs, work, cephfs.calls.create('pv-1'))
    good = fs_ceph.fs_secrets()
    for words, code, texts in (
            ({'secrets': {**good, 'userKey': cluster.make_key()}}, Code.UNAUTHENTICATED, ['csi-cephfs']),
            ({'secrets': {**good, 'userID': 'nobody'}}, Code.UNAUTHENTICATED, ['nobody']),
            ({'volume_context': {**v.context, 'subvolumePath': '/volumes/csi/nowhere'}}, Code.NOT_FOUND, ['nowhere']),
            ({'volume_context': {**v.context, 'mounter': 'kernel'}}, Code.FAILED_PRECONDITION, ['modprobe ceph'])):
        with fails(code, *texts):
            v.stage(**words)
    assert not os.path.ismount(v.staging)
    cephfs.calls.delete(v.id)


def test_what_it_is_not(cephfs):
    with fails(Code.INVALID_ARGUMENT, 'block'):
        cephfs.calls.create('pv-1', caps=[block_cap()])
    v = cephfs.calls.create('pv-1', caps=[mount_cap(mode=Mode.MULTI_NODE_READER_ONLY)]).volume_id
    cephfs.calls.delete(v)
    gone = f'0001-0002-c1-{1:016x}-{uuid.uuid4()}'
    for volume_id in gone, 'nonsense':
        cephfs.calls.delete(volume_id)
        cephfs.calls.delete_snapshot(volume_id)
        for call in cephfs.calls.validate, lambda i: cephfs.calls.expand(i, GIB), lambda i: cephfs.calls.snapshot('s', i):
            with fails(Code.NOT_FOUND):
                call(volume_id)


# --- what ceph-csi made, and made for it

def test_what_ceph_csi_made_is_taken_over(cephfs, fs_ceph, work):
    """Its volume and snapshot, byte by byte as its release 3.12 leaves them: mounted by its context, and by one of an older release
    without a path; snapshotted, restored, cloned, grown, asked for again, deleted."""
    calls = cephfs.calls
    with fs_journal.opened(fs_ceph) as io:
        csi = fs_journal.CephCsi(fs_ceph, io)
        theirs = csi.volume('pv-1')
        snap = csi.snapshot('snapshot-1', theirs)
        context = csi.context(theirs)
    made = calls.create('pv-1')
    assert (made.volume_id, dict(made.volume_context)) == (theirs, context)
    assert calls.snapshot('snapshot-1', theirs).snapshot_id == snap
    v = Volume(cephfs, work, made)
    place = v.up()
    assert os.stat(place).st_mode & 0o7777 == 0o777
    (place / 'file').write_text('theirs')
    v.down()
    v.stage(volume_context={'clusterID': 'c1'})
    assert (v.publish() / 'file').read_text() == 'theirs'
    s = calls.snapshot('snapshot-2', theirs).snapshot_id
    restored = Volume(cephfs, work, calls.restored('pv-2', s))
    assert (restored.up() / 'file').read_text() == 'theirs'
    restored.down()
    v.down()
    of_theirs, cloned = calls.restored('pv-3', snap).volume_id, calls.cloned('pv-4', theirs).volume_id
    calls.expand(theirs, 2 * GIB)
    for volume_id in theirs, restored.id, of_theirs, cloned:
        calls.delete(volume_id)
    for snapshot_id in snap, s:
        calls.delete_snapshot(snapshot_id)


def test_what_is_made_is_what_ceph_csi_makes(cephfs, fs_ceph):
    """Key by key, but for what is random."""
    def as_pattern(handle, snapshot):
        text = str(sorted(fs_journal.theirs(fs_ceph).items()))
        return text.replace(handle[-36:], 'V').replace(snapshot[-36:], 'S')

    with fs_journal.opened(fs_ceph) as io:
        csi = fs_journal.CephCsi(fs_ceph, io)
        theirs = csi.volume('pv-1')
        snap = csi.snapshot('snapshot-1', theirs)
        context = {key: value.replace(theirs[-36:], 'V') for key, value in csi.context(theirs).items() if key != 'subvolumePath'}
    wanted = as_pattern(theirs, snap)
    cephfs.calls.delete_snapshot(snap)
    cephfs.calls.delete(theirs)
    ours = cephfs.calls.create('pv-1')
    s = cephfs.calls.snapshot('snapshot-1', ours.volume_id).snapshot_id
    assert as_pattern(ours.volume_id, s) == wanted
    assert {key: value.replace(ours.volume_id[-36:], 'V') for key, value in ours.volume_context.items()
            if key != 'subvolumePath'} == context
    assert look(fs_ceph, subvolume_of(ours.volume_id))['bytes_quota'] == GIB
    cephfs.calls.delete_snapshot(s)
    cephfs.calls.delete(ours.volume_id)
