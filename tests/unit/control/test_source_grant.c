/* SPDX-License-Identifier: Apache-2.0 */
/* Claims that are to be made of what is in another namespace, and the ReferenceGrants there. */
#include "check.h"
#include "cluster.h"
#include "control/provision-internal.h"

#include "base/mem.h"
#include "base/str.h"

#define SNAPSHOT "/apis/snapshot.storage.k8s.io/v1/namespaces/vault/volumesnapshots/snap"
#define CONTENT "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/content"
#define SOURCE "/api/v1/namespaces/vault/persistentvolumeclaims/source"
#define SOURCE_PV "/api/v1/persistentvolumes/source-pv"
#define GRANTS "/apis/gateway.networking.k8s.io/v1beta1/namespaces/%s/referencegrants/g"
#define FROM_CLAIMS "{\"group\":\"\",\"kind\":\"PersistentVolumeClaim\",\"namespace\":\"default\"}"
#define TO_SNAPSHOTS "{\"group\":\"snapshot.storage.k8s.io\",\"kind\":\"VolumeSnapshot\"}"
#define TO_CLAIMS "{\"group\":\"\",\"kind\":\"PersistentVolumeClaim\",\"name\":\"source\"}"
#define FINALIZER "as-source-protection"

static const struct provision_options on = { .cross_namespace = true };

static void put_sources(void)
{
	fake_put(SNAPSHOT, "{\"kind\":\"VolumeSnapshot\",\"metadata\":{\"name\":\"snap\","
			   "\"namespace\":\"vault\",\"uid\":\"s1\"},\"status\":{"
			   "\"boundVolumeSnapshotContentName\":\"content\",\"readyToUse\":true}}");
	fake_put(CONTENT,
		 "{\"kind\":\"VolumeSnapshotContent\",\"metadata\":{\"name\":\"content\"},"
		 "\"spec\":{\"driver\":\"" DRIVER "\",\"volumeSnapshotRef\":{\"namespace\":"
		 "\"vault\",\"name\":\"snap\",\"uid\":\"s1\"}},\"status\":{\"snapshotHandle\":"
		 "\"snap-7\",\"readyToUse\":true}}");
	fake_put(SOURCE,
		 "{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"source\","
		 "\"namespace\":\"vault\",\"uid\":\"src1\"},\"spec\":{\"accessModes\":["
		 "\"ReadWriteOnce\"],\"storageClassName\":\"fast\",\"volumeName\":\"source-pv\","
		 "\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}},\"status\":{\"phase\":"
		 "\"Bound\"}}");
	fake_put(SOURCE_PV,
		 "{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"source-pv\"},\"spec\":{"
		 "\"csi\":{\"driver\":\"" DRIVER "\",\"volumeHandle\":\"vol-9\"},\"claimRef\":{"
		 "\"namespace\":\"vault\",\"name\":\"source\",\"uid\":\"src1\"},"
		 "\"persistentVolumeReclaimPolicy\":\"Retain\"},\"status\":{\"phase\":"
		 "\"Bound\"}}");
}

static void want_snapshot(void)
{
	fake_merge(CLAIM,
		   "{\"spec\":{\"dataSourceRef\":{\"apiGroup\":\"snapshot.storage.k8s.io\","
		   "\"kind\":\"VolumeSnapshot\",\"name\":\"snap\",\"namespace\":\"vault\"}}}");
}

static void want_clone(void)
{
	fake_merge(CLAIM, "{\"spec\":{\"dataSourceRef\":{\"kind\":\"PersistentVolumeClaim\","
			  "\"name\":\"source\",\"namespace\":\"vault\"}}}");
}

static void put_grant(const char *ns, const char *from, const char *to)
{
	autofree char *path = xasprintf(GRANTS, ns);
	autofree char *text =
		xasprintf("{\"kind\":\"ReferenceGrant\",\"metadata\":{\"name\":\"g\","
			  "\"namespace\":\"%s\"},\"spec\":{\"from\":[%s],\"to\":[%s]}}",
			  ns, from, to);

	fake_put(path, text);
}

static void begin(void)
{
	cluster_begin();
	fake_service.caps |=
		CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT) | CSI_CAP_BIT(CSI_CTRL_CLONE_VOLUME);
	fake_add_type(&source_grant_type);
	put_sources();
}

static void assert_bound(const char *source)
{
	assert_true(contains(fake_text(CLAIM), "\"phase\":\"Bound\""));
	assert_true(contains(fake_service.last_request, source));
	ASSERT_FALSE(is_on_record());
}

TEST(a_claim_waits_until_the_other_namespace_grants_it)
{
	struct process p;

	begin();
	want_snapshot();
	process_start(&p, on);
	fake_run(MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 0);
	assert_true(contains(fake_events(),
			     "accessing vault/snap of VolumeSnapshot dataSource from "
			     "default/data-0 isn't allowed"));
	assert_null(strstr(fake_text(SNAPSHOT), FINALIZER));
	put_grant("vault", FROM_CLAIMS, TO_SNAPSHOTS);
	fake_run(5 * MINUTE);
	assert_bound(" source=snapshot:snap-7");
	assert_null(strstr(fake_text(SNAPSHOT), FINALIZER));
	process_stop(&p);
}

