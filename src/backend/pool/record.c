/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record is written once, before the file has a name, and never changed. Keys that are not
 * known are passed over, since a newer cleat may have written them; a known one that is wrong or
 * not there means damage, and the volume is listed as damaged instead of guessed at.
 */
#include "backend/pool/record.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "backend/pool/lines.h"
#include "base/mem.h"
#include "base/str.h"
#include "volume/id.h"
#include "volume/size.h"

#define NAME_KEY "name="
#define VALUE_MAX (VOL_TOKEN_MAX + 16)

static const struct {
	const char *attr;
	const char *version_line;
} kinds[] = {
	[RECORD_VOLUME] = { RECORD_ATTR, "cleat 1\n" },
	[RECORD_SNAPSHOT] = { SNAPSHOT_ATTR, "cleat snapshot 1\n" },
};

const char *record_attr(enum record_kind kind)
{
	return kinds[kind].attr;
}

static const struct owner_key {
	const char *key;
	size_t offset;
} owner_keys[] = {
	{ "cluster", offsetof(struct record, cluster) },
	{ "claim-namespace", offsetof(struct record, claim_namespace) },
	{ "claim-name", offsetof(struct record, claim_name) },
	{ "claim-uid", offsetof(struct record, claim_uid) },
};

static char *owner_at(struct record *r, size_t i)
{
	return (char *)r + owner_keys[i].offset;
}

void record_set_owner(struct record *r, const struct backend_owner *owner)
{
	const char *const values[] = { owner->cluster, owner->claim_namespace, owner->claim_name,
				       owner->claim_uid };

	for (size_t i = 0; i < ARRAY_LEN(owner_keys); i++) {
		const char *value = str_or(values[i], "");

		if (line_can_hold(value, RECORD_OWNER_MAX))
			(void)snprintf(owner_at(r, i), RECORD_OWNER_MAX, "%s", value);
	}
}

static int parse_bytes(const char *value, struct record *r)
{
	return str_parse_u64(value, &r->bytes) < 0 || r->bytes == 0 || r->bytes % VOL_SIZE_UNIT ||
			       r->bytes > VOL_SIZE_MAX
		       ? -1
		       : 0;
}

static void format_bytes(const struct record *r, char value[VALUE_MAX])
{
	(void)snprintf(value, VALUE_MAX, "%llu", (unsigned long long)r->bytes);
}

static int parse_fs(const char *value, struct record *r)
{
	if (value[0] && !str_is_equal(value, "ext4") && !str_is_equal(value, "xfs"))
		return -1;
	(void)snprintf(r->fs, sizeof(r->fs), "%.7s", value);
	return 0;
}

static void format_fs(const struct record *r, char value[VALUE_MAX])
{
	(void)snprintf(value, VALUE_MAX, "%s", r->fs);
}

static int parse_buffered(const char *value, struct record *r)
{
	r->allow_buffered = str_is_equal(value, "1");
	return r->allow_buffered || str_is_equal(value, "0") ? 0 : -1;
}

static void format_buffered(const struct record *r, char value[VALUE_MAX])
{
	(void)snprintf(value, VALUE_MAX, "%d", r->allow_buffered);
}

static int parse_created(const char *value, struct record *r)
{
	return str_parse_i64(value, &r->created_ns);
}

static void format_created(const struct record *r, char value[VALUE_MAX])
{
	(void)snprintf(value, VALUE_MAX, "%lld", (long long)r->created_ns);
}

static int parse_uuid(const char *value, struct record *r)
{
	return uuid_parse(value, &r->uuid);
}

static void format_uuid(const struct record *r, char value[VALUE_MAX])
{
	uuid_format(&r->uuid, value);
}

static int parse_pool(const char *value, struct record *r)
{
	return uuid_parse(value, &r->pool);
}

static void format_pool(const struct record *r, char value[VALUE_MAX])
{
	uuid_format(&r->pool, value);
}

static int parse_token(const char *value, char ret_token[VOL_TOKEN_MAX])
{
	if (!vol_token_is_valid(value))
		return -1;
	(void)snprintf(ret_token, VOL_TOKEN_MAX, "%s", value);
	return 0;
}

