# SPDX-License-Identifier: Apache-2.0
"""What a user of the cluster does with volumes, and what is on the node afterwards."""
import json
import re
from pathlib import Path

import pytest
from cluster import DRIVER, POOL, SYSTEM, claim, machine, pod, storage_class, wait


@pytest.fixture(scope="module")
def classes(cluster):
    cluster.apply("default", storage_class("now", "Immediate"), storage_class("xfs", fs="xfs"),
                  storage_class("keep", reclaim="Retain"))


def test_whole_path(cluster, space):
    """A pod writes, goes, comes again and finds its data; the claim goes and nothing is left."""
    cluster.apply(space, claim("notes"), pod("writer", "notes", "echo hello > /data/notes; sync"))
    cluster.wait_running(space, "writer")
    bound = cluster.wait_bound(space, "notes")
    volume = cluster.get(space, "pv", bound["spec"]["volumeName"])
    assert volume["spec"]["csi"]["driver"] == DRIVER
    assert volume["spec"]["capacity"]["storage"] == "32Mi"
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    assert volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == DRIVER
    assert len(cluster.volume_files()) == 1 and len(cluster.loops()) == 1
    record = cluster.record_of(*cluster.volume_files())
    assert record["claim-namespace"] == space and record["claim-name"] == "notes"
    assert record["claim-uid"] == bound["metadata"]["uid"]
    assert record["cluster"] == cluster.get("kube-system", "namespace", "kube-system")["metadata"]["uid"]

    cluster.delete(space, "pod", "writer")
    cluster.wait_gone(space, "pod", "writer")
    cluster.apply(space, pod("reader", "notes"))
    cluster.wait_running(space, "reader")
    assert cluster.run_in(space, "reader", "cat /data/notes") == "hello\n"

    cluster.delete(space, "pod", "reader")
    cluster.wait_gone(space, "pod", "reader")
    cluster.delete(space, "pvc", "notes")
    cluster.wait_gone(space, "pvc", "notes")
    cluster.wait_nothing_left()


def test_waits_for_first_consumer(cluster, space):
    """Nothing is made before a pod wants it."""
    cluster.apply(space, claim("late"))
    cluster.wait_event(space, "late", "WaitForFirstConsumer")
    assert cluster.leftovers() == {}
    cluster.apply(space, pod("consumer", "late"))
    cluster.wait_running(space, "consumer")
    events = {event["reason"] for event in cluster.events(space, "late")}
    assert {"Provisioning", "ProvisioningSucceeded"} <= events


def test_immediate(cluster, space, classes):
    """Bound without a pod, and tied to the node that has the pool."""
    cluster.apply(space, claim("early", "now"))
    bound = cluster.wait_bound(space, "early")
    volume = cluster.get(space, "pv", bound["spec"]["volumeName"])
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    (key,) = [expression["key"] for term in terms for expression in term["matchExpressions"]]
    assert re.fullmatch(re.escape(DRIVER) + "/[0-9a-f]{32}", key)
    cluster.apply(space, pod("user", "early"))
    cluster.wait_running(space, "user")


def test_xfs_inside(cluster, space, classes):
    cluster.apply(space, claim("xfs", "xfs", size="512Mi"), pod("user", "xfs"))
    cluster.wait_running(space, "user")
    assert " /data xfs " in cluster.run_in(space, "user", "cat /proc/mounts")


def test_size_is_as_asked(cluster, space):
    """Thick: all of it is allocated in the pool; full: the pod is told, the pool is not harmed."""
    cluster.apply(space, claim("sized", size="64Mi"), pod("user", "sized"))
    cluster.wait_running(space, "user")
    (file,) = cluster.volume_files()
    size, blocks = map(int, cluster.bed.inside("stat", "--format=%s %b", file, stdout=-1).stdout.split())
    assert size == 64 << 20
    assert blocks * 512 >= size
    text = cluster.run_in(space, "user", "dd if=/dev/zero of=/data/big bs=1M count=100 2>&1 || rm /data/big; echo ok")
    assert "No space left on device" in text


