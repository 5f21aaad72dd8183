/* SPDX-License-Identifier: Apache-2.0 */
/* memory.bin: guest RAM as a file of its size, byte for byte, in which pages of zeroes are holes. */
#ifndef FORKD_SNAPSHOT_MEMORY_IMAGE_H
#define FORKD_SNAPSHOT_MEMORY_IMAGE_H

#include "base/error.h"

#include <stdint.h>

/*
 * Write `size` bytes (a multiple of 4096) from `memory`, which is page-aligned and does not change meanwhile,
 * to the empty file `fd`. Anonymous memory that was never touched is not read. Not synced.
 */
int memory_image_write(int fd, const void *memory, uint64_t size, struct forkd_error *err);

/*
 * Map a memory image copy-on-write. -EBADMSG the file is shorter than expected_size, -EINVAL it is longer.
 * *out is unmapped with munmap(*out, expected_size).
 */
int memory_image_map(int fd, uint64_t expected_size, void **out, struct forkd_error *err);

#endif