/* "snapshot:TOKEN", "volume:TOKEN" */
static int parse_origin(const char *value, struct record *r)
{
	const char *colon = strchr(value, ':');

	if (str_has_prefix(value, "snapshot:"))
		r->source_kind = BACKEND_SOURCE_SNAPSHOT;
	else if (str_has_prefix(value, "volume:"))
		r->source_kind = BACKEND_SOURCE_VOLUME;
	else
		return -1;
	return parse_token(colon + 1, r->source);
}

static void format_origin(const struct record *r, char value[VALUE_MAX])
{
	if (r->source_kind != BACKEND_SOURCE_NONE)
		(void)snprintf(value, VALUE_MAX, "%s:%s",
			       r->source_kind == BACKEND_SOURCE_SNAPSHOT ? "snapshot" : "volume",
			       r->source);
}

static int parse_source(const char *value, struct record *r)
{
	r->source_kind = BACKEND_SOURCE_VOLUME;
	return parse_token(value, r->source);
}

static void format_source(const struct record *r, char value[VALUE_MAX])
{
	(void)snprintf(value, VALUE_MAX, "%s", r->source);
}

static int parse_group(const char *value, struct record *r)
{
	return parse_token(value, r->group);
}

static void format_group(const struct record *r, char value[VALUE_MAX])
{
	(void)snprintf(value, VALUE_MAX, "%s", r->group);
}

/* "1764072000000000000,1073741824" */
static int parse_copying(const char *value, struct record *r)
{
	const char *comma = strchr(value, ',');
	char first[32];

	if (!comma || (size_t)(comma - value) >= sizeof(first))
		return -1;
	memcpy(first, value, (size_t)(comma - value));
	first[comma - value] = '\0';
	r->is_copying = true;
	return str_parse_i64(first, &r->source_changed_ns) < 0 ||
			       str_parse_u64(comma + 1, &r->copied_bytes) < 0 ||
			       r->copied_bytes % VOL_SIZE_UNIT
		       ? -1
		       : 0;
}

static void format_copying(const struct record *r, char value[VALUE_MAX])
{
	if (r->is_copying)
		(void)snprintf(value, VALUE_MAX, "%lld,%llu", (long long)r->source_changed_ns,
			       (unsigned long long)r->copied_bytes);
}

static int parse_reserve(const char *value, struct record *r)
{
	r->no_reserve = str_is_equal(value, "none");
	return r->no_reserve ? 0 : -1;
}

static void format_reserve(const struct record *r, char value[VALUE_MAX])
{
	(void)snprintf(value, VALUE_MAX, "%s", r->no_reserve ? "none" : "");
}

static int parse_provisioning(const char *value, struct record *r)
{
	r->is_thin = str_is_equal(value, "thin");
	return r->is_thin ? 0 : -1;
}

static void format_provisioning(const struct record *r, char value[VALUE_MAX])
{
	(void)snprintf(value, VALUE_MAX, "%s", r->is_thin ? "thin" : "");
}

#define VOLUMES (1 << RECORD_VOLUME)
#define SNAPSHOTS (1 << RECORD_SNAPSHOT)

static const struct key {
	const char *key;
	const char *what; /* for the message */
	unsigned kinds;   /* that have it */
	bool is_optional; /* not written when its value is empty */
	int (*parse)(const char *value, struct record *r);
	void (*format)(const struct record *r, char value[VALUE_MAX]); /* "" is there */
} keys[] = {
	{ "bytes", "size", VOLUMES | SNAPSHOTS, false, parse_bytes, format_bytes },
	{ "fs", "filesystem", VOLUMES | SNAPSHOTS, false, parse_fs, format_fs },
	{ "buffered", "mode of I/O", VOLUMES, false, parse_buffered, format_buffered },
	{ "created", "time", VOLUMES | SNAPSHOTS, false, parse_created, format_created },
	{ "uuid", "UUID", VOLUMES | SNAPSHOTS, false, parse_uuid, format_uuid },
	{ "pool", "pool", VOLUMES | SNAPSHOTS, false, parse_pool, format_pool },
	{ "source", "source", VOLUMES, true, parse_origin, format_origin },
	{ "source", "source", SNAPSHOTS, false, parse_source, format_source },
	{ "group", "group", SNAPSHOTS, true, parse_group, format_group },
	{ "copying", "progress ('copying')", SNAPSHOTS, true, parse_copying, format_copying },
	{ "reserve", "reserve", VOLUMES, true, parse_reserve, format_reserve },
	{ "provisioning", "provisioning", VOLUMES, true, parse_provisioning, format_provisioning },
};

