# SPDX-License-Identifier: Apache-2.0
"""A node whose kernel has Ceph's client, and a real cluster that it reaches: the guest, by a tap of this process's network
namespace, where the cluster (tests/ceph) and the controller are as well.

    cleat (controller), monitor, manager, OSD at 10.98.0.1 ── tap ── 10.98.0.11: cleat (node), krbd
"""
import ctypes
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / 'ceph'))

import ceph_driver  # noqa: E402
import cluster  # noqa: E402
import guest  # noqa: E402
from harness import MIB, mount_cap  # noqa: E402

CLONE_NEWNET = 0x40000000
TAP, CLUSTER_ADDRESS, NODE_ADDRESS = 'cleat0', '10.98.0.1', '10.98.0.11'
CONFIG, STATE = '/etc/ceph-csi-config', '/pool/state'
# An emulated processor makes a filesystem in some seconds, and maps an image in one to four.
PATIENCE = 180


def enter_own_network():
    """Before any thread is made: from here on this process and its children have a network that nobody else sees, if they may."""
    if os.geteuid() == 0 and ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
        subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
        make_tap.may = True


def make_tap():
    for words in (f'tuntap add {TAP} mode tap', f'address add {CLUSTER_ADDRESS}/24 dev {TAP}', f'link set {TAP} up'):
        subprocess.run(['ip', *words.split()], check=True)


make_tap.may = False


class Calls(ceph_driver.Calls):
    def _call(self, method, request, timeout=PATIENCE):
        return super()._call(method, request, max(timeout, PATIENCE))


class Node(guest.Machine):
    """One boot of it. Its disk has what a node's has: kubelet's directory and what the driver keeps on the host."""

    def __init__(self, directory, disk, ceph, seed=0):
        self.ceph = ceph
        super().__init__(directory, disk, seed, initrd='initrd-ceph', tap=TAP)

    def start_node(self, *more, monitors=None, is_new=False):
        self.sure('busybox', 'ip', 'address', 'add', f'{NODE_ADDRESS}/24', 'dev', 'eth1')
        self.sure('busybox', 'ip', 'link', 'set', 'eth1', 'up')
        self.mount_pool(is_new)
        self.make_dir(STATE)
        self.make_dir(CONFIG)
        self.set_monitors(monitors or self.ceph.monitors)
        self.driver_words = ['cleat', 'cephcsi', '--type=rbd', '--nodeserver', '--endpoint=unix:///run/csi.sock', '--nodeid=n1',
                             f'--config-dir={CONFIG}', f'--state-dir={STATE}', *more]
        self.calls = Calls(f'127.0.0.1:{self.ports[1]}', self.ceph.secrets())
        self.spawn_driver()
        return self

    def set_monitors(self, monitors):
        text = json.dumps([{'clusterID': cluster.CLUSTER_ID, 'monitors': monitors}])
        self.replace(f'{CONFIG}/config.json', text.encode())

    def restart_driver(self):
        self.kill_driver()
        self.spawn_driver()

    def maps(self):
        """{number: image} of what its kernel has mapped."""
        return {n: self.attribute(n, 'name') for n in self.sure('ls', '/sys/bus/rbd/devices').split()}

    def attribute(self, n, name):
        return self.read(f'/sys/bus/rbd/devices/{n}/{name}', 0, 4096).decode().strip()

    def mounts(self):
        return [line.split()[1] for line in self.read('/proc/mounts', 0, 1 << 20).decode().splitlines() if line.startswith('/dev/rbd')]

    def is_bare(self):
        return not self.maps() and not self.mounts()


class Volume:
    """Made by the controller, and used on the node."""

    def __init__(self, controller, node, name, cap=None, size=400 * MIB, made=None, **parameters):
        self.controller, self.node, self.cap = controller, node, cap or mount_cap()
        if made is None:
            made = controller.create(name, size, [self.cap], parameters=ceph_driver.class_of(**parameters))
        self.id, self.context = made.volume_id, dict(made.volume_context)
        self.dir = f'/pool/kubelet/{name}'
        self.staging, self.target = f'{self.dir}/staging', f'{self.dir}/pod/mount'

    @property
    def image(self):
        return self.context['imageName']

    def stage(self, **more):
        self.node.make_dir(self.staging)
        self.node.calls.stage(self.id, self.staging, self.cap, volume_context=self.context, **more)
        return self

    def publish(self, readonly=False):
        self.node.make_dir(f'{self.dir}/pod')
        self.node.calls.publish(self.id, self.staging, self.target, self.cap, readonly, volume_context=self.context)
        return self

    def up(self):
        return self.stage().publish()

    def down(self):
        self.node.calls.unpublish(self.id, self.target)
        self.node.calls.unstage(self.id, self.staging)
        return self

    def delete(self):
        ceph_driver.settled(self.controller.delete, self.id)

    def write(self, name, data, sync=True):
        self.node.write(f'{self.target}/{name}', 0, data, sync)

    def read(self, name, n):
        return self.node.read(f'{self.target}/{name}', 0, n)
