/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_CSI_FAKE_SHARE_H
#define TESTS_UNIT_CSI_FAKE_SHARE_H

#include "backend/registry.h"

/*
 * A kind of backend without block devices: volumes of a file server, which mount as "nfs4" from
 * "server:/NAME OF THE POOL/TOKEN". The server outlives the program; each call to it is a call to
 * the fake host that can be made to fail, and while fake_host_silence_server() holds none answers.
 */
extern const struct backend_kind share_kind;
/* The same, but its mounts are not known as its own. */
extern const struct backend_kind share_kind_blind;

void share_reset(void);
/* What the last mount was given: the secret "key" and the context entries "where" and "node". */
struct share_seen {
	char key[32], where[32], node[32];
	char flags[64]; /* with commas */
};
extern struct share_seen share_seen;
bool share_has(const char *pool, const char *token);
const char *share_note(const char *pool, const char *token);
/* What is exported next can only be read. */
void share_set_read_only(bool is_read_only);

#endif
