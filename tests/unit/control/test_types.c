/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds: which fields of an item of the API become what. */
#include "check.h"

#include <stdio.h>

#include "base/mem.h"
#include "control/core.h"
#include "control/discovery.h"
#include "control/group_snapshots.h"
#include "control/snapshots.h"
#include "control/storage.h"
#include "kube/path.h"

static const struct kube_type *const cached[] = {
	&core_node_type,          &discovery_slice_type,
	&core_pvc_type,           &core_pv_type,
	&storage_class_type,      &storage_csi_node_type,
	&storage_attachment_type, &storage_attributes_class_type,
	&snapshot_type,           &snapshot_content_type,
	&snapshot_class_type,     &group_snapshot_type,
	&group_content_type,      &group_class_type,
	&storage_capacity_type,
};

static const struct kube_object *decode(const struct kube_type *type, const char *text)
{
	autojson struct json_doc *doc = NULL;
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	return kube_object_decode(type, json_root(doc)); /* must not need doc any more */
}

static const char claim_text[] =
	"{\"metadata\":{\"name\":\"data-0\",\"namespace\":\"web\",\"uid\":\"u-1\","
	"\"resourceVersion\":\"77\","
	"\"finalizers\":[\"kubernetes.io/pvc-protection\",\"own/finalizer\"],"
	"\"annotations\":{\"volume.kubernetes.io/"
	"storage-provisioner\":\"pool.cleat.csi\",\"foreign\":\"x\","
	"\"pv.kubernetes.io/migrated-to\":\"\"},\"labels\":{\"a\":\"b\"}},"
	"\"spec\":{\"accessModes\":[\"ReadWriteOnce\",\"Odd\"],\"resources\":{\"requests\":{"
	"\"storage\":\"1Gi\"}},"
	"\"storageClassName\":\"fast\",\"volumeMode\":\"Block\",\"volumeName\":\"pvc-u-1\","
	"\"selector\":{},"
	"\"dataSourceRef\":{\"kind\":\"VolumeSnapshot\",\"apiGroup\":\"snapshot.storage.k8s.io\","
	"\"name\":\"s\","
	"\"namespace\":\"other\"},\"volumeAttributesClassName\":\"gold\"},\"status\":{\"phase\":"
	"\"Bound\",\"capacity\":{\"storage\":\"512Mi\"},\"allocatedResourceStatuses\":{"
	"\"storage\":\"NodeResizePending\"},\"currentVolumeAttributesClassName\":\"tin\","
	"\"modifyVolumeStatus\":{\"status\":\"Pending\"}}}";

TEST(a_claim_keeps_what_is_used)
{
	autokobj const struct kube_object *o = decode(&core_pvc_type, claim_text);
	const struct core_pvc *c = core_pvc_of(o);

	ASSERT_STR(o->ns, "web");
	ASSERT_STR(o->name, "data-0");
	ASSERT_STR(o->uid, "u-1");
	ASSERT_STR(o->resource_version, "77");
	ASSERT_FALSE(o->is_deleting);
	ASSERT_TRUE(kube_object_has_finalizer(o, "own/finalizer"));
	ASSERT_TRUE(kube_object_has_finalizer(o, "kubernetes.io/pvc-protection"));
	ASSERT_EQ(o->annotations.n, 2);
	ASSERT_STR(strmap_find(&o->annotations, "volume.kubernetes.io/storage-provisioner"),
		   "pool.cleat.csi");
	ASSERT_STR(strmap_find(&o->annotations, "pv.kubernetes.io/migrated-to"), "");
	ASSERT_EQ(o->labels.n, 0);
	ASSERT_EQ(c->access_modes.n, 2);
	ASSERT_STR(c->access_modes.v[1], "Odd");
	ASSERT_EQ(c->request_bytes, 1 << 30);
	ASSERT_FALSE(c->has_bad_request);
	ASSERT_TRUE(c->has_selector);
	ASSERT_STR(c->class_name, "fast");
	ASSERT_STR(c->volume_mode, "Block");
	ASSERT_STR(c->volume_name, "pvc-u-1");
	ASSERT_STR(c->source_kind, "VolumeSnapshot");
	ASSERT_STR(c->source_namespace, "other");
	ASSERT_STR(c->attributes_class, "gold");
	ASSERT_STR(c->phase, "Bound");
	ASSERT_EQ(c->capacity_bytes, 512 << 20);
	ASSERT_STR(c->current_attributes_class, "tin");
	ASSERT_EQ(c->resize, CORE_RESIZE_NODE_PENDING);
	ASSERT_EQ(c->modify, CORE_MODIFY_PENDING);
}

