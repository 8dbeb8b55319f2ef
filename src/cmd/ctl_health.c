/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl health - what is wrong with pools and volumes, by the health calls of CSI 1.13
 *
 * A driver, or an endpoint of it, may have only some of these calls; what it does not have is
 * passed over, and it is an error only if it has none.
 */
#include "base/json.h"
#include "base/mem.h"
#include "base/vec.h"
#include "cmd/ctl.h"
#include "cmd/table.h"

struct answers {
	struct csi_node_get_storage_health_response storage;
	VEC(struct csi_volume_health) volumes;
};

static const char *volume_status(enum csi_volume_health_error_type status)
{
	switch (status) {
	case CSI_VOLUME_HEALTH_ERROR_TYPE_DEGRADED:
		return "DEGRADED";
	case CSI_VOLUME_HEALTH_ERROR_TYPE_INACCESSIBLE:
		return "INACCESSIBLE";
	case CSI_VOLUME_HEALTH_ERROR_TYPE_DATA_LOSS:
		return "DATA_LOSS";
	case CSI_VOLUME_HEALTH_ERROR_TYPE_UNKNOWN_VOLUME_HEALTH_TYPE:
		break;
	}
	return "UNKNOWN";
}

static const char *storage_status(enum csi_storage_health_error_type status)
{
	switch (status) {
	case CSI_STORAGE_HEALTH_ERROR_TYPE_STORAGE_DEGRADED:
		return "STORAGE_DEGRADED";
	case CSI_STORAGE_HEALTH_ERROR_TYPE_STORAGE_UNREACHABLE:
		return "STORAGE_UNREACHABLE";
	case CSI_STORAGE_HEALTH_ERROR_TYPE_UNKNOWN_STORAGE_HEALTH_ERROR_TYPE:
		break;
	}
	return "UNKNOWN";
}

/* 1, 0 if the endpoint has no such call, or -1. */
static int ask_storage(struct ctl *ctl, struct answers *answers, struct err *err)
{
	const struct csi_node_get_storage_health_request req = { 0 };

	if (csi_node_get_storage_health(ctl->service, ctl->ctx, &req, &answers->storage, err) == 0)
		return 1;
	answers->storage.n_backend_health = 0;
	return err->code == ERR_UNIMPLEMENTED || err->code == ERR_PERMISSION_DENIED ? 0 : -1;
}

static int ask_volumes(struct ctl *ctl, struct answers *answers, struct err *err)
{
	struct csi_controller_list_volume_health_request req = { .max_entries = 500,
								 .starting_token = "" };
	struct csi_controller_list_volume_health_response page;

	do {
		if (csi_controller_list_volume_health(ctl->service, ctl->ctx, &req, &page, err) < 0)
			return err->code == ERR_UNIMPLEMENTED ? 0 : -1;
		for (size_t i = 0; i < page.n_entries; i++)
			vec_push(&answers->volumes, page.entries[i]);
		req.starting_token = page.next_token;
	} while (!str_is_empty(page.next_token));
	return 1;
}

static void put_condition(struct json_writer *w, const char *status, const char *reason,
			  const char *message)
{
	json_begin_object(w);
	json_field_string(w, "status", status);
	json_field_string(w, "reason", reason);
	json_field_string(w, "message", message);
	json_end_object(w);
}

static void put_volume(struct json_writer *w, const struct csi_volume_health *v)
{
	json_begin_object(w);
	json_field_string(w, "volume_id", v->volume_id);
	json_key(w, "health_statuses");
	json_begin_array(w);
	for (size_t i = 0; i < v->n_health_statuses; i++)
		put_condition(w, volume_status(v->health_statuses[i].status),
			      v->health_statuses[i].reason, v->health_statuses[i].message);
	json_end_array(w);
	json_end_object(w);
}

static void print_document(struct ctl *ctl, const struct answers *answers)
{
	const struct csi_node_get_storage_health_response *storage = &answers->storage;
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);

	json_begin_object(&w);
	json_key(&w, "backend_health");
	json_begin_array(&w);
	for (size_t i = 0; i < storage->n_backend_health; i++)
		put_condition(&w, storage_status(storage->backend_health[i].status),
			      storage->backend_health[i].reason,
			      storage->backend_health[i].message);
	json_end_array(&w);
	json_key(&w, "entries");
	json_begin_array(&w);
	for (size_t i = 0; i < answers->volumes.n; i++)
		put_volume(&w, &answers->volumes.v[i]);
	json_end_array(&w);
	json_end_object(&w);
	ctl_print_document(ctl, &json);
}

static void print_table(struct ctl *ctl, const struct answers *answers)
{
	static const char *const headings[] = { "VOLUME", "STATUS", "REASON", "MESSAGE" };
	const struct csi_node_get_storage_health_response *storage = &answers->storage;
	struct table *t;

	if (storage->n_backend_health == 0 && answers->volumes.n == 0) {
		str_append(ctl->out, "all pools and volumes are well\n");
		return;
	}
	t = table_new(headings, 4);
	for (size_t i = 0; i < storage->n_backend_health; i++)
		table_row(t, (const char *const[]){
				     NULL, storage_status(storage->backend_health[i].status),
				     storage->backend_health[i].reason,
				     storage->backend_health[i].message });
	for (size_t i = 0; i < answers->volumes.n; i++) {
		const struct csi_volume_health *v = &answers->volumes.v[i];

		for (size_t k = 0; k < v->n_health_statuses; k++)
			table_row(t,
				  (const char *const[]){
					  v->volume_id, volume_status(v->health_statuses[k].status),
					  v->health_statuses[k].reason,
					  v->health_statuses[k].message });
	}
	table_print(t, ctl->out);
	table_free(t);
}

static void print_answers(struct ctl *ctl, const struct answers *answers)
{
	switch (ctl->output) {
	case CTL_ID:
		for (size_t i = 0; i < answers->volumes.n; i++)
			str_appendf(ctl->out, "%s\n", answers->volumes.v[i].volume_id);
		break;
	case CTL_JSON:
	case CTL_YAML:
		print_document(ctl, answers);
		break;
	case CTL_TABLE:
		print_table(ctl, answers);
		break;
	}
}

int ctl_health(struct ctl *ctl, struct err *err)
{
	struct answers answers = { 0 };
	int n_storage = ask_storage(ctl, &answers, err);
	int n_volumes = n_storage < 0 ? -1 : ask_volumes(ctl, &answers, err);
	bool is_answered = n_volumes >= 0 && n_storage + n_volumes > 0;

	if (is_answered)
		print_answers(ctl, &answers);
	vec_done(&answers.volumes);
	return is_answered ? 0 : -1;
}
