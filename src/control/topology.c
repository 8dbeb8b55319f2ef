/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a volume may be made (CSI accessibility_requirements), from CSINodes, Node labels and the
 * class's allowedTopologies, by the rules of external-provisioner, so that a StorageClass places
 * volumes the same with either:
 *
 *                selected node (WaitForFirstConsumer)   none (Immediate)
 *   requisite    strict: the node's own term            –
 *                allowedTopologies: cross product       the same
 *                else: all nodes with these keys        all nodes, each by its own keys
 *   preferred    requisite from the node's term on      requisite from hash(name) + ordinal on
 *
 * Terms are sorted and rotated rather than shuffled: the same claim asks the same question again,
 * and the claims of a StatefulSet go round the terms one by one.
 *
 * A driver whose keys are single pools (volume/topology.h) has terms that no one can write into a
 * class before the pool is there, so its allowedTopologies are read as what a node must bear: any
 * labels (hostname, zone, a pool), and stand for the pools of the nodes that bear them. With a
 * selected node only that node's pools are left, and place.c chooses one.
 *
 * A node whose labels lack a key is left out, unless it is the selected one: one half-registered
 * node must not stop all provisioning. For a cleanup nothing is required: the volume is found by
 * its name wherever it is.
 */
#include "control/provision-internal.h"

#include "base/hash.h"
#include "base/str.h"
#include "base/vec.h"
#include "kube/informer.h"
#include "volume/topology.h"

#define TERMS_MAX 4096

struct terms {
	VEC(struct vol_topology) list;
};

static void add_term(struct terms *terms, struct strmap segments)
{
	vec_push(&terms->list, ((struct vol_topology){ .segments = segments }));
}

static int compare_terms(const void *left, const void *right)
{
	const struct strmap *a = &((const struct vol_topology *)left)->segments;
	const struct strmap *b = &((const struct vol_topology *)right)->segments;
	int r = 0;

	if (a->n != b->n)
		return a->n < b->n ? -1 : 1;
	for (size_t i = 0; i < a->n && !r; i++) {
		r = strcmp(a->v[i].key, b->v[i].key);
		r = r ? r : strcmp(a->v[i].value, b->v[i].value);
	}
	return r;
}

/* Sorted, each once: thousands of nodes may be in a few zones, or each in a place of its own. */
static void sort_terms(struct terms *terms)
{
	size_t n = 0;

	if (terms->list.n == 0)
		return;
	qsort(terms->list.v, terms->list.n, sizeof(*terms->list.v), compare_terms);
	for (size_t i = 1; i < terms->list.n; i++)
		if (compare_terms(&terms->list.v[n], &terms->list.v[i]) != 0)
			terms->list.v[++n] = terms->list.v[i];
	terms->list.n = n + 1;
}

static const struct kube_string_list *find_keys(const struct storage_csi_node *node,
						const char *driver)
{
	const struct storage_csi_driver *found = storage_csi_node_find(node, driver);

	return found ? &found->topology_keys : NULL;
}

static bool has_key(const struct kube_string_list *keys, const char *key)
{
	for (size_t i = 0; i < keys->n; i++)
		if (str_is_equal(keys->v[i], key))
			return true;
	return false;
}

static bool is_same_set(const struct kube_string_list *a, const struct kube_string_list *b)
{
	for (size_t i = 0; i < a->n; i++)
		if (!has_key(b, a->v[i]))
			return false;
	for (size_t i = 0; i < b->n; i++)
		if (!has_key(a, b->v[i]))
			return false;
	return true;
}

/* The node's labels for the keys; the name of a key it lacks, NULL if it has all. Copied into the
 * arena. */
static const char *read_term(struct arena *arena, const struct kube_object *node,
			     const struct kube_string_list *keys, struct strmap *ret_segments)
{
	struct strpair *pairs = arena_array(arena, keys->n, sizeof(*pairs));

	for (size_t i = 0; i < keys->n; i++) {
		pairs[i].key = keys->v[i];
		pairs[i].value = strmap_find(&node->labels, keys->v[i]);
		if (!pairs[i].value)
			return keys->v[i];
	}
	*ret_segments = strmap_from(arena, pairs, keys->n);
	return NULL;
}

