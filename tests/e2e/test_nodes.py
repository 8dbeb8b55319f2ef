# SPDX-License-Identifier: Apache-2.0
"""Three nodes, each with a pool: what has a volume finds it where it is, and a node that dies takes nothing down but that."""
import base64
import json
import os
import signal
import subprocess
import time

import cluster as clusters
import pytest
from bed import tool
from cluster import POOL, SYSTEM, claim, in_bytes, pod, storage_class, wait
from daemons import EVICTED_AFTER, NODE_IP
from test_snapshots import GROUP, SNAPSHOTS, made_of, snapshot, snapshot_class, wait_ready

WRITER = """i=$(cat /data/log 2>/dev/null | wc -l)
while true; do i=$((i + 1)); echo $i >> /data/log && sync /data/log && echo $i > /proc/1/fd/1; sleep 0.1; done &"""


@pytest.fixture(scope="module")
def cluster():
    found = clusters.open_cluster(os.environ["CLEAT"], nodes=3)
    found.apply("default", storage_class("now", "Immediate"))
    yield found
    found.bed.down()


def on(name, body):
    """The pod, on that node and no other; it stays there while the node is away."""
    body["spec"]["nodeSelector"] = {"kubernetes.io/hostname": name}
    body["spec"]["tolerations"] = [{"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute"}
                                   for what in ("not-ready", "unreachable")]
    return body


def stateful_set(name, replicas):
    """Pods on nodes of their own, each with a volume in which it counts its lives."""
    template = pod("x", "data", "echo life >> /data/lives; sync")
    spec = {**template["spec"], "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": name}}, "topologyKey": "kubernetes.io/hostname"}]}}}
    del spec["volumes"]
    volume = claim("data")
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
            "spec": {"replicas": replicas, "serviceName": name, "selector": {"matchLabels": {"app": name}},
                     "podManagementPolicy": "Parallel",
                     "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
                     "volumeClaimTemplates": [{"metadata": volume["metadata"], "spec": volume["spec"]}]}}


def node_of(cluster, space, name):
    return cluster.get(space, "pod", name)["spec"]["nodeName"]


def files_on(node):
    listed = node.inside("find", POOL, "-maxdepth", "1", "-type", "f", stdout=-1).stdout.split()
    return [path for path in listed if "/.cleat" not in path]


def acknowledged(cluster, space, name):
    """The last line of which the writer said, through its log, that it is safe."""
    lines = cluster.kubectl("--namespace", space, "logs", name, "--tail=1").split()
    return int(lines[0]) if lines else 0


