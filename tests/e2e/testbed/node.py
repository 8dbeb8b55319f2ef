# SPDX-License-Identifier: Apache-2.0
"""A node of a test cluster: namespaces of its own, its disk, containerd and kubelet.

One process, the holder, is PID 1 of new PID, mount and network namespaces, and everything else of the node runs in them. So
all paths and ports are the usual ones, none of the machine's mounts, addresses or folders is touched, and the end of the
holder is the end of everything, as a power cut is. Only two kinds of things outlive a namespace, loop devices and cgroups;
those of ours are looked for and no others.

All files are below one folder, `run`; state.json in it is what lets another process take the node down. The node's disk and
what containerd and kubelet keep stay there when it dies, and are there when it boots again.
"""
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import daemons
import machine
from machine import Failure, Process, wait_for

POOL = "/var/lib/cleat/pool"
POOL_SIZE = "12G"


class Node:
    def __init__(self, bed, number, run):
        """bed: the cluster, whose first node is itself. number: 1 is the first."""
        self.bed, self.number, self.run = bed, number, Path(run).resolve()
        self.name, self.address = daemons.node_name(number), daemons.node_address(number)
        self.cgroup = f"cleat-testbed-{bed.run.name if bed is not self else self.run.name}-{self.name}"
        self.state_file = self.run / "state.json"
        self.state = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}
        self.began = time.monotonic()

    # --- small things

    def say(self, text):
        print(f"[{time.monotonic() - self.bed.began:5.1f} s] testbed: {text}", file=sys.stderr, flush=True)

    def remember(self, **facts):
        self.state.update(facts)
        aside = self.state_file.with_suffix(".new")
        aside.write_text(json.dumps(self.state, indent=1))
        aside.rename(self.state_file)

    def process(self, name):
        known = self.state.get(name)
        return Process(*known) if known else None

    def is_up(self):
        holder = self.process("init")
        return holder is not None and holder.alive()

    def enter(self, *namespaces):
        """The start of a command line that runs the rest inside."""
        holder = self.process("init")
        if not holder or not holder.alive():
            raise Failure(f"{self.name} of the cluster at {self.bed.run} is not up")
        return ["nsenter", "--target", str(holder.pid)] + ["--" + name for name in namespaces] + ["--"]

    def inside(self, *command, **options):
        """Runs a command in all of the node's namespaces; its working directory is /."""
        options.setdefault("check", True)
        return subprocess.run(self.enter("mount", "pid", "net") + list(command), text=True, **options)

    # --- daemons

    def log_of(self, name):
        return self.run / "log" / (name + ".log")

    def start(self, name):
        with open(self.log_of(name), "ab") as log:
            child = subprocess.Popen(self.enter("mount", "pid", "net") + daemons.COMMANDS[name](self),
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        # nsenter forks to enter a PID namespace: the daemon is its child.
        pid = wait_for(f"start of {name}", 10, lambda: machine.only_child(child.pid) or child.poll() is not None)
        if child.poll() is not None:
            raise Failure(f"{name} ended at once:\n{self.tail(name)}")
        started = Process(pid)
        self.remember(**{name: [started.pid, started.born]})

    def stop(self, name, number=signal.SIGTERM, seconds=5):
        """Ends a daemon; one that still has not after those seconds (the API server waits for its watchers) is killed."""
        self.process(name).end(number, seconds)

    def freeze(self, name):
        """A daemon hangs; nsenter, whose child it is, stops with it."""
        self.process(name).send(signal.SIGSTOP)

    def thaw(self, name):
        """nsenter has to run to reap it, else the end of the node's PID namespace waits for that."""
        frozen = self.process(name)
        for pid in frozen.pid, machine.parent(frozen.pid):
            os.kill(pid, signal.SIGCONT)

    def tail(self, name, lines=25):
        try:
            return "\n".join(self.log_of(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    def wait_ready(self, name, seconds, command, answer=""):
        """Waits until the command succeeds and prints the answer; fails at once if the daemon has ended."""
        def probe():
            if not self.process(name).alive():
                raise Failure(f"{name} of {self.name} ended:\n{self.tail(name)}")
            tried = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
            return tried.returncode == 0 and answer in tried.stdout

        try:
            wait_for(f"{name} of {self.name} ready", seconds, probe, each=0.1)
        except Failure as failure:
            raise Failure(f"{failure}\n{self.tail(name)}") from None

    def wait_node(self, seconds=60):
        """This kubelet answers, and the node is Ready since it does; Ready alone may be the word of the one before."""
        self.wait_ready("kubelet", seconds, self.enter("net") + [
            "curl", "--silent", "--fail", "http://127.0.0.1:10248/healthz"])
        path = "{.status.conditions[?(@.type=='Ready')].status}{.status.nodeInfo.bootID}"
        self.wait_ready("kubelet", seconds, self.bed.kubectl_command("get", "node", self.name, f"--output=jsonpath={path}"),
                        "True" + self.boot_id())

    def boot_id(self):
        return (self.run / "boot_id").read_text().strip()

    # --- up

    def prepare_node(self):
        """Its files, once."""
        for name in ("conf", "cni", "log", "sys", "outside/lib", "outside/log"):
            (self.run / name).mkdir(parents=True, exist_ok=True)
        conf = self.run / "conf"
        (conf / "kubelet.yaml").write_text(daemons.kubelet_configuration(self))
        (conf / "containerd.toml").write_text(daemons.containerd_configuration(self))
        (self.run / "cni/10-pods.conflist").write_text(daemons.cni_configuration(self))
        self.make_pool()

    def make_pool(self):
        """The node's disk: an XFS with reflink in a file, known outside only as a loop device."""
        pool = self.run / "pool.img"
        subprocess.run(["truncate", "--size", POOL_SIZE, pool], check=True)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", pool], check=True)

    def mount_disk(self, image, where=POOL):
        device = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", image], check=True, text=True,
                                stdout=subprocess.PIPE).stdout.strip()
        self.remember(disks={**self.disks, str(image): [device, machine.device_number(device)]})
        self.inside("mkdir", "-p", where)
        self.inside("mount", device, where)

    @property
    def disks(self):
        """{image: [device, its number]} of those that it has had."""
        return self.state.get("disks", {})

    def make_namespaces(self):
        """Starts the holder and lays out its mounts.

        /var/lib, /var/log and /run are folders of ours there: containerd, kubelet and the CNI plugins make what they like
        below them and the machine keeps nothing of it. Copies of the machine's loop mounts are let go, else they would hold
        devices that others want to free. sysfs is mounted writable before any container can mount it: all mounts of it in a
        network namespace share what the first one was, and the first container's is read-only. On a real node that is the
        init system's.
        """
        again = self.process("init")
        child = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", "--net", "--pid", "--fork", "--kill-child",
             self.bed.run / "images/pause/holder"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        holder = Process(wait_for("start of the holder", 10, lambda: machine.only_child(child.pid)))
        wait_for("the holder's program", 10, lambda: os.readlink(f"/proc/{holder.pid}/exe").endswith("/holder"))
        self.remember(init=[holder.pid, holder.born])
        # Containers have a /proc of their own, with the machine's: so has the node, until it boots again.
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip() if again is None else uuid.uuid4()
        (self.run / "boot_id").write_text(f"{boot_id}\n")
        self.inside("sh", "-euc", f"""
            mount -t proc proc /proc
            mount --make-rshared /
            mount -t sysfs sysfs {self.run}/sys
            awk '$3 != "/" && $1 ~ "^/dev/loop" {{ print $2 }}' /proc/mounts | while read -r path; do
                case {self.run} in "$path"*) ;; *) umount --lazy "$path" ;; esac
            done
            mount --bind {self.run}/outside/lib /var/lib
            mount --bind {self.run}/outside/log /var/log
            mount --bind {self.run}/boot_id /proc/sys/kernel/random/boot_id
            mount -t tmpfs -o mode=755 tmpfs /run
            mkdir -p /var/lib/kubelet {POOL} /run/lock
            ip link set lo up""")

    def start_containerd(self):
        self.start("containerd")

    def wait_containerd(self):
        self.wait_ready("containerd", 30, self.enter("mount", "pid", "net") + ["ctr", "version"])

    def import_image(self, archive):
        self.inside("ctr", "--namespace=k8s.io", "images", "import", "--no-unpack", str(Path(archive).resolve()),
                    stdout=subprocess.DEVNULL)

    # --- down

    def served(self):
        """The numbers of its FUSE filesystems, which the machine has not: images that a program serves, under loop devices that
        outlive it."""
        def numbers(pid):
            lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
            return {line.split()[2] for line in lines if line.partition(" - ")[2].startswith("fuse")}
        return numbers(self.process("init").pid) - numbers("self") if self.is_up() else set()

    def loops(self):
        """This node's loop devices, each before the one it lies on.

        That is its disks' own; those with a file of a disk's filesystem behind them, or an image that is served, which are
        volumes; and those with such a device behind them, which is how kubelet locks a raw block volume."""
        used = machine.loop_devices()
        disks = [loop for loop in used if loop.path in self.disks and loop.device == self.disks[loop.path][0]]
        # Without the disk's device its number may be another's already.
        numbers = {self.disks[disk.path][1] for disk in disks} | self.served()
        volumes = [loop for loop in used if loop.filesystem in numbers]
        locks = [loop for loop in used if any(loop.is_backed_by(volume.device) for volume in volumes)]
        return locks + volumes + disks

    def end(self, known=None):
        """The end of the node, as when its power goes: all that runs there, its devices, its cgroups; returns what would
        not go. Its files stay. known: loops() of before, where they can no longer be found (a filesystem that was shut down)."""
        holder = self.process("init")
        known = {(loop.device, loop.path) for loop in (self.loops() if known is None else known)}
        if holder:
            holder.end(signal.SIGKILL)

        def left():
            return [loop for loop in machine.loop_devices() if (loop.device, loop.path) in known] or self.loops()

        def detach():
            for loop in left():
                machine.detach_loop(loop)
            return not left()
        try:
            wait_for("loop devices", machine.LONG, detach, each=0.1)
        except Failure:
            pass
        return [f"loop device {loop.device} ({loop.path}), had by {machine.who_has(loop.device)}" for loop in left()] + \
            ["cgroup " + folder for folder in machine.remove_cgroup(self.cgroup)]


class Worker(Node):
    """One more node, without a control plane. It is joined to the first by a cable: a veth, to the bridge there."""

    def __init__(self, bed, number):
        super().__init__(bed, number, bed.run / daemons.node_name(number))

    @property
    def cable(self):
        """Its end at the first node."""
        return f"to-{self.name}"

    def prepare(self):
        self.run.mkdir()
        self.prepare_node()
        self.bed.make_kubelet_identity(self)

    def connect(self):
        """The network: a cable to the first node, where the API server's address is, and the ways to all nodes' pods."""
        holder = self.process("init").pid
        subprocess.run(self.bed.enter("net") + ["sh", "-euc", f"""
            ip link delete {self.cable} 2>/dev/null || :
            ip link add {self.cable} type veth peer name node0 netns {holder}
            ip link set {self.cable} master lan0 up"""], check=True)
        routes = "\n".join(f"ip route add {daemons.pod_range(other.number)} via {other.address}"
                           for other in self.bed.nodes if other is not self)
        self.inside("sh", "-euc", f"""
            ip addr add {self.address}/24 dev node0
            ip link set node0 up
            ip route add default via {self.bed.address}
            echo 1 > /proc/sys/net/ipv4/ip_forward
            {routes}""")

    def boot(self):
        """From nothing, or after cut(): until the node is Ready."""
        machine.make_cgroup(self.cgroup)
        self.make_namespaces()
        self.connect()
        self.mount_disk(self.run / "pool.img")
        self.start_containerd()
        self.wait_containerd()
        for archive in self.bed.images:
            self.import_image(archive)
        self.start("kubelet")
        self.wait_node()
        self.say(f"{self.name} ready")

    def cut(self):
        """The power goes: what was not synced to the pool is lost."""
        known = self.loops()
        subprocess.run(["xfs_io", "-x", "-c", "shutdown", f"/proc/{self.process('init').pid}/root{POOL}"], check=True)
        left = self.end(known)
        if left:
            raise Failure("left behind: " + ", ".join(left))

    def pull_disk(self):
        """Of one whose power was cut: the image of its disk, which is another node's from now on; here is a new one."""
        moved = self.run / f"moved-{uuid.uuid4()}.img"
        (self.run / "pool.img").rename(moved)
        self.make_pool()
        return moved

    def unplug(self):
        """The network goes; the node lives on."""
        subprocess.run(self.bed.enter("net") + ["ip", "link", "set", self.cable, "down"], check=True)

    def plug(self):
        subprocess.run(self.bed.enter("net") + ["ip", "link", "set", self.cable, "up"], check=True)
