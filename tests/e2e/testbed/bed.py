# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes cluster of one node in namespaces of its own.

One process, the holder, is PID 1 of new PID, mount and network namespaces, and
everything else runs in them. So all paths and ports are the usual ones, none
of the machine's mounts, addresses or folders is touched, several clusters may
be up at once, and the end of the holder is the end of everything. Only two
kinds of things outlive a namespace, loop devices and cgroups; down() looks for
its own and for no others.

All files are below one folder, `run`; state.json in it is what lets another
process take the cluster down.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import daemons
import image
import machine
import pki
from machine import Failure, Process, wait_for

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[2]
POOL = "/var/lib/cleat/pool"
POOL_SIZE = "12G"


def tool(name):
    """The folder of a program set of tests/tools, built if need be."""
    built = subprocess.run([TOP / "tests/tools/build", name], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        raise Failure(f"tests/tools/build {name} failed")
    return Path(built.stdout.strip())


class Bed:
    def __init__(self, run, owner=None, audit=False, manager_qps=100):
        """owner: a Process without which the cluster is nobody's. audit: the API server writes every request down, in
        log/audit.log. manager_qps: of the controller manager."""
        self.run, self.owner = Path(run).resolve(), owner
        self.audit, self.manager_qps = audit, manager_qps
        self.state_file = self.run / "state.json"
        self.state = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}
        self.cgroup = "cleat-testbed-" + self.run.name
        self.began = time.monotonic()

    # --- small things

    def say(self, text):
        print(f"[{time.monotonic() - self.began:5.1f} s] testbed: {text}", file=sys.stderr, flush=True)

    def remember(self, **facts):
        self.state.update(facts)
        aside = self.state_file.with_suffix(".new")
        aside.write_text(json.dumps(self.state, indent=1))
        aside.rename(self.state_file)

    def process(self, name):
        known = self.state.get(name)
        return Process(*known) if known else None

    def kubernetes(self, program):
        return f"{self.state['programs']}/{program}"

    @property
    def kubeconfig(self):
        return self.run / "conf/admin.kubeconfig"

    def is_abandoned(self):
        owner = self.process("owner")
        return owner is not None and not owner.alive()

    def is_up(self):
        holder = self.process("init")
        return holder is not None and holder.alive()

    def enter(self, *namespaces):
        """The start of a command line that runs the rest inside."""
        holder = self.process("init")
        if not holder or not holder.alive():
            raise Failure(f"no cluster is up at {self.run}")
        return ["nsenter", "--target", str(holder.pid)] + ["--" + name for name in namespaces] + ["--"]

    def inside(self, *command, **options):
        """Runs a command in all of the cluster's namespaces; its working directory is /."""
        options.setdefault("check", True)
        return subprocess.run(self.enter("mount", "pid", "net") + list(command), text=True, **options)

    def kubectl_command(self, *arguments):
        """Only the network is the cluster's: files and working directory stay the caller's."""
        return self.enter("net") + [self.kubernetes("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]

    def kubectl(self, *arguments, **options):
        options.setdefault("check", True)
        return subprocess.run(self.kubectl_command(*arguments), text=True, **options)

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

    def tail(self, name, lines=25):
        try:
            return "\n".join(self.log_of(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    def wait_ready(self, name, seconds, command, answer=""):
        """Waits until the command succeeds and prints the answer; fails at once if the daemon has ended."""
        def probe():
            if not self.process(name).alive():
                raise Failure(f"{name} ended:\n{self.tail(name)}")
            tried = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
            return tried.returncode == 0 and answer in tried.stdout

        try:
            wait_for(f"{name} ready", seconds, probe, each=0.1)
        except Failure as failure:
            raise Failure(f"{failure}\n{self.tail(name)}") from None

    def wait_api(self, seconds=60):
        self.wait_ready("kube-apiserver", seconds, self.kubectl_command("get", "--raw=/readyz"))

    def wait_node(self, seconds=60):
        """This kubelet answers, and the node is Ready; the latter alone may be the word of the one before."""
        self.wait_ready("kubelet", seconds, self.enter("net") + [
            "curl", "--silent", "--fail", "http://127.0.0.1:10248/healthz"])
        path = "{.status.conditions[?(@.type=='Ready')].status}"
        self.wait_ready("kubelet", seconds,
                        self.kubectl_command("get", "node", daemons.NODE, f"--output=jsonpath={path}"), "True")

    # --- up

    def prepare_files(self):
        for name in ("pki", "conf", "cni", "log", "etcd", "images", "sys", "outside/lib", "outside/log"):
            (self.run / name).mkdir(parents=True)
        folder = self.run / "pki"
        pki.make_authority(folder)
        own = ["IP:127.0.0.1", f"IP:{daemons.NODE_IP}"]
        pki.issue(folder, "apiserver", "kube-apiserver", None, own + [f"IP:{daemons.SERVICE_IP}"] + [
            "DNS:" + name for name in ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")])
        pki.issue(folder, "apiserver-kubelet", "kube-apiserver-kubelet", "system:masters")
        pki.issue(folder, "admin", "admin", "system:masters")
        pki.issue(folder, "kube-controller-manager", "system:kube-controller-manager")
        pki.issue(folder, "kube-scheduler", "system:kube-scheduler")
        pki.issue(folder, "kubelet", "system:node:" + daemons.NODE, "system:nodes", own + ["DNS:" + daemons.NODE])
        pki.make_signing_pair(folder, "accounts")
        conf = self.run / "conf"
        for name in ("admin", "kube-controller-manager", "kube-scheduler", "kubelet"):
            (conf / (name + ".kubeconfig")).write_text(pki.kubeconfig(folder, name, daemons.SERVER))
        (conf / "kubelet.yaml").write_text(daemons.kubelet_configuration(self))
        (conf / "containerd.toml").write_text(daemons.containerd_configuration(self))
        if self.audit:
            (conf / "audit.json").write_text(daemons.audit_policy())
        (self.run / "cni/10-pods.conflist").write_text(daemons.cni_configuration())

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

    def make_namespaces(self):
        """Starts the holder and lays out its mounts and network.

        /var/lib, /var/log and /run are folders of ours there: containerd,
        kubelet and the CNI plugins make what they like below them and the
        machine keeps nothing of it. Copies of the machine's loop mounts are
        let go, else they would hold devices that others want to free. sysfs
        is mounted writable before any container can mount it: all mounts of
        it in a network namespace share what the first one was, and the first
        container's is read-only. On a real node that is the init system's.
        """
        child = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", "--net", "--pid", "--fork", "--kill-child",
             self.run / "images/pause/holder"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        holder = Process(wait_for("start of the holder", 10, lambda: machine.only_child(child.pid)))
        wait_for("the holder's program", 10, lambda: os.readlink(f"/proc/{holder.pid}/exe").endswith("/holder"))
        self.remember(init=[holder.pid, holder.born])
        self.inside("sh", "-euc", f"""
            mount -t proc proc /proc
            mount --make-rshared /
            mount -t sysfs sysfs {self.run}/sys
            awk '$3 != "/" && $1 ~ "^/dev/loop" {{ print $2 }}' /proc/mounts | while read -r path; do
                case {self.run} in "$path"*) ;; *) umount --lazy "$path" ;; esac
            done
            mount --bind {self.run}/outside/lib /var/lib
            mount --bind {self.run}/outside/log /var/log
            mount -t tmpfs -o mode=755 tmpfs /run
            mkdir -p /var/lib/kubelet {POOL} /run/lock
            ip link set lo up
            ip addr add {daemons.SERVICE_IP}/32 dev lo
            ip link add node0 type veth peer name node0p
            ip addr add {daemons.NODE_IP}/24 dev node0
            ip link set node0p up
            ip link set node0 up
            ip route add default dev node0""")

    def make_pool(self):
        """The node's disk: an XFS with reflink in a file, known outside only as a loop device."""
        pool = self.run / "pool.img"
        subprocess.run(["truncate", "--size", POOL_SIZE, pool], check=True)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", pool], check=True)
        device = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", pool], check=True, text=True,
                                stdout=subprocess.PIPE).stdout.strip()
        self.remember(pool_device=device, pool_number=machine.device_number(device))
        self.inside("mount", device, POOL)

    def import_image(self, archive):
        self.inside("ctr", "--namespace=k8s.io", "images", "import", "--no-unpack", str(Path(archive).resolve()),
                    stdout=subprocess.DEVNULL)

    def up(self):
        if self.is_up():
            raise Failure(f"a cluster is up already at {self.run}")
        if os.geteuid() != 0:
            raise Failure("not root: namespaces, mounts and loop devices need it")
        needed = ("etcd", "containerd", "ctr", "runc", "openssl", "ip", "losetup", "mkfs.xfs", "nsenter", "curl", "cc")
        missing = [name for name in needed if not shutil.which(name)]
        if missing or not Path("/usr/lib/cni/bridge").exists():
            raise Failure("not installed: " + ", ".join(missing or ["containernetworking-plugins"]))
        programs = tool("kubernetes")
        if self.run.exists() and any(self.run.iterdir()):
            raise Failure(f"{self.run} is not empty")
        self.run.mkdir(parents=True, exist_ok=True)
        self.began = time.monotonic()
        self.remember(programs=str(programs), **({"owner": [self.owner.pid, self.owner.born]} if self.owner else {}))
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
        self.make_pool()
        self.say("files, namespaces and pool made")
        for name in ("etcd", "containerd", "kube-apiserver"):
            self.start(name)
        self.wait_api()
        self.say("API server ready")
        for name in ("kube-controller-manager", "kube-scheduler"):
            self.start(name)
        self.wait_ready("containerd", 30, self.enter("mount", "pid", "net") + ["ctr", "version"])
        for name in ("pause", "busybox"):
            self.import_image(self.run / f"images/{name}.tar")
        self.start("kubelet")
        self.wait_node()
        self.wait_ready("kube-controller-manager", 30, self.kubectl_command("get", "serviceaccount", "default"))
        self.say("node ready")

    # --- down

    def loops(self):
        """This cluster's loop devices, each before the one it lies on.

        That is the pool's own; those with a file of the pool's filesystem behind them, which are volumes; and those
        with such a device behind them, which is how kubelet locks a raw block volume."""
        used = machine.loop_devices()
        pool = [loop for loop in used if loop.path == str(self.run / "pool.img")]
        # Without the pool's device its number may be another's already.
        volumes = [loop for loop in used if pool and loop.filesystem == self.state.get("pool_number")]
        locks = [loop for loop in used if any(loop.is_backed_by(volume.device) for volume in volumes)]
        return locks + volumes + pool

    def detach_loops(self):
        """Returns those that stay."""
        for loop in self.loops():
            machine.detach_loop(loop)
        return self.loops()

    def down(self):
        """Ends everything and removes every trace; what stays is told by Failure."""
        holder = self.process("init")
        if holder:
            holder.end(signal.SIGKILL)
        left = []
        try:
            wait_for("loop devices", 10, lambda: not self.detach_loops(), each=0.1)
        except Failure:
            left += [f"loop device {loop.device} ({loop.path})" for loop in self.loops()]
        left += ["cgroup " + folder for folder in machine.remove_cgroup(self.cgroup)]
        if left:
            raise Failure("left behind: " + ", ".join(left))
        shutil.rmtree(self.run, ignore_errors=False)
