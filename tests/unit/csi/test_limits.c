/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of I/O from CreateVolume and ControllerModifyVolume to the pods' cgroups: they are there
 * when the cgroup is, follow what changes, are found again after a kill, and go.
 */
#include "base/mem.h"
#include "base/str.h"
#include "csi/driver-internal.h"
#include "fake/host_cgroup.h"
#include "fixture.h"

#define POD_1 "11111111-0000-4000-8000-000000000001"
#define POD_2 "22222222-0000-4000-8000-000000000002"
#define DIR_1 "/pods/" POD_1 "/volumes/kubernetes.io~csi/pv"
#define DIR_2 "/pods/" POD_2 "/volumes/kubernetes.io~csi/pv"
#define TARGET_1 DIR_1 "/mount"
#define TARGET_2 DIR_2 "/mount"

static const struct host_io_limits none;

static struct fixture *begin(void)
{
	struct fixture *f = fixture_begin();

	fake_host_add_dir(DIR_1);
	fake_host_add_dir(DIR_2);
	return f;
}

static struct strmap one(struct fixture *f, const char *key, const char *value)
{
	return strmap_from(f->ctx.arena, &(struct strpair){ key, value }, 1);
}

static int create_with(struct fixture *f, const char *name, const struct strmap *parameters,
		       const struct strmap *mutable)
{
	struct csi_create_volume_request req = { .name = name,
						 .capacity_range = { 64 * MIB, 0 },
						 .volume_capabilities = &cap_mount,
						 .n_volume_capabilities = 1,
						 .volume_content_source = { .id = "" } };
	struct csi_create_volume_response reply;

	if (parameters)
		req.parameters = *parameters;
	if (mutable)
		req.mutable_parameters = *mutable;
	if (csi_create_volume(&f->csi, &f->ctx, &req, &reply, &f->err) < 0)
		return -1;
	f->id = reply.volume.volume_id;
	return 0;
}

static void create(struct fixture *f, const char *key, const char *value)
{
	struct strmap mutable = one(f, key, value);

	ASSERT_OK(create_with(f, "v", NULL, &mutable), &f->err);
}

static int modify(struct fixture *f, const char *key, const char *value)
{
	const struct csi_controller_modify_volume_request req = { .volume_id = f->id,
								  .mutable_parameters =
									  one(f, key, value) };

	return csi_controller_modify_volume(
		&f->csi, &f->ctx, &req, &(struct csi_controller_modify_volume_response){}, &f->err);
}

static int publish(struct fixture *f, const char *target)
{
	return do_publish(f, "/s1", target, &cap_mount, false);
}

static dev_t device_of(struct fixture *f, const char *token)
{
	struct backend_device dev;

	ASSERT_OK(backend_find_device(registry_at(f->pools, 0), &f->ctx, token, &dev, &f->err),
		  &f->err);
	return dev.devno;
}

static void assert_limits(const char *pod, dev_t device, struct host_io_limits want)
{
	struct host_io_limits has = fake_cgroup_get(pod, device);

	ASSERT_EQ(has.read_iops, want.read_iops);
	ASSERT_EQ(has.write_iops, want.write_iops);
	ASSERT_EQ(has.read_bytes, want.read_bytes);
	ASSERT_EQ(has.write_bytes, want.write_bytes);
}

static void keep(struct fixture *f)
{
	csi_driver_keep_limits(f->driver, &f->ctx);
}