TEST(states_of_growing_and_modifying_are_those_of_the_api)
{
	static const char *const words[][2] = {
		{ "", "" },
		{ "ControllerResizeInProgress", "Pending" },
		{ "ControllerResizeInfeasible", "InProgress" },
		{ "NodeResizePending", "Infeasible" },
		{ "NodeResizeInProgress", "Newer" },
		{ "NodeResizeInfeasible", "Newer" },
		{ "Newer", "Newer" },
	};

	for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
		autofree char *text =
			xasprintf("{\"metadata\":{\"name\":\"x\"},\"status\":{"
				  "\"allocatedResourceStatuses\":{\"storage\":\"%s\"},"
				  "\"modifyVolumeStatus\":{\"status\":\"%s\"}}}",
				  words[i][0], words[i][1]);
		autokobj const struct kube_object *o = decode(&core_pvc_type, text);
		unsigned modify = i < CORE_MODIFY_OTHER ? i : CORE_MODIFY_OTHER;

		ASSERT_EQ(core_pvc_of(o)->resize, i);
		ASSERT_EQ(core_pvc_of(o)->modify, modify);
		if (i < CORE_RESIZE_OTHER)
			ASSERT_STR(core_resize_text(i), words[i][0]);
		if (i < CORE_MODIFY_OTHER)
			ASSERT_STR(core_modify_text(i), words[i][1]);
	}
	ASSERT_STR(core_resize_text(CORE_RESIZE_OTHER), "");
	ASSERT_STR(core_modify_text(CORE_MODIFY_OTHER), "");
}

TEST(strings_are_never_null_and_defaults_are_filled_in)
{
	autokobj const struct kube_object *o = decode(
		&core_pvc_type, "{\"metadata\":{\"name\":\"x\",\"deletionTimestamp\":"
				"\"2026-11-23T10:00:00Z\"},\"spec\":{\"storageClassName\":null,"
				"\"resources\":{\"requests\":{\"storage\":1024}}}}");
	const struct core_pvc *c = core_pvc_of(o);

	ASSERT_TRUE(o->is_deleting);
	ASSERT_STR(o->ns, "");
	ASSERT_STR(o->uid, "");
	ASSERT_STR(c->class_name, "");
	ASSERT_STR(c->volume_mode, "Filesystem");
	ASSERT_STR(c->source_kind, "");
	ASSERT_STR(c->phase, "");
	ASSERT_EQ(c->request_bytes, 1024);
	ASSERT_FALSE(c->has_bad_request);
}

TEST(a_request_that_is_no_size_is_marked)
{
	static const char *const sizes[] = { "\"1ki\"", "\"10E\"", "\"-1\"", "null", "{}", "\"\"" };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		autofree char *text =
			xasprintf("{\"metadata\":{\"name\":\"x\"},\"spec\":{\"resources\":"
				  "{\"requests\":{\"storage\":%s}}}}",
				  sizes[i]);
		autokobj const struct kube_object *o = decode(&core_pvc_type, text);

		if (!core_pvc_of(o)->has_bad_request)
			fail_msg("%s passed", sizes[i]);
	}
}

