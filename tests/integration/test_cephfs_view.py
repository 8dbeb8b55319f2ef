# SPDX-License-Identifier: Apache-2.0
"""Volumes that show a snapshot of a real CephFS and copy nothing (backingSnapshot): what they show, what they cannot, how long a
snapshot lives that was deleted, and that ceph-csi's are ours and ours ceph-csi's. After each test all is as empty as before."""
import contextlib
import ctypes
import os
import pathlib
import subprocess

import cephfs_driver
import pytest
from cephfs_driver import Volume, class_of, subvolume_of
from harness import GIB, Code, Mode, fails, mount_cap, of_snapshot, of_volume, wait_until

fs_journal = pytest.importorskip('fs_journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
ROX = mount_cap(mode=Mode.MULTI_NODE_READER_ONLY)


def shown(calls, name, snapshot, size=GIB, **more):
    return calls.create(name, size, caps=[ROX], volume_content_source=of_snapshot(snapshot), **more)


def filled(cephfs, work, text):
    """A volume with a file, on the node."""
    v = Volume(cephfs, work, cephfs.calls.create('pv-1'))
    (v.up() / 'file').write_text(text)
    return v


def cut(cephfs, v, name='snapshot-1'):
    """What was written before is in it: a client that has it open writes it out first."""
    os.sync()
    return cephfs.calls.snapshot(name, v.id).snapshot_id


def test_what_it_shows(cephfs, fs_ceph, work):
    """Two of one snapshot on one node, beside the snapshot's volume: made at once, without a subvolume, and nobody can write."""
    v = filled(cephfs, work, 'before')
    s = cut(cephfs, v)
    (v.targets[0] / 'file').write_text('after')
    made = [shown(cephfs.calls, f'pv-{n}', s) for n in (2, 3)]
    assert fs_journal.subvolumes(fs_ceph) == {subvolume_of(v.id)}
    assert made[0].capacity_bytes == GIB
    assert made[0].content_source.snapshot.snapshot_id == s
    one, two = (Volume(cephfs, work, m, ROX) for m in made)
    places = [one.up(), one.publish('second'), two.up()]
    for place in places:
        assert [p.name for p in place.iterdir()] == ['file']
        assert (place / 'file').read_text() == 'before'
        with pytest.raises(OSError):
            (place / 'file').write_text('no')
    with pytest.raises(OSError):
        (one.staging / 'new').write_text('no')
    assert (v.targets[0] / 'file').read_text() == 'after'
    one.down()
    cephfs_driver.wait_ended(one.id)
    assert (places[2] / 'file').read_text() == 'before'
    two.down()
    v.down()
    for volume in one, two, v:
        cephfs_driver.wait_ended(volume.id)
        cephfs.calls.delete(volume.id)
    assert not list(cephfs.dir.rglob('inside')), 'what it was shown from is gone'
    assert not fs_journal.references(fs_ceph)
    cephfs.calls.delete_snapshot(s)


def test_what_it_cannot(cephfs, work):
    calls = cephfs.calls
    v = filled(cephfs, work, 'before')
    s = cut(cephfs, v)
    m = shown(calls, 'pv-2', s)
    for code, text, call in (
            (Code.INVALID_ARGUMENT, 'cannot grow', lambda: calls.expand(m.volume_id, 2 * GIB)),
            (Code.INVALID_ARGUMENT, 'nothing of its own', lambda: calls.snapshot('snapshot-2', m.volume_id)),
            (Code.INVALID_ARGUMENT, 'nothing of its own', lambda: calls.create(
                'pv-3', volume_content_source=of_volume(m.volume_id))),
            (Code.ALREADY_EXISTS, 'a volume of its own is asked', lambda: calls.create('pv-2', volume_content_source=of_snapshot(s))),
            (Code.INVALID_ARGUMENT, 'ReadOnlyMany', lambda: Volume(cephfs, work, m).stage()),
            (Code.INVALID_ARGUMENT, 'ReadOnlyMany', lambda: calls.create(
                'pv-4', volume_content_source=of_snapshot(s), parameters=class_of(backingSnapshot='true')))):
        with fails(code, text):
            call()
    assert not calls.validate(m.volume_id, cephfs_driver.SHARED).confirmed.volume_capabilities
    assert calls.validate(m.volume_id, ROX).confirmed.volume_capabilities
    view = Volume(cephfs, work, m, ROX)
    view.up()
    view.cap = cephfs_driver.SHARED
    with fails(Code.FAILED_PRECONDITION, 'MULTI_NODE_READER_ONLY'):
        view.publish('writing')
    view.down()
    copy = calls.restored('pv-5', s, caps=[ROX], parameters=class_of(backingSnapshot='false'))
    assert copy.volume_context['subvolumeName'] in fs_journal.subvolumes(cephfs.ceph)
    v.down()
    for volume_id in m.volume_id, copy.volume_id, v.id:
        calls.delete(volume_id)
    calls.delete_snapshot(s)


def test_a_deleted_snapshot_stays_for_it(cephfs, fs_ceph, work):
    """And a volume that is deleted stays for that; all of it goes with the last that shows it. Nodes need caps without a path for
    that: what is left of a deleted volume is in no directory that a path would name."""
    calls, node = cephfs.calls, fs_ceph.fs_secrets('fs-node')
    secrets = {'userID': node['userID'], 'userKey': node['userKey']}
    v = filled(cephfs, work, 'before')
    s = cut(cephfs, v)
    one, two = (Volume(cephfs, work, shown(calls, f'pv-{n}', s), ROX) for n in (2, 3))
    one.stage(secrets=secrets)
    place = one.publish()
    v.down()
    calls.delete_snapshot(s)
    calls.delete_snapshot(s)
    calls.delete(v.id)
    with fails(Code.NOT_FOUND, 'deleted'):
        shown(calls, 'pv-4', s)
    assert shown(calls, 'pv-2', s).volume_id == one.id
    two.stage(secrets=secrets)
    assert (two.publish() / 'file').read_text() == (place / 'file').read_text() == 'before'
    one.down()
    calls.delete(one.id)
    assert len(fs_journal.snapshots(fs_ceph, subvolume_of(v.id))) == 1
    two.down()
    calls.delete(two.id)
    calls.delete(two.id)
    assert not fs_journal.left(fs_ceph)


def test_its_mount_outlives_the_agent(cephfs, work):
    v = filled(cephfs, work, 'before')
    view = Volume(cephfs, work, shown(cephfs.calls, 'pv-2', cut(cephfs, v)), ROX)
    place = view.up()
    servers = cephfs_driver.servers_of(view.id)
    assert len(servers) == 1
    cephfs.kill()
    assert (place / 'file').read_text() == 'before'
    cephfs.start()
    view.up()
    assert cephfs_driver.servers_of(view.id) == servers
    view.down()
    v.down()
    cephfs_driver.wait_ended(view.id)
    cephfs.calls.delete(view.id)
    cephfs.calls.delete(v.id)
    cephfs.calls.delete_snapshot(view.context['backingSnapshotID'])


def test_one_whose_server_dies(cephfs, fs_ceph, work):
    v = filled(cephfs, work, 'before')
    view = Volume(cephfs, work, shown(cephfs.calls, 'pv-2', cut(cephfs, v)), ROX)
    place = view.up()
    cephfs_driver.kill_client(fs_ceph, view.id)
    with pytest.raises(OSError):
        (place / 'file').read_text()
    view.down()
    assert (view.up() / 'file').read_text() == 'before'
    view.down()
    v.down()
    for volume_id in view.id, v.id:
        cephfs_driver.wait_ended(volume_id)
        cephfs.calls.delete(volume_id)
    cephfs.calls.delete_snapshot(view.context['backingSnapshotID'])


# --- what ceph-csi made, and made for it

@contextlib.contextmanager
def dead_mount(path, token):
    """What a ceph-fuse leaves that was killed while the mount(8) that it runs waits for it: that has its end of /dev/fuse, too."""
    fuse = os.open('/dev/fuse', os.O_RDWR)
    options = f'fd={fuse},rootmode=40000,user_id=0,group_id=0'.encode()
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        assert libc.mount(token.encode(), str(path).encode(), b'fuse.cleat-cephfs', 0, options) == 0, os.strerror(ctypes.get_errno())
        waiting = subprocess.Popen(['stat', '-f', str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until('it waits', lambda: pathlib.Path(f'/proc/{waiting.pid}/stat').read_text().split(') ')[1][0] == 'D', 10)
        yield waiting
    finally:
        os.close(fuse)  # the kernel sees now what it was not told
        waiting.wait(10)


@pytest.mark.parametrize('what', ('stage', 'unstage'))
def test_a_server_that_was_killed_half_way_keeps_nobody(cephfs, work, what):
    made = cephfs.calls.create('pv', GIB)
    s = cephfs.calls.snapshot('snapshot', made.volume_id).snapshot_id
    v = Volume(cephfs, work, shown(cephfs.calls, 'pv-w', s), ROX)
    if what == 'unstage':
        v.stage()
    inside = cephfs.dir / v.id / 'inside'
    inside.mkdir(parents=True)
    with dead_mount(inside, v.id) as waiting:
        if what == 'stage':
            v.stage()
        v.down()
        assert waiting.wait(10) != 0
    assert not inside.exists()
    cephfs_driver.wait_ended(v.id)
    for volume_id in v.id, made.volume_id:
        cephfs.calls.delete(volume_id)
    cephfs.calls.delete_snapshot(s)


def test_what_ceph_csi_made_is_taken_over(cephfs, fs_ceph, work):
    """Its volume's context does not say which snapshot it shows. One of ours beside it, of the same references."""
    calls = cephfs.calls
    with fs_journal.opened(fs_ceph) as io:
        csi = fs_journal.CephCsi(fs_ceph, io)
        source = csi.volume('pv-1')
        context = csi.context(source)
        v = Volume(cephfs, work, type('Made', (), {'volume_id': source, 'volume_context': context}))
        (v.up() / 'file').write_text('theirs')
        v.down()
        s = csi.snapshot('snapshot-1', source)
        theirs = csi.shallow('pv-2', s)
        context = csi.shallow_context(theirs, source)
    made = shown(calls, 'pv-2', s)
    assert made.volume_id == theirs
    assert {key: made.volume_context[key] for key in context} == context
    view = Volume(cephfs, work, type('Made', (), {'volume_id': theirs, 'volume_context': context}), ROX)
    assert (view.up() / 'file').read_text() == 'theirs'
    view.down()
    ours = shown(calls, 'pv-3', s).volume_id
    with fs_journal.opened(fs_ceph) as io:
        third = fs_journal.CephCsi(fs_ceph, io).shallow('pv-4', s)
    calls.delete_snapshot(s)
    for volume_id in theirs, ours:
        calls.delete(volume_id)
    (data, _, keys), = fs_journal.references(fs_ceph).values()
    assert (data, keys) == (b'\0\0\0\1', {s: b'\2', subvolume_of(third): b'\1'})
    calls.delete(third)
    calls.delete(source)


def test_what_is_made_is_what_ceph_csi_makes(cephfs, fs_ceph):
    """Byte by byte, but for what is random."""
    def as_pattern(volume, view, snapshot):
        def plain(text):
            for handle, letter in (volume, 'V'), (view, 'W'), (snapshot, 'S'):
                text = text.replace(handle[-36:], letter)
            return text
        entries = {plain(name): {plain(key): plain(value) for key, value in keys.items()}
                   for name, keys in fs_journal.theirs(fs_ceph).items()}
        references = {plain(name): (data, attributes, {plain(key): value for key, value in keys.items()})
                      for name, (data, attributes, keys) in fs_journal.references(fs_ceph).items()}
        return entries, references

    calls = cephfs.calls
    with fs_journal.opened(fs_ceph) as io:
        csi = fs_journal.CephCsi(fs_ceph, io)
        source = csi.volume('pv-1')
        snap = csi.snapshot('snapshot-1', source)
        theirs = csi.shallow('pv-2', snap)
    wanted = as_pattern(source, theirs, snap)
    for volume_id in theirs, source:
        calls.delete(volume_id)
    calls.delete_snapshot(snap)
    v = calls.create('pv-1').volume_id
    s = calls.snapshot('snapshot-1', v).snapshot_id
    view = shown(calls, 'pv-2', s).volume_id
    assert as_pattern(v, view, s) == wanted
    for volume_id in view, v:
        calls.delete(volume_id)
    calls.delete_snapshot(s)
