# SPDX-License-Identifier: Apache-2.0
"""Everything that may die, dies at every moment; the same calls again must end in the same state."""
import random
import signal
import time

import pytest
from cluster import SYSTEM, claim, pod, storage_class, wait
from daemons import NODE

WRITER = "while sleep 0.1; do date >> /data/log || echo failed >> /tmp/failures; done &"


@pytest.fixture(scope="module", autouse=True)
def classes(cluster):
    cluster.apply("default", storage_class("now", "Immediate"))


def wait_writes(cluster, space, name):
    """Waits until the pod has written another line; no write may have failed."""
    def lines():
        """None while kubelet, just restarted, knows no pods yet."""
        try:
            return int(cluster.run_in(space, name, "cat /data/log 2>/dev/null | wc -l"))
        except AssertionError:
            return None
    before = wait(f"a count of the lines of {name}", lines, 30)
    wait(f"another line from {name}", lambda: (lines() or 0) > before, 30)
    assert cluster.run_in(space, name, "cat /tmp/failures 2>/dev/null || true") == ""


# The story, a step each; a kill strikes right after the step was asked for, while it is under way, or once it is done.
STEPS = [
    ("claim", lambda c, s: c.apply(s, claim("data", "now")), lambda c, s: c.wait_bound(s, "data")),
    ("pod", lambda c, s: c.apply(s, pod("first", "data", "echo hello > /data/file; sync")),
     lambda c, s: c.wait_running(s, "first")),
    ("pod deleted", lambda c, s: c.delete(s, "pod", "first"), lambda c, s: c.wait_gone(s, "pod", "first")),
    ("pod again", lambda c, s: c.apply(s, pod("second", "data")), lambda c, s: c.wait_running(s, "second")),
    ("pod deleted again", lambda c, s: c.delete(s, "pod", "second"), lambda c, s: c.wait_gone(s, "pod", "second")),
    ("claim deleted", lambda c, s: c.delete(s, "pvc", "data"), lambda c, s: c.wait_gone(s, "pvc", "data")),
]


@pytest.mark.parametrize("moment", ["during", "after"])
@pytest.mark.parametrize("component", ["node", "controller"])
def test_killed_at_every_step(cluster, space, component, moment):
    """SIGKILL at every step of one volume's life."""
    for name, ask, done in STEPS:
        ask(cluster, space)
        if moment == "during":
            cluster.kill(component)
        done(cluster, space)
        if name == "pod again":
            assert cluster.run_in(space, "second", "cat /data/file") == "hello\n"
        if moment == "after":
            cluster.kill(component)
    cluster.wait_nothing_left()
    cluster.wait_ready(component)


def test_running_pod_outlives_the_agent(cluster, space):
    """The agent dies and comes again; a running pod notices nothing."""
    cluster.apply(space, claim("data"), pod("writer", "data", WRITER))
    before = cluster.wait_running(space, "writer")
    for _ in range(3):
        cluster.kill("node")
        wait_writes(cluster, space, "writer")
        cluster.wait_ready("node")
    cluster.wait_registered()
    assert cluster.get(space, "pod", "writer")["status"]["containerStatuses"] == before["status"]["containerStatuses"]


def test_kubelet_restarted_under_a_running_pod(cluster, space):
    cluster.apply(space, claim("data"), pod("writer", "data", WRITER))
    before = cluster.wait_running(space, "writer")
    mounts = cluster.mounts()
    for number in (signal.SIGTERM, signal.SIGKILL):
        cluster.bed.stop("kubelet", number)
        cluster.bed.start("kubelet")
        cluster.bed.wait_node()
        cluster.wait_registered()
        wait_writes(cluster, space, "writer")
    after = cluster.get(space, "pod", "writer")
    assert [s["containerID"] for s in after["status"]["containerStatuses"]] == \
        [s["containerID"] for s in before["status"]["containerStatuses"]]
    assert cluster.mounts() == mounts


