# SPDX-License-Identifier: Apache-2.0
"""What `cleat ctl doctor` and `cleat ctl pool status` tell of a pool, beside its driver and without, with real leaks made by hand."""
import json
import os
import subprocess

import pytest
from harness import CLEAT, GIB, MIB, Driver, Volume, block_cap, loops_below, sh
from test_process import cleat


@pytest.fixture
def served(own_pool, work):
    """A driver on a pool of this test alone, to be killed and to leave things."""
    d = Driver(work, own_pool).start()
    yield d
    d.end()
    for device in loops_below(own_pool.dir):
        subprocess.run(['losetup', '-d', device], check=False)


def ctl(*words):
    return cleat('ctl', *words)


def doctor(pool, *words):
    """The exit status, and what was found as {path: finding}."""
    done = ctl('doctor', f'--pool={pool.dir}', '-o', 'json', *words)
    assert done.stdout, done.stderr
    return done.returncode, {i['path']: i for i in json.loads(done.stdout)['items']}


def kinds(pool, *words):
    status, found = doctor(pool, *words)
    assert (status == 0) == all(i['repaired'] for i in found.values())
    return {path: i['kind'] for path, i in found.items()}


def status(pool, *words):
    done = ctl('pool', 'status', pool.dir, '-o', 'json', *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def only_loop(pool):
    device, = pool.loops()
    return device


def test_a_pool_in_use_has_nothing(served, own_pool, work):
    v = Volume(served, work).up()
    b = Volume(served, work, cap=block_cap()).create().stage()
    served.calls.snapshot('s', v.id)
    for words in [(), ('--repair',)]:
        done = ctl('doctor', f'--pool={own_pool.dir}', *words)
        assert (done.returncode, done.stdout) == (0, f'pool {own_pool.dir}: nothing found\n')
    served.kill()
    assert kinds(own_pool, '--repair') == {}
    served.start()
    assert (v.target / 'lost+found').is_dir()
    b.unstage().delete()
    v.down()
    served.calls.delete_snapshot(served.calls.snapshots()[0].snapshot_id)


def test_a_device_that_a_killed_driver_left(served, own_pool, work):
    b = Volume(served, work, cap=block_cap()).create().stage()
    device = only_loop(own_pool)
    os.removexattr(own_pool.dir / b.name, 'user.cleat.note')
    assert kinds(own_pool, '--repair') == {device: 'device'}
    assert doctor(own_pool, '--repair')[1][device]['not_repaired'] == 'a driver serves the pool'
    served.kill()
    assert kinds(own_pool) == {device: 'device'}
    assert only_loop(own_pool) == device
    with open(device, 'rb'):
        code, found = doctor(own_pool, '--repair')
        assert code == 1
        assert 'has it open' in found[device]['not_repaired']
    assert kinds(own_pool) == {}
    assert own_pool.loops() == {}


def test_a_device_of_ours_is_let_go(served, own_pool, work):
    b = Volume(served, work, cap=block_cap()).create().stage()
    device = only_loop(own_pool)
    served.kill()
    os.removexattr(own_pool.dir / b.name, 'user.cleat.note')
    said = ctl('doctor', f'--pool={own_pool.dir}', '--repair')
    assert said.returncode == 0, said.stderr
    assert device in said.stdout
    assert 'repaired' in said.stdout
    assert own_pool.loops() == {}
    served.start()
    b.stage().unstage().delete()


@pytest.mark.parametrize('sector', [512, 4096])
def test_a_persons_device_is_told_and_left(served, own_pool, work, sector):
    v = Volume(served, work).create()
    served.kill()
    device = sh('losetup', '-f', '--show', f'--sector-size={sector}', own_pool.dir / v.name).strip()
    assert kinds(own_pool, '--repair') == {device: 'by-hand'}
    assert only_loop(own_pool) == device
    sh('losetup', '-d', device)
    assert kinds(own_pool) == {}


def test_a_device_whose_file_was_removed_keeps_it(served, own_pool, work):
    v = Volume(served, work).create().stage()
    device = only_loop(own_pool)
    (own_pool.dir / v.name).unlink()
    assert kinds(own_pool) == {device: 'unlinked'}
    served.kill()
    assert kinds(own_pool, '--repair') == {device: 'unlinked'}
    assert f'{own_pool.dir}/{v.name}' in doctor(own_pool)[1][device]['detail']
    assert os.path.ismount(v.staging)
    sh('umount', v.staging)
    assert kinds(own_pool) == {}


def test_lost_direct_io_is_told(served, own_pool, work):
    v = Volume(served, work).create().stage()
    device = only_loop(own_pool)
    sh('losetup', '--direct-io=off', device)
    assert kinds(own_pool, '--repair') == {device: 'buffered'}
    sh('losetup', '--direct-io=on', device)
    assert kinds(own_pool) == {}
    v.unstage().delete()


def test_files_in_the_pool(served, own_pool, work):
    v, w = (Volume(served, work).create() for _ in range(2))
    meta = own_pool.dir / '.cleat'
    template, = (meta / 'templates').iterdir()
    served.kill()
    (own_pool.dir / 'notes.txt').write_text('x')
    (own_pool.dir / 'lost').mkdir()
    (meta / 'snapshots' / 'mine').write_text('x')
    (meta / 'index.db').write_text('x')
    (meta / 'pool.new').write_text('x')
    (meta / 'work').mkdir(exist_ok=True)
    (meta / 'work' / 'copy-1').write_text('x')
    os.link(own_pool.dir / v.name, own_pool.dir.parent / 'pool' / 'rescue')
    record = os.getxattr(own_pool.dir / w.name, 'user.cleat.volume')
    os.setxattr(own_pool.dir / w.name, 'user.cleat.volume', record.replace(b'cleat 1\n', b'cleat 1\nneeds=wings\n'))
    with open(template, 'r+b') as f:
        f.seek(1024)
        f.write(bytes(512))
    (meta / 'groups' / '.g').write_text('')
    frozen = meta / 'frozen' / f'{w.name}.0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e'
    frozen.write_text('')
    left = {own_pool.dir / 'notes.txt': 'foreign', own_pool.dir / 'lost': 'foreign', meta / 'snapshots/mine': 'foreign',
            meta / 'index.db': 'unknown', own_pool.dir / v.name: 'linked', own_pool.dir / 'rescue': 'linked',
            own_pool.dir / w.name: 'newer'}
    mended = {meta / 'pool.new': 'half-made', meta / 'work/copy-1': 'half-made', template: 'template', meta / 'groups/.g': 'half-made',
              frozen: 'frozen'}
    everything = {str(path): kind for path, kind in (left | mended).items()}
    assert kinds(own_pool) == everything
    code, found = doctor(own_pool, '--repair')
    assert code == 1
    assert {path for path, i in found.items() if i['repaired']} == {str(p) for p in mended}
    assert kinds(own_pool) == {str(path): kind for path, kind in left.items()}
    assert all(path.exists() for path in left)
    assert not any(path.exists() for path in mended)


def test_a_filesystem_that_was_left_frozen(served, own_pool, work):
    v = Volume(served, work).create().stage()
    served.kill()
    note = own_pool.dir / '.cleat/frozen' / f'{v.name}.0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e'
    note.write_text('')
    sh('fsfreeze', '--freeze', v.staging)
    try:
        assert kinds(own_pool) == {str(note): 'frozen'}
        assert kinds(own_pool, '--repair') == {str(note): 'frozen'}
    finally:
        thawed = subprocess.run(['fsfreeze', '--unfreeze', v.staging], check=False, capture_output=True).returncode != 0
    assert thawed
    assert kinds(own_pool) == {}
    (v.staging / 'file').write_text('x')
    sh('umount', v.staging)


def test_a_pool_that_is_elsewhere(served, own_pool, work):
    Volume(served, work).create()
    served.kill()
    image = own_pool.image
    own_pool.unmount()
    sh('xfs_admin', '-U', 'generate', image)
    own_pool.mount()
    found = doctor(own_pool, '--repair')[1]
    assert found[str(own_pool.dir)]['kind'] == 'identity'
    assert 'adopt --moved' in found[str(own_pool.dir)]['detail']
    sh(CLEAT, 'ctl', 'pool', 'adopt', own_pool.dir, '--moved')
    assert kinds(own_pool) == {}


def test_words(work):
    assert ctl('doctor').returncode == 2
    assert '--pool' in ctl('doctor').stderr
    for words in [('doctor', f'--pool={work}'), ('pool', 'status', work)]:
        done = ctl(*words)
        assert done.returncode == 1
        assert 'is no pool' in done.stderr
    assert os.listdir(work) == []


def test_status_beside_the_driver_and_without(served, own_pool, work):
    v = Volume(served, work, size=64 * MIB).up()
    Volume(served, work, size=32 * MIB).create()
    (v.target / 'data').write_bytes(os.urandom(8 * MIB))
    served.calls.snapshot('s', v.id)
    (own_pool.dir / 'notes').write_text('x')
    told = status(own_pool)
    assert told['served']
    assert told['process'] == served.process.child.pid
    assert told['node'] == 'n1'
    assert (told['volumes'], told['snapshots'], told['foreign']) == (2, 1, 1)
    assert told['volume_bytes'] == 96 * MIB
    assert 8 * MIB <= told['reserved_bytes'] <= 64 * MIB
    assert told['free_bytes'] >= told['available_bytes'] + told['kept_bytes'] + told['reserved_bytes']
    assert told['total_bytes'] <= GIB
    assert status(own_pool, '--pool-reserve=8Mi')['kept_bytes'] == 8 * MIB
    served.kill()
    alone = status(own_pool)
    assert not alone['served']
    assert (alone['volumes'], alone['snapshots'], alone['reserved_bytes']) == (2, 1, told['reserved_bytes'])
    text = ctl('pool', 'status', own_pool.dir).stdout
    assert 'by nobody now' in text
    assert '2, promised 96' in text
    sh('umount', v.target)
    sh('umount', v.staging)
