/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_HOST_USAGE_H
#define TESTS_FAKE_HOST_USAGE_H

#include <stdbool.h>

bool fake_host_is_device_read_only(const char *device);

#endif
