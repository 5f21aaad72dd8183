/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/disk.h"

#include "base/array.h"
#include "base/broker.h"
#include "base/io.h"
#include "snapshot/disk_parts.h"
#include "snapshot/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define IOV_BATCH 128
#define LAYER_NAME_SIZE 256

/* Layers to extents. */

/* Append blocks, joining them to the last extent where they continue it. */
static int append(struct extent_list *list, struct extent extent)
{
    struct extent *last = list->count == 0 ? NULL : &list->extents[list->count - 1];
    if (extent.count == 0)
        return 0;
    if (last != NULL && last->first + last->count == extent.first &&
        ((last->file_block == ZERO && extent.file_block == ZERO) ||
         (last->file_block != ZERO && last->source == extent.source &&
          last->file_block + last->count == extent.file_block))) {
        last->count += extent.count;
        return 0;
    }
    struct extent *extents = array_room(list->extents, list->count + 1, &list->capacity, sizeof *extents);
    if (extents == NULL)
        return -ENOMEM;
    list->extents = extents;
    list->extents[list->count++] = extent;
    return 0;
}

/* The part of an extent from block `from` (at or after its first) to before `to`. */
static struct extent part_of(const struct extent *extent, uint64_t from, uint64_t to)
{
    uint64_t end = extent->first + extent->count;
    struct extent part = *extent;
    if (from >= end || from >= to) {
        part.count = 0;
        return part;
    }
    part.first = from;
    part.count = (to < end ? to : end) - from;
    if (extent->file_block != ZERO)
        part.file_block += from - extent->first;
    return part;
}

/* Lay `layer` over what is in `list`. */
static int overlay(struct extent_list *list, const struct layer *layer, uint32_t source)
{
    struct extent_list merged = {0};
    uint64_t next = 0; /* in list->extents: the first that does not wholly lie before `from` */
    uint64_t from = 0; /* everything below is merged */
    int rc = 0;
    for (uint64_t i = 0; i <= layer->extent_count && rc == 0; i++) {
        bool rest = i == layer->extent_count;
        uint64_t to = rest ? UINT64_MAX : layer->extents[i].first;
        /* What shows of the lower ones up to this upper one. */
        for (; next < list->count && list->extents[next].first < to && rc == 0; next++) {
            const struct extent *lower = &list->extents[next];
            uint64_t start = lower->first > from ? lower->first : from;
            rc = append(&merged, part_of(lower, start, to));
            if (lower->first + lower->count > to)
                break;
        }
        if (rest || rc < 0)
            break;
        const struct layer_extent *upper = &layer->extents[i];
        rc = append(&merged, (struct extent){upper->first, upper->count, upper->file_page, source});
        from = upper->first + upper->count;
        while (next < list->count && list->extents[next].first + list->extents[next].count <= from)
            next++;
    }
    if (rc < 0) {
        free(merged.extents);
        return rc;
    }
    free(list->extents);
    *list = merged;
    return 0;
}

/* Opening. */

/* A layer in errors: by its file, which is what a person can do something about, and comes as a descriptor.
 * A confined process cannot tell; the library puts the file in. */
static void name_layer(const struct disk *disk, uint32_t index, char name[LAYER_NAME_SIZE])
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", disk->files[1 + index]);
    ssize_t length = broker_fd() < 0 ? readlink(link, name, LAYER_NAME_SIZE - 1) : -1;
    if (length > 0)
        name[length] = '\0';
    else
        snprintf(name, LAYER_NAME_SIZE, "%s, layer %u", disk->name, index);
}

static int add_layer(struct disk *disk, uint32_t index, struct forkd_error *err)
{
    char name[LAYER_NAME_SIZE];
    struct layer layer;
    name_layer(disk, index, name);
    int rc = layer_open(disk->files[1 + index], name, &layer, err);
    if (rc < 0)
        return rc;
    if (layer.size != disk->size)
        rc =
            error_set(err, EINVAL, "open disk", name, "it belongs to a disk of %llu bytes, this one has %llu",
                      (unsigned long long)layer.size, (unsigned long long)disk->size);
    else if ((rc = overlay(&disk->layers, &layer, 1 + index)) < 0)
        rc = error_set(err, rc, "open disk", name, NULL);
    layer_free(&layer);
    return rc;
}

