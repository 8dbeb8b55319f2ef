# SPDX-License-Identifier: Apache-2.0
"""Encrypted images of a real Ceph: what lies in the pool is LUKS2 and no word of what was written; cryptsetup opens what was
formatted here, and what cryptsetup has formatted, as ceph-csi calls it, is opened here."""
import ctypes
import ctypes.util
import os
import pathlib
import shutil
import signal
import subprocess
import time

import grpc
import pytest
from ceph_driver import HANDLE, class_of, pool_of, servers_of, settled
from harness import MIB, Code, fails, mount_cap, wait_until

journal = pytest.importorskip('journal', reason='Ceph: SKIPPED: python3-rados and python3-rbd are not installed')
PASSPHRASE, OTHER = 'open sesame, said Ali Baba', 'open barley'
ENCRYPTED = class_of(encrypted='true', imageFeatures='layering,exclusive-lock,object-map,fast-diff,deep-flatten')
HEADER = 16 * MIB
LINE = b'forty thieves in forty jars of oil\n'
BYTES = LINE * 30000


def image_of(volume_id):
    return f'csi-vol-{HANDLE.fullmatch(volume_id)[1]}'


def raw(ceph, volume_id):
    """All bytes of an image as they lie in the pool, read by a client that knows of no encryption."""
    with pool_of(ceph) as io, journal.rbd.Image(io, image_of(volume_id), read_only=True) as image:
        return image.read(0, image.size())


def write_durably(path, content):
    with open(path, 'wb', buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())


class Volume:
    def __init__(self, driver, work, name, volume_id, context, fs):
        self.driver, self.cap, self.id, self.context = driver, mount_cap(fs), volume_id, dict(context)
        self.staging, self.target = work / f'staging-{name}', work / f'target-{name}'
        self.staging.mkdir()

    def stage(self, **more):
        return self.driver.calls.stage(self.id, str(self.staging), self.cap, volume_context=self.context, **more)

    def up(self):
        self.stage()
        self.driver.calls.publish(self.id, str(self.staging), str(self.target), self.cap, volume_context=self.context)
        return self.target

    def down(self):
        self.driver.calls.unpublish(self.id, str(self.target))
        self.driver.calls.unstage(self.id, str(self.staging))
        wait_until('the server has ended', lambda: not servers_of(self.id))

    def device_bytes(self):
        devno = os.stat(self.staging / self.id).st_dev
        return 512 * int(pathlib.Path(f'/sys/dev/block/{os.major(devno)}:{os.minor(devno)}/size').read_text())


@pytest.fixture
def make(rbd, work):
    """Volumes of a class with encrypted: "true", or those that are there already."""
    if os.path.exists('/sys/bus/rbd'):
        pytest.skip('Ceph: SKIPPED: this kernel has a client of its own')
    rbd.calls.secrets = {**rbd.calls.secrets, 'encryptionPassphrase': PASSPHRASE}

    def of(name, made=None, volume_id=None, fs='ext4', size=64 * MIB):
        made = made or (None if volume_id else rbd.calls.create(name, size, [mount_cap(fs)], parameters=ENCRYPTED))
        return Volume(rbd, work, name, volume_id or made.volume_id,
                      made.volume_context if made else {**ENCRYPTED, 'imageName': image_of(volume_id)}, fs)
    return of


def is_key(device, passphrase):
    """What cryptsetup says of a file that begins with a header, without a device-mapper."""
    done = subprocess.run(['cryptsetup', 'open', '--test-passphrase', '-d', '-', str(device), 'none'], input=passphrase.encode(),
                          capture_output=True, check=False)
    assert done.returncode in (0, 2), done
    return done.returncode == 0


