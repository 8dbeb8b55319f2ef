/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process_* metrics that every Prometheus client library offers, read from
 * /proc/self at each scrape. Fields of stat are counted from behind the last
 * ')', because the command name before it may hold blanks and brackets.
 *
 * The start time is told in ticks since boot; the wall clock of the boot is
 * reckoned once, so that the metric stands still when the clock is adjusted.
 */
#include "base/procstat.h"

#include "base/fd.h"
#include "base/mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Numbers of proc_pid_stat(5) less the two before the ')'. */
enum {
	STAT_UTIME = 14 - 3,
	STAT_STIME = 15 - 3,
	STAT_STARTTIME = 22 - 3,
	STAT_VSIZE = 23 - 3,
	STAT_RSS = 24 - 3,
	STAT_FIELDS
};

static double boot_wall;
static pthread_once_t boot_once = PTHREAD_ONCE_INIT;

static double get_seconds(clockid_t id)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(id, &ts); /* both exist on every Linux */
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void reckon_boot(void)
{
	boot_wall = get_seconds(CLOCK_REALTIME) - get_seconds(CLOCK_BOOTTIME);
}

static bool read_stat(uint64_t ret_fields[STAT_FIELDS])
{
	autofree char *text = NULL;
	char *at;
	char *save = NULL;
	char *field;

	if (fd_read_file(AT_FDCWD, "/proc/self/stat", 4096, &text, NULL) < 0)
		return false;
	at = strrchr(text, ')');
	field = at ? strtok_r(at + 1, " \n", &save) : NULL;
	for (size_t i = 0; i < STAT_FIELDS; i++) {
		if (!field)
			return false;
		ret_fields[i] = 0;
		(void)str_parse_u64(field,
				    &ret_fields[i]); /* the negative ones are not asked for */
		field = strtok_r(NULL, " \n", &save);
	}
	return true;
}

static int count_fds(void)
{
	autodir DIR *dir = opendir("/proc/self/fd");
	int n = -3; /* ".", ".." and the fd of dir */

	while (dir && readdir(dir))
		n++;
	return n;
}

static void render(struct str *out, const char *name, const char *type, const char *help, double v)
{
	str_appendf(out, "# HELP %s %s\n# TYPE %s %s\n%s ", name, help, name, type, name);
	str_append_double(out, v);
	str_append_char(out, '\n');
}

void procstat_render(struct str *out)
{
	uint64_t f[STAT_FIELDS];
	double ticks = (double)sysconf(_SC_CLK_TCK);
	double page = (double)sysconf(_SC_PAGESIZE);
	struct rlimit limit;
	int n_fds = count_fds();

	pthread_once(&boot_once, reckon_boot);
	if (read_stat(f)) {
		render(out, "process_cpu_seconds_total", "counter", "CPU time, user and system.",
		       (double)(f[STAT_UTIME] + f[STAT_STIME]) / ticks);
		render(out, "process_resident_memory_bytes", "gauge", "Resident memory.",
		       (double)f[STAT_RSS] * page);
		render(out, "process_virtual_memory_bytes", "gauge", "Virtual memory.",
		       (double)f[STAT_VSIZE]);
		render(out, "process_start_time_seconds", "gauge", "Start, in Unix time.",
		       boot_wall + (double)f[STAT_STARTTIME] / ticks);
	}
	if (n_fds >= 0)
		render(out, "process_open_fds", "gauge", "Open file descriptors.", n_fds);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		render(out, "process_max_fds", "gauge", "Limit of open file descriptors.",
		       (double)limit.rlim_cur);
	str_append(out, "# HELP cleat_build_info Version of this program.\n"
			"# TYPE cleat_build_info gauge\n"
			"cleat_build_info{version=\"" CLEAT_VERSION "\"} 1\n");
}
