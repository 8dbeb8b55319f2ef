# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at random moments under load. After each round the same calls are simply repeated, as a CO does; what was
acknowledged is there, and at the end not a loop device, mount, file, snapshot or volume is left. CLEAT_KILLS says how often
(20; `make kill`: 200), CLEAT_SEED repeats a run: what is done and when the driver is killed, not how the two meet."""
import collections
import contextlib
import os
import random
import signal
import time
import uuid

import killing
import load
import pytest
from harness import CLEAT, GIB, MIB, PATIENCE, Driver, Pool, Volume, block_cap, csi, mount_cap, mountinfo, starting, wait_until
from here import Gate, Here

KILLS = int(os.environ.get('CLEAT_KILLS', '20'))
SEED = int(os.environ.get('CLEAT_SEED', random.randrange(1 << 32)))
WORKERS, GARDENERS = 6, 8


class Worker(killing.Worker):
    """The kernel lets go of a mount or a loop device that another process looked at only when it is done, which is soon."""
    BUSY, BUSY_S, PATIENCE_S = ('unpublish', 'unstage', 'delete'), 5, 4 * PATIENCE

    def __init__(self, driver, directory, caps, seed):
        super().__init__()
        self.driver, self.dir, self.random, self.caps = driver, directory, random.Random(seed), caps

    def step(self, call):
        return self.repeat(call.__name__, call)

    def live(self):
        v = Volume(self.driver, self.dir, cap=self.random.choice(self.caps), size=24 * MIB)
        v.marker = uuid.uuid4().bytes
        self.step(v.create)
        self.step(v.stage)
        self.step(v.publish)
        self.write(v)
        if self.random.random() < 0.3:
            self.step(v.unpublish)
            self.step(v.unstage)
            self.step(v.stage)
            self.step(v.publish)
        assert self.read(v) == v.marker, 'data lost'
        self.step(v.unpublish)
        self.step(v.unstage)
        self.step(v.delete)

    @staticmethod
    def path(v):
        return v.target if v.target.is_block_device() else v.target / 'marker'

    def write(self, v):
        with starting, open(self.path(v), 'r+b' if v.target.is_block_device() else 'wb') as f:
            f.write(v.marker)
            f.flush()
            os.fsync(f.fileno())

    def read(self, v):
        with starting, open(self.path(v), 'rb') as f:
            return f.read(16)


def test_random_kills_leave_nothing(driver, pool, work):
    print(f'CLEAT_SEED={SEED}')
    chance = random.Random(SEED)
    caps = [mount_cap(), mount_cap(), block_cap()]
    workers = [Worker(driver, work, caps, chance.random()) for _ in range(WORKERS)]

    def kills():
        for _ in range(KILLS):
            time.sleep(chance.random() * 0.15)
            driver.restart()
            killing.check(workers)
    killing.work_through(workers, 8 * PATIENCE, kills)
    assert driver.calls.volumes() == []
    assert pool.loops() == {}
    assert pool.files() == []
    assert [m[0] for m in mountinfo() if m[0].startswith(str(work))] == []


@pytest.fixture
def wide_pool(work):
    """Sparse, and large enough for all that eight workers may have."""
    p = Pool(work, size=48 * GIB)
    yield p
    p.unmount()


@pytest.fixture
def wide(work, wide_pool):
    d = Driver(work, wide_pool).start()
    yield d
    d.end()


def kill_all(driver):
    """With the guards of what it has frozen, which then stays so until it starts anew."""
    guards = load.guards_of(CLEAT)
    for sign in (signal.SIGSTOP, signal.SIGKILL):
        if sign == signal.SIGKILL:
            driver.kill()
        for pid in guards:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
    return bool(guards)


def kill_at_random(driver, gate, workers, chance):
    """At any moment, now and then while it starts. A filesystem that stays frozen keeps the gate shut, which tells it."""
    n = 0
    while n < KILLS and not any(w.trouble for w in workers):
        time.sleep(chance.random() ** 2 * 0.6)
        n += 1
        if chance.random() < 0.3 and kill_all(driver):
            driver.start()    # who writes waits for its start, and keeps the gate shut
            continue
        driver.kill()
        with gate.program():
            driver.spawn()
        if chance.random() < 0.15:
            time.sleep(chance.random() * 0.04)
        else:
            driver.wait_ready()
    return n


def room(driver, pool):
    """What is free, by the filesystem and by the driver."""
    told = driver.calls.controller.GetCapacity(csi.GetCapacityRequest()).available_capacity
    return pool.available(), told


def has_room(driver, pool, before):
    now = room(driver, pool)
    return all(a >= b - 8 * MIB for a, b in zip(now, before))


def is_nothing_left(driver, pool, directory):
    assert (driver.calls.volumes(), driver.calls.snapshots()) == ([], [])
    assert (pool.files(), pool.snapshots()) == ([], [])
    assert [list((pool.dir / '.cleat' / name).iterdir()) for name in ('groups', 'frozen')] == [[], []]
    assert pool.loops() == {}
    assert [m[0] for m in mountinfo() if m[0].startswith(f'{directory}/pvc')] == []
    assert load.guards_of(CLEAT) == []


def settle(workers, seconds):
    for w in workers:
        w.stop = True
    end = time.monotonic() + seconds
    for w in workers:
        w.thread.join(max(0, end - time.monotonic()))


def once_each(driver, pool, work, gate):
    """So that what is made once (templates) is there before what is free is measured."""
    w = load.Gardener(driver, pool, work, Here(gate), 0)
    for kind in load.SIZES:
        v = Volume(driver, work, cap=block_cap() if kind == 'raw' else mount_cap(kind), size=load.SIZES[kind]).create()
        w.call('delete', lambda c, v=v: c.delete(v.id))


@pytest.mark.skipif('CLEAT_KILLS' not in os.environ, reason='SKIPPED: minutes; `make kill` runs it')
def test_random_kills_of_a_mixed_load(wide, wide_pool, work):
    print(f'CLEAT_SEED={SEED}')
    chance, gate = random.Random(SEED), Gate()
    once_each(wide, wide_pool, work, gate)
    before = room(wide, wide_pool)
    workers = [load.Gardener(wide, wide_pool, work, Here(gate), chance.random()) for _ in range(GARDENERS)]
    for w in workers:
        w.thread.start()
    try:
        n = kill_at_random(wide, gate, workers, chance)
        wide.wait_ready()
    finally:
        settle(workers, 8 * PATIENCE)
    counts = collections.Counter()
    for w in workers:
        counts.update(w.counts)
    print(f'{n} kills, {sum(counts.values())} calls:', ', '.join(f'{v} {k}' for k, v in sorted(counts.items())))
    assert [w.trouble for w in workers if w.trouble] == []
    assert not any(w.thread.is_alive() for w in workers), 'a call hangs'
    for _ in range(2):
        is_nothing_left(wide, wide_pool, work)
        wait_until('all that was free is free again', lambda: has_room(wide, wide_pool, before))
        wide.restart()
    wide.stop()
