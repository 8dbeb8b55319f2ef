# SPDX-License-Identifier: Apache-2.0
"""Cleat and ceph-csi on one pool. What ceph-csi made (tests/ceph/journal.py lays it down as its release 3.12 does) is snapshotted,
cloned, grown and deleted by cleat; what cleat makes has the same objects, keys and image layout, so that ceph-csi can do the
same with it."""
import re
import uuid

import grpc
import pytest
from ceph_driver import HANDLE, class_of, pool_of, settled, snapshot_class_of
from harness import GIB, MIB, Code, fails

journal = pytest.importorskip('journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
FEATURES = 'layering,exclusive-lock,object-map,fast-diff,deep-flatten'


@pytest.fixture
def io(ceph):
    with pool_of(ceph) as opened:
        yield opened


@pytest.fixture
def csi(io):
    return journal.CephCsi(io)


def shape(io):
    """The pool's journal and images, with each UUID and image id by what it belongs to: two pools in which the same was done
    have the same shape. Names of trashed snapshots are librbd's own and random."""
    words = {}
    for name, keys in journal.objects(io).items():
        made = name.rpartition('.')[2] if len(name) < 36 else name[-36:]
        if 'csi.imagename' in keys:
            of = keys.get('csi.volname') or keys.get('csi.snapname')
            words[made] = f'<{of}>'
            words[keys['csi.imageid']] = f'<id of {of}>'

    def plain(value):
        if isinstance(value, dict):
            return {plain(key): plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        if not isinstance(value, str):
            return value
        for uuid_or_id, word in words.items():
            value = value.replace(uuid_or_id, word)
        return re.sub(r'^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', '<trashed>', value)

    found = {name: {**image, 'id': None, 'metadata': None, 'snapshots': sorted(
        ('<trashed>' if kind == journal.TRASHED else plain(snap), kind) for snap, kind in image['snapshots'].items())}
        for name, image in journal.images(io).items()}
    return plain({'journal': journal.objects(io), 'images': found})


def clear(rbd, *volumes, snapshots=()):
    for volume_id in volumes:
        settled(rbd.calls.delete, volume_id)
    for snapshot_id in snapshots:
        settled(rbd.calls.delete_snapshot, snapshot_id)


def test_the_same_key_by_key(rbd, ceph, io, csi):
    """A volume, its snapshot, what is restored of that, and a clone: by ceph-csi, then by cleat in the emptied pool."""
    def make(volume, snapshot, restored, cloned):
        v = volume('pv-t-000')
        s = snapshot('snapshot-t-000', v)
        return s, (restored('pv-rest-t-000', s), cloned('pv-clone-t-000', v), v)

    s, volumes = make(csi.volume, csi.snapshot, csi.restored, csi.cloned)
    theirs = shape(io)
    clear(rbd, *volumes[:2], snapshots=[s])
    clear(rbd, volumes[2])
    calls, parameters = rbd.calls, class_of(imageFeatures=FEATURES)
    s, volumes = make(lambda name: calls.create(name, GIB, parameters=parameters).volume_id,
                      lambda name, of: calls.snapshot(name, of).snapshot_id,
                      lambda name, of: calls.restore(name, of, GIB, parameters=parameters).volume_id,
                      lambda name, of: calls.clone(name, of, GIB, parameters=parameters).volume_id)
    ours = shape(io)
    assert ours['journal'] == theirs['journal']
    assert ours['images'] == theirs['images']
    assert all(HANDLE.fullmatch(handle) for handle in (s, *volumes))
    clear(rbd, *volumes[:2], snapshots=[s])
    clear(rbd, volumes[2])


def test_context_and_metadata(rbd, io):
    """What a PV keeps of the class, and what --setmetadata keeps with the image."""
    v = rbd.calls.create('pv-1', GIB, parameters=class_of(imageFeatures=FEATURES))
    image = f'csi-vol-{HANDLE.fullmatch(v.volume_id)[1]}'
    context = dict(v.volume_context)
    assert {key: context.get(key) for key in ('clusterID', 'pool', 'imageFeatures', 'journalPool', 'imageName')} == {
        'clusterID': 'c1', 'pool': 'rbd', 'imageFeatures': FEATURES, 'journalPool': 'rbd', 'imageName': image}
    assert not [key for key in context if key.startswith('csi.storage.k8s.io/')]
    s = rbd.calls.snapshot('snapshot-1', v.volume_id).snapshot_id
    kept = journal.look_at(io, f'csi-snap-{HANDLE.fullmatch(s)[1]}')['metadata']
    assert {key: kept.get(f'csi.storage.k8s.io/{key}') for key in (
        'volumesnapshot/name', 'volumesnapshot/namespace', 'volumesnapshotcontent/name')} == {
        'volumesnapshot/name': 'snap', 'volumesnapshot/namespace': 'ns1', 'volumesnapshotcontent/name': 'content-1'}
    clear(rbd, v.volume_id, snapshots=[s])


def test_adopted(rbd, io, csi):
    """All that ceph-csi left is served by its handle, and goes without a trace."""
    v = csi.volume('pv-t-000')
    s = csi.snapshot('snapshot-t-000', v)
    r, c = csi.restored('pv-rest-t-000', s), csi.cloned('pv-clone-t-000', v)
    calls = rbd.calls
    for volume_id in v, r, c:
        calls.validate(volume_id)
        calls.expand(volume_id, 2 * GIB)
    own = calls.snapshot('snapshot-own', r).snapshot_id
    again = calls.restore('pv-own', s, GIB).volume_id
    copy = calls.clone('pv-own-2', c, 2 * GIB).volume_id
    clear(rbd, v, r, c, again, copy, snapshots=[s, own])


def test_the_same_call_by_the_other(rbd, csi):
    """The CO repeats to cleat what ceph-csi had done: the answer is the same volume and snapshot."""
    v = csi.volume('pv-t-000')
    s = csi.snapshot('snapshot-t-000', v)
    r, c = csi.restored('pv-rest-t-000', s), csi.cloned('pv-clone-t-000', v)
    calls, parameters = rbd.calls, class_of(imageFeatures=FEATURES)
    assert calls.create('pv-t-000', GIB, parameters=parameters).volume_id == v
    assert calls.snapshot('snapshot-t-000', v).snapshot_id == s
    assert calls.restore('pv-rest-t-000', s, GIB, parameters=parameters).volume_id == r
    assert calls.clone('pv-clone-t-000', v, GIB, parameters=parameters).volume_id == c
    clear(rbd, v, r, c, snapshots=[s])


STEPS = ['object', 'directory', 'keys', 'image', 'id']


@pytest.mark.parametrize('step', STEPS)
def test_killed_in_the_middle(rbd, io, step):
    """ceph-csi died after the step of its CreateVolume, and the CO asks cleat. Whatever is there is taken over. Of an object that
    no directory names nobody can tell whose it is, so it is left: ceph-csi's own known leak."""
    made, name = str(uuid.uuid4()), 'pv-half'
    with journal.rados.WriteOpCtx() as op:
        op.new(journal.rados.LIBRADOS_CREATE_EXCLUSIVE)
        io.operate_write_op(op, f'csi.volume.{made}')
    if step != 'object':
        journal.put(io, journal.VOLUMES, {f'csi.volume.{name}': made})
    if step not in ('object', 'directory'):
        journal.put(io, f'csi.volume.{made}', {'csi.volname': name, 'csi.imagename': f'csi-vol-{made}', 'csi.volume.owner': 'ns1'})
    if step in ('image', 'id'):
        journal.rbd.RBD().create(io, f'csi-vol-{made}', 64 * MIB, old_format=False, features=1)
    v = rbd.calls.create(name).volume_id
    assert (HANDLE.fullmatch(v)[1] == made) == (step != 'object')
    assert journal.omap(io, f'csi.volume.{v[-36:]}')['csi.imageid'] == journal.look_at(io, f'csi-vol-{v[-36:]}')['id']
    rbd.calls.delete(v)
    if step == 'object':
        io.remove_object(f'csi.volume.{made}')


@pytest.mark.parametrize('done', ['trash', 'image', 'object'])
def test_deletion_killed_in_the_middle(rbd, io, csi, done):
    """The same of its DeleteVolume: the image is in the trash, or gone, or the object is gone as well."""
    v = csi.volume('pv-1')
    image = csi.image_of('volume', v)
    if done == 'trash':
        journal.rbd.RBD().trash_move(io, image, 0)
    else:
        journal.rbd.RBD().remove(io, image)
    if done == 'object':
        io.remove_object(f'csi.volume.{v[-36:]}')
    rbd.calls.delete(v)
    if done == 'object':
        # The handle has no name in it: only who knows the name can put this right.
        rbd.calls.delete(rbd.calls.create('pv-1').volume_id)


def test_torn_entries(rbd, io):
    """A directory's key whose value is no UUID is told, and neither overwritten nor taken for another's."""
    journal.put(io, journal.VOLUMES, {'csi.volume.pv-torn': 'no UUID'})
    with pytest.raises(grpc.RpcError) as told:
        rbd.calls.create('pv-torn')
    assert 'pv-torn' in told.value.details()
    assert told.value.code() not in (Code.ALREADY_EXISTS, Code.UNAVAILABLE, Code.ABORTED), told.value.details()
    assert journal.omap(io, journal.VOLUMES) == {'csi.volume.pv-torn': 'no UUID'}
    io.remove_object(journal.VOLUMES)


def test_an_object_of_another_name(rbd, io, csi):
    """Two names with one UUID: the second is refused, and the first keeps its image."""
    v = csi.volume('pv-1')
    journal.put(io, journal.VOLUMES, {'csi.volume.pv-2': v[-36:]})
    with pytest.raises(grpc.RpcError) as told:
        rbd.calls.create('pv-2', GIB, parameters=class_of(imageFeatures=FEATURES))
    assert 'pv-2' in told.value.details()
    assert journal.omap(io, f'csi.volume.{v[-36:]}')['csi.volname'] == 'pv-1'
    rbd.calls.validate(v)
    with journal.rados.WriteOpCtx() as op:
        io.remove_omap_keys(op, ('csi.volume.pv-2',))
        io.operate_write_op(op, journal.VOLUMES)
    rbd.calls.delete(v)


def test_without_names_of_claims(rbd, io):
    """No owner without --extra-create-metadata, as ceph-csi has it."""
    bare = {'csi.storage.k8s.io/pvc/name': None, 'csi.storage.k8s.io/pvc/namespace': None, 'csi.storage.k8s.io/pv/name': None}
    v = rbd.calls.create('pv-1', parameters=class_of(**bare)).volume_id
    assert set(journal.omap(io, f'csi.volume.{v[-36:]}')) == {'csi.volname', 'csi.imagename', 'csi.imageid'}
    s = rbd.calls.snapshot('snapshot-1', v, parameters={'clusterID': 'c1'}).snapshot_id
    assert 'csi.volume.owner' not in journal.omap(io, f'csi.snap.{s[-36:]}')
    clear(rbd, v, snapshots=[s])


def test_prefixes(rbd, io):
    v = rbd.calls.create('pv-1', parameters=class_of(volumeNamePrefix='app-')).volume_id
    s = rbd.calls.snapshot('snapshot-1', v, parameters=snapshot_class_of(snapshotNamePrefix='cut-')).snapshot_id
    assert set(journal.images(io)) == {f'app-{v[-36:]}', f'cut-{s[-36:]}'}
    assert journal.omap(io, f'csi.snap.{s[-36:]}')['csi.source'] == f'app-{v[-36:]}'
    clear(rbd, v, snapshots=[s])


def test_ten_thousand_names(rbd, io):
    """Of a directory with so many one key is read: a repeated call is no slower than in an empty pool."""
    import time

    def repeated():
        times = []
        for _ in range(20):
            began = time.monotonic()
            rbd.calls.create('pv-1')
            times.append(time.monotonic() - began)
        return min(times)

    v = rbd.calls.create('pv-1').volume_id
    few = repeated()
    for start in range(0, 10000, 500):
        journal.put(io, journal.VOLUMES, {f'csi.volume.pvc-{n:036}': str(uuid.uuid4()) for n in range(start, start + 500)})
    many = repeated()
    # ceph-csi's scan of them takes 20 ms alone
    assert many < few + 0.01, f'{few * 1000:.1f} ms, then {many * 1000:.1f} ms'
    rbd.calls.delete(v)
    io.remove_object(journal.VOLUMES)


def test_a_snapshot_of_what_is_gone(rbd, csi):
    """Its image was removed by hand: the call says so. The reservation of the snapshot's name stays for a next try."""
    v = csi.volume('pv-1')
    journal.rbd.RBD().remove(csi.io, csi.image_of('volume', v))
    with fails(Code.NOT_FOUND):
        rbd.calls.snapshot('snapshot-1', v)
    rbd.calls.delete(v)
    for name in journal.objects(csi.io):
        if name.startswith('csi.snap'):
            csi.io.remove_object(name)
