# SPDX-License-Identifier: Apache-2.0
"""Snapshots, and volumes made of snapshots and of volumes, with real mounts: what was written is there, and nowhere else."""
import itertools
import json
import os
import random
import subprocess
import threading
import time

import pytest
from harness import (CLEAT, MIB, Code, Volume, block_cap, csi, fails, in_threads, mount_cap, of_snapshot,
                     of_volume, sh, wait_until)
from test_happy import options_at

SIZES = {'ext4': 64 * MIB, 'xfs': 320 * MIB}


def write(v, text):
    """Without fsync: a snapshot has to have it all the same."""
    if v.target.is_block_device():
        with open(v.target, 'r+b', buffering=0) as f:
            f.write(text.encode().ljust(4096, b'\0'))
    else:
        (v.target / 'file').write_text(text)


def read(v):
    if v.target.is_block_device():
        with open(v.target, 'rb') as f:
            return f.read(4096).rstrip(b'\0').decode()
    return (v.target / 'file').read_text()


def room(v):
    if v.target.is_block_device():
        return int(sh('blockdev', '--getsize64', v.target))
    s = os.statvfs(v.target)
    return s.f_blocks * s.f_frsize


def again(v):
    """Down and up, so that nothing is read from a cache."""
    return v.unpublish().unstage().stage().publish()


@pytest.mark.parametrize('cap', [mount_cap('ext4'), mount_cap('xfs'), block_cap()], ids=['ext4', 'xfs', 'block'])
class TestContent:
    def size(self, cap):
        return SIZES.get(cap.mount.fs_type, 16 * MIB)

    def test_a_snapshot_is_the_volume_as_it_was(self, volume, snapshot, cap):
        v = volume(cap=cap, size=self.size(cap)).up()
        write(v, 'before')
        taken = snapshot(v)
        write(v, 'after')
        same = volume(cap=cap, size=0, volume_content_source=of_snapshot(taken)).up()
        assert read(same) == 'before'
        write(same, 'other')
        assert read(again(same)) == 'other'
        assert read(again(v)) == 'after'
        third = volume(cap=cap, size=0, volume_content_source=of_snapshot(taken)).up()
        assert read(third) == 'before'

    def test_a_clone_is_the_volume_as_it_is(self, volume, cap):
        v = volume(cap=cap, size=self.size(cap)).up()
        write(v, 'before')
        clone = volume(cap=cap, size=0, volume_content_source=of_volume(v.id)).up()
        assert read(clone) == 'before'
        write(v, 'after')
        write(clone, 'other')
        assert (read(again(v)), read(again(clone))) == ('after', 'other')

    def test_a_copy_may_be_larger_and_never_smaller(self, driver, volume, snapshot, cap):
        size = self.size(cap)
        v = volume(cap=cap, size=size).up()
        write(v, 'before')
        taken = snapshot(v)
        for source, name in [(of_snapshot(taken), taken), (of_volume(v.id), v.id)]:
            larger = volume(cap=cap, size=size + 64 * MIB, volume_content_source=source).up()
            assert read(larger) == 'before'
            assert room(larger) - room(v) > 32 * MIB
            made = driver.calls.controller.ControllerGetVolume(csi.ControllerGetVolumeRequest(volume_id=larger.id)).volume
            assert made.capacity_bytes == size + 64 * MIB
            for words in [{'size': size - 4096}, {'size': 0, 'limit': size - 1}]:
                with fails(Code.OUT_OF_RANGE, name, 'less than the source has'):
                    driver.calls.create('small', caps=[cap], volume_content_source=source, **words)
        assert len(driver.calls.volumes()) == 3

    def test_each_lives_without_the_others(self, driver, pool, volume, work, cap):
        """Deleted in every order; what is left is whole each time."""
        orders = list(itertools.permutations(range(4)))
        for order in orders if cap.HasField('block') else random.Random(8).sample(orders, 3):
            v = volume(cap=cap, size=self.size(cap)).up()
            write(v, 'v')
            taken = driver.calls.snapshot(f's-{v.name}', v.id).snapshot_id
            copies = [volume(cap=cap, size=0, volume_content_source=s).up() for s in (of_snapshot(taken), of_volume(v.id))]
            for i, c in enumerate(copies):
                assert read(c) == 'v'
                write(c, f'copy {i}')
            things = [(v, 'v'), *((c, f'copy {i}') for i, c in enumerate(copies)), None]
            for i in order:
                if things[i]:
                    assert read(again(things[i][0])) == things[i][1]
                    things[i][0].down()
                else:
                    driver.calls.delete_snapshot(taken)
            assert (driver.calls.volumes(), driver.calls.snapshots()) == ([], [])
            assert (pool.files(), pool.snapshots()) == ([], [])

    def test_a_driver_killed_between_all_steps(self, driver, volume, snapshot, cap):
        v = volume(cap=cap, size=self.size(cap)).up()
        write(v, 'before')
        driver.restart()
        taken = driver.calls.snapshot('kept', v.id)
        driver.restart()
        assert driver.calls.snapshot('kept', v.id) == taken
        write(v, 'after')
        driver.restart()
        copy = volume(cap=cap, size=0, volume_content_source=of_snapshot(taken.snapshot_id)).create()
        driver.restart()
        assert copy.create().id == copy.id
        for step in (v.unpublish, v.unstage, v.delete, copy.stage, copy.publish):
            step()
            driver.restart()
        assert read(copy) == 'before'
        listed, = driver.calls.snapshots()
        assert listed == taken
        driver.calls.delete_snapshot(taken.snapshot_id)
        driver.restart()
        assert driver.calls.snapshots() == []
        # the answer is the same, though its source is gone
        assert driver.calls.create(copy.name, size=0, caps=[cap], volume_content_source=of_snapshot(
            taken.snapshot_id)).volume_id == copy.id
        assert read(again(copy)) == 'before'


