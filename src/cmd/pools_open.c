/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pools_open - from configurations to an opened registry, and its figures
 *
 * A pool that cannot be served ends the process with the reason: a driver that quietly serves the
 * rest would make volumes vanish from the cluster. Damaged files in a pool are told and left alone.
 */
#include <errno.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "cmd/pools.h"

static void log_pool(const struct backend_config *config, const struct backend_info *info)
{
	log_info("pool opened", log_str("pool", config->name), log_str("backend", config->kind),
		 log_str("path", config->dir), log_u64("totalBytes", info->total_bytes),
		 log_u64("availableBytes", info->available_bytes),
		 log_u64("volumes", info->n_volumes));
	if (info->n_damaged > 0)
		log_warn("pool holds files that claim to be volumes but are not whole; they are "
			 "left alone",
			 log_str("pool", config->name), log_u64("damaged", info->n_damaged));
}

/* An image is mounted on a directory of cleat's own beside it. */
static int make_mount_point(const struct backend_config *config, struct err *err)
{
	if (!config->image || mkdir(config->dir, 0700) == 0 || errno == EEXIST)
		return 0;
	return err_os(err, ERR_FAILED_PRECONDITION, errno, "make '%s' to mount '%s' on",
		      config->dir, config->image);
}

int pools_open(struct registry *registry, struct ctx *ctx, const struct backend_config *configs,
	       size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct backend_info info;

		if (make_mount_point(&configs[i], err) < 0 ||
		    registry_open(registry, ctx, &configs[i], err) < 0 ||
		    backend_info(registry_find_name(registry, configs[i].name), ctx, &info, err) <
			    0)
			return -1;
		log_pool(&configs[i], &info);
	}
	return 0;
}

void pools_forget_mount_points(const struct backend_config *configs, size_t n)
{
	/* Fails where volumes are still in use and the image thus mounted, which is as it should
	 * be. */
	for (size_t i = 0; i < n; i++) {
		if (configs[i].image)
			(void)rmdir(configs[i].dir);
	}
}

void pools_set_gauges(void *arg)
{
	struct registry *registry = arg;

	for (size_t i = 0; i < registry_count(registry); i++) {
		struct backend_info info;
		struct ctx ctx;
		struct err err;

		ctx_init(&ctx, NS_PER_S);
		if (backend_info(registry_at(registry, i), &ctx, &info, &err) == 0) {
			const char *const labels[] = { info.name };

			metric_set(METRIC_POOL_CAPACITY, (double)info.total_bytes, labels);
			metric_set(METRIC_POOL_AVAILABLE, (double)info.available_bytes, labels);
			metric_set(METRIC_POOL_VOLUMES, (double)info.n_volumes, labels);
			metric_set(METRIC_POOL_DAMAGED, (double)info.n_damaged, labels);
		}
		ctx_done(&ctx);
	}
}
