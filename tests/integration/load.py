# SPDX-License-Identifier: Apache-2.0
"""A mixed load for the kill campaign, and what it knows for certain.

Each worker has a garden of volumes and snapshots of its own and does at random what a CO may do with them. It keeps what was
acknowledged: which record each slot of a volume holds after each write, and between which two writes a snapshot or a
copy was cut. A record says whose it is and which, and has a digest, so what is read back is one state of the history or a fault.
"""
import contextlib
import hashlib
import os
import pathlib
import random
import struct
import threading
import time
import uuid

import grpc
from harness import MIB, PATIENCE, Code, Volume, block_cap, csi, in_threads, mount_cap, of_snapshot, of_volume
from here import PowerCut, Trouble

SLOTS, STRIDE, RECORD = 24, 4096, 1024   # a record is within one block of any filesystem, so it is whole or not there
SIZES = {'ext4': 24 * MIB, 'xfs': 320 * MIB, 'raw': 16 * MIB}
STEP, MAX_GROWTH = 16 * MIB, 64 * MIB
HEAD = 'head'    # a slot that is a file of its own, replaced by rename and removed


def record(tag, n):
    body = tag + struct.pack('<Q', n)
    fill = hashlib.sha256(body).digest()
    body += fill * ((RECORD - 64) // 32)
    body = body.ljust(RECORD - 32, b'\0')
    return body + hashlib.sha256(body).digest()


def parse(data):
    """(tag, number) of a record; None: never written."""
    if not data.strip(b'\0'):
        return None
    if hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise Trouble(f'a record is torn or damaged: {data[:24].hex()}')
    return data[:16], struct.unpack_from('<Q', data, 16)[0]


class Content:
    """What a volume holds, its slots that were written, and who keeps each state from now on. Of slots that were written
    since their last sync, also what a power cut may bring back."""

    def __init__(self, slots):
        self.slots, self.watchers, self.unsafe = dict(slots), [], {}

    def begin(self, slot, value):
        """Before it is written: from now on either may be there."""
        self.unsafe.setdefault(slot, []).append(self.slots.get(slot))
        self.slots[slot] = value
        if not value:
            del self.slots[slot]
        for w in self.watchers:
            w()

    def is_safe(self, slot):
        """It was synced, and with it all of its file."""
        self.unsafe = {s: old for s, old in self.unsafe.items() if (s == HEAD) != (slot == HEAD)}

    def after_power_cut(self, seen):
        for slot in {*seen, *self.slots, *self.unsafe}:
            may = [self.slots.get(slot), *self.unsafe.get(slot, [])]
            if seen.get(slot) not in may:
                raise Trouble(f'synced data is lost: {slot} has {seen.get(slot)}, and could have {may}')
        self.slots, self.unsafe = dict(seen), {}


class Cut:
    """The states that volumes may have had at one moment; those who look make them fewer."""

    def __init__(self, *volumes):
        self.volumes, self.states = volumes, []

    def begin(self):
        """From here to the end; again, if what was cut may have been so the last time already."""
        self.note()
        for v in self.volumes:
            v.content.watchers.append(self.note)

    def note(self):
        self.states.append([dict(v.content.slots) for v in self.volumes])

    def end(self):
        for v in self.volumes:
            v.content.watchers.remove(self.note)

    def narrow(self, i, seen):
        left = [s for s in self.states if s[i] == seen]
        if not left:
            raise Trouble(f'none of {len(self.states)} states that it may have: {differences(seen, self.states[-1][i])}')
        self.states = left


def steady(told):
    """What does not change of an answer: a snapshot that is being copied gets ready."""
    if isinstance(told, csi.Snapshot):
        told = csi.Snapshot.FromString(told.SerializeToString())
        told.ready_to_use = True
    return told


def differences(seen, want):
    return [(k, seen.get(k), want.get(k)) for k in {*seen, *want} if seen.get(k) != want.get(k)]


class Plant(Volume):
    """A volume, what it holds (unknown while cut is set: one of the cut's states) and how large it is."""

    def __init__(self, driver, directory, kind, size, cut=None, member=0, **words):
        cap = block_cap() if kind == 'raw' else mount_cap(kind)
        super().__init__(driver, directory, cap=cap, size=size, **words)
        self.kind, self.size, self.cut, self.member = kind, size, cut, member
        self.is_thin = words.get('parameters', {}).get('provisioning') == 'thin'
        self.tag, self.n = uuid.UUID(self.name[4:]).bytes, 0
        self.content = Content({})
        self.is_up, self.is_planted, self.fs_behind, self.is_doomed = False, cut is not None, cut is not None, False

    def path(self):
        return self.target if self.kind == 'raw' else self.target / 'records'


class Taken:
    def __init__(self, snapshot, name, source, cut, member, words):
        self.id, self.name, self.source, self.cut, self.member = snapshot.snapshot_id, name, source, cut, member
        self.words, self.told, self.kind, self.size, self.group = words, snapshot, source.kind, source.size, None
        self.is_doomed = False


class Gardener:
    """One worker: never-ending, each call repeated until it is answered."""

    PASSING = (Code.UNAVAILABLE, Code.ABORTED, Code.CANCELLED, Code.DEADLINE_EXCEEDED)
    max_volumes, max_cuts = 4, 4

    def __init__(self, driver, pool, directory, machine, seed):
        self.driver, self.pool, self.dir, self.machine, self.random = driver, pool, directory, machine, random.Random(seed)
        self.volumes, self.cuts, self.doubts = [], [], []
        self.stop, self.trouble, self.counts, self.now = False, None, {}, ''
        self.thread = threading.Thread(target=self.run)

    # ---- calls, as a CO repeats them

    def repeat(self, what, call, busy=False, fallback=None):
        """busy: FAILED_PRECONDITION is, for a moment, what somebody else who looks at a device makes of it."""
        end, busy_end = time.monotonic() + 3 * PATIENCE, None
        while True:
            if self.machine.is_cut:
                raise PowerCut(what)
            try:
                return call(self.driver.calls)
            except ValueError:  # the channel was closed for the next process
                pass
            except grpc.RpcError as e:
                now = time.monotonic()
                if self.machine.is_cut:
                    raise PowerCut(what) from e
                if e.code() == Code.FAILED_PRECONDITION and fallback:
                    return fallback(e)
                if e.code() == Code.FAILED_PRECONDITION and busy:
                    busy_end = busy_end or now + 5
                    if now < busy_end:
                        time.sleep(0.01)
                        continue
                if e.code() not in self.PASSING or now > end:
                    raise Trouble(f'{what}: {e.code()}: {e.details()}') from e
            time.sleep(0.01)

    def call(self, what, call, busy=False, fallback=None):
        """Sometimes twice at once, or once more when it is done: the answer is the same."""
        self.counts[what] = self.counts.get(what, 0) + 1
        n = 2 if self.random.random() < 0.1 and not fallback else 1
        results = in_threads(*[lambda: self.repeat(what, call, busy, fallback)] * n) if n > 1 else \
            [self.repeat(what, call, busy, fallback)]
        if self.random.random() < 0.1 and not fallback:
            results += in_threads(lambda: self.repeat(what, call, busy))
        cuts = [r for r in results if isinstance(r, PowerCut)]
        results = [r for r in results if not isinstance(r, PowerCut)]
        for r in results or cuts:    # one answer is an answer
            if isinstance(r, Exception):
                raise r
        if any(steady(r) != steady(results[0]) for r in results):
            raise Trouble(f'{what}: two answers: {results}')
        return results[0]

    def settle(self, finish):
        """What has to be done to its end once it was begun, which after a power cut means: again (`doubts`). So it begins with
        its call, and what it notes of the answer comes after."""
        self.doubts.append(finish)
        finish()
        self.doubts.remove(finish)

    def attempt(self, what, call):
        """Once, whatever comes of it: a CO may think better of it."""
        self.counts[f'attempt to {what}'] = self.counts.get(f'attempt to {what}', 0) + 1
        try:
            call(self.driver.calls)
        except ValueError:
            pass
        except grpc.RpcError as e:
            if e.code() not in self.PASSING and not self.machine.is_cut:
                raise Trouble(f'{what}: {e.code()}: {e.details()}') from e

    # ---- the content of a volume that is up

    def write(self, v, slot, sync=True):
        """One record; what was there before or this one, until it is acknowledged by its return."""
        v.n += 1
        value = (v.tag, v.n)
        if slot != HEAD:
            v.content.begin(slot, value)
            self.machine.write(v.path(), slot * STRIDE, record(*value), sync)
        elif self.random.random() < 0.2 and HEAD in v.content.slots:
            v.content.begin(HEAD, None)
            self.machine.remove(v.target / HEAD)
        else:
            v.content.begin(HEAD, value)
            self.machine.replace(v.target / HEAD, record(*value))
        if sync or slot == HEAD:
            v.content.is_safe(slot)

    @staticmethod
    def slots_of(v):
        """Those of a raw device are also at each end that it had since it was made."""
        ends = [size // STRIDE - 1 for size in range(SIZES['raw'], v.size + 1, STEP)]
        return [*range(SLOTS), *(ends if v.kind == 'raw' else [HEAD])]

    def scribble(self, v, n):
        for _ in range(n):
            self.write(v, self.random.choice(self.slots_of(v)), sync=self.random.random() < 0.8)

    def read(self, v):
        seen, slots = {}, self.slots_of(v)
        head = self.machine.read(v.target / HEAD, 0, RECORD) if HEAD in slots else None
        data = self.machine.read(v.path(), 0, SLOTS * STRIDE)
        if data is None or len(data) != SLOTS * STRIDE:
            raise Trouble(f'{v.path()} has {data and len(data)} bytes')
        for slot in slots:
            if slot == HEAD:
                seen[HEAD] = parse(head) if head is not None else None
            else:
                at = slot * STRIDE
                seen[slot] = parse(data[at:at + RECORD] if slot < SLOTS else self.machine.read(v.path(), at, RECORD))
        return {slot: value for slot, value in seen.items() if value}

    def check(self, v, was_cut=False):
        """Content and size are what was acknowledged. Only while it is up."""
        try:
            seen = self.read(v)
            if v.cut:
                v.cut.narrow(v.member, seen)
                v.cut, v.content = None, Content(seen)
            elif was_cut:
                v.content.after_power_cut(seen)
            elif seen != v.content.slots:
                raise Trouble(f'acknowledged data is lost: {differences(seen, v.content.slots)}')
        except Trouble as e:
            raise Trouble(f'{v.kind} volume {v.name}, {v.create_words}: {e}') from e
        self.check_size(v)

    def check_size(self, v):
        size, allocated = self.machine.look(self.pool.dir / v.name) or (0, 0)
        if size < v.size or (allocated < v.size and not v.is_thin):
            raise Trouble(f'{v.name}: its file has {size}, {allocated} allocated, of {v.size}')
        has, _ = self.machine.look(v.target)
        if v.kind == 'raw':
            if has < v.size:
                raise Trouble(f'{v.name}: its device has {has} of {v.size}')
        else:
            overhead = 0.25 * SIZES['ext4'] if v.kind == 'ext4' else 96 * MIB
            if not v.fs_behind and has < v.size - overhead - 0.1 * v.size:
                raise Trouble(f'{v.name}: its {v.kind} has {has} of {v.size}')

    # ---- what is done

    def bring_up(self, v):
        self.machine.make_dir(v.staging)
        self.machine.make_dir(v.target.parent)
        if self.random.random() < 0.15:
            self.attempt('stage', lambda c: c.stage(v.id, v.staging, v.cap))
            if self.random.random() < 0.5:
                self.call('stage', lambda c: c.stage(v.id, v.staging, v.cap))
                self.attempt('publish', lambda c: c.publish(v.id, v.staging, v.target, v.cap))
            self.bring_down(v)
        self.call('stage', lambda c: c.stage(v.id, v.staging, v.cap))
        self.call('publish', lambda c: c.publish(v.id, v.staging, v.target, v.cap))
        v.is_up, v.fs_behind = True, False

    def bring_down(self, v):
        self.call('unpublish', lambda c: c.unpublish(v.id, v.target), busy=True)
        self.call('unstage', lambda c: c.unstage(v.id, v.staging), busy=True)
        v.is_up = False

    def restage(self, v):
        self.bring_down(v)
        if self.random.random() < 0.2:
            self.fsck(v)
        self.bring_up(v)
        self.check(v)

    def fsck(self, v):
        """It was unmounted, so its filesystem is whole as it lies there."""
        words = {'ext4': ['e2fsck', '-fn'], 'xfs': ['xfs_repair', '-n']}.get(v.kind)
        if not words or v.cut:
            return
        status, out = self.machine.run(*words, self.pool.dir / v.name)
        if status:
            raise Trouble(f'{v.name}: {words[0]}: {out}')

    def finish_create(self, v):
        self.now = f'create {v.kind} {v.name} {v.create_words}'
        made = self.call('create', lambda c: c.create(v.name, caps=[v.cap], **v.create_words))
        v.id = made.volume_id
        if made.capacity_bytes != v.size:
            raise Trouble(f'{v.name}: made with {made.capacity_bytes}, not {v.size}')
        self.volumes.append(v)

    def class_of(self, kind):
        """The StorageClass of a new volume: those that can be thin are in half of the cases."""
        return {'parameters': {'provisioning': self.random.choice(['thick', 'thin'])}} if kind == 'xfs' else {}

    def plant(self):
        kind = self.random.choice(['ext4', 'ext4', 'xfs', 'raw', 'raw'])
        v = Plant(self.driver, self.dir, kind, SIZES[kind], **self.class_of(kind))
        self.settle(lambda: self.finish_create(v))
        self.bring_up(v)
        self.dig(v)
        self.check(v)

    def dig(self, v):
        """The place of its records."""
        self.machine.write(v.path(), 0, b'\0' * (SLOTS * STRIDE))
        v.is_planted = True

    @contextlib.contextmanager
    def written_to(self, cut):
        """Those of its volumes that are up are written to meanwhile, one record after the other; all that may be seen of
        them is in the cut then."""
        volumes_up = [v for v in cut.volumes if v.is_up]
        for v in volumes_up:   # without a sync: a cut has it all the same
            self.write(v, self.random.randrange(SLOTS), sync=False)
        cut.begin()
        stop, chance = False, random.Random(self.random.random())
        going = volumes_up and self.random.random() < 0.7

        def run():
            while not stop:
                v = chance.choice(volumes_up)
                self.write(v, chance.choice(self.slots_of(v)))

        thread = threading.Thread(target=lambda: results.append(in_threads_result(run)))
        results = []
        if going:
            thread.start()
        try:
            yield
        finally:
            stop = True
            if going:
                thread.join()
            cut.end()
        if results and results[0] and not isinstance(results[0], PowerCut):
            raise results[0]

    def how(self, *volumes):
        """Parameters of a snapshot class that these volumes allow."""
        may = [{}, {}, {'freeze': 'true'}]
        if len(volumes) == 1:
            v, = volumes
            if not v.is_up:
                may.append({'maxExtents': '1'})    # a copy of a volume that is down
            elif v.kind != 'raw':
                may.append({'maxExtents': '1', 'freeze': 'true'})    # of one that is frozen
        return self.random.choice(may)

    def known(self):
        return [v for v in self.volumes if v.is_planted and not v.cut]

    def snapshot(self):
        v = self.random.choice(self.known())
        name, words = f'snapshot-{uuid.uuid4()}', {'parameters': self.how(v)}
        cut = Cut(v)
        self.settle(lambda: self.finish_snapshot(v, name, words, cut))

    def finish_snapshot(self, v, name, words, cut):
        self.now = f'snapshot {name} of {v.name} {words}'
        with self.written_to(cut):
            told = self.call(f'snapshot {"".join(words["parameters"])}'.strip(), lambda c: c.snapshot(name, v.id, **words))
        if told.size_bytes < v.size or told.source_volume_id != v.id:
            raise Trouble(f'a snapshot of {v.name} of {v.size}: {told}')
        taken = next((t for t in self.cuts if t.name == name), None)
        if not taken:
            taken = Taken(told, name, v, cut, 0, words)
            taken.size = told.size_bytes
            self.cuts.append(taken)
        self.same(steady(taken.told), steady(told))
        taken.told = self.ready(told)

    def ready(self, told):
        """It may still be copied, which nobody else waits for."""
        end = time.monotonic() + 3 * PATIENCE
        while not told.ready_to_use:
            if time.monotonic() > end:
                raise Trouble(f'a snapshot does not get ready: {told}')
            time.sleep(0.05)
            now, = self.repeat('list', lambda c: c.snapshots(snapshot_id=told.snapshot_id))
            self.same(steady(told), steady(now))
            told = now
        return told

    def group(self):
        may = [v for v in self.known() if v.kind != 'raw' or not v.is_up]
        if len(may) < 2:
            return
        name, cut = f'group-{uuid.uuid4()}', Cut(*self.random.sample(may, 2))
        self.settle(lambda: self.finish_group(name, cut))

    def finish_group(self, name, cut):
        volumes = cut.volumes
        ids = [v.id for v in volumes]
        self.now = f'group {name} of {[v.name for v in volumes]}'
        with self.written_to(cut):
            told = self.call('group', lambda c: c.group(name, ids))
        by_source = {s.source_volume_id: s for s in told.snapshots}
        for i, v in enumerate(volumes):
            taken = Taken(by_source[v.id], name, v, cut, i, {})
            taken.size, taken.group = by_source[v.id].size_bytes, told
            self.cuts.append(taken)

    def larger(self, size, limit):
        return min(size + self.random.choice([0, 0, STEP]), limit)

    def copy_of_snapshot(self):
        self.restore(self.random.choice(self.cuts))

    def restore(self, t):
        size = self.larger(t.size, SIZES[t.kind] + MAX_GROWTH)
        v = Plant(self.driver, self.dir, t.kind, size, t.cut, t.member, volume_content_source=of_snapshot(t.id),
                  **self.class_of(t.kind))
        self.settle(lambda: self.finish_create(v))
        self.bring_up(v)
        self.check(v)
        return v

    def copy_of_volume(self):
        source = self.random.choice(self.known())
        size = self.larger(source.size, SIZES[source.kind] + MAX_GROWTH)
        cut = Cut(source)
        v = Plant(self.driver, self.dir, source.kind, size, cut, 0, volume_content_source=of_volume(source.id),
                  **self.class_of(source.kind))
        self.settle(lambda: self.finish_copy(v, cut))
        self.bring_up(v)
        self.check(v)

    def finish_copy(self, v, cut):
        with self.written_to(cut):
            self.finish_create(v)

    def grow(self):
        v = self.random.choice(self.known())
        size = v.size + STEP
        if size > SIZES[v.kind] + MAX_GROWTH:
            return
        self.settle(lambda: self.finish_grow(v, size))
        if v.size != size or not v.is_up:
            return
        self.scribble(v, 2)
        if v.kind == 'ext4':   # where nothing lets it grow in use, it is said so, and it grows when it is staged next
            done = self.call('node expand', lambda c: c.node_expand(v.id, v.target, size), fallback=lambda e: None)
        else:
            done = self.call('node expand', lambda c: c.node_expand(v.id, v.target, size))
        v.fs_behind = v.fs_behind and not done
        self.check(v)

    def finish_grow(self, v, size):
        self.now = f'grow {v.name} to {size}'
        if self.random.random() < 0.3:   # given up, perhaps in the middle: it has one size or the other
            self.attempt('expand', lambda c: c.expand(v.id, size))
            got = self.call('expand', lambda c: c.expand(v.id, v.size))    # ABORTED while the other one still runs
            if got.capacity_bytes not in (v.size, size):
                raise Trouble(f'{v.name} has {got.capacity_bytes}, neither {v.size} nor {size}')
            v.size, v.fs_behind = got.capacity_bytes, v.kind != 'raw'
            return
        reply = self.call('expand', lambda c: c.expand(v.id, size))
        if reply.capacity_bytes != size:
            raise Trouble(f'{v.name} grew to {reply.capacity_bytes}, not to {size}')
        v.size, v.fs_behind = size, v.kind != 'raw'

    def work_on(self):
        v = self.random.choice(self.known())
        if not v.is_up:
            self.bring_up(v)
            self.check(v)
        self.scribble(v, 6)
        if self.random.random() < 0.5:
            self.restage(v)
        elif self.random.random() < 0.5:
            self.check(v)
            self.bring_down(v)

    def ask_again(self):
        """What was answered once is answered so again, also when its source is gone."""
        if self.cuts:
            t = self.random.choice(self.cuts)
            if t.group:
                ids = [x.id for x in self.cuts if x.group is t.group]
                self.same(t.group, self.call('get group', lambda c: c.get_group(t.group.group_snapshot_id, ids)))
            else:
                self.same(t.told, self.call('snapshot again', lambda c: c.snapshot(t.name, t.source.id, **t.words)))
            self.same([t.told], self.call('list', lambda c: c.snapshots(snapshot_id=t.id)))
        v = self.random.choice(self.volumes)
        if v.size == v.create_words['size']:
            self.same(v.id, self.call('create again', lambda c: c.create(v.name, caps=[v.cap], **v.create_words)).volume_id)
        got = self.call('get', lambda c: self.get(c, v))
        self.same((v.id, v.size), (got.volume_id, got.capacity_bytes))

    @staticmethod
    def get(calls, v):
        return calls.controller.ControllerGetVolume(
            csi.ControllerGetVolumeRequest(volume_id=v.id), timeout=PATIENCE, wait_for_ready=True).volume

    @staticmethod
    def same(first, second):
        if first != second:
            raise Trouble(f'it was {first}, now it is {second}')

    def remove_snapshot(self):
        t = self.random.choice(self.cuts)
        gone = [x for x in self.cuts if x is t or (t.group and x.group is t.group)]
        self.settle(lambda: self.finish_remove(t, gone))

    def finish_remove(self, t, gone):
        self.now = f'delete snapshot {t.name} {t.id}'
        for x in gone:
            x.is_doomed = True
        if t.group:
            ids = [x.id for x in gone]
            self.call('delete group', lambda c: c.delete_group(t.group.group_snapshot_id, ids))
        else:
            self.call('delete snapshot', lambda c: c.delete_snapshot(t.id))
        self.cuts = [x for x in self.cuts if x not in gone]
        for x in gone:
            self.same([], self.repeat('list', lambda c, x=x: c.snapshots(snapshot_id=x.id)))

    def remove_volume(self, v=None):
        v = v or self.random.choice(self.volumes)
        if not v.is_up:
            self.bring_up(v)
        self.check(v)
        self.bring_down(v)
        self.fsck(v)
        self.settle(lambda: self.finish_delete(v))

    def finish_delete(self, v):
        self.now = f'delete {v.name}'
        v.is_doomed = True
        self.call('delete', lambda c: c.delete(v.id), busy=True)
        if v in self.volumes:
            self.volumes.remove(v)
        if self.machine.look(self.pool.dir / v.name):
            raise Trouble(f'{v.name} was deleted and is there')

    def choose(self):
        if not self.known():
            return self.plant if not self.volumes else self.remove_volume
        may = [self.work_on] * 3 + [self.snapshot] * 3 + [self.grow] * 2 + [self.ask_again, self.remove_volume]
        if len(self.volumes) < self.max_volumes:
            may += [self.plant] * 2 + [self.copy_of_volume] * 2 + [self.copy_of_snapshot] * 3 * bool(self.cuts)
        else:
            may += [self.remove_volume] * 4
        if len(self.cuts) >= self.max_cuts:
            may = [self.remove_snapshot] * 3 + [f for f in may if f not in (self.snapshot, self.group)]
        else:
            may += [self.group] * 2
        return self.random.choice(may)

    def clear(self):
        """In any order; whatever each holds is looked at before."""
        while self.volumes or self.cuts:
            self.random.choice([self.remove_volume] * bool(self.volumes) + [self.remove_snapshot] * bool(self.cuts))()

    def run(self):
        try:
            while not self.stop:
                self.choose()()
            self.clear()
        except BaseException as e:  # judged by the test
            self.trouble = Trouble(f'{self.now}: {type(e).__name__}: {e}')
            self.trouble.__cause__ = e


def in_threads_result(f):
    """What it raised, or None."""
    try:
        f()
    except Exception as e:
        return e
    return None


def guards_of(program):
    """Processes that guard frozen filesystems, of this program."""
    found = []
    for entry in pathlib.Path('/proc').iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if b'freeze-guard' in (entry / 'cmdline').read_bytes() and os.readlink(entry / 'exe').startswith(str(program)):
                    found.append(int(entry.name))
    return found
