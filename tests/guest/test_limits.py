# SPDX-License-Identifier: Apache-2.0
"""Limits of I/O under cgroup v2: they are written to io.max of a pod's cgroup, whenever that comes, and the kernel holds them.
Times are the guest's, whose clock is also the limiter's; how fast the machine is without a limit is measured beside."""
import uuid

import pytest
from guest import wait_for
from harness import MIB, block_cap, mount_cap
from pods import Group, make_kubepods, write

SOON_S = 60


@pytest.fixture
def kubepods(machine):
    """As kubelet lays it out in the guest's own hierarchy."""
    make_kubepods(machine)
    return machine


class Pod(Group):
    def __init__(self, machine, volume, block=False):
        self.volume, self.uid = volume, str(uuid.uuid4())
        root = '/v/kubelet'
        self.target = f'{root}/plugins/kubernetes.io/csi/volumeDevices/publish/{volume.name}/{self.uid}' if block else \
            f'{root}/pods/{self.uid}/volumes/kubernetes.io~csi/{volume.name}/mount'
        super().__init__(machine, self.uid, self.target if block else f'{self.target}/file')

    def publish(self):
        self.machine.make_dir(self.target.rpartition('/')[0])
        self.volume.calls.publish(self.volume.id, self.volume.staging, self.target, self.volume.cap)
        return self

    def down(self):
        self.volume.calls.unpublish(self.volume.id, self.target)
        self.remove()
        self.volume.unstage().delete()


@pytest.mark.parametrize('cap', [mount_cap(), mount_cap('xfs'), block_cap()], ids=['ext4', 'xfs', 'block'])
def test_direct_io_is_held_to_its_limit(kubepods, cap):
    machine = kubepods
    v = machine.volume(cap=cap, size=320 * MIB).stage()
    pod = Pod(machine, v, block=cap.HasField('block')).publish().start()
    pod.direct_writes(256)    # so that the place is there
    free_writes, free_reads = 200 / pod.direct_writes(200), 200 / pod.direct_reads(200)
    machine.calls.modify(v.id, {'writeIOPS': '40', 'readIOPS': '50'})
    assert pod.is_limited(wiops=40, riops=50)
    writes, reads = 200 / pod.direct_writes(200), 200 / pod.direct_reads(200)
    print(f'a second: {free_writes:.0f} writes, limited to 40: {writes:.1f}; {free_reads:.0f} reads, limited to 50: {reads:.1f}')
    assert 20 < writes < 44
    assert 25 < reads < 55
    machine.calls.modify(v.id, {'writeIOPS': 'max', 'readIOPS': 'max', 'writeBandwidth': '512Ki'})
    assert pod.is_limited(wbps=512 << 10)
    bytes_ = 4 * MIB / pod.direct_writes(64, '64k')
    print(f'bytes a second, limited to 524288: {bytes_:.0f}')
    assert 256 << 10 < bytes_ < 576 << 10
    machine.calls.modify(v.id, {'writeBandwidth': 'max'})
    assert pod.is_limited()
    writes = 200 / pod.direct_writes(200)
    assert writes > 3 * 40, f'{writes:.1f} writes a second, though the limit is gone'
    pod.down()


def test_buffered_writes_are_held_too(kubepods):
    """Unlike under v1: with the memory controller the kernel knows whose pages it writes out."""
    machine = kubepods
    v = machine.volume(size=64 * MIB).stage()
    pod = Pod(machine, v).publish().start()
    words = ('if=/dev/zero', f'of={pod.file}', 'bs=64k', 'count=64', 'conv=fsync')
    free = pod.seconds(*words)
    machine.calls.modify(v.id, {'writeBandwidth': '1Mi'})
    limited = pod.seconds(*words)
    print(f'4 MiB and a sync: {free:.2f} s, limited to 1 MiB a second {limited:.2f} s')
    assert limited > 3
    pod.down()


def test_a_cgroup_that_comes_later_is_limited(kubepods):
    machine = kubepods
    v = machine.volume(size=64 * MIB, mutable_parameters={'readIOPS': '500', 'writeBandwidth': '20Mi'}).stage()
    pod = Pod(machine, v).publish()
    pod.start()
    wait_for('the pod is limited', lambda: pod.is_limited(riops=500, wbps=20 * MIB), SOON_S)
    device, = pod.limits()
    write(machine, f'{pod.group}/io.max', f'{device} riops=max wiops=3')
    wait_for('what a stranger wrote is mended', lambda: pod.is_limited(riops=500, wbps=20 * MIB), SOON_S)
    machine.kill_driver()
    write(machine, f'{pod.group}/io.max', f'{device} riops=7 wbps=max')
    machine.spawn_driver()
    wait_for('it is limited after a kill', lambda: pod.is_limited(riops=500, wbps=20 * MIB), SOON_S)
    machine.calls.unpublish(v.id, pod.target)
    assert pod.is_limited()
    pod.publish()
    assert pod.is_limited(riops=500, wbps=20 * MIB)
    pod.down()
