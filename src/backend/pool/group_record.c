/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group's record is written once, before the file has a name, and never changed; its members and
 * it are there together or not at all (group.c). As with volumes, keys that are not known are
 * passed over, and one that is wrong or not there is damage.
 */
#include "backend/pool/group_record.h"

#include <stdlib.h>
#include <string.h>

#include "backend/pool/lines.h"
#include "base/mem.h"
#include "base/vec.h"
#include "volume/id.h"

#define VERSION_LINE "cleat group 1\n"
#define NAME_KEY "name="

#define HAS_CREATED 1
#define HAS_POOL 2
#define HAS_ALL 3

void group_record_done(struct group_record *r)
{
	free(r->members);
	*r = (struct group_record){ 0 };
}

void group_record_format(const struct group_record *r, struct str *out)
{
	char pool[UUID_TEXT_MAX];

	uuid_format(&r->pool, pool);
	str_appendf(out, VERSION_LINE "created=%lld\npool=%s\n", (long long)r->created_ns, pool);
	for (size_t i = 0; i < r->n_members; i++)
		str_appendf(out, "member=%s,%s\n", r->members[i].token, r->members[i].source);
	str_appendf(out, NAME_KEY "%s", r->name);
}

static int bad(struct err *err, const char *what)
{
	return err_set(err, ERR_FAILED_PRECONDITION, "its record has no valid %s", what);
}

struct parse {
	struct group_record r;
	VEC(struct group_member) members;
	int has;
};

/* "SNAPSHOT,VOLUME" */
static int parse_member(char *value, struct parse *p)
{
	char *comma = strchr(value, ',');
	struct group_member m;

	if (!comma)
		return -1;
	*comma = '\0';
	if (!vol_token_is_valid(value) || !vol_token_is_valid(comma + 1))
		return -1;
	memcpy(m.token, value, strlen(value) + 1);
	memcpy(m.source, comma + 1, strlen(comma + 1) + 1);
	if (p->members.n > 0 && strcmp(p->members.v[p->members.n - 1].source, m.source) >= 0)
		return -1;
	vec_push(&p->members, m);
	return 0;
}

static int parse_line(const struct line *line, struct parse *p, struct err *err)
{
	char value[2 * VOL_TOKEN_MAX];

	if (line_is(line, "needs"))
		return line_check_needs(line, err);
	if (line_is(line, "created")) {
		p->has |= HAS_CREATED;
		return line_copy(line, value, sizeof(value)) < 0 ||
				       str_parse_i64(value, &p->r.created_ns) < 0
			       ? bad(err, "time")
			       : 0;
	}
	if (line_is(line, "pool")) {
		p->has |= HAS_POOL;
		return line_copy(line, value, sizeof(value)) < 0 ||
				       uuid_parse(value, &p->r.pool) < 0
			       ? bad(err, "pool")
			       : 0;
	}
	if (line_is(line, "member"))
		return line_copy(line, value, sizeof(value)) < 0 || parse_member(value, p) < 0
			       ? bad(err, "member")
			       : 0;
	return 0;
}

static int parse_all(const char *text, struct parse *p, struct err *err)
{
	const char *at = text;
	struct line line;

	if (!str_has_prefix(at, VERSION_LINE))
		return bad(err, "version (this cleat knows version 1)");
	at += strlen(VERSION_LINE);
	while (!str_has_prefix(at, NAME_KEY) && line_next(&at, &line) > 0) {
		if (parse_line(&line, p, err) < 0)
			return -1;
	}
	if (!str_has_prefix(at, NAME_KEY))
		return bad(err, "name");
	at += strlen(NAME_KEY);
	if (!at[0] || strlen(at) >= sizeof(p->r.name))
		return bad(err, "name");
	(void)snprintf(p->r.name, sizeof(p->r.name), "%s", at);
	if (p->has != HAS_ALL)
		return bad(err, p->has & HAS_CREATED ? "pool" : "time");
	return p->members.n == 0 ? bad(err, "member") : 0;
}

int group_record_parse(const char *text, struct group_record *ret_record, struct err *err)
{
	struct parse p = { .members = VEC_INIT };

	if (parse_all(text, &p, err) < 0) {
		vec_done(&p.members);
		return -1;
	}
	p.r.members = p.members.v;
	p.r.n_members = p.members.n;
	*ret_record = p.r;
	return 0;
}
