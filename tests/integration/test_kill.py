# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at random moments under load. After each round the same calls are simply repeated, as a CO does; at the end not
a loop device, mount, file or volume is left. CLEAT_KILLS says how often (20; `make kill`: 200), CLEAT_SEED repeats a run."""
import os
import random
import threading
import time
import uuid

import grpc
from harness import MIB, PATIENCE, Volume, block_cap, mount_cap, mountinfo, starting

KILLS = int(os.environ.get('CLEAT_KILLS', '20'))
SEED = int(os.environ.get('CLEAT_SEED', random.randrange(1 << 32)))
WORKERS = 6


class Trouble(Exception):
    pass


class Patience:
    """What a CO repeats, and for how long. FAILED_PRECONDITION on the way down is busy: the kernel lets go of a mount or a
    loop device that another process looked at only when it is done, which is soon; anything that lasts is a fault."""
    PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED,
               grpc.StatusCode.DEADLINE_EXCEEDED)

    def __init__(self, step):
        self.step, self.end, self.busy_end = step.__name__, time.monotonic() + 4 * PATIENCE, None

    def judge(self, e):
        now = time.monotonic()
        if e.code() == grpc.StatusCode.FAILED_PRECONDITION and self.step in ('unpublish', 'unstage', 'delete'):
            self.busy_end = self.busy_end or now + 5
            if now < self.busy_end:
                return
        elif e.code() in self.PASSING and now < self.end:
            return
        raise Trouble(f'{self.step}: {e.code()}: {e.details()}') from e


class Worker:
    """Leads volumes through their lives for ever; a failed step is repeated until it works."""

    def __init__(self, driver, directory, caps, seed):
        self.driver, self.dir, self.random = driver, directory, random.Random(seed)
        self.caps, self.stop, self.trouble, self.n_done = caps, False, None, 0
        self.thread = threading.Thread(target=self.run)

    @staticmethod
    def repeat(step):
        patience = Patience(step)
        while True:
            try:
                return step()
            except grpc.RpcError as e:
                patience.judge(e)
            except ValueError:  # the channel was closed for the next process
                pass
            time.sleep(0.01)

    def live(self):
        v = Volume(self.driver, self.dir, cap=self.random.choice(self.caps), size=24 * MIB)
        v.marker = uuid.uuid4().bytes
        self.repeat(v.create)
        self.repeat(v.stage)
        self.repeat(v.publish)
        self.write(v)
        if self.random.random() < 0.3:
            self.repeat(v.unpublish)
            self.repeat(v.unstage)
            self.repeat(v.stage)
            self.repeat(v.publish)
        assert self.read(v) == v.marker, 'data lost'
        self.repeat(v.unpublish)
        self.repeat(v.unstage)
        self.repeat(v.delete)
        self.n_done += 1

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

    def run(self):
        try:
            while not self.stop:
                self.live()
        except BaseException as e:  # judged by the test
            self.trouble = e


def test_random_kills_leave_nothing(driver, pool, work):
    print(f'CLEAT_SEED={SEED}')
    chance = random.Random(SEED)
    caps = [mount_cap(), mount_cap(), block_cap()]
    workers = [Worker(driver, work, caps, chance.random()) for _ in range(WORKERS)]
    for w in workers:
        w.thread.start()
    try:
        for _ in range(KILLS):
            time.sleep(chance.random() * 0.15)
            driver.restart()
            assert [w.trouble for w in workers if w.trouble] == []
    finally:
        for w in workers:
            w.stop = True
        for w in workers:
            w.thread.join(8 * PATIENCE)
    assert [w.trouble for w in workers if w.trouble] == []
    assert not any(w.thread.is_alive() for w in workers), 'a call hangs'
    assert sum(w.n_done for w in workers) > 0
    assert driver.calls.volumes() == []
    assert pool.loops() == {}
    assert pool.files() == []
    assert [m[0] for m in mountinfo() if m[0].startswith(str(work))] == []
