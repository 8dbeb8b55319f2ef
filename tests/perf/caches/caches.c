/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a big cluster costs the controllers of one process: 20,000 claims and their 20,000 volumes
 * in shared caches, as JSON of the size that an API server sends, and eight queues that handlers
 * put a key of each object into (four of claims, four of volumes). Prints the private memory
 * (anonymous, of smaps_rollup) that all this takes beside the empty process: with every key
 * waiting, when the keys are worked off, right after the same objects were listed anew at later
 * versions, and once that has settled.
 *
 * The feed is the informer's without its connection: split, parse, decode, apply, and memory given
 * back at the end of a sync. Memory is set up as the program does it (cmd/process), the C library's
 * as the image does it (the script beside this).
 */
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "control/core.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "kube/cache.h"
#include "kube/queue.h"
#include "kube/split.h"

#define N_OBJECTS 20000u
#define N_QUEUES 8u
#define TARGET_BYTES (32 * MIB)
#define PAGE 500u /* of a list */
#define PIECE ((size_t)16384)
#define REST_NS (3 * NS_PER_S)

struct kind {
	const struct kube_type *type;
	void (*write)(struct str *out, unsigned i, unsigned version);
	struct cache cache;
	struct queue *queues[N_QUEUES / 2];
};

struct bench {
	struct ev_loop *loop;
	struct work *work;
	struct kind claims, volumes;
	size_t base_bytes;
	size_t most_bytes;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t n_left; /* under lock: keys that nobody has worked off yet */
};

/* ---- what the API server sends ---- */

/* What every object carries and no cache keeps. */
static void write_managed(struct str *out, const char *manager, const char *fields)
{
	str_appendf(out,
		    "{\"manager\":\"%s\",\"operation\":\"Update\",\"apiVersion\":\"v1\",\"time\":"
		    "\"2026-01-02T03:04:05Z\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{%s}}",
		    manager, fields);
}

static void write_claim(struct str *out, unsigned i, unsigned version)
{
	str_appendf(
		out,
		"{\"kind\":\"PersistentVolumeClaim\",\"apiVersion\":\"v1\",\"metadata\":{"
		"\"name\":\"data-web-%u\",\"namespace\":\"team-%u\",\"uid\":\"00000000-0000-4000-"
		"8000-%012u\",\"resourceVersion\":\"%u\",\"creationTimestamp\":\"2026-01-02T03:04:"
		"05Z\",\"labels\":{\"app\":\"web\",\"app.kubernetes.io/name\":\"web\",\"app."
		"kubernetes.io/managed-by\":\"Helm\"},\"annotations\":{\"pv.kubernetes.io/bind-"
		"completed\":\"yes\",\"pv.kubernetes.io/bound-by-controller\":\"yes\",\"volume."
		"beta.kubernetes.io/storage-provisioner\":\"pool.cleat.csi\",\"volume.kubernetes."
		"io/selected-node\":\"node-%u\",\"volume.kubernetes.io/storage-provisioner\":"
		"\"pool.cleat.csi\",\"kubectl.kubernetes.io/last-applied-configuration\":\"{"
		"\\\"apiVersion\\\":\\\"v1\\\",\\\"kind\\\":\\\"PersistentVolumeClaim\\\"}\"},"
		"\"finalizers\":[\"kubernetes.io/pvc-protection\"],\"managedFields\":[",
		i, i % 200, i, version, i % 100);
	write_managed(
		out, "helm",
		"\"f:metadata\":{\"f:labels\":{\".\":{},\"f:app\":{},\"f:app.kubernetes.io/"
		"name\":{}}},\"f:spec\":{\"f:accessModes\":{},\"f:resources\":{\"f:requests\""
		":{\".\":{},\"f:storage\":{}}},\"f:storageClassName\":{},\"f:volumeMode\":{}}");
	str_append(out, ",");
	write_managed(out, "kube-controller-manager",
		      "\"f:metadata\":{\"f:annotations\":{\".\":{},\"f:pv.kubernetes.io/bind-"
		      "completed\":{},\"f:pv.kubernetes.io/bound-by-controller\":{}}},\"f:spec\":{"
		      "\"f:volumeName\":{}},\"f:status\":{\"f:accessModes\":{},\"f:capacity\":{"
		      "\".\":{},\"f:storage\":{}},\"f:phase\":{}}");
	str_appendf(out,
		    "]},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{\"requests\":{"
		    "\"storage\":\"10Gi\"}},\"volumeName\":\"pvc-00000000-0000-4000-8000-%012u\","
		    "\"storageClassName\":\"cleat\",\"volumeMode\":\"Filesystem\"},\"status\":{"
		    "\"phase\":\"Bound\",\"accessModes\":[\"ReadWriteOnce\"],\"capacity\":{"
		    "\"storage\":\"10Gi\"}}}",
		    i);
}