static void take_down(struct fixture *f, const char *target)
{
	ASSERT_OK(do_unpublish(f, target), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_OK(do_delete(f), &f->err);
}

TEST(a_pod_that_is_there_is_limited_when_its_volume_comes)
{
	struct fixture *f = begin();
	dev_t device;

	fake_cgroup_add_pod(POD_1);
	create(f, "writeBandwidth", "20Mi");
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	device = device_of(f, "v");
	assert_limits(POD_1, device, (struct host_io_limits){ .write_bytes = 20 * MIB });
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	ASSERT_EQ(fake_cgroup_n_writes(), 1);
	ASSERT_OK(do_unpublish(f, TARGET_1), &f->err);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	ASSERT_OK(do_unpublish(f, TARGET_1), &f->err);
	take_down(f, TARGET_1);
	fixture_end(f);
}

TEST(a_cgroup_that_comes_later_is_limited_when_it_comes)
{
	struct fixture *f = begin();

	create(f, "readIOPS", "500");
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	keep(f);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	ASSERT_TRUE(csi_driver_limits_are_due(f->driver));
	fake_cgroup_add_pod(POD_1);
	keep(f);
	assert_limits(POD_1, device_of(f, "v"), (struct host_io_limits){ .read_iops = 500 });
	take_down(f, TARGET_1);
	ASSERT_FALSE(csi_driver_limits_are_due(f->driver));
	fixture_end(f);
}

TEST(what_a_strangers_hand_changed_is_mended)
{
	struct fixture *f = begin();
	dev_t device;

	fake_cgroup_add_pod(POD_1);
	create(f, "readIOPS", "500");
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	device = device_of(f, "v");
	fake_cgroup_set(POD_1, device, &none);
	fake_cgroup_set(POD_1, device + 1, &(struct host_io_limits){ .read_iops = 9 });
	keep(f);
	assert_limits(POD_1, device, (struct host_io_limits){ .read_iops = 500 });
	assert_limits(POD_1, device + 1, (struct host_io_limits){ .read_iops = 9 });
	take_down(f, TARGET_1);
	assert_limits(POD_1, device + 1, (struct host_io_limits){ .read_iops = 9 });
	ASSERT_EQ(fake_cgroup_n_lines(), 1);
	fixture_end(f);
}

TEST(new_limits_reach_every_pod_and_can_be_lifted)
{
	struct fixture *f = begin();
	dev_t device;

	fake_cgroup_add_pod(POD_1);
	fake_cgroup_add_pod(POD_2);
	create(f, "readIOPS", "500");
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	ASSERT_OK(publish(f, TARGET_2), &f->err);
	device = device_of(f, "v");
	ASSERT_OK(modify(f, "writeIOPS", "2k"), &f->err);
	assert_limits(POD_1, device,
		      (struct host_io_limits){ .read_iops = 500, .write_iops = 2000 });
	assert_limits(POD_2, device,
		      (struct host_io_limits){ .read_iops = 500, .write_iops = 2000 });
	ASSERT_OK(do_unpublish(f, TARGET_1), &f->err);
	assert_limits(POD_1, device, none);
	assert_limits(POD_2, device,
		      (struct host_io_limits){ .read_iops = 500, .write_iops = 2000 });
	ASSERT_OK(modify(f, "readIOPS", "max"), &f->err);
	ASSERT_OK(modify(f, "writeIOPS", "max"), &f->err);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	ASSERT_OK(modify(f, "writeIOPS", "7"), &f->err);
	assert_limits(POD_2, device, (struct host_io_limits){ .write_iops = 7 });
	take_down(f, TARGET_2);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	fixture_end(f);
}

TEST(after_a_kill_everything_is_found_again)
{
	struct fixture *f = begin();
	dev_t device;

	fake_cgroup_add_pod(POD_2);
	create(f, "readIOPS", "500");
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	ASSERT_OK(publish(f, TARGET_2), &f->err);
	device = device_of(f, "v");
	fixture_restart(f, false);
	fake_cgroup_add_pod(POD_1);
	fake_cgroup_set(POD_2, device, &(struct host_io_limits){ .read_iops = 3 });
	ASSERT_TRUE(csi_driver_limits_are_due(f->driver));
	keep(f);
	assert_limits(POD_1, device, (struct host_io_limits){ .read_iops = 500 });
	assert_limits(POD_2, device, (struct host_io_limits){ .read_iops = 500 });
	ASSERT_OK(do_unpublish(f, TARGET_2), &f->err);
	take_down(f, TARGET_1);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	fixture_end(f);
}

TEST(what_a_killed_driver_left_is_lifted)
{
	struct fixture *f = begin();
	dev_t device;

	fake_cgroup_add_pod(POD_1);
	fake_cgroup_add_pod(POD_2);
	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	device = device_of(f, "v");
	fixture_restart(f, false);
	fake_cgroup_set(POD_1, device, &(struct host_io_limits){ .read_iops = 3 });
	fake_cgroup_set(POD_2, device, &(struct host_io_limits){ .read_iops = 3 });
	fake_cgroup_set(POD_2, device + 1, &(struct host_io_limits){ .read_iops = 9 });
	keep(f);
	ASSERT_EQ(fake_cgroup_n_lines(), 1);
	assert_limits(POD_2, device + 1, (struct host_io_limits){ .read_iops = 9 });
	take_down(f, TARGET_1);
	fixture_end(f);
}

/* Before the first look it is not known what a driver before this one wrote. */
TEST(an_unpublish_right_after_a_restart_lifts_too)
{
	struct fixture *f = begin();

	fake_cgroup_add_pod(POD_1);
	create(f, "readIOPS", "500");
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	ASSERT_EQ(fake_cgroup_n_lines(), 1);
	fixture_restart(f, false);
	take_down(f, TARGET_1);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	fixture_end(f);
}

TEST(another_device_after_a_restart_of_the_pod_is_followed)
{
	struct fixture *f = begin();
	const char *first;
	dev_t before, after;

	fake_cgroup_add_pod(POD_1);
	create(f, "readIOPS", "500");
	first = f->id;
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	before = device_of(f, "v");
	ASSERT_OK(do_unpublish(f, TARGET_1), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_OK(do_create(f, "w", &cap_mount, 64 * MIB), &f->err); /* takes the number */
	ASSERT_OK(do_stage(f, "/s2", &cap_mount), &f->err);
	ASSERT_EQ(device_of(f, "w"), before);
	f->id = first;
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	after = device_of(f, "v");
	ASSERT_TRUE(before != after);
	assert_limits(POD_1, before, none);
	assert_limits(POD_1, after, (struct host_io_limits){ .read_iops = 500 });
	fixture_end(f);
}

/* A raw device's reader has a number of its own. */
TEST(readers_of_raw_volumes_are_limited_on_their_device)
{
	struct fixture *f = begin();
	struct backend_device reader;

	fake_cgroup_add_pod(POD_1);
	fake_host_add_dir("/pods/plugins/volumeDevices/publish/pv");
	ASSERT_OK(do_create(f, "v", &cap_block, 64 * MIB), &f->err);
	ASSERT_OK(modify(f, "readBandwidth", "1Mi"), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_block), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/plugins/volumeDevices/publish/pv/" POD_1, &cap_block,
			     true),
		  &f->err);
	ASSERT_OK(backend_find_reader(registry_at(f->pools, 0), &f->ctx, "v", &reader, &f->err),
		  &f->err);
	ASSERT_EQ(fake_cgroup_n_lines(), 1);
	assert_limits(POD_1, reader.devno, (struct host_io_limits){ .read_bytes = MIB });
	take_down(f, "/pods/plugins/volumeDevices/publish/pv/" POD_1);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	fixture_end(f);
}

