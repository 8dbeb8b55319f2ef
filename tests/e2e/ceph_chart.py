# SPDX-License-Identifier: Apache-2.0
"""The examples of Ceph on a real one (tests/ceph, in the node's network), with the charts in ceph-csi's place: every file as it
is there but for the monitors, the key and the image of the pods."""
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import yaml
from bed import tool
from cluster import IMAGE, KUBELET_ROOT, PATIENCE, TOP, descends_from, wait
from daemons import NODE_IP
from machine import Process

GROUP = "snapshot.storage.k8s.io"
SNAPSHOTS = f"volumesnapshots.{GROUP}"
# The bindings to librados are those of Debian's python.
PYTHON = "/usr/bin/python3"
# Of no user.
WRONG_KEY = "AQD9o0Fd6hQRChAAt7fMaSZXduT3NWEqylNpmg=="
# The operator's own CRD has the whole of Prometheus' configuration in it; nothing here reads it but these tests.
MONITOR_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
    "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
             "names": {"kind": "ServiceMonitor", "plural": "servicemonitors", "singular": "servicemonitor"},
             "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                 "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}


def run(*words):
    done = subprocess.run(list(map(str, words)), text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stderr}"
    return done.stdout


class Ceph:
    """A cluster of tests/ceph at the node's address."""

    def __init__(self, bed, filesystem=False, user=None):
        """user: that of the classes' Secret, if not the usual one."""
        self.bed, self.filesystem, self.user = bed, filesystem, user
        self.dir = Path(tempfile.mkdtemp(prefix="cleat-ceph-", dir="/var/tmp"))

    def do(self, what, *words):
        return run(*self.bed.enter("net"), PYTHON, TOP / "tests/ceph/cluster.py", what, self.dir, *words)

    @contextlib.contextmanager
    def up(self):
        try:
            self.do("up", "--store=bluestore", f"--address={NODE_IP}", f"--owner={os.getpid()}",
                    *(["--filesystem"] if self.filesystem else []))
            yield self
        finally:
            if (self.dir / "state.json").exists():
                self.do("down")

    @property
    def monitors(self):
        return json.loads((self.dir / "csi/config.json").read_text())[0]["monitors"]

    @property
    def secret(self):
        """What a Secret of the class says."""
        if self.user:
            keys = json.loads((self.dir / "state.json").read_text())["keys"]
            return {"userID": self.user, "userKey": keys[f"client.{self.user}"]}
        return json.loads((self.dir / ("fs-secret.json" if self.filesystem else "secret.json")).read_text())

    def blocklist(self):
        """The addresses that are shut out."""
        asked = "import cluster, json, sys; print(json.dumps(cluster.Ceph(sys.argv[1]).command(prefix='osd dump')))"
        return list(json.loads(run(*self.bed.enter("net"), "env", f"PYTHONPATH={TOP / 'tests/ceph'}", PYTHON, "-c", asked, self.dir))["blocklist"])

    def look(self):
        """The journal, images or subvolumes, what is in the trash, and what is more than where there is no volume."""
        program = "fs_journal.py" if self.filesystem else "journal.py"
        return json.loads(run(*self.bed.enter("net"), PYTHON, TOP / "tests/ceph" / program, self.dir))

    def is_empty(self):
        return not self.look()["left"]


def build_image(folder):
    program = Path(os.environ["CLEAT"])
    tag = "e2e-" + hashlib.sha256(program.read_bytes()).hexdigest()[:12]
    archive = Path(folder) / "cleat-ceph-image.tar"
    subprocess.run([TOP / "tools/image", program.parent, tag, archive], check=True, env={**os.environ, "CEPH": "1"})
    return archive, tag


