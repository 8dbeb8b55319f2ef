# SPDX-License-Identifier: Apache-2.0
"""A node (ceph_node.py) that maps images."""
import ceph_driver
import ceph_node
from harness import MIB, mount_cap


class Calls(ceph_node.Patient, ceph_driver.Calls):
    pass


class Node(ceph_node.Node):
    kind, calls_of = 'rbd', Calls

    def maps(self):
        """{number: image} of what its kernel has mapped."""
        return {n: self.attribute(n, 'name') for n in self.sure('ls', '/sys/bus/rbd/devices').split()}

    def attribute(self, n, name):
        return self.read(f'/sys/bus/rbd/devices/{n}/{name}', 0, 4096).decode().strip()

    def mounts(self):
        return [point for source, point, *_ in self.mount_table() if source.startswith('/dev/rbd')]

    def is_bare(self):
        return not self.maps() and not self.mounts()


class Volume(ceph_node.Volume):
    def __init__(self, controller, node, name, cap=None, size=400 * MIB, made=None, **parameters):
        self.controller, cap = controller, cap or mount_cap()
        super().__init__(node, name, cap, made or controller.create(name, size, [cap],
                                                                    parameters=ceph_driver.class_of(**parameters)))

    @property
    def image(self):
        return self.context['imageName']

    def delete(self):
        ceph_driver.settled(self.controller.delete, self.id)
