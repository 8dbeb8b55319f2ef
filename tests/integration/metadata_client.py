# SPDX-License-Identifier: Apache-2.0
"""A backup's client of SnapshotMetadata, by grpcio, in the network namespace that it was started in.

usage: metadata_client.py HOST:PORT CA_FILE [NAME]    NAME: in the server's certificate

A line of JSON on stdin is a call: {"rpc", "request": {fields}, "timeout", "hold"}. The answer is a line: {"code", "details",
"messages": [[type, capacity, [[offset, bytes], …]], …]}. With "hold" one message is read, and no more until the process ends.
"""
import json
import pathlib
import sys

import grpc
import harness

stub = harness.snapmeta_grpc.SnapshotMetadataStub
REQUESTS = {'GetMetadataAllocated': harness.snapmeta.GetMetadataAllocatedRequest, 'GetMetadataDelta': harness.snapmeta.GetMetadataDeltaRequest}


def shown(m):
    return [m.block_metadata_type, m.volume_capacity_bytes, [[b.byte_offset, b.size_bytes] for b in m.block_metadata]]


def connect(address, ca, name='node.cleat.test'):
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(pathlib.Path(ca).read_bytes()), [
        ('grpc.ssl_target_name_override', name), ('grpc.enable_retries', 0), ('grpc.initial_reconnect_backoff_ms', 20),
        ('grpc.min_reconnect_backoff_ms', 20), ('grpc.max_reconnect_backoff_ms', 100), ('grpc.http2.bdp_probe', 0),
        ('grpc.http2.lookahead_bytes', 65535), ('grpc.use_local_subchannel_pool', 1)])


def answer(channel, ask, held):
    if ask['rpc'] == 'Check':
        reply = harness.health_grpc.HealthStub(channel).Check(harness.health.HealthCheckRequest(**ask['request']), timeout=10)
        return {'code': 'OK', 'status': reply.status}
    messages = []
    stream = getattr(stub(channel), ask['rpc'])(REQUESTS[ask['rpc']](**ask['request']), timeout=ask.get('timeout', 60))
    if ask.get('hold'):
        held.append(stream)
        return {'code': 'OK', 'messages': [shown(next(stream))]}
    try:
        for m in stream:
            messages.append(shown(m))
    except grpc.RpcError as e:
        return {'code': e.code().name, 'details': e.details(), 'messages': messages}
    return {'code': 'OK', 'messages': messages}


def main():
    held = []
    for line in sys.stdin:
        ask = json.loads(line)
        # A connection a call: the server's certificate is looked at each time.
        channel = connect(*sys.argv[1:])
        try:
            reply = answer(channel, ask, held)
        except grpc.RpcError as e:
            reply = {'code': e.code().name, 'details': e.details(), 'messages': []}
        print(json.dumps(reply), flush=True)
        if not ask.get('hold'):
            channel.close()


main()
