/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions come one by one from the libraries, so that a library that is there but lacks
 * one is told by that function's name and its own version, and not by a crash in the middle of a
 * volume. RTLD_LOCAL: their 30 libraries bring symbols of their own (OpenSSL's, Boost's) that must
 * not meet ours. They are never closed: their threads and exit handlers outlive any call of ours.
 */
#include "backend/ceph/lib.h"

#include <assert.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"

static_assert(sizeof(void (*)(void)) == sizeof(void *), "dlsym's answer is a function");

enum library { LIBRARY_rados, LIBRARY_rbd, LIBRARY_cryptsetup, LIBRARIES };

struct source {
	const char *file;
	const char *package; /* Debian's; elsewhere it is called librados2 or librbd1 as well */
	const char *version; /* its function int *major, *minor, *extra; NULL: it may be missing */
};

static const struct source sources[LIBRARIES] = {
	[LIBRARY_rados] = { "librados.so.2", "librados2", "rados_version" },
	[LIBRARY_rbd] = { "librbd.so.1", "librbd1", "rbd_version" },
	[LIBRARY_cryptsetup] = { "libcryptsetup.so.12", "libcryptsetup12", NULL },
};

struct function {
	enum library library;
	const char *name;
	size_t at; /* in struct ceph_lib */
};

static const struct function functions[] = {
#define CEPH_FUNCTION(library, name) { LIBRARY_##library, #name, offsetof(struct ceph_lib, name) },
#include "backend/ceph/lib.def"
#undef CEPH_FUNCTION
};

static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static void *handles[LIBRARIES];
static struct ceph_lib real_lib; /* written before is_loaded, never afterwards */
static bool is_loaded;

static int open_library(const struct source *source, void **ret_handle, struct err *err)
{
	void *handle = dlopen(source->file, RTLD_NOW | RTLD_LOCAL);

	if (!handle)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "volumes of Ceph need %s, which cannot be loaded here: %s; install "
			       "%s, or take the image that has it",
			       source->file, dlerror(), source->package);
	*ret_handle = handle;
	return 0;
}

static int lacks(const struct source *source, void *handle, const char *name, struct err *err)
{
	void (*version)(int *, int *, int *);
	void *symbol = dlsym(handle, source->version);
	int major = 0, minor = 0, extra = 0;

	if (symbol) {
		memcpy(&version, &symbol, sizeof(version));
		version(&major, &minor, &extra);
	}
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "%s here is version %d.%d.%d and too old: it has no %s; install %s of Ceph "
		       "16 or later",
		       source->file, major, minor, extra, name, source->package);
}

static int load(struct err *err)
{
	struct ceph_lib lib = { 0 };

	for (size_t i = 0; i < LIBRARIES; i++)
		if (!handles[i] && open_library(&sources[i], &handles[i], err) < 0 &&
		    sources[i].version)
			return -1;
	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		const struct function *f = &functions[i];
		void *symbol = handles[f->library] ? dlsym(handles[f->library], f->name) : NULL;

		if (!symbol && sources[f->library].version)
			return lacks(&sources[f->library], handles[f->library], f->name, err);
		memcpy((char *)&lib + f->at, &symbol, sizeof(symbol));
	}
	real_lib = lib;
	return 0;
}

int ceph_lib_load(const struct ceph_lib **ret_lib, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&load_lock);
	if (!is_loaded) {
		rc = load(err);
		is_loaded = rc == 0;
	}
	pthread_mutex_unlock(&load_lock);
	if (rc == 0)
		*ret_lib = &real_lib;
	return rc;
}
