/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_HOST_H
#define TESTS_FAKE_HOST_H

#include "base/err.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The room host/ in memory, put in its place at link time: files with names, attributes and
 * allocation, directories with what is and is not synced, loop devices that clear themselves,
 * mounts. It keeps state, so tests check outcomes and not calls; and it can fail the n-th call, die
 * at the n-th call, or lose power. One thread.
 */

/* Forgets everything. One directory, "/pool", on an XFS with reflink of this size. */
void fake_host_reset(uint64_t pool_bytes);

/* What a look at the filesystem of "/pool" finds. */
void fake_host_set_fs(const char *type, bool has_reflink, bool is_read_only);
void fake_host_take_inodes(bool are_taken); /* "/pool" has none for one more file */
/* Further places: a directory on the root filesystem (type ext4), for images, staging and targets.
 * Parents too. */
void fake_host_add_dir(const char *path);
void fake_host_add_symlink(const char *path);
void fake_host_add_link(const char *path, const char *to); /* to: absolute, short */
/* A regular file of somebody else below "/pool": no record, some bytes. */
void fake_host_add_foreign(const char *name);
/* Changes a file below "/pool" as a person or a bad disk would. */
void fake_host_set_attr(const char *name, const char *attr, const char *value);
const char *fake_host_attr(const char *name, const char *attr); /* NULL: none */
void fake_host_set_size(const char *name, uint64_t bytes);
void fake_host_rename(const char *name, const char *new_name);
void fake_host_link(const char *name, const char *other_name);
void fake_host_unlink(const char *name);
/* Somebody gives the file that is unlinked next this name just before. */
void fake_host_link_before_unlink(const char *other_name);
/* The disk below "/pool" dies: nothing that asks it answers, while the kernel's tables do. */
void fake_host_kill_disk(void);
/* What there is in each mount of such a filesystem, "a/b/c"; NULL: nothing. */
void fake_host_set_remote_dir(const char *path);
void fake_host_set_client(const char *fs); /* that the kernel has a client for; NULL: none */
/* What is mounted without a device is of one server, so that all has one device number. Whoever
 * asks it while it is silent hangs, which is counted; the kernel's tables and unmounting do not. */
void fake_host_silence_server(bool is_silent);
/* It answers, and takes nothing that was written. */
void fake_host_stop_writes(bool is_stopped);
size_t fake_host_n_hangs(void);
/* No child can be started that would ask it. */
void fake_host_break_probes(bool are_broken);
size_t fake_host_n_forced(void); /* unmounts */
/* The disk is not mounted at "/pool" (the directory below it is the root filesystem's), or is. */
void fake_host_unmount_pool(void);
void fake_host_mount_pool(void);
void fake_host_root_is_xfs(void); /* instead of ext4 */
/* Everything in the pool lies on another filesystem now. */
void fake_host_copy_to_another_disk(void);
/* What the superblock inside says; and what a mounted one does after an error. */
void fake_host_set_errors(const char *name, bool has_errors);
void fake_host_set_condition(const char *name, bool is_read_only, bool is_shut_down);
void fake_host_remove(const char *name);
void fake_host_spoil_templates(void); /* wrong bytes in each that there is */
bool fake_host_has(const char *name);
size_t fake_host_n_files(void); /* entries of "/pool" but .cleat */
/* A loop device bound by another program to a file of its own. */
void fake_host_add_foreign_loop(void);
void fake_host_set_direct(bool can_direct); /* what the kernel gives new loop devices */
/* Writing out a file needs so many calls more than one. */
void fake_host_slow_gaps(unsigned n);
/* Whether each block of the file was written. */
bool fake_host_is_written(const char *name);
/* Calls this each time in the middle of a mkfs. */
void fake_host_at_mkfs(void (*fn)(void *arg), void *arg);
/* "" or the filesystem that mkfs put into the file; its UUID. */
const char *fake_host_fs_of(const char *name, struct uuid *ret_uuid);

/*
 * Failures. Every call that can fail counts from 1 since fake_host_fail_*(); n = 0: none. After
 * fake_host_fail_from(n) all calls from the n-th on fail and change nothing, closing too: what a
 * SIGKILL leaves. fake_host_kill() then does what the kernel does with a dead process.
 */
void fake_host_fail_at(unsigned n);
/* What that call and those after it fail with, until the reset; INTERNAL unless told. */
void fake_host_fail_with(enum err_code code);
void fake_host_fail_from(unsigned n);
bool fake_host_failed(void); /* whether the n-th call was reached */
void fake_host_kill(void);
/* Kill, and all that was not synced is lost; devices and mounts too. */
void fake_host_power_cut(void);

/* What is there now. */
size_t fake_host_n_fds(void);
size_t fake_host_n_loops(void); /* without foreign ones */
size_t fake_host_n_mounts(void);
size_t fake_host_n_nameless(void);
size_t fake_host_n_templates(void);
uint64_t fake_host_used_bytes(void);      /* of "/pool", templates included */
size_t fake_host_n_foreign_touched(void); /* foreign loops or files that something changed */

#endif
