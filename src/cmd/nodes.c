/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a Node tells whether it is lost, and whether it is back:
 *
 *   there is none, or it has the taint node.kubernetes.io/out-of-service (KEP-2268), which somebody
 *   puts on a node that is known to be down                                     lost
 *   condition Ready, which kubelet renews, and status.nodeInfo.bootID           back
 *   status.nodeInfo.systemUUID, as its firmware says it                         which machine it is
 *   status.volumesInUse, which kubelet writes before it has a volume mounted and after it has none
 *   of it any more ("kubernetes.io/csi/DRIVER^HANDLE")                          what it has
 *
 * Nothing is cached: a fence that is set or lifted by what was true a minute ago is the wrong one.
 */
#include "cmd/nodes.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "control/core.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/path.h"

#define OUT_OF_SERVICE "node.kubernetes.io/out-of-service"
#define CSI_VOLUME "kubernetes.io/csi/"
#define ADDRESSES_MAX 64

struct nodes {
	struct kube_config config;
	struct kube_client *client;
	char *driver;
	struct backend_nodes door;
};

static bool has_taint(const struct json *object, const char *key)
{
	const struct json *taint;

	for (struct json_it it = json_each(json_path(object, "spec.taints"));
	     json_next(&it, NULL, &taint);) {
		if (str_is_equal(json_get_string(taint, "key"), key))
			return true;
	}
	return false;
}

static bool is_ready(const struct json *object)
{
	const struct json *condition;

	for (struct json_it it = json_each(json_path(object, "status.conditions"));
	     json_next(&it, NULL, &condition);) {
		if (str_is_equal(json_get_string(condition, "type"), "Ready"))
			return str_is_equal(json_get_string(condition, "status"), "True");
	}
	return false;
}

static void read_addresses(struct arena *a, const struct json *object, struct backend_node *node)
{
	const struct json *list = json_path(object, "status.addresses"), *address;
	const char **all = arena_array(a, ADDRESSES_MAX, sizeof(*all));
	size_t n = 0;

	for (struct json_it it = json_each(list);
	     n < ADDRESSES_MAX && json_next(&it, NULL, &address);) {
		const char *text = json_get_string(address, "address");

		if (text && !str_is_equal(json_get_string(address, "type"), "Hostname"))
			all[n++] = arena_strdup(a, text);
	}
	node->addresses = all;
	node->n_addresses = n;
}

static void read_volumes(const struct json *object, const char *driver, const char *volume_id,
			 struct backend_node *node)
{
	const struct json *used;

	for (struct json_it it = json_each(json_path(object, "status.volumesInUse"));
	     json_next(&it, NULL, &used);) {
		const char *name = str_or(json_string(used), "");
		size_t n = strlen(CSI_VOLUME), n_driver = strlen(driver);

		if (!str_has_prefix(name, CSI_VOLUME) || strncmp(name + n, driver, n_driver) != 0 ||
		    name[n + n_driver] != '^')
			continue;
		node->has_volumes = true;
		node->has_volume |= str_is_equal(name + n + n_driver + 1, volume_id);
	}
}

/* Of machines whose firmware was never told one it is of no use. */
static void read_uuid(const struct json *object, const char *path, char ret_text[UUID_TEXT_MAX])
{
	static const struct uuid zeros, ones = { { [0 ... 15] = 0xff } };
	struct uuid uuid;

	if (uuid_parse(str_or(json_path_string(object, path), ""), &uuid) == 0 &&
	    memcmp(&uuid, &zeros, sizeof(uuid)) != 0 && memcmp(&uuid, &ones, sizeof(uuid)) != 0)
		uuid_format(&uuid, ret_text);
}

void nodes_read(struct arena *a, const struct json *object, const char *driver,
		const char *volume_id, struct backend_node *ret_node)
{
	struct backend_node node = { .is_out_of_service = has_taint(object, OUT_OF_SERVICE),
				     .is_ready = is_ready(object) };

	read_uuid(object, "status.nodeInfo.bootID", node.boot_id);
	read_uuid(object, "status.nodeInfo.systemUUID", node.machine);
	read_addresses(a, object, &node);
	read_volumes(object, driver, volume_id, &node);
	*ret_node = node;
}

static int look(void *arg, struct ctx *ctx, const char *node_id, const char *volume_id,
		struct backend_node *ret_node, struct err *err)
{
	const struct nodes *n = arg;
	autojson struct json_doc *doc = NULL;
	autofree char *path = NULL;

	if (kube_object_path(&core_node_type, NULL, node_id, &path, err) < 0)
		return -1;
	if (kube_get(n->client, ctx, path, &doc, err) == 0) {
		nodes_read(ctx->arena, json_root(doc), n->driver, volume_id, ret_node);
		return 0;
	}
	if (err->code != ERR_NOT_FOUND)
		return err_wrap(err, "whether node '%s' is lost", node_id);
	*ret_node = (struct backend_node){ .is_gone = true };
	return 0;
}

int nodes_new(struct ev_loop *loop, const char *kubeconfig, const char *driver,
	      struct nodes **ret_nodes, struct err *err)
{
	const struct kube_client_options client = { .user_agent = "cleat/" CMD_VERSION_TEXT };
	struct nodes *n = xcalloc(1, sizeof(*n));

	if (kube_config_load(str_or(kubeconfig, ""), "", &n->config, err) < 0) {
		free(n);
		return err_wrap(err, "--fence-nodes, which asks the API server about nodes");
	}
	if (kube_client_new(loop, &n->config, &client, &n->client, err) < 0) {
		kube_config_done(&n->config);
		free(n);
		return -1;
	}
	n->driver = xstrdup(driver);
	n->door = (struct backend_nodes){ .look = look, .arg = n };
	*ret_nodes = n;
	return 0;
}

void nodes_free(struct nodes *n)
{
	if (!n)
		return;
	kube_client_free(n->client);
	kube_config_done(&n->config);
	free(n->driver);
	free(n);
}

const struct backend_nodes *nodes_door(struct nodes *n)
{
	return &n->door;
}
