# SPDX-License-Identifier: Apache-2.0
"""Every call ten times is as good as once, a second one while the first runs is told so, and a restart between any two
steps changes nothing."""
import contextlib

import grpc
import pytest
from harness import MIB, Code, Volume, block_cap, fails, in_threads, mount_cap, mountinfo

STEPS = ['create', 'stage', 'publish', 'unpublish', 'unstage', 'delete']


def mounts_at(path):
    return sum(1 for m in mountinfo() if m[0] == str(path))


@pytest.mark.parametrize('cap', [mount_cap(), mount_cap('xfs'), block_cap()], ids=['ext4', 'xfs', 'block'])
def test_each_step_ten_times(volume, pool, cap):
    v = volume(cap=cap, size=320 * MIB)
    ids = {v.create().id for _ in range(10)}
    assert len(ids) == 1
    assert len(v.calls.volumes()) == 1
    for _ in range(10):
        v.stage()
    assert len(pool.loops()) == 1
    for _ in range(10):
        v.publish()
    assert mounts_at(v.target) == 1
    for _ in range(10):
        v.unpublish()
    assert mounts_at(v.target) == 0
    for _ in range(10):
        v.unstage()
    assert mounts_at(v.staging) == 0
    assert pool.loops() == {}
    for _ in range(10):
        v.delete()
    assert v.calls.volumes() == []


@pytest.mark.parametrize('cap', [mount_cap(), block_cap()], ids=['ext4', 'block'])
@pytest.mark.parametrize('after', range(len(STEPS)), ids=STEPS)
def test_killed_after_a_step_and_the_step_repeated(driver, volume, cap, after):
    v = volume(cap=cap)
    for i, step in enumerate(STEPS):
        getattr(v, step)()
        if i == after:
            driver.restart()
            getattr(v, step)()
            getattr(v, step)()
    v.id = None


def test_data_outlives_the_driver(driver, volume):
    v = volume().up()
    (v.target / 'x').write_text('one')
    driver.kill()
    (v.target / 'y').write_text('the pod writes on while nobody serves')
    driver.start()
    assert (v.target / 'x').read_text() == 'one'
    v.unpublish().unstage().stage().publish()
    assert (v.target / 'y').read_text().startswith('the pod')


def test_second_call_for_a_volume_is_aborted_and_told_what_runs(volume):
    """Twenty stages of one volume at once: one works, each other one is a repetition or is told of the running call."""
    v = volume(size=512 * MIB).create()
    v.staging.mkdir(parents=True)
    results = in_threads(*[v.stage] * 20)
    errors = [r for r in results if isinstance(r, Exception)]
    assert len(errors) < 20
    for e in errors:
        assert isinstance(e, grpc.RpcError)
        assert e.code() == Code.ABORTED, e.details()
        assert 'NodeStageVolume' in e.details()


def test_same_name_created_at_once_is_one_volume(driver):
    def create():
        with contextlib.suppress(grpc.RpcError):
            return driver.calls.create('twins').volume_id
        return None
    ids = {i for i in in_threads(*[create] * 20) if i}
    assert len(ids) == 1
    assert len(driver.calls.volumes()) == 1
    driver.calls.delete(ids.pop())


def test_two_names_of_a_place_are_one(driver, work):
    """kubelet's directory is often a link: the mount table has the real name, the calls the other."""
    v = Volume(driver, work).create()
    v.stage()
    (work / 'link').symlink_to(v.dir)
    staging = work / 'link' / 'staging'
    (v.dir / 'pod').mkdir()
    driver.calls.publish(v.id, staging, work / 'link' / 'pod' / 'a', v.cap)
    with fails(Code.FAILED_PRECONDITION, str(v.dir / 'pod' / 'a')):
        driver.calls.publish(v.id, staging, work / 'link' / 'pod' / 'b', v.cap)
    with fails(Code.FAILED_PRECONDITION, str(v.dir / 'pod' / 'a')):
        driver.calls.unstage(v.id, staging)
    driver.calls.unpublish(v.id, work / 'link' / 'pod' / 'a')
    driver.calls.unstage(v.id, staging)
    assert not driver.pool.loops()
    v.delete()
