/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_IMAGE_H
#define BACKEND_RBD_IMAGE_H

#include "backend/rbd/rbd-internal.h"

/*
 * One image of a place, as volume.c, copy.c and snapshot.c need it. Names are within the place's
 * pool and namespace; strings that are returned are in the ctx's arena.
 */
#define IMAGE_ID_MAX 64
/* --rbdsoftmaxclonedepth and --rbdhardmaxclonedepth: how many parents an image may have before it
 * is flattened in the background, and before nothing is made of it until then. The kernel's client
 * opens none with more than 16. */
#define IMAGE_SOFT_DEPTH 4
#define IMAGE_HARD_DEPTH 8
/* --maxsnapshotsonimage: that client maps no image with more than 510, those in the trash included.
 */
#define IMAGE_MAX_SNAPSHOTS 450

struct image_snap {
	const char *name;
	bool is_user; /* else in the trash, of a group or a mirror; not by its name */
	uint64_t bytes;
	int64_t created_ns;
};

struct image_look {
	char id[IMAGE_ID_MAX];
	uint64_t bytes;
	int64_t created_ns;
	const char *watcher; /* address of one, "" if there is none; if asked for */
	const struct image_snap *snaps;
	size_t n_snaps;
	const char *parent_id; /* "" without parent, as the next two */
	const char *parent;    /* its name, also in the trash */
	const char *parent_ns;
	int64_t parent_pool;
	bool is_parent_in_trash;
	const char *made_of;      /* IMAGE_SOURCE_WORD; "" if it has none; if asked for */
	struct vol_limits limits; /* if asked for */
	const char *given_up;     /* IMAGE_GIVEN_UP_WORD; the same */
};

/* What of it costs a question more each. */
#define IMAGE_ASK_WATCHER 1u
#define IMAGE_ASK_SOURCE 2u
#define IMAGE_ASK_LIMITS 4u
#define IMAGE_ASK_GIVEN_UP 8u

/* Opened read-only, so that it is no watcher itself. NOT_FOUND: the name is not there. ABORTED: it
 * is, and what it needs is not, for a moment or, if it was never whole, for ever. */
int image_look(const struct image_place *p, const char *name, unsigned ask,
	       struct image_look *ret_look, struct err *err);
/* What a call on it means that failed as something is not there (ENOENT): NOT_FOUND or ABORTED, as
 * above. */
int image_refuse_missing(const struct image_place *p, const char *name, struct err *err);
/* 1, or 0 where there is none. */
int image_look_maybe(const struct image_place *p, const char *name, unsigned ask,
		     struct image_look *ret_look, struct err *err);
/* The same for what a killed call may have left: 0 for what can never be opened, too. */
int image_look_begun(const struct image_place *p, const char *name, unsigned ask,
		     struct image_look *ret_look, struct err *err);
/* Makes what it says of its parent say that of its parent's. */
int image_look_further(const struct image_place *p, struct image_look *look, struct err *err);
bool image_has_snap(const struct image_look *look, const char *name);
const struct image_snap *image_find_snap(const struct image_look *look, const char *name);
/* How many parents it has; they are counted up to the hard limit + 1. */
int image_depth(const struct image_place *p, const struct image_look *look, unsigned *ret_depth,
		struct err *err);

/* Open for changes until image_close; the calls name the image. */
struct image {
	const struct image_place *place;
	const char *name;
	rbd_image_t open;
};
int image_open(const struct image_place *p, const char *name, struct image *ret_image,
	       struct err *err);
void image_close(struct image *image);
/* As image_look, without its watchers, of which this handle is one. */
int image_look_open(const struct image *image, struct image_look *ret_look, struct err *err);
int image_snap(const struct image *image, const char *snap, struct err *err);
/* 0 also when there is none. One that has clones goes to the trash of its image, until they go. */
int image_drop_snap(const struct image *image, const char *snap, struct err *err);
/* Never smaller; what it has then. */
int image_resize(const struct image *image, uint64_t bytes, uint64_t *ret_bytes, struct err *err);
/* Of one that was just made: its id, and its metadata in one operation, which tells nobody who has
 * it open. */
int image_read_id(const struct image_place *p, const char *name, char ret_id[IMAGE_ID_MAX],
		  struct err *err);
