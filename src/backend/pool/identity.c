/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool's identity.
 *
 * The UUID of the filesystem would not do: a cloned disk has the same, so two nodes would serve the
 * "same" volumes, one of them stale ones; two directories of one filesystem share it, so a pool
 * that was moved to another directory would lose its volumes and call them deleted; and volumes
 * that were copied to a bigger disk would be nobody's. So the identity is a number of the pool's
 * own, and beside it stands by what a copy is told from the original. The node is part of it since
 * a clone of a block device has everything else in common with the original.
 *
 * The file is made like a volume: nameless, synced, linked, the directory synced. It is replaced
 * by a rename of a second name; a leftover of that name is somebody's who was killed, and goes.
 */
#include "backend/pool/identity.h"

#include "backend/pool/lines.h"
#include "base/str.h"
#include "host/fs.h"

#define VERSION_LINE "cleat pool 1\n"
#define NEW_FILE POOL_IDENTITY_FILE ".new"

void pool_identity_format(const struct pool_identity *id, char ret_text[POOL_IDENTITY_MAX])
{
	char identity[UUID_TEXT_MAX];
	char filesystem[UUID_TEXT_MAX];

	uuid_format(&id->identity, identity);
	uuid_format(&id->filesystem, filesystem);
	(void)snprintf(ret_text, POOL_IDENTITY_MAX,
		       VERSION_LINE "identity=%s\nfilesystem=%s\ninode=%llu\nnode=%s\n", identity,
		       filesystem, (unsigned long long)id->inode, id->node);
}

static int bad(struct err *err, const char *what)
{
	return err_set(err, ERR_FAILED_PRECONDITION, "it has no valid %s", what);
}

enum { HAS_IDENTITY = 1, HAS_FILESYSTEM = 2, HAS_INODE = 4, HAS_NODE = 8, HAS_ALL = 15 };

static int parse_uuid(const struct line *line, struct uuid *ret_uuid)
{
	char text[UUID_TEXT_MAX];

	return line_copy(line, text, sizeof(text)) < 0 ? -1 : uuid_parse(text, ret_uuid);
}

/* The bit of what the line has; 0 for keys that are not known. */
static int parse_line(const struct line *line, struct pool_identity *id, struct err *err)
{
	char number[24];

	if (line_is(line, "identity"))
		return parse_uuid(line, &id->identity) < 0 ? bad(err, "identity") : HAS_IDENTITY;
	if (line_is(line, "filesystem"))
		return parse_uuid(line, &id->filesystem) < 0 ? bad(err, "filesystem")
							     : HAS_FILESYSTEM;
	if (line_is(line, "inode")) {
		if (line_copy(line, number, sizeof(number)) < 0 ||
		    str_parse_u64(number, &id->inode) < 0)
			return bad(err, "inode");
		return HAS_INODE;
	}
	if (line_is(line, "node"))
		return line_copy(line, id->node, sizeof(id->node)) < 0 ? bad(err, "node")
								       : HAS_NODE;
	if (line_is(line, "needs"))
		return line_check_needs(line, err);
	return 0;
}

static const char *missing_part(int has)
{
	if (!(has & HAS_IDENTITY))
		return "identity";
	if (!(has & HAS_FILESYSTEM))
		return "filesystem";
	return has & HAS_INODE ? "node" : "inode";
}

int pool_identity_parse(const char *text, struct pool_identity *ret_id, struct err *err)
{
	struct pool_identity id = { 0 };
	const char *at = text;
	struct line line;
	int has = 0;
	int rc;

	if (!str_has_prefix(at, VERSION_LINE))
		return bad(err, "version (this cleat knows 'cleat pool 1')");
	at += strlen(VERSION_LINE);
	while ((rc = line_next(&at, &line)) > 0) {
		int bit = parse_line(&line, &id, err);

		if (bit < 0)
			return -1;
		has |= bit;
	}
	if (rc < 0)
		return bad(err, "line at its end");
	if (has != HAS_ALL)
		return bad(err, missing_part(has));
	*ret_id = id;
	return 0;
}

int pool_identity_read(int meta_fd, struct pool_identity *ret_id, struct err *err)
{
	char text[POOL_IDENTITY_MAX];
	autohostfd int fd = -1;

	if (host_file_open(meta_fd, POOL_IDENTITY_FILE, true, &fd, err) < 0 ||
	    host_file_get_text(fd, text, sizeof(text), err) < 0)
		return -1;
	if (pool_identity_parse(text, ret_id, err) < 0)
		return err_wrap(err, "its file .cleat/" POOL_IDENTITY_FILE);
	return 0;
}

int pool_identity_write(int meta_fd, const struct pool_identity *id, bool replace, struct err *err)
{
	char text[POOL_IDENTITY_MAX];
	autohostfd int fd = -1;

	pool_identity_format(id, text);
	if (host_file_make(meta_fd, &fd, err) < 0 || host_file_set_text(fd, text, err) < 0 ||
	    host_file_sync(fd, err) < 0)
		return -1;
	if (!replace) {
		if (host_file_link(fd, meta_fd, POOL_IDENTITY_FILE, err) < 0 ||
		    host_file_sync(fd, err) < 0)
			return -1;
		return host_dir_sync(meta_fd, err);
	}
	if (host_file_unlink(meta_fd, NEW_FILE, err) < 0 ||
	    host_file_link(fd, meta_fd, NEW_FILE, err) < 0 || host_file_sync(fd, err) < 0 ||
	    host_file_rename(meta_fd, NEW_FILE, POOL_IDENTITY_FILE, err) < 0)
		return -1;
	return host_dir_sync(meta_fd, err);
}

int pool_identity_compare(const struct pool_identity *recorded, const struct pool_identity *seen,
			  bool any_node, const char *dir, struct err *err)
{
	char what[160] = "";

	if (memcmp(&recorded->filesystem, &seen->filesystem, sizeof(seen->filesystem)) != 0) {
		char was[UUID_TEXT_MAX], is[UUID_TEXT_MAX];

		uuid_format(&recorded->filesystem, was);
		uuid_format(&seen->filesystem, is);
		(void)snprintf(what, sizeof(what), "on filesystem %s, now on %s", was, is);
	} else if (recorded->inode != seen->inode) {
		(void)snprintf(what, sizeof(what), "directory %llu of its filesystem, now %llu",
			       (unsigned long long)recorded->inode,
			       (unsigned long long)seen->inode);
	} else if (!any_node && recorded->node[0] && seen->node[0] &&
		   !str_is_equal(recorded->node, seen->node)) {
		(void)snprintf(what, sizeof(what), "served by node '%.60s', now by '%.60s'",
			       recorded->node, seen->node);
	} else {
		return 0;
	}
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "the pool at '%s' is not where it was: %s; if it was moved, cleat ctl pool "
		       "adopt --moved %s; if this is a copy, cleat ctl pool adopt --copy %s",
		       dir, what, dir, dir);
}