def ctl(cluster, *words):
    """cleat ctl as an administrator runs it beside the cluster."""
    done = subprocess.run(cluster.bed.enter("net") + [os.environ["CLEAT"], "ctl", *words, f"--kubeconfig={cluster.bed.kubeconfig}"],
                          text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


def wait_restarted(cluster, space, name):
    """Its node's return: until then the API shows the container of before."""
    def probe():
        state = cluster.get(space, "pod", name)["status"]["containerStatuses"][0]
        return state["restartCount"] > 0 and state["ready"]
    wait(f"another life of {name}", probe)


def wait_not_ready(cluster, name):
    def probe():
        conditions = cluster.get("default", "node", name)["status"]["conditions"]
        return any(c["type"] == "Ready" and c["status"] != "True" for c in conditions)
    wait(f"{name} NotReady", probe, 30)


def test_a_set_is_spread_and_comes_back(cluster, space):
    cluster.apply(space, stateful_set("web", 3))
    names = [f"web-{i}" for i in range(3)]
    for name in names:
        cluster.wait_running(space, name)
    places = {name: node_of(cluster, space, name) for name in names}
    assert sorted(places.values()) == ["node1", "node2", "node3"]
    assert [len(files_on(node)) for node in cluster.bed.nodes] == [1, 1, 1]
    old = {name: cluster.get(space, "pod", name)["metadata"]["uid"] for name in names}
    cluster.delete(space, "pod", *names)
    for name in names:
        wait(f"the next {name}", lambda: (cluster.get(space, "pod", name) or old)["metadata"]["uid"] != old[name]
             if cluster.get(space, "pod", name) else False)
        cluster.wait_running(space, name)
        assert cluster.run_in(space, name, "cat /data/lives") == "life\nlife\n"
    assert {name: node_of(cluster, space, name) for name in names} == places


def test_immediate_claims_are_spread(cluster, space):
    names = [f"data-{i}" for i in range(12)]
    cluster.apply(space, *[claim(name, "now", "1Gi") for name in names])
    for name in names:
        cluster.wait_bound(space, name)
    assert all(len(files_on(node)) >= 2 for node in cluster.bed.nodes), [files_on(node) for node in cluster.bed.nodes]


def test_all_of_a_volumes_life_on_a_node_that_the_controller_is_not_on(cluster, space):
    """Cut, restored larger, cloned, grown: each stays where its source is, whatever else has room."""
    cluster.upgrade("--set", "controller.controllers={provisioner,capacity,resizer,snapshotter,snapshot-controller}")
    for part in "classes", "contents", "s":
        cluster.kubectl("apply", "--filename", str(tool("snapshot-crds") / f"{GROUP}_volumesnapshot{part}.yaml"))
    cluster.apply("default", snapshot_class("snaps", default=True),
                  {**storage_class("growing", fs="xfs"), "allowVolumeExpansion": True})
    place = cluster.bed.workers[1]
    cluster.apply(space, claim("data", "growing", size="320Mi"), on(place.name, pod("writer", "data", "echo one > /data/file; sync")))
    cluster.wait_running(space, "writer")
    cluster.apply(space, snapshot("snap", "data"))
    wait_ready(cluster, space, "snap")
    cluster.run_in(space, "writer", "echo two > /data/file; sync")
    cluster.apply(space, made_of("VolumeSnapshot", "snap", name="restored", storage_class="growing", size="512Mi"), on(place.name, pod("reader", "restored")),
                  made_of("PersistentVolumeClaim", "data", name="cloned", storage_class="growing", size="320Mi"), on(place.name, pod("twin", "cloned")))
    for name, text in ("reader", "one\n"), ("twin", "two\n"):
        cluster.wait_running(space, name)
        assert cluster.run_in(space, name, "cat /data/file") == text
    assert len(files_on(place)) == 3 and not any(files_on(node) for node in cluster.bed.nodes if node is not place)
    cluster.kubectl("--namespace", space, "patch", "pvc", "data", "--patch",
                    '{"spec": {"resources": {"requests": {"storage": "512Mi"}}}}')
    wait("the new size", lambda: cluster.get(space, "pvc", "data")["status"]["capacity"]["storage"] == "512Mi")
    assert int(cluster.run_in(space, "writer", "df -P -k /data | tail -1 | awk '{print $2}'")) > 400 << 10
    assert "nothing" in ctl(cluster, "explain", "pvc", "data", f"--namespace={space}").lower()
    cluster.delete(space, SNAPSHOTS, "snap")
    cluster.wait_gone(space, SNAPSHOTS, "snap")


def test_power_cut(cluster, space):
    """What was acknowledged is there after the node's return, and the others' work went on."""
    victim = cluster.bed.workers[1]
    cluster.apply(space, claim("cut"), claim("kept"), on(victim.name, pod("cut", "cut", WRITER)),
                  on("node2", pod("kept", "kept", WRITER)))
    for name in ("cut", "kept"):
        cluster.wait_running(space, name)
        wait(f"lines of {name}", lambda: acknowledged(cluster, space, name) > 10)
    safe = acknowledged(cluster, space, "cut")
    victim.cut()
    try:
        before = acknowledged(cluster, space, "kept")
        wait_not_ready(cluster, victim.name)
        cluster.apply(space, claim("meanwhile"), on("node2", pod("meanwhile", "meanwhile")))
        cluster.wait_running(space, "meanwhile", 60)   # the leader may have been there
        assert acknowledged(cluster, space, "kept") > before
    finally:
        victim.boot()
    wait_restarted(cluster, space, "cut")
    numbers = [int(line) for line in cluster.run_in(space, "cut", "cat /data/log").split()]
    assert numbers[:safe] == list(range(1, safe + 1))


def test_partition(cluster, space):
    """The node hears nobody for 20 s; its pod goes on writing, and what was asked of it meanwhile is done when it is back."""
    victim = cluster.bed.workers[0]
    cluster.apply(space, claim("apart"), claim("later", "now"), on(victim.name, pod("apart", "apart", WRITER)))
    cluster.wait_running(space, "apart")
    victim.unplug()
    try:
        begun = time.monotonic()
        cluster.apply(space, claim("asked"), on(victim.name, pod("asked", "asked")), claim("other"),
                      on("node3", pod("other", "other")))
        cluster.wait_running(space, "other", 30)
        wait("20 seconds", lambda: time.monotonic() - begun > 20, 30)
    finally:
        victim.plug()
    cluster.wait_running(space, "asked")
    state = cluster.wait_running(space, "apart")["status"]["containerStatuses"][0]
    assert state["restartCount"] == 0
    numbers = [int(line) for line in cluster.run_in(space, "apart", "cat /data/log").split()]
    assert numbers == list(range(1, len(numbers) + 1))


def certificate_of(cluster, folder, node, name):
    """What somebody who has the token of that node's agent is given for a request for the name: files of certificate and key, or None."""
    (agent,) = [item["metadata"] for item in cluster.pods_of("node") if item["spec"]["nodeName"] == node]
    token = cluster.kubectl("--namespace", SYSTEM, "create", "token", "cleat-node", "--bound-object-kind=Pod",
                            f"--bound-object-name={agent['name']}", f"--bound-object-uid={agent['uid']}").strip()
    key, asked, cert = folder / "tls.key", folder / "tls.csr", folder / "tls.crt"
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/", "-keyout",
                    key, "-out", asked, "-addext", f"subjectAltName=URI:{name}"], check=True, capture_output=True)
    request = f"by-hand-{name.rpartition('/')[2]}"
    body = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": request},
            "spec": {"signerName": "pool.cleat.csi/agent", "usages": ["digital signature", "server auth"],
                     "request": base64.b64encode(asked.read_bytes()).decode()}}
    subprocess.run(cluster.bed.enter("net") + ["curl", "--silent", "--fail", "--insecure", "--header", f"Authorization: Bearer {token}",
                                               "--header", "Content-Type: application/json", "--data", json.dumps(body),
                                               f"https://{NODE_IP}/apis/certificates.k8s.io/v1/certificatesigningrequests"],
                   check=True, capture_output=True)

    def answered():
        status = cluster.get("default", "csr", request)["status"]
        return status if "certificate" in status or any(c["type"] == "Denied" for c in status.get("conditions", [])) else None
    status = wait("an answer", answered)
    cluster.kubectl("delete", "csr", request)
    if "certificate" not in status:
        return None
    cert.write_bytes(base64.b64decode(status["certificate"]))
    return cert, key


