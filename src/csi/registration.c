/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet's plugin registration.
 *
 * The version that is told is the one of the registration protocol's consumers, "1.0.0" as every
 * CSI driver tells, and not ours: kubelet refuses a second socket of the same driver unless its
 * version is higher, and major versions above 1 altogether.
 *
 * The check of the directory is for the commonest mistake in a DaemonSet: the host's directory
 * mounted at another path, or without Bidirectional propagation, so that mounts which we make are
 * never seen by kubelet and pods write to the root disk. A mount is shared when its line in
 * mountinfo has an optional field "shared:".
 */
#define LOG_ROOM "csi"
#include "csi/registration.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "csi/messages.h"
#include "event/sync.h"
#include "grpc/server.h"
#include "host/fs.h"
#include "host/mount.h"

#define MOUNTINFO_MAX (64u << 20)

struct csi_registration {
	char *driver_name;
	char *endpoint;
	void (*refused)(void *arg);
	void *arg;
	pthread_mutex_t lock; /* guards is_registered */
	bool is_registered;
	struct grpc_method methods[2];
};

static void reply(struct grpc_call *call, const struct msg_type *type, const void *msg)
{
	struct msg_bytes out = message_encode(type, grpc_call_ctx(call)->arena, msg);

	grpc_call_reply(call, out.data, out.n);
}

static void handle_get_info(struct grpc_call *call, void *arg)
{
	struct csi_registration *r = arg;
	static const char *const versions[] = { "1.0.0" };
	const struct registration_plugin_info info = { .type = "CSIPlugin",
						       .name = r->driver_name,
						       .endpoint = r->endpoint,
						       .supported_versions = versions,
						       .n_supported_versions = 1 };

	reply(call, &registration_plugin_info_type, &info);
}

static void handle_notify(struct grpc_call *call, void *arg)
{
	struct csi_registration *r = arg;
	struct arena *a = grpc_call_ctx(call)->arena;
	struct registration_registration_status status;
	struct msg_bytes in = { 0 };
	struct err err;

	in.data = grpc_call_request(call, &in.n);
	if (message_decode(&registration_registration_status_type, a, &in, MSG_FIELDS_REQUEST,
			   &status, &err) < 0) {
		grpc_call_fail(call, &err);
		return;
	}
	{
		LOCK_SCOPE(&r->lock);
		r->is_registered = status.plugin_registered;
	}
	if (status.plugin_registered)
		log_info("kubelet registered the driver", log_str("driver", r->driver_name));
	else
		log_error("kubelet refused to register the driver",
			  log_str("driver", r->driver_name), log_str("reason", status.error));
	reply(call, &registration_registration_status_response_type,
	      &(const struct registration_registration_status_response){});
	if (!status.plugin_registered && r->refused)
		r->refused(r->arg);
}

int csi_registration_new(struct grpc_server *server, const struct csi_registration_options *opts,
			 struct csi_registration **ret_reg, struct err *err)
{
	struct csi_registration *r;

	if (!path_is_clean(opts->endpoint))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "'%.200s' is not the absolute path of a socket", opts->endpoint);
	r = xcalloc(1, sizeof(*r));
	r->driver_name = xstrdup(opts->driver_name);
	r->endpoint = xstrdup(opts->endpoint);
	r->refused = opts->refused;
	r->arg = opts->arg;
	pthread_mutex_init(&r->lock, NULL);
	r->methods[0] = (struct grpc_method){ .path = CSI_REGISTRATION_GET_INFO,
					      .fn = handle_get_info,
					      .is_inline = true };
	r->methods[1] = (struct grpc_method){
		.path = "/pluginregistration.Registration/NotifyRegistrationStatus",
		.fn = handle_notify,
		.is_inline = true
	};
	grpc_server_add(server, r->methods, ARRAY_LEN(r->methods), r);
	*ret_reg = r;
	return 0;
}

void csi_registration_free(struct csi_registration *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r->endpoint);
	free(r->driver_name);
	free(r);
}

bool csi_registration_is_registered(const struct csi_registration *r)
{
	struct csi_registration *shared = (struct csi_registration *)(uintptr_t)r;
	LOCK_SCOPE(&shared->lock);

	return r->is_registered;
}

static int check_is_dir(const char *kubelet_dir, const char *name, struct err *err)
{
	autofree char *path = path_join(kubelet_dir, name);
	autohostfd int fd = -1;

	if (host_dir_open(path, &fd, err) == 0)
		return 0;
	if (err->code == ERR_NOT_FOUND || err->code == ERR_FAILED_PRECONDITION)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%.300s' is no directory, so '%.100s' is not kubelet's root "
			       "directory; set --kubelet-dir to what kubelet has as --root-dir",
			       path, kubelet_dir);
	return -1;
}

/* The optional fields stand between the sixth field and " - ". */
static bool is_line_shared(const char *line)
{
	const char *end = strstr(line, " - ");
	const char *shared = strstr(line, " shared:");

	return end && shared && shared < end;
}

/* The innermost mount that holds dir: later lines of the same length lie on top of earlier ones. */
static bool find_is_shared(char *mountinfo, const char *dir)
{
	size_t best = 0;
	bool is_shared = false;

	for (char *line; (line = strsep(&mountinfo, "\n"));) {
		bool line_is_shared = is_line_shared(line);
		struct host_mountinfo info;

		if (host_mountinfo_parse(line, &info) < 0)
			continue;
		if (!str_is_equal(info.point, "/") && !path_is_below(dir, info.point))
			continue;
		if (strlen(info.point) >= best) {
			best = strlen(info.point);
			is_shared = line_is_shared;
		}
	}
	return is_shared;
}

int csi_registration_check_dir(const char *kubelet_dir, struct err *err)
{
	autofree char *text = NULL;
	size_t n;
	int r;

	if (!path_is_clean(kubelet_dir))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "--kubelet-dir: '%.200s' is not a clean absolute path", kubelet_dir);
	if (check_is_dir(kubelet_dir, "plugins_registry", err) < 0 ||
	    check_is_dir(kubelet_dir, "plugins", err) < 0)
		return -1;
	r = fd_read_file(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, &n);
	if (r < 0)
		return err_os(err, ERR_INTERNAL, r, "read '/proc/self/mountinfo'");
	if (!find_is_shared(text, kubelet_dir))
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"'%.200s' is not on a shared mount, so kubelet would not see what is "
			"mounted there; mount it with mountPropagation: Bidirectional "
			"(on the host: mount --make-rshared)",
			kubelet_dir);
	return 0;
}
