# SPDX-License-Identifier: Apache-2.0
"""Claims that ask for more, and for another VolumeAttributesClass, while pods use their volumes."""
import json
from pathlib import Path

import pytest
from cluster import DRIVER, claim, pod, storage_class, wait

MIB = 1 << 20
THROTTLE = "blkio.throttle.write_iops_device"


def attributes_class(name, **parameters):
    return {"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": name},
            "driverName": DRIVER, "parameters": parameters}


@pytest.fixture(scope="module")
def classes(cluster):
    # xfs: an ext4 in use grows only where CAP_SYS_RESOURCE is to be had, which is not so on every machine for tests
    cluster.apply("default", *({**storage_class(name, binding, "xfs"), "allowVolumeExpansion": True}
                               for name, binding in (("growing", "WaitForFirstConsumer"), ("growing-now", "Immediate"))),
                  attributes_class("slow", writeIOPS="100"), attributes_class("slower", writeIOPS="50"))


def ask(cluster, space, name, size=None, attributes=None):
    spec = {"resources": {"requests": {"storage": size}}} if size else {}
    if attributes:
        spec["volumeAttributesClassName"] = attributes
    cluster.kubectl("--namespace", space, "patch", "pvc", name, "--type=merge", "--patch", json.dumps({"spec": spec}))


def conditions(found):
    """Those of growth and modification; Kubernetes has others."""
    return sorted(c["type"] for c in found["status"].get("conditions", [])
                  if c["status"] == "True" and c["type"] != "Unused")


def wait_size(cluster, space, name, size):
    """The claim once it is as large as that and nothing is left to say about it."""
    def probe():
        found = cluster.get(space, "pvc", name)
        done = found["status"]["capacity"]["storage"] == size and not conditions(found) \
            and not found["status"].get("allocatedResourceStatuses")
        return found if done else None
    return wait(f"claim {name} has {size}", probe)


def pv_of(cluster, space, name):
    return cluster.get(space, "pv", cluster.get(space, "pvc", name)["spec"]["volumeName"])


def reasons(cluster, space, name):
    return {event["reason"] for event in cluster.events(space, name)}


def assert_note_goes(cluster, space, name):
    wait("the note of the old size is gone", lambda: "volume.alpha.kubernetes.io/pre-resize-capacity"
         not in pv_of(cluster, space, name)["metadata"].get("annotations", {}))


def test_grows_in_use(cluster, space, classes):
    """The pod goes on and has more, twice; the claim says how it went, and by whom."""
    cluster.apply(space, claim("data", "growing", size="320Mi"),
                  pod("user", "data", "echo kept > /data/file; sync"))
    before = cluster.wait_running(space, "user")
    for size, mib in (("512Mi", 512), ("640Mi", 640)):
        ask(cluster, space, "data", size)
        found = wait_size(cluster, space, "data", size)
        assert found["status"]["allocatedResources"]["storage"] == size
        assert pv_of(cluster, space, "data")["spec"]["capacity"]["storage"] == size
        (file,) = cluster.volume_files()
        assert int(cluster.bed.inside("stat", "--format=%s", file, stdout=-1).stdout) == mib * MIB
        # what xfs keeps for itself is no more than a fifth here
        assert int(cluster.run_in(space, "user", "df -P -k /data | tail -1 | awk '{print $2}'")) * 1024 > mib * MIB * 0.8
        assert_note_goes(cluster, space, "data")
    assert {"Resizing", "FileSystemResizeRequired", "FileSystemResizeSuccessful"} <= reasons(cluster, space, "data")
    assert "VolumeResizeFailed" not in reasons(cluster, space, "data")
    (event,) = [event for event in cluster.events(space, "data") if event["reason"] == "FileSystemResizeRequired"]
    assert event["source"]["component"] == f"external-resizer {DRIVER}"
    after = cluster.get(space, "pod", "user")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0
    assert cluster.run_in(space, "user", "cat /data/file") == "kept\n"


def test_raw_block_grows_in_use(cluster, space):
    """No filesystem of ours is on it, so no node has to do anything."""
    cluster.apply(space, claim("device", mode="Block"), pod("user", "device", block=True))
    cluster.wait_running(space, "user")
    ask(cluster, space, "device", "64Mi")
    wait_size(cluster, space, "device", "64Mi")
    wait("the pod sees it", lambda: cluster.run_in(space, "user", "blockdev --getsize64 /dev/data").strip() == str(64 * MIB))
    assert "VolumeResizeSuccessful" in reasons(cluster, space, "device")


def test_grows_when_a_pod_comes(cluster, space, classes):
    """Without a pod the volume grows and its filesystem waits; a second wish waits behind it."""
    cluster.apply(space, claim("idle", "growing-now", size="320Mi"))
    cluster.wait_bound(space, "idle")
    ask(cluster, space, "idle", "400Mi")
    wait("the claim waits for its node", lambda: "FileSystemResizePending" in conditions(cluster.get(space, "pvc", "idle")))
    found = cluster.get(space, "pvc", "idle")
    assert found["status"]["allocatedResourceStatuses"]["storage"] == "NodeResizePending"
    assert found["status"]["capacity"]["storage"] == "320Mi"
    volume = pv_of(cluster, space, "idle")
    assert volume["spec"]["capacity"]["storage"] == "400Mi"
    assert volume["metadata"]["annotations"]["volume.alpha.kubernetes.io/pre-resize-capacity"] == "320Mi"
    ask(cluster, space, "idle", "480Mi")
    cluster.apply(space, pod("user", "idle"))
    cluster.wait_running(space, "user")
    wait_size(cluster, space, "idle", "480Mi")
    assert_note_goes(cluster, space, "idle")


