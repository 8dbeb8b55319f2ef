/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_CEPH_H
#define TESTS_FAKE_CEPH_H

#include "backend/ceph/lib.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/*
 * Clusters of Ceph in memory, behind the table of librados' and librbd's functions. They keep
 * state, so tests check outcomes and not calls; and they can fail the n-th call, die at it, lose
 * its answer, or fall silent. What they answer is what librados and librbd of Ceph 16 do. Any
 * thread.
 *
 * A call counts if it would ask the cluster: not what only fills in a struct, frees, or closes.
 */
const struct ceph_lib *fake_ceph_lib(void);

#define FAKE_CEPH_MONITORS "10.0.0.1:6789"
#define FAKE_CEPH_USER "csi-rbd"
#define FAKE_CEPH_HOST "10.0.0.100" /* where connections come from */
#define FAKE_CEPH_KEY "AQBhYmNkZWZnaBAAYWJjZGVmZ2hhYmNkZWZnaA=="

/* Forgets everything. One cluster at FAKE_CEPH_MONITORS with that user, and pool "rbd", number 1.
 * Handles that are open stay good for closing them. */
void fake_ceph_reset(void);
/* Another cluster, with the same user and a pool "rbd". */
void fake_ceph_add_cluster(const char *monitors);
/* A user, or another key of one. */
void fake_ceph_set_key(const char *monitors, const char *user, const char *key);
int64_t fake_ceph_add_pool(const char *monitors, const char *name); /* its number */

/* Trouble. n counts from the next call, 1 is that one; 0 ends what was asked before. */
void fake_ceph_fail_at(unsigned n, int errnum); /* it does nothing and answers -errnum */
void fake_ceph_lose_at(unsigned n);             /* it is done, and answers -ETIMEDOUT */
void fake_ceph_kill_at(unsigned n);             /* it and all after do nothing: -ESHUTDOWN */
/* The same, but the process dies when the n-th call has begun: making an image or a clone then
 * leaves half of it; other calls have done nothing. */
void fake_ceph_kill_within(unsigned n);
bool fake_ceph_trouble_came(void); /* since that was asked */
unsigned fake_ceph_n_calls(void);  /* since reset */
/* This process died and is another one: its watches are gone, its handles answer -ESHUTDOWN until
 * they are closed; and trouble is over. */
void fake_ceph_kill(void);
/* Whatever is asked of the cluster ends with -ETIMEDOUT. */
void fake_ceph_silence(const char *monitors, bool is_silent);
/* Whatever is asked of it waits until it is let go. */
void fake_ceph_hold(const char *monitors, bool is_held);
/* The same of its manager alone. */
void fake_ceph_hold_manager(const char *monitors, bool is_held);
unsigned fake_ceph_n_held(void);                /* calls that wait so now */
void fake_ceph_blocklist(const char *monitors); /* those that are connected: -ESHUTDOWN */
void fake_ceph_set_host(const char *ip);        /* of connections that come */
/* The first cluster's monitors have the whole IP on their blocklist. */
bool fake_ceph_is_blocked(const char *ip);
bool fake_ceph_has_blocked(const char *entry); /* that very entry */
void fake_ceph_block(const char *entry);       /* by the administrator */
/* Its users may take somebody off it, which the caps of Ceph's documents do not allow. */
void fake_ceph_allow_lifting(void);
void fake_ceph_unblock(const char *ip); /* by the administrator */
/* What takes room: -ENOSPC; and all that writes is held back (-ETIMEDOUT) for who does not try. */
void fake_ceph_set_full(const char *monitors, bool is_full);

/* What is open of this process and of those that were killed, by the functions that close it. */
unsigned fake_ceph_n_connections(void);
unsigned fake_ceph_n_handles(void);  /* of all other kinds */
unsigned fake_ceph_n_connects(void); /* that succeeded, since reset */
/* The value that a connection was given, of the last that connected; NULL: none. */
const char *fake_ceph_option(const char *name);

/* Objects with an omap, of the first cluster. ns "" as a rule. */
const char *fake_ceph_omap_get(int64_t pool, const char *ns, const char *object, const char *key);
void fake_ceph_omap_set(int64_t pool, const char *ns, const char *object, const char *key,
			const char *value);
