/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines of upstream's programs: every flag of each, what becomes of it, and how wrong ones
 * end. */
#include "base/mem.h"
#include "base/str.h"
#include "check.h"
#include "cmd/cmd.h"
#include "cmd/controller_run.h"
#include "cmd/controllers.h"
#include "cmd/sidecar.h"
#include "cmd/upstream.h"

#define OPTIONS_MAX 4096 /* more than any program's struct of options */

/* The names as the newest releases have them, told here once more. */
#define LOG_NAMES                                                                            \
	"v vmodule logging-format log-flush-frequency log-text-split-stream "                \
	"log-json-split-stream log-text-info-buffer-size log-json-info-buffer-size version " \
	"automaxprocs "
#define API_NAMES                                                                              \
	"kubeconfig leader-election leader-election-namespace leader-election-lease-duration " \
	"leader-election-renew-deadline leader-election-retry-period kube-api-qps "            \
	"kube-api-burst http-endpoint metrics-path retry-interval-start retry-interval-max "   \
	"feature-gates " LOG_NAMES
#define SIDECAR_NAMES "csi-address leader-election-labels metrics-address " API_NAMES

static const struct {
	const char *program, *names;
} newest[] = {
	{ "csi-provisioner",
	  "master volume-name-prefix volume-name-uuid-length worker-threads "
	  "cloning-protection-threads snapshot-orphan-sweep-interval timeout strict-topology "
	  "immediate-topology extra-create-metadata default-fstype enable-capacity "
	  "capacity-for-immediate-binding capacity-poll-interval capacity-ownerref-level "
	  "capacity-threads kube-api-capacity-qps kube-api-capacity-burst node-deployment "
	  "node-deployment-immediate-binding node-deployment-base-delay "
	  "node-deployment-max-delay controller-publish-readonly prevent-volume-mode-conversion "
	  "enable-pprof " SIDECAR_NAMES },
	{ "csi-attacher", "resync timeout worker-threads max-entries reconcile-sync default-fstype "
			  "max-grpc-log-length " SIDECAR_NAMES },
	{ "csi-resizer",
	  "master resync-period workers extra-modify-metadata timeout resize-timeout "
	  "modify-timeout handle-volume-inuse-error " SIDECAR_NAMES },
	{ "csi-snapshotter",
	  "resync-period snapshot-name-prefix snapshot-name-uuid-length "
	  "groupsnapshot-name-prefix groupsnapshot-name-uuid-length worker-threads timeout "
	  "extra-create-metadata node-deployment " SIDECAR_NAMES },
	{ "snapshot-controller",
	  "resync-period worker-threads enable-distributed-snapshotting "
	  "prevent-volume-mode-conversion retry-crd-interval-max " API_NAMES },
	{ "livenessprobe", "csi-address probe-timeout health-port http-endpoint metrics-address "
			   "metrics-path " LOG_NAMES },
	{ "csi-node-driver-registrar",
	  "csi-address kubelet-registration-path plugin-registration-path timeout http-endpoint "
	  "health-port enable-pprof mode connection-timeout " LOG_NAMES },
	{ "csi-snapshot-metadata",
	  "csi-address timeout port tls-cert tls-key tls-min-version tls-cipher-suites "
	  "tls-curve-preferences audience max-streaming-duration-min http-endpoint metrics-path "
	  "disable-metrics kube-api-qps kube-api-burst kubeconfig " LOG_NAMES },
	{ "cephcsi",
	  "type endpoint drivername nodeid controllerserver nodeserver instanceid clustername "
	  "setmetadata rbdsoftmaxclonedepth rbdhardmaxclonedepth maxsnapshotsonimage "
	  "minsnapshotsonimage skipforceflatten domainlabels enable-read-affinity "
	  "crush-location-labels csi-addons-endpoint metricspath metricsport polltime timeout "
	  "pidlimit logslowopinterval profiling stagingpath forcecephkernelclient "
	  "kernelmountoptions fusemountoptions radosnamespacecephfs "
	  "config-dir state-dir cgroup-root http-endpoint shutdown-timeout " LOG_NAMES },
	{ "csi-external-health-monitor-controller",
	  "monitor-interval resync timeout list-volumes-interval volume-list-add-interval "
	  "worker-threads " SIDECAR_NAMES },
};

