# SPDX-License-Identifier: Apache-2.0
"""The program in the place of ceph-csi for CephFS, on a cluster of tests/ceph that has a filesystem."""
import json
import os
import pathlib
import signal

import ceph_driver
import cluster
import grpc
import harness
from harness import GIB, Mode, mount_cap, wait_until

NAME = 'cephfs.csi.ceph.com'
SHARED = mount_cap(mode=Mode.MULTI_NODE_MULTI_WRITER)


def class_of(**more):
    words = {'clusterID': cluster.CLUSTER_ID, 'fsName': cluster.FILESYSTEM, **ceph_driver.CLAIM, **more}
    return {key: value for key, value in words.items() if value is not None}


def uuid_of(handle):
    return ceph_driver.HANDLE.fullmatch(handle)[1]


def subvolume_of(volume_id):
    return f'csi-vol-{uuid_of(volume_id)}'


class Calls(ceph_driver.Calls):
    def create(self, name, size=GIB, caps=None, limit=0, parameters=None, timeout=harness.PATIENCE, **more):
        return super().create(name, size, caps or [SHARED], limit, class_of() if parameters is None else parameters, timeout,
                              **more)

    def stats(self, volume_id, path, timeout=harness.PATIENCE):
        return self._call(self.node.NodeGetVolumeStats, harness.csi.NodeGetVolumeStatsRequest(
            volume_id=volume_id, volume_path=path), timeout)

    def made(self, name, size=GIB, **more):
        """A copy, asked for again and again as a provisioner does, until it is there; how often it was refused meanwhile."""
        refused = []

        def attempt():
            try:
                return self.create(name, size, **more)
            except grpc.RpcError as e:
                assert e.code() == grpc.StatusCode.ABORTED, f'{e.code()}: {e.details()}'
                refused.append(e.details())
                return None
        volume = wait_until(f'{name} is copied', attempt, 60)
        return volume, refused

    def restored(self, name, snapshot_id, size=GIB, **more):
        return self.made(name, size, volume_content_source=harness.of_snapshot(snapshot_id), **more)[0]

    def cloned(self, name, volume_id, size=GIB, **more):
        return self.made(name, size, volume_content_source=harness.of_volume(volume_id), **more)[0]


class Driver(ceph_driver.Driver):
    kind, name, calls_of = 'cephfs', NAME, Calls

    def secrets(self):
        return self.ceph.fs_secrets()


class Volume:
    """One volume on one node: staged, and published at as many targets as are asked."""

    def __init__(self, driver, work, made, cap=SHARED):
        self.driver, self.cap, self.id, self.context = driver, cap, made.volume_id, dict(made.volume_context)
        self.staging = work / f'staging-{made.volume_id[-36:]}'
        self.staging.mkdir(exist_ok=True)
        self.targets = []

    def stage(self, **more):
        return self.driver.calls.stage(self.id, str(self.staging), self.cap, **{'volume_context': self.context, **more})

    def publish(self, name='target', **more):
        target = self.staging.parent / f'{name}-{self.id[-36:]}'
        self.driver.calls.publish(self.id, str(self.staging), str(target), self.cap, volume_context=self.context, **more)
        if target not in self.targets:
            self.targets.append(target)
        return target

    def up(self):
        self.stage()
        return self.publish()

    def down(self):
        for target in self.targets:
            self.driver.calls.unpublish(self.id, str(target))
        self.targets = []
        self.driver.calls.unstage(self.id, str(self.staging))


def servers_of(token):
    return ceph_driver.servers_of(token, 'cephfs-serve')


def fuses_of(token):
    """The ceph-fuse of each."""
    return [pid for server in servers_of(token)
            for pid in map(int, pathlib.Path(f'/proc/{server}/task/{server}/children').read_text().split())]


def fuses_at(staging):
    """Each that mounts there, whoever is above it."""
    found = []
    for entry in pathlib.Path('/proc').iterdir():
        try:
            words = (entry / 'cmdline').read_bytes().split(b'\0') if entry.name.isdigit() else []
        except OSError:
            continue
        if words and words[0].endswith(b'ceph-fuse') and str(staging).encode() in words:
            found.append(int(entry.name))
    return found


def kill_client(ceph, token):
    """The ceph-fuse of a volume, and in the same breath its session, for which others would else wait a minute."""
    pid, = fuses_of(token)
    words = ['ceph', '-c', str(ceph.conf), 'tell', 'mds.a', 'session']
    sessions = json.loads(harness.sh(*words, 'ls', '--format=json'))
    ids = [session['id'] for session in sessions if session['client_metadata'].get('pid') == str(pid)]
    os.kill(pid, signal.SIGKILL)
    wait_ended(token)
    for number in ids:
        harness.sh(*words, 'evict', f'id={number}')


def evict_dead(ceph):
    """Sessions of clients that were killed: what they had the metadata server keeps from everybody, the manager too, for a
    minute."""
    words = ['ceph', '-c', str(ceph.conf), 'tell', 'mds.a', 'session']
    for session in json.loads(harness.sh(*words, 'ls', '--format=json')):
        pid = session['client_metadata'].get('pid')
        if pid and session['client_metadata'].get('mount_point') and not pathlib.Path(f'/proc/{pid}').exists():
            harness.sh(*words, 'evict', f'id={session["id"]}')


def wait_ended(token, seconds=20):
    wait_until('its server has ended', lambda: not servers_of(token), seconds)

