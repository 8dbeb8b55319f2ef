# SPDX-License-Identifier: Apache-2.0
"""`cleat node` as kubelet meets it: a stand-in for kubelet watches the registration directory, calls GetInfo and dials the
endpoint that it is told."""
import contextlib
import os

import grpc
import pytest
from certs import Authority
from harness import (DRIVER, MIB, PATIENCE, Calls, Code, Driver, Pool, Process, Volume, csi, fails, mountinfo,
                     registration, registration_grpc, sh, wait_until)
from test_endpoint import free_port
from test_process import get

# What kubelet is served, and the fleet is not.
SERVED = {'NodeStageVolume', 'NodeUnstageVolume', 'NodePublishVolume', 'NodeUnpublishVolume', 'NodeGetVolumeStats',
          'NodeGetVolumeHealth', 'NodeGetStorageHealth', 'NodeExpandVolume', 'NodeGetCapabilities'}


class Kubelet:
    """kubelet's side of plugin registration."""

    def __init__(self, directory):
        self.dir = directory / 'kubelet'
        self.registry = self.dir / 'plugins_registry'
        self.socket = self.registry / f'{DRIVER}-reg.sock'
        self.dir.mkdir()
        sh('mount', '--bind', self.dir, self.dir)
        sh('mount', '--make-shared', self.dir)
        for name in ('plugins_registry', 'plugins', 'pods'):
            (self.dir / name).mkdir()

    def get_info(self):
        with grpc.insecure_channel(f'unix://{self.socket}') as channel:
            stub = registration_grpc.RegistrationStub(channel)
            return stub.GetInfo(registration.InfoRequest(), timeout=PATIENCE, wait_for_ready=True)

    def notify(self, registered, error=''):
        with grpc.insecure_channel(f'unix://{self.socket}') as channel:
            stub = registration_grpc.RegistrationStub(channel)
            stub.NotifyRegistrationStatus(registration.RegistrationStatus(plugin_registered=registered, error=error),
                                          timeout=PATIENCE, wait_for_ready=True)

    def end(self):
        sh('umount', self.dir)


@pytest.fixture
def kubelet(work):
    k = Kubelet(work)
    yield k
    k.end()


class Node(Driver):
    def __init__(self, directory, pool, kubelet, *more):
        super().__init__(directory, pool, f'--kubelet-dir={kubelet.dir}', *more, command='node')
        self.words = [w for w in self.words if not w.startswith('--endpoint=')]
        self.socket = kubelet.dir / 'plugins' / DRIVER / 'csi.sock'


@pytest.fixture
def node(work, pool, kubelet):
    n = Node(work, pool, kubelet).start()
    yield n
    n.stop()
    n.end()


def test_kubelet_finds_the_driver(node, kubelet):
    info = kubelet.get_info()
    assert (info.type, info.name) == ('CSIPlugin', DRIVER)
    assert list(info.supported_versions) == ['1.0.0']
    assert info.endpoint == str(node.socket)
    calls = Calls(f'unix://{info.endpoint}')
    assert calls.node.NodeGetInfo(csi.NodeGetInfoRequest(), timeout=PATIENCE).node_id == 'n1'
    calls.close()


def test_stale_registration_socket_is_replaced(node, kubelet):
    node.kill()
    assert kubelet.socket.exists()
    node.start()
    assert kubelet.get_info().name == DRIVER


def test_both_sockets_go_at_the_end(node, kubelet):
    node.stop()
    assert not kubelet.socket.exists()
    assert not node.socket.exists()


def test_kubelet_that_clears_its_directory_finds_the_driver_again(node, kubelet):
    kubelet.socket.unlink()
    wait_until('the socket is back', kubelet.socket.exists)
    assert kubelet.get_info().name == DRIVER


