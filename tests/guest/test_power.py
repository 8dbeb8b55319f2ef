# SPDX-License-Identifier: Apache-2.0
"""The power is cut at random moments under the load of tests/integration/load.py, and each time another machine starts with the
disk that is left: everything that was acknowledged is there, mounts and has its data, and nothing else is. CLEAT_CUTS says how
often (3; `make guest`: 100), CLEAT_SEED repeats a run: what is done, when it is cut and what survives, not how they meet."""
import collections
import os
import pathlib
import random
import threading
import time
import types

import guest
import load
import pytest
from here import PowerCut, Trouble

CUTS = int(os.environ.get('CLEAT_CUTS', '3'))
HANDS = 8
RECOVERS_S, LOAD_S, STAKES_S, ANSWER_S = 300, 5, 3, 10
# What is acknowledged by these is a fact; and the chance that it is this one that is waited for.
ANSWERS = {'create': 4, 'snapshot': 3, 'group': 1, 'delete': 4, 'expand': 2, 'node': 1, 'write': 3}
POOL = types.SimpleNamespace(dir=pathlib.PurePosixPath('/pool'))


class Ended(Exception):
    pass


class Hand(load.Gardener):
    """A gardener whose machine may go at any moment. With the next one it looks at all that it has, does again what it was about,
    and goes on when all others are as far."""
    max_volumes, max_cuts = 3, 2

    def __init__(self, campaign, seed):
        super().__init__(None, POOL, pathlib.PurePosixPath('/v'), None, seed)
        self.campaign, self.were_up = campaign, set()
        self.thread.daemon = True

    def run(self):
        try:
            self.take_over()
            while True:
                try:
                    if self.stop:
                        self.clear()
                        return
                    self.campaign.wait_for_turn(self)
                    self.choose()()
                except PowerCut:
                    self.were_up = {v for v in self.volumes if v.is_up}
                    self.take_over()
        except Ended:
            pass
        except BaseException as e:  # judged by the test
            self.trouble = Trouble(f'{self.now}: {type(e).__name__}: {e}')
            self.trouble.__cause__ = e
            self.campaign.notify()

    def call(self, what, call, busy=False, fallback=None):
        told = super().call(what, call, busy, fallback)
        self.campaign.is_acknowledged(self, what.split()[0])
        return told

    def write(self, v, slot, sync=True):
        super().write(v, slot, sync)
        if sync:
            self.campaign.is_acknowledged(self, 'write')

    def take_over(self):
        while True:
            try:
                self.machine = self.driver = self.campaign.next_machine(self.machine)
                self.recover()
                self.campaign.wait_for_all(self)
                return
            except PowerCut:
                pass

    def recover(self):
        for v in self.volumes:
            v.is_up, v.driver = False, self.machine
        for v in [v for v in self.volumes if not v.is_doomed]:
            self.now = f'after a power cut: {v.kind} {v.name} {v.create_words}'
            self.bring_up(v)
            if v.is_planted:
                self.check(v, was_cut=True)
            if v not in self.were_up:
                self.bring_down(v)
        for finish in list(self.doubts):
            finish()
            self.doubts.remove(finish)
        for v in [v for v in self.volumes if not v.is_planted]:
            if not v.is_up:
                self.bring_up(v)
            self.dig(v)
        for t in self.cuts:
            self.now = f'after a power cut: {t.kind} snapshot {t.name} {t.id}'
            self.same([t.told], self.call('list', lambda c, t=t: c.snapshots(snapshot_id=t.id)))
            if t.group:
                ids = [x.id for x in self.cuts if x.group is t.group]
                self.same(t.group, self.call('get group', lambda c, t=t: c.get_group(t.group.group_snapshot_id, ids)))
            self.remove_volume(self.restore(t))


