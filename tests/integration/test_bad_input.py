# SPDX-License-Identifier: Apache-2.0
"""What bad arguments get: the code of the CSI specification, a message that names the field and the limit, and nothing made
outside pool and target. One test a row of the table of what bad input gets."""
import os
import pathlib
import random
import socket

import grpc
import pytest
from harness import (GIB, MIB, Code, Driver, Mode, Volume, block_cap, csi, fails, mount_cap, of_snapshot, of_volume, sh)

LONG = 'x' * 129
UNKNOWN = 'v1-00000000000000000000000000000000-nothing'
NOT_OURS = 'fake-vol-id'
# The same in each run: now and then random bytes are a message.
NOISE = random.Random(6).randbytes(4096)


def cap_without_mode():
    return csi.VolumeCapability(mount=csi.VolumeCapability.MountVolume())


# (what, arguments of create, code, words of the message)
CREATE = [
    ('no name', {'name': ''}, Code.INVALID_ARGUMENT, ['name']),
    ('name of 129 bytes', {'name': LONG}, Code.INVALID_ARGUMENT, ['name', '128']),
    ('control character in the name', {'name': 'a\x07b'}, Code.INVALID_ARGUMENT, ['name']),
    ('no capabilities', {'caps': []}, Code.INVALID_ARGUMENT, ['volume_capabilities']),
    ('capability without access type', {'caps': [csi.VolumeCapability(
        access_mode=Mode(mode=Mode.SINGLE_NODE_WRITER))]}, Code.INVALID_ARGUMENT, ['volume_capabilit']),
    ('capability without access mode', {'caps': [cap_without_mode()]}, Code.INVALID_ARGUMENT, ['access_mode']),
    ('access mode 0', {'caps': [mount_cap(mode=0)]}, Code.INVALID_ARGUMENT, ['access_mode']),
    ('unknown access mode', {'caps': [mount_cap(mode=99)]}, Code.INVALID_ARGUMENT, ['99']),
    ('many nodes', {'caps': [mount_cap(mode=Mode.MULTI_NODE_MULTI_WRITER)]}, Code.INVALID_ARGUMENT,
     ['MULTI_NODE_MULTI_WRITER']),
    ('one good and one bad capability', {'caps': [mount_cap(), mount_cap(mode=Mode.MULTI_NODE_READER_ONLY)]},
     Code.INVALID_ARGUMENT, ['MULTI_NODE_READER_ONLY']),
    ('unknown filesystem', {'caps': [mount_cap('ntfs')]}, Code.INVALID_ARGUMENT, ['ntfs', 'ext4', 'xfs']),
    ('unknown mount flag', {'caps': [mount_cap(flags=['bogus_flag'])]}, Code.INVALID_ARGUMENT, ['mount_flags']),
    ('mount flag that is two', {'caps': [mount_cap(flags=['noatime,exec'])]}, Code.INVALID_ARGUMENT, ['mount_flags']),
    ('mount flags over 4 KiB', {'caps': [mount_cap(flags=['noatime'] * 600)]}, Code.INVALID_ARGUMENT,
     ['mount_flags', '4096']),
    ('unknown parameter', {'parameters': {'directIo': 'required'}}, Code.INVALID_ARGUMENT, ['directIo', 'directIO']),
    ('bad value of a parameter', {'parameters': {'directIO': 'maybe'}}, Code.INVALID_ARGUMENT,
     ['directIO', 'maybe', 'preferred']),
    ('a way to allocate that there is not', {'parameters': {'allocation': 'thick'}}, Code.INVALID_ARGUMENT,
     ['allocation', 'thick', 'reserved', 'written']),
    ('parameter of a pool that is not there', {'parameters': {'pool': 'nosuch'}}, Code.INVALID_ARGUMENT, ['nosuch']),
    ('parameters over 4 KiB', {'parameters': {'csi.storage.k8s.io/pvc/name': 'x' * 4096}}, Code.INVALID_ARGUMENT,
     ['parameters', '4096']),
    ('negative size', {'size': -1}, Code.INVALID_ARGUMENT, ['required_bytes']),
    ('negative limit', {'size': MIB, 'limit': -5}, Code.INVALID_ARGUMENT, ['limit_bytes']),
    ('limit below required', {'size': GIB, 'limit': MIB}, Code.INVALID_ARGUMENT, ['limit']),
    ('limit below what a filesystem needs', {'size': 0, 'limit': 4096}, Code.OUT_OF_RANGE, []),
    ('limit that no multiple of 4096 fits', {'size': 64 * MIB + 1, 'limit': 64 * MIB + 2}, Code.OUT_OF_RANGE, []),
    ('size beyond all bounds', {'size': (1 << 63) - 1}, Code.OUT_OF_RANGE, []),
    ('size beyond the pool', {'size': 100 * GIB}, Code.RESOURCE_EXHAUSTED, []),
    ('a source without an id', {'volume_content_source': of_snapshot('')}, Code.INVALID_ARGUMENT,
     ['volume_content_source.snapshot.snapshot_id']),
    ('a source of no kind', {'volume_content_source': csi.VolumeContentSource()}, Code.INVALID_ARGUMENT,
     ['volume_content_source.type']),
    ('a snapshot that is none', {'volume_content_source': of_snapshot('s')}, Code.NOT_FOUND, ['volume_content_source', "'s'"]),
    ('a volume for a snapshot', {'volume_content_source': of_snapshot(UNKNOWN)}, Code.NOT_FOUND, ['snapshot_id', UNKNOWN]),
    ('a volume as source that is none', {'volume_content_source': of_volume(NOT_OURS)}, Code.NOT_FOUND, [NOT_OURS]),
    ('a source in a pool that is not here', {'volume_content_source': of_snapshot('s1-' + UNKNOWN[3:])}, Code.UNAVAILABLE,
     ['its pool is not on this node']),
    ('a source that a newer version made', {'volume_content_source': of_volume('v2-' + UNKNOWN[3:])},
     Code.FAILED_PRECONDITION, ['another version']),
    ('half a reserve', {'parameters': {'snapshotReserve': 'half'}}, Code.INVALID_ARGUMENT,
     ['snapshotReserve', 'half', 'full', 'none']),
    ('thin of a filesystem that does not bear it', {'parameters': {'provisioning': 'thin'}}, Code.INVALID_ARGUMENT,
     ['provisioning', "'thin'", 'ext4', 'csi.storage.k8s.io/fstype: xfs']),
    ('thin and raw', {'parameters': {'provisioning': 'thin'}, 'caps': [block_cap()]}, Code.INVALID_ARGUMENT,
     ['provisioning', "'thin'", 'raw block', 'csi.storage.k8s.io/fstype: xfs']),
    ('thin and written', {'parameters': {'provisioning': 'thin', 'allocation': 'written'}, 'caps': [mount_cap('xfs')]},
     Code.INVALID_ARGUMENT, ['allocation', "'written'", 'provisioning=thin']),
    ('neither thick nor thin', {'parameters': {'provisioning': 'medium'}}, Code.INVALID_ARGUMENT,
     ['provisioning', 'medium', 'thick', 'thin']),
    ('thin beyond what may be promised', {'parameters': {'provisioning': 'thin'}, 'caps': [mount_cap('xfs')], 'size': 100 * GIB},
     Code.RESOURCE_EXHAUSTED, ['100Gi', '--pool-overcommit']),
    ('unknown mutable parameter', {'mutable_parameters': {'readiops': '1'}}, Code.INVALID_ARGUMENT,
     ['mutable_parameters', "'readiops'", "'1'", 'readIOPS']),
    ('a mutable parameter of 0', {'mutable_parameters': {'writeIOPS': '0'}}, Code.INVALID_ARGUMENT,
     ['mutable_parameters', 'writeIOPS', "'0'", 'max']),
    ('a mutable parameter too large', {'mutable_parameters': {'writeIOPS': '5000000000'}}, Code.INVALID_ARGUMENT,
     ['writeIOPS', "'5000000000'", '1G']),
    ('a parameter that is no quantity', {'parameters': {'readBandwidth': '20MB'}}, Code.INVALID_ARGUMENT,
     ['parameters', 'readBandwidth', "'20MB'"]),
    ('a topology that is not here', {'accessibility_requirements': csi.TopologyRequirement(
        requisite=[csi.Topology(segments={f'pool.cleat.csi/{"0" * 32}': 'here'})])}, Code.RESOURCE_EXHAUSTED, []),
    ('a topology of other labels', {'accessibility_requirements': csi.TopologyRequirement(
        requisite=[csi.Topology(segments={'topology.kubernetes.io/zone': 'z'})])}, Code.RESOURCE_EXHAUSTED,
     ['topology.kubernetes.io/zone']),
]