static int open_base(struct disk *disk, struct forkd_error *err)
{
    int rc = io_size(disk->files[0], &disk->size);
    if (rc < 0)
        return error_set(err, rc, "open disk", disk->name, "neither a regular file nor a block device");
    if (disk->size == 0 || disk->size % DISK_SECTOR_SIZE != 0)
        return error_set(err, EINVAL, "open disk", disk->name,
                         "its size of %llu bytes is not a multiple of %u", (unsigned long long)disk->size,
                         DISK_SECTOR_SIZE);
    disk->blocks = disk->size / DISK_BLOCK_SIZE + (disk->size % DISK_BLOCK_SIZE != 0);
    if (disk->mode != FORKD_DISK_SHARED)
        return 0;
    if ((fcntl(disk->files[0], F_GETFL) & O_ACCMODE) != O_RDWR)
        return error_set(err, EACCES, "open disk", disk->name, "a shared disk must be open for writing");
    return 0;
}

static int make_owner_map(struct disk *disk, struct forkd_error *err)
{
    disk->regions = calloc(disk_region_words(disk), sizeof *disk->regions);
    if (disk->regions == NULL)
        return error_set(err, ENOMEM, "open disk", disk->name, NULL);
    size_t length = disk->blocks * sizeof *disk->owner;
    void *map =
        mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return error_set(err, errno, "open disk", disk->name, "map of %llu blocks",
                         (unsigned long long)disk->blocks);
    disk->owner = map;
    /* A huge page would make the first write of every child clear 2 MiB. Fails where there are none. */
    (void)madvise(map, length, MADV_NOHUGEPAGE);
    return 0;
}

/* Free everything but the descriptors that were handed to disk_open. */
static void release(struct disk *disk)
{
    for (uint32_t i = 0; i < disk->stage_count; i++) {
        if (disk->stages[i].fd >= 0)
            close(disk->stages[i].fd);
    }
    if (disk->owner != NULL)
        munmap(disk->owner, disk->blocks * sizeof *disk->owner);
    pthread_cond_destroy(&disk->changed);
    pthread_mutex_destroy(&disk->lock);
    free(disk->regions);
    free(disk->stages);
    free(disk->layers.extents);
    free(disk->files);
    free(disk->name);
    free(disk);
}

int disk_open(struct disk **out, const char *name, uint32_t mode, int base_fd, const int *layer_fds,
              uint32_t layer_count, int scratch_fd, struct forkd_error *err)
{
    if (mode > FORKD_DISK_SHARED)
        return error_set(err, EINVAL, "open disk", name, "unknown mode %u", mode);
    if (mode == FORKD_DISK_SHARED && layer_count > 0)
        return error_set(err, EINVAL, "open disk", name, "a shared disk has no layers");
    struct disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL)
        return error_set(err, ENOMEM, "open disk", name, NULL);
    disk->mode = mode;
    disk->scratch_fd = scratch_fd;
    disk->top = NO_STAGE;
    disk->merge.target = NO_STAGE;
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->changed, NULL);
    disk->file_count = 1 + layer_count;
    disk->name = strdup(name);
    disk->files = calloc((size_t)1 + layer_count, sizeof *disk->files);
    int rc = 0;
    if (disk->name == NULL || disk->files == NULL) {
        rc = error_set(err, ENOMEM, "open disk", name, NULL);
        goto fail;
    }
    disk->files[0] = base_fd;
    if (layer_count > 0)
        memcpy(disk->files + 1, layer_fds, layer_count * sizeof *layer_fds);
    if ((rc = open_base(disk, err)) < 0)
        goto fail;
    for (uint32_t i = 0; i < layer_count; i++) {
        if ((rc = add_layer(disk, i, err)) < 0)
            goto fail;
    }
    if (mode == FORKD_DISK_PRIVATE && (rc = make_owner_map(disk, err)) < 0)
        goto fail;
    *out = disk;
    return 0;
fail:
    release(disk);
    return rc;
}

int disk_verify_layers(const struct disk *disk, struct forkd_error *err)
{
    int rc = 0;
    for (uint32_t i = 0; i + 1 < disk->file_count && rc == 0; i++) {
        char name[LAYER_NAME_SIZE];
        name_layer(disk, i, name);
        rc = layer_verify_data(disk->files[1 + i], name, disk->size, err);
    }
    return rc;
}

