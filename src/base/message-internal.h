/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MESSAGE_INTERNAL_H
#define BASE_MESSAGE_INTERNAL_H

#include "base/message.h"

static inline void *message_at(void *msg, size_t offset)
{
	return (char *)msg + offset;
}

size_t message_value_size(const struct msg_field *field);
/* As if nothing of the message, of the field's value, had come; what else lies in the same struct
 * stays. */
void message_reset(const struct msg_type *type, void *msg);
void message_reset_value(const struct msg_field *field, void *at);
/* The same where all is zero already. */
void message_init_value(const struct msg_field *field, void *at);

#endif