/* What rbd_id.NAME holds. -EBADMSG: it is no encoded text, or too long for an id. */
int image_id_decode(const char *bytes, size_t n, char ret_id[IMAGE_ID_MAX]);
struct image_word;
int image_put_words(const struct image_place *p, const char *name, const char *id,
		    const struct image_word *words, size_t n, const char *const *forget,
		    size_t n_forget, struct err *err);

/* What passes by itself is tried so often, with a moment between. */
#define IMAGE_TRIES 5
void image_wait_a_moment(const struct image_place *p);

/* What an image is made with. */
struct image_shape {
	uint64_t features;
	uint64_t stripe_unit, stripe_count, object_size; /* 0: the library's */
	const char *data_pool;                           /* "" */
};
/* ALREADY_EXISTS. */
int image_make(const struct image_place *p, const char *name, uint64_t bytes,
	       const struct image_shape *shape, struct err *err);
/* Of a snapshot that is there, in whatever pool of the cluster; needs no protection.
 * ALREADY_EXISTS. ABORTED as of image_look. */
int image_clone(const struct image_place *from, const char *parent, const char *snap,
		const struct image_place *p, const char *name, const struct image_shape *shape,
		struct err *err);
/* The same of a snapshot that is made for it and goes afterwards, of an image that is open. */
int image_branch(const struct image *source, const char *snap, const struct image_place *p,
		 const char *name, const struct image_shape *shape, struct err *err);
/* Of clones that nobody mounts, as ceph-csi makes them. */
extern const struct image_shape image_shape_hidden;

/* The keys with a value; "" is none. */
/* The handle of what a volume is a copy of, which a flattened one would not tell; not of
 * ceph-csi, which passes over it. */
#define IMAGE_SOURCE_WORD "cleat/source"
/* Of a volume that was deleted before its snapshots: its own name (stay.c). */
#define IMAGE_GIVEN_UP_WORD "cleat/deleted"
#define IMAGE_CLUSTER_WORD "csi.ceph.com/cluster/name"
struct image_word {
	const char *key;
	const char *value;
};
int image_set_words(const struct image *image, const struct image_word *words, size_t n,
		    struct err *err);
int image_get_word(const struct image *image, const char *key, const char **ret_value,
		   struct err *err);

/* limits.c: limits of I/O in an image's metadata. Their words; the value of one that is none is
 * "". */
#define IMAGE_N_LIMITS VOL_LIMITS_N
void image_limits_words(struct arena *a, const struct vol_limits *limits,
			struct image_word ret_words[IMAGE_N_LIMITS]);
/* 0 or -errno. What somebody else has set, and cannot be a limit here, is none. */
int image_limits_get(const struct image_place *p, const char *id, struct vol_limits *ret_limits);

/* crypt.c: encrypted images, as who makes them and who attaches them has them (luks.h). What the
 * header takes of one. */
static inline uint64_t image_header_bytes(const struct ceph_entry *entry)
{
	return *entry->kms ? CEPH_LUKS_HEADER : 0;
}
/* What a volume has whose image has raw bytes. */
static inline uint64_t image_plain_bytes(const struct ceph_entry *entry, uint64_t raw)
{
	uint64_t header = image_header_bytes(entry);

	return raw > header ? raw - header : 0;
}
/* FAILED_PRECONDITION: its passphrase is kept somewhere that this program does not know. */
int image_crypt_check(const struct ceph_entry *entry, struct err *err);
/* INVALID_ARGUMENT: what is made of it would be encrypted (kms, as of an entry) and it is not, or
 * the other way. */
int image_crypt_compare(const struct ceph_entry *entry, const char *kms, struct err *err);
/* "": there is none. */
const char *image_crypt_passphrase(const struct secrets *secrets);
/* So many derive a key from a passphrase at once, in this process' care: that takes a processor and
 * as much memory as whoever formatted the image has said. Waits until it is one's turn. */
#define IMAGE_CRYPT_AT_ONCE 2
int image_crypt_begin(struct ctx *ctx, struct err *err);
void image_crypt_end(void);

/* trash.c */
/* As image_look_maybe. The manager watches for a moment the image of which it has just removed a
 * clone: who is there is asked again before somebody is said to use it. */
int image_look_idle(const struct image_place *p, const char *name, struct image_look *ret_look,
		    struct err *err);
/* FAILED_PRECONDITION: somebody has it open (names the address), or it has snapshots that are not
 * ours. */
