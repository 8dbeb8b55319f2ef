/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_RECORDER_H
#define KUBE_RECORDER_H

#include "kube/object.h"

struct kube_client;
struct work;

/*
 * Kubernetes Events (v1), as client-go's recorder writes them: repeats of the same event are
 * counted by PATCH, a token bucket per object (25, one more each 300 s) drops floods. Never blocks
 * the caller; failures to write are logged at debug.
 */
struct recorder;
struct recorder *recorder_new(struct work *work, unsigned lane, struct kube_client *client,
			      const char *component, const char *instance);
void recorder_free(struct recorder *r);

enum recorder_type { RECORDER_NORMAL, RECORDER_WARNING };
/* Any thread. reason is CamelCase; message is cut at 1024 bytes. */
void recorder_event(struct recorder *r, const struct kube_object *about, enum recorder_type type,
		    const char *reason, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#endif
