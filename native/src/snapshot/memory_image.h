/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.bin: guest RAM as a file of its size, byte for byte, in which pages of zeroes are holes; and
 * memory.layer: what differs from such a file, in the layer format (layer.h).
 *
 * What differs needs no record: in a private mapping, of a file or of none, it is exactly the pages that are
 * anonymous, and the kernel says which those are (Documentation/admin-guide/mm/pagemap.rst).
 */
#ifndef FORKD_SNAPSHOT_MEMORY_IMAGE_H
#define FORKD_SNAPSHOT_MEMORY_IMAGE_H

#include "base/error.h"

#include <stdint.h>

/*
 * Write `size` bytes (a multiple of 4096) from `memory`, which is page-aligned, private and does not change
 * meanwhile, to the empty file `fd`. `base_fd` is the file that it is a mapping of; -1: it is anonymous. Not
 * synced.
 */
int memory_image_write(int fd, const void *memory, uint64_t size, int base_fd, struct forkd_error *err);

/* Write what of a mapping differs from its file, as a layer. */
int memory_layer_write(int fd, const void *memory, uint64_t size, struct forkd_error *err);

/*
 * Put an image and the layers over it, bottom first, together in the empty file `fd`; `names` are the
 * layers', for errors. All data of the layers is checked. Not synced.
 */
int memory_image_flatten(int fd, int base_fd, const int *layer_fds, const char *const *names, uint32_t count,
                         struct forkd_error *err);

/*
 * Map a memory image copy-on-write. -EBADMSG the file is shorter than expected_size, -EINVAL it is longer.
 * *out is unmapped with munmap(*out, expected_size).
 */
int memory_image_map(int fd, uint64_t expected_size, void **out, struct forkd_error *err);

#endif