TEST(a_content_keeps_what_is_used)
{
	autokobj const struct kube_object *o = decode(
		&snapshot_content_type,
		"{\"metadata\":{\"name\":\"c\",\"annotations\":{\"" ANN_BEING_CREATED
		"\":\"yes\",\"else\":\"x\"}},\"spec\":{\"driver\":\"d\",\"deletionPolicy\":"
		"\"Delete\","
		"\"source\":{\"volumeHandle\":\"v\"},\"volumeSnapshotRef\":{\"namespace\":\"n\","
		"\"name\":\"s\",\"uid\":\"u\"}},\"status\":{\"creationTime\":1700000000000000005,"
		"\"restoreSize\":7,\"readyToUse\":true,\"snapshotHandle\":\"h\"}}");
	const struct snapshot_content *c = snapshot_content_of(o);

	ASSERT_STR(strmap_find(&o->annotations, ANN_BEING_CREATED), "yes");
	ASSERT_EQ(o->annotations.n, 1);
	ASSERT_STR(c->ref_uid, "u");
	ASSERT_STR(c->volume_handle, "v");
	ASSERT_STR(c->source_handle, "");
	ASSERT_STR(c->handle, "h");
	ASSERT_EQ(c->creation_ns, INT64_C(1700000000000000005));
	ASSERT_EQ(c->restore_bytes, 7);
	ASSERT_TRUE(c->has_status && c->has_restore_bytes && c->is_ready);
}

TEST(a_group_keeps_its_members)
{
	autokobj const struct kube_object *o = decode(
		&group_content_type,
		"{\"metadata\":{\"name\":\"c\"},\"spec\":{\"source\":{\"volumeHandles\":[\"a\","
		"\"b\"]}},\"status\":{\"volumeSnapshotInfoList\":[{\"volumeHandle\":\"a\","
		"\"snapshotHandle\":\"x\",\"creationTime\":5,\"restoreSize\":0,\"readyToUse\":true}"
		","
		"{\"volumeHandle\":\"b\",\"snapshotHandle\":\"y\"}]}}");
	const struct group_content *c = group_content_of(o);

	ASSERT_EQ(c->volume_handles.n, 2);
	ASSERT_EQ(c->n_members, 2);
	ASSERT_STR(c->members[0].handle, "x");
	ASSERT_EQ(c->members[0].creation_ns, 5);
	ASSERT_TRUE(c->members[0].has_restore_bytes && c->members[0].is_ready);
	ASSERT_STR(c->members[1].volume_handle, "b");
	ASSERT_FALSE(c->members[1].has_restore_bytes || c->members[1].is_ready);
}

TEST(data_source_wins_over_data_source_ref)
{
	autokobj const struct kube_object *o =
		decode(&core_pvc_type,
		       "{\"metadata\":{\"name\":\"x\"},\"spec\":{\"dataSource\":{\"kind\":"
		       "\"A\",\"name\":\"a\"},\"dataSourceRef\":{\"kind\":\"B\",\"name\":\"b\"}}}");

	ASSERT_STR(core_pvc_of(o)->source_kind, "A");
	ASSERT_STR(core_pvc_of(o)->source_name, "a");
}

TEST(a_volume_keeps_what_is_used)
{
	autokobj const struct kube_object *o =
		decode(&core_pv_type,
		       "{\"metadata\":{\"name\":\"pvc-1\"},\"spec\":{\"capacity\":{\"storage\":"
		       "\"1536Mi\"},"
		       "\"csi\":{\"driver\":\"d\",\"volumeHandle\":\"h\"},\"claimRef\":{"
		       "\"namespace\":\"n\","
		       "\"name\":\"c\",\"uid\":\"u\"},\"persistentVolumeReclaimPolicy\":\"Retain\","
		       "\"storageClassName\":\"s\"},\"status\":{\"phase\":\"Released\"}}");
	const struct core_pv *v = core_pv_of(o);

	ASSERT_STR(v->driver, "d");
	ASSERT_STR(v->handle, "h");
	ASSERT_STR(v->claim_ns, "n");
	ASSERT_STR(v->claim_name, "c");
	ASSERT_STR(v->claim_uid, "u");
	ASSERT_STR(v->reclaim_policy, "Retain");
	ASSERT_STR(v->phase, "Released");
	ASSERT_EQ(v->capacity_bytes, UINT64_C(1536) << 20);
}

