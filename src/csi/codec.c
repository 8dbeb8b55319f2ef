/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages that several methods share.
 *
 * Every map of csi.proto has an entry type of its own with the same two fields, so maps are read
 * and made by the entry's descriptor instead of by one function for each of the forty types.
 */
#include "csi/codec.h"

#include <inttypes.h>
#include <string.h>

#include "base/str.h"

char *codec_lend(const char *s)
{
	return (char *)(uintptr_t)s;
}

static char **entry_field(ProtobufCMessage *entry, unsigned i)
{
	return (char **)(void *)((char *)entry + entry->descriptor->fields[i].offset);
}

struct strmap codec_get_map(struct arena *a, size_t n, const void *entries)
{
	struct strpair *pairs = arena_array(a, n, sizeof(*pairs));

	for (size_t i = 0; i < n; i++) {
		ProtobufCMessage *entry;

		memcpy(&entry, (const char *)entries + i * sizeof(entry), sizeof(entry));
		pairs[i].key = *entry_field(entry, 0);
		pairs[i].value = *entry_field(entry, 1);
	}
	return strmap_from(a, pairs, n);
}

void *codec_put_map(struct arena *a, const ProtobufCMessageDescriptor *type,
		    const struct strmap *map, size_t *ret_n)
{
	ProtobufCMessage **entries = arena_array(a, map->n, sizeof(*entries));

	for (size_t i = 0; i < map->n; i++) {
		entries[i] = wire_new(a, type);
		*entry_field(entries[i], 0) = codec_lend(map->v[i].key);
		*entry_field(entries[i], 1) = codec_lend(map->v[i].value);
	}
	*ret_n = map->n;
	return entries;
}

int codec_get_bytes(const char *field, int64_t value, uint64_t *ret_value, struct err *err)
{
	if (value < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: %" PRId64 " is negative", field,
			       value);
	*ret_value = (uint64_t)value;
	return 0;
}

