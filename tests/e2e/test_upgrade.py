# SPDX-License-Identifier: Apache-2.0
"""From the chart and the image of the version before to these and back, on three nodes whose volumes are in use. For `make skew`,
which builds that version and says by CLEAT_BEFORE where it is."""
import os
from pathlib import Path

import pytest

if "CLEAT_BEFORE" not in os.environ:
    pytest.skip("skew: SKIPPED: a lane of its own; `make skew` runs it", allow_module_level=True)

import cluster as clusters
from bed import tool
from cluster import claim, pod, storage_class, wait
from test_failures import WRITER, wait_writes
from test_nodes import files_on, on
from test_snapshots import GROUP, SNAPSHOTS, made_of, snapshot, snapshot_class, wait_ready

OPTIONS = "--set", "controller.controllers={provisioner,capacity,resizer,snapshotter,snapshot-controller,orphans}"
PLACE = "node2"   # of the volume that is restored: the scheduler does not know where a snapshot is


@pytest.fixture(scope="module")
def cluster():
    """With the version before."""
    found = clusters.open_cluster(os.environ["CLEAT"], before=Path(os.environ["CLEAT_BEFORE"]), nodes=3)
    try:
        for part in "classes", "contents", "s":
            found.kubectl("apply", "--filename", str(tool("snapshot-crds") / f"{GROUP}_volumesnapshot{part}.yaml"))
        found.apply("default", storage_class("now", "Immediate"), snapshot_class("snaps", default=True),
                    {**storage_class("growing", fs="xfs"), "allowVolumeExpansion": True})
        found.upgrade(*OPTIONS)
        yield found
    finally:
        found.bed.down()


def images(cluster):
    return {item["spec"]["containers"][0]["image"] for part in ("node", "controller") for item in cluster.pods_of(part)}


def states(cluster, space, names):
    return [cluster.get(space, "pod", name)["status"]["containerStatuses"] for name in names]


def live_through(cluster, space, number, change):
    """One upgrade or rollback under the writers, of whom nobody notices: what is asked for while agents and controllers of both
    versions are there is done, and what the other version made serves."""
    writers = [f"writer-{node.name}" for node in cluster.bed.nodes]
    before = states(cluster, space, writers)
    asked = [f"data-{number}-{i}" for i in range(6)]
    change()
    cluster.apply(space, *[claim(name, "now") for name in asked[:3]])
    cluster.apply(space, *[claim(f"{name}-on", "cleat") for name in asked[3:]],
                  *[on(node.name, pod(name, f"{name}-on")) for name, node in zip(asked[3:], cluster.bed.nodes)])
    cluster.wait_rolled_out()
    cluster.wait_registered()
    for name in asked[:3]:
        cluster.wait_bound(space, name)
    for name in asked[3:]:
        cluster.wait_running(space, name)
    for name in writers:
        wait_writes(cluster, space, name)
    assert states(cluster, space, writers) == before
    # the snapshot that the first version cut, and the volume that it made
    cluster.apply(space, made_of("VolumeSnapshot", "snap", name=f"restored-{number}", storage_class="growing", size="320Mi"),
                  on(PLACE, pod(f"reader-{number}", f"restored-{number}")))
    cluster.wait_running(space, f"reader-{number}")
    assert cluster.run_in(space, f"reader-{number}", "cat /data/file") == "one\n"
    size = f"{352 + 32 * number}Mi"
    cluster.kubectl("--namespace", space, "patch", "pvc", "kept", "--patch", f'{{"spec": {{"resources": {{"requests": {{"storage": "{size}"}}}}}}}}')
    wait(f"{size} of the volume in use", lambda: cluster.get(space, "pvc", "kept")["status"]["capacity"]["storage"] == size)
    cluster.delete(space, "pod", "user")
    cluster.wait_gone(space, "pod", "user")   # what the other version mounted
    cluster.apply(space, on(PLACE, pod("user", "kept")))
    cluster.wait_running(space, "user")
    assert cluster.run_in(space, "user", "cat /data/file") == "one\n"


def test_upgraded_and_rolled_back_with_volumes_in_use(cluster, space):
    nodes = cluster.bed.nodes
    cluster.apply(space, *[claim(f"log-{node.name}") for node in nodes],
                  *[on(node.name, pod(f"writer-{node.name}", f"log-{node.name}", WRITER)) for node in nodes],
                  claim("kept", "growing", size="320Mi"), on(PLACE, pod("user", "kept", "echo one > /data/file; sync")))
    for name in *[f"writer-{node.name}" for node in nodes], "user":
        cluster.wait_running(space, name)
    cluster.apply(space, snapshot("snap", "kept"))
    wait_ready(cluster, space, "snap")
    old = images(cluster)

    cluster.version, old_version = cluster.now, cluster.version
    live_through(cluster, space, 1, lambda: cluster.begin_upgrade(*OPTIONS))
    assert not images(cluster) & old
    live_through(cluster, space, 2, cluster.begin_roll_back)
    assert images(cluster) == old
    live_through(cluster, space, 3, lambda: cluster.begin_upgrade(*OPTIONS))
    assert cluster.version != old_version and not images(cluster) & old

    made = [item["spec"]["csi"]["volumeHandle"] for item in cluster.list("pv")]
    assert sum(len(files_on(node)) for node in nodes) == len(made) == len(set(made)) == 3 + 1 + 3 * 7
    cluster.delete(space, SNAPSHOTS, "snap")
    cluster.wait_gone(space, SNAPSHOTS, "snap")
