/* SPDX-License-Identifier: Apache-2.0 */
/* Which command lines can work, and how the others are refused: the option is named, nothing is
 * opened. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "cmd/controller_run.h"
#include "cmd/serve.h"

static const char *one_pool[] = { "/srv/pool" };

static struct serve_options good(void)
{
	return (struct serve_options){
		.endpoint = "unix:///run/cleat.sock",
		.driver_name = "pool.cleat.csi",
		.node_id = "n1",
		.kubelet_dir = "/var/lib/kubelet",
		.metrics_path = "/metrics",
		.pools = { .pool = { one_pool, 1 }, .backend = "pool" },
	};
}

static int check(const struct serve_options *opts, struct err *err)
{
	autoarena struct arena *a = arena_new();
	struct backend_config *configs;
	size_t n;

	return serve_check(opts, a, &configs, &n, err);
}

TEST(the_documented_command_line_is_fine)
{
	struct serve_options o = good();
	struct err err;

	ASSERT_OK(check(&o, &err), &err);
	o.endpoint = "tcp://127.0.0.1";
	ASSERT_OK(check(&o, &err), &err);
	o.endpoint = "tcp://0.0.0.0:10000";
	o.tls = (struct cmd_tls){ .cert = "c", .key = "k", .ca = "a" };
	ASSERT_OK(check(&o, &err), &err);
	o.tls = (struct cmd_tls){ 0 };
	o.insecure = true;
	ASSERT_OK(check(&o, &err), &err);
}

TEST(a_driver_may_be_told_of_kubelet)
{
	struct serve_options o = good();
	struct err err;

	o.kubelet_dir = NULL;
	ASSERT_OK(check(&o, &err), &err);
	o.kubelet_dir = "/var/lib/../lib/kubelet";
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--kubelet-dir");
}

TEST(cgroups_are_somewhere_or_nowhere)
{
	struct serve_options o = good();
	struct err err;

	o.cgroup_root = "";
	ASSERT_OK(check(&o, &err), &err);
	o.cgroup_root = "/host/sys/fs/cgroup";
	ASSERT_OK(check(&o, &err), &err);
	o.cgroup_root = "sys/fs/cgroup";
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--cgroup-root");
}

TEST(what_is_missing_is_named)
{
	struct serve_options o = good();
	struct err err;

	o.node_id = "";
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--node-id");
	o = good();
	o.endpoint = NULL;
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--endpoint");
	o = good();
	o.pools.pool.n = 0;
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--pool is missing");
}

TEST(tls_is_all_or_nothing)
{
	struct cmd_tls tls = { .cert = "c", .key = "k" };
	struct err err;

	ASSERT_ERR(cmd_tls_check(&tls, &err), &err, ERR_INVALID_ARGUMENT, "--tls-ca");
	tls = (struct cmd_tls){ .ca = "a" };
	ASSERT_ERR(cmd_tls_check(&tls, &err), &err, ERR_INVALID_ARGUMENT, "--tls-cert");
	tls = (struct cmd_tls){ 0 };
	ASSERT_OK(cmd_tls_check(&tls, &err), &err);
}

TEST(open_tcp_needs_tls_or_a_clear_word)
{
	const struct cmd_tls none = { 0 }, all = { .cert = "c", .key = "k", .ca = "a" };
	static const char *const open[] = { "tcp://0.0.0.0", "tcp://[::]:1", "tcp://:10000",
					    "tcp://node.example:10000" };
	static const char *const local[] = { "tcp://127.0.0.1", "tcp://[::1]:10",
					     "tcp://localhost:10" };
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(open); i++) {
		ASSERT_ERR(address_check("endpoint", open[i], &none, false, &err), &err,
			   ERR_INVALID_ARGUMENT, "--insecure");
		ASSERT_OK(address_check("endpoint", open[i], &all, false, &err), &err);
		ASSERT_OK(address_check("endpoint", open[i], &none, true, &err), &err);
	}
	for (size_t i = 0; i < ARRAY_LEN(local); i++)
		ASSERT_OK(address_check("endpoint", local[i], &none, false, &err), &err);
	ASSERT_ERR(address_check("endpoint", "unix:///x", &all, false, &err), &err,
		   ERR_INVALID_ARGUMENT, "--tls-cert");
	ASSERT_ERR(address_check("endpoint", "http://x", &none, false, &err), &err,
		   ERR_INVALID_ARGUMENT, "--endpoint");
}

TEST(pools_become_configurations)
{
	autoarena struct arena *a = arena_new();
	const char *pools[] = { "/a", "fast=/b", "eq=/c=d", "fast=/e" };
	const char *images[] = { "try=/var/tmp/x.img" };
	const struct pools_options opts = {
		.pool = { pools, 4 },
		.image = { images, 1 },
		.image_size = GIB,
		.reserve = MIB,
		.overcommit = "1.5",
		.backend = "pool",
	};
	struct backend_config *c;
	struct err err;
	size_t n;

	ASSERT_OK(pools_configure(a, &opts, "n1", &c, &n, &err), &err);
	ASSERT_EQ(n, 5);
	ASSERT_STR(c[0].name, "default");
	ASSERT_STR(c[0].dir, "/a");
	ASSERT_STR(c[1].name, "fast");
	ASSERT_STR(c[1].dir, "/b");
	ASSERT_STR(c[2].dir, "/c=d");
	ASSERT_STR(c[3].name, "fast");
	ASSERT_STR(c[3].dir, "/e");
	ASSERT_STR(c[4].name, "try");
	ASSERT_STR(c[4].image, "/var/tmp/x.img");
	ASSERT_STR(c[4].dir, "/var/tmp/x.img.pool");
	ASSERT_EQ(c[4].image_bytes, GIB);
	ASSERT_EQ(c[0].image_bytes, 0);
	ASSERT_EQ(c[0].reserve_bytes, MIB);
	ASSERT_EQ(c[0].overcommit, 150);
	ASSERT_EQ(c[4].overcommit, 150);
}

TEST(pools_of_several_kinds_may_be_in_one_process)
{
	autoarena struct arena *a = arena_new();
	const char *pools[] = { "pool:/a", "fast=pool:/b", "ram=mem:1Gi", "mem:512Mi", "/c:d" };
	static const char *const wrong[][2] = {
		{ "x=disk:/a", "'disk' is no kind of backend; there are: pool, mem" },
		{ "mem:", "mem:8Gi" },
		{ "mem:zero", "mem:8Gi" },
		{ "x=pool:relative", "not an absolute path" },
	};
	struct pools_options opts = { .pool = { pools, 5 }, .backend = "pool" };
	struct backend_config *c;
	struct err err;
	size_t n;

	ASSERT_OK(pools_configure(a, &opts, "n1", &c, &n, &err), &err);
	ASSERT_EQ(n, 5);
	ASSERT_STR(c[0].dir, "/a");
	ASSERT_STR(c[1].name, "fast");
	ASSERT_STR(c[1].dir, "/b");
	ASSERT_STR(c[2].name, "ram");
	ASSERT_STR(c[2].kind, "mem");
	ASSERT_TRUE(c[2].mem_bytes == GIB && c[3].mem_bytes == GIB / 2);
	ASSERT_STR(c[3].name, "default");
	ASSERT_STR(c[4].dir, "/c:d"); /* a path is a path */
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		const char *one[] = { wrong[i][0] };

		opts.pool = (struct opt_list){ one, 1 };
		ASSERT_ERR(pools_configure(a, &opts, "n1", &c, &n, &err), &err,
			   ERR_INVALID_ARGUMENT, wrong[i][1]);
	}
}