class Campaign:
    """The machine of the moment, and who has come to terms with it."""

    def __init__(self, work, disk, seed, *lies):
        self.work, self.disk, self.lies, self.chance = work, disk, lies, random.Random(seed)
        self.changed, self.machine, self.ready, self.going, self.is_over = threading.Condition(), None, set(), None, False
        self.alone, self.waits_for, self.idle = None, None, set()
        self.n_boots, self.facts, self.cuts = 0, collections.Counter(), collections.Counter()
        self.hands = [Hand(self, self.chance.random()) for _ in range(HANDS)]

    # ---- for the hands

    def notify(self):
        with self.changed:
            self.changed.notify_all()

    def wait(self, is_true):
        self.changed.wait_for(lambda: self.is_over or is_true())
        if self.is_over:
            raise Ended

    def next_machine(self, old):
        with self.changed:
            self.wait(lambda: self.machine and self.machine is not old and not self.machine.is_cut)
            return self.machine

    def wait_for_all(self, hand):
        with self.changed:
            self.ready.add(hand)
            self.changed.notify_all()
            self.wait(lambda: hand.machine.is_cut or self.going is hand.machine)
        if hand.machine.is_cut:
            raise PowerCut

    def wait_for_turn(self, hand):
        """At once, unless another one is to be alone."""
        with self.changed:
            self.idle.add(hand)
            self.changed.notify_all()
            self.wait(lambda: hand.machine.is_cut or self.alone in (None, hand))
            self.idle.remove(hand)
        if hand.machine.is_cut:
            raise PowerCut

    def is_acknowledged(self, hand, what):
        if self.alone is hand and self.waits_for == what:
            hand.machine.pull_the_plug()
            self.notify()

    # ---- for the test

    def trouble(self):
        return [h.trouble for h in self.hands if h.trouble]

    def boot(self, *lies):
        self.n_boots += 1
        m = guest.Machine(self.work / f'boot-{self.n_boots}', self.disk, self.chance.randrange(1 << 32), *lies)
        with self.changed:
            self.machine, self.ready = m, set()
        m.mount_pool(is_new=self.n_boots == 1).start_driver()
        self.notify()

    def cut(self):
        self.machine.cut()
        with self.changed:
            self.alone = self.waits_for = None
            self.changed.notify_all()

    def wait_for_an_answer(self):
        """One hand works alone, so that nobody else's syncs make safe what it is told is done, and its answer is the cut."""
        hand = self.chance.choice(self.hands)
        with self.changed:
            self.alone = hand
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.trouble() or len(self.idle - {hand}) == HANDS - 1, ANSWER_S)
            self.waits_for, = self.chance.choices(list(ANSWERS), ANSWERS.values())
            self.changed.wait_for(lambda: self.trouble() or self.machine.is_cut, ANSWER_S)
            return f'answer to {self.waits_for}' if self.machine.is_cut else 'no answer'

    def wait_for_a_flush(self):
        """The disk stops at one that has something to make safe."""
        self.machine.arm()
        self.machine.wait_until_stopped(STAKES_S)
        return 'flush'

    def make_pool(self):
        """In a boot of its own, on an honest disk."""
        self.boot()
        self.machine.sure('sync')
        self.cut()
        for h in self.hands:
            h.thread.start()

    def wait_recovered(self):
        with self.changed:
            done = self.changed.wait_for(lambda: self.trouble() or len(self.ready) == HANDS, RECOVERS_S)
        if self.trouble():
            raise self.trouble()[0]
        assert done, f'not recovered: {[h.now for h in self.hands if h not in self.ready]}'
        self.check_whole()

    def check_whole(self):
        """What the driver lists is what was acknowledged, no more and no less, and the pool is as it should be."""
        volumes = {v.id: v.size for h in self.hands for v in h.volumes}
        snapshots = {t.id for h in self.hands for t in h.cuts}
        listed = {v.volume_id: v.capacity_bytes for v in self.machine.calls.volumes()}
        if listed != volumes:
            raise Trouble(f'volumes: {load.differences(listed, volumes)}')
        if {s.snapshot_id for s in self.machine.calls.snapshots()} != snapshots:
            raise Trouble(f'snapshots: {self.machine.calls.snapshots()}, wanted {snapshots}')
        status, said = self.machine.run('cleat', 'ctl', 'doctor', '--pool=/pool')
        if status:
            raise Trouble(f'doctor: {status}: {said}')
        self.facts.update(volumes=len(volumes), snapshots=len(snapshots),
                          grown=sum(v.size > v.create_words['size'] for h in self.hands for v in h.volumes))

    def go_on(self, seconds):
        with self.changed:
            self.going = self.machine
            self.changed.notify_all()
            self.changed.wait_for(self.trouble, seconds)
        if self.trouble():
            raise self.trouble()[0]

    def cycle(self):
        """From one start to the next cut: mostly under load, now and then before all have come to terms with the last one."""
        times = [time.monotonic()]
        self.boot(*self.lies)
        times.append(time.monotonic())
        if self.chance.random() < 0.1:
            when = 'early'
            with self.changed:
                self.changed.wait_for(self.trouble, self.chance.random() * 3)
            times.append(time.monotonic())
        else:
            self.wait_recovered()
            times.append(time.monotonic())
            self.go_on(0.5 + self.chance.random() * LOAD_S)
            when = self.chance.choice([self.wait_for_a_flush, self.wait_for_an_answer, lambda: 'any moment'])()
        times.append(time.monotonic())
        self.cut()
        self.cuts[when] += 1
        boot, recovery, under_load = (f'{b - a:.1f}' for a, b in zip(times, times[1:]))
        print(f'cut {self.n_boots - 1} ({when}): up after {boot} s, recovered {recovery}, load {under_load}; '
              f'{self.machine.disk_said}; {sum(len(h.volumes) for h in self.hands)} volumes, '
              f'{sum(len(h.cuts) for h in self.hands)} snapshots, {sum(len(h.doubts) for h in self.hands)} in doubt', flush=True)

    def finish(self):
        """A last start; all is taken away in any order, and nothing is left."""
        self.boot()
        self.wait_recovered()
        for h in self.hands:
            h.stop = True
        self.go_on(0)
        for h in self.hands:
            h.thread.join(RECOVERS_S)
        if self.trouble():
            raise self.trouble()[0]
        assert not any(h.thread.is_alive() for h in self.hands), f'a call hangs: {[h.now for h in self.hands]}'
        self.check_whole()
        _, left = self.machine.run('busybox', 'find', '/pool', '-type', 'f', '!', '-path', '*/templates/*')
        names = sorted(pathlib.PurePosixPath(p).name for p in left.split())
        assert names == ['lock', 'pool'], left
        assert '/pool/' not in self.machine.sure('losetup', '-a')

    def end(self):
        with self.changed:
            self.is_over = True
            self.changed.notify_all()
        if self.machine:
            self.machine.cut()


