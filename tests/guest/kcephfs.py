# SPDX-License-Identifier: Apache-2.0
"""A node (ceph_node.py) that mounts subvolumes, and what the cluster says of its client."""
import contextlib
import json
import signal

import ceph_node
import cephfs_driver
from cephfs_driver import SHARED
from guest import Failed
from harness import GIB, sh


class Calls(ceph_node.Patient, cephfs_driver.Calls):
    pass


class Node(ceph_node.Node):
    kind, calls_of = 'cephfs', Calls

    def secrets(self):
        return self.ceph.fs_secrets()

    def mounts(self):
        """{point: (type, options)} of all that is of a filesystem of Ceph's."""
        return {point: (kind, options.split(',')) for _, point, kind, options, *_ in self.mount_table() if 'ceph' in kind}

    def is_bare(self):
        return not self.mounts()

    def clients(self):
        """What its kernel has one of for each filesystem that it has mounted, by name."""
        with contextlib.suppress(Failed):   # there is no debugfs, or it is mounted
            self.sure('mount', '-t', 'debugfs', 'debugfs', '/sys/kernel/debug')
        return self.sure('ls', '/sys/kernel/debug/ceph').split()


class Volume(ceph_node.Volume):
    def __init__(self, controller, node, name, cap=SHARED, size=GIB, made=None, **parameters):
        self.controller, self.name = controller, name
        super().__init__(node, name, cap, made or controller.create(name, size, [cap],
                                                                    parameters=cephfs_driver.class_of(**parameters)))

    def at(self, node):
        """The same on another node."""
        return Volume(self.controller, node, self.name, self.cap,
                      made=type('Made', (), {'volume_id': self.id, 'volume_context': self.context}))

    def delete(self):
        self.controller.delete(self.id)


def mds(ceph, *words):
    return sh('ceph', '-c', ceph.conf, 'tell', 'mds.a', *words)


def sessions(ceph, address):
    """Numbers of the clients that have something mounted from there."""
    return [s['id'] for s in json.loads(mds(ceph, 'session', 'ls', '--format=json')) if s['entity']['addr']['addr'].startswith(address)]


def evict(ceph, address):
    for number in sessions(ceph, address):
        mds(ceph, 'client', 'evict', f'id={number}')


@contextlib.contextmanager
def frozen(ceph, *names):
    """These daemons of it answer nobody, and no connection to them ends."""
    for name in names:
        ceph.process(name).send(signal.SIGSTOP)
    try:
        yield
    finally:
        for name in names:
            ceph.process(name).send(signal.SIGCONT)
