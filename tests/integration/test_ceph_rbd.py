# SPDX-License-Identifier: Apache-2.0
"""Images of a real Ceph through the Controller: a volume's life with snapshots, restores and clones, each call again and at
once, what is wrong with a class or a secret, and clusters that come, go and change meanwhile. After each test the pool is as
empty as before: no image, nothing in its trash, no entry of the journal, no other object."""
import itertools
import json
import shutil
import time
import uuid

import cluster
import grpc
import pytest
from ceph_driver import HANDLE, Driver, class_of, pool_of, settled, snapshot_class_of
from harness import GIB, MIB, Code, block_cap, fails, in_threads, mount_cap, wait_until

journal = pytest.importorskip('journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
# Every call of the library ends in 10 s (backend/ceph/conn.h).
ENDS_S = 14


def image_of(volume_id):
    return f'csi-vol-{HANDLE.fullmatch(volume_id)[1]}'


def look(ceph, name):
    with pool_of(ceph) as io:
        return journal.look_at(io, name)


def images(ceph):
    with pool_of(ceph) as io:
        return journal.images(io)


# --- a life

def test_a_life(rbd, ceph):
    """Made, snapshotted, restored larger, cloned, grown and deleted; what is in the pool each time is what was asked for."""
    calls = rbd.calls
    v = calls.create('pv-1', GIB)
    assert v.capacity_bytes == GIB
    assert look(ceph, image_of(v.volume_id)) == {
        'id': look(ceph, image_of(v.volume_id))['id'], 'size': GIB, 'features': 1, 'parent': None, 'snapshots': {},
        'metadata': {'csi.storage.k8s.io/pvc/name': 'data', 'csi.storage.k8s.io/pvc/namespace': 'ns1',
                     'csi.storage.k8s.io/pv/name': 'pv-1'}, 'watchers': []}
    s = calls.snapshot('snapshot-1', v.volume_id)
    assert (s.source_volume_id, s.size_bytes, s.ready_to_use) == (v.volume_id, GIB, True)
    assert abs(s.creation_time.seconds - time.time()) < 300
    r = calls.restore('pv-2', s.snapshot_id, 2 * GIB)
    c = calls.clone('pv-3', v.volume_id, GIB)
    assert (r.capacity_bytes, c.capacity_bytes) == (2 * GIB, GIB)
    assert r.content_source.snapshot.snapshot_id == s.snapshot_id
    assert c.content_source.volume.volume_id == v.volume_id
    grown = calls.expand(v.volume_id, 3 * GIB, volume_capability=mount_cap())
    assert (grown.capacity_bytes, grown.node_expansion_required) == (3 * GIB, True)
    assert [look(ceph, image_of(x.volume_id))['size'] for x in (v, r, c)] == [3 * GIB, 2 * GIB, GIB]
    for x in r, c:
        settled(calls.delete, x.volume_id)
    settled(calls.delete_snapshot, s.snapshot_id)
    settled(calls.delete, v.volume_id)


def test_bytes_go_along(rbd, ceph):
    """What was in the volume when its snapshot was cut is in what is restored, whatever was written since; a clone has what
    there is when it is made."""
    calls = rbd.calls
    v = calls.create('pv-1').volume_id

    def write(text):
        with pool_of(ceph) as io, journal.rbd.Image(io, image_of(v)) as image:
            image.write(text, 4 * MIB - 3)

    def read(volume_id):
        with pool_of(ceph) as io, journal.rbd.Image(io, image_of(volume_id), read_only=True) as image:
            return image.read(4 * MIB - 3, 6)

    write(b'before')
    s = calls.snapshot('snapshot-1', v).snapshot_id
    write(b'after.')
    restored, cloned = calls.restore('pv-2', s).volume_id, calls.clone('pv-3', v).volume_id
    write(b'later.')
    assert (read(restored), read(cloned), read(v)) == (b'before', b'after.', b'later.')
    settled(calls.delete, v)
    assert read(restored) == b'before'
    settled(calls.delete_snapshot, s)
    assert (read(restored), read(cloned)) == (b'before', b'after.')
    settled(calls.delete, restored)
    settled(calls.delete, cloned)


@pytest.mark.parametrize('order', itertools.permutations(('volume', 'snapshot', 'restored')), ids='-'.join)
def test_deleted_in_any_order(rbd, order):
    calls = rbd.calls
    v = calls.create('pv-1').volume_id
    s = calls.snapshot('snapshot-1', v).snapshot_id
    made = {'volume': v, 'snapshot': s, 'restored': calls.restore('pv-2', s).volume_id}
    for what in order:
        settled(calls.delete_snapshot if what == 'snapshot' else calls.delete, made[what])


def test_chains_end(rbd):
    """A clone of a clone of a clone, deleted from its root on."""
    calls, chain = rbd.calls, [rbd.calls.create('pv-0').volume_id]

    def is_cloned(n):
        try:
            chain.append(calls.clone(f'pv-{n}', chain[n - 1]).volume_id)
        except grpc.RpcError as e:
            # the manager is just at it, and the CO asks again
            assert e.code() == grpc.StatusCode.ABORTED and 'flattened' in e.details(), f'{e.code()}: {e.details()}'
            return False
        return True

    for n in range(1, 6):
        wait_until('it is cloned', lambda n=n: is_cloned(n), 20)
    for volume_id in chain:
        settled(calls.delete, volume_id)


# --- again, and at once

def test_each_call_ten_times(rbd, ceph):
    calls = rbd.calls

    def ten(call):
        answers = [call() for _ in range(10)]
        assert all(answer == answers[0] for answer in answers)
        return answers[0]

    v = ten(lambda: calls.create('pv-1')).volume_id
    s = ten(lambda: calls.snapshot('snapshot-1', v)).snapshot_id
    r = ten(lambda: calls.restore('pv-2', s)).volume_id
    c = ten(lambda: calls.clone('pv-3', v)).volume_id
    assert len([name for name in images(ceph) if not name.endswith('-temp')]) == 4
    ten(lambda: calls.expand(v, GIB))
    for volume_id in r, c:
        ten(lambda: settled(calls.delete, volume_id))
    ten(lambda: settled(calls.delete_snapshot, s))
    ten(lambda: settled(calls.delete, v))


def test_one_name_at_once_is_one_image(rbd, ceph):
    """By two drivers, which know nothing of each other: the journal is what decides."""
    (rbd.dir / 'other').mkdir()
    other = Driver(rbd.dir / 'other', ceph).start()
    try:
        made = set()

        def create(calls):
            try:
                made.add(calls.create('pv-1').volume_id)
            except grpc.RpcError as e:
                assert e.code() == Code.ABORTED, e.details()

        for answer in in_threads(*[lambda: create(rbd.calls), lambda: create(other.calls)] * 8):
            assert not isinstance(answer, Exception), answer
        made |= {rbd.calls.create('pv-1').volume_id, other.calls.create('pv-1').volume_id}
        assert len(made) == 1
        assert list(images(ceph)) == [image_of(made.pop())]
        settled(rbd.calls.delete, other.calls.create('pv-1').volume_id)
        other.stop()
    finally:
        other.end()


def test_a_name_for_something_else(rbd):
    calls = rbd.calls
    v = calls.create('pv-1', GIB).volume_id
    with fails(Code.ALREADY_EXISTS, 'pv-1'):
        calls.create('pv-1', 2 * GIB)
    other = calls.create('pv-2', GIB).volume_id
    s = calls.snapshot('snapshot-1', v).snapshot_id
    with fails(Code.ALREADY_EXISTS, 'snapshot-1'):
        calls.snapshot('snapshot-1', other)
    settled(calls.delete_snapshot, s)
    settled(calls.delete, v)
    settled(calls.delete, other)


def test_many_at_once(rbd, ceph):
    made = in_threads(*[lambda n=n: rbd.calls.create(f'pv-{n}', 64 * MIB).volume_id for n in range(24)])
    assert len(set(made)) == 24, made
    assert set(images(ceph)) == {image_of(volume_id) for volume_id in made}
    for answer in in_threads(*[lambda v=v: settled(rbd.calls.delete, v) for v in made]):
        assert not isinstance(answer, Exception), answer


def test_a_controller_alone(ceph, work):
    """As the Deployment of ceph-csi's chart runs it: no node's service, nothing kept on this machine."""
    d = Driver(work, ceph, '--controllerserver').start()
    try:
        settled(d.calls.delete, d.calls.create('pv-1').volume_id)
        with fails(Code.UNIMPLEMENTED):
            d.calls.stage('0001-0002-c1-0000000000000001-11111111-2222-3333-4444-555555555555', work / 'staging')
        d.stop()
    finally:
        d.end()


# --- what bad input gets

WRONG_CLASS = {
    'no cluster': ({'clusterID': None}, Code.INVALID_ARGUMENT, ['clusterID']),
    'unknown cluster': ({'clusterID': 'c9'}, None, ['c9']),
    'no pool': ({'pool': None}, Code.INVALID_ARGUMENT, ['pool']),
    'missing pool': ({'pool': 'nowhere'}, None, ['nowhere']),
    'unknown feature': ({'imageFeatures': 'layering,magic'}, Code.INVALID_ARGUMENT, ['magic']),
    'feature without what it needs': ({'imageFeatures': 'layering,object-map'}, Code.INVALID_ARGUMENT, ['exclusive-lock']),
    'unknown parameter': ({'imageFeature': 'layering'}, Code.INVALID_ARGUMENT, ["'imageFeature'"]),
    'not done here': ({'integrityMode': 'aead'}, Code.INVALID_ARGUMENT, ['integrityMode']),
    'no passphrase': ({'encrypted': 'true'}, Code.INVALID_ARGUMENT, ['encryptionPassphrase', 'provisioner-secret-name']),
    'a key service': ({'encrypted': 'true', 'encryptionKMSID': 'vault-1'}, Code.INVALID_ARGUMENT, ['encryptionKMSID', 'vault-1']),
    'fscrypt': ({'encrypted': 'true', 'encryptionType': 'file'}, Code.INVALID_ARGUMENT, ['encryptionType', 'fscrypt']),
}


@pytest.mark.parametrize('name', WRONG_CLASS)
def test_a_class_that_is_wrong(rbd, name):
    """In words that name what is wrong, in time, and nothing is left behind."""
    words, code, texts = WRONG_CLASS[name]
    began = time.monotonic()
    try:
        rbd.calls.create('pv-1', parameters=class_of(**words))
    except grpc.RpcError as e:
        assert e.code() in ([code] if code else [Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.NOT_FOUND]), e.details()
        assert all(text in e.details() for text in texts), e.details()
    else:
        raise AssertionError('made')
    assert time.monotonic() - began < ENDS_S


WRONG_SECRETS = {
    'no user': (lambda s: {'userKey': s['userKey']}, Code.INVALID_ARGUMENT, ['userID']),
    'no key': (lambda s: {'userID': s['userID']}, Code.INVALID_ARGUMENT, ['userKey']),
    'unknown user': (lambda s: {**s, 'userID': 'nobody'}, Code.UNAUTHENTICATED, ['nobody', 'c1']),
    'wrong key': (lambda s: {**s, 'userKey': cluster.make_key()}, Code.UNAUTHENTICATED, ['csi-rbd', 'c1']),
    'malformed key': (lambda s: {**s, 'userKey': 'not a key'}, Code.INVALID_ARGUMENT, ["key of user 'csi-rbd'", 'c1']),
}


@pytest.mark.parametrize('name', WRONG_SECRETS)
def test_secrets_that_are_wrong(rbd, name):
    change, code, texts = WRONG_SECRETS[name]
    good = rbd.calls.secrets
    bad = change(good)
    began = time.monotonic()
    with fails(code, *texts):
        rbd.calls.create('pv-1', secrets=bad)
    assert time.monotonic() - began < ENDS_S
    for key in bad['userKey'] if 'userKey' in bad else '', good['userKey']:
        assert not key or key not in rbd.process.text()


def test_a_user_that_may_only_look(rbd, ceph):
    with fails(Code.PERMISSION_DENIED, 'reader'):
        rbd.calls.create('pv-1', secrets=ceph.secrets('reader'))


def test_a_user_that_may_not_ask_the_manager(rbd, ceph):
    """The driver does by itself what it would have had the manager do."""
    rbd.calls.secrets = ceph.secrets('no-manager')
    v = rbd.calls.create('pv-1').volume_id
    s = rbd.calls.snapshot('snapshot-1', v).snapshot_id
    settled(rbd.calls.delete_snapshot, s)
    settled(rbd.calls.delete, v)


def test_keys_are_in_no_place(rbd, ceph):
    """Not in the log, not in the arguments or the environment of the process, not in a file that it has open."""
    v = rbd.calls.create('pv-1').volume_id
    settled(rbd.calls.delete, v)
    key, pid = ceph.secrets()['userKey'].encode(), rbd.process.child.pid
    assert key.decode() not in rbd.process.text()
    for name in 'cmdline', 'environ':
        with open(f'/proc/{pid}/{name}', 'rb') as f:
            assert key not in f.read()
    assert not [p for p in rbd.dir.rglob('*') if p.is_file() and key in p.read_bytes()]


def test_handles_that_are_none(rbd):
    """What cannot be one of ours is not there; what is another cluster's may well be, and is not told to be gone."""
    calls, other = rbd.calls, f'0001-0002-c9-0000000000000001-{uuid.uuid4()}'
    for text in 'nonsense', '0001-0002-c1-1-x', 'pvc-1':
        settled(calls.delete, text)
        settled(calls.delete_snapshot, text)
        with fails(Code.NOT_FOUND):
            calls.validate(text)
    for call in calls.delete, calls.delete_snapshot:
        with pytest.raises(grpc.RpcError) as told:
            call(other)
        assert told.value.code() in (Code.FAILED_PRECONDITION, Code.UNAVAILABLE), told.value.details()
        assert 'c9' in told.value.details()
    gone = f'0001-0002-c1-{1:016x}-{uuid.uuid4()}'
    settled(calls.delete, gone)
    settled(calls.delete_snapshot, gone)
    with fails(Code.NOT_FOUND):
        calls.validate(gone)
    with fails(Code.NOT_FOUND):
        calls.expand(gone, GIB)
    with fails(Code.NOT_FOUND):
        calls.snapshot('snapshot-1', gone)


def test_sizes(rbd, ceph):
    calls = rbd.calls
    with fails(Code.INVALID_ARGUMENT, 'limit_bytes'):
        calls.create('pv-0', 2 * GIB, limit=GIB)
    odd = calls.create('pv-1', 64 * MIB + 1)
    assert odd.capacity_bytes >= 64 * MIB + 1
    assert look(ceph, image_of(odd.volume_id))['size'] == odd.capacity_bytes
    none = calls.create('pv-2', 0)
    assert none.capacity_bytes == look(ceph, image_of(none.volume_id))['size'] > 0
    s = calls.snapshot('snapshot-1', odd.volume_id)
    with fails(Code.OUT_OF_RANGE):
        calls.restore('pv-3', s.snapshot_id, MIB, limit=MIB)
    # smaller than it is: nothing to do
    assert calls.expand(odd.volume_id, MIB).capacity_bytes == odd.capacity_bytes
    settled(calls.delete_snapshot, s.snapshot_id)
    for v in odd, none:
        settled(calls.delete, v.volume_id)


def test_raw_block(rbd):
    v = rbd.calls.create('pv-1', caps=[block_cap()]).volume_id
    assert not rbd.calls.expand(v, GIB, volume_capability=block_cap()).node_expansion_required
    settled(rbd.calls.delete, v)


def test_parameters_are_the_images(rbd, ceph):
    """Features, object size, striping, prefix and where the data are."""
    ceph.make_pool('data')
    try:
        v = rbd.calls.create('pv-1', parameters=class_of(
            imageFeatures='layering,exclusive-lock,object-map,fast-diff,deep-flatten', objectSize=str(MIB),
            volumeNamePrefix='app-', dataPool='data')).volume_id
        name = f'app-{HANDLE.fullmatch(v)[1]}'
        with pool_of(ceph) as io, journal.rbd.Image(io, name, read_only=True) as image:
            assert image.features() & 61 == 61
            assert image.stat()['obj_size'] == MIB
            assert image.data_pool_id() != io.get_pool_id()
        settled(rbd.calls.delete, v)
        with pool_of(ceph) as io:
            wait_until('the image is gone', lambda: not journal.trash(io))
    finally:
        ceph.remove_pool('data')


# --- clusters that change

@pytest.fixture
def config(ceph, work):
    """A directory of its own with config.json; write(clusters) replaces it as kubelet replaces a ConfigMap's."""
    directory = work / 'config'
    directory.mkdir()

    def write(*clusters):
        (directory / 'new').write_text(json.dumps(clusters))
        (directory / 'new').rename(directory / 'config.json')
        return directory

    write({'clusterID': cluster.CLUSTER_ID, 'monitors': ceph.monitors})
    return write


@pytest.fixture
def other_config(work, ceph, config):
    """A driver with that."""
    (work / 'own').mkdir()
    d = Driver(work / 'own', ceph, config_dir=work / 'config').start()
    yield d
    d.end()


def test_clusters_come_and_go(other_config, ceph, config):
    """A pod's ConfigMap changes under it: what it names from now on is served, what it no longer names is not told gone."""
    calls, known = other_config.calls, {'clusterID': cluster.CLUSTER_ID, 'monitors': ceph.monitors}
    with pytest.raises(grpc.RpcError) as told:
        calls.create('pv-1', parameters=class_of(clusterID='c2'))
    assert "'c2'" in told.value.details() and 'c1' in told.value.details()
    config(known, {'clusterID': 'c2', 'monitors': ceph.monitors})

    def made():
        try:
            return calls.create('pv-1', parameters=class_of(clusterID='c2')).volume_id
        except grpc.RpcError:
            return None

    v = wait_until('the new one is served', made)
    config(known)

    def is_refused():
        try:
            calls.validate(v)
        except grpc.RpcError as e:
            assert e.code() != Code.NOT_FOUND, e.details()
            return True
        return False

    wait_until('it is unknown again', is_refused)
    with pytest.raises(grpc.RpcError) as told:
        calls.delete(v)
    assert told.value.code() in (Code.FAILED_PRECONDITION, Code.UNAVAILABLE)
    config(known, {'clusterID': 'c2', 'monitors': ceph.monitors})

    def is_deleted():
        try:
            calls.delete(v)
        except grpc.RpcError:
            return False
        return True

    wait_until('it is served again', is_deleted)


def test_config_that_is_torn(other_config, config, work):
    """What was right before stays in use."""
    settled(other_config.calls.delete, other_config.calls.create('pv-1').volume_id)
    (work / 'config/config.json').write_text('[{"clusterID": "c1", "moni')
    settled(other_config.calls.delete, other_config.calls.create('pv-2').volume_id)


def test_no_config(other_config, work):
    shutil.rmtree(work / 'config')
    other_config.restart()
    with pytest.raises(grpc.RpcError) as told:
        other_config.calls.create('pv-1')
    assert told.value.code() == Code.FAILED_PRECONDITION, told.value.details()
    assert str(work / 'config') in told.value.details()


def test_keys_are_changed(rbd, ceph):
    """A user's key is another from now on; the one of before is let in no more by any new connection."""
    name = f'changing-{uuid.uuid4().hex[:8]}'
    caps = {'mon': 'profile rbd', 'osd': 'profile rbd', 'mgr': 'profile rbd'}
    ceph.make_user(name, **caps)
    rbd.calls.secrets = ceph.secrets(name)
    v = rbd.calls.create('pv-1').volume_id
    ceph.command(prefix='auth rm', entity=f'client.{name}')
    old, rbd.calls.secrets = rbd.calls.secrets, ceph.secrets(name, ceph.make_user(name, **caps))
    settled(rbd.calls.delete, v)
    rbd.restart()
    with fails(Code.UNAUTHENTICATED, name):
        rbd.calls.create('pv-1', secrets=old)


def test_one_dead_cluster_costs_itself(other_config, ceph, config):
    """Nobody is at the second one's address. Its calls end in time, however many there are, and the first one's go on meanwhile
    as if there were no other."""
    calls = other_config.calls
    config({'clusterID': cluster.CLUSTER_ID, 'monitors': ceph.monitors},
           {'clusterID': 'dead', 'monitors': [f'{cluster.free_address()}:6789']})
    settled(calls.delete, calls.create('pv-0').volume_id)

    def ask_dead(n):
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as told:
            calls.create(f'dead-{n}', parameters=class_of(clusterID='dead'))
        assert told.value.code() == Code.UNAVAILABLE, told.value.details()
        assert 'dead' in told.value.details()
        return time.monotonic() - began

    def ask_living():
        slowest = 0
        for n in range(20):
            began = time.monotonic()
            settled(calls.delete, calls.create(f'pv-{n}').volume_id)
            slowest = max(slowest, time.monotonic() - began)
        return slowest

    *dead, slowest = in_threads(*[lambda n=n: ask_dead(n) for n in range(30)], ask_living)
    assert all(not isinstance(answer, Exception) and answer < 2 * ENDS_S for answer in dead), dead
    assert not isinstance(slowest, Exception), slowest
    assert slowest < ENDS_S / 2, f'a volume of the living cluster took {slowest:.1f} s'


def test_images_of_others(rbd, ceph):
    """An image that ceph-csi knows nothing of, and one of another instance's journal, are left alone."""
    with pool_of(ceph) as io:
        journal.rbd.RBD().create(io, 'mine', GIB, old_format=False, features=1)
        journal.put(io, 'csi.volumes.other', {'csi.volume.pv-1': '11111111-2222-3333-4444-555555555555'})
        v = rbd.calls.create('pv-1').volume_id
        assert HANDLE.fullmatch(v)[1] != '11111111-2222-3333-4444-555555555555'
        settled(rbd.calls.delete, v)
        assert 'mine' in journal.rbd.RBD().list(io)
        assert journal.omap(io, 'csi.volumes.other') == {'csi.volume.pv-1': '11111111-2222-3333-4444-555555555555'}
        journal.rbd.RBD().remove(io, 'mine')
        io.remove_object('csi.volumes.other')


def test_a_snapshot_class_of_another_pool_is_no_matter(rbd):
    """A class names the cluster; where the image is its handle says."""
    v = rbd.calls.create('pv-1').volume_id
    s = rbd.calls.snapshot('snapshot-1', v, parameters=snapshot_class_of(snapshotNamePrefix='cut-')).snapshot_id
    settled(rbd.calls.delete_snapshot, s)
    settled(rbd.calls.delete, v)
