/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_NOTE_H
#define CSI_NOTE_H

#include "backend/backend.h"
#include "volume/capability.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * struct note - with which arguments a volume was staged and published on this node
 *
 * What the mounts themselves cannot tell: the access mode, the flags, which mounts are targets of
 * ours. Kept with the volume by the backend, as text. It is written before the mount is made and
 * says nothing by itself: an entry counts only while the mount (or, for raw block, the attached
 * device) is there. A note of another boot, or one that cannot be read, is no note.
 */
#define NOTE_TARGETS_MAX 79u
#define NOTE_PATH_MAX 256u
#define NOTE_FLAGS_MAX 384u
#define NOTE_PODS_MAX 8u
#define NOTE_POD_UID_MAX 64u

struct note_target {
	uint64_t path; /* hash */
	uint64_t args; /* hash of capability and readonly */
};

/* The pod of a target whose path does not tell it. */
struct note_pod {
	uint64_t path;
	char uid[NOTE_POD_UID_MAX];
};

struct note {
	bool is_staged;
	bool is_block;
	uint64_t staging; /* hash of the path */
	uint64_t capability;
	char staging_text[NOTE_PATH_MAX]; /* the path itself if it is short enough, for messages;
					     else "" */
	char flags_text[NOTE_FLAGS_MAX];  /* the filesystem's mount flags, for messages: in order,
					     with commas; "" if there are none or too many */
	struct note_target targets[NOTE_TARGETS_MAX];
	size_t n_targets;
	struct note_pod pods[NOTE_PODS_MAX];
	size_t n_pods;
};

uint64_t note_hash_path(const char *path);
/* Of what is one for the whole filesystem: mode, type and its flags, in whatever order they are.
 * The flags that each mount can have for itself are the publish's. */
uint64_t note_hash_capability(const struct vol_capability *cap);
uint64_t note_hash_publish(const struct vol_capability *cap, bool readonly);

/* Bad text, or text of another boot, gives an empty note. */
void note_parse(const char *text, const char *boot_id, struct note *ret_note);
/* Always fits. */
void note_format(const struct note *note, const char *boot_id, char ret_text[BACKEND_NOTE_MAX + 1]);

void note_stage(struct note *note, const char *path, const struct vol_capability *cap);
void note_unstage(struct note *note);                                             /* targets stay */
const struct note_target *note_find(const struct note *note, uint64_t path_hash); /* NULL if none */
/* False if there is no room; the target then works, but cannot be compared later. */
bool note_add(struct note *note, const char *path, uint64_t args);
void note_remove(struct note *note, uint64_t path_hash); /* its pod too */

/* Nothing if there is no room, or uid is none: the pod is then forgotten with this process. */
void note_set_pod(struct note *note, const char *path, const char *uid);
const char *note_pod_of(const struct note *note, uint64_t path_hash); /* NULL if not noted */

#endif