class Examples:
    """One directory of examples, and the chart that it is installed by."""

    def __init__(self, cluster, ceph, name, kind):
        self.cluster, self.ceph, self.kind = cluster, ceph, kind
        self.folder, self.chart = TOP / "examples" / name, TOP / f"charts/cleat-ceph-{kind}"
        self.release, self.space, self.driver = f"cleat-ceph-{kind}", f"ceph-csi-{kind}", f"{kind}.csi.ceph.com"

    def text(self, name, **secret):
        """The file's, of this cluster; secret: what its Secret says that is wrong."""
        text = (self.folder / name).read_text()
        if name == "config.yaml":
            (config,) = json.loads(yaml.safe_load(text)["data"]["config.json"])
            config["monitors"] = self.ceph.monitors
            return json.dumps({**yaml.safe_load(text), "data": {"config.json": json.dumps([config])}})
        if name == "secret.yaml":
            return json.dumps({**yaml.safe_load(text), "stringData": {**self.ceph.secret, **secret}})
        return text.replace("image: busybox", f"image: {IMAGE}\n      imagePullPolicy: Never")

    def apply(self, name, space="default", **secret):
        self.cluster.kubectl("--namespace", space, "apply", "--filename", "-", input=self.text(name, **secret))

    @contextlib.contextmanager
    def installed(self, *settings):
        """As the examples' README says it is installed, and settings of the chart; snapshots' CRDs and their controller, and the
        monitor's."""
        cluster = self.cluster
        cluster.upgrade("--set", "controller.controllers={provisioner,snapshotter,snapshot-controller}")
        for part in "classes", "contents", "s":
            cluster.kubectl("apply", "--filename", str(tool("snapshot-crds") / f"{GROUP}_volumesnapshot{part}.yaml"))
        cluster.apply("default", MONITOR_CRD)
        archive, tag = build_image(cluster.bed.run)
        cluster.bed.add_image(archive)
        cluster.kubectl("create", "namespace", self.space)
        self.apply("config.yaml", self.space)
        cluster.helm("upgrade", "--install", self.release, str(self.chart), "--namespace", self.space,
                     "--values", str(self.folder / "values.yaml"), "--set",
                     f"image.tag={tag},image.pullPolicy=Never,provisioner.replicaCount=1",
                     *[word for setting in settings for word in ("--set", setting)])
        for workload in f"daemonset/{self.release}-nodeplugin", f"deployment/{self.release}-provisioner":
            cluster.kubectl("--namespace", self.space, "rollout", "status", workload, f"--timeout={PATIENCE}s")
        wait("the driver registered", lambda: all(any(
            driver["name"] == self.driver
            for driver in cluster.get("default", "csinode", node.name)["spec"].get("drivers") or []) for node in cluster.bed.nodes))
        for name in "secret.yaml", "storageclass.yaml", "snapshotclass.yaml":
            self.apply(name, self.space)
        yield self
        cluster.helm("uninstall", self.release, "--namespace", self.space)
        cluster.kubectl("delete", "namespace", self.space, "--wait=false")
        cluster.upgrade()   # other tests want all controllers again

    def mounts(self):
        """Of this driver's volumes, or of what serves them, on the node."""
        table = Path(f"/proc/{self.cluster.bed.process('init').pid}/mountinfo").read_text()
        return [line for line in table.splitlines() if f"{KUBELET_ROOT}/plugins" in line and self.driver in line]

    def processes(self, *words):
        """Those on the node that were given all of these words."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    given = (entry / "cmdline").read_bytes().split(b"\0")
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if all(word.encode() in given for word in words) and \
                        descends_from(int(entry.name), self.cluster.bed.process("init").pid):
                    found.append(int(entry.name))
        return found

    def plugin(self):
        """The driver's process on the node."""
        found = self.processes("cephcsi", f"--type={self.kind}", "--nodeserver")
        return Process(found[0]) if found else None

    def clear(self, space):
        """Deletes what a test has made; neither the cluster nor the node has anything of it then."""
        cluster = self.cluster
        for what in "pods", SNAPSHOTS, "pvc":
            cluster.kubectl("--namespace", space, "delete", what, "--all", f"--timeout={PATIENCE}s")
        wait("Ceph has nothing of it", self.ceph.is_empty)
        wait("no mount is left", lambda: not self.mounts())
        wait("no PV is left", lambda: not [pv for pv in cluster.list("pv")
                                           if pv["spec"].get("csi", {}).get("driver") == self.driver])
        wait("no attachment is left", lambda: not [a for a in cluster.list("volumeattachments")
                                                   if a["spec"]["attacher"] == self.driver])

    def wait_snapshot(self, space, name):
        def probe():
            found = self.cluster.get(space, SNAPSHOTS, name)
            return found and found.get("status", {}).get("readyToUse") and found
        return wait(f"snapshot {name} ready", probe)

    def attributes(self, space, name):
        """volumeAttributes of the claim's PV."""
        pv = self.cluster.get("default", "pv", self.cluster.get(space, "pvc", name)["spec"]["volumeName"])
        return pv["spec"]["csi"]["volumeAttributes"]

    def wait_grown(self, space, name, capacity):
        wait("the claim has grown", lambda: self.cluster.get(space, "pvc", name)["status"]["capacity"]["storage"] == capacity)

    def goes_on(self, space, before):
        """The pod is the one that it was, and its container has not been started anew."""
        after = self.cluster.get(space, "pod", before["metadata"]["name"])
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["status"]["containerStatuses"][0]["restartCount"] == 0

    def check_monitor(self):
        """Each endpoint that the ServiceMonitor selects answers, as the operator would have Prometheus ask it."""
        cluster = self.cluster
        self.apply("servicemonitor.yaml", self.space)
        spec = cluster.get(self.space, "servicemonitors", "csi-metrics")["spec"]
        services = cluster.list("services", self.space, selector(spec["selector"]["matchLabels"]))
        assert len(services) == 2
        for service in services:
            (endpoint,) = spec["endpoints"]
            (port,) = [port["port"] for port in service["spec"]["ports"] if port["name"] == endpoint["port"]]
            pods = cluster.list("pods", self.space, selector(service["spec"]["selector"]))
            assert pods
            for one in pods:
                assert "# TYPE csi_" in cluster.http(port, endpoint["path"], one["status"]["podIP"])

    def check_wrong_key(self, space, name, *members):
        """Told on the claim of pvc.yaml in words of what to change, and without the key; the claim is served as
        soon as that is done. members: of the Secret, that have keys."""
        self.apply("secret.yaml", self.space, **dict.fromkeys(members, WRONG_KEY))
        try:
            self.apply("pvc.yaml", space)
            said = self.cluster.wait_event(space, name, "ProvisioningFailed")["message"]
            assert self.ceph.secret["userID"] in said and WRONG_KEY[:4] not in said, said
        finally:
            self.apply("secret.yaml", self.space)
        self.cluster.wait_bound(space, name)

    def kill_plugin(self, meanwhile):
        """Three times; meanwhile(n) is done between its end and the next one."""
        for n in range(3):
            before = wait("the plugin", self.plugin)
            before.send(signal.SIGKILL)
            meanwhile(n)
            wait("another plugin", lambda: (self.plugin() or before).pid != before.pid)  # noqa: B023


def selector(labels):
    return ",".join(f"{key}={value}" for key, value in labels.items())
