/* SPDX-License-Identifier: Apache-2.0 */
#include "control/discovery.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"
#include "kube/pack.h"

static bool condition(const struct json *conditions, const char *name, bool fallback)
{
	return json_bool(json_get(conditions, name), fallback);
}

static struct discovery_endpoint decode_endpoint(struct packer *p, const struct json *item)
{
	const struct json *conditions = json_get(item, "conditions");
	struct kube_string_list addresses = pack_strings(p, json_get(item, "addresses"));
	bool is_ready = condition(conditions, "ready", true);
	struct discovery_endpoint e;

	e.address = addresses.n > 0 && addresses.v ? addresses.v[0] : "";
	e.node_name = pack_get(p, item, "nodeName");
	e.is_serving = condition(conditions, "serving", is_ready);
	e.is_terminating = condition(conditions, "terminating", false);
	return e;
}

static void decode_endpoints(struct packer *p, const struct json *list, struct discovery_slice *s)
{
	size_t n = json_is_array(list) ? json_count(list) : 0;
	struct discovery_endpoint *v = pack_array(p, n, sizeof(*v));
	const struct json *item;
	size_t i = 0;

	if (n == 0)
		return;
	for (struct json_it it = json_each(list); json_next(&it, NULL, &item);) {
		struct discovery_endpoint e = decode_endpoint(p, item);

		if (v)
			v[i++] = e;
	}
	s->endpoints = v;
	s->n_endpoints = n;
}

static void decode_ports(struct packer *p, const struct json *list, struct discovery_slice *s)
{
	size_t n = json_is_array(list) ? json_count(list) : 0;
	struct discovery_port *v = pack_array(p, n, sizeof(*v));
	const struct json *item;
	size_t i = 0;

	if (n == 0)
		return;
	for (struct json_it it = json_each(list); json_next(&it, NULL, &item);) {
		struct discovery_port port = { .name = pack_get(p, item, "name") };

		(void)pack_quantity(json_get(item, "port"), &port.port);
		if (v)
			v[i++] = port;
	}
	s->ports = v;
	s->n_ports = n;
}

static void decode_slice(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct discovery_slice *s = (struct discovery_slice *)o;

	s->address_type = pack_get(p, item, "addressType");
	decode_endpoints(p, json_get(item, "endpoints"), s);
	decode_ports(p, json_get(item, "ports"), s);
}

const struct kube_type discovery_slice_type = {
	.kind = "EndpointSlice",
	.resource = "endpointslices",
	.group_version = "discovery.k8s.io/v1",
	.is_namespaced = true,
	.size = sizeof(struct discovery_slice),
	.decode = decode_slice,
	.keeps_labels = true,
	.words = KUBE_WORDS("IPv4", "IPv6"),
};

const struct discovery_slice *discovery_slice_of(const struct kube_object *o)
{
	return kube_object_as(o, &discovery_slice_type);
}

const char *discovery_slice_service(const struct kube_object *slice, size_t i)
{
	return i == 0 ? strmap_find(&slice->labels, DISCOVERY_SERVICE_LABEL) : NULL;
}

/* ---- places ---- */

struct candidate {
	const struct discovery_slice *slice;
	const struct discovery_endpoint *endpoint;
	uint64_t port;
};

/* 0: nothing can be reached by this slice. */
static uint64_t find_port(const struct discovery_slice *s, const char *name)
{
	if (!str_is_equal(s->address_type, "IPv4") && !str_is_equal(s->address_type, "IPv6"))
		return 0;
	for (size_t i = 0; i < s->n_ports; i++) {
		if (str_is_equal(s->ports[i].name, name) && s->ports[i].port <= 65535)
			return s->ports[i].port;
	}
	return 0;
}

/* By node, the best of each first. */
static int compare(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int order = strcmp(x->endpoint->node_name, y->endpoint->node_name);

	if (order)
		return order;
	if (x->endpoint->is_terminating != y->endpoint->is_terminating)
		return x->endpoint->is_terminating ? 1 : -1;
	if (x->endpoint->is_serving != y->endpoint->is_serving)
		return x->endpoint->is_serving ? -1 : 1;
	order = strcmp(x->slice->address_type, y->slice->address_type);
	return order ? order : strcmp(x->endpoint->address, y->endpoint->address);
}

const struct discovery_place *discovery_places(struct arena *a,
					       const struct discovery_slice *const *slices,
					       size_t n, const char *port_name, size_t *ret_n)
{
	struct discovery_place *places;
	struct candidate *all;
	size_t n_all = 0, n_places = 0;

	for (size_t i = 0; i < n; i++)
		n_all += slices[i]->n_endpoints;
	all = arena_array(a, n_all, sizeof(*all));
	places = arena_array(a, n_all, sizeof(*places));
	n_all = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t port = find_port(slices[i], port_name);

		for (size_t k = 0; port && k < slices[i]->n_endpoints; k++) {
			const struct discovery_endpoint *e = &slices[i]->endpoints[k];

			if (*e->node_name && *e->address)
				all[n_all++] = (struct candidate){ slices[i], e, port };
		}
	}
	if (n_all > 0)
		qsort(all, n_all, sizeof(*all), compare);
	for (size_t i = 0; i < n_all; i++) {
		const struct discovery_endpoint *e = all[i].endpoint;

		if (n_places > 0 && str_is_equal(places[n_places - 1].node_name, e->node_name))
			continue;
		places[n_places].node_name = arena_strdup(a, e->node_name);
		places[n_places++].address = arena_printf(a, "tcp://[%s]:%llu", e->address,
							  (unsigned long long)all[i].port);
	}
	*ret_n = n_places;
	return places;
}
