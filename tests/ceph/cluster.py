#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A Ceph of one node for tests: monitor, manager and one OSD, with cephx, of Debian's packages (tools/deps ceph).

usage: tests/ceph/cluster.py up DIR [--store bluestore] [--filesystem] [--address IP] [--owner PID]
       tests/ceph/cluster.py down | freeze | thaw DIR

Everything is below DIR: state.json, by which another process takes it down, ceph.conf for a person's `ceph -c`, csi/config.json
as ceph-csi's ConfigMap has it, secret.json (and fs-secret.json) with the user that a StorageClass's secrets would name. Nothing is read from
/etc/ceph. Processes are told by number and birth, so that none but these is ever signalled.

memstore keeps all data in memory: up in 3 s, for whatever is small. bluestore has a sparse file and is what nodes run.
A lease of reading is longer than any test: of one that is frozen beyond it this release now and then leaves a placement group "laggy",
without another OSD to make it well, and what reads there waits for ever.
The manager has only the module that images need, which is a quarter of its memory and most of its start. A filesystem has a metadata
server, and a module more.
"""
import argparse
import base64
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(TOP / 'tests/e2e/testbed'))

from machine import Failure, Process, wait_for  # noqa: E402

CLUSTER_ID, USER, FENCER, POOL = 'c1', 'csi-rbd', 'fencer', 'rbd'
FILESYSTEM, METADATA_POOL, FS_USER = 'cephfs', 'cephfs_meta', 'csi-cephfs'
PREFIX = 'cleat-ceph-'
MODULES = pathlib.Path('/usr/share/ceph/mgr')
NEEDED_MODULE, FS_MODULE = 'rbd_support', 'volumes'
PROGRAMS = ('ceph-mon', 'ceph-mgr', 'ceph-osd', 'monmaptool')
FS_PROGRAMS = ('ceph-mds', 'ceph-fuse')
UP_S = 120
# The monitor's, of the second protocol and of the first. At any other port a client tries both protocols, and a wrong key looks to
# it like nobody.
PORT, PORT_V1 = 3300, 6789
USERS = {
    'mon.': {'mon': 'allow *'},
    'client.admin': {'mon': 'allow *', 'osd': 'allow *', 'mgr': 'allow *'},
    'mgr.x': {'mon': 'allow profile mgr', 'osd': 'allow *'},
    'osd.0': {'mon': 'allow profile osd', 'mgr': 'allow profile osd', 'osd': 'allow *'},
    # what ceph-csi's documents ask for
    f'client.{USER}': {'mon': 'profile rbd', 'osd': 'profile rbd', 'mgr': 'profile rbd'},
    # may do all that but ask the manager for anything
    'client.no-manager': {'mon': 'profile rbd', 'osd': 'profile rbd'},
    # may shut nodes out as well
    f'client.{FENCER}': {'mon': 'profile rbd, allow command "osd blocklist"', 'osd': 'profile rbd', 'mgr': 'profile rbd'},
    # may look
    'client.reader': {'mon': 'profile rbd', 'osd': 'profile rbd-read-only', 'mgr': 'profile rbd'},
}
FS_USERS = {
    'mds.a': {'mon': 'allow profile mds', 'osd': 'allow rw tag cephfs *=*', 'mds': 'allow', 'mgr': 'allow profile mds'},
    # again as ceph-csi's documents have it, for controller and node
    f'client.{FS_USER}': {'mon': f'allow r fsname={FILESYSTEM}', 'mgr': 'allow rw',
                          'osd': f'allow rw tag cephfs metadata={FILESYSTEM}, allow rw tag cephfs data={FILESYSTEM}',
                          'mds': f'allow r fsname={FILESYSTEM} path=/volumes, allow rws fsname={FILESYSTEM} path=/volumes/csi'},
    # may mount, and ask the manager for nothing
    'client.fs-node': {'mon': 'allow r', 'osd': f'allow rw tag cephfs data={FILESYSTEM}', 'mds': 'allow rw'},
}
CONF = """[global]
fsid = {fsid}
mon host = [v2:{address}:{port},v1:{address}:{port_v1}]
public addr = {address}
cluster addr = {address}
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
mon warn on insecure global id reclaim allowed = false
keyring = {dir}/keyring
run dir = {dir}/run
admin socket = {dir}/run/$name.asok
log file = {dir}/log/$name.log
crash dir = {dir}/log
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd pool default read lease ratio = 1000
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data avail warn = 1
mgr initial modules =
mgr disabled modules = {disabled}
[client]
rbd default clone format = 2
log file =
admin socket =
[mon]
mon data = {dir}/mon
mon election timeout = 1
paxos propose interval = 0.05
mon tick interval = 1
[mgr]
mgr data = {dir}/mgr
mgr tick period = 1
mgr stats period = 1
[osd]
osd data = {dir}/osd
osd objectstore = {store}
osd memory target = 939524096
osd heartbeat interval = 3
osd snap trim sleep = 0.001
osd class load list = *
osd class default list = *
memstore device bytes = 8589934592
bluestore block size = 21474836480
bluestore cache autotune = false
bluestore cache size = 67108864
[mds]
mds data = {dir}/mds
mds cache memory limit = 67108864
mds tick interval = 0.2
"""


def missing(filesystem=False):
    """What has to be installed first; '' if nothing."""
    lacking = [name for name in PROGRAMS + (FS_PROGRAMS if filesystem else ()) if not shutil.which(name)]
    try:
        import rados  # noqa: F401
        import rbd    # noqa: F401
    except ImportError as error:
        lacking.append(str(error))
    return f'not installed: {", ".join(lacking)} (tools/deps ceph; Debian\'s /usr/bin/python3)' if lacking else ''


def make_key():
    """As ceph-authtool does: type AES, when it was made, length, bytes."""
    secret = os.urandom(16)
    return base64.b64encode(struct.pack('<hiih', 1, int(time.time()), 0, len(secret)) + secret).decode()


def is_free(address):
    with contextlib.ExitStack() as both:
        try:
            for port in PORT, PORT_V1:
                listener = both.enter_context(socket.socket())
                # who listens is in the way, as he is to the monitor; connections of a cluster that is gone are not
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((address, port))
        except OSError:
            return False
    return True


def free_address():
    """One of the loopback's where nobody has a monitor, so that several clusters may be up at once."""
    tried = (f'127.{random.randint(64, 126)}.{random.randint(1, 254)}.{random.randint(1, 254)}' for _ in range(100))
    return next(filter(is_free, tried))