def test_nothing_of_it_can_be_read_in_the_pool(rbd, ceph, work, make):
    v = make('pv-1')
    assert v.context['encrypted'] == 'true'
    with pool_of(ceph) as io:
        image = journal.look_at(io, image_of(v.id))
        keys = journal.omap(io, f'csi.volume.{v.id[-36:]}')
    assert image['size'] == 64 * MIB + HEADER
    assert image['metadata']['rbd.csi.ceph.com/encrypted'] == 'encryptionPrepared'
    assert image['metadata']['rbd.csi.ceph.com/luks2HeaderSize'] == str(HEADER)
    assert (keys['csi.volume.encryptKMS'], keys['csi.volume.encryptionType']) == ('default', 'block')
    write_durably(v.up() / 'a', BYTES)
    assert v.device_bytes() == 64 * MIB
    for pid in servers_of(v.id):
        for file in 'cmdline', 'environ':
            assert PASSPHRASE.encode() not in pathlib.Path(f'/proc/{pid}/{file}').read_bytes()
    before = servers_of(v.id)
    rbd.kill()
    rbd.start()
    rbd.calls.secrets = {**rbd.calls.secrets, 'encryptionPassphrase': PASSPHRASE}
    assert (v.up() / 'a').read_bytes() == BYTES and servers_of(v.id) == before
    v.down()
    with pool_of(ceph) as io:
        assert journal.look_at(io, image_of(v.id))['metadata']['rbd.csi.ceph.com/encrypted'] == 'encrypted'
    content = raw(ceph, v.id)
    assert content.startswith(b'LUKS\xba\xbe\0\2') and LINE not in content
    # the filesystem's superblock would have its magic there
    assert content[HEADER + 0x438:HEADER + 0x43a] != b'\x53\xef'
    assert PASSPHRASE not in rbd.process.text()
    for path in work.rglob('*'):
        if path.is_file() and v.id not in path.name:
            assert PASSPHRASE.encode() not in path.read_bytes(), path
    if shutil.which('cryptsetup'):
        (work / 'header').write_bytes(content)
        assert is_key(work / 'header', PASSPHRASE) and not is_key(work / 'header', OTHER)
    assert (v.up() / 'a').read_bytes() == BYTES
    v.down()
    rbd.calls.delete(v.id)


def test_another_passphrase_is_told_and_changes_nothing(rbd, ceph, make):
    v = make('pv-1')
    write_durably(v.up() / 'a', BYTES)
    v.down()
    before, began = raw(ceph, v.id), time.monotonic()
    with fails(Code.UNAUTHENTICATED, 'encryptionPassphrase', 'node-stage-secret-name'):
        v.stage(secrets={**rbd.calls.secrets, 'encryptionPassphrase': OTHER})
    assert time.monotonic() - began < 10
    with fails(Code.INVALID_ARGUMENT, 'encryptionPassphrase'):
        v.stage(secrets=ceph.secrets())
    assert OTHER not in rbd.process.text()
    assert raw(ceph, v.id) == before
    assert (v.up() / 'a').read_bytes() == BYTES
    v.down()
    rbd.calls.delete(v.id)


def test_it_grows_in_use_and_at_its_next_staging(rbd, make):
    v = make('pv-1', fs='xfs', size=400 * MIB)  # ext4 grows in use with CAP_SYS_RESOURCE alone
    write_durably(v.up() / 'a', BYTES)

    def is_grown(size):
        try:
            rbd.calls.node_expand(v.id, str(v.staging), size)
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.UNAVAILABLE, e.details()
            return False
        return v.device_bytes() == size

    before = os.statvfs(v.target).f_blocks
    assert rbd.calls.expand(v.id, 600 * MIB).capacity_bytes == 600 * MIB
    wait_until('its device has its size', lambda: is_grown(600 * MIB), 20)
    assert os.statvfs(v.target).f_blocks > before * 1.4
    v.down()
    assert rbd.calls.expand(v.id, 800 * MIB).capacity_bytes == 800 * MIB
    v.up()
    assert v.device_bytes() == 800 * MIB and os.statvfs(v.target).f_blocks > before * 1.8
    assert (v.target / 'a').read_bytes() == BYTES
    v.down()
    rbd.calls.delete(v.id)


def expanded(calls, volume_id, size):
    """An encrypted clone is flattened by the manager first."""
    def attempt():
        try:
            return calls.expand(volume_id, size)
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.ABORTED and 'flattened' in e.details(), f'{e.code()}: {e.details()}'
            return None
    return wait_until('it is flattened', attempt, 60)


