/* SPDX-License-Identifier: Apache-2.0 */
/* What is put into the queues, and what no reconcile need look at. */
#include "check.h"
#include "cluster.h"

#include "base/mem.h"
#include "base/str.h"

#define CLAIMS_PATH "/api/v1/namespaces/default/persistentvolumeclaims/"
#define MANY 50

static struct process process;

static void begin(void)
{
	cluster_begin();
	fake_delete(CLAIM);
	fake_merge(CLAIM, "{\"metadata\":{\"finalizers\":null}}");
	ASSERT_FALSE(fake_has(CLAIM));
}

static void put_claim(const char *name, const char *provisioner, const char *class)
{
	autofree char *path = xasprintf(CLAIMS_PATH "%s", name);
	autofree char *json = xasprintf(
		"{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"%s\","
		"\"namespace\":\"default\",\"annotations\":{%s%s%s}},\"spec\":{"
		"\"accessModes\":[\"ReadWriteOnce\"],\"storageClassName\":\"%s\","
		"\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}},\"status\":{\"phase\":"
		"\"Pending\"}}",
		name, provisioner ? "\"volume.kubernetes.io/storage-provisioner\":\"" : "",
		str_or(provisioner, ""), provisioner ? "\"" : "", class);

	fake_put(path, json);
}

static void put_class(const char *name, const char *provisioner, const char *mode)
{
	autofree char *path = xasprintf("/apis/storage.k8s.io/v1/storageclasses/%s", name);
	autofree char *json = xasprintf("{\"kind\":\"StorageClass\",\"metadata\":{\"name\":\"%s\"},"
					"\"provisioner\":\"%s\",\"reclaimPolicy\":\"Delete\","
					"\"volumeBindingMode\":\"%s\"}",
					name, provisioner, mode);

	fake_put(path, json);
}

static void put_volume(const char *name, const char *driver, const char *phase,
		       const char *finalizer)
{
	autofree char *path = xasprintf("/api/v1/persistentvolumes/%s", name);
	autofree char *json = xasprintf(
		"{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"%s\",\"finalizers\":["
		"%s]},\"spec\":{\"capacity\":{\"storage\":\"1Gi\"},\"csi\":{\"driver\":\"%s\","
		"\"volumeHandle\":\"h\"},\"claimRef\":{\"namespace\":\"default\",\"name\":\"c-%s\","
		"\"uid\":\"u\"},\"persistentVolumeReclaimPolicy\":\"Delete\"},\"status\":{"
		"\"phase\":"
		"\"%s\"}}",
		name, finalizer, driver, name, phase);

	fake_put(path, json);
}

static void run(void)
{
	process_start(&process, (struct provision_options){ 0 });
	fake_run(MINUTE);
}

TEST(claims_of_others_are_not_queued)
{
	begin();
	put_class("theirs", "other.csi", "Immediate");
	put_class("late", DRIVER, "WaitForFirstConsumer");
	put_claim("by-annotation", "other.csi", "fast");
	put_claim("by-class", DRIVER, "theirs");
	put_claim("not-marked-yet", NULL, "fast");
	put_claim("no-class", DRIVER, "");
	put_claim("no-such-class", DRIVER, "none");
	put_claim("no-node-yet", DRIVER, "late");
	run();
	ASSERT_EQ(fake_adds("claims"), 0);
	put_claim("ours", DRIVER, "fast");
	fake_run(MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 1);
	process_stop(&process);
}

/* As kube-controller-manager and the scheduler do it, which is what the ones above wait for. */
TEST(a_claim_that_becomes_ours_is_queued)
{
	begin();
	put_class("late", DRIVER, "WaitForFirstConsumer");
	put_claim("a", NULL, "fast");
	put_claim("b", DRIVER, "late");
	run();
	ASSERT_EQ(fake_adds("claims"), 0);
	fake_merge(CLAIMS_PATH "a", "{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/"
				    "storage-provisioner\":\"" DRIVER "\"}}}");
	fake_run(MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 1);
	fake_merge(CLAIMS_PATH "b", "{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/"
				    "selected-node\":\"n1\"}}}");
	fake_run(MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 2);
	process_stop(&process);
}

TEST(a_class_that_appears_queues_its_claims_alone)
{
	begin();
	fake_employ_manager(false);
	put_claim("a", DRIVER, "new");
	put_claim("b", DRIVER, "new");
	put_claim("other", DRIVER, "none");
	put_claim("theirs", "other.csi", "new");
	run();
	ASSERT_EQ(fake_adds("claims"), 0);
	put_class("new", "other.csi", "Immediate");
	fake_run(MINUTE);
	ASSERT_EQ(fake_adds("claims"), 0);
	put_class("new", DRIVER, "Immediate"); /* made anew: another UID */
	fake_sync();
	ASSERT_EQ(fake_adds("claims"), 2);
	fake_run(MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 2);
	process_stop(&process);
}

