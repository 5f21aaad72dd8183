/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages of a private mapping are there, by the kernel's own record of them
 * (Documentation/admin-guide/mm/pagemap.rst). */
#ifndef FORKD_SNAPSHOT_PAGEMAP_H
#define FORKD_SNAPSHOT_PAGEMAP_H

#include <stdbool.h>
#include <stdint.h>

#define PAGEMAP_PAGE 4096u

/* Takes `count` pages from page `first` of the mapping: anonymous ones, or the file's. Not 0: ends the scan.
 */
typedef int (*pagemap_visitor)(void *context, uint64_t first, uint64_t count, bool anonymous);

/*
 * Visit each run of pages of one kind, in order; `memory` and `size` are in whole pages. 0, a negative errno,
 * or what the visitor returned.
 */
int pagemap_scan(const void *memory, uint64_t size, pagemap_visitor visit, void *context);

#endif
