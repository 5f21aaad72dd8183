/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk as a stack: a base image that nobody writes, read-only layers over it, and a private top in a
 * nameless file that is made at the first write. Granularity is one 4 KiB block. A layer that a snapshot
 * wrote is a file in the layer format (layer.h).
 *
 * Across fork(2): a disk that has no top yet (never written, or just frozen) may be used on both sides, each
 * of which makes a top of its own; when it was frozen, one of them calls disk_inherit first. With a top, only
 * one side may go on; and with a shared disk, which has none.
 *
 * Threads: any number may be in what reads, writes, zeroes, discards, flushes and merges; all the rest,
 * fork(2) as well, is for when none is. Of two that touch the same sectors at once neither is first; sectors
 * of one block are as good as apart.
 */
#ifndef FORKD_SNAPSHOT_DISK_H
#define FORKD_SNAPSHOT_DISK_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define DISK_BLOCK_SIZE 4096u
#define DISK_SECTOR_SIZE 512u

struct disk;

/*
 * Open a disk over descriptors, which become the disk's on success. `mode` is an enum forkd_disk_mode:
 * private disks need the scratch directory `scratch_fd` (borrowed; it must outlive the disk), in which the
 * top is made with O_TMPFILE (or mkostemp + unlink where the file system lacks it). `layer_fds` are bottom
 * first, may be none. Layers need FORKD_DISK_PRIVATE or FORKD_DISK_READ_ONLY. Who opened the base has locked
 * it. `name` (copied) is for errors. Errors: -EINVAL size not a multiple of 512; -EBADMSG a layer whose table
 * is damaged: its data is looked at by disk_verify_layers.
 */
int disk_open(struct disk **out, const char *name, uint32_t mode, int base_fd, const int *layer_fds,
              uint32_t layer_count, int scratch_fd, struct forkd_error *err);
/*
 * Check all data of the layers; -EBADMSG names the file. Whoever opens a disk for a guest does this first, so
 * that no guest ever reads what is damaged. All of it and at once, since a checksum is that of a whole
 * extent, which may be as long as the disk: to check one when it is first read would stop a guest for as
 * long, in each child anew. It reads as fast as the host does, once a server: 0.3 s a GiB from the page
 * cache.
 */
int disk_verify_layers(const struct disk *disk, struct forkd_error *err);
void disk_close(struct disk *disk);

/* What several disks may take of the host, all together; atomic. */
struct disk_quota {
    uint64_t blocks; /* of DISK_BLOCK_SIZE that they have */
    uint64_t most;
    bool reached; /* a write has failed, ever, since it would have been past that */
};
/* Count in `quota` (borrowed) what is written to a private disk from now on: blocks that the process has made
 * a file for. A write that it has no room for fails with -ENOSPC. */
void disk_set_quota(struct disk *disk, struct disk_quota *quota);

uint64_t disk_size(const struct disk *disk); /* bytes */
bool disk_read_only(const struct disk *disk);
uint32_t disk_mode(const struct disk *disk);
/* Has a write failed, ever, since the host had no room for it (-ENOSPC, -EDQUOT)? The guest had an I/O error
 * then, and a file system that has is not the same again. */
bool disk_host_full(const struct disk *disk);

/* Read or write whole sectors at a byte offset; the range must lie within the disk (-EINVAL otherwise). 0 or
 * a negative errno of the host file. */
int disk_read(struct disk *disk, const struct iovec *iov, int iov_count, uint64_t offset);
int disk_write(struct disk *disk, const struct iovec *iov, int iov_count, uint64_t offset);
/* The same if nothing has to be waited for, -EAGAIN if it may have: of what is in the host's memory. */
int disk_read_at_once(struct disk *disk, const struct iovec *iov, int iov_count, uint64_t offset);
/* Make writes durable: only a shared disk has anything to do, since a private top does not outlive its
 * process. */
int disk_flush(struct disk *disk);
/* The range, of whole sectors, reads as zeroes from now on. Costs neither memory nor space where it did
 * before. */
int disk_write_zeroes(struct disk *disk, uint64_t offset, uint64_t length);
/* Nobody needs what is there: whole blocks of a private disk read as zeroes from now on, and what its top had
 * for them goes back to the host and the quota. */
int disk_discard(struct disk *disk, uint64_t offset, uint64_t length);

/*
 * Turn the top into one more read-only layer, for branching: call it, then fork(2), and disk_inherit on the
 * other side. Takes the same time whatever was written; the frozen top lives as long as a process that has
 * the disk. Nothing to do when nothing was written since the last time. Private disks only (others have no
 * top: 0). -EMFILE when disk_freezes_left is 0: a frozen top is a file and a descriptor, and the next write
 * needs one more, until disk_merge_step has put them together.
 */
uint32_t disk_freezes_left(const struct disk *disk);
int disk_freeze_top(struct disk *disk, struct forkd_error *err);
/* In the process that was forked: what there is of tops is shared with others from now on, and not to be
 * changed. */
void disk_inherit(struct disk *disk);
/*
 * Forget all that was written since the disk was opened: tops, what was frozen of them, and that a write has
 * failed. What was forked meanwhile keeps what it has. No thread may be at it. Its part of a quota is the
 * caller's to give back.
 */
void disk_reset(struct disk *disk);
/* Whether the next has something to do. */
bool disk_merge_due(struct disk *disk);
/*
 * Put frozen tops together where there are many, or much of what they hold has been overwritten since: a part
 * of it, of a quarter of a MiB; one thread at a time. True when there may be more to do. Changes nothing that
 * anybody reads; a failure, as of a host without room, leaves the rest as it is until the next freeze.
 */
bool disk_merge_step(struct disk *disk);

/*
 * Write what differs as one layer to `out_fd`, an empty file; not synced. From the base (all layers and tops,
 * merged), or, with `over_layers`, from what was opened (the tops alone): a layer to go over those. *written
 * says whether there was anything: false leaves the file empty, and it should not be kept. Layers that are
 * merged are verified before.
 */
int disk_save_layer(struct disk *disk, int out_fd, bool over_layers, bool *written, struct forkd_error *err);

/* Call `visit` with each descriptor that the disk uses, the scratch directory's among them. */
void disk_each_fd(struct disk *disk, void (*visit)(void *context, int fd), void *context);

#endif
