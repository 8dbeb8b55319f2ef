# SPDX-License-Identifier: Apache-2.0
"""Snapshots, restores and clones as users make them, and the end of it all in every order. The CRDs are upstream's."""
import subprocess

import pytest
from cluster import DRIVER, POOL, claim, pod, storage_class, wait
from bed import tool

GROUP = "snapshot.storage.k8s.io"
SNAPSHOTS, CONTENTS = f"volumesnapshots.{GROUP}", f"volumesnapshotcontents.{GROUP}"
GROUPS = "volumegroupsnapshots.groupsnapshot.storage.k8s.io"
GROUP_CONTENTS = "volumegroupsnapshotcontents.groupsnapshot.storage.k8s.io"


def snapshot(name, claim_name=None, content=None, snapshot_class=None):
    source = {"persistentVolumeClaimName": claim_name} if claim_name else {"volumeSnapshotContentName": content}
    spec = {"source": source, **({"volumeSnapshotClassName": snapshot_class} if snapshot_class else {})}
    return {"apiVersion": f"{GROUP}/v1", "kind": "VolumeSnapshot", "metadata": {"name": name}, "spec": spec}


def snapshot_class(name, policy="Delete", default=False):
    annotations = {"snapshot.storage.kubernetes.io/is-default-class": "true"} if default else {}
    return {"apiVersion": f"{GROUP}/v1", "kind": "VolumeSnapshotClass", "driver": DRIVER, "deletionPolicy": policy,
            "metadata": {"name": name, "annotations": annotations}, "parameters": {"freeze": "true"}}


def made_of(what, source, **options):
    """A claim made of a VolumeSnapshot or of another claim."""
    made = claim(**options)
    made["spec"]["dataSource"] = {"kind": what, "name": source, **({"apiGroup": GROUP} if "Snap" in what else {})}
    return made


def snapshot_files(cluster):
    return cluster.bed.inside("find", f"{POOL}/.cleat/snapshots", "-type", "f", stdout=subprocess.PIPE).stdout.split()


def wait_ready(cluster, space, name, seconds=90):
    def probe():
        found = cluster.get(space, SNAPSHOTS, name)
        return found and found.get("status", {}).get("readyToUse") and found
    return wait(f"snapshot {name} ready", probe, seconds)


def controller_page(cluster, path):
    (controller,) = cluster.pods_of("controller")
    return cluster.http(9809, path, controller["status"]["podIP"])


@pytest.fixture(scope="module")
def controllers(cluster):
    """The CRDs come after the controllers, which wait for them and say so, and go on when they are there."""
    chosen = "controller.controllers={provisioner,snapshotter,snapshot-controller}"
    cluster.upgrade("--set", chosen)
    page = controller_page(cluster, "/readyz")
    assert page.startswith("ok") and "waiting for the CRD of volumesnapshotcontents" in page, page
    for part in "classes", "contents", "s":
        cluster.kubectl("apply", "--filename", str(tool("snapshot-crds") / f"{GROUP}_volumesnapshot{part}.yaml"))
    wait("snapshots not waited for", lambda: "CRD of volumesnapshot" not in controller_page(cluster, "/readyz"))
    cluster.apply("default", snapshot_class("snaps", default=True), snapshot_class("kept", "Retain"),
                  storage_class("now", "Immediate"))


@pytest.fixture
def shots(cluster, controllers, space):
    """The test's namespace. After it no snapshot may be left, in the API or in the pool."""
    yield space
    cluster.kubectl("--namespace", space, "delete", SNAPSHOTS, "--all", "--wait=false")
    wait("no content left", lambda: not cluster.list(CONTENTS))
    wait("no snapshot left", lambda: not cluster.list(SNAPSHOTS))
    wait("no snapshot in the pool", lambda: not snapshot_files(cluster))