/* With podInfoOnMount, of a CO whose paths do not name the pod. */
TEST(the_pod_may_be_told_and_is_noted)
{
	struct fixture *f = begin();
	struct csi_node_publish_volume_request req = {
		.staging_target_path = "/s1",
		.target_path = "/pods/t",
		.volume_capability = cap_mount,
		.volume_context = one(f, "csi.storage.k8s.io/pod.uid", POD_2),
	};

	create(f, "readIOPS", "500");
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	req.volume_id = f->id;
	ASSERT_OK(csi_node_publish_volume(&f->csi, &f->ctx, &req,
					  &(struct csi_node_publish_volume_response){}, &f->err),
		  &f->err);
	fixture_restart(f, false);
	fake_cgroup_add_pod(POD_2);
	keep(f);
	assert_limits(POD_2, device_of(f, "v"), (struct host_io_limits){ .read_iops = 500 });
	take_down(f, "/pods/t");
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	fixture_end(f);
}

TEST(a_volume_without_limits_asks_for_no_cgroup)
{
	struct fixture *f = begin();

	fake_cgroup_add_pod(POD_1);
	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	keep(f);
	fake_cgroup_set_controller(false);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	ASSERT_FALSE(csi_driver_limits_are_due(f->driver));
	take_down(f, TARGET_1);
	fixture_end(f);
}

