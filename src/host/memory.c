/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an idle process keeps mapped. Loading and relocating a dozen libraries touches most of their
 * pages once, and the kernel maps the neighbours along with each (fault-around); they then count as
 * resident for as long as nobody needs the memory, though a serving process uses a small part.
 * MADV_DONTNEED on a read-only segment of a file only takes the pages out of our page table: they
 * stay in the page cache, shared with whoever else maps the file, and come back by a minor fault.
 *
 * So this is no memory won for the machine while the cache holds the files; it is what the process
 * claims, and what a memory cgroup may charge to it. The figure that cannot be had cheaper,
 * anonymous memory, is in the same report of tests/perf/memory.
 *
 * Segments are asked from the dynamic linker and not read from /proc/self/maps: inside
 * dl_iterate_phdr no library is unmapped, and a segment without PF_W holds no relocation, so there
 * is nothing of ours in it to lose. (RELRO lies in writable segments. A library with text
 * relocations would be an exception: DT_TEXTREL is looked at.) A breakpoint or uprobe that a tracer
 * put into such a page is lost with it; that is the price, and why this runs rarely.
 */
#include "host/memory.h"

#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static bool has_text_relocations(const struct dl_phdr_info *info)
{
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Dyn) *dyn = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);

		if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
			continue;
		for (; dyn->d_tag != DT_NULL; dyn++)
			if (dyn->d_tag == DT_TEXTREL ||
			    (dyn->d_tag == DT_FLAGS && (dyn->d_un.d_val & DF_TEXTREL)))
				return true;
	}
	return false;
}

static int drop_segments(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	size_t *dropped = arg;

	(void)size;
	if (has_text_relocations(info))
		return 0;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t from = (info->dlpi_addr + segment->p_vaddr) & ~(page - 1);
		uintptr_t to = (info->dlpi_addr + segment->p_vaddr + segment->p_filesz + page - 1) &
			       ~(page - 1);

		if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W))
			continue;
		/* Fails for the vDSO, which is no file. */
		if (madvise((void *)from, to - from, MADV_DONTNEED) == 0)
			*dropped += to - from;
	}
	return 0;
}

size_t host_memory_trim(void)
{
	size_t dropped = 0;

	(void)malloc_trim(0); /* says whether anything was free, which is no failure */
	(void)dl_iterate_phdr(drop_segments, &dropped);
	return dropped;
}
