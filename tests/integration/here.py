# SPDX-License-Identifier: Apache-2.0
"""What a load does to files of volumes, where the driver's machine is this one. Another machine (tests/guest) does the same by
the same names, and may go."""
import contextlib
import fcntl
import os
import struct
import subprocess
import threading

BLKGETSIZE64 = 0x80081272
HANGS_S = 60


class Trouble(Exception):
    pass


class PowerCut(Exception):
    """The machine that it all is done on is gone, and with it the answer."""


class Gate:
    """Files of volumes are open within it in any number; a program is started while none is, since between fork and exec it
    would have them all and keep the volume busy. That it does not come to be free is how a frozen filesystem is seen."""

    def __init__(self):
        self.changed, self.n_open, self.waits = threading.Condition(), 0, 0

    @contextlib.contextmanager
    def files(self):
        with self.changed:
            self.changed.wait_for(lambda: not self.waits)
            self.n_open += 1
        try:
            yield
        finally:
            with self.changed:
                self.n_open -= 1
                self.changed.notify_all()

    @contextlib.contextmanager
    def program(self):
        with self.changed:
            self.waits += 1
            try:
                if not self.changed.wait_for(lambda: not self.n_open, HANGS_S):
                    raise Trouble('a write hangs: some filesystem stays frozen')
                yield
            finally:
                self.waits -= 1
                self.changed.notify_all()


class Here:
    """What is done on the machine of the driver, when that is this one. Each returns when the system call has."""
    is_cut = False

    def __init__(self, gate):
        self.gate = gate

    @staticmethod
    def make_dir(path):
        path.mkdir(parents=True, exist_ok=True)

    def write(self, path, offset, data, sync=True):
        """Makes the file if it is not there."""
        with self.gate.files():
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            os.pwrite(fd, data, offset)
            if sync:
                os.fsync(fd)
            os.close(fd)

    def replace(self, path, data):
        """By rename, and synced."""
        with self.gate.files():
            new = path.with_name(f'{path.name}.new')
            with open(new, 'wb', buffering=0) as f:
                f.write(data)
                os.fsync(f.fileno())
            new.rename(path)
            self.sync_dir(path.parent)

    def remove(self, path):
        with self.gate.files():
            path.unlink()
            self.sync_dir(path.parent)

    @staticmethod
    def sync_dir(path):
        d = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(d)
        os.close(d)

    def read(self, path, offset, length):
        """None: there is no such file."""
        with self.gate.files():
            try:
                with open(path, 'rb', buffering=0) as f:
                    return os.pread(f.fileno(), length, offset)
            except FileNotFoundError:
                return None

    def look(self, path):
        """(size, allocated) of a file, (size, 0) of a device, (size, free) of the filesystem of a directory; None: not there."""
        with self.gate.files():
            if path.is_dir():
                s = os.statvfs(path)
                return s.f_blocks * s.f_frsize, s.f_bavail * s.f_frsize
            if path.is_block_device():
                with open(path, 'rb', buffering=0) as f:
                    return struct.unpack('Q', fcntl.ioctl(f.fileno(), BLKGETSIZE64, b'\0' * 8))[0], 0
            with contextlib.suppress(FileNotFoundError):
                st = path.stat()
                return st.st_size, st.st_blocks * 512
            return None

    def run(self, *words):
        """(exit status, what it wrote)"""
        with self.gate.program():
            child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        out = child.communicate()[0]
        return child.returncode, out
