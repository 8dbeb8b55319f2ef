# SPDX-License-Identifier: Apache-2.0
"""Changed blocks of volumes in use: what GetMetadataAllocated and GetMetadataDelta tell, against every byte of the
snapshots' files. CLEAT_ROUNDS says how often (30 of each kind of volume), CLEAT_SEED repeats a run."""
import ctypes
import json
import os
import random
import subprocess
import threading
import time
import uuid

import pytest
from harness import (CLEAT, MIB, Calls, Code, block_cap, csi, fails, mount_cap, of_snapshot, wait_until)
from test_kill import SEED

ROUNDS = int(os.environ.get('CLEAT_ROUNDS', '30'))
BLOCK = 4096
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
BLKDISCARD, BLKZEROOUT = 0x1277, 0x127f
SIZES = {'ext4': 64 * MIB, 'xfs': 320 * MIB}
libc = ctypes.CDLL(None, use_errno=True)


def ranges_of(messages):
    """[(offset, bytes)] of a stream, which must be as CSI says."""
    found, capacity = [], set()
    for m in messages:
        assert m.block_metadata_type == csi.VARIABLE_LENGTH
        capacity.add(m.volume_capacity_bytes)
        found += [(b.byte_offset, b.size_bytes) for b in m.block_metadata]
    assert len(capacity) == 1
    for (a, n), (b, _) in zip(found, found[1:]):
        assert n > 0 and a + n < b
    assert all(a % BLOCK == 0 and a + n <= min(capacity) for a, n in found)
    return found


def allocated(driver, snapshot_id, offset=0, max_results=0):
    return driver.calls.metadata.GetMetadataAllocated(csi.GetMetadataAllocatedRequest(
        snapshot_id=snapshot_id, starting_offset=offset, max_results=max_results), timeout=60)


def delta(driver, base, target, offset=0, max_results=0):
    return driver.calls.metadata.GetMetadataDelta(csi.GetMetadataDeltaRequest(
        base_snapshot_id=base, target_snapshot_id=target, starting_offset=offset, max_results=max_results), timeout=60)