/* A value that upstream takes, and that is not refused for what is not done here. */
static const char *good_value(const struct upstream_flag *f)
{
	switch (f->kind) {
	case UPSTREAM_BOOL:
		return f->use == UPSTREAM_MISSING ? "false" : "true";
	case UPSTREAM_OFF:
		return "false";
	case UPSTREAM_TEXT:
		if (f->use == UPSTREAM_MISSING)
			return f->fallback;
		if (str_is_equal(f->name, "tls-min-version"))
			return "VersionTLS13";
		return str_is_equal(f->name, "http-endpoint") ? ":8080" : "/x";
	case UPSTREAM_COUNT:
	case UPSTREAM_THREADS:
	case UPSTREAM_LEVEL:
	case UPSTREAM_CUT:
		return "7";
	case UPSTREAM_INT:
	case UPSTREAM_SIGNED:
		return "-1";
	case UPSTREAM_RATE:
		return "2.5";
	case UPSTREAM_TIME:
	case UPSTREAM_FLUSH:
		return "1m30s";
	case UPSTREAM_GATES:
		return "AllAlpha=true,ReleaseLeaderElectionOnExit=true";
	case UPSTREAM_LABELS:
		return "a:x,b:y";
	case UPSTREAM_MODULES:
		return "main=2,con*=5";
	case UPSTREAM_FORMAT:
		return "json";
	case UPSTREAM_NO_SIZE:
		return "0";
	}
	return "";
}

/* NULL: a value that no parser of the kind refuses is none. */
static const char *bad_value(const struct upstream_flag *f)
{
	switch (f->kind) {
	case UPSTREAM_TEXT:
	case UPSTREAM_FORMAT:
		return NULL;
	case UPSTREAM_GATES:
	case UPSTREAM_LABELS:
	case UPSTREAM_MODULES:
		return "nothing";
	default:
		return "soon";
	}
}

static const struct controller_row *row_of(const struct upstream_program *p)
{
	for (size_t i = 0; i < n_controller_rows; i++)
		if (str_is_equal(controller_rows[i].program, p->name))
			return &controller_rows[i];
	return NULL;
}

/* What is left must be options of the program that does the work. */
static void check_ours(const struct upstream_program *p, const struct upstream_line *line)
{
	const struct controller_row *row = row_of(p);
	const struct cmd *cmd = row                                      ? &cmd_controller
				: str_is_equal(p->name, "livenessprobe") ? &cmd_livenessprobe
				: str_is_equal(p->name, "cephcsi")       ? &cmd_cephcsi
				: str_is_equal(p->name, "csi-snapshot-metadata")
					? &cmd_snapshot_metadata
					: &cmd_registrar;
	char **args = row ? controller_args(row, (const char *const *)line->args) : line->args;
	char opts[OPTIONS_MAX] __attribute__((aligned(16)));
	char **rest;
	int n_rest, argc = 0;
	struct err err;

	while (args[argc])
		argc++;
	ASSERT_OK(opt_parse(cmd->options, opts, argc, args, &rest, &n_rest, &err), &err);
	ASSERT_EQ(n_rest, 0);
	opt_done(cmd->options, opts);
	if (row)
		controller_args_free(args);
}

/* The exit code; what was taken went to our options. */
static int run(const struct upstream_program *p, const char *const *words, char said[ERR_MSG_MAX])
{
	const char *argv[80] = { p->name };
	struct upstream_line line;
	struct err err = { 0 };
	size_t n = 1;
	int r;

	for (; words[n - 1]; n++)
		argv[n] = words[n - 1];
	r = upstream_parse(p, argv, &line, &err);
	(void)snprintf(said, ERR_MSG_MAX, "%s", r ? err.msg : str_get(&line.remarks));
	if (r == 0) {
		check_ours(p, &line);
		upstream_line_done(&line);
	}
	return r;
}

