#include <stdlib.h>

// a comment of another language
int bad(void)
{
	/* TODO: later */
	exit(1);
	return  0;   
}