static bool is_of(const struct key *key, enum record_kind kind)
{
	return key->kinds & 1u << kind;
}

static void append(char text[RECORD_MAX], const char *key, const char *value)
{
	size_t n = strlen(text);

	(void)snprintf(text + n, RECORD_MAX - n, "%s=%s\n", key, value);
}

void record_format(enum record_kind kind, const struct record *r, char ret_text[RECORD_MAX])
{
	struct record lent = *r;
	size_t n;

	(void)snprintf(ret_text, RECORD_MAX, "%s", kinds[kind].version_line);
	if (r->is_copying)
		append(ret_text, "needs", "copying");
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		char value[VALUE_MAX] = "";

		if (!is_of(&keys[i], kind))
			continue;
		keys[i].format(r, value);
		if (value[0] || !keys[i].is_optional)
			append(ret_text, keys[i].key, value);
	}
	for (size_t i = 0; i < ARRAY_LEN(owner_keys); i++) {
		if (owner_at(&lent, i)[0])
			append(ret_text, owner_keys[i].key, owner_at(&lent, i));
	}
	n = strlen(ret_text);
	(void)snprintf(ret_text + n, RECORD_MAX - n, NAME_KEY "%s", r->name);
}

static int bad(struct err *err, const char *what)
{
	return err_set(err, ERR_FAILED_PRECONDITION, "its record has no valid %s", what);
}

/* The bit of the key that the line has; 0 for one that is not known. */
static int parse_line(enum record_kind kind, const struct line *line, struct record *r,
		      struct err *err)
{
	char value[VALUE_MAX];

	if (line_is(line, "needs"))
		return line_check_needs(line, err);
	for (size_t i = 0; i < ARRAY_LEN(owner_keys); i++) {
		/* no owner is better than a volume that is not served for one */
		if (line_is(line, owner_keys[i].key))
			(void)line_copy(line, owner_at(r, i), RECORD_OWNER_MAX);
	}
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!is_of(&keys[i], kind) || !line_is(line, keys[i].key))
			continue;
		if (line_copy(line, value, sizeof(value)) < 0 || keys[i].parse(value, r) < 0)
			return bad(err, keys[i].what);
		return 1 << i;
	}
	return 0;
}

int record_parse(enum record_kind kind, const char *text, struct record *ret_record,
		 struct err *err)
{
	struct record r = { 0 };
	const char *at = text;
	bool needs_copying = false;
	struct line line;
	int has = 0;

	if (!str_has_prefix(at, kinds[kind].version_line))
		return bad(err, "version (this cleat knows version 1)");
	at += strlen(kinds[kind].version_line);
	while (!str_has_prefix(at, NAME_KEY) && line_next(&at, &line) > 0) {
		int bit = parse_line(kind, &line, &r, err);

		if (bit < 0)
			return -1;
		has |= bit;
		needs_copying |= line_is(&line, "needs") && line_has_word(&line, "copying");
	}
	if (needs_copying != r.is_copying)
		return bad(err, "progress ('copying')");
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (is_of(&keys[i], kind) && !keys[i].is_optional && !(has & 1 << i))
			return bad(err, keys[i].what);
	}
	if (!str_has_prefix(at, NAME_KEY))
		return bad(err, "name");
	at += strlen(NAME_KEY);
	if (!at[0] || strlen(at) >= sizeof(r.name))
		return bad(err, "name");
	(void)snprintf(r.name, sizeof(r.name), "%s", at);
	r.no_reserve = r.no_reserve || r.is_thin;
	*ret_record = r;
	return 0;
}

#define STATE_VERSION_LINE "cleat state 1\n"

