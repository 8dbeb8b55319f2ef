/* SPDX-License-Identifier: Apache-2.0 */
#include "grown.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/informer.h"

#include <stdio.h>
#include <stdlib.h>

void grown_begin(void)
{
	cluster_begin();
	fake_service.caps |=
		CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME) | CSI_CAP_BIT(CSI_CTRL_MODIFY_VOLUME);
	fake_service.needs_node = true;
	fake_put(PV, "{\"kind\":\"PersistentVolume\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":"
		     "\"" PV_NAME "\"},\"spec\":{\"capacity\":{\"storage\":\"1Gi\"},"
		     "\"accessModes\":[\"ReadWriteOnce\"],\"volumeMode\":\"Filesystem\","
		     "\"mountOptions\":[\"noatime\"],\"csi\":{\"driver\":\"" DRIVER
		     "\",\"volumeHandle\":\"id-" PV_NAME "\",\"fsType\":\"xfs\"},"
		     "\"claimRef\":{\"namespace\":\"default\",\"name\":\"data-0\",\"uid\":\"c1a1\"}"
		     "},\"status\":{\"phase\":\"Bound\"}}");
	fake_merge(CLAIM, "{\"spec\":{\"volumeName\":\"" PV_NAME
			  "\"},\"status\":{\"phase\":\"Bound\",\"capacity\":{\"storage\":\"1Gi\"},"
			  "\"conditions\":[{\"type\":\"Unused\",\"status\":\"True\"}]}}");
}

void grown_ask(const char *size)
{
	autofree char *patch =
		xasprintf("{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%s\"}}}}", size);

	fake_merge(CLAIM, patch);
}

void grown_want_class(const char *name)
{
	autofree char *patch = xasprintf("{\"spec\":{\"volumeAttributesClassName\":\"%s\"}}", name);

	fake_merge(CLAIM, patch);
}

void grown_put_class(const char *name, const char *driver, const char *iops)
{
	autofree char *path = xasprintf("/apis/storage.k8s.io/v1/volumeattributesclasses/%s", name);
	autofree char *text =
		xasprintf("{\"kind\":\"VolumeAttributesClass\",\"apiVersion\":\"storage.k8s.io/"
			  "v1\",\"metadata\":{\"name\":\"%s\"},\"driverName\":\"%s\","
			  "\"parameters\":{\"iops\":\"%s\"}}",
			  name, driver, iops);

	fake_put(path, text);
}

void grown_start(struct resize_process *p, struct resizer_options opts)
{
	opts.pvcs = p->pvcs = informer_new(NULL, &core_pvc_type, NULL);
	opts.pvs = p->pvs = informer_new(NULL, &core_pv_type, NULL);
	opts.classes = p->classes = informer_new(NULL, &storage_attributes_class_type, NULL);
	opts.service = fake_service_get();
	opts.driver_name = DRIVER;
	opts.grows = !opts.grows_on_node;
	opts.modifies = true;
	p->resizer = resizer_new(&opts);
	resizer_start(p->resizer);
}

void grown_stop(struct resize_process *p)
{
	resizer_free(p->resizer);
	informer_free(p->pvcs);
	informer_free(p->pvs);
	informer_free(p->classes);
}

void grown_run(int64_t limit_ns)
{
	struct resize_process p;

	grown_start(&p, (struct resizer_options){ 0 });
	fake_run(limit_ns);
	grown_stop(&p);
}

bool grown_on_node(void)
{
	autofree char *patch = NULL;

	if (!fake_has(CLAIM) || strcmp(grown_at(CLAIM, "status.allocatedResourceStatuses.storage"),
				       "NodeResizePending") != 0)
		return false;
	patch = xasprintf("{\"status\":{\"capacity\":{\"storage\":\"%s\"},"
			  "\"allocatedResourceStatuses\":null,\"conditions\":[{\"type\":\"Unused\","
			  "\"status\":\"True\"}]}}",
			  grown_at(CLAIM, "status.allocatedResources.storage"));
	fake_merge(CLAIM, patch);
	return true;
}

static struct json_doc *parse(const char *path)
{
	const char *text = fake_text(path);
	struct json_doc *doc;
	struct err err;

	if (json_parse(text, strlen(text), &doc, &err) < 0)
		abort();
	return doc;
}

const char *grown_at(const char *path, const char *dotted)
{
	static char found[512];
	autojson struct json_doc *doc = parse(path);

	(void)snprintf(found, sizeof(found), "%s",
		       str_or(json_path_string(json_root(doc), dotted), ""));
	return found;
}

const char *grown_conditions(void)
{
	static char found[512];
	autojson struct json_doc *doc = parse(CLAIM);
	autostr struct str out = STR_INIT;
	const struct json *value;
	const char *none;

	for (struct json_it it = json_each(json_path(json_root(doc), "status.conditions"));
	     json_next(&it, &none, &value);)
		if (str_is_equal(json_get_string(value, "status"), "True"))
			str_appendf(&out, "%s%s", out.len ? "," : "",
				    json_get_string(value, "type"));
	(void)snprintf(found, sizeof(found), "%s", str_get(&out));
	return found;
}
