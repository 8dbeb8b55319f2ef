/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of I/O on this node: which volumes have them (the volume's own record, or, of storage that
 * is elsewhere, the device), on which device (the backend), in which pods (the mounts of the
 * device, whose paths are kubelet's and name the pod). All of it is asked, nothing is remembered
 * but what is wanted now (io_limits.h), so that a driver that was killed finds the same again: each
 * minute all volumes are looked at, and lines that the kernel holds about our devices and nobody
 * wants are lifted. Lines about other devices are nobody's business here.
 *
 * A volume without limits costs nothing: no cgroup is looked at for it.
 */
#define LOG_ROOM "csi"
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "csi/driver-internal.h"

#define SCAN_EVERY_NS (60 * NS_PER_S)

int driver_check_limits(const struct csi_driver *d, const struct backend *pool,
			const struct vol_limits *limits, struct err *err)
{
	char text[VOL_LIMITS_TEXT_MAX];
	struct err why;

	if (!vol_limits_are_set(limits))
		return 0;
	vol_limits_describe(limits, text);
	if (!(pool->caps & BACKEND_MODIFY) || !(pool->caps & (BACKEND_ATTACH | BACKEND_ELSEWHERE)))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "%s: pool '%s' (%s) keeps no limits of I/O", text, pool->pool_name,
			       pool->ops->name);
	if (pool->caps & BACKEND_ELSEWHERE) /* which node will have it, nobody knows */
		return 0;
	if (d->serve_node && host_cgroup_check(limits_cgroup_root(d->limits), &why) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "%s: node '%s', where pool '%s' is, cannot limit I/O: %s", text,
			       d->node_id, pool->pool_name, why.msg);
	return 0;
}

/* "…/pods/UID/volumes/…", "…/pods/UID/volumeDevices/…", "…/volumeDevices/publish/PV/UID". */
static const char *uid_in_path(const char *path, size_t *ret_n)
{
	static const char pods[] = "/pods/", publish[] = "/volumeDevices/publish/";
	const char *block = strstr(path, publish);

	if (block) {
		const char *pv = block + strlen(publish);
		const char *uid = strchr(pv, '/');

		*ret_n = uid ? strlen(uid + 1) : 0;
		return uid ? uid + 1 : NULL;
	}
	for (const char *at = path; (at = strstr(at, pods)); at++) {
		const char *uid = at + strlen(pods);
		size_t n = strcspn(uid, "/");

		if (str_has_prefix(uid + n, "/volumes/") ||
		    str_has_prefix(uid + n, "/volumeDevices/")) {
			*ret_n = n;
			return uid;
		}
	}
	return NULL;
}

bool node_pod_of(const struct note *note, const char *path, char ret_uid[HOST_POD_UID_MAX])
{
	size_t n = 0;
	const char *uid = uid_in_path(path, &n);

	if (!uid) {
		uid = note_pod_of(note, note_hash_path(path));
		n = uid ? strlen(uid) : 0;
	}
	if (n == 0 || n >= HOST_POD_UID_MAX)
		return false;
	memcpy(ret_uid, uid, n);
	ret_uid[n] = '\0';
	return host_pod_uid_is_valid(ret_uid);
}

/* Its device and its reader; 0 where there is none, as with a network filesystem. */
static void get_devices(const struct node_state *state, dev_t ret[2])
{
	ret[0] = state->is_attached ? state->device.devno : 0;
	ret[1] = state->has_reader ? state->reader.devno : 0;
}

struct collect {
	const struct node_state *state;
	dev_t device;
	VEC(struct limited) list;
};

static int collect_mount(void *arg, const char *path, bool read_only)
{
	struct collect *c = arg;
	const struct csi_ref *ref = &c->state->ref;
	struct limited it = { .device = c->device };

	(void)read_only;
	if (!node_pod_of(&c->state->note, path, it.pod))
		return 0;
	if (ref->pool)
		it.pool = ref->pool->identity;
	memcpy(it.token, ref->token, sizeof(it.token));
	vec_push(&c->list, it);
	return 0;
}

static int collect_uses(struct collect *c, const dev_t devices[2], struct err *err)
{
	for (size_t i = 0; i < 2; i++) {
		c->device = devices[i];
		if (devices[i] && host_mount_each(devices[i], collect_mount, c, err) < 0)
			return -1;
	}
	return 0;
}

