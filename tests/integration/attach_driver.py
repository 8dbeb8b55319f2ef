# SPDX-License-Identifier: Apache-2.0
"""A CSI driver that attaches, by grpcio in the test's own process: it keeps which volume is at which node, counts calls, and
fails, hangs or does something else at the calls that a test says."""
import concurrent.futures
import threading

from harness import csi, csi_grpc, grpc

NAME = 'attach.cleat.test'
Rpc = csi.ControllerServiceCapability.RPC
ATTACHES = (Rpc.PUBLISH_UNPUBLISH_VOLUME,)
READONLY, MULTI_WRITER = Rpc.PUBLISH_READONLY, Rpc.SINGLE_NODE_MULTI_WRITER
LISTS = (Rpc.LIST_VOLUMES, Rpc.LIST_VOLUMES_PUBLISHED_NODES)


class AttachDriver(csi_grpc.IdentityServicer, csi_grpc.ControllerServicer):
    def __init__(self, socket, caps=ATTACHES, has_controller=True):
        self.socket, self.caps, self.has_controller = socket, caps, has_controller
        self.lock = threading.Lock()
        self.attached = set()           # of (volume, node)
        self.calls = []                 # of (method, volume, node)
        self.before = self.after = None  # (method, volume) → whatever; before the call takes effect, and before its answer
        self.failures = {}              # method → code
        self.last = None
        self.server = None

    def start(self, add_more=None):
        """add_more: puts further services on the server."""
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(64))
        if add_more:
            add_more(self.server)
        csi_grpc.add_IdentityServicer_to_server(self, self.server)
        if self.has_controller:
            csi_grpc.add_ControllerServicer_to_server(self, self.server)
        self.server.add_insecure_port(f'unix://{self.socket}')
        self.server.start()
        return self

    def stop(self):
        self.server.stop(None).wait()

    def count(self, method):
        with self.lock:
            return sum(1 for called, *_ in self.calls if called == method)

    # --- Identity

    def GetPluginInfo(self, request, context):
        return csi.GetPluginInfoResponse(name=NAME, vendor_version='1')

    def GetPluginCapabilities(self, request, context):
        Service = csi.PluginCapability.Service
        return csi.GetPluginCapabilitiesResponse(capabilities=[csi.PluginCapability(service=Service(
            type=Service.CONTROLLER_SERVICE))] if self.has_controller else [])

    def Probe(self, request, context):
        return csi.ProbeResponse()

    # --- Controller

    def ControllerGetCapabilities(self, request, context):
        return csi.ControllerGetCapabilitiesResponse(capabilities=[
            csi.ControllerServiceCapability(rpc=Rpc(type=cap)) for cap in self.caps])

    def _call(self, method, request, context, effect):
        self.last = request
        with self.lock:
            self.calls.append((method, request.volume_id, request.node_id))
        if self.before:
            self.before(method, request.volume_id)
        if method in self.failures:
            context.abort(self.failures[method], 'the driver says no')
        with self.lock:
            effect((request.volume_id, request.node_id))
        if self.after:
            self.after(method, request.volume_id)

    def ControllerPublishVolume(self, request, context):
        self._call('publish', request, context, self.attached.add)
        return csi.ControllerPublishVolumeResponse(publish_context={'device': f'disk-of-{request.volume_id}'})

    def ControllerUnpublishVolume(self, request, context):
        self._call('unpublish', request, context, self.attached.discard)
        return csi.ControllerUnpublishVolumeResponse()

    def ListVolumes(self, request, context):
        if 'list' in self.failures:
            context.abort(self.failures['list'], 'the driver says no')
        with self.lock:
            attached = sorted(self.attached)
        start, size = int(request.starting_token or 0), request.max_entries or len(attached) + 1
        page = attached[start:start + size]
        Response = csi.ListVolumesResponse
        return Response(
            next_token=str(start + size) if start + size < len(attached) else '',
            entries=[Response.Entry(volume=csi.Volume(volume_id=volume),
                                    status=Response.VolumeStatus(published_node_ids=[node])) for volume, node in page])
