/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_FIELDS_H
#define CSI_FIELDS_H

#include "base/err.h"
#include "base/message.h"

/*
 * CSI's rules for the fields of any message, by description: INVALID_ARGUMENT, named by path
 * ("volume.volume_id: required").
 */

/* Whether what the specification calls REQUIRED is there. For replies of other drivers. */
int fields_check_required(const struct msg_type *type, const void *msg, struct err *err);
/* That, and whether the message keeps to the sizes of "Field Requirements" and its strings are
 * UTF-8; keys of secrets have only the characters that CSI allows. For requests. */
int fields_check(const struct msg_type *type, const void *msg, struct err *err);
/* For messages that this program made: whether a field is filled while its has_ is not set. On the
 * wire it would be lost without a word. INTERNAL. */
int fields_check_flags(const struct msg_type *type, const void *msg, struct err *err);

#endif
