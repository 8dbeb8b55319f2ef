/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_INTENT_H
#define CONTROL_INTENT_H

#include "control/secrets.h"
#include "csi/service.h"

struct str;

struct intent_strings {
	const char *const *v;
	size_t n;
};

/*
 * What is about to be asked of a driver, whole: enough to repeat the identical CreateVolume and to
 * write the PV when claim, class and nodes have changed or gone. Secrets are named, never held:
 * request.secrets is empty in a record and is fetched anew for each call. Strings are never NULL;
 * memory is the arena's.
 */
struct intent {
	const char *uid;           /* the claim's */
	const char *ns, *claim;    /* its namespace and name */
	const char *claim_version; /* resourceVersion at the time */
	const char *class_name;
	const char *provisioner; /* as the class names it */
	const char *reclaim_policy;
	const char *volume_mode;
	const char *fs_type;
	const char *attributes_class;
	const char *place; /* the segment where it is to be: intent_place(); "" = anywhere */
	struct intent_strings access_modes, mount_options;
	struct csi_create_volume_request request; /* request.name is also the PV's */
	struct secret_ref refs[SECRET_KINDS];
};

/* "key=value,key=value" of the first preferred topology, in the arena; "" if nothing is required.
 */
const char *intent_place(struct arena *arena, const struct csi_create_volume_request *request);

/* One JSON object, appended. */
void intent_write(const struct intent *it, struct str *out);

/*
 * uid: as the journal's key has it. Unknown members are passed over; INVALID_ARGUMENT names what is
 * missing, of the wrong kind, or needed by a later version and not known here (member "needs").
 */
int intent_parse(struct arena *arena, const char *uid, const char *text, struct intent *ret_it,
		 struct err *err);

#endif