static void write_volume(struct str *out, unsigned i, unsigned version)
{
	str_appendf(
		out,
		"{\"kind\":\"PersistentVolume\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":"
		"\"pvc-00000000-0000-4000-8000-%012u\",\"uid\":\"10000000-0000-4000-8000-%012u\","
		"\"resourceVersion\":\"%u\",\"creationTimestamp\":\"2026-01-02T03:04:05Z\","
		"\"annotations\":{\"pv.kubernetes.io/provisioned-by\":\"pool.cleat.csi\",\"volume."
		"kubernetes.io/provisioner-deletion-secret-name\":\"\",\"volume.kubernetes.io/"
		"provisioner-deletion-secret-namespace\":\"\"},\"finalizers\":[\"external-"
		"provisioner.volume.kubernetes.io/finalizer\",\"kubernetes.io/pv-protection\"],"
		"\"managedFields\":[",
		i, i, version);
	write_managed(
		out, "cleat",
		"\"f:metadata\":{\"f:annotations\":{\".\":{},\"f:pv.kubernetes.io/provisioned-"
		"by\":{}},\"f:finalizers\":{\".\":{}}},\"f:spec\":{\"f:accessModes\":{},"
		"\"f:capacity\":{\".\":{},\"f:storage\":{}},\"f:claimRef\":{},\"f:csi\":{"
		"\".\":{},\"f:driver\":{},\"f:fsType\":{},\"f:volumeAttributes\":{\".\":{}},"
		"\"f:volumeHandle\":{}},\"f:nodeAffinity\":{\".\":{},\"f:required\":{}}}");
	str_append(out, ",");
	write_managed(out, "kube-controller-manager", "\"f:status\":{\"f:phase\":{}}");
	str_appendf(
		out,
		"]},\"spec\":{\"capacity\":{\"storage\":\"10Gi\"},\"csi\":{\"driver\":\"pool."
		"cleat.csi\",\"volumeHandle\":\"v1-2bacf27020d04f79b79b4ab93020af8b-pvc-00000000-"
		"0000-4000-8000-%012u\",\"fsType\":\"ext4\",\"volumeAttributes\":{\"storage."
		"kubernetes.io/csiProvisionerIdentity\":\"1700000000000-1234-pool.cleat.csi\"}},"
		"\"accessModes\":[\"ReadWriteOnce\"],\"claimRef\":{\"kind\":"
		"\"PersistentVolumeClaim\",\"namespace\":\"team-%u\",\"name\":\"data-web-%u\","
		"\"uid\":\"00000000-0000-4000-8000-%012u\",\"apiVersion\":\"v1\","
		"\"resourceVersion\":\"%u\"},\"persistentVolumeReclaimPolicy\":\"Delete\","
		"\"storageClassName\":\"cleat\",\"volumeMode\":\"Filesystem\",\"nodeAffinity\":{"
		"\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"pool.cleat."
		"csi/2bacf27020d04f79b79b4ab93020af8b\",\"operator\":\"In\",\"values\":[\"here\"]}]"
		"}]}}},\"status\":{\"phase\":\"Bound\"}}",
		i, i % 200, i, i, version);
}

/* ---- controllers ---- */

static enum queue_verdict work_off(void *arg, struct ctx *ctx, const char *key,
				   int64_t *ret_after_ns)
{
	struct bench *b = arg;

	(void)ctx;
	(void)key;
	(void)ret_after_ns;
	LOCK_SCOPE(&b->lock);
	if (--b->n_left == 0)
		pthread_cond_broadcast(&b->changed);
	return QUEUE_DONE;
}

/* As a controller's handlers: a key for what is news to it, which another version alone is not. */
static void on_change(void *arg, const struct kube_object *old_obj,
		      const struct kube_object *new_obj)
{
	const struct kube_object *o = new_obj ? new_obj : old_obj;
	autofree char *key = NULL;

	if (old_obj && new_obj)
		return;
	key = *o->ns ? xasprintf("%s/%s", o->ns, o->name) : xstrdup(o->name);
	queue_add(arg, key);
}

static void open_kind(struct bench *b, struct kind *k)
{
	cache_init(&k->cache);
	for (unsigned i = 0; i < ARRAY_LEN(k->queues); i++) {
		k->queues[i] = queue_new(b->loop, b->work, &(struct queue_options){ .name = "q" },
					 work_off, b);
		cache_add_handler(&k->cache, on_change, k->queues[i]);
	}
}

static void close_kind(struct kind *k)
{
	cache_drop_handlers(&k->cache);
	for (unsigned i = 0; i < ARRAY_LEN(k->queues); i++)
		queue_free(k->queues[i]);
	cache_done(&k->cache);
}

/* ---- the feed ---- */

static int on_part(void *arg, enum split_part part, const char *text, size_t n, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	struct kind *k = arg;

	if (part != SPLIT_ITEM)
		return 0;
	if (json_parse(text, n, &doc, err) < 0)
		return -1;
	cache_apply(&k->cache, kube_object_decode(k->type, json_root(doc)));
	return 0;
}

