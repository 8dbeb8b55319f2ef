/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record is written once, before the file has a name, and never changed: so a record that is
 * not exactly what record_format() writes was damaged or is another version's, and the volume is
 * listed as damaged instead of guessed at. Under 300 bytes it stays inside XFS's inode, so reading
 * it costs no extra block.
 */
#include "backend/pool/record.h"

#include "base/str.h"
#include "volume/size.h"

void record_format(const struct record *r, char ret_text[RECORD_MAX])
{
	char uuid[UUID_TEXT_MAX];

	uuid_format(&r->uuid, uuid);
	(void)snprintf(ret_text, RECORD_MAX,
		       "cleat 1\nbytes=%llu\nfs=%s\nbuffered=%d\ncreated=%lld\nuuid=%s\nname=%s",
		       (unsigned long long)r->bytes, r->fs, r->allow_buffered,
		       (long long)r->created_ns, uuid, r->name);
}

/* The value of the line "key=…" at *at, copied; *at moves to the next line. */
static int take_line(const char **at, const char *key, char *ret_value, size_t cap)
{
	size_t n = strlen(key);
	size_t len;

	if (strncmp(*at, key, n) != 0 || (*at)[n] != '=')
		return -1;
	*at += n + 1;
	len = strcspn(*at, "\n");
	if ((*at)[len] != '\n' || len >= cap)
		return -1;
	memcpy(ret_value, *at, len);
	ret_value[len] = '\0';
	*at += len + 1;
	return 0;
}

static int bad(struct err *err, const char *what)
{
	return err_set(err, ERR_FAILED_PRECONDITION, "its record has no valid %s", what);
}

int record_parse(const char *text, struct record *ret_record, struct err *err)
{
	struct record r = { 0 };
	char value[48];
	const char *at = text;

	if (!str_has_prefix(at, "cleat 1\n"))
		return bad(err, "version (this cleat knows version 1)");
	at += strlen("cleat 1\n");
	if (take_line(&at, "bytes", value, sizeof(value)) < 0 ||
	    str_parse_u64(value, &r.bytes) < 0 || r.bytes == 0 || r.bytes % VOL_SIZE_UNIT ||
	    r.bytes > VOL_SIZE_MAX)
		return bad(err, "size");
	if (take_line(&at, "fs", r.fs, sizeof(r.fs)) < 0 ||
	    !(r.fs[0] == '\0' || str_is_equal(r.fs, "ext4") || str_is_equal(r.fs, "xfs")))
		return bad(err, "filesystem");
	if (take_line(&at, "buffered", value, sizeof(value)) < 0 ||
	    !(str_is_equal(value, "0") || str_is_equal(value, "1")))
		return bad(err, "mode of I/O");
	r.allow_buffered = value[0] == '1';
	if (take_line(&at, "created", value, sizeof(value)) < 0 ||
	    str_parse_i64(value, &r.created_ns) < 0)
		return bad(err, "time");
	if (take_line(&at, "uuid", value, sizeof(value)) < 0 || uuid_parse(value, &r.uuid) < 0)
		return bad(err, "UUID");
	if (!str_has_prefix(at, "name=") || !at[5] || strlen(at + 5) >= sizeof(r.name))
		return bad(err, "name");
	(void)snprintf(r.name, sizeof(r.name), "%s", at + 5);
	*ret_record = r;
	return 0;
}