#define RUN(program, said, ...) \
	run(upstream_find(program), (const char *const[]){ __VA_ARGS__, NULL }, said)

TEST(the_tables_have_every_flag_of_the_newest_releases)
{
	ASSERT_EQ(ARRAY_LEN(newest), n_upstream_programs);
	for (size_t i = 0; i < ARRAY_LEN(newest); i++) {
		const struct upstream_program *p = upstream_find(newest[i].program);
		const struct upstream_flag *f;
		size_t n = 0, n_known = 0;

		ASSERT_TRUE(p);
		for (const char *at = newest[i].names; *at;
		     at += strcspn(at, " "), at += *at == ' ') {
			size_t len = strcspn(at, " ");
			bool found = false;

			for (size_t k = 0; (f = upstream_flag_at(p, k)); k++)
				found |= strlen(f->name) == len && strncmp(f->name, at, len) == 0 &&
					 f->use != UPSTREAM_GONE;
			if (!found)
				fail_msg("%s: --%.*s is not there", p->name, (int)len, at);
			n++;
		}
		for (size_t k = 0; (f = upstream_flag_at(p, k)); k++)
			n_known += f->use != UPSTREAM_GONE;
		ASSERT_EQ(n_known, n);
	}
}

TEST(every_flag_is_taken_and_ends_in_options_of_ours)
{
	char said[ERR_MSG_MAX];
	const struct upstream_flag *f;

	for (size_t i = 0; i < n_upstream_programs; i++) {
		const struct upstream_program *p = &upstream_programs[i];

		for (size_t k = 0; (f = upstream_flag_at(p, k)); k++) {
			autofree char *word = xasprintf("--%s=%s", f->name, good_value(f));
			autofree char *dash = xasprintf("-%s", f->name);

			if (RUN(p->name, said, word) != 0)
				fail_msg("%s %s: %s", p->name, word, said);
			if (f->use == UPSTREAM_IDLE || f->use == UPSTREAM_GONE)
				ASSERT_TRUE(strstr(said, f->name));
			if (f->kind == UPSTREAM_BOOL || f->kind == UPSTREAM_OFF)
				continue;
			ASSERT_EQ(RUN(p->name, said, dash, good_value(f)), 0);
			ASSERT_EQ(RUN(p->name, said, dash), 2);
			if (!bad_value(f))
				continue;
			ASSERT_EQ(RUN(p->name, said, dash, bad_value(f)), 2);
			ASSERT_TRUE(strstr(said, f->name) && strstr(said, bad_value(f)));
		}
	}
}

