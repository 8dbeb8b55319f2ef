/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without a fuzzer: every file of the directories named on
 * the command line goes through it once. So the corpora, and with them every
 * input that once broke something, are ordinary tests with any compiler. Each
 * input lies in memory of exactly its size, for AddressSanitizer's sake.
 */
#include "base/fd.h"
#include "base/mem.h"

#include <fcntl.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX ((size_t)16 << 20)

static int run_file(int dir_fd, const char *name)
{
	autofree char *buf = NULL;
	autofree uint8_t *exact = NULL;
	size_t n = 0;
	int r = fd_read_file(dir_fd, name, INPUT_MAX, &buf, &n);

	if (r < 0) {
		fprintf(stderr, "%s: %s\n", name, strerror(-r));
		return -1;
	}
	exact = xmalloc(n);
	memcpy(exact, buf, n);
	(void)LLVMFuzzerTestOneInput(exact, n); /* always 0; a find aborts */
	return 0;
}

/* The number of files, or -1. */
static int run_dir(const char *path)
{
	autodir DIR *dir = opendir(path);
	struct dirent *entry;
	int n = 0;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (run_file(dirfd(dir), entry->d_name) < 0)
			return -1;
		n++;
	}
	return dir ? n : -1;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int n = run_dir(argv[i]);

		printf("%s: %d inputs\n", argv[i], n);
		if (n <= 0)
			return 1;
	}
	return argc > 1 ? 0 : 2;
}
