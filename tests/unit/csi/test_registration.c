/* SPDX-License-Identifier: Apache-2.0 */
/* What kubelet is told, and what is remembered of its answer. */
#include "csi/registration.h"

#include "base/mem.h"
#include "check.h"
#include "fake_grpc.h"

#include <stdlib.h>
#include <sys/stat.h>

static struct csi_registration *begin(void)
{
	struct csi_registration_options opts = {
		"pool.cleat.csi", "/var/lib/kubelet/plugins/pool.cleat.csi/csi.sock"
	};
	struct csi_registration *r;
	struct err err;

	fake_grpc_reset();
	ASSERT_OK(csi_registration_new(fake_grpc_server(), &opts, &r, &err), &err);
	return r;
}

static bool holds(const uint8_t *bytes, size_t n, const char *text)
{
	return memmem(bytes, n, text, strlen(text)) != NULL;
}

TEST(get_info_tells_type_name_endpoint_and_version)
{
	struct csi_registration *r = begin();
	const uint8_t *reply;
	struct ctx ctx;
	struct err err;
	size_t n;

	ctx_init(&ctx, 0);
	ASSERT_OK(grpc_channel_call(fake_grpc_channel(), &ctx,
				    "/pluginregistration.Registration/GetInfo", NULL, 0, &reply, &n,
				    &err),
		  &err);
	/* Fields 1 to 4, each a length-delimited string. */
	ASSERT_TRUE(holds(reply, n,
			  "\x0a\x09"
			  "CSIPlugin"));
	ASSERT_TRUE(holds(reply, n,
			  "\x12\x0e"
			  "pool.cleat.csi"));
	ASSERT_TRUE(holds(reply, n, "\x1a\x30/var/lib/kubelet/plugins/pool.cleat.csi/csi.sock"));
	ASSERT_TRUE(holds(reply, n,
			  "\x22\x05"
			  "1.0.0"));
	ctx_done(&ctx);
	csi_registration_free(r);
}

TEST(the_last_word_of_kubelet_counts)
{
	static const char path[] = "/pluginregistration.Registration/NotifyRegistrationStatus";
	struct csi_registration *r = begin();
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, 0);
	ASSERT_FALSE(csi_registration_is_registered(r));
	ASSERT_OK(fake_grpc_call(&ctx, path, "\x08\x01", 2, &err), &err);
	ASSERT_TRUE(csi_registration_is_registered(r));
	ASSERT_OK(fake_grpc_call(&ctx, path, "\x12\x03why", 5, &err), &err);
	ASSERT_FALSE(csi_registration_is_registered(r));
	ASSERT_ERR(fake_grpc_call(&ctx, path, "\x08", 1, &err), &err, ERR_INTERNAL, "varint");
	ctx_done(&ctx);
	csi_registration_free(r);
}

TEST(an_endpoint_that_kubelet_cannot_dial_is_refused)
{
	struct csi_registration_options opts = { "d", "csi.sock" };
	struct csi_registration *r;
	struct err err;

	fake_grpc_reset();
	ASSERT_ERR(csi_registration_new(fake_grpc_server(), &opts, &r, &err), &err,
		   ERR_INVALID_ARGUMENT, "csi.sock");
}

TEST(a_directory_that_is_not_kubelets_is_refused_by_name)
{
	char dir[] = "/tmp/cleat-unit-XXXXXX";
	autofree char *registry = NULL;
	struct err err;

	assert_non_null(mkdtemp(dir));
	registry = xasprintf("%s/plugins_registry", dir);
	ASSERT_ERR(csi_registration_check_dir(dir, &err), &err, ERR_FAILED_PRECONDITION,
		   "plugins_registry");
	ASSERT_EQ(mkdir(registry, 0700), 0);
	ASSERT_ERR(csi_registration_check_dir(dir, &err), &err, ERR_FAILED_PRECONDITION,
		   "/plugins' is no directory");
	ASSERT_ERR(csi_registration_check_dir("relative", &err), &err, ERR_FAILED_PRECONDITION,
		   "clean absolute path");
	ASSERT_EQ(rmdir(registry), 0);
	ASSERT_EQ(rmdir(dir), 0);
}

RUN_TESTS(UNIT(get_info_tells_type_name_endpoint_and_version),
	  UNIT(the_last_word_of_kubelet_counts),
	  UNIT(an_endpoint_that_kubelet_cannot_dial_is_refused),
	  UNIT(a_directory_that_is_not_kubelets_is_refused_by_name))
