# SPDX-License-Identifier: Apache-2.0
"""Peers that are not friends: what they can take of memory and descriptors, and whether an honest one is served meanwhile.

How long that one waits is printed and only bounded against hanging, since other things run on the machine."""
import contextlib
import pathlib
import resource
import socket
import ssl
import struct
import time

import grpc
import pytest
from certs import Authority
from harness import PATIENCE, Calls, Driver
from test_endpoint import free_port
from test_process import get

MEMORY_KIB, DESCRIPTORS = 32 << 10, 600
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8


class Victim:
    """The driver on TLS, on its socket and on HTTP, with the highest that its memory and descriptors have come to."""

    def __init__(self, work, pool):
        self.authority = Authority(work, 'ca')
        cert, key = self.authority.issue('node')
        self.port, self.http = free_port(), free_port()
        self.client = self.authority.issue('client')
        self.address = f'127.0.0.1:{self.port}'
        self.driver = Driver(work, pool, f'--tls-cert={cert}', f'--tls-key={key}', f'--tls-ca={self.authority.cert}',
                             f'--http-endpoint=127.0.0.1:{self.http}', endpoint=f'tcp://{self.address}')
        self.driver.connect = self.connect
        self.driver.start()
        self.pid = self.driver.process.child.pid
        self.most_files = 0

    def connect(self):
        if self.driver.calls:
            self.driver.calls.close()
        self.driver.calls = self.calls()

    def calls(self):
        cert, key = self.client
        return Calls(self.address, grpc.ssl_channel_credentials(
            self.authority.cert.read_bytes(), key.read_bytes(), cert.read_bytes()))

    def look(self):
        self.most_files = max(self.most_files, len(list(pathlib.Path(f'/proc/{self.pid}/fd').iterdir())))

    def judge(self, what):
        """An honest one, with a connection from before and with a new one; then what it has cost."""
        self.look()
        waits = []
        new = self.calls()
        for calls in (self.driver.calls, new):
            begin = time.monotonic()
            calls.probe(timeout=PATIENCE)
            waits.append(1000 * (time.monotonic() - begin))
        new.close()
        self.look()
        status = pathlib.Path(f'/proc/{self.pid}/status').read_text()
        peak = int(status.split('VmHWM:')[1].split()[0])
        print(f'{what}: peak {peak} KiB, {self.most_files} descriptors, Probe {waits[0]:.0f} ms, on a new connection '
              f'{waits[1]:.0f} ms')
        if 'san' not in str(self.driver.process.child.args[0]):
            assert peak <= MEMORY_KIB, f'{peak} KiB'
        assert self.most_files <= DESCRIPTORS

    def context(self):
        context = ssl.create_default_context(cafile=str(self.authority.cert))
        context.load_cert_chain(*map(str, self.client))
        context.check_hostname = False
        context.set_alpn_protocols(['h2'])
        return context

    def open(self):
        return socket.create_connection(('127.0.0.1', self.port), timeout=10)

    def open_tls(self):
        return self.context().wrap_socket(self.open())


