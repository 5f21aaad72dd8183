/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of what was written to a private disk. The newest is the top; freezing makes it one that is only
 * read. Two things keep their number and their waste small however often that happens: one of which no block
 * is the newest any more is closed; and the smallest are put together, in steps, into a new one.
 *
 * A frozen file is also read by whoever was forked when it was frozen, so it is never changed, and what is
 * merged is copied. That holds for the new file, too: a block is written to it once, while nobody's map says
 * that it has it. So a fork(2) in the midst of merging leaves the other side with a file that has what its
 * map says, and that we go on filling elsewhere (disk_inherit).
 */
#include "base/array.h"
#include "base/broker.h"
#include "base/io.h"
#include "snapshot/disk_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define MAX_STAGES (UINT16_MAX - 1u)
/* So many are left alone. Each merge then copies the two smallest of as many, so that a block is copied again
 * only when what it lies with has grown by a part of itself. */
#define KEPT_STAGES 16u
/* Waste that is not worth copying what is left, in blocks. */
#define WASTE_MIN 1024u
/* Of one step, during which the VM's loop does nothing else: blocks that are copied, and that are looked at.
 */
#define STEP_COPIED 64u
#define STEP_SEEN (64u * 1024)
/* Of one read. */
#define COPY_BLOCKS 16u

/* Who owns what. */

static bool region_is_clear(const struct disk *disk, uint64_t block)
{
    uint64_t region = block / REGION_BLOCKS;
    return (disk->regions[region / 64] >> (region % 64) & 1) == 0;
}

uint16_t disk_owner_of(const struct disk *disk, uint64_t block)
{
    return disk->owner == NULL || region_is_clear(disk, block) ? 0 : disk->owner[block];
}

uint64_t disk_owner_run_end(const struct disk *disk, uint64_t block, uint64_t end, uint16_t owner)
{
    if (disk->owner == NULL)
        return end;
    while (block < end) {
        if (region_is_clear(disk, block)) {
            if (owner != 0)
                return block;
            block = (block / REGION_BLOCKS + 1) * REGION_BLOCKS;
            continue;
        }
        if (disk->owner[block] != owner)
            return block;
        block++;
    }
    return end;
}

/* Nothing is read from it any more. */
static void close_stage(struct disk *disk, uint32_t number)
{
    close(disk->stages[number].fd);
    disk->stages[number].fd = -1;
    disk->used--;
    for (int i = 0; i < 2; i++) {
        if (disk->merge.sources[i] == number)
            disk->merge.sources[i] = NO_STAGE;
    }
}

static void take_from(struct disk *disk, uint32_t number)
{
    if (--disk->stages[number].blocks == 0 && number != disk->merge.target)
        close_stage(disk, number);
}

static bool is_own(const struct disk *disk, uint16_t owner)
{
    return owner != 0 && disk->stages[owner - 1].own;
}

bool disk_has_room(struct disk *disk, uint64_t block, uint64_t end)
{
    struct disk_quota *quota = disk->quota;
    if (quota == NULL || (quota->blocks <= quota->most && end - block <= quota->most - quota->blocks))
        return true;
    uint64_t more = 0;
    for (; block < end; block++)
        more += !is_own(disk, disk_owner_of(disk, block));
    if (more == 0 || (quota->blocks <= quota->most && more <= quota->most - quota->blocks))
        return true;
    quota->reached = true;
    return false;
}

void disk_give(struct disk *disk, uint64_t block, uint64_t end, uint32_t number)
{
    uint16_t owner = (uint16_t)(number + 1);
    for (; block < end; block++) {
        uint64_t region = block / REGION_BLOCKS;
        disk->regions[region / 64] |= 1ull << (region % 64);
        uint16_t before = disk->owner[block];
        /* Looked at first: a write that changes nothing must not copy a page that is shared with a parent. */
        if (before == owner)
            continue;
        if (disk->quota != NULL && !is_own(disk, before))
            disk->quota->blocks++;
        disk->owner[block] = owner;
        disk->stages[number].blocks++;
        disk->stages[number].filled++;
        if (before != 0)
            take_from(disk, before - 1u);
    }
}

