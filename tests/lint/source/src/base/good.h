/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_GOOD_H
#define BASE_GOOD_H

int good(void); /* says "// nothing" */

#endif
