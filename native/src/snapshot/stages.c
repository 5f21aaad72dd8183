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
 *
 * Everything static here is called with the disk's lock, where nothing else is said.
 */
#include "base/array.h"
#include "base/broker.h"
#include "base/io.h"
#include "snapshot/disk_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define MAX_STAGES (UINT16_MAX - 1u)
/* So many are left alone. Each merge then copies the two smallest of as many, so that a block is copied again
 * only when what it lies with has grown by a part of itself. */
#define KEPT_STAGES 16u
/* Waste that is not worth copying what is left, in blocks. */
#define WASTE_MIN 1024u
/* Of one step, which a pause waits for: blocks that are copied, and that are looked at. */
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

/* Close it, if no block is its, and nobody has a use for it. */
static void close_unused(struct disk *disk, uint32_t number)
{
    struct stage *stage = &disk->stages[number];
    if (stage->blocks > 0 || stage->users > 0 || number == disk->top || number == disk->merge.target)
        return;
    close(stage->fd);
    stage->fd = -1;
    __atomic_store_n(&disk->used, disk->used - 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        if (disk->merge.sources[i] == number)
            disk->merge.sources[i] = NO_STAGE;
    }
}

void disk_leave_stage(struct disk *disk, uint32_t number)
{
    disk->stages[number].users--;
    close_unused(disk, number);
}

static bool is_own(const struct disk *disk, uint16_t owner)
{
    return owner != 0 && owner != HOLE && disk->stages[owner - 1].own;
}

