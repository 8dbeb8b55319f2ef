/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

void cmd_end(void);
void cmd_end(void)
{
	exit(0); /* the recieved word */
}