def changed_blocks(base, target):
    """The numbers of the blocks of two files that differ, by their bytes; base None: zeros."""
    found = set()
    with open(target, 'rb') as new, open(base or '/dev/null', 'rb') as old:
        for at in range(0, target.stat().st_size, MIB):
            a, b = old.read(MIB).ljust(MIB, b'\0'), new.read(MIB).ljust(MIB, b'\0')
            if a != b:
                found |= {(at + i) // BLOCK for i in range(0, MIB, BLOCK) if a[i:i + BLOCK] != b[i:i + BLOCK]}
    return found


def assert_told(ranges, differing):
    told = {block for at, n in ranges for block in range(at // BLOCK, -(-(at + n) // BLOCK))}
    assert not differing - told, f'MISSED: {sorted(differing - told)[:20]} (CLEAT_SEED={SEED})'
    return len(told - differing)


class Writer:
    """What a pod may do to its volume."""

    def __init__(self, v, seed):
        self.v, self.random, self.is_block = v, random.Random(seed), v.target.is_block_device()
        if not self.is_block:
            for i in range(4):
                (v.target / f'file-{i}').write_bytes(b'')

    def data(self, n):
        return self.random.randbytes(n) if self.random.random() < 0.9 else bytes(n)

    def falloc(self, fd, mode, at, n):
        if libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(n)) != 0:
            assert ctypes.get_errno() in (95, 28), os.strerror(ctypes.get_errno())

    def device(self):
        r, size = self.random, self.v.create_words['size']
        fd = os.open(self.v.target, os.O_RDWR)
        try:
            for _ in range(r.randrange(1, 20)):
                n = BLOCK * r.randrange(1, 40)
                at = BLOCK * r.randrange((size - n) // BLOCK)
                kind = r.randrange(6)
                if kind == 0:
                    self.falloc(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, at, n)
                elif kind == 1:
                    self.falloc(fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, at, n)
                else:
                    skip = r.randrange(BLOCK)
                    os.pwrite(fd, self.data(n)[skip:], at + skip)
        finally:
            os.close(fd)

    def file(self):
        r = self.random
        path = self.v.target / f'file-{r.randrange(4)}'
        kind = r.randrange(12)
        if kind == 0:
            path.unlink()
            path.write_bytes(self.data(r.randrange(300000)))
            return
        fd = os.open(path, os.O_RDWR)
        try:
            at, n = r.randrange(4 * MIB), r.randrange(1, 300000)
            if kind == 1:
                self.falloc(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, at, n)
            elif kind == 2:
                self.falloc(fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, at, n)
            elif kind == 3:
                self.falloc(fd, 0, at, n)
            elif kind == 4:
                os.ftruncate(fd, at)
            elif kind == 5:
                os.fsync(fd)
            else:
                os.pwrite(fd, self.data(n), at)
        finally:
            os.close(fd)

    def write(self):
        if self.is_block:
            self.device()
            return
        for _ in range(self.random.randrange(1, 12)):
            self.file()
        if self.random.random() < 0.2:
            subprocess.run(['fstrim', self.v.target], check=False, capture_output=True)


@pytest.mark.parametrize('cap', [mount_cap('ext4'), mount_cap('xfs'), block_cap()], ids=['ext4', 'xfs', 'block'])
def test_no_block_of_a_volume_in_use_is_missed(driver, pool, volume, snapshot, cap):
    v = volume(cap=cap, size=SIZES.get(cap.mount.fs_type, 16 * MIB)).up()
    print(f'CLEAT_SEED={SEED}')
    writer, files = Writer(v, SEED), pool.dir / '.cleat' / 'snapshots'
    base, n_changed, n_extra = None, 0, 0
    for i in range(ROUNDS):
        writer.write()
        name = f'round-{uuid.uuid4()}'
        target = snapshot(v, name)
        if base is None or i % 10 == 0:
            assert_told(ranges_of(allocated(driver, target)), changed_blocks(None, files / name))
        if base:
            differing = changed_blocks(files / base[0], files / name)
            n_extra += assert_told(ranges_of(delta(driver, base[1], target)), differing)
            n_changed += len(differing)
            driver.calls.delete_snapshot(base[1])
        base = (name, target)
    print(f'{n_changed} blocks changed, 0 missed, {n_extra} told that had not')
    assert n_changed > 0


@pytest.fixture
def pair(volume, snapshot):
    """A raw volume and two snapshots of it; 100 single blocks have changed, of 40,000 the older has every other."""
    v = volume(cap=block_cap(), size=512 * MIB).up()
    with open(v.target, 'r+b', buffering=0) as f:
        for i in range(0, 80000, 2):
            os.pwrite(f.fileno(), b'x' * BLOCK, i * BLOCK)
    a = snapshot(v, parameters={'maxExtents': '0'})
    with open(v.target, 'r+b', buffering=0) as f:
        for i in range(1, 200, 2):
            os.pwrite(f.fileno(), b'y' * BLOCK, i * BLOCK)
    return v, a, snapshot(v, parameters={'maxExtents': '0'})


def test_streams_are_cut_as_asked_and_go_on_where_they_were(driver, pair):
    _, a, b = pair
    whole = list(delta(driver, a, b))
    assert len(whole) == 1 and whole[0].volume_capacity_bytes == 512 * MIB
    ranges = ranges_of(whole)
    assert [(at // BLOCK, n) for at, n in ranges] == [(i, BLOCK) for i in range(1, 200, 2)]
    assert [len(m.block_metadata) for m in delta(driver, a, b, max_results=30)] == [30, 30, 30, 10]
    for i in (0, 1, 50, 99):
        assert ranges_of(delta(driver, a, b, offset=ranges[i][0])) == ranges[i:]
        assert ranges_of(delta(driver, a, b, offset=ranges[i][0] + BLOCK)) == ranges[i + 1:]
    assert ranges_of(delta(driver, a, b, offset=512 * MIB)) == []
    assert len(ranges_of(allocated(driver, a))) == 40000
    assert ranges_of(delta(driver, b, b)) == []


def test_what_is_wrong_is_refused_by_name(driver, volume, snapshot, pair):
    _, a, b = pair
    of_other = snapshot(volume(size=16 * MIB).create())
    other_pool = a[:3] + ('0' * 32) + a[35:]
    for words, code, text in [
            (('', b), Code.INVALID_ARGUMENT, 'base_snapshot_id'), ((a, ''), Code.INVALID_ARGUMENT, 'target_snapshot_id'),
            ((b, a), Code.INVALID_ARGUMENT, 'newer'), ((a, of_other), Code.INVALID_ARGUMENT, 'one volume'),
            (('none', b), Code.NOT_FOUND, 'none'), ((a, b[:-1]), Code.NOT_FOUND, 'target_snapshot_id'),
            ((a, other_pool), Code.UNAVAILABLE, 'pool'),
            ((a, b, -1), Code.OUT_OF_RANGE, 'starting_offset'), ((a, b, 513 * MIB), Code.OUT_OF_RANGE, 'starting_offset'),
            ((a, b, 0, -1), Code.INVALID_ARGUMENT, 'max_results')]:
        with fails(code, text):
            list(delta(driver, *words))
    with fails(Code.INVALID_ARGUMENT, 'snapshot_id'):
        list(allocated(driver, ''))
    with fails(Code.OUT_OF_RANGE, 'starting_offset'):
        list(allocated(driver, a, -5))


def test_readers_that_do_not_read_hold_up_nobody(driver, pair):
    """More of them than there are workers for any other work; and none is in the way of who deletes the snapshot."""
    _, a, _b = pair
    calls = Calls(f'unix://{driver.socket}', options=[('grpc.http2.bdp_probe', 0), ('grpc.http2.lookahead_bytes', 65535)])
    slow = [calls.metadata.GetMetadataAllocated(csi.GetMetadataAllocatedRequest(snapshot_id=a, max_results=1), timeout=60)
            for _ in range(14)]
    first = [next(s) for s in slow]
    assert all(len(m.block_metadata) == 1 for m in first)
    begun = time.monotonic()
    for _ in range(3):
        assert len(driver.calls.snapshots()) == 2 and driver.calls.volumes()
    assert len(ranges_of(allocated(driver, a))) == 40000
    assert time.monotonic() - begun < 10
    driver.calls.delete_snapshot(a)
    for s in slow[:3]:
        with fails(Code.NOT_FOUND, 'deleted meanwhile'):
            for _ in s:
                pass
    for s in slow[3:]:
        s.cancel()
    calls.close()


def test_a_reader_that_goes_frees_its_worker(driver, pair):
    _, a, b = pair
    for _ in range(60):
        s = allocated(driver, a, max_results=1)
        next(s)
        s.cancel()
    wait_until('all are answered', lambda: len(ranges_of(delta(driver, a, b))) == 100)


def test_many_at_once(driver, pair):
    _, a, b = pair
    results = [None] * 12

    def run(i):
        results[i] = ranges_of(delta(driver, a, b)) if i % 2 else ranges_of(allocated(driver, a))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert [len(r) for r in results] == [40000, 100] * 6


def test_a_backup_of_what_is_told_restores_the_newer_snapshot(driver, pool, volume, snapshot):
    """As a backup does it: all of the first snapshot, then only what is told; the copy has every byte of the last."""
    v = volume(cap=mount_cap('ext4'), size=SIZES['ext4']).up()
    writer, copy, base = Writer(v, SEED), bytearray(SIZES['ext4']), None
    for i in range(5):
        writer.write()
        target = snapshot(v, f'backup-{i}')
        stream = delta(driver, base, target) if base else allocated(driver, target)
        restored = volume(cap=mount_cap('ext4'), size=0, volume_content_source=of_snapshot(target)).create()
        with open(pool.dir / restored.name, 'rb') as f:
            for at, n in ranges_of(stream):
                f.seek(at)
                copy[at:at + n] = f.read(n)
            f.seek(0)
            assert f.read() == copy
        base = target


def test_the_capability_is_told(driver):
    told = driver.calls.identity.GetPluginCapabilities(csi.GetPluginCapabilitiesRequest()).capabilities
    assert csi.PluginCapability.Service.SNAPSHOT_METADATA_SERVICE in [c.service.type for c in told]


def test_ctl_shows_maps_and_differences(driver, volume, snapshot):
    def ctl(*words):
        return subprocess.run([CLEAT, 'ctl', f'--endpoint=unix://{driver.socket}', 'snapshot', *words], capture_output=True,
                              text=True, check=False)

    v = volume(cap=block_cap(), size=16 * MIB).up()
    snapshot(v, 'monday')
    with open(v.target, 'r+b', buffering=0) as f:
        os.pwrite(f.fileno(), b'x' * 8192, 8192)
        os.pwrite(f.fileno(), b'x' * 4096, MIB)
    tuesday = snapshot(v, 'tuesday')
    table = ctl('diff', 'monday', tuesday)
    assert table.returncode == 0, table.stderr
    assert [line.split() for line in table.stdout.splitlines()] == [
        ['OFFSET', 'BYTES'], ['8192', '8192'], ['1048576', '4096'],
        ['12.0', 'KiB', 'of', '16.0', 'MiB', 'have', 'changed,', 'in', '2', 'ranges']]
    assert json.loads(ctl('diff', 'monday', 'tuesday', '-ojson', '--offset=1Mi').stdout) == {
        'block_metadata_type': 'VARIABLE_LENGTH', 'volume_capacity_bytes': 16 * MIB,
        'block_metadata': [{'byte_offset': MIB, 'size_bytes': 4096}]}
    assert ctl('map', 'tuesday', '-oid').stdout.split() == ['8192', '8192', '1048576', '4096']
    assert json.loads(ctl('map', 'monday', '-ojson').stdout)['block_metadata'] == []
    for words, code, text in [(('diff', 'monday'), 2, 'BASE TARGET'), (('diff', 'tuesday', 'monday'), 1, 'newer'),
                              (('diff', 'monday', 'none'), 1, 'NOT_FOUND'), (('map', 'none'), 1, 'NOT_FOUND'),
                              (('map', 'monday', 'tuesday'), 2, 'unexpected'),
                              (('map', 'monday', '--offset=17Mi'), 1, 'OUT_OF_RANGE')]:
        bad = ctl(*words)
        assert bad.returncode == code and text in bad.stderr, (words, bad)
