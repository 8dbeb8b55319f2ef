/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/messages.h"
#include "backend/pool/pool-internal.h"
#include "host/mount.h"
