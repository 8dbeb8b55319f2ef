/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * log_info("volume created", log_str("volume", id), log_u64("bytes", n));
 *
 * A constant message and typed fields. Two forms, both on stderr, one write(2) a line (so lines of
 * threads never mix): text as klog writes it (`I1123 10:00:00.000000    4711 node.c:42] "volume
 * created" volume="…" bytes=1`), and JSON as Kubernetes components write it (ts in ms, caller, msg,
 * v or err). Levels: error (someone must act), warn (we go on), info (state changed; not with -v
 * 0), debug. Debug is switched on by -v ≥ 4 or for a room by --debug=backend,kube.watch.
 * Thread-safe. Never logs a secret: struct secrets (base/secret.h) has no field maker, and
 * log_secret says only that there is one (***).
 */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

enum log_type {
	LOG_F_END,
	LOG_F_STR,
	LOG_F_U64,
	LOG_F_I64,
	LOG_F_BOOL,
	LOG_F_DURATION,
	LOG_F_ERR,
	LOG_F_SECRET
};

struct log_field {
	enum log_type type;
	const char *key;
	union {
		const char *str;
		uint64_t u64;
		int64_t i64;
		bool b;
		const struct err *err;
	} v;
};

#define log_str(k, s) ((struct log_field){ .type = LOG_F_STR, .key = (k), .v.str = (s) })
#define log_u64(k, n) ((struct log_field){ .type = LOG_F_U64, .key = (k), .v.u64 = (n) })
#define log_i64(k, n) ((struct log_field){ .type = LOG_F_I64, .key = (k), .v.i64 = (n) })
#define log_bool(k, x) ((struct log_field){ .type = LOG_F_BOOL, .key = (k), .v.b = (x) })
#define log_duration(k, ns) \
	((struct log_field){ .type = LOG_F_DURATION, .key = (k), .v.i64 = (ns) }) /* seconds */
#define log_err(e) ((struct log_field){ .type = LOG_F_ERR, .key = "err", .v.err = (e) })
#define log_secret(k) ((struct log_field){ .type = LOG_F_SECRET, .key = (k) })

struct log_options {
	enum log_format format;
	int verbosity;     /* klog's -v: 0..10; the default is 2 */
	const char *debug; /* comma-separated rooms, may be NULL; copied */
};

void log_init(const struct log_options *opts);
bool log_is_enabled(enum log_level level, const char *room);
void log_write(enum log_level level, const char *file, int line, const char *msg,
	       const struct log_field *fields);

#define log_at(level, msg, ...)                                                               \
	do {                                                                                  \
		if (log_is_enabled((level), LOG_ROOM))                                        \
			log_write((level), __FILE__, __LINE__, (msg),                         \
				  (const struct log_field[]){                                 \
					  __VA_ARGS__ __VA_OPT__(, ){ .type = LOG_F_END } }); \
	} while (0)
/* A .c file may define LOG_ROOM "kube.watch" before the include; else debug follows -v alone. */
#ifndef LOG_ROOM
#define LOG_ROOM ""
#endif
#define log_error(msg, ...) log_at(LOG_ERROR, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_warn(msg, ...) log_at(LOG_WARN, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_info(msg, ...) log_at(LOG_INFO, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_debug(msg, ...) log_at(LOG_DEBUG, msg __VA_OPT__(, ) __VA_ARGS__)

/* Tests catch lines here (called with the finished line, without newline); NULL puts stderr back.
 */
void log_set_sink(void (*fn)(void *arg, const char *line), void *arg);

#endif
