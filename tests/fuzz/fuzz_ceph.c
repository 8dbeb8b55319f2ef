/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles and classes of ceph-csi: a handle that is taken has one text only; lines "key=value" are
 * a class's parameters, of which what is taken holds nothing that would end a word of what the
 * kernel is told.
 */
#include "base/mem.h"
#include "base/str.h"
#include "volume/ceph.h"

#define LINES_MAX 64

static void check_handle(const char *text)
{
	struct ceph_handle handle;
	char again[129];
	struct err err;

	if (ceph_handle_parse(text, &handle, &err) < 0)
		return;
	ceph_handle_format(&handle, again);
	if (!ceph_cluster_id_is_valid(handle.cluster) || strcmp(text, again) != 0)
		abort();
}

static void check_word(const char *word, size_t max)
{
	if (strlen(word) > max)
		abort();
	for (const char *p = word; *p; p++) {
		if ((*p > 0 && *p <= ' ') || *p == 0x7f)
			abort();
	}
}

static void check_fs_class(const struct strmap *map)
{
	struct ceph_fs_snapshot_params snapshot;
	struct ceph_fs_params params;
	struct err err;

	if (ceph_fs_params_parse(map, &params, &err) == 0) {
		check_word(params.fs_name, 128);
		check_word(params.pool, 128);
		check_word(params.prefix, 48);
		check_word(str_or(strmap_find(map, "kernelMountOptions"), ""), 512);
		check_word(str_or(strmap_find(map, "fuseMountOptions"), ""), 512);
		if (!*params.cluster || !*params.fs_name)
			abort();
	}
	if (ceph_fs_snapshot_params_parse(map, &snapshot, &err) == 0)
		check_word(snapshot.prefix, 48);
}

static void check_class(const struct strmap *map)
{
	struct ceph_rbd_params params;
	struct ceph_rbd_snapshot_params snapshot;
	struct err err;

	if (ceph_rbd_params_parse(map, &params, &err) == 0) {
		check_word(params.pool, 128);
		check_word(params.data_pool, 128);
		check_word(params.rados_namespace, 128);
		check_word(params.prefix, 48);
		check_word(params.map_options, CEPH_OPTIONS_MAX - 1);
		check_word(params.unmap_options, CEPH_OPTIONS_MAX - 1);
		if (!*params.cluster || !*params.pool ||
		    !params.stripe_unit != !params.stripe_count)
			abort();
	}
	if (ceph_rbd_snapshot_params_parse(map, &snapshot, &err) == 0)
		check_word(snapshot.prefix, 48);
	check_fs_class(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoarena struct arena *a = arena_new();
	char *rest = arena_strndup(a, (const char *)data, size);
	struct strpair pairs[LINES_MAX];
	struct strmap map;
	size_t n = 0;

	check_handle(rest);
	for (char *line; n < LINES_MAX && (line = strsep(&rest, "\n")); n++) {
		pairs[n].key = strsep(&line, "=");
		pairs[n].value = line ? line : "";
	}
	map = strmap_from(a, pairs, n);
	check_class(&map);
	return 0;
}
