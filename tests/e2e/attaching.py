# SPDX-License-Identifier: Apache-2.0
"""A driver that attaches, whole: the integration tests' one, and on the node a tmpfs where a volume is published.

usage: attaching.py STATE KUBELET_ROOT NODE, within the cluster's namespaces. STATE is a folder where the test says what goes
wrong (fail-publish, fail-unpublish: CODE and text) and reads what is attached (attached: a line "volume node" each).
"""
import concurrent.futures
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import attach_driver
from harness import Code, csi, csi_grpc, grpc, registration, registration_grpc


class Driver(attach_driver.AttachDriver, csi_grpc.NodeServicer, registration_grpc.RegistrationServicer):
    def __init__(self, state, root, node):
        self.state, self.node = state, node
        folder = root / "plugins" / attach_driver.NAME
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder / "csi.sock")
        self.before, self.after = self.look, self.tell
        known = state / "attached"
        if known.exists():
            self.attached = {tuple(line.split()) for line in known.read_text().splitlines()}
        self.registrar = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        registration_grpc.add_RegistrationServicer_to_server(self, self.registrar)
        self.registrar.add_insecure_port(f"unix://{root}/plugins_registry/{attach_driver.NAME}-reg.sock")

    def serve(self):
        self.tell()
        self.start(lambda server: csi_grpc.add_NodeServicer_to_server(self, server))
        self.registrar.start()

    def look(self, method, _volume):
        asked = self.state / f"fail-{method}"
        self.failures = {method: Code[asked.read_text().strip()]} if asked.exists() else {}

    def tell(self, *_call):
        with self.lock:
            aside = self.state / "attached.new"
            aside.write_text("".join(f"{volume} {node}\n" for volume, node in sorted(self.attached)))
            aside.rename(self.state / "attached")

    # --- Node

    def NodeGetInfo(self, request, context):
        return csi.NodeGetInfoResponse(node_id=self.node)

    def NodeGetCapabilities(self, request, context):
        return csi.NodeGetCapabilitiesResponse()

    def NodePublishVolume(self, request, context):
        with self.lock:
            is_attached = (request.volume_id, self.node) in self.attached
        if not is_attached or request.publish_context.get("device") != f"disk-of-{request.volume_id}":
            context.abort(Code.FAILED_PRECONDITION, f"volume {request.volume_id} is not attached here")
        Path(request.target_path).mkdir(exist_ok=True)
        if subprocess.run(["mountpoint", "-q", request.target_path], check=False).returncode != 0:
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", request.target_path], check=True)
        return csi.NodePublishVolumeResponse()

    def NodeUnpublishVolume(self, request, context):
        subprocess.run(["umount", request.target_path], check=False, stderr=subprocess.DEVNULL)
        if Path(request.target_path).exists():
            Path(request.target_path).rmdir()
        return csi.NodeUnpublishVolumeResponse()

    # --- Registration

    def GetInfo(self, request, context):
        return registration.PluginInfo(type="CSIPlugin", name=attach_driver.NAME, endpoint=str(self.socket),
                                       supported_versions=["1.0.0"])

    def NotifyRegistrationStatus(self, request, context):
        print(f"registered: {request.plugin_registered} {request.error}", flush=True)
        return registration.RegistrationStatusResponse()


if __name__ == "__main__":
    Driver(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]).serve()
    threading.Event().wait()
