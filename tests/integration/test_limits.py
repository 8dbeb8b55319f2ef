# SPDX-License-Identifier: Apache-2.0
"""Limits of I/O in the kernel's own files, in a kubepods of the test's own below the real hierarchy of cgroup v1: they are
held there, they slow direct I/O down, they follow changes, kills and strangers' hands, and they go."""
import contextlib
import itertools
import os
import pathlib
import signal
import subprocess
import uuid

import pytest
from harness import CLEAT, MIB, Code, Driver, Mode, Volume, block_cap, csi, fails, loops_below, mount_cap, sh, wait_until

ROOT = pathlib.Path('/sys/fs/cgroup')
FILES = {'readIOPS': 'blkio.throttle.read_iops_device', 'writeIOPS': 'blkio.throttle.write_iops_device',
         'readBandwidth': 'blkio.throttle.read_bps_device', 'writeBandwidth': 'blkio.throttle.write_bps_device'}

if not (ROOT / 'blkio' / FILES['readIOPS']).exists():
    pytest.skip('limits: SKIPPED: this kernel has no cgroup v1 blkio at /sys/fs/cgroup/blkio; v2 is shown by '
                'tests/unit/host/test_cgroup.c', allow_module_level=True)


def lines(group, key):
    """{device: limit} in one file."""
    return dict(line.split() for line in (group / FILES[key]).read_text().splitlines())


def number_of(device):
    st = os.stat(device).st_rdev
    return f'{os.major(st)}:{os.minor(st)}'


def served(group, number, what='Write'):
    """Bytes that passed the throttle, by the kernel's own counter."""
    for line in (group / 'blkio.throttle.io_service_bytes').read_text().splitlines():
        words = line.split()
        if words[:2] == [number, what]:
            return int(words[2])
    return 0


