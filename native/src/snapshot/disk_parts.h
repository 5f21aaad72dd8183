/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a disk (disk.h) have from each other: disk.c, and stages.c with the files of its tops. */
#ifndef FORKD_SNAPSHOT_DISK_PARTS_H
#define FORKD_SNAPSHOT_DISK_PARTS_H

#include "snapshot/disk.h"

#include <pthread.h>

#define ZERO UINT64_MAX
#define NO_STAGE UINT32_MAX
/* An owner that is no stage: the block is zero, and in no file. */
#define HOLE UINT16_MAX
/* Owner entries to one bit of `regions`: one page of the owner map, which covers 8 MiB of disk. */
#define REGION_BLOCKS 2048u

/* What the layers say, merged: `count` blocks from `first` are in file `source`, from block `file_block` on.
 */
struct extent {
    uint64_t first;
    uint64_t count;
    uint64_t file_block; /* ZERO: all zero, in no file */
    uint32_t source;     /* index in files */
};

struct extent_list {
    struct extent *extents;
    uint64_t count;
    uint64_t capacity;
};

/* One file of what was written: the top, or one that was. A block is at its own place in it. */
struct stage {
    int fd;          /* -1: none, and the number may be given to another */
    bool own;        /* made by this process: what is in it is of nobody else's account */
    uint64_t blocks; /* whose newest content it has */
    uint64_t filled; /* that it has any content of: the rest of these is waste */
    uint32_t users;  /* threads that read from it just now: it stays open for them */
};

/* Blocks that a thread is about to change, on its stack: others that would change them wait. */
struct change {
    uint64_t first;
    uint64_t end;
    struct change *next;
};

/* Stages that are being put together; see stages.c. */
struct merge {
    uint32_t target; /* NO_STAGE: none is under way */
    uint32_t sources[2];
    uint64_t next; /* blocks below are done */
    bool failed;   /* not to be tried again before something changes */
};

struct disk {
    char *name;
    uint32_t mode;
    int scratch_fd;
    uint64_t size;
    uint64_t blocks; /* the last one may be short */

    int *files; /* the base, then the layers, bottom first */
    uint32_t file_count;
    struct extent_list layers;
    bool host_full;           /* atomic */
    struct disk_quota *quota; /* NULL: none */

    pthread_mutex_t lock;   /* guards all of the below, and is not held while a file is waited for */
    pthread_cond_t changed; /* a change has ended, or a top is made */
    struct change *changes; /* under way */
    bool making_top;        /* by some thread */

    /*
     * owner[block] is 0, 1 + the stage that has the block, or HOLE: so a read finds it in one step however
     * often the disk was frozen, and freezing is forgetting which one is the top. The map is anonymous memory
     * that is not there until it is written. A bit of `regions` says that a page of it may be, so that blocks
     * that nobody wrote cost a child nothing, not even a page table.
     */
    struct stage *stages;
    uint32_t stage_count; /* numbers in use, and below those */
    uint64_t stage_capacity;
    uint32_t used;   /* stages that have a file */
    uint32_t top;    /* the one that is written to; NO_STAGE: the next write makes one */
    uint16_t *owner; /* NULL: not a private disk */
    uint64_t *regions;
    struct merge merge;
};

static inline size_t disk_region_words(const struct disk *disk)
{
    return (size_t)((disk->blocks / REGION_BLOCKS + 1) / 64 + 1);
}

/* With the lock: */

/* 0, or 1 + the stage that has it, or HOLE. */
uint16_t disk_owner_of(const struct disk *disk, uint64_t block);
/* The first block in [block, end) whose owner is another than `owner`, else end. */
uint64_t disk_owner_run_end(const struct disk *disk, uint64_t block, uint64_t end, uint16_t owner);
/* The newest content of blocks [block, end) is in this stage from now on. */
void disk_give(struct disk *disk, uint64_t block, uint64_t end, uint32_t number);
/* Nobody reads from a stage for us any more. */
void disk_leave_stage(struct disk *disk, uint32_t number);

/* Without it: */

/* Wait until nobody else changes blocks [first, end), and keep others from it. */
void disk_begin_change(struct disk *disk, struct change *change, uint64_t first, uint64_t end);
void disk_end_change(struct disk *disk, struct change *change);
/* The top, of the disk's size, made if there is none. 0, or a negative errno. */
int disk_take_top(struct disk *disk, uint32_t *number, int *fd);
/*
 * Take room for blocks [block, end), which a change is under way of, from the quota; false: there is not so
 * much. What was taken is given back with disk_give_back, however that ends: disk_give counts by itself.
 */
bool disk_reserve(struct disk *disk, uint64_t block, uint64_t end, uint64_t *taken);
void disk_give_back(struct disk *disk, uint64_t taken);
/* Blocks [block, end), which a change is under way of, are zero from now on, and in no file. */
void disk_make_hole(struct disk *disk, uint64_t block, uint64_t end);

#endif
