/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clusters, connections, pools, and the trouble that calls have. Objects are in ceph_omap.c, images
 * in ceph_image.c.
 *
 * What was forgotten by reset stays in memory while a handle may point to it: clusters are marked
 * as gone and freed when the last connection is shut down.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "fake/ceph-internal.h"

enum trouble { TROUBLE_NONE, TROUBLE_FAIL, TROUBLE_LOSE, TROUBLE_KILL };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t let_go;
	VEC(struct fake_cluster *) clusters; /* the first is FAKE_CEPH_MONITORS' */
	enum trouble trouble;
	unsigned trouble_in; /* calls; 0: it came or there is none */
	int errnum;
	bool came, lose_this, is_within, died_within;
	unsigned process; /* counts kills */
	unsigned n_calls, n_held, n_handles;
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER, .let_go = PTHREAD_COND_INITIALIZER };

void fake_ceph_lock(void)
{
	pthread_mutex_lock(&fake.lock);
}

void fake_ceph_unlock(void)
{
	pthread_mutex_unlock(&fake.lock);
}

unsigned fake_ceph_process(void)
{
	return fake.process;
}

bool fake_ceph_is_alive(unsigned process)
{
	return process == fake.process;
}

void fake_ceph_opened(int by)
{
	__atomic_add_fetch(&fake.n_handles, (unsigned)by, __ATOMIC_RELAXED);
}

uint64_t fake_ceph_id(struct fake_cluster *cluster)
{
	return ++cluster->n_ids;
}

/* What the trouble that was asked for makes of this call. */
int fake_ceph_suffer(void)
{
	fake.n_calls++;
	fake.died_within = false;
	if (fake.trouble == TROUBLE_KILL && fake.came)
		return -ESHUTDOWN;
	if (fake.trouble_in == 0 || --fake.trouble_in > 0)
		return 0;
	fake.came = true;
	fake.lose_this = fake.trouble == TROUBLE_LOSE;
	fake.died_within = fake.trouble == TROUBLE_KILL && fake.is_within;
	if (fake.trouble == TROUBLE_KILL)
		return -ESHUTDOWN;
	return fake.trouble == TROUBLE_FAIL ? -fake.errnum : 0;
}

bool fake_ceph_died_within(void)
{
	return fake.died_within;
}

void fake_ceph_wait(const bool *is_held)
{
	fake.n_held += *is_held;
	while (*is_held)
		pthread_cond_wait(&fake.let_go, &fake.lock);
}

void fake_ceph_let_go(bool *flag, bool is_held)
{
	*flag = is_held;
	if (!is_held)
		fake.n_held = 0;
	pthread_cond_broadcast(&fake.let_go);
}

int fake_ceph_enter_cluster(struct fake_cluster *cluster, enum fake_access access)
{
	int rc = fake_ceph_suffer();

	fake_ceph_wait(&cluster->is_held);
	if (rc < 0)
		return rc;
	if (cluster->is_gone || cluster->is_silent || (access == FAKE_LOOK && fake.lose_this))
		return -ETIMEDOUT;
	return 0;
}

int fake_ceph_enter(struct fake_conn *conn, enum fake_access access)
{
	int rc;

	fake_ceph_lock();
	if (!conn->cluster)
		return -ENOTCONN;
	rc = fake_ceph_enter_cluster(conn->cluster, access);
	if (rc == 0 && conn->cluster->is_full && access >= FAKE_WRITE && !conn->tries_full)
		rc = -ETIMEDOUT; /* held back until then */
	else if (rc == 0 && conn->cluster->is_full && access == FAKE_GROW)
		rc = -ENOSPC;
	if (rc == 0 && (conn->fence < conn->cluster->fence || !fake_ceph_is_alive(conn->process) ||
			fake_is_blocked(conn->cluster, conn->address)))
		rc = -ESHUTDOWN;
	return rc;
}