TEST(contradicting_pools_are_refused)
{
	const char *twice[] = { "/a", "x=/a" }, *relative[] = { "x=a/b" }, *dots[] = { "/a/../b" };
	static const char *const no = "--pool";
	const struct {
		struct pools_options opts;
		const char *named;
	} cases[] = {
		{ { .backend = "pool" }, no },
		{ { .pool = { twice, 2 }, .backend = "pool" }, "'/a' is given twice" },
		{ { .pool = { relative, 1 }, .backend = "pool" }, no },
		{ { .pool = { dots, 1 }, .backend = "pool" }, no },
		{ { .pool = { twice, 1 }, .backend = "mem" }, "--backend=mem" },
		{ { .image = { twice, 1 }, .backend = "mem" }, "--pool-image" },
		{ { .pool = { twice, 1 }, .mem_size = 1, .backend = "pool" }, "--mem-size" },
		{ { .pool = { twice, 1 }, .image_size = 1, .backend = "pool" }, "--pool-image" },
		{ { .pool = { twice, 1 }, .overcommit = "0.5", .backend = "pool" },
		  "--pool-overcommit" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autoarena struct arena *a = arena_new();
		struct backend_config *c;
		struct err err;
		size_t n;

		ASSERT_ERR(pools_configure(a, &cases[i].opts, "n1", &c, &n, &err), &err,
			   ERR_INVALID_ARGUMENT, cases[i].named);
	}
}

TEST(a_node_speaks_to_kubelet_by_socket_and_to_the_fleet_by_tcp)
{
	struct serve_options o = good();
	struct err err;

	o.is_node = true;
	o.endpoint = NULL;
	ASSERT_OK(check(&o, &err), &err);
	o.endpoint = "tcp://127.0.0.1";
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--fleet-endpoint");
	o.endpoint = NULL;
	o.fleet_endpoint = "unix:///x";
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--fleet-endpoint");
	o.fleet_endpoint = "tcp://:10000";
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--insecure");
	o.tls = (struct cmd_tls){ .cert = "c", .key = "k", .ca = "a" };
	ASSERT_OK(check(&o, &err), &err);
	o.fleet_endpoint = NULL;
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--fleet-endpoint");
	o = good();
	o.is_node = true;
	o.kubelet_dir = "var/lib/kubelet";
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--kubelet-dir");
}

static struct controller_options good_controller(void)
{
	return (struct controller_options){
		.controllers = "provisioner",
		.csi_address = "/run/csi/socket",
		.metrics_path = "/metrics",
		.timeout_ns = 10,
		.snapshotter_timeout_ns = 60,
		.attacher_timeout_ns = 15,
		.health_interval_ns = 300,
		.health_timeout_ns = 15,
		.orphans_interval_ns = 600,
		.lease_ns = 15,
		.renew_ns = 10,
		.retry_ns = 5,
		.workers = 16,
		.backoff_ns = 1,
		.backoff_max_ns = 300,
		.capacity_owner_level = "1",
		.capacity_poll_ns = 60 * NS_PER_S,
		.capacity_workers = 4,
	};
}

TEST(a_certificate_comes_from_files_or_from_a_signer)
{
	struct serve_options o = good();
	struct err err;

	o.is_node = true;
	o.fleet_endpoint = "tcp://:10000";
	o.certificate_signer = "pool.cleat.csi/agent";
	o.certificate_lifetime_ns = 600 * NS_PER_S;
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--tls-ca");
	o.tls.ca = "a";
	ASSERT_OK(check(&o, &err), &err);
	o.tls.cert = "c";
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "exclude each other");
	o.tls.cert = NULL;
	o.certificate_lifetime_ns = 599 * NS_PER_S;
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--certificate-lifetime");
	o.certificate_lifetime_ns = 600 * NS_PER_S;
	o.fleet_endpoint = NULL;
	ASSERT_ERR(check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--fleet-endpoint");
}

TEST(a_signer_has_an_authority_and_knows_whom_it_signs_for)
{
	struct controller_options o = {
		.controllers = "provisioner,certificates",
		.csi_address = "/run/csi.sock",
		.agents = "",
		.agents_service = "",
		.timeout_ns = 1,
		.snapshotter_timeout_ns = 1,
		.attacher_timeout_ns = 1,
		.orphans_interval_ns = 1,
		.lease_ns = 3,
		.renew_ns = 2,
		.retry_ns = 1,
		.health_interval_ns = 1,
		.health_timeout_ns = 1,
		.workers = 1,
		.capacity_owner_level = "1",
		.capacity_poll_ns = NS_PER_S,
		.capacity_workers = 1,
		.metrics_path = "/metrics",
		.agents_account = "agents",
		.agents_ca_cert = "c",
		.agents_ca_key = "k",
		.agents_lifetime_ns = 10 * NS_PER_S,
		.driver_name = "pool.cleat.csi",
	};
	autofree char *own = NULL, *other = NULL, *signer = NULL, *named = NULL;
	struct err err;

	ASSERT_OK(controller_check(&o, &err), &err);
	o.agents_ca_key = "";
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--agents-ca-key");
	o.agents_ca_key = "k";
	o.agents_account = NULL;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--agents-account");
	o.agents_account = "other/agents";
	other = controller_agents_account(&o, "ns");
	ASSERT_STR(other, "system:serviceaccount:other:agents");
	o.agents_account = "agents";
	own = controller_agents_account(&o, "ns");
	ASSERT_STR(own, "system:serviceaccount:ns:agents");
	signer = controller_signer(&o);
	ASSERT_STR(signer, "pool.cleat.csi/agent");
	o.agents_signer = "a.b/c";
	named = controller_signer(&o);
	ASSERT_STR(named, "a.b/c");
	o.agents_lifetime_ns = 9 * NS_PER_S;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "certificate-lifetime");
	o.agents_lifetime_ns = 10 * NS_PER_S;
	o.driver_name = "";
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--driver-name");
	o.controllers = "provisioner";
	ASSERT_OK(controller_check(&o, &err), &err);
}

