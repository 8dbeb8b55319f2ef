# SPDX-License-Identifier: Apache-2.0
"""etcd put back to what it was a while ago, under a controller that goes on: its caches follow, it leads again, and nothing is deleted
that the cluster has forgotten. Needs kube-apiserver and etcd; without them it is skipped, and says so."""
import shutil
import subprocess

import pytest

from crosswise import CORE, ELECTION, PORT, PVS, STORAGE, brought_up, missing
from harness import CLEAT, DRIVER, PATIENCE, csi, starting, wait_until
from test_crosswise_mock import Story, in_lane

MISSING = missing()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'SKIPPED: {MISSING}')
HTTP = '127.0.0.1:9810'


class Restored(Story):
    def __init__(self, cross, name):
        cross.driver.n_called = lambda: 0
        super().__init__(cross, name)

    def start_controller(self, log):
        cross = self.cross
        words = [CLEAT, 'controller', f'--csi-address={cross.driver.socket}', f'--kubeconfig={cross.config}', f'--http-endpoint={HTTP}',
                 '--controllers=provisioner,resizer,orphans', '--retry-interval-max=1s', *ELECTION]
        with starting, open(log, 'ab') as f:
            self.process = subprocess.Popen(cross.cluster.inside(words), stdout=f, stderr=f, stdin=subprocess.DEVNULL)
        self.process.log, self.process.side = log, self.name
        cross.running['controller'] = self.process

    def page(self, path):
        return subprocess.run(self.cross.cluster.inside(['curl', '-s', f'http://{HTTP}{path}']), capture_output=True, text=True,
                              check=False).stdout

    def leads(self):
        return 'leader_election_master_status{name="cleat-pool-cleat-csi"} 1' in self.page('/metrics')

    def volumes(self):
        return {v.volume_id for v in self.cross.driver.calls.volumes()}


def handle_of(side, name):
    return side.get(side.volume_of(name))['spec']['csi']['volumeHandle']


@pytest.fixture
def side(work, top):
    with brought_up(top, work) as c:
        c.start_manager()
        segments = dict(c.driver.calls.node.NodeGetInfo(csi.NodeGetInfoRequest()).accessible_topology.segments)
        c.probe.call(f'create {CORE}/nodes', {'apiVersion': 'v1', 'kind': 'Node', 'metadata': {'name': 'n1', 'labels': segments}})
        c.probe.call(f'create {STORAGE}/csinodes', {
            'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSINode', 'metadata': {'name': 'n1'}, 'spec': {
                'drivers': [{'name': DRIVER, 'nodeID': 'n1', 'topologyKeys': list(segments)}]}})
        c.add_class('now')
        s = Restored(c, 'ours')
        s.start_controller(work / 'controller.log')
        yield s


@in_lane
def test_yesterdays_etcd(side):
    cluster = side.cross.cluster
    for name in 'stays', 'goes':
        side.claim(name)
    side.wait_bound('stays', 'goes')
    goes = side.volume_of('goes')

    def while_away(act):
        cluster.stop(PORT)
        cluster.stop('etcd')
        act()
        cluster.start_etcd()
        cluster.start(PORT)
        cluster.stop('manager')   # Kubernetes' own sees nothing until the versions have caught up
        side.cross.start_manager()
    while_away(lambda: shutil.copytree(cluster.dir / 'etcd', cluster.dir / 'yesterday'))
    side.claim('new')
    side.wait_bound('new')
    new = handle_of(side, 'new')
    side.drop('goes')
    assert len(side.volumes()) == 2

    def put_back():
        shutil.rmtree(cluster.dir / 'etcd')
        (cluster.dir / 'yesterday').rename(cluster.dir / 'etcd')
    while_away(put_back)
    assert side.get(side.claims('new')) is None and side.get(side.claims('goes'))
    wait_until('it leads again', side.leads)
    side.claim('after')
    wait_until('it is seen', lambda: side.get(f'{PVS}/pvc-{side.get(side.claims("after"))["metadata"]["uid"]}'))
    side.wait_bound('after')
    assert new in side.volumes(), 'what the cluster has forgotten is still there'
    side.claim('new')   # another, of the same name
    side.wait_bound('new')
    assert handle_of(side, 'new') != new
    side.delete(side.claims('goes'))   # back from the dead, its volume is not
    side.wait_gone(side.claims('goes'), goes)
    for name in 'stays', 'after', 'new':
        side.drop(name)
    assert side.volumes() == {new} and not side.get(PVS)['items']
    assert side.process.poll() is None
    side.process.terminate()
    assert side.process.wait(PATIENCE) == 0