@pytest.mark.parametrize('words,code,texts', [row[1:] for row in CREATE], ids=[row[0] for row in CREATE])
def test_create(driver, pool, words, code, texts):
    with fails(code, *texts):
        driver.calls.create(**{'name': 'bad', **words})
    assert driver.calls.volumes() == []
    assert pool.files() == []


@pytest.mark.parametrize('words,code,texts', [
    ({'readIOPS': '0'}, Code.INVALID_ARGUMENT, ['mutable_parameters', 'readIOPS', "'0'"]),
    ({'readIOPS': '9', 'writeBandwidth': '2Ti'}, Code.INVALID_ARGUMENT, ['writeBandwidth', "'2Ti'", '1Ti']),
    ({'pool': 'default'}, Code.INVALID_ARGUMENT, ["'pool'", 'readIOPS']),
    ({'': ''}, Code.INVALID_ARGUMENT, ['mutable_parameters']),
], ids=['zero', 'one good, one too large', 'not mutable', 'empty'])
def test_modify(driver, volume, pool, words, code, texts):
    v = volume().create()
    before = os.listxattr(pool.dir / v.name)
    with fails(code, *texts):
        driver.calls.modify(v.id, words)
    assert os.listxattr(pool.dir / v.name) == before
    with fails(Code.NOT_FOUND, 'nosuch'):
        driver.calls.modify('nosuch', {'readIOPS': '9'})
    with fails(Code.INVALID_ARGUMENT, 'volume_id'):
        driver.calls.modify('', {'readIOPS': '9'})


def test_create_with_a_taken_name_and_other_size(driver, volume):
    v = volume(size=64 * MIB).create()
    with fails(Code.ALREADY_EXISTS, v.name):
        driver.calls.create(v.name, size=128 * MIB, limit=128 * MIB)
    assert len(driver.calls.volumes()) == 1


