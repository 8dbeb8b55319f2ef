# SPDX-License-Identifier: Apache-2.0
"""What nobody has any more, and what waits, on a cluster with a scheduler, a controller-manager and kubelet. `cleat ctl` runs in
the controller's pod, with its rights and certificates, as the chart's README says; explain with the administrator's."""
import json
import os
import subprocess

import pytest
from cluster import DRIVER, SYSTEM, claim, pod, storage_class, wait


@pytest.fixture(scope="module")
def watched(cluster):
    cluster.apply("default", storage_class("now", "Immediate"))
    cluster.upgrade("--set", "controller.extraArgs={--orphans-interval=2s}")
    yield
    cluster.upgrade()


def orphans(cluster, *words):
    return cluster.kubectl("--namespace", SYSTEM, "exec", "deployment/cleat-controller", "--", "cleat", "ctl", "orphans", *words,
                           "--agents-service=cleat-agents", "--tls-cert=/tls/tls.crt", "--tls-key=/tls/tls.key",
                           "--tls-ca=/tls/ca.crt", "-o", "json")


def found(cluster):
    return json.loads(orphans(cluster, "list"))["items"]


def explain(cluster, space, *words):
    done = subprocess.run(cluster.bed.enter("net") + [os.environ["CLEAT"], "ctl", "explain", *words, "-n", space, "-o", "json"],
                          env={**os.environ, "KUBECONFIG": str(cluster.bed.kubeconfig)}, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["blocker"]


def counted(cluster):
    (controller,) = cluster.pods_of("controller")
    return 'cleat_orphans{kind="volume"} 1' in cluster.http(9809, "/metrics", controller["status"]["podIP"])


def test_an_orphan_is_told_adopted_and_deleted(cluster, space, watched):
    """A PV is torn away by hand: its volume is found, comes back with its data, and goes."""
    cluster.apply(space, claim("data", "now"), pod("writer", "data", "echo hello > /data/file; sync"))
    cluster.wait_running(space, "writer")
    volume = cluster.get(space, "pvc", "data")["spec"]["volumeName"]
    cluster.delete(space, "pod", "writer")
    cluster.wait_gone(space, "pod", "writer")
    assert found(cluster) == []
    cluster.delete(space, "pv", volume)
    cluster.kubectl("patch", "pv", volume, "--type=merge", "--patch", '{"metadata":{"finalizers":null}}')
    cluster.wait_gone(space, "pv", volume)
    cluster.wait_phase(space, "pvc", "data", "Lost")
    assert explain(cluster, space, "pvc", "data")["rule"] == "claim-lost"
    assert found(cluster) == []   # the claim knows of it yet
    cluster.delete(space, "pvc", "data")
    cluster.wait_gone(space, "pvc", "data")

    wait("it is counted", lambda: counted(cluster))
    event = cluster.wait_event("default", DRIVER, "OrphanFound")
    (one,) = found(cluster)
    assert one["name"] == volume and one["claim"] == f"{space}/data" and one["made_for_this_cluster"] and one["bytes"] == 32 << 20
    assert one["id"] in event["message"] and len(cluster.volume_files()) == 1

    orphans(cluster, "adopt", volume, f"--for={space}/back")
    assert found(cluster) == []
    wanted = claim("back", "")
    cluster.apply(space, wanted, pod("reader", "back"))
    cluster.wait_running(space, "reader")
    assert cluster.run_in(space, "reader", "cat /data/file") == "hello\n"
    assert explain(cluster, space, "pod", "reader") is None and explain(cluster, space, "pvc", "back") is None
    wait("it is not counted any more", lambda: not counted(cluster))

    cluster.delete(space, "pod", "reader")
    cluster.wait_gone(space, "pod", "reader")
    cluster.delete(space, "pvc", "back")
    cluster.wait_gone(space, "pvc", "back")
    cluster.delete(space, "pv", volume)
    cluster.wait_gone(space, "pv", volume)
    assert len(cluster.volume_files()) == 1   # Retain
    (one,) = found(cluster)
    orphans(cluster, "delete", one["id"])
    assert len(cluster.volume_files()) == 1   # only said
    assert json.loads(orphans(cluster, "delete", one["id"], "--yes"))["done"] == "deleted"
    cluster.wait_nothing_left()


def test_what_waits_is_explained(cluster, space):
    """In the order in which somebody mends it: no claim, no class, no node, and then all is well."""
    cluster.apply(space, pod("app", "data"))
    wait("no claim", lambda: (explain(cluster, space, "pod", "app") or {}).get("rule") == "claim-missing")
    cluster.apply(space, claim("data", "of-tomorrow"))
    wait("no class", lambda: explain(cluster, space, "pod", "app")["what"] == "its claim data waits: StorageClass of-tomorrow is not there")
    assert explain(cluster, space, "pvc", "data")["rule"] == "class-missing"
    nowhere = {**pod("elsewhere", "here")}
    nowhere["spec"]["nodeSelector"] = {"no-such": "label"}
    cluster.apply(space, claim("here"), nowhere)
    wait("no node", lambda: (explain(cluster, space, "pod", "elsewhere") or {}).get("rule") == "not-scheduled")
    said = explain(cluster, space, "pvc", "here")
    assert said["rule"] == "consumer-not-scheduled" and "elsewhere" in said["what"]
    cluster.apply(space, storage_class("of-tomorrow"))
    try:
        cluster.wait_running(space, "app")
        assert explain(cluster, space, "pod", "app") is None and explain(cluster, space, "pvc", "data") is None
    finally:
        cluster.delete("default", "storageclass", "of-tomorrow")