int fake_ceph_leave(int rc)
{
	if (fake.lose_this) {
		fake.lose_this = false;
		rc = -ETIMEDOUT;
	}
	fake_ceph_unlock();
	return rc;
}

struct fake_cluster *fake_ceph_cluster(const char *monitors)
{
	for (size_t i = 0; i < fake.clusters.n; i++)
		if (str_is_equal(fake.clusters.v[i]->monitors, monitors))
			return fake.clusters.v[i];
	return NULL;
}

struct fake_pool *fake_ceph_pool(struct fake_cluster *cluster, int64_t id)
{
	for (size_t i = 0; i < cluster->pools.n; i++)
		if (cluster->pools.v[i]->id == id)
			return cluster->pools.v[i];
	return NULL;
}

static void free_pool(struct fake_pool *pool)
{
	while (pool->objects.n)
		fake_object_remove(pool, pool->objects.v[0]);
	vec_done(&pool->objects);
	fake_ceph_free_images(pool);
	free(pool->name);
	free(pool);
}

static void free_cluster(struct fake_cluster *cluster)
{
	for (size_t i = 0; i < cluster->users.n; i++) {
		explicit_bzero(cluster->users.v[i].key, strlen(cluster->users.v[i].key));
		free(cluster->users.v[i].name);
		free(cluster->users.v[i].key);
	}
	vec_done(&cluster->users);
	for (size_t i = 0; i < cluster->pools.n; i++)
		free_pool(cluster->pools.v[i]);
	vec_done(&cluster->pools);
	fake_fs_free_all(cluster);
	for (size_t i = 0; i < cluster->tasks.n; i++)
		free(cluster->tasks.v[i]);
	vec_done(&cluster->tasks);
	for (size_t i = 0; i < cluster->blocked.n; i++)
		free(cluster->blocked.v[i]);
	vec_done(&cluster->blocked);
	free(cluster->monitors);
	free(cluster);
}

/* Those of tests before go when nobody can point to them any more. */
static void forget_clusters(void)
{
	size_t kept = 0;

	for (size_t i = 0; i < fake.clusters.n; i++) {
		struct fake_cluster *cluster = fake.clusters.v[i];

		if (fake_conn_count() == 0) {
			free_cluster(cluster);
			continue;
		}
		cluster->is_gone = true;
		cluster->is_held = cluster->is_manager_held = false;
		cluster->monitors[0] = '\0';
		fake.clusters.v[kept++] = cluster;
	}
	fake.clusters.n = kept;
	if (kept == 0)
		vec_done(&fake.clusters);
}

static void set_key(struct fake_cluster *cluster, const char *user, const char *key)
{
	for (size_t i = 0; i < cluster->users.n; i++)
		if (str_is_equal(cluster->users.v[i].name, user)) {
			free(cluster->users.v[i].key);
			cluster->users.v[i].key = xstrdup(key);
			return;
		}
	vec_push(&cluster->users, ((struct fake_user){ xstrdup(user), xstrdup(key) }));
}

static int64_t add_pool(struct fake_cluster *cluster, const char *name)
{
	struct fake_pool *pool = xcalloc(1, sizeof(*pool));

	pool->cluster = cluster;
	pool->id = (int64_t)cluster->pools.n + 1;
	pool->name = xstrdup(name);
	vec_push(&cluster->pools, pool);
	return pool->id;
}

static void add_cluster(const char *monitors)
{
	struct fake_cluster *cluster = xcalloc(1, sizeof(*cluster));

	cluster->monitors = xstrdup(monitors);
	cluster->n_ids = 4096;
	set_key(cluster, FAKE_CEPH_USER, FAKE_CEPH_KEY);
	(void)add_pool(cluster, "rbd");
	vec_push(&fake.clusters, cluster);
}

