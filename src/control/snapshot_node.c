/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where each node has a snapshotter of its own (distributed snapshotting): whose a content is. Its
 * label names the node, which the volume's affinity names by labels; a content without is nobody's,
 * so it is said when none is found. What may be on several nodes is the first one's by name.
 *
 * Upstream marks contents of single snapshots alone. A group's, and its members', are marked as
 * well, else no snapshotter would see them.
 */
#include "control/snapshot_controller-internal.h"

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "kube/informer.h"

struct node_search {
	const struct core_pv *volume;
	struct arena *arena;
	const char *name; /* NULL: none yet */
};

static int see_node(void *arg, const struct kube_object *o)
{
	struct node_search *search = arg;

	if (core_pv_is_at(search->volume, &o->labels) &&
	    (!search->name || strcmp(o->name, search->name) < 0))
		search->name = arena_strdup(search->arena, o->name);
	return 0;
}

const char *snapshot_node_of(const struct snapshot_controller *s, struct arena *arena,
			     const struct kube_object *pv)
{
	struct node_search search = { .volume = core_pv_of(pv), .arena = arena };

	if (!s->caches.nodes || search.volume->n_place == 0)
		return NULL;
	informer_each_in(s->caches.nodes, CORE_ALL_NODES, core_node_type.kind, see_node, &search);
	if (!search.name)
		log_warn("no node has the labels of the volume's affinity: no snapshotter of a "
			 "node will take its content",
			 log_str("volume", pv->name));
	return search.name;
}

void snapshot_write_node(struct json_writer *w, const char *node)
{
	if (!node)
		return;
	json_key(w, "labels");
	json_begin_object(w);
	json_field_string(w, SNAPSHOT_LABEL_NODE, node);
	json_end_object(w);
}