TEST(a_claim_is_a_clone_of_one_in_another_namespace)
{
	struct process p;

	begin();
	want_clone();
	put_grant("vault", FROM_CLAIMS, TO_SNAPSHOTS "," TO_CLAIMS);
	process_start(&p, on);
	fake_run(MINUTE);
	assert_bound(" source=volume:vol-9");
	fake_delete(SOURCE);
	fake_run(MINUTE);
	ASSERT_FALSE(fake_has(SOURCE));
	process_stop(&p);
}

TEST(unless_it_is_switched_on_no_grant_counts)
{
	begin();
	want_snapshot();
	put_grant("vault", FROM_CLAIMS, TO_SNAPSHOTS);
	cluster_run(MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 0);
	assert_true(contains(fake_events(), "not served unless CrossNamespaceVolumeDataSource"));
}

TEST(a_grant_of_something_else_is_none)
{
	static const struct {
		const char *ns, *from, *to;
	} cases[] = {
		{ "default", FROM_CLAIMS, TO_SNAPSHOTS },
		{ "vault",
		  "{\"group\":\"\",\"kind\":\"PersistentVolumeClaim\",\"namespace\":\"x\"}",
		  TO_SNAPSHOTS },
		{ "vault", "{\"group\":\"\",\"kind\":\"Pod\",\"namespace\":\"default\"}",
		  TO_SNAPSHOTS },
		{ "vault",
		  "{\"group\":\"x\",\"kind\":\"PersistentVolumeClaim\",\"namespace\":\"default\"}",
		  TO_SNAPSHOTS },
		{ "vault", FROM_CLAIMS, TO_CLAIMS },
		{ "vault", FROM_CLAIMS, "{\"group\":\"\",\"kind\":\"VolumeSnapshot\"}" },
		{ "vault", FROM_CLAIMS,
		  "{\"group\":\"snapshot.storage.k8s.io\",\"kind\":\"VolumeSnapshot\",\"name\":"
		  "\"other\"}" },
		{ "vault", "", TO_SNAPSHOTS },
		{ "vault", FROM_CLAIMS, "7,null" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct process p;

		begin();
		want_snapshot();
		put_grant(cases[i].ns, cases[i].from, cases[i].to);
		process_start(&p, on);
		fake_run(MINUTE);
		ASSERT_EQ(fake_service.n_volumes, 0);
		assert_true(contains(fake_events(), "isn't allowed"));
		process_stop(&p);
	}
}

TEST(a_cluster_without_grants_has_granted_nothing)
{
	struct process p;

	begin();
	want_snapshot();
	fake_absent("referencegrants");
	process_start(&p, on);
	fake_run(MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 0);
	assert_true(contains(fake_events(), "isn't allowed"));
	process_stop(&p);
}

static void put_late_claim(const char *ns)
{
	autofree char *path = xasprintf("/api/v1/namespaces/%s/persistentvolumeclaims/late", ns);
	autofree char *text = xasprintf(
		"{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"late\",\"namespace\":"
		"\"%s\",\"uid\":\"l8\"},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],"
		"\"storageClassName\":\"none\",\"dataSourceRef\":{\"apiGroup\":"
		"\"snapshot.storage.k8s.io\",\"kind\":\"VolumeSnapshot\",\"name\":\"snap\","
		"\"namespace\":\"vault\"},\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}},"
		"\"status\":{\"phase\":\"Pending\"}}",
		ns);

	fake_put(path, text);
}

TEST(who_may_not_have_a_source_does_not_keep_it)
{
	static const char *const spaces[] = { "stranger", "default" };

	for (size_t i = 0; i < ARRAY_LEN(spaces); i++) {
		struct process p;

		begin();
		want_snapshot();
		put_grant("vault", FROM_CLAIMS, TO_SNAPSHOTS);
		put_late_claim(spaces[i]);
		process_start(&p, on);
		fake_run(MINUTE);
		assert_bound(" source=snapshot:snap-7");
		ASSERT_EQ(strstr(fake_text(SNAPSHOT), FINALIZER) != NULL, i == 1);
		process_stop(&p);
	}
}

RUN_TESTS(UNIT(a_claim_waits_until_the_other_namespace_grants_it),
	  UNIT(a_claim_is_a_clone_of_one_in_another_namespace),
	  UNIT(unless_it_is_switched_on_no_grant_counts), UNIT(a_grant_of_something_else_is_none),
	  UNIT(a_cluster_without_grants_has_granted_nothing),
	  UNIT(who_may_not_have_a_source_does_not_keep_it))
