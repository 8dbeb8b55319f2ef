# SPDX-License-Identifier: Apache-2.0
"""Sockets, TCP and TLS: who may reach the driver, and what happens to files that are in the way."""
import os
import shutil
import socket
import stat

import grpc
import pytest
from certs import Authority
from harness import (PATIENCE, Calls, Code, Driver, Process, csi, fails, sh, wait_until)


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def refused(work, pool, endpoint, *more, status=1):
    which = [f'--pool={pool.dir}'] if pool else ['--backend=mem']
    p = Process(work / 'refused.log', 'driver', f'--endpoint={endpoint}', '--node-id=n1', *which, *more)
    try:
        assert p.wait() == status, p.text()
        return p.text()
    finally:
        p.kill()


def test_socket_is_for_its_owner_alone_and_goes_at_the_end(driver):
    assert stat.S_IMODE(os.stat(driver.socket).st_mode) == 0o600
    driver.stop()
    assert not driver.socket.exists()
    driver.start()


def test_stale_socket_is_replaced(driver):
    driver.kill()
    assert driver.socket.exists()
    driver.start()
    driver.calls.probe()


def test_socket_of_a_living_process_is_refused_and_its_holder_named(driver, work):
    said = refused(work, None, f'unix://{driver.socket}')
    assert str(driver.process.child.pid) in said
    assert str(driver.socket) in said
    driver.calls.probe()


def test_file_that_is_no_socket_is_never_touched(work, pool):
    (work / 'file').write_text('precious')
    assert f'{work}/file' in refused(work, pool, f'unix://{work}/file')
    assert (work / 'file').read_text() == 'precious'


def test_directory_of_the_socket_is_missing(work, pool):
    assert f'{work}/none' in refused(work, pool, f'unix://{work}/none/csi.sock')
    assert not (work / 'none').exists()


def test_path_too_long_for_a_socket(work, pool):
    assert '107' in refused(work, pool, 'unix:///' + 'p' * 120, status=2)


def test_socket_removed_by_someone_is_made_again(driver):
    driver.socket.unlink()
    wait_until('the socket is back', driver.socket.exists)
    driver.connect()
    driver.calls.probe()


def test_endpoint_from_the_environment(work, pool):
    p = Process(work / 'env.log', 'driver', '--node-id=n1', f'--pool={pool.dir}',
                env={'CSI_ENDPOINT': f'unix://{work}/env.sock'})
    try:
        wait_until('the socket is there', (work / 'env.sock').exists)
        assert p.terminate() == 0
    finally:
        p.kill()


@pytest.mark.parametrize('endpoint', ['tcp://0.0.0.0', 'tcp://[::]:10001', 'tcp://:10001', 'tcp://192.0.2.1:10001'])
def test_plain_tcp_beyond_loopback_is_refused(work, pool, endpoint):
    said = refused(work, pool, endpoint, status=2)
    assert '--insecure' in said
    assert '--tls-cert' in said


@pytest.mark.parametrize('endpoint', ['http://x', 'unix:relative', 'tcp://h:99999', 'tcp://h:x', '', 'csi.sock'])
def test_endpoints_that_are_none(work, pool, endpoint):
    assert '--endpoint' in refused(work, pool, endpoint, status=2)


def test_plain_tcp_on_loopback(work, pool):
    port = free_port()
    d = Driver(work, pool, endpoint=f'tcp://127.0.0.1:{port}')
    d.connect = lambda: setattr(d, 'calls', Calls(f'127.0.0.1:{port}'))
    try:
        d.start()
        assert d.calls.identity.GetPluginInfo(csi.GetPluginInfoRequest()).name
        d.stop()
    finally:
        d.end()


