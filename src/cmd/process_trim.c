/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process_trim - hand back what only the start needed
 *
 * Starting runs through much code once: the linker looks up every symbol of libcrypto, OpenSSL sets
 * up ciphers that no peer will ask for, option tables are read. The pages stay mapped though
 * nothing will touch them again, and on a node with hundreds of pods each agent's resident memory
 * counts against its limit. So after the start the clean pages of programs and libraries are
 * unmapped, and what is used again is mapped again from the page cache.
 *
 * Only mappings without a single page of their own (Anonymous: 0) may be dropped: a private page
 * that was written, as by relocation, exists nowhere else. Read-only mappings cannot get such pages
 * after the linker is done with them.
 */
#include <ctype.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/num.h"
#include "cmd/process.h"

#define SMAPS_MAX (4 * MIB)

struct mapping {
	uintptr_t begin, end;
	bool is_file; /* private, read-only, of a file */
};

/* Digits at *text, moving behind them. */
static uintptr_t parse_hex(const char **text)
{
	uintptr_t value = 0;

	for (; isxdigit((unsigned char)**text); (*text)++)
		value = value * 16 +
			(uintptr_t)(**text <= '9' ? **text - '0' : (**text | 32) - 'a' + 10);
	return value;
}

/* "7f2a00000000-7f2a00028000 r--p 00000000 fe:00 131 /usr/lib/…": false for the lines below such a
 * head. */
static bool parse_head(const char *line, struct mapping *ret)
{
	const char *at = line;
	uintptr_t begin = parse_hex(&at), end;

	if (at == line || *at != '-')
		return false;
	at++;
	end = parse_hex(&at);
	if (*at != ' ')
		return false;
	*ret = (struct mapping){
		.begin = begin,
		.end = end,
		.is_file = at[1] == 'r' && at[2] == '-' && at[4] == 'p' && strchr(at, '/'),
	};
	return true;
}

void process_trim(void)
{
	autofree char *text = NULL;
	struct mapping m = { 0 };
	char *rest, *line;
	size_t n;

	(void)malloc_trim(0);
	if (fd_read_file(AT_FDCWD, "/proc/self/smaps", SMAPS_MAX, &text, &n) < 0)
		return;
	for (rest = text; (line = strsep(&rest, "\n"));) {
		if (parse_head(line, &m) || !m.is_file)
			continue;
		if (str_has_prefix(line, "Anonymous:") && strstr(line, " 0 kB"))
			(void)madvise((void *)m.begin, m.end - m.begin, MADV_DONTNEED);
	}
}
