# SPDX-License-Identifier: Apache-2.0
"""examples/ceph-rbd, by the chart in ceph-csi's place (ceph_chart.py)."""
import json
import re
from pathlib import Path

import pytest
from ceph_chart import Ceph, Examples
from cluster import PATIENCE, wait

GIB = 1 << 30
# What an ext4 in use grows by, CAP_SYS_RESOURCE, is not to be had on every machine; without it the pod is not there meanwhile.
EXT4_GROWS_IN_USE = bool(int(re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.M)[1], 16) & 1 << 24)


@pytest.fixture(scope="module")
def rbd(cluster):
    with Ceph(cluster.bed).up() as ceph, Examples(cluster, ceph, "ceph-rbd", "rbd").installed() as installed:
        yield installed


@pytest.fixture
def volumes(rbd, space):
    """A namespace; after the test nothing is left of it."""
    yield space
    rbd.clear(space)


def image_of(rbd, space, claim):
    """(name, what journal.py tells of it) of the claim's image."""
    found = rbd.attributes(space, claim)["imageName"]
    return found, rbd.ceph.look()["images"][found]


def test_the_examples(cluster, rbd, volumes):
    """Class, claim, pod, snapshot, restore, clone, growth, limits; in the README's order."""
    rbd.apply("pvc.yaml", volumes)
    cluster.wait_bound(volumes, "rbd-pvc")
    rbd.apply("pod.yaml", volumes)
    cluster.wait_running(volumes, "rbd-pod")
    (line,) = cluster.run_in(volumes, "rbd-pod", "grep ' /data ' /proc/mounts").splitlines()
    assert line.split()[2] == "ext4" and "discard" in line.split()[3].split(","), line
    name, image = image_of(rbd, volumes, "rbd-pvc")
    assert (image["size"], image["features"]) == (GIB, 1)
    visits = cluster.run_in(volumes, "rbd-pod", "cat /data/visits")

    rbd.apply("snapshot.yaml", volumes)
    rbd.wait_snapshot(volumes, "rbd-pvc-snapshot")
    cluster.run_in(volumes, "rbd-pod", "echo later >> /data/visits; sync")
    rbd.apply("restore.yaml", volumes)
    cluster.wait_running(volumes, "rbd-pod-restored")
    assert cluster.run_in(volumes, "rbd-pod-restored", "cat /data/visits") == visits
    assert cluster.kubectl("--namespace", volumes, "logs", "rbd-pod-restored") == visits
    rbd.apply("clone.yaml", volumes)
    cluster.wait_bound(volumes, "rbd-pvc-clone")
    assert image_of(rbd, volumes, "rbd-pvc-clone")[1]["size"] == GIB

    if not EXT4_GROWS_IN_USE:
        cluster.kubectl("--namespace", volumes, "delete", "pod", "rbd-pod", f"--timeout={PATIENCE}s")
    rbd.apply("pvc-grown.yaml", volumes)
    if not EXT4_GROWS_IN_USE:
        rbd.apply("pod.yaml", volumes)
    before = cluster.wait_running(volumes, "rbd-pod")
    rbd.wait_grown(volumes, "rbd-pvc", "2Gi")
    assert rbd.ceph.look()["images"][name]["size"] == 2 * GIB
    assert int(cluster.run_in(volumes, "rbd-pod", "df -P -k /data | tail -1 | awk '{print $2}'")) * 1024 > 1.8 * GIB
    assert cluster.run_in(volumes, "rbd-pod", "cat /data/visits").startswith(f"{visits}later\n")
    rbd.apply("attributesclass.yaml")
    cluster.kubectl("--namespace", volumes, "patch", "pvc", "rbd-pvc", "--type=merge", "--patch",
                    json.dumps({"spec": {"volumeAttributesClassName": "csi-rbd-silver"}}))
    wait("the claim has its limits", lambda: cluster.get(volumes, "pvc", "rbd-pvc")["status"].get(
        "currentVolumeAttributesClassName") == "csi-rbd-silver")
    limits = {key: value for key, value in rbd.ceph.look()["images"][name]["metadata"].items() if "_qos_" in key}
    assert limits == {f"conf_rbd_qos_{what}_limit": str(most) for what, most in (
        ("read_iops", 2000), ("write_iops", 1000), ("read_bps", 100 << 20), ("write_bps", 50 << 20))}
    rbd.goes_on(volumes, before)


def test_the_monitor_finds_metrics(rbd):
    rbd.check_monitor()


def test_the_plugin_is_killed_under_a_pod(cluster, rbd, volumes):
    """The pod writes on as if nothing had happened, and what it wrote is there for the next one."""
    rbd.apply("pvc.yaml", volumes)
    rbd.apply("pod.yaml", volumes)
    cluster.wait_running(volumes, "rbd-pod")
    rbd.kill_plugin(lambda n: cluster.run_in(volumes, "rbd-pod", f"echo {n} >> /data/n; sync; cat /data/n"))
    cluster.kubectl("--namespace", volumes, "delete", "pod", "rbd-pod", f"--timeout={PATIENCE}s")
    rbd.apply("pod.yaml", volumes)
    cluster.wait_running(volumes, "rbd-pod")
    assert cluster.run_in(volumes, "rbd-pod", "cat /data/n") == "0\n1\n2\n"


def test_a_wrong_key_is_told_on_the_claim(rbd, volumes):
    rbd.check_wrong_key(volumes, "rbd-pvc", "userKey")
