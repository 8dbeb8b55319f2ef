/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitors keep: the blocklist, and which filesystems there are. They hear who is on it as
 * well; OSDs refuse him, and forget his watches and not his locks. An entry that is there stays as
 * it is when it is added again.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "fake/ceph-image-internal.h"
#include "volume/ceph_client.h"

bool fake_is_blocked(const struct fake_cluster *cluster, const char *address)
{
	char ip[CEPH_IP_MAX], all[CEPH_ADDRESS_MAX] = "";

	if (ceph_address_ip(address, ip) == 0)
		ceph_address_of_ip(ip, all);
	for (size_t i = 0; i < cluster->blocked.n; i++)
		if (str_is_equal(cluster->blocked.v[i], all) ||
		    str_is_equal(cluster->blocked.v[i], address))
			return true;
	return false;
}

static void forget_watches(struct fake_cluster *cluster, struct fake_image *image)
{
	for (size_t i = image->watchers.n; i > 0; i--) {
		struct fake_watcher *w = &image->watchers.v[i - 1];

		if (!w->addr || !fake_is_blocked(cluster, w->addr))
			continue;
		free(w->addr);
		*w = image->watchers.v[--image->watchers.n];
	}
}

static void forget_all_watches(struct fake_cluster *cluster)
{
	for (size_t i = 0; i < cluster->pools.n; i++)
		for (size_t k = 0; k < cluster->pools.v[i]->images.n; k++)
			forget_watches(cluster, cluster->pools.v[i]->images.v[k]);
}

/* "IP:PORT/NONCE", as the caps of an image's user want it. */
static bool is_allowed(const char *address)
{
	const char *slash = strchr(address, '/');
	char ip[CEPH_IP_MAX];

	return slash && slash[1] && strspn(slash + 1, "0123456789") == strlen(slash + 1) &&
	       ceph_address_ip(address, ip) == 0;
}

static bool has_float(const struct json *command, const char *key)
{
	autofree char *text = json_text(json_get(command, key));

	return strchr(text, '.');
}

static size_t place_of(const struct fake_cluster *cluster, const char *address)
{
	size_t i = 0;

	while (i < cluster->blocked.n && !str_is_equal(cluster->blocked.v[i], address))
		i++;
	return i;
}

static int add(struct fake_cluster *cluster, const char *address)
{
	if (place_of(cluster, address) == cluster->blocked.n)
		vec_push(&cluster->blocked, xstrdup(address));
	forget_all_watches(cluster);
	return 0;
}

static int drop(struct fake_cluster *cluster, const char *address)
{
	size_t i = place_of(cluster, address);

	if (!cluster->may_lift)
		return -EACCES;
	if (i == cluster->blocked.n)
		return -ENOENT;
	free(cluster->blocked.v[i]);
	cluster->blocked.v[i] = cluster->blocked.v[--cluster->blocked.n];
	return 0;
}

static int change(struct fake_cluster *cluster, const struct json *command)
{
	const char *address = str_or(json_get_string(command, "addr"), "");
	const char *verb = json_get_string(command, "blocklistop");

	if (str_is_equal(verb, "rm"))
		return drop(cluster, address);
	if (!str_is_equal(verb, "add") || !is_allowed(address))
		return -EACCES;
	return has_float(command, "expire") ? add(cluster, address) : -EINVAL;
}

static char *list(struct fake_cluster *cluster)
{
	struct str out = STR_INIT;
	struct json_writer w = JSON_WRITER(&out);

	json_begin_array(&w);
	for (size_t i = 0; i < cluster->blocked.n; i++) {
		json_begin_object(&w);
		json_field_string(&w, "addr", cluster->blocked.v[i]);
		json_field_string(&w, "until", "2076-11-17T00:00:00.000000+0000");
		json_end_object(&w);
	}
	json_end_array(&w);
	str_append(&out, "[]"); /* of ranges, an array of its own */
	return out.buf;
}

static int run_command(struct fake_cluster *cluster, const struct json *command, char **ret_out)
{
	const char *prefix = str_or(json_get_string(command, "prefix"), "");

	if (str_is_equal(prefix, "osd blocklist"))
		return change(cluster, command);
	if (str_is_equal(prefix, "fs dump")) {
		struct str out = STR_INIT;

		fake_fs_dump(cluster, &out);
		*ret_out = str_take(&out);
		return 0;
	}
	if (!str_is_equal(prefix, "osd blocklist ls"))
		return -EINVAL;
	*ret_out = list(cluster);
	return 0;
}

