/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message of the .proto files as it comes from the wire: the first byte chooses which, the rest
 * are its bytes. It is decoded, checked, dumped and encoded; what was decoded must come back the
 * same from its own bytes, and requests go through the driver's checks.
 */
#include "base/mem.h"
#include "base/str.h"
#include "csi/dump.h"
#include "csi/fields.h"
#include "csi/service.h"
#include "csi/validate.h"

static void validate(const struct msg_type *type, const void *msg)
{
	struct err err;

	if (type == &csi_create_volume_request_type)
		(void)validate_create_volume(msg, &err);
	else if (type == &csi_validate_volume_capabilities_request_type)
		(void)validate_validate(msg, &err);
	else if (type == &csi_get_capacity_request_type)
		(void)validate_get_capacity(msg, &err);
	else if (type == &csi_node_stage_volume_request_type)
		(void)validate_stage(msg, &err);
	else if (type == &csi_node_publish_volume_request_type)
		(void)validate_publish(msg, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoarena struct arena *a = arena_new();
	autostr struct str text = STR_INIT;
	autostr struct str again = STR_INIT;
	const struct msg_type *type;
	struct msg_bytes bytes = { data + 1, size - 1 };
	struct msg_bytes once, twice;
	struct err err;
	void *msg;

	if (size == 0)
		return 0;
	type = csi_message_types[data[0] % csi_n_message_types];
	msg = arena_alloc(a, type->size);
	if (message_decode(type, a, &bytes, MSG_FIELDS_REQUEST, msg, &err) < 0)
		return 0;
	/* What came over the wire is never what csi_<name> calls forgotten. */
	if (fields_check_flags(type, msg, &err) < 0)
		abort();
	(void)fields_check(type, msg, &err);
	(void)fields_check_required(type, msg, &err);
	validate(type, msg);
	dump_message(type, msg, &text);
	once = message_encode(type, a, msg);
	if (message_decode(type, a, &once, 2 * MSG_FIELDS_REQUEST, msg, &err) < 0)
		abort();
	dump_message(type, msg, &again);
	twice = message_encode(type, a, msg);
	if (!str_is_equal(str_get(&text), str_get(&again)) || once.n != twice.n ||
	    (once.n > 0 && memcmp(once.data, twice.data, once.n) != 0))
		abort();
	return 0;
}
