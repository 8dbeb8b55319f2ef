/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include "base/str.h"

/*
 * Counters, gauges and histograms in Prometheus text format 0.0.4, declared once in metrics.def.
 * Thread-safe. A series exists from its first use or metric_expect(); a metric may have at most 512
 * series, further ones are folded into the label value "other". labels[] has exactly as many values
 * as the declaration has names.
 */
#define METRIC_LABELS_MAX 4

enum metric_id {
#define METRIC(id, type, name, help, ...) METRIC_##id,
#include "base/metrics.def"
#undef METRIC
	METRIC_COUNT
};

void metric_add(enum metric_id id, double by, const char *const labels[]);          /* counter */
void metric_set(enum metric_id id, double value, const char *const labels[]);       /* gauge */
void metric_observe(enum metric_id id, double seconds, const char *const labels[]); /* histogram */

/* The series exists from now on, with nothing counted: what is counted first is then seen as an
 * increase. Any type. */
void metric_expect(enum metric_id id, const char *const labels[]);

#define METRIC_ARGS(...) ((const char *const[]){ __VA_ARGS__ })

/* Everything plus process_cpu_seconds_total, process_resident_memory_bytes,
 * process_start_time_seconds, process_open_fds, process_max_fds, process_virtual_memory_bytes and
 * cleat_build_info. */
void metric_render(struct str *out);

/* Called before each render, to set gauges that are read rather than counted (pool space). At
 * most 8. */
void metric_on_render(void (*fn)(void *arg), void *arg);

#endif