def test_the_whole_way(cluster, shots):
    """Written, cut, written over, restored larger, cloned; each has its own data, and each goes by itself."""
    cluster.apply(shots, claim("data"), pod("writer", "data", "echo one > /data/file; sync"))
    cluster.wait_running(shots, "writer")
    cluster.apply(shots, snapshot("snap", "data"))
    cut = wait_ready(cluster, shots, "snap")
    assert cut["spec"]["volumeSnapshotClassName"] == "snaps"
    assert cut["status"]["restoreSize"] == "32Mi" and cut["status"]["creationTime"]
    content = cluster.get(shots, CONTENTS, cut["status"]["boundVolumeSnapshotContentName"])
    assert content["metadata"]["name"] == f"snapcontent-{cut['metadata']['uid']}"
    assert content["spec"]["sourceVolumeMode"] == "Filesystem" and content["status"]["readyToUse"]
    assert "volumesnapshot-being-created" not in str(content["metadata"].get("annotations"))
    events = {event["reason"] for event in cluster.events(shots, "snap")}
    wait("events", lambda: {"CreatingSnapshot", "SnapshotCreated", "SnapshotReady"} <= {
        event["reason"] for event in cluster.events(shots, "snap")})
    assert not any(event["type"] == "Warning" for event in cluster.events(shots, "snap")), events

    cluster.run_in(shots, "writer", "echo two > /data/file; sync")
    cluster.apply(shots, made_of("VolumeSnapshot", "snap", name="restored", size="96Mi"), pod("reader", "restored"),
                  made_of("PersistentVolumeClaim", "data", name="cloned"), pod("twin", "cloned"))
    cluster.wait_running(shots, "reader")
    cluster.wait_running(shots, "twin")
    assert cluster.run_in(shots, "reader", "cat /data/file") == "one\n"
    assert cluster.run_in(shots, "twin", "cat /data/file") == "two\n"
    assert int(cluster.run_in(shots, "reader", "df -k /data | tail -1").split()[1]) > 64 << 10
    assert "volumesnapshot-as-source-protection" not in str([
        name for name in cluster.get(shots, SNAPSHOTS, "snap")["metadata"]["finalizers"] if name.startswith("prov")])

    cluster.delete(shots, "pod", "writer")
    cluster.delete(shots, "pvc", "data")
    cluster.wait_gone(shots, "pvc", "data")
    cluster.delete(shots, SNAPSHOTS, "snap")
    cluster.wait_gone(shots, SNAPSHOTS, "snap")
    wait("the snapshot is gone", lambda: not snapshot_files(cluster))
    assert cluster.run_in(shots, "reader", "cat /data/file") == "one\n"


def test_one_that_nobody_has_any_more_comes_back(cluster, shots, tmp_path):
    """Retain leaves a snapshot behind; it is found, gets a content by hand, is restored from, and is deleted as it was found."""
    def orphans(*words):
        return cluster.ctl(tmp_path, "orphans", *words)

    cluster.apply(shots, claim("data", "now"), pod("writer", "data", "echo one > /data/file; sync"))
    cluster.wait_running(shots, "writer")
    cluster.apply(shots, snapshot("snap", "data", snapshot_class="kept"))
    content = wait_ready(cluster, shots, "snap")["status"]["boundVolumeSnapshotContentName"]
    assert orphans("list")["items"] == []
    cluster.delete(shots, SNAPSHOTS, "snap")
    cluster.wait_gone(shots, SNAPSHOTS, "snap")
    assert orphans("list")["items"] == []
    cluster.delete(shots, CONTENTS, content)
    cluster.wait_gone(shots, CONTENTS, content)
    (one,) = orphans("list")["items"]
    assert one["kind"] == "snapshot" and one["made_for_this_cluster"] and len(snapshot_files(cluster)) == 1

    assert orphans("adopt", one["name"], f"--for={shots}/back", "--class=kept")["object"] == content
    cluster.apply(shots, snapshot("back", content=content, snapshot_class="kept"))
    wait_ready(cluster, shots, "back")
    cluster.apply(shots, made_of("VolumeSnapshot", "back", name="restored"), pod("reader", "restored"))
    cluster.wait_running(shots, "reader")
    assert cluster.run_in(shots, "reader", "cat /data/file") == "one\n"

    cluster.delete(shots, SNAPSHOTS, "back")
    cluster.wait_gone(shots, SNAPSHOTS, "back")
    cluster.delete(shots, CONTENTS, content)
    cluster.wait_gone(shots, CONTENTS, content)
    orphans("delete", one["id"])
    assert len(snapshot_files(cluster)) == 1
    assert orphans("delete", one["id"], "--yes")["done"] == "deleted"
    assert snapshot_files(cluster) == []


