/* SPDX-License-Identifier: Apache-2.0 */
#include "csi.pb-c.h"
#include "backend/pool/pool-internal.h"
#include "host/mount.h"
