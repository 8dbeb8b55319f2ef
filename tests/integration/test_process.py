# SPDX-License-Identifier: Apache-2.0
"""The program as a process: words on its command line, exit codes, signals, logs, metrics."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request

import grpc
import pytest
from harness import (CLEAT, MIB, PATIENCE, ROOT, Code, Driver, Process, Volume, block_cap, csi, mount_cap, wait_until)
from test_endpoint import free_port


def cleat(*words, env=None):
    clean = {k: v for k, v in os.environ.items() if k not in ('CSI_ENDPOINT', 'NODE_NAME')}
    return subprocess.run([CLEAT, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE, check=False,
                          env={**clean, **(env or {})})


def called(tmp_path, name, *words):
    link = tmp_path / name
    link.symlink_to(CLEAT)
    return subprocess.run([link, *words], capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_called_by_the_name_of_an_upstream_program_it_does_what_that_does(tmp_path):
    done = called(tmp_path, 'csi-provisioner', '--help')
    assert done.returncode == 0 and 'usage: csi-provisioner' in done.stdout


# (program, words, exit code, what the complaint names): as upstream's newest ends.
CALLED = [
    ('csi-provisioner', ['--controllers=provisioner'], 2, '--controllers'),
    ('csi-provisioner', ['--worker-threads=many'], 2, '--worker-threads'),
    ('csi-provisioner', ['--feature-gates=Nope=true'], 255, 'Nope'),
    ('csi-attacher', ['--reconcile-sync=1m', '--max-entries=7', '--timeout=0s'], 1, '--attacher-timeout'),
    ('csi-attacher', ['--workers=1'], 2, '--workers'),
    ('csi-attacher', ['--feature-gates=Nope=true'], 1, 'Nope'),
    ('csi-attacher', ['--worker-threads=0'], 1, '--worker-threads'),
    ('csi-attacher', ['--http-endpoint=:1', '--metrics-address=:2'], 1, '--metrics-address'),
    ('csi-resizer', ['--workers=4', '--handle-volume-inuse-error=false', '--modify-timeout=soon'], 2, '--modify-timeout'),
    ('csi-resizer', ['--log-text-split-stream'], 1, '--log-text-split-stream'),
    ('csi-snapshotter', ['--leader-election-labels=a'], 2, '--leader-election-labels'),
    ('snapshot-controller', ['--csi-address=/x'], 2, '--csi-address'),
    ('livenessprobe', ['--http-endpoint=:1', '--health-port=2'], 1, '--health-port'),
    ('csi-node-driver-registrar', ['--nope'], 2, '--nope'),
    ('csi-snapshot-metadata', ['--tls-cert=x', '--tls-key=y', '--tls-cipher-suites=TLS_AES_128_GCM_SHA256'], 1, '--tls-cipher-suites'),
    ('csi-external-health-monitor-controller', ['--timeout=0s'], 1, '--health-timeout'),
]


@pytest.mark.parametrize('name,words,code,named', CALLED, ids=[' '.join([n, w[-1]]) for n, w, _, _ in CALLED])
def test_a_wrong_line_ends_as_upstreams_program_ends(tmp_path, name, words, code, named):
    done = called(tmp_path, name, *words)
    assert (done.returncode, named in done.stderr, done.stdout) == (code, True, ''), done.stderr


PROGRAMS = sorted({name for name, *_ in CALLED})


@pytest.mark.parametrize('name', PROGRAMS)
def test_the_table_of_options_in_docs_is_the_programs(tmp_path, name):
    told = re.findall(r'^  --(\S+) ', called(tmp_path, name, '--help').stdout, re.M)
    text = (ROOT / 'docs/flags.md').read_text()
    rows = text.split(f'\n## {name}\n')[1].split('\n## ')[0]
    listed = re.findall(r'^\| `--(\S+)` \|', rows, re.M)
    for common in re.findall(r'\(#(\w+)\)', rows.split('\n|')[0]):
        part = re.split(rf'\n## {common}\n', text, flags=re.I)[1].split('\n## ')[0]
        listed += re.findall(r'^\| `--(\S+)` \|', part, re.M)
    assert sorted(listed) == sorted(told)


GOOD = ['driver', '--endpoint=unix:///run/x.sock', '--node-id=n', '--pool=/p']

# (words, what the complaint names)
USAGE = [
    ([], 'usage'),
    (['drivr'], "'driver'"),
    (['frobnicate'], 'frobnicate'),
    (['driver'], '--node-id'),
    (['driver', '--node-id=n'], '--pool'),
    (['driver', '--node-id=n', '--pool=/p'], '--endpoint'),
    ([*GOOD, '--endpont=x'], '--endpoint'),
    ([*GOOD, '--endpoint=unix:///run/y.sock'], '--endpoint'),
    ([*GOOD, 'word'], 'word'),
    ([*GOOD, '--pool-size=1Gi'], '--pool-image'),
    ([*GOOD, '--backend=mem'], '--pool'),
    ([*GOOD, '--backend=zfs'], 'pool|mem'),
    ([*GOOD, '--mem-size=1Gi'], '--backend=mem'),
    ([*GOOD, '--pool=again=/p'], "'/p' is given twice"),
    ([*GOOD, '--pool=x=relative'], '--pool'),
    ([*GOOD, '--pool=x=/a/../b'], '--pool'),
    ([*GOOD, '--pool==/q'], '--pool==/q'),
    ([*GOOD, '--pool-image==/q'], '--pool-image==/q'),
    (['driver', '--node-id', '--pool=/p'], '--node-id'),
    ([*GOOD, '--http-endpoint=9808'], '--http-endpoint'),
    ([*GOOD, '--metrics-path='], '--metrics-path'),
    ([*GOOD, '--driver-name='], 'driver name'),
    ([*GOOD, '--max-volumes-per-node=many'], '--max-volumes-per-node'),
    ([*GOOD, '--shutdown-timeout=soon'], '--shutdown-timeout'),
    ([*GOOD, '--logging-format=xml'], 'text|json'),
    ([*GOOD, '--v=11'], '--v'),
    ([*GOOD, '--tls-cert=/c', '--tls-key=/k', '--tls-ca=/a'], '--tls-cert'),
    (['node', '--node-id=n', '--pool=/p', '--endpoint=tcp://127.0.0.1'], '--fleet-endpoint'),
    (['node', '--node-id=n', '--pool=/p', '--kubelet-dir=var/lib'], '--kubelet-dir'),
    (['node', '--node-id=n', '--pool=/p', '--fleet-endpoint=tcp://:10000'], '--tls-cert'),
    (['node', '--node-id=n', '--pool=/p', '--fleet-endpoint=unix:///x'], '--fleet-endpoint'),
    (['controller', '--controllers=dettacher'], 'attacher'),
    (['controller', '--attacher-timeout=0s'], '--attacher-timeout'),
    (['controller', '--csi-address=tcp://10.0.0.1'], '--csi-address'),
    (['controller', '--leader-election-lease-duration=1s'], '--leader-election-lease-duration'),
    (['controller', '--worker-threads=0'], '--worker-threads'),
    (['cephcsi', '--type=nfs', '--nodeid=n'], '--type=nfs'),
    (['cephcsi', '--type=rbd', '--nodeid=n', '--nodeserver', '--fence-nodes'], '--nodeserver'),
    (['cephcsi', '--type=cephfs', '--nodeid=n', '--fence-nodes'], '--type=rbd'),
    (['ctl'], 'volume'),
    (['ctl', 'volume'], 'create'),
    (['ctl', 'volume', 'crate', 'x'], 'create'),
    (['ctl', 'volume', 'create'], 'NAME'),
    (['ctl', 'volume', 'stage', 'x'], '--staging'),
    (['ctl', 'volume', 'publish', 'x', '--staging=/s'], '--target'),
    (['ctl', 'volume', 'create', 'x', '--size=1Gi', '--block', '--fs=xfs'], '--block'),
    (['ctl', 'info', '-o', 'xml'], 'table|json|yaml|id'),
    (['ctl', '--endpoint=tcp://10.0.0.1', 'info'], '--insecure'),
    (['ctl', '--endpoint=tcp://node.example', 'volume', 'list'], '--tls-cert'),
    (['ctl', 'volume', 'create', 'x'], '--size'),
    (['ctl', 'volume', 'expand', 'x'], '--size'),
    (['ctl', 'volume', 'expand', 'x', '--size=2Gi', '--limit=1Gi'], '--limit'),
    (['ctl', 'volume', 'create', 'x', '--from-snapshot=s', '--from-volume=v'], 'contradict'),
    (['ctl', 'snapshot', 'create', 'x'], '--volume'),
    (['ctl', 'snapshot', 'crate', 'x'], 'create'),
    (['ctl', 'snapshots'], 'what to do is missing'),
    (['ctl', 'volum', 'list'], 'volume'),
    (['ctl', 'volume', 'create', 'x', '--size=1Gi', '--mode=RWO'], '--mode'),
    (['ctl', 'volume', 'create', 'x', '--size=1Gi', '--parameter=pool'], '--parameter'),
    (['ctl', 'rm'], 'ID'),
]


@pytest.mark.parametrize('words,named', USAGE, ids=[' '.join(w[-2:]) or 'nothing' for w, _ in USAGE])
def test_wrong_words_end_with_2_and_are_named(words, named):
    done = cleat(*words)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert done.stdout == ''


@pytest.mark.parametrize('words', [['help'], ['--help'], ['driver', '--help'], ['node', '-h'], ['controller', '--help'],
                                   ['ctl', '--help'], ['help', 'driver'], ['version', '--help']])
def test_help_is_readable(words):
    done = cleat(*words)
    assert done.returncode == 0
    assert 'usage: cleat' in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110
    assert done.stderr == ''


def test_version():
    text, told = cleat('version').stdout, json.loads(cleat('version', '-o', 'json').stdout)
    assert told['version'] in text
    assert told['csi'] == '1.13.0'
    assert cleat('--version').stdout == text


def test_not_root_says_which_capability_for_what(work, pool):
    drop = ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin']
    done = subprocess.run([*drop, CLEAT, 'driver', f'--endpoint=unix://{work}/x.sock', '--node-id=n', f'--pool={pool.dir}'],
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert 'CAP_SYS_ADMIN' in done.stderr
    assert 'mount' in done.stderr


def test_sigterm_lets_a_running_call_end(driver, work):
    """A volume with a filesystem to make takes a while; the signal comes meanwhile."""
    result = []

    def create():
        try:
            result.append(driver.calls.create('slow', size=1024 * MIB, caps=[mount_cap('xfs')]))
        except grpc.RpcError as e:
            result.append(e)

    t = threading.Thread(target=create)
    t.start()
    driver.process.child.send_signal(signal.SIGTERM)
    assert driver.process.wait() == 0, driver.process.text()
    t.join()
    # Either it came in time and was answered, or it was not taken at all: never half.
    assert not isinstance(result[0], grpc.RpcError) or result[0].code() in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
    driver.start()
    for v in driver.calls.volumes():
        driver.calls.delete(v.volume_id)


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_with_0(driver, signum):
    driver.process.child.send_signal(signum)
    assert driver.process.wait() == 0
    assert 'stopped' in driver.process.text()
    driver.start()


LINE = re.compile(r'^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [a-z_/]+\.c:\d+\] ".*"( [A-Za-z]+=("([^"\\]|\\.)*"|\S+))*$')


def test_log_lines_are_klogs_one_a_call_and_hold_no_secret(driver, volume):
    v = volume()
    driver.calls.create(v.name, secrets={'password': 'hunter2-hunter2'})
    v.up()
    with pytest.raises(grpc.RpcError):
        driver.calls.stage('unknown', v.staging, secrets={'password': 'hunter2-hunter2'})
    wait_until('the failed call is logged', lambda: 'unknown' in driver.process.text())
    text = driver.process.text()
    assert 'hunter2' not in text
    for line in text.splitlines():
        assert LINE.match(line), line
    assert sum('NodeStageVolume' in line for line in text.splitlines()) == 2
    assert sum('CreateVolume' in line for line in text.splitlines()) == 2


def test_json_log_lines_are_objects(work, pool):
    d = Driver(work, pool, '--logging-format=json', '--v=5').start()
    try:
        Volume(d, work).up().down()
        d.stop()
        rows = [json.loads(line) for line in d.process.text().splitlines()]
        assert all({'ts', 'caller', 'msg'} <= set(r) for r in rows)
        assert any(r['msg'] == 'driver started' for r in rows)
    finally:
        d.end()


def get(port, path):
    try:
        with urllib.request.urlopen(f'http://127.0.0.1:{port}{path}', timeout=10) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(\{([a-zA-Z_]\w*="([^"\\\n]|\\.)*",?)*\})? (NaN|[+-]?Inf|[-+]?[\d.]+(e[-+]?\d+)?)$')


def test_metrics_parse_and_count(work, pool):
    port = free_port()
    d = Driver(work, pool, f'--http-endpoint=127.0.0.1:{port}').start()
    try:
        v = Volume(d, work).up()
        with pytest.raises(grpc.RpcError):
            d.calls.stage('unknown', v.staging)
        status, text = get(port, '/metrics')
        assert status == 200
        seen, types = {}, {}
        for line in text.splitlines():
            if line.startswith('# TYPE'):
                types[line.split()[2]] = line.split()[3]
            elif not line.startswith('#'):
                assert SAMPLE.match(line), line
                name, value = line.rsplit(' ', 1)
                assert name not in seen, f'{name} twice'
                seen[name] = float(value)
        assert types['csi_plugin_operations_seconds'] == 'histogram'
        for method, code, n in [('NodeStageVolume', 'OK', 1), ('NodeStageVolume', 'NotFound', 1), ('CreateVolume', 'OK', 1)]:
            found = [x for k, x in seen.items() if k.startswith('csi_plugin_operations_seconds_count') and
                     f'/{method}"' in k and f'"{code}"' in k]
            assert found == [n], (method, code, text)
        assert seen['cleat_pool_volumes{pool="default"}'] == 1
        assert seen['process_resident_memory_bytes'] > 0
        v.down()
        assert get(port, '/healthz')[0] == 200
        assert get(port, '/readyz')[0] == 200
        assert get(port, '/nothing')[0] == 404
        d.stop()
    finally:
        d.end()


def test_a_nameless_pool_on_a_good_disk_is_refused(work, pool):
    """It was opened as "default" and then looked for as "": a crash."""
    for option in (f'--pool=={pool.dir}', f'--pool-image=={work}/x.img'):
        done = cleat('driver', f'--endpoint=unix://{work}/x.sock', '--node-id=n', option, '--pool-size=400Mi'
                     if 'image' in option else '--v=2')
        assert done.returncode == 2, done.stderr
        assert option in done.stderr
    assert not (work / 'x.img').exists()


def test_what_can_be_known_before_is_said_before_an_image_is_made(work):
    image = work / 'x.img'
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        busy = s.getsockname()[1]
        for endpoint, more, named in [
                (f'{work}/x.sock', [f'--http-endpoint=127.0.0.1:{busy}'], str(busy)),
                (f'{work}/none/x.sock', [], f'{work}/none'),
                (f'{work}/plain/x.sock', [], f'{work}/plain'),
                (f'{work}/x.sock', ['--driver-name=not/a/name'], 'not/a/name'),
                ('tcp', ['--tls-cert=/none/c', '--tls-key=/none/k', '--tls-ca=/none/a'], '/none/'),
        ]:
            (work / 'plain').touch()
            where = 'tcp://127.0.0.1:0' if endpoint == 'tcp' else f'unix://{endpoint}'
            done = cleat('driver', f'--endpoint={where}', '--node-id=n', f'--pool-image={image}', '--pool-size=600Mi', *more)
            assert done.returncode in (1, 2), done.stderr
            assert named in done.stderr
            assert not image.exists(), f'made although {named} is wrong'


def test_http_port_in_use(work):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        port = s.getsockname()[1]
        p = Process(work / 'second.log', 'driver', f'--endpoint=unix://{work}/b.sock', '--node-id=n1', '--backend=mem',
                    f'--http-endpoint=127.0.0.1:{port}')
        assert p.wait() == 1
        assert str(port) in p.text()
        assert not (work / 'b.sock').exists()


def ctl(driver, *words):
    return cleat('ctl', f'--endpoint=unix://{driver.socket}', *words)


@pytest.mark.parametrize('cap', ['mount', 'block'])
def test_ctl_leads_a_volume_through_its_life(driver, work, cap):
    more = ['--block'] if cap == 'block' else ['--fs=ext4']
    made = ctl(driver, 'volume', 'create', 'by-hand', '--size=64Mi', *more, '-o', 'json')
    assert made.returncode == 0, made.stderr
    volume_id = json.loads(made.stdout)['volume_id']
    assert ctl(driver, 'volume', 'list', '-o', 'id').stdout.split() == [volume_id]
    assert volume_id in ctl(driver, 'volume', 'list').stdout
    assert json.loads(ctl(driver, 'volume', 'show', volume_id, '-ojson').stdout)['capacity_bytes'] == 64 * MIB
    (work / 'staging').mkdir()
    where = [f'--staging={work}/staging', *more]
    for words in [('stage', *where), ('publish', f'--target={work}/target', *where)]:
        done = ctl(driver, 'volume', words[0], volume_id, *words[1:])
        assert done.returncode == 0, done.stderr
    assert (work / 'target').exists()
    for _ in range(2):
        done = ctl(driver, 'volume', 'expand', 'by-hand', '--size=128Mi')
        assert (done.returncode, done.stdout.startswith(f'volume {volume_id} expanded')) == (0, True), done.stderr
        assert ('staged next' in done.stdout) == (cap == 'mount')
    done = ctl(driver, 'grow', 'by-hand', '--size=32Mi')
    assert (done.returncode, 'has 128Mi, more than 32Mi; volumes do not shrink' in done.stderr) == (1, True)
    assert json.loads(ctl(driver, 'volume', 'show', volume_id, '-ojson').stdout)['capacity_bytes'] == 128 * MIB
    row = ctl(driver, 'ls').stdout.splitlines()[1]
    assert row.startswith('by-hand  ') and 'in use on n1' in row and ('none' if cap == 'block' else 'ext4') in row
    for words in [('unpublish', f'--target={work}/target'), ('unstage', f'--staging={work}/staging'), ('delete',)]:
        done = ctl(driver, 'volume', words[0], 'by-hand', *words[1:])
        assert done.returncode == 0, done.stderr
        assert f'volume {volume_id} ' in done.stdout
        assert 'in use' not in ctl(driver, 'ls').stdout or words[0] == 'unpublish'
    assert json.loads(ctl(driver, 'volume', 'list', '-o', 'json').stdout) == {'items': []}
    assert ctl(driver, 'volume', 'list', '-o', 'yaml').stdout == '"items": []\n'


def test_ctl_answers_what_people_type(driver):
    for words, told in [(['help'], 'volume create NAME'), (['help', 'volume', 'create'], '--size'),
                        (['volume', 'create', '--help'], '--from-snapshot=ID'),
                        (['snapshot', 'create', '-h'], 'usage: cleat ctl snapshot create NAME --volume=ID'),
                        (['help', 'snap', 'rm'], 'usage: cleat ctl snapshot delete ID'),
                        (['volume', 'help', 'stage'], 'usage: cleat ctl volume stage ID --staging=DIR'),
                        (['rm', '-h'], 'usage: cleat ctl volume delete ID'), (['info', '--help'], 'usage: cleat ctl info')]:
        done = cleat('ctl', *words)
        assert (done.returncode, done.stderr) == (0, '')
        assert told in done.stdout
    assert '--target' not in cleat('ctl', 'volume', 'create', '--help').stdout
    assert ctl(driver, 'volumes', 'ls').stdout == ctl(driver, 'volume', 'list').stdout
    text = ctl(driver, 'info', '-oyaml').stdout
    assert '"name": "pool.cleat.csi"\n' in text


def test_ctl_names_what_it_waited_for(work):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(f'{work}/mute.sock')
        s.listen()
        done = cleat('ctl', f'--endpoint=unix://{work}/mute.sock', '--timeout=300ms', 'info')
    assert done.returncode == 1
    for text in ('DEADLINE_EXCEEDED', 'mute.sock', "'info'", '300 ms'):
        assert text in done.stderr


def test_ctl_tells_failures_with_1(driver, work):
    done = ctl(driver, 'volume', 'show', 'nothing')
    assert done.returncode == 1
    assert 'NOT_FOUND' in done.stderr
    gone = cleat('ctl', f'--endpoint=unix://{work}/none.sock', '--timeout=1s', 'info')
    assert gone.returncode == 1
    assert 'none.sock' in gone.stderr


def test_ctl_info(driver):
    assert json.loads(ctl(driver, 'info', '-o', 'json').stdout)['name'] == 'pool.cleat.csi'
    assert 'ready' in ctl(driver, 'info').stdout


def test_mem_backend_serves_controller_calls(work):
    d = Driver(work, None, '--backend=mem', '--mem-size=1Gi').start()
    try:
        made = d.calls.create('x', caps=[block_cap()])
        assert [v.volume_id for v in d.calls.volumes()] == [made.volume_id]
        d.calls.delete(made.volume_id)
        assert d.calls.controller.GetCapacity(csi.GetCapacityRequest()).available_capacity <= 1024 * MIB
        d.stop()
    finally:
        d.end()
