# SPDX-License-Identifier: Apache-2.0
"""The program in ceph-csi's place, on a cluster of tests/ceph: its options, its classes' parameters, its secrets."""
import pathlib
import re
import subprocess

import cluster
import grpc
import harness
from harness import MIB, csi, mount_cap, wait_until

NAME = 'rbd.csi.ceph.com'
HANDLE = re.compile(r'0001-0002-c1-[0-9a-f]{16}-([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})')
CLAIM = {'csi.storage.k8s.io/pvc/name': 'data', 'csi.storage.k8s.io/pvc/namespace': 'ns1',
         'csi.storage.k8s.io/pv/name': 'pv-1'}
SNAPSHOT = {'csi.storage.k8s.io/volumesnapshot/name': 'snap', 'csi.storage.k8s.io/volumesnapshot/namespace': 'ns1',
            'csi.storage.k8s.io/volumesnapshotcontent/name': 'content-1'}


def class_of(**more):
    """A StorageClass's parameters as the external-provisioner sends them; None takes one away."""
    words = {'clusterID': cluster.CLUSTER_ID, 'pool': cluster.POOL, 'imageFeatures': 'layering', **CLAIM, **more}
    return {key: value for key, value in words.items() if value is not None}


def snapshot_class_of(**more):
    return {'clusterID': cluster.CLUSTER_ID, **SNAPSHOT, **more}


class Calls(harness.Calls):
    """With the secrets in each request that has room for them, unless it brings its own."""

    def __init__(self, target, secrets):
        super().__init__(target)
        self.secrets = secrets

    def _call(self, method, request, timeout=harness.PATIENCE):
        if 'secrets' in request.DESCRIPTOR.fields_by_name and not request.secrets:
            request.secrets.update(self.secrets)
        return super()._call(method, request, timeout)

    def create(self, name, size=64 * MIB, caps=None, limit=0, parameters=None, timeout=harness.PATIENCE, **more):
        return super().create(name, size, caps, limit, class_of() if parameters is None else parameters, timeout, **more)

    def snapshot(self, name, volume_id, timeout=harness.PATIENCE, **more):
        return super().snapshot(name, volume_id, timeout, **{'parameters': snapshot_class_of(), **more})

    def restore(self, name, snapshot_id, size=64 * MIB, **more):
        return self.create(name, size, volume_content_source=harness.of_snapshot(snapshot_id), **more)

    def clone(self, name, volume_id, size=64 * MIB, **more):
        return self.create(name, size, volume_content_source=harness.of_volume(volume_id), **more)

    def validate(self, volume_id, cap=None):
        return self._call(self.controller.ValidateVolumeCapabilities, csi.ValidateVolumeCapabilitiesRequest(
            volume_id=volume_id, volume_capabilities=[cap or mount_cap()]))


class Driver(harness.Driver):
    kind, name, calls_of = 'rbd', NAME, Calls

    def __init__(self, directory, ceph, *more, config_dir=None):
        super().__init__(directory, None, command='cephcsi')
        self.ceph = ceph
        self.words = ['cephcsi', f'--type={self.kind}', f'--endpoint=unix://{self.socket}', '--nodeid=n1',
                      f'--drivername={self.name}', f'--config-dir={config_dir or ceph.config_dir}', '--setmetadata', *more]

    def secrets(self):
        return self.ceph.secrets()

    def connect(self):
        if self.calls:
            self.calls.close()
        self.calls = self.calls_of(f'unix://{self.socket}', self.secrets())


def servers_of(volume_id, word='rbd-serve'):
    """Processes that serve a volume, by what ps shows; zombies show nothing."""
    found = []
    for entry in pathlib.Path('/proc').iterdir():
        try:
            words = (entry / 'cmdline').read_bytes().split(b'\0') if entry.name.isdigit() else []
        except OSError:
            continue
        if words[1:3] == [word.encode(), volume_id.encode()]:
            found.append(int(entry.name))
    return found


def pool_of(ceph, name=cluster.POOL):
    """The administrator's look at it; to be closed."""
    return ceph.connect().open_ioctx(name)


def settled(call, *words):
    """A deletion, repeated as a CO does while somebody has the image open: the manager does for a moment, when it removes what was
    made of it."""
    def attempt():
        try:
            call(*words)
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.FAILED_PRECONDITION and 'is in use' in e.details(), f'{e.code()}: {e.details()}'
            return False
        return True
    wait_until('it is deleted', attempt, 10)


def empty_trash(ceph, io, journal):
    """Does now what the manager was told to do: it comes back to an image whose clones are still there only after half a minute. Of
    what is in the trash and nobody was told to remove it keeps off, so that is found. By a program: librbd 16 may abort where the
    manager removes the same image at that moment."""
    told = {task['refs']['image_id'] for task in ceph.command('mgr', prefix='rbd task list')
            if task['refs']['action'] == 'trash remove'}
    for entry in journal.rbd.RBD().trash_list(io):
        if entry['id'] in told:
            # it may have clones yet, or snapshots that have
            subprocess.run(['rbd', f'--conf={ceph.conf}', 'trash', 'rm', '--force', '--no-progress', f'{io.name}/{entry["id"]}'],
                           capture_output=True, check=False, timeout=60)


def wait_nothing_left(ceph, journal, seconds=90, pool=cluster.POOL):
    """But for what the manager takes out of the trash by and by, a pool is as empty as it was when the last call has returned. What a
    driver that was killed had open stays there until its watch ends, 30 s later, and somebody tries again."""
    with pool_of(ceph, pool) as io:
        seen = []

        def is_empty():
            seen[:] = journal.left(io)
            if seen:
                empty_trash(ceph, io, journal)
            return not seen

        try:
            wait_until('the pool is empty', is_empty, seconds)
        except AssertionError as gave_up:
            raise AssertionError(f'left in the pool: {seen}') from gave_up


def wipe(ceph, journal, pool=cluster.POOL):
    """After a test that failed: what it left is not the next one's fault."""
    for task in ceph.command('mgr', prefix='rbd task list'):
        ceph.command('mgr', prefix='rbd task cancel', task_id=task['id'])
    with pool_of(ceph, pool) as io:
        journal.wipe(io)