TEST(mutable_parameters_win_over_a_classs)
{
	struct fixture *f = begin();
	struct strmap parameters = one(f, "readIOPS", "100");
	struct strmap mutable = one(f, "readIOPS", "500");
	struct strmap other = one(f, "readIOPS", "501");
	struct backend_volume vol;

	ASSERT_OK(create_with(f, "v", &parameters, &mutable), &f->err);
	ASSERT_OK(backend_stat(registry_at(f->pools, 0), &f->ctx, "v", NULL, &vol, &f->err),
		  &f->err);
	ASSERT_EQ(vol.limits.read_iops, 500);
	ASSERT_OK(create_with(f, "v", NULL, &mutable), &f->err);
	ASSERT_ERR(create_with(f, "v", NULL, &other), &f->err, ERR_ALREADY_EXISTS,
		   "exists with readIOPS=500, asked is readIOPS=501");
	ASSERT_ERR(create_with(f, "v", NULL, NULL), &f->err, ERR_ALREADY_EXISTS, "no limits");
	ASSERT_OK(create_with(f, "w", &parameters, NULL), &f->err);
	fixture_end(f);
}

TEST(bad_limits_change_nothing)
{
	struct fixture *f = begin();
	struct strmap bad = one(f, "readIOPS", "0");
	struct strpair pairs[] = { { "readIOPS", "9" }, { "writeIOPS", "5000000000" } };
	const struct csi_controller_modify_volume_request half = {
		.volume_id = "", .mutable_parameters = { pairs, 2 }
	};
	struct csi_controller_modify_volume_request req = half;
	struct backend_volume vol;

	ASSERT_ERR(create_with(f, "v", NULL, &bad), &f->err, ERR_INVALID_ARGUMENT,
		   "mutable_parameters: readIOPS: '0'");
	ASSERT_ERR(create_with(f, "v", &bad, NULL), &f->err, ERR_INVALID_ARGUMENT,
		   "parameters: readIOPS: '0'");
	create(f, "readIOPS", "500");
	ASSERT_ERR(modify(f, "readIOPS", "0"), &f->err, ERR_INVALID_ARGUMENT, "'0'");
	ASSERT_ERR(modify(f, "XXX_FakeKey", "v"), &f->err, ERR_INVALID_ARGUMENT, "XXX_FakeKey");
	req.volume_id = f->id;
	ASSERT_ERR(csi_controller_modify_volume(&f->csi, &f->ctx, &req,
						&(struct csi_controller_modify_volume_response){},
						&f->err),
		   &f->err, ERR_INVALID_ARGUMENT, "writeIOPS: '5000000000'");
	ASSERT_OK(backend_stat(registry_at(f->pools, 0), &f->ctx, "v", NULL, &vol, &f->err),
		  &f->err);
	ASSERT_TRUE(vol_limits_are_equal(&vol.limits, &(struct vol_limits){ .read_iops = 500 }));
	f->id = "";
	ASSERT_ERR(modify(f, "readIOPS", "9"), &f->err, ERR_INVALID_ARGUMENT, "volume_id");
	f->id = "none-of-ours";
	ASSERT_ERR(modify(f, "readIOPS", "9"), &f->err, ERR_NOT_FOUND, "none-of-ours");
	fixture_end(f);
}

TEST(a_node_that_cannot_limit_refuses_and_can_lift)
{
	struct fixture *f = begin();
	struct strmap mutable = one(f, "readIOPS", "500");

	create(f, "readIOPS", "500");
	fake_cgroup_set_controller(false);
	ASSERT_ERR(create_with(f, "w", NULL, &mutable), &f->err, ERR_INVALID_ARGUMENT,
		   "readIOPS=500: node 'n1', where pool 'disk' is, cannot limit I/O");
	ASSERT_FALSE(fake_host_has("w"));
	ASSERT_ERR(modify(f, "writeIOPS", "9"), &f->err, ERR_INVALID_ARGUMENT, "'n1'");
	/* what is limited already goes on, and says so in the log */
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	keep(f);
	ASSERT_OK(modify(f, "readIOPS", "max"), &f->err);
	take_down(f, TARGET_1);
	fixture_end(f);
}

