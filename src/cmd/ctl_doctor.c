/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl doctor - what is not as it should be in a pool, in words for a person
 *
 * Asks no driver, and goes to the pool's directory on its node. What the files are is known in
 * backend/pool; here stands why each kind of finding matters and what to do about it. The exit code
 * is 1 as long as there is something left, so that a script can ask.
 */
#include "backend/pool/pool.h"
#include "base/json.h"
#include "cmd/ctl.h"

#include <inttypes.h>

static const struct words {
	const char *kind; /* for programs */
	const char *what;
	const char *why;
	const char *way; /* "%s" is the pool's directory */
} words[POOL_TROUBLES] = {
	[POOL_TROUBLE_READ_ONLY] = { "read-only", "the pool's filesystem is read-only",
				     "nothing can be made, deleted or snapshotted, and writes to "
				     "volumes fail",
				     "look into dmesg for why; then 'mount -o remount,rw', or "
				     "unmount it and run "
				     "xfs_repair" },
	[POOL_TROUBLE_IDENTITY] = { "identity", "the pool cannot be told to be the one it was",
				    "no driver serves it",
				    "'cleat ctl pool adopt' says that it was moved here, or is a "
				    "copy" },
	[POOL_TROUBLE_FOREIGN] = { "foreign", "not cleat's",
				   "it takes room of the pool, and keeps its name from volumes; "
				   "cleat leaves it alone",
				   "move it out of the pool, if nobody needs it there" },
	[POOL_TROUBLE_UNKNOWN] = { "unknown", "nothing that this version of cleat knows",
				   "a newer version may need it, or somebody left it there; it "
				   "takes room",
				   "leave it if a newer cleat has ever served the pool, else move "
				   "it away" },
	[POOL_TROUBLE_NEWER] = { "newer", "made by a newer version of cleat",
				 "this one neither serves nor deletes it",
				 "serve the pool with the newer version" },
	[POOL_TROUBLE_OTHER_POOL] = { "other-pool", "made for another pool",
				      "cleat neither serves nor deletes it; its id names the other "
				      "pool",
				      "bring it back there, or copy its content into a volume of "
				      "this pool" },
	[POOL_TROUBLE_LINKED] = { "linked", "a file with more than one name",
				  "deleting it would empty what the other name stands for, so "
				  "cleat neither serves "
				  "nor deletes it",
				  "'find %s -xdev -samefile' it, and remove the names but this" },
	[POOL_TROUBLE_DAMAGED] = { "damaged", "not whole",
				   "it may be somebody's only data, so cleat neither serves nor "
				   "deletes it",
				   "copy what is worth it by hand, then remove the file" },
	[POOL_TROUBLE_UNREADABLE] = { "unreadable", "could not be looked at",
				      "what is wrong with it is not known",
				      "look into dmesg: is the disk well?" },
	[POOL_TROUBLE_HALF_MADE] = { "half-made", "left by a process that was killed",
				     "it takes room and is of no use to anybody",
				     "--repair removes it, and so does a driver that opens the "
				     "pool" },
	[POOL_TROUBLE_FROZEN] = { "frozen",
				  "a note that a filesystem may have been left frozen by a process "
				  "that was "
				  "killed",
				  "whoever writes to it waits for ever",
				  "--repair thaws it, and so does a driver that opens the pool" },
	[POOL_TROUBLE_TEMPLATE] = { "template", "a template that does not read as it was written",
				    "a volume of its size is not made of it, but takes longer; the "
				    "disk may be failing",
				    "--repair removes it, and so does the next volume of that "
				    "size; look into dmesg" },
	[POOL_TROUBLE_DEVICE] = { "device",
				  "a loop device of cleat's that is mounted nowhere and that no "
				  "staged "
				  "volume has",
				  "its volume cannot be deleted nor checked as long as it is there",
				  "--repair lets go of it, and so does deleting the pods that use "
				  "the volume here" },
	[POOL_TROUBLE_BY_HAND] = { "by-hand", "a loop device over a volume that cleat did not make",
				   "whoever made it may be writing to the volume; it keeps it from "
				   "being deleted",
				   "'losetup -d' it, if nobody needs it" },
	[POOL_TROUBLE_BUFFERED] = { "buffered", "a loop device that lost direct I/O",
				    "data is cached twice, and a full memory can hold up its "
				    "writes",
				    "delete the pods that use the volume here, so that it is "
				    "staged anew, or "
				    "'losetup --direct-io=on' it" },
	[POOL_TROUBLE_UNLINKED] = { "unlinked", "a loop device over a file that was removed",
				    "it has the only copy of these bytes and keeps their room "
				    "until it goes",
				    "copy the device with dd if they are worth it; then unmount "
				    "it, or 'losetup -d' it" },
};

