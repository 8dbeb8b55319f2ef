/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .cleat/work: what is being made and takes longer than one call, under names that no volume can
 * have. Whoever makes something there goes on with it by its name or begins anew; so what a killed
 * process left is of no use to the next, and goes when the pool is opened.
 */
#define LOG_ROOM "backend"
#include "backend/pool/pool-internal.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"

struct names {
	VEC(char *) v;
};

static int collect(void *arg, const char *name, bool is_regular)
{
	struct names *names = arg;

	if (is_regular)
		vec_push(&names->v, xstrdup(name));
	return 0;
}

void pool_sweep_work(const struct pool *p)
{
	struct names names = { .v = VEC_INIT };
	autohostfd int work_fd = -1;
	struct err err = { .code = ERR_OK };
	size_t n_swept = 0;

	if (host_dir_open_at(p->meta_fd, "work", &work_fd, &err) < 0) {
		if (err.code == ERR_NOT_FOUND)
			return;
	} else if (host_dir_each(work_fd, collect, &names, &err) == 0) {
		for (; n_swept < names.v.n; n_swept++) {
			if (host_file_unlink(work_fd, names.v.v[n_swept], &err) < 0)
				break;
		}
	}
	if (err.code != ERR_OK)
		log_warn("unfinished work of a killed process could not be removed",
			 log_str("pool", p->base.pool_name), log_err(&err));
	else if (n_swept > 0)
		log_info("unfinished work of a killed process removed",
			 log_str("pool", p->base.pool_name), log_u64("files", n_swept));
	for (size_t i = 0; i < names.v.n; i++)
		free(names.v.v[i]);
	vec_done(&names.v);
}