/* F8: as kube-controller-manager reads it, also when it is empty. */
TEST(the_beta_annotation_of_a_class_goes_before_the_field)
{
	static const struct kube_type *const types[] = { &core_pvc_type, &core_pv_type };
	static const char *const names[] = { "old", "" };

	for (size_t i = 0; i < 4; i++) {
		autofree char *text = xasprintf(
			"{\"metadata\":{\"name\":\"x\",\"annotations\":{\"volume.beta.kubernetes."
			"io/"
			"storage-class\":\"%s\"}},\"spec\":{\"storageClassName\":\"new\"}}",
			names[i / 2]);
		autokobj const struct kube_object *o = decode(types[i % 2], text);

		ASSERT_STR(i % 2 ? core_pv_of(o)->class_name : core_pvc_of(o)->class_name,
			   names[i / 2]);
	}
}

TEST(a_class_keeps_parameters_and_topologies)
{
	autokobj const struct kube_object *o = decode(
		&storage_class_type,
		"{\"metadata\":{\"name\":\"s\"},\"provisioner\":\"p\",\"parameters\":{\"z\":\"1\","
		"\"a\":\"2\",\"z\":\"1\"},\"mountOptions\":[\"noatime\"],\"volumeBindingMode\":"
		"\"WaitForFirstConsumer\",\"allowedTopologies\":[{\"matchLabelExpressions\":[{"
		"\"key\":"
		"\"k\",\"values\":[\"v1\",\"v2\"]},{\"key\":\"l\",\"values\":[\"w\"]}]},{}]}");
	const struct storage_class *c = storage_class_of(o);

	ASSERT_STR(c->provisioner, "p");
	ASSERT_EQ(c->parameters.n, 2);
	ASSERT_STR(strmap_find(&c->parameters, "a"), "2");
	ASSERT_STR(strmap_find(&c->parameters, "z"), "1");
	ASSERT_STR(c->reclaim_policy, "Delete");
	ASSERT_STR(c->mount_options.v[0], "noatime");
	ASSERT_TRUE(c->is_wait_for_first_consumer);
	ASSERT_EQ(c->n_allowed, 2);
	ASSERT_EQ(c->allowed[0].n, 2);
	ASSERT_STR(c->allowed[0].v[0].values.v[1], "v2");
	ASSERT_STR(c->allowed[0].v[1].key, "l");
	ASSERT_EQ(c->allowed[1].n, 0);
}

TEST(nodes_keep_labels_drivers_and_keys)
{
	autokobj const struct kube_object *node =
		decode(&core_node_type,
		       "{\"metadata\":{\"name\":\"n\",\"labels\":{\"b\":\"2\",\"a\":\"1\"}}}");
	autokobj const struct kube_object *csi =
		decode(&storage_csi_node_type,
		       "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"drivers\":[{\"name\":"
		       "\"d\",\"nodeID\":\"i\",\"topologyKeys\":[\"k\"]},{\"name\":\"e\","
		       "\"nodeID\":\"j\",\"topologyKeys\":null}]}}");

	ASSERT_STR(strmap_find(&node->labels, "b"), "2");
	ASSERT_EQ(storage_csi_node_of(csi)->n_drivers, 2);
	ASSERT_STR(storage_csi_node_of(csi)->drivers[0].topology_keys.v[0], "k");
	ASSERT_STR(storage_csi_node_of(csi)->drivers[1].node_id, "j");
	ASSERT_EQ(storage_csi_node_of(csi)->drivers[1].topology_keys.n, 0);
}

