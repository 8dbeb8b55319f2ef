# SPDX-License-Identifier: Apache-2.0
"""ext4 grows in use, which takes CAP_SYS_RESOURCE: while it is written to, killed in the middle, and with the power cut after."""
import contextlib
import random
import threading
import time

import grpc
import guest
import pytest
from harness import MIB, Code, csi, fails, mount_cap

GROWTHS = 4
PASSING = (Code.UNAVAILABLE, Code.ABORTED, Code.CANCELLED, Code.DEADLINE_EXCEEDED)


class Writer:
    """Appends synced blocks to a file, and knows how many have been."""

    def __init__(self, machine, path):
        self.machine, self.path, self.n, self.stop, self.trouble, self.thread = machine, path, 0, False, None, None

    @staticmethod
    def block(n):
        return f'{n:16}'.encode() * 256

    def run(self):
        try:
            while not self.stop:
                self.machine.write(self.path, self.n % 512 * 4096, self.block(self.n))
                self.n += 1
        except Exception as e:  # judged by the test
            self.trouble = e

    def __enter__(self):
        self.stop, self.trouble, self.thread = False, None, threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop = True
        self.thread.join()

    def check(self, machine):
        assert self.trouble is None
        self.check_what_was_synced(machine)

    def check_what_was_synced(self, machine):
        """The last one may be there or not, if it was cut short."""
        assert self.n > 0
        data = machine.read(self.path, 0, 512 * 4096)
        for n in range(max(0, self.n - 511), self.n):
            assert data[n % 512 * 4096:][:4096] == self.block(n), f'block {n} of {self.n} is lost'


def size(machine, v):
    return machine.look(v.target)[0]


def is_clean(machine, v):
    status, said = machine.run('e2fsck', '-fn', f'/pool/{v.name}')
    assert status == 0, said


def test_ext4_grows_in_use_while_it_is_written_to(machine):
    v = machine.volume(size=64 * MIB).stage().publish()
    sizes = [size(machine, v)]
    with Writer(machine, v.target / 'file') as w:
        for bytes_ in (128 * MIB, 320 * MIB, 640 * MIB):
            reply = machine.calls.expand(v.id, bytes_)
            assert (reply.capacity_bytes, reply.node_expansion_required) == (bytes_, True)
            for _ in range(2):
                assert machine.calls.node_expand(v.id, v.target, bytes_).capacity_bytes == bytes_
            sizes.append(size(machine, v))
            n = w.n
            guest.wait_for('it is written to', lambda n=n: w.n > n + 3 or w.trouble, 60)
    w.check(machine)
    assert all(b > a for a, b in zip(sizes, sizes[1:])), sizes
    assert sizes[-1] > 600 * MIB
    machine.sure('dd', 'if=/dev/zero', f'of={v.target}/more', 'bs=1M', 'count=300', 'conv=fsync')    # more than it had
    v.unpublish().unstage()
    is_clean(machine, v)
    v.stage().publish()
    w.check(machine)
    v.down()


def repeat(call):
    """As a CO does, whatever happens to the driver meanwhile."""
    end = time.monotonic() + 120
    while True:
        try:
            return call()
        except grpc.RpcError as e:
            assert e.code() in PASSING and time.monotonic() < end, e
        time.sleep(0.01)


def attempt(v, bytes_):
    with contextlib.suppress(grpc.RpcError, ValueError):
        v.calls.node_expand(v.id, v.target, bytes_)


def test_kills_in_mid_growth(machine, seed):
    chance = random.Random(seed)
    v = machine.volume(size=64 * MIB).stage().publish()
    n_in_the_middle = 0
    with Writer(machine, v.target / 'file') as w:
        for i in range(1, 13):
            bytes_ = (64 + 32 * i) * MIB
            machine.calls.expand(v.id, bytes_)
            before, replies = size(machine, v), []
            thread = threading.Thread(
                target=lambda b=bytes_: replies.append(repeat(lambda: machine.calls.node_expand(v.id, v.target, b))))
            thread.start()
            time.sleep(chance.random() * 0.1)
            n_in_the_middle += not replies
            machine.kill_driver()
            machine.spawn_driver()
            thread.join()
            assert replies[0].capacity_bytes == bytes_
            assert size(machine, v) > before
    w.check(machine)
    assert n_in_the_middle > 3
    v.unpublish().unstage()
    is_clean(machine, v)
    v.stage().publish()
    assert size(machine, v) > 400 * MIB
    v.down()


