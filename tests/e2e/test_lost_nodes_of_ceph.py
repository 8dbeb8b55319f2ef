# SPDX-License-Identifier: Apache-2.0
"""A node that is taken for lost while its pod still writes to an image: it is shut out before the volume is used elsewhere, and let in
again once it has nothing of it any more."""
import os

import cluster as clusters
import pytest
import yaml
from ceph_chart import Ceph, Examples
from cluster import claim, pod, wait
from test_nodes import node_of, on, wait_not_ready

TAINT = "node.kubernetes.io/out-of-service"
# Each life of the pod writes lines under a name of its own, and says of each, in its log, that it is safe.
WRITER = """me=$(cat /proc/sys/kernel/random/uuid) i=0
while true; do i=$((i + 1)); echo $me $i >> /data/log && sync /data/log && echo $me $i > /proc/1/fd/1; sleep 0.1; done &"""


@pytest.fixture(scope="module")
def cluster():
    found = clusters.open_cluster(os.environ["CLEAT"], nodes=3)
    yield found
    found.bed.down()


@pytest.fixture(scope="module")
def rbd(cluster):
    """Its controllers are on the first node, as Ceph is."""
    with Ceph(cluster.bed, user="fencer").up() as ceph, Examples(cluster, ceph, "ceph-rbd", "rbd").installed(
            "provisioner.fenceNodes=true", "provisioner.nodeSelector.kubernetes\\.io/hostname=node1") as installed:
        fenced = yaml.safe_load(installed.text("storageclass.yaml"))
        for what in "name", "namespace":
            key = f"csi.storage.k8s.io/controller-publish-secret-{what}"
            fenced["parameters"][key] = fenced["parameters"][f"csi.storage.k8s.io/node-stage-secret-{what}"]
        cluster.apply("default", {**fenced, "metadata": {"name": "fenced"}})
        yield installed


@pytest.fixture
def volumes(cluster, rbd, space):
    yield space
    cluster.kubectl("--namespace", space, "delete", "statefulsets", "--all")
    rbd.clear(space)


def alone(name):
    """A set of one pod, on any node but the first, where Ceph is."""
    spec = pod("x", "data", WRITER)["spec"]
    del spec["volumes"]
    spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node1"]}]}]}}}
    volume = claim("data", "fenced", "128Mi")
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
            "spec": {"replicas": 1, "serviceName": name, "selector": {"matchLabels": {"app": name}},
                     "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
                     "volumeClaimTemplates": [{"metadata": volume["metadata"], "spec": volume["spec"]}]}}


def lines_said(node, space, name):
    """What the pod's containers have said on this node, whether kubelet answers or not: [name of a life, number]."""
    text = node.inside("sh", "-c", f"cat /var/log/pods/{space}_{name}_*/main/*.log", stdout=-1).stdout
    return [line.split()[3:] for line in text.splitlines() if len(line.split()) == 5]


def lines_in(cluster, space, name):
    return [line.split() for line in cluster.run_in(space, name, "cat /data/log").splitlines()]


def is_shut_out(rbd, node):
    return any(entry.split(":")[0] == node.address for entry in rbd.ceph.blocklist())


def test_a_node_that_writes_on_is_shut_out(cluster, rbd, volumes):
    """Its kubelet says nothing any more, as of a node that hangs or is cut off; what it still writes is on the disk before the other one
    reads, or nowhere."""
    kept, victim = cluster.bed.workers
    name = "one-0"
    cluster.kubectl("cordon", kept.name)
    cluster.apply(volumes, alone("one"))
    cluster.wait_running(volumes, name)
    assert node_of(cluster, volumes, name) == victim.name
    wait("lines", lambda: len(lines_said(victim, volumes, name)) > 10)
    cluster.kubectl("uncordon", kept.name)
    old = cluster.get(volumes, "pod", name)["metadata"]["uid"]
    victim.freeze("kubelet")
    try:
        wait_not_ready(cluster, victim.name)
        before = len(lines_said(victim, volumes, name))
        wait("more lines", lambda: len(lines_said(victim, volumes, name)) > before)
        cluster.kubectl("taint", "node", victim.name, f"{TAINT}=nodeshutdown:NoExecute")
        wait("another pod", lambda: (cluster.get(volumes, "pod", name) or {}).get("metadata", {}).get("uid", old) != old)
        cluster.wait_running(volumes, name)
        assert node_of(cluster, volumes, name) == kept.name
        assert is_shut_out(rbd, victim)
        wait("lines of the other", lambda: len(lines_said(kept, volumes, name)) > 10)
        found, said = lines_in(cluster, volumes, name), lines_said(victim, volumes, name)
    finally:
        victim.thaw("kubelet")
        cluster.kubectl("taint", "node", victim.name, f"{TAINT}-", "--overwrite")
    lives = list(dict.fromkeys(life for life, _ in found))
    assert len(lives) == 2 and lives[0] == said[0][0], "one life after the other"
    assert found == sorted(found, key=lambda line: (lives.index(line[0]), int(line[1])))
    assert [line for line in said if line not in found] == [], "what was acknowledged is there"

    victim.wait_node()
    handle = cluster.get("default", "pv", cluster.get(volumes, "pvc", "data-one-0")["spec"]["volumeName"])["spec"]["csi"]["volumeHandle"]
    wait(f"{victim.name} without the volume", lambda: not any(
        name.endswith(handle) for name in cluster.get("default", "node", victim.name)["status"].get("volumesInUse", [])))
    cluster.apply(volumes, claim("back", "fenced", "128Mi"), on(victim.name, pod("back", "back", "echo back > /data/file; sync")))
    cluster.wait_running(volumes, "back")
    assert not is_shut_out(rbd, victim)
    assert lines_in(cluster, volumes, name)[:len(found)] == found