def test_raw_block(cluster, space):
    """The bytes that one pod writes to the device are those the next one reads."""
    script = "dd if=/dev/urandom of=/tmp/data bs=4096 count=64; dd if=/tmp/data of=/dev/data bs=4096 conv=fsync"
    cluster.apply(space, claim("device", mode="Block"), pod("first", "device", script, block=True))
    cluster.wait_running(space, "first")
    checksum = cluster.run_in(space, "first", "sha256sum < /tmp/data")
    assert cluster.run_in(space, "first", "blockdev --getsize64 /dev/data").strip() == str(32 << 20)
    cluster.delete(space, "pod", "first")
    cluster.wait_gone(space, "pod", "first")
    cluster.apply(space, pod("second", "device", block=True))
    cluster.wait_running(space, "second")
    assert cluster.run_in(space, "second", "dd if=/dev/data bs=4096 count=64 2>/dev/null | sha256sum") == checksum


def test_read_write_once_pod(cluster, space):
    """A second pod waits until the first has gone, and finds its data."""
    cluster.apply(space, claim("alone", access="ReadWriteOncePod"), pod("first", "alone", "echo mine > /data/word; sync"))
    cluster.wait_running(space, "first")
    modes = cluster.get(space, "pv", cluster.wait_bound(space, "alone")["spec"]["volumeName"])["spec"]["accessModes"]
    assert modes == ["ReadWriteOncePod"]
    cluster.apply(space, pod("second", "alone"))

    def is_refused():
        return any("ReadWriteOncePod" in event.get("message", "") for event in cluster.events(space, "second"))
    wait("the scheduler to keep the second pod off", is_refused)
    assert not cluster.get(space, "pod", "second")["spec"].get("nodeName")
    cluster.delete(space, "pod", "first")
    cluster.wait_running(space, "second")
    assert cluster.run_in(space, "second", "cat /data/word") == "mine\n"


def test_generic_ephemeral_volume(cluster, space):
    """Its claim comes and goes with the pod."""
    user = pod("user", "", "echo here > /data/word; sync")
    user["spec"]["volumes"] = [{"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": claim("")["spec"]}}}]
    cluster.apply(space, user)
    cluster.wait_running(space, "user")
    assert cluster.wait_bound(space, "user-data")["metadata"]["ownerReferences"][0]["name"] == "user"
    assert cluster.run_in(space, "user", "cat /data/word") == "here\n"
    cluster.delete(space, "pod", "user")
    cluster.wait_gone(space, "pvc", "user-data")
    cluster.wait_nothing_left()


@pytest.mark.parametrize("component", ["node", "controller"])
def test_image_keeps_the_allocator_small(cluster, component):
    """What tests/perf/memory measures with. glibc 2.36 writes a NUL over each colon when it reads it."""
    environ = Path(f"/proc/{cluster.process_of(component).pid}/environ").read_text().replace("\0", ":")
    assert ":GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.pthread.stack_cache_size=1:" in environ


def test_filesystems_are_checked_in_the_agents_container(cluster, space, classes):
    """The image has the checkers; a volume that a pod uses is left alone."""
    cluster.apply(space, claim("four"), pod("user-four", "four"), claim("ex", "xfs", size="320Mi"), pod("user-ex", "ex"))
    (agent,) = cluster.pods_of("node")
    for name, fs in ("four", "ext4"), ("ex", "xfs"):
        cluster.wait_running(space, f"user-{name}")
        volume = cluster.get(space, "pvc", name)["spec"]["volumeName"]
        check = ["--namespace", SYSTEM, "exec", agent["metadata"]["name"], "--",
                 "cleat", "ctl", "volume", "check", f"--pool={POOL}", volume]
        with pytest.raises(AssertionError, match="is attached"):
            cluster.kubectl(*check)
        cluster.delete(space, "pod", f"user-{name}")
        cluster.wait_gone(space, "pod", f"user-{name}")
        wait("the volume is down", lambda left=2 if name == "four" else 1: len(cluster.loops()) < left)
        assert f"{fs} clean" in cluster.kubectl(*check)