int64_t codec_put_bytes(uint64_t value)
{
	return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

int codec_get_range(const Csi__V1__CapacityRange *pb, struct vol_range *ret_range, struct err *err)
{
	struct vol_range range = { 0 };

	if (pb && (codec_get_bytes("capacity_range.required_bytes", pb->required_bytes,
				   &range.required_bytes, err) < 0 ||
		   codec_get_bytes("capacity_range.limit_bytes", pb->limit_bytes,
				   &range.limit_bytes, err) < 0))
		return -1;
	*ret_range = range;
	return 0;
}

Csi__V1__CapacityRange *codec_put_range(struct arena *a, const struct vol_range *range)
{
	Csi__V1__CapacityRange *pb;

	if (!range->required_bytes && !range->limit_bytes)
		return NULL;
	pb = wire_new(a, &csi__v1__capacity_range__descriptor);
	pb->required_bytes = codec_put_bytes(range->required_bytes);
	pb->limit_bytes = codec_put_bytes(range->limit_bytes);
	return pb;
}

int codec_get_capability(const Csi__V1__VolumeCapability *pb, struct vol_capability *ret_cap,
			 struct err *err)
{
	struct vol_capability cap = { .fs_type = "", .mount_group = "" };

	if (!pb)
		return err_set(err, ERR_INVALID_ARGUMENT, "volume_capability: required");
	if (pb->access_mode)
		cap.mode = (enum vol_mode)pb->access_mode->mode;
	if (pb->access_type_case == CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK) {
		cap.access = VOL_ACCESS_BLOCK;
	} else if (pb->access_type_case == CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT) {
		cap.access = VOL_ACCESS_MOUNT;
		cap.fs_type = pb->mount->fs_type;
		cap.mount_flags = (const char *const *)pb->mount->mount_flags;
		cap.n_mount_flags = pb->mount->n_mount_flags;
		cap.mount_group = pb->mount->volume_mount_group;
	} else {
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.access_type: required, block or mount");
	}
	*ret_cap = cap;
	return 0;
}

int codec_get_capabilities(struct arena *a, size_t n, Csi__V1__VolumeCapability *const *pb,
			   const struct vol_capability **ret_caps, struct err *err)
{
	struct vol_capability *caps = arena_array(a, n, sizeof(*caps));

	for (size_t i = 0; i < n; i++) {
		if (codec_get_capability(pb[i], &caps[i], err) < 0)
			return -1;
	}
	*ret_caps = caps;
	return 0;
}

Csi__V1__VolumeCapability *codec_put_capability(struct arena *a, const struct vol_capability *cap)
{
	Csi__V1__VolumeCapability *pb = wire_new(a, &csi__v1__volume_capability__descriptor);
	Csi__V1__VolumeCapability__AccessMode *mode =
		wire_new(a, &csi__v1__volume_capability__access_mode__descriptor);
	char **flags;

	mode->mode = (Csi__V1__VolumeCapability__AccessMode__Mode)cap->mode;
	pb->access_mode = mode;
	if (cap->access == VOL_ACCESS_BLOCK) {
		pb->access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK;
		pb->block = wire_new(a, &csi__v1__volume_capability__block_volume__descriptor);
		return pb;
	}
	pb->access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT;
	pb->mount = wire_new(a, &csi__v1__volume_capability__mount_volume__descriptor);
	pb->mount->fs_type = codec_lend(str_or(cap->fs_type, ""));
	pb->mount->volume_mount_group = codec_lend(str_or(cap->mount_group, ""));
	flags = arena_array(a, cap->n_mount_flags, sizeof(*flags));
	for (size_t i = 0; i < cap->n_mount_flags; i++)
		flags[i] = codec_lend(cap->mount_flags[i]);
	pb->mount->mount_flags = flags;
	pb->mount->n_mount_flags = cap->n_mount_flags;
	return pb;
}

Csi__V1__VolumeCapability **codec_put_capabilities(struct arena *a, size_t n,
						   const struct vol_capability *caps)
{
	Csi__V1__VolumeCapability **pb = arena_array(a, n, sizeof(*pb));

	for (size_t i = 0; i < n; i++)
		pb[i] = codec_put_capability(a, &caps[i]);
	return pb;
}

struct vol_topology codec_get_topology(struct arena *a, const Csi__V1__Topology *pb)
{
	return (struct vol_topology){ codec_get_map(a, pb->n_segments, pb->segments) };
}

Csi__V1__Topology *codec_put_topology(struct arena *a, const struct vol_topology *topology)
{
	Csi__V1__Topology *pb = wire_new(a, &csi__v1__topology__descriptor);

	pb->segments = codec_put_map(a, &csi__v1__topology__segments_entry__descriptor,
				     &topology->segments, &pb->n_segments);
	return pb;
}

struct vol_topologies codec_get_topologies(struct arena *a, size_t n, Csi__V1__Topology *const *pb)
{
	struct vol_topology *v = arena_array(a, n, sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = codec_get_topology(a, pb[i]);
	return (struct vol_topologies){ v, n };
}

Csi__V1__Topology **codec_put_topologies(struct arena *a, const struct vol_topologies *topologies)
{
	Csi__V1__Topology **pb = arena_array(a, topologies->n, sizeof(*pb));

	for (size_t i = 0; i < topologies->n; i++)
		pb[i] = codec_put_topology(a, &topologies->v[i]);
	return pb;
}

int codec_get_source(const Csi__V1__VolumeContentSource *pb, struct csi_content_source *ret_source,
		     struct err *err)
{
	struct csi_content_source source = { .id = "" };

	if (pb && pb->type_case == CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT) {
		source.kind = CSI_SOURCE_SNAPSHOT;
		source.id = pb->snapshot->snapshot_id;
	} else if (pb && pb->type_case == CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME) {
		source.kind = CSI_SOURCE_VOLUME;
		source.id = pb->volume->volume_id;
	} else if (pb) {
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_content_source.type: required, snapshot or volume");
	}
	*ret_source = source;
	return 0;
}

Csi__V1__VolumeContentSource *codec_put_source(struct arena *a,
					       const struct csi_content_source *source)
{
	Csi__V1__VolumeContentSource *pb;

	if (source->kind == CSI_SOURCE_NONE)
		return NULL;
	pb = wire_new(a, &csi__v1__volume_content_source__descriptor);
	if (source->kind == CSI_SOURCE_SNAPSHOT) {
		pb->type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT;
		pb->snapshot =
			wire_new(a, &csi__v1__volume_content_source__snapshot_source__descriptor);
		pb->snapshot->snapshot_id = codec_lend(source->id);
	} else {
		pb->type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME;
		pb->volume =
			wire_new(a, &csi__v1__volume_content_source__volume_source__descriptor);
		pb->volume->volume_id = codec_lend(source->id);
	}
	return pb;
}

int codec_get_volume(struct arena *a, const Csi__V1__Volume *pb, struct csi_volume *ret_vol,
		     struct err *err)
{
	struct csi_volume vol = { 0 };

	if (!pb || str_is_empty(pb->volume_id))
		return err_set(err, ERR_INVALID_ARGUMENT, "volume.volume_id: required");
	if (codec_get_bytes("volume.capacity_bytes", pb->capacity_bytes, &vol.capacity_bytes, err) <
		    0 ||
	    codec_get_source(pb->content_source, &vol.content_source, err) < 0)
		return -1;
	vol.volume_id = pb->volume_id;
	vol.volume_context = codec_get_map(a, pb->n_volume_context, pb->volume_context);
	vol.accessible_topology =
		codec_get_topologies(a, pb->n_accessible_topology, pb->accessible_topology);
	*ret_vol = vol;
	return 0;
}

Csi__V1__Volume *codec_put_volume(struct arena *a, const struct csi_volume *vol)
{
	Csi__V1__Volume *pb = wire_new(a, &csi__v1__volume__descriptor);

	pb->volume_id = codec_lend(vol->volume_id);
	pb->capacity_bytes = codec_put_bytes(vol->capacity_bytes);
	pb->volume_context = codec_put_map(a, &csi__v1__volume__volume_context_entry__descriptor,
					   &vol->volume_context, &pb->n_volume_context);
	pb->content_source = codec_put_source(a, &vol->content_source);
	pb->accessible_topology = codec_put_topologies(a, &vol->accessible_topology);
	pb->n_accessible_topology = vol->accessible_topology.n;
	return pb;
}
