# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a volume is told on its claim, and taken back, by the chart's own controller with its own rights."""
import subprocess

import pytest
from cluster import SYSTEM, claim, pod, wait


@pytest.fixture(scope="module")
def hasty(cluster):
    cluster.upgrade("--set", "controller.extraArgs={--health-interval=1s}")
    yield
    cluster.upgrade()


def test_a_claim_tells_of_its_volume(cluster, hasty, space):
    cluster.apply(space, claim("data"), pod("user", "data"))
    cluster.wait_running(space, "user")
    (device,) = cluster.loops()
    subprocess.run(["losetup", "--direct-io=off", device], check=True)
    event = cluster.wait_event(space, "data", "VolumeConditionAbnormal")
    assert event["type"] == "Warning" and "DirectIOLost" in event["message"] and device in event["message"], event
    subprocess.run(["losetup", "--direct-io=on", device], check=True)   # as the message says
    cluster.wait_event(space, "data", "VolumeConditionNormal")

    def unwell():
        pages = [cluster.http(9809, "/metrics", each["status"]["podIP"]) for each in cluster.pods_of("controller")]
        return [line for page in pages for line in page.splitlines() if line.startswith("cleat_volumes_unwell{")]
    wait("none is counted", lambda: unwell() and all(line.endswith("} 0") for line in unwell()))
    logs = cluster.kubectl("--namespace", SYSTEM, "logs", "--selector=app.kubernetes.io/component=controller",
                           "--tail=-1")
    assert "orbidden" not in logs, logs