struct printing {
	struct ctl *ctl;
	struct json_writer *w;
};

static void append_way(const struct ctl *ctl, const struct words *w, struct str *out)
{
	const char *at = strstr(w->way, "%s");

	if (at)
		str_appendf(out, "%.*s%s%s", (int)(at - w->way), w->way, ctl->opts->pool, at + 2);
	else
		str_append(out, w->way);
}

static void put_finding(const struct printing *p, const struct pool_finding *f, const char *way)
{
	const struct words *w = &words[f->trouble];

	json_begin_object(p->w);
	json_field_string(p->w, "kind", w->kind);
	json_field_string(p->w, "path", f->path);
	json_field_string(p->w, "what", w->what);
	if (f->detail[0])
		json_field_string(p->w, "detail", f->detail);
	json_field_string(p->w, "why", w->why);
	json_field_string(p->w, "way_out", way);
	json_field_bool(p->w, "can_repair", f->can_mend);
	json_field_bool(p->w, "repaired", f->is_mended);
	if (f->failure)
		json_field_string(p->w, "not_repaired", f->failure);
	json_end_object(p->w);
}

static void print_finding(void *arg, const struct pool_finding *f)
{
	const struct printing *p = arg;
	const struct words *w = &words[f->trouble];
	autostr struct str way = STR_INIT;
	struct str *out = p->ctl->out;

	append_way(p->ctl, w, &way);
	switch (p->ctl->output) {
	case CTL_ID:
		str_appendf(out, "%s\n", f->path);
		break;
	case CTL_JSON:
	case CTL_YAML:
		put_finding(p, f, str_get(&way));
		break;
	case CTL_TABLE:
		str_appendf(out, "%s\n    is %s%s%s%s\n", f->path, w->what,
			    f->detail[0] ? " (" : "", f->detail, f->detail[0] ? ")" : "");
		if (f->is_mended) {
			str_append(out, "    repaired\n");
			break;
		}
		str_appendf(out, "    why it matters: %s\n    way out: %s\n", w->why,
			    str_get(&way));
		if (f->failure)
			str_appendf(out, "    not repaired: %s\n", f->failure);
		break;
	}
}

static int conclude(struct ctl *ctl, const struct pool_examined *seen, struct err *err)
{
	if (ctl->output == CTL_TABLE && seen->n_found == 0)
		str_appendf(ctl->out, "pool %s: nothing found\n", ctl->opts->pool);
	if (seen->n_left == 0)
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION, "%" PRIu64 " thing%s in '%s' want%s attention",
		       seen->n_left, seen->n_left == 1 ? "" : "s", ctl->opts->pool,
		       seen->n_left == 1 ? "s" : "");
}

int ctl_doctor(struct ctl *ctl, struct err *err)
{
	const struct pool_doctor what = { .dir = ctl->opts->pool, .repair = ctl->opts->repair };
	bool is_document = ctl->output == CTL_JSON || ctl->output == CTL_YAML;
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);
	struct printing printing = { .ctl = ctl, .w = &w };
	struct pool_examined seen;

	json_begin_object(&w);
	json_field_string(&w, "pool", what.dir);
	json_key(&w, "items");
	json_begin_array(&w);
	if (pool_examine(ctl->ctx, &what, print_finding, &printing, &seen, err) < 0)
		return -1;
	json_end_array(&w);
	json_field_bool(&w, "served", seen.is_served);
	json_end_object(&w);
	if (is_document)
		ctl_print_document(ctl, &json);
	return conclude(ctl, &seen, err);
}
