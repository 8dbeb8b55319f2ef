/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as an image's client: what is understood is written again as it was, and a host that is
 * found is found again in the address of all of it. */
#include "volume/ceph_client.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[CEPH_CLIENT_MAX] = { 0 };
	char again[CEPH_CLIENT_MAX];
	char ip[CEPH_IP_MAX], same[CEPH_IP_MAX], all[CEPH_ADDRESS_MAX];
	struct ceph_client client;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	if (ceph_client_parse(text, &client) == 0) {
		assert(ceph_client_format(&client, again) == 0);
		assert(strcmp(text, again) == 0);
		assert(ceph_address_ip(client.address, ip) == 0);
	}
	if (ceph_address_ip(text, ip) == 0) {
		ceph_address_of_ip(ip, all);
		assert(ceph_address_ip(all, same) == 0 && strcmp(ip, same) == 0);
	}
	return 0;
}