TEST(what_is_in_order_is_not_queued_however_much_there_is)
{
	begin();
	fake_employ_manager(false);
	for (unsigned i = 0; i < MANY; i++) {
		autofree char *pv = xasprintf("v%u", i), *claim = xasprintf("c-v%u", i);
		autofree char *path = xasprintf(CLAIMS_PATH "%s", claim);
		autofree char *bound = xasprintf("{\"metadata\":{\"uid\":\"u\"},\"spec\":{"
						 "\"volumeName\":\"%s\"}}",
						 pv);

		put_claim(claim, DRIVER, "fast");
		fake_merge(path, bound);
		put_volume(pv, i % 2 ? DRIVER : "other.csi", "Bound",
			   "\"external-provisioner.volume.kubernetes.io/finalizer\"");
	}
	run();
	ASSERT_EQ(fake_adds("claims"), 0);
	ASSERT_EQ(fake_adds("volumes"), 0);
	process_stop(&process);
}

TEST(volumes_are_queued_when_there_is_something_to_do)
{
	begin();
	fake_employ_manager(false);
	put_volume("theirs", "other.csi", "Released", "");
	put_volume("no-finalizer", DRIVER, "Bound", "");
	put_volume("fresh", DRIVER, "Pending", "");
	process_start(&process, (struct provision_options){ 0 });
	fake_sync();
	ASSERT_EQ(fake_adds("volumes"), 1);
	fake_merge("/api/v1/persistentvolumes/fresh", "{\"status\":{\"phase\":\"Released\"}}");
	fake_sync();
	ASSERT_EQ(fake_adds("volumes"), 2);
	fake_run(MINUTE);
	ASSERT_FALSE(fake_has("/api/v1/persistentvolumes/fresh"));
	process_stop(&process);
}

/* Whichever of the two comes last. */
TEST(a_claim_that_outgrew_its_volume_is_told_so)
{
	for (unsigned is_volume_last = 0; is_volume_last < 2; is_volume_last++) {
		begin();
		fake_employ_manager(false);
		run();
		if (!is_volume_last)
			put_volume("v", DRIVER, "Bound", "\"x\"");
		fake_run(MINUTE);
		put_claim("c-v", DRIVER, "fast");
		fake_merge(CLAIMS_PATH "c-v",
			   "{\"spec\":{\"volumeName\":\"v\",\"resources\":{\"requests\":{"
			   "\"storage\":\"2Gi\"}}}}");
		fake_run(MINUTE);
		if (is_volume_last)
			put_volume("v", DRIVER, "Bound", "\"x\"");
		fake_run(MINUTE);
		ASSERT_TRUE(contains(fake_events(), "VolumeResizeFailed"));
		process_stop(&process);
	}
}

TEST(detaching_queues_only_volumes_that_wait_for_it)
{
	static const char attachment[] =
		"{\"kind\":\"VolumeAttachment\",\"metadata\":{\"name\":\"%s\"},\"spec\":{"
		"\"attacher\":\"d\",\"nodeName\":\"n1\",\"source\":{\"persistentVolumeName\":"
		"\"%s\"}}}";
	static const char *const names[] = { "theirs", "bound", "none" };

	begin();
	fake_employ_manager(false);
	put_volume("theirs", "other.csi", "Released", "");
	put_volume("bound", DRIVER, "Bound",
		   "\"external-provisioner.volume.kubernetes.io/finalizer\"");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[100], json[300];

		(void)snprintf(path, sizeof(path), "/apis/storage.k8s.io/v1/volumeattachments/%s",
			       names[i]);
		(void)snprintf(json, sizeof(json), attachment, names[i], names[i]);
		fake_put(path, json);
	}
	run();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[100];

		(void)snprintf(path, sizeof(path), "/apis/storage.k8s.io/v1/volumeattachments/%s",
			       names[i]);
		fake_delete(path);
	}
	fake_run(MINUTE);
	ASSERT_EQ(fake_adds("volumes"), 0);
	process_stop(&process);
}

RUN_TESTS(UNIT(claims_of_others_are_not_queued), UNIT(a_claim_that_becomes_ours_is_queued),
	  UNIT(a_class_that_appears_queues_its_claims_alone),
	  UNIT(what_is_in_order_is_not_queued_however_much_there_is),
	  UNIT(volumes_are_queued_when_there_is_something_to_do),
	  UNIT(a_claim_that_outgrew_its_volume_is_told_so),
	  UNIT(detaching_queues_only_volumes_that_wait_for_it))
