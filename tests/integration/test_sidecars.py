# SPDX-License-Identifier: Apache-2.0
"""The two of upstream's programs that stand beside a driver on its node, by their own names and with their own options."""
import os
import subprocess

import grpc
import pytest
from harness import CLEAT, DRIVER, PATIENCE, Driver, Process, registration, registration_grpc, wait_until
from test_endpoint import free_port
from test_process import called, get

KUBELET_PATH = '/var/lib/kubelet/plugins/x/csi.sock'


@pytest.fixture
def driver(work):
    d = Driver(work, None, '--backend=mem').start()
    yield d
    d.end()


class Program(Process):
    """cleat called by another program's name."""

    def __init__(self, directory, name, *words):
        link = directory / name
        if not link.exists():
            link.symlink_to(CLEAT)
        self.log, self.words = directory / f'{name}.log', [link, *map(str, words)]
        with open(self.log, 'ab') as f:
            self.child = subprocess.Popen(self.words, stdout=f, stderr=f, stdin=subprocess.DEVNULL)


def answers(port, path='/healthz'):
    try:
        return get(port, path)
    except OSError:
        return None


@pytest.fixture
def start(work):
    started = []

    def begin(name, *words):
        started.append(Program(work, name, *words))
        return started[-1]
    yield begin
    for p in started:
        p.kill()


def test_livenessprobe_tells_whether_the_driver_answers(driver, start):
    port = free_port()
    p = start('livenessprobe', f'--csi-address={driver.socket}', '-probe-timeout', '2s', f'--http-endpoint=127.0.0.1:{port}')
    assert wait_until('its page is there', lambda: answers(port)) == (200, 'ok')
    assert 'csi_sidecar_operations_seconds' in get(port, '/metrics')[1]
    driver.kill()
    status, text = get(port, '/healthz')
    assert status == 500 and 'csi.sock' in text
    driver.start()
    assert get(port, '/healthz') == (200, 'ok')
    assert p.terminate() == 0


def test_cephcsi_tells_liveness_where_its_monitor_looks(driver, start, monkeypatch):
    port = free_port()
    monkeypatch.setenv('POD_IP', '127.0.0.1')
    p = start('cephcsi', '--type=liveness', f'--endpoint={driver.socket}', f'--metricsport={port}', '--metricspath=/metrics',
              '--polltime=60s', '--timeout=2s')
    wait_until('its page is there', lambda: answers(port))
    assert '\ncsi_liveness 1\n' in get(port, '/metrics')[1]
    driver.kill()
    assert '\ncsi_liveness 0\n' in get(port, '/metrics')[1]
    driver.start()
    assert '\ncsi_liveness 1\n' in get(port, '/metrics')[1]
    assert p.terminate() == 0


def test_livenessprobe_waits_for_a_driver_that_comes_later(driver, start):
    """And tells one that hangs from one that answers, within --probe-timeout."""
    port = free_port()
    driver.kill()
    p = start('livenessprobe', f'--csi-address={driver.socket}', '--probe-timeout=1s', f'--health-port={port}')
    wait_until('it says that it waits', lambda: 'waiting for the driver' in p.text())
    assert answers(port) is None
    driver.start()
    assert wait_until('its page is there', lambda: answers(port)) == (200, 'ok')
    assert get(port, '/metrics')[0] == 404   # as upstream's: of --http-endpoint alone
    os.kill(driver.process.child.pid, 19)
    try:
        assert get(port, '/healthz')[0] == 500
    finally:
        os.kill(driver.process.child.pid, 18)
    assert p.terminate() == 0


class Registry:
    """kubelet's side."""

    def __init__(self, directory):
        self.dir = directory / 'registry'
        self.dir.mkdir()
        self.socket = self.dir / f'{DRIVER}-reg.sock'

    def call(self, method, request, driver=DRIVER):
        with grpc.insecure_channel(f'unix://{self.dir}/{driver}-reg.sock') as channel:
            stub = registration_grpc.RegistrationStub(channel)
            return getattr(stub, method)(request, timeout=PATIENCE, wait_for_ready=True)


@pytest.fixture
def registry(work):
    return Registry(work)


def register(start, driver, registry, *more):
    return start('csi-node-driver-registrar', f'--csi-address={driver.socket}', f'--kubelet-registration-path={KUBELET_PATH}',
                 f'--plugin-registration-path={registry.dir}', '--v=5', *more)


def test_registrar_tells_kubelet_of_the_driver(driver, start, registry):
    port = free_port()
    p = register(start, driver, registry, f'--http-endpoint=127.0.0.1:{port}')
    info = registry.call('GetInfo', registration.InfoRequest())
    assert (info.type, info.name, info.endpoint, list(info.supported_versions)) == ('CSIPlugin', DRIVER, KUBELET_PATH, ['1.0.0'])
    assert registry.socket.stat().st_mode & 0o777 == 0o600
    registry.call('NotifyRegistrationStatus', registration.RegistrationStatus(plugin_registered=True))
    assert get(port, '/healthz') == (200, 'ok')
    driver.kill()   # upstream's does not end either
    assert get(port, '/healthz') == (200, 'ok')
    registry.socket.unlink()   # kubelet's directory was made anew
    wait_until('the socket is there again', registry.socket.exists)
    assert wait_until('it is well', lambda: get(port, '/healthz')[0] == 200)
    assert p.terminate() == 0
    assert not registry.socket.exists()


def test_registrar_whom_kubelet_refuses_ends_with_1(driver, start, registry):
    p = register(start, driver, registry)
    registry.call('NotifyRegistrationStatus', registration.RegistrationStatus(plugin_registered=False, error='too old'))
    assert p.wait() == 1
    assert 'too old' in p.text() and 'kubelet refused to register' in p.text()
    assert not registry.socket.exists()
    register(start, driver, registry).kill()
    p = register(start, driver, registry)   # over the socket of one that was killed
    assert registry.call('GetInfo', registration.InfoRequest()).name == DRIVER
    assert p.terminate() == 0


@pytest.mark.parametrize('program, words, named', [
    ('livenessprobe', ['--health-port=1', '--http-endpoint=:2'], 'exclude each other'),
    ('livenessprobe', ['--metrics-address=:1', '--http-endpoint=:2'], 'exclude each other'),
    ('livenessprobe', ['--health-port=70000'], '--health-port=70000'),
    ('livenessprobe', ['--probe-timeout=0s'], '--probe-timeout'),
    ('livenessprobe', ['--csi-adress=/x'], 'csi-address'),
    ('csi-node-driver-registrar', [], '--kubelet-registration-path is missing'),
    ('csi-node-driver-registrar', ['--kubelet-registration-path=x'], '--kubelet-registration-path=x'),
    ('csi-node-driver-registrar', ['--kubelet-registration-path=/x', '--plugin-registration-path=y'], '--plugin-registration-path=y'),
    ('csi-node-driver-registrar', ['--kubelet-registration-path=/x', '--health-port=1', '--http-endpoint=:2'], 'exclude each other'),
])
def test_wrong_words_are_named(tmp_path, program, words, named):
    r = called(tmp_path, program, *words)
    # As upstream's: an unknown option is 2, what is wrong with a known one 1.
    assert r.returncode == (2 if named == 'csi-address' else 1) and named in r.stderr


def test_the_old_mode_of_the_registrar_is_taken(tmp_path):
    assert called(tmp_path, 'csi-node-driver-registrar', '--mode=kubelet-registration-probe').returncode == 0