TEST(the_controllers_times_must_fit_each_other)
{
	struct controller_options o = good_controller();
	struct err err;

	ASSERT_OK(controller_check(&o, &err), &err);
	o.renew_ns = 15;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT,
		   "--leader-election-lease-duration");
	o.renew_ns = 10;
	o.attacher_timeout_ns = 0;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--attacher-timeout");
	o.attacher_timeout_ns = 15;
	o.orphans_interval_ns = 0;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--orphans-interval");
	o.orphans_interval_ns = 600;
	o.health_interval_ns = 0;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--health-interval");
	o.health_interval_ns = 300;
	o.metadata_port = 50051;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT,
		   "--snapshot-metadata-tls-cert");
	o.metadata_cert = "/tls/tls.crt";
	o.metadata_key = "/tls/tls.key";
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT,
		   "--snapshot-metadata-max-streaming-duration-min=0");
	o.metadata_minutes = 10;
	ASSERT_OK(controller_check(&o, &err), &err);
	o.metadata_port = 65536;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "=65536");
	o.metadata_port = 1;
	o.controllers = "snapshot-controller";
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "needs a driver");
	o.metadata_port = 0;
	o.controllers = "provisioner,healer";
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "healer");
	o.controllers = "";
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--controllers");
}

TEST(a_provisioner_of_one_node_has_a_name_and_no_leader)
{
	struct controller_options o = good_controller();
	struct err err;

	o.node_deployment = true;
	o.node_base_ns = o.node_max_ns = 1;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "NODE_NAME");
	o.node_name = "../n1";
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--node-name");
	o.node_name = "n1";
	o.controllers = "provisioner,capacity";
	ASSERT_OK(controller_check(&o, &err), &err);
	o.controllers = "snapshotter";
	ASSERT_OK(controller_check(&o, &err), &err);
	o.controllers = "provisioner,resizer";
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--controllers");
	o.controllers = "auto";
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--controllers");
	o.controllers = "provisioner";
	o.election = true;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--leader-election");
	o.election = false;
	o.node_base_ns = 0;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "-base-delay");
}