def test_create_with_a_taken_name_and_other_filesystem(driver, volume):
    v = volume(size=320 * MIB).create()
    with fails(Code.ALREADY_EXISTS):
        driver.calls.create(v.name, size=320 * MIB, caps=[mount_cap('xfs')])


# (what, arguments of CreateSnapshot, code, words of the message); the volume is there.
SNAPSHOT = [
    ('no name', {'name': ''}, Code.INVALID_ARGUMENT, ['name']),
    ('name of 129 bytes', {'name': LONG}, Code.INVALID_ARGUMENT, ['name', '128']),
    ('control character in the name', {'name': 'a\x1fb'}, Code.INVALID_ARGUMENT, ['name']),
    ('no volume', {'source_volume_id': ''}, Code.INVALID_ARGUMENT, ['source_volume_id']),
    ('a volume that is none', {'source_volume_id': NOT_OURS}, Code.NOT_FOUND, ['source_volume_id', NOT_OURS]),
    ('a volume of a pool that is not here', {'source_volume_id': UNKNOWN}, Code.UNAVAILABLE, ['pool']),
    ('unknown parameter', {'parameters': {'Freeze': 'true'}}, Code.INVALID_ARGUMENT, ['Freeze', 'freeze']),
    ('bad value of a parameter', {'parameters': {'whenFragmented': 'cry'}}, Code.INVALID_ARGUMENT,
     ['whenFragmented', 'cry', 'copy', 'refuse']),
    ('a limit that is no number', {'parameters': {'maxExtents': 'many'}}, Code.INVALID_ARGUMENT, ['maxExtents', 'many']),
    ('a topology that is not the volume\'s', {'accessibility_requirements': csi.TopologyRequirement(
        requisite=[csi.Topology(segments={f'pool.cleat.csi/{"0" * 32}': 'here'})])}, Code.RESOURCE_EXHAUSTED, ['pool']),
]


@pytest.mark.parametrize('words,code,texts', [row[1:] for row in SNAPSHOT], ids=[row[0] for row in SNAPSHOT])
def test_snapshot(driver, pool, volume, words, code, texts):
    v = volume(size=16 * MIB).create()
    with fails(code, *texts):
        driver.calls.controller.CreateSnapshot(csi.CreateSnapshotRequest(
            **{'name': 'bad', 'source_volume_id': v.id, **words}), timeout=20)
    assert driver.calls.snapshots() == []
    assert pool.snapshots() == []


def test_a_snapshots_name_that_is_taken(driver, volume, snapshot):
    one, other = volume(size=16 * MIB).create(), volume(size=16 * MIB).create()
    snapshot(one, 'taken')
    with fails(Code.ALREADY_EXISTS, 'taken'):
        driver.calls.snapshot('taken', other.id)


@pytest.mark.parametrize('kind', ['s2', 's10'])
def test_delete_of_a_snapshot_of_another_version_is_not_claimed_done(driver, kind):
    with fails(Code.FAILED_PRECONDITION, 'another version'):
        driver.calls.delete_snapshot(f'{kind}-00112233445566778899aabbccddeeff-s')


def test_delete_of_a_snapshot_that_cannot_be_ours_is_fine(driver):
    for snapshot_id in [NOT_OURS, 's1-0-x', UNKNOWN, '../../etc/passwd', 'x' * 128]:
        driver.calls.delete_snapshot(snapshot_id)
    with fails(Code.UNAVAILABLE, 'pool'):
        driver.calls.delete_snapshot('s1-' + UNKNOWN[3:])
    with fails(Code.INVALID_ARGUMENT, 'snapshot_id'):
        driver.calls.delete_snapshot('')


# (what, arguments of CreateVolumeGroupSnapshot, code, words of the message); two volumes are there, as GOOD.
GOOD = object()
GROUP = [
    ('no name', {'name': ''}, Code.INVALID_ARGUMENT, ['name']),
    ('name of 129 bytes', {'name': LONG}, Code.INVALID_ARGUMENT, ['name', '128']),
    ('control character in the name', {'name': 'a\x1fb'}, Code.INVALID_ARGUMENT, ['name']),
    ('no volume', {'source_volume_ids': []}, Code.INVALID_ARGUMENT, ['source_volume_ids']),
    ('an empty id', {'source_volume_ids': [GOOD, '']}, Code.NOT_FOUND, ['source_volume_ids']),
    ('a volume twice', {'source_volume_ids': [GOOD, GOOD]}, Code.INVALID_ARGUMENT, ['source_volume_ids', 'named twice']),
    ('a volume that is none', {'source_volume_ids': [GOOD, NOT_OURS]}, Code.NOT_FOUND, ['source_volume_ids', NOT_OURS]),
    ('a volume that is gone', {'source_volume_ids': [GOOD, -1]}, Code.NOT_FOUND, ["volume 'gone'"]),
    ('a volume of a pool that is not here', {'source_volume_ids': [GOOD, UNKNOWN]}, Code.FAILED_PRECONDITION,
     ['one pool', UNKNOWN, 'not on this node']),
    ('volumes of a pool that is not here', {'source_volume_ids': [UNKNOWN]}, Code.UNAVAILABLE, ['pool']),
    ('a snapshot for a volume', {'source_volume_ids': ['s1-' + UNKNOWN[3:]]}, Code.NOT_FOUND, ['source_volume_ids']),
    ('too many volumes', {'source_volume_ids': [f'{UNKNOWN}{i}' for i in range(129)]}, Code.INVALID_ARGUMENT, ['129', '128']),
    ('unknown parameter', {'parameters': {'Freeze': 'true'}}, Code.INVALID_ARGUMENT, ['Freeze', 'freeze']),
    ('bad value of a parameter', {'parameters': {'maxExtents': '-1'}}, Code.INVALID_ARGUMENT, ['maxExtents']),
]


