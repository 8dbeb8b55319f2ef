# SPDX-License-Identifier: Apache-2.0
"""Limits of I/O of a real Ceph's images: they are librbd's own settings in the image's metadata, whoever has the image open keeps
them, and follows when they change."""
import contextlib
import os
import pathlib
import signal
import subprocess

import ceph_driver
import cephfs_driver
import pytest
from ceph_driver import class_of, pool_of, settled
from harness import MIB, Code, csi, fails, mount_cap, wait_until

journal = pytest.importorskip('journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
PREFIX = 'conf_rbd_qos_'
SIZE = 400 * MIB


def image_of(volume_id):
    return f'csi-vol-{ceph_driver.HANDLE.fullmatch(volume_id)[1]}'


def limits(ceph, volume_id):
    """As librbd reads them: name of the setting without what all have before and behind it."""
    with pool_of(ceph) as io, journal.rbd.Image(io, image_of(volume_id), read_only=True) as image:
        return {key[len(PREFIX):-len('_limit')]: value for key, value in image.metadata_list() if key.startswith(PREFIX)}


def can_modify(calls):
    caps = calls.controller.ControllerGetCapabilities(csi.ControllerGetCapabilitiesRequest()).capabilities
    return csi.ControllerServiceCapability.RPC.MODIFY_VOLUME in [c.rpc.type for c in caps]


class OfFilesystems(cephfs_driver.Driver):
    """There is none in this cluster, and nobody who may use it: whoever is refused before that is asked needs neither."""

    def secrets(self):
        return {}


def test_the_capability_is_said_of_images_alone(rbd, ceph, tmp_path):
    assert can_modify(rbd.calls)
    fs = OfFilesystems(tmp_path, ceph)
    try:
        fs.start()
        assert not can_modify(fs.calls)
        with fails(Code.INVALID_ARGUMENT, 'mutable_parameters', "'readIOPS' (value '5')"):
            fs.calls.create('pv-1', mutable_parameters={'readIOPS': '5'})
    finally:
        fs.end()


def test_one_record_that_librbd_reads(rbd, ceph):
    """Made with limits, changed, changed again with the same words, and lifted; nothing but what is named changes."""
    calls = rbd.calls
    v = calls.create('pv-1', mutable_parameters={'readIOPS': '500', 'writeBandwidth': '20Mi'}).volume_id
    assert limits(ceph, v) == {'read_iops': '500', 'write_bps': str(20 * MIB)}
    assert calls.create('pv-1', mutable_parameters={'readIOPS': '500', 'writeBandwidth': '20Mi'}).volume_id == v
    with fails(Code.ALREADY_EXISTS, 'readIOPS=500', 'readIOPS=6'):
        calls.create('pv-1', mutable_parameters={'readIOPS': '6', 'writeBandwidth': '20Mi'})
    with pool_of(ceph) as io, journal.rbd.Image(io, image_of(v)) as image:
        image.metadata_set(f'{PREFIX}iops_limit', '7')  # of reads and writes together: an administrator's
    for _ in range(2):
        calls.modify(v, {'readIOPS': 'max', 'writeIOPS': '2k'})
        assert limits(ceph, v) == {'write_iops': '2000', 'write_bps': str(20 * MIB), 'iops': '7'}
    with pool_of(ceph) as io, journal.rbd.Image(io, image_of(v)) as image:
        image.metadata_set(f'{PREFIX}read_bps_limit', '4096')  # `rbd config image set` is as good a way
    calls.modify(v, {'writeIOPS': 'max', 'writeBandwidth': 'max'})
    assert limits(ceph, v)['read_bps'] == '4096'
    calls.modify(v, {'readBandwidth': 'max'})
    assert limits(ceph, v) == {'iops': '7'}
    settled(calls.delete, v)
    with fails(Code.NOT_FOUND, v):
        calls.modify(v, {'readIOPS': '5'})


def test_what_is_made_of_a_limited_one_has_its_own(rbd, ceph):
    calls = rbd.calls
    v = calls.create('pv-1', parameters=class_of(readIOPS='500')).volume_id
    assert limits(ceph, v) == {'read_iops': '500'}
    s = calls.snapshot('snapshot-1', v).snapshot_id
    r = calls.restore('pv-2', s).volume_id
    c = calls.clone('pv-3', v, mutable_parameters={'writeIOPS': '9'}).volume_id
    assert (limits(ceph, r), limits(ceph, c)) == ({}, {'write_iops': '9'})
    w = calls.create('pv-4', parameters=class_of(readIOPS='500'), mutable_parameters={'readIOPS': 'max'})
    assert limits(ceph, w.volume_id) == {} and 'readIOPS' not in w.volume_context
    for x in r, c, w.volume_id:
        settled(calls.delete, x)
    settled(calls.delete_snapshot, s)
    settled(calls.delete, v)


@pytest.mark.parametrize('parameters, mutable, words', [
    ({}, {'readIops': '5'}, ['mutable_parameters', "'readIops'", "'5'", 'readIOPS, writeIOPS, readBandwidth, writeBandwidth']),
    ({}, {'baseReadIops': '5'}, ['mutable_parameters', "'baseReadIops'", "'5'", 'readIOPS']),
    ({}, {'readIOPS': '0'}, ['mutable_parameters', 'readIOPS', "'0'", 'max']),
    ({}, {'writeBandwidth': '2Ti'}, ['mutable_parameters', 'writeBandwidth', "'2Ti'", '1Ti']),
    ({'readIOPS': 'many'}, {}, ['parameters', 'readIOPS', "'many'"]),
    ({'maxReadIops': '5'}, {}, ['parameters', 'maxReadIops', "'5'", 'VolumeAttributesClass']),
    ({'readIopsPerGiB': '5'}, {}, ['parameters', 'readIopsPerGiB', "'5'", 'readIOPS']),
], ids=['unknown', "ceph-csi's", 'zero', 'too large', 'of a class', "ceph-csi's of a class", 'growing'])
def test_what_is_no_limit_makes_and_changes_nothing(rbd, ceph, parameters, mutable, words):
    with fails(Code.INVALID_ARGUMENT, *words):
        rbd.calls.create('pv-1', parameters=class_of(**parameters), mutable_parameters=mutable)
    if mutable:
        v = rbd.calls.create('pv-1', mutable_parameters={'readIOPS': '7'}).volume_id
        with fails(Code.INVALID_ARGUMENT, *words):
            rbd.calls.modify(v, {'writeIOPS': '8', **mutable})
        assert limits(ceph, v) == {'read_iops': '7'}
        settled(rbd.calls.delete, v)


class Writer:
    """A volume that is staged and published, and a process that writes to it block by block, each past all caches, for ever."""

    def __init__(self, driver, work, name, **more):
        self.driver, self.cap = driver, mount_cap('ext4')
        self.staging, self.target = work / f'staging-{name}', work / f'target-{name}'
        self.staging.mkdir()
        made = driver.calls.create(name, SIZE, [self.cap], **more)
        self.id, self.context = made.volume_id, dict(made.volume_context)
        driver.calls.stage(self.id, str(self.staging), self.cap, volume_context=self.context)
        driver.calls.publish(self.id, str(self.staging), str(self.target), self.cap, volume_context=self.context)
        number = os.stat(self.target).st_dev
        self.stat = pathlib.Path(f'/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat')
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            ['sh', '-c', f'while dd if=/dev/zero of={self.target}/a bs=4k count=64 oflag=direct conv=notrunc 2>/dev/null; do :; '
             'done'], start_new_session=True, stdin=subprocess.DEVNULL)

    @property
    def done(self):
        """Writes that the device has finished."""
        return int(self.stat.read_text().split()[4])

    def is_writing(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.process.poll()
        return True

    def end(self):
        if self.process:  # whoever waits for his last write goes on until that is done
            wait_until('nobody writes any more', lambda: not self.is_writing(), 60)
        self.driver.calls.unpublish(self.id, str(self.target))
        self.driver.calls.unstage(self.id, str(self.staging))
        wait_until('the server has ended', lambda: not ceph_driver.servers_of(self.id))
        settled(self.driver.calls.delete, self.id)


def test_a_served_image_is_held_to_them_and_follows(rbd, work):
    """Two volumes are written to in the same way. The one that gets a limit, in use, has a small part of the other's writes from
    then on; without it, it writes as before. Of how fast either is nothing is said."""
    if os.path.exists('/sys/bus/rbd'):
        pytest.skip('Ceph: SKIPPED: this kernel has a client of its own')
    with contextlib.ExitStack() as both:
        slow, free = Writer(rbd, work, 'slow'), Writer(rbd, work, 'free')
        both.callback(free.end)
        both.callback(slow.end)
        slow.start()
        free.start()
        wait_until('the slow one writes freely', lambda: slow.done > 1000)
        rbd.calls.modify(slow.id, {'writeIOPS': '20'})
        before, others = slow.done, free.done
        wait_until('the free one has written 4000 blocks', lambda: free.done - others > 4000, 120)
        got, others = slow.done - before, free.done - others
        print(f'{got} of one with a limit beside {others} of one without')
        assert got * 4 < others, f'{got} writes passed the limit beside {others} of the other'
        rbd.kill()  # a limit is the image's, and no agent's
        before, others = slow.done, free.done
        wait_until('the free one has written as many again', lambda: free.done - others > 4000, 120)
        assert (slow.done - before) * 4 < free.done - others
        rbd.start()
        before = slow.done
        rbd.calls.modify(slow.id, {'writeIOPS': 'max'})
        wait_until('the limit is lifted', lambda: slow.done - before > 1000)


def test_a_limit_from_the_start_is_kept(rbd, work):
    """It is there when the volume is staged first, mkfs included."""
    if os.path.exists('/sys/bus/rbd'):
        pytest.skip('Ceph: SKIPPED: this kernel has a client of its own')
    with contextlib.ExitStack() as both:
        slow = Writer(rbd, work, 'slow', mutable_parameters={'writeIOPS': '100'})
        both.callback(slow.end)
        free = Writer(rbd, work, 'free')
        both.callback(free.end)
        slow.start()
        free.start()
        before, others = slow.done, free.done
        wait_until('the free one has written 8000 blocks', lambda: free.done - others > 8000, 120)
        assert (slow.done - before) * 2 < free.done - others