@pytest.fixture
def victim(work, pool):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    v = Victim(work, pool)
    yield v
    v.driver.stop()
    v.driver.end()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def half_hello(victim):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = victim.context().wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    hello = outgoing.read()
    return hello[:len(hello) // 2]


def frame(kind, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + struct.pack('>BBI', kind, flags, stream) + payload


def text(s):
    return bytes([len(s)]) + s.encode()


def request_head(path):
    """Literal header fields without indexing (RFC 7541 6.2.2)."""
    fields = {':method': 'POST', ':scheme': 'https', ':path': path, ':authority': 'x', 'content-type': 'application/grpc',
              'te': 'trailers'}
    return b''.join(b'\0' + text(k) + text(v) for k, v in fields.items())


class Peer:
    """A raw HTTP/2 client that keeps to the windows, and nothing else."""

    def __init__(self, victim):
        self.socket = victim.open_tls()
        self.socket.settimeout(10)
        self.window, self.windows, self.initial, self.buffer = 65535, {}, 65535, b''
        self.gone = set()
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0))

    def begin(self, stream, path):
        self.windows[stream] = self.initial
        self.socket.sendall(frame(HEADERS, 4, stream, request_head(path)))

    def read(self, seconds):
        """Frames that come within that time."""
        self.socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
            got = self.socket.recv(65536)
            if not got:
                raise ConnectionError('closed')
            self.buffer += got
        self.socket.settimeout(10)
        while len(self.buffer) >= 9:
            n = int.from_bytes(self.buffer[:3], 'big')
            if len(self.buffer) < 9 + n:
                break
            kind, flags, stream = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], 'big')
            self.take(kind, flags, stream, self.buffer[9:9 + n])
            self.buffer = self.buffer[9 + n:]

    def take(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & 1:
            for i in range(0, len(payload), 6):
                key, value = struct.unpack('>HI', payload[i:i + 6])
                if key == 4:
                    self.windows = {s: w + value - self.initial for s, w in self.windows.items()}
                    self.initial = value
            self.socket.sendall(frame(SETTINGS, 1, 0))
        elif kind == WINDOW_UPDATE:
            add = int.from_bytes(payload, 'big')
            if stream == 0:
                self.window += add
            elif stream in self.windows:
                self.windows[stream] += add
        elif kind in (3, HEADERS) and stream:
            self.gone.add(stream)

    def send(self, stream, payload):
        """As much of it as the windows allow."""
        n = min(len(payload), self.window, self.windows[stream], 16384)
        if n > 0:
            self.socket.sendall(frame(DATA, 0, stream, payload[:n]))
            self.window -= n
            self.windows[stream] -= n
        return n


def test_three_thousand_half_handshakes(victim):
    hello, sockets = half_hello(victim), []
    for i in range(3000):
        s = victim.open()
        with contextlib.suppress(OSError):
            s.sendall(hello)
        sockets.append(s)
        if i % 100 == 0:
            victim.look()
    victim.judge('3,000 half ClientHellos')
    for s in sockets:
        s.close()


def test_a_thousand_connections_that_say_nothing(victim):
    sockets = [victim.open() for _ in range(1000)]
    victim.judge('1,000 silent connections')
    for _ in range(300):
        sockets.append(victim.open_tls())
    victim.judge('and 300 silent after the handshake')
    for s in sockets:
        s.close()


def test_unfinished_requests(victim):
    """48 of 4 MiB on each of 10 connections, none of which ever ends."""
    size, peers = (4 << 20) - 64, []
    for _ in range(10):
        peer = Peer(victim)
        peer.read(1)
        for stream in range(1, 96, 2):
            peer.begin(stream, '/csi.v1.Controller/CreateVolume')
        peers.append(peer)
    left = {(peer, stream): size for peer in peers for stream in range(1, 96, 2)}
    begin, sent = time.monotonic(), 0
    while left and time.monotonic() < begin + 8:
        for (peer, stream), n in list(left.items()):
            if stream in peer.gone:
                del left[peer, stream]
                continue
            head = struct.pack('>BI', 0, size) if n == size else b''
            done = peer.send(stream, head + b'x' * min(n, 16384 - len(head)))
            left[peer, stream] -= done
            sent += done
        for peer in peers:
            peer.read(0.001)
        victim.look()
    print(f'{sent >> 20} MiB sent of {480 * size >> 20}')
    assert sent > 16 << 20
    victim.judge('480 unfinished requests')


def test_replies_that_nobody_reads(victim):
    peers = []
    for _ in range(10):
        peer = Peer(victim)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for stream in range(1, 5001, 2):
            with contextlib.suppress(OSError):
                peer.begin(stream, '/csi.v1.Identity/GetPluginCapabilities')
                peer.socket.sendall(frame(DATA, 1, stream, b'\0\0\0\0\0'))
        peers.append(peer)
        victim.look()
    victim.judge('25,000 replies unread')


def test_probes_get_in_among_silent_http_connections(victim):
    sockets = [socket.create_connection(('127.0.0.1', victim.http)) for _ in range(200)]
    assert get(victim.http, '/healthz')[0] == 200
    assert get(victim.http, '/readyz')[0] == 200
    for s in sockets:
        s.close()
