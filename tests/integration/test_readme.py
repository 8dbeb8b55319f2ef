# SPDX-License-Identifier: Apache-2.0
"""What README.md tells people to type, typed. (Its `helm install` is tools/check-chart's.)"""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import harness

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def blocks(heading):
    """The indented blocks of one section, in order."""
    section = re.search(rf'^## {re.escape(heading)}\n(.*?)(?=^## |\Z)', (ROOT / 'README.md').read_text(), re.M | re.S)
    assert section, f'README.md has no section "{heading}"'
    found = re.findall(r'(?:^    .*\n)+', section[1], re.M)
    return [re.sub('^    ', '', block, flags=re.M) for block in found]


@pytest.fixture
def tree(work):
    """A folder like the source tree after `make all`, with the program under test; /run, /mnt and /var/tmp/ of its own."""
    (work / 'tree/build').mkdir(parents=True)
    (work / 'tree/build/cleat').symlink_to(harness.CLEAT)
    for name in ('run', 'mnt', 'var-tmp'):
        (work / name).mkdir()
    return work / 'tree'


def paste(tree, text):
    """As a whole into one shell, in a mount namespace of its own. make has been there: it made the program."""
    # Not mounted over: the tree, and the program's libraries, may lie there.
    text = text.replace('/var/tmp/', f'{tree.parent}/var-tmp/')
    script = ('set -e\nmount --bind ../run /run\nmount --bind ../mnt /mnt\n'
              f'set +e\nmake() {{ :; }}\n{text}\n'
              'echo "left mounted: $(findmnt -rno TARGET | grep -cE "^/mnt/(data|stage)|/var-tmp/pool.img")"\n')
    return subprocess.run(['unshare', '--mount', '--propagation', 'private', 'bash', '-c', script], check=False,
                          cwd=tree, capture_output=True, text=True, timeout=120, env={**os.environ, 'CSI_ENDPOINT': ''})


def test_tour_as_a_whole(tree):
    (tour, *_) = blocks('Five minutes without a cluster')
    done = paste(tree, tour)
    said = f'{done.stdout}\n---\n{done.stderr}'
    assert 'hello' in done.stdout.splitlines(), said
    assert re.search(r'volume \S+ deleted', done.stdout), said
    assert 'left mounted: 0' in done.stdout, said
    # All that may be said on stderr: the first look was too early, and the shell tells of the driver that was killed.
    bad = [line for line in done.stderr.splitlines() if 'UNAVAILABLE' not in line and 'Killed' not in line]
    assert not bad, said
    for name in ('mnt', 'var-tmp'):
        assert not os.listdir(tree.parent / name), said


def test_every_command_is_one():
    """Each `cleat …` of the pages parses: a word or option that is gone is a wrong command line (2)."""
    pages = [ROOT / 'README.md', ROOT / 'charts/cleat/README.md', ROOT / 'SECURITY.md', ROOT / 'HACKING.md']
    found = [m for page in pages for m in re.findall(r'(?<![\w/-])(?:build/)?cleat (ctl [^`#\n]*)', page.read_text())]
    assert len(found) >= 8, found
    for words in found:
        verb = [w for w in words.replace('\\', ' ').split() if re.fullmatch('[a-z]+', w)][:3]
        done = subprocess.run([harness.CLEAT, *verb, '--help'], check=False, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)
        for option in re.findall(r'--([a-z-]+)', words):
            assert f'--{option}' in done.stdout, f'cleat {words}: no --{option}'


@pytest.mark.skipif(not shutil.which('make'), reason='the machine lacks make')
def test_two_commands_are_targets():
    for block in blocks('Two commands') + blocks('On a cluster'):
        for target in re.findall(r'^make (\S+)', block, re.M):
            done = subprocess.run(['make', '-n', target], cwd=ROOT, check=False, capture_output=True, text=True)
            assert done.returncode == 0, f'make {target}: {done.stderr}'
