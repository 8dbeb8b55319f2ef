# SPDX-License-Identifier: Apache-2.0
"""Many at once. The seconds are printed, not judged."""
import json
import time

from cluster import claim, storage_class, wait

COUNT = 100


def test_hundred_claims_at_once(cluster, space, capsys):
    cluster.apply("default", storage_class("now", "Immediate"))
    names = [f"data-{number}" for number in range(COUNT)]
    start = time.monotonic()
    cluster.kubectl("--namespace", space, "create", "--filename", "-", input="\n---\n".join(
        json.dumps(claim(name, "now", size="16Mi")) for name in names))
    wait("all bound", lambda: [item["status"].get("phase") for item in cluster.list("pvc", space)] == ["Bound"] * COUNT,
         seconds=300)
    bound = time.monotonic() - start
    assert len(cluster.volume_files()) == COUNT
    handles = {item["spec"]["csi"]["volumeHandle"] for item in cluster.list("pv")}
    assert len(handles) == COUNT

    start = time.monotonic()
    cluster.delete(space, "pvc", "--all")
    wait("all gone", lambda: not cluster.list("pv"), seconds=300)
    with capsys.disabled():
        print(f"\n  {COUNT} claims bound in {bound:.1f} s, {COUNT} volumes deleted in {time.monotonic() - start:.1f} s")
    cluster.wait_nothing_left()