/* Files. */

/* A file without a name in the scratch directory; -errno. */
static int make_nameless(int scratch_fd)
{
    int fd = broker_open(scratch_fd, ".", O_TMPFILE | O_EXCL | O_RDWR, 0600);
    if (fd >= 0)
        return fd;
    /* File systems without O_TMPFILE (overlayfs before 6.1, NFS) say one of these; some old kernels EINVAL.
     */
    if (fd != -EOPNOTSUPP && fd != -EISDIR && fd != -EINVAL)
        return fd;
    for (;;) {
        uint64_t random;
        char name[48];
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
            return -EIO;
        snprintf(name, sizeof name, ".forkd-top-%016llx", (unsigned long long)random);
        fd = broker_open(scratch_fd, name, O_CREAT | O_EXCL | O_RDWR, 0600);
        if (fd >= 0)
            broker_unlink(scratch_fd, name);
        if (fd != -EEXIST)
            return fd;
    }
}

static int find_number(struct disk *disk, uint32_t *number)
{
    for (uint32_t i = 0; i < disk->stage_count; i++) {
        if (disk->stages[i].fd < 0) {
            *number = i;
            return 0;
        }
    }
    if (disk->stage_count == MAX_STAGES)
        return -EMFILE;
    struct stage *stages =
        array_room(disk->stages, disk->stage_count + 1, &disk->stage_capacity, sizeof *stages);
    if (stages == NULL)
        return -ENOMEM;
    disk->stages = stages;
    *number = disk->stage_count;
    disk->stages[disk->stage_count++].fd = -1;
    return 0;
}

