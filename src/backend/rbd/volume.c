/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: an entry of the journal and an image.
 *
 *   create: entry ──► image (of its own, or a copy) ──► size, metadata ──► csi.imageid
 *   remove: image ──► trash ──► manager's task; hidden parent of a copy ──► the same; entry
 *
 * An encrypted one (luks.h) has a header on top; it is formatted by who serves it first, and its
 * metadata say till then that nothing is on it.
 *
 * The entry comes first and goes last, so whatever a killed call has made can be found by it again.
 * csi.imageid says that the image is whole: only then was the volume given to anybody. An entry
 * whose image was whole and is gone is one that a removal was killed in; its name is free.
 */
#include <assert.h>
#include <stdio.h>

#include "backend/rbd/fence.h"
#include "backend/rbd/image.h"
#include "backend/rbd/luks.h"
#include "base/mem.h"
#include "base/str.h"

#define LOG_ROOM "backend"
#include "base/log.h"

#define KUBERNETES "csi.storage.k8s.io/"

void image_token(const struct image_place *p, const char *uuid, char ret_token[VOL_TOKEN_MAX])
{
	struct ceph_handle handle = { .pool_id = p->told_pool_id };

	(void)snprintf(handle.cluster, sizeof(handle.cluster), "%s", p->told_cluster);
	(void)snprintf(handle.uuid, sizeof(handle.uuid), "%s", uuid);
	ceph_handle_format(&handle, ret_token);
}

struct making {
	const struct backend_spec *spec;
	struct ceph_rbd_params params;
	struct image_place place;
	struct ceph_journal journal;
	struct ceph_entry entry;
	char id[IMAGE_ID_MAX];      /* the image's, once it is whole */
	struct image_copied copied; /* its size and its parents; bytes 0: not known */
	const char *kms;            /* "": it is not encrypted */
	struct vol_limits limits;   /* that it has */
	bool is_retry;              /* a call was here before, and may have left something */
};

/* Metadata that clones have from their source, and that is not theirs: who has that, whose snapshot
 * it is; and its limits, of which there are all that are not asked. */
static const char *const source_words[] = {
	IMAGE_CLIENT_WORD,
	KUBERNETES "volumesnapshot/name",
	KUBERNETES "volumesnapshot/namespace",
	KUBERNETES "volumesnapshotcontent/name",
};

#define N_CLIENT_WORDS 1 /* first of them: not the names */
#define N_STRANGE (ARRAY_LEN(source_words) + IMAGE_N_LIMITS)
#define N_NAMES 7 /* words that are written besides the limits */
#define HEADER_TEXT "16777216"
static_assert(CEPH_LUKS_HEADER == 16777216, "as HEADER_TEXT has it");

static struct strmap make_context(const struct making *m)
{
	struct arena *a = m->place.ctx->arena;
	const char *ns = m->place.cluster.rados_namespace;
	struct strmap context = STRMAP_EMPTY;

	for (size_t i = 0; i < m->spec->parameters->n; i++) {
		const struct strpair *pair = &m->spec->parameters->v[i];

		if (!str_has_prefix(pair->key, KUBERNETES) && !vol_limits_is_key(pair->key))
			context = strmap_with(a, &context, pair->key, pair->value);
	}
	context = strmap_with(a, &context, "journalPool", m->params.pool);
	context = strmap_with(a, &context, "imageName", m->entry.image);
	return *ns ? strmap_with(a, &context, "radosNamespace", ns) : context;
}

/* created_ns 0: nobody was asked. */
static void fill_volume(const struct image_place *p, const struct ceph_entry *entry, uint64_t bytes,
			int64_t created_ns, struct backend_volume *ret_vol)
{
	*ret_vol = (struct backend_volume){
		.bytes = bytes,
		.allow_buffered = true,
		.created_ns = created_ns,
	};
	image_token(p, entry->uuid, ret_vol->token);
	(void)snprintf(ret_vol->name, sizeof(ret_vol->name), "%s", entry->name);
	if (strlen(entry->owner) < sizeof(ret_vol->claim_namespace))
		(void)snprintf(ret_vol->claim_namespace, sizeof(ret_vol->claim_namespace), "%s",
			       entry->owner);
}

static void fill_made(struct making *m, struct backend_volume *ret_vol)
{
	fill_volume(&m->place, &m->entry, image_plain_bytes(&m->entry, m->copied.bytes), 0,
		    ret_vol);
	ret_vol->limits = m->limits;
	ret_vol->source_kind = m->spec->source_kind;
	if (m->spec->source_kind != BACKEND_SOURCE_NONE)
		(void)snprintf(ret_vol->source, sizeof(ret_vol->source), "%s", m->spec->source);
	ret_vol->context = make_context(m);
}

