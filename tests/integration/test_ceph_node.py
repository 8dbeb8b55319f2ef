# SPDX-License-Identifier: Apache-2.0
"""Images of a real Ceph on a node whose kernel has no client for them: a server of the program's own, which outlives it."""
import json
import os
import pathlib
import signal

import grpc
import pytest
from ceph_driver import servers_of
from harness import MIB, mount_cap, wait_until

BYTES = b'data that stays' * 100000


def write_durably(path, content):
    with open(path, 'wb', buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())


class Volume:
    def __init__(self, driver, work, fs):
        self.driver, self.cap = driver, mount_cap(fs)
        self.staging, self.target = work / f'staging-{fs}', work / f'target-{fs}'
        self.staging.mkdir()
        made = driver.calls.create(f'pv-{fs}', 400 * MIB, [self.cap])
        self.id, self.context = made.volume_id, dict(made.volume_context)

    def stage(self, **more):
        return self.driver.calls.stage(self.id, str(self.staging), self.cap, volume_context=self.context, **more)

    def up(self):
        self.stage()
        self.driver.calls.publish(self.id, str(self.staging), str(self.target), self.cap, volume_context=self.context)

    def down(self):
        self.driver.calls.unpublish(self.id, str(self.target))
        self.driver.calls.unstage(self.id, str(self.staging))

    def delete(self):
        self.driver.calls.delete(self.id)


@pytest.fixture(params=['ext4', 'xfs'])
def volume(request, rbd, work):
    if os.path.exists('/sys/bus/rbd'):
        pytest.skip('Ceph: SKIPPED: this kernel has a client of its own')
    return Volume(rbd, work, request.param)


def test_bytes_outlive_the_agent_and_the_staging(rbd, volume):
    volume.up()
    write_durably(volume.target / 'a', BYTES)
    before = servers_of(volume.id)
    assert len(before) == 1
    rbd.kill()
    write_durably(volume.target / 'b', BYTES)
    rbd.start()
    assert servers_of(volume.id) == before
    volume.up()
    assert (volume.target / 'a').read_bytes() == BYTES
    volume.down()
    wait_until('the server has ended', lambda: not servers_of(volume.id))
    volume.up()
    assert (volume.target / 'b').read_bytes() == BYTES
    volume.down()
    volume.delete()


def stashed(volume):
    return json.loads((volume.staging / 'image-meta.json').read_text())


def test_staged_as_ceph_csi_stages(volume):
    """Its layout and its image-meta.json, so that it can take down what was brought up here; nothing of that is left then."""
    volume.up()
    assert sorted(path.name for path in volume.staging.iterdir()) == sorted([volume.id, 'image-meta.json'])
    assert (volume.staging / volume.id).is_mount() and not volume.staging.is_mount()
    assert stashed(volume) == {
        'Version': 3, 'pool': 'rbd', 'radosNamespace': '', 'image': volume.context['imageName'], 'unmapOptions': '',
        'accessType': False, 'encrypted': False, 'device': '', 'logDir': '', 'logFileStrategy': ''}
    volume.down()
    assert not list(volume.staging.iterdir())
    volume.delete()


@pytest.mark.parametrize('volume', ['xfs'], indirect=True)  # ext4 grows in use with CAP_SYS_RESOURCE alone
def test_what_another_driver_staged_is_grown_and_goes(rbd, volume):
    """Nothing tells of it but the kernel and ceph-csi's file: a pod goes on, a second comes, the volume grows, and all goes."""
    volume.stage()
    rbd.kill()
    for name in 'note', 'attached':
        for path in pathlib.Path(rbd.socket).parent.rglob(name):
            if path.parent.name == volume.id:
                path.unlink()
    rbd.start()
    with open(volume.staging / volume.id / 'of a pod', 'w+') as of_a_pod:
        rbd.calls.publish(volume.id, str(volume.staging), str(volume.target), volume.cap, volume_context=volume.context)
        write_durably(volume.target / 'a', BYTES)
        rbd.calls.expand(volume.id, 800 * MIB)
        before = os.statvfs(volume.target).f_blocks
        wait_until('its device has its size', lambda: grown(rbd, volume), 20)
        assert os.statvfs(volume.target).f_blocks > before * 1.5
        of_a_pod.write('goes on')
    rbd.calls.unpublish(volume.id, str(volume.target))
    rbd.calls.unstage(volume.id, str(volume.staging))
    assert not list(volume.staging.iterdir())
    volume.up()
    assert (volume.target / 'a').read_bytes() == BYTES and (volume.target / 'of a pod').read_text() == 'goes on'
    volume.down()
    volume.delete()


def grown(rbd, volume):
    try:
        rbd.calls.node_expand(volume.id, str(volume.staging), 800 * MIB)
    except grpc.RpcError as e:
        assert e.code() == grpc.StatusCode.UNAVAILABLE, e.details()
        return False
    return True


def test_a_server_that_dies_takes_nothing_with_it(rbd, volume):
    """What was synced is there again, and nothing that goes down needs the server."""
    volume.up()
    write_durably(volume.target / 'a', BYTES)
    os.kill(servers_of(volume.id)[0], signal.SIGKILL)
    with pytest.raises(OSError):
        write_durably(volume.target / 'b', BYTES)
    volume.down()

    def is_up():
        try:
            volume.up()
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.FAILED_PRECONDITION and 'still in use' in e.details(), e.details()
            return False
        return True
    wait_until('its watch is not seen any more', is_up, 45)
    assert (volume.target / 'a').read_bytes() == BYTES
    volume.down()
    volume.delete()


def test_the_key_is_in_no_place_of_the_server(rbd, ceph, volume):
    key = ceph.secrets()['userKey'].encode()
    volume.up()
    for pid in servers_of(volume.id):
        for file in 'cmdline', 'environ':
            assert key not in pathlib.Path(f'/proc/{pid}/{file}').read_bytes()
    for path in pathlib.Path(rbd.socket).parent.rglob('*'):
        if path.is_file() and not path.is_mount() and volume.id not in path.name:
            assert key not in path.read_bytes(), path
    volume.down()
    volume.delete()
