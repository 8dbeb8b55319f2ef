/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line by which the kernel maps an image (drivers/block/rbd.c, rbd_add_parse_args; the same
 * that libkrbd writes):
 *
 *     MONITORS name=USER,key=client.USER[,OPTIONS][,_pool_ns=NS] POOL IMAGE -
 *
 * Which monitors: ceph_monitors.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "host/ceph_monitors.h"
#include "host/krbd-internal.h"

/* The words of the line are parted by blanks, and options by commas. */
static int check_word(const char *what, const char *word, const char *never, struct err *err)
{
	for (const char *c = word; *c; c++) {
		if ((unsigned char)*c <= ' ' || *c == 0x7f || strchr(never, *c))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "the kernel cannot map it: %s '%s' has a character that its "
				       "line cannot hold",
				       what, word);
	}
	return 0;
}

static int check(const struct host_krbd_spec *spec, struct err *err)
{
	static const char *const ours[] = { "name", "secret", "key", "_pool_ns", "ro", "rw" };

	if (check_word("the user", spec->user, ",=", err) < 0 ||
	    check_word("the pool", spec->pool, "", err) < 0 ||
	    check_word("the namespace", spec->ns, ",", err) < 0 ||
	    check_word("the image", spec->image, "@", err) < 0 ||
	    check_word("the option", spec->options, "", err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		if (host_ceph_has_option(spec->options, ours[i]))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "mapOptions may not set '%s': the volume and its secret do",
				       ours[i]);
	}
	return 0;
}

int krbd_line(const struct host_krbd_spec *spec, const char *secret, unsigned timeout_s,
	      struct str *ret_line, struct err *err)
{
	autostr struct str monitors = STR_INIT;
	const char *mode;

	if (check(spec, err) < 0 ||
	    host_ceph_monitors(spec->monitors, spec->options, &monitors, &mode, err) < 0)
		return -1;
	str_appendf(ret_line, "%s name=%s,", monitors.buf, spec->user);
	if (secret) {
		str_append(ret_line, "secret=");
		str_append_wiping(ret_line, secret, strlen(secret));
	} else {
		str_appendf(ret_line, "key=client.%s", spec->user);
	}
	if (*mode)
		str_appendf(ret_line, ",%s", mode);
	if (timeout_s && !host_ceph_has_option(spec->options, "mount_timeout"))
		str_appendf(ret_line, ",mount_timeout=%u", timeout_s);
	if (spec->options[0])
		str_appendf(ret_line, ",%s", spec->options);
	if (spec->read_only)
		str_append(ret_line, ",ro");
	if (spec->ns[0])
		str_appendf(ret_line, ",_pool_ns=%s", spec->ns);
	str_appendf(ret_line, " %s %s -", spec->pool, spec->image);
	return 0;
}

void krbd_features(uint64_t bits, struct str *out)
{
	static const char *const names[] = {
		"layering",   "striping",     "exclusive-lock", "object-map",
		"fast-diff",  "deep-flatten", "journaling",     "data-pool",
		"operations", "migrating",    "non-primary",    "dirty-cache",
	};

	for (unsigned i = 0; i < 64; i++) {
		if (!(bits >> i & 1))
			continue;
		if (out->len > 0)
			str_append(out, ", ");
		if (i < ARRAY_LEN(names))
			str_append(out, names[i]);
		else
			str_appendf(out, "bit %u", i);
	}
}
