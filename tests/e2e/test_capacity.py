# SPDX-License-Identifier: Apache-2.0
"""What the scheduler knows of room: claims go where they fit, and nowhere while they fit nowhere."""
import time

import pytest
from cluster import SYSTEM, claim, in_bytes, pod, storage_class, wait

MIB = 1 << 20


def told(cluster, name="cleat"):
    """The node's objects for a class."""
    return [o for o in cluster.list("csistoragecapacities", SYSTEM) if o["storageClassName"] == name]


def room(cluster):
    """What the largest volume may have; the object must be there."""
    (found,) = wait("the node has room", lambda: told(cluster))
    return in_bytes(found.get("maximumVolumeSize", found["capacity"]))


def sized(bytes_):
    return f"{int(bytes_) // MIB}Mi"


def test_a_claim_waits_until_there_is_room(cluster, space):
    whole = room(cluster)
    cluster.apply(space, claim("filler", size=sized(whole * 0.6)), pod("filler", "filler"))
    cluster.wait_bound(space, "filler")
    began = time.monotonic()
    wait("there is less room", lambda: room(cluster) < whole * 0.5)
    assert time.monotonic() - began < 20   # not by the look of each minute
    cluster.wait_running(space, "filler")

    cluster.apply(space, claim("big", size=sized(whole * 0.6)), pod("big", "big"))

    def refused():
        return [event["message"] for event in cluster.events(space, "big")
                if event["reason"] == "FailedScheduling" and "did not have enough free storage" in event["message"]]
    wait("the scheduler says why", refused)
    found = cluster.get(space, "pvc", "big")
    assert found["status"]["phase"] == "Pending"
    assert "volume.kubernetes.io/selected-node" not in found["metadata"]["annotations"]
    assert "ProvisioningFailed" not in [event["reason"] for event in cluster.events(space, "big")]

    cluster.delete(space, "pod", "filler")
    cluster.delete(space, "pvc", "filler")
    cluster.wait_running(space, "big")
    wait("there is less room again", lambda: room(cluster) < whole * 0.5)
    cluster.delete(space, "pod", "big")
    cluster.delete(space, "pvc", "big")
    wait("all the room is back", lambda: room(cluster) >= whole - 8 * MIB)


def test_it_is_the_deployments_and_is_made_again(cluster, space):
    (found,) = wait("the node has room", lambda: told(cluster))
    (deployment,) = cluster.list("deployment", SYSTEM)
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Deployment", deployment["metadata"]["uid"])
    (agent,) = cluster.pods_of("node")
    node = cluster.get("default", "node", agent["spec"]["nodeName"])
    labels = found["nodeTopology"]["matchLabels"]
    assert labels and labels.items() <= node["metadata"]["labels"].items()
    cluster.kubectl("--namespace", SYSTEM, "delete", "csistoragecapacity", found["metadata"]["name"])
    wait("it is made again", lambda: [o["metadata"]["uid"] != found["metadata"]["uid"] for o in told(cluster)] == [True])

    cluster.apply(space, storage_class("told-later"))
    wait("a new class has room", lambda: told(cluster, "told-later"))
    cluster.kubectl("delete", "storageclass", "told-later")
    wait("it goes with its class", lambda: not told(cluster, "told-later"))


@pytest.mark.parametrize("component", ["node", "controller"])
def test_it_stays_while_a_process_is_away(cluster, component):
    (before,) = wait("the node has room", lambda: told(cluster))
    old = {found["metadata"]["uid"] for found in cluster.pods_of(component)}
    cluster.kubectl("--namespace", SYSTEM, "delete", "pod", "--wait=false", f"--selector=app.kubernetes.io/component={component}")
    wait("another one works", lambda: [p for p in cluster.pods_of(component) if p["metadata"]["uid"] not in old and all(
        c["ready"] for c in p["status"].get("containerStatuses", [{"ready": False}]))])
    (after,) = told(cluster)   # also while kubelet takes the driver off the node's CSINode
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
