/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BACKEND_CEPH_CONTRACT_H
#define TESTS_UNIT_BACKEND_CEPH_CONTRACT_H

/*
 * What the rooms above rely on librados and librbd for: held against the fake as unit tests, and
 * against the real libraries and a real cluster if CLEAT_CEPH names the directory of one
 * (tests/ceph/cluster.py up DIR), so that the fake answers as they do.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "backend/ceph/config.h"
#include "backend/ceph/journal.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "check.h"
#include "fake/ceph.h"

static const struct ceph_lib *lib;
static bool is_real;
static struct ceph_conns *conns;
static struct ceph_conn *conn;
static rados_ioctx_t io;
static struct ctx ctx;
static struct err err;

/* Of this process alone, since a real cluster keeps what a failed run leaves. */
static inline const char *own(const char *name)
{
	return arena_printf(ctx.arena, "t%d-%s", (int)getpid(), name);
}

static inline void read_real(const char *dir, struct ceph_login *ret_login)
{
	autofree char *config_dir = path_join(dir, "csi");
	struct ceph_config *config = ceph_config_new(config_dir);
	autofree char *secret = xasprintf("%s/secret.json", dir);
	static struct ceph_cluster cluster;
	autojson struct json_doc *doc = NULL;
	autofree char *text = NULL;
	size_t n;

	ASSERT_OK(ceph_config_find(config, ctx.arena, "c1", &cluster, &err), &err);
	ceph_config_free(config);
	ASSERT_EQ(fd_read_file(AT_FDCWD, secret, 4096, &text, &n), 0);
	ASSERT_OK(json_parse(text, n, &doc, &err), &err);
	*ret_login = (struct ceph_login){
		.cluster = "c1",
		.monitors = cluster.monitors,
		.user = arena_strdup(ctx.arena, json_get_string(json_root(doc), "userID")),
		.key = arena_strdup(ctx.arena, json_get_string(json_root(doc), "userKey")),
	};
}

/* Of the cluster at CLEAT_CEPH. */
static inline const struct ceph_login *real_login(void)
{
	static struct ceph_login login;

	read_real(getenv("CLEAT_CEPH"), &login);
	return &login;
}

static inline void begin(void)
{
	struct ceph_login login = { "c1", FAKE_CEPH_MONITORS, FAKE_CEPH_USER, FAKE_CEPH_KEY };
	const char *dir = getenv("CLEAT_CEPH");
	struct ceph_conns_options opts = { .lib = fake_ceph_lib() };

	is_real = dir;
	ctx_init(&ctx, 0);
	fake_ceph_reset();
	if (is_real) {
		opts.lib = NULL;
		read_real(dir, &login);
	}
	conns = ceph_conns_new(&opts);
	ASSERT_OK(ceph_conn_get(conns, &ctx, &login, &conn, &err), &err);
	lib = ceph_conn_lib(conn);
	ASSERT_OK(ceph_conn_open_pool(conn, "rbd", "", &io, &err), &err);
}

static inline void end(void)
{
	lib->rados_ioctx_destroy(io);
	ceph_conn_put(conn);
	ceph_conns_free(conns);
	ctx_done(&ctx);
	ASSERT_EQ(fake_ceph_n_connections(), 0);
	ASSERT_EQ(fake_ceph_n_handles(), 0);
}

#endif
