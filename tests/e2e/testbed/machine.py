# SPDX-License-Identifier: Apache-2.0
"""Processes, loop devices and cgroups of the machine, as far as a test cluster needs them."""
import errno
import fcntl
import json
import os
import signal
import subprocess
import time
from pathlib import Path


# Of the end of a node: its mounts go with its last process, and the kernel writes back what they hold first; on a slow disk that
# takes its time. What is there still after so many seconds stays for ever.
LONG = 120


class Failure(Exception):
    """What a person is told when the cluster cannot be had."""


def wait_for(what, seconds, probe, each=0.05):
    """Calls probe until it returns something true; that is returned."""
    end = time.monotonic() + seconds
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(each)


def birth(pid):
    """When the process began, in ticks since boot: tells it from a later one of the same number.

    None if there is no such process or only its remains: the first thread may be a zombie while others still run and hold
    the process's ports."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, threads, start = fields[0], int(fields[17]), int(fields[19])
    return None if state in "ZX" and threads <= 1 else start


def parent(pid):
    """None if there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def only_child(pid):
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if len(children) == 1 else None


class Process:
    """A process found again by number and birth, so that no other is ever signalled."""

    def __init__(self, pid, born=None):
        self.pid, self.born = pid, born or birth(pid)

    def alive(self):
        return self.born is not None and birth(self.pid) == self.born

    def send(self, number):
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def end(self, number=signal.SIGTERM, seconds=30):
        """Ends it by the signal, or, when it takes longer, by SIGKILL."""
        self.send(number)
        try:
            wait_for(f"end of process {self.pid}", seconds, lambda: not self.alive())
        except Failure:
            self.send(signal.SIGKILL)
            wait_for(f"end of process {self.pid} after SIGKILL", LONG, lambda: not self.alive())


class Loop:
    """A loop device in use: what it is called and the file behind it, by number of the filesystem and inode."""

    def __init__(self, row):
        self.device, self.path = row["name"], row["back-file"] or ""
        # Padded with blanks, in JSON too.
        self.filesystem, self.inode = row["back-maj:min"].strip(), int(row["back-ino"])

    def is_backed_by(self, path):
        file = os.stat(path)
        return self.inode == file.st_ino and self.filesystem == f"{os.major(file.st_dev)}:{os.minor(file.st_dev)}"


def loop_devices():
    text = subprocess.run(["losetup", "--list", "--json", "--output", "NAME,BACK-MAJ:MIN,BACK-INO,BACK-FILE"],
                          check=True, text=True, stdout=subprocess.PIPE).stdout
    rows = json.loads(text)["loopdevices"] if text.strip() else []
    # one that goes while losetup looks has a name and nothing behind it
    return [Loop(row) for row in rows if row["back-maj:min"] and row["back-ino"] is not None]


def device_number(path):
    number = os.stat(path).st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def detach_loop(loop):
    subprocess.run(["losetup", "--detach", loop.device], stderr=subprocess.DEVNULL, check=False)


def who_has(device):
    """The processes in whose mount namespaces the device is mounted, or that have it open: as text, for a Failure."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (f" {device} " in (entry / "mountinfo").read_text() or any(
                    os.readlink(fd) == device for fd in (entry / "fd").iterdir())):
                found.append(f"{entry.name} ({(entry / 'comm').read_text().strip()})")
        except OSError:
            pass  # it has ended
    return ", ".join(found) or "no process"


def remove_idle_loops():
    """Removes the loop devices that are bound to nothing and open nowhere; returns how many.

    What an earlier user set in a device's queue stays with its number, and a used machine so hides what a new one shows.
    The kernel makes a device again when it is asked for."""
    remove = 0x4C81  # LOOP_CTL_REMOVE
    removed = 0
    with open("/dev/loop-control", "rb") as control:
        for entry in Path("/sys/block").glob("loop*"):
            try:
                if not (entry / "loop").exists():
                    fcntl.ioctl(control, remove, int(entry.name[4:]))
                    removed += 1
            except OSError as error:
                # bound or opened in between, or gone
                if error.errno not in (errno.EBUSY, errno.ENODEV):
                    raise
    return removed


def cgroup_hierarchies():
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        return [top]
    return [entry for entry in top.iterdir() if (entry / "cgroup.procs").exists()]


def make_cgroup(name):
    for hierarchy in cgroup_hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)


def remove_cgroup(name):
    """Removes the group and those below it; returns the ones that would not go."""
    def sweep():
        left = []
        for hierarchy in cgroup_hierarchies():
            for folder, _, _ in os.walk(hierarchy / name, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError as error:
                    if error.errno != errno.ENOENT:
                        left.append(folder)
        return left

    try:
        wait_for("empty cgroups", LONG, lambda: not sweep())
    except Failure:
        return sweep()
    return []
