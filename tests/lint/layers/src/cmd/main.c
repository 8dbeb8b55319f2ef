/* SPDX-License-Identifier: Apache-2.0 */
#include "control/provision.h"
#include "../base/a.h"
#include "base/gone.h"