static int check_entry(const struct making *m, struct err *err)
{
	if (image_entry_check(&m->place, &m->entry, m->spec->name, err) < 0)
		return -1;
	if (str_is_equal(m->entry.kms, m->kms))
		return 0;
	return err_set(err, ERR_ALREADY_EXISTS,
		       "it exists and is %sencrypted%s%.64s, and the class has encrypted: \"%s\"",
		       *m->entry.kms ? "" : "not ", *m->entry.kms ? " by " : "", m->entry.kms,
		       *m->kms ? "true" : "false");
}

/* Raw, of what was asked; 0: as many as the source has. */
static uint64_t wanted_bytes(const struct making *m)
{
	return m->spec->bytes ? m->spec->bytes + image_header_bytes(&m->entry) : 0;
}

static int reserve(struct making *m, struct err *err)
{
	const struct ceph_reservation what = { .name = m->spec->name,
					       .prefix = m->params.prefix,
					       .source = "",
					       .owner = m->params.owner,
					       .kms = m->kms,
					       .pool_id = -1 };

	if (ceph_journal_reserve(&m->journal, m->place.ctx, &what, &m->entry, err) < 0)
		return -1;
	m->is_retry = !m->entry.is_new;
	return check_entry(m, err);
}

static struct image_shape shape_of(const struct ceph_rbd_params *params)
{
	return (struct image_shape){ .features = params->features,
				     .stripe_unit = params->stripe_unit,
				     .stripe_count = params->stripe_count,
				     .object_size = params->object_size,
				     .data_pool = params->data_pool };
}

/* The one that is there was begun by a killed call, and has nothing in it yet. */
static int make_empty(struct making *m, const struct image_shape *shape, struct err *err)
{
	const struct image_place *p = &m->place;
	struct image_look look;
	int found;

	m->copied.bytes = wanted_bytes(m);
	if (image_make(p, m->entry.image, m->copied.bytes, shape, err) == 0)
		return 0;
	if (err->code != ERR_ALREADY_EXISTS)
		return -1;
	found = image_look_begun(p, m->entry.image, 0, &look, err);
	if (found > 0)
		m->copied.bytes = look.bytes;
	if (found != 0)
		return found < 0 ? -1 : 0;
	if (image_discard_torn(p, m->entry.image, err) < 0)
		return -1;
	return image_make(p, m->entry.image, m->copied.bytes, shape, err);
}

static int make_copy(struct making *m, const struct image_shape *shape, struct err *err)
{
	const struct image_copy copy = { .kind = m->spec->source_kind,
					 .source = m->spec->source,
					 .bytes = m->spec->bytes,
					 .secrets = m->spec->secrets,
					 .kms = m->kms,
					 .is_retry = m->is_retry };

	return image_copy_make(&m->place, m->entry.image, &copy, shape, &m->copied, err);
}

/* What of an image's metadata is not this volume's. */
static size_t list_strange(const struct making *m, const struct image_word *limits,
			   const char *ret_strange[N_STRANGE])
{
	bool is_copy = m->spec->source_kind != BACKEND_SOURCE_NONE;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(source_words); i++) {
		if (is_copy && (m->place.images->ceph.keeps_names || i < N_CLIENT_WORDS))
			ret_strange[n++] = source_words[i];
	}
	for (size_t i = 0; i < IMAGE_N_LIMITS; i++) {
		if ((is_copy || m->is_retry) && !*limits[i].value)
			ret_strange[n++] = limits[i].key;
	}
	return n;
}

static int set_words(const struct making *m, struct err *err)
{
	bool is_copy = m->spec->source_kind != BACKEND_SOURCE_NONE;
	bool keeps = m->place.images->ceph.keeps_names;
	const char *strange[N_STRANGE];
	struct image_word words[N_NAMES + IMAGE_N_LIMITS] = {
		{ IMAGE_SOURCE_WORD, is_copy ? m->spec->source : "" },
		{ IMAGE_CLUSTER_WORD, keeps ? m->place.images->ceph.cluster_name : "" },
		{ KUBERNETES "pv/name", keeps ? m->params.volume : "" },
		{ KUBERNETES "pvc/name", keeps ? m->params.claim : "" },
		{ KUBERNETES "pvc/namespace", keeps ? m->params.owner : "" },
		/* a copy has its source's */
		{ LUKS_STATE_WORD, *m->kms && !is_copy ? LUKS_PREPARED : "" },
		{ LUKS_HEADER_WORD, *m->kms ? HEADER_TEXT : "" },
	};
	size_t n_strange;

	image_limits_words(m->place.ctx->arena, &m->spec->limits, words + N_NAMES);
	n_strange = list_strange(m, words + N_NAMES, strange);
	if (!is_copy && !keeps && !*m->kms && n_strange == 0 &&
	    !vol_limits_are_set(&m->spec->limits))
		return 0;
	return image_put_words(&m->place, m->entry.image, m->id, words, ARRAY_LEN(words), strange,
			       n_strange, err);
}

