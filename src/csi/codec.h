/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_CODEC_H
#define CSI_CODEC_H

#include "csi/service.h"
#include "csi/wire.h"

#include "csi.pb-c.h"

/*
 * Between the generated types of csi.proto and the plain ones of service.h. "get" goes from the
 * wire, "put" to it; all memory is the arena's, strings of what was unpacked are borrowed. Only
 * what a plain struct cannot hold is refused here (negative numbers, a missing access type), with
 * INVALID_ARGUMENT that names the field; csi/validate does the rest.
 */

/* For fields of generated structs, which have no const. Packing does not write through them. */
char *codec_lend(const char *s);

/* entries: the array of pointers to entry messages that protobuf-c makes of a map. */
struct strmap codec_get_map(struct arena *a, size_t n, const void *entries);
/* An array of pointers to n new entries of this type. */
void *codec_put_map(struct arena *a, const ProtobufCMessageDescriptor *entry,
		    const struct strmap *map, size_t *ret_n);

int codec_get_bytes(const char *field, int64_t value, uint64_t *ret_value, struct err *err);
/* More than an int64 holds becomes its maximum. */
int64_t codec_put_bytes(uint64_t value);

int codec_get_range(const Csi__V1__CapacityRange *pb, struct vol_range *ret_range, struct err *err);
Csi__V1__CapacityRange *codec_put_range(struct arena *a,
					const struct vol_range *range); /* NULL if both are 0 */

/* pb NULL: INVALID_ARGUMENT, required. */
int codec_get_capability(const Csi__V1__VolumeCapability *pb, struct vol_capability *ret_cap,
			 struct err *err);
int codec_get_capabilities(struct arena *a, size_t n, Csi__V1__VolumeCapability *const *pb,
			   const struct vol_capability **ret_caps, struct err *err);
Csi__V1__VolumeCapability *codec_put_capability(struct arena *a, const struct vol_capability *cap);
Csi__V1__VolumeCapability **codec_put_capabilities(struct arena *a, size_t n,
						   const struct vol_capability *caps);

struct vol_topology codec_get_topology(struct arena *a, const Csi__V1__Topology *pb);
Csi__V1__Topology *codec_put_topology(struct arena *a, const struct vol_topology *topology);
struct vol_topologies codec_get_topologies(struct arena *a, size_t n, Csi__V1__Topology *const *pb);
Csi__V1__Topology **codec_put_topologies(struct arena *a, const struct vol_topologies *topologies);

int codec_get_source(const Csi__V1__VolumeContentSource *pb, struct csi_content_source *ret_source,
		     struct err *err);
Csi__V1__VolumeContentSource *codec_put_source(struct arena *a,
					       const struct csi_content_source *source);

int codec_get_volume(struct arena *a, const Csi__V1__Volume *pb, struct csi_volume *ret_vol,
		     struct err *err);
Csi__V1__Volume *codec_put_volume(struct arena *a, const struct csi_volume *vol);

/* One method of csi.proto as the server sees it. */
struct codec_call {
	const struct csi_service *service;
	struct ctx *ctx;
	const ProtobufCMessage *request; /* of the method's type, unpacked */
	const char *
		volume; /* set by serve for the log: a volume id or name; "" if the call has none */
};

enum codec_kind {
	CODEC_ASKS,    /* constant answers: served on the I/O thread, logged at debug */
	CODEC_READS,   /* looks at the pool or the node; logged at debug */
	CODEC_CHANGES, /* changes one of them; logged at info */
};

struct codec_method {
	const char *path;
	enum codec_kind kind;
	bool is_node; /* blocks on the host, not only on the pool */
	const ProtobufCMessageDescriptor *request;
	/* Decodes further, calls the service, and gives the reply message in the arena. */
	int (*serve)(struct codec_call *call, ProtobufCMessage **ret_reply, struct err *err);
};

extern const struct codec_method codec_identity_methods[];
extern const size_t codec_n_identity_methods;
extern const struct codec_method codec_controller_methods[];
extern const size_t codec_n_controller_methods;
extern const struct codec_method codec_node_methods[];
extern const size_t codec_n_node_methods;

#endif
