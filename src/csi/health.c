/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kinds of conditions, and how they are told. kubelet copies status and reason to the status of
 * pods and of the node, where a reason is a word such as controllers write, and a message has at
 * most 1024 bytes.
 *
 * A volume whose file was removed is DEGRADED and not lost: its bytes are there and are used, and a
 * status that says "lost" would have somebody end the pod that keeps them.
 */
#include "csi/health.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"

#define MESSAGE_MAX 1024u

/* clang-format off */
static const struct {
	enum csi_volume_health_error_type status;
	const char *reason;
	const char *label;
} kinds[N_HEALTH] = {
	[HEALTH_POOL_GONE]    = { CSI_VOLUME_HEALTH_ERROR_TYPE_INACCESSIBLE, "PoolGone", "pool_gone" },
	[HEALTH_SILENT]       = { CSI_VOLUME_HEALTH_ERROR_TYPE_INACCESSIBLE, "NotAnswering", "not_answering" },
	[HEALTH_DAMAGED]      = { CSI_VOLUME_HEALTH_ERROR_TYPE_DATA_LOSS, "VolumeDamaged", "damaged" },
	[HEALTH_FILE_MISSING] = { CSI_VOLUME_HEALTH_ERROR_TYPE_DEGRADED, "BackingFileMissing", "file_missing" },
	[HEALTH_DEVICE_GONE]  = { CSI_VOLUME_HEALTH_ERROR_TYPE_INACCESSIBLE, "DeviceGone", "device_gone" },
	[HEALTH_SHUT_DOWN]    = { CSI_VOLUME_HEALTH_ERROR_TYPE_INACCESSIBLE, "FilesystemShutDown", "shut_down" },
	[HEALTH_READ_ONLY]    = { CSI_VOLUME_HEALTH_ERROR_TYPE_DEGRADED, "FilesystemReadOnly", "read_only" },
	[HEALTH_ERRORS]       = { CSI_VOLUME_HEALTH_ERROR_TYPE_DEGRADED, "FilesystemErrors", "errors" },
	[HEALTH_BUFFERED]     = { CSI_VOLUME_HEALTH_ERROR_TYPE_DEGRADED, "DirectIOLost", "direct_io_lost" },
	[HEALTH_POOL_NEARLY_FULL] = { CSI_VOLUME_HEALTH_ERROR_TYPE_DEGRADED, "PoolNearlyFull", "pool_nearly_full" },
	[HEALTH_POOL_FULL]    = { CSI_VOLUME_HEALTH_ERROR_TYPE_DEGRADED, "PoolAlmostFull", "pool_almost_full" },
};

static const struct {
	enum csi_storage_health_error_type status;
	const char *reason;
	const char *label;
} pool_kinds[N_POOL_HEALTH] = {
	[POOL_HEALTH_GONE]          = { CSI_STORAGE_HEALTH_ERROR_TYPE_STORAGE_UNREACHABLE, "PoolGone", "gone" },
	[POOL_HEALTH_SILENT]        = { CSI_STORAGE_HEALTH_ERROR_TYPE_STORAGE_UNREACHABLE, "PoolNotAnswering", "not_answering" },
	[POOL_HEALTH_NEARLY_FULL]   = { CSI_STORAGE_HEALTH_ERROR_TYPE_STORAGE_DEGRADED, "PoolNearlyFull", "nearly_full" },
	[POOL_HEALTH_FULL]          = { CSI_STORAGE_HEALTH_ERROR_TYPE_STORAGE_DEGRADED, "PoolAlmostFull", "almost_full" },
	[POOL_HEALTH_OVERDRAWN]     = { CSI_STORAGE_HEALTH_ERROR_TYPE_STORAGE_DEGRADED, "PoolOverdrawn", "overdrawn" },
	[POOL_HEALTH_DAMAGED]       = { CSI_STORAGE_HEALTH_ERROR_TYPE_STORAGE_DEGRADED, "VolumesDamaged", "damaged" },
	[POOL_HEALTH_FILES_MISSING] = { CSI_STORAGE_HEALTH_ERROR_TYPE_STORAGE_DEGRADED, "BackingFilesMissing", "files_missing" },
};
/* clang-format on */

const char *health_label(enum health_kind kind)
{
	return kinds[kind].label;
}

const char *pool_health_label(enum pool_health_kind kind)
{
	return pool_kinds[kind].label;
}

bool health_has(const struct health *h, enum health_kind kind)
{
	for (size_t i = 0; i < h->n; i++) {
		if (h->kinds[i] == kind)
			return true;
	}
	return false;
}

/* Cut where no character is. */
static const char *format_message(struct arena *a, const char *fmt, va_list args)
{
	char text[MESSAGE_MAX + 1];

	(void)vsnprintf(text, sizeof(text), fmt, args);
	for (size_t n = strlen(text); n > 0 && !str_is_utf8(text, n); n--)
		text[n - 1] = '\0';
	return arena_strdup(a, text);
}

void health_add(struct health *h, enum health_kind kind, const char *fmt, ...)
{
	va_list args;

	if (health_has(h, kind))
		return;
	h->kinds[h->n] = kind;
	h->entries[h->n] =
		(struct csi_volume_health_volume_health_entry){ .status = kinds[kind].status,
								.reason = kinds[kind].reason };
	va_start(args, fmt);
	h->entries[h->n++].message = format_message(h->a, fmt, args);
	va_end(args);
}

struct csi_volume_health health_reply(const struct health *h, const char *volume_id)
{
	return (struct csi_volume_health){
		.volume_id = volume_id,
		.health_statuses = arena_memdup(h->a, h->entries, h->n * sizeof(h->entries[0])),
		.n_health_statuses = h->n,
	};
}

void pool_health_add(struct pool_health *h, enum pool_health_kind kind, const char *fmt, ...)
{
	const char *before = h->messages[kind];
	const char *more;
	va_list args;

	va_start(args, fmt);
	more = format_message(h->a, fmt, args);
	va_end(args);
	if (before && strlen(before) + strlen(more) + 2 > MESSAGE_MAX)
		return; /* the reason stands, and the log and `cleat ctl info` name each pool */
	h->messages[kind] = before ? arena_printf(h->a, "%s; %s", before, more) : more;
}

void pool_health_reply(const struct pool_health *h,
		       struct csi_node_get_storage_health_response *ret)
{
	struct csi_node_get_storage_health_response_storage_backend_health *entries =
		arena_array(h->a, N_POOL_HEALTH, sizeof(*entries));
	size_t n = 0;

	for (size_t i = 0; i < N_POOL_HEALTH; i++) {
		if (!h->messages[i])
			continue;
		entries[n] = (struct csi_node_get_storage_health_response_storage_backend_health){
			.status = pool_kinds[i].status,
			.reason = pool_kinds[i].reason,
			.message = h->messages[i],
			/* of volumes of every kind */
			.volume_capability = { .fs_type = "", .mount_group = "" },
		};
		n++;
	}
	ret->backend_health = entries;
	ret->n_backend_health = n;
}
