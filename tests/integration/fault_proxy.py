# SPDX-License-Identifier: Apache-2.0
"""What stands between a CSI driver and whoever calls it, and lets go wrong what a test says: calls are passed on as the bytes that
they are. In front of it is a relay of connections, so that one can break in the midst of a call."""
import concurrent.futures
import contextlib
import os
import socket
import threading

from harness import PATIENCE, Code, csi, grpc

# What can happen to a call, beside each code that there is.
CODES = [code for code in Code if code != Code.OK]
WORSE = 'delay', 'hang', 'close', 'garbage'
FAULTS = [*CODES, *WORSE]
DELAY_S = 1
GARBAGE = bytes(range(255, 0, -1))


def word_of(fault):
    return (fault.name if isinstance(fault, Code) else fault).lower().replace('_', '-')


class FaultProxy(grpc.GenericRpcHandler):
    """A driver for whom a test gives one; fault(method, request) says what becomes of a call: None, or (before or after the driver
    has it, one of FAULTS). answered(method, request, reply) is told what the driver said, whether it arrives or not."""

    def __init__(self, driver, directory):
        self.driver, self.dir = driver, directory
        self.socket, self.behind = directory / 'csi.sock', directory / 'behind.sock'
        self.fault = lambda method, request: None
        self.answered = lambda method, request, reply: None
        self.happened = set()    # of (method, before or after, fault)
        self.links, self.lock = [], threading.Lock()
        self.channel = grpc.insecure_channel(f'unix://{driver.socket}')
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(256), handlers=[self])
        self.server.add_insecure_port(f'unix://{self.behind}')
        self.server.start()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.socket))
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def __getattr__(self, name):
        return getattr(self.driver, name)

    def end(self):
        self.listener.close()
        self.close_all()
        self.server.stop(None).wait()
        self.channel.close()
        self.driver.end()

    # --- connections

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                ours, theirs = self.listener.accept()[0], socket.socket(socket.AF_UNIX)
                theirs.connect(str(self.behind))
                with self.lock:
                    self.links += [ours, theirs]
                for pair in (ours, theirs), (theirs, ours):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in source, sink:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close_all(self):
        with self.lock:
            links, self.links = self.links, []
        for link in links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    # --- calls

    def service(self, details):
        path, method = details.method, os.path.basename(details.method)
        ask = self.channel.unary_unary(path, None, None)

        def behave(data, context):
            request = getattr(csi, f'{method}Request').FromString(data)
            when, fault = self.fault(method, request) or ('', None)
            if fault:
                self.happened.add((method, when, fault))
            if when == 'before' and fault != 'garbage':
                self._happen(fault, context)
            reply = self._pass_on(ask, data, context)
            self.answered(method, request, getattr(csi, f'{method}Response').FromString(reply))
            if when == 'after' and fault != 'garbage':
                self._happen(fault, context)
            return GARBAGE if fault == 'garbage' else reply
        return grpc.unary_unary_rpc_method_handler(behave)

    def _pass_on(self, ask, data, context):
        try:
            return ask(data, timeout=PATIENCE)
        except grpc.RpcError as e:
            return context.abort(e.code(), e.details())

    def _happen(self, fault, context):
        if isinstance(fault, Code):
            context.abort(fault, 'so says the proxy')
        is_over = threading.Event()
        if not context.add_callback(is_over.set):
            return
        if fault == 'close':
            self.close_all()
        if is_over.wait(DELAY_S if fault == 'delay' else PATIENCE):
            context.abort(Code.CANCELLED, 'nobody waits for it any more')
