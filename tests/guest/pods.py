# SPDX-License-Identifier: Apache-2.0
"""A pod's cgroup in the guest's own hierarchy (v2), laid out as kubelet and the runtime do it, and programs in it. Times are the
guest's, whose clock is also the limiter's."""

ROOT = '/sys/fs/cgroup'
PODS = f'{ROOT}/kubepods/burstable'


def write(machine, path, text):
    machine.write(path, 0, text.encode(), sync=False)


def make_kubepods(machine):
    path = ROOT
    for name in ('', 'kubepods', 'burstable'):
        path = f'{path}/{name}'.rstrip('/')
        machine.make_dir(path)
        write(machine, f'{path}/cgroup.subtree_control', '+io +memory')


class Group:
    """file: in the pod's volume, which its programs read and write."""

    def __init__(self, machine, uid, file):
        self.machine, self.group, self.file = machine, f'{PODS}/pod{uid}', file

    def start(self):
        """The runtime makes its cgroups."""
        self.machine.make_dir(f'{self.group}')
        write(self.machine, f'{self.group}/cgroup.subtree_control', '+io +memory')
        self.machine.make_dir(f'{self.group}/c1')
        return self

    def remove(self):
        self.machine.sure('busybox', 'rmdir', f'{self.group}/c1', self.group)

    def limits(self):
        """{device: words} of the pod's own cgroup; the kernel holds it against all that are below."""
        lines = self.machine.read(f'{self.group}/io.max', 0, 4096).decode().splitlines()
        return {line.split()[0]: line.split()[1:] for line in lines}

    def is_limited(self, **words):
        got = self.limits()
        if not words:
            return not got
        want = [f'{k}={words.get(k, "max")}' for k in ('rbps', 'wbps', 'riops', 'wiops')]
        return list(got.values()) == [want]

    def seconds(self, *dd):
        """How long it takes a program of the pod."""
        script = f'echo $$ >{self.group}/c1/cgroup.procs; cat /proc/uptime; dd "$@" 2>/run/dd || cat /run/dd; cat /proc/uptime'
        lines = self.machine.sure('sh', '-c', script, 'sh', *dd).splitlines()
        assert len(lines) == 2, lines
        return float(lines[1].split()[0]) - float(lines[0].split()[0])

    def direct_writes(self, n, bs='4k'):
        return self.seconds('if=/dev/zero', f'of={self.file}', f'bs={bs}', f'count={n}', 'oflag=direct', 'conv=notrunc')

    def direct_reads(self, n, bs='4k'):
        return self.seconds(f'if={self.file}', 'of=/dev/null', f'bs={bs}', f'count={n}', 'iflag=direct')
