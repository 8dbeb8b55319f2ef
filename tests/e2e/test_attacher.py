# SPDX-License-Identifier: Apache-2.0
"""The attacher on a whole cluster: the controller-manager asks for attachments, kubelet waits for them. The driver is the
tests' own (attaching.py), since cleat's attaches nothing."""
import os
import signal
import subprocess
from pathlib import Path

import pytest
from cluster import HERE, pod, wait
from daemons import KUBELET_ROOT, NODE

DRIVER = "attach.cleat.test"
# The system's own, which has the packages that the integration tests need.
PYTHON = "/usr/bin/python3"
FINALIZER = "external-attacher/attach-cleat-test"


class Attaching:
    """The driver and the controller beside the cluster; both are ended with the tests."""

    def __init__(self, cluster):
        self.cluster, self.bed = cluster, cluster.bed
        self.state = self.bed.run / "attaching"
        self.state.mkdir()
        self.socket = f"{KUBELET_ROOT}/plugins/{DRIVER}/csi.sock"
        self.driver = self.controller = None

    def run(self, name, *command):
        with open(self.bed.log_of(name), "ab") as log:
            return subprocess.Popen(self.bed.enter("mount", "net") + [str(word) for word in command],
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start_driver(self):
        self.driver = self.run("attaching-driver", PYTHON, HERE / "attaching.py", self.state, KUBELET_ROOT, f"i-{NODE}")

        def is_registered():
            assert self.driver.poll() is None, self.bed.tail("attaching-driver")
            found = self.cluster.get("default", "csinode", NODE)
            return any(driver["name"] == DRIVER for driver in found["spec"].get("drivers") or [])
        wait(f"{DRIVER} in the CSINode", is_registered)

    def start_controller(self):
        self.controller = self.run("attaching-controller", os.environ["CLEAT"], "controller", "--controllers=attacher",
                                   f"--csi-address=unix://{self.socket}", f"--kubeconfig={self.bed.kubeconfig}")

    def kill_controller(self):
        self.controller.send_signal(signal.SIGKILL)
        self.controller.wait()
        self.start_controller()

    def end(self):
        for process in (self.controller, self.driver):
            if process and process.poll() is None:
                process.kill()
                process.wait()

    # --- objects

    def make(self, space, name):
        """A volume, and a claim that is bound to it."""
        full = f"{space}-{name}"
        self.cluster.apply(
            space,
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": full},
             "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "",
                      "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": space, "name": name},
                      "csi": {"driver": DRIVER, "volumeHandle": full}}},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
             "spec": {"storageClassName": "", "volumeName": full, "accessModes": ["ReadWriteOnce"],
                      "resources": {"requests": {"storage": "1Gi"}}}})
        self.cluster.wait_bound(space, name)
        return full

    def attachments(self, volume):
        return [item for item in self.cluster.list("volumeattachments")
                if item["spec"]["source"].get("persistentVolumeName") == volume]

    def attached(self):
        return (self.state / "attached").read_text().split("\n")[:-1]

    def wait_detached(self, volume):
        wait(f"no attachment of {volume}", lambda: not self.attachments(volume))
        assert f"{volume} i-{NODE}" not in self.attached()

    def remove(self, space, name):
        self.cluster.delete(space, "pvc", name)
        self.cluster.delete("default", "pv", f"{space}-{name}")
        self.cluster.wait_gone(space, "pvc", name)
        self.cluster.wait_gone("default", "pv", f"{space}-{name}")


@pytest.fixture(scope="module")
def attaching(cluster):
    cluster.apply("default", {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER},
                              "spec": {"attachRequired": True, "fsGroupPolicy": "None"}})
    found = Attaching(cluster)
    try:
        found.start_driver()
        found.start_controller()
        yield found
    finally:
        found.end()
        cluster.kubectl("delete", "csidriver", DRIVER)
        Path(f"/proc/{cluster.bed.process('init').pid}/root{KUBELET_ROOT}/plugins_registry/{DRIVER}-reg.sock").unlink(
            missing_ok=True)