def test_pod_deleted_while_kubelet_is_away(cluster, space):
    """The restarted kubelet knows the volume only by what it left on disk, and takes it down."""
    cluster.apply(space, claim("data"), pod("gone", "data"))
    cluster.wait_running(space, "gone")
    cluster.bed.stop("kubelet", signal.SIGKILL)
    cluster.kubectl("--namespace", space, "delete", "pod", "gone", "--force", "--grace-period=0")
    cluster.bed.start("kubelet")
    cluster.bed.wait_node()
    wait("no mount", lambda: not cluster.mounts())
    cluster.apply(space, pod("next", "data"))
    cluster.wait_running(space, "next")


def intents(cluster):
    """What the controller has on record of volumes that may be made."""
    lease = cluster.get(SYSTEM, "lease", "cleat-pool-cleat-csi-intents")
    notes = lease["metadata"].get("annotations", {}) if lease else {}
    return [key for key in notes if key.startswith("intents.cleat.csi/") and not key.endswith("/term")]


def test_claim_deleted_while_its_volume_is_made(cluster, space):
    """The agent hangs in the middle of CreateVolume and the claim goes; the volume must go too."""
    cluster.apply(space, claim("before", "now"))
    cluster.wait_bound(space, "before")
    agent = cluster.kill("node", signal.SIGSTOP)
    try:
        cluster.apply(space, claim("brief", "now"))
        wait("the intent on record", lambda: intents(cluster))
        cluster.delete(space, "pvc", "brief")
        cluster.wait_gone(space, "pvc", "brief")
        killed = cluster.kill("controller")
        wait("the controller's next life", lambda: not killed.alive() and cluster.process_of("controller"))
        # Held as long as nobody knows whether there is a volume.
        assert len(intents(cluster)) == 1
    finally:
        agent.send(signal.SIGCONT)
    wait("the intent settled", lambda: not intents(cluster))
    cluster.delete(space, "pvc", "before")
    cluster.wait_nothing_left()


def test_claims_deleted_at_random_moments(cluster, space):
    chance = random.Random(1)
    for number in range(15):
        name = f"brief-{number}"
        cluster.apply(space, claim(name, "now"))
        end = time.monotonic() + chance.uniform(0, 0.3)
        wait("the moment", lambda: time.monotonic() >= end, each=0.01)
        cluster.delete(space, "pvc", name)
    for number in range(15):
        cluster.wait_gone(space, "pvc", f"brief-{number}")
    cluster.wait_nothing_left()


def test_api_server_restarted(cluster, space):
    """It goes while a volume is asked for and a pod runs; nobody of ours ends because of it."""
    cluster.apply(space, claim("data"), pod("writer", "data", WRITER))
    cluster.wait_running(space, "writer")
    ours = {component: cluster.process_of(component).pid for component in ("node", "controller")}
    for number in (signal.SIGTERM, signal.SIGKILL):
        name = f"more-{int(number)}"
        cluster.apply(space, claim(name, "now"))
        cluster.bed.stop("kube-apiserver", number)
        cluster.bed.start("kube-apiserver")
        cluster.bed.wait_api()
        cluster.wait_bound(space, name)
        cluster.delete(space, "pvc", name)
        cluster.wait_gone(space, "pvc", name)
    wait("two volumes gone", lambda: len(cluster.volume_files()) == 1)
    wait_writes(cluster, space, "writer")
    assert {component: cluster.process_of(component).pid for component in ours} == ours


