/* SPDX-License-Identifier: Apache-2.0 */
#include "capacities.h"

#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "check.h"
#include "fake/kube-internal.h"
#include "kube/informer.h"

#include <stdio.h>
#include <stdlib.h>

#define ZONE "topology.example/zone"

void capacities_begin(void)
{
	cluster_begin();
	fake_delete(CLAIM);
	fake_merge(CLAIM, "{\"metadata\":{\"finalizers\":null}}");
	fake_merge(CLASS, "{\"volumeBindingMode\":\"WaitForFirstConsumer\"}");
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_GET_CAPACITY);
	fake_service.room_bytes = GIB_10;
	fake_put(POD_PATH,
		 "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"controller-x\","
		 "\"namespace\":\"cleat\",\"uid\":\"pod-uid\",\"ownerReferences\":[{\"apiVersion\":"
		 "\"apps/v1\",\"kind\":\"ReplicaSet\",\"name\":\"controller\",\"uid\":\"set-uid\","
		 "\"controller\":true}]}}");
	fake_put(
		"/apis/apps/v1/namespaces/cleat/replicasets/controller",
		"{\"kind\":\"ReplicaSet\",\"apiVersion\":\"apps/v1\",\"metadata\":{\"name\":"
		"\"controller\",\"namespace\":\"cleat\",\"uid\":\"set-uid\",\"ownerReferences\":["
		"{\"apiVersion\":\"v1\",\"kind\":\"Other\",\"name\":\"o\",\"uid\":\"other-uid\"},"
		"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"name\":\"deployed\",\"uid\":"
		"\"deployment-uid\",\"controller\":true}]}}");
}

void capacities_start(struct capacity_process *p, struct capacity_options opts)
{
	opts.classes = p->classes = informer_new(NULL, &storage_class_type, NULL);
	opts.pvs = p->pvs = informer_new(NULL, &core_pv_type, NULL);
	opts.pvcs = p->pvcs = informer_new(NULL, &core_pvc_type, NULL);
	opts.nodes = p->nodes = informer_new(NULL, &core_node_type, NULL);
	opts.csi_nodes = p->csi_nodes = informer_new(NULL, &storage_csi_node_type, NULL);
	opts.capacities = p->objects = informer_new(NULL, &storage_capacity_type, NULL);
	opts.service = fake_service_get();
	opts.driver_name = DRIVER;
	opts.ns = "cleat";
	opts.pod_name = str_or(opts.pod_name, "controller-x");
	opts.owner_level = opts.owner_level ? opts.owner_level : 1;
	opts.keep_ns = opts.keep_ns ? opts.keep_ns : 10 * MINUTE;
	p->capacity = capacity_new(&opts);
	capacity_start(p->capacity);
}

void capacities_stop(struct capacity_process *p)
{
	capacity_free(p->capacity);
	informer_free(p->classes);
	informer_free(p->pvs);
	informer_free(p->pvcs);
	informer_free(p->nodes);
	informer_free(p->csi_nodes);
	informer_free(p->objects);
}

void capacities_run(int64_t limit_ns)
{
	struct capacity_process p;

	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(limit_ns);
	capacities_stop(&p);
}

static struct json_doc *parse(const char *text)
{
	struct json_doc *doc;
	struct err err;

	if (json_parse(text, strlen(text), &doc, &err) < 0)
		abort();
	return doc;
}

static bool is_of(const struct json *root, const char *class_name, const char *zone)
{
	const struct json *labels = json_path(root, "metadata.labels");
	const struct json *match = json_path(root, "nodeTopology.matchLabels");

	return str_is_equal(json_get_string(root, "kind"), "CSIStorageCapacity") &&
	       str_is_equal(json_get_string(labels, STORAGE_LABEL_DRIVER), DRIVER) &&
	       str_is_equal(json_get_string(labels, STORAGE_LABEL_MANAGER), CAPACITY_MANAGER) &&
	       str_is_equal(json_get_string(root, "storageClassName"), class_name) &&
	       str_is_equal(json_get_string(match, ZONE), zone);
}