int disk_make_stage(struct disk *disk, uint32_t *out)
{
    uint32_t number;
    int rc = find_number(disk, &number);
    if (rc < 0)
        return rc;
    int fd = make_nameless(disk->scratch_fd);
    if (fd < 0)
        return fd;
    /* Its full size from the start: what is inside and not written reads as zeroes. */
    if (ftruncate(fd, (off_t)(disk->blocks * DISK_BLOCK_SIZE)) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    disk->stages[number] = (struct stage){.fd = fd, .own = true};
    disk->used++;
    *out = number;
    return 0;
}

/* Freezing. */

uint32_t disk_freezes_left(const struct disk *disk)
{
    return MAX_STAGES - disk->used;
}

int disk_freeze_top(struct disk *disk, struct forkd_error *err)
{
    if (disk->top == NO_STAGE)
        return 0;
    if (disk_freezes_left(disk) == 0)
        return error_set(err, EMFILE, "freeze disk", disk->name, "it has %u files", MAX_STAGES);
    uint32_t number = disk->top;
    disk->top = NO_STAGE;
    disk->merge.failed = false;
    if (disk->stages[number].blocks == 0)
        close_stage(disk, number); /* all writes to it have failed */
    return 0;
}

void disk_inherit(struct disk *disk)
{
    uint32_t target = disk->merge.target;
    disk->merge = (struct merge){.target = NO_STAGE};
    if (target != NO_STAGE && disk->stages[target].blocks == 0)
        close_stage(disk, target);
    for (uint32_t i = 0; i < disk->stage_count; i++)
        disk->stages[i].own = false;
}

/* Merging. */

static bool is_frozen(const struct disk *disk, uint32_t number)
{
    return disk->stages[number].fd >= 0 && number != disk->top;
}

/* More waste than content. That of a file which others have as well would not go with our use of it. */
static bool is_wasteful(const struct stage *stage)
{
    uint64_t waste = stage->filled - stage->blocks;
    return stage->own && waste >= WASTE_MIN && waste > stage->blocks;
}

/* What should be put together now: one that is wasteful, or, of too many, the two smallest. */
static bool choose_sources(const struct disk *disk, uint32_t sources[2])
{
    uint32_t frozen = 0;
    sources[0] = NO_STAGE;
    sources[1] = NO_STAGE;
    for (uint32_t i = 0; i < disk->stage_count; i++) {
        if (!is_frozen(disk, i))
            continue;
        if (is_wasteful(&disk->stages[i])) {
            sources[0] = i;
            sources[1] = NO_STAGE;
            return true;
        }
        frozen++;
        if (sources[0] == NO_STAGE || disk->stages[i].blocks < disk->stages[sources[0]].blocks) {
            sources[1] = sources[0];
            sources[0] = i;
        } else if (sources[1] == NO_STAGE || disk->stages[i].blocks < disk->stages[sources[1]].blocks) {
            sources[1] = i;
        }
    }
    return frozen > KEPT_STAGES;
}

static bool start_merge(struct disk *disk)
{
    struct merge *merge = &disk->merge;
    uint32_t sources[2];
    if (merge->failed || !choose_sources(disk, sources))
        return false;
    merge->next = 0;
    merge->failed = disk_make_stage(disk, &merge->target) < 0;
    if (merge->failed)
        return false;
    memcpy(merge->sources, sources, sizeof sources);
    return true;
}

/* All is copied, or copying has failed: what was copied is where it belongs either way. */
static void end_merge(struct disk *disk, bool failed)
{
    uint32_t target = disk->merge.target;
    disk->merge = (struct merge){.target = NO_STAGE, .failed = failed};
    if (disk->stages[target].blocks == 0)
        close_stage(disk, target);
}

/* Copy blocks [block, block + count), which `source` has. */
static int copy(struct disk *disk, uint32_t source, uint64_t block, uint64_t count)
{
    uint8_t buffer[COPY_BLOCKS * DISK_BLOCK_SIZE];
    uint32_t target = disk->merge.target;
    size_t length = (size_t)count * DISK_BLOCK_SIZE;
    int rc = io_pread(disk->stages[source].fd, buffer, length, block * DISK_BLOCK_SIZE);
    if (rc == 0 && !io_is_zero(buffer, length)) /* which it is already */
        rc = io_pwrite(disk->stages[target].fd, buffer, length, block * DISK_BLOCK_SIZE);
    if (rc == 0)
        disk_give(disk, block, block + count, target);
    return rc;
}

/* The number of a source that has the block, or NO_STAGE. */
static uint32_t source_of(const struct disk *disk, uint64_t block)
{
    uint32_t number = disk_owner_of(disk, block) - 1u; /* of 0: NO_STAGE, which is in no file */
    const uint32_t *sources = disk->merge.sources;
    return number == sources[0] || number == sources[1] ? number : NO_STAGE;
}

/* Where a source has something next, looking at `seen` blocks at most, from merge.next. */
static uint64_t find_source(const struct disk *disk, uint64_t seen)
{
    uint64_t block = disk->merge.next;
    uint64_t end = disk->blocks - block < seen ? disk->blocks : block + seen;
    while (block < end && source_of(disk, block) == NO_STAGE)
        block = region_is_clear(disk, block) ? (block / REGION_BLOCKS + 1) * REGION_BLOCKS : block + 1;
    return block < end ? block : end;
}

bool disk_merge_step(struct disk *disk)
{
    struct merge *merge = &disk->merge;
    if (disk->used < 2 || (merge->target == NO_STAGE && !start_merge(disk)))
        return false;
    int rc = 0;
    for (uint64_t copied = 0, seen = 0; copied < STEP_COPIED && seen < STEP_SEEN && rc == 0;) {
        if (merge->next == disk->blocks || (merge->sources[0] == NO_STAGE && merge->sources[1] == NO_STAGE)) {
            end_merge(disk, false);
            return true; /* there may be more to put together */
        }
        uint64_t block = find_source(disk, STEP_SEEN - seen);
        seen += block - merge->next;
        merge->next = block;
        if (seen >= STEP_SEEN || block == disk->blocks)
            continue;
        uint32_t source = source_of(disk, block);
        uint64_t most = disk->blocks - block < COPY_BLOCKS ? disk->blocks - block : COPY_BLOCKS;
        uint64_t end = disk_owner_run_end(disk, block, block + most, (uint16_t)(source + 1));
        rc = copy(disk, source, block, end - block);
        copied += end - block;
        seen += end - block;
        if (rc == 0)
            merge->next = end;
    }
    if (rc < 0)
        end_merge(disk, true);
    return rc == 0;
}
