# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver on a real etcd, alone in a network namespace of their own, and our client beside it.

Ports cannot clash that way, and nothing outside is reached. Every process is ended by its pid.
"""
import contextlib
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import threading

from certs import Authority
from harness import PATIENCE, ROOT, sh, wait_until

HOST, SELF, ETCD = '127.0.0.1', '10.99.0.1', 'http://127.0.0.1:2379'
# A test run that is killed takes its daemons along.
WITH_US = ['setpriv', '--pdeathsig', 'KILL', '--']
PROBE = os.environ.get('CLEAT_KUBE_PROBE', str(pathlib.Path(os.environ.get('CLEAT', ROOT / 'build/cleat')).parent /
                                               'tests/integration/kube_probe'))


def find_programs():
    """(kube-apiserver, etcd), None for what is not there."""
    folder = os.environ.get('CLEAT_TEST_APISERVER_BIN_DIR')
    cache = pathlib.Path(os.environ.get('CLEAT_CACHE', pathlib.Path.home() / '.cache/cleat')) / 'bin'
    folders = [pathlib.Path(folder)] if folder else [cache, *sorted(cache.glob('kubernetes-*'), reverse=True)]
    servers = [f / 'kube-apiserver' for f in folders if (f / 'kube-apiserver').exists()]
    return servers[0] if servers else None, shutil.which('etcd')


def find_tool(name, program):
    """A program of tests/tools that was built already, or None."""
    cache = pathlib.Path(os.environ.get('CLEAT_CACHE', pathlib.Path.home() / '.cache/cleat')) / 'bin'
    built = [folder / program for folder in sorted(cache.glob(f'{name}-*'), reverse=True) if (folder / program).exists()]
    return str(built[0]) if built else None


class Cluster:
    """etcd and API servers; each server has its own port and flags, so that one can be away while another works."""

    def __init__(self, directory, server, etcd):
        self.dir, self.program = directory, server
        self.daemons = {}
        self.holder = subprocess.Popen([*WITH_US, 'unshare', '--net', 'sh', '-c', f'ip link set lo up && ip address add {SELF}/32 dev lo && echo up && exec sleep infinity'],
                                       stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == 'up\n'
        self.ca = Authority(directory, 'ca')
        self.cert = self.ca.issue('kube-apiserver', 'apiserver')
        self.user_cert = self.ca.issue('probe-by-certificate')
        sh('openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', directory / 'accounts.key')
        sh('openssl', 'ec', '-in', directory / 'accounts.key', '-pubout', '-out', directory / 'accounts.pub')
        (directory / 'tokens.csv').write_text('admin-token,admin,1,system:masters\nnobody-token,nobody,2\n')
        self.etcd = etcd
        self.start_etcd()

    def start_etcd(self):
        self.run('etcd', [self.etcd, f'--data-dir={self.dir}/etcd', '--unsafe-no-fsync', '--log-level=error',
                          f'--listen-client-urls={ETCD}', f'--advertise-client-urls={ETCD}',
                          '--listen-peer-urls=http://127.0.0.1:2380'])

    def inside(self, argv):
        return WITH_US + ['nsenter', f'--net=/proc/{self.holder.pid}/ns/net', '--'] + [str(a) for a in argv]

    def run(self, name, argv):
        log = open(self.dir / f'{name}.log', 'ab')
        self.daemons[name] = subprocess.Popen(self.inside(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()

    def start(self, port, *flags):
        self.run(port, [
            self.program, f'--etcd-servers={ETCD}', f'--secure-port={port}', f'--bind-address={HOST}',
            f'--advertise-address={SELF}',
            '--service-cluster-ip-range=10.96.0.0/16', '--authorization-mode=RBAC', f'--token-auth-file={self.dir}/tokens.csv',
            f'--client-ca-file={self.ca.cert}', f'--tls-cert-file={self.cert[0]}', f'--tls-private-key-file={self.cert[1]}',
            f'--service-account-key-file={self.dir}/accounts.pub', f'--service-account-signing-key-file={self.dir}/accounts.key',
            '--service-account-issuer=https://kubernetes.default.svc', '--profiling=false', '--v=0', '--request-timeout=10s',
            '--disable-admission-plugins=ServiceAccount,StorageObjectInUseProtection', *flags])
        wait_until(f'the API server on port {port} is ready', lambda: self.is_ready(port), 120)

    @contextlib.contextmanager
    def another(self, port, *flags):
        self.start(port, *flags)
        try:
            yield
        finally:
            self.stop(port, signal.SIGKILL)

    def is_ready(self, port):
        assert self.daemons[port].poll() is None, (self.dir / f'{port}.log').read_text()[-2000:]
        done = subprocess.run(self.inside(['curl', '-s', '--max-time', '5', '--cacert', self.ca.cert, '-H',
                                           'Authorization: Bearer admin-token', f'https://{HOST}:{port}/readyz']),
                              capture_output=True, text=True, check=False)
        return done.stdout == 'ok'

    def stop(self, name, how=signal.SIGTERM):
        daemon = self.daemons.pop(name)
        daemon.send_signal(how)
        daemon.wait()

    def kubeconfig(self, name, port, user, host=HOST):
        path = self.dir / f'{name}.kubeconfig'
        path.write_text(json.dumps({
            'current-context': 'x', 'contexts': [{'name': 'x', 'context': {'cluster': 'c', 'user': 'u'}}],
            'clusters': [{'name': 'c', 'cluster': {'server': f'https://{host}:{port}', 'certificate-authority': str(self.ca.cert)}}],
            'users': [{'name': 'u', 'user': user}]}))
        return path

    def close(self):
        for name in list(self.daemons):
            self.stop(name, signal.SIGKILL)
        self.holder.kill()
        self.holder.wait()


class Probe:
    """tests/integration/kube_probe.c: a command and its answer; changes come beside, in the order seen."""

    def __init__(self, cluster, kubeconfig, log):
        self.stderr = log
        with open(log, 'ab') as f:
            self.process = subprocess.Popen(cluster.inside([PROBE, kubeconfig]), stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=f, text=True, bufsize=1,
                                            env={**os.environ, 'TSAN_OPTIONS': f'suppressions={ROOT}/tests/tsan.supp'})
        self.changes, self.answers = [], queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        assert self._answer() == 'ready'

    def _read(self):
        for line in self.process.stdout:
            line = line.rstrip('\n')
            if line.startswith('change '):
                self.changes.append(line[7:])
            else:
                self.answers.put(line)

    def _answer(self):
        return self.answers.get(timeout=PATIENCE)

    def ask(self, command):
        self.process.stdin.write(command + '\n')
        return self._answer()

    def call(self, command, body=None):
        """The reply's object; AssertionError with the error otherwise."""
        answer = self.ask(command + (f' {json.dumps(body)}' if body is not None else ''))
        assert answer.startswith('ok'), answer
        return json.loads(answer[3:])

    def wait_change(self, text, seconds=PATIENCE):
        wait_until(f'change {text!r} is seen', lambda: any(text in c for c in list(self.changes)), seconds)

    def wait_synced(self, kind, seconds=PATIENCE):
        wait_until(f'{kind} is in sync', lambda: self.ask(f'synced {kind}') == 'ok 1', seconds)

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
        try:
            assert self.process.wait(PATIENCE) == 0, f'kube_probe ended with {self.process.returncode}: {self.log()[-4000:]}'
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process.stdout.close()

    def log(self):
        return pathlib.Path(self.stderr).read_text()
