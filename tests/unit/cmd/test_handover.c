/* SPDX-License-Identifier: Apache-2.0 */
/* cleat ctl handover: who must be stopped before, and that what is left goes whatever step fails.
 */
#include "check.h"

#include "base/clock.h"
#include "base/ctx.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/ctl.h"
#include "fake/kube.h"

#include <string.h>

#define DRIVER "pool.cleat.csi"
#define LEASES "/apis/coordination.k8s.io/v1/namespaces/default/leases/"
#define OWN "cleat-pool-cleat-csi"
#define THEIRS "pool-cleat-csi"

static void put_lease(const char *name, const char *holder, bool is_current)
{
	autofree char *path = xasprintf(LEASES "%s", name);
	autofree char *text = NULL;
	char then[CLOCK_TEXT_MAX];

	clock_format_micro(clock_wall_ns() - (is_current ? 0 : 3600 * NS_PER_S), then);
	text = xasprintf("{\"kind\":\"Lease\",\"metadata\":{\"name\":\"%s\",\"namespace\":"
			 "\"default\"},\"spec\":{\"holderIdentity\":\"%s\",\"renewTime\":\"%s\"}}",
			 name, holder, then);
	fake_put(path, text);
}

static int run(const char *verb, struct str *out, struct err *err)
{
	const struct ctl_options opts = { .yes = true, .name_prefix = "pvc" };
	const struct ctl_verb *v = ctl_handover_verbs;
	struct ctl ctl = { .opts = &opts, .id = DRIVER, .out = out };
	struct ctx ctx;
	int r;

	while (!str_is_equal(v->name, verb))
		v++;
	ctx_init(&ctx, 0);
	ctl.ctx = &ctx;
	r = v->run(&ctl, err);
	ctx_done(&ctx);
	return r;
}

static bool has(const char *name)
{
	autofree char *path = xasprintf(LEASES "%s", name);

	return fake_has(path);
}

/* Of a cleat controller that was stopped. */
static void put_what_is_left(void)
{
	fake_reset();
	put_lease(OWN, "cleat-0", false);
	put_lease(OWN "-early", "cleat-0", false);
	put_lease(OWN "-intents", "cleat-0", false);
	put_lease(OWN "-intents-n1", "cleat-n1", false);
	put_lease("cleat-another", "cleat-0", true);
	put_lease("another", "cleat-0", true);
}

static bool is_left(void)
{
	return has(OWN) || has(OWN "-early") || has(OWN "-intents") || has(OWN "-intents-n1");
}

TEST(while_one_of_cleats_leads_nothing_goes)
{
	static const struct {
		const char *lease, *holder, *says; /* NULL: nothing is in the way */
	} cases[] = {
		{ OWN, "cleat-1", "'cleat-1' leads and works" },
		{ OWN "-early", "cleat-1", "'cleat-1' leads and works" },
		{ THEIRS, "cleat-0", "'cleat-0' leads by Lease '" THEIRS "'" },
		{ THEIRS, "cleat-n1", "'cleat-n1' leads by Lease '" THEIRS "'" },
		{ THEIRS, "upstream-0", NULL },
		{ "external-attacher-leader-" THEIRS, "cleat-0", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autostr struct str out = STR_INIT;
		struct err err;
		int r;

		put_what_is_left();
		put_lease(cases[i].lease, cases[i].holder, true);
		r = run("finish", &out, &err);
		if (!cases[i].says) {
			ASSERT_OK(r, &err);
			ASSERT_FALSE(is_left());
			ASSERT_TRUE(has(cases[i].lease));
			continue;
		}
		ASSERT_ERR(r, &err, ERR_FAILED_PRECONDITION, cases[i].says);
		ASSERT_TRUE(has(OWN) && has(OWN "-early") && has(OWN "-intents"));
		ASSERT_EQ(run("show", &out, &err), -1);
	}
}

TEST(what_is_left_goes_and_nothing_else_does)
{
	autostr struct str out = STR_INIT;
	struct err err;

	put_what_is_left();
	ASSERT_OK(run("show", &out, &err), &err);
	ASSERT_TRUE(strstr(str_get(&out), "would delete lease default/" OWN "-early\n"));
	ASSERT_TRUE(is_left());
	ASSERT_OK(run("finish", &out, &err), &err);
	ASSERT_TRUE(strstr(str_get(&out), "deleted lease default/" OWN "-early\n"));
	ASSERT_FALSE(is_left());
	ASSERT_TRUE(has("cleat-another") && has("another"));
	ASSERT_OK(run("finish", &out, &err), &err);
	ASSERT_TRUE(strstr(str_get(&out), "nothing of cleat's is left"));
}

/* At whatever step it fails or is killed, the same call again ends it. */
TEST(whatever_step_fails_the_same_again_ends_it)
{
	static const enum fake_fault faults[] = { FAKE_FAIL, FAKE_LOSE, FAKE_KILL,
						  FAKE_KILL_AFTER };

	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		unsigned at = 0, n_steps;

		do {
			autostr struct str out = STR_INIT;
			struct err err;

			at++;
			put_what_is_left();
			fake_set_plan((struct fake_plan){
				.at = at, .fault = faults[i], .code = ERR_UNAVAILABLE });
			(void)run("finish", &out, &err);
			n_steps = fake_steps();
			fake_set_plan((struct fake_plan){ 0 });
			ASSERT_OK(run("finish", &out, &err), &err);
			ASSERT_FALSE(is_left());
		} while (n_steps >= at);
		ASSERT_TRUE(at > 6);
	}
}

RUN_TESTS(UNIT(while_one_of_cleats_leads_nothing_goes),
	  UNIT(what_is_left_goes_and_nothing_else_does),
	  UNIT(whatever_step_fails_the_same_again_ends_it))
