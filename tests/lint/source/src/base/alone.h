/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ALONE_H
#define ALONE_H

size_t needs_stddef(void);

#endif
