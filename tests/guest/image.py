#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the guest's kernel and initramfs.

usage: tests/guest/image.py BUILD     BUILD/guest/vmlinux and BUILD/guest/initrd of BUILD/cleat and what `tools/deps guest` got;
                                      BUILD/guest/initrd-ceph with the kernel's client for Ceph, and librados and librbd if they are here

Both are uncompressed: an emulated processor unpacks thirty times slower than this one. In the initramfs are the agent, cleat,
the tools that cleat runs, a few for the tests, and the libraries that all these are linked with, as this machine has them.
"""
import lzma
import pathlib
import re
import shutil
import stat
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KERNEL = ROOT / 'build/deps/guest/root'
MODULES = ['virtio_blk', 'virtio_net', 'loop', 'xfs']
# A kernel of its own loads these when they are asked for; here nobody is asked.
CEPH_MODULES = ['rbd', 'ceph', 'gcm', 'ghash_generic', 'seqiv']
CEPH_LIBRARIES = ['librados.so.2', 'librbd.so.1']
TOOLS = ['mkfs.ext4', 'mkfs.xfs', 'e2fsck', 'resize2fs', 'xfs_repair', 'dd']
DIRS = ['bin', 'dev', 'etc', 'lib', 'modules', 'pool', 'proc', 'run', 'sys', 'tmp', 'v']


def output(*words):
    return subprocess.run([str(w) for w in words], check=True, capture_output=True).stdout


def kernel_image(vmlinuz):
    """The ELF file in it. Its header says where that lies (Documentation/arch/x86/boot.rst of Linux)."""
    data = vmlinuz.read_bytes()
    start = (data[0x1f1] + 1) * 512 + struct.unpack_from('<I', data, 0x248)[0]
    payload = data[start:start + struct.unpack_from('<I', data, 0x24c)[0]]
    if payload[:4] == b'\x28\xb5\x2f\xfd':
        return subprocess.run(['zstd', '-dcq'], input=payload[:-4], check=True, capture_output=True).stdout
    return lzma.decompress(payload[:-4])


def module_text(path):
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == '.xz' else data


def modules(names, there=()):
    """{name: bytes} of them, each after those that it needs, but for those that are there; what the kernel has built in is
    nobody's file."""
    files = {p.name.split('.')[0].replace('-', '_'): p for p in KERNEL.rglob('*.ko*')}
    found = {}

    def add(name):
        if name in found or name in there or name not in files:
            return
        text = module_text(files[name])
        for needed in re.search(rb'\0depends=([^\0]*)\0', text)[1].decode().split(','):
            add(needed.replace('-', '_'))
        found[name] = text

    for name in names:
        assert name in files, f'{KERNEL} has no module {name}'
        add(name)
    return found


def libraries(program):
    """{path in the guest: file here} of what the loader would take."""
    found = {}
    for line in output('ldd', program).decode().splitlines():
        match = re.match(r'\s*(?:(\S+) => )?(/\S+) \(', line)
        if match:
            name = match[1]
            found[f'lib/{name}' if name else match[2].lstrip('/')] = match[2]
    return found


class Archive:
    """A cpio archive of the kind that the kernel unpacks (newc)."""

    def __init__(self, file):
        self.file, self.n, self.names = file, 0, set()

    def add(self, name, mode, data=b''):
        parent = name.rpartition('/')[0]
        if parent and parent not in self.names:
            self.add(parent, stat.S_IFDIR | 0o755)
        self.names.add(name)
        self.n += 1
        head = [self.n, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        text = b'070701' + b''.join(b'%08x' % v for v in head) + name.encode() + b'\0'
        self.file.write(text.ljust((len(text) + 3) // 4 * 4, b'\0') + data.ljust((len(data) + 3) // 4 * 4, b'\0'))

    def program(self, name, path):
        self.add(name, stat.S_IFREG | 0o755, pathlib.Path(path).read_bytes())


def stripped(path, scratch):
    subprocess.run(['strip', '-o', scratch, path], check=True)
    return scratch


def bare(module, scratch):
    """Without what only debuggers read, nor the signature, whose check takes an emulated processor a second."""
    scratch.write_bytes(module)
    subprocess.run(['strip', '--strip-debug', '-R', '.BTF', '-R', '.BTF.base', scratch], check=True)
    return scratch.read_bytes()


def add_modules(archive, texts, first, scratch):
    """Those of a higher number are loaded later."""
    for i, text in enumerate(texts, first):
        archive.add(f'modules/{i:02}.ko', stat.S_IFREG | 0o644, bare(text, scratch))


def make_initrd(build, out):
    """Names of its modules."""
    tools = {'bin/cleat': build / 'cleat', **{f'bin/{t}': shutil.which(t, path='/usr/sbin:/usr/bin:/sbin:/bin') for t in TOOLS}}
    files = {}
    for path in tools.values():
        files.update(libraries(path))
    with open(out, 'wb') as f:
        a = Archive(f)
        for d in DIRS:
            a.add(d, stat.S_IFDIR | 0o755)
        a.program('init', build / 'tests/guest/guest_agent')
        a.program('bin/busybox', shutil.which('busybox', path='/usr/bin:/bin'))
        for name in ('sh', 'mount', 'umount', 'cat', 'dmesg', 'sync', 'ls', 'losetup', 'rm'):
            a.add(f'bin/{name}', stat.S_IFLNK | 0o777, b'busybox')
        for name, path in {**tools, **files}.items():
            a.program(name, stripped(path, out.with_suffix('.strip')))
        found = modules(MODULES)
        add_modules(a, found.values(), 0, out.with_suffix('.strip'))
        a.add('TRAILER!!!', 0)
    out.with_suffix('.strip').unlink()
    return found


def ceph_libraries():
    """{path in the guest: file here}, or nothing where Ceph is not installed (tools/deps ceph)."""
    known = dict(re.findall(r'\t(\S+) .* => (\S+)', output('ldconfig', '-p').decode()))
    files = {f'lib/{name}': known[name] for name in CEPH_LIBRARIES if name in known}
    for path in list(files.values()):
        files.update(libraries(path))
    return files


def make_initrd_of_ceph(base, loaded, out):
    """The other one, and behind it an archive of its own, which the kernel unpacks over the first."""
    scratch = out.with_suffix('.strip')
    shutil.copy(base, out)
    with open(out, 'ab') as f:
        a = Archive(f)
        for name, path in ceph_libraries().items():
            a.program(name, stripped(path, scratch))
        add_modules(a, modules(CEPH_MODULES, loaded).values(), len(loaded), scratch)
        a.add('TRAILER!!!', 0)
    scratch.unlink()


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    out = build / 'guest'
    out.mkdir(exist_ok=True)
    vmlinuz, = (KERNEL / 'boot').glob('vmlinuz-*')
    (out / 'vmlinux').write_bytes(kernel_image(vmlinuz))
    loaded = make_initrd(build, out / 'initrd')
    make_initrd_of_ceph(out / 'initrd', loaded, out / 'initrd-ceph')


if __name__ == '__main__':
    main()
