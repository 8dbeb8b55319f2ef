# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of the driver at random moments while volumes are made, snapshotted, restored, cloned, grown and deleted. Each call is
repeated until it is done, as a CO does; then nothing is left: no image, nothing in the trash, no entry of the journal, no other
object. CLEAT_KILLS says how often (20), CLEAT_SEED repeats what is done and when."""
import os
import random
import time

import killing
from harness import MIB

KILLS = int(os.environ.get('CLEAT_KILLS', '20'))
SEED = int(os.environ.get('CLEAT_SEED', random.randrange(1 << 32)))
WORKERS = 4


class Worker(killing.Worker):
    """What a driver that was killed had open is busy until its watch ends, which takes the cluster 30 s."""
    BUSY, BUSY_S, PATIENCE_S = ('delete',), 90, 90

    def __init__(self, driver, number, seed):
        super().__init__()
        self.driver, self.number, self.random = driver, number, random.Random(seed)

    def call(self, what, call):
        return self.repeat(what, lambda: call(self.driver.calls))

    def live(self):
        """A volume with what comes of it; all is taken down in an order of its own."""
        name = f'{self.number}-{self.n_lives}'
        v = self.call('create', lambda calls: calls.create(f'pv-{name}').volume_id)
        down = [lambda calls: calls.delete(v)]
        if self.random.random() < 0.7:
            s = self.call('snapshot', lambda calls: calls.snapshot(f'snapshot-{name}', v).snapshot_id)
            down.append(lambda calls: calls.delete_snapshot(s))
            r = self.call('restore', lambda calls: calls.restore(f'pv-r-{name}', s).volume_id)
            down.append(lambda calls: calls.delete(r))
        if self.random.random() < 0.5:
            c = self.call('clone', lambda calls: calls.clone(f'pv-c-{name}', v).volume_id)
            down.append(lambda calls: calls.delete(c))
        if self.random.random() < 0.5:
            self.call('expand', lambda calls: calls.expand(v, 128 * MIB))
        self.random.shuffle(down)
        for call in down:
            self.call('delete', call)


def test_random_kills_leave_nothing(rbd):
    print(f'CLEAT_SEED={SEED}')
    chance = random.Random(SEED)
    workers = [Worker(rbd, number, chance.random()) for number in range(WORKERS)]

    def kills():
        for _ in range(KILLS):
            time.sleep(chance.random() * 0.8)
            rbd.restart()
            killing.killed(workers)
    killing.work_through(workers, 900, kills)