/* An encrypted copy has its source's size (image_copy_make). */
static int resize(struct making *m, struct err *err)
{
	bool is_fixed = *m->kms && m->spec->source_kind != BACKEND_SOURCE_NONE;
	struct image image;
	int rc;

	if (image_open(&m->place, m->entry.image, &image, err) < 0)
		return -1;
	rc = image_resize(&image, is_fixed ? 0 : wanted_bytes(m), &m->copied.bytes, err);
	image_close(&image);
	if (rc == 0 && m->copied.bytes < wanted_bytes(m))
		return err_set(err, ERR_OUT_OF_RANGE,
			       "its copy was begun when its source was smaller; delete it, or ask "
			       "for what it had");
	return rc;
}

static int finish(struct making *m, struct err *err)
{
	bool is_sized = m->copied.bytes && m->copied.bytes >= wanted_bytes(m);

	if (image_read_id(&m->place, m->entry.image, m->id, err) < 0 ||
	    (!is_sized && resize(m, err) < 0) || set_words(m, err) < 0)
		return -1;
	return ceph_journal_set_image_id(&m->journal, m->place.ctx, m->entry.uuid, m->id, err);
}

/* Not soon, and no reason to fail: it is tried again when something is made of it. */
static void flatten_if_deep(struct making *m)
{
	struct err ignored;

	if (m->copied.depth >= m->place.images->soft_depth)
		(void)image_flatten_later(&m->place, m->entry.image, &ignored);
}

static int make(struct making *m, struct err *err)
{
	const struct image_shape shape = shape_of(&m->params);
	int rc = m->spec->source_kind == BACKEND_SOURCE_NONE ? make_empty(m, &shape, err)
							     : make_copy(m, &shape, err);

	if (rc < 0 || finish(m, err) < 0)
		return -1;
	flatten_if_deep(m);
	return 0;
}

/* 1: it is there, whole. 0: it is to be made under the entry. */
static int take_existing(struct making *m, struct err *err)
{
	struct image_look look;
	int found;

	if (!*m->entry.image_id)
		return 0;
	found = image_look_maybe(&m->place, m->entry.image, IMAGE_ASK_SOURCE | IMAGE_ASK_LIMITS,
				 &look, err);
	if (found > 0) {
		m->copied.bytes = look.bytes;
		m->limits = look.limits;
		return image_copy_check(&m->place, m->entry.image, &look, m->spec->source_kind,
					m->spec->source, err) < 0
			       ? -1
			       : 1;
	}
	if (found < 0 || image_discard(&m->place, m->entry.image, err) < 0 ||
	    image_discard(&m->place, image_temp_name(m->place.ctx->arena, m->entry.image), err) <
		    0 ||
	    ceph_journal_forget(&m->journal, m->place.ctx, m->entry.uuid, m->spec->name, err) < 0)
		return -1;
	return reserve(m, err);
}

/* librbd would say that something is not there, and not what. */
static int check_data_pool(const struct making *m, struct err *err)
{
	const struct image_place *p = &m->place;

	if (!*m->params.data_pool ||
	    p->lib->rados_pool_lookup(ceph_conn_rados(p->conn), m->params.data_pool) >= 0)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "parameters: dataPool: cluster '%s' has no pool '%s'", p->cluster.id,
		       m->params.data_pool);
}

/* The entry that this very call has made for a copy that cannot be: nobody would ever come for it.
 * Where it is in doubt it stays, for the next call or the audit. */
static void give_back(const struct making *m, const struct err *why)
{
	struct image_look look;
	struct err ignored;

	if (m->spec->source_kind == BACKEND_SOURCE_NONE || m->is_retry || !image_is_refused(why) ||
	    image_look_maybe(&m->place, m->entry.image, 0, &look, &ignored) != 0)
		return;
	(void)ceph_journal_forget(&m->journal, m->place.ctx, m->entry.uuid, m->spec->name,
				  &ignored);
}

static int create(struct making *m, struct err *err)
{
	int found;

	m->journal = image_place_journal(&m->place, CEPH_JOURNAL_VOLUMES);
	if (check_data_pool(m, err) < 0 || reserve(m, err) < 0)
		return -1;
	found = take_existing(m, err);
	if (found != 0)
		return found < 0 ? -1 : 0;
	if (make(m, err) == 0)
		return 0;
	give_back(m, err);
	return -1;
}

/* Nodes have to have it, and there a pod would wait for it. */
static int check_passphrase(const struct making *m, struct err *err)
{
	if (!*m->kms || *image_crypt_passphrase(m->spec->secrets))
		return 0;
	return err_set(
		err, ERR_INVALID_ARGUMENT,
		"parameters: encrypted: the secret has no " CEPH_PASSPHRASE
		"; those of csi.storage.k8s.io/provisioner-secret-name and node-stage-secret-name "
		"need it");
}