def test_fs_group(cluster, space):
    """A pod that is not root owns its volume by group."""
    security = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000}
    cluster.apply(space, claim("shared"), pod("plain", "shared", "echo mine > /data/file", security=security))
    cluster.wait_running(space, "plain")
    assert cluster.run_in(space, "plain", "stat -c %g /data /data/file").split() == ["2000", "2000"]


def test_read_only_pod(cluster, space):
    """Beside a writer: it sees what is written and can write nothing."""
    cluster.apply(space, claim("book"), pod("writer", "book", "echo line > /data/book; sync"))
    cluster.wait_running(space, "writer")
    cluster.apply(space, pod("reader", "book", read_only=True))
    cluster.wait_running(space, "reader")
    assert cluster.run_in(space, "reader", "cat /data/book") == "line\n"
    tried = cluster.run_in(space, "reader", "{ echo other > /data/book; } 2>&1 || echo refused")
    assert "refused" in tried and "Read-only file system" in tried
    assert cluster.run_in(space, "writer", "echo more >> /data/book; wc -l < /data/book").strip() == "2"


def test_retained_volume_outlives_its_claim(cluster, space, classes):
    cluster.apply(space, claim("kept", "keep"), pod("user", "kept"))
    cluster.wait_running(space, "user")
    name = cluster.wait_bound(space, "kept")["spec"]["volumeName"]
    cluster.delete(space, "pod", "user")
    cluster.delete(space, "pvc", "kept")
    cluster.wait_phase(space, "pv", name, "Released")
    assert len(cluster.volume_files()) == 1
    # A person decides: with the policy changed it goes like any other.
    cluster.kubectl("patch", "pv", name, "--patch", '{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}')
    cluster.wait_nothing_left()


def test_bad_parameter_is_told_on_the_claim(cluster, space):
    """The event has the driver's own words: the key and what is allowed."""
    cluster.apply(space, storage_class("bad-key", "Immediate", parameters={"poool": "default"}),
                  storage_class("bad-value", "Immediate", parameters={"directIO": "maybe"}),
                  claim("bad-key", "bad-key"), claim("bad-value", "bad-value"))
    message = cluster.wait_event(space, "bad-key", "ProvisioningFailed")["message"]
    assert "poool" in message and "pool" in message.replace("poool", "")
    message = cluster.wait_event(space, "bad-value", "ProvisioningFailed")["message"]
    assert all(word in message for word in ("directIO", "maybe", "required", "preferred"))
    assert cluster.leftovers() == {}
    cluster.kubectl("delete", "storageclass", "bad-key", "bad-value")


def test_more_than_the_pool_has(cluster, space, classes):
    cluster.apply(space, claim("huge", "now", size="1Ti"))
    message = cluster.wait_event(space, "huge", "ProvisioningFailed")["message"]
    assert "ResourceExhausted" in message or "OutOfRange" in message
    assert cluster.leftovers() == {}


def test_statefulset(cluster, space):
    """The example of a volume for each replica, as a user would apply it."""
    from cluster import IMAGE, TOP
    text = (TOP / "examples/statefulset.yaml").read_text().replace("image: busybox", f"image: {IMAGE}")
    cluster.kubectl("--namespace", space, "apply", "--filename", "-", input=text)
    cluster.kubectl("--namespace", space, "rollout", "status", "statefulset/shelf", "--timeout=60s")
    for name in ("shelf-0", "shelf-1"):
        assert cluster.run_in(space, name, "cat /data/names") == name + "\n"


