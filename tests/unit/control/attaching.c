/* SPDX-License-Identifier: Apache-2.0 */
/* Objects as the API server would return them, and one process's worth of caches and attacher. */
#include "attaching.h"

#include "base/log.h"
#include "kube/informer.h"

#include <stdio.h>
#include <string.h>

static void drop_line(void *arg, const char *line)
{
}

void attaching_put(void)
{
	fake_put(VA, "{\"kind\":\"VolumeAttachment\",\"metadata\":{\"name\":\"va-1\"},\"spec\":{"
		     "\"attacher\":\"" DRIVER "\",\"nodeName\":\"n1\",\"source\":{"
		     "\"persistentVolumeName\":\"pv-1\"}},\"status\":{\"attached\":false}}");
}

void attaching_begin(void)
{
	log_set_sink(drop_line, NULL);
	fake_reset();
	fake_service_reset();
	fake_service.caps = CSI_CAP_BIT(CSI_CTRL_PUBLISH_UNPUBLISH_VOLUME);
	fake_put(CSI_NODE, "{\"kind\":\"CSINode\",\"metadata\":{\"name\":\"n1\"},\"spec\":{"
			   "\"drivers\":[{\"name\":\"other\",\"nodeID\":\"x\"},"
			   "{\"name\":\"" DRIVER "\",\"nodeID\":\"i-1\"}]}}");
	fake_put(VOLUME, "{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"pv-1\","
			 "\"finalizers\":[\"kubernetes.io/pv-protection\"]},\"spec\":{"
			 "\"accessModes\":[\"ReadWriteOnce\"],\"mountOptions\":[\"noatime\"],"
			 "\"persistentVolumeReclaimPolicy\":\"Retain\","
			 "\"csi\":{\"driver\":\"" DRIVER "\",\"volumeHandle\":\"vol-1\","
			 "\"fsType\":\"xfs\",\"volumeAttributes\":{\"hint\":\"on\"}}},"
			 "\"status\":{\"phase\":\"Available\"}}");
	attaching_put();
}

void attaching_start(struct attaching *p, struct attach_options opts)
{
	p->pvs = opts.pvs = informer_new(NULL, &core_pv_type, NULL);
	p->csi_nodes = opts.csi_nodes = informer_new(NULL, &storage_csi_node_type, NULL);
	p->attachments = opts.attachments = informer_new(NULL, &storage_attachment_type, NULL);
	opts.service = fake_service_get();
	opts.driver_name = DRIVER;
	p->attacher = attacher_new(&opts);
	attacher_start(p->attacher);
}

void attaching_stop(struct attaching *p)
{
	attacher_free(p->attacher);
	informer_free(p->pvs);
	informer_free(p->csi_nodes);
	informer_free(p->attachments);
}

void attaching_run(int64_t limit_ns)
{
	struct attaching p;

	attaching_start(&p, (struct attach_options){ 0 });
	fake_run(limit_ns);
	attaching_stop(&p);
}