@pytest.mark.parametrize('fs, first', [('ext4', 64 * MIB), ('xfs', 320 * MIB)])
def test_growth_in_use_outlives_a_power_cut_right_after(machine, work, disk, seed, fs, first):
    """Cut when the answer is there; the same, of a snapshot taken then, is its restore."""
    v = machine.volume(cap=mount_cap(fs), size=first).stage().publish()
    with Writer(machine, v.target / 'file') as w:
        machine.calls.expand(v.id, 2 * first)
        guest.wait_for('it is written to', lambda: w.n > 5 or w.trouble, 60)
        machine.calls.node_expand(v.id, v.target, 2 * first)
        grown = size(machine, v)
        snap = machine.calls.snapshot(f'snap-{v.name}', v.id).snapshot_id
        machine.write(v.target / 'last', 0, b'x' * MIB)
        machine.cut()
    with_next = guest.Machine(work / 'next', disk, seed + 1)
    try:
        with_next.mount_pool().start_driver()
        v.driver = with_next
        v.stage().publish()
        assert size(with_next, v) == grown
        assert with_next.read(v.target / 'last', 0, 2 * MIB) == b'x' * MIB
        w.check_what_was_synced(with_next)
        copy = with_next.volume(cap=mount_cap(fs), size=2 * first, volume_content_source=csi.VolumeContentSource(
            snapshot=csi.VolumeContentSource.SnapshotSource(snapshot_id=snap))).stage().publish()
        assert size(with_next, copy) == grown
        copy.down()
        v.down()
        with_next.calls.delete_snapshot(snap)
        status, said = with_next.run('cleat', 'ctl', 'doctor', '--pool=/pool')
        assert status == 0, said
    finally:
        with_next.cut()


@pytest.mark.parametrize('fs, first', [('ext4', 64 * MIB), ('xfs', 320 * MIB)])
def test_power_cuts_in_mid_growth(work, disk, seed, fs, first):
    """Whatever was synced before is there, and the same call ends what was begun."""
    chance, v, w = random.Random(seed), None, None
    for i in range(GROWTHS + 1):
        machine = guest.Machine(work / f'boot-{i}', disk, chance.randrange(1 << 32))
        try:
            machine.mount_pool(is_new=i == 0).start_driver()
            if v:
                v.driver = w.machine = machine
                v.stage().publish()
                w.check_what_was_synced(machine)
            else:
                v = machine.volume(cap=mount_cap(fs), size=first).stage().publish()
                w = Writer(machine, v.target / 'file')
            bytes_ = first + (i + 1) * 64 * MIB
            repeat(lambda b=bytes_, m=machine: m.calls.expand(v.id, b))
            with w:
                guest.wait_for('it is written to', lambda n=w.n: w.n > n + 3 or w.trouble, 60)
                call = threading.Thread(target=lambda b=bytes_: attempt(v, b))
                machine.arm()
                call.start()
                machine.wait_until_stopped(chance.random())
                machine.cut()
            call.join()
            print(f'{fs} cut {i}: {machine.disk_said}')
        finally:
            machine.cut()


def test_what_csi_sanity_asks_of_growth(machine):
    """Its cases of NodeExpandVolume, on ext4: after stage, after publish, nothing named, nothing there."""
    calls = machine.calls
    v = machine.volume(size=64 * MIB)
    v.stage()
    calls.expand(v.id, 128 * MIB)
    assert calls.node_expand(v.id, v.staging, 128 * MIB).capacity_bytes == 128 * MIB
    v.publish()
    calls.expand(v.id, 192 * MIB)
    assert calls.node_expand(v.id, v.target, 192 * MIB).capacity_bytes == 192 * MIB
    assert machine.look(v.staging)[0] == size(machine, v) > 160 * MIB
    with fails(Code.INVALID_ARGUMENT, 'volume_id'):
        calls.node_expand('', v.target)
    with fails(Code.INVALID_ARGUMENT, 'volume_path'):
        calls.node_expand(v.id, '')
    with fails(Code.NOT_FOUND):
        calls.node_expand(v.id + 'x', v.target)
    with fails(Code.NOT_FOUND):
        calls.node_expand(v.id, '/v/elsewhere')
    v.down()