static unsigned look(const char *class_name, const char *zone, const char **ret_path)
{
	unsigned n = 0;
	const char *path;
	void *text;

	for (size_t it = 0; map_next(fake_objects(), &it, &path, &text);) {
		autojson struct json_doc *doc = parse(text);

		if (!is_of(json_root(doc), class_name, zone))
			continue;
		*ret_path = path;
		n++;
	}
	return n;
}

unsigned capacities_count(const char *class_name, const char *zone)
{
	const char *path;

	return look(class_name, zone, &path);
}

const char *capacities_find(const char *class_name, const char *zone)
{
	static char found[256];
	const char *path = NULL;
	unsigned n = look(class_name, zone, &path);

	ASSERT_TRUE(n < 2);
	(void)snprintf(found, sizeof(found), "%s", str_or(path, ""));
	return n ? found : NULL;
}

const char *capacities_at(const char *class_name, const char *zone, const char *dotted)
{
	static char value[512];
	const char *path = capacities_find(class_name, zone);
	autojson struct json_doc *doc = NULL;
	const struct json *owner = NULL;
	struct json_it it;

	if (!path)
		return "none";
	doc = parse(fake_text(path));
	it = json_each(json_path(json_root(doc), "metadata.ownerReferences"));
	if (str_is_equal(dotted, "owner"))
		(void)snprintf(value, sizeof(value), "%s",
			       json_next(&it, NULL, &owner) ? json_get_string(owner, "uid") : "");
	else
		(void)snprintf(value, sizeof(value), "%s",
			       str_or(json_path_string(json_root(doc), dotted), ""));
	return value;
}

void capacities_put(const char *name, const char *manager, const char *class_name, const char *zone,
		    const char *bytes)
{
	autofree char *path = xasprintf(CAPACITIES "%s", name);
	autofree char *place =
		zone ? xasprintf("\"nodeTopology\":{\"matchLabels\":{\"" ZONE "\":\"%s\"}},", zone)
		     : xstrdup("");
	autofree char *text = xasprintf(
		"{\"kind\":\"CSIStorageCapacity\",\"apiVersion\":\"storage.k8s.io/"
		"v1\",\"metadata\":"
		"{\"name\":\"%s\",\"namespace\":\"cleat\",\"labels\":{\"" STORAGE_LABEL_DRIVER
		"\":\"" DRIVER "\",\"" STORAGE_LABEL_MANAGER "\":\"%s\"}},%s\"storageClassName\":"
		"\"%s\",\"capacity\":\"%s\"}",
		name, manager, place, class_name, bytes);

	fake_put(path, text);
}

void capacities_put_class(const char *name, const char *driver, bool waits)
{
	autofree char *path = xasprintf("/apis/storage.k8s.io/v1/storageclasses/%s", name);
	autofree char *text =
		xasprintf("{\"kind\":\"StorageClass\",\"apiVersion\":\"storage.k8s.io/v1\","
			  "\"metadata\":{\"name\":\"%s\"},\"provisioner\":\"%s\","
			  "\"volumeBindingMode\":\"%s\"}",
			  name, driver, waits ? "WaitForFirstConsumer" : "Immediate");

	fake_put(path, text);
}

void capacities_put_pv(const char *name, const char *zone)
{
	autofree char *path = xasprintf("/api/v1/persistentvolumes/%s", name);
	autofree char *place =
		zone ? xasprintf("\"nodeAffinity\":{\"required\":{\"nodeSelectorTerms\":[{"
				 "\"matchExpressions\":[{\"key\":\"" ZONE
				 "\",\"operator\":\"In\",\"values\":[\"%s\"]}]}]}},",
				 zone)
		     : xstrdup("");
	autofree char *text =
		xasprintf("{\"kind\":\"PersistentVolume\",\"apiVersion\":\"v1\",\"metadata\":{"
			  "\"name\":\"%s\"},\"spec\":{%s\"capacity\":{\"storage\":\"1Gi\"},"
			  "\"storageClassName\":\"fast\",\"csi\":{\"driver\":\"" DRIVER
			  "\",\"volumeHandle\":\"id-%s\"}}}",
			  name, place, name);

	fake_put(path, text);
}
