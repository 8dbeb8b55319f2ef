/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume in use holds still for a moment.
 */
#include "backend/quiesce.h"

#include "host/blockdev.h"

int quiesce_begin(struct ctx *ctx, const struct quiesce_what *what, struct quiesce *ret_quiesce,
		  struct err *err)
{
	struct backend_device dev;
	int rc;

	(void)ctx;
	rc = filedev_find(FILEDEV_MAIN, what->fd, &what->file, what->name, &dev, err);
	if (rc > 0 && (what->freeze || what->hold))
		rc = err_set(err, ERR_FAILED_PRECONDITION,
			     "it is attached as '%s' and cannot be held still", dev.path);
	if (rc < 0 || (rc > 0 && host_block_flush(dev.path, err) < 0))
		return -1;
	*ret_quiesce = (struct quiesce){ .is_attached = rc > 0 };
	return 0;
}

int quiesce_end(struct quiesce *q, int rc, struct err *err)
{
	(void)q;
	(void)err;
	return rc;
}