void fake_ceph_omap_rm(int64_t pool, const char *ns, const char *object, const char *key);
size_t fake_ceph_omap_count(int64_t pool, const char *ns, const char *object); /* keys */
bool fake_ceph_has_object(int64_t pool, const char *ns, const char *object);
/* Bytes, attributes ("name=…") and keys ("key:…") of it, all values in hex; nothing if it is not
 * there. And what another program writes: an attribute, or with attr NULL all bytes. */
void fake_ceph_dump_object(int64_t pool, const char *ns, const char *object, struct str *out);
void fake_ceph_set_bytes(int64_t pool, const char *ns, const char *object, const char *attr,
			 const char *value, size_t n);
void fake_ceph_set_changed(int64_t pool, const char *ns, const char *object, time_t when);
void fake_ceph_remove_object(int64_t pool, const char *ns, const char *object);
/* All of a pool, in each namespace; not what images consist of. */
size_t fake_ceph_n_objects(int64_t pool);

/* Images, of the first cluster. */
bool fake_ceph_has_image(int64_t pool, const char *ns, const char *name); /* not in the trash */
void fake_ceph_remove_image(
	int64_t pool, const char *ns,
	const char *name); /* by hand, with its snapshots, of which there are no clones */
size_t fake_ceph_n_images(int64_t pool); /* of all namespaces, and in the trash */
size_t fake_ceph_n_trash(int64_t pool);
size_t fake_ceph_n_snapshots(int64_t pool, const char *ns, const char *image); /* trashed too */
/* It names a parent that was let go of: it is listed, and cannot be opened. */
void fake_ceph_lose_parent(int64_t pool, const char *ns, const char *image, const char *snap);
size_t fake_ceph_n_watchers(int64_t pool, const char *ns, const char *image);
/* NULL: none. */
const char *fake_ceph_image_meta(int64_t pool, const char *ns, const char *image, const char *key);
/* Whoever has it open knows all of that. */
bool fake_ceph_knows_meta(int64_t pool, const char *ns, const char *image);
/* By another client, or the administrator; NULL: none. */
void fake_ceph_set_image_meta(int64_t pool, const char *ns, const char *image, const char *key,
			      const char *value);
/* A client elsewhere writes the text there. */
void fake_ceph_write(int64_t pool, const char *ns, const char *image, uint64_t offset,
		     const char *text);
/* A client elsewhere has it open, "10.0.0.9:0/77"; NULL: not any more. */
void fake_ceph_set_watched(int64_t pool, const char *ns, const char *image, const char *addr);
/* Its lock is a client's, who may be gone; NULL: nobody's. */
void fake_ceph_set_locked(int64_t pool, const char *ns, const char *image, const char *addr);
/* Filesystems, of the first cluster; their subvolumes are those of group "csi". */
int64_t fake_ceph_add_fs(const char *monitors, const char *name); /* its metadata pool */
void fake_ceph_fail_copies(unsigned n);                           /* the next n, half-way */
/* With its last snapshot a subvolume that was deleted does not go, since the manager has yet to
 * remove its data. */
void fake_ceph_remove_later(bool is_later);
void fake_ceph_hide_filesystems(bool hide);        /* the client's caps name none of them */
void fake_ceph_remove_subvolume(const char *name); /* by hand, with its snapshots */
size_t fake_ceph_n_subvolumes(void); /* also those that are there for their snapshots */
uint64_t fake_ceph_subvolume_bytes(const char *name); /* 0: there is none */
size_t fake_ceph_n_subvolume_snaps(const char *name);
const char *fake_ceph_subvolume_meta(const char *name, const char *key); /* NULL: none */
const char *fake_ceph_copied_from(const char *name);                     /* NULL: nothing */
void fake_ceph_forget_words(void); /* all metadata of all subvolumes */

/* The manager's list of tasks has one that flattens it; NULL: none. */
void fake_ceph_set_flattening(const char *image);
/* The manager refuses all commands; 0: no more. */
void fake_ceph_refuse_manager(const char *monitors, int errnum);

#endif
