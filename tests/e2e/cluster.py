# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests say to a cluster: objects, waiting, killing, and looking for what is left behind."""
import base64
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(HERE / "testbed"))

import machine
from bed import POOL, Bed, tool
from daemons import KUBELET_ROOT, NODE, NODE_IP
from machine import Process, parent

DRIVER = "pool.cleat.csi"
SYSTEM = "cleat-system"
IMAGE = "localhost/busybox:1"
PATIENCE = 90


class Timeout(AssertionError):
    pass


def wait(what, probe, seconds=PATIENCE, each=0.1):
    """Calls probe until it returns something true and returns that. Falsehoods are shown in the failure."""
    end = time.monotonic() + seconds
    while True:
        seen = probe()
        if seen:
            return seen
        if time.monotonic() > end:
            raise Timeout(f"{what}: not within {seconds} s")
        time.sleep(each)


def in_bytes(quantity):
    """Of a whole number, as objects have it."""
    for suffix, factor in (("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)):
        if quantity.endswith(suffix):
            return int(quantity.removesuffix(suffix)) * factor
    return int(quantity)


# --- objects

def claim(name, storage_class="cleat", size="32Mi", mode="Filesystem", access="ReadWriteOnce"):
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"storageClassName": storage_class, "volumeMode": mode, "accessModes": [access],
                     "resources": {"requests": {"storage": size}}}}


def pod(name, claim_name, script="", block=False, read_only=False, security=None):
    """A pod that runs script, is ready, and stays; its volume is at /data, or as a device at /dev/data."""
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never",
                 "command": ["sh", "-ec", f"{script}\ntouch /tmp/ready\nexec sleep 86400"],
                 "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}}
    if block:
        container["volumeDevices"] = [{"name": "data", "devicePath": "/dev/data"}]
    else:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            # Not 0: the pod would be gone from the API before kubelet has so much as begun to unmount.
            "spec": {"terminationGracePeriodSeconds": 1, "dnsPolicy": "Default", "securityContext": security or {},
                     "containers": [container],
                     "volumes": [{"name": "data", "persistentVolumeClaim": {
                         "claimName": claim_name, "readOnly": read_only}}]}}


def storage_class(name, binding="WaitForFirstConsumer", fs="ext4", parameters=None, reclaim="Delete"):
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": DRIVER, "volumeBindingMode": binding, "reclaimPolicy": reclaim,
            "parameters": {"csi.storage.k8s.io/fstype": fs, **(parameters or {})}}


