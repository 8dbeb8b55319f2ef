/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat ctl volume check - the filesystem's own checker on a volume that is down
 *
 * The one verb that asks no driver: CSI has no call for it. It goes to the pool's directory, on the
 * node where that is, and works whether or not a driver is running there.
 */
#include <stdio.h>

#include "backend/pool/pool.h"
#include "base/json.h"
#include "base/mem.h"
#include "cmd/ctl.h"
#include "volume/id.h"

static const char *const verdicts[] = {
	[HOST_FS_CLEAN] = "clean",
	[HOST_FS_HAS_ERRORS] = "has errors",
	[HOST_FS_REPAIRED] = "repaired",
	[HOST_FS_WANTS_REPLAY] = "wants its log replayed",
	[HOST_FS_HALF_GROWN] = "was cut off while it grew",
};

static void print_checked(struct ctl *ctl, const struct pool_checked *checked,
			  const struct str *said)
{
	autostr struct str json = STR_INIT;
	struct json_writer w = JSON_WRITER(&json);

	switch (ctl->output) {
	case CTL_ID:
		break;
	case CTL_JSON:
	case CTL_YAML:
		json_begin_object(&w);
		json_field_string(&w, "volume", checked->name);
		json_field_string(&w, "filesystem", checked->fs);
		json_field_string(&w, "verdict", verdicts[checked->verdict]);
		json_field_string(&w, "output", str_get(said));
		json_end_object(&w);
		ctl_print_document(ctl, &json);
		break;
	case CTL_TABLE:
		str_appendf(ctl->out, "%svolume %s: %s %s\n", str_get(said), checked->name,
			    checked->fs, verdicts[checked->verdict]);
		break;
	}
}

/* Exit code 1 says that the volume is not well, whatever was printed. */
static int conclude(struct ctl *ctl, const struct pool_checked *checked, const char *token,
		    struct err *err)
{
	const char *dir = ctl->opts->pool;

	if (checked->verdict == HOST_FS_WANTS_REPLAY)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"the log of '%s' is to be replayed before a repair: mount it once "
			"('cleat ctl volume stage'); if that fails, 'xfs_repair -f -L %s/%s' "
			"gives up what is in the log",
			checked->name, dir, token);
	if (checked->verdict == HOST_FS_HALF_GROWN)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"'%s' was cut off while it grew, and xfs_repair would make it smaller than "
			"its files: stage it once ('cleat ctl volume stage'), which ends its "
			"growth",
			checked->name);
	if (checked->verdict == HOST_FS_HAS_ERRORS)
		return err_set(err, ERR_DATA_LOSS, "the %s of '%s' %s", checked->fs, checked->name,
			       ctl->opts->repair ? "still has errors"
						 : "has errors; --repair lets its tool mend them");
	return 0;
}

int ctl_check(struct ctl *ctl, struct err *err)
{
	autostr struct str said = STR_INIT;
	struct pool_checked checked;
	char token[VOL_TOKEN_MAX];
	struct err no_id;
	struct vol_id id;

	if (vol_id_parse(VOL_KIND_VOLUME, ctl->id, &id, &no_id) < 0)
		vol_token_from_name(ctl->id, token);
	else
		memcpy(token, id.token, sizeof(token));
	if (pool_check(ctl->ctx,
		       &(struct pool_check){ .dir = ctl->opts->pool,
					     .token = token,
					     .repair = ctl->opts->repair,
					     .output = &said },
		       &checked, err) < 0) {
		fputs(str_get(&said), stderr);
		return -1;
	}
	print_checked(ctl, &checked, &said);
	return conclude(ctl, &checked, token, err);
}
