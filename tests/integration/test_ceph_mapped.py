# SPDX-License-Identifier: Apache-2.0
"""The second of two sites: PVs that were restored there name the first one's cluster and pool, or filesystem, and ceph-csi's
cluster-mapping.json leads from these to the mirrors. Images and entries are laid down as rbd-mirror and that program's controller
leave them."""
import contextlib
import json
import os

import cephfs_driver
import cluster
import pytest
from ceph_driver import Driver, class_of, pool_of, settled, snapshot_class_of, wait_nothing_left, wipe
from harness import GIB, MIB, Code, block_cap, fails, mount_cap

journal = pytest.importorskip('journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
SITE1, MIRROR, BYTES = 'site1', 'mirror', b'what the first site wrote' * 1000


class Config:
    """A directory as a pod has the ConfigMap, whose files are other ones when they change."""

    def __init__(self, directory):
        self.dir = directory
        directory.mkdir()

    def write(self, name, content):
        (self.dir / 'new').write_text(content if isinstance(content, str) else json.dumps(content))
        (self.dir / 'new').rename(self.dir / name)

    def clusters(self, **monitors):
        self.write('config.json', [{'clusterID': name, 'monitors': at} for name, at in monitors.items()])

    def map(self, **numbers):
        self.write('cluster-mapping.json', [{'clusterIDMapping': {SITE1: cluster.CLUSTER_ID}, **{
            key: [{str(one): str(other) for one, other in pairs.items()}] for key, pairs in numbers.items()}}])


def named_there(handle, number):
    """What the first site calls it."""
    return f'0001-{len(SITE1):04x}-{SITE1}-{number:016x}-{handle[-36:]}'


@pytest.fixture
def config(work, ceph):
    c = Config(work / 'config')
    c.clusters(**{cluster.CLUSTER_ID: ceph.monitors})
    return c


@pytest.fixture(scope='module')
def mirror(ceph):
    ceph.make_pool(MIRROR)
    yield
    ceph.remove_pool(MIRROR)


@pytest.fixture
def io(ceph, mirror):
    with pool_of(ceph, MIRROR) as opened:
        try:
            yield opened
            wait_nothing_left(ceph, journal, pool=MIRROR)
        except BaseException:
            wipe(ceph, journal, MIRROR)
            raise


@pytest.fixture
def driver(work, ceph, config):
    d = Driver(work, ceph, config_dir=config.dir).start()
    try:
        yield d
        d.stop()
    finally:
        d.end()


@contextlib.contextmanager
def first_site(monitors_of):
    """A cluster of its own, and ceph-csi in its pool."""
    with cluster.opened() as there, pool_of(there) as io:
        monitors_of.append(there.monitors)
        yield there, journal.CephCsi(io, cluster_id=SITE1)


def write(io, image, content):
    with journal.rbd.Image(io, image) as opened:
        opened.write(content, 0)


def staged_bytes(calls, volume_id, work, context, cap):
    """What a pod reads of it, as a raw device."""
    staging, target = work / 'staging', work / 'target'
    staging.mkdir(exist_ok=True)
    calls.stage(volume_id, str(staging), cap, volume_context=context)
    try:
        calls.publish(volume_id, str(staging), str(target), cap, volume_context=context)
        with open(target, 'rb') as device:
            found = device.read(len(BYTES))
        calls.unpublish(volume_id, str(target))
    finally:
        calls.unstage(volume_id, str(staging))
    return found


def test_the_first_site_is_lost(work, ceph, config, driver, io):
    """Its image is in its own pool and, mirrored, in ours; it goes on here by the handle that it had."""
    calls, known = driver.calls, []
    with first_site(known) as (there, csi):
        v = csi.volume('pv-1', 64 * MIB)
        image = csi.image_of('volume', v)
        write(csi.io, image, BYTES)
        here = journal.CephCsi(io)
        here.mirrored(csi, v)
        number = csi.io.get_pool_id()
        with fails(Code.FAILED_PRECONDITION, f"clusterID '{SITE1}'"):
            calls.validate(v)
        config.map(RBDPoolIDMapping={number: io.get_pool_id()})
        for call in calls.validate, calls.delete:  # nothing is taken for gone
            with fails(Code.FAILED_PRECONDITION, f'{MIRROR}/{image}', 'the journal has no entry of it'):
                call(v)
        here.regenerated('pv-1', v)
        calls.validate(v)
        # with both in config.json its own cluster is asked, and is not taken for one that has no such volume
        config.clusters(**{cluster.CLUSTER_ID: ceph.monitors, SITE1: there.monitors})
        with fails(Code.UNAUTHENTICATED, SITE1, 'take it out of config.json'):
            calls.validate(v)
        with fails(Code.UNAUTHENTICATED, SITE1):
            calls.delete(v)
    with fails(Code.UNAVAILABLE, SITE1, 'take it out of config.json'):
        calls.validate(v)
    assert image in journal.images(io)
    config.clusters(**{cluster.CLUSTER_ID: ceph.monitors})
    context = {'clusterID': SITE1, 'pool': 'rbd', 'imageName': image, 'journalPool': 'rbd'}
    if not os.path.exists('/sys/bus/rbd'):  # the kernel's client could not reach a cluster of the loopback's
        assert staged_bytes(calls, v, work, context, block_cap()) == BYTES
    assert calls.expand(v, 128 * MIB).capacity_bytes == 128 * MIB
    settled(calls.delete, v)
    calls.delete(v)


def test_all_that_is_done_with_it(ceph, config, driver, io):
    """Snapshots, restores, clones, growth, deletions; of what both sites have named."""
    calls, csi, number = driver.calls, journal.CephCsi(io), 1000
    config.map(RBDPoolIDMapping={number: io.get_pool_id()})
    v, parameters = csi.volume('pv-1'), class_of(pool=MIRROR)
    s, away = named_there(csi.snapshot('snapshot-1', v), number), named_there(v, number)
    own = calls.snapshot('snapshot-2', away)
    assert own.source_volume_id == away and own.snapshot_id.startswith(csi.handle(''))
    assert calls.snapshot('snapshot-2', away).snapshot_id == own.snapshot_id
    with fails(Code.INVALID_ARGUMENT, f"clusterID: '{SITE1}' is asked"):
        calls.snapshot('snapshot-3', away, parameters=snapshot_class_of(clusterID=SITE1))
    made = [calls.restore('pv-2', s, GIB, parameters=parameters).volume_id,
            calls.restore('pv-3', own.snapshot_id, GIB, parameters=parameters).volume_id,
            calls.clone('pv-4', away, GIB, parameters=parameters).volume_id]
    assert all(handle.startswith(csi.handle('')) for handle in made)
    assert calls.expand(away, 2 * GIB).capacity_bytes == 2 * GIB
    for volume_id in *made, away:
        settled(calls.delete, volume_id)
    for snapshot_id in s, own.snapshot_id:
        settled(calls.delete_snapshot, snapshot_id)
        calls.delete_snapshot(snapshot_id)


def test_a_mapping_that_is_torn(ceph, config, driver, io):
    calls, csi, number = driver.calls, journal.CephCsi(io), 1000
    config.write('cluster-mapping.json', '[{"clusterIDMapping":')
    v = csi.volume('pv-1')
    calls.validate(v)
    with fails(Code.FAILED_PRECONDITION, 'cluster-mapping.json', 'byte'):
        calls.validate(named_there(v, number))
    config.map(RBDPoolIDMapping={number: io.get_pool_id()})
    calls.validate(named_there(v, number))
    config.write('cluster-mapping.json', '[{"clusterIDMapping":')
    calls.validate(named_there(v, number))  # as it was before
    config.write('cluster-mapping.json', [{'clusterIDMapping': {SITE1: 'site3'}, 'RBDPoolIDMapping': [{str(number): '1'}]}])
    with fails(Code.FAILED_PRECONDITION, "'site3'", 'config.json has not either'):
        calls.delete(named_there(v, number))
    calls.delete(v)


def test_a_filesystem_of_the_other_site(work, fs_ceph, cephfs):
    """A driver beside the one that made it, whose files lead to it; on a node by ceph-fuse or the kernel."""
    config = Config(work / 'config')
    config.clusters(**{cluster.CLUSTER_ID: fs_ceph.monitors})
    made = cephfs.calls.create('pv-1', 64 * MIB)
    v = named_there(made.volume_id, 77)
    cephfs.stop()
    second = cephfs_driver.Driver(work, fs_ceph, config_dir=config.dir).start()
    try:
        with fails(Code.FAILED_PRECONDITION, SITE1):
            second.calls.expand(v, 128 * MIB)
        config.map(CephFSFscIDMapping={77: int(made.volume_id[-53:-37], 16)})
        assert second.calls.expand(v, 128 * MIB).capacity_bytes == 128 * MIB
        s = second.calls.snapshot('snapshot-1', v)
        assert s.source_volume_id == v
        restored = second.calls.restored('pv-2', s.snapshot_id, 128 * MIB)
        staging = work / 'staging'
        staging.mkdir()
        cap = mount_cap(mode=cephfs_driver.Mode.MULTI_NODE_MULTI_WRITER)
        second.calls.stage(v, str(staging), cap, volume_context=dict(made.volume_context))
        second.calls.unstage(v, str(staging))
        for volume_id in restored.volume_id, v:
            second.calls.delete(volume_id)
        second.calls.delete_snapshot(named_there(s.snapshot_id, 77))
    finally:
        second.end()
    cephfs.start()
