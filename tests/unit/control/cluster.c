/* SPDX-License-Identifier: Apache-2.0 */
/* Objects as the API server would return them, and one process's worth of caches and provisioner.
 */
#include "cluster.h"

#include "base/log.h"
#include "base/mem.h"
#include "kube/informer.h"

#include <stdio.h>
#include <string.h>

static void put_node(const char *name, const char *zone)
{
	char path[128], json[1024];

	(void)snprintf(path, sizeof(path), "/api/v1/nodes/%s", name);
	(void)snprintf(json, sizeof(json),
		       "{\"kind\":\"Node\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"%s\","
		       "\"labels\":{"
		       "\"topology.example/zone\":\"%s\",\"topology.example/host\":\"%s\"}}}",
		       name, zone, name);
	fake_put(path, json);
	(void)snprintf(path, sizeof(path), "/apis/storage.k8s.io/v1/csinodes/%s", name);
	(void)snprintf(json, sizeof(json),
		       "{\"kind\":\"CSINode\",\"apiVersion\":\"storage.k8s.io/"
		       "v1\",\"metadata\":{\"name\":\"%s\"},\"spec\":{"
		       "\"drivers\":[{\"name\":\"" DRIVER "\",\"nodeID\":\"%s\",\"topologyKeys\":["
		       "\"topology.example/zone\"]}]}}",
		       name, name);
	fake_put(path, json);
}

void cluster_put_claim(const char *name)
{
	char path[128], json[1024];

	(void)snprintf(path, sizeof(path), "/api/v1/namespaces/default/persistentvolumeclaims/%s",
		       name);
	(void)snprintf(
		json, sizeof(json),
		"{\"kind\":\"PersistentVolumeClaim\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":"
		"\"%s\","
		"\"namespace\":\"default\",\"uid\":\"c1a1\",\"finalizers\":[\"kubernetes.io/"
		"pvc-protection\"],"
		"\"annotations\":{\"volume.kubernetes.io/storage-provisioner\":\"" DRIVER
		"\",\"team\":\"blue\"}},"
		"\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"storageClassName\":\"fast\","
		"\"volumeMode\":\"Filesystem\",\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}},"
		"\"status\":{\"phase\":\"Pending\"}}",
		name);
	fake_put(path, json);
}

/* Hundreds of planned failures: what is logged about them is not looked at here. */
static void drop_line(void *arg, const char *line)
{
}

void cluster_begin(void)
{
	log_set_sink(drop_line, NULL);
	fake_reset();
	fake_service_reset();
	fake_put(CLASS, "{\"kind\":\"StorageClass\",\"apiVersion\":\"storage.k8s.io/"
			"v1\",\"metadata\":{\"name\":\"fast\"},"
			"\"provisioner\":\"" DRIVER
			"\",\"reclaimPolicy\":\"Delete\",\"volumeBindingMode\":\"Immediate\","
			"\"mountOptions\":[\"noatime\"],\"parameters\":{\"csi.storage.k8s.io/"
			"fstype\":\"xfs\",\"pool\":\"p\"}}");
	put_node("n1", "a");
	put_node("n2", "b");
	cluster_put_claim("data-0");
}

void cluster_use_wait_for_consumer(void)
{
	fake_merge(CLASS, "{\"volumeBindingMode\":\"WaitForFirstConsumer\"}");
	fake_merge(
		CLAIM,
		"{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/selected-node\":\"n2\"}}}");
}

void process_start(struct process *p, struct provision_options opts)
{
	autofree char *only = opts.node_name ? xasprintf("metadata.name=%s", opts.node_name) : NULL;
	const struct informer_options own = { .field_selector = only };

	p->caches = (struct control_caches){
		.pvcs = informer_new(NULL, &core_pvc_type, NULL),
		.pvs = informer_new(NULL, &core_pv_type, NULL),
		.classes = informer_new(NULL, &storage_class_type, NULL),
		.nodes = informer_new(NULL, &core_node_type, &own),
		.csi_nodes = informer_new(NULL, &storage_csi_node_type, &own),
		.attachments = informer_new(NULL, &storage_attachment_type, NULL),
		.snapshots = informer_new(NULL, &snapshot_type, NULL),
	};
	opts.caches = p->caches;
	opts.service = opts.node_name ? fake_service_at(opts.node_name) : fake_service_get();
	opts.driver_name = DRIVER;
	p->provisioner = provisioner_new(&opts);
	provisioner_start(p->provisioner);
}

void process_stop(struct process *p)
{
	provisioner_free(p->provisioner);
	informer_free(p->caches.pvcs);
	informer_free(p->caches.pvs);
	informer_free(p->caches.classes);
	informer_free(p->caches.nodes);
	informer_free(p->caches.csi_nodes);
	informer_free(p->caches.attachments);
	informer_free(p->caches.snapshots);
}

void cluster_run(int64_t limit_ns)
{
	struct process p;

	process_start(&p, (struct provision_options){ 0 });
	fake_run(limit_ns);
	process_stop(&p);
}

bool is_on_record(void)
{
	return fake_has(JOURNAL) && strstr(fake_text(JOURNAL), "intents.cleat.csi/c1a1");
}

bool contains(const char *text, const char *part)
{
	if (strstr(text, part))
		return true;
	(void)fprintf(stderr, "no '%s' in:\n%s\n", part, text);
	return false;
}