class Tls:
    """A driver on loopback TCP with mutual TLS."""

    def __init__(self, work, pool):
        self.dir, self.port = work, free_port()
        self.authority = Authority(work, 'ca')
        self.use(*self.authority.issue('server'))
        self.driver = Driver(work, pool, f'--tls-cert={work}/tls.crt', f'--tls-key={work}/tls.key',
                             f'--tls-ca={self.authority.cert}', endpoint=f'tcp://127.0.0.1:{self.port}')
        self.client = self.authority.issue('client')
        self.driver.connect = lambda: setattr(self.driver, 'calls', self.calls(self.client))

    def use(self, cert, key):
        """As kubelet does with a mounted Secret: the new file takes the old one's name."""
        for source, name in [(cert, 'tls.crt'), (key, 'tls.key')]:
            shutil.copy(source, self.dir / f'{name}.new')
            os.rename(self.dir / f'{name}.new', self.dir / name)

    def calls(self, pair, authority=None):
        ca = (authority or self.authority).cert.read_bytes()
        cert, key = (p.read_bytes() for p in pair) if pair else (None, None)
        return Calls(f'127.0.0.1:{self.port}', grpc.ssl_channel_credentials(ca, key, cert))

    def serial(self):
        """Of the certificate that the server shows."""
        cert, key = self.client
        return sh('sh', '-c', f'openssl s_client -connect 127.0.0.1:{self.port} -alpn h2 -CAfile {self.authority.cert} '
                              f'-cert {cert} -key {key} </dev/null 2>/dev/null | openssl x509 -noout -serial')


@pytest.fixture
def tls(work, pool):
    t = Tls(work, pool)
    t.driver.start()
    yield t
    t.driver.stop()
    t.driver.end()


def cannot(calls):
    with pytest.raises(grpc.RpcError) as e:
        calls.identity.Probe(csi.ProbeRequest(), timeout=5)
    assert e.value.code() in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
    calls.close()


def test_mutual_tls_lets_in_whom_it_knows(tls):
    assert tls.driver.calls.identity.GetPluginInfo(csi.GetPluginInfoRequest(), timeout=PATIENCE).name


def test_no_certificate_no_entry(tls):
    cannot(tls.calls(None))


def test_certificate_of_another_authority_no_entry(tls):
    cannot(tls.calls(Authority(tls.dir, 'other').issue('client')))


def test_expired_certificate_no_entry(tls):
    cannot(tls.calls(tls.authority.issue('late', is_expired=True)))


def test_plain_text_no_entry(tls):
    cannot(Calls(f'127.0.0.1:{tls.port}'))
    tls.driver.calls.probe()


def test_renewed_certificate_is_used_without_a_restart(tls):
    before = tls.serial()
    held = tls.driver.calls
    tls.use(*tls.authority.issue('renewed'))
    wait_until('the new certificate is shown', lambda: tls.serial() not in ('', before))
    held.probe()


def test_broken_renewal_keeps_the_old_one(tls):
    before = tls.serial()
    (tls.dir / 'broken').write_text('no certificate')
    tls.use(tls.dir / 'broken', tls.client[1])
    wait_until('the reason is logged', lambda: (tls.serial(), 'tls.crt' in tls.driver.process.text())[1])
    assert tls.serial() == before


@pytest.mark.parametrize('left_out', ['tls-cert', 'tls-key', 'tls-ca'])
def test_tls_needs_all_three_files(work, pool, left_out):
    files = [f'--{n}={work}/x' for n in ('tls-cert', 'tls-key', 'tls-ca') if n != left_out]
    assert f'--{left_out}' in refused(work, pool, 'tcp://127.0.0.1:1', *files, status=2)


def test_key_that_does_not_match(work, pool):
    authority = Authority(work, 'ca')
    cert, _ = authority.issue('a')
    _, key = authority.issue('b')
    said = refused(work, pool, f'tcp://127.0.0.1:{free_port()}', f'--tls-cert={cert}', f'--tls-key={key}',
                   f'--tls-ca={authority.cert}')
    assert 'key' in said


def test_expired_own_certificate_is_refused_at_the_start(work, pool):
    authority = Authority(work, 'ca')
    cert, key = authority.issue('late', is_expired=True)
    said = refused(work, pool, f'tcp://127.0.0.1:{free_port()}', f'--tls-cert={cert}', f'--tls-key={key}',
                   f'--tls-ca={authority.cert}')
    assert 'expired' in said


def test_port_in_use(work):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        said = refused(work, None, f'tcp://127.0.0.1:{s.getsockname()[1]}')
    assert 'in use' in said


def test_many_connections_at_once(driver):
    many = [Calls(f'unix://{driver.socket}', options=[('grpc.use_local_subchannel_pool', 1)]) for _ in range(100)]
    for calls in many:
        calls.probe()
    for calls in many:
        calls.close()
    with fails(Code.NOT_FOUND):
        driver.calls.controller.ControllerGetVolume(csi.ControllerGetVolumeRequest(volume_id='x'))