int image_check_discard(const struct image_place *p, const char *name,
			const struct image_look *look, struct err *err);
/*
 * The image goes: to the trash, from where the manager removes it, as soon as its snapshots there
 * have no more clones. Its own snapshots of our names are dropped first; one that has some that
 * stay is kept for them. 0 also when there is none, or it is in the trash already (then the manager
 * is told again). FAILED_PRECONDITION: somebody has it open (names the address), or it has
 * snapshots that are not ours; nothing is changed then.
 */
int image_discard(const struct image_place *p, const char *name, struct err *err);
/* The same for one that a killed call has begun and nobody was given; ABORTED where somebody has it
 * open. */
int image_discard_torn(const struct image_place *p, const char *name, struct err *err);
/* Before a snapshot is made of one that has parents. librbd keeps flattening and snapshots apart by
 * the exclusive lock, which images without that feature do not have: a snapshot may then name a
 * parent that is let go of, and nothing of it can be read any more. ABORTED: the manager is at it.
 */
int image_check_settled(const struct image_place *p, const char *name,
			const struct image_look *look, struct err *err);
/* The manager flattens it, some time. 0 also when it has no parent any more. */
int image_flatten_later(const struct image_place *p, const char *name, struct err *err);

/* "<prefix><UUID>", also with "-temp" behind: the names that ceph-csi and this program give. "" if
 * it is none. */
const char *image_uuid_in_name(struct arena *a, const char *name);
/* "rbd/ns/name", for messages and the manager */
const char *image_spec(const struct image_place *p, const char *name);

/* stay.c: snapshots that stay on their volume's image, of which csi.snap.<UUID> says so. */
#define IMAGE_LAYOUT_SOURCE "source"
bool image_snapshot_stays(const struct ceph_entry *entry);
/* The image that has the snapshot called entry->image: its own, or its volume's. */
const char *image_of_snapshot(const struct ceph_entry *entry);
/* 1, and its image with the snapshot's size and time; or 0 where image or snapshot are not there.
 */
int image_snapshot_look(const struct image_place *p, const struct ceph_entry *entry,
			struct image_look *ret_look, struct err *err);
int image_stay_cut(const struct image_place *p, const struct ceph_entry *entry,
		   struct image_look *ret_look, struct err *err);
int image_stay_drop(const struct image_place *p, const struct ceph_entry *entry, struct err *err);
/* The image is discarded: 1 if it is kept for snapshots that stay, and goes with the last of them;
 * 0: it has none. Errors of image_discard. */
int image_stay_keep(const struct image_place *p, const char *name, const struct image_look *look,
		    struct err *err);

/* copy.c */
/* An image of the name with what the source has, at least as large as the source; one that another
 * call has begun and nobody was given is taken or made anew. Errors as backend_ops.create;
 * ABORTED: something has too many parents, and is being flattened. */
struct image_copy {
	enum backend_source kind;
	const char *source; /* token */
	const struct secrets *secrets;
	uint64_t bytes;  /* asked; 0: as many as the source has */
	const char *kms; /* "": it is not to be encrypted */
	bool is_retry;   /* a call that was killed or failed may have begun it */
};
struct image_copied {
	uint64_t bytes; /* with a header; 0: not known */
	unsigned depth; /* how many parents it has */
};
int image_copy_make(const struct image_place *p, const char *name, const struct image_copy *copy,
		    const struct image_shape *shape, struct image_copied *ret_copied,
		    struct err *err);
/* Whether the image that is there was made of the source, as far as it still tells:
 * ALREADY_EXISTS. */
int image_copy_check(const struct image_place *p, const char *name, const struct image_look *look,
		     enum backend_source kind, const char *source, struct err *err);
/* The image that a clone of a volume has as hidden parent. */
const char *image_temp_name(struct arena *a, const char *name);

/* Whether a copy or a snapshot failed for good before anything of it was made, as what it is asked
 * of is not there, or does not fit; the same call would fail the same way. */
static inline bool image_is_refused(const struct err *err)
{
	return err->code == ERR_NOT_FOUND || err->code == ERR_INVALID_ARGUMENT ||
	       err->code == ERR_OUT_OF_RANGE;
}

/* volume.c: the token of what has this UUID, of this place. */
void image_token(const struct image_place *p, const char *uuid, char ret_token[VOL_TOKEN_MAX]);

#endif
