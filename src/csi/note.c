/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The note's text:
 *
 *   cleat-note 1
 *   boot 0b8c9a2e-…
 *   staged <path hash> <capability hash> mount|block <path, if short>
 *   flags <mount flags of the filesystem, if short>
 *   target <path hash> <argument hash>
 *   pod <path hash> <uid>
 *
 * Hashes instead of words, because a path may have 4095 bytes and flags as many, while the note has
 * 4096: so many targets fit whatever their length. The hash is FNV-1a of 64 bits over
 * length-prefixed parts; it is compared with arguments that come over a root-only socket, so
 * accidents matter and attacks do not.
 */
#include "csi/note.h"

#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/cgroup.h"

#define NOTE_HEAD "cleat-note 1"

static uint64_t hash_text(uint64_t h, const char *text)
{
	uint64_t n = strlen(text);

	h = hash_fnv1a_64(h, &n, sizeof(n));
	return hash_fnv1a_64(h, text, n);
}

uint64_t note_hash_path(const char *path)
{
	return hash_text(HASH_FNV1A_64_START, path);
}

static uint64_t hash_flags(uint64_t h, const struct vol_capability *cap, bool of_mount)
{
	autofree const char **flags = xcalloc(cap->n_mount_flags + 1, sizeof(*flags));
	size_t n = vol_capability_flags(cap, of_mount, flags);

	for (size_t i = 0; i < n; i++)
		h = hash_text(h, flags[i]);
	return h;
}

/* "a,b", or "" if it does not fit. */
static void write_flags(const struct vol_capability *cap, char ret_text[NOTE_FLAGS_MAX])
{
	autofree const char **flags = xcalloc(cap->n_mount_flags + 1, sizeof(*flags));
	autostr struct str text = STR_INIT;
	size_t n = cap->access == VOL_ACCESS_MOUNT ? vol_capability_flags(cap, false, flags) : 0;

	for (size_t i = 0; i < n; i++)
		str_appendf(&text, "%s%s", i ? "," : "", flags[i]);
	if (text.len >= NOTE_FLAGS_MAX || !text.len)
		ret_text[0] = '\0';
	else
		memcpy(ret_text, text.buf, text.len + 1);
}

uint64_t note_hash_capability(const struct vol_capability *cap)
{
	/* 0 and 1 are on disk, whatever the enum's numbers are */
	unsigned char kind[2] = { cap->access == VOL_ACCESS_BLOCK, (unsigned char)cap->mode };
	uint64_t h = hash_fnv1a_64(HASH_FNV1A_64_START, kind, sizeof(kind));

	if (cap->access == VOL_ACCESS_BLOCK)
		return h;
	return hash_flags(hash_text(h, str_or(cap->fs_type, "")), cap, false);
}

uint64_t note_hash_publish(const struct vol_capability *cap, bool readonly)
{
	unsigned char ro = readonly;
	uint64_t h = note_hash_capability(cap);

	if (cap->access == VOL_ACCESS_MOUNT)
		h = hash_flags(h, cap, true);
	return hash_fnv1a_64(h, &ro, sizeof(ro));
}

void note_stage(struct note *note, const char *path, const struct vol_capability *cap)
{
	size_t n = strlen(path);

	note->is_staged = true;
	note->is_block = cap->access == VOL_ACCESS_BLOCK;
	note->staging = note_hash_path(path);
	note->capability = note_hash_capability(cap);
	if (n >= NOTE_PATH_MAX)
		n = 0;
	memcpy(note->staging_text, path, n);
	note->staging_text[n] = '\0';
	write_flags(cap, note->flags_text);
}

void note_unstage(struct note *note)
{
	note->is_staged = false;
	note->is_block = false;
	note->staging = 0;
	note->capability = 0;
	note->staging_text[0] = '\0';
	note->flags_text[0] = '\0';
}

const struct note_target *note_find(const struct note *note, uint64_t path_hash)
{
	for (size_t i = 0; i < note->n_targets; i++) {
		if (note->targets[i].path == path_hash)
			return &note->targets[i];
	}
	return NULL;
}

const char *note_pod_of(const struct note *note, uint64_t path_hash)
{
	for (size_t i = 0; i < note->n_pods; i++) {
		if (note->pods[i].path == path_hash)
			return note->pods[i].uid;
	}
	return NULL;
}

static void remove_pod(struct note *note, uint64_t path_hash)
{
	for (size_t i = 0; i < note->n_pods; i++) {
		if (note->pods[i].path == path_hash) {
			note->pods[i] = note->pods[--note->n_pods];
			return;
		}
	}
}

static void add_pod(struct note *note, uint64_t path_hash, const char *uid)
{
	struct note_pod *pod;

	remove_pod(note, path_hash);
	if (note->n_pods == NOTE_PODS_MAX || !host_pod_uid_is_valid(uid))
		return;
	pod = &note->pods[note->n_pods++];
	pod->path = path_hash;
	(void)snprintf(pod->uid, sizeof(pod->uid), "%s", uid);
}