@pytest.mark.parametrize('words,code,texts', [row[1:] for row in GROUP], ids=[row[0] for row in GROUP])
def test_group(driver, pool, volume, words, code, texts):
    v = volume(size=16 * MIB).create()
    known = {GOOD: v.id, -1: v.id.removesuffix(v.name) + 'gone'}
    words = {'name': 'bad', 'source_volume_ids': [v.id], **words}
    words['source_volume_ids'] = [known.get(i, i) for i in words['source_volume_ids']]
    with fails(code, *texts):
        driver.calls.group_controller.CreateVolumeGroupSnapshot(csi.CreateVolumeGroupSnapshotRequest(**words), timeout=20)
    assert driver.calls.snapshots() == []
    assert pool.snapshots() == []


def test_groups_that_are_none(driver):
    for group_id in [NOT_OURS, 'g1-0-x', UNKNOWN, '../../etc/passwd', 'x' * 128]:
        driver.calls.delete_group(group_id, [])
        with fails(Code.NOT_FOUND):
            driver.calls.get_group(group_id, [])
    for call in driver.calls.delete_group, driver.calls.get_group:
        for group_id, code in [('', Code.INVALID_ARGUMENT), (LONG, Code.INVALID_ARGUMENT),
                               ('g1-' + UNKNOWN[3:], Code.UNAVAILABLE), ('g2-' + UNKNOWN[3:], Code.FAILED_PRECONDITION)]:
            with fails(code):
                call(group_id, [])


def test_groups_with_other_members(driver, volume, snapshot):
    v = volume(size=16 * MIB).create()
    alone = snapshot(v)
    group = driver.calls.group('g', [v.id])
    member = group.snapshots[0].snapshot_id
    for call in driver.calls.delete_group, driver.calls.get_group:
        for members in [], [alone], [member, alone], ['x']:
            with fails(Code.INVALID_ARGUMENT, 'snapshot_ids'):
                call(group.group_snapshot_id, members)
    with fails(Code.INVALID_ARGUMENT, "group 'g'"):
        driver.calls.delete_snapshot(member)
    driver.calls.delete_group(group.group_snapshot_id, [member])
    driver.calls.delete_group(group.group_snapshot_id, [member])


def test_a_group_with_a_raw_device_in_use(driver, pool, volume):
    v = volume(size=16 * MIB).create()
    raw = volume(cap=block_cap(), size=16 * MIB).create().stage()
    with fails(Code.FAILED_PRECONDITION, f"volume '{raw.name}'", '/dev/loop'):
        driver.calls.group('g', [v.id, raw.id])
    assert pool.snapshots() == []
    raw.unstage()
    group = driver.calls.group('g', [v.id, raw.id])
    driver.calls.delete_group(group.group_snapshot_id, [s.snapshot_id for s in group.snapshots])


def test_lists_of_snapshots(driver):
    for words in [{'snapshot_id': NOT_OURS}, {'source_volume_id': NOT_OURS}, {'snapshot_id': 'x' * 128}]:
        assert driver.calls.snapshots(**words) == []
    for words, code in [({'starting_token': 'none'}, Code.ABORTED), ({'max_entries': -1}, Code.INVALID_ARGUMENT),
                        ({'snapshot_id': LONG}, Code.INVALID_ARGUMENT), ({'source_volume_id': UNKNOWN}, Code.UNAVAILABLE)]:
        with fails(code):
            driver.calls.controller.ListSnapshots(csi.ListSnapshotsRequest(**words), timeout=20)
    with fails(Code.NOT_FOUND, NOT_OURS):
        driver.calls.controller.GetSnapshot(csi.GetSnapshotRequest(snapshot_id=NOT_OURS), timeout=20)


def test_longest_name_and_names_of_every_script(driver, pool):
    for name in ['y' * 128, 'größe–Ωλ', 'with space', '..', '.', '../../etc/passwd', '/etc/passwd', '-rf', '%s%n', '*']:
        made = driver.calls.create(name, size=16 * MIB)
        assert driver.calls.create(name, size=16 * MIB).volume_id == made.volume_id
        assert len(made.volume_id) <= 128
        assert len(pool.files()) == 1
        driver.calls.delete(made.volume_id)
    assert not pathlib.Path('/etc/passwd.cleat').exists()


# The message is built by hand, since protobuf's own library refuses to make it.
def raw_create(name):
    return b'\x0a' + bytes([len(name)]) + name + b'\x1a\x06\x12\x00\x1a\x02\x08\x01'


