# SPDX-License-Identifier: Apache-2.0
"""Fixtures. Needs no root, but for a network with a cluster of Ceph in it: all that is mounted is in the guest."""
import os
import pathlib
import random
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / 'integration'))
sys.path.insert(0, str(pathlib.Path(__file__).parent))

GIB = 1 << 30


def pytest_configure(config):
    import ceph_node  # noqa: PLC0415  needs the paths above
    ceph_node.enter_own_network()


@pytest.fixture
def seed():
    value = int(os.environ.get('CLEAT_SEED', random.randrange(1 << 32)))
    print(f'CLEAT_SEED={value}')
    return value


@pytest.fixture
def work():
    path = pathlib.Path(tempfile.mkdtemp(prefix='cleat-guest-', dir=os.environ.get('CLEAT_TMP', '/var/tmp')))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def disk(work):
    """Sparse, and large enough for all that eight workers may have."""
    path = work / 'disk'
    with open(path, 'wb') as f:
        f.truncate(48 * GIB)
    return path


@pytest.fixture
def machine(work, disk, seed):
    """One that is up, with a pool and a driver."""
    import guest  # noqa: PLC0415  needs the paths above
    m = guest.Machine(work / 'machine', disk, seed)
    try:
        m.mount_pool(is_new=True).start_driver()
        yield m
    finally:
        m.cut()