void note_set_pod(struct note *note, const char *path, const char *uid)
{
	add_pod(note, note_hash_path(path), uid);
}

void note_remove(struct note *note, uint64_t path_hash)
{
	remove_pod(note, path_hash);
	for (size_t i = 0; i < note->n_targets; i++) {
		if (note->targets[i].path == path_hash) {
			note->targets[i] = note->targets[--note->n_targets];
			return;
		}
	}
}

bool note_add(struct note *note, const char *path, uint64_t args)
{
	uint64_t hash = note_hash_path(path);

	note_remove(note, hash);
	if (note->n_targets == NOTE_TARGETS_MAX)
		return false;
	note->targets[note->n_targets++] = (struct note_target){ hash, args };
	return true;
}

void note_format(const struct note *note, const char *boot_id, char ret_text[BACKEND_NOTE_MAX + 1])
{
	autostr struct str out = STR_INIT;

	ret_text[0] = '\0';
	if (!note->is_staged && note->n_targets == 0)
		return;
	str_appendf(&out, NOTE_HEAD "\nboot %s\n", boot_id);
	if (note->is_staged)
		str_appendf(&out, "staged %016" PRIx64 " %016" PRIx64 " %s %s\n", note->staging,
			    note->capability, note->is_block ? "block" : "mount",
			    note->staging_text);
	if (note->is_staged && note->flags_text[0])
		str_appendf(&out, "flags %s\n", note->flags_text);
	for (size_t i = 0; i < note->n_targets; i++)
		str_appendf(&out, "target %016" PRIx64 " %016" PRIx64 "\n", note->targets[i].path,
			    note->targets[i].args);
	for (size_t i = 0; i < note->n_pods; i++) {
		const struct note_pod *pod = &note->pods[i];

		if (out.len + strlen("pod \n") + 17 + strlen(pod->uid) <= BACKEND_NOTE_MAX)
			str_appendf(&out, "pod %016" PRIx64 " %s\n", pod->path, pod->uid);
	}
	memcpy(ret_text, out.buf, out.len + 1);
}

static_assert(64 + 48 + NOTE_PATH_MAX + 8 + NOTE_FLAGS_MAX + NOTE_TARGETS_MAX * 41 <=
		      BACKEND_NOTE_MAX,
	      "head and boot line, staging line, flags and all target lines fit");

/* Exactly 16 hex digits at *p, then the byte stop. */
static bool take_hash(const char **p, char stop, uint64_t *ret_hash)
{
	uint64_t h;

	if (hex_parse(*p, sizeof(h), &h) < 0 || (*p)[16] != stop)
		return false;
	*p += stop ? 17 : 16;
	*ret_hash = be64toh(h);
	return true;
}

static bool parse_line(const char *line, struct note *note)
{
	uint64_t a;
	uint64_t b;

	if (str_has_prefix(line, "target ")) {
		line += strlen("target ");
		if (!take_hash(&line, ' ', &a) || !take_hash(&line, '\0', &b) ||
		    note->n_targets == NOTE_TARGETS_MAX)
			return false;
		note->targets[note->n_targets++] = (struct note_target){ a, b };
		return true;
	}
	if (str_has_prefix(line, "flags ")) {
		line += strlen("flags ");
		if (!note->is_staged || strlen(line) >= NOTE_FLAGS_MAX)
			return false;
		memcpy(note->flags_text, line, strlen(line) + 1);
		return true;
	}
	if (str_has_prefix(line, "pod ")) {
		line += strlen("pod ");
		if (!take_hash(&line, ' ', &a))
			return false;
		add_pod(note, a, line);
		return true;
	}
	if (!str_has_prefix(line, "staged "))
		return false;
	line += strlen("staged ");
	if (!take_hash(&line, ' ', &a) || !take_hash(&line, ' ', &b))
		return false;
	note->is_block = str_has_prefix(line, "block ");
	if ((!note->is_block && !str_has_prefix(line, "mount ")) ||
	    strlen(line + 6) >= NOTE_PATH_MAX)
		return false;
	note->is_staged = true;
	note->staging = a;
	note->capability = b;
	memcpy(note->staging_text, line + 6, strlen(line + 6) + 1);
	return true;
}

void note_parse(const char *text, const char *boot_id, struct note *ret_note)
{
	autofree char *copy = xstrdup(text);
	char *rest = copy;
	struct note note = { 0 };
	unsigned n = 0;

	*ret_note = note;
	for (char *line; (line = strsep(&rest, "\n")) && *line; n++) {
		if (n == 0 && !str_is_equal(line, NOTE_HEAD))
			return;
		if (n == 1 && (!str_has_prefix(line, "boot ") || !str_is_equal(line + 5, boot_id)))
			return;
		if (n > 1 && !parse_line(line, &note))
			return;
	}
	*ret_note = note;
}
