/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one file format for a difference, of memory or of a disk: a header, an explicit table of extents, and
 * the data, page-aligned. Explicit, because a page that became zero is data, and copying tools may change
 * holes. docs/formats.md has the layout byte by byte. A layer is hostile input.
 */
#ifndef FORKD_SNAPSHOT_LAYER_H
#define FORKD_SNAPSHOT_LAYER_H

#include "base/error.h"

#include <stdint.h>

#define LAYER_PAGE_SIZE 4096u

/* `count` pages that replace those from page `first`. */
struct layer_extent {
    uint64_t first;
    uint64_t count;
    uint64_t file_page; /* where its data starts in the file, in pages; UINT64_MAX: all zero, no data */
};

struct layer {
    uint64_t size; /* bytes of the whole that the layer belongs to */
    uint64_t extent_count;
    struct layer_extent *extents; /* sorted by first, not overlapping, adjacent ones merged where possible */
};

/* Fill `pages` pages from page `first` of the source into `buffer` (at most 256 pages at a time). */
typedef int (*layer_source)(void *context, uint64_t first, uint64_t pages, void *buffer,
                            struct forkd_error *err);

/*
 * Write a layer to an empty file: `extents` are the ranges that differ (first and count; file_page is ignored
 * and worked out: runs of zero pages are written without data). Not synced.
 */
int layer_write(int fd, const char *name, uint64_t size, const struct layer_extent *extents,
                uint64_t extent_count, layer_source source, void *context, struct forkd_error *err);

/* Read and check header, table and their checksums, and that the file holds all data that the table names.
 * -EBADMSG, -ENOTSUP (newer format), or an errno of reading. */
int layer_open(int fd, const char *name, struct layer *out, struct forkd_error *err);
void layer_free(struct layer *layer);

/* Check the checksum of all the data (reads all of it) of what was opened as a layer of a whole of `size`
 * bytes; -EBADMSG names the first bad extent. */
int layer_verify_data(int fd, const char *name, uint64_t size, struct forkd_error *err);

#endif
