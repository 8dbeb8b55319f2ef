/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CTL_H
#define CMD_CTL_H

#include "base/clock.h"
#include "base/json.h"
#include "cmd/cmd.h"
#include "cmd/remote.h"
#include "csi/service.h"
#include "kube/config.h"
#include "volume/id.h"

struct ev_loop;
struct fleet;
struct kube_client;

/* What `cleat ctl` was told; one struct for all verbs, since they share most of it. */
struct ctl_options {
	struct cmd_common common;
	const char *endpoint;
	const char *agents; /* in its place; "" or NULL */
	const char *agents_service, *agents_port;
	struct cmd_tls tls;
	bool insecure;
	const char *output;
	const char *output_short;
	int64_t timeout_ns;
	uint64_t size;
	uint64_t limit;
	const char *fs;
	bool block;
	const char *mode;
	struct opt_list parameters;
	struct opt_list flags;
	const char *staging;
	const char *target;
	bool read_only;
	const char *from_snapshot;
	const char *from_volume;
	const char *volume;
	uint64_t offset;
	struct opt_list members;
	const char *pool;
	bool repair;
	uint64_t pool_reserve;
	const char *pool_overcommit;
	bool moved;
	bool copy;
	const char *kubeconfig;
	const char *context;
	const char *ns, *ns_short;
	const char *name_prefix;
	const char *journal_ns;
	const char *driver_name;
	const char *adopt_for;
	const char *class_name;
	const char *access_mode;
	bool yes, any_owner;
	const char *ceph_cluster, *fs_name, *secret, *config_dir, *journal_instance;
};

enum ctl_output { CTL_TABLE, CTL_JSON, CTL_YAML, CTL_ID };

/* One run: the service, the arena of its ctx, and where the answer is written. */
struct ctl {
	const struct ctl_options *opts;
	const struct csi_service *service; /* NULL if the verb is local, or asks no driver */
	struct fleet *fleet;               /* NULL unless it is the agents of many nodes */
	struct kube_client *kube;          /* NULL unless the verb reads the cluster */
	const char *ns;                    /* the namespace that is meant */
	struct ctx *ctx;
	enum ctl_output output;
	const char *other;  /* TARGET argument, as it was typed; "" */
	const char *id;     /* NAME or ID argument, "" if the verb has none; names are ids by now */
	enum vol_kind kind; /* what the verb's group is about */
	struct str *out;
};

/* A verb does its call and appends the answer to ctl->out. */
struct ctl_verb {
	const char *group; /* "volume", "snapshot", "group", "pool", "orphans", "explain", "" for
			      none */
	const char *name;
	const char *argument; /* "NAME", "DIR", or "ID", for which a name does too; two
			       with a blank between; NULL for none */
	const char *needs;    /* options that must be there, comma-separated; NULL for none */
	const char *takes;    /* further options of this verb, for its help */
	const char *summary;
	bool is_local; /* asks no driver; ctl->id is as it was given, and nothing ends it but it */
	bool reads_cluster;  /* has a client of the API server */
	bool asks_no_driver; /* the API server alone */
	/* what only this verb can judge of the options; INVALID_ARGUMENT; may be NULL */
	int (*check)(const struct ctl_options *opts, struct err *err);
	int (*run)(struct ctl *ctl, struct err *err);
};

/* All end with a NULL name. */
extern const struct ctl_verb ctl_volume_verbs[];
extern const struct ctl_verb ctl_snapshot_verbs[];
extern const struct ctl_verb ctl_group_verbs[];
extern const struct ctl_verb ctl_node_verbs[];
extern const struct ctl_verb ctl_pool_verbs[];
extern const struct ctl_verb ctl_orphans_verbs[];
extern const struct ctl_verb ctl_handover_verbs[];
extern const struct ctl_verb ctl_ceph_verbs[];
extern const struct ctl_verb ctl_explain_verbs[];
extern const struct ctl_verb ctl_lone_verbs[];

struct ctl_group {
	const char *name;
	const struct ctl_verb *verbs;
	enum vol_kind kind; /* of what an ID names */
};
#define CTL_N_GROUPS 9
extern const struct ctl_group ctl_groups[]; /* CTL_N_GROUPS of them */

