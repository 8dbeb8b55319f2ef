# SPDX-License-Identifier: Apache-2.0
"""Writes a folder as an OCI image archive of one layer, as `ctr images import` takes it."""
import hashlib
import io
import json
import tarfile


def digest(data):
    return hashlib.sha256(data).hexdigest()


def layer_of(folder):
    buffer = io.BytesIO()

    def anonymous(entry):
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, arcname=".", filter=anonymous)
    return buffer.getvalue()


def write_archive(path, reference, folder, entrypoint):
    layer = layer_of(folder)
    config = json.dumps({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest(layer)]},
    }).encode()

    def describe(kind, blob, **more):
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": "sha256:" + digest(blob),
                "size": len(blob), **more}

    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": describe("config.v1+json", config), "layers": [describe("layer.v1.tar", layer)],
    }).encode()
    index = json.dumps({"schemaVersion": 2, "manifests": [describe(
        "manifest.v1+json", manifest, annotations={"io.containerd.image.name": reference})]}).encode()

    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index}
    for blob in (layer, config, manifest):
        files["blobs/sha256/" + digest(blob)] = blob
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