TEST(limits_are_an_answer_of_validate)
{
	struct fixture *f = begin();
	struct csi_validate_volume_capabilities_request req = { .volume_capabilities = &cap_mount,
								.n_volume_capabilities = 1 };
	struct csi_validate_volume_capabilities_response ret = { 0 };

	create(f, "readIOPS", "500");
	req.volume_id = f->id;
	req.mutable_parameters = one(f, "readIOPS", "500");
	ASSERT_OK(csi_validate_volume_capabilities(&f->csi, &f->ctx, &req, &ret, &f->err), &f->err);
	ASSERT_TRUE(ret.has_confirmed);
	req.mutable_parameters = one(f, "readIOPS", "0");
	ret = (struct csi_validate_volume_capabilities_response){ 0 };
	ASSERT_OK(csi_validate_volume_capabilities(&f->csi, &f->ctx, &req, &ret, &f->err), &f->err);
	ASSERT_FALSE(ret.has_confirmed);
	ASSERT_TRUE(strstr(ret.message, "readIOPS") != NULL);
	fixture_end(f);
}

static void unpublish_meanwhile(void *arg)
{
	struct fixture *f = arg;

	ASSERT_OK(do_unpublish(f, TARGET_1), &f->err);
}

/* Another call changes the wish while this one's write is under way. */
TEST(the_last_wish_wins)
{
	struct fixture *f = begin();

	fake_cgroup_add_pod(POD_1);
	create(f, "readIOPS", "500");
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(publish(f, TARGET_1), &f->err);
	fake_cgroup_set(POD_1, device_of(f, "v"), &none);
	fake_cgroup_at_write(unpublish_meanwhile, f);
	keep(f);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	ASSERT_FALSE(csi_driver_limits_are_due(f->driver));
	fixture_end(f);
}

TEST(the_pod_is_read_from_kubelets_paths)
{
	static const struct {
		const char *path, *pod;
	} cases[] = {
		{ "/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~csi/pv/mount", "u-1" },
		{ "/var/lib/kubelet/pods/u-1/volumeDevices/kubernetes.io~csi/pv", "u-1" },
		{ "/k/plugins/kubernetes.io/csi/volumeDevices/publish/pv/u-1", "u-1" },
		{ "/pods/k/pods/u-1/volumes/x/pv/mount", "u-1" },
		{ "/k/plugins/kubernetes.io/csi/volumeDevices/pv/dev/u-1", "" },
		{ "/k/plugins/kubernetes.io/csi/volumeDevices/publish/pv", "" },
		{ "/k/plugins/kubernetes.io/csi/volumeDevices/publish/pv/", "" },
		{ "/k/plugins/kubernetes.io/csi/volumeDevices/publish/pv/u/x", "" },
		{ "/k/pods/u-1/containers/c", "" },
		{ "/k/pods/u.1/volumes/x/pv/mount", "" },
		{ "/k/pods//volumes/x/pv/mount", "" },
		{ "/pods/t1", "" },
		{ "/k/pods/"
		  "0123456789012345678901234567890123456789012345678901234567890123"
		  "/volumes/x/pv/mount",
		  "" },
	};
	struct note note = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char pod[HOST_POD_UID_MAX] = "";
		bool is_known = node_pod_of(&note, cases[i].path, pod);

		ASSERT_EQ(is_known, cases[i].pod[0] != '\0');
		if (is_known)
			ASSERT_STR(pod, cases[i].pod);
	}
	note_set_pod(&note, "/pods/t1", "u-9");
	char pod[HOST_POD_UID_MAX];

	ASSERT_TRUE(node_pod_of(&note, "/pods/t1", pod));
	ASSERT_STR(pod, "u-9");
}

static int run_publish(struct fixture *f)
{
	return publish(f, TARGET_1);
}

static int run_unpublish(struct fixture *f)
{
	return do_unpublish(f, TARGET_1);
}

static int run_modify(struct fixture *f)
{
	return modify(f, "readIOPS", "7");
}

struct operation {
	int (*run)(struct fixture *f);
	bool is_published;  /* before */
	uint64_t read_iops; /* at the end; 0: none */
};

