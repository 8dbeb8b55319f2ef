/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_CEPH_H
#define VOLUME_CEPH_H

#include "base/err.h"
#include "base/strmap.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * What ceph-csi calls its volumes and snapshots, and what its StorageClasses say, so that the ones
 * of either program are the other's as well.
 *
 * A handle is "0001-LLLL-CLUSTER-PPPPPPPPPPPPPPPP-UUID": version, length of the cluster's id (both
 * hex16), the id that config.json gives the cluster, the pool's number (RBD) or the filesystem's
 * (CephFS) in hex64, the UUID that the journal reserved; ≤128 bytes together. Snapshots have
 * handles of the same shape, so which of the two is meant the call has to say.
 */
#define CEPH_VOLUME_PREFIX "csi-vol-" /* of names, unless a class says another */
#define CEPH_CLUSTER_MAX 37           /* of config.json's ids, with its NUL */
struct ceph_handle {
	char cluster[CEPH_CLUSTER_MAX];
	int64_t pool_id;
	char uuid[UUID_TEXT_MAX]; /* in lower case */
};

void ceph_handle_format(const struct ceph_handle *handle, char ret_text[129]);
/* NOT_FOUND for what is no handle; FAILED_PRECONDITION: one of another version, whose volume may
 * well be there. */
int ceph_handle_parse(const char *text, struct ceph_handle *ret_handle, struct err *err);

/* [A-Za-z0-9._-]{1,36} */
bool ceph_cluster_id_is_valid(const char *id);

enum ceph_mounter {
	CEPH_MOUNTER_ANY,
	CEPH_MOUNTER_KRBD,
	CEPH_MOUNTER_FUSE,
	CEPH_MOUNTER_KERNEL = CEPH_MOUNTER_KRBD, /* of a filesystem */
};

/* Bits of librbd (RBD_FEATURE_…), here since this room knows no library. */
#define CEPH_RBD_LAYERING UINT64_C(1)
#define CEPH_RBD_STRIPINGV2 UINT64_C(2)
#define CEPH_RBD_EXCLUSIVE_LOCK UINT64_C(4)
#define CEPH_RBD_OBJECT_MAP UINT64_C(8)
#define CEPH_RBD_FAST_DIFF UINT64_C(16)
#define CEPH_RBD_DEEP_FLATTEN UINT64_C(32)

/*
 * The part of mapOptions or unmapOptions that is for the kernel's client: all of "a,b", the first
 * of "krbd:a,b;nbd:c". key is the parameter's name. INVALID_ARGUMENT: too long, blanks or control
 * characters in it, or an option that says who the client is.
 */
#define CEPH_OPTIONS_MAX 256
int ceph_krbd_options_parse(const char *key, const char *value, char ret_options[CEPH_OPTIONS_MAX],
			    struct err *err);

/*
 * Encrypted images, as ceph-csi has them: LUKS2, whose header is the first 16 MiB of the image, on
 * top of what the volume has. How their keys are kept, by encryptionKMSID and encryptionType of a
 * class, which travel in the volume's context, too; NULL and "": not given. INVALID_ARGUMENT: in a
 * way that this program does not know.
 */
#define CEPH_LUKS_HEADER (UINT64_C(16) << 20)
#define CEPH_KMS_DEFAULT "default" /* the passphrase is the secret's */
#define CEPH_PASSPHRASE "encryptionPassphrase"
int ceph_encryption_check(const char *kms, const char *type, struct err *err);

/*
 * Parameters of a StorageClass of rbd.csi.ceph.com. Strings are borrowed from the map, "" where
 * not given. Keys of Kubernetes (csi.storage.k8s.io/…) are let through; those of ceph-csi that this
 * program does not do (integrityMode, topologyConstrainedPools, …) are refused by name unless they
 * say "false" or nothing, and so is every other key, with the nearest known one.
 */
struct ceph_rbd_params {
	const char *cluster; /* clusterID, required */
	const char *pool;    /* required */
	const char *data_pool;
	const char *rados_namespace;
	const char *prefix;   /* volumeNamePrefix, or CEPH_VOLUME_PREFIX */
	uint64_t features;    /* imageFeatures; "": CEPH_RBD_LAYERING, as ceph-csi has it */
	uint64_t stripe_unit; /* bytes; 0: the library's, as the next two */
	uint64_t stripe_count;
	uint64_t object_size; /* bytes, a power of two */
	enum ceph_mounter
		mounter; /* "rbd": ANY; "rbd-nbd": FUSE (there is no NBD here); "krbd", "fuse" */
	char map_options[CEPH_OPTIONS_MAX]; /* for krbd; "" */
	char unmap_options[CEPH_OPTIONS_MAX];
	const char *mkfs_options;
	bool encrypted;             /* by LUKS2; not with "krbd" */
	const char *owner;          /* csi.storage.k8s.io/pvc/namespace */
	const char *claim, *volume; /* …/pvc/name, …/pv/name */
};
int ceph_rbd_params_parse(const struct strmap *map, struct ceph_rbd_params *ret_params,
			  struct err *err);

/* Of a VolumeSnapshotClass. */
struct ceph_rbd_snapshot_params {
	const char *cluster; /* required */
	const char *pool;    /* "", or the source's, in which a snapshot lies */
	const char *prefix;  /* snapshotNamePrefix, or "csi-snap-" */
	bool stays; /* snapshotLayout: "source": it stays on its volume's image; else "image", as
		       ceph-csi has it */
	const char *owner;              /* csi.storage.k8s.io/volumesnapshot/namespace */
	const char *snapshot, *content; /* …/volumesnapshot/name, …/volumesnapshotcontent/name */
};
int ceph_rbd_snapshot_params_parse(const struct strmap *map,
				   struct ceph_rbd_snapshot_params *ret_params, struct err *err);

/* Whether a volume of a snapshot shows the snapshot, which is not copied (backingSnapshot): as the
 * class says, or if it says nothing, where all who want the volume only read it. */
enum ceph_fs_backing { CEPH_FS_BACKING_FOR_READERS, CEPH_FS_BACKING_ALWAYS, CEPH_FS_BACKING_NEVER };

/* Of a StorageClass of cephfs.csi.ceph.com; as ceph_rbd_params. */
struct ceph_fs_params {
	const char *cluster; /* clusterID, required */
	const char *fs_name; /* fsName, required */
	const char *pool;    /* of its data pools; "": the filesystem's own choice */
	const char *prefix;  /* volumeNamePrefix, or CEPH_VOLUME_PREFIX */
	enum ceph_fs_backing backing;
	const char *owner, *claim, *volume;
};
int ceph_fs_params_parse(const struct strmap *map, struct ceph_fs_params *ret_params,
			 struct err *err);

struct ceph_fs_snapshot_params {
	const char *cluster; /* required */
	const char *prefix;  /* snapshotNamePrefix, or "csi-snap-" */
	const char *owner, *snapshot, *content;
};
int ceph_fs_snapshot_params_parse(const struct strmap *map,
				  struct ceph_fs_snapshot_params *ret_params, struct err *err);

/* "kernel", "fuse"; "" is ANY: the kernel's client where there is one. */
int ceph_fs_mounter_parse(const char *key, const char *value, enum ceph_mounter *ret_mounter,
			  struct err *err);

/*
 * kernelMountOptions, or with is_fuse fuseMountOptions: words with commas between. INVALID_ARGUMENT
 * names one that says who mounts what (the secret, config.json and the volume do), or that is
 * malformed. "" if there are none.
 */
int ceph_fs_options_check(const char *key, const char *value, bool is_fuse, struct err *err);

#endif
