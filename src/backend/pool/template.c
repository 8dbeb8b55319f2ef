/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4 without running mkfs each time.
 *
 * Below .cleat/templates lies one sparse file for each size of volume made so far, with an ext4 of
 * exactly that size (not a small one that is grown: its layout would differ). Creating a volume
 * copies the few blocks of it that are not zero into the allocated file and gives the copy its own
 * UUID. Only the first volume of a size pays for mkfs. Templates are born like volumes, so they are
 * whole or absent; they are a cache: all may be deleted at any time. Each bears the digest of its
 * bytes, which is compared with what was copied: a template that a bad disk or a person spoilt is
 * made anew, once, and what was copied from it is thrown away.
 *
 * At most TEMPLATES_MAX are kept, the one unused for longest goes. Above TEMPLATE_BYTES_MAX group
 * descriptors make the template itself big, and mkfs runs straight in the volume's nameless file.
 */
#include <stdlib.h>

#include "backend/pool/pool-internal.h"

#define LOG_ROOM "backend"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "host/mkfs.h"

#define TEMPLATES_MAX 16
#define TEMPLATE_BYTES_MAX (4096 * GIB)

/* The number is the version of host_mkfs_ext4's options: change both together. */
#define TEMPLATE_PREFIX "ext4-3-"
#define TEMPLATE_FORMAT TEMPLATE_PREFIX "%llu"
#define DIGEST_ATTR "user.cleat.template"

struct oldest {
	struct pool *pool;
	size_t n;
	int64_t changed_ns;
	char name[64];
};

static int look_older(void *arg, const char *name, bool is_regular)
{
	struct oldest *oldest = arg;
	autohostfd int fd = -1;
	struct host_file file;
	struct err err;

	if (!is_regular || strlen(name) >= sizeof(oldest->name) ||
	    host_file_open(oldest->pool->template_fd, name, true, &fd, &err) < 0 ||
	    host_file_look(fd, &file, &err) < 0)
		return 0;
	oldest->n++;
	if (oldest->n == 1 || file.changed_ns < oldest->changed_ns) {
		oldest->changed_ns = file.changed_ns;
		(void)snprintf(oldest->name, sizeof(oldest->name), "%s", name);
	}
	return 0;
}

/* A cache that cannot be trimmed is no reason to fail the volume. */
static void trim_templates(struct pool *p)
{
	struct oldest oldest = { .pool = p };
	struct err err;

	if (host_dir_each(p->template_fd, look_older, &oldest, &err) == 0 &&
	    oldest.n > TEMPLATES_MAX)
		(void)host_file_unlink(p->template_fd, oldest.name, &err);
}

static int make_template(struct pool *p, struct ctx *ctx, const char *name, uint64_t bytes,
			 struct err *err)
{
	autohostfd int fd = -1;
	uint64_t digest;
	char text[24];

	if (host_file_make(p->template_fd, &fd, err) < 0 || host_file_resize(fd, bytes, err) < 0 ||
	    host_mkfs_ext4(ctx, fd, bytes, err) < 0 ||
	    host_file_copy_blocks(ctx, fd, -1, &digest, err) < 0)
		return -1;
	(void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)digest);
	if (host_file_set_attr(fd, DIGEST_ATTR, text, err) < 0 || host_file_sync(fd, err) < 0)
		return -1;
	if (host_file_link(fd, p->template_fd, name, err) < 0 && err->code != ERR_ALREADY_EXISTS)
		return -1;
	trim_templates(p);
	return 0;
}

/* Copies the template if it is whole: 1, or 0 if it is not. NOT_FOUND. */
static int copy_template(struct pool *p, struct ctx *ctx, const char *name, uint64_t bytes,
			 int to_fd, struct err *err)
{
	autohostfd int fd = -1;
	struct host_file file;
	uint64_t digest;
	char want[24];
	char is[24];

	if (host_file_open(p->template_fd, name, false, &fd, err) < 0 ||
	    host_file_look(fd, &file, err) < 0)
		return -1;
	if (file.bytes != bytes || host_file_get_attr(fd, DIGEST_ATTR, want, sizeof(want), err) < 0)
		return 0;
	if (host_file_touch(fd, err) < 0 || host_file_copy_blocks(ctx, fd, to_fd, &digest, err) < 0)
		return -1;
	(void)snprintf(is, sizeof(is), "%016llx", (unsigned long long)digest);
	return str_is_equal(is, want);
}

int pool_template_check(struct ctx *ctx, int template_fd, const char *name, struct err *err)
{
	autohostfd int fd = -1;
	struct host_file file;
	uint64_t digest;
	uint64_t bytes;
	char want[24];
	char is[24];

	if (!str_has_prefix(name, TEMPLATE_PREFIX) ||
	    str_parse_u64(name + strlen(TEMPLATE_PREFIX), &bytes) < 0)
		return 1;
	if (host_file_open(template_fd, name, true, &fd, err) < 0 ||
	    host_file_look(fd, &file, err) < 0)
		return -1;
	if (file.bytes != bytes)
		return 0;
	if (host_file_get_attr(fd, DIGEST_ATTR, want, sizeof(want), err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (host_file_copy_blocks(ctx, fd, -1, &digest, err) < 0)
		return -1;
	(void)snprintf(is, sizeof(is), "%016llx", (unsigned long long)digest);
	return str_is_equal(is, want);
}

/* Throws away the spoilt template and what of it the volume has. */
static int clear_away(struct pool *p, const char *name, uint64_t bytes, int fd, struct err *err)
{
	log_warn("a template was spoilt; it is made anew", log_str("pool", p->base.pool_name),
		 log_str("dir", p->dir), log_str("template", name));
	if (host_file_unlink(p->template_fd, name, err) < 0 || host_file_resize(fd, 0, err) < 0)
		return -1;
	return host_file_allocate(fd, bytes, err);
}

static int fill_from_template(struct pool *p, struct ctx *ctx, int fd, uint64_t bytes,
			      struct err *err)
{
	char name[64];
	int rc;

	(void)snprintf(name, sizeof(name), TEMPLATE_FORMAT, (unsigned long long)bytes);
	rc = copy_template(p, ctx, name, bytes, fd, err);
	if (rc > 0)
		return 0;
	if (rc < 0 && err->code != ERR_NOT_FOUND)
		return -1;
	if (rc == 0 && clear_away(p, name, bytes, fd, err) < 0)
		return -1;
	if (make_template(p, ctx, name, bytes, err) < 0)
		return -1;
	rc = copy_template(p, ctx, name, bytes, fd, err);
	if (rc == 0)
		return err_set(err, ERR_INTERNAL,
			       "the template '%s/.cleat/templates/%s' was made a moment ago and "
			       "does not read as it was written: is the disk well (dmesg)?",
			       p->dir, name);
	return rc < 0 ? -1 : 0;
}

int pool_fill_ext4(struct pool *p, struct ctx *ctx, int fd, uint64_t bytes, const struct uuid *uuid,
		   struct err *err)
{
	int rc = bytes > TEMPLATE_BYTES_MAX ? host_mkfs_ext4(ctx, fd, bytes, err)
					    : fill_from_template(p, ctx, fd, bytes, err);

	return rc < 0 ? -1 : host_ext4_stamp(fd, uuid, err);
}
