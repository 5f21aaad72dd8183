/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a snapshot, written to a folder. */
#ifndef FORKD_SNAPSHOT_FILES_H
#define FORKD_SNAPSHOT_FILES_H

#include "base/error.h"
#include "snapshot/disk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What nobody changes any more: a paused machine's, or a twin's. */
struct snapshot_source {
    const void *vmstate;
    size_t vmstate_length;
    const void *memory;
    uint64_t memory_size;
    int memory_base_fd; /* as for memory_image_write */
    struct disk *const *disks;
    uint32_t disk_count;
    bool over_base; /* as layers over what the memory is a mapping of, and over the disks' layers */
};

/* -EEXIST when the folder holds a snapshot already, or the beginning of one. */
int snapshot_check_folder(int directory, struct forkd_error *err);

/*
 * Write and fsync everything; vmstate comes last, by a rename, so that a folder that has it is complete.
 * After a failure nothing of it is there.
 */
int snapshot_write(const struct snapshot_source *source, int directory, struct forkd_error *err);

/* Remove what snapshot_write has written, wherever it was stopped. */
void snapshot_remove(uint32_t disk_count, int directory);

#endif
