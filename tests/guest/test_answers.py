# SPDX-License-Identifier: Apache-2.0
"""Each call by itself: its answer is the last thing before the power goes, and all that the disk was not told to make safe is
lost. Nobody else syncs meanwhile, so what is there afterwards was made safe by the call."""
import pathlib

import guest
import pytest
from harness import MIB, of_snapshot, of_volume


class Life:
    """One machine after the other, each ended by one answer."""

    def __init__(self, work, disk):
        self.work, self.disk, self.n, self.machine = work, disk, 0, None
        self.next()

    def next(self):
        if self.machine:
            self.machine.cut()
        self.n += 1
        self.machine = guest.Machine(self.work / f'boot-{self.n}', self.disk, self.n, '--lose-all')
        self.machine.mount_pool(is_new=self.n == 1).start_driver()
        return self.machine

    def cut_after(self, call):
        told = call(self.machine.calls)
        self.machine.pull_the_plug()
        self.next()
        return told

    def volume(self, **words):
        """Not made yet."""
        return guest.GuestVolume(self.machine, pathlib.PurePosixPath('/v'), size=24 * MIB, **words)

    def up(self, v):
        v.driver = self.machine
        return v.stage().publish()

    def has(self, v, text):
        """And is taken down."""
        self.up(v)
        assert self.machine.read(v.target / 'file', 0, 4096) == text
        v.unpublish().unstage()

    def copy_has(self, text, **words):
        v = self.volume(**words).create()
        self.has(v, text)
        v.delete()

    def ids(self):
        return {v.volume_id: v.capacity_bytes for v in self.machine.calls.volumes()}


@pytest.fixture
def life(work, disk):
    one = Life(work, disk)
    yield one
    one.machine.cut()


def test_each_answer_outlives_a_cut_at_once(life):
    v = life.volume()
    v.id = life.cut_after(lambda c: c.create(v.name, caps=[v.cap], size=24 * MIB)).volume_id
    assert life.ids() == {v.id: 24 * MIB}

    life.up(v)
    life.cut_after(lambda c: life.machine.write(v.target / 'file', 0, b'synced'))
    life.has(v, b'synced')

    life.up(v)
    life.machine.write(v.target / 'file', 0, b'dirty!', sync=False)
    snap = life.cut_after(lambda c: c.snapshot('s1', v.id))
    assert life.machine.calls.snapshots() == [snap]
    life.copy_has(b'dirty!', volume_content_source=of_snapshot(snap.snapshot_id))

    life.up(v)
    life.machine.write(v.target / 'file', 0, b'cloned', sync=False)
    copy = life.volume()
    copy.id = life.cut_after(lambda c: c.create(copy.name, caps=[v.cap], size=24 * MIB,
                                                volume_content_source=of_volume(v.id))).volume_id
    assert set(life.ids()) == {v.id, copy.id}
    life.has(copy, b'cloned')

    life.up(v)
    life.up(copy)
    for x in (v, copy):
        life.machine.write(x.target / 'file', 0, b'group!', sync=False)
    group = life.cut_after(lambda c: c.group('g1', [v.id, copy.id]))
    members = [s.snapshot_id for s in group.snapshots]
    assert life.machine.calls.get_group(group.group_snapshot_id, members) == group
    for member in members:
        life.copy_has(b'group!', volume_content_source=of_snapshot(member))

    assert life.cut_after(lambda c: c.expand(copy.id, 64 * MIB)).capacity_bytes == 64 * MIB
    assert life.ids()[copy.id] == 64 * MIB
    life.up(copy)
    assert life.machine.look(copy.target)[0] > 40 * MIB

    life.machine.calls.expand(copy.id, 128 * MIB)
    life.cut_after(lambda c: c.node_expand(copy.id, copy.target, 128 * MIB))
    life.up(copy)
    assert life.machine.look(copy.target)[0] > 90 * MIB
    copy.unpublish().unstage()

    life.cut_after(lambda c: c.delete_group(group.group_snapshot_id, members))
    assert life.machine.calls.snapshots() == [snap]
    life.cut_after(lambda c: c.delete_snapshot(snap.snapshot_id))
    assert life.machine.calls.snapshots() == []
    life.cut_after(lambda c: c.delete(copy.id))
    assert set(life.ids()) == {v.id}
    v.driver = life.machine
    v.delete()


def test_limits_outlive_a_cut_at_once(life):
    """ControllerModifyVolume: what it answered is what the next machine holds."""
    v = life.volume().create()
    life.cut_after(lambda c: c.modify(v.id, {'writeIOPS': '40'}))
    life.machine.write('/sys/fs/cgroup/cgroup.subtree_control', 0, b'+io', sync=False)
    pods = '/sys/fs/cgroup/kubepods'
    life.machine.make_dir(pods)
    life.machine.write(f'{pods}/cgroup.subtree_control', 0, b'+io', sync=False)
    uid = '5d3b0a52-3f0b-4a58-8e3a-2f6f0c0e8a11'
    life.machine.make_dir(f'{pods}/pod{uid}')
    v.driver, target = life.machine, f'/v/kubelet/pods/{uid}/volumes/kubernetes.io~csi/{v.name}/mount'
    v.stage()
    life.machine.make_dir(target.rpartition('/')[0])
    life.machine.calls.publish(v.id, v.staging, target, v.cap)
    assert b'wiops=40' in life.machine.read(f'{pods}/pod{uid}/io.max', 0, 4096)
