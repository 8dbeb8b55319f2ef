# SPDX-License-Identifier: Apache-2.0
"""Snapshots that stay on the image of their volume (snapshotLayout: source): what differs between them, against every byte of the
images; what is made of them, and that nothing is left whatever goes first."""
import random

import grpc
import pytest
from ceph_driver import HANDLE, class_of, pool_of, settled, snapshot_class_of
from harness import MIB, Code, csi, fails

journal = pytest.importorskip('journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
FEATURES = ['layering', 'layering,exclusive-lock,object-map,fast-diff,deep-flatten']
SIZE, BLOCK = 64 * MIB, 4096


@pytest.fixture
def io(ceph):
    with pool_of(ceph) as opened:
        yield opened


def write(io, name, seed):
    """Some blocks here and there, the first and the last among them; some of them zeros, or discarded."""
    dice = random.Random(seed)
    with journal.rbd.Image(io, name) as image:
        for n in range(24):
            at = dice.choice([0, SIZE - BLOCK, dice.randrange(SIZE // BLOCK) * BLOCK])
            if n % 8 == 7:
                image.discard(at, BLOCK)
            else:
                image.write(dice.randbytes(BLOCK) if n % 3 else bytes(BLOCK), at)


def read(io, name, snapshot=None):
    with journal.rbd.Image(io, name, snapshot=snapshot, read_only=True) as image:
        return image.read(0, image.size())


def differing(before, after):
    return [at for at in range(0, len(after), BLOCK) if before[at:at + BLOCK] != after[at:at + BLOCK]]


def told(rbd, base, target, **more):
    metadata, secrets = rbd.calls.metadata, rbd.ceph.secrets()
    if base:
        stream = metadata.GetMetadataDelta(csi.GetMetadataDeltaRequest(base_snapshot_id=base, target_snapshot_id=target,
                                                                       secrets=secrets, **more), timeout=30)
    else:
        stream = metadata.GetMetadataAllocated(csi.GetMetadataAllocatedRequest(snapshot_id=target, secrets=secrets, **more), timeout=30)
    messages = list(stream)
    assert all(message.volume_capacity_bytes == SIZE for message in messages) and messages
    return [(r.byte_offset, r.size_bytes) for message in messages for r in message.block_metadata]


def check(ranges, blocks):
    """Nothing that differs is left out, and ranges are in order and do not touch."""
    covered = {at for start, n in ranges for at in range(start, start + n, BLOCK)}
    assert not set(blocks) - covered
    assert all(end < start for (begin, n), (start, _) in zip(ranges, ranges[1:]) for end in [begin + n])


def image_of(volume_id):
    return f'csi-vol-{HANDLE.fullmatch(volume_id)[1]}'


def snap_of(snapshot_id):
    return f'csi-snap-{HANDLE.fullmatch(snapshot_id)[1]}'


def stay(rbd, name, volume_id):
    return rbd.calls.snapshot(name, volume_id, parameters=snapshot_class_of(snapshotLayout='source')).snapshot_id


@pytest.mark.parametrize('features', FEATURES)
def test_what_differs_is_told(rbd, io, features):
    v = rbd.calls.create('pv-1', SIZE, parameters=class_of(imageFeatures=features)).volume_id
    image, cuts = image_of(v), []
    for n in range(3):
        write(io, image, n)
        cuts.append(stay(rbd, f's-{n}', v))
    write(io, image, 9)
    bytes_of = [read(io, image, snap_of(s)) for s in cuts]
    for n, s in enumerate(cuts):
        ranges = told(rbd, None, s)
        check(ranges, differing(bytes(SIZE), bytes_of[n]))
        for m in range(n):
            between = told(rbd, cuts[m], s)
            check(between, differing(bytes_of[m], bytes_of[n]))
            assert sum(size for _, size in between) < SIZE
        # from some place on, and in small messages: the same
        middle = ranges[len(ranges) // 2][0]
        assert told(rbd, None, s, starting_offset=middle, max_results=1) == [r for r in ranges if r[0] >= middle]
    with pytest.raises(grpc.RpcError) as refused:
        told(rbd, cuts[1], cuts[0])
    assert refused.value.code() == Code.INVALID_ARGUMENT
    own = rbd.calls.snapshot('s-own', v).snapshot_id
    check(told(rbd, None, own), differing(bytes(SIZE), read(io, image)))
    with pytest.raises(grpc.RpcError) as refused:
        told(rbd, cuts[0], own)
    assert refused.value.code() == Code.FAILED_PRECONDITION and 'snapshotLayout: source' in refused.value.details()
    for s in (*cuts, own):
        settled(rbd.calls.delete_snapshot, s)
    settled(rbd.calls.delete, v)


def test_restored_after_its_volume_is_gone(rbd, io):
    v = rbd.calls.create('pv-1', SIZE).volume_id
    image = image_of(v)
    write(io, image, 1)
    s = stay(rbd, 's-1', v)
    before = read(io, image)
    write(io, image, 2)
    first = rbd.calls.restore('pv-first', s, SIZE).volume_id
    settled(rbd.calls.delete, v)
    with fails(Code.NOT_FOUND):
        rbd.calls.validate(v)
    second = rbd.calls.restore('pv-second', s, SIZE).volume_id
    assert read(io, image_of(first)) == read(io, image_of(second)) == before
    check(told(rbd, None, s), differing(bytes(SIZE), before))
    settled(rbd.calls.delete_snapshot, s)
    assert image not in journal.images(io)
    assert read(io, image_of(first)) == before
    for volume_id in first, second:
        settled(rbd.calls.delete, volume_id)


def test_a_snapshot_costs_one_call_of_the_library(rbd, io):
    """It has no image of its own, and the entry says where it is."""
    v = rbd.calls.create('pv-1', SIZE).volume_id
    s = stay(rbd, 's-1', v)
    assert set(journal.images(io)) == {image_of(v)}
    keys = journal.omap(io, f'csi.snap.{s[-36:]}')
    assert keys['cleat.layout'] == 'source' and keys['csi.source'] == image_of(v)
    assert keys['csi.imageid'] == journal.look_at(io, image_of(v))['id']
    assert rbd.calls.snapshot('s-1', v).snapshot_id == s  # whatever the class says now
    settled(rbd.calls.delete_snapshot, s)
    settled(rbd.calls.delete, v)