class Kubepods:
    """As kubelet's cgroupfs driver lays it out, below a directory of ours (kubelet's --cgroup-root)."""

    def __init__(self):
        self.top = ROOT / 'blkio' / f'cleat-itest-{uuid.uuid4().hex[:8]}'
        self.pods = self.top / 'kubepods' / 'burstable'
        self.pods.mkdir(parents=True)
        self.processes = []

    def pod(self, uid, containers=('c1',)):
        group = self.pods / f'pod{uid}'
        for name in containers:
            (group / name).mkdir(parents=True, exist_ok=True)
        return group

    def run(self, group, script):
        """A shell whose processes all are in the cgroup."""
        child = subprocess.Popen(['sh', '-c', f'echo $$ > {group}/cgroup.procs; {script}'], start_new_session=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        child.group = group
        self.processes.append(child)
        return child

    def stop(self, child):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        self.processes.remove(child)
        wait_until('its processes have ended', lambda: not (child.group / 'cgroup.procs').read_text())

    def end(self):
        for child in list(self.processes):
            self.stop(child)
        groups = sorted((p for p in self.top.rglob('*') if p.is_dir()), reverse=True)
        wait_until('no process is left in the cgroups', lambda: not any(
            (g / 'cgroup.procs').read_text() for g in groups))
        for group in [*groups, self.top]:
            group.rmdir()


@pytest.fixture
def kubepods():
    k = Kubepods()
    yield k
    k.end()


class Pod:
    """A pod of one volume: the target where kubelet has it."""
    count = itertools.count()

    def __init__(self, volume, work, block=False):
        self.uid, self.volume = str(uuid.uuid4()), volume
        root = work / 'kubelet'
        self.target = root / 'plugins/kubernetes.io/csi/volumeDevices/publish' / volume.name / self.uid if block else \
            root / 'pods' / self.uid / 'volumes/kubernetes.io~csi' / volume.name / 'mount'

    def publish(self, **more):
        self.volume.publish(target=self.target, **more)
        return self

    def unpublish(self):
        self.volume.unpublish(self.target)
        return self


def device(pool, volume):
    return next(d for d, file in loops_below(pool.dir).items() if file.endswith('/' + volume.name))


def is_limited(groups, number, **limits):
    return all(lines(g, key).get(number, '0') == str(limits.get(key, 0)) for g in groups for key in FILES)


def test_the_capability_is_said(driver):
    caps = driver.calls.controller.ControllerGetCapabilities(csi.ControllerGetCapabilitiesRequest())
    assert csi.ControllerServiceCapability.RPC.MODIFY_VOLUME in [c.rpc.type for c in caps.capabilities]


def test_each_cgroup_of_the_pod_gets_them_whenever_it_comes(driver, volume, pool, work, kubepods):
    v = volume(mutable_parameters={'readIOPS': '500', 'writeBandwidth': '20Mi'}).create().stage()
    pod = Pod(v, work)
    number = number_of(device(pool, v))
    want = {'readIOPS': 500, 'writeBandwidth': 20 * MIB}
    early = kubepods.pod(pod.uid)
    pod.publish()
    # right after the publish, not a second later
    assert is_limited([early, early / 'c1'], number, **want)
    late = kubepods.pod(pod.uid, ['c2', 'c3/init'])
    wait_until('the containers are limited', lambda: is_limited([late / 'c2', late / 'c3/init'], number, **want))
    other = Pod(v, work)
    pod.unpublish()
    assert is_limited([early, early / 'c1', late / 'c2'], number)
    other.publish()
    group = kubepods.pod(other.uid)
    wait_until('the pod is limited', lambda: is_limited([group, group / 'c1'], number, **want))
    other.unpublish()
    v.unstage().delete()
    assert is_limited([group, group / 'c1'], number)


def test_a_change_reaches_running_pods_and_other_devices_are_left_alone(driver, volume, pool, work, kubepods):
    v = volume(mutable_parameters={'readIOPS': '500'}).create().stage()
    pod = Pod(v, work)
    group, number = kubepods.pod(pod.uid), number_of(device(pool, v))
    foreign = number_of(next(d for d, f in loops_below(pool.image.parent).items() if f == str(pool.image)))
    (group / FILES['readIOPS']).write_text(f'{foreign} 77')
    pod.publish()
    driver.calls.modify(v.id, {'readIOPS': '9k', 'writeIOPS': '8'})
    assert is_limited([group, group / 'c1'], number, readIOPS=9000, writeIOPS=8)
    with fails(Code.INVALID_ARGUMENT, 'writeBandwidth'):
        driver.calls.modify(v.id, {'readIOPS': '1', 'writeBandwidth': '0'})
    assert is_limited([group, group / 'c1'], number, readIOPS=9000, writeIOPS=8)
    (group / FILES['readIOPS']).write_text(f'{number} 0')
    (group / 'c1' / FILES['writeIOPS']).write_text(f'{number} 5')
    wait_until('what a stranger wrote is mended',
               lambda: is_limited([group, group / 'c1'], number, readIOPS=9000, writeIOPS=8))
    driver.calls.modify(v.id, {'readIOPS': 'max', 'writeIOPS': 'max'})
    assert is_limited([group, group / 'c1'], number)
    said = sh(CLEAT, 'ctl', f'--endpoint=unix://{driver.socket}', 'volume', 'modify', v.name, '--parameter=readIOPS=6')
    assert 'modified' in said
    assert is_limited([group, group / 'c1'], number, readIOPS=6)
    pod.unpublish()
    v.unstage().delete()
    assert is_limited([group, group / 'c1'], number)
    assert lines(group, 'readIOPS')[foreign] == '77'


def test_direct_io_is_limited(driver, volume, pool, work, kubepods):
    """Two pods write the same way to one volume, one by one: the limited one gets a small part of what the other gets while
    it writes. Of how fast the disk is nothing is said."""
    v = volume(size=128 * MIB, cap=mount_cap(mode=Mode.SINGLE_NODE_MULTI_WRITER)).create().stage()
    free, slow = Pod(v, work).publish(), Pod(v, work).publish()
    free_group, slow_group = kubepods.pod(free.uid), kubepods.pod(slow.uid)
    number = number_of(device(pool, v))
    driver.calls.modify(v.id, {'writeBandwidth': '256Ki'})
    assert is_limited([slow_group, slow_group / 'c1'], number, writeBandwidth=256 << 10)
    # The limit is of each pod's cgroups; a process that is in none of them is free.
    outside = kubepods.top / 'outside'
    outside.mkdir()

    def write(pod, name):
        return (f'while :; do dd if=/dev/zero of={pod.target}/{name} bs=64k count=256 oflag=direct conv=notrunc || exit 1;'
                'done')

    writer = kubepods.run(slow_group / 'c1', write(slow, 'slow'))
    wait_until('the limited one writes', lambda: served(slow_group / 'c1', number) > 0)
    fast = kubepods.run(outside, write(free, 'free'))
    before = served(slow_group / 'c1', number)
    wait_until('the free one has written 64 MiB', lambda: served(outside, number) >= 64 * MIB)
    got = served(slow_group / 'c1', number) - before
    kubepods.stop(fast)
    assert got * 4 < served(outside, number), f'{got} bytes passed the limit'
    before = served(slow_group / 'c1', number)
    driver.calls.modify(v.id, {'writeBandwidth': 'max'})
    wait_until('the limit is lifted', lambda: served(slow_group / 'c1', number) - before >= 64 * MIB)
    kubepods.stop(writer)
    assert is_limited([free_group, slow_group, slow_group / 'c1'], number)
    free.unpublish()
    slow.unpublish()
    v.unstage().delete()


@pytest.mark.parametrize('cap', [mount_cap(), block_cap()], ids=['mount', 'block'])
def test_a_killed_driver_finds_everything_again(driver, volume, pool, work, kubepods, cap):
    v = volume(cap=cap, mutable_parameters={'readIOPS': '500'}).create().stage()
    pod = Pod(v, work, block=cap.HasField('block')).publish()
    number = number_of(device(pool, v))
    driver.kill()
    group = kubepods.pod(pod.uid)
    driver.start()
    wait_until('the pod is limited', lambda: is_limited([group, group / 'c1'], number, readIOPS=500))
    driver.kill()
    (group / FILES['readIOPS']).write_text(f'{number} 0')
    (group / FILES['writeIOPS']).write_text(f'{number} 3')
    driver.start()
    wait_until('the pod is limited as it was', lambda: is_limited([group, group / 'c1'], number, readIOPS=500))
    driver.restart()
    pod.unpublish()
    assert is_limited([group, group / 'c1'], number)
    v.unstage().delete()


def test_what_a_killed_driver_left_is_lifted(driver, volume, pool, work, kubepods):
    """The record says no limits, the kernel has some: killed between the two."""
    v = volume().create().stage()
    pod = Pod(v, work).publish()
    group, number = kubepods.pod(pod.uid), number_of(device(pool, v))
    driver.kill()
    (group / 'c1' / FILES['readIOPS']).write_text(f'{number} 9')
    driver.start()
    wait_until('it is lifted', lambda: is_limited([group, group / 'c1'], number))
    pod.unpublish()
    v.unstage().delete()


def test_another_number_is_followed(driver, volume, pool, work, kubepods):
    v = volume(parameters={'writeIOPS': '40'}).create().stage()
    pod = Pod(v, work).publish()
    group, first = kubepods.pod(pod.uid), number_of(device(pool, v))
    wait_until('the pod is limited', lambda: is_limited([group], first, writeIOPS=40))
    pod.unpublish()
    v.unstage()
    other = volume().create().stage()  # takes the number
    v.stage()
    pod.publish()
    second = number_of(device(pool, v))
    assert is_limited([group], second, writeIOPS=40)
    assert first == second or is_limited([group], first)
    pod.unpublish()
    v.unstage().delete()
    other.unstage().delete()


def test_a_node_without_the_controller_says_so(work, pool, top):
    root = work / 'cgroups'
    root.mkdir()
    d = Driver(work, pool, f'--cgroup-root={root}').start()
    try:
        with fails(Code.INVALID_ARGUMENT, 'readIOPS=500', "'n1'", str(root), 'blkio', 'io'):
            d.calls.create('limited', mutable_parameters={'readIOPS': '500'})
        assert pool.files() == []
        v = Volume(d, work).create()
        with fails(Code.INVALID_ARGUMENT, 'writeIOPS=7', "'n1'"):
            d.calls.modify(v.id, {'writeIOPS': '7'})
        d.calls.modify(v.id, {'writeIOPS': 'max'})
        v.delete()
        d.stop()
    finally:
        d.end()
