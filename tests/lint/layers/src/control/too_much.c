/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/driver.h"
#include "backend/pool/pool.h"
#include "csi/messages.h"
