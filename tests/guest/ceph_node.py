# SPDX-License-Identifier: Apache-2.0
"""Nodes whose kernel has Ceph's clients, and a real cluster that they reach: guests, by taps of this process's network namespace,
where the cluster (tests/ceph) and the controller are as well.

    cleat (controller), monitor, manager, OSD, MDS at 10.98.0.1 ── taps ── 10.98.0.11, .12: cleat (node), the kernel's clients
"""
import contextlib
import ctypes
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / 'ceph'))

import cluster  # noqa: E402
import grpc  # noqa: E402
import guest  # noqa: E402
from harness import GIB  # noqa: E402

CLONE_NEWNET = 0x40000000
CLUSTER_ADDRESS = '10.98.0.1'
CONFIG, STATE = '/etc/ceph-csi-config', '/pool/state'
# An emulated processor makes a filesystem in some seconds, and maps an image in one to four.
PATIENCE = 180


def enter_own_network():
    """Before any thread is made: from here on this process and its children have a network that nobody else sees, if they may."""
    if os.geteuid() == 0 and ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
        subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
        enter_own_network.is_done = True


enter_own_network.is_done = False


def address_of(number):
    return f'10.98.0.{10 + number}'


def tap_of(number):
    return f'cleat{number}'


def ip(*lines):
    for line in lines:
        subprocess.run(['ip', *line.split()], check=True)


@functools.cache
def make_tap(number):
    """The node's alone. All of them see the cluster at one address."""
    name = tap_of(number)
    ip(f'tuntap add {name} mode tap', f'address add {CLUSTER_ADDRESS}/32 dev {name}', f'link set {name} up',
       f'route add {address_of(number)}/32 dev {name} src {CLUSTER_ADDRESS}')


@contextlib.contextmanager
def opened(word, **options):
    """The cluster; word says for whom where it cannot be."""
    if not enter_own_network.is_done:
        pytest.skip(f'{word}: SKIPPED: a tap in a network namespace needs root')
    if cluster.missing(options.get('filesystem', False)):
        pytest.skip(f'{word}: SKIPPED: {cluster.missing(options.get("filesystem", False))}')
    make_tap(1)
    with cluster.opened(address=CLUSTER_ADDRESS, store='bluestore', **options) as up:
        yield up


class Patient:
    """Of Calls: each with the time that a guest takes."""

    def _call(self, method, request, timeout=PATIENCE):
        return super()._call(method, request, max(timeout, PATIENCE))


class Node(guest.Machine):
    """One boot of it. Its disk has what a node's has: kubelet's directory and what the driver keeps on the host."""
    kind, calls_of = None, None

    def __init__(self, directory, disk, ceph, number=1):
        self.ceph, self.number, self.address = ceph, number, address_of(number)
        make_tap(number)
        super().__init__(directory, disk, 0, initrd='initrd-ceph', tap=tap_of(number))

    def secrets(self):
        return self.ceph.secrets()

    def start_node(self, *more, monitors=None, is_new=False):
        self.sure('busybox', 'ip', 'address', 'add', f'{self.address}/24', 'dev', 'eth1')
        self.sure('busybox', 'ip', 'link', 'set', 'eth1', 'up')
        self.mount_pool(is_new)
        self.make_dir(STATE)
        self.make_dir(CONFIG)
        self.set_monitors(monitors or self.ceph.monitors)
        self.driver_words = ['cleat', 'cephcsi', f'--type={self.kind}', '--nodeserver', '--endpoint=unix:///run/csi.sock',
                             f'--nodeid=n{self.number}', f'--config-dir={CONFIG}', f'--state-dir={STATE}', *more]
        self.calls = self.calls_of(f'127.0.0.1:{self.ports[1]}', self.secrets())
        self.spawn_driver()
        return self

    def set_monitors(self, monitors):
        text = json.dumps([{'clusterID': cluster.CLUSTER_ID, 'monitors': monitors}])
        self.replace(f'{CONFIG}/config.json', text.encode())

    def restart_driver(self):
        self.kill_driver()
        self.spawn_driver()

    def mount_table(self):
        """Words of its lines: source, point, type, options."""
        return [line.split() for line in self.read('/proc/mounts', 0, 1 << 20).decode().splitlines()]


class Machines:
    """A node of one disk: the boot that is up; another one after a cut."""

    def __init__(self, node_of, top, ceph, number=1):
        self.node_of, self.top, self.ceph, self.number, self.n, self.up = node_of, top, ceph, number, 0, None
        self.disk = top / f'disk-{number}'
        with open(self.disk, 'wb') as f:
            f.truncate(8 * GIB)

    def boot(self):
        self.n += 1
        self.up = self.node_of(self.top / f'machine-{self.number}-{self.n}', self.disk, self.ceph, self.number)
        return self.up.start_node(is_new=self.n == 1)

    def cut(self):
        if self.up:
            self.up.cut()
        self.up = None


class Volume:
    """Made by the controller, and used on the node."""

    def __init__(self, node, name, cap, made):
        self.node, self.cap, self.id, self.context = node, cap, made.volume_id, dict(made.volume_context)
        self.dir = f'/pool/kubelet/{name}'
        self.staging, self.target = f'{self.dir}/staging', self.target_of('pod')

    def target_of(self, pod):
        return f'{self.dir}/{pod}/mount'

    def stage(self, **more):
        self.node.make_dir(self.staging)
        self.node.calls.stage(self.id, self.staging, self.cap, **{'volume_context': self.context, **more})
        return self

    def publish(self, readonly=False, pod='pod'):
        self.node.make_dir(f'{self.dir}/{pod}')
        self.node.calls.publish(self.id, self.staging, self.target_of(pod), self.cap, readonly, volume_context=self.context)
        return self

    def unpublish(self, pod='pod'):
        self.node.calls.unpublish(self.id, self.target_of(pod))
        return self

    def unstage(self):
        self.node.calls.unstage(self.id, self.staging)
        return self

    def up(self):
        return self.stage().publish()

    def down(self):
        return self.unpublish().unstage()

    def write(self, name, data, sync=True):
        self.node.write(f'{self.target}/{name}', 0, data, sync)

    def read(self, name, n):
        return self.node.read(f'{self.target}/{name}', 0, n)


def attempt(call):
    with contextlib.suppress(grpc.RpcError):
        call()


def kill_within(node, call, seconds):
    """Whether the call had ended before."""
    thread = threading.Thread(target=attempt, args=(call,))
    thread.start()
    thread.join(seconds)
    had_ended = not thread.is_alive()
    node.kill_driver()
    thread.join()
    node.spawn_driver()
    return had_ended


def end(node, pid):
    """Of what was started there."""
    with contextlib.suppress(guest.Failed):   # the status of one that was killed
        node.ask('kill', pid, int(signal.SIGKILL))


def is_refused(call, *words):
    """By the kernel, with one of the errors that a client has for what it may not or cannot do."""
    try:
        call(*words)
    except guest.Failed as e:
        assert 'rror' in str(e), e   # of input and output; a filesystem's that is read-only since
        return True
    return False
