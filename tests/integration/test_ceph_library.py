# SPDX-License-Identifier: Apache-2.0
"""What unit tests take for granted of librados and librbd (tests/fake/ceph.c), asked of these two on a real cluster, by the same
programs: tests/unit/backend/test_ceph_contract*.c."""
import os
import pathlib
import subprocess
import sys

import harness
import pytest

sys.path.append(str(pathlib.Path(__file__).parent.parent / 'ceph'))

import cluster  # noqa: E402

UNIT = pathlib.Path(harness.CLEAT).parent / 'tests/unit'
CONTRACTS = 'test_backend_ceph_contract', 'test_backend_ceph_contract_journal', 'test_backend_ceph_contract_who'


def hold(name, directory):
    done = subprocess.run([UNIT / name], env={**os.environ, 'CLEAT_CEPH': str(directory)}, capture_output=True, text=True,
                          timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'PASSED' in done.stdout + done.stderr


def test_the_fake_answers_as_the_libraries_do():
    lacking = cluster.missing()
    if lacking:
        pytest.skip(f'Ceph: SKIPPED: {lacking}')
    import journal
    with cluster.opened() as ceph:
        for name in CONTRACTS:
            hold(name, ceph.dir)
        with ceph.connect().open_ioctx(cluster.POOL) as io:
            assert not journal.left(io)


def test_the_fake_answers_as_the_manager_does(fs_ceph, tmp_path):
    """Subvolumes, by who may ask for them."""
    import fs_journal
    (tmp_path / 'csi').symlink_to(fs_ceph.config_dir)
    (tmp_path / 'secret.json').symlink_to(fs_ceph.dir / 'fs-secret.json')
    hold('test_backend_ceph_contract_fs', tmp_path)
    assert not fs_journal.left(fs_ceph)