TEST(wrong_lines_end_as_upstream_ends)
{
	/* clang-format off */
	static const struct {
		const char *program, *words[3];
		int exit;
		const char *said;
	} cases[] = {
		{ "csi-attacher", { "--nope" }, 2, "'--nope'" },
		{ "csi-attacher", { "--timeot=1s" }, 2, "did you mean '--timeout'" },
		{ "csi-attacher", { "--leader-election=maybe" }, 2, "maybe" },
		{ "csi-attacher", { "--kube-api-qps=1e" }, 2, "kube-api-qps" },
		{ "csi-attacher", { "--kube-api-qps=inf" }, 2, "kube-api-qps" },
		{ "csi-attacher", { "--logging-format=xml" }, 1, "xml" },
		{ "csi-attacher", { "--log-text-split-stream" }, 1, "LoggingAlphaOptions" },
		{ "csi-attacher", { "--log-json-info-buffer-size=4Ki" }, 1, "LoggingAlphaOptions" },
		{ "csi-attacher", { "--log-flush-frequency=0s" }, 1, "above 0" },
		{ "csi-attacher", { "--vmodule=a=1", "--logging-format=json" }, 1, "--vmodule" },
		{ "csi-attacher", { "--http-endpoint=:1", "--metrics-address=:2" }, 1, "exclude" },
		{ "csi-attacher", { "--feature-gates=Nope=true" }, 1, "'Nope'" },
		{ "csi-attacher", { "--feature-gates=DeclarativeValidation=false" }, 1, "locked to true" },
		{ "csi-attacher", { "--feature-gates=Topology=true" }, 1, "'Topology'" },
		{ "csi-resizer", { "--feature-gates=AnnotateFsResize=false,Nope=true" }, 1, "'Nope'" },
		{ "csi-resizer", { "--feature-gates=RecoverVolumeExpansionFailure=false" }, 1, "locked" },
		{ "csi-provisioner", { "--feature-gates=Nope=true" }, 255, "'Nope'" },
		{ "csi-snapshotter", { "--feature-gates=Nope=true" }, 255, "'Nope'" },
		{ "snapshot-controller", { "--feature-gates=Nope=true" }, 255, "'Nope'" },
		{ "csi-provisioner", { "--volume-name-uuid-length=33" }, 1, "from 1 to 32" },
		{ "csi-provisioner", { "--volume-name-uuid-length=0" }, 1, "from 1 to 32" },
		{ "snapshot-controller", { "--csi-address=/x" }, 2, "--csi-address" },
		{ "livenessprobe", { "--http-endpoint=:1", "--health-port=9" }, 1, "exclude" },
		{ "livenessprobe", { "--feature-gates=A=true" }, 2, "feature-gates" },
		{ "csi-provisioner", { "--controllers=attacher" }, 2, "--controllers" },
		{ "csi-provisioner", { "--=x" }, 2, "'--'" },
	};
	/* clang-format on */
	char said[ERR_MSG_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int r = run(upstream_find(cases[i].program), cases[i].words, said);

		if (r != cases[i].exit || !strstr(said, cases[i].said))
			fail_msg("%s %s: %d, %s", cases[i].program, cases[i].words[0], r, said);
	}
}

/* The value of our option after a line of upstream's; "" without it. */
static const char *ours(const char *program, const char *option, const char *const *words)
{
	static char value[128];
	const struct upstream_program *p = upstream_find(program);
	const char *argv[8] = { program };
	struct upstream_line line;
	struct err err;
	char **args;

	for (size_t n = 1; words[n - 1]; n++)
		argv[n] = words[n - 1];
	ASSERT_EQ(upstream_parse(p, argv, &line, &err), 0);
	args = controller_args(row_of(p), (const char *const *)line.args);
	value[0] = '\0';
	for (size_t i = 1; args[i]; i++)
		if (str_has_prefix(args[i], option) && args[i][strlen(option)] == '=')
			(void)snprintf(value, sizeof(value), "%s", args[i] + strlen(option) + 1);
	controller_args_free(args);
	upstream_line_done(&line);
	return value;
}

