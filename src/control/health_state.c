/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a driver says of a volume's health, and what an API server takes of that: 16 conditions,
 * each status and reason once, reasons by the rules for conditions, messages of 1024 bytes. A whole
 * status is refused for one that is not so, so what does not fit is left out here, or cut.
 */
#include "control/health-internal.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "control/core.h"

#define REASON_MAX 256
#define MESSAGE_MAX 1024

/* The worst first. */
static const struct {
	enum csi_volume_health_error_type type;
	const char *status;
} statuses[] = {
	{ CSI_VOLUME_HEALTH_ERROR_TYPE_DATA_LOSS, "DataLoss" },
	{ CSI_VOLUME_HEALTH_ERROR_TYPE_INACCESSIBLE, "Inaccessible" },
	{ CSI_VOLUME_HEALTH_ERROR_TYPE_DEGRADED, "Degraded" },
};

static bool is_letter(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* A letter, then letters, digits, '_', ',', ':', the last two not at the end. */
static bool is_reason(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > REASON_MAX || !is_letter(s[0]) || s[n - 1] == ',' || s[n - 1] == ':')
		return false;
	for (size_t i = 1; i < n; i++)
		if (!is_letter(s[i]) && !(s[i] >= '0' && s[i] <= '9') && !strchr("_,:", s[i]))
			return false;
	return true;
}

static const char *cut(struct arena *a, const char *message)
{
	size_t n = strlen(message);

	if (n <= MESSAGE_MAX)
		return message;
	for (n = MESSAGE_MAX; n > 0 && ((unsigned char)message[n] & 0xc0) == 0x80;)
		n--;
	return arena_strndup(a, message, n);
}

static bool has(const struct health_state *s, const char *status, const char *reason)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->v[i].status, status) == 0 && strcmp(s->v[i].reason, reason) == 0)
			return true;
	return false;
}

static void add(struct health_state *s, struct arena *a, const char *status,
		const struct csi_volume_health_volume_health_entry *e)
{
	struct health_condition *c = &s->v[s->n];

	if (s->n == HEALTH_CONDITIONS_MAX || has(s, status, e->reason))
		return;
	*c = (struct health_condition){ status, e->reason, cut(a, e->message) };
	s->hash += core_health_hash(c->status, c->reason, c->message);
	s->kinds += core_health_hash(c->status, c->reason, "");
	s->n++;
}

static bool is_known(const struct csi_volume_health_volume_health_entry *e)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].type == e->status)
			return is_reason(e->reason);
	return false;
}

struct health_state health_state_of(struct arena *a, const struct csi_volume_health *health)
{
	struct health_state s = { .unknown = "" };

	for (size_t k = 0; k < sizeof(statuses) / sizeof(statuses[0]); k++)
		for (size_t i = 0; i < health->n_health_statuses; i++)
			if (health->health_statuses[i].status == statuses[k].type &&
			    is_reason(health->health_statuses[i].reason))
				add(&s, a, statuses[k].status, &health->health_statuses[i]);
	for (size_t i = 0; i < health->n_health_statuses; i++) {
		const struct csi_volume_health_volume_health_entry *e = &health->health_statuses[i];

		if (!is_known(e) && strlen(s.unknown) < MESSAGE_MAX)
			s.unknown = arena_printf(a, "%s%stype %d (%.256s): %s", s.unknown,
						 *s.unknown ? "; " : "", (int)e->status, e->reason,
						 cut(a, e->message));
	}
	return s;
}

const char *health_state_text(struct arena *a, const struct health_state *s)
{
	const char *text = "";

	for (size_t i = 0; i < s->n; i++)
		text = arena_printf(a, "%s%s%s (%s)%s%s", text, *text ? "; " : "", s->v[i].status,
				    s->v[i].reason, *s->v[i].message ? ": " : "", s->v[i].message);
	return text;
}

static void put_condition(struct json_writer *w, const struct health_condition *c)
{
	json_begin_object(w);
	json_field_string(w, "status", c->status);
	json_field_string(w, "reason", c->reason);
	if (*c->message)
		json_field_string(w, "message", c->message);
	json_end_object(w);
}

void health_state_patch(const struct health_state *s, struct str *out)
{
	struct json_writer w = JSON_WRITER(out);
	char now[CLOCK_TEXT_MAX];

	str_append(out, "\"status\":");
	json_begin_object(&w);
	json_key(&w, "healthStatus");
	if (s->n == 0) {
		json_put_null(&w);
		json_end_object(&w);
		return;
	}
	json_begin_object(&w);
	json_key(&w, "healthConditions");
	json_begin_array(&w);
	for (size_t i = 0; i < s->n; i++)
		put_condition(&w, &s->v[i]);
	json_end_array(&w);
	clock_format(clock_wall_ns(), now);
	json_field_string(&w, "lastTransitionTime", now);
	json_end_object(&w);
	json_end_object(&w);
}
