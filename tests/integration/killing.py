# SPDX-License-Identifier: Apache-2.0
"""Workers that lead volumes through their lives while the driver is killed: each call is repeated until it is done, as a CO does."""
import threading
import time

import grpc
from here import Trouble

PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


class Worker:
    """One life after the other (live) until it is stopped; what is wrong is kept for the test. FAILED_PRECONDITION is busy where
    a step is one of BUSY, and repeated so long: anything that lasts is a fault, and so is any other answer. What a process had
    open as it was killed may keep a call waiting, so the time begins anew with each kill."""
    BUSY, BUSY_S, PATIENCE_S = (), 0, 0

    def __init__(self):
        self.stop, self.trouble, self.n_lives, self.last_kill = False, None, 0, 0.0
        self.thread = threading.Thread(target=self.run)

    def live(self):
        raise NotImplementedError

    def repeat(self, what, call):
        began, busy_since = time.monotonic(), None
        while True:
            try:
                return call()
            except grpc.RpcError as e:
                now = time.monotonic()
                is_busy = e.code() == grpc.StatusCode.FAILED_PRECONDITION and what in self.BUSY
                if is_busy:
                    busy_since = busy_since or now
                waited = now - max(self.last_kill, busy_since if is_busy else began)
                if waited > (self.BUSY_S if is_busy else self.PATIENCE_S) or not is_busy and e.code() not in PASSING:
                    raise Trouble(f'{what}: {e.code()}: {e.details()}') from e
            except ValueError:  # the channel was closed for the next process
                pass
            time.sleep(0.01)

    def run(self):
        try:
            while not self.stop:
                self.live()
                self.n_lives += 1
        except BaseException as e:  # judged by the test
            self.trouble = e


def killed(workers):
    """To be called after each kill."""
    for w in workers:
        w.last_kill = time.monotonic()
    check(workers)


def check(workers):
    trouble = [w.trouble for w in workers if w.trouble]
    assert not trouble, trouble


def work_through(workers, seconds, kills):
    """Lets them work while kills() goes on, then sees each come to the end of its life."""
    for w in workers:
        w.thread.start()
    try:
        kills()
    finally:
        for w in workers:
            w.stop = True
        for w in workers:
            w.thread.join(seconds)
    check(workers)
    assert not any(w.thread.is_alive() for w in workers), 'a call hangs'
    assert any(w.n_lives for w in workers), 'no volume came to its end'
