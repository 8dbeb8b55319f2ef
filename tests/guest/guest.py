# SPDX-License-Identifier: Apache-2.0
"""A machine whose power can be cut: QEMU with an emulated processor, an initramfs (image.py) and a disk with a volatile
cache (disk.py).

The driver runs in the machine and the test outside: what was acknowledged is known here when its reply has come, whatever
becomes of the machine then.
"""
import contextlib
import errno
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import grpc
from harness import Calls, Volume
from here import PowerCut

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get('CLEAT', HERE.parent.parent / 'build/cleat')).resolve().parent
AGENT_PORT, DRIVER_PORT = 7000, 7001
BOOTS_S = 180
# The processor without cmpxchg16b, which QEMU 7.2 emulates wrongly between two threads, and without the string
# instructions that it does byte by byte.
CPU = 'max,-cx16,-erms,-fsrm'
# On a busy machine its timer may be too late for the kernel's taste: no_timer_check.
# What it measures and checks at its start for nobody is left out.
APPEND = ('console=ttyS0 no_timer_check quiet panic=-1 mitigations=off random.trust_cpu=on tsc=reliable '
          'initcall_blacklist=jent_mod_init,load_system_certificate_list,bpf_tcp_ca_kfunc_init')


class Failed(Exception):
    def __init__(self, words, status, text):
        super().__init__(f'{" ".join(map(str, words))[:200]}: {status}: {text}')
        self.status, self.text = status, text


