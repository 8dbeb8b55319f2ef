/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_KUBE_H
#define TESTS_FAKE_KUBE_H

/*
 * A Kubernetes in one process without threads, in place of kube/'s client, informer, queue and
 * recorder and of event/'s timers. Objects and quantities are the real ones.
 *
 *   kube_api.c    the API server: objects as JSON by path, resourceVersions, conflicts,
 *                 finalizers, merge patches
 *   kube_cache.c  informers, which see the API only at fake_sync(), so caches can be as stale as
 *                 a test likes; the recorder
 *   kube_run.c    queues, timers, fake time, the controller-manager's part (binding, releasing,
 *                 protections)
 *
 * Each call of the API client or of the fake CSI service is one step, counted from 1; those that
 * the client refuses (a ctx that was cancelled, a fence) are none. A plan says what happens at
 * which step. Objects outlive the informers and queues: a test "kills" a process by dropping these
 * and making new ones.
 */
#include "base/err.h"
#include "control/core.h"
#include "control/group_snapshots.h"
#include "control/snapshots.h"
#include "control/storage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fake_fault {
	FAKE_NONE,
	FAKE_FAIL,       /* step `at` fails with `code` and does nothing */
	FAKE_LOSE,       /* step `at` takes effect, its answer is lost */
	FAKE_KILL,       /* step `at` and all after it do nothing and fail */
	FAKE_KILL_AFTER, /* step `at` takes effect, it and all after it fail */
};

struct fake_plan {
	unsigned at; /* 0: never */
	enum fake_fault fault;
	enum err_code code;
	void (*hook)(void *arg); /* called before step `at` */
	void *arg;
};

/* Forgets everything: objects, events, time, plan, and what a failed test left running. First call
 * of a test. */
void fake_reset(void);

struct fence;
/* The client's, which writes have to pass; NULL, as after a reset: none. */
void fake_set_fence(const struct fence *fence);

/* Writes to paths that hold this part are answered so: a Status object. NULL: none any more. All
 * borrowed. */
void fake_refuse(const char *path_part, int status, const char *body);

/* One kind more than those that all tests link, until a reset. */
void fake_add_type(const struct kube_type *type);

/* The server has no kind of a path that holds this part. NULL: it has all. Borrowed. */
void fake_absent(const char *path_part);
/* Creates at paths that hold this part make nothing and get this answer: they are questions, such
 * as reviews. Both borrowed; four at most. */
void fake_answer(const char *path_part, const char *answer);
/* The body of the last of them; "" without one. */
const char *fake_asked(const char *path_part);

/* The server keeps no such member of a status, as with a gate that is off. NULL: it keeps all.
 * Borrowed. */
void fake_drop(const char *member);

void fake_set_plan(struct fake_plan plan); /* counts steps from 1 again */
unsigned fake_steps(void);                 /* since the plan was set */
/* For the fake services: 0, or what the step's caller must answer. *ret_lost: do the work, then
 * fail. */
int fake_step(bool *ret_lost, struct err *err);

/* As kubectl would, outside all plans. json may leave out uid and resourceVersion. */
void fake_put(const char *path, const char *json);
void fake_merge(const char *path, const char *patch);
void fake_delete(const char *path);
bool fake_has(const char *path);
const char *fake_text(const char *path); /* valid until the next write; asserts that it is there */
unsigned fake_count(const struct kube_type *type);

struct informer;
struct queue;

/* Caches take over the API's state; handlers are called. */
void fake_sync(void);
/* The caches that there are now stay as they are, until it is called with false. */
void fake_freeze(bool is_frozen);
/* What may come from the API server's memory (resourceVersion=0) stays as it is now, until a reset.
 */
void fake_serve_old(void);
unsigned fake_recent_reads(void);         /* those that may come from it, since the plan was set */
void fake_freeze_one(struct informer *i); /* for good: it never syncs */

/* Whether caches take over our own writes before the watch brings them (they do), so that the watch
 * has nothing new for the handlers. */
void fake_note_writes(bool is_on);
/* Whether handlers hear of them at the next sync, as from the real informer (they do not, after a
 * reset): for controllers that wake each other through a cache they share. */
void fake_tell_writes(bool is_on);

/* The controller-manager at work (it is), or away. */
void fake_employ_manager(bool is_on);

/* One round of the controller-manager. True if it changed something. */
bool fake_manage(void);

/* Runs everything that is due (queues, timers, manager, caches) without letting time pass. */
void fake_settle(void);
/* Settles, then lets time pass to the next due key, until nothing waits or `limit_ns` have passed.
 */
void fake_run(int64_t limit_ns);
size_t fake_reconciles(void); /* since reset */
/* Keys that handlers and reconciles put into the queues of this name since reset; without "". */
size_t fake_adds(const char *queue);

/* Events recorded so far, "Warning ProvisioningFailed: text\n"…, and of each recorder that was made
 * "recorder of 'COMPONENT'\n". */
const char *fake_events(void);

#endif
