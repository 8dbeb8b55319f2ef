/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where pods' cgroups are. They are kubelet's (or systemd's), and so is their life: they are looked
 * for each time and never made or removed. First where kubelet puts them unless told otherwise; a
 * nested kubelet (kind, --cgroup-root) has its kubepods deeper, which takes a walk.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/cgroup-internal.h"
#include "host/err-internal.h"

#define PLACES_DEPTH 3 /* how far below root a kubepods is looked for */

bool host_pod_uid_is_valid(const char *uid)
{
	static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ-";
	size_t n = strlen(uid);

	return n > 0 && n < HOST_POD_UID_MAX && uid[0] != '-' && strspn(uid, letters) == n;
}

int cgroup_open_dir(int dirfd, const char *path)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int open_root(const char *root, int *ret_fd, struct err *err)
{
	int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, errno,
			      "open '%s', where cgroups should be (--cgroup-root)", root);
	*ret_fd = fd;
	return 0;
}

static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (; *text; text += strspn(text, " \n")) {
		size_t len = strcspn(text, " \n");

		if (len == n && memcmp(text, word, n) == 0)
			return true;
		text += len;
	}
	return false;
}

int cgroup_open(const char *root, enum cgroup_version *ret_version, int *ret_fd, struct err *err)
{
	autofree char *controllers = NULL;
	autofd int fd = -1;
	size_t n;
	int v1;

	if (open_root(root, &fd, err) < 0)
		return -1;
	v1 = cgroup_open_dir(fd, "blkio");
	if (v1 >= 0 && faccessat(v1, CGROUP_V1_FILE, F_OK, 0) == 0) {
		*ret_version = CGROUP_V1;
		*ret_fd = v1;
		return 0;
	}
	if (v1 >= 0)
		(void)close(v1);
	if (fd_read_file(fd, "cgroup.controllers", CGROUP_FILE_MAX, &controllers, &n) == 0 &&
	    has_word(controllers, "io")) {
		*ret_version = CGROUP_V2;
		*ret_fd = TAKE_FD(fd);
		return 0;
	}
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "the kernel limits no I/O by the cgroups at '%s' (--cgroup-root): %s", root,
		       controllers ? "io is not in cgroup.controllers"
				   : "there is neither blkio (v1) nor cgroup.controllers (v2)");
}

int host_cgroup_check(const char *root, struct err *err)
{
	enum cgroup_version version;
	autofd int fd = -1;

	return cgroup_open(root, &version, &fd, err);
}

int cgroup_each_dir(int dirfd, cgroup_dir_fn fn, void *arg)
{
	int copy = cgroup_open_dir(dirfd, ".");
	autodir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int r = 0;

	if (!dir) {
		if (copy >= 0)
			(void)close(copy);
		return 0;
	}
	while (r == 0 && (entry = readdir(dir))) {
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			r = fn(arg, dirfd, entry->d_name);
	}
	return r;
}

/* "pod<uid>", or "…-pod<uid with _>.slice". */
static bool parse_pod_name(const char *name, char ret_uid[HOST_POD_UID_MAX])
{
	static const char mark[] = "-pod", slice[] = ".slice";
	const char *uid = str_has_prefix(name, "pod") ? name + strlen("pod") : NULL;
	size_t n = strlen(name);

	if (str_has_suffix(name, slice)) {
		uid = NULL;
		for (const char *at = name; (at = strstr(at, mark)); at++)
			uid = at + strlen(mark);
		n -= strlen(slice);
	}
	if (!uid || n - (size_t)(uid - name) >= HOST_POD_UID_MAX)
		return false;
	(void)snprintf(ret_uid, HOST_POD_UID_MAX, "%.*s", (int)(n - (size_t)(uid - name)), uid);
	for (char *p = ret_uid; *p; p++) {
		if (*p == '_')
			*p = '-';
	}
	return host_pod_uid_is_valid(ret_uid);
}

static bool is_kubepods(const char *name)
{
	return str_is_equal(name, "kubepods") || str_has_suffix(name, "kubepods.slice");
}

static bool is_class(const char *name)
{
	return str_is_equal(name, "burstable") || str_is_equal(name, "besteffort") ||
	       str_has_suffix(name, "-burstable.slice") ||
	       str_has_suffix(name, "-besteffort.slice");
}

struct walk {
	cgroup_pod_fn fn;
	void *arg;
	unsigned depth; /* that may still be gone down */
	bool is_inside; /* a kubepods */
};

static int walk_into(void *arg, int dirfd, const char *name)
{
	struct walk *walk = arg;
	struct walk deeper = *walk;
	char uid[HOST_POD_UID_MAX];
	autofd int fd = -1;

	if (walk->is_inside && !is_class(name) && !parse_pod_name(name, uid))
		return 0;
	deeper.is_inside = walk->is_inside || is_kubepods(name);
	if (!deeper.is_inside && walk->depth == 0)
		return 0;
	fd = cgroup_open_dir(dirfd, name);
	if (fd < 0)
		return 0; /* gone meanwhile */
	if (walk->is_inside && !is_class(name))
		return walk->fn(walk->arg, fd, uid);
	if (!deeper.is_inside)
		deeper.depth--;
	return cgroup_each_dir(fd, walk_into, &deeper);
}

void cgroup_each_pod(int fd, cgroup_pod_fn fn, void *arg)
{
	struct walk walk = { .fn = fn, .arg = arg, .depth = PLACES_DEPTH - 1 };

	(void)cgroup_each_dir(fd, walk_into, &walk);
}

/* Where kubelet puts it unless told otherwise: fd or -ENOENT. */
static int open_usual(int fd, const char *uid)
{
	static const char *const places[] = {
		"kubepods/pod%s",
		"kubepods/burstable/pod%s",
		"kubepods/besteffort/pod%s",
		"kubepods.slice/kubepods-pod%s.slice",
		"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod%s.slice",
		"kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod%s.slice",
	};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		char name[HOST_POD_UID_MAX];
		const char *mark = strstr(places[i], "%s");
		char path[256];
		int pod;

		(void)snprintf(name, sizeof(name), "%s", uid);
		for (char *p = name; str_has_prefix(places[i], "kubepods.") && *p; p++) {
			if (*p == '-')
				*p = '_';
		}
		(void)snprintf(path, sizeof(path), "%.*s%s%s", (int)(mark - places[i]), places[i],
			       name, mark + strlen("%s"));
		pod = cgroup_open_dir(fd, path);
		if (pod >= 0)
			return pod;
	}
	return -ENOENT;
}

struct find {
	const char *uid;
	int fd;
};

static int find_pod(void *arg, int pod_fd, const char *uid)
{
	struct find *find = arg;

	if (!str_is_equal(uid, find->uid))
		return 0;
	find->fd = cgroup_open_dir(pod_fd, ".");
	return 1;
}

int cgroup_open_pod(int fd, const char *uid, int *ret_fd, struct err *err)
{
	struct find find = { .uid = uid };

	find.fd = host_pod_uid_is_valid(uid) ? open_usual(fd, uid) : -ENOENT;
	if (find.fd < 0)
		cgroup_each_pod(fd, find_pod, &find);
	if (find.fd < 0)
		return err_set(err, ERR_NOT_FOUND, "pod '%s' has no cgroup", uid);
	*ret_fd = find.fd;
	return 0;
}
