# SPDX-License-Identifier: Apache-2.0
"""Nodes of a real API server, which a driver outside of its network namespace asks about them.

No kubelet is there: what one would say (ready, boot, what it has) a test says, and what an administrator would (the taint).
"""
import contextlib
import ctypes
import os
import pathlib
import socket
import tempfile
import threading
import uuid

import apiserver

PORT = 6443
NODES = '/api/v1/nodes'
RBAC = '/apis/rbac.authorization.k8s.io/v1'
OUT_OF_SERVICE = {'key': 'node.kubernetes.io/out-of-service', 'value': 'nodeshutdown', 'effect': 'NoExecute'}
# What the chart gives a controller that fences.
RULES = [{'apiGroups': [''], 'resources': ['nodes'], 'verbs': ['get']}]
CLONE_NEWNET = 0x40000000


def missing():
    server, etcd = apiserver.find_programs()
    return '' if server and etcd else 'no kube-apiserver or etcd here (tests/e2e builds them)'


class Door:
    """A port of this network namespace that leads to one of another's."""

    def __init__(self, pid, port):
        self.pid, self.to = pid, port
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):   # it was closed
            while True:
                peer, _ = self.listener.accept()
                threading.Thread(target=self.enter, args=(peer,), daemon=True).start()

    def enter(self, peer):
        """On a thread of its own, which goes into the other namespace and ends there."""
        space = os.open(f'/proc/{self.pid}/ns/net', os.O_RDONLY | os.O_CLOEXEC)
        assert ctypes.CDLL(None).setns(space, CLONE_NEWNET) == 0
        os.close(space)
        with peer, contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', self.to)) as there:
            back = threading.Thread(target=self.pump, args=(there, peer), daemon=True)
            back.start()
            self.pump(peer, there)
            back.join()

    @staticmethod
    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in source, sink:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


class Nodes:
    def __init__(self, top):
        server, etcd = apiserver.find_programs()
        self.cluster = apiserver.Cluster(pathlib.Path(tempfile.mkdtemp(prefix='nodes-', dir=top)), server, etcd)
        self.door = self.probe = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self):
        with open(self.cluster.dir / 'tokens.csv', 'a', encoding='utf-8') as f:
            f.write('driver-token,driver,3\n')
        self.cluster.start(PORT)
        self.door = Door(self.cluster.holder.pid, PORT)
        self.probe = apiserver.Probe(self.cluster, self.cluster.kubeconfig('admin', PORT, {'token': 'admin-token'}),
                                     self.cluster.dir / 'probe.log')
        self.probe.call(f'create {RBAC}/clusterroles', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRole', 'metadata': {'name': 'driver'}, 'rules': RULES})
        self.probe.call(f'create {RBAC}/clusterrolebindings', {
            'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRoleBinding', 'metadata': {'name': 'driver'},
            'roleRef': {'apiGroup': 'rbac.authorization.k8s.io', 'kind': 'ClusterRole', 'name': 'driver'},
            'subjects': [{'apiGroup': 'rbac.authorization.k8s.io', 'kind': 'User', 'name': 'driver'}]})

    @property
    def kubeconfig(self):
        """With no more rights than a driver has."""
        return self.cluster.kubeconfig('driver', self.door.port, {'token': 'driver-token'})

    def add(self, name, address):
        self.probe.call(f'create {NODES}', {'apiVersion': 'v1', 'kind': 'Node', 'metadata': {'name': name}})
        self.say(name, addresses=[{'type': 'InternalIP', 'address': address}])
        self.boot(name, pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip())   # as kubelet says it

    def remove(self, name):
        self.probe.ask(f'delete {NODES}/{name}')

    def say(self, name, **status):
        """As its kubelet does."""
        self.probe.call(f'patch merge {NODES}/{name}/status', {'status': status})

    def boot(self, name, boot_id=None):
        machine = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        self.say(name, nodeInfo={'bootID': boot_id or str(uuid.uuid4()), 'systemUUID': machine, **dict.fromkeys((
            'machineID', 'kernelVersion', 'osImage', 'containerRuntimeVersion', 'kubeletVersion', 'kubeProxyVersion',
            'operatingSystem', 'architecture'), 'x')}, conditions=[{'type': 'Ready', 'status': 'True'}])

    def use(self, name, driver, *volume_ids):
        """The volumes that it has."""
        self.say(name, volumesInUse=[f'kubernetes.io/csi/{driver}^{volume_id}' for volume_id in volume_ids])

    def fall_silent(self, name):
        self.say(name, conditions=[{'type': 'Ready', 'status': 'Unknown'}])

    def taint(self, name, *taints):
        self.probe.call(f'patch merge {NODES}/{name}', {'spec': {'taints': list(taints)}})

    def close(self):
        if self.probe:
            self.probe.close()
        if self.door:
            self.door.close()
        self.cluster.close()
