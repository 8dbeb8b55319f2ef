/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_REGISTRATION_H
#define CSI_REGISTRATION_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct ctx;
struct ev_loop;
struct grpc_server;

/*
 * kubelet's plugin registration (pluginregistration.Registration: GetInfo,
 * NotifyRegistrationStatus), served on a socket of its own in <kubelet>/plugins_registry. kubelet
 * watches that directory, calls GetInfo, then dials endpoint.
 */
#define CSI_REGISTRATION_GET_INFO "/pluginregistration.Registration/GetInfo"

struct csi_registration;

struct csi_registration_options {
	const char *driver_name;
	const char *endpoint;       /* path of the CSI socket as kubelet on the host sees it */
	void (*refused)(void *arg); /* on the loop: kubelet said no; may be NULL */
	void *arg;
};

int csi_registration_new(struct grpc_server *server, const struct csi_registration_options *opts,
			 struct csi_registration **ret_reg, struct err *err);
void csi_registration_free(struct csi_registration *r);

/* Any thread. Whether the last word of kubelet was yes. */
bool csi_registration_is_registered(const struct csi_registration *r);

/*
 * Asks whoever serves at the socket, as kubelet does, on a worker. FAILED_PRECONDITION: it is
 * another driver's; and the codes of a call.
 */
int csi_registration_ask(struct ev_loop *loop, const char *socket_path, struct ctx *ctx,
			 const char *driver_name, struct err *err);

/*
 * Whether kubelet_dir looks like kubelet's root directory (plugins_registry and plugins below it,
 * on a shared mount): FAILED_PRECONDITION says what is missing and which option to change.
 */
int csi_registration_check_dir(const char *kubelet_dir, struct err *err);

#endif
