/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator said of pools reaches the router, and the log hears of each change, once. The
 * timer is made up here; the API is tests/fake's, the router the real one. */
#include "check.h"

#include "base/ctx.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/fleet.h"
#include "cmd/fleet_forget.h"
#include "cmd/periodic.h"
#include "csi/router-internal.h"
#include "csi/router.h"
#include "fake/kube.h"

#include <string.h>

#define LEASE "/apis/coordination.k8s.io/v1/namespaces/ns/leases/journal"
#define FIRST "11111111-1111-4111-8111-111111111111"
#define SECOND "22222222-2222-4222-8222-222222222222"

/* ---- in place of the fleet and the timer ---- */

static struct csi_router *router;
static struct periodic_options looks;

bool fleet_forget(struct fleet *f, const struct uuid *pools, size_t n)
{
	(void)f;
	return csi_router_forget(router, pools, n);
}

struct periodic *periodic_new(const struct periodic_options *opts)
{
	looks = *opts;
	return NULL;
}

int periodic_stop(struct periodic *p, int64_t timeout_ns)
{
	(void)p;
	(void)timeout_ns;
	return 0;
}

void periodic_free(struct periodic *p)
{
	(void)p;
}

/* ---- */

static unsigned n_told, n_missing;

static void count_line(void *arg, const char *line)
{
	(void)arg;
	n_told += strstr(line, "pools were forgotten, or remembered again") != NULL;
}

static void say(const char *pool)
{
	autofree char *text =
		xasprintf("{\"kind\":\"Lease\",\"metadata\":{\"name\":\"journal\",\"annotations\":{"
			  "\"forgotten.cleat.csi/%s\":\"2026\"}}}",
			  pool);

	fake_put(LEASE, text);
}

static void say_too(const char *pool)
{
	autofree char *patch = xasprintf(
		"{\"metadata\":{\"annotations\":{\"forgotten.cleat.csi/%s\":\"2026\"}}}", pool);

	fake_merge(LEASE, patch);
}

static unsigned told_by_a_look(void)
{
	struct ctx ctx;

	n_told = 0;
	ctx_init(&ctx, looks.timeout_ns);
	looks.run(looks.arg, &ctx);
	ctx_done(&ctx);
	return n_told;
}

TEST(each_change_is_told_once)
{
	struct fleet_forget *f;

	log_set_sink(count_line, NULL);
	fake_reset();
	router = csi_router_new(&(const struct csi_router_options){ 0 });
	f = fleet_forget_new(&(const struct fleet_forget_options){ .ns = "ns", .name = "journal" });
	ASSERT_EQ(told_by_a_look(), 0); /* nothing is said yet */
	say(FIRST);
	ASSERT_EQ(told_by_a_look(), 1);
	ASSERT_EQ(told_by_a_look(), 0);
	say(SECOND); /* and the first is remembered: as many as before */
	ASSERT_EQ(told_by_a_look(), 1);
	fake_set_plan((struct fake_plan){ .at = 1, .fault = FAKE_FAIL, .code = ERR_UNAVAILABLE });
	ASSERT_EQ(told_by_a_look(), 0); /* what cannot be read stays as it was */
	ASSERT_EQ(told_by_a_look(), 0);
	fake_delete(LEASE);
	ASSERT_EQ(told_by_a_look(), 0); /* nobody has remembered one */
	fleet_forget_free(f);
	csi_router_free(router);
}

static void find_lost(void *arg, const char *line)
{
	(void)arg;
	n_told += strstr(line, "is served again") && strstr(line, SECOND);
	n_missing += strstr(line, "they stay so until there is one again") != NULL;
}

static bool is_forgotten(const char *pool)
{
	struct uuid id;

	assert_int_equal(uuid_parse(pool, &id), 0);
	return csi_router_has_forgotten(router, &id);
}

TEST(a_lease_that_was_removed_remembers_nothing_and_what_the_next_one_lacks_is_told)
{
	struct fleet_forget *f;

	n_missing = 0;
	log_set_sink(find_lost, NULL);
	fake_reset();
	router = csi_router_new(&(const struct csi_router_options){ 0 });
	f = fleet_forget_new(&(const struct fleet_forget_options){ .ns = "ns", .name = "journal" });
	ASSERT_EQ(told_by_a_look(), 0);
	ASSERT_EQ(n_missing, 0); /* of a Lease that never was */
	say(FIRST);
	say_too(SECOND);
	(void)told_by_a_look();
	fake_delete(LEASE);
	(void)told_by_a_look();
	(void)told_by_a_look();
	ASSERT_EQ(n_missing, 1);
	ASSERT_TRUE(is_forgotten(FIRST) && is_forgotten(SECOND));
	say(FIRST); /* by the journal, which had not seen the second */
	ASSERT_EQ(told_by_a_look(), 1);
	ASSERT_TRUE(is_forgotten(FIRST));
	ASSERT_FALSE(is_forgotten(SECOND));
	ASSERT_EQ(told_by_a_look(), 0);
	say_too(SECOND);
	(void)told_by_a_look();
	fake_merge(LEASE, "{\"metadata\":{\"annotations\":null}}"); /* meant so */
	ASSERT_EQ(told_by_a_look(), 0);
	ASSERT_FALSE(is_forgotten(SECOND));
	fleet_forget_free(f);
	csi_router_free(router);
}

RUN_TESTS(UNIT(each_change_is_told_once),
	  UNIT(a_lease_that_was_removed_remembers_nothing_and_what_the_next_one_lacks_is_told))
