/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a StorageClass, a VolumeAttributesClass or a VolumeSnapshotClass may say: lines "key=value"
 * are parameters, lines
 * "-flag" mount flags, a line
 * "/fs" the filesystem. A set of flags that is taken holds no comma and no control character, which
 * could smuggle in others. The whole is a ratio of over-commit as well, which is read and written
 * as the same.
 */
#include "base/mem.h"
#include "volume/capability.h"
#include "volume/params.h"
#include "volume/snapshot_params.h"
#include "volume/space.h"

#define LINES_MAX 64

static void check_flags(const struct vol_capability *cap)
{
	for (size_t i = 0; i < cap->n_mount_flags; i++) {
		for (const char *p = cap->mount_flags[i]; *p; p++) {
			if (*p == ',' || *p == ' ' || *p < 0x21)
				abort();
		}
	}
}

static void check_overcommit(const char *text)
{
	char again[VOL_OVERCOMMIT_TEXT_MAX];
	unsigned percent, same;
	struct err err;

	if (vol_overcommit_parse(text, &percent, &err) < 0)
		return;
	vol_overcommit_format(percent, again);
	if (percent < 100 || vol_overcommit_parse(again, &same, &err) < 0 || same != percent)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoarena struct arena *a = arena_new();
	char *rest = arena_strndup(a, (const char *)data, size);
	struct strpair pairs[LINES_MAX];
	const char *flags[LINES_MAX];
	struct vol_capability cap = { .mode = VOL_MODE_SINGLE_NODE_WRITER,
				      .fs_type = "",
				      .mount_flags = flags,
				      .mount_group = "" };
	struct vol_snapshot_params snapshot;
	struct vol_params params;
	struct vol_limits limits = { 0 };
	struct strmap map;
	struct err err;
	size_t n = 0;

	for (char *line;
	     n < LINES_MAX && cap.n_mount_flags < LINES_MAX && (line = strsep(&rest, "\n"));) {
		if (line[0] == '-') {
			flags[cap.n_mount_flags++] = line + 1;
		} else if (line[0] == '/') {
			cap.fs_type = line + 1;
		} else {
			pairs[n].key = strsep(&line, "=");
			pairs[n++].value = line ? line : "";
		}
	}
	check_overcommit(arena_strndup(a, (const char *)data, size));
	map = strmap_from(a, pairs, n);
	if (vol_params_parse(&map, &params, &err) == 0 &&
	    (!params.pool || !vol_limits_are_valid(&params.limits) ||
	     (params.is_thin && params.is_written)))
		abort();
	if (vol_limits_merge(&limits, "mutable_parameters", &map, &err) < 0
		    ? vol_limits_are_set(&limits)
		    : !vol_limits_are_valid(&limits))
		abort();
	if (vol_snapshot_params_parse(&map, &snapshot, &err) == 0 && !snapshot.owner_uid)
		abort();
	if (vol_capability_check(&cap, &err) == 0)
		check_flags(&cap);
	return 0;
}