int image_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		 struct backend_volume *ret_vol, struct err *err)
{
	struct making m = { .spec = spec, .limits = spec->limits };
	int rc;

	if (ceph_rbd_params_parse(spec->parameters, &m.params, err) < 0)
		return -1;
	m.kms = m.params.encrypted ? CEPH_KMS_DEFAULT : "";
	if (check_passphrase(&m, err) < 0 ||
	    image_place_open(images_of(b), ctx, m.params.cluster, m.params.pool,
			     m.params.rados_namespace, spec->secrets, &m.place, err) < 0)
		return -1;
	rc = create(&m, err);
	if (rc == 0)
		fill_made(&m, ret_vol);
	image_place_close(&m.place);
	return rc;
}

static int remove_found(const struct image_entry *f, struct err *err)
{
	const struct image_place *p = &f->place;
	bool was_whole = *f->entry.image_id;

	if (*f->entry.image &&
	    ((was_whole ? image_discard(p, f->entry.image, err)
			: image_discard_torn(p, f->entry.image, err)) < 0 ||
	     image_discard(p, image_temp_name(p->ctx->arena, f->entry.image), err) < 0))
		return -1;
	return ceph_journal_forget(&f->journal, p->ctx, f->entry.uuid, f->entry.name, err);
}

int image_remove(struct backend *b, struct ctx *ctx, const char *token,
		 const struct secrets *secrets, struct err *err)
{
	struct image_entry f;
	int rc;

	if (image_entry_open(b, ctx, token, CEPH_JOURNAL_VOLUMES, secrets, &f, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	rc = remove_found(&f, err);
	image_place_close(&f.place);
	return rc;
}

/* librbd does not read all of an encrypted clone that is larger than its parent (luks.c). */
static int check_flat(const struct image_entry *f, uint64_t raw, struct err *err)
{
	struct image_look look;

	if (!*f->entry.kms)
		return 0;
	if (image_look(&f->place, f->entry.image, 0, &look, err) < 0)
		return -1;
	if (!*look.parent_id || look.bytes >= raw)
		return 0;
	if (image_flatten_later(&f->place, f->entry.image, err) < 0)
		return -1;
	return err_set(
		err, ERR_ABORTED,
		"image '%s' is an encrypted clone, which cannot be larger than its parent; it "
		"is being flattened, and the same call goes on when that is done",
		image_spec(&f->place, f->entry.image));
}

static int grow(const struct image_entry *f, uint64_t bytes, uint64_t *ret_bytes, struct err *err)
{
	struct image image;
	int rc;

	if (check_flat(f, bytes + image_header_bytes(&f->entry), err) < 0 ||
	    image_open(&f->place, f->entry.image, &image, err) < 0)
		return -1;
	rc = image_resize(&image, bytes + image_header_bytes(&f->entry), ret_bytes, err);
	image_close(&image);
	return rc;
}

int image_grow(struct backend *b, struct ctx *ctx, const char *token, uint64_t bytes,
	       const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err)
{
	struct image_entry f;
	uint64_t has;
	int rc;

	if (image_entry_open(b, ctx, token, CEPH_JOURNAL_VOLUMES, secrets, &f, err) < 0)
		return -1;
	rc = grow(&f, bytes, &has, err);
	if (rc == 0)
		fill_volume(&f.place, &f.entry, image_plain_bytes(&f.entry, has), 0, ret_vol);
	image_place_close(&f.place);
	return rc;
}

static int stat_found(const struct image_entry *f, struct backend_volume *ret_vol, struct err *err)
{
	struct image_look look = { .bytes = 0 };
	int found = image_look_maybe(&f->place, f->entry.image, IMAGE_ASK_LIMITS, &look, err);

	if (found < 0)
		return -1;
	if (!found && !*f->entry.image_id)
		return err_set(err, ERR_ABORTED, "it has been begun and is not made yet");
	fill_volume(&f->place, &f->entry, image_plain_bytes(&f->entry, look.bytes), look.created_ns,
		    ret_vol);
	ret_vol->limits = look.limits;
	if (!found) {
		ret_vol->is_damaged = true;
		(void)snprintf(ret_vol->damage, sizeof(ret_vol->damage),
			       "the journal names an image that is not there");
	}
	return 0;
}

int image_stat(struct backend *b, struct ctx *ctx, const char *token, const struct secrets *secrets,
	       struct backend_volume *ret_vol, struct err *err)
{
	struct image_entry f;
	int rc;

	if (image_entry_open(b, ctx, token, CEPH_JOURNAL_VOLUMES, secrets, &f, err) < 0)
		return -1;
	rc = stat_found(&f, ret_vol, err);
	image_place_close(&f.place);
	return rc;
}