@pytest.mark.parametrize('name', [b'a\xff\xfeb', b'a\x00b', b'\xc0\xaf', b'\xed\xa0\x80'],
                         ids=['not UTF-8', 'NUL', 'overlong', 'surrogate'])
def test_strings_that_are_none(driver, name):
    method = driver.calls.channel.unary_unary('/csi.v1.Controller/CreateVolume')
    with pytest.raises(grpc.RpcError) as e:
        method(raw_create(name), timeout=10)
    assert e.value.code() in (Code.INTERNAL, Code.INVALID_ARGUMENT)
    assert driver.calls.volumes() == []


def test_garbage_truncated_and_huge_messages(driver):
    method = driver.calls.channel.unary_unary('/csi.v1.Controller/CreateVolume')
    for body, code in [(b'\x0a\xff', Code.INTERNAL), (b'\xff' * 50, Code.INTERNAL), (NOISE, Code.INTERNAL),
                       (b'\x0a\xff\xff\xff\x02' + b'x' * (5 * MIB), Code.RESOURCE_EXHAUSTED)]:
        with fails(code):
            method(body, timeout=20)
    driver.calls.probe()


# (what, call, request, code, texts)
HEALTH = [
    ('controller: no id', 'ControllerGetVolumeHealth', {}, Code.INVALID_ARGUMENT, ['volume_id']),
    ('controller: an id that is none', 'ControllerGetVolumeHealth', {'volume_id': '../../etc'}, Code.NOT_FOUND, ['../../etc']),
    ('controller: an id too long', 'ControllerGetVolumeHealth', {'volume_id': 'x' * 129}, Code.INVALID_ARGUMENT, ['volume_id']),
    ('controller: a pool that is elsewhere', 'ControllerGetVolumeHealth', {'volume_id': f'v1-{"0" * 32}-x'},
     Code.UNAVAILABLE, ['not on this node']),
    ('list: a negative number', 'ControllerListVolumeHealth', {'max_entries': -1}, Code.INVALID_ARGUMENT, ['max_entries']),
    ('list: a token that is none', 'ControllerListVolumeHealth', {'starting_token': '%s%n'}, Code.ABORTED, ['starting_token']),
    ('node: no id', 'NodeGetVolumeHealth', {}, Code.INVALID_ARGUMENT, ['volume_id']),
    ('node: an id that is none', 'NodeGetVolumeHealth', {'volume_id': 'x'}, Code.NOT_FOUND, ["'x'"]),
    ('node: secrets of bad keys', 'NodeGetStorageHealth', {'secrets': {'a b': 'hidden'}}, Code.INVALID_ARGUMENT, ['secrets']),
]


@pytest.mark.parametrize('method,words,code,texts', [row[1:] for row in HEALTH], ids=[row[0] for row in HEALTH])
def test_health(driver, method, words, code, texts):
    stub = driver.calls.controller if method.startswith('Controller') else driver.calls.node
    with fails(code, *texts):
        getattr(stub, method)(getattr(csi, f'{method}Request')(**words), timeout=10)
    assert 'hidden' not in driver.process.text()


def test_paths_that_only_were_tried_are_no_error_of_health(driver, volume):
    v = volume().create()
    for path in ['relative', '/nowhere', '/etc/../etc', '/' + 'x' * 4000, '/proc/self/mem/x']:
        reply = driver.calls.node.NodeGetVolumeHealth(csi.NodeGetVolumeHealthRequest(
            volume_id=v.id, staging_target_path=path, volume_publish_path=path), timeout=10)
        assert not reply.volume_health.health_statuses


def test_unknown_methods_and_services(driver):
    for path in ['/csi.v1.Controller/NoSuch', '/csi.v1.Nothing/Probe', '/csi.v1.Controller/ControllerPublishVolume',
                 '/csi.v1.SnapshotMetadata/NoSuch']:
        with fails(Code.UNIMPLEMENTED):
            driver.calls.channel.unary_unary(path)(b'', timeout=10)


def test_bytes_that_are_no_http2(driver):
    for junk in [b'GET / HTTP/1.1\r\n\r\n', NOISE, b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + b'\xff' * 100]:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(driver.socket))
            s.sendall(junk)
            while s.recv(4096):
                pass
    driver.calls.probe()


def test_delete_of_what_cannot_be_ours_is_fine(driver):
    for volume_id in [NOT_OURS, 'v1-0-x', '../../etc/passwd', 'x' * 128]:
        driver.calls.delete(volume_id)


@pytest.mark.parametrize('kind', ['v2', 's2', 'g2'])
def test_delete_of_what_another_version_made_is_not_claimed_done(driver, kind):
    """After a rollback a newer driver's volumes are asked for: OK would leak them."""
    with fails(Code.FAILED_PRECONDITION, 'another version'):
        driver.calls.delete(f'{kind}-00112233445566778899aabbccddeeff-pvc-1')


def test_delete_of_a_volume_whose_pool_is_elsewhere_is_not_claimed_done(driver):
    with fails(Code.UNAVAILABLE, 'pool'):
        driver.calls.delete(UNKNOWN)


@pytest.mark.parametrize('volume_id,code', [(UNKNOWN, Code.UNAVAILABLE), ('v9-0-x', Code.FAILED_PRECONDITION),
                                            *((i, Code.NOT_FOUND) for i in (
    NOT_OURS, 'v1-0-x', '../../etc/passwd', 'x' * 128))])