def test_an_xfs_and_its_copies_are_mounted_at_once(volume, snapshot):
    cap = mount_cap('xfs', flags=['noatime'])
    v = volume(cap=cap, size=SIZES['xfs']).up()
    write(v, 'v')
    taken = snapshot(v)
    copies = [volume(cap=cap, size=0, volume_content_source=s).up() for s in (
        of_snapshot(taken), of_snapshot(taken), of_volume(v.id))]
    assert 'nouuid' not in options_at(v.target)
    for c in copies:
        assert {'nouuid', 'noatime'} <= set(options_at(c.target))
        assert read(c) == 'v'
    assert len({sh('blkid', '-o', 'value', '-s', 'UUID', '-p', sh('findmnt', '-n', '-o', 'SOURCE', x.staging).strip())
                for x in (v, *copies)}) == 1
    # in any order, also the first one while its copies are mounted
    again(v)
    again(copies[0])
    assert 'nouuid' not in options_at(v.target)
    # a copy of a copy
    grandchild = volume(cap=cap, size=0, volume_content_source=of_volume(copies[1].id)).up()
    assert read(grandchild) == 'v'


def test_a_copy_takes_its_sources_filesystem_unless_told(driver, volume, snapshot):
    v = volume(cap=mount_cap('xfs'), size=SIZES['xfs']).up()
    write(v, 'v')
    taken = snapshot(v)
    copy = volume(cap=mount_cap(), size=0, volume_content_source=of_snapshot(taken)).up()
    assert read(copy) == 'v'
    for cap, words in [(mount_cap('ext4'), ['ext4', 'ask for xfs']), (block_cap(), ['block access', 'ask for mount access'])]:
        with fails(Code.INVALID_ARGUMENT, taken, *words):
            driver.calls.create('other', size=0, caps=[cap], volume_content_source=of_snapshot(taken))
    raw = volume(cap=block_cap(), size=16 * MIB).create()
    with fails(Code.INVALID_ARGUMENT, raw.id, 'ask for block access'):
        driver.calls.create('other', size=0, volume_content_source=of_volume(raw.id))


def test_the_source_is_told_everywhere(driver, volume, snapshot):
    v = volume(size=16 * MIB).create()
    taken = snapshot(v)
    for source in (of_snapshot(taken), of_volume(v.id)):
        made = volume(size=0, volume_content_source=source).create()
        for told in (driver.calls.create(made.name, size=0, volume_content_source=source),
                     driver.calls.controller.ControllerGetVolume(csi.ControllerGetVolumeRequest(volume_id=made.id)).volume,
                     next(x for x in driver.calls.volumes() if x.volume_id == made.id)):
            assert told.content_source == source
        for other in (None, of_volume(made.id)):
            with fails(Code.ALREADY_EXISTS, made.name):
                driver.calls.create(made.name, size=0 if other else 16 * MIB, volume_content_source=other)
    plain, = (x for x in driver.calls.volumes() if x.volume_id == v.id)
    assert not plain.HasField('content_source')


