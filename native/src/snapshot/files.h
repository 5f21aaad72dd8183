/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a snapshot, written to a folder. */
#ifndef FORKD_SNAPSHOT_FILES_H
#define FORKD_SNAPSHOT_FILES_H

#include "base/error.h"
#include "snapshot/disk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* That it is complete, and that somebody writes it. */
#define SNAPSHOT_STATE "vmstate"
#define SNAPSHOT_STAGED "vmstate.new"

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

/*
 * Begin a snapshot in a folder: -EEXIST when it has a file of one of the names, which stays, or when another
 * snapshot has been begun there. From here on, and until snapshot_remove or the end of snapshot_write, files
 * of these names are nobody else's.
 */
int snapshot_claim(uint32_t disk_count, int directory, struct forkd_error *err);

/*
 * Write and fsync everything to a folder that was claimed; vmstate comes last, by a rename, so that a folder
 * that has it is complete. After a failure the caller has to remove what there is.
 */
int snapshot_write(const struct snapshot_source *source, int directory, struct forkd_error *err);

/* Give a claimed folder up: remove what snapshot_write has written, wherever it was stopped. Once: it may be
 * another's afterwards. */
void snapshot_remove(uint32_t disk_count, int directory);

/* Whether a file of this name is one of a snapshot's. */
bool snapshot_is_file(const char *name);

#endif