class TestUnknownVolume:
    """Of a pool that is not here nobody can tell whether the volume exists."""

    def test_stage(self, driver, work, volume_id, code):
        with fails(code):
            driver.calls.stage(volume_id, work)

    def test_publish(self, driver, work, volume_id, code):
        with fails(code):
            driver.calls.publish(volume_id, work / 'staging', work / 'target')
        assert not (work / 'target').exists()

    def test_stats(self, driver, work, volume_id, code):
        with fails(code):
            driver.calls.stats(volume_id, work)

    def test_expand(self, driver, volume_id, code):
        with fails(code):
            driver.calls.expand(volume_id, GIB)

    def test_node_expand(self, driver, volume_id, code):
        with fails(code):
            driver.calls.node_expand(volume_id, 'some/path', GIB)

    def test_get(self, driver, volume_id, code):
        with fails(code):
            driver.calls.controller.ControllerGetVolume(csi.ControllerGetVolumeRequest(volume_id=volume_id))

    def test_validate(self, driver, volume_id, code):
        with fails(code):
            driver.calls.controller.ValidateVolumeCapabilities(csi.ValidateVolumeCapabilitiesRequest(
                volume_id=volume_id, volume_capabilities=[mount_cap()]))


# (what, call that gets calls and directory)
INCOMPLETE = [
    ('delete without id', lambda c, d: c.delete(''), 'volume_id'),
    ('delete with a long id', lambda c, d: c.delete(LONG), 'volume_id'),
    ('stage without id', lambda c, d: c.stage('', d), 'volume_id'),
    ('stage without path', lambda c, d: c.stage('x', ''), 'staging_target_path'),
    ('stage without capability', lambda c, d: c.stage('x', d, csi.VolumeCapability()), 'volume_capability'),
    ('stage with a relative path', lambda c, d: c.stage('x', 'some/path'), 'staging_target_path'),
    ('stage with ..', lambda c, d: c.stage('x', f'{d}/../{d.name}'), 'staging_target_path'),
    ('stage with NUL-like path', lambda c, d: c.stage('x', '/' + 'p' * 5000), 'staging_target_path'),
    ('unstage without id', lambda c, d: c.unstage('', d), 'volume_id'),
    ('unstage without path', lambda c, d: c.unstage('x', ''), 'staging_target_path'),
    ('publish without id', lambda c, d: c.publish('', d, d / 't'), 'volume_id'),
    ('publish without target', lambda c, d: c.publish('x', d, ''), 'target_path'),
    ('publish with a relative target', lambda c, d: c.publish('x', d, 'some/path'), 'target_path'),
    ('publish with .. in the target', lambda c, d: c.publish('x', d, f'{d}/../t'), 'target_path'),
    ('publish without capability', lambda c, d: c.publish('x', d, d / 't', csi.VolumeCapability()), 'volume_capability'),
    ('unpublish without id', lambda c, d: c.unpublish('', d / 't'), 'volume_id'),
    ('unpublish without target', lambda c, d: c.unpublish('x', ''), 'target_path'),
    ('stats without id', lambda c, d: c.stats('', d), 'volume_id'),
    ('stats without path', lambda c, d: c.stats('x', ''), 'volume_path'),
    ('expand without id', lambda c, d: c.expand('', GIB), 'volume_id'),
    ('expand without size', lambda c, d: c.expand('x', 0), 'capacity_range'),
    ('expand by a negative size', lambda c, d: c.expand('x', -1), 'required_bytes'),
    ('expand to a limit below', lambda c, d: c.expand('x', GIB, MIB), 'limit_bytes'),
    ('expand with half a capability', lambda c, d: c.expand('x', GIB, volume_capability=cap_without_mode()), 'access_mode'),
    ('node expand without id', lambda c, d: c.node_expand('', d), 'volume_id'),
    ('node expand without path', lambda c, d: c.node_expand('x', ''), 'volume_path'),
    ('node expand to a limit below', lambda c, d: c.node_expand('x', d, GIB, MIB), 'limit_bytes'),
    ('validate without id', lambda c, d: c.controller.ValidateVolumeCapabilities(
        csi.ValidateVolumeCapabilitiesRequest(volume_capabilities=[mount_cap()])), 'volume_id'),
    ('validate without capabilities', lambda c, d: c.controller.ValidateVolumeCapabilities(
        csi.ValidateVolumeCapabilitiesRequest(volume_id='x')), 'volume_capabilities'),
    ('negative max_entries', lambda c, d: c.controller.ListVolumes(
        csi.ListVolumesRequest(max_entries=-1)), 'max_entries'),
]


@pytest.mark.parametrize('call,field', [row[1:] for row in INCOMPLETE], ids=[row[0] for row in INCOMPLETE])
def test_incomplete(driver, work, call, field):
    before = sorted(p for p in work.iterdir())
    with fails(Code.INVALID_ARGUMENT, field):
        call(driver.calls, work)
    assert sorted(p for p in work.iterdir()) == before


def test_list_with_a_token_of_nobody(driver):
    with fails(Code.ABORTED, 'starting_token'):
        driver.calls.controller.ListVolumes(csi.ListVolumesRequest(starting_token='invalid-token'))