def test_controller_killed_at_random_moments(cluster, space):
    """Twenty claims made and deleted while the controller is killed again and again: nothing twice, nothing left."""
    chance = random.Random(2)
    names = [f"data-{number}" for number in range(20)]
    cluster.apply(space, *(claim(name, "now") for name in names))

    def kill_until(what, probe):
        while not probe():
            cluster.kill("controller")
            end = time.monotonic() + chance.uniform(0.2, 3)
            wait(what, lambda: probe() or time.monotonic() >= end)

    def phases():
        return [item["status"].get("phase") for item in cluster.list("pvc", space)]

    end = time.monotonic() + 90
    kill_until("all bound", lambda: phases() == ["Bound"] * 20 or time.monotonic() > end)
    wait("all bound", lambda: phases() == ["Bound"] * 20)
    assert len(cluster.volume_files()) == 20
    cluster.delete(space, "pvc", *names)
    end = time.monotonic() + 90
    kill_until("all gone", lambda: not cluster.leftovers() or time.monotonic() > end)
    cluster.wait_nothing_left()


def test_upgraded_under_a_running_pod(cluster, space):
    """Both of ours are replaced; the pod goes on, and what the old agent mounted the new one unmounts."""
    cluster.apply(space, claim("data"), pod("writer", "data", WRITER))
    before = cluster.wait_running(space, "writer")
    agents = [item["metadata"]["uid"] for item in cluster.pods_of("node")]
    secrets = [cluster.get("cleat-system", "secret", name)["data"] for name in ("cleat-agents-ca", "cleat-controller-tls")]
    cluster.upgrade("--set", "node.logLevel=4,controller.logLevel=4")
    assert [item["metadata"]["uid"] for item in cluster.pods_of("node")] != agents
    assert [cluster.get("cleat-system", "secret", name)["data"] for name in ("cleat-agents-ca", "cleat-controller-tls")] == secrets
    cluster.wait_registered()
    wait_writes(cluster, space, "writer")
    after = cluster.get(space, "pod", "writer")
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    cluster.upgrade()


def test_rolled_back_under_a_running_pod(cluster, space):
    """Up to two controllers and all that the chart can make, over the one that leads when its pod goes, and back again; the
    pod writes all the while, and claims are worked on between."""
    def leader():
        return cluster.get(SYSTEM, "lease", "cleat-pool-cleat-csi")["spec"]["holderIdentity"]

    def names():
        return sorted(item["metadata"]["name"] for item in cluster.pods_of("controller"))

    cluster.apply(space, claim("data"), pod("writer", "data", WRITER))
    before = cluster.wait_running(space, "writer")
    (alone,) = names()
    try:
        cluster.upgrade("--set", "controller.replicas=2,node.logLevel=4,metrics.dashboard=true,networkPolicy.enabled=true",
                        "--set-string", "attributesClasses[0].name=gentle,attributesClasses[0].parameters.readIOPS=500")
        wait_writes(cluster, space, "writer")
        first = wait("one of two leads", lambda: len(names()) == 2 and leader() in names() and leader())
        assert cluster.get("default", "volumeattributesclass", "gentle")["driverName"] == "pool.cleat.csi"
        cluster.apply(space, claim("between", "now"))
        cluster.delete(SYSTEM, "pod", first)
        cluster.wait_bound(space, "between")
        wait("the other leads", lambda: leader() in names() and leader() != first)
    finally:
        cluster.roll_back()
    wait("one is left", lambda: len(names()) == 1 and names() != [alone])
    assert cluster.get("default", "volumeattributesclass", "gentle") is None
    assert cluster.get(SYSTEM, "networkpolicy", "cleat-controller") is None
    cluster.wait_registered()
    wait_writes(cluster, space, "writer")
    after = cluster.get(space, "pod", "writer")
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    cluster.delete(space, "pvc", "between")
    cluster.wait_gone(space, "pvc", "between")


def test_node_keeps_its_label_when_the_agent_restarts(cluster):
    """kubelet puts the pool's segment on the Node; a restart of the agent changes nothing of it."""
    def label():
        labels = cluster.get("default", "node", NODE)["metadata"]["labels"]
        return {key: value for key, value in labels.items() if key.startswith("pool.cleat.csi/")}
    before = label()
    assert list(before.values()) == ["here"]
    cluster.kill("node")
    cluster.wait_ready("node")
    cluster.wait_registered()
    assert label() == before