def test_restored_when_all_else_is_gone(cluster, shots):
    """The claim goes before its snapshot is used; the snapshot is deleted while a claim still waits to be made of it."""
    cluster.apply(shots, claim("data", "now"), pod("writer", "data", "echo kept > /data/file; sync"))
    cluster.wait_running(shots, "writer")
    cluster.apply(shots, snapshot("snap", "data"))
    wait_ready(cluster, shots, "snap")
    cluster.delete(shots, "pod", "writer")
    cluster.delete(shots, "pvc", "data")
    cluster.wait_gone(shots, "pvc", "data")
    cluster.apply(shots, made_of("VolumeSnapshot", "snap", name="late"))  # waits for its first consumer
    cluster.wait_event(shots, "late", "WaitForFirstConsumer")
    cluster.delete(shots, SNAPSHOTS, "snap")
    cluster.wait_event(shots, "snap", "SnapshotDeletePending")
    cluster.apply(shots, pod("reader", "late"))
    cluster.wait_running(shots, "reader")
    assert cluster.run_in(shots, "reader", "cat /data/file") == "kept\n"
    cluster.wait_gone(shots, SNAPSHOTS, "snap")


def test_too_small_and_other_mode(cluster, shots):
    """Refused with the reason on the claim."""
    cluster.apply(shots, claim("data", "now", size="64Mi"))
    cluster.wait_bound(shots, "data")
    cluster.apply(shots, snapshot("snap", "data"))
    wait_ready(cluster, shots, "snap")
    cluster.apply(shots, made_of("VolumeSnapshot", "snap", name="small", storage_class="now", size="32Mi"),
                  made_of("VolumeSnapshot", "snap", name="raw", storage_class="now", size="64Mi", mode="Block"),
                  made_of("PersistentVolumeClaim", "data", name="tiny", storage_class="now", size="32Mi"))
    for name, words in ("small", "needs 64Mi"), ("raw", "volumeMode"), ("tiny", "needs 64Mi"):
        assert words in cluster.wait_event(shots, name, "ProvisioningFailed")["message"]
    cluster.delete(shots, "pvc", "small", "raw", "tiny")


def test_retained_and_brought_back(cluster, shots):
    """Retain keeps the snapshot and its content; by its handle it is brought back under another name, and then deleted."""
    cluster.apply(shots, claim("data", "now"), pod("writer", "data", "echo kept > /data/file; sync"))
    cluster.wait_running(shots, "writer")
    cluster.apply(shots, snapshot("first", "data", snapshot_class="kept"))
    content = wait_ready(cluster, shots, "first")["status"]["boundVolumeSnapshotContentName"]
    handle = cluster.get(shots, CONTENTS, content)["status"]["snapshotHandle"]
    cluster.delete(shots, SNAPSHOTS, "first")
    cluster.wait_gone(shots, SNAPSHOTS, "first")
    assert len(snapshot_files(cluster)) == 1
    cluster.delete(shots, CONTENTS, content)
    cluster.wait_gone(shots, CONTENTS, content)
    assert len(snapshot_files(cluster)) == 1

    cluster.apply(shots, {"apiVersion": f"{GROUP}/v1", "kind": "VolumeSnapshotContent", "metadata": {"name": "brought"},
                          "spec": {"driver": DRIVER, "deletionPolicy": "Delete", "source": {"snapshotHandle": handle},
                                   "volumeSnapshotRef": {"namespace": shots, "name": "again"}}},
                  snapshot("again", content="brought"))
    wait_ready(cluster, shots, "again")
    cluster.apply(shots, made_of("VolumeSnapshot", "again", name="copy"), pod("reader", "copy"))
    cluster.wait_running(shots, "reader")
    assert cluster.run_in(shots, "reader", "cat /data/file") == "kept\n"