class Ceph:
    def __init__(self, directory, address=None, store='memstore', owner=None, filesystem=False):
        """address: by default a loopback's of its own. owner: a Process without which the cluster is nobody's."""
        self.dir, self.store, self.owner, self.filesystem = pathlib.Path(directory).resolve(), store, owner, filesystem
        self.state_file = self.dir / 'state.json'
        self.state = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}
        self.address = self.state.get('address', address)
        self.admin = None

    # --- small things

    def remember(self, **facts):
        self.state.update(facts)
        aside = self.state_file.with_suffix('.new')
        aside.write_text(json.dumps(self.state, indent=1))
        aside.rename(self.state_file)

    def process(self, name):
        known = self.state.get(name)
        return Process(*known) if known else None

    def is_abandoned(self):
        owner = self.process('owner')
        return owner is not None and not owner.alive()

    @property
    def conf(self):
        return self.dir / 'ceph.conf'

    @property
    def config_dir(self):
        """With config.json, as a pod has ceph-csi's ConfigMap."""
        return self.dir / 'csi'

    @property
    def fsid(self):
        return self.state['fsid']

    @property
    def monitors(self):
        """As config.json lists them."""
        return [f'{self.address}:{PORT_V1}']

    def secrets(self, user=USER, key=None):
        """As a Secret of a StorageClass has them."""
        return {'userID': user, 'userKey': key or self.state['keys'][f'client.{user}']}

    def fs_secrets(self, user=FS_USER, key=None):
        """Of a class of the filesystem: one for the controller and, under the other names, for nodes."""
        key = key or self.state['keys'][f'client.{user}']
        return {'adminID': user, 'adminKey': key, 'userID': user, 'userKey': key}

    def tail(self, name, lines=25):
        text = ''.join(f.read_text(errors='replace') for f in sorted((self.dir / 'log').glob(f'*{name}*')))
        return '\n'.join(text.splitlines()[-lines:])

    # --- what an administrator does

    def connect(self):
        """The administrator's connection of python3-rados, made once."""
        if not self.admin:
            import rados
            self.admin = rados.Rados(conffile=str(self.conf), conf={'rados_osd_op_timeout': '60', 'rados_mon_op_timeout': '60'})
            self.admin.connect(timeout=30)
        return self.admin

    def command(self, to='mon', **words):
        """A command to the monitors or the manager and its JSON, if it answers by that."""
        send = self.connect().mon_command if to == 'mon' else self.connect().mgr_command
        status, out, text = send(json.dumps({'format': 'json', **words}), b'')
        if status:
            raise Failure(f'{words}: {os.strerror(-status)}: {text}')
        return json.loads(out) if out.strip() else None

    def make_pool(self, name):
        import rbd
        self.command(prefix='osd pool create', pool=name, pg_num=8, pgp_num=8)
        self.command(prefix='osd pool application enable', pool=name, app='rbd')
        wait_for(f'pool {name} clean', UP_S, self.is_clean)
        with self.connect().open_ioctx(name) as io:
            rbd.RBD().pool_init(io, False)

    def remove_pool(self, name):
        self.command(prefix='osd pool delete', pool=name, pool2=name, yes_i_really_really_mean_it=True)

    def make_user(self, name, **caps):
        """Its key."""
        words = [word for service, allowed in caps.items() for word in (service, allowed)]
        key = self.command(prefix='auth get-or-create', entity=f'client.{name}', caps=words)[0]['key']
        self.remember(keys={**self.state['keys'], f'client.{name}': key})
        return key

    def is_clean(self):
        pgs = self.command(prefix='status')['pgmap']
        states = {row['state_name']: row['count'] for row in pgs.get('pgs_by_state', [])}
        return pgs['num_pgs'] > 0 and states == {'active+clean': pgs['num_pgs']}

    def freeze(self, name='osd'):
        """The OSD, or another daemon, answers nobody any more, and no connection to it ends."""
        self.process(name).send(signal.SIGSTOP)

    def thaw(self, name='osd'):
        self.process(name).send(signal.SIGCONT)

    @contextlib.contextmanager
    def frozen(self, name='osd'):
        self.freeze(name)
        try:
            yield
        finally:
            self.thaw(name)

    # --- up

    def write_files(self):
        for name in ('mon', 'mgr', 'osd', 'mds', 'run', 'log', 'csi', 'python'):
            (self.dir / name).mkdir(exist_ok=True)
        # All modules of the manager want it, for passwords that none here has; Debian 13's cannot be loaded by more than one
        # interpreter of a process, and the manager has one for each of its modules, so that none of them comes up.
        (self.dir / 'python/bcrypt.py').touch()
        users = {**USERS, **(FS_USERS if self.filesystem else {})}
        if self.filesystem:
            users = {user: {**caps, 'mds': 'allow *'} if user in ('client.admin', 'mgr.x') else caps for user, caps in users.items()}
        keys = {user: make_key() for user in users}
        self.remember(fsid=str(uuid.uuid4()), address=self.address, keys=keys)
        needed = {NEEDED_MODULE, *([FS_MODULE] if self.filesystem else [])}
        disabled = sorted({path.name for path in MODULES.iterdir() if path.is_dir()} - needed)
        self.conf.write_text(CONF.format(fsid=self.fsid, address=self.address, port=PORT, port_v1=PORT_V1, dir=self.dir,
                                         store=self.store, disabled=','.join(disabled)))
        with open(os.open(self.dir / 'keyring', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'w') as f:
            for user, caps in users.items():
                f.write(f'[{user}]\n\tkey = {keys[user]}\n')
                quoted = {service: allowed.replace('"', '\\"') for service, allowed in caps.items()}
                f.writelines(f'\tcaps {service} = "{allowed}"\n' for service, allowed in quoted.items())
        (self.dir / 'secret.json').write_text(json.dumps(self.secrets()))
        if self.filesystem:
            (self.dir / 'fs-secret.json').write_text(json.dumps(self.fs_secrets()))
        (self.config_dir / 'config.json').write_text(json.dumps(
            [{'clusterID': CLUSTER_ID, 'monitors': self.monitors}], indent=1))

    def run(self, program, *words):
        done = subprocess.run([program, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise Failure(f'{program} ended with {done.returncode}:\n{done.stdout}')

    def start(self, name, number):
        with open(self.dir / 'log' / f'{name}.out', 'ab') as log:
            child = subprocess.Popen([f'ceph-{name}', '-f', '-i', number, '-c', str(self.conf)], stdin=subprocess.DEVNULL,
                                     stdout=log, stderr=log, start_new_session=True, cwd='/',
                                     env={**os.environ, 'PYTHONPATH': str(self.dir / 'python')})
        started = Process(child.pid)
        self.remember(**{name: [started.pid, started.born]})

    def check_alive(self):
        for name in 'mon', 'mgr', 'osd', 'mds':
            if self.process(name) and not self.process(name).alive():
                raise Failure(f'ceph-{name} ended:\n{self.tail(name)}')

    def wait(self, what, probe):
        """Until probe is true; ends at once if a daemon has."""
        def look():
            self.check_alive()
            return probe()
        wait_for(what, UP_S, look)

    def tasks_answer(self):
        try:
            return self.command('mgr', prefix='rbd task list') is not None
        except Failure:  # its module is still being loaded
            return False

    def subvolumes_answer(self):
        try:
            return self.command('mgr', prefix='fs subvolumegroup ls', vol_name=FILESYSTEM) is not None
        except Failure:
            return False

    def make_filesystem(self):
        for pool in METADATA_POOL, f'{FILESYSTEM}_data':
            self.command(prefix='osd pool create', pool=pool, pg_num=8, pgp_num=8)
        self.command(prefix='fs new', fs_name=FILESYSTEM, metadata=METADATA_POOL, data=f'{FILESYSTEM}_data')
        self.start('mds', 'a')
        self.wait('a metadata server', lambda: any(
            rank.get('status') == 'up:active' for rank in self.command(prefix='status')['fsmap'].get('by_rank', [])))
        self.wait('its subvolumes', self.subvolumes_answer)

    def bring_up(self):
        began = time.monotonic()
        self.address = self.address or free_address()
        if not is_free(self.address):
            raise Failure(f'ports {PORT} and {PORT_V1} of {self.address} are not free')
        self.write_files()
        monmap, keyring = self.dir / 'monmap', self.dir / 'keyring'
        self.run('monmaptool', '--create', '--fsid', self.fsid, '--addv', 'a',
                 f'[v2:{self.address}:{PORT},v1:{self.address}:{PORT_V1}]', monmap)
        self.run('ceph-mon', '--mkfs', '-i', 'a', '-c', self.conf, '--monmap', monmap, '--keyring', keyring)
        self.start('mon', 'a')
        self.start('mgr', 'x')
        osd = str(uuid.uuid4())
        self.command(prefix='osd new', uuid=osd, id=0)
        self.run('ceph-osd', '-i', '0', '-c', self.conf, '--mkfs', '--osd-uuid', osd)
        self.start('osd', '0')
        self.wait('the manager', lambda: self.command(prefix='status')['mgrmap']['available'])
        self.make_pool(POOL)
        try:
            self.wait('its tasks', self.tasks_answer)
        except Failure as failure:
            raise Failure(f'{failure}\n{self.tail("mgr")}') from None
        if self.filesystem:
            self.make_filesystem()
        print(f'ceph: up in {time.monotonic() - began:.1f} s at {self.dir}', file=sys.stderr, flush=True)

    def up(self):
        lacking = missing(self.filesystem)
        if lacking:
            raise Failure(lacking)
        if self.state:
            raise Failure(f'a cluster is at {self.dir} already: take it down first')
        self.dir.mkdir(parents=True, exist_ok=True)
        if any(self.dir.iterdir()):
            raise Failure(f'{self.dir} is not empty')
        self.remember(**({'owner': [self.owner.pid, self.owner.born]} if self.owner else {'owner': None}))
        try:
            self.bring_up()
        except BaseException:
            self.down()
            raise
        return self

    # --- down

    def down(self):
        """Ends the daemons, whatever state they are in, and removes all of DIR. Nothing is kept, so nothing is asked."""
        if self.state:
            processes = [process for process in map(self.process, ('mds', 'osd', 'mgr', 'mon')) if process]
            for process in processes:
                process.send(signal.SIGKILL)
            for process in processes:
                wait_for(f'end of process {process.pid}', 30, lambda: not process.alive())
            if self.admin:
                # Only now: a shutdown waits for nobody who is gone, but for one who is frozen.
                self.admin.shutdown()
                self.admin = None
            shutil.rmtree(self.dir, ignore_errors=False)
            self.state = {}


def sweep_abandoned(where='/var/tmp'):
    """Takes down the clusters whose owner was killed before it did so."""
    for directory in pathlib.Path(where).glob(f'{PREFIX}*'):
        found = Ceph(directory)
        if found.is_abandoned():
            found.down()


@contextlib.contextmanager
def opened(**options):
    """A cluster for the time of the block, in a directory of its own."""
    sweep_abandoned()
    found = Ceph(tempfile.mkdtemp(prefix=PREFIX, dir='/var/tmp'), owner=Process(os.getpid()), **options)
    try:
        yield found.up()
    finally:
        found.down()


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split('usage: ')[1].split('\n\n')[0])
    parser.add_argument('what', choices=('up', 'down', 'freeze', 'thaw'))
    parser.add_argument('dir')
    parser.add_argument('--store', choices=('memstore', 'bluestore'), default='memstore')
    parser.add_argument('--filesystem', action='store_true')
    parser.add_argument('--address')
    parser.add_argument('--owner', type=int)
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('told to end'))
    cluster = Ceph(words.dir, words.address, words.store, Process(words.owner) if words.owner else None,
                   words.filesystem)
    try:
        if words.what != 'up' and not cluster.state:
            raise Failure(f'no cluster at {words.dir}')
        getattr(cluster, words.what)()
    except Failure as failure:
        sys.exit(f'{sys.argv[0]}: {failure}')


if __name__ == '__main__':
    main()
