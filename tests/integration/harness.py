# SPDX-License-Identifier: Apache-2.0
"""What the integration tests stand on: the real program, a pool on a filesystem of its own, CSI calls by grpcio (another
stack than ours), and a look at the machine that finds whatever was left behind.

Everything that is mounted lives in a mount namespace of the test process and ends with it. Loop devices are told apart by
their backing files, so that those of others on this machine are never looked at.
"""
import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CLEAT = os.environ.get('CLEAT', str(ROOT / 'build/cleat'))
DRIVER = 'pool.cleat.csi'
MIB, GIB = 1 << 20, 1 << 30
# Sanitizers make the program slow; nothing here measures time, it only gives up later.
PATIENCE = 120 if 'san' in CLEAT else 40

_stubs = pathlib.Path(tempfile.mkdtemp(prefix='cleat-stubs-'))
subprocess.run([sys.executable, '-m', 'grpc_tools.protoc', f'-I{ROOT}/proto', '-I/usr/include', f'--python_out={_stubs}',
                f'--grpc_python_out={_stubs}', 'csi.proto', 'pluginregistration.proto',
                'snapshotmetadata.proto', 'health.proto'], check=True)
sys.path.insert(0, str(_stubs))
import csi_pb2 as csi                                   # noqa: E402
import csi_pb2_grpc as csi_grpc                         # noqa: E402
import grpc                                             # noqa: E402
import health_pb2 as health                             # noqa: E402
import health_pb2_grpc as health_grpc                   # noqa: E402
import pluginregistration_pb2 as registration           # noqa: E402
import pluginregistration_pb2_grpc as registration_grpc  # noqa: E402
import snapshotmetadata_pb2 as snapmeta                 # noqa: E402
import snapshotmetadata_pb2_grpc as snapmeta_grpc       # noqa: E402
shutil.rmtree(_stubs)

Mode = csi.VolumeCapability.AccessMode
Code = grpc.StatusCode
# Held while a program is started and while a thread has a file of a volume open: between fork and exec a child has all of
# our files, and would make the volume busy.
starting = threading.RLock()
_libc = ctypes.CDLL(None, use_errno=True)


def enter_private_mounts():
    """Before any thread is made: from here on this process and its children mount where nobody else sees it."""
    if _libc.unshare(0x00020000) != 0:
        raise OSError(ctypes.get_errno(), 'unshare(CLONE_NEWNS)')
    subprocess.run(['mount', '--make-rprivate', '/'], check=True)


