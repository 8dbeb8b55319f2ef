# SPDX-License-Identifier: Apache-2.0
"""examples/ceph-rbd on a real Ceph (tests/ceph, in the node's network), with the chart in ceph-csi's place: every file as it is
there but for the monitors, the key and the image of the pods."""
import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
from bed import tool
from cluster import IMAGE, KUBELET_ROOT, PATIENCE, TOP, descends_from, wait
from daemons import NODE_IP
from machine import Process

EXAMPLES, CHART, RELEASE, SPACE = TOP / "examples/ceph-rbd", TOP / "charts/cleat-ceph-rbd", "cleat-ceph-rbd", "ceph-csi-rbd"
DRIVER, GROUP = "rbd.csi.ceph.com", "snapshot.storage.k8s.io"
SNAPSHOTS = f"volumesnapshots.{GROUP}"
# The bindings to librados are those of Debian's python.
PYTHON = "/usr/bin/python3"
GIB = 1 << 30
# What an ext4 in use grows by, CAP_SYS_RESOURCE, is not to be had on every machine; without it the pod is not there meanwhile.
EXT4_GROWS_IN_USE = bool(int(re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.M)[1], 16) & 1 << 24)
# The operator's own CRD has the whole of Prometheus' configuration in it; nothing here reads it but this test.
MONITOR_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
    "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
             "names": {"kind": "ServiceMonitor", "plural": "servicemonitors", "singular": "servicemonitor"},
             "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                 "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}