/* One round; whether the n-th call was reached. */
static bool run_with_trouble(const struct operation *op, bool is_kill, unsigned n)
{
	struct fixture *f = begin();
	bool is_reached;

	fake_cgroup_add_pod(POD_1);
	create(f, "readIOPS", "500");
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	if (op->is_published)
		ASSERT_OK(publish(f, TARGET_1), &f->err);
	if (is_kill)
		fake_host_fail_from(n);
	else
		fake_host_fail_at(n);
	(void)op->run(f);
	is_reached = fake_host_failed();
	if (is_kill && is_reached)
		fixture_restart(f, false);
	fake_host_fail_at(0);
	ASSERT_OK(op->run(f), &f->err);
	keep(f);
	if (op->run != run_unpublish)
		assert_limits(POD_1, device_of(f, "v"),
			      (struct host_io_limits){ .read_iops = op->read_iops });
	else
		ASSERT_EQ(fake_cgroup_n_lines(), 0);
	take_down(f, TARGET_1);
	keep(f);
	ASSERT_EQ(fake_cgroup_n_lines(), 0);
	assert_node_is_clean();
	fixture_end(f);
	return is_reached;
}

TEST(limits_survive_trouble_at_every_call)
{
	const struct operation ops[] = {
		{ run_publish, false, 500 },
		{ run_publish, true, 500 },
		{ run_unpublish, true, 0 },
		{ run_modify, true, 7 },
	};

	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		for (int is_kill = 0; is_kill < 2; is_kill++) {
			unsigned n = 1;

			while (run_with_trouble(&ops[i], is_kill, n))
				ASSERT_TRUE(++n < 200);
			ASSERT_TRUE(n > 5);
		}
	}
}

/* The keeper fails at each call: the next time it does its work. */
TEST(keeping_survives_trouble_at_every_call)
{
	bool is_reached = true;

	for (unsigned n = 1; is_reached; n++) {
		struct fixture *f = begin();
		dev_t device;

		fake_cgroup_add_pod(POD_1);
		create(f, "readIOPS", "500");
		ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
		ASSERT_OK(publish(f, TARGET_1), &f->err);
		device = device_of(f, "v");
		fixture_restart(f, false);
		fake_cgroup_set(POD_1, device, &none);
		fake_cgroup_set(POD_2, device, &(struct host_io_limits){ .read_iops = 3 });
		fake_cgroup_add_pod(POD_2);
		fake_host_fail_at(n);
		keep(f);
		is_reached = fake_host_failed();
		fake_host_fail_at(0);
		fixture_restart(f, false); /* a minute later, to the next scan */
		keep(f);
		assert_limits(POD_1, device, (struct host_io_limits){ .read_iops = 500 });
		assert_limits(POD_2, device, none);
		take_down(f, TARGET_1);
		fixture_end(f);
	}
}

RUN_TESTS(UNIT(a_pod_that_is_there_is_limited_when_its_volume_comes),
	  UNIT(a_cgroup_that_comes_later_is_limited_when_it_comes),
	  UNIT(what_a_strangers_hand_changed_is_mended),
	  UNIT(new_limits_reach_every_pod_and_can_be_lifted),
	  UNIT(after_a_kill_everything_is_found_again), UNIT(what_a_killed_driver_left_is_lifted),
	  UNIT(an_unpublish_right_after_a_restart_lifts_too),
	  UNIT(another_device_after_a_restart_of_the_pod_is_followed),
	  UNIT(readers_of_raw_volumes_are_limited_on_their_device),
	  UNIT(the_pod_may_be_told_and_is_noted), UNIT(a_volume_without_limits_asks_for_no_cgroup),
	  UNIT(mutable_parameters_win_over_a_classs), UNIT(bad_limits_change_nothing),
	  UNIT(a_node_that_cannot_limit_refuses_and_can_lift),
	  UNIT(limits_are_an_answer_of_validate), UNIT(the_last_wish_wins),
	  UNIT(limits_survive_trouble_at_every_call), UNIT(keeping_survives_trouble_at_every_call),
	  UNIT(the_pod_is_read_from_kubelets_paths))
