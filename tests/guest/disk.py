#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A disk with a volatile cache, as an NBD server for one machine.

usage: tests/guest/disk.py SOCKET FILE SEED [--ignore-flushes] [--lose-all]

What was written lies in memory until the machine asks for a flush (or writes with FUA), which puts it into FILE. When the
machine's connection ends, the power is cut: of each block everything since its last flush is possible. A block of 4096 bytes
is whole (disks of that sector size promise so much), but which of its versions is there, the one on disk or any that was written
since, is drawn for each block by itself, so a later write may have survived where an earlier one did not, and a large one
in part. How much survives at all is drawn once a cut: nothing, little, the half, most or all; with --lose-all, nothing. Then
it prints what became of how many blocks, and ends.

A moment taken at random is mostly one with nothing at stake, since whoever syncs much has little that is not safe. So the
one who cuts says SIGUSR1 first: the disk then draws how much shall be at stake, and stops, and says so, when it is asked for a
flush of that much. It no longer answers then, and has not done what it was asked for.

With --ignore-flushes it is a disk that lies: flushes are answered and do nothing.
"""
import random
import signal
import socket
import struct
import sys

BLOCK = 4096
REQUEST, REPLY = 0x25609513, 0x67446698
READ, WRITE, DISCONNECT, FLUSH = range(4)
FUA = 1
HAS_FLAGS, SEND_FLUSH, SEND_FUA = 1, 4, 8
OPT_MAGIC, OPT_REPLY = 0x49484156454F5054, 0x3E889045565A9
OPT_EXPORT_NAME, OPT_ABORT, OPT_INFO, OPT_GO = 1, 2, 6, 7
REP_ACK, REP_INFO, REP_UNSUPPORTED = 1, 3, 0x80000001
EINVAL = 22


class Disk:
    """Blocks, of which those in versions are not safe yet: everything that was written there since the last flush, in order."""

    def __init__(self, file, size, ignores_flushes=False):
        self.file, self.size, self.ignores_flushes = file, size, ignores_flushes
        self.versions = {}

    def stored(self, block):
        self.file.seek(block * BLOCK)
        return self.file.read(BLOCK).ljust(BLOCK, b'\0')

    def read(self, offset, length):
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        self.file.seek(first * BLOCK)
        data = bytearray(self.file.read((last - first + 1) * BLOCK).ljust((last - first + 1) * BLOCK, b'\0'))
        if self.versions:
            for block in range(first, last + 1):
                if block in self.versions:
                    at = (block - first) * BLOCK
                    data[at:at + BLOCK] = self.versions[block][-1]
        return data[offset - first * BLOCK:][:length]

    def write(self, offset, data):
        for at in range(0, len(data), BLOCK):
            self.versions.setdefault((offset + at) // BLOCK, []).append(data[at:at + BLOCK])

    def store(self, block, data):
        self.file.seek(block * BLOCK)
        self.file.write(data)

    def flush(self, first=0, last=None):
        """All of it, or (FUA) what was written from first to last."""
        if self.ignores_flushes:
            return
        blocks = list(self.versions) if last is None else [b for b in range(first, last + 1) if b in self.versions]
        for block in blocks:
            self.store(block, self.versions.pop(block)[-1])

    def cut(self, chance, survives):
        """The power goes; survives: the likelihood for a block that it has anything new. Returns (blocks that were not safe,
        those of them whose last version was lost)."""
        n, n_lost = len(self.versions), 0
        for block, versions in self.versions.items():
            if chance.random() < survives:
                last = len(versions) - 1
                i = last if chance.random() < 0.5 else chance.randrange(len(versions))
                self.store(block, versions[i])
                n_lost += i != last
            else:
                n_lost += 1
        self.versions = {}
        self.file.flush()
        return n, n_lost


class Ended(Exception):
    pass


class Server:
    """The newstyle handshake and the transmission phase of the NBD protocol, for one connection."""

    def __init__(self, peer, disk, chance):
        self.peer, self.disk, self.file, self.stops_at = peer, disk, peer.makefile('rb', 1 << 20), None
        signal.signal(signal.SIGUSR1, lambda *_: self.stop_soon(chance))

    def stop_soon(self, chance):
        self.stops_at = chance.choice([1, 2, 4, 8, 16, 32])

    def stop(self):
        """Until the machine is gone."""
        print('stopped', flush=True)
        while self.peer.recv(1 << 20):
            pass
        raise Ended

    def get(self, n):
        data = self.file.read(n)
        if len(data) < n:
            raise Ended
        return data

    def handshake(self):
        self.peer.sendall(b'NBDMAGIC' + struct.pack('>QH', OPT_MAGIC, 3))
        self.get(4)
        flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA
        while True:
            _, option, length = struct.unpack('>QII', self.get(16))
            self.get(length)
            if option == OPT_EXPORT_NAME:
                self.peer.sendall(struct.pack('>QH', self.disk.size, flags))
                return
            if option not in (OPT_INFO, OPT_GO):
                self.reply_option(option, REP_UNSUPPORTED)
                continue
            self.reply_option(option, REP_INFO, struct.pack('>HQH', 0, self.disk.size, flags))
            self.reply_option(option, REP_INFO, struct.pack('>HIII', 3, BLOCK, BLOCK, 32 << 20))
            self.reply_option(option, REP_ACK)
            if option == OPT_GO:
                return

    def reply_option(self, option, kind, data=b''):
        self.peer.sendall(struct.pack('>QIII', OPT_REPLY, option, kind, len(data)) + data)

    def serve(self):
        self.handshake()
        while True:
            magic, flags, kind, cookie, offset, length = struct.unpack('>IHHQQI', self.get(28))
            assert magic == REQUEST
            error, data = 0, b''
            if kind == WRITE:
                self.disk.write(offset, self.get(length))
                if flags & FUA:
                    self.disk.flush(offset // BLOCK, (offset + length - 1) // BLOCK)
            elif kind == READ:
                data = self.disk.read(offset, length)
            elif kind == FLUSH:
                if self.stops_at and len(self.disk.versions) >= self.stops_at:
                    self.stop()
                self.disk.flush()
            elif kind == DISCONNECT:
                raise Ended
            else:
                error = EINVAL
            self.peer.sendall(struct.pack('>IIQ', REPLY, error, cookie) + data)


def main():
    path, name, seed = sys.argv[1:4]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    with open(name, 'r+b') as file:
        file.seek(0, 2)
        disk = Disk(file, file.tell(), '--ignore-flushes' in sys.argv)
        peer, _ = listener.accept()
        chance = random.Random(seed)
        try:
            Server(peer, disk, chance).serve()
        except (Ended, ConnectionError):
            pass
        survives = chance.choice([0, 0.1, 0.5, 0.9, 1]) * ('--lose-all' not in sys.argv)
        n, n_lost = disk.cut(chance, survives)
    print(f'{n} blocks were not safe, {n_lost} of them lost')


if __name__ == '__main__':
    main()
