#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What ceph-csi keeps of a filesystem: read as it is, and laid down as ceph-csi does it (journal.py is the same for images).

usage: tests/ceph/fs_journal.py DIR     of the cluster at DIR (cluster.py up --filesystem), as JSON
"""
import contextlib
import json
import pathlib
import struct
import sys

import rados

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cluster  # noqa: E402
import journal  # noqa: E402

GROUP, NAMESPACE = 'csi', 'csi'
REFERENCES = 'rt-backingsnapshot-'


def manager(ceph, prefix, **words):
    return ceph.command('mgr', prefix=prefix, vol_name=cluster.FILESYSTEM, **words)


@contextlib.contextmanager
def opened(ceph):
    with ceph.connect().open_ioctx(cluster.METADATA_POOL) as io:
        io.set_namespace(NAMESPACE)
        yield io


def objects(ceph):
    with opened(ceph) as io:
        return journal.objects(io)


def theirs(ceph):
    """The same without the keys of which ceph-csi does not know."""
    return {name: {key: value for key, value in keys.items() if not key.startswith('cleat.')} for name, keys in objects(ceph).items()}


def references(ceph):
    """{object: (its bytes, its attributes, its keys)} of snapshots that volumes show."""
    with opened(ceph) as io:
        return {name: (io.read(name), dict(io.get_xattrs(name)), omap_bytes(io, name))
                for name in journal.names(io) if name.startswith(REFERENCES)}


def omap_bytes(io, name):
    with rados.ReadOpCtx() as op:
        keys, _ = io.get_omap_vals(op, '', '', 512)
        io.operate_read_op(op, name)
        return dict(keys)


def subvolumes(ceph):
    try:
        return {entry['name'] for entry in manager(ceph, 'fs subvolume ls', group_name=GROUP)}
    except cluster.Failure:  # its group is made with the first one
        return set()


def look(ceph, name):
    return manager(ceph, 'fs subvolume info', sub_name=name, group_name=GROUP)


def snapshots(ceph, name):
    return {entry['name'] for entry in manager(ceph, 'fs subvolume snapshot ls', sub_name=name, group_name=GROUP)}


def left(ceph):
    """Of a filesystem that has no volume: nothing."""
    return sorted(subvolumes(ceph)) + sorted(references(ceph)) + sorted(
        name for name, keys in objects(ceph).items() if keys or name not in (journal.VOLUMES, journal.SNAPSHOTS))


def wipe(ceph):
    """After something went wrong."""
    for name in subvolumes(ceph):
        for snap in snapshots(ceph, name):
            with contextlib.suppress(cluster.Failure):
                manager(ceph, 'fs subvolume snapshot rm', sub_name=name, snap_name=snap, group_name=GROUP, force=True)
        with contextlib.suppress(cluster.Failure):
            manager(ceph, 'fs subvolume rm', sub_name=name, group_name=GROUP, force=True)
    with opened(ceph) as io:
        for name in journal.names(io):
            io.remove_object(name)


class CephCsi(journal.CephCsi):
    """Makes volumes and snapshots as ceph-csi's release 3.12 was seen to do; each gives the handle, whose number is the
    filesystem's. Of a snapshot no owner is kept, and no id of anything."""

    def __init__(self, ceph, io, owner='ns1'):
        super().__init__(io, owner=owner)
        self.ceph = ceph

    def handle(self, made):
        return f'0001-{len(self.cluster_id):04x}-{self.cluster_id}-{1:016x}-{made}'

    def volume(self, name, size=1 << 30):
        made, subvolume = self.reserve('volume', name, 'csi-vol-')
        manager(self.ceph, 'fs subvolumegroup create', group_name=GROUP)
        manager(self.ceph, 'fs subvolume create', sub_name=subvolume, group_name=GROUP, size=size)
        return self.handle(made)

    def snapshot(self, name, volume):
        source, owner, self.owner = self.image_of('volume', volume), self.owner, ''
        made, snap = self.reserve('snap', name, 'csi-snap-', source)
        self.owner = owner
        manager(self.ceph, 'fs subvolume snapshot create', sub_name=source, snap_name=snap, group_name=GROUP)
        return self.handle(made)

    def shallow(self, name, snapshot):
        """A volume that shows the snapshot: an entry that says so, no subvolume, and a reference beside those that are there."""
        made, subvolume = self.reserve('volume', name, 'csi-vol-')
        journal.put(self.io, f'csi.volume.{made}', {'csi.volume.backingsnapshotid': snapshot})
        reference = REFERENCES + snapshot
        with rados.WriteOpCtx() as op:
            op.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
            self.io.set_omap(op, (snapshot, subvolume), (b'\x01', b'\x01'))
            self.io.operate_write_op(op, reference)
        self.io.write_full(reference, struct.pack('>I', len(omap_bytes(self.io, reference))))
        self.io.set_xattr(reference, 'csi.ceph.com/rt-version', struct.pack('>I', 1))
        return self.handle(made)

    def shallow_context(self, volume, source):
        """Its volume_context: the path is its source's, up to the slash, and nothing says which snapshot."""
        context = self.context(source)
        return {**context, 'subvolumeName': self.image_of('volume', volume),
                'subvolumePath': context['subvolumePath'].rsplit('/', 1)[0] + '/'}

    def context(self, volume):
        """The volume_context that it answers."""
        name = self.image_of('volume', volume)
        return {'clusterID': self.cluster_id, 'fsName': cluster.FILESYSTEM, 'subvolumeName': name,
                'subvolumePath': look(self.ceph, name)['path']}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.split('usage: ')[1].split('\n\n')[0])
    ceph = cluster.Ceph(sys.argv[1])
    names = subvolumes(ceph)
    print(json.dumps({'journal': objects(ceph), 'subvolumes': {name: look(ceph, name) for name in names},
                      'left': left(ceph)}, indent=1))


if __name__ == '__main__':
    main()
