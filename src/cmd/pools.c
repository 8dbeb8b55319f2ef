/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pools - from --pool and --pool-image to an opened registry
 *
 * The command line is judged as a whole before anything is opened, so that a contradiction never
 * leaves an image file behind. An image is mounted beside itself (FILE.pool), never in a place that
 * two drivers on one machine could share.
 */
#include "cmd/pools.h"

#include <string.h>

#include "base/num.h"
#include "base/path.h"
#include "base/str.h"
#include "volume/space.h"

#define MEM_SIZE_DEFAULT (8 * GIB)

/* "fast=pool:/srv/pool", "fast=/srv/pool" or "/srv/pool": a name never begins with a slash and has
 * no colon, and where there is a '=' before both there is a name: "=/srv/pool" comes of a variable
 * that is empty, and "default" would hide that. */
static int split_value(struct arena *a, const char *option, const char *value,
		       const char **ret_name, const char **ret_spec, struct err *err)
{
	const char *name = "default";
	size_t n = strcspn(value, "/:=");

	*ret_spec = value;
	if (value[n] == '=') {
		name = arena_strndup(a, value, n);
		*ret_spec = value + n + 1;
		if (name[0] == '\0')
			return err_set(
				err, ERR_INVALID_ARGUMENT,
				"--%s=%s: the name before '=' is missing: write --%s=NAME=PATH, or "
				"--%s=PATH",
				option, value, option, option);
		if (registry_check_name(name, err) < 0)
			return err_wrap(err, "--%s=%s", option, value);
	}
	*ret_name = name;
	return 0;
}

static const char *place_of(const struct backend_config *config)
{
	return config->image ? config->image : config->dir; /* NULL: nowhere */
}

static int add_config(struct backend_config *configs, size_t *n, const char *option,
		      const struct backend_config *config, struct err *err)
{
	for (size_t i = 0; i < *n; i++) {
		if (place_of(config) && str_is_equal(place_of(&configs[i]), place_of(config)))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "--%s: '%s' is given twice; several pools may have one "
				       "name, each is a place of its own",
				       option, place_of(config));
	}
	configs[(*n)++] = *config;
	return 0;
}

static int configure_mem(struct arena *a, const struct pools_options *opts,
			 struct backend_config **ret_configs, size_t *ret_n, struct err *err)
{
	struct backend_config *config;

	if (opts->pool.n > 0 || opts->image.n > 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "--backend=mem contradicts --%s",
			       opts->pool.n > 0 ? "pool" : "pool-image");
	config = arena_alloc(a, sizeof(*config));
	*config = (struct backend_config){
		.kind = "mem",
		.name = "default",
		.mem_bytes = opts->mem_size ? opts->mem_size : MEM_SIZE_DEFAULT,
	};
	*ret_configs = config;
	*ret_n = 1;
	return 0;
}

static int check_together(const struct pools_options *opts, struct err *err)
{
	if (opts->mem_size)
		return err_set(err, ERR_INVALID_ARGUMENT, "--mem-size needs --backend=mem");
	if (opts->pool.n + opts->image.n == 0)
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"--pool is missing: --pool=DIR on XFS with reflink (or btrfs, ext4), or "
			"--pool-image=FILE --pool-size=8Gi to "
			"try it out");
	if (!str_is_empty(opts->state_dir) && !path_is_clean(opts->state_dir))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "--state-dir=%s is not an absolute, clean path", opts->state_dir);
	if (opts->image_size && opts->image.n == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "--pool-size needs --pool-image");
	return 0;
}

int pools_configure(struct arena *a, const struct pools_options *opts, const char *node_id,
		    struct backend_config **ret_configs, size_t *ret_n, struct err *err)
{
	unsigned overcommit = VOL_OVERCOMMIT_DEFAULT;
	struct backend_config *configs;
	size_t n = 0;

	if (!str_is_empty(opts->overcommit) &&
	    vol_overcommit_parse(opts->overcommit, &overcommit, err) < 0)
		return err_wrap(err, "--pool-overcommit");
	if (strcmp(opts->backend, "mem") == 0)
		return configure_mem(a, opts, ret_configs, ret_n, err);
	if (check_together(opts, err) < 0)
		return -1;
	configs = arena_array(a, opts->pool.n + opts->image.n, sizeof(*configs));
	for (size_t i = 0; i < opts->pool.n; i++) {
		struct backend_config config = { .may_init = opts->init,
						 .reserve_bytes = opts->reserve };
		const char *spec;

		if (split_value(a, "pool", opts->pool.v[i], &config.name, &spec, err) < 0)
			return -1;
		if (registry_configure(a, spec, &config, err) < 0)
			return err_wrap(err, "--pool=%s", opts->pool.v[i]);
		if (add_config(configs, &n, "pool", &config, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < opts->image.n; i++) {
		struct backend_config config = {
			.kind = "pool",
			.image_bytes = opts->image_size,
			.reserve_bytes = opts->reserve,
		};

		if (split_value(a, "pool-image", opts->image.v[i], &config.name, &config.image,
				err) < 0)
			return -1;
		if (!path_is_clean(config.image) || strcmp(config.image, "/") == 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "--pool-image=%s: '%s' is not an absolute path without '.', "
				       "'..' and double slashes",
				       opts->image.v[i], config.image);
		if (add_config(configs, &n, "pool-image", &config, err) < 0)
			return -1;
		configs[n - 1].dir = arena_printf(a, "%s.pool", config.image);
	}
	for (size_t i = 0; i < n; i++) {
		configs[i].node_id = node_id;
		configs[i].follows_moved = opts->follow_moved;
		configs[i].overcommit = overcommit;
		configs[i].state_dir = opts->state_dir;
		configs[i].ceph = opts->ceph;
	}
	*ret_configs = configs;
	*ret_n = n;
	return 0;
}