static void feed(struct split *s, struct str *text)
{
	struct err err;

	for (size_t at = 0; at < text->len; at += PIECE) {
		size_t n = text->len - at < PIECE ? text->len - at : PIECE;

		if (split_feed(s, str_get(text) + at, n, &err) == 0)
			continue;
		(void)fprintf(stderr, "perf_caches: %s\n", err.msg);
		exit(1);
	}
	str_reset(text);
}

static void list_page(struct kind *k, unsigned page, unsigned first_version)
{
	autostr struct str text = STR_INIT;
	struct split split;

	split_init(&split, SPLIT_LIST, on_part, k);
	str_append(&text, "{\"metadata\":{},\"items\":[");
	for (unsigned i = page; i < page + PAGE; i++) {
		if (i > page)
			str_append(&text, ",");
		k->write(&text, i, first_version + i);
		if (text.len >= PIECE)
			feed(&split, &text);
	}
	str_append(&text, "]}");
	feed(&split, &text);
	split_done(&split);
}

/* All objects at versions from there on; handlers hear of them here. */
static void list(struct kind *k, unsigned first_version)
{
	autofree char *version = xasprintf("%u", first_version + N_OBJECTS);

	cache_begin_sync(&k->cache, false);
	for (unsigned page = 0; page < N_OBJECTS; page += PAGE)
		list_page(k, page, first_version);
	(void)cache_end_sync(&k->cache, version);
	mem_trim(); /* as the informer does then */
}

/* ---- figures ---- */

static size_t private_bytes(void)
{
	char line[256] = "";
	size_t kib = 0;
	FILE *f = fopen("/proc/self/smaps_rollup", "re");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "Anonymous:", 10) == 0)
			kib = strtoul(line + 10, NULL, 10);
	if (f)
		(void)fclose(f);
	return kib * KIB;
}

static void print(struct bench *b, const char *what)
{
	size_t bytes = private_bytes() - b->base_bytes;

	printf("  %-44s %6.1f MiB\n", what, (double)bytes / MIB);
	if (bytes > b->most_bytes)
		b->most_bytes = bytes;
}

static void drain(struct bench *b)
{
	for (unsigned i = 0; i < N_QUEUES / 2; i++) {
		queue_resume(b->claims.queues[i]);
		queue_resume(b->volumes.queues[i]);
	}
	LOCK_SCOPE(&b->lock);
	while (b->n_left)
		(void)sync_cond_wait_until(&b->changed, &b->lock, INT64_MAX);
}

/* Idle workers have given back what was freed on them (event/work). */
static void rest(struct bench *b)
{
	int64_t until_ns = clock_now_ns() + REST_NS;

	LOCK_SCOPE(&b->lock);
	while (sync_cond_wait_until(&b->changed, &b->lock, until_ns) == 0)
		;
}

static void measure(struct bench *b)
{
	b->n_left = (size_t)N_OBJECTS * N_QUEUES;
	b->base_bytes = private_bytes();
	open_kind(b, &b->claims);
	open_kind(b, &b->volumes);
	cache_add_index(&b->claims.cache, CORE_WAITING_BY_CLASS, core_waiting_class);
	list(&b->claims, 1000000);
	list(&b->volumes, 1000000);
	print(b, "caches full, a key of each in eight queues");
	drain(b);
	rest(b);
	print(b, "the keys worked off");
	list(&b->claims, 2000000);
	print(b, "right after claims were listed anew");
	list(&b->volumes, 2000000);
	print(b, "right after volumes were listed anew");
	rest(b);
	print(b, "at rest again");
	close_kind(&b->claims);
	close_kind(&b->volumes);
}

int main(void)
{
	static const struct work_lane_def lane = { .name = "api", .threads = 16 };
	static const struct work_options work = { .lanes = &lane, .n_lanes = 1 };
	struct bench b = { .claims = { .type = &core_pvc_type, .write = write_claim },
			   .volumes = { .type = &core_pv_type, .write = write_volume },
			   .lock = PTHREAD_MUTEX_INITIALIZER };

	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_TRIM_THRESHOLD, 64 << 10);
	(void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
	log_init(&(struct log_options){ .verbosity = 0 });
	sync_cond_init(&b.changed);
	if (ev_loop_new(&b.loop) < 0 || ev_loop_spawn(b.loop) < 0 || work_new(&work, &b.work) < 0)
		return 1;
	printf("%u claims and %u volumes in shared caches, MiB of private memory:\n", N_OBJECTS,
	       N_OBJECTS);
	measure(&b);
	printf("  target: at most %llu  %s\n", (unsigned long long)(TARGET_BYTES / MIB),
	       b.most_bytes <= TARGET_BYTES ? "met" : "NOT MET");
	work_free(b.work);
	ev_loop_join(b.loop);
	ev_loop_free(b.loop);
	return 0;
}
