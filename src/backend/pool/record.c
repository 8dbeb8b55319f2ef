/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record is written once, before the file has a name, and never changed. Keys that are not
 * known are passed over, since a newer cleat may have written them; a known one that is wrong or
 * not there means damage, and the volume is listed as damaged instead of guessed at. Under 300
 * bytes it stays inside XFS's inode, so reading it costs no extra block.
 */
#include "backend/pool/record.h"

#include "backend/pool/lines.h"
#include "base/mem.h"
#include "base/str.h"
#include "volume/size.h"

#define VERSION_LINE "cleat 1\n"
#define NAME_KEY "name="

void record_format(const struct record *r, char ret_text[RECORD_MAX])
{
	char uuid[UUID_TEXT_MAX];
	char pool[UUID_TEXT_MAX];

	uuid_format(&r->uuid, uuid);
	uuid_format(&r->pool, pool);
	(void)snprintf(ret_text, RECORD_MAX,
		       VERSION_LINE
		       "bytes=%llu\nfs=%s\nbuffered=%d\ncreated=%lld\nuuid=%s\npool=%s\n" NAME_KEY
		       "%s",
		       (unsigned long long)r->bytes, r->fs, r->allow_buffered,
		       (long long)r->created_ns, uuid, pool, r->name);
}

static int parse_bytes(const char *value, struct record *r)
{
	return str_parse_u64(value, &r->bytes) < 0 || r->bytes == 0 || r->bytes % VOL_SIZE_UNIT ||
			       r->bytes > VOL_SIZE_MAX
		       ? -1
		       : 0;
}

static int parse_fs(const char *value, struct record *r)
{
	if (value[0] && !str_is_equal(value, "ext4") && !str_is_equal(value, "xfs"))
		return -1;
	(void)snprintf(r->fs, sizeof(r->fs), "%.7s", value);
	return 0;
}

static int parse_buffered(const char *value, struct record *r)
{
	r->allow_buffered = str_is_equal(value, "1");
	return r->allow_buffered || str_is_equal(value, "0") ? 0 : -1;
}

static int parse_created(const char *value, struct record *r)
{
	return str_parse_i64(value, &r->created_ns);
}

static int parse_uuid(const char *value, struct record *r)
{
	return uuid_parse(value, &r->uuid);
}

static int parse_pool(const char *value, struct record *r)
{
	return uuid_parse(value, &r->pool);
}

static const struct key {
	const char *key;
	const char *what; /* for the message */
	int (*parse)(const char *value, struct record *r);
} keys[] = {
	{ "bytes", "size", parse_bytes },
	{ "fs", "filesystem", parse_fs },
	{ "buffered", "mode of I/O", parse_buffered },
	{ "created", "time", parse_created },
	{ "uuid", "UUID", parse_uuid },
	{ "pool", "pool", parse_pool },
};

static int bad(struct err *err, const char *what)
{
	return err_set(err, ERR_FAILED_PRECONDITION, "its record has no valid %s", what);
}

/* The bit of the key that the line has; 0 for one that is not known. */
static int parse_line(const struct line *line, struct record *r, struct err *err)
{
	char value[48];

	if (line_is(line, "needs"))
		return line_check_needs(line, err);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!line_is(line, keys[i].key))
			continue;
		if (line_copy(line, value, sizeof(value)) < 0 || keys[i].parse(value, r) < 0)
			return bad(err, keys[i].what);
		return 1 << i;
	}
	return 0;
}

int record_parse(const char *text, struct record *ret_record, struct err *err)
{
	struct record r = { 0 };
	const char *at = text;
	struct line line;
	int has = 0;

	if (!str_has_prefix(at, VERSION_LINE))
		return bad(err, "version (this cleat knows version 1)");
	at += strlen(VERSION_LINE);
	while (!str_has_prefix(at, NAME_KEY) && line_next(&at, &line) > 0) {
		int bit = parse_line(&line, &r, err);

		if (bit < 0)
			return -1;
		has |= bit;
	}
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!(has & 1 << i))
			return bad(err, keys[i].what);
	}
	if (!str_has_prefix(at, NAME_KEY))
		return bad(err, "name");
	at += strlen(NAME_KEY);
	if (!at[0] || strlen(at) >= sizeof(r.name))
		return bad(err, "name");
	(void)snprintf(r.name, sizeof(r.name), "%s", at);
	*ret_record = r;
	return 0;
}