class Machine:
    """One boot of it, from start to cut. Requests from any number of threads, each over a connection of its own. What a load
    does to files has the names of here.Here."""

    def __init__(self, directory, disk, seed, *lies, initrd='initrd', tap=None):
        """tap: an interface of this process's network namespace, the guest's eth1."""
        self.initrd, self.tap = initrd, tap
        self.dir, self.is_cut, self.local, self.disk_said = directory, False, threading.local(), None
        self.calls, self.driver_pid, self.driver_words = None, None, []
        self.dir.mkdir()
        self.log = self.dir / 'console'
        self.disk = subprocess.Popen([sys.executable, HERE / 'disk.py', self.dir / 'disk.sock', disk, str(seed), *lies],
                                     stdout=subprocess.PIPE, text=True)
        self.ports = free_ports(2)
        self.qemu = None
        try:
            self.start()
        except BaseException:
            self.cut()
            raise

    def start(self):
        wait_for('the disk listens', lambda: (self.dir / 'disk.sock').exists(), 20)
        forwards = ''.join(f',hostfwd=tcp:127.0.0.1:{here}-:{there}'
                           for here, there in zip(self.ports, (AGENT_PORT, DRIVER_PORT)))
        net = ['-netdev', f'tap,id=tap,ifname={self.tap},script=no,downscript=no',
               '-device', 'virtio-net-pci,netdev=tap,romfile='] if self.tap else []
        words = ['nice', 'qemu-system-x86_64', '-M', 'pc', '-accel', 'tcg,thread=multi', '-cpu', CPU, '-smp', '1', '-m', '1024',
                 '-nodefaults', '-display', 'none', '-no-reboot', '-serial', f'file:{self.log}',
                 '-kernel', BUILD / 'guest/vmlinux', '-initrd', BUILD / 'guest' / self.initrd, '-append', APPEND,
                 '-netdev', f'user,id=net,restrict=on{forwards}', '-device', 'virtio-net-pci,netdev=net,romfile=', *net,
                 '-blockdev', f'driver=nbd,node-name=disk,server.type=unix,server.path={self.dir}/disk.sock,cache.direct=on',
                 '-device', 'virtio-blk-pci,drive=disk,write-cache=on,logical_block_size=4096,physical_block_size=4096']
        with open(self.dir / 'qemu.log', 'wb') as log:
            self.qemu = subprocess.Popen([*map(str, words)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for('the agent answers', self.is_there, BOOTS_S)

    def start_driver(self, *more):
        self.driver_words = ['cleat', 'driver', '--endpoint=unix:///run/csi.sock', '--node-id=n1', '--pool=/pool', *more]
        self.calls = Calls(f'127.0.0.1:{self.ports[1]}')
        self.spawn_driver()

    def kill_driver(self):
        """Returns when it is gone."""
        with contextlib.suppress(Failed):   # the status of one that was killed
            self.ask('kill', self.driver_pid, int(signal.SIGKILL))

    def spawn_driver(self):
        self.driver_pid = int(self.ask('start', '/run/cleat.log', *self.driver_words))
        wait_for('the driver answers', self.is_ready, BOOTS_S)

    def is_ready(self):
        with contextlib.suppress(grpc.RpcError):
            return self.calls.probe(timeout=2)
        with contextlib.suppress(Failed):   # it has not ended
            self.ask('kill', self.driver_pid, 0)
            raise AssertionError('cleat ended: ' + self.driver_log())
        return None

    def driver_log(self):
        return self.ask('read', '/run/cleat.log', 0, 1 << 20).decode(errors='replace')

    def volume(self, **words):
        """Made and up, at the paths of the guest."""
        return GuestVolume(self, pathlib.PurePosixPath('/v'), **words).create()

    def mount_pool(self, is_new=False):
        if is_new:
            self.sure('mkfs.xfs', '-q', '-K', '-m', 'reflink=1', '/dev/vda')
        self.sure('mount', '-t', 'xfs', '/dev/vda', '/pool')
        return self

    def is_there(self):
        if self.qemu.poll() is not None:
            raise Failed(['qemu'], self.qemu.returncode, (self.dir / 'qemu.log').read_text() + self.console())
        try:
            return self.ask('look', '/pool')
        except PowerCut:
            return False

    def console(self):
        return self.log.read_text(errors='replace') if self.log.exists() else ''

    def arm(self):
        """From now on the disk stops when something is at stake; then it is time to cut."""
        self.disk.send_signal(signal.SIGUSR1)

    def wait_until_stopped(self, seconds):
        select.select([self.disk.stdout], [], [], seconds)

    def pull_the_plug(self):
        """The first part of a cut, which cannot wait."""
        self.is_cut = True
        if self.qemu:
            self.qemu.kill()

    def cut(self):
        """As when the plug is pulled; idempotent. What the machine had answered, it had answered."""
        self.pull_the_plug()
        if self.qemu:
            self.qemu.wait()
        if not self.qemu or not self.disk_said and not (self.dir / 'disk.sock').exists():
            self.disk.kill()
        self.disk_said = self.disk_said or self.disk.communicate()[0].strip().rpartition('\n')[2]
        if self.calls:
            self.calls.close()

    # ---- requests (agent.c)

    def connection(self):
        if not getattr(self.local, 'peer', None):
            self.local.peer = socket.create_connection(('127.0.0.1', self.ports[0]), timeout=BOOTS_S)
        return self.local.peer

    def ask(self, *words):
        """The bytes of the answer. Failed if it is not success, PowerCut if none comes any more."""
        data = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        try:
            peer = self.connection()
            peer.sendall(struct.pack('<I', len(data)) + b''.join(struct.pack('<I', len(w)) + w for w in data))
            status, length = struct.unpack('<iI', receive(peer, 8))
            reply = receive(peer, length)
        except OSError as e:
            self.local.peer = None
            raise PowerCut(f'{words[0]}: {e}') from e
        if status:
            raise Failed(words, status, reply.decode(errors='replace') if words[0] == 'run' else os.strerror(-status))
        return reply

    def run(self, *words):
        """(exit status, what it wrote)"""
        try:
            return 0, self.ask('run', *words).decode(errors='replace')
        except Failed as e:
            return e.status, e.text

    def sure(self, *words):
        return self.ask('run', *words).decode(errors='replace')

    def make_dir(self, path):
        self.ask('mkdir', path)

    def write(self, path, offset, data, sync=True):
        self.ask('write', path, offset, data, *(['sync'] if sync else []))

    def replace(self, path, data):
        self.ask('replace', path, data)

    def remove(self, path):
        self.ask('remove', path)

    def read(self, path, offset, length):
        return self.unless_gone(lambda: self.ask('read', path, offset, length))

    def look(self, path):
        return self.unless_gone(lambda: tuple(map(int, self.ask('look', path).split())))

    @staticmethod
    def unless_gone(ask):
        try:
            return ask()
        except Failed as e:
            if e.status == -errno.ENOENT:
                return None
            raise


class GuestVolume(Volume):
    """Its driver is the machine."""

    def stage(self):
        self.driver.make_dir(self.staging)
        self.calls.stage(self.id, self.staging, self.cap)
        return self

    def publish(self, readonly=False, target=None):
        target = target or self.target
        self.driver.make_dir(target.parent)
        self.calls.publish(self.id, self.staging, target, self.cap, readonly)
        return self


def receive(peer, n):
    data = b''
    while len(data) < n:
        more = peer.recv(min(n - len(data), 1 << 20))
        if not more:
            raise ConnectionResetError('it has ended')
        data += more
    return data


def free_ports(n):
    listeners = [socket.socket() for _ in range(n)]
    for s in listeners:
        s.bind(('127.0.0.1', 0))
    ports = [s.getsockname()[1] for s in listeners]
    for s in listeners:
        s.close()
    return ports


def wait_for(what, is_true, seconds):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, f'gave up waiting until {what}'
        time.sleep(0.05)
