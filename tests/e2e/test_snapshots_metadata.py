# SPDX-License-Identifier: Apache-2.0
"""A backup as its software makes it: all of the first snapshot, then what the cluster says has changed; the copy has every byte of the last.
The CRD is as external-snapshot-metadata's, which no Go module brings."""
import base64
import json
import subprocess
from pathlib import Path

import pytest
from cluster import DRIVER, POOL, SYSTEM, TOP, claim, pod, storage_class, wait
from bed import tool
from test_snapshots import CONTENTS, GROUP, SNAPSHOTS, snapshot, snapshot_class, wait_ready

SERVICES, PORT = "snapshotmetadataservices.cbt.storage.k8s.io", 50051
CLIENT = TOP / "tests/integration/metadata_client.py"
PYTHON = "/usr/bin/python3"  # Debian's, which has grpcio by tools/deps
MIB = 1 << 20
STRING = {"type": "string", "minLength": 1}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": SERVICES, "annotations": {"api-approved.kubernetes.io": "unapproved, of a test"}},
    "spec": {"group": "cbt.storage.k8s.io", "scope": "Cluster",
             "names": {"plural": "snapshotmetadataservices", "singular": "snapshotmetadataservice", "shortNames": ["sms"],
                       "kind": "SnapshotMetadataService", "listKind": "SnapshotMetadataServiceList"},
             "versions": [{"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                 "type": "object", "required": ["spec"], "properties": {"spec": {
                     "type": "object", "required": ["address", "audience", "caCert"],
                     "properties": {"address": STRING, "audience": STRING, "caCert": {"type": "string", "format": "byte"}}}}}}}]}}


@pytest.fixture(scope="module")
def service(cluster):
    """As backup software finds it: by the driver's name."""
    cluster.apply("default", CRD)
    for part in "classes", "contents", "s":
        cluster.kubectl("apply", "--filename", str(tool("snapshot-crds") / f"{GROUP}_volumesnapshot{part}.yaml"))
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{SERVICES}", "--timeout=60s")
    cluster.upgrade("--set", "controller.controllers={provisioner,snapshotter,snapshot-controller},snapshotMetadata.enabled=true")
    cluster.apply("default", snapshot_class("snaps", default=True), storage_class("now", "Immediate"))
    yield cluster.get("default", SERVICES, DRIVER)["spec"]
    cluster.upgrade()
    cluster.kubectl("delete", "crd", SERVICES)


@pytest.fixture
def shots(cluster, service, space):
    yield space
    cluster.kubectl("--namespace", space, "delete", SNAPSHOTS, "--all", "--wait=false")
    wait("no content left", lambda: not cluster.list(CONTENTS))


class Backup:
    """Software with a service account, which may read the snapshots of its namespace and nothing else."""

    def __init__(self, cluster, space, service, folder, address):
        self.cluster, self.space, self.service = cluster, space, service
        ca = folder / "ca.crt"
        ca.write_bytes(base64.b64decode(service["caCert"]))
        name = service["address"].rpartition(":")[0]
        self.child = subprocess.Popen(cluster.bed.enter("net") + [PYTHON, str(CLIENT), f"{address}:{PORT}", str(ca), name],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def token(self, account, **options):
        return self.cluster.kubectl("--namespace", self.space, "create", "token", account,
                                    f"--audience={options.get('audience', self.service['audience'])}").strip()

    def ask(self, rpc, **request):
        request = {"namespace": self.space, **request}
        self.child.stdin.write(json.dumps({"rpc": rpc, "timeout": 60, "request": request}) + "\n")
        return json.loads(self.child.stdout.readline())

    def end(self):
        self.child.kill()
        self.child.wait()


def account(space, name, *rules):
    kinds = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    if rules:
        yield {**kinds, "kind": "Role", "rules": list(rules)}
        yield {**kinds, "kind": "RoleBinding", "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
               "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": space}]}


def content_of(cluster, space, name):
    """The handle of a VolumeSnapshot, and its bytes in the pool."""
    found = wait_ready(cluster, space, name)
    handle = cluster.get(space, CONTENTS, found["status"]["boundVolumeSnapshotContentName"])["status"]["snapshotHandle"]
    path = f"{POOL}/.cleat/snapshots/{handle.split('-', 2)[2]}"
    return handle, Path(f"/proc/{cluster.bed.process('init').pid}/root{path}").read_bytes()


def ranges(reply):
    assert reply["code"] == "OK", reply
    return [(at, n) for _, _, found in reply["messages"] for at, n in found]


def test_a_backup_of_changed_blocks_has_every_byte(cluster, shots, service, tmp_path):
    rule = {"apiGroups": [GROUP], "resources": ["volumesnapshots"], "verbs": ["get"]}
    cluster.apply(shots, *account(shots, "backup", rule), *account(shots, "nobody"),
                  claim("data", "now", mode="Block"),
                  pod("writer", "data", "dd if=/dev/urandom of=/dev/data bs=64k count=100 conv=fsync", block=True))
    cluster.wait_running(shots, "writer")
    cluster.apply(shots, snapshot("first", "data"))
    first, old = content_of(cluster, shots, "first")
    for block in 3, 700, 5000:
        cluster.run_in(shots, "writer", f"dd if=/dev/urandom of=/dev/data bs=4k count=2 seek={block} conv=notrunc,fsync")
    cluster.apply(shots, snapshot("second", "data"))
    _, new = content_of(cluster, shots, "second")
    assert len(old) == len(new) == 32 * MIB and old != new

    replicas = cluster.pods_of("controller")
    for replica in replicas:   # whoever leads
        backup = Backup(cluster, shots, service, tmp_path, replica["status"]["podIP"])
        try:
            token = backup.token("backup")
            copy, told = bytearray(len(old)), 0
            for at, n in ranges(backup.ask("GetMetadataAllocated", security_token=token, snapshot_name="first")):
                copy[at:at + n] = old[at:at + n]
            assert bytes(copy) == old
            for at, n in ranges(backup.ask("GetMetadataDelta", security_token=token, base_snapshot_id=first,
                                           target_snapshot_name="second")):
                copy[at:at + n] = new[at:at + n]
                told += n
            assert bytes(copy) == new
            assert 6 * 4096 <= told < MIB, f"{told} bytes told as changed, of 24576 that were written"
            for bad, code in ((backup.token("nobody"), "PERMISSION_DENIED"), (backup.token("backup", audience="x"), "UNAUTHENTICATED")):
                reply = backup.ask("GetMetadataAllocated", security_token=bad, snapshot_name="first")
                assert reply["code"] == code and not reply["messages"], reply
            assert backup.ask("GetMetadataAllocated", security_token=token, snapshot_name="first",
                              namespace="default")["code"] == "PERMISSION_DENIED"
        finally:
            backup.end()
    slices = cluster.list("endpointslices", SYSTEM, "kubernetes.io/service-name=cleat-snapshot-metadata")
    found = {address for item in slices for endpoint in item["endpoints"] for address in endpoint["addresses"]}
    assert {replica["status"]["podIP"] for replica in replicas} <= found
    assert service["address"] == f"cleat-snapshot-metadata.{SYSTEM}.svc:{PORT}"
    assert "snapshot_metadata_controller_operations_seconds_count" in cluster.http(9809, "/metrics", replicas[0]["status"]["podIP"])