def test_readyz_tells_whether_kubelet_took_it(work, pool, kubelet):
    port = free_port()
    n = Node(work, pool, kubelet, f'--http-endpoint=127.0.0.1:{port}').start()
    try:
        status, text = get(port, '/readyz')
        assert (status, 'kubelet' in text) == (503, True)
        assert get(port, '/healthz')[0] == 200
        kubelet.notify(True)
        wait_until('it is ready', lambda: get(port, '/readyz')[0] == 200)
        kubelet.notify(False, 'label exists with another value')
        wait_until('it is not', lambda: get(port, '/readyz')[0] == 503)
        wait_until('the reason is logged', lambda: 'label exists with another value' in n.process.text())
        n.stop()
    finally:
        n.end()


def test_pool_that_comes_later_is_told_to_kubelet(work, pool, kubelet):
    """kubelet reads a node's topology when the driver registers, so the registration socket is made anew."""
    second = Pool(work, size=320 * MIB, name='second')
    second.unmount()
    n = Node(work, pool, kubelet, f'--pool=two={second.dir}').start()
    try:
        before = kubelet.socket.stat().st_ctime_ns  # not the inode: its number may be given to the next socket
        second.mount()
        wait_until('the socket is another', lambda: kubelet.socket.exists() and
                   kubelet.socket.stat().st_ctime_ns != before)
        assert kubelet.get_info().name == DRIVER
        assert len(n.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments) == 2
        n.stop()
    finally:
        n.end()
        second.unmount()


def test_without_its_only_pool_it_takes_down_what_is_mounted(work, own_pool, kubelet):
    """Its disk is away when it starts: pods' targets are not kept for it, and it is served once it is there."""
    port = free_port()
    n = Node(work, own_pool, kubelet, f'--http-endpoint=127.0.0.1:{port}').start()
    try:
        kubelet.notify(True)
        volume = Volume(n, kubelet.dir / 'pods', size=64 * MIB).up()
        n.kill()
        sh('umount', '-l', own_pool.dir)
        n.spawn()

        def answers():
            with contextlib.suppress(OSError):  # it does not listen yet
                return get(port, '/readyz')[0] == 503
            return False

        wait_until('it answers', answers)
        assert str(own_pool.dir) in get(port, '/readyz')[1]
        assert 'cleat_pools_missing 1' in get(port, '/metrics')[1]
        assert kubelet.get_info().name == DRIVER
        assert not n.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments
        with fails(Code.UNAVAILABLE, str(own_pool.dir)):
            n.calls.delete(volume.id)
        volume.unpublish().unstage()
        assert not [m for m in mountinfo() if m[0].startswith(str(volume.dir))]
        own_pool.mount()
        kubelet.notify(True)
        wait_until('it is served', lambda: get(port, '/readyz')[0] == 200)
        n.calls.delete(volume.id)
        n.stop()
    finally:
        n.end()


def refused(work, pool, kubelet_dir, *more):
    p = Process(work / 'refused.log', 'node', '--node-id=n1', f'--pool={pool.dir}', f'--kubelet-dir={kubelet_dir}', *more)
    try:
        assert p.wait() == 1, p.text()
        return p.text()
    finally:
        p.kill()


def test_wrong_kubelet_directory_is_refused(work, pool):
    assert '--kubelet-dir' in refused(work, pool, work / 'none')
    (work / 'empty').mkdir()
    said = refused(work, pool, work / 'empty')
    assert '--kubelet-dir' in said
    assert 'plugins_registry' in said
    assert os.listdir(work / 'empty') == []


def test_kubelet_directory_that_is_not_shared_is_refused(work, pool, kubelet):
    """Mounts made below a private mount would never reach kubelet and its pods."""
    sh('mount', '--make-private', kubelet.dir)
    assert 'shared' in refused(work, pool, kubelet.dir).lower() or \
        'propagation' in refused(work, pool, kubelet.dir).lower()