def run(*words):
    done = subprocess.run(list(map(str, words)), text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


class Ceph:
    """A cluster of tests/ceph at the node's address."""

    def __init__(self, bed):
        self.bed, self.dir = bed, Path(tempfile.mkdtemp(prefix="cleat-ceph-", dir="/var/tmp"))

    def do(self, what, *words):
        return run(*self.bed.enter("net"), PYTHON, TOP / "tests/ceph/cluster.py", what, self.dir, *words)

    def up(self):
        self.do("up", "--store=bluestore", f"--address={NODE_IP}", f"--owner={os.getpid()}")

    @property
    def monitors(self):
        return json.loads((self.dir / "csi/config.json").read_text())[0]["monitors"]

    @property
    def key(self):
        return json.loads((self.dir / "secret.json").read_text())["userKey"]

    def pool(self):
        """The journal, images, what is in the trash, and what is more than in an empty pool."""
        return json.loads(run(*self.bed.enter("net"), PYTHON, TOP / "tests/ceph/journal.py", self.dir))


@pytest.fixture(scope="module")
def ceph(cluster):
    made = Ceph(cluster.bed)
    try:
        made.up()
        yield made
    finally:
        if (made.dir / "state.json").exists():
            made.do("down")


def build_image(folder):
    program = Path(os.environ["CLEAT"])
    tag = "e2e-" + hashlib.sha256(program.read_bytes()).hexdigest()[:12]
    archive = Path(folder) / "cleat-ceph-image.tar"
    subprocess.run([TOP / "tools/image", program.parent, tag, archive], check=True, env={**os.environ, "CEPH": "1"})
    return archive, tag


def example(name, ceph):
    """The file's text, of this cluster."""
    text = (EXAMPLES / name).read_text()
    if name == "config.yaml":
        (config,) = json.loads(yaml.safe_load(text)["data"]["config.json"])
        return json.dumps({**yaml.safe_load(text), "data": {"config.json": json.dumps([{**config, "monitors": ceph.monitors}])}})
    if name == "secret.yaml":
        return json.dumps({**yaml.safe_load(text), "stringData": {"userID": "csi-rbd", "userKey": ceph.key}})
    return text.replace("image: busybox", f"image: {IMAGE}\n      imagePullPolicy: Never")


@pytest.fixture(scope="module")
def apply(cluster, ceph):
    def one(name, space="default"):
        cluster.kubectl("--namespace", space, "apply", "--filename", "-", input=example(name, ceph))
    return one


@pytest.fixture(scope="module")
def release(cluster, ceph, apply):
    """The chart, as the examples' README says it is installed; snapshots' CRDs and their controller, and the monitor's."""
    cluster.upgrade("--set", "controller.controllers={provisioner,snapshotter,snapshot-controller}")
    for part in "classes", "contents", "s":
        cluster.kubectl("apply", "--filename", str(tool("snapshot-crds") / f"{GROUP}_volumesnapshot{part}.yaml"))
    cluster.apply("default", MONITOR_CRD)
    archive, tag = build_image(cluster.bed.run)
    cluster.bed.add_image(archive)
    cluster.kubectl("create", "namespace", SPACE)
    apply("config.yaml", SPACE)
    cluster.helm("upgrade", "--install", RELEASE, str(CHART), "--namespace", SPACE, "--values", str(EXAMPLES / "values.yaml"), "--set",
                 f"image.tag={tag},image.pullPolicy=Never,provisioner.replicaCount=1")
    for workload in f"daemonset/{RELEASE}-nodeplugin", f"deployment/{RELEASE}-provisioner":
        cluster.kubectl("--namespace", SPACE, "rollout", "status", workload, f"--timeout={PATIENCE}s")
    wait("the driver registered", lambda: any(
        driver["name"] == DRIVER for driver in cluster.get("default", "csinode", cluster.bed.name)["spec"].get("drivers") or []))
    for name in "secret.yaml", "storageclass.yaml", "snapshotclass.yaml":
        apply(name, SPACE)
    yield
    cluster.helm("uninstall", RELEASE, "--namespace", SPACE)
    cluster.kubectl("delete", "namespace", SPACE, "--wait=false")


def mounts(cluster):
    """Of this driver's volumes, or of what serves their images, on the node."""
    table = Path(f"/proc/{cluster.bed.process('init').pid}/mountinfo").read_text()
    return [line for line in table.splitlines() if f"{KUBELET_ROOT}/plugins" in line and DRIVER in line]


@pytest.fixture
def volumes(cluster, ceph, release, space):
    """A namespace; after the test neither the pool nor the node has anything of it."""
    yield space
    for kind in "pods", SNAPSHOTS, "pvc":
        cluster.kubectl("--namespace", space, "delete", kind, "--all", f"--timeout={PATIENCE}s")
    wait("the pool is empty", lambda: not ceph.pool()["left"])
    wait("no mount is left", lambda: not mounts(cluster))
    wait("no PV is left", lambda: not [pv for pv in cluster.list("pv") if pv["spec"].get("csi", {}).get("driver") == DRIVER])
    wait("no attachment is left", lambda: not [a for a in cluster.list("volumeattachments") if a["spec"]["attacher"] == DRIVER])


def wait_snapshot(cluster, space, name):
    def probe():
        found = cluster.get(space, SNAPSHOTS, name)
        return found and found.get("status", {}).get("readyToUse") and found
    return wait(f"snapshot {name} ready", probe)


def image_of(cluster, ceph, space, name):
    """(name, what journal.py tells of it) of the claim's image."""
    pv = cluster.get("default", "pv", cluster.get(space, "pvc", name)["spec"]["volumeName"])
    found = pv["spec"]["csi"]["volumeAttributes"]["imageName"]
    return found, ceph.pool()["images"][found]


def plugin(cluster):
    """The driver's process on the node."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"cephcsi" in words and b"--nodeserver" in words and descends_from(int(entry.name), cluster.bed.process("init").pid):
                return Process(int(entry.name))
    return None


def test_the_examples(cluster, ceph, volumes, apply):
    """Class, claim, pod, snapshot, restore, clone, growth, metrics; in the README's order."""
    apply("pvc.yaml", volumes)
    cluster.wait_bound(volumes, "rbd-pvc")
    apply("pod.yaml", volumes)
    cluster.wait_running(volumes, "rbd-pod")
    (line,) = cluster.run_in(volumes, "rbd-pod", "grep ' /data ' /proc/mounts").splitlines()
    assert line.split()[2] == "ext4" and "discard" in line.split()[3].split(","), line
    name, image = image_of(cluster, ceph, volumes, "rbd-pvc")
    assert (image["size"], image["features"]) == (GIB, 1)
    visits = cluster.run_in(volumes, "rbd-pod", "cat /data/visits")

    apply("snapshot.yaml", volumes)
    wait_snapshot(cluster, volumes, "rbd-pvc-snapshot")
    cluster.run_in(volumes, "rbd-pod", "echo later >> /data/visits; sync")
    apply("restore.yaml", volumes)
    cluster.wait_running(volumes, "rbd-pod-restored")
    assert cluster.run_in(volumes, "rbd-pod-restored", "cat /data/visits") == visits
    assert cluster.kubectl("--namespace", volumes, "logs", "rbd-pod-restored") == visits
    apply("clone.yaml", volumes)
    cluster.wait_bound(volumes, "rbd-pvc-clone")
    assert image_of(cluster, ceph, volumes, "rbd-pvc-clone")[1]["size"] == GIB

    if not EXT4_GROWS_IN_USE:
        cluster.kubectl("--namespace", volumes, "delete", "pod", "rbd-pod", f"--timeout={PATIENCE}s")
    apply("pvc-grown.yaml", volumes)
    if not EXT4_GROWS_IN_USE:
        apply("pod.yaml", volumes)
    before = cluster.wait_running(volumes, "rbd-pod")
    wait("the claim has grown", lambda: cluster.get(volumes, "pvc", "rbd-pvc")["status"]["capacity"]["storage"] == "2Gi")
    assert ceph.pool()["images"][name]["size"] == 2 * GIB
    assert int(cluster.run_in(volumes, "rbd-pod", "df -P -k /data | tail -1 | awk '{print $2}'")) * 1024 > 1.8 * GIB
    assert cluster.run_in(volumes, "rbd-pod", "cat /data/visits").startswith(f"{visits}later\n")
    after = cluster.get(volumes, "pod", "rbd-pod")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0


def test_the_monitor_finds_metrics(cluster, volumes, apply):
    """Each endpoint that it selects answers, as the operator would have Prometheus ask it."""
    apply("servicemonitor.yaml", SPACE)
    spec = cluster.get(SPACE, "servicemonitors", "csi-metrics")["spec"]
    services = cluster.list("services", SPACE, ",".join(f"{key}={value}" for key, value in spec["selector"]["matchLabels"].items()))
    assert len(services) == 2
    for service in services:
        (endpoint,) = spec["endpoints"]
        (port,) = [port["port"] for port in service["spec"]["ports"] if port["name"] == endpoint["port"]]
        pods = cluster.list("pods", SPACE, ",".join(f"{key}={value}" for key, value in service["spec"]["selector"].items()))
        assert pods
        for one in pods:
            assert "# TYPE csi_" in cluster.http(port, endpoint["path"], one["status"]["podIP"])


def test_the_plugin_is_killed_under_a_pod(cluster, volumes, apply):
    """The pod writes on as if nothing had happened, and what it wrote is there for the next one."""
    apply("pvc.yaml", volumes)
    apply("pod.yaml", volumes)
    cluster.wait_running(volumes, "rbd-pod")
    for n in range(3):
        before = wait("the plugin", lambda: plugin(cluster))
        before.send(signal.SIGKILL)
        cluster.run_in(volumes, "rbd-pod", f"echo {n} >> /data/n; sync; cat /data/n")
        wait("another plugin", lambda: (plugin(cluster) or before).pid != before.pid)
    cluster.kubectl("--namespace", volumes, "delete", "pod", "rbd-pod", f"--timeout={PATIENCE}s")
    apply("pod.yaml", volumes)
    cluster.wait_running(volumes, "rbd-pod")
    assert cluster.run_in(volumes, "rbd-pod", "cat /data/n") == "0\n1\n2\n"


def test_a_wrong_key_is_told_on_the_claim(cluster, ceph, volumes, apply):
    """In words of what to change; the claim is served as soon as that is done."""
    wrong = {**json.loads(example("secret.yaml", ceph)), "stringData": {
        "userID": "csi-rbd", "userKey": "AQD9o0Fd6hQRChAAt7fMaSZXduT3NWEqylNpmg=="}}
    cluster.apply(SPACE, wrong)
    try:
        apply("pvc.yaml", volumes)
        event = cluster.wait_event(volumes, "rbd-pvc", "ProvisioningFailed")
        assert "csi-rbd" in event["message"] and "AQD9" not in event["message"], event["message"]
    finally:
        apply("secret.yaml", SPACE)
    cluster.wait_bound(volumes, "rbd-pvc")