def test_a_stolen_node_is_no_other(cluster, space, tmp_path):
    """Who has all that node2's agent has, and answers at node3's address, is refused, and node3 is named; node2 works on."""
    assert certificate_of(cluster, tmp_path, "node2", "cleat://node/node3") is None
    cert, key = certificate_of(cluster, tmp_path, "node2", "cleat://node/node2")
    (tmp_path / "ca.crt").write_text(cluster.get(SYSTEM, "configmap", "cleat-controllers-ca")["data"]["ca.crt"])
    victim = cluster.bed.workers[1]
    # What is for node3 alone: a controller's way to node2 may lead through here.
    redirect = ["PREROUTING", "--destination", victim.address, "--protocol", "tcp", "--dport", "10000", "--jump", "REDIRECT",
                "--to-ports", "10099"]
    thief = subprocess.Popen(victim.enter("net") + [
        os.environ["CLEAT"], "driver", "--endpoint=tcp://0.0.0.0:10099", "--node-id=node2", "--backend=mem", "--mem-size=4Gi",
        f"--tls-cert={cert}", f"--tls-key={key}", f"--tls-ca={tmp_path}/ca.crt"])
    victim.inside("iptables", "--table", "nat", "--append", *redirect)
    try:
        cluster.kill("node", node=victim)   # connections that are there stay where they are
        told = "is not for cleat://node/node3, but for: URI:cleat://node/node2"

        def is_named():
            pages = [cluster.http(9809, "/readyz", item["status"]["podIP"]) for item in cluster.pods_of("controller")]
            return any(f"node {victim.name}: " in page and told in page for page in pages)
        wait("node3 is named", is_named)
        cluster.apply(space, claim("asked"), on(victim.name, pod("asked", "asked")), claim("other"), on("node2", pod("other", "other")))
        cluster.wait_running(space, "other")
        assert cluster.get(space, "pvc", "asked")["status"]["phase"] == "Pending"
    finally:
        victim.inside("iptables", "--table", "nat", "--delete", *redirect)
        thief.kill()
        thief.wait()
    cluster.wait_running(space, "asked")