/* The term of the selected node, and the keys it has (in the arena). */
static int read_selected(struct attempt *a, const char *node_name,
			 struct kube_string_list *ret_keys, struct strmap *ret_segments,
			 struct err *err)
{
	autokobj const struct kube_object *csi_node =
		informer_get(a->p->caches.csi_nodes, "", node_name);
	autokobj const struct kube_object *node = informer_get(a->p->caches.nodes, "", node_name);
	const struct kube_string_list *keys;
	const char **copy, *missing;

	if (!csi_node || !node) {
		a->state = ATTEMPT_RESCHEDULE;
		return err_set(err, ERR_NOT_FOUND, "selected node '%s' has no %s object", node_name,
			       node ? "CSINode" : "Node");
	}
	keys = find_keys(storage_csi_node_of(csi_node), a->p->driver);
	if (!keys || keys->n == 0)
		return err_set(
			err, ERR_UNAVAILABLE,
			"driver %s is not registered with topology keys on selected node '%s'",
			a->p->driver, node_name);
	missing = read_term(a->ctx->arena, node, keys, ret_segments);
	if (missing)
		return err_set(err, ERR_UNAVAILABLE, "selected node '%s' has no label '%s'",
			       node_name, missing);
	copy = arena_array(a->ctx->arena, keys->n, sizeof(*copy));
	for (size_t i = 0; i < keys->n; i++)
		copy[i] = arena_strdup(a->ctx->arena, keys->v[i]);
	*ret_keys = (struct kube_string_list){ .v = copy, .n = keys->n };
	return 0;
}

/* Terms of all nodes that registered the driver: with exactly these keys, or (NULL) with any. */
static void add_nodes(struct attempt *a, const struct kube_string_list *only_keys,
		      struct terms *terms)
{
	autokobjs struct kube_objects nodes = { 0 };

	informer_each_in(a->p->caches.csi_nodes, STORAGE_NODES_BY_DRIVER, a->p->driver,
			 kube_objects_add, &nodes);
	for (size_t i = 0; i < nodes.n; i++) {
		const struct kube_object *o = nodes.v[i];
		const struct kube_string_list *keys =
			find_keys(storage_csi_node_of(o), a->p->driver);
		autokobj const struct kube_object *node =
			informer_get(a->p->caches.nodes, "", o->name);
		struct strmap segments;

		if (!node || !keys || keys->n == 0 || (only_keys && !is_same_set(keys, only_keys)))
			continue;
		if (!read_term(a->ctx->arena, node, keys, &segments))
			add_term(terms, segments);
	}
}

static bool has_duplicate_key(const struct storage_terms *allowed)
{
	for (size_t i = 0; i < allowed->n; i++)
		for (size_t k = 0; k < i; k++)
			if (str_is_equal(allowed->v[i].key, allowed->v[k].key))
				return true;
	return false;
}

/* All combinations of one value a key: counts through them as an odometer. */
static int add_product(struct arena *arena, const struct storage_terms *allowed,
		       struct terms *terms, struct err *err)
{
	size_t *at = arena_array(arena, allowed->n, sizeof(*at));
	struct strpair *pairs = arena_array(arena, allowed->n, sizeof(*pairs));
	size_t wheel = 0;

	if (has_duplicate_key(allowed))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "allowedTopologies: a key stands twice in one term");
	for (size_t i = 0; i < allowed->n; i++)
		if (allowed->v[i].values.n == 0)
			return 0;
	while (wheel < allowed->n) {
		for (size_t i = 0; i < allowed->n; i++)
			pairs[i] = (struct strpair){ allowed->v[i].key,
						     allowed->v[i].values.v[at[i]] };
		add_term(terms, strmap_from(arena, pairs, allowed->n));
		if (terms->list.n > TERMS_MAX)
			sort_terms(terms);
		if (terms->list.n > TERMS_MAX)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "allowedTopologies: more than %d combinations", TERMS_MAX);
		for (wheel = 0; wheel < allowed->n && ++at[wheel] == allowed->v[wheel].values.n;
		     wheel++)
			at[wheel] = 0;
	}
	return 0;
}

