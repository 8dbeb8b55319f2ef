# SPDX-License-Identifier: Apache-2.0
"""What alerts and dashboard of the chart name is really exported, by a driver and a controller that have done all that there
is a figure of; and promtool has nothing to say against either page. Needs kube-apiserver and etcd, and promtool for its part;
without them it is skipped, and says so."""
import json
import re
import subprocess

import pytest

import apiserver
from harness import ROOT, Driver, wait_until
from test_endpoint import free_port
from test_fleet_cluster import CLAIMS, CORE, MISSING, Fleet, brought_up
from test_process import get

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'SKIPPED: {MISSING}')
PROMTOOL = apiserver.find_tool('promtool', 'promtool')
# Of a controller that is not among those of this one.
ONLY_LATER = {'cleat_orphans'}


class Leading(Fleet):
    more = ['--leader-election']


@pytest.fixture
def fleet(work, top):
    yield from brought_up(Leading, work, top)


@pytest.fixture
def pages(fleet, work):
    """Of the controller, after a claim came and went and one failed; of a driver after some calls."""
    fleet.claim('one', 'now')
    wait_until('it has a volume', lambda: 'one' in fleet.volumes())
    (pv,) = fleet.probe.call(f'get {CORE}/persistentvolumes')['items']
    name, handle = pv['metadata']['name'], pv['spec']['csi']['volumeHandle']
    fleet.probe.call(f'delete {CLAIMS}/one')
    fleet.probe.ask(f'patch merge {CLAIMS}/one {{"metadata":{{"finalizers":null}}}}')
    fleet.probe.call(f'patch merge {CORE}/persistentvolumes/{name}/status {{"status":{{"phase":"Released"}}}}')
    wait_until('it is gone', lambda: not fleet.node_of(handle))
    port = free_port()
    directory = work / 'alone'
    directory.mkdir()
    driver = Driver(directory, None, '--backend=mem', f'--http-endpoint=127.0.0.1:{port}').start()
    try:
        driver.calls.create('a')
        wait_until('it has looked', lambda: 'cleat_looks_hanging' in get(port, '/metrics')[1])
        yield fleet.page('/metrics'), get(port, '/metrics')[1]
    finally:
        driver.end()


def named():
    """Metrics in expressions, and where."""
    exprs = re.findall(r'^ +expr: (.+)$', (ROOT / 'charts/cleat/templates/alerts.yaml').read_text(), re.M)
    page = json.loads((ROOT / 'charts/cleat/files/dashboard.json').read_text())
    exprs += [target['expr'] for panel in page['panels'] for target in panel.get('targets', [])]
    words = ' '.join(re.sub(r'\{[^}]*\}', '', expr) for expr in exprs)
    return set(re.findall(r'\b(?:cleat|csi|workqueue|rest_client|leader|process|controller|snapshot)_\w+', words))


def families(page):
    return {name for line in page.splitlines() for name in re.findall(r'^([a-z_]+)[{ ]', line) if not line.startswith('#')}


def test_what_alerts_and_dashboard_name_is_exported(pages):
    found = families(pages[0]) | families(pages[1])
    assert len(named()) > 25
    assert named() - found - ONLY_LATER == set()


@pytest.mark.skipif(not PROMTOOL, reason='SKIPPED: not built yet: promtool (tests/tools/build promtool, 5 minutes once)')
def test_promtool_has_nothing_to_say(pages):
    for page in pages:
        done = subprocess.run([PROMTOOL, 'check', 'metrics'], input=page, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, '')
