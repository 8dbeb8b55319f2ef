# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of the driver at random moments while volumes of CephFS are made, staged, written to, snapshotted, restored, cloned,
shown, grown, taken down and deleted. Each call is repeated until it is done, as a CO does; what was written is read again; then,
once the manager has removed what was deleted, nothing is left: no subvolume, snapshot or copy, no entry of the journal, no mount, no
ceph-fuse, no state on the node. CLEAT_KILLS says how often (20), CLEAT_SEED repeats what is done and when."""
import contextlib
import os
import pathlib
import random
import threading
import time

import cephfs_driver
import cluster
import grpc
import killing
import pytest
from cephfs_driver import SHARED, Volume
from harness import GIB, Mode, mount_cap, of_snapshot, of_volume, wait_until

fs_journal = pytest.importorskip('fs_journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
KILLS = int(os.environ.get('CLEAT_KILLS', '20'))
SEED = int(os.environ.get('CLEAT_SEED', random.randrange(1 << 32)))
WORKERS = 3
ROX = mount_cap(mode=Mode.MULTI_NODE_READER_ONLY)
COPYING_S, EVICT_S, PURGED_S = 0.3, 5, 600


class Worker(killing.Worker):
    """A copy is the manager's work, which has others to make, and each call answers ABORTED meanwhile. What a killed driver had begun
    to unmount its child may still be at."""
    BUSY, BUSY_S, PATIENCE_S = ('unstage', 'unpublish'), 30, 180

    def __init__(self, driver, work, number, seed):
        super().__init__()
        self.driver, self.work, self.number, self.random, self.n_seen = driver, work, number, random.Random(seed), 0

    def call(self, what, call):
        def attempt():
            try:
                return call(self.driver.calls)
            except grpc.RpcError as e:
                if e.code() == grpc.StatusCode.ABORTED:
                    time.sleep(COPYING_S)
                raise
        return self.repeat(what, attempt)

    def up(self, made, cap=SHARED):
        v = Volume(self.driver, self.work, made, cap)
        self.call('stage', lambda _: v.stage())
        self.call('publish', lambda _: v.publish())
        return v, v.staging.parent / f'target-{v.id[-36:]}'

    def down(self, v, place):
        self.call('unpublish', lambda calls: calls.unpublish(v.id, str(place)))
        self.call('unstage', lambda calls: calls.unstage(v.id, str(v.staging)))
        assert not os.path.ismount(v.staging), 'it is unstaged'

    def see(self, made, text, cap=SHARED):
        """What it has, on the node."""
        v, place = self.up(made, cap)
        assert (place / 'file').read_text() == text, f'{made.volume_id} has other bytes'
        self.n_seen += 1
        self.down(v, place)

    def live(self):
        """A volume with what comes of it; all is deleted in an order of its own."""
        name, chance = f'{self.number}-{self.n_lives}', self.random.random
        made = self.call('create', lambda calls: calls.create(f'pv-{name}', GIB))
        v, place = self.up(made)
        (place / 'file').write_text(name)
        self.down(v, place)
        down = [lambda calls: calls.delete(v.id)]
        if chance() < 0.7:
            s = self.call('snapshot', lambda calls: calls.snapshot(f'snapshot-{name}', v.id).snapshot_id)
            down.append(lambda calls: calls.delete_snapshot(s))
            for n in range(self.random.randrange(3)):
                w = self.call('show', lambda calls, n=n: calls.create(
                    f'pv-w{n}-{name}', GIB, caps=[ROX], volume_content_source=of_snapshot(s)))
                down.append(lambda calls, w=w: calls.delete(w.volume_id))
                if chance() < 0.5:
                    self.see(w, name, ROX)
            if chance() < 0.4:
                r = self.call('restore', lambda calls: calls.create(f'pv-r-{name}', GIB, volume_content_source=of_snapshot(s)))
                down.append(lambda calls: calls.delete(r.volume_id))
                self.see(r, name)
        if chance() < 0.3:
            c = self.call('clone', lambda calls: calls.create(f'pv-c-{name}', GIB, volume_content_source=of_volume(v.id)))
            down.append(lambda calls: calls.delete(c.volume_id))
        if chance() < 0.5:
            self.call('expand', lambda calls: calls.expand(v.id, 2 * GIB))
        self.random.shuffle(down)
        for call in down:
            self.call('delete', call)


def mounts_below(work):
    return [line.split()[4] for line in pathlib.Path('/proc/self/mountinfo').read_text().splitlines()
            if line.split()[4].startswith(str(work))]


def fuses_below(work):
    """What serves a mount below it, whoever is above it."""
    found = []
    for entry in pathlib.Path('/proc').iterdir():
        try:
            words = (entry / 'cmdline').read_bytes().split(b'\0') if entry.name.isdigit() else []
        except OSError:
            continue
        if words and words[0].endswith(b'ceph-fuse') and any(word.startswith(str(work).encode()) for word in words):
            found.append(int(entry.name))
    return found


def being_removed(ceph):
    """Subvolumes that are listed and nobody's any more: the last of their snapshots went while their data was waiting for one of the
    manager's four threads, each of which removes one a second, and waits for clients that died."""
    def is_waiting(name):
        try:
            return fs_journal.look(ceph, name).get('state') == 'snapshot-retained' and not fs_journal.snapshots(ceph, name)
        except cluster.Failure:  # it is gone just now
            return True
    return [name for name in fs_journal.subvolumes(ceph) if is_waiting(name)]


@contextlib.contextmanager
def evicting(ceph):
    done = threading.Event()

    def run():
        while not done.wait(EVICT_S):
            cephfs_driver.evict_dead(ceph)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_random_kills_leave_nothing(cephfs, fs_ceph, work):
    print(f'CLEAT_SEED={SEED}')
    chance = random.Random(SEED)
    workers = [Worker(cephfs, work, number, chance.random()) for number in range(WORKERS)]

    def kills():
        for _ in range(KILLS):
            time.sleep(chance.random() * 0.8)
            cephfs.restart()
            killing.killed(workers)
    with evicting(fs_ceph):
        killing.work_through(workers, 900, kills)
        wait_until('the manager has removed what was deleted', lambda: not being_removed(fs_ceph), PURGED_S)
    print(f'{KILLS} kills, {sum(w.n_lives for w in workers)} lives, {sum(w.n_seen for w in workers)} contents compared')
    assert not mounts_below(work)
    wait_until('each ceph-fuse has ended', lambda: not fuses_below(work), 60)
    wait_until('nothing is left in the filesystem', lambda: not fs_journal.left(fs_ceph), 30)
    wait_until('nothing is kept on the node', lambda: not list(cephfs.dir.rglob('0001-0002-c1-*')), 30)
