# SPDX-License-Identifier: Apache-2.0
"""What tests/perf/cluster and tests/perf/sidecars measure with: requests from inside a cluster's network, a watch that tells
when the last of many objects is as wanted, and the requests of others that the API server wrote down."""
import collections
import http.client
import json
import ssl
import threading
import time

WRITES = ('create', 'update', 'patch', 'delete')
PATIENCE = 600


class Api:
    """A connection for each thread."""

    def __init__(self, run):
        self.tls = ssl.create_default_context(cafile=f'{run}/pki/ca.crt')
        self.tls.load_cert_chain(f'{run}/pki/admin.crt', f'{run}/pki/admin.key')
        self.local = threading.local()

    def connect(self):
        return http.client.HTTPSConnection('10.96.0.1', 443, context=self.tls)

    def call(self, method, path, body=None, kind='application/json'):
        if not hasattr(self.local, 'server'):
            self.local.server = self.connect()
        self.local.server.request(method, path, json.dumps(body) if body else None, {'Content-Type': kind})
        reply = self.local.server.getresponse()
        text = reply.read()
        assert reply.status < 300, (method, path, reply.status, text)
        return json.loads(text)

    def merge(self, path, body):
        return self.call('PATCH', path, body, 'application/merge-patch+json')

    def watch(self, path, version):
        server = self.connect()
        server.request('GET', f'{path}?watch=1&resourceVersion={version}&timeoutSeconds={PATIENCE}')
        reply = server.getresponse()
        for line in reply:
            yield json.loads(line)


def side_by_side(jobs):
    rest = list(jobs)

    def work():
        while True:
            try:
                job = rest.pop()
            except IndexError:
                return
            job()
    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def until(api, path, is_wanted, n, action):
    """Seconds from the action's begin until n objects below path were seen as wanted, and until all had been asked for: no program
    can be done before. The API server ends the watch of one that reads too slowly; it is taken up again where it was."""
    version = api.call('GET', path)['metadata']['resourceVersion']
    seen, ended = set(), []

    def follow(version):
        while True:
            for event in api.watch(path, version):
                version = event['object']['metadata']['resourceVersion']
                if is_wanted(event):
                    seen.add(event['object']['metadata']['uid'])
                if len(seen) == n:
                    ended.append(time.monotonic())
                    return
    watcher = threading.Thread(target=follow, args=(version,), daemon=True)
    watcher.start()
    begin = time.monotonic()
    action()
    asked = time.monotonic() - begin
    watcher.join(PATIENCE)
    assert ended, f'{len(seen)} of {n} within {PATIENCE} s'
    return ended[0] - begin, asked


def requests_since(cluster, position, agents):
    """(position now, {(verb, resource): n} of the programs' own requests)."""
    found = collections.Counter()
    with open(cluster.bed.run / 'log/audit.log', 'rb') as log:
        log.seek(position)
        for line in log:
            if not line.endswith(b'\n'):
                break
            position += len(line)
            event = json.loads(line)
            if event.get('userAgent', '').startswith(agents) and event['verb'] not in ('watch', 'list'):
                what = event.get('objectRef', {})
                found[event['verb'], what.get('resource', '')] += 1
    return position, found
