/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands to the monitors.
 *
 * The caps that Ceph's documents give to users of images allow "add" and not "rm"; and "add" of
 * what is there already changes nothing, its end neither, so an entry cannot be lifted by one that
 * ends at once. Ends are 32 bits of seconds since 1970; fifty years are well below that.
 *
 * The monitors answer when they know it. An OSD knows it with its next map, at the latest when
 * somebody comes who has that: so ours is waited for, and whatever OSD is asked afterwards refuses
 * the blocked ones from then on.
 */
#include "backend/ceph/blocklist.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

#define FOR_EVER_S "1577880000.0" /* what is no float is refused */

/* What the library answers; what the monitors say to it goes to ret_out or, if it failed, there as
 * well. */
static int ask(struct ceph_conn *conn, const char *command, struct str *ret_out)
{
	const struct ceph_lib *lib = ceph_conn_lib(conn);
	char *out = NULL, *status = NULL;
	size_t n_out = 0, n_status = 0;
	int rc = lib->rados_mon_command(ceph_conn_rados(conn), &command, 1, "", 0, &out, &n_out,
					&status, &n_status);

	if (rc < 0)
		str_append_n(ret_out, status, status ? n_status : 0);
	else
		str_append_n(ret_out, out, out ? n_out : 0);
	if (out)
		lib->rados_buffer_free(out);
	if (status)
		lib->rados_buffer_free(status);
	return rc;
}

/* As the blocklist has it. */
static void entry_of(const char *who, char ret_entry[CEPH_ADDRESS_MAX])
{
	if (ceph_address_client(who, ret_entry) < 0)
		ceph_address_of_ip(who, ret_entry);
}

static int change(struct ceph_conn *conn, const char *who, const char *verb, const char *expire,
		  struct str *ret_said)
{
	autostr struct str text = STR_INIT;
	struct json_writer w = JSON_WRITER(&text);
	char address[CEPH_ADDRESS_MAX];

	entry_of(who, address);
	json_begin_object(&w);
	json_field_string(&w, "prefix", "osd blocklist");
	json_field_string(&w, "blocklistop", verb);
	json_field_string(&w, "addr", address);
	if (expire) {
		json_key(&w, "expire");
		json_put_raw(&w, expire);
	}
	json_end_object(&w);
	return ask(conn, str_get(&text), ret_said);
}

static int failed(struct ceph_conn *conn, int rc, const char *verb, const char *who,
		  const struct str *said, struct err *err)
{
	return ceph_conn_failed(conn, rc, err, "%s %s (%.120s)", verb, who, str_get(said));
}

/* Who blocks himself is not able to lift it. */
static int check_own(struct ceph_conn *conn, const char *who, struct err *err)
{
	const struct ceph_lib *lib = ceph_conn_lib(conn);
	char own[CEPH_ADDRESS_MAX] = "", other[CEPH_ADDRESS_MAX];
	bool is_client = ceph_address_client(who, other) == 0;
	char *addresses = NULL;
	int rc = lib->rados_getaddrs(ceph_conn_rados(conn), &addresses);

	if (rc < 0)
		return ceph_conn_failed(conn, rc, err, "ask for our own address");
	rc = (is_client ? ceph_address_client : ceph_address_ip)(addresses, own);
	lib->rados_buffer_free(addresses);
	if (rc == 0 && !str_is_equal(own, is_client ? other : who))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "%s cannot be put on the blocklist of cluster '%s': this process comes from "
		       "that address as well; let it run on another node",
		       who, ceph_conn_cluster(conn));
}

int ceph_blocklist_add(struct ceph_conn *conn, struct ctx *ctx, const char *who, struct err *err)
{
	autostr struct str said = STR_INIT;
	int rc;

	if (ctx_check(ctx, err) < 0 || check_own(conn, who, err) < 0)
		return -1;
	rc = change(conn, who, "add", FOR_EVER_S, &said);
	if (rc >= 0)
		rc = ceph_conn_lib(conn)->rados_wait_for_latest_osdmap(ceph_conn_rados(conn));
	return rc < 0 ? failed(conn, rc, "blocklist", who, &said, err) : 0;
}

int ceph_blocklist_lift(struct ceph_conn *conn, struct ctx *ctx, const char *who, struct err *err)
{
	autostr struct str said = STR_INIT;
	int rc;

	if (ctx_check(ctx, err) < 0)
		return -1;
	rc = change(conn, who, "rm", NULL, &said);
	if (rc == -EACCES || rc == -EPERM)
		return err_set(err, ERR_PERMISSION_DENIED,
			       "cluster '%s': the user of the secret may not take %s off the "
			       "blocklist: its caps need mon 'profile rbd, allow command \"osd "
			       "blocklist\"'",
			       ceph_conn_cluster(conn), who);
	return rc < 0 && rc != -ENOENT ? failed(conn, rc, "take off the blocklist", who, &said, err)
				       : 0;
}

/* [{"addr":"10.98.0.11:0/0","until":"…"},…][], one array of addresses and, since Ceph 16, one of
 * ranges: no JSON by itself, so they are made elements of one. */
static int parse_lists(const struct str *out, struct json_doc **ret_doc, struct err *err)
{
	autostr struct str text = STR_INIT;
	const char *at = str_get(out), *end;

	str_append_char(&text, '[');
	while ((end = strstr(at, "]["))) {
		str_append_n(&text, at, (size_t)(end - at) + 1);
		str_append_char(&text, ',');
		at = end + 1;
	}
	str_append(&text, at);
	str_append_char(&text, ']');
	return json_parse(text.buf, text.len, ret_doc, err);
}

/* address "": anything that is of no client in particular. */
static bool is_meant(const char *entry, const char *address)
{
	return entry && (*address ? str_is_equal(entry, address) : str_has_suffix(entry, ":0/0"));
}

static bool lists(const struct json *all, const char *address)
{
	const struct json *list, *entry;

	for (struct json_it it = json_each(all); json_next(&it, NULL, &list);) {
		for (struct json_it in = json_each(list); json_next(&in, NULL, &entry);) {
			if (is_meant(json_get_string(entry, "addr"), address))
				return true;
		}
	}
	return false;
}

int ceph_blocklist_has(struct ceph_conn *conn, struct ctx *ctx, const char *who, struct err *err)
{
	static const char list[] = "{\"prefix\":\"osd blocklist ls\",\"format\":\"json\"}";
	autojson struct json_doc *doc = NULL;
	autostr struct str out = STR_INIT;
	char address[CEPH_ADDRESS_MAX] = "";
	int rc;

	if (ctx_check(ctx, err) < 0)
		return -1;
	rc = ask(conn, list, &out);
	if (rc < 0)
		return failed(conn, rc, "look on the blocklist for", str_or(who, "anybody"), &out,
			      err);
	if (parse_lists(&out, &doc, err) < 0)
		return err_wrap(err, "what cluster '%s' says of its blocklist",
				ceph_conn_cluster(conn));
	if (who)
		entry_of(who, address);
	return lists(json_root(doc), address);
}