def test_registration_path_as_the_host_sees_it(work, pool, kubelet):
    n = Node(work, pool, kubelet, '--kubelet-registration-path=/host/plugins/x/csi.sock').start()
    try:
        assert kubelet.get_info().endpoint == '/host/plugins/x/csi.sock'
        n.stop()
    finally:
        n.end()


def test_volume_by_kubelets_paths(node, kubelet):
    v = Volume(node, kubelet.dir / 'pods')
    v.staging = kubelet.dir / 'plugins' / 'kubernetes.io' / 'csi' / DRIVER / 'abc' / 'globalmount'
    v.up()
    (v.target / 'x').write_text('from the pod')
    v.down()


def test_fleet_speaks_the_controllers_services_over_tls(work, pool, kubelet):
    port, authority = free_port(), Authority(work, 'ca')
    cert, key = authority.issue('node')
    n = Node(work, pool, kubelet, f'--fleet-endpoint=tcp://127.0.0.1:{port}', f'--tls-cert={cert}', f'--tls-key={key}',
             f'--tls-ca={authority.cert}').start()
    try:
        cert, key = authority.issue('controller')
        fleet = Calls(f'127.0.0.1:{port}', grpc.ssl_channel_credentials(
            authority.cert.read_bytes(), key.read_bytes(), cert.read_bytes()))
        made = fleet.create('over-the-fleet')
        assert [v.volume_id for v in n.calls.volumes()] == [made.volume_id]
        fleet.delete(made.volume_id)
        fleet.close()
        n.stop()
    finally:
        n.end()


def test_fleet_offers_no_node_call_but_who_the_node_is(work, pool, kubelet):
    """The controller's key must not be root on every node."""
    port, authority = free_port(), Authority(work, 'ca')
    cert, key = authority.issue('node')
    n = Node(work, pool, kubelet, f'--fleet-endpoint=tcp://127.0.0.1:{port}', f'--tls-cert={cert}', f'--tls-key={key}',
             f'--tls-ca={authority.cert}').start()
    try:
        cert, key = authority.issue('controller')
        fleet = Calls(f'127.0.0.1:{port}', grpc.ssl_channel_credentials(
            authority.cert.read_bytes(), key.read_bytes(), cert.read_bytes()))
        names = [m.name for m in csi.DESCRIPTOR.services_by_name['Node'].methods]
        assert SERVED < set(names)
        for name in names:
            call = getattr(fleet.node, name)
            request = getattr(csi, f'{name}Request')(**({'volume_id': 'x'} if 'Volume' in name else {}))
            if name == 'NodeGetInfo':
                assert call(request, timeout=5).node_id == 'n1'
                continue
            with fails(Code.PERMISSION_DENIED if name in SERVED else Code.UNIMPLEMENTED, name):
                call(request, timeout=5)
        fleet.close()
        n.stop()
    finally:
        n.end()


def test_paths_outside_kubelets_directory_are_refused(node, kubelet, work):
    v = Volume(node, work).create()
    v.dir.mkdir()
    inside, outside = kubelet.dir / 'pods' / 'staging', v.dir / 'staging'
    inside.mkdir()
    outside.mkdir()
    (kubelet.dir / 'pods' / 'link').symlink_to(v.dir)
    with fails(Code.INVALID_ARGUMENT, 'staging_target_path', str(outside), str(kubelet.dir)):
        node.calls.stage(v.id, outside, v.cap)
    with fails(Code.INVALID_ARGUMENT, 'symbolic link'):
        node.calls.stage(v.id, kubelet.dir / 'pods' / 'link' / 'staging', v.cap)
    node.calls.stage(v.id, inside, v.cap)
    with fails(Code.INVALID_ARGUMENT, 'target_path', str(kubelet.dir)):
        node.calls.publish(v.id, inside, v.dir / 'target', v.cap)
    with fails(Code.INVALID_ARGUMENT, 'target_path'):
        node.calls.unpublish(v.id, v.dir / 'target')
    node.calls.unstage(v.id, inside)
    v.delete()