def test_metrics_and_health(cluster, space):
    cluster.apply(space, claim("counted"), pod("user", "counted"))
    cluster.wait_running(space, "user")
    text = cluster.http(9808, "/metrics")
    wanted = 'csi_plugin_operations_seconds_count{'
    lines = [line for line in text.splitlines() if line.startswith(wanted) and "/csi.v1.Node/NodeStageVolume" in line]
    assert any('grpc_status_code="OK"' in line and float(line.split()[-1]) >= 1 for line in lines), text[:3000]
    cluster.http(9808, "/healthz")
    cluster.http(9808, "/readyz")
    (controller,) = cluster.pods_of("controller")
    address = controller["status"]["podIP"]
    assert "process_start_time_seconds" in cluster.http(9809, "/metrics", address)
    cluster.http(9809, "/readyz", address)


def test_the_image_has_upstreams_names(cluster):
    """So `command: [csi-attacher]` is all that a manifest of another vendor needs beside the image."""
    (controller,) = cluster.pods_of("controller")
    for name in ("csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter", "snapshot-controller", "livenessprobe",
                 "csi-node-driver-registrar", "csi-snapshot-metadata", "csi-external-health-monitor-controller"):
        text = cluster.kubectl("--namespace", SYSTEM, "exec", controller["metadata"]["name"], "--", name, "--help")
        assert "usage: " in text, name


def test_rights_are_the_least(cluster):
    """The controller may do what it does; the agent may ask for a certificate."""
    def may(account, verb, resource):
        done = cluster.bed.kubectl("auth", "can-i", verb, resource, "--all-namespaces",
                                   f"--as=system:serviceaccount:{SYSTEM}:{account}", check=False, stdout=-1, stderr=-1)
        return done.stdout.strip() == "yes"
    assert may("cleat-controller", "create", "persistentvolumes")
    for verb, resource in (("get", "secrets"), ("list", "secrets"), ("get", "pods"), ("create", "pods"),
                           ("update", "nodes"), ("delete", "nodes"), ("delete", "persistentvolumeclaims")):
        assert not may("cleat-controller", verb, resource), f"{verb} {resource}"
    requests = "certificatesigningrequests"
    assert may("cleat-node", "create", requests)   # for its own certificate (docs/certificates.md), and no more
    for verb, resource in (("get", "nodes"), ("get", "persistentvolumes"), ("get", "secrets"), ("list", requests), ("patch", requests),
                           ("update", requests + "/approval"), ("update", requests + "/status")):
        assert not may("cleat-node", verb, resource), f"{verb} {resource}"


def test_controller_is_restricted(cluster):
    """Its pod passes pod security level restricted."""
    (found,) = cluster.list("deployment", SYSTEM)
    template = found["spec"]["template"]
    cluster.kubectl("create", "namespace", "restricted")
    cluster.kubectl("label", "namespace", "restricted", "pod-security.kubernetes.io/enforce=restricted")
    template["spec"].update(serviceAccountName="default", serviceAccount="default", priorityClassName="")
    cluster.kubectl("--namespace", "restricted", "create", "--dry-run=server", "--filename", "-", input=json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": template["spec"]}))
    cluster.kubectl("delete", "namespace", "restricted", "--wait=false")


def test_plain_manifests_are_valid(cluster):
    from cluster import TOP
    for file in sorted((TOP / "deploy").glob("*.yaml")) + sorted((TOP / "examples").glob("*.yaml")):
        if "snapshot.storage.k8s.io" in file.read_text():
            continue  # this cluster has not its CRDs
        cluster.kubectl("create", "--dry-run=server", "--validate=strict", "--filename", str(file)) \
            if "examples" in str(file) else \
            cluster.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename", str(file))


def test_loop_devices_that_nobody_used_before(cluster, space):
    """What an earlier user set in a device's queue would hide that the agent cannot set it."""
    machine.remove_idle_loops()
    cluster.apply(space, claim("first"), pod("user", "first", "echo kept > /data/file; sync"))
    cluster.wait_running(space, "user")
    assert cluster.run_in(space, "user", "cat /data/file") == "kept\n"
