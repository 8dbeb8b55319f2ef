# SPDX-License-Identifier: Apache-2.0
"""examples/cephfs, by the chart in ceph-csi's place (ceph_chart.py). Which client mounts is up to the node: where its kernel has none it is
a ceph-fuse that outlives the plugin. It comes after test_snapshots.py, which begins without the CRDs of snapshots."""
from pathlib import Path

import pytest
from ceph_chart import Ceph, Examples
from cluster import PATIENCE, wait

GIB = 1 << 30
PODS = "cephfs-pod", "cephfs-pod-2"


@pytest.fixture(scope="module")
def cephfs(cluster):
    with Ceph(cluster.bed, filesystem=True).up() as ceph, Examples(cluster, ceph, "cephfs", "cephfs").installed() as installed:
        yield installed


@pytest.fixture
def volumes(cephfs, space):
    """A namespace; after the test nothing is left of it."""
    yield space
    cephfs.clear(space)
    wait("no client is left", lambda: not cephfs.processes("ceph-fuse"))


@pytest.fixture
def pods(cluster, cephfs, volumes):
    """The two of pod.yaml with their volume; gives the namespace."""
    cephfs.apply("pvc.yaml", volumes)
    cluster.wait_bound(volumes, "cephfs-pvc")
    cephfs.apply("pod.yaml", volumes)
    for name in PODS:
        cluster.wait_running(volumes, name)
    return volumes


def subvolume_of(cephfs, space, claim):
    """(name, what fs_journal.py tells of it) of the claim's subvolume."""
    found = cephfs.attributes(space, claim)["subvolumeName"]
    return found, cephfs.ceph.look()["subvolumes"][found]


def test_the_examples(cluster, cephfs, pods):
    """Class, claim, two pods that write to it, snapshot, restore, clone, growth; in the README's order."""
    name, subvolume = subvolume_of(cephfs, pods, "cephfs-pvc")
    assert subvolume["bytes_quota"] == GIB
    for n, pod in enumerate(PODS):
        cluster.run_in(pods, pod, f"echo {n} >> /data/both; sync")
    for pod in PODS:
        assert cluster.run_in(pods, pod, "cat /data/both") == "0\n1\n"
    visits = cluster.run_in(pods, PODS[0], "cat /data/visits")
    assert len(visits.splitlines()) == 2

    cephfs.apply("snapshot.yaml", pods)
    cephfs.wait_snapshot(pods, "cephfs-pvc-snapshot")
    cluster.run_in(pods, PODS[1], "echo later >> /data/visits; sync")
    cephfs.apply("restore.yaml", pods)
    cluster.wait_running(pods, "cephfs-pod-restored")
    assert cluster.kubectl("--namespace", pods, "logs", "cephfs-pod-restored") == visits
    cephfs.apply("clone.yaml", pods)
    cluster.wait_bound(pods, "cephfs-pvc-clone")
    assert subvolume_of(cephfs, pods, "cephfs-pvc-clone")[1]["bytes_quota"] == GIB

    before = [cluster.get(pods, "pod", pod) for pod in PODS]
    cephfs.apply("pvc-grown.yaml", pods)
    cephfs.wait_grown(pods, "cephfs-pvc", "2Gi")
    assert cephfs.ceph.look()["subvolumes"][name]["bytes_quota"] == 2 * GIB
    # the client learns of it from the metadata server
    wait("the pods see it", lambda: all(
        int(cluster.run_in(pods, pod, "df -P -k /data | tail -1 | awk '{print $2}'")) * 1024 == 2 * GIB for pod in PODS))
    for pod in before:
        cephfs.goes_on(pods, pod)
    assert cluster.run_in(pods, PODS[0], "cat /data/visits") == f"{visits}later\n"


def test_the_monitor_finds_metrics(cephfs):
    cephfs.check_monitor()


def test_the_plugin_is_killed_under_pods(cluster, cephfs, pods):
    """They write on as if nothing had happened, and what they wrote is there for the next ones."""
    def write(n):
        for pod in PODS:
            cluster.run_in(pods, pod, f"echo {n} {pod} >> /data/n; sync")

    clients = cephfs.processes("ceph-fuse")
    cephfs.kill_plugin(write)
    assert cephfs.processes("ceph-fuse") == clients
    # by which it remounts, when the kernel is to let go of names
    assert all(Path(f"/proc/{client}/root/bin/sh").exists() for client in clients)
    cluster.kubectl("--namespace", pods, "delete", "pod", *PODS, f"--timeout={PATIENCE}s")
    cephfs.apply("pod.yaml", pods)
    cluster.wait_running(pods, PODS[1])
    assert cluster.run_in(pods, PODS[1], "cat /data/n") == "".join(f"{n} {pod}\n" for n in range(3) for pod in PODS)


def test_a_wrong_key_is_told_on_the_claim(cephfs, volumes):
    cephfs.check_wrong_key(volumes, "cephfs-pvc", "adminKey", "userKey")