class Cluster:
    def __init__(self, bed, image_tag):
        self.bed = bed
        self.version = TOP, image_tag   # whose chart and which image are installed: another's at will
        self.helm_program = str(tool("helm") / "helm")

    # --- Kubernetes

    def kubectl(self, *arguments, **options):
        """Returns what it prints; raises, with what it says, when it fails."""
        done = self.bed.kubectl(*arguments, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        if done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def helm(self, *arguments):
        done = subprocess.run(self.bed.enter("net") + [self.helm_program, *arguments], text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={**os.environ, "KUBECONFIG": str(self.bed.kubeconfig)})
        if done.returncode != 0:
            raise AssertionError(f"helm {' '.join(arguments)}: {done.stdout.strip()}")
        return done.stdout

    def install(self, *options):
        self.kubectl("apply", "--filename", str(TOP / "deploy/namespace.yaml"))
        self.upgrade(*options)

    def upgrade(self, *options):
        """Installs or changes the release and waits until all pods are of the new kind and ready."""
        self.begin_upgrade(*options)
        self.wait_rolled_out()

    def begin_upgrade(self, *options):
        # Where nodes die one must be left.
        replicas = min(2, len(self.bed.nodes))
        top, tag = self.version
        self.helm("upgrade", "--install", "cleat", str(top / "charts/cleat"), "--namespace", SYSTEM, "--set",
                  f"image.tag={tag},image.pullPolicy=Never,controller.replicas={replicas}", *options)

    def roll_back(self):
        """To what the release was before the last upgrade."""
        self.begin_roll_back()
        self.wait_rolled_out()

    def begin_roll_back(self):
        self.helm("rollback", "cleat", "--namespace", SYSTEM)

    def wait_rolled_out(self):
        for workload in ("daemonset/cleat-node", "deployment/cleat-controller"):
            self.kubectl("--namespace", SYSTEM, "rollout", "status", workload, f"--timeout={PATIENCE}s")

    def apply(self, space, *objects):
        self.kubectl("--namespace", space, "apply", "--filename", "-",
                     input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def delete(self, space, kind, *names):
        """Asks for deletion and does not wait for it."""
        self.kubectl("--namespace", space, "delete", kind, *names, "--wait=false")

    def get(self, space, kind, name):
        """The object, or None."""
        text = self.kubectl("--namespace", space, "get", kind, name, "--output=json", "--ignore-not-found")
        return json.loads(text) if text else None

    def list(self, kind, space=None, selector=None):
        where = ["--namespace", space] if space else ["--all-namespaces"]
        more = ["--selector", selector] if selector else []
        return json.loads(self.kubectl("get", kind, "--output=json", *where, *more))["items"]

    def wait_phase(self, space, kind, name, phase, seconds=PATIENCE):
        def probe():
            found = self.get(space, kind, name)
            return found and found["status"].get("phase") == phase and found
        return wait(f"{kind} {name} {phase}", probe, seconds)

    def wait_bound(self, space, name, seconds=PATIENCE):
        return self.wait_phase(space, "pvc", name, "Bound", seconds)

    def wait_running(self, space, name, seconds=PATIENCE):
        def probe():
            found = self.get(space, "pod", name)
            states = (found or {}).get("status", {}).get("containerStatuses", [])
            return bool(states) and all(state["ready"] for state in states) and found
        return wait(f"pod {name} ready", probe, seconds)

    def wait_gone(self, space, kind, name, seconds=PATIENCE):
        wait(f"{kind} {name} gone", lambda: self.get(space, kind, name) is None, seconds)

    def events(self, space, name):
        return [event for event in self.list("events", space) if event["involvedObject"].get("name") == name]

    def wait_event(self, space, name, reason, seconds=PATIENCE):
        return wait(f"event {reason} on {name}", lambda: next(
            (event for event in self.events(space, name) if event["reason"] == reason), None), seconds)

    def run_in(self, space, name, script):
        """Runs a shell script in the pod and returns what it prints."""
        return self.kubectl("--namespace", space, "exec", name, "--", "sh", "-ec", script)

    def ctl(self, folder, *words):
        """`cleat ctl` as the administrator runs it: with the kubeconfig, against the node's agent, by the controller's certificate.
        Its JSON."""
        secret = self.get(SYSTEM, "secret", "cleat-controller-tls")["data"]
        for name, value in secret.items():
            (folder / name).write_bytes(base64.b64decode(value))
        done = subprocess.run(
            self.bed.enter("net") + [os.environ["CLEAT"], "ctl", *words, "-o", "json", f"--kubeconfig={self.bed.kubeconfig}",
                                     f"--agents=tcp://{NODE_IP}:10000", f"--tls-server-name=cleat://node/{NODE}",
                                     f"--tls-cert={folder}/tls.crt", f"--tls-key={folder}/tls.key", f"--tls-ca={folder}/ca.crt"],
            text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    # --- our own processes

    def pods_of(self, component):
        return [item for item in self.list("pods", SYSTEM, f"app.kubernetes.io/component={component}")
                if "deletionTimestamp" not in item["metadata"]]

    def process_of(self, component, node=None):
        """The program of that role on the node (by default the first): `cleat node` or `cleat controller`, or None while
        there is none."""
        holder = (node or self.bed).process("init").pid
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if len(words) > 1 and words[0].endswith(b"/cleat") and words[1] == component.encode() \
                    and descends_from(int(entry.name), holder):
                return Process(int(entry.name))
        return None

    def kill(self, component, number=signal.SIGKILL, node=None):
        process = wait(f"a running {component}", lambda: self.process_of(component, node))
        process.send(number)
        return process

    def wait_ready(self, component, seconds=PATIENCE):
        def probe():
            states = [state for item in self.pods_of(component)
                      for state in item.get("status", {}).get("containerStatuses", [])]
            return states and all(state["ready"] for state in states) and self.process_of(component)
        return wait(f"{component} ready", probe, seconds)

    def wait_registered(self, seconds=PATIENCE):
        def probe(name):
            found = self.get("default", "csinode", name)
            return found and any(driver["name"] == DRIVER for driver in found["spec"].get("drivers") or [])
        for node in self.bed.nodes:
            wait(f"{DRIVER} in the CSINode of {node.name}", lambda: probe(node.name), seconds)

    def http(self, port, path, address=NODE_IP):
        """GET from inside the cluster's network."""
        done = subprocess.run(self.bed.enter("net") + ["curl", "--silent", "--show-error", "--fail-with-body",
                                                       "--max-time", "5", f"http://{address}:{port}{path}"],
                              text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"GET {address}:{port}{path}: {done.stdout.strip()}"
        return done.stdout

    # --- what is on the node

    def volume_files(self):
        """Files of volumes in the nodes' pools: all but the driver's own, templates of fresh filesystems among them."""
        listed = [path for node in self.bed.nodes
                  for path in node.inside("find", POOL, "-type", "f", stdout=subprocess.PIPE).stdout.split()]
        return sorted(path for path in listed if "/.cleat/" not in path)

    def record_of(self, path):
        """{key: value} of what a volume's file says of itself."""
        seen_from_here = f"/proc/{self.bed.process('init').pid}/root{path}"
        text = os.getxattr(seen_from_here, "user.cleat.volume").decode()
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def mounts(self):
        """Mount points of our volumes in the nodes' namespaces."""
        tables = [Path(f"/proc/{node.process('init').pid}/mountinfo").read_text() for node in self.bed.nodes]
        points = [line.split()[4] for table in tables for line in table.splitlines()]
        return sorted(point for point in points if point.startswith(KUBELET_ROOT) and (
            f"/csi/{DRIVER}/" in point or "/kubernetes.io~csi/" in point or "/volumeDevices/" in point))

    def loops(self):
        """Loop devices of volumes, and those by which kubelet locks raw block volumes."""
        return sorted(loop.device for node in self.bed.nodes for loop in node.loops()
                      if loop.path not in node.disks)

    def leftovers(self):
        persistent = [item["metadata"]["name"] for item in self.list("pv")
                      if item["spec"].get("csi", {}).get("driver") == DRIVER]
        return {kind: found for kind, found in (
            ("PVs", persistent), ("files", self.volume_files()), ("mounts", self.mounts()), ("loops", self.loops()))
            if found}

    def wait_nothing_left(self, seconds=PATIENCE):
        seen = {}

        def probe():
            seen.clear()
            seen.update(self.leftovers())
            return not seen
        try:
            wait("nothing left behind", probe, seconds)
        except Timeout as timeout:
            raise Timeout(f"{timeout}: {seen}") from None

    def clear(self, space):
        """Deletes what a test has made in its namespace, and sees it go."""
        for kind in ("statefulsets", "pods", "pvc"):
            self.kubectl("--namespace", space, "delete", kind, "--all", f"--timeout={PATIENCE}s")
        self.kubectl("delete", "namespace", space, "--wait=false")
        self.wait_nothing_left()

    def diagnose(self):
        """All that one would look at after a failure, as (title, text)."""
        def attempt(*arguments):
            done = self.bed.kubectl(*arguments, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    timeout=20)
            return done.stdout

        yield "objects", attempt("get", "pods,pvc,pv,csinodes,leases", "--all-namespaces", "--output=wide")
        yield "events", attempt("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp")[-6000:]
        yield "pods", attempt("--namespace", SYSTEM, "describe", "pods")[-6000:]
        for component in ("node", "controller"):
            for previous in ("false", "true"):
                yield f"log of {component}, previous={previous}", attempt(
                    "--namespace", SYSTEM, "logs", f"--selector=app.kubernetes.io/component={component}",
                    "--tail=80", f"--previous={previous}")
        for node in self.bed.nodes:
            yield f"kubelet of {node.name}", node.tail("kubelet", 40)
        yield "left", json.dumps({"mounts": self.mounts(), "loops": self.loops(), "files": self.volume_files()}, indent=1)


def descends_from(pid, ancestor):
    while pid and pid != ancestor:
        pid = parent(pid)
    return pid == ancestor


def build_image(program, folder, top=TOP):
    """The image of the program, as the tree at top makes it, with a tag that tells it from every other build's."""
    tag = "e2e-" + hashlib.sha256(Path(program).read_bytes()).hexdigest()[:12]
    archive = Path(folder) / f"{tag}.tar"
    subprocess.run([top / "tools/image", Path(program).parent, tag, archive], check=True)
    return archive, tag


def sweep_abandoned(where):
    """Takes down the clusters whose owner was killed before it did so; one at a time does, of those that begin together."""
    place = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        for run in Path(where).glob("cleat-e2e-*"):
            bed = Bed(run)
            if bed.is_abandoned():
                bed.say(f"{run} is taken down: who made it was killed")
                bed.down()
    finally:
        os.close(place)


def open_cluster(program, before=None, **options):
    """A cluster with the chart installed from an image of the program; the caller takes it down by bed.down(). before: the tree of
    another version, which is installed in its place; `now` of the cluster is this one then."""
    sweep_abandoned("/var/tmp")
    bed = Bed(tempfile.mkdtemp(prefix="cleat-e2e-", dir="/var/tmp"), owner=Process(os.getpid()), **options)
    bed.up()
    try:
        archive, tag = build_image(program, bed.run)
        bed.add_image(archive)
        cluster = Cluster(bed, tag)
        if before:
            archive, tag = build_image(before / "build/cleat", bed.run, before)
            bed.add_image(archive)
            cluster.now, cluster.version = cluster.version, (before, tag)
        try:
            cluster.install()
            cluster.wait_registered()
        except AssertionError:
            for title, text in cluster.diagnose():
                print(f"--- {title}\n{text}", file=sys.stderr)
            raise
    except BaseException:
        bed.down()
        raise
    return cluster