def test_a_copy_stays_where_its_source_is(driver, volume, snapshot):
    v = volume(size=16 * MIB).create()
    taken = snapshot(v)
    elsewhere = csi.TopologyRequirement(requisite=[csi.Topology(segments={f'pool.cleat.csi/{"0" * 32}': 'here'})])
    with fails(Code.RESOURCE_EXHAUSTED, taken, "on node 'n1'"):
        driver.calls.create('other', size=0, volume_content_source=of_snapshot(taken), accessibility_requirements=elsewhere)
    node = driver.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology
    made = volume(size=0, volume_content_source=of_snapshot(taken), accessibility_requirements=csi.TopologyRequirement(
        requisite=[node])).create()
    assert made.id


def test_lists_are_in_pages_and_by_what_is_asked(driver, volume, snapshot):
    one, two = volume(size=16 * MIB).create(), volume(size=16 * MIB).create()
    ids = sorted(snapshot(one) for _ in range(5))
    other = snapshot(two)
    assert sorted(s.snapshot_id for s in driver.calls.snapshots()) == sorted([*ids, other])
    assert [s.snapshot_id for s in driver.calls.snapshots(source_volume_id=one.id, max_entries=2)] == ids
    assert [s.snapshot_id for s in driver.calls.snapshots(snapshot_id=other)] == [other]
    assert driver.calls.snapshots(snapshot_id=other, source_volume_id=one.id) == []
    page = driver.calls.controller.ListSnapshots(csi.ListSnapshotsRequest(max_entries=4))
    assert len(page.entries) == 4 and page.next_token
    rest = driver.calls.controller.ListSnapshots(csi.ListSnapshotsRequest(starting_token=page.next_token))
    assert len(rest.entries) == 2 and not rest.next_token
    got = driver.calls.controller.GetSnapshot(csi.GetSnapshotRequest(snapshot_id=other)).snapshot
    assert got == driver.calls.snapshots(snapshot_id=other)[0]
    assert got.ready_to_use and got.size_bytes == 16 * MIB and got.source_volume_id == two.id
    assert abs(got.creation_time.ToSeconds() - time.time()) < 600


def test_what_is_written_all_the_time_is_whole_in_every_snapshot(volume, snapshot):
    """A file that is replaced by rename again and again: every snapshot has one that is whole."""
    v = volume(size=SIZES['ext4']).up()
    stop = False

    def write_on():
        n = 0
        while not stop:
            n += 1
            (v.target / 'new').write_text(f'{n} ' * 2000)
            with open(v.target / 'new') as f:
                os.fsync(f.fileno())
            (v.target / 'new').rename(v.target / 'file')
        return n

    def take():
        nonlocal stop
        try:
            wait_until('there is a file', (v.target / 'file').exists)
            return [snapshot(v) for _ in range(6)]
        finally:
            stop = True

    n, taken = in_threads(write_on, take)
    assert isinstance(n, int) and isinstance(taken, list), (n, taken)
    for source in taken:
        copy = volume(size=0, volume_content_source=of_snapshot(source)).up()
        words = read(copy).split()
        assert len(words) == 2000 and len(set(words)) == 1
        copy.down()
        copy.id = None


def make_files(directory, stop):
    """In all allocation groups by turns, which is where directories go."""
    for n in itertools.count():
        if stop.is_set():
            return
        (directory / f'd{n}').mkdir()
        (directory / f'd{n}' / 'file').write_bytes(b'x' * 8192)


def test_an_xfs_that_has_just_grown_is_whole_in_its_copies(volume, snapshot):
    """Though the kernel does not replay a log in which a growth is together with what uses the new part."""
    for i in range(6):
        v = volume(cap=mount_cap('xfs'), size=320 * MIB).up()
        stop = threading.Event()
        writers = [threading.Thread(target=make_files, args=(v.target / name, stop)) for name in 'abc']
        for name, writer in zip('abc', writers):
            (v.target / name).mkdir()
            writer.start()
        v.calls.expand(v.id, 640 * MIB)
        v.calls.node_expand(v.id, v.target, 640 * MIB)
        write(v, f'round {i}')
        taken_of = snapshot(v)
        stop.set()
        for writer in writers:
            writer.join()
        same = volume(cap=v.cap, size=0, volume_content_source=of_snapshot(taken_of)).up()
        assert read(same) == f'round {i}'
        for each in same, v:
            each.down()
        v.calls.delete_snapshot(taken_of)


