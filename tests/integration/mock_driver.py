# SPDX-License-Identifier: Apache-2.0
"""Another vendor's driver: the mock of Kubernetes' own end-to-end tests (tests/tools/mock-driver), which provisions, cuts,
restores, clones, grows, modifies, attaches, lists and tells its capacity. It has no groups of snapshots, and what it knows is
gone with its process."""
import json
import subprocess

from harness import ROOT, Driver, Process

# What it has from the start.
BUILT_IN = 3


class MockDriver(Driver):
    name = 'io.kubernetes.storage.mock'
    topology_key, topology_value = 'io.kubernetes.storage.mock/node', 'some-mock-node'

    def __init__(self, directory, *options):
        super().__init__(directory, None)
        folder = subprocess.run([ROOT / 'tests/tools/build', 'mock-driver'], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        self.calls_file = directory / 'calls'
        self.words = [f'{folder}/mock-driver', f'-endpoint={self.socket}', f'-calls={self.calls_file}', *options]

    def spawn(self):
        self.n_starts += 1
        self.socket.unlink(missing_ok=True)
        self.process = Process(self.dir / f'mock-{self.n_starts}.log', *self.words[1:], program=self.words[0])
        self.connect()

    def called(self, begin=0):
        """[(method, request, error)] from that one on."""
        lines = [json.loads(line) for line in self.calls_file.read_text().splitlines()[begin:]]
        return [(c['method'].rpartition('/')[2], c['request'], c.get('error', '')) for c in lines]

    def n_called(self):
        return len(self.calls_file.read_text().splitlines())

    def n_left(self):
        """Volumes and snapshots that somebody made."""
        return len(self.calls.volumes()) - BUILT_IN, len(self.calls.snapshots()) - BUILT_IN
