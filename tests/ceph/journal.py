#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What ceph-csi keeps in a pool: read as it is, and laid down as ceph-csi does it.

usage: tests/ceph/journal.py DIR [POOL]     the pool of the cluster at DIR (cluster.py), as JSON

ceph-csi's program cannot be had for tests. What is laid down here is what its release 3.12 was seen to leave behind, object by
object and key by key: tests let cleat take it over, and compare what cleat writes with it.
"""
import contextlib
import json
import pathlib
import sys
import uuid

import rados
import rbd

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cluster  # noqa: E402

VOLUMES, SNAPSHOTS = 'csi.volumes.default', 'csi.snaps.default'
# layering, exclusive-lock, object-map, fast-diff, deep-flatten
FEATURES = 61
# of the images behind snapshots and between a volume and its clone: layering and deep-flatten
HIDDEN_FEATURES = 33
OPERATIONS = 256
TRASHED = 'trash'
# What librbd makes once in a pool and leaves there, and cleat for nodes that it has shut out.
OF_THE_POOL = {'rbd_directory', 'rbd_info', 'rbd_children', 'rbd_trash', 'rbd_task', 'rbd_object_map', 'rbd_header',
               'rbd_mirroring', 'rbd_group_directory', 'rbd_trash_trash_purge_schedule', 'rbd_mirror_snapshot_schedule',
               'rbd_trash_purge_schedule',
               'cleat.fences'}


# --- reading

def omap(io, name):
    """{key: value} of an object, {} if it is not there."""
    found, last = {}, ''
    while True:
        with rados.ReadOpCtx() as op:
            keys, _ = io.get_omap_vals(op, last, '', 512)
            try:
                io.operate_read_op(op, name)
            except rados.ObjectNotFound:
                return found
            page = {key: value.decode() for key, value in keys}
        if not page:
            return found
        found.update(page)
        last = max(page)


def names(io):
    return sorted(entry.key for entry in io.list_objects())


def objects(io):
    """{object: its omap} of the journal."""
    return {name: omap(io, name) for name in names(io) if name.startswith('csi.')}


def look_at(io, name):
    with rbd.Image(io, name, read_only=True) as image:
        try:
            spec = image.get_parent_image_spec()
            parent = {'image': spec['image_name'], 'snapshot': spec['snap_name']}
        except rbd.ImageNotFound:
            parent = None
        return {'id': image.id(), 'size': image.size(), 'features': image.features(), 'parent': parent,
                'snapshots': {snap['name']: TRASHED if snap['namespace'] == rbd.RBD_SNAP_NAMESPACE_TYPE_TRASH else 'user'
                              for snap in image.list_snaps()},
                'metadata': dict(image.metadata_list()),
                # ours is one of them for as long as we look, unless it is read-only
                'watchers': [watcher['addr'] for watcher in image.watchers_list()]}


def images(io):
    """{name: what it is}, without one that goes while it is looked at."""
    found = {}
    for name in rbd.RBD().list(io):
        with contextlib.suppress(rbd.ImageNotFound):
            found[name] = look_at(io, name)
    return found


def trash(io):
    return sorted(entry['name'] for entry in rbd.RBD().trash_list(io))


def left(io):
    """What a pool has that is more than an empty one's: entries of the journal, images, those in the trash, any other object."""
    found = [f'image {name}' for name in rbd.RBD().list(io)] + [f'trash {name}' for name in trash(io)]
    for name in names(io):
        if name in (VOLUMES, SNAPSHOTS):
            found += [f'{name}: {key}' for key in omap(io, name)]
        elif name not in OF_THE_POOL:
            found.append(f'object {name}')
    return found


# --- writing

def wipe(io):
    """Whatever is in the pool, after something went wrong. Not to be done while anybody uses it."""
    for name in names(io):
        if name != 'rbd_info':
            # what only snapshots have that are being trimmed is listed and not there
            with contextlib.suppress(rados.ObjectNotFound):
                io.remove_object(name)


def put(io, name, pairs):
    with rados.WriteOpCtx() as op:
        io.set_omap(op, tuple(pairs), tuple(value.encode() for value in pairs.values()))
        io.operate_write_op(op, name)