void fake_ceph_reset(void)
{
	fake_ceph_lock();
	forget_clusters();
	fake_conn_reset();
	fake.trouble = TROUBLE_NONE;
	fake.trouble_in = 0;
	fake.came = fake.lose_this = false;
	fake.n_calls = 0;
	add_cluster(FAKE_CEPH_MONITORS);
	pthread_cond_broadcast(&fake.let_go);
	fake_ceph_unlock();
}

void fake_ceph_add_cluster(const char *monitors)
{
	fake_ceph_lock();
	add_cluster(monitors);
	fake_ceph_unlock();
}

void fake_ceph_set_key(const char *monitors, const char *user, const char *key)
{
	fake_ceph_lock();
	set_key(fake_ceph_cluster(monitors), user, key);
	fake_ceph_unlock();
}

int64_t fake_ceph_add_pool(const char *monitors, const char *name)
{
	int64_t id;

	fake_ceph_lock();
	id = add_pool(fake_ceph_cluster(monitors), name);
	fake_ceph_unlock();
	return id;
}

static void ask_trouble(enum trouble trouble, unsigned n, int errnum)
{
	fake_ceph_lock();
	fake.trouble = n ? trouble : TROUBLE_NONE;
	fake.trouble_in = n;
	fake.errnum = errnum;
	fake.came = fake.is_within = false;
	fake_ceph_unlock();
}

void fake_ceph_fail_at(unsigned n, int errnum)
{
	ask_trouble(TROUBLE_FAIL, n, errnum);
}

void fake_ceph_lose_at(unsigned n)
{
	ask_trouble(TROUBLE_LOSE, n, 0);
}

void fake_ceph_kill_at(unsigned n)
{
	ask_trouble(TROUBLE_KILL, n, 0);
}

void fake_ceph_kill_within(unsigned n)
{
	ask_trouble(TROUBLE_KILL, n, 0);
	fake_ceph_lock();
	fake.is_within = true;
	fake_ceph_unlock();
}

bool fake_ceph_trouble_came(void)
{
	bool came;

	fake_ceph_lock();
	came = fake.came;
	fake_ceph_unlock();
	return came;
}

unsigned fake_ceph_n_calls(void)
{
	unsigned n;

	fake_ceph_lock();
	n = fake.n_calls;
	fake_ceph_unlock();
	return n;
}

void fake_ceph_kill(void)
{
	ask_trouble(TROUBLE_NONE, 0, 0);
	fake_ceph_lock();
	fake.process++;
	fake_ceph_unlock();
}

void fake_ceph_silence(const char *monitors, bool is_silent)
{
	fake_ceph_lock();
	fake_ceph_cluster(monitors)->is_silent = is_silent;
	fake_ceph_unlock();
}

void fake_ceph_hold(const char *monitors, bool is_held)
{
	fake_ceph_lock();
	fake_ceph_let_go(&fake_ceph_cluster(monitors)->is_held, is_held);
	fake_ceph_unlock();
}

unsigned fake_ceph_n_held(void)
{
	unsigned n;

	fake_ceph_lock();
	n = fake.n_held;
	fake_ceph_unlock();
	return n;
}

void fake_ceph_blocklist(const char *monitors)
{
	fake_ceph_lock();
	fake_ceph_cluster(monitors)->fence++;
	fake_ceph_unlock();
}

void fake_ceph_set_full(const char *monitors, bool is_full)
{
	fake_ceph_lock();
	fake_ceph_cluster(monitors)->is_full = is_full;
	fake_ceph_unlock();
}

unsigned fake_ceph_n_handles(void)
{
	return __atomic_load_n(&fake.n_handles, __ATOMIC_RELAXED);
}

static void fill(struct ceph_lib *lib)
{
	fake_ceph_fill_conn(lib);
	fake_ceph_fill_omap(lib);
	fake_ceph_fill_image(lib);
}

const struct ceph_lib *fake_ceph_lib(void)
{
	static struct ceph_lib lib;

	fake_ceph_lock();
	if (!lib.rados_connect)
		fill(&lib);
	fake_ceph_unlock();
	return &lib;
}