static int parse_state_bytes(const char *value, struct state *state)
{
	struct record r = { 0 };

	if (parse_bytes(value, &r) < 0)
		return -1;
	state->bytes = r.bytes;
	return 0;
}

/* "500,0": what may be read and what written a second, 0: no limit. */
static int parse_pair(const char *value, uint64_t *ret_read, uint64_t *ret_write)
{
	const char *comma = strchr(value, ',');
	char first[48];

	if (!comma)
		return -1;
	(void)snprintf(first, sizeof(first), "%.*s", (int)(comma - value), value);
	return str_parse_u64(first, ret_read) < 0 || str_parse_u64(comma + 1, ret_write) < 0 ? -1
											     : 0;
}

static int parse_state_iops(const char *value, struct state *state)
{
	struct vol_limits *l = &state->limits;

	return parse_pair(value, &l->read_iops, &l->write_iops) < 0 || !vol_limits_are_valid(l) ? -1
												: 0;
}

static int parse_state_bandwidth(const char *value, struct state *state)
{
	struct vol_limits *l = &state->limits;

	return parse_pair(value, &l->read_bandwidth, &l->write_bandwidth) < 0 ||
			       !vol_limits_are_valid(l)
		       ? -1
		       : 0;
}

static const struct state_key {
	const char *key;
	const char *what;
	int (*parse)(const char *value, struct state *state);
} state_keys[] = {
	{ "bytes", "size", parse_state_bytes },
	{ "iops-limit", "limit of requests", parse_state_iops },
	{ "bandwidth-limit", "limit of bandwidth", parse_state_bandwidth },
};

static int bad_state(struct err *err, const char *what)
{
	return err_set(err, ERR_FAILED_PRECONDITION, "its state has no valid %s", what);
}

static int parse_state_line(const struct line *line, struct state *state, struct err *err)
{
	size_t n = strlen(state->others);
	char value[48];

	if (line_is(line, "needs"))
		return line_check_needs(line, err);
	for (size_t i = 0; i < ARRAY_LEN(state_keys); i++) {
		if (!line_is(line, state_keys[i].key))
			continue;
		if (line_copy(line, value, sizeof(value)) < 0 ||
		    state_keys[i].parse(value, state) < 0)
			return bad_state(err, state_keys[i].what);
		return 0;
	}
	if (n + line->n_key + line->n_value + 3 > sizeof(state->others))
		return bad_state(err, "length");
	(void)snprintf(state->others + n, sizeof(state->others) - n, "%.*s=%.*s\n",
		       (int)line->n_key, line->key, (int)line->n_value, line->value);
	return 0;
}

int state_parse(const char *text, struct state *ret_state, struct err *err)
{
	struct state state = { 0 };
	const char *at = text;
	struct line line;
	int rc;

	if (!str_has_prefix(at, STATE_VERSION_LINE))
		return bad_state(err, "version (this cleat knows version 1)");
	at += strlen(STATE_VERSION_LINE);
	while ((rc = line_next(&at, &line)) > 0) {
		if (parse_state_line(&line, &state, err) < 0)
			return -1;
	}
	if (rc < 0)
		return bad_state(err, "line at its end");
	*ret_state = state;
	return 0;
}

int state_format(const struct state *state, char ret_text[RECORD_MAX], struct err *err)
{
	const struct vol_limits *l = &state->limits;
	autostr struct str out = STR_INIT;

	str_append(&out, STATE_VERSION_LINE);
	if (state->bytes)
		str_appendf(&out, "bytes=%" PRIu64 "\n", state->bytes);
	if (l->read_iops || l->write_iops)
		str_appendf(&out, "iops-limit=%" PRIu64 ",%" PRIu64 "\n", l->read_iops,
			    l->write_iops);
	if (l->read_bandwidth || l->write_bandwidth)
		str_appendf(&out, "bandwidth-limit=%" PRIu64 ",%" PRIu64 "\n", l->read_bandwidth,
			    l->write_bandwidth);
	str_append(&out, state->others);
	if (out.len >= RECORD_MAX)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"its state has no room for more, for what a newer cleat wrote there");
	memcpy(ret_text, out.buf, out.len + 1);
	return 0;
}
