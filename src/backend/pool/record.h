/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_RECORD_H
#define BACKEND_POOL_RECORD_H

#include "backend/backend.h"

/*
 * What the file of a volume or of a snapshot says of itself, in one extended attribute: what never
 * changes (README.md). Text, so that `getfattr -d` answers a person; the name comes last and goes
 * to the end, so it may hold anything.
 */
enum record_kind { RECORD_VOLUME, RECORD_SNAPSHOT };

#define RECORD_ATTR "user.cleat.volume"
#define SNAPSHOT_ATTR "user.cleat.snapshot"
#define RECORD_MAX 2048

#define RECORD_OWNER_MAX BACKEND_OWNER_MAX

struct record {
	uint64_t bytes; /* at its birth */
	char fs[8];
	bool allow_buffered; /* volumes only, as the next two; else false and not written */
	bool no_reserve;     /* true of thin ones */
	bool is_thin;
	int64_t created_ns;
	struct uuid uuid; /* of the filesystem inside; zero for raw volumes */
	struct uuid pool; /* the identity of the pool that it was made in */
	/* what it was made of; a snapshot always of a volume */
	enum backend_source source_kind;
	char source[VOL_TOKEN_MAX];
	char group[VOL_TOKEN_MAX]; /* of snapshots, "": none */
	/* of snapshots: its bytes are being copied from a source of this mtime, and are there up to
	 * copied_bytes */
	bool is_copying;
	int64_t source_changed_ns;
	uint64_t copied_bytes;
	/* the owner; each "" if it is not known, and then not written */
	char cluster[RECORD_OWNER_MAX];
	char claim_namespace[RECORD_OWNER_MAX];
	char claim_name[RECORD_OWNER_MAX];
	char claim_uid[RECORD_OWNER_MAX];
	char name[129];
};

/* Takes what a record can hold; the rest is left out, since a volume is worth more than the word
 * whose it is. */
void record_set_owner(struct record *r, const struct backend_owner *owner);

const char *record_attr(enum record_kind kind);
void record_format(enum record_kind kind, const struct record *r, char ret_text[RECORD_MAX]);
/* FAILED_PRECONDITION says which part is wrong, or what a newer cleat's record needs. */
int record_parse(enum record_kind kind, const char *text, struct record *ret_record,
		 struct err *err);

/*
 * What changes in a volume's life, in an attribute of its own, user.cleat.state; one that is not
 * there says nothing. It is replaced as a whole: whoever changes one thing reads it, changes that
 * and writes everything back (pool_state_read, pool_state_write), lines of a newer cleat too.
 */
#define STATE_ATTR "user.cleat.state"

struct state {
	uint64_t bytes; /* after growth; 0: as at its birth */
	struct vol_limits limits;
	char others[RECORD_MAX]; /* the lines that this cleat does not know */
};

/* FAILED_PRECONDITION as record_parse. */
int state_parse(const char *text, struct state *ret_state, struct err *err);
/* FAILED_PRECONDITION: does not fit, for the lines that are not known. */
int state_format(const struct state *state, char ret_text[RECORD_MAX], struct err *err);

#endif
