/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The call that grows a volume, and the look whether pods use it. Pods are not cached: there are
 * many, they change all the time, and the question comes up only after a driver said that it cannot
 * grow what is in use. Then those of the claim's namespace are listed, in pieces.
 */
#include "control/resizer-internal.h"

#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "control/capability.h"
#include "control/list.h"
#include "kube/client.h"
#include "kube/fence.h"

static int fill_request(struct claim_work *w, uint64_t bytes,
			struct csi_controller_expand_volume_request *req, struct err *err)
{
	const struct json *spec = json_get(json_root(w->pv.doc), "spec");
	const struct secret_ref secret = secret_ref_at(
		json_path(spec, "csi.controllerExpandSecretRef"), "name", "namespace");
	bool has_multi_writer = w->caps.controller & CSI_CAP_BIT(CSI_CTRL_SINGLE_NODE_MULTI_WRITER);

	if (!*work_pv(w)->handle)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "persistentvolume %s has no csi.volumeHandle", w->pv.obj->name);
	*req = (struct csi_controller_expand_volume_request){
		.volume_id = arena_strdup(w->ctx->arena, work_pv(w)->handle),
		.capacity_range = { .required_bytes = bytes },
		.secrets = { .map = STRMAP_EMPTY },
	};
	if (capability_of_pv(w->ctx->arena, spec, w->r->default_fs, has_multi_writer,
			     &req->volume_capability, err) < 0)
		return -1;
	return secret_fetch(w->r->client, w->ctx, &secret, &req->secrets, err);
}

static int call(struct claim_work *w, const struct csi_controller_expand_volume_request *req,
		struct csi_controller_expand_volume_response *reply, struct err *err)
{
	int64_t deadline_ns = driver_limit(&w->r->csi, w->ctx);
	int r = csi_controller_expand_volume(&w->r->csi.service, w->ctx, req, reply, err);

	w->ctx->deadline_ns = deadline_ns;
	return r;
}

static int check_answer(uint64_t bytes, uint64_t got, struct err *err)
{
	char want_text[NUM_QUANTITY_MAX], got_text[NUM_QUANTITY_MAX];

	if (got >= bytes && got <= INT64_MAX)
		return 0;
	num_format_quantity(bytes, want_text);
	num_format_quantity(got, got_text);
	return err_set(err, ERR_INTERNAL, "asked for %s the driver says that it has made it %s",
		       want_text, got_text);
}

int resize_call(struct claim_work *w, uint64_t bytes, struct resize_answer *ret_answer,
		bool *ret_asked, struct err *err)
{
	struct csi_controller_expand_volume_request req;
	struct csi_controller_expand_volume_response reply;

	*ret_asked = false;
	if (!(w->caps.controller & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME))) {
		if (!w->r->grows_on_node)
			return err_set(err, ERR_FAILED_PRECONDITION,
				       "driver %s does not expand volumes any more",
				       work_driver(w));
		*ret_answer = (struct resize_answer){ bytes, true };
		return 0;
	}
	if (fill_request(w, bytes, &req, err) < 0 || fence_check(w->r->fence, w->ctx, err) < 0)
		return -1;
	*ret_asked = true;
	if (call(w, &req, &reply, err) < 0 || check_answer(bytes, reply.capacity_bytes, err) < 0)
		return -1;
	*ret_answer = (struct resize_answer){ reply.capacity_bytes, reply.node_expansion_required };
	return 0;
}

/* ---- pods ---- */

static bool has_ended(const struct json *pod)
{
	const char *phase = json_path_string(pod, "status.phase");

	return str_is_equal(phase, "Succeeded") || str_is_equal(phase, "Failed");
}

/* By name, or as the claim that is made for a volume of the pod alone: "POD-VOLUME". */
static bool names_claim(const struct json *pod, const struct json *volume, const char *claim)
{
	const char *named = json_path_string(volume, "persistentVolumeClaim.claimName");
	autofree char *made = NULL;

	if (str_is_equal(named, claim))
		return true;
	if (!json_is_object(json_get(volume, "ephemeral")))
		return false;
	made = xasprintf("%s-%s", str_or(json_path_string(pod, "metadata.name"), ""),
			 str_or(json_get_string(volume, "name"), ""));
	return str_is_equal(made, claim);
}

static bool uses_claim(const struct json *pod, const char *claim)
{
	const struct json *volume;
	const char *none;

	if (has_ended(pod))
		return false;
	for (struct json_it it = json_each(json_path(pod, "spec.volumes"));
	     json_next(&it, &none, &volume);)
		if (names_claim(pod, volume, claim))
			return true;
	return false;
}

static int see_pod(void *arg, const struct json *pod)
{
	return uses_claim(pod, arg);
}

int resize_look_for_pods(struct claim_work *w, struct err *err)
{
	autofree char *name = xstrdup(w->claim.obj->name);
	int r = list_each(w->r->client, w->ctx, &core_pod_type, w->claim.obj->ns, see_pod, name,
			  err);

	return r < 0 ? err_wrap(err, "look for pods that use the claim") : r;
}