TEST(what_is_told_of_capacity_has_bounds)
{
	static const char *const levels[] = { "", "x", "-2", "9", "1.5" };
	struct controller_options o = good_controller();
	struct err err;

	o.capacity_owner_level = "-1";
	o.capacity_poll_ns = NS_PER_S;
	o.capacity_workers = 256;
	ASSERT_OK(controller_check(&o, &err), &err);
	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		o.capacity_owner_level = levels[i];
		ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT,
			   "--capacity-ownerref-level");
	}
	o.capacity_owner_level = "8";
	o.capacity_workers = 257;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT, "--capacity-threads");
	o.capacity_workers = 1;
	o.capacity_poll_ns = NS_PER_S - 1;
	ASSERT_ERR(controller_check(&o, &err), &err, ERR_INVALID_ARGUMENT,
		   "--capacity-poll-interval");
}

RUN_TESTS(UNIT(the_documented_command_line_is_fine), UNIT(a_driver_may_be_told_of_kubelet),
	  UNIT(cgroups_are_somewhere_or_nowhere), UNIT(what_is_missing_is_named),
	  UNIT(tls_is_all_or_nothing), UNIT(open_tcp_needs_tls_or_a_clear_word),
	  UNIT(pools_become_configurations), UNIT(pools_of_several_kinds_may_be_in_one_process),
	  UNIT(contradicting_pools_are_refused),
	  UNIT(a_node_speaks_to_kubelet_by_socket_and_to_the_fleet_by_tcp),
	  UNIT(a_certificate_comes_from_files_or_from_a_signer),
	  UNIT(a_signer_has_an_authority_and_knows_whom_it_signs_for),
	  UNIT(the_controllers_times_must_fit_each_other),
	  UNIT(a_provisioner_of_one_node_has_a_name_and_no_leader),
	  UNIT(what_is_told_of_capacity_has_bounds))