/* version: what is_old compares; NULL: this is how it is now. */
static void apply(struct csi_driver *d, const struct node_state *state,
		  const struct vol_limits *limits, const uint64_t *version)
{
	struct collect c = { .state = state };
	dev_t devices[2];
	struct err err;

	get_devices(state, devices);
	if (collect_uses(&c, devices, &err) < 0) {
		log_warn("limits of I/O are not looked after: the mounts of a volume cannot be "
			 "read",
			 log_str("volume", state->ref.token), log_err(&err));
	} else {
		const struct limits_use use = {
			.devices = { devices[0], devices[1] },
			.list = c.list.v,
			.n = c.list.n,
			.wanted = limits,
			.is_old = version != NULL,
			.version = version ? *version : 0,
		};

		limits_set(d->limits, &use);
	}
	vec_done(&c.list);
}

static bool is_known(struct csi_driver *d, const struct node_state *state)
{
	dev_t devices[2];

	get_devices(state, devices);
	return (devices[0] && limits_has(d->limits, NULL, devices[0])) ||
	       (devices[1] && limits_has(d->limits, NULL, devices[1]));
}

void node_limits_apply(struct csi_driver *d, const struct node_state *state,
		       const struct vol_limits *limits, bool is_changed)
{
	if (is_changed || (limits && vol_limits_are_set(limits)) || is_known(d, state))
		apply(d, state, limits, NULL);
}

/* Until the first scan it is not known whether the kernel holds something. By limits_set, so that a
 * scan that saw the target still there does not bring it back. */
static void lift_unseen(struct csi_driver *d, const struct node_state *state, const char *path)
{
	static const struct vol_limits none;
	struct limited it = { 0 };
	const struct limits_use use = { .list = &it, .n = 1, .wanted = &none };
	dev_t devices[2];

	get_devices(state, devices);
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		if (!devices[i] || !node_pod_of(&state->note, path, it.pod))
			continue;
		it.device = devices[i];
		memcpy(it.token, state->ref.token, sizeof(it.token));
		limits_set(d->limits, &use);
	}
}

void node_limits_lift(struct csi_driver *d, const struct node_state *state, const char *path)
{
	if (is_known(d, state))
		apply(d, state, NULL, NULL);
	else if (d->scanned_ns == 0)
		lift_unseen(d, state, path);
}

struct limited_volume {
	struct csi_ref ref;
	struct vol_limits limits;
};

struct lines {
	struct csi_driver *d;
	VEC(struct limited) list;
};

struct scan {
	struct csi_driver *d;
	struct backend *pool;
	VEC(struct limited_volume) limited;
	VEC(struct csi_ref) all; /* whole ones */
	bool is_complete;        /* every pool answered */
};

static int see_volume(void *arg, const struct backend_volume *vol)
{
	struct scan *scan = arg;
	struct limited_volume it = { .ref = { .pool = scan->pool }, .limits = vol->limits };

	if (vol->is_damaged)
		return 0;
	memcpy(it.ref.token, vol->token, sizeof(it.ref.token));
	vec_push(&scan->all, it.ref);
	if (vol_limits_are_set(&vol->limits))
		vec_push(&scan->limited, it);
	return 0;
}

static void see_pools(struct scan *scan, struct ctx *ctx)
{
	const struct registry_pools pools = registry_pools(scan->d->pools, ctx->arena);
	const struct registry_missing *missing;

	scan->is_complete = registry_missing(scan->d->pools, ctx->arena, &missing) == 0;
	for (size_t i = 0; i < pools.n; i++) {
		struct err ignored; /* cmd/pools_watch says it */

		scan->pool = pools.v[i];
		if ((scan->pool->caps & (BACKEND_MODIFY | BACKEND_ATTACH)) !=
		    (BACKEND_MODIFY | BACKEND_ATTACH))
			continue;
		if (backend_each_here(scan->pool, ctx, see_volume, scan, &ignored) < 0)
			scan->is_complete = false;
	}
}

static int see_line(void *arg, const char *pod, dev_t device)
{
	struct lines *lines = arg;
	struct limited it = { .device = device };

	(void)snprintf(it.pod, sizeof(it.pod), "%s", pod);
	vec_push(&lines->list, it);
	return 0;
}

static int see_entry(void *arg, const struct limited *it)
{
	struct lines *lines = arg;

	vec_push(&lines->list, *it);
	return 0;
}