TEST(an_attachment_names_its_volume_and_says_whether_it_is_attached)
{
	autokobj const struct kube_object *o =
		decode(&storage_attachment_type,
		       "{\"metadata\":{\"name\":\"a\",\"annotations\":{\"" ANN_NODE_ID
		       "\":\"i\"}},\"spec\":{\"attacher\":\"d\",\"nodeName\":\"n\","
		       "\"source\":{\"persistentVolumeName\":\"pv\"}},"
		       "\"status\":{\"attached\":true,\"attachmentMetadata\":{\"x\":\"y\"}}}");
	autokobj const struct kube_object *own = decode(
		&storage_attachment_type,
		"{\"metadata\":{\"name\":\"b\"},\"spec\":{\"attacher\":\"d\",\"nodeName\":\"n\","
		"\"source\":{\"inlineVolumeSpec\":{\"csi\":{\"volumeHandle\":\"h\"}}}},"
		"\"status\":{\"attached\":false}}");
	const struct storage_attachment *va = storage_attachment_of(o);

	ASSERT_STR(va->attacher, "d");
	ASSERT_STR(va->node_name, "n");
	ASSERT_STR(va->pv_name, "pv");
	ASSERT_TRUE(va->is_attached && va->has_metadata && !va->has_inline);
	ASSERT_STR(strmap_find(&o->annotations, ANN_NODE_ID), "i");
	ASSERT_STR(storage_attachment_driver(o, 0), "d");
	assert_null(storage_attachment_waiting(o, 0));
	va = storage_attachment_of(own);
	ASSERT_TRUE(!va->is_attached && !va->has_metadata && va->has_inline);
	ASSERT_STR(va->inline_handle, "h");
	ASSERT_STR(storage_attachment_waiting(own, 0), "n");
	assert_null(storage_attachment_waiting(own, 1));
}

static const char *slot_of(const char *name, const char *more)
{
	static char slot[64];
	autofree char *text = xasprintf(
		"{\"metadata\":{\"name\":\"%s\"},\"storageClassName\":\"c\"%s}", name, more);
	autokobj const struct kube_object *o = decode(&storage_capacity_type, text);

	(void)snprintf(slot, sizeof(slot), "%s", storage_capacity_slot(o, 0));
	return slot;
}

TEST(a_capacity_is_of_a_class_and_labels_whatever_it_is_called)
{
	static const char *const odd[] = {
		"",
		",\"nodeTopology\":null",
		",\"nodeTopology\":{\"matchExpressions\":[{\"key\":\"k\",\"operator\":\"Exists\"}]"
		"}",
		",\"nodeTopology\":{\"matchLabels\":{\"k\":1}}",
		",\"nodeTopology\":{\"matchLabels\":[\"k\"]}",
	};
	struct strpair pairs[] = { { "k", "v" }, { "l", "w" } };
	char want[STORAGE_SLOT_BYTES], other[STORAGE_SLOT_BYTES];

	storage_slot("c", &(struct strmap){ pairs, 2 }, want);
	ASSERT_STR(slot_of("x", ",\"nodeTopology\":{\"matchLabels\":{\"l\":\"w\",\"k\":\"v\"}}"),
		   want);
	storage_slot("d", &(struct strmap){ pairs, 2 }, other);
	ASSERT_FALSE(strcmp(want, other) == 0);
	storage_slot("c", &STRMAP_EMPTY, want);
	ASSERT_STR(slot_of("x", ",\"nodeTopology\":{}"), want);
	for (size_t i = 0; i < ARRAY_LEN(odd); i++)
		ASSERT_STR(slot_of("x", odd[i]), "?x");
}