def test_copies_open_with_the_same_passphrase(rbd, ceph, make):
    """Of a snapshot and of the volume, as clones that share its blocks and as images of their own; each has what was there then."""
    calls, v = rbd.calls, make('pv-1')
    write_durably(v.up() / 'a', BYTES)
    s = calls.snapshot('snapshot-1', v.id)
    assert s.size_bytes == 64 * MIB
    write_durably(v.target / 'a', b'later' * 1000)
    v.down()
    with fails(Code.OUT_OF_RANGE, 'expand it then'):
        calls.restore('pv-2', s.snapshot_id, 128 * MIB, parameters=ENCRYPTED)
    r = make('pv-2', calls.restore('pv-2', s.snapshot_id, parameters=ENCRYPTED))
    c = make('pv-3', calls.clone('pv-3', v.id, 64 * MIB, parameters=ENCRYPTED))
    for copy, content in (r, BYTES), (c, b'later' * 1000):
        assert (copy.up() / 'a').read_bytes() == content
        assert copy.device_bytes() == 64 * MIB
        write_durably(copy.target / 'b', BYTES)
        copy.down()
    assert expanded(calls, r.id, 128 * MIB).capacity_bytes == 128 * MIB
    assert (r.up() / 'a').read_bytes() == (r.target / 'b').read_bytes() == BYTES
    assert r.device_bytes() == 128 * MIB
    write_durably(r.target / 'c', os.urandom(80 * MIB))
    r.down()
    assert (v.up() / 'a').read_bytes() == b'later' * 1000 and not (v.target / 'b').exists()
    v.down()
    assert LINE not in raw(ceph, r.id) + raw(ceph, c.id) + raw(ceph, v.id)
    with fails(Code.INVALID_ARGUMENT, 'is encrypted'):
        calls.restore('pv-4', s.snapshot_id)
    for x in r, c:
        settled(calls.delete, x.id)
    settled(calls.delete_snapshot, s.snapshot_id)
    settled(calls.delete, v.id)


def test_a_copy_of_one_that_nobody_wrote_to(rbd, make):
    calls, v = rbd.calls, make('pv-1')
    s = calls.snapshot('snapshot-1', v.id)
    r = make('pv-2', calls.restore('pv-2', s.snapshot_id, parameters=ENCRYPTED))
    for x in v, r:
        write_durably(x.up() / 'a', BYTES)
        x.down()
    assert (r.up() / 'a').read_bytes() == BYTES
    r.down()
    settled(calls.delete, r.id)
    settled(calls.delete_snapshot, s.snapshot_id)
    settled(calls.delete, v.id)


def test_a_server_that_dies_takes_nothing_with_it(rbd, make):
    v = make('pv-1')
    write_durably(v.up() / 'a', BYTES)
    os.kill(servers_of(v.id)[0], signal.SIGKILL)
    v.down()

    def is_up():
        try:
            v.up()
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.FAILED_PRECONDITION and 'still in use' in e.details(), e.details()
            return False
        return True
    wait_until('its watch is not seen any more', is_up, 45)
    assert (v.target / 'a').read_bytes() == BYTES
    v.down()
    rbd.calls.delete(v.id)


def test_what_is_there_is_not_formatted(rbd, ceph, make):
    v = make('pv-1')
    with pool_of(ceph) as io, journal.rbd.Image(io, image_of(v.id)) as image:
        image.write(LINE, 1024)
    with fails(Code.FAILED_PRECONDITION, 'no LUKS'):
        v.stage()
    assert raw(ceph, v.id)[1024:1024 + len(LINE)] == LINE
    v.driver.calls.unstage(v.id, str(v.staging))
    rbd.calls.delete(v.id)


# --- what ceph-csi made

FORMATS = {
    'release 3.12': ['--hash', 'sha256', '--pbkdf-memory', '32768'],
    'sectors of 512 bytes, as of a kernel that says so': ['--hash', 'sha256', '--pbkdf-memory', '32768', '--sector-size', '512'],
    'release 3.15': ['--hash', 'sha256', '--luks2-metadata-size', '4096k', '--luks2-keyslots-size', '8192k', '--pbkdf-memory', '32768'],
}