#define OURS(program, option, ...) \
	ours(program, option, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

TEST(values_become_ours)
{
	ASSERT_STR(OURS("csi-provisioner", "--worker-threads"), "100");
	ASSERT_STR(OURS("csi-attacher", "--worker-threads"), "10");
	ASSERT_STR(OURS("csi-resizer", "--worker-threads", "-workers", "4"), "4");
	ASSERT_STR(OURS("csi-attacher", "--worker-threads", "--worker-threads=1000"), "256");
	ASSERT_STR(OURS("csi-attacher", "--kube-api-qps"), "");
	ASSERT_STR(OURS("csi-attacher", "--kube-api-qps", "--kube-api-qps=0.2"), "1");
	ASSERT_STR(OURS("csi-attacher", "--kube-api-qps", "--kube-api-qps=-1"), "0");
	ASSERT_STR(OURS("csi-attacher", "--kube-api-qps", "--kube-api-qps=1e3"), "1000");
	ASSERT_STR(OURS("csi-attacher", "--v", "-v=99"), "10");
	ASSERT_STR(OURS("csi-attacher", "--http-endpoint", "--metrics-address=:8080"), ":8080");
	ASSERT_STR(OURS("csi-attacher", "--attacher-max-entries", "--max-entries=-3"), "0");
	ASSERT_STR(OURS("csi-snapshotter", "--snapshotter-name-uuid-length",
			"--snapshot-name-uuid-length=-1"),
		   "0");
	ASSERT_STR(OURS("csi-provisioner", "--topology", "--feature-gates=Topology=false"),
		   "false");
	ASSERT_STR(OURS("csi-provisioner", "--topology", "--feature-gates=Topology=false",
			"--feature-gates=Topology=true"),
		   "true");
	ASSERT_STR(OURS("csi-resizer", "--volume-attributes-class",
			"--feature-gates=VolumeAttributesClass=false"),
		   "false");
	ASSERT_STR(OURS("csi-snapshotter", "--group-snapshots",
			"--feature-gates=CSIVolumeGroupSnapshot=false"),
		   "false");
	/* Of the resizer --timeout goes before what is more exact. */
	ASSERT_STR(OURS("csi-resizer", "--resizer-resize-timeout", "--resize-timeout=3s"), "3s");
	ASSERT_STR(OURS("csi-resizer", "--resizer-resize-timeout", "--resize-timeout=3s",
			"--timeout=9s"),
		   "");
	ASSERT_STR(OURS("csi-resizer", "--timeout", "--timeout=9s"), "9s");
}

TEST(of_several_the_last_counts_and_maps_grow)
{
	ASSERT_STR(OURS("csi-attacher", "--v", "--v=1", "-v", "4"), "4");
	ASSERT_STR(OURS("csi-attacher", "--leader-election", "--leader-election",
			"--leader-election=f"),
		   "f");
	ASSERT_STR(OURS("csi-attacher", "--leader-election-labels", "--leader-election-labels=a:x",
			"--leader-election-labels=b:y"),
		   "a:x,b:y");
}

TEST(a_word_that_is_no_option_ends_them_where_it_does_so_upstream)
{
	char said[ERR_MSG_MAX];

	ASSERT_EQ(RUN("csi-attacher", said, "word", "--nope"), 0);
	ASSERT_TRUE(strstr(said, "'word' is no option: it and all behind it"));
	ASSERT_EQ(RUN("csi-provisioner", said, "word", "--nope"), 2);
	ASSERT_EQ(RUN("csi-provisioner", said, "word", "--v=3"), 0);
	ASSERT_TRUE(strstr(said, "passed over"));
	ASSERT_EQ(RUN("csi-attacher", said, "--", "--nope"), 0);
	/* "--leader-election true": a bool takes no word. */
	ASSERT_STR(OURS("csi-attacher", "--v", "--leader-election", "true", "--v=4"), "");
}

TEST(help_names_every_flag_and_gate)
{
	for (size_t i = 0; i < n_upstream_programs; i++) {
		const struct upstream_program *p = &upstream_programs[i];
		autostr struct str out = STR_INIT;
		const struct upstream_flag *f;
		struct upstream_line line;
		struct err err;

		ASSERT_EQ(upstream_parse(p, (const char *const[]){ p->name, "-h", "--nope", NULL },
					 &line, &err),
			  0);
		ASSERT_TRUE(line.is_help);
		upstream_line_done(&line);
		upstream_help(p, &out);
		for (size_t k = 0; (f = upstream_flag_at(p, k)); k++)
			ASSERT_TRUE(strstr(str_get(&out), f->name));
		for (const struct upstream_gate *g = p->gates; g && g->name; g++)
			ASSERT_TRUE(strstr(str_get(&out), g->name));
	}
}

TEST(what_vendors_write_is_taken)
{
	/* clang-format off */
	static const struct {
		const char *program, *words[12];
	} cases[] = {
		/* ceph-csi */
		{ "csi-provisioner", { "--csi-address=unix:///csi/csi-provisioner.sock", "--v=1", "--timeout=150s",
		  "--retry-interval-start=500ms", "--leader-election=true", "--feature-gates=HonorPVReclaimPolicy=true",
		  "--prevent-volume-mode-conversion=true", "--default-fstype=ext4", "--extra-create-metadata=true",
		  "--immediate-topology=false" } },
		{ "csi-snapshotter", { "--csi-address=unix:///csi/csi-provisioner.sock", "--v=1", "--timeout=150s",
		  "--leader-election=true", "--extra-create-metadata=true", "--enable-volume-group-snapshots=true" } },
		{ "csi-attacher", { "--v=1", "--csi-address=/csi/csi-provisioner.sock", "--leader-election=true",
		  "--retry-interval-start=500ms", "--default-fstype=ext4" } },
		{ "csi-resizer", { "--csi-address=unix:///csi/csi-provisioner.sock", "--v=1", "--timeout=150s", "--leader-election",
		  "--retry-interval-start=500ms", "--handle-volume-inuse-error=false",
		  "--feature-gates=RecoverVolumeExpansionFailure=true" } },
		/* hostpath */
		{ "csi-provisioner", { "-v=5", "--csi-address=/csi/csi.sock", "--feature-gates=Topology=true" } },
		{ "csi-resizer", { "-v=5", "-csi-address=/csi/csi.sock" } },
		{ "csi-snapshotter", { "-v=5", "--csi-address=/csi/csi.sock" } },
		{ "livenessprobe", { "--csi-address=/csi/csi.sock", "--health-port=9898" } },
		{ "csi-node-driver-registrar", { "--v=5", "--csi-address=/csi/csi.sock",
		  "--kubelet-registration-path=/var/lib/kubelet/plugins/csi-hostpath/csi.sock" } },
		/* aws-ebs, nfs */
		{ "csi-provisioner", { "--timeout=60s", "--csi-address=/csi/csi.sock", "--v=2", "--feature-gates=Topology=true",
		  "--extra-create-metadata", "--leader-election=true", "--default-fstype=ext4", "--kube-api-qps=20",
		  "--kube-api-burst=100", "--worker-threads=100", "--retry-interval-max=30m" } },
		{ "csi-node-driver-registrar", { "--csi-address=/csi/csi.sock", "--kubelet-registration-path=/x/csi.sock",
		  "--http-endpoint=localhost:19809", "--v=2" } },
		{ "snapshot-controller", { "--v=5", "--leader-election=true" } },
	};
	/* clang-format on */
	char said[ERR_MSG_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (run(upstream_find(cases[i].program), cases[i].words, said) != 0)
			fail_msg("%s: %s", cases[i].program, said);
}

TEST(leases_are_called_as_upstream_calls_them)
{
	static const struct {
		const char *program, *driver, *lease;
	} cases[] = {
		{ "csi-provisioner", "rbd.csi.ceph.com", "rbd-csi-ceph-com" },
		{ "csi-attacher", "rbd.csi.ceph.com", "external-attacher-leader-rbd-csi-ceph-com" },
		{ "csi-resizer", "hostpath.csi.k8s.io", "external-resizer-hostpath-csi-k8s-io" },
		{ "csi-snapshotter", "a_b", "external-snapshotter-leader-a-b" },
		{ "csi-resizer", "odd.", "external-resizer-odd-X" },
		{ "snapshot-controller", "whatever", "snapshot-controller-leader" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char name[CONTROLLER_LEASE_MAX];

		controller_lease_name(row_of(upstream_find(cases[i].program)), cases[i].driver,
				      name);
		ASSERT_STR(name, cases[i].lease);
	}
}

RUN_TESTS(UNIT(the_tables_have_every_flag_of_the_newest_releases),
	  UNIT(every_flag_is_taken_and_ends_in_options_of_ours),
	  UNIT(wrong_lines_end_as_upstream_ends), UNIT(values_become_ours),
	  UNIT(of_several_the_last_counts_and_maps_grow),
	  UNIT(a_word_that_is_no_option_ends_them_where_it_does_so_upstream),
	  UNIT(help_names_every_flag_and_gate), UNIT(what_vendors_write_is_taken),
	  UNIT(leases_are_called_as_upstream_calls_them))