static int mon_command(rados_t handle, const char **cmd, size_t n_cmd, const char *in, size_t n_in,
		       char **ret_out, size_t *ret_n_out, char **ret_status, size_t *ret_n_status)
{
	struct fake_conn *conn = handle;
	autojson struct json_doc *doc = NULL;
	char *out = NULL;
	struct err err;
	int rc;

	assert(n_cmd == 1 && conn->cluster);
	if (json_parse(cmd[0], strlen(cmd[0]), &doc, &err) < 0)
		return -EINVAL;
	fake_ceph_lock();
	rc = fake_ceph_enter_cluster(conn->cluster, FAKE_READ);
	if (rc == 0)
		rc = run_command(conn->cluster, json_root(doc), &out);
	rc = fake_ceph_leave(rc);
	if (rc < 0 || !out) {
		free(out);
		out = xstrdup("");
	}
	*ret_out = out;
	*ret_n_out = strlen(out);
	*ret_status = xstrdup(rc < 0 ? "refused" : "");
	*ret_n_status = strlen(*ret_status);
	return rc;
}

static int wait_for_latest_osdmap(rados_t handle)
{
	struct fake_conn *conn = handle;

	fake_ceph_lock();
	return fake_ceph_leave(fake_ceph_enter_cluster(conn->cluster, FAKE_READ));
}

static ssize_t list_lockers(rbd_image_t handle, int *exclusive, char *tag, size_t *n_tag,
			    char *clients, size_t *n_clients, char *cookies, size_t *n_cookies,
			    char *addrs, size_t *n_addrs)
{
	struct fake_open *open = handle;
	int rc = fake_ceph_enter(open->conn, FAKE_LOOK);
	const char *locked_by = rc < 0 ? NULL : open->image->locked_by;

	if (locked_by) {
		*exclusive = 1;
		*n_addrs = (size_t)snprintf(addrs, *n_addrs, "%s", locked_by) + 1;
		*n_clients = (size_t)snprintf(clients, *n_clients, "client.4711") + 1;
		*n_cookies = (size_t)snprintf(cookies, *n_cookies, "auto 1") + 1;
		*n_tag = (size_t)snprintf(tag, *n_tag, "internal") + 1;
	}
	rc = fake_ceph_leave(rc);
	return rc < 0 ? rc : locked_by != NULL;
}

bool fake_ceph_is_blocked(const char *ip)
{
	char address[CEPH_ADDRESS_MAX];
	bool is;

	ceph_address_of_ip(ip, address);
	fake_ceph_lock();
	is = fake_is_blocked(fake_ceph_cluster(FAKE_CEPH_MONITORS), address);
	fake_ceph_unlock();
	return is;
}

bool fake_ceph_has_blocked(const char *entry)
{
	struct fake_cluster *cluster;
	bool has;

	fake_ceph_lock();
	cluster = fake_ceph_cluster(FAKE_CEPH_MONITORS);
	has = place_of(cluster, entry) < cluster->blocked.n;
	fake_ceph_unlock();
	return has;
}

void fake_ceph_block(const char *entry)
{
	fake_ceph_lock();
	(void)add(fake_ceph_cluster(FAKE_CEPH_MONITORS), entry);
	fake_ceph_unlock();
}

void fake_ceph_unblock(const char *ip)
{
	struct fake_cluster *cluster;
	char address[CEPH_ADDRESS_MAX];
	size_t i;

	ceph_address_of_ip(ip, address);
	fake_ceph_lock();
	cluster = fake_ceph_cluster(FAKE_CEPH_MONITORS);
	i = place_of(cluster, address);
	assert(i < cluster->blocked.n);
	free(cluster->blocked.v[i]);
	cluster->blocked.v[i] = cluster->blocked.v[--cluster->blocked.n];
	fake_ceph_unlock();
}

void fake_ceph_allow_lifting(void)
{
	fake_ceph_lock();
	fake_ceph_cluster(FAKE_CEPH_MONITORS)->may_lift = true;
	fake_ceph_unlock();
}

void fake_ceph_set_locked(int64_t pool, const char *ns, const char *image, const char *addr)
{
	struct fake_image *i;

	fake_ceph_lock();
	i = fake_image_find(fake_ceph_pool(fake_ceph_cluster(FAKE_CEPH_MONITORS), pool), ns, image);
	assert(i);
	free(i->locked_by);
	i->locked_by = addr ? xstrdup(addr) : NULL;
	fake_ceph_unlock();
}

void fake_ceph_fill_monitor(struct ceph_lib *lib)
{
	lib->rados_mon_command = mon_command;
	lib->rados_wait_for_latest_osdmap = wait_for_latest_osdmap;
	lib->rbd_list_lockers = list_lockers;
}