def encrypt(key, sector, content):
    """AES-256 in XTS mode, by OpenSSL; each sector's tweak is its place in units of 512 bytes, whatever its size (dm-crypt's plain64)."""
    ssl = ctypes.CDLL(ctypes.util.find_library('crypto'))
    for name in 'EVP_CIPHER_CTX_new', 'EVP_aes_256_xts':
        getattr(ssl, name).restype = ctypes.c_void_p
    context, cipher = ctypes.c_void_p(ssl.EVP_CIPHER_CTX_new()), ctypes.c_void_p(ssl.EVP_aes_256_xts())
    out, n, parts = ctypes.create_string_buffer(sector), ctypes.c_int(), []
    for at in range(0, len(content), sector):
        number = (at // 512).to_bytes(16, 'little')
        assert ssl.EVP_EncryptInit_ex(context, cipher, None, key, number) == 1
        assert ssl.EVP_EncryptUpdate(context, out, ctypes.byref(n), content[at:at + sector], ctypes.c_int(sector)) == 1
        parts.append(out.raw)
    ssl.EVP_CIPHER_CTX_free(context)
    return b''.join(parts)


def cryptsetup(*words):
    done = subprocess.run(['cryptsetup', '-q', *words, '-d', '-'], input=PASSPHRASE.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def device_of_ceph_csi(work, words):
    """A file with what ceph-csi leaves on an image: formatted by cryptsetup, an ext4 with one file behind dm-crypt."""
    device, plain, key, content = work / 'device', work / 'plain', work / 'key', work / 'content'
    content.mkdir()
    (content / 'a').write_bytes(BYTES)
    device.write_bytes(b'')
    os.truncate(device, 64 * MIB)
    cryptsetup('luksFormat', '--type', 'luks2', *words, str(device))
    cryptsetup('luksDump', '--dump-volume-key', '--volume-key-file', str(key), str(device))
    sector = int(cryptsetup('luksDump', str(device)).split('sector:')[1].split()[0])
    plain.write_bytes(b'')
    os.truncate(plain, 64 * MIB - HEADER)
    subprocess.run(['mkfs.ext4', '-q', '-m0', '-d', str(content), str(plain)], check=True)
    with open(device, 'r+b') as file:
        file.seek(HEADER)
        file.write(encrypt(key.read_bytes(), sector, plain.read_bytes()))
    return device


@pytest.mark.parametrize('release', FORMATS)
def test_what_ceph_csi_encrypted_is_opened(rbd, ceph, work, make, release):
    """Its bytes are right, it grows, and its copies open; the volume has what it has, and with its next growth what was asked."""
    if not shutil.which('cryptsetup'):
        pytest.skip('Ceph: SKIPPED: cryptsetup is not installed (tools/deps ceph)')
    calls = rbd.calls
    with pool_of(ceph) as io:
        v = make('pv-1', volume_id=journal.CephCsi(io).encrypted('pv-1', device_of_ceph_csi(work, FORMATS[release])))
    assert (v.up() / 'a').read_bytes() == BYTES
    assert v.device_bytes() == 64 * MIB - HEADER
    write_durably(v.target / 'b', BYTES)
    v.down()
    assert LINE not in raw(ceph, v.id)
    s = calls.snapshot('snapshot-1', v.id)
    assert s.size_bytes == 64 * MIB - HEADER
    r = make('pv-2', calls.restore('pv-2', s.snapshot_id, s.size_bytes, parameters=ENCRYPTED))
    assert (r.up() / 'a').read_bytes() == (r.target / 'b').read_bytes() == BYTES
    r.down()
    with pool_of(ceph) as io, journal.rbd.Image(io, image_of(r.id)) as image:
        image.resize(96 * MIB)  # as ceph-csi grows it
    with fails(Code.FAILED_PRECONDITION, 'flatten it first'):
        r.stage()
    r.driver.calls.unstage(r.id, str(r.staging))
    assert calls.expand(v.id, 128 * MIB).capacity_bytes == 128 * MIB
    assert (v.up() / 'b').read_bytes() == BYTES
    assert v.device_bytes() == 128 * MIB
    v.down()
    settled(calls.delete, r.id)
    settled(calls.delete_snapshot, s.snapshot_id)
    settled(calls.delete, v.id)


def test_a_header_that_librbd_does_not_open_is_told(rbd, ceph, work, make):
    """LUKS1, which an old ceph-csi made."""
    if not shutil.which('cryptsetup'):
        pytest.skip('Ceph: SKIPPED: cryptsetup is not installed (tools/deps ceph)')
    device = work / 'device'
    device.write_bytes(b'')
    os.truncate(device, 64 * MIB)
    cryptsetup('luksFormat', '--type', 'luks1', str(device))
    with pool_of(ceph) as io:
        v = make('pv-1', volume_id=journal.CephCsi(io).encrypted('pv-1', device))
    before = raw(ceph, v.id)
    with fails(Code.FAILED_PRECONDITION, 'header of LUKS2'):
        v.stage()
    assert raw(ceph, v.id) == before
    v.driver.calls.unstage(v.id, str(v.staging))
    rbd.calls.delete(v.id)