static bool has_pool_keys(const struct attempt *a, const struct kube_string_list *keys)
{
	for (size_t i = 0; i < keys->n; i++)
		if (vol_segment_is_pool(keys->v[i], a->p->driver))
			return true;
	return false;
}

static bool bears(const struct kube_object *node, const struct storage_term *wanted)
{
	const char *value = strmap_find(&node->labels, wanted->key);

	return value && has_key(&wanted->values, value);
}

/* The node's segments that a class's term leaves: of pools that the term names, else all. */
static struct strmap allowed_segments(const struct attempt *a, const struct storage_terms *allowed,
				      const struct strmap *all)
{
	struct strpair *pairs = arena_array(a->ctx->arena, allowed->n, sizeof(*pairs));
	size_t n = 0;

	for (size_t i = 0; i < allowed->n; i++) {
		const char *value = strmap_find(all, allowed->v[i].key);

		if (value && vol_segment_is_pool(allowed->v[i].key, a->p->driver))
			pairs[n++] = (struct strpair){ allowed->v[i].key, value };
	}
	return n ? strmap_from(a->ctx->arena, pairs, n) : *all;
}

/* One node into terms, if it bears all that one of the class's terms asks for. known[i][k]: some
 * node has the label at all. */
static void add_bearer(struct attempt *a, const struct kube_object *node,
		       const struct kube_string_list *keys, bool **known, struct terms *terms)
{
	const struct storage_class *class = attempt_class(a);
	struct strmap all;

	if (read_term(a->ctx->arena, node, keys, &all))
		return;
	for (size_t i = 0; i < class->n_allowed; i++) {
		const struct storage_terms *allowed = &class->allowed[i];
		size_t n_borne = 0;

		for (size_t k = 0; k < allowed->n; k++) {
			known[i][k] |= strmap_find(&node->labels, allowed->v[k].key) != NULL;
			n_borne += bears(node, &allowed->v[k]);
		}
		if (n_borne == allowed->n)
			add_term(terms, allowed_segments(a, allowed, &all));
	}
}

static int refuse_allowed(const struct attempt *a, bool *const *known, struct err *err)
{
	const struct storage_class *class = attempt_class(a);

	for (size_t i = 0; i < class->n_allowed; i++)
		for (size_t k = 0; k < class->allowed[i].n; k++)
			if (!known[i][k])
				return err_set(err, ERR_FAILED_PRECONDITION,
					       "allowedTopologies: no node with driver %s has the "
					       "label '%s'",
					       a->p->driver, class->allowed[i].v[k].key);
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "no node with driver %s is in the class's allowedTopologies", a->p->driver);
}

/* 1: the driver's places are pools, and terms are those of the nodes that the class allows; 0: it
 * is another kind of driver. */
static int add_pools_of_allowed(struct attempt *a, struct terms *terms, struct err *err)
{
	const struct storage_class *class = attempt_class(a);
	autokobjs struct kube_objects nodes = { 0 };
	bool **known = arena_array(a->ctx->arena, class->n_allowed, sizeof(*known));
	bool is_pools = false;

	for (size_t i = 0; i < class->n_allowed; i++)
		known[i] = arena_array(a->ctx->arena, class->allowed[i].n, sizeof(**known));
	informer_each_in(a->p->caches.csi_nodes, STORAGE_NODES_BY_DRIVER, a->p->driver,
			 kube_objects_add, &nodes);
	for (size_t i = 0; i < nodes.n; i++) {
		const struct kube_object *o = nodes.v[i];
		const struct kube_string_list *keys =
			find_keys(storage_csi_node_of(o), a->p->driver);
		autokobj const struct kube_object *node =
			informer_get(a->p->caches.nodes, "", o->name);

		if (!node || !keys || !has_pool_keys(a, keys))
			continue;
		is_pools = true;
		add_bearer(a, node, keys, known, terms);
	}
	if (is_pools && terms->list.n == 0)
		return refuse_allowed(a, known, err);
	return is_pools;
}