def test_what_does_not_fit_is_taken_back(cluster, space, classes):
    """The Event says that the pool is full; a smaller wish is granted at once."""
    cluster.apply(space, claim("greedy", "growing", size="320Mi"), pod("user", "greedy"))
    cluster.wait_running(space, "user")
    ask(cluster, space, "greedy", "100Ti")
    assert "are free" in cluster.wait_event(space, "greedy", "VolumeResizeFailed")["message"]
    wait("the claim says that it is infeasible", lambda: cluster.get(space, "pvc", "greedy")["status"].get(
        "allocatedResourceStatuses") == {"storage": "ControllerResizeInfeasible"})
    assert "ControllerResizeError" in conditions(cluster.get(space, "pvc", "greedy"))
    ask(cluster, space, "greedy", "400Mi")
    wait_size(cluster, space, "greedy", "400Mi")


def test_controller_killed_while_volumes_grow(cluster, space, classes):
    """Whichever step it was killed at, each volume comes to its size, once."""
    names = [f"v{n}" for n in range(4)]
    cluster.apply(space, *(claim(name, "growing-now", size="320Mi") for name in names))
    for name in names:
        cluster.wait_bound(space, name)
    for n in range(3):
        size = f"{340 + 20 * n}Mi"
        for name in names:
            ask(cluster, space, name, size)
        cluster.kill("controller")
        cluster.wait_ready("controller")
    cluster.apply(space, *(pod(f"user-{name}", name) for name in names))
    for name in names:
        cluster.wait_running(space, f"user-{name}")
        wait_size(cluster, space, name, "380Mi")


def throttle(cluster, space, name):
    """What the kernel holds the pod's container to, as {"major:minor": requests a second}."""
    uid = cluster.get(space, "pod", name)["metadata"]["uid"]
    seen = {}
    for file in Path("/sys/fs/cgroup/blkio").glob(f"**/*{uid}*/*/{THROTTLE}"):
        seen.update(line.split() for line in file.read_text().splitlines())
    return seen


@pytest.mark.skipif(not Path("/sys/fs/cgroup/blkio").exists(), reason="no cgroup v1 blkio; v2 is tests/guest's")
def test_limits_change_in_use(cluster, space, classes):
    """From one class to another while the pod runs, down to the kernel's own file."""
    made = claim("limited")
    made["spec"]["volumeAttributesClassName"] = "slow"
    cluster.apply(space, made, pod("user", "limited"))
    cluster.wait_running(space, "user")
    wait("the limit of the first class", lambda: list(throttle(cluster, space, "user").values()) == ["100"])
    assert cluster.get(space, "pvc", "limited")["status"]["currentVolumeAttributesClassName"] == "slow"
    ask(cluster, space, "limited", attributes="slower")
    wait("the class is recorded", lambda: cluster.get(space, "pvc", "limited")["status"].get(
        "currentVolumeAttributesClassName") == "slower")
    wait("the limit of the second class", lambda: list(throttle(cluster, space, "user").values()) == ["50"])
    found = cluster.get(space, "pvc", "limited")
    assert "modifyVolumeStatus" not in found["status"] and conditions(found) == []
    assert pv_of(cluster, space, "limited")["spec"]["volumeAttributesClassName"] == "slower"
    assert {"VolumeModify", "VolumeModifySuccessful"} <= reasons(cluster, space, "limited")


def test_a_class_may_come_late_and_must_be_right(cluster, space, classes):
    """A claim waits for its class, which wakes it; one that says what the driver does not know is infeasible."""
    cluster.apply(space, claim("waiting", "growing-now", size="320Mi"))
    cluster.wait_bound(space, "waiting")
    ask(cluster, space, "waiting", attributes="late")
    wait("the claim waits", lambda: cluster.get(space, "pvc", "waiting")["status"].get(
        "modifyVolumeStatus", {}).get("status") == "Pending")
    cluster.apply("default", attributes_class("late", writeIOPS="70"))
    wait("the class is applied", lambda: cluster.get(space, "pvc", "waiting")["status"].get(
        "currentVolumeAttributesClassName") == "late", 20)
    cluster.apply("default", attributes_class("wrong", writeiops="1"))
    ask(cluster, space, "waiting", attributes="wrong")
    wait("it is infeasible", lambda: cluster.get(space, "pvc", "waiting")["status"].get(
        "modifyVolumeStatus", {}).get("status") == "Infeasible")
    assert "ModifyVolumeError" in conditions(cluster.get(space, "pvc", "waiting"))
    wait("an Event names the parameter", lambda: any(
        event["reason"] == "VolumeModifyFailed" and "'writeiops'" in event["message"]
        for event in cluster.events(space, "waiting")))
    ask(cluster, space, "waiting", attributes="late")
    wait("it is back", lambda: "modifyVolumeStatus" not in cluster.get(space, "pvc", "waiting")["status"])
    assert conditions(cluster.get(space, "pvc", "waiting")) == []