def test_drained_and_back(cluster, space):
    """Its pods cannot go elsewhere: they wait, say so, and are back with their volumes."""
    cluster.apply(space, stateful_set("web", 3))
    for i in range(3):
        cluster.wait_running(space, f"web-{i}")
    name = next(f"web-{i}" for i in range(3) if node_of(cluster, space, f"web-{i}") == "node3")
    cluster.kubectl("drain", "node3", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
    try:
        cluster.wait_event(space, name, "FailedScheduling")
    finally:
        cluster.kubectl("uncordon", "node3")
    cluster.wait_running(space, name)
    assert cluster.run_in(space, name, "cat /data/lives") == "life\nlife\n"


def test_out_of_service(cluster, space):
    """A node that is declared dead gives its pods up; they wait for their volumes, and have them when it returns."""
    victim = cluster.bed.workers[1]
    cluster.apply(space, stateful_set("web", 3))
    for i in range(3):
        cluster.wait_running(space, f"web-{i}")
    name = next(f"web-{i}" for i in range(3) if node_of(cluster, space, f"web-{i}") == victim.name)
    old = cluster.get(space, "pod", name)["metadata"]["uid"]
    victim.cut()
    try:
        wait_not_ready(cluster, victim.name)
        cluster.kubectl("taint", "node", victim.name, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")

        def is_another():
            found = cluster.get(space, "pod", name)
            return found and found["metadata"]["uid"] != old and "nodeName" not in found["spec"]
        wait(f"another {name}, without a node", is_another, EVICTED_AFTER + 60)
    finally:
        victim.boot()
        cluster.kubectl("taint", "node", victim.name, "node.kubernetes.io/out-of-service-")
    cluster.wait_running(space, name)
    assert cluster.run_in(space, name, "cat /data/lives") == "life\nlife\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_leader_ends_under_load(cluster, space, number):
    """Claims are made and deleted while leaders end: each claim one volume, and none without."""
    doomed, wanted = [f"gone-{i}" for i in range(50)], [f"data-{i}" for i in range(50)]
    cluster.apply(space, *[claim(name, "now") for name in doomed])
    for name in doomed:
        cluster.wait_bound(space, name)
    cluster.apply(space, *[claim(name, "now") for name in wanted])
    cluster.delete(space, "pvc", *doomed)
    for _ in range(2):
        time.sleep(1)
        for node in cluster.bed.nodes:
            process = cluster.process_of("controller", node)
            if process:
                process.send(number)
    for name in wanted:
        cluster.wait_bound(space, name, 180)

    def files():
        found = cluster.volume_files()
        persistent = [item["spec"]["csi"]["volumeHandle"] for item in cluster.list("pv")]
        return len(found) == len(persistent) == len(wanted)
    wait("a volume a claim", files, 180)
    cluster.kubectl("--namespace", SYSTEM, "rollout", "status", "deployment/cleat-controller", "--timeout=90s")


def test_pools_are_filled_and_the_next_claim_says_so(cluster, space):
    """The scheduler knows the room of each node: all three are filled, whatever comes first, and no claim lands where it does
    not fit."""
    def rooms():
        found = [item for item in cluster.list("csistoragecapacities") if item["storageClassName"] == "cleat"]
        return [in_bytes(item["capacity"]) for item in found] if len(found) == len(cluster.bed.nodes) else None
    size = min(wait("capacities of all nodes", rooms)) * 24 // 100
    names = [f"fill-{i}" for i in range(12)]
    cluster.apply(space, *[claim(name, size=str(size)) for name in names], *[pod(name, name) for name in names])
    for name in names:
        cluster.wait_running(space, name)
    places = [node_of(cluster, space, name) for name in names]
    assert {node.name: places.count(node.name) for node in cluster.bed.nodes} == {node.name: 4 for node in cluster.bed.nodes}
    cluster.apply(space, claim("more", size=str(size)), pod("more", "more"))
    event = wait("the scheduler's word", lambda: next(
        (e for e in cluster.events(space, "more") if "enough free storage" in e["message"]), None))
    assert event["reason"] == "FailedScheduling"
    cluster.delete(space, "pod", names[0])
    cluster.wait_gone(space, "pod", names[0])
    cluster.delete(space, "pvc", names[0])
    cluster.wait_running(space, "more")
    assert node_of(cluster, space, "more") == places[0]


def test_each_node_provisions_for_itself(cluster, space):
    """nodeDeployment: claims are bound and volumes deleted while no controller runs, and the way back needs nothing."""
    def managers():
        return {item["metadata"]["labels"]["csi.storage.k8s.io/managed-by"] for item in cluster.list("csistoragecapacities", SYSTEM)}
    nodes = {f"external-provisioner-{node.name}" for node in cluster.bed.nodes}
    wait("the controller's capacity", lambda: managers() == {"external-provisioner"})
    values = "nodeDeployment.enabled=true,nodeDeployment.baseDelay=2s,nodeDeployment.maxDelay=5s"
    try:
        cluster.upgrade("--set", values)
        args = cluster.get(SYSTEM, "deployment", "cleat-controller")["spec"]["template"]["spec"]["containers"][0]["args"]
        assert "--controllers=resizer,snapshotter,health,orphans,certificates" in args
        cluster.kubectl("--namespace", SYSTEM, "delete", "csistoragecapacities", "--selector",
                        f"csi.storage.k8s.io/drivername={clusters.DRIVER},csi.storage.k8s.io/managed-by=external-provisioner")
        wait("the nodes' capacity", lambda: managers() == nodes)
        owners = {item["metadata"]["ownerReferences"][0]["uid"] for item in cluster.list("csistoragecapacities", SYSTEM)}
        assert owners == {item["metadata"]["uid"] for item in cluster.pods_of("node")}
        cluster.upgrade("--set", f"{values},controller.replicas=0")
        wait("no controller", lambda: not cluster.pods_of("controller"))

        names = {node.name: f"at-{node.name}" for node in cluster.bed.nodes}
        cluster.apply(space, *[claim(name) for name in names.values()], claim("now", "now"),
                      *[on(node, pod(name, name, "echo kept > /data/file; sync")) for node, name in names.items()])
        for node, name in names.items():
            cluster.wait_running(space, name)
            volume = cluster.get(space, "pvc", name)["spec"]["volumeName"]
            assert f"{POOL}/{volume}" in files_on(next(n for n in cluster.bed.nodes if n.name == node))
        cluster.wait_bound(space, "now")
        assert sum(len(files_on(node)) for node in cluster.bed.nodes) == len(names) + 1
        cluster.delete(space, "pod", *names.values())
        cluster.delete(space, "pvc", "now", *names.values())
        wait("no volume", lambda: not any(files_on(node) for node in cluster.bed.nodes) and not cluster.list("pv"))
    finally:
        cluster.upgrade()
    wait("the controller's capacity", lambda: managers() == {"external-provisioner"})


def test_a_lost_node_is_given_up(cluster, space):
    """Its volume can be deleted, then; the node comes back nevertheless, and is served when it is remembered."""
    victim = cluster.bed.workers[1]
    cluster.apply(space, claim("lost"), on(victim.name, pod("lost", "lost", "echo kept > /data/file; sync")))
    cluster.wait_running(space, "lost")
    volume = cluster.get(space, "pvc", "lost")["spec"]["volumeName"]
    labels = cluster.get("default", "node", victim.name)["metadata"]["labels"]
    identity = next(label.split("/")[1] for label in labels if label.startswith(f"{clusters.DRIVER}/"))
    victim.cut()
    try:
        cluster.kubectl("--namespace", space, "delete", "pod", "lost", "--force", "--grace-period=0")
        cluster.delete(space, "pvc", "lost")
        wait("the volume to be deleted", lambda: cluster.get(space, "pv", volume)["status"]["phase"] in ("Released", "Failed"))
        assert volume in ctl(cluster, "pool", "forget", identity)
        ctl(cluster, "pool", "forget", identity, "--yes")
        cluster.wait_gone(space, "pv", volume)
    finally:
        victim.boot()
    assert files_on(victim) == [f"{POOL}/{volume}"]
    ctl(cluster, "pool", "remember", identity)
    cluster.apply(space, claim("next"), on(victim.name, pod("next", "next")))
    cluster.wait_running(space, "next")
    victim.inside("rm", f"{POOL}/{volume}")


def test_a_disk_that_moved_is_followed(cluster, space):
    """node2's disk is put into node3, and node2 has another: the volume's pods start where it is now, and nowhere else."""
    old, new = cluster.bed.workers
    second = "/var/lib/cleat/second"
    pools = f"pools[0].name=default,pools[0].path={POOL},pools[1].name=second,pools[1].path={second},pools[1].optional=true"
    cluster.upgrade("--set", pools)
    cluster.apply(space, claim("data"), on(old.name, pod("before", "data", "echo kept > /data/file; sync")))
    cluster.wait_running(space, "before")
    labels = cluster.get("default", "node", old.name)["metadata"]["labels"]
    label = next(label for label in labels if label.startswith(f"{clusters.DRIVER}/"))
    cluster.delete(space, "pod", "before")
    cluster.wait_gone(space, "pod", "before")
    old.inside("sync", "--file-system", POOL)
    old.cut()
    new.mount_disk(old.pull_disk(), second)
    old.boot()
    new.inside(os.environ["CLEAT"], "ctl", "pool", "adopt", "--moved", second)

    def has_label(node):
        return label in cluster.get("default", "node", node.name)["metadata"]["labels"]
    wait(f"the label at {new.name}", lambda: has_label(new))
    wait(f"no label at {old.name}", lambda: not has_label(old))
    pods = [f"after-{i}" for i in range(20)]
    cluster.apply(space, *[pod(name, "data") for name in pods])
    for name in pods:
        cluster.wait_running(space, name)
        assert node_of(cluster, space, name) == new.name
    assert cluster.run_in(space, pods[0], "cat /data/file") == "kept\n"