/* Take it for `count` blocks, if there is so much left. Disks share it, each with a lock of its own. */
static bool take_quota(struct disk_quota *quota, uint64_t count)
{
    uint64_t before = __atomic_load_n(&quota->blocks, __ATOMIC_RELAXED);
    do {
        if (before > quota->most || count > quota->most - before)
            return false;
    } while (!__atomic_compare_exchange_n(&quota->blocks, &before, before + count, false, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}

bool disk_reserve(struct disk *disk, uint64_t block, uint64_t end, uint64_t *taken)
{
    uint64_t more = 0;
    *taken = 0;
    if (disk->quota == NULL)
        return true;
    pthread_mutex_lock(&disk->lock);
    for (; block < end; block++)
        more += !is_own(disk, disk_owner_of(disk, block));
    pthread_mutex_unlock(&disk->lock);
    if (more > 0 && !take_quota(disk->quota, more)) {
        __atomic_store_n(&disk->quota->reached, true, __ATOMIC_RELAXED);
        return false;
    }
    *taken = more;
    return true;
}

void disk_give_back(struct disk *disk, uint64_t taken)
{
    if (taken > 0)
        __atomic_fetch_sub(&disk->quota->blocks, taken, __ATOMIC_RELAXED);
}

/* Its newest content is there from now on. */
static void set_owner(struct disk *disk, uint64_t block, uint16_t owner)
{
    uint64_t region = block / REGION_BLOCKS;
    disk->regions[region / 64] |= 1ull << (region % 64);
    uint16_t before = disk->owner[block];
    /* Looked at first: a write that changes nothing must not copy a page that is shared with a parent. */
    if (before == owner)
        return;
    bool was_own = is_own(disk, before);
    disk->owner[block] = owner;
    bool own = is_own(disk, owner);
    if (disk->quota != NULL && was_own != own)
        __atomic_fetch_add(&disk->quota->blocks, own ? 1 : UINT64_MAX, __ATOMIC_RELAXED); /* or less one */
    if (owner != HOLE) {
        disk->stages[owner - 1].blocks++;
        disk->stages[owner - 1].filled++;
    }
    if (before == 0 || before == HOLE)
        return;
    disk->stages[before - 1].blocks--;
    if (before - 1u == disk->top)
        disk->stages[before - 1].filled--; /* what is there is given back: disk_make_hole */
    close_unused(disk, before - 1u);
}

void disk_give(struct disk *disk, uint64_t block, uint64_t end, uint32_t number)
{
    for (; block < end; block++)
        set_owner(disk, block, (uint16_t)(number + 1));
}

/* Of which the top has no content. A failure leaves bytes that nobody reads. */
static void punch(int fd, uint64_t block, uint64_t end)
{
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(block * DISK_BLOCK_SIZE),
                    (off_t)((end - block) * DISK_BLOCK_SIZE));
}

void disk_make_hole(struct disk *disk, uint64_t block, uint64_t end)
{
    while (block < end) {
        pthread_mutex_lock(&disk->lock);
        uint16_t owner = disk_owner_of(disk, block);
        uint64_t run_end = disk_owner_run_end(disk, block, end, owner);
        int top_fd = disk->top != NO_STAGE && owner == disk->top + 1 ? disk->stages[disk->top].fd : -1;
        for (uint64_t hole = block; hole < run_end; hole++)
            set_owner(disk, hole, HOLE);
        pthread_mutex_unlock(&disk->lock);
        if (top_fd >= 0) /* what is frozen is others', too */
            punch(top_fd, block, run_end);
        block = run_end;
    }
}

/* Changes. */

static bool is_changing(const struct disk *disk, uint64_t first, uint64_t end)
{
    for (const struct change *change = disk->changes; change != NULL; change = change->next) {
        if (first < change->end && change->first < end)
            return true;
    }
    return false;
}

void disk_begin_change(struct disk *disk, struct change *change, uint64_t first, uint64_t end)
{
    pthread_mutex_lock(&disk->lock);
    while (is_changing(disk, first, end))
        pthread_cond_wait(&disk->changed, &disk->lock);
    *change = (struct change){.first = first, .end = end, .next = disk->changes};
    disk->changes = change;
    pthread_mutex_unlock(&disk->lock);
}

void disk_end_change(struct disk *disk, struct change *change)
{
    pthread_mutex_lock(&disk->lock);
    struct change **link = &disk->changes;
    while (*link != change)
        link = &(*link)->next;
    *link = change->next;
    pthread_cond_broadcast(&disk->changed);
    pthread_mutex_unlock(&disk->lock);
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

/* A file for a new stage, of the disk's size from the start: what is inside and not written reads as zeroes.
 * -errno. Without the lock. */
static int make_file(const struct disk *disk)
{
    int fd = make_nameless(disk->scratch_fd);
    if (fd < 0 || ftruncate(fd, (off_t)(disk->blocks * DISK_BLOCK_SIZE)) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

/* Make it a stage's, or close it. */
static int add_stage(struct disk *disk, int fd, uint32_t *out)
{
    uint32_t number;
    int rc = find_number(disk, &number);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    disk->stages[number] = (struct stage){.fd = fd, .own = true};
    __atomic_store_n(&disk->used, disk->used + 1, __ATOMIC_RELAXED);
    *out = number;
    return 0;
}

/* With the lock, but for the time that it takes. */
static int make_stage(struct disk *disk, uint32_t *number)
{
    pthread_mutex_unlock(&disk->lock);
    int fd = make_file(disk);
    pthread_mutex_lock(&disk->lock);
    return fd < 0 ? fd : add_stage(disk, fd, number);
}

int disk_take_top(struct disk *disk, uint32_t *number, int *fd)
{
    int rc = 0;
    pthread_mutex_lock(&disk->lock);
    while (disk->making_top)
        pthread_cond_wait(&disk->changed, &disk->lock);
    if (disk->top == NO_STAGE) {
        disk->making_top = true;
        uint32_t made = NO_STAGE;
        rc = make_stage(disk, &made);
        disk->top = made;
        disk->making_top = false;
        pthread_cond_broadcast(&disk->changed);
    }
    *number = disk->top;
    *fd = rc < 0 ? -1 : disk->stages[disk->top].fd;
    pthread_mutex_unlock(&disk->lock);
    return rc;
}

/* Freezing. */

uint32_t disk_freezes_left(const struct disk *disk)
{
    return MAX_STAGES - __atomic_load_n(&disk->used, __ATOMIC_RELAXED);
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
    close_unused(disk, number); /* all writes to it have failed, or their blocks are holes */
    return 0;
}

void disk_inherit(struct disk *disk)
{
    uint32_t target = disk->merge.target;
    disk->merge = (struct merge){.target = NO_STAGE};
    if (target != NO_STAGE)
        close_unused(disk, target);
    for (uint32_t i = 0; i < disk->stage_count; i++)
        disk->stages[i].own = false;
}

void disk_reset(struct disk *disk)
{
    __atomic_store_n(&disk->host_full, false, __ATOMIC_RELAXED);
    if (disk->owner == NULL)
        return;
    pthread_mutex_lock(&disk->lock);
    for (uint32_t i = 0; i < disk->stage_count; i++) {
        if (disk->stages[i].fd >= 0)
            close(disk->stages[i].fd);
    }
    disk->stage_count = 0;
    disk->used = 0;
    disk->top = NO_STAGE;
    disk->merge = (struct merge){.target = NO_STAGE};
    /* Not by whether there was a stage: what was only discarded is in none. */
    uint64_t written = 0;
    for (size_t i = 0; i < disk_region_words(disk); i++)
        written |= disk->regions[i];
    if (written != 0) {
        memset(disk->regions, 0, disk_region_words(disk) * sizeof *disk->regions);
        size_t length = disk->blocks * sizeof *disk->owner;
        if (madvise(disk->owner, length, MADV_DONTNEED) < 0)
            memset(disk->owner, 0, length);
    }
    pthread_mutex_unlock(&disk->lock);
}

/* Merging. */

static bool is_frozen(const struct disk *disk, uint32_t number)
{
    return disk->stages[number].fd >= 0 && disk->stages[number].blocks > 0 && number != disk->top;
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

static bool may_merge(const struct disk *disk, uint32_t sources[2])
{
    return !disk->merge.failed && choose_sources(disk, sources);
}

bool disk_merge_due(struct disk *disk)
{
    /* Without the lock, which is memory of a child's own once it was taken. */
    if (__atomic_load_n(&disk->used, __ATOMIC_RELAXED) < 2)
        return false;
    uint32_t sources[2];
    pthread_mutex_lock(&disk->lock);
    bool due = disk->merge.target != NO_STAGE || may_merge(disk, sources);
    pthread_mutex_unlock(&disk->lock);
    return due;
}

static bool start_merge(struct disk *disk)
{
    struct merge *merge = &disk->merge;
    uint32_t target = NO_STAGE;
    if (!may_merge(disk, merge->sources))
        return false;
    merge->next = 0;
    merge->failed = make_stage(disk, &target) < 0;
    merge->target = target;
    return !merge->failed;
}

/* All is copied, or copying has failed: what was copied is where it belongs either way. */
static void end_merge(struct disk *disk, bool failed)
{
    uint32_t target = disk->merge.target;
    disk->merge = (struct merge){.target = NO_STAGE, .failed = failed};
    close_unused(disk, target);
}

/* The number of a source that has the block, or NO_STAGE. */
static uint32_t source_of(const struct disk *disk, uint64_t block)
{
    uint32_t number = disk_owner_of(disk, block) - 1u; /* of 0: NO_STAGE, which is in no file */
    const uint32_t *sources = disk->merge.sources;
    return number == sources[0] || number == sources[1] ? number : NO_STAGE;
}

/* Copy what one source has of blocks [block, end) from the first on, which a change is under way of. With the
 * lock, but for the time that it takes. */
static int copy(struct disk *disk, uint64_t block, uint64_t end)
{
    uint8_t buffer[COPY_BLOCKS * DISK_BLOCK_SIZE];
    uint32_t source = source_of(disk, block);
    uint32_t target = disk->merge.target;
    if (source == NO_STAGE) /* it was written to while we waited for that */
        return 0;
    end = disk_owner_run_end(disk, block, end, (uint16_t)(source + 1));
    int from = disk->stages[source].fd;
    int to = disk->stages[target].fd;
    disk->stages[source].users++;
    pthread_mutex_unlock(&disk->lock);
    size_t length = (size_t)(end - block) * DISK_BLOCK_SIZE;
    int rc = io_pread(from, buffer, length, block * DISK_BLOCK_SIZE);
    if (rc == 0 && !io_is_zero(buffer, length)) /* which it is already */
        rc = io_pwrite(to, buffer, length, block * DISK_BLOCK_SIZE);
    pthread_mutex_lock(&disk->lock);
    if (rc == 0) {
        disk_give(disk, block, end, target);
        disk->merge.next = end;
    }
    disk_leave_stage(disk, source);
    return rc;
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

/* With the lock, but for the time that copying takes. */
static bool merge_step(struct disk *disk)
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
        uint64_t end = disk->blocks - block < COPY_BLOCKS ? disk->blocks : block + COPY_BLOCKS;
        struct change change;
        pthread_mutex_unlock(&disk->lock);
        disk_begin_change(disk, &change, block, end);
        pthread_mutex_lock(&disk->lock);
        rc = copy(disk, block, end);
        pthread_mutex_unlock(&disk->lock);
        disk_end_change(disk, &change);
        pthread_mutex_lock(&disk->lock);
        copied += merge->next - block;
        seen += merge->next - block;
    }
    if (rc < 0)
        end_merge(disk, true);
    return rc == 0;
}

bool disk_merge_step(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    bool more = merge_step(disk);
    pthread_mutex_unlock(&disk->lock);
    return more;
}
