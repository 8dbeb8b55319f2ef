/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_CEPH_CLIENT_H
#define VOLUME_CEPH_CLIENT_H

#include "base/uuid.h"

#include <stdbool.h>

/*
 * Which client of Ceph has an image on which node, as its metadata says it:
 *
 *     NODE ADDRESS BOOT     "worker-3 10.98.0.11:0/2672315062 1f6f5e0c-…"
 *
 * so that a node which is lost can be fenced when the cluster has forgotten its watch. ADDRESS is
 * as the cluster writes it; BOOT is of Linux' boot_id, "-" where it is not known.
 */
#define CEPH_IP_MAX 46
#define CEPH_ADDRESS_MAX 96
#define CEPH_NODE_MAX 257 /* of CSI's node_id, with its NUL */
#define CEPH_CLIENT_MAX (CEPH_NODE_MAX + CEPH_ADDRESS_MAX + UUID_TEXT_MAX)

struct ceph_client {
	char node[CEPH_NODE_MAX];
	char address[CEPH_ADDRESS_MAX];
	char boot_id[UUID_TEXT_MAX]; /* "": not known */
};
/* A node's name that can be kept so: no blank or control character in it. */
bool ceph_client_node_is_valid(const char *node);
/* -1: a part of it cannot be written so (a blank in it, or no address). */
int ceph_client_format(const struct ceph_client *client, char ret_text[CEPH_CLIENT_MAX]);
/* -1: it is none. What is parsed is formatted as the same text. */
int ceph_client_parse(const char *text, struct ceph_client *ret_client);

/*
 * The host of an address of the cluster's: "10.98.0.11:0/2672315062", "v2:10.98.0.11:3300/0",
 * "[fd00::1]:0/7", the first of "[v2:…,v1:…]"; a bare IP, too. -1: there is none in it. Of IPv6 the
 * one spelling that the kernel has.
 */
int ceph_address_ip(const char *address, char ret_ip[CEPH_IP_MAX]);
/* Of one client alone, as the blocklist has it: "10.98.0.11:0/2672315062", "[fd00::1]:0/7". -1: the
 * address is none, or says no client. */
int ceph_address_client(const char *address, char ret_client[CEPH_ADDRESS_MAX]);
/* Whatever port and client: "10.98.0.11:0/0", "[fd00::1]:0/0". */
void ceph_address_of_ip(const char *ip, char ret_address[CEPH_ADDRESS_MAX]);

#endif