void disk_close(struct disk *disk)
{
    if (disk == NULL)
        return;
    for (uint32_t i = 0; i < disk->file_count; i++)
        close(disk->files[i]);
    release(disk);
}

uint64_t disk_size(const struct disk *disk)
{
    return disk->size;
}

bool disk_read_only(const struct disk *disk)
{
    return disk->mode == FORKD_DISK_READ_ONLY;
}

uint32_t disk_mode(const struct disk *disk)
{
    return disk->mode;
}

void disk_set_quota(struct disk *disk, struct disk_quota *quota)
{
    disk->quota = quota;
}

bool disk_host_full(const struct disk *disk)
{
    return __atomic_load_n(&disk->host_full, __ATOMIC_RELAXED);
}

/* The result of writing to the host, passed through. */
static int noted(struct disk *disk, int result)
{
    if (result == -ENOSPC || result == -EDQUOT)
        __atomic_store_n(&disk->host_full, true, __ATOMIC_RELAXED);
    return result;
}

/* Where blocks are. */

/* A run of blocks with one source, contiguous in it. */
struct run {
    uint64_t count;
    uint64_t file_block; /* ZERO: reads as zeroes */
    int fd;
    uint32_t stage; /* NO_STAGE: base or layers, or none */
};

/* The layers' extent that has `block`, or else the next after it; layers.count when there is none. */
static uint64_t find_extent(const struct disk *disk, uint64_t block)
{
    uint64_t low = 0;
    uint64_t high = disk->layers.count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        const struct extent *extent = &disk->layers.extents[middle];
        if (extent->first + extent->count <= block)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The run that starts at `block`, of at most `limit` blocks; with the lock. */
static struct run find_run(const struct disk *disk, uint64_t block, uint64_t limit)
{
    struct run run = {.file_block = block, .fd = disk->files[0], .stage = NO_STAGE};
    uint16_t owner = disk_owner_of(disk, block);
    uint64_t end = disk_owner_run_end(disk, block, block + limit, owner);
    if (owner == HOLE) {
        run.file_block = ZERO;
    } else if (owner != 0) {
        run.stage = owner - 1u;
        run.fd = disk->stages[run.stage].fd;
    } else {
        uint64_t index = find_extent(disk, block);
        if (index < disk->layers.count) {
            const struct extent *extent = &disk->layers.extents[index];
            uint64_t extent_end = extent->first + extent->count;
            if (extent->first > block) {
                end = extent->first < end ? extent->first : end;
            } else {
                end = extent_end < end ? extent_end : end;
                run.fd = disk->files[extent->source];
                run.file_block =
                    extent->file_block == ZERO ? ZERO : extent->file_block + (block - extent->first);
            }
        }
    }
    run.count = end - block;
    return run;
}

/* The same for who is going to read from it, until leave_run. */
static struct run enter_run(struct disk *disk, uint64_t block, uint64_t limit)
{
    if (disk->owner == NULL) /* no map that could change */
        return find_run(disk, block, limit);
    pthread_mutex_lock(&disk->lock);
    struct run run = find_run(disk, block, limit);
    if (run.stage != NO_STAGE)
        disk->stages[run.stage].users++;
    pthread_mutex_unlock(&disk->lock);
    return run;
}

static void leave_run(struct disk *disk, const struct run *run)
{
    if (run->stage == NO_STAGE)
        return;
    pthread_mutex_lock(&disk->lock);
    disk_leave_stage(disk, run->stage);
    pthread_mutex_unlock(&disk->lock);
}

/* Guest buffers, taken piece by piece. */

struct cursor {
    const struct iovec *iov;
    int left;
    size_t offset; /* in *iov */
};

/* Cut pieces for at most `length` bytes; *count of them; returns their bytes. */
static uint64_t cut(struct cursor *cursor, uint64_t length, struct iovec pieces[IOV_BATCH], int *count)
{
    uint64_t total = 0;
    *count = 0;
    while (total < length && cursor->left > 0 && *count < IOV_BATCH) {
        size_t here = cursor->iov->iov_len - cursor->offset;
        size_t some = here < length - total ? here : (size_t)(length - total);
        if (some > 0)
            pieces[(*count)++] = (struct iovec){.iov_base = (uint8_t *)cursor->iov->iov_base + cursor->offset,
                                                .iov_len = some};
        total += some;
        cursor->offset += some;
        if (cursor->offset == cursor->iov->iov_len) {
            cursor->iov++;
            cursor->left--;
            cursor->offset = 0;
        }
    }
    return total;
}

/* `at_once`: -EAGAIN rather than wait. */
static int read_bytes(int fd, struct cursor *cursor, uint64_t length, uint64_t offset, bool at_once)
{
    while (length > 0) {
        struct iovec pieces[IOV_BATCH];
        int count;
        uint64_t bytes = cut(cursor, length, pieces, &count);
        int rc = at_once ? io_preadv_at_once(fd, pieces, count, bytes, offset)
                         : io_preadv(fd, pieces, count, offset);
        if (rc < 0)
            return rc == -ENODATA ? -EIO : rc; /* the file became shorter under us */
        offset += bytes;
        length -= bytes;
    }
    return 0;
}

static int write_bytes(int fd, struct cursor *cursor, uint64_t length, uint64_t offset)
{
    while (length > 0) {
        struct iovec pieces[IOV_BATCH];
        int count;
        uint64_t bytes = cut(cursor, length, pieces, &count);
        int rc = io_pwritev(fd, pieces, count, offset);
        if (rc < 0)
            return rc;
        offset += bytes;
        length -= bytes;
    }
    return 0;
}

static void zero_bytes(struct cursor *cursor, uint64_t length)
{
    while (length > 0) {
        struct iovec pieces[IOV_BATCH];
        int count;
        length -= cut(cursor, length, pieces, &count);
        for (int i = 0; i < count; i++)
            memset(pieces[i].iov_base, 0, pieces[i].iov_len);
    }
}

static bool in_range(const struct disk *disk, uint64_t offset, uint64_t length)
{
    return offset % DISK_SECTOR_SIZE == 0 && length % DISK_SECTOR_SIZE == 0 && offset <= disk->size &&
           length <= disk->size - offset;
}

/* The total length of a request, or UINT64_MAX when it is not one for this disk. */
static uint64_t request_length(const struct disk *disk, const struct iovec *iov, int iov_count,
                               uint64_t offset)
{
    uint64_t length = 0;
    for (int i = 0; i < iov_count; i++) {
        if (iov[i].iov_len > disk->size - length)
            return UINT64_MAX;
        length += iov[i].iov_len;
    }
    return in_range(disk, offset, length) ? length : UINT64_MAX;
}

static int read_runs(struct disk *disk, const struct iovec *iov, int iov_count, uint64_t offset, bool at_once)
{
    struct cursor cursor = {.iov = iov, .left = iov_count};
    uint64_t length = request_length(disk, iov, iov_count, offset);
    if (length == UINT64_MAX)
        return -EINVAL;
    while (length > 0) {
        uint64_t block = offset / DISK_BLOCK_SIZE;
        uint64_t inside = offset % DISK_BLOCK_SIZE;
        uint64_t touched = (inside + length + DISK_BLOCK_SIZE - 1) / DISK_BLOCK_SIZE;
        struct run run = enter_run(disk, block, touched);
        uint64_t bytes = run.count * DISK_BLOCK_SIZE - inside;
        bytes = bytes < length ? bytes : length;
        int rc = 0;
        if (run.file_block == ZERO)
            zero_bytes(&cursor, bytes);
        else
            rc = read_bytes(run.fd, &cursor, bytes, run.file_block * DISK_BLOCK_SIZE + inside, at_once);
        leave_run(disk, &run);
        if (rc < 0)
            return rc;
        offset += bytes;
        length -= bytes;
    }
    return 0;
}

int disk_read(struct disk *disk, const struct iovec *iov, int iov_count, uint64_t offset)
{
    return read_runs(disk, iov, iov_count, offset, false);
}

int disk_read_at_once(struct disk *disk, const struct iovec *iov, int iov_count, uint64_t offset)
{
    return read_runs(disk, iov, iov_count, offset, true);
}

/* Writing. */

/* The top, while something is written to it: nobody freezes it meanwhile. */
struct top {
    uint32_t number;
    int fd;
};

static bool is_in_top(struct disk *disk, const struct top *top, uint64_t block)
{
    pthread_mutex_lock(&disk->lock);
    bool there = disk_owner_of(disk, block) == top->number + 1;
    pthread_mutex_unlock(&disk->lock);
    return there;
}

/* Where the bytes of a block end: the disk's last block may be short. */
static uint64_t block_end(const struct disk *disk, uint64_t block)
{
    uint64_t end = (block + 1) * DISK_BLOCK_SIZE;
    return end < disk->size ? end : disk->size;
}

/* Copy the old bytes [from, to), within one block, to the top. */
static int copy_up(struct disk *disk, const struct top *top, uint64_t from, uint64_t to)
{
    uint8_t buffer[DISK_BLOCK_SIZE];
    struct iovec iov = {.iov_base = buffer, .iov_len = (size_t)(to - from)};
    int rc = disk_read(disk, &iov, 1, from);
    return rc < 0 ? rc : io_pwrite(top->fd, buffer, (size_t)(to - from), from);
}

/*
 * Give the top, for the blocks that a write to [offset, end) changes in part, what they hold around it. Like
 * the write itself this counts only when all of it has worked and the blocks are owned: a failure in between
 * leaves bytes in the file that nobody looks at.
 */
static int copy_up_edges(struct disk *disk, const struct top *top, uint64_t offset, uint64_t end)
{
    uint64_t head = offset / DISK_BLOCK_SIZE;
    uint64_t tail = (end - 1) / DISK_BLOCK_SIZE;
    int rc = 0;
    if (offset % DISK_BLOCK_SIZE != 0 && !is_in_top(disk, top, head))
        rc = copy_up(disk, top, head * DISK_BLOCK_SIZE, offset);
    if (rc == 0 && end != block_end(disk, tail) && !is_in_top(disk, top, tail))
        rc = copy_up(disk, top, end, block_end(disk, tail));
    return rc;
}

/*
 * After a failed write to blocks [block, end): give back what it took for blocks that the top does not have,
 * so that a full scratch directory is not filled with bytes that nobody reads. Best effort: they do no other
 * harm.
 */
static void forget(struct disk *disk, const struct top *top, uint64_t block, uint64_t end)
{
    while (block < end) {
        pthread_mutex_lock(&disk->lock);
        uint16_t owner = disk_owner_of(disk, block);
        uint64_t run_end = disk_owner_run_end(disk, block, end, owner);
        pthread_mutex_unlock(&disk->lock);
        if (owner != top->number + 1)
            (void)fallocate(top->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            (off_t)(block * DISK_BLOCK_SIZE), (off_t)((run_end - block) * DISK_BLOCK_SIZE));
        block = run_end;
    }
}

/* Write to the top of a private disk blocks that a change is under way of: `cursor` NULL means zeroes. */
static int fill_top(struct disk *disk, struct cursor *cursor, uint64_t length, uint64_t offset)
{
    uint64_t end = offset + length;
    uint64_t first_block = offset / DISK_BLOCK_SIZE;
    uint64_t end_block = (end - 1) / DISK_BLOCK_SIZE + 1;
    struct top top;
    int rc = disk_take_top(disk, &top.number, &top.fd);
    if (rc < 0)
        return rc;
    rc = copy_up_edges(disk, &top, offset, end);
    if (rc == 0 && cursor != NULL)
        rc = write_bytes(top.fd, cursor, length, offset);
    else if (rc == 0)
        rc = io_zero(top.fd, offset, length);
    if (rc < 0) {
        forget(disk, &top, first_block, end_block);
        return rc;
    }
    pthread_mutex_lock(&disk->lock);
    disk_give(disk, first_block, end_block, top.number);
    pthread_mutex_unlock(&disk->lock);
    return 0;
}

/* The same when that has been looked at: whether there is room. */
static int write_top(struct disk *disk, struct cursor *cursor, uint64_t length, uint64_t offset)
{
    struct change change;
    uint64_t taken;
    uint64_t first_block = offset / DISK_BLOCK_SIZE;
    uint64_t end_block = (offset + length - 1) / DISK_BLOCK_SIZE + 1;
    disk_begin_change(disk, &change, first_block, end_block);
    int rc = -ENOSPC;
    if (disk_reserve(disk, first_block, end_block, &taken)) {
        rc = noted(disk, fill_top(disk, cursor, length, offset));
        disk_give_back(disk, taken);
    }
    disk_end_change(disk, &change);
    return rc;
}

int disk_write(struct disk *disk, const struct iovec *iov, int iov_count, uint64_t offset)
{
    struct cursor cursor = {.iov = iov, .left = iov_count};
    uint64_t length = request_length(disk, iov, iov_count, offset);
    if (length == UINT64_MAX)
        return -EINVAL;
    if (disk->mode == FORKD_DISK_READ_ONLY)
        return -EROFS;
    if (length == 0)
        return 0;
    if (disk->mode == FORKD_DISK_SHARED)
        return noted(disk, write_bytes(disk->files[0], &cursor, length, offset));
    return write_top(disk, &cursor, length, offset);
}

int disk_flush(struct disk *disk)
{
    return disk->mode == FORKD_DISK_SHARED ? noted(disk, io_sync(disk->files[0])) : 0;
}

/* How far a run of blocks is of one kind. */
struct span {
    uint64_t count;
    bool zero; /* reads as zeroes already, without being in the top */
};

/*
 * What the blocks from `block` on are, at most `limit`. Known to be zero are those that a layer says are, and
 * holes of the base and of tops, files that nobody else writes. A guest that trims its free space asks for
 * large parts of the disk to be zero, most of which never were anything else.
 */
static struct span look_at_span(const struct run *run)
{
    struct span span = {.count = run->count, .zero = run->file_block == ZERO};
    if (span.zero)
        return span;
    uint64_t start = run->file_block * DISK_BLOCK_SIZE;
    off_t data = lseek(run->fd, (off_t)start, SEEK_DATA);
    if (data < 0 && errno == ENXIO)
        return (struct span){.count = run->count, .zero = true};
    if (data < 0)
        return span;
    uint64_t hole_blocks = ((uint64_t)data - start) / DISK_BLOCK_SIZE;
    if (hole_blocks > 0)
        return (struct span){.count = hole_blocks < run->count ? hole_blocks : run->count, .zero = true};
    off_t hole = lseek(run->fd, data, SEEK_HOLE);
    if (hole > data) {
        uint64_t data_blocks = ((uint64_t)hole - start + DISK_BLOCK_SIZE - 1) / DISK_BLOCK_SIZE;
        span.count = data_blocks < run->count ? data_blocks : run->count;
    }
    return span;
}

/* Make whole blocks zero, passing over those that are. */
static void zero_blocks(struct disk *disk, uint64_t block, uint64_t end)
{
    struct change change;
    disk_begin_change(disk, &change, block, end);
    while (block < end) {
        struct run run = enter_run(disk, block, end - block);
        struct span span = look_at_span(&run);
        leave_run(disk, &run);
        if (!span.zero)
            disk_make_hole(disk, block, block + span.count);
        block += span.count;
    }
    disk_end_change(disk, &change);
}

/* The whole blocks of a range. */
static void whole_blocks(const struct disk *disk, uint64_t offset, uint64_t end, uint64_t *first,
                         uint64_t *last)
{
    *first = (offset + DISK_BLOCK_SIZE - 1) / DISK_BLOCK_SIZE;
    *last = end == disk->size ? disk->blocks : end / DISK_BLOCK_SIZE;
}

int disk_write_zeroes(struct disk *disk, uint64_t offset, uint64_t length)
{
    if (!in_range(disk, offset, length))
        return -EINVAL;
    if (disk->mode == FORKD_DISK_READ_ONLY)
        return -EROFS;
    if (length == 0)
        return 0;
    if (disk->mode == FORKD_DISK_SHARED)
        return noted(disk, io_zero(disk->files[0], offset, length));
    uint64_t end = offset + length;
    uint64_t first;
    uint64_t last;
    whole_blocks(disk, offset, end, &first, &last);
    if (first >= last)
        return write_top(disk, NULL, length, offset);
    int rc = 0;
    if (offset < first * DISK_BLOCK_SIZE)
        rc = write_top(disk, NULL, first * DISK_BLOCK_SIZE - offset, offset);
    if (rc == 0)
        zero_blocks(disk, first, last);
    if (rc == 0 && last < disk->blocks && end > last * DISK_BLOCK_SIZE)
        rc = write_top(disk, NULL, end - last * DISK_BLOCK_SIZE, last * DISK_BLOCK_SIZE);
    return rc;
}

int disk_discard(struct disk *disk, uint64_t offset, uint64_t length)
{
    if (!in_range(disk, offset, length))
        return -EINVAL;
    if (disk->mode == FORKD_DISK_READ_ONLY)
        return -EROFS;
    if (length == 0)
        return 0;
    if (disk->mode == FORKD_DISK_SHARED)
        return io_punch(disk->files[0], offset, length);
    uint64_t first;
    uint64_t last;
    whole_blocks(disk, offset, offset + length, &first, &last);
    if (first < last)
        zero_blocks(disk, first, last);
    return 0;
}

/* Saving. */

/* All that differs from the base, or from base and layers, as ranges in order. */
static int collect(const struct disk *disk, bool over_layers, struct extent_list *out)
{
    for (uint64_t block = 0; block < disk->blocks;) {
        /* Where the tops and the layers next have something. */
        uint64_t owned = block;
        if (disk_owner_of(disk, block) == 0)
            owned = disk_owner_run_end(disk, block, disk->blocks, 0);
        const struct extent *extent = NULL;
        uint64_t index = find_extent(disk, block);
        uint64_t layered = disk->blocks;
        if (!over_layers && index < disk->layers.count) {
            extent = &disk->layers.extents[index];
            layered = extent->first > block ? extent->first : block;
        }
        uint64_t start = owned < layered ? owned : layered;
        if (start == disk->blocks)
            return 0;
        uint64_t end = start + 1;
        if (extent != NULL && start == layered)
            end = extent->first + extent->count;
        while (end < disk->blocks && disk_owner_of(disk, end) != 0)
            end++;
        /* Joined when they touch: only where they are matters here. */
        int rc = append(out, (struct extent){.first = start, .count = end - start, .file_block = ZERO});
        if (rc < 0)
            return rc;
        block = end;
    }
    return 0;
}

static int read_pages(void *context, uint64_t first, uint64_t pages, void *buffer, struct forkd_error *err)
{
    struct disk *disk = context;
    uint64_t offset = first * DISK_BLOCK_SIZE;
    uint64_t length = block_end(disk, first + pages - 1) - offset;
    struct iovec iov = {.iov_base = buffer, .iov_len = (size_t)length};
    memset((uint8_t *)buffer + length, 0, (size_t)(pages * DISK_BLOCK_SIZE - length));
    int rc = disk_read(disk, &iov, 1, offset);
    return rc < 0 ? error_set(err, rc, "read disk", disk->name, NULL) : 0;
}

void disk_each_fd(struct disk *disk, void (*visit)(void *context, int fd), void *context)
{
    pthread_mutex_lock(&disk->lock);
    visit(context, disk->scratch_fd);
    for (uint32_t i = 0; i < disk->file_count; i++)
        visit(context, disk->files[i]);
    for (uint32_t i = 0; i < disk->stage_count; i++) {
        if (disk->stages[i].fd >= 0)
            visit(context, disk->stages[i].fd);
    }
    pthread_mutex_unlock(&disk->lock);
}

int disk_save_layer(struct disk *disk, int out_fd, bool over_layers, bool *written, struct forkd_error *err)
{
    struct extent_list ranges = {0};
    struct layer_extent *extents = NULL;
    /* What is merged gets a new checksum, which must not vouch for damage. */
    int rc = over_layers ? 0 : disk_verify_layers(disk, err);
    if (rc < 0)
        return rc;
    rc = collect(disk, over_layers, &ranges);
    if (rc < 0) {
        error_set(err, rc, "save disk", disk->name, NULL);
        goto done;
    }
    if (ranges.count == 0)
        goto done;
    extents = calloc(ranges.count, sizeof *extents);
    if (extents == NULL) {
        rc = error_set(err, ENOMEM, "save disk", disk->name, NULL);
        goto done;
    }
    for (uint64_t i = 0; i < ranges.count; i++)
        extents[i] =
            (struct layer_extent){.first = ranges.extents[i].first, .count = ranges.extents[i].count};
    rc = layer_write(out_fd, disk->name, disk->size, extents, ranges.count, read_pages, disk, err);
done:
    if (rc == 0)
        *written = ranges.count > 0;
    free(extents);
    free(ranges.extents);
    return rc;
}