TEST(a_capacity_keeps_what_is_used)
{
	autokobj const struct kube_object *o = decode(
		&storage_capacity_type,
		"{\"metadata\":{\"name\":\"x\",\"namespace\":\"n\",\"labels\":{"
		"\"" STORAGE_LABEL_DRIVER
		"\":\"d\"},\"ownerReferences\":[{\"uid\":\"u-1\"},{\"uid\":\"u-2\",\"controller\":"
		"true}]},\"capacity\":\"1500Mi\",\"maximumVolumeSize\":\"1Gi\"}");
	autokobj const struct kube_object *none =
		decode(&storage_capacity_type, "{\"metadata\":{\"name\":\"x\"}}");
	const struct storage_capacity *c = storage_capacity_of(o);

	ASSERT_STR(c->owner_uid, "u-2");
	ASSERT_TRUE(c->has_capacity && c->has_maximum);
	ASSERT_EQ(c->capacity_bytes, 1500ULL << 20);
	ASSERT_EQ(c->maximum_bytes, 1ULL << 30);
	ASSERT_STR(storage_capacity_driver(o, 0), "d");
	c = storage_capacity_of(none);
	ASSERT_STR(c->owner_uid, "");
	ASSERT_FALSE(c->has_capacity || c->has_maximum);
}

/* key In [value] of one term, and nothing of what is not so simple. */
static size_t places(const char *terms, uint64_t *ret_first)
{
	autofree char *text =
		xasprintf("{\"metadata\":{\"name\":\"v\"},\"spec\":{\"nodeAffinity\":{"
			  "\"required\":{\"nodeSelectorTerms\":%s}}}}",
			  terms);
	autokobj const struct kube_object *o = decode(&core_pv_type, text);
	const struct core_pv *pv = core_pv_of(o);

	*ret_first = pv->n_place ? pv->place[0] : 0;
	return pv->n_place;
}

TEST(a_volume_keeps_where_it_is)
{
	static const char *const odd[] = {
		"[]",
		"[{}]",
		"[{\"matchExpressions\":[{\"key\":\"k\",\"operator\":\"In\",\"values\":[\"a\","
		"\"b\"]}]}]",
		"[{\"matchExpressions\":[{\"key\":\"k\",\"operator\":\"Exists\"}]}]",
		"[{\"matchExpressions\":[{\"key\":\"k\",\"operator\":\"In\",\"values\":[\"a\"]}]},{"
		"}]",
		"[{\"matchExpressions\":[{\"key\":\"k\",\"operator\":\"In\",\"values\":[\"a\"]},7]}"
		"]",
	};
	uint64_t first;

	ASSERT_EQ(places("[{\"matchExpressions\":[{\"key\":\"k\",\"operator\":\"In\",\"values\":["
			 "\"a\"]},"
			 "{\"key\":\"l\",\"operator\":\"In\",\"values\":[\"b\"]}]}]",
			 &first),
		  2);
	ASSERT_TRUE(first == core_label_hash("k", "a"));
	ASSERT_FALSE(first == core_label_hash("ka", ""));
	for (size_t i = 0; i < ARRAY_LEN(odd); i++)
		ASSERT_EQ(places(odd[i], &first), 0);
}

TEST(a_volume_says_whether_it_is_detached_with_a_secret)
{
	static const struct {
		const char *csi;
		bool has;
	} cases[] = {
		{ "{}", false },
		{ "{\"nodeStageSecretRef\":{\"name\":\"a\"}}", false },
		{ "{\"controllerPublishSecretRef\":{\"name\":\"a\"}}", true },
		{ "{\"controllerExpandSecretRef\":{\"name\":\"a\"}}", true },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autofree char *text = xasprintf(
			"{\"metadata\":{\"name\":\"v\"},\"spec\":{\"csi\":%s}}", cases[i].csi);
		autokobj const struct kube_object *o = decode(&core_pv_type, text);

		ASSERT_EQ(core_pv_of(o)->has_attach_secret, cases[i].has);
	}
}

