# SPDX-License-Identifier: Apache-2.0
"""The disk itself: what was flushed is there after a cut, of the rest any version of each block, and a disk that lies loses."""
import random

from disk import BLOCK, Disk

SIZE = 64 * BLOCK


def block(n):
    return bytes([n]) * BLOCK


def disk_of(tmp_path, **words):
    path = tmp_path / 'file'
    path.write_bytes(b'\0' * SIZE)
    return Disk(open(path, 'r+b'), SIZE, **words)


def content(disk):
    return [disk.stored(i)[0] for i in range(SIZE // BLOCK)]


def test_it_reads_what_was_written_last(tmp_path):
    d = disk_of(tmp_path)
    d.write(BLOCK, block(1) + block(2))
    d.flush()
    d.write(2 * BLOCK, block(3))
    assert d.read(0, 4 * BLOCK) == block(0) + block(1) + block(3) + block(0)
    assert d.read(BLOCK + 7, 9) == bytes([1]) * 9


def test_what_was_flushed_survives_whatever_is_drawn(tmp_path):
    d = disk_of(tmp_path)
    for n in range(1, 4):
        d.write(0, block(n) * 8)
        d.flush()
    d.write(8 * BLOCK, block(9) * 8)
    assert d.cut(random.Random(1), 0) == (8, 8)
    assert content(d)[:17] == [3] * 8 + [0] * 9


def test_fua_makes_its_own_blocks_safe_and_no_others(tmp_path):
    d = disk_of(tmp_path)
    d.write(0, block(1) * 4)
    d.flush(1, 2)
    d.cut(random.Random(1), 0)
    assert content(d)[:5] == [0, 1, 1, 0, 0]


def test_each_version_since_the_flush_is_possible(tmp_path):
    d, seen = disk_of(tmp_path), set()
    for seed in range(40):
        d.write(0, block(1) * 16)
        d.flush()
        d.write(0, block(2) * 16)
        d.write(0, block(3) * 16)
        d.cut(random.Random(seed), 0.5)
        seen.add(tuple(content(d)[:16]))
    assert len(seen) > 30
    assert {v for s in seen for v in s} == {1, 2, 3}
    assert any(len(set(s)) == 3 for s in seen), 'a write never survived in part'


def test_one_that_lies_loses_what_was_flushed(tmp_path):
    d = disk_of(tmp_path, ignores_flushes=True)
    d.write(0, block(1) * 4)
    d.flush()
    assert d.read(0, BLOCK) == block(1)
    assert d.cut(random.Random(1), 0) == (4, 4)
    assert content(d)[:4] == [0] * 4