/* What a verb speaks to; {0} is nobody. */
struct ctl_peers {
	struct remote *remote; /* one of these two, or none */
	struct fleet *fleet;
	struct csi_service service;
	struct kube_config config;
	struct kube_client *kube;
};
/* ctl_connect.c: opens what the verb needs and sets it in ctl. What was opened before a failure is
 * in *peers too. */
int ctl_connect(struct ctl *ctl, const struct ctl_verb *verb, struct ev_loop *loop,
		struct ctl_peers *peers, struct err *err);
void ctl_disconnect(struct ctl_peers *peers);

/* Whether the values that only a verb can judge are good: INVALID_ARGUMENT names the option. */
int ctl_volume_check(const struct ctl_options *opts, struct err *err);
/* The id of the volume that text names, by id or by the name it was made with; text itself if the
 * driver has no such, or cannot list. */
int ctl_volume_resolve(struct ctl *ctl, const char *text, const char **ret_id, struct err *err);
/* The same of a snapshot, and of a group of them. */
int ctl_snapshot_resolve(struct ctl *ctl, const char *text, const char **ret_id, struct err *err);
int ctl_group_resolve(struct ctl *ctl, const char *text, const char **ret_id, struct err *err);
/* All that there are, page by page. */
int ctl_snapshots_list(struct ctl *ctl, struct csi_list_snapshots_response *ret, struct err *err);
struct strmap ctl_parameters(struct ctl *ctl);

/* ctl_ranges.c: the verbs "snapshot map" and "snapshot diff". */
int ctl_snapshot_map(struct ctl *ctl, struct err *err);
int ctl_snapshot_diff(struct ctl *ctl, struct err *err);

/* ctl_check.c: the verb "volume check". */
int ctl_check(struct ctl *ctl, struct err *err);

/* ctl_node.c: the verb "pool list", and what it needs of the options. */
int ctl_pool_list(struct ctl *ctl, struct err *err);
int ctl_check_agents(const struct ctl_options *opts, struct err *err);

/* ctl_forget.c: the verbs "pool forget" and "pool remember". */
int ctl_pool_forget(struct ctl *ctl, struct err *err);
int ctl_pool_remember(struct ctl *ctl, struct err *err);

/* ctl_doctor.c: the verb "doctor". */
int ctl_doctor(struct ctl *ctl, struct err *err);

/* How things of one kind are told; items are an array of them. */
struct ctl_shape {
	enum vol_kind kind;
	size_t item_bytes;
	const char *(*id)(const void *item);
	void (*put)(struct json_writer *w, const void *item);
	void (*print_table)(struct ctl *ctl, const void *items, size_t n);
};
extern const struct ctl_shape ctl_volume_shape; /* of struct csi_controller_get_volume_response */

/* The answers, as table, JSON or id: of one the object, of all {"items": [...]}. */
void ctl_print_one(struct ctl *ctl, const struct ctl_shape *shape, const void *item);
void ctl_print_all(struct ctl *ctl, const struct ctl_shape *shape, const void *items, size_t n);
/* Whether it is an id of this kind that we made. */
bool ctl_is_id(const struct ctl_shape *shape, const char *text);
/* The id of the item that text names, by id or by name; text itself if none is.
 * FAILED_PRECONDITION: two are. */
int ctl_choose_id(const struct ctl_shape *shape, const char *text, const void *items, size_t n,
		  const char **ret_id, struct err *err);

void ctl_print_document(struct ctl *ctl, const struct str *json);
void ctl_print_volume(struct ctl *ctl, const struct csi_volume *volume);
void ctl_print_done(struct ctl *ctl, const char *what);
void ctl_format_time(const struct pb_timestamp *t, char ret_text[CLOCK_TEXT_MAX]);
/* The name that what the id names was made with (arena); another driver's id as it is. */
const char *ctl_name_of(struct arena *a, enum vol_kind kind, const char *id);
void ctl_put_snapshot(struct json_writer *w, const struct csi_snapshot *s);
void ctl_put_topologies(struct json_writer *w, const struct vol_topologies *topologies);
int ctl_info(struct ctl *ctl, struct err *err);
/* ctl_health.c: the verb "health". */
int ctl_health(struct ctl *ctl, struct err *err);

#endif
