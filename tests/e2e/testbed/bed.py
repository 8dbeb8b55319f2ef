# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes cluster in namespaces of its own: of one node, which also has the control plane, or of more.

Everything is below one folder, `run`, the first node's; what is the other nodes' is in folders of their names there. Several
clusters may be up at once. The end of the first node's holder is the end of the control plane and, since down() ends all,
of the cluster.
"""
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import daemons
import image
import machine
import pki
from machine import Failure
from node import POOL, Node, Worker

__all__ = ["POOL", "Bed", "tool"]

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[2]


def tool(name):
    """The folder of a program set of tests/tools, built if need be."""
    built = subprocess.run([TOP / "tests/tools/build", name], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        raise Failure(f"tests/tools/build {name} failed")
    return Path(built.stdout.strip())


class Bed(Node):
    """The cluster, and as a Node its first one."""

    def __init__(self, run, owner=None, audit=False, manager_qps=100, nodes=1):
        """owner: a Process without which the cluster is nobody's. audit: the API server writes every request down, in
        log/audit.log. manager_qps: of the controller manager. nodes: how many."""
        super().__init__(self, 1, run)
        self.owner, self.audit, self.manager_qps = owner, audit, manager_qps
        self.workers = [Worker(self, 2 + i) for i in range(self.state.get("nodes", nodes) - 1)]
        self.nodes = [self, *self.workers]
        self.images = [self.run / f"images/{name}.tar" for name in ("pause", "busybox")]

    def kubernetes(self, program):
        return f"{self.state['programs']}/{program}"

    @property
    def kubeconfig(self):
        return self.run / "conf/admin.kubeconfig"

    def is_abandoned(self):
        owner = self.process("owner")
        return owner is not None and not owner.alive()

    def kubectl_command(self, *arguments):
        """Only the network is the cluster's: files and working directory stay the caller's."""
        return self.enter("net") + [self.kubernetes("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]

    def kubectl(self, *arguments, **options):
        options.setdefault("check", True)
        return subprocess.run(self.kubectl_command(*arguments), text=True, **options)

    def wait_api(self, seconds=60):
        self.wait_ready("kube-apiserver", seconds, self.kubectl_command("get", "--raw=/readyz"))

    # --- up

    def prepare_files(self):
        for name in ("pki", "etcd", "images"):
            (self.run / name).mkdir(parents=True)
        folder, conf = self.run / "pki", self.run / "conf"
        self.prepare_node()
        pki.make_authority(folder)
        pki.issue(folder, "apiserver", "kube-apiserver", None, [
            "IP:127.0.0.1", f"IP:{self.address}", f"IP:{daemons.SERVICE_IP}"] + [
            "DNS:" + name for name in ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")])
        pki.issue(folder, "apiserver-kubelet", "kube-apiserver-kubelet", "system:masters")
        pki.issue(folder, "admin", "admin", "system:masters")
        pki.issue(folder, "kube-controller-manager", "system:kube-controller-manager")
        pki.issue(folder, "kube-scheduler", "system:kube-scheduler")
        pki.make_signing_pair(folder, "accounts")
        for name in ("admin", "kube-controller-manager", "kube-scheduler"):
            (conf / (name + ".kubeconfig")).write_text(pki.kubeconfig(folder, name, daemons.SERVER))
        self.make_kubelet_identity(self)
        if self.audit:
            (conf / "audit.json").write_text(daemons.audit_policy())

    def make_kubelet_identity(self, node):
        folder, name = self.run / "pki", f"kubelet-{node.name}"
        pki.issue(folder, name, "system:node:" + node.name, "system:nodes",
                  ["IP:127.0.0.1", f"IP:{node.address}", "DNS:" + node.name])
        (node.run / "conf/kubelet.kubeconfig").write_text(pki.kubeconfig(folder, name, daemons.SERVER))

    def build_images(self):
        """The sandbox's image and a busybox for pods; both from what the machine has."""
        pause = self.run / "images/pause"
        pause.mkdir()
        subprocess.run(["cc", "-O2", "-static", "-s", "-o", pause / "holder", HERE / "holder.c"], check=True)
        image.write_archive(self.run / "images/pause.tar", "localhost/pause:1", pause, ["/holder"])
        root = self.run / "images/busybox"
        for name in ("bin", "tmp", "etc"):
            (root / name).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        busybox = shutil.which("busybox") or ""
        if not busybox or b"/ld-linux" in Path(busybox).read_bytes():
            raise Failure("busybox-static is not installed")
        shutil.copy(busybox, root / "bin/busybox")
        for applet in subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, text=True,
                                     check=True).stdout.split():
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")
        (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
        image.write_archive(self.run / "images/busybox.tar", "localhost/busybox:1", root, ["/bin/sh"])

    def connect(self):
        """The network: a bridge for the other nodes' cables, and the Service's address, which everybody's way leads to."""
        routes = "\n".join(f"ip route add {daemons.pod_range(other.number)} via {other.address}" for other in self.workers)
        self.inside("sh", "-euc", f"""
            ip addr add {daemons.SERVICE_IP}/32 dev lo
            ip link add lan0 type bridge
            ip addr add {self.address}/24 dev lan0
            ip link add lan0a type veth peer name lan0b
            ip link set lan0a master lan0 up
            ip link set lan0b up
            ip link set lan0 up
            ip route add default dev lan0
            echo 1 > /proc/sys/net/ipv4/ip_forward
            {routes}""")

    def up(self):
        if self.is_up():
            raise Failure(f"a cluster is up already at {self.run}")
        if os.geteuid() != 0:
            raise Failure("not root: namespaces, mounts and loop devices need it")
        needed = ("etcd", "containerd", "ctr", "runc", "openssl", "ip", "losetup", "mkfs.xfs", "nsenter", "curl", "cc")
        missing = [name for name in needed if not shutil.which(name)]
        if missing or not Path("/usr/lib/cni/bridge").exists():
            raise Failure("not installed: " + ", ".join(missing or ["containernetworking-plugins"]))
        programs = tool(os.environ.get("CLEAT_KUBERNETES", "kubernetes"))
        if self.run.exists() and any(self.run.iterdir()):
            raise Failure(f"{self.run} is not empty")
        self.run.mkdir(parents=True, exist_ok=True)
        self.began = time.monotonic()
        self.remember(programs=str(programs), nodes=len(self.nodes), **({"owner": [self.owner.pid, self.owner.born]} if self.owner else {}))
        try:
            self.bring_up()
        except BaseException:
            self.say("could not be brought up; taking it down")
            self.down()
            raise

    def bring_up(self):
        machine.remove_idle_loops()
        self.prepare_files()
        self.build_images()
        machine.make_cgroup(self.cgroup)
        self.make_namespaces()
        self.connect()
        self.mount_disk(self.run / "pool.img")
        for worker in self.workers:
            worker.prepare()
        self.say("files, namespaces and pool made")
        self.start("etcd")
        self.start_containerd()
        self.start("kube-apiserver")
        self.wait_api()
        self.say("API server ready")
        for name in ("kube-controller-manager", "kube-scheduler"):
            self.start(name)
        self.wait_containerd()
        for archive in self.images:
            self.import_image(archive)
        self.start("kubelet")
        self.wait_node()
        self.wait_ready("kube-controller-manager", 30, self.kubectl_command("get", "serviceaccount", "default"))
        self.say("node ready")
        with ThreadPoolExecutor() as together:
            list(together.map(Worker.boot, self.workers))

    def add_image(self, archive):
        """To all nodes, those that boot later too."""
        self.images.append(Path(archive).resolve())
        for node in self.nodes:
            node.import_image(archive)

    # --- down

    def down(self):
        """Ends everything and removes every trace; what stays is told by Failure."""
        left = [one for node in reversed(self.nodes) for one in node.end()]
        if left:
            raise Failure("left behind: " + ", ".join(left))
        shutil.rmtree(self.run, ignore_errors=False)