def test_whole_path(cluster, space, attaching):
    """A pod has its volume attached, and when it goes nothing is left but the volume; then that goes too."""
    volume = attaching.make(space, "data")
    cluster.apply(space, pod("user", "data", "echo hello > /data/file"))
    cluster.wait_running(space, "user")
    (found,) = attaching.attachments(volume)
    assert found["status"] == {"attached": True, "attachmentMetadata": {"device": f"disk-of-{volume}"}}
    assert found["metadata"]["finalizers"] == [FINALIZER]
    assert found["metadata"]["annotations"] == {"csi.alpha.kubernetes.io/node-id": f"i-{NODE}"}
    assert FINALIZER in cluster.get("default", "pv", volume)["metadata"]["finalizers"]
    assert cluster.run_in(space, "user", "cat /data/file") == "hello\n"
    assert attaching.attached() == [f"{volume} i-{NODE}"]
    reasons = {event["reason"] for event in cluster.events(space, "user")}
    assert "SuccessfulAttachVolume" in reasons, reasons
    cluster.delete(space, "pod", "user")
    cluster.wait_gone(space, "pod", "user")
    attaching.wait_detached(volume)
    attaching.remove(space, "data")


def test_the_pod_is_told_what_the_driver_says(cluster, space, attaching):
    volume = attaching.make(space, "data")
    (attaching.state / "fail-publish").write_text("INTERNAL")
    try:
        cluster.apply(space, pod("user", "data"))
        told = cluster.wait_event(space, "user", "FailedAttachVolume")
        assert "the driver says no" in told["message"], told["message"]
    finally:
        (attaching.state / "fail-publish").unlink()
    cluster.wait_running(space, "user")
    cluster.delete(space, "pod", "user")
    cluster.wait_gone(space, "pod", "user")
    attaching.wait_detached(volume)
    attaching.remove(space, "data")


STEPS = [
    ("pod", lambda c, s: c.apply(s, pod("first", "data")), lambda c, s: c.wait_running(s, "first")),
    ("pod deleted", lambda c, s: c.delete(s, "pod", "first"), lambda c, s: c.wait_gone(s, "pod", "first")),
    ("pod again", lambda c, s: c.apply(s, pod("second", "data")), lambda c, s: c.wait_running(s, "second")),
    ("pod deleted again", lambda c, s: c.delete(s, "pod", "second"), lambda c, s: c.wait_gone(s, "pod", "second")),
]


@pytest.mark.parametrize("moment", ["during", "after"])
def test_killed_at_every_step(cluster, space, attaching, moment):
    volume = attaching.make(space, "data")
    for _name, ask, done in STEPS:
        ask(cluster, space)
        if moment == "during":
            attaching.kill_controller()
        done(cluster, space)
        if moment == "after":
            attaching.kill_controller()
    attaching.wait_detached(volume)
    attaching.remove(space, "data")


def test_a_driver_that_is_away_keeps_nobody_attached_or_waiting(cluster, space, attaching):
    """Away while a pod goes: the attachment stays; back: it goes, and the next pod starts."""
    volume = attaching.make(space, "data")
    cluster.apply(space, pod("first", "data"))
    cluster.wait_running(space, "first")
    (attaching.state / "fail-unpublish").write_text("UNAVAILABLE")
    cluster.delete(space, "pod", "first")
    cluster.wait_gone(space, "pod", "first")
    wait("the failure in the status", lambda: any(
        "detachError" in item.get("status", {}) for item in attaching.attachments(volume)))
    attaching.driver.kill()
    attaching.driver.wait()
    (attaching.state / "fail-unpublish").unlink()
    attaching.start_driver()
    attaching.wait_detached(volume)
    cluster.apply(space, pod("second", "data"))
    cluster.wait_running(space, "second")
    cluster.delete(space, "pod", "second")
    cluster.wait_gone(space, "pod", "second")
    attaching.wait_detached(volume)
    attaching.remove(space, "data")


def test_a_node_that_is_gone(cluster, space, attaching):
    """Node and CSINode were deleted: what was attached there is detached by what the attachment remembers."""
    volume = attaching.make(space, "data")
    cluster.apply("default", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "ghost"}})
    owner = cluster.get("default", "node", "ghost")["metadata"]["uid"]
    cluster.apply("default", {
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode",
        "metadata": {"name": "ghost", "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "ghost", "uid": owner}]},
        "spec": {"drivers": [{"name": DRIVER, "nodeID": "i-ghost", "topologyKeys": []}]}})
    cluster.apply("default", {
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": f"csi-{space}"},
        "spec": {"attacher": DRIVER, "nodeName": "ghost", "source": {"persistentVolumeName": volume}}})
    wait("attached to the ghost", lambda: f"{volume} i-ghost" in attaching.attached())
    cluster.kubectl("delete", "node", "ghost")
    cluster.wait_gone("default", "csinode", "ghost")
    # The controller-manager may have asked for its end already: nobody needs it.
    cluster.kubectl("delete", "volumeattachment", f"csi-{space}", "--ignore-not-found")
    attaching.wait_detached(volume)
    assert f"{volume} i-ghost" not in attaching.attached()
    attaching.remove(space, "data")
