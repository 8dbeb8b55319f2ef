# SPDX-License-Identifier: Apache-2.0
"""Every message of csi.proto with random content: our bytes are those of Python's implementation, and what is no message is
refused as the door says (base/message.h)."""
import pathlib
import random
import subprocess

import pytest
from google.protobuf.descriptor import FieldDescriptor as F
from harness import CLEAT, csi

ROUNDS = 100
# Absent when empty: CSI gives an empty one no meaning (tools/gen-messages, "implied").
IMPLIED = {'csi.v1.CapacityRange', 'csi.v1.TopologyRequirement', 'csi.v1.VolumeCapability',
           'csi.v1.VolumeCapability.AccessMode'}
LETTERS = 'abcxyz /.-ÄßЖ漢🙂\t\x01'


def walk(messages):
    for m in messages:
        if not m.GetOptions().map_entry:
            yield m
            yield from walk(m.nested_types)


MESSAGES = list(walk(csi.DESCRIPTOR.message_types_by_name.values()))


@pytest.fixture(scope='module')
def ours():
    """Bytes of a message through the C decoder and encoder."""
    child = subprocess.Popen([pathlib.Path(CLEAT).parent / 'tests/interop/interop_message'], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)

    def through(name, data):
        child.stdin.write(b'%s %d\n' % (name.encode(), len(data)) + data)
        child.stdin.flush()
        word, n = child.stdout.readline().split()
        return word.decode(), child.stdout.read(int(n))

    yield through
    child.stdin.close()
    assert child.wait() == 0


def text(r):
    return ''.join(r.choice(LETTERS) for _ in range(r.randrange(12)))


def scalar(r, field):
    sign = -1 if field.containing_type.full_name == 'google.protobuf.Timestamp' and r.random() < 0.5 else 1
    return {F.TYPE_STRING: lambda: text(r), F.TYPE_BOOL: lambda: r.random() < 0.5, F.TYPE_ENUM: lambda: r.randrange(20),
            F.TYPE_INT32: lambda: sign * r.randrange(1 << r.randrange(1, 32)),
            F.TYPE_INT64: lambda: sign * r.randrange(1 << r.randrange(1, 64))}[field.type]()


def fill(r, message):
    for field in message.DESCRIPTOR.fields:
        if r.random() < 0.25:
            continue
        inner = field.message_type
        value = getattr(message, field.name)
        if inner and inner.GetOptions().map_entry:
            for _ in range(r.randrange(5)):
                value[text(r)] = text(r)
        elif field.label == F.LABEL_REPEATED:
            for _ in range(r.randrange(7)):
                if inner:
                    fill(r, value.add())
                else:
                    value.append(scalar(r, field))
        elif inner:
            value.SetInParent()
            fill(r, value)
            if inner.full_name in IMPLIED and value.ByteSize() == 0:
                message.ClearField(field.name)
        else:
            setattr(message, field.name, scalar(r, field))


def make(descriptor):
    outer = descriptor.full_name.removeprefix('csi.v1.').split('.')
    found = csi
    for name in outer:
        found = getattr(found, name)
    return found()


@pytest.mark.parametrize('descriptor', MESSAGES, ids=lambda d: d.full_name)
def test_random_content_has_pythons_bytes(ours, descriptor):
    r = random.Random(descriptor.full_name)
    for i in range(ROUNDS):
        message = make(descriptor)
        fill(r, message)
        word, got = ours(descriptor.full_name, message.SerializeToString(deterministic=i % 2 == 0))
        assert (word, got) == ('ok', message.SerializeToString(deterministic=True)), message
        back = make(descriptor)
        back.ParseFromString(got)
        assert back == message


@pytest.mark.parametrize('descriptor', MESSAGES, ids=lambda d: d.full_name)
def test_bytes_that_were_cut_or_changed_are_refused_or_a_message(ours, descriptor):
    """Whatever comes, ours answers; and what ours takes, Python takes too, with the same content."""
    r = random.Random(descriptor.full_name)
    for _ in range(ROUNDS):
        message = make(descriptor)
        fill(r, message)
        data = bytearray(message.SerializeToString())
        if data:
            data[r.randrange(len(data))] = r.randrange(256)
            del data[len(data) - r.randrange(3):]
        word, got = ours(descriptor.full_name, bytes(data))
        assert word in ('ok', 'error')
        if word == 'ok':
            back = make(descriptor)
            back.ParseFromString(bytes(data))
            assert back.DESCRIPTOR is descriptor


def test_a_negative_size_and_a_nul_are_refused_by_name(ours):
    request = csi.CreateVolumeRequest(capacity_range=csi.CapacityRange(limit_bytes=-7))
    assert ours('csi.v1.CreateVolumeRequest', request.SerializeToString()) == (
        'error', b'capacity_range.limit_bytes: -7 is negative')
    request = csi.NodeStageVolumeRequest(volume_context={'a': 'b\0c'})
    assert ours('csi.v1.NodeStageVolumeRequest', request.SerializeToString()) == (
        'error', b'volume_context.value: has a NUL byte inside')