def sh(*words, **kwargs):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False, **kwargs)
    if done.returncode:
        raise AssertionError(f'{" ".join(map(str, words))}: {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout


def wait_until(what, is_true, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while True:
        value = is_true()
        if value:
            return value
        assert time.monotonic() < end, f'gave up waiting until {what}'
        time.sleep(0.02)


def mount_cap(fs='', flags=(), mode=Mode.SINGLE_NODE_WRITER, group=''):
    return csi.VolumeCapability(
        mount=csi.VolumeCapability.MountVolume(fs_type=fs, mount_flags=flags, volume_mount_group=group),
        access_mode=Mode(mode=mode))


def block_cap(mode=Mode.SINGLE_NODE_WRITER):
    return csi.VolumeCapability(block=csi.VolumeCapability.BlockVolume(), access_mode=Mode(mode=mode))


def mountinfo():
    """[(mount point, root, filesystem, source)] of this namespace, octal escapes undone."""
    rows = []
    for line in pathlib.Path('/proc/self/mountinfo').read_text().splitlines():
        left, right = line.split(' - ')
        words = [re.sub(r'\\(\d{3})', lambda m: chr(int(m[1], 8)), w) for w in left.split() + right.split()]
        rest = right.split()
        rows.append((words[4], words[3], rest[0], rest[1]))
    return rows


def loops_below(directory):
    """{device: backing file} of loop devices whose file is below directory. Deleted files count."""
    found = {}
    for entry in pathlib.Path('/sys/block').glob('loop*/loop/backing_file'):
        with contextlib.suppress(OSError):
            file = entry.read_text().strip()
            if file.startswith(str(directory) + '/'):
                found['/dev/' + entry.parts[3]] = file
    return found


def of_snapshot(snapshot_id):
    """What a volume is to begin with."""
    return csi.VolumeContentSource(snapshot=csi.VolumeContentSource.SnapshotSource(snapshot_id=snapshot_id))


def of_volume(volume_id):
    return csi.VolumeContentSource(volume=csi.VolumeContentSource.VolumeSource(volume_id=volume_id))


class Pool:
    """XFS with reflink (or another filesystem) on a sparse image file, mounted in this namespace."""

    def __init__(self, directory, size=3 * GIB, name='pool', fs='xfs'):
        self.image, self.dir = directory / f'{name}.img', directory / name
        self.dir.mkdir()
        with open(self.image, 'wb') as f:
            f.truncate(size)
        sh(f'mkfs.{fs}', '-q', *(('-m', 'reflink=1') if fs == 'xfs' else ()), self.image)
        self.mount()

    def mount(self):
        sh('mount', '-o', 'loop', self.image, self.dir)

    def unmount(self):
        sh('umount', self.dir)

    def files(self):
        """Everything in the pool that looks like a volume's file to a person: regular files outside of caches."""
        return sorted(str(p.relative_to(self.dir)) for p in self.dir.rglob('*')
                      if p.is_file() and not any(part.startswith('.') for part in p.relative_to(self.dir).parts))

    def snapshots(self):
        """The files of snapshots, and what is half made."""
        return sorted(p.name for d in ('snapshots', 'work') for p in (self.dir / '.cleat' / d).glob('*'))

    def loops(self):
        return loops_below(self.dir)

    def available(self):
        s = os.statvfs(self.dir)
        return s.f_bavail * s.f_frsize


class Calls:
    """The CSI services over one channel; every call with a deadline. Each test says what it expects of the status."""

    def __init__(self, target, credentials=None, options=()):
        options = [('grpc.enable_retries', 0), ('grpc.initial_reconnect_backoff_ms', 20),
                   ('grpc.min_reconnect_backoff_ms', 20), ('grpc.max_reconnect_backoff_ms', 100), *options]
        self.channel = grpc.secure_channel(target, credentials, options) if credentials else \
            grpc.insecure_channel(target, options)
        self.identity = csi_grpc.IdentityStub(self.channel)
        self.controller = csi_grpc.ControllerStub(self.channel)
        self.metadata = csi_grpc.SnapshotMetadataStub(self.channel)
        self.group_controller = csi_grpc.GroupControllerStub(self.channel)
        self.node = csi_grpc.NodeStub(self.channel)

    def close(self):
        self.channel.close()

    def _call(self, method, request, timeout=PATIENCE):
        return method(request, timeout=timeout, wait_for_ready=True)

    def probe(self, timeout=PATIENCE):
        return self._call(self.identity.Probe, csi.ProbeRequest(), timeout)

    def create(self, name, size=64 * MIB, caps=None, limit=0, parameters=None, timeout=PATIENCE, **more):
        ranges = csi.CapacityRange(required_bytes=size, limit_bytes=limit) if size or limit else None
        return self._call(self.controller.CreateVolume, csi.CreateVolumeRequest(
            name=name, capacity_range=ranges, volume_capabilities=[mount_cap()] if caps is None else caps,
            parameters=parameters or {}, **more), timeout).volume

    def modify(self, volume_id, parameters, timeout=PATIENCE):
        return self._call(self.controller.ControllerModifyVolume, csi.ControllerModifyVolumeRequest(
            volume_id=volume_id, mutable_parameters=parameters), timeout)

    def delete(self, volume_id, timeout=PATIENCE):
        return self._call(self.controller.DeleteVolume, csi.DeleteVolumeRequest(volume_id=volume_id), timeout)

    def volumes(self):
        found, token = [], ''
        while True:
            page = self._call(self.controller.ListVolumes, csi.ListVolumesRequest(starting_token=token))
            found += [e.volume for e in page.entries]
            token = page.next_token
            if not token:
                return found

    def expand(self, volume_id, size, limit=0, timeout=PATIENCE, **more):
        return self._call(self.controller.ControllerExpandVolume, csi.ControllerExpandVolumeRequest(
            volume_id=volume_id, capacity_range=csi.CapacityRange(required_bytes=size, limit_bytes=limit), **more), timeout)

    def node_expand(self, volume_id, path, size=0, limit=0, timeout=PATIENCE, **more):
        return self._call(self.node.NodeExpandVolume, csi.NodeExpandVolumeRequest(
            volume_id=volume_id, volume_path=str(path),
            capacity_range=csi.CapacityRange(required_bytes=size, limit_bytes=limit), **more), timeout)

    def snapshot(self, name, volume_id, timeout=PATIENCE, **more):
        return self._call(self.controller.CreateSnapshot, csi.CreateSnapshotRequest(
            name=name, source_volume_id=volume_id, **more), timeout).snapshot

    def delete_snapshot(self, snapshot_id, timeout=PATIENCE):
        return self._call(self.controller.DeleteSnapshot, csi.DeleteSnapshotRequest(snapshot_id=snapshot_id), timeout)

    def snapshots(self, **words):
        found, token = [], ''
        while True:
            page = self._call(self.controller.ListSnapshots, csi.ListSnapshotsRequest(starting_token=token, **words))
            found += [e.snapshot for e in page.entries]
            token = page.next_token
            if not token:
                return found

    def group(self, name, volume_ids, timeout=PATIENCE, **more):
        return self._call(self.group_controller.CreateVolumeGroupSnapshot, csi.CreateVolumeGroupSnapshotRequest(
            name=name, source_volume_ids=volume_ids, **more), timeout).group_snapshot

    def delete_group(self, group_id, snapshot_ids, timeout=PATIENCE):
        return self._call(self.group_controller.DeleteVolumeGroupSnapshot, csi.DeleteVolumeGroupSnapshotRequest(
            group_snapshot_id=group_id, snapshot_ids=snapshot_ids), timeout)

    def get_group(self, group_id, snapshot_ids, timeout=PATIENCE):
        return self._call(self.group_controller.GetVolumeGroupSnapshot, csi.GetVolumeGroupSnapshotRequest(
            group_snapshot_id=group_id, snapshot_ids=snapshot_ids), timeout).group_snapshot

    def groups(self):
        """The ids of all groups, each with those of its snapshots."""
        found = {}
        for s in self.snapshots():
            if s.group_snapshot_id:
                found.setdefault(s.group_snapshot_id, []).append(s.snapshot_id)
        return found

    def stage(self, volume_id, staging, cap=None, timeout=PATIENCE, **more):
        return self._call(self.node.NodeStageVolume, csi.NodeStageVolumeRequest(
            volume_id=volume_id, staging_target_path=str(staging), volume_capability=cap or mount_cap(), **more), timeout)

    def unstage(self, volume_id, staging, timeout=PATIENCE):
        return self._call(self.node.NodeUnstageVolume, csi.NodeUnstageVolumeRequest(
            volume_id=volume_id, staging_target_path=str(staging)), timeout)

    def publish(self, volume_id, staging, target, cap=None, readonly=False, timeout=PATIENCE, **more):
        return self._call(self.node.NodePublishVolume, csi.NodePublishVolumeRequest(
            volume_id=volume_id, staging_target_path=str(staging), target_path=str(target),
            volume_capability=cap or mount_cap(), readonly=readonly, **more), timeout)

    def unpublish(self, volume_id, target, timeout=PATIENCE):
        return self._call(self.node.NodeUnpublishVolume, csi.NodeUnpublishVolumeRequest(
            volume_id=volume_id, target_path=str(target)), timeout)

    def stats(self, volume_id, path, staging=''):
        return self._call(self.node.NodeGetVolumeStats, csi.NodeGetVolumeStatsRequest(
            volume_id=volume_id, volume_path=str(path), staging_target_path=str(staging)))


@contextlib.contextmanager
def fails(code, *texts):
    """The call inside fails with this code, and its message holds every text."""
    try:
        yield
    except grpc.RpcError as e:
        assert e.code() == code, f'{e.code()}: {e.details()}'
        for text in texts:
            assert text in e.details(), f'no {text!r} in: {e.details()}'
        return
    raise AssertionError(f'succeeded, expected {code}')


class Process:
    """A running cleat whose log goes to a file."""

    def __init__(self, log, *words, env=None, program=CLEAT):
        self.log, self.words = log, [program, *map(str, words)]
        with starting, open(log, 'ab') as f:
            self.child = subprocess.Popen(self.words, stdout=f, stderr=f, stdin=subprocess.DEVNULL,
                                          env={**os.environ, **(env or {})})

    def text(self):
        return self.log.read_text(errors='replace')

    def kill(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def terminate(self, seconds=PATIENCE):
        """SIGTERM and the exit status."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(seconds)

    def wait(self, seconds=PATIENCE):
        return self.child.wait(seconds)


class Driver:
    """`cleat driver` on a socket, with calls to it; killed and started again at will."""
    name = DRIVER

    def __init__(self, directory, pool, *more, node='n1', command='driver', endpoint=None, env=None, program=CLEAT):
        self.dir, self.pool, self.program = directory, pool, program
        self.socket = directory / 'csi.sock'
        self.words = [command, f'--endpoint={endpoint or "unix://" + str(self.socket)}', f'--node-id={node}',
                      *([f'--pool={pool.dir}'] if pool else []), *more]
        self.env, self.process, self.calls = env, None, None
        self.n_starts = 0

    def spawn(self):
        self.n_starts += 1
        self.process = Process(self.dir / f'cleat-{self.n_starts}.log', *self.words, env=self.env, program=self.program)
        self.connect()

    def start(self):
        """One that does not answer is not left behind."""
        self.spawn()
        try:
            self.wait_ready()
        except BaseException:
            self.end()
            raise
        return self

    def connect(self):
        if self.calls:
            self.calls.close()
        self.calls = Calls(f'unix://{self.socket}')

    def wait_ready(self):
        def ready():
            assert self.process.child.poll() is None, f'cleat ended:\n{self.process.text()}'
            with contextlib.suppress(grpc.RpcError):
                return self.calls.probe(timeout=1)
            return None
        wait_until('the driver answers', ready)

    def kill(self):
        self.process.kill()

    def restart(self):
        """As after a crash: SIGKILL, then a fresh process on the same socket."""
        self.kill()
        return self.start()

    def stop(self):
        if self.calls:
            self.calls.close()
            self.calls = None
        if self.process and self.process.child.poll() is None:
            status = self.process.terminate()
            assert status == 0, f'cleat ended with {status}:\n{self.process.text()}'

    def end(self):
        """At the end of a test, whatever its state."""
        if self.calls:
            self.calls.close()
            self.calls = None
        if self.process:
            self.process.kill()


class Volume:
    """A volume on its way through life, with directories of its own."""

    def __init__(self, driver, directory, name=None, cap=None, **create):
        self.driver, self.cap = driver, cap or mount_cap()
        self.name = name or f'pvc-{uuid.uuid4()}'
        self.dir = directory / self.name
        self.staging, self.target = self.dir / 'staging', self.dir / 'pod' / 'mount'
        self.create_words, self.id = create, None

    @property
    def calls(self):
        return self.driver.calls

    def create(self):
        self.id = self.calls.create(self.name, caps=[self.cap], **self.create_words).volume_id
        return self

    def stage(self):
        self.staging.mkdir(parents=True, exist_ok=True)
        self.calls.stage(self.id, self.staging, self.cap)
        return self

    def publish(self, readonly=False, target=None):
        target = target or self.target
        target.parent.mkdir(parents=True, exist_ok=True)
        self.calls.publish(self.id, self.staging, target, self.cap, readonly)
        return self

    def unpublish(self, target=None):
        self.calls.unpublish(self.id, target or self.target)
        return self

    def unstage(self):
        self.calls.unstage(self.id, self.staging)
        return self

    def delete(self):
        self.calls.delete(self.id)
        return self

    def up(self):
        return self.create().stage().publish()

    def down(self):
        return self.unpublish().unstage().delete()


def in_threads(*functions):
    """Runs them at once; [result or exception] in order."""
    results = [None] * len(functions)

    def run(i, f):
        try:
            results[i] = f()
        except Exception as e:  # handed to the test, which judges it
            results[i] = e

    threads = [threading.Thread(target=run, args=(i, f)) for i, f in enumerate(functions)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(PATIENCE * 2)
        assert not t.is_alive(), 'a call hangs'
    return results
