# SPDX-License-Identifier: Apache-2.0
"""Fixtures. Root is needed; without it the whole folder is skipped, and says so."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import uuid

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.append(str(pathlib.Path(__file__).parent.parent / 'ceph'))

if os.geteuid() != 0:
    pytest.skip('integration: SKIPPED: mounts and loop devices need root', allow_module_level=True)

import cluster  # noqa: E402
import harness  # noqa: E402


def pytest_configure(config):
    harness.enter_private_mounts()


@pytest.fixture(scope='session')
def top():
    """A directory below which everything of this run lives; at its end nothing of it is mounted or attached."""
    path = pathlib.Path(tempfile.mkdtemp(prefix='cleat-itest-', dir=os.environ.get('CLEAT_TMP', '/var/tmp')))
    yield path
    clean_mounts(path)
    left = harness.loops_below(path)
    for device in left:
        subprocess.run(['losetup', '-d', device], check=False)
    shutil.rmtree(path, ignore_errors=True)
    assert not left, f'loop devices left behind: {left}'


def clean_mounts(path):
    for point, *_ in reversed(harness.mountinfo()):
        if point.startswith(f'{path}/'):
            subprocess.run(['umount', '-n', point], check=False, capture_output=True)


@pytest.fixture(scope='session')
def session_pool(top):
    return harness.Pool(top)


@pytest.fixture
def work(top, request):
    """A directory of this test; what it leaves mounted is found and cleared away, and fails it."""
    path = pathlib.Path(tempfile.mkdtemp(dir=top))
    yield path
    left = [m[0] for m in harness.mountinfo() if m[0].startswith(f'{path}/')]
    clean_mounts(path)
    loops = harness.loops_below(path)
    for device in loops:
        subprocess.run(['losetup', '-d', device], check=False)
    shutil.rmtree(path, ignore_errors=True)
    assert not left, f'mounts left behind: {left}'
    assert not loops, f'loop devices left behind: {loops}'


@pytest.fixture
def pool(session_pool):
    """The pool; after the test it holds no volume and no loop device of it is attached."""
    yield session_pool
    loops = session_pool.loops()
    files = session_pool.files()
    snapshots = session_pool.snapshots()
    for device in loops:
        subprocess.run(['losetup', '-d', device], check=False)
    for file in files:
        (session_pool.dir / file).unlink()
    assert not loops, f'loop devices left behind: {loops}'
    for name in snapshots:
        (session_pool.dir / '.cleat' / 'snapshots' / name).unlink(missing_ok=True)
    assert not files, f'files left in the pool: {files}'
    assert not snapshots, f'snapshots left in the pool: {snapshots}'


@pytest.fixture
def own_pool(work):
    """A small pool of this test alone, to be filled, broken or taken away."""
    p = harness.Pool(work, size=harness.GIB)
    yield p
    for point, *_ in reversed(harness.mountinfo()):
        if point == str(p.dir):
            subprocess.run(['umount', p.dir], check=False)


@pytest.fixture
def driver(work, pool):
    d = harness.Driver(work, pool).start()
    yield d
    leave_nothing(d)


def leave_nothing(d):
    """Takes a test's volumes away by CSI, as a CO would after a crash, then ends the driver."""
    try:
        if d.process.child.poll() is not None:
            d.start()
        left = [v.volume_id for v in d.calls.volumes()] + [s.snapshot_id for s in d.calls.snapshots()]
        if left:
            clear_volumes(d)
        d.stop()
    finally:
        d.end()
    assert not left, f'volumes or snapshots left behind: {left}'


def clear_volumes(d):
    """After a failed test: unmounts what is below its directory, then deletes every volume."""
    clean_mounts(d.dir)
    for v in d.calls.volumes():
        d.calls.delete(v.volume_id)
    for group_id, members in d.calls.groups().items():
        d.calls.delete_group(group_id, members)
    for s in d.calls.snapshots():
        d.calls.delete_snapshot(s.snapshot_id)


@pytest.fixture
def snapshot(driver):
    """A maker of snapshots: snapshot(volume) gives its id; what is left of them is deleted after the test."""
    made = []

    def make(v, name=None, **words):
        made.append(driver.calls.snapshot(name or f'snapshot-{uuid.uuid4()}', v.id, **words).snapshot_id)
        return made[-1]

    yield make
    if driver.process.child.poll() is not None:
        driver.start()
    for snapshot_id in made:
        driver.calls.delete_snapshot(snapshot_id)


@pytest.fixture
def volume(driver, work):
    """A maker of volumes; those that a test leaves are taken down after it in the proper order."""
    made = []

    def make(**words):
        made.append(harness.Volume(driver, work, **words))
        return made[-1]

    yield make
    if driver.process.child.poll() is not None:
        driver.start()
    for v in made:
        if v.id:
            v.unpublish().unstage().delete()


@pytest.fixture(scope='session')
def ceph():
    """A cluster whose data is in memory, for all tests of a run that do it no harm."""
    lacking = cluster.missing()
    if lacking:
        pytest.skip(f'Ceph: SKIPPED: {lacking}')
    with cluster.opened() as found:
        yield found


@pytest.fixture
def rbd(work, ceph):
    """A driver of its images; after the test nothing of it is left in the pool."""
    import ceph_driver
    import journal
    d = ceph_driver.Driver(work, ceph).start()
    try:
        yield d
        d.stop()
        ceph_driver.wait_nothing_left(ceph, journal)
    except BaseException:
        d.end()
        ceph_driver.wipe(ceph, journal)
        raise
    finally:
        d.end()


@pytest.fixture(scope='session')
def fs_ceph():
    """One that has a filesystem, too; brought up when the first test of it runs."""
    lacking = cluster.missing(filesystem=True)
    if lacking:
        pytest.skip(f'Ceph: SKIPPED: {lacking}')
    with cluster.opened(filesystem=True) as found:
        yield found


@pytest.fixture
def cephfs(work, fs_ceph):
    """A driver of its subvolumes; after the test nothing of it is left in the filesystem or the journal."""
    import cephfs_driver
    import fs_journal
    d = cephfs_driver.Driver(work, fs_ceph).start()
    try:
        yield d
        d.stop()
        left = fs_journal.left(fs_ceph)
        assert not left, f'left in the filesystem: {left}'
    except BaseException:
        d.end()
        clean_mounts(work)
        fs_journal.wipe(fs_ceph)
        raise
    finally:
        d.end()