static void forget_known(struct lines *lines)
{
	size_t n = 0;

	for (size_t i = 0; i < lines->list.n; i++) {
		const struct limited *it = &lines->list.v[i];

		if (!limits_has(lines->d->limits, it->pod, it->device))
			lines->list.v[n++] = *it;
	}
	lines->list.n = n;
}

/* Of this volume's devices. */
static void lift_lines(struct csi_driver *d, const struct node_state *state, uint64_t version,
		       const struct lines *lines)
{
	static const struct vol_limits none;
	dev_t devices[2];

	get_devices(state, devices);
	for (size_t i = 0; i < lines->list.n; i++) {
		struct limited it = lines->list.v[i];
		const struct limits_use use = {
			.list = &it, .n = 1, .wanted = &none, .is_old = true, .version = version
		};

		memcpy(it.token, state->ref.token, sizeof(it.token));
		if ((it.device == devices[0] || it.device == devices[1]) &&
		    !limits_has(d->limits, it.pod, it.device))
			limits_set(d->limits, &use);
	}
}

/* Lines about a device of ours that nobody wants: its volume has no limits (any more), or its pod
 * has no target (any more). */
static void sweep(struct scan *scan, struct ctx *ctx, const struct lines *lines)
{
	for (size_t i = 0; i < scan->all.n && ctx_check(ctx, &(struct err){ 0 }) == 0; i++) {
		uint64_t version = limits_version(scan->d->limits);
		struct node_state state;
		struct err ignored;

		if (node_state_load(scan->d, ctx, &scan->all.v[i], &state, &ignored) == 0)
			lift_lines(scan->d, &state, version, lines);
	}
}

static void sweep_lines(struct scan *scan, struct ctx *ctx)
{
	struct lines lines = { .d = scan->d };
	struct err ignored; /* no controller: no lines */

	if (host_cgroup_each(limits_cgroup_root(scan->d->limits), see_line, &lines, &ignored) ==
	    0) {
		forget_known(&lines);
		if (lines.list.n > 0)
			sweep(scan, ctx, &lines);
	}
	vec_done(&lines.list);
}

static bool is_seen(const struct scan *scan, const struct limited *it)
{
	for (size_t i = 0; i < scan->limited.n; i++) {
		const struct limited_volume *v = &scan->limited.v[i];

		if (str_is_equal(v->ref.token, it->token) &&
		    memcmp(&v->ref.pool->identity, &it->pool, sizeof(it->pool)) == 0)
			return true;
	}
	return false;
}

/* Entries of volumes that are not there any more. */
static void lift_unknown(struct scan *scan, uint64_t version)
{
	struct lines known = { .d = scan->d };

	limits_each(scan->d->limits, see_entry, &known);
	for (size_t i = 0; i < known.list.n; i++) {
		const struct limits_use use = { .devices = { known.list.v[i].device },
						.is_old = true,
						.version = version };

		if (!is_seen(scan, &known.list.v[i]))
			limits_set(scan->d->limits, &use);
	}
	vec_done(&known.list);
}

static void look_everywhere(struct csi_driver *d, struct ctx *ctx)
{
	struct scan scan = { .d = d };
	uint64_t begun = limits_version(d->limits);

	see_pools(&scan, ctx);
	for (size_t i = 0; i < scan.limited.n && ctx_check(ctx, &(struct err){ 0 }) == 0; i++) {
		uint64_t version = limits_version(d->limits);
		struct node_state state;
		struct err ignored; /* the next look may see it */

		if (node_state_load(d, ctx, &scan.limited.v[i].ref, &state, &ignored) == 0 &&
		    state.is_attached)
			apply(d, &state, &scan.limited.v[i].limits, &version);
	}
	if (scan.is_complete)
		lift_unknown(&scan, begun);
	sweep_lines(&scan, ctx);
	vec_done(&scan.limited);
	vec_done(&scan.all);
	if (ctx_check(ctx, &(struct err){ 0 }) == 0)
		d->scanned_ns = clock_now_ns();
}

static bool is_scan_due(const struct csi_driver *d)
{
	return d->scanned_ns == 0 || clock_now_ns() - d->scanned_ns >= SCAN_EVERY_NS;
}

bool csi_driver_limits_are_due(struct csi_driver *d)
{
	return d->serve_node && (is_scan_due(d) || limits_count(d->limits) > 0);
}

void csi_driver_keep_limits(struct csi_driver *d, struct ctx *ctx)
{
	if (!d->serve_node)
		return;
	if (is_scan_due(d))
		look_everywhere(d, ctx);
	limits_mend(d->limits);
}