def test_stage_where_there_is_no_directory(volume):
    v = volume().create()
    with fails(Code.FAILED_PRECONDITION, str(v.staging)):
        v.calls.stage(v.id, v.staging)


def test_stage_on_a_symlink(volume, work):
    v = volume().create()
    (work / 'real').mkdir()
    (work / 'link').symlink_to(work / 'real')
    with fails(Code.INVALID_ARGUMENT, 'link'):
        v.calls.stage(v.id, work / 'link')
    assert not os.path.ismount(work / 'real')


def test_stage_over_a_foreign_mount(volume, work):
    v = volume().create()
    v.staging.mkdir(parents=True)
    sh('mount', '-t', 'tmpfs', 'none', v.staging)
    try:
        with fails(Code.FAILED_PRECONDITION, str(v.staging)):
            v.calls.stage(v.id, v.staging)
        with fails(Code.FAILED_PRECONDITION):
            v.calls.unstage(v.id, v.staging)
        assert os.path.ismount(v.staging)
    finally:
        sh('umount', v.staging)


def test_stage_in_a_second_place(volume, work):
    v = volume().create().stage()
    other = work / 'other'
    other.mkdir()
    with fails(Code.FAILED_PRECONDITION, str(v.staging)):
        v.calls.stage(v.id, other)


def test_stage_again_with_another_capability(volume):
    v = volume().create().stage()
    with fails(Code.ALREADY_EXISTS, "'sync'"):
        v.calls.stage(v.id, v.staging, mount_cap(flags=['sync']))
    v.calls.stage(v.id, v.staging, mount_cap(flags=['noatime']))    # a target can have that for itself


def test_stage_with_another_filesystem_than_it_was_made_with(volume):
    v = volume(size=320 * MIB).create()
    v.staging.mkdir(parents=True)
    with fails(Code.FAILED_PRECONDITION, 'xfs', 'ext4'):
        v.calls.stage(v.id, v.staging, mount_cap('xfs'))


def test_publish_without_staging_path(volume, work):
    v = volume().create().stage()
    with fails(Code.FAILED_PRECONDITION, 'staging_target_path'):
        v.calls.publish(v.id, '', work / 'target')


def test_publish_of_what_is_not_staged(volume, work):
    v = volume().create()
    v.staging.mkdir(parents=True)
    with fails(Code.FAILED_PRECONDITION, str(v.staging)):
        v.calls.publish(v.id, v.staging, work / 'target')
    assert not (work / 'target').exists()


def test_publish_from_another_volumes_staging_path(volume):
    """Never the wrong mount."""
    a, b = volume().create().stage(), volume().create().stage()
    a.target.parent.mkdir(parents=True)
    with fails(Code.FAILED_PRECONDITION):
        a.calls.publish(a.id, b.staging, a.target)
    assert not a.target.exists() or not os.path.ismount(a.target)


def test_publish_from_a_foreign_mount(volume):
    v = volume().create().stage()
    v.unstage()
    v.target.parent.mkdir(parents=True)
    sh('mount', '-t', 'tmpfs', 'none', v.staging)
    try:
        with fails(Code.FAILED_PRECONDITION, str(v.staging)):
            v.calls.publish(v.id, v.staging, v.target)
        assert not os.path.ismount(v.target)
    finally:
        sh('umount', v.staging)


def test_publish_on_a_symlink(volume, work):
    v = volume().create().stage()
    (work / 'etc').mkdir()
    (work / 'link').symlink_to(work / 'etc')
    with fails(Code.INVALID_ARGUMENT, 'link'):
        v.calls.publish(v.id, v.staging, work / 'link')
    assert not os.path.ismount(work / 'etc')


def test_publish_on_a_directory_with_something_in_it(volume, work):
    v = volume().create().stage()
    (work / 'full').mkdir()
    (work / 'full' / 'precious').write_text('x')
    with fails(Code.FAILED_PRECONDITION, 'full'):
        v.calls.publish(v.id, v.staging, work / 'full')
    assert (work / 'full' / 'precious').read_text() == 'x'


def test_publish_over_a_foreign_mount(volume, work):
    v = volume().create().stage()
    (work / 'foreign').mkdir()
    sh('mount', '-t', 'tmpfs', 'none', work / 'foreign')
    try:
        with fails(Code.FAILED_PRECONDITION, 'foreign'):
            v.calls.publish(v.id, v.staging, work / 'foreign')
        with fails(Code.FAILED_PRECONDITION):
            v.calls.unpublish(v.id, work / 'foreign')
        assert os.path.ismount(work / 'foreign')
    finally:
        sh('umount', work / 'foreign')


def test_publish_again_otherwise(volume):
    v = volume().up()
    with fails(Code.ALREADY_EXISTS):
        v.publish(readonly=True)


def test_second_target_of_a_single_writer(volume, work):
    v = volume(cap=mount_cap(mode=Mode.SINGLE_NODE_SINGLE_WRITER)).up()
    with fails(Code.FAILED_PRECONDITION, str(v.target)):
        v.calls.publish(v.id, v.staging, work / 'second', v.cap)
    assert not (work / 'second').exists()


