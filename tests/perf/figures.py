# SPDX-License-Identifier: Apache-2.0
"""What a process keeps in memory, as tests/perf/memory and memory-cluster print it: private (anonymous) memory, which is its
own and nobody else's, and PSS, in which a page of a file that others map too counts by its share. KiB of
/proc/PID/smaps_rollup."""
import os
import pathlib
import re
import time

REST = 60


def environment():
    """What the image sets for the C library's allocator, from here on set for programs that are started."""
    text = (pathlib.Path(__file__).resolve().parents[2] / 'Containerfile').read_text()
    name, value = re.search(r'^ENV (GLIBC_TUNABLES)="([^"]+)"$', text, re.M).groups()
    os.environ[name] = value


def measure(pid):
    """(anonymous, PSS)"""
    text = pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text()
    values = {line.split(':')[0]: int(line.split()[1]) for line in text.splitlines() if line.endswith('kB')}
    return values['Anonymous'], values['Pss']


def settled(pid, patience=30):
    """Once three looks a second apart agree about what is private, or patience is at its end."""
    seen = [measure(pid)]
    while len(seen) < patience and [a for a, _ in seen[-3:]] != [seen[-1][0]] * 3:
        time.sleep(1)
        seen.append(measure(pid))
    return seen[-1]


def at_rest(pid):
    """After a load: once idle threads have ended and what is written behind it (Events) is written."""
    time.sleep(REST)
    return settled(pid)


def heading(*columns):
    print('KiB'.ljust(30) + ''.join(f'{c:>20}' for c in columns) + f'{"target":>11}')
    print(' ' * 30 + f'{"anonymous":>12}{"PSS":>8}' * len(columns) + f'{"anonymous":>11}')


def row(what, target, *figures):
    met = all(anonymous <= target for anonymous, _ in figures)
    print(f'{what:30}' + ''.join(f'{anonymous:12}{pss:8}' for anonymous, pss in figures)
          + f'{target:11}  {"met" if met else "NOT MET"}', flush=True)