@pytest.fixture
def campaign(work, disk, seed):
    made = []

    def make(*lies):
        made.append(Campaign(work, disk, seed, *lies))
        return made[-1]

    yield make
    for c in made:
        c.end()


def test_power_cuts_lose_nothing_that_was_acknowledged(campaign):
    c = campaign()
    try:
        c.make_pool()
        for _ in range(CUTS):
            c.cycle()
        c.finish()
    except BaseException:
        if not c.machine.is_cut:
            print(c.machine.driver_log()[-20000:], c.machine.sure('dmesg')[-6000:], sep='\n')
        raise
    finally:
        counts = sum((collections.Counter(h.counts) for h in c.hands), collections.Counter())
        print(f'{c.n_boots} starts, {sum(counts.values())} calls:', ', '.join(f'{v} {k}' for k, v in sorted(counts.items())))
        print('cuts:', ', '.join(f'{n} at {when}' for when, n in c.cuts.most_common()))
        print('looked at after them:', ', '.join(f'{v} {k}' for k, v in sorted(c.facts.items())))


@pytest.mark.parametrize('lies', [['--ignore-flushes'], ['--ignore-flushes', '--lose-all']], ids=['torn', 'lost whole'])
def test_a_disk_that_ignores_flushes_is_caught(campaign, lies):
    """The same load and the same looks must fail then. If all is lost alike, the filesystem below is whole, as it was before."""
    c = campaign(*lies)
    c.make_pool()
    with pytest.raises((Trouble, guest.Failed)) as caught:
        for _ in range(4):
            c.cycle()
    print(f'caught at start {c.n_boots}: {caught.value}')
    if '--lose-all' in lies:
        assert caught.type is Trouble
