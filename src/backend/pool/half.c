/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes whose writing out, or copying, took longer than one call.
 *
 * A volume of which every block is written takes a second or so a GiB, a CreateVolume has ten. So a
 * call whose time is over leaves what it has here, and the next one for the token goes on with it.
 * It is still the nameless file of create.c: it evaporates with this process, and nothing else of
 * the pool ever sees it. What it is, says its own record, which is compared when it is taken up.
 *
 * It holds its blocks. It goes when its volume is deleted or wanted otherwise, when more than
 * POOL_HALVES_MAX are here (the one left for longest), and when nobody came back for longer than
 * any CO waits between two calls.
 */
#include "backend/pool/pool-internal.h"
#include "base/clock.h"
#include "base/str.h"

/* COs back off up to 5 minutes. */
#define KEEP_NS (15 * 60 * NS_PER_S)
/* More would only be slower each, and keep the lane's threads from what takes a moment. */
#define WRITERS_MAX 2

void pool_halves_init(struct pool *p)
{
	for (size_t i = 0; i < POOL_HALVES_MAX; i++)
		p->halves[i].fd = -1;
}

/* Under p->lock: empties the place. */
static int take(struct pool_half *half)
{
	int fd = half->fd;

	half->fd = -1;
	return fd;
}

void pool_half_keep(struct pool *p, const char *token, int fd, const struct pool_copied *copied)
{
	struct pool_half *place = &p->halves[0];
	int old_fd;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 1; i < POOL_HALVES_MAX && place->fd >= 0; i++) {
		if (p->halves[i].fd < 0 || p->halves[i].kept_ns < place->kept_ns)
			place = &p->halves[i];
	}
	old_fd = take(place);
	place->fd = fd;
	place->copied = *copied;
	place->kept_ns = clock_now_ns();
	(void)snprintf(place->token, sizeof(place->token), "%s", token);
	pthread_mutex_unlock(&p->lock);
	host_fd_close(old_fd);
}

int pool_half_take(struct pool *p, const char *token, struct pool_copied *ret_copied)
{
	int fd = -1;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < POOL_HALVES_MAX && fd < 0; i++) {
		if (p->halves[i].fd >= 0 && str_is_equal(p->halves[i].token, token)) {
			*ret_copied = p->halves[i].copied;
			fd = take(&p->halves[i]);
		}
	}
	pthread_mutex_unlock(&p->lock);
	return fd;
}

void pool_half_drop(struct pool *p, const char *token)
{
	struct pool_copied ignored;

	host_fd_close(pool_half_take(p, token, &ignored));
}

bool pool_half_is_there(struct pool *p, const char *token)
{
	bool is_there = false;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < POOL_HALVES_MAX; i++)
		is_there |= p->halves[i].fd >= 0 && str_is_equal(p->halves[i].token, token);
	pthread_mutex_unlock(&p->lock);
	return is_there;
}

static void drop_older(struct pool *p, int64_t than_ns)
{
	int fds[POOL_HALVES_MAX];

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < POOL_HALVES_MAX; i++)
		fds[i] = p->halves[i].kept_ns < than_ns ? take(&p->halves[i]) : -1;
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < POOL_HALVES_MAX; i++)
		host_fd_close(fds[i]);
}

void pool_halves_drop_old(struct pool *p)
{
	drop_older(p, clock_now_ns() - KEEP_NS);
}

void pool_halves_drop_all(struct pool *p)
{
	drop_older(p, INT64_MAX);
}

int pool_writer_begin(struct pool *p, struct err *err)
{
	bool may;

	pthread_mutex_lock(&p->lock);
	may = p->n_writers < WRITERS_MAX;
	p->n_writers += may;
	pthread_mutex_unlock(&p->lock);
	return may ? 0
		   : err_set(err, ERR_UNAVAILABLE,
			     "%d volumes of this pool are being written out (allocation=written) "
			     "or "
			     "copied, and this one waits its turn",
			     WRITERS_MAX);
}

void pool_writer_end(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->n_writers--;
	pthread_mutex_unlock(&p->lock);
}