TEST(fields_of_the_wrong_type_are_as_if_absent)
{
	for (size_t i = 0; i < ARRAY_LEN(cached); i++) {
		autokobj const struct kube_object *o = decode(
			cached[i],
			"{\"metadata\":{\"name\":\"x\",\"finalizers\":{},\"annotations\":[1],"
			"\"labels\":7},"
			"\"spec\":[],\"status\":1,\"parameters\":[],\"allowedTopologies\":{}}");

		ASSERT_STR(o->name, "x");
		ASSERT_EQ(o->n_finalizers, 0);
		ASSERT_EQ(o->annotations.n, 0);
	}
}

static void check_sorted(const struct kube_words *words)
{
	for (size_t i = 1; i < words->n; i++)
		if (strcmp(words->v[i - 1], words->v[i]) >= 0)
			fail_msg("'%s' stands before '%s'", words->v[i - 1], words->v[i]);
}

/* They are searched by halves. */
TEST(kept_annotations_and_shared_words_are_sorted)
{
	for (size_t i = 0; i < ARRAY_LEN(cached); i++) {
		check_sorted(&cached[i]->annotations);
		check_sorted(&cached[i]->words);
	}
}

TEST(kinds_are_where_the_api_has_them)
{
	static const char *const paths[] = {
		"/api/v1/nodes",
		"/apis/discovery.k8s.io/v1/endpointslices",
		"/api/v1/persistentvolumeclaims",
		"/api/v1/persistentvolumes",
		"/apis/storage.k8s.io/v1/storageclasses",
		"/apis/storage.k8s.io/v1/csinodes",
		"/apis/storage.k8s.io/v1/volumeattachments",
		"/apis/storage.k8s.io/v1/volumeattributesclasses",
		"/apis/snapshot.storage.k8s.io/v1/volumesnapshots",
		"/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents",
		"/apis/snapshot.storage.k8s.io/v1/volumesnapshotclasses",
		"/apis/groupsnapshot.storage.k8s.io/v1/volumegroupsnapshots",
		"/apis/groupsnapshot.storage.k8s.io/v1/volumegroupsnapshotcontents",
		"/apis/groupsnapshot.storage.k8s.io/v1/volumegroupsnapshotclasses",
		"/apis/storage.k8s.io/v1/csistoragecapacities",
	};

	for (size_t i = 0; i < ARRAY_LEN(cached); i++) {
		autofree char *path = NULL;
		struct err err;

		ASSERT_OK(kube_collection_path(cached[i], NULL, &path, &err), &err);
		ASSERT_STR(path, paths[i]);
	}
}

RUN_TESTS(UNIT(a_claim_keeps_what_is_used),
	  UNIT(states_of_growing_and_modifying_are_those_of_the_api),
	  UNIT(strings_are_never_null_and_defaults_are_filled_in),
	  UNIT(a_request_that_is_no_size_is_marked), UNIT(a_content_keeps_what_is_used),
	  UNIT(a_group_keeps_its_members), UNIT(data_source_wins_over_data_source_ref),
	  UNIT(a_volume_keeps_what_is_used),
	  UNIT(the_beta_annotation_of_a_class_goes_before_the_field),
	  UNIT(a_class_keeps_parameters_and_topologies), UNIT(nodes_keep_labels_drivers_and_keys),
	  UNIT(an_attachment_names_its_volume_and_says_whether_it_is_attached),
	  UNIT(a_capacity_is_of_a_class_and_labels_whatever_it_is_called),
	  UNIT(a_capacity_keeps_what_is_used), UNIT(a_volume_keeps_where_it_is),
	  UNIT(a_volume_says_whether_it_is_detached_with_a_secret),
	  UNIT(fields_of_the_wrong_type_are_as_if_absent),
	  UNIT(kept_annotations_and_shared_words_are_sorted),
	  UNIT(kinds_are_where_the_api_has_them))