def test_a_filesystem_is_frozen_if_its_class_says_so(volume, snapshot, pool):
    v = volume(size=SIZES['ext4']).up()
    write(v, 'before')
    for freeze, is_clean in [('false', False), ('true', True)]:
        taken = snapshot(v, f'freeze-{freeze}', parameters={'freeze': freeze})
        copy = volume(size=0, volume_content_source=of_snapshot(taken)).create()
        assert ('needs_recovery' in sh('dumpe2fs', '-h', pool.dir / copy.name)) != is_clean
    write(v, 'thawed')
    assert read(again(v)) == 'thawed'


def test_a_volume_in_pieces_is_refused_by_its_class(driver, volume, pool):
    v = volume(cap=block_cap(), size=16 * MIB).up()
    with open(v.target, 'r+b', buffering=0) as f:
        for i in range(0, 16, 2):
            os.pwrite(f.fileno(), b'x' * 4096, i * MIB)
        os.fsync(f.fileno())
    with fails(Code.FAILED_PRECONDITION, 'extents', 'class'):
        driver.calls.snapshot('s', v.id, parameters={'maxExtents': '2', 'whenFragmented': 'refuse'})
    assert driver.calls.snapshots() == []
    assert pool.snapshots() == []
    taken = driver.calls.snapshot('s', v.id, parameters={'maxExtents': '0'})
    assert taken.ready_to_use
    driver.calls.delete_snapshot(taken.snapshot_id)


def test_many_at_once(driver, volume, snapshot):
    v = volume(cap=block_cap(), size=16 * MIB).up()
    write(v, 'v')
    results = in_threads(*[lambda: snapshot(v)] * 8, *[volume(cap=block_cap(), size=0, volume_content_source=of_volume(
        v.id)).up for _ in range(4)])
    assert [r for r in results if isinstance(r, Exception)] == []
    assert len(driver.calls.snapshots(source_volume_id=v.id)) == 8
    same = in_threads(*[lambda: driver.calls.snapshot('same', v.id)] * 4)
    made = {r.snapshot_id for r in same if not isinstance(r, Exception)}
    assert len(made) == 1
    assert {r.code() for r in same if isinstance(r, Exception)} <= {Code.ABORTED}
    driver.calls.delete_snapshot(made.pop())
    for c in results[8:]:
        assert read(c) == 'v'


def test_ctl_takes_snapshots_and_makes_volumes_of_them(driver, volume):
    def ctl(*words):
        return subprocess.run([CLEAT, 'ctl', f'--endpoint=unix://{driver.socket}', *words], capture_output=True, text=True)

    v = volume(name='data', size=16 * MIB).create()
    taken = ctl('snapshot', 'create', 'daily', '--volume=data', '--parameter=freeze=false', '-o', 'json')
    assert taken.returncode == 0, taken.stderr
    told = json.loads(taken.stdout)
    assert (told['source_volume_id'], told['size_bytes'], told['ready_to_use']) == (v.id, 16 * MIB, True)
    assert told['creation_time'].endswith('Z')
    row = ctl('snap', 'ls', '--volume=data').stdout.splitlines()[1].split()
    assert row[0] == 'daily' and 'ready' in row and 'data' in row and row[-1] == told['snapshot_id']
    assert json.loads(ctl('snapshot', 'show', 'daily', '-ojson').stdout) == told
    assert json.loads(ctl('snapshot', 'list', '-ojson').stdout) == {'items': [told]}
    for name, source in [('restored', '--from-snapshot=daily'), ('cloned', '--from-volume=data')]:
        made = ctl('volume', 'create', name, source, '-o', 'json')
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)['content_source']
        assert source.split('=')[1] in next(line for line in ctl('ls').stdout.splitlines() if line.startswith(name))
    small = ctl('volume', 'create', 'small', '--from-snapshot=daily', '--size=1Mi')
    assert small.returncode == 1 and '16Mi' in small.stderr
    bad = ctl('snapshot', 'create', 'weekly', '--volume=data', '--parameter=fresh=1')
    assert bad.returncode == 1 and 'freeze' in bad.stderr
    for words in [('snapshot', 'delete', 'daily'), ('volume', 'delete', 'restored'), ('volume', 'delete', 'cloned')]:
        assert ctl(*words).returncode == 0
    assert ctl('snapshot', 'list', '-o', 'id').stdout == ''
    gone = ctl('snapshot', 'show', 'daily')
    assert gone.returncode == 1 and 'NOT_FOUND' in gone.stderr