class CephCsi:
    """Makes volumes and snapshots as ceph-csi does, in its order, for a namespace `owner` of claims ('' as without
    --extra-create-metadata). Each gives the handle."""

    def __init__(self, io, cluster_id=cluster.CLUSTER_ID, owner='ns1'):
        self.io, self.cluster_id, self.owner, self.rbd = io, cluster_id, owner, rbd.RBD()

    def handle(self, made):
        return f'0001-{len(self.cluster_id):04x}-{self.cluster_id}-{self.io.get_pool_id():016x}-{made}'

    def reserve(self, kind, name, prefix, source=None, made=None):
        """(UUID, image) of a name: its object exclusively, the directory's key, the object's keys."""
        made = made or str(uuid.uuid4())
        with rados.WriteOpCtx() as op:
            op.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
            self.io.operate_write_op(op, f'csi.{kind}.{made}')
        put(self.io, VOLUMES if kind == 'volume' else SNAPSHOTS, {f'csi.{kind}.{name}': made})
        put(self.io, f'csi.{kind}.{made}', {
            'csi.volname' if kind == 'volume' else 'csi.snapname': name, 'csi.imagename': prefix + made,
            **({'csi.source': source} if source else {}), **({'csi.volume.owner': self.owner} if self.owner else {})})
        return made, prefix + made

    def note_id(self, kind, made, name):
        with rbd.Image(self.io, name, read_only=True) as image:
            put(self.io, f'csi.{kind}.{made}', {'csi.imageid': image.id()})

    def image_of(self, kind, handle):
        return omap(self.io, f'csi.{kind}.{handle[-36:]}')['csi.imagename']

    def clone(self, parent, snapshot, name, features):
        """Of the second format, which cluster.py has set for its administrator: python3-rbd has no argument for it."""
        self.rbd.clone(self.io, parent, snapshot, self.io, name, features=features)

    def hide(self, source, snapshot, name):
        """A clone of source as it is now, by a snapshot of it that is then removed, and so kept in its trash namespace."""
        with rbd.Image(self.io, source) as image:
            image.create_snap(snapshot)
            self.clone(source, snapshot, name, HIDDEN_FEATURES)
            image.remove_snap(snapshot)

    def volume(self, name, size=1 << 30, features=FEATURES):
        made, image = self.reserve('volume', name, 'csi-vol-')
        self.rbd.create(self.io, image, size, old_format=False, features=features)
        self.note_id('volume', made, image)
        return self.handle(made)

    def encrypted(self, name, device):
        """As `volume`, of a class with encrypted: "true" and a passphrase in its secret; device: a file with what dm-crypt was given."""
        made, image = self.reserve('volume', name, 'csi-vol-')
        put(self.io, f'csi.volume.{made}', {'csi.volume.encryptKMS': 'default', 'csi.volume.encryptionType': 'block'})
        self.rbd.create(self.io, image, device.stat().st_size, old_format=False, features=FEATURES)
        with rbd.Image(self.io, image) as opened:
            opened.write(device.read_bytes(), 0)
            opened.metadata_set('rbd.csi.ceph.com/encrypted', 'encrypted')
        self.note_id('volume', made, image)
        return self.handle(made)

    def mirrored(self, there, volume):
        """What rbd-mirror lays into this pool of a volume of another: its image, with an id of its own."""
        image = there.image_of('volume', volume)
        with rbd.Image(there.io, image, read_only=True) as source:
            source.copy(self.io, image)

    def regenerated(self, name, volume):
        """And what the program's controller (csi-rbdplugin-controller) makes of its PV: the entry, of the UUID in the handle."""
        made, image = self.reserve('volume', name, 'csi-vol-', made=volume[-36:])
        self.note_id('volume', made, image)

    def snapshot(self, name, volume):
        source = self.image_of('volume', volume)
        made, image = self.reserve('snap', name, 'csi-snap-', source)
        self.hide(source, image, image)
        with rbd.Image(self.io, image) as opened:
            opened.create_snap(image)
        self.note_id('snap', made, image)
        return self.handle(made)

    def restored(self, name, snapshot, features=FEATURES):
        parent = self.image_of('snap', snapshot)
        made, image = self.reserve('volume', name, 'csi-vol-')
        self.clone(parent, parent, image, features)
        self.note_id('volume', made, image)
        return self.handle(made)

    def cloned(self, name, volume, features=FEATURES):
        made, image = self.reserve('volume', name, 'csi-vol-')
        between = f'{image}-temp'
        self.hide(self.image_of('volume', volume), between, between)
        with rbd.Image(self.io, between) as opened:
            opened.create_snap(image)
            self.clone(between, image, image, features)
            opened.remove_snap(image)
        self.note_id('volume', made, image)
        return self.handle(made)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__.split('usage: ')[1].split('\n\n')[0])
    with cluster.Ceph(sys.argv[1]).connect().open_ioctx(sys.argv[2] if len(sys.argv) == 3 else cluster.POOL) as io:
        print(json.dumps({'journal': objects(io), 'images': images(io), 'trash': trash(io), 'left': left(io)}, indent=1))


if __name__ == '__main__':
    main()