def test_unstage_while_published(volume):
    v = volume().up()
    with fails(Code.FAILED_PRECONDITION, str(v.target)):
        v.unstage()
    (v.target / 'x').write_text('alive')


def test_unpublish_removes_nothing_that_is_not_ours(volume, work):
    v = volume().create()
    (work / 'full').mkdir()
    (work / 'full' / 'precious').write_text('x')
    with fails(Code.FAILED_PRECONDITION):
        v.calls.unpublish(v.id, work / 'full')
    assert (work / 'full' / 'precious').read_text() == 'x'


def test_stats_elsewhere(volume, work):
    v = volume().up()
    for path in [work, 'some/path', work / 'nothing']:
        with fails(Code.NOT_FOUND):
            v.calls.stats(v.id, path)


@pytest.mark.parametrize('size,limit,code,texts', [
    (100 * GIB, 0, Code.OUT_OF_RANGE, ['are free']),
    ((1 << 63) - 1, 0, Code.OUT_OF_RANGE, ['1Pi']),
    (128 * MIB + 1, 128 * MIB + 2, Code.OUT_OF_RANGE, ['4096']),
    (16 * MIB, 32 * MIB, Code.OUT_OF_RANGE, ['64Mi', 'do not shrink']),
], ids=['beyond the pool', 'beyond all bounds', 'no multiple of 4096', 'shrink'])
def test_expand_to_what_cannot_be(volume, pool, size, limit, code, texts):
    v = volume(size=64 * MIB).create()
    before = pool.available()
    with fails(code, *texts):
        v.calls.expand(v.id, size, limit)
    assert (pool.dir / v.name).stat().st_size == 64 * MIB
    assert abs(pool.available() - before) < MIB
    assert v.calls.expand(v.id, 32 * MIB).capacity_bytes == 64 * MIB    # at least that much it has


def test_node_expand_elsewhere(volume, work):
    a, b = volume().create().stage(), volume().create().stage().publish()
    for path in [work, b.staging, b.target, a.staging.parent, work / 'nothing', 'some/path']:
        with fails(Code.NOT_FOUND, 'volume_path'):
            a.calls.node_expand(a.id, path)
    (a.staging / 'sub').mkdir()
    with fails(Code.NOT_FOUND, 'volume_path'):
        a.calls.node_expand(a.id, a.staging / 'sub')
    with fails(Code.OUT_OF_RANGE, 'ControllerExpandVolume'):
        a.calls.node_expand(a.id, a.staging, GIB)
    with fails(Code.INVALID_ARGUMENT, 'volume_capability'):
        a.calls.node_expand(a.id, a.staging, volume_capability=block_cap())


def test_block_and_mount_do_not_mix(volume, work):
    v = volume(cap=block_cap()).create().stage()
    with fails(Code.FAILED_PRECONDITION, 'block'):
        v.calls.publish(v.id, v.staging, work / 'target', mount_cap())


def test_mount_that_fails_undoes_everything(volume, pool):
    """A filesystem that was overwritten behind our back: an error, no mount, no loop device left."""
    v = volume().create()
    file, = pool.files()
    with open(pool.dir / file, 'r+b') as f:
        f.write(bytes(16 * MIB))
    v.staging.mkdir(parents=True)
    with pytest.raises(grpc.RpcError) as e:
        v.calls.stage(v.id, v.staging)
    assert e.value.code() in (Code.INTERNAL, Code.FAILED_PRECONDITION, Code.DATA_LOSS)
    assert not os.path.ismount(v.staging)
    assert pool.loops() == {}


def test_a_driver_that_knows_kubelet_stays_below_its_directory(work, pool):
    kubelet = work / 'kubelet'
    (kubelet / 'pods').mkdir(parents=True)
    (kubelet / 'out').symlink_to(work)
    d = Driver(work, pool, f'--kubelet-dir={kubelet}').start()
    try:
        v = Volume(d, work).create()
        for place in (work / 'staging', kubelet / 'out' / 'staging'):
            place.mkdir(exist_ok=True)
            with fails(Code.INVALID_ARGUMENT, 'staging_target_path', str(kubelet)):
                v.calls.stage(v.id, place)
        inside = kubelet / 'pods' / 'staging'
        inside.mkdir()
        v.calls.stage(v.id, inside)
        with fails(Code.INVALID_ARGUMENT, 'target_path'):
            v.calls.publish(v.id, inside, work / 'target')
        v.calls.unstage(v.id, inside)
        v.delete()
        d.stop()
    finally:
        d.end()


@pytest.mark.parametrize('cap', [mount_cap(), block_cap()], ids=['ext4', 'block'])
def test_unstage_while_published_and_the_note_is_lost(volume, pool, cap):
    v = volume(cap=cap).up()
    os.removexattr(pool.dir / v.name, 'user.cleat.note')
    with fails(Code.FAILED_PRECONDITION, str(v.target)):
        v.unstage()
    v.unpublish().unstage()
    assert pool.loops() == {}


def test_layers_of_one_volume_go_together(volume, pool):
    v = volume().up()
    for place in (v.staging, v.staging, v.target):
        sh('mount', '--bind', v.staging, place)
    v.unpublish()
    assert not v.target.exists()
    v.unstage()
    assert not os.path.ismount(v.staging)
    assert pool.loops() == {}
