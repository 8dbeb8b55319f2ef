# SPDX-License-Identifier: Apache-2.0
"""One cluster for all tests, a namespace for each, and what one would look at when one fails."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cluster as clusters
from machine import Failure


@pytest.fixture(scope="session")
def cluster():
    found = clusters.open_cluster(os.environ["CLEAT"])
    yield found
    found.bed.down()


@pytest.fixture
def space(cluster, request):
    """A namespace. After the test all in it is deleted, and nothing may be left on the node."""
    name = "test-" + "".join(c if c.isalnum() else "-" for c in request.node.name.removeprefix("test_")).strip("-")[:50]
    cluster.kubectl("create", "namespace", name)
    request.node.cleat_cluster = cluster
    yield name
    cluster.clear(name)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    found = getattr(item, "cleat_cluster", None)
    if report.failed and found:
        try:
            for title, text in found.diagnose():
                report.sections.append((title, text))
        except (Failure, OSError, subprocess.SubprocessError) as failure:
            # the cluster may be gone, as when the end of it is what failed
            report.sections.append(("no more could be seen", str(failure)))
