# SPDX-License-Identifier: Apache-2.0
"""Volumes become larger: in use where the kernel allows it to this process, else when they are staged next; and whatever is
killed in the middle, the same call again ends it."""
import fcntl
import hashlib
import os
import pathlib
import random
import struct
import subprocess
import threading
import time

import grpc
import pytest
from harness import MIB, Code, Mode, block_cap, fails, mount_cap, sh, starting, wait_until
from test_process import cleat

SEED = int(os.environ.get('CLEAT_SEED', random.randrange(1 << 32)))
BLKGETSIZE64 = 0x80081272
CAP_SYS_RESOURCE = 24


def has_capability(cap):
    status = pathlib.Path('/proc/self/status').read_text()
    return bool(int(status.split('CapEff:')[1].split()[0], 16) >> cap & 1)


CAN_GROW_EXT4 = has_capability(CAP_SYS_RESOURCE)


def fill(v, seed=7):
    """Files of some MiB; their digest."""
    data = random.Random(seed)
    for i in range(30):
        with starting, open(v.staging / f'f{i}', 'wb') as f:
            f.write(data.randbytes(MIB // 4))
    sh('sync', '-f', v.staging)
    return digest(v)


def digest(v):
    h = hashlib.sha256()
    for p in sorted(v.staging.glob('f*')):
        h.update(p.read_bytes())
    return h.hexdigest()


def fs_size(path):
    s = os.statvfs(path)
    return s.f_blocks * s.f_frsize


def device_size(fd):
    buf = fcntl.ioctl(fd, BLKGETSIZE64, b'\0' * 8)
    return struct.unpack('Q', buf)[0]


def is_thick(v, pool, size):
    st = (pool.dir / v.name).stat()
    return st.st_size == size and st.st_blocks * 512 >= size


def test_xfs_grows_in_use(volume, pool):
    v = volume(cap=mount_cap('xfs'), size=320 * MIB).up()
    before, before_bytes = fill(v), fs_size(v.target)
    for _ in range(2):
        reply = v.calls.expand(v.id, 640 * MIB)
        assert (reply.capacity_bytes, reply.node_expansion_required) == (640 * MIB, True)
    assert is_thick(v, pool, 640 * MIB)
    with starting, open(v.target / 'open', 'wb') as f:
        for _ in range(2):
            assert v.calls.node_expand(v.id, v.target, 640 * MIB).capacity_bytes == 640 * MIB
            f.write(b'x' * MIB)
    assert fs_size(v.target) - before_bytes == 320 * MIB
    assert digest(v) == before
    assert v.calls.stats(v.id, v.target).usage[0].total == fs_size(v.target)
    (volume,) = v.calls.volumes()
    assert volume.capacity_bytes == 640 * MIB
    with starting, open(v.target / 'more', 'wb') as f:
        f.write(b'y' * (400 * MIB))   # more than it had


def test_a_raw_device_that_is_open_shows_its_new_size(volume, pool):
    v = volume(cap=block_cap(Mode.SINGLE_NODE_MULTI_WRITER), size=64 * MIB).create().stage().publish()
    reader = v.target.with_name('reader')
    v.publish(readonly=True, target=reader)
    with starting, open(v.target, 'r+b', buffering=0) as f, open(reader, 'rb', buffering=0) as r:
        f.write(b'first')
        reply = v.calls.expand(v.id, 128 * MIB)
        assert (reply.capacity_bytes, reply.node_expansion_required) == (128 * MIB, False)
        assert device_size(f.fileno()) == device_size(r.fileno()) == 128 * MIB
        f.seek(128 * MIB - 4)
        f.write(b'last')
        f.seek(0)
        assert f.read(5) == b'first'
    assert v.calls.node_expand(v.id, v.target, 128 * MIB).capacity_bytes == 128 * MIB
    assert v.calls.node_expand(v.id, reader, 128 * MIB).capacity_bytes == 128 * MIB
    assert is_thick(v, pool, 128 * MIB)
    v.unpublish(reader)


def test_ext4_grows_in_use_or_at_its_next_stage(volume, pool):
    v = volume(size=64 * MIB).up()
    before, before_bytes = fill(v), fs_size(v.target)
    assert v.calls.expand(v.id, 640 * MIB).node_expansion_required
    if CAN_GROW_EXT4:
        v.calls.node_expand(v.id, v.target, 640 * MIB)
    else:
        with fails(Code.FAILED_PRECONDITION, 'CAP_SYS_RESOURCE', 'staged next'):
            v.calls.node_expand(v.id, v.target, 640 * MIB)
        assert fs_size(v.target) == before_bytes
        v.unpublish().unstage().stage().publish()
    assert fs_size(v.target) > 600 * MIB
    assert v.calls.node_expand(v.id, v.target, 640 * MIB).capacity_bytes == 640 * MIB
    assert digest(v) == before
    v.unpublish().unstage()
    assert subprocess.run(['e2fsck', '-fn', pool.dir / v.name], capture_output=True, check=False).returncode == 0
    v.stage()
    assert digest(v) == before


@pytest.mark.parametrize('cap', [mount_cap('xfs'), mount_cap(), block_cap()], ids=['xfs', 'ext4', 'block'])
def test_what_grew_while_it_was_not_staged(volume, pool, driver, cap):
    v = volume(cap=cap, size=320 * MIB).create()
    v.calls.expand(v.id, 512 * MIB)
    assert v.calls.expand(v.id, 512 * MIB).capacity_bytes == 512 * MIB
    driver.restart()
    v.stage().publish()
    if cap.HasField('block'):
        with starting, open(v.target, 'rb') as f:
            assert device_size(f.fileno()) == 512 * MIB
    else:
        assert fs_size(v.target) > 420 * MIB
    assert v.calls.node_expand(v.id, v.target, 512 * MIB).capacity_bytes == 512 * MIB


def test_by_hand(volume, driver):
    v = volume(cap=mount_cap('xfs'), size=320 * MIB).create().stage()
    before = fs_size(v.staging)
    done = cleat('ctl', f'--endpoint=unix://{driver.socket}', 'volume', 'expand', v.name, '--size=512Mi', f'--staging={v.staging}')
    assert (done.returncode, 'and its filesystem' in done.stdout) == (0, True), done.stderr
    assert fs_size(v.staging) - before == 192 * MIB


def test_growth_that_does_not_fit_leaves_what_there_is(volume, pool):
    v = volume(cap=mount_cap('xfs'), size=320 * MIB).up()
    before, free = fill(v), pool.available()
    with fails(Code.OUT_OF_RANGE, 'are free'):
        v.calls.expand(v.id, 320 * MIB + free)
    assert abs(pool.available() - free) < MIB
    assert v.calls.node_expand(v.id, v.target).capacity_bytes == 320 * MIB
    assert digest(v) == before


def repeat(call):
    """As a CO does, whatever happens to the driver meanwhile."""
    def done():
        try:
            return call()
        except (grpc.RpcError, ValueError) as e:
            passing = (Code.UNAVAILABLE, Code.ABORTED, Code.CANCELLED, Code.DEADLINE_EXCEEDED)
            assert isinstance(e, ValueError) or e.code() in passing, e
            return None
    return wait_until('the call is answered', done)


def test_kills_in_mid_growth(volume, driver, pool):
    """On XFS, on a raw device and on an ext4 that is staged anew each time, all written to meanwhile."""
    print(f'CLEAT_SEED={SEED}')
    chance = random.Random(SEED)
    xfs = volume(cap=mount_cap('xfs'), size=320 * MIB).up()
    raw = volume(cap=block_cap(), size=64 * MIB).create().stage().publish()
    ext4 = volume(size=64 * MIB).create().stage()
    before = fill(xfs), fill(ext4)
    ext4.unstage()
    with starting, open(raw.target, 'r+b') as f:
        f.write(b'raw')
    for i in range(1, 9):
        more = i * 16 * MIB
        calls = [lambda: repeat(lambda: xfs.calls.expand(xfs.id, 320 * MIB + more)),
                 lambda: repeat(lambda: raw.calls.expand(raw.id, 64 * MIB + more)),
                 lambda: repeat(lambda: ext4.calls.expand(ext4.id, 64 * MIB + more)),
                 lambda: repeat(lambda: xfs.calls.node_expand(xfs.id, xfs.target, 320 * MIB + more)),
                 lambda: repeat(lambda: ext4.calls.stage(ext4.id, ext4.staging))]
        for call in calls:
            thread = threading.Thread(target=call)
            thread.start()
            time.sleep(chance.random() * 0.02)
            driver.restart()
            thread.join()
        assert is_thick(xfs, pool, 320 * MIB + more)
        assert is_thick(raw, pool, 64 * MIB + more)
        assert fs_size(xfs.target) > 320 * MIB + more - 100 * MIB
        assert fs_size(ext4.staging) > (64 * MIB + more) * 0.7
        with starting, open(raw.target, 'rb') as f:
            assert device_size(f.fileno()) == 64 * MIB + more
            assert f.read(3) == b'raw'
        assert (digest(xfs), digest(ext4)) == before
        repeat(lambda: ext4.calls.unstage(ext4.id, ext4.staging))


def tear(image, words):
    """Some words of the superblock as if whoever was at it had been killed before it came to the checksum."""
    with open(image, 'r+b') as f:
        for at, value in words.items():
            f.seek(1024 + at)
            f.write(value.to_bytes(4, 'little'))


@pytest.mark.parametrize('words', [
    {0x04: 128 * MIB // 4096}, {0x04: 128 * MIB // 4096, 0x0c: 5}, {0x2c: 1, 0x30: 1}, {0x38: 0x0003ef53}], ids=['size', 'counts', 'times', 'errors'])
def test_a_superblock_that_was_written_in_part_is_mended(volume, pool, words):
    """e2fsprogs writes it word by word, the checksum last."""
    v = volume(size=64 * MIB).create().stage()
    before = fill(v)
    v.unstage()
    v.calls.expand(v.id, 128 * MIB)
    sh('e2fsck', '-fp', pool.dir / v.name)
    tear(pool.dir / v.name, words)
    v.stage()
    assert fs_size(v.staging) > 128 * MIB * 0.85
    assert digest(v) == before


def test_a_superblock_that_is_damaged_is_a_persons(volume, pool):
    v = volume(size=64 * MIB).create().stage()
    fill(v)
    v.unstage()   # mounted since it was checked: nobody who grows it was at it
    tear(pool.dir / v.name, {0x0c: 5})
    with fails(Code.FAILED_PRECONDITION, 'is repaired'):
        v.stage()


def test_an_ext4_that_was_cut_short_in_growing_is_mended(volume, pool):
    """resize2fs is killed at work, as with the whole container; real errors are still a person's (test_condition.py)."""
    v = volume(size=64 * MIB).create().stage()
    before = fill(v)
    image, chance, n_half = pool.dir / v.name, random.Random(SEED), 0
    for i in range(12):
        v.unstage()
        size = (128 + 64 * i) * MIB
        v.calls.expand(v.id, size)
        sh('e2fsck', '-fp', image)
        with subprocess.Popen(['resize2fs', image], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tool:
            time.sleep(chance.random() * 0.015)
            tool.kill()
        with open(image, 'rb') as f:
            n_half += bool(f.read(2048)[1024 + 0x3a] & 2)
        v.stage()
        assert fs_size(v.staging) > size * 0.85
        assert digest(v) == before
    print(f'{n_half} of 12 were cut short at work')


def test_a_frozen_filesystem_does_not_hold_up_the_others(volume):
    """The call waits for the thaw, and those for other volumes are served."""
    v, other = volume(cap=mount_cap('xfs'), size=320 * MIB).create().stage(), volume(cap=mount_cap('xfs'), size=320 * MIB)
    v.calls.expand(v.id, 640 * MIB)
    sh('fsfreeze', '-f', v.staging)
    try:
        thread = threading.Thread(target=lambda: v.calls.node_expand(v.id, v.staging, 640 * MIB))
        thread.start()
        other.up()
        with fails(Code.ABORTED, 'NodeExpandVolume'):
            wait_until('it runs', lambda: v.calls.node_expand(v.id, v.staging, 640 * MIB) and False, 5)
    finally:
        sh('fsfreeze', '-u', v.staging)
    thread.join()
    assert fs_size(v.staging) > 560 * MIB
