/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pools_open - from configurations to an opened registry, and its figures
 *
 * A pool that cannot be served does not keep the others from it: it is named, and tried again while
 * the process lives (pools_watch.c). The process ends with the reason when two contradict each
 * other, or when none can be served and it has nothing else to do: a node still takes down what is
 * mounted there. Damaged files in a pool are told and left alone.
 */
#include <errno.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/str.h"
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

int pools_try(struct registry *registry, struct ctx *ctx, const struct backend_config *config,
	      struct err *err)
{
	struct backend_info info;
	struct err info_err;

	if (make_mount_point(config, err) < 0 || registry_open(registry, ctx, config, err) < 0)
		return -1;
	if (backend_info(registry_at(registry, registry_count(registry) - 1), ctx, &info,
			 &info_err) == 0)
		log_pool(config, &info);
	else
		log_warn("pool opened, but it does not answer", log_str("pool", config->name),
			 log_err(&info_err));
	return 0;
}

int pools_open(struct registry *registry, struct ctx *ctx, const struct backend_config *configs,
	       size_t n, bool may_be_none, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (pools_try(registry, ctx, &configs[i], err) == 0)
			continue;
		if ((n == 1 && !may_be_none) || err->code == ERR_INVALID_ARGUMENT ||
		    err->code == ERR_ALREADY_EXISTS)
			return -1;
		log_error("pool cannot be served; it is tried again until it can",
			  log_str("pool", configs[i].name), log_str("path", configs[i].dir),
			  log_err(err));
		registry_miss(registry, &configs[i], err->msg);
	}
	return may_be_none || registry_count(registry) > 0 ? 0 : -1;
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

/* The over-commit is the process's, but kinds without thin volumes have none. */
static void add_thin(const struct backend_thin *thin, struct backend_thin *sum)
{
	if (thin->overcommit > sum->overcommit)
		sum->overcommit = thin->overcommit;
	sum->n_volumes += thin->n_volumes;
	sum->bytes += thin->bytes;
	sum->used_bytes += thin->used_bytes;
	sum->max_bytes += thin->max_bytes;
}

/* Added to what others of the name have. */
static void add_info(struct backend *b, struct backend_info *sum)
{
	struct backend_info info;
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, NS_PER_S);
	if (backend_info(b, &ctx, &info, &err) == 0) {
		sum->total_bytes += info.total_bytes;
		sum->available_bytes += info.available_bytes;
		sum->n_volumes += info.n_volumes;
		sum->n_damaged += info.n_damaged;
		sum->reserved_bytes += info.reserved_bytes;
		sum->overdrawn_bytes += info.overdrawn_bytes;
		add_thin(&info.thin, &sum->thin);
		sum->name = b->pool_name;
	}
	ctx_done(&ctx);
}

static void set_thin_gauges(const struct backend_thin *thin, const char *const *labels)
{
	metric_set(METRIC_POOL_OVERCOMMIT, thin->overcommit / 100.0, labels);
	metric_set(METRIC_POOL_THIN_VOLUMES, (double)thin->n_volumes, labels);
	metric_set(METRIC_POOL_THIN_PROVISIONED, (double)thin->bytes, labels);
	metric_set(METRIC_POOL_THIN_USED, (double)thin->used_bytes, labels);
	metric_set(METRIC_POOL_THIN_AVAILABLE, (double)thin->max_bytes, labels);
}

/* The label is the pool's name, and several may have one. */
static void set_gauges(struct registry *registry)
{
	autoarena struct arena *a = arena_new();
	const struct registry_pools pools = registry_pools(registry, a);

	for (size_t i = 0; i < pools.n; i++) {
		const char *const labels[] = { pools.v[i]->pool_name };
		struct backend_info sum = { 0 };

		if (registry_find_name(registry, labels[0]) != pools.v[i])
			continue;
		for (size_t k = i; k < pools.n; k++) {
			if (str_is_equal(pools.v[k]->pool_name, labels[0]))
				add_info(pools.v[k], &sum);
		}
		if (!sum.name)
			continue;
		metric_set(METRIC_POOL_CAPACITY, (double)sum.total_bytes, labels);
		metric_set(METRIC_POOL_AVAILABLE, (double)sum.available_bytes, labels);
		metric_set(METRIC_POOL_VOLUMES, (double)sum.n_volumes, labels);
		metric_set(METRIC_POOL_DAMAGED, (double)sum.n_damaged, labels);
		metric_set(METRIC_POOL_RESERVED, (double)sum.reserved_bytes, labels);
		metric_set(METRIC_POOL_OVERDRAWN, (double)sum.overdrawn_bytes, labels);
		set_thin_gauges(&sum.thin, labels);
	}
}

void pools_set_gauges(void *arg)
{
	struct pools_gauges *g = arg;

	if (atomic_flag_test_and_set(&g->is_asking))
		return;
	set_gauges(g->registry);
	atomic_flag_clear(&g->is_asking);
}