static int add_allowed(struct attempt *a, struct terms *terms, struct err *err)
{
	const struct storage_class *class = attempt_class(a);
	int r = class->n_allowed ? add_pools_of_allowed(a, terms, err) : 0;

	if (r != 0)
		return r < 0 ? -1 : 0;
	for (size_t i = 0; i < class->n_allowed; i++)
		if (add_product(a->ctx->arena, &class->allowed[i], terms, err) < 0)
			return -1;
	return 0;
}

size_t topology_offset(const char *claim_name, size_t n)
{
	const char *dash = strrchr(claim_name, '-');
	const char *base = claim_name;
	size_t len = strlen(claim_name);
	uint32_t ordinal = 0;

	if (dash && str_parse_u32(dash + 1, UINT32_MAX, &ordinal) == 0) {
		len = (size_t)(dash - claim_name);
		for (size_t i = 0; i < len; i++)
			if (claim_name[i] == '-')
				base = claim_name + i + 1;
		len -= (size_t)(base - claim_name);
	}
	return (hash_fnv1_32(base, len) + ordinal) % n;
}

/* Both lists into the request: requisite sorted, preferred the same list rotated to begin at
 * `first`. */
static void put_terms(struct attempt *a, const struct terms *terms, size_t first)
{
	size_t n = terms->list.n;
	struct vol_topology *preferred = arena_array(a->ctx->arena, n, sizeof(*preferred));

	for (size_t i = 0; i < n; i++)
		preferred[i] = terms->list.v[(first + i) % n];
	a->it.request.accessibility_requirements.requisite.v =
		arena_memdup(a->ctx->arena, terms->list.v, n * sizeof(*preferred));
	a->it.request.accessibility_requirements.requisite.n = n;
	a->it.request.accessibility_requirements.preferred =
		(struct vol_topologies){ .v = preferred, .n = n };
}

static int require_anywhere(struct attempt *a, struct terms *terms, struct err *err)
{
	if (add_allowed(a, terms, err) < 0)
		return -1;
	if (!attempt_class(a)->n_allowed && !a->p->no_immediate_topology)
		add_nodes(a, NULL, terms);
	sort_terms(terms);
	if (terms->list.n == 0)
		return 0;
	put_terms(a, terms, topology_offset(a->claim.obj->name, terms->list.n));
	return 0;
}

static int require_node(struct attempt *a, const char *node_name, struct terms *terms,
			struct err *err)
{
	struct kube_string_list keys;
	bool is_limited = attempt_class(a)->n_allowed > 0;
	struct strmap own;
	size_t at = 0;

	if (read_selected(a, node_name, &keys, &own, err) < 0 || add_allowed(a, terms, err) < 0)
		return -1;
	if (!is_limited)
		add_term(terms, own);
	/* a node's pools are its own: no other node has them */
	if (!is_limited && !a->p->strict_topology && !has_pool_keys(a, &keys))
		add_nodes(a, &keys, terms);
	sort_terms(terms);
	while (at < terms->list.n && !strmap_is_subset(&terms->list.v[at].segments, &own))
		at++;
	if (at == terms->list.n)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "selected node '%s' is in none of the class's allowedTopologies",
			       node_name);
	if (has_pool_keys(a, &keys)) {
		terms->list.v[0] = terms->list.v[at];
		terms->list.n = 1;
		at = 0;
	} else if (a->p->strict_topology) {
		terms->list.v[0].segments = own;
		terms->list.n = 1;
		at = 0;
	}
	put_terms(a, terms, at);
	return 0;
}

int topology_require(struct attempt *a, struct err *err)
{
	const char *node_name = strmap_find(&a->claim.obj->annotations, ANN_SELECTED_NODE);
	struct terms terms = { .list = VEC_INIT };
	int r = 0;

	if (a->is_cleanup)
		return 0;
	if (str_is_empty(node_name))
		r = require_anywhere(a, &terms, err);
	else
		r = require_node(a, node_name, &terms, err);
	vec_done(&terms.list);
	return r;
}
