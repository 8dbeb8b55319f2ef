/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl snapshot map, snapshot diff - which ranges of a snapshot hold data, or have changed
 *
 * Lines are written as the ranges come, so that a pipe which is slow slows the driver down and
 * nothing piles up here. When the stream breaks off, what was written is true and not all: the exit
 * code says so. A JSON document is only a document when it is whole, so it is made in memory.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "base/mem.h"
#include "cmd/ctl.h"
#include "cmd/pretty.h"

struct ranges {
	struct ctl *ctl;
	struct json_writer *w;
	bool has_begun;
	uint64_t n, bytes;
	uint64_t capacity;
};

static bool is_document(const struct ctl *ctl)
{
	return ctl->output == CTL_JSON || ctl->output == CTL_YAML;
}

static const char *name_type(enum csi_block_metadata_type type)
{
	switch (type) {
	case CSI_BLOCK_METADATA_TYPE_FIXED_LENGTH:
		return "FIXED_LENGTH";
	case CSI_BLOCK_METADATA_TYPE_VARIABLE_LENGTH:
		return "VARIABLE_LENGTH";
	default:
		return "UNKNOWN";
	}
}

static void begin(struct ranges *r, enum csi_block_metadata_type type, uint64_t capacity)
{
	r->has_begun = true;
	r->capacity = capacity;
	if (is_document(r->ctl)) {
		json_begin_object(r->w);
		json_field_string(r->w, "block_metadata_type", name_type(type));
		json_field_u64(r->w, "volume_capacity_bytes", capacity);
		json_key(r->w, "block_metadata");
		json_begin_array(r->w);
	} else if (r->ctl->output == CTL_TABLE) {
		str_appendf(r->ctl->out, "%-20s BYTES\n", "OFFSET");
	}
}

static int write_lines(struct ctl *ctl, struct err *err)
{
	bool is_written = fputs(str_get(ctl->out), stdout) >= 0 && fflush(stdout) == 0;

	str_reset(ctl->out);
	return is_written ? 0 : err_set(err, ERR_CANCELLED, "nobody reads the output");
}

static int add(struct ranges *r, const struct csi_block_metadata *v, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		r->n++;
		r->bytes += v[i].size_bytes;
		if (!is_document(r->ctl)) {
			str_appendf(r->ctl->out, "%-20" PRIu64 " %" PRIu64 "\n", v[i].byte_offset,
				    v[i].size_bytes);
			continue;
		}
		json_begin_object(r->w);
		json_field_u64(r->w, "byte_offset", v[i].byte_offset);
		json_field_u64(r->w, "size_bytes", v[i].size_bytes);
		json_end_object(r->w);
	}
	return is_document(r->ctl) ? 0 : write_lines(r->ctl, err);
}

static int take_allocated(void *arg, const void *message, struct err *err)
{
	const struct csi_get_metadata_allocated_response *m = message;
	struct ranges *r = arg;

	if (!r->has_begun)
		begin(r, m->block_metadata_type, m->volume_capacity_bytes);
	return add(r, m->block_metadata, m->n_block_metadata, err);
}

static int take_delta(void *arg, const void *message, struct err *err)
{
	const struct csi_get_metadata_delta_response *m = message;
	struct ranges *r = arg;

	if (!r->has_begun)
		begin(r, m->block_metadata_type, m->volume_capacity_bytes);
	return add(r, m->block_metadata, m->n_block_metadata, err);
}

static void finish(struct ranges *r, const struct str *json, const char *what)
{
	char bytes[CMD_BYTES_MAX], capacity[CMD_BYTES_MAX];

	if (!r->has_begun)
		begin(r, CSI_BLOCK_METADATA_TYPE_UNKNOWN, 0);
	if (is_document(r->ctl)) {
		json_end_array(r->w);
		json_end_object(r->w);
		ctl_print_document(r->ctl, json);
	} else if (r->ctl->output == CTL_TABLE) {
		cmd_format_bytes(r->bytes, bytes);
		cmd_format_bytes(r->capacity, capacity);
		str_appendf(r->ctl->out, "%s of %s %s, in %" PRIu64 " range%s\n", bytes, capacity,
			    what, r->n, r->n == 1 ? "" : "s");
	}
}

int ctl_snapshot_map(struct ctl *ctl, struct err *err)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);
	struct ranges r = { .ctl = ctl, .w = &w };
	const struct csi_get_metadata_allocated_request req = {
		.snapshot_id = ctl->id,
		.starting_offset = (int64_t)ctl->opts->offset,
	};

	if (csi_get_metadata_allocated(ctl->service, ctl->ctx, &req,
				       &(struct csi_stream){ .take = take_allocated, .arg = &r },
				       err) < 0)
		return -1;
	finish(&r, &json, "are written");
	return 0;
}

int ctl_snapshot_diff(struct ctl *ctl, struct err *err)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);
	struct ranges r = { .ctl = ctl, .w = &w };
	struct csi_get_metadata_delta_request req = {
		.starting_offset = (int64_t)ctl->opts->offset,
	};

	if (ctl_snapshot_resolve(ctl, ctl->id, &req.base_snapshot_id, err) < 0 ||
	    ctl_snapshot_resolve(ctl, ctl->other, &req.target_snapshot_id, err) < 0 ||
	    csi_get_metadata_delta(ctl->service, ctl->ctx, &req,
				   &(struct csi_stream){ .take = take_delta, .arg = &r }, err) < 0)
		return -1;
	finish(&r, &json, "have changed");
	return 0;
}