def test_killed_while_it_cuts(cluster, shots):
    """The controller is killed in the middle, again and again: each snapshot is there once, and goes."""
    cluster.apply(shots, claim("data", "now"))
    cluster.wait_bound(shots, "data")
    names = [f"snap-{number}" for number in range(6)]
    for name in names:
        cluster.apply(shots, snapshot(name, "data"))
        cluster.kill("controller")
    for name in names:
        wait_ready(cluster, shots, name, 180)
    assert len(snapshot_files(cluster)) == len(names) == len(cluster.list(CONTENTS))
    for name in names:
        cluster.delete(shots, SNAPSHOTS, name)
        cluster.kill("controller")
    wait("all gone", lambda: not cluster.list(SNAPSHOTS, shots), 180)
    cluster.wait_ready("controller")


def test_a_namespace_that_is_deleted_takes_all_along(cluster, shots):
    name = f"{shots}-2"
    cluster.kubectl("create", "namespace", name)
    cluster.apply(name, claim("data", "now"))
    cluster.wait_bound(name, "data")
    cluster.apply(name, snapshot("snap", "data"), made_of("PersistentVolumeClaim", "data", name="twin", storage_class="now"))
    wait_ready(cluster, name, "snap")
    cluster.wait_bound(name, "twin")
    cluster.kubectl("delete", "namespace", name, "--timeout=120s")
    cluster.wait_nothing_left()


@pytest.fixture
def groups(cluster, shots):
    """Groups come later still; without them the rest has worked."""
    for part in "classes", "contents", "s":
        cluster.kubectl("apply", "--filename", str(
            tool("snapshot-crds") / f"group{GROUP}_volumegroupsnapshot{part}.yaml"))
    wait("nothing waited for", lambda: "waiting" not in controller_page(cluster, "/readyz"))
    cluster.apply("default", {"apiVersion": "groupsnapshot.storage.k8s.io/v1", "kind": "VolumeGroupSnapshotClass",
                              "metadata": {"name": "groups"}, "driver": DRIVER, "deletionPolicy": "Delete"})
    return shots


def test_a_group_at_one_moment(cluster, groups):
    """Two volumes that a pod writes to in turn: the members tell of one moment, and go with their group alone."""
    script = "n=0; while n=$((n+1)); do echo $n >> /data/n; sync /data/n; echo $n >> /more/n; sync /more/n; done &"
    for name in "first", "second":
        made = claim(name, "now")
        made["metadata"]["labels"] = {"app": "pair"}
        cluster.apply(groups, made)
    writer = pod("writer", "first", script)
    writer["spec"]["containers"][0]["volumeMounts"].append({"name": "more", "mountPath": "/more"})
    writer["spec"]["volumes"].append({"name": "more", "persistentVolumeClaim": {"claimName": "second"}})
    cluster.apply(groups, writer)
    cluster.wait_running(groups, "writer")
    cluster.apply(groups, {"apiVersion": "groupsnapshot.storage.k8s.io/v1", "kind": "VolumeGroupSnapshot",
                           "metadata": {"name": "pair"}, "spec": {
                               "volumeGroupSnapshotClassName": "groups",
                               "source": {"selector": {"matchLabels": {"app": "pair"}}}}})
    wait("the group ready", lambda: (cluster.get(groups, GROUPS, "pair").get("status") or {}).get("readyToUse"))
    members = {item["spec"]["source"]["persistentVolumeClaimName"]: item["metadata"]["name"]
               for item in cluster.list(SNAPSHOTS, groups)}
    assert set(members) == {"first", "second"}
    for name, member in members.items():
        wait_ready(cluster, groups, member)
        cluster.apply(groups, made_of("VolumeSnapshot", member, name=f"of-{name}"), pod(f"reads-{name}", f"of-{name}"))
    seen = {}
    for name in members:
        cluster.wait_running(groups, f"reads-{name}")
        seen[name] = int(cluster.run_in(groups, f"reads-{name}", "tail -n 1 /data/n"))
    assert 0 <= seen["first"] - seen["second"] <= 1, seen

    cluster.delete(groups, SNAPSHOTS, members["first"])
    cluster.wait_event(groups, members["first"], "SnapshotDeletePending")
    cluster.delete(groups, GROUPS, "pair")
    cluster.wait_gone(groups, GROUPS, "pair")
    wait("no member left", lambda: not cluster.list(SNAPSHOTS, groups))
    wait("no content left", lambda: not cluster.list(GROUP_CONTENTS))
