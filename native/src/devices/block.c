/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk's threads serve its queue. A request is taken with the VM's lock, carried out without it, and
 * completed with it. One thread leads: it takes one request after the other, as long as none has to be waited
 * for, as a read of what the host has in memory has not. Then it gives up the lead, to another thread if
 * there are more requests, waits, and leads again if nobody does. So a disk that hangs holds up some of its
 * own threads and nobody else, and where nothing hangs one thread does it all. They are made when they are
 * needed, and end when they have been idle for a while.
 *
 * The driver orders what has to be in order by waiting for it (virtio 1.2, 5.2.6.4). A request that has not
 * been taken is in the queue, and so in a snapshot; what has been taken a pause waits for.
 */
#include "base/broker.h"
#include "base/clock.h"
#include "base/error.h"
#include "devices/devices.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#define BLOCK_QUEUE_SIZE VIRTQUEUE_MAX_SIZE
/* virtio 1.2, 5.2.4: segments of data in a request; the header and the status byte take two more. */
#define BLOCK_SEG_MAX (VIRTQUEUE_MAX_SIZE - 2)
/* virtio 1.2, 5.2.4: 2^3 sectors make one block of the disk's, so the guest aligns its I/O to 4 KiB. */
#define BLOCK_PHYSICAL_EXP 3
/* virtio 1.2, 5.2.6: of a request that discards or writes zeroes. Bounded, because a pause waits for it. */
#define BLOCK_RANGE_SECTORS 32768u
#define BLOCK_RANGE_SEGMENTS 1u
/* The most threads, and so requests that the host's disk has at a time: with as many one is busy. */
#define BLOCK_THREADS 16u
/* Of which merging needs most, a buffer of 64 KiB; what is not touched is not there. */
#define BLOCK_STACK_SIZE (256u * 1024)
#define BLOCK_IDLE_MS 1000
/* Of a read that is tried at once: others wait for it, and what has only a part of it is done twice. */
#define BLOCK_AT_ONCE (64u * 1024)
/* Requests between two interrupts, while there are more. */
#define BLOCK_BATCH 16u
/* How long what is under way is waited for before a pause; and the flush of a disk that others see. */
#define BLOCK_SETTLE_MS 5000
#define BLOCK_FLUSH_MS 30000
/* virtio 1.2, 5.2.6: the length of the ID string. */
#define BLOCK_ID "forkd"
_Static_assert(DISK_BLOCK_SIZE == DISK_SECTOR_SIZE << BLOCK_PHYSICAL_EXP, "topology is that of the disk");

struct block {
    struct virtio_device device;
    struct disk *disk; /* borrowed */
    pthread_cond_t work;
    pthread_cond_t quiet; /* nothing is under way, or there is no thread any more */
    uint32_t threads;
    uint32_t idle;     /* of them */
    uint32_t busy;     /* of them, or the loop: what is under way */
    bool leading;      /* somebody is */
    bool coming;       /* a thread was called that will be, and has not come yet */
    bool merging;      /* somebody is */
    bool held;         /* nothing is begun */
    bool stop;         /* the threads are to end */
    bool unflushed;    /* the disk was written to */
    bool flush_wanted; /* by settle */
    int flush_result;
};

/* What a request wants of the disk. */
struct operation {
    uint32_t type;
    int iov_count;
    struct iovec *iov;
    uint64_t offset;
    uint64_t length;
};

/* Is [sector, sector + bytes) whole sectors inside the disk? */
static bool in_range(const struct block *block, uint64_t sector, uint64_t bytes)
{
    uint64_t capacity = disk_size(block->disk) / DISK_SECTOR_SIZE;
    return bytes % DISK_SECTOR_SIZE == 0 && sector <= capacity &&
           bytes / DISK_SECTOR_SIZE <= capacity - sector;
}

/* Cut `bytes` off the front of a vector, in place; returns how many entries are gone. */
static uint16_t cut_front(struct iovec *iov, uint16_t count, size_t bytes)
{
    uint16_t gone = 0;
    while (gone < count && bytes >= iov[gone].iov_len)
        bytes -= iov[gone++].iov_len;
    if (bytes != 0) {
        iov[gone].iov_base = (uint8_t *)iov[gone].iov_base + bytes;
        iov[gone].iov_len -= bytes;
    }
    return gone;
}

/* Of what was done on the host. A guest cannot tell a VM that is not to be, because the broker has refused
 * it, from a broken disk: it would live on with one. */
static uint8_t status_of(const struct block *block, int result)
{
    if (result == -EPIPE) {
        struct forkd_error error;
        error_set(&error, EPIPE, "write", "disk", "%s", BROKER_GONE);
        block->device.machine->fail(block->device.machine, &error);
    }
    return result == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

/* Without the lock, unless it does not wait. 0, or a negative errno. */
static int perform(struct disk *disk, const struct operation *operation)
{
    switch (operation->type) {
    case VIRTIO_BLK_T_IN:
        return disk_read(disk, operation->iov, operation->iov_count, operation->offset);
    case VIRTIO_BLK_T_OUT:
        return disk_write(disk, operation->iov, operation->iov_count, operation->offset);
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return disk_write_zeroes(disk, operation->offset, operation->length);
    case VIRTIO_BLK_T_DISCARD:
        return disk_discard(disk, operation->offset, operation->length);
    default:
        return disk_flush(disk);
    }
}

/* Requests as operations: VIRTIO_BLK_S_OK, or what is wrong with them. */

/* Read into the writable part less its last byte. */
static uint8_t want_read(struct block *block, struct virtqueue_chain *chain, uint64_t sector,
                         struct operation *operation)
{
    uint32_t bytes = chain->writable_bytes - 1;
    if (bytes == 0 || !in_range(block, sector, bytes))
        return VIRTIO_BLK_S_IOERR;
    operation->iov = chain->iov + chain->readable_count;
    operation->iov_count = chain->writable_count;
    if (--operation->iov[operation->iov_count - 1].iov_len == 0)
        operation->iov_count--;
    operation->offset = sector * DISK_SECTOR_SIZE;
    operation->length = bytes;
    return VIRTIO_BLK_S_OK;
}

/* Write the readable part less the header. */
static uint8_t want_write(struct block *block, struct virtqueue_chain *chain, uint64_t sector,
                          struct operation *operation)
{
    size_t header = sizeof(struct virtio_blk_outhdr);
    uint32_t bytes = chain->readable_bytes - (uint32_t)header;
    if (disk_read_only(block->disk) || bytes == 0 || !in_range(block, sector, bytes))
        return VIRTIO_BLK_S_IOERR;
    uint16_t gone = cut_front(chain->iov, chain->readable_count, header);
    operation->iov = chain->iov + gone;
    operation->iov_count = chain->readable_count - gone;
    operation->offset = sector * DISK_SECTOR_SIZE;
    operation->length = bytes;
    return VIRTIO_BLK_S_OK;
}

/* Discard, or write zeroes. */
static uint8_t want_range(struct block *block, const struct virtqueue_chain *chain,
                          struct operation *operation)
{
    struct virtio_blk_discard_write_zeroes range;
    size_t header = sizeof(struct virtio_blk_outhdr);
    if (disk_read_only(block->disk) || chain->readable_bytes != header + sizeof range)
        return VIRTIO_BLK_S_IOERR;
    virtqueue_read(chain, header, &range, sizeof range);
    /* virtio 1.2, 5.2.6.2: flags that we do not know are to be refused so, and this one for discard. */
    uint32_t known = operation->type == VIRTIO_BLK_T_DISCARD ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    if ((range.flags & ~known) != 0)
        return VIRTIO_BLK_S_UNSUPP;
    uint64_t bytes = (uint64_t)range.num_sectors * DISK_SECTOR_SIZE;
    if (range.num_sectors > BLOCK_RANGE_SECTORS || !in_range(block, range.sector, bytes))
        return VIRTIO_BLK_S_IOERR;
    operation->offset = range.sector * DISK_SECTOR_SIZE;
    operation->length = bytes;
    return VIRTIO_BLK_S_OK;
}

static uint8_t get_id(const struct virtqueue_chain *chain, uint32_t *written)
{
    char id[VIRTIO_BLK_ID_BYTES] = BLOCK_ID;
    if (chain->writable_bytes - 1 < sizeof id)
        return VIRTIO_BLK_S_IOERR;
    virtqueue_write(chain, 0, id, sizeof id);
    *written += sizeof id;
    return VIRTIO_BLK_S_OK;
}

static uint8_t want(struct block *block, struct virtqueue_chain *chain, uint64_t sector,
                    struct operation *operation)
{
    switch (operation->type) {
    case VIRTIO_BLK_T_IN:
        return want_read(block, chain, sector, operation);
    case VIRTIO_BLK_T_OUT:
        return want_write(block, chain, sector, operation);
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return want_range(block, chain, operation);
    case VIRTIO_BLK_T_FLUSH:
        return VIRTIO_BLK_S_OK;
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}

/* -EAGAIN: it may have to be waited for. */
static int perform_at_once(const struct block *block, const struct operation *operation)
{
    if (operation->type == VIRTIO_BLK_T_IN && operation->length <= BLOCK_AT_ONCE)
        return disk_read_at_once(block->disk, operation->iov, operation->iov_count, operation->offset);
    bool nothing = operation->type == VIRTIO_BLK_T_FLUSH && disk_mode(block->disk) != FORKD_DISK_SHARED;
    return nothing ? 0 : -EAGAIN;
}

/* Threads. All of this with the VM's lock, but for the time of what is waited for. */

static void lock(const struct block *block)
{
    pthread_mutex_lock(block->device.machine->loop->lock);
}

static void unlock(const struct block *block)
{
    pthread_mutex_unlock(block->device.machine->loop->lock);
}

static void enter(struct block *block)
{
    block->busy++;
    unlock(block);
}

static void leave(struct block *block)
{
    lock(block);
    if (--block->busy == 0)
        pthread_cond_signal(&block->quiet);
}

static bool may_lead(const struct block *block)
{
    const struct virtio_device *device = &block->device;
    return !block->held && !block->leading && virtio_active(device) &&
           virtqueue_available(&device->queues[0]) > 0 && throttle_admits(device->throttles[0]);
}

static bool may_merge(const struct block *block)
{
    return !block->held && !block->merging && disk_merge_due(block->disk);
}

static void *work(void *argument);

/* Have an idle thread look for work, or a new one. False: there is none at all. */
static bool call_thread(struct block *block)
{
    if (block->idle > 0) {
        block->coming = true;
        pthread_cond_signal(&block->work);
        return true;
    }
    if (block->threads == BLOCK_THREADS) /* the first that is done looks */
        return true;
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, BLOCK_STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, work, block) == 0) {
        block->threads++;
        block->coming = true;
    }
    pthread_attr_destroy(&attributes);
    return block->threads > 0;
}

static bool begin(struct virtio_device *device, uint16_t index)
{
    (void)index;
    struct block *block = container_of(device, struct block, device);
    return block->coming || (!may_lead(block) && !may_merge(block)) || call_thread(block);
}

/* Carry it out. False: it had to be waited for, and the lead was given up. */
static bool carry_out(struct block *block, const struct operation *operation, int *result)
{
    enter(block);
    *result = perform_at_once(block, operation);
    if (*result != -EAGAIN) {
        leave(block);
        return true;
    }
    lock(block);
    block->leading = false;
    virtio_interrupt(&block->device, 0);
    /* Asks for a kick as well. */
    if (virtqueue_wait_kick(&block->device.queues[0]))
        begin(&block->device, 0);
    unlock(block);
    *result = perform(block->disk, operation);
    leave(block);
    return false;
}

static void return_chain(struct block *block, uint16_t head, uint8_t *status_byte, uint8_t status,
                         uint32_t written)
{
    *status_byte = status;
    virtqueue_push(&block->device.queues[0], head, 1 + written);
}

/* One request. False: who leads now is another's business. */
static bool serve(struct block *block, struct virtqueue_chain *chain)
{
    struct virtio_device *device = &block->device;
    struct virtqueue *queue = &device->queues[0];
    struct virtio_blk_outhdr header;
    if (chain->readable_bytes < sizeof header || chain->writable_bytes < 1) {
        virtio_fail(device); /* not even room for header and status */
        return true;
    }
    virtqueue_read(chain, 0, &header, sizeof header);
    /* virtio 1.2, 5.2.6: the last writable byte. Found now, because reading cuts it off the vector. */
    const struct iovec *last = &chain->iov[chain->readable_count + chain->writable_count - 1];
    uint8_t *status_byte = (uint8_t *)last->iov_base + last->iov_len - 1;
    struct operation operation = {.type = header.type};
    uint32_t written = 0;
    uint8_t status = header.type == VIRTIO_BLK_T_GET_ID ? get_id(chain, &written)
                                                        : want(block, chain, header.sector, &operation);
    /* Not by what a chain says it has, of which nothing may be done. */
    throttle_charge(device->throttles[0], status == VIRTIO_BLK_S_OK ? operation.length : 0, 1);
    if (header.type == VIRTIO_BLK_T_GET_ID || status != VIRTIO_BLK_S_OK) {
        return_chain(block, chain->head, status_byte, status, written);
        return true;
    }
    if (operation.type != VIRTIO_BLK_T_IN && operation.type != VIRTIO_BLK_T_FLUSH)
        block->unflushed = true;
    uint64_t epoch = queue->epoch;
    int result;
    bool leads = carry_out(block, &operation, &result);
    status = status_of(block, result);
    if (result == 0 && operation.type == VIRTIO_BLK_T_IN)
        written = (uint32_t)operation.length;
    if (result < 0) /* the VM's status may say more */
        device->machine->wake(device->machine);
    /* If it is not of before a reset: then nobody waits for it, and its place may be another's. */
    if (epoch == queue->epoch && queue->ready && virtio_active(device))
        return_chain(block, chain->head, status_byte, status, written);
    if (!leads)
        virtio_interrupt(device, 0);
    return leads;
}

/* Take requests until there are none, or one had to be waited for. */
static void lead(struct block *block)
{
    struct virtio_device *device = &block->device;
    struct virtqueue *queue = &device->queues[0];
    struct virtqueue_chain chain;
    int result = 0;
    block->leading = true;
    for (uint32_t count = 1; !block->held && virtio_active(device) && queue->ready; count++) {
        /* Whoever stops it here has it kicked again. */
        if (!throttle_admits(device->throttles[0]))
            break;
        result = virtqueue_pop(queue, &chain);
        if (result == 0 && virtqueue_wait_kick(queue))
            continue;
        if (result <= 0)
            break;
        if (!serve(block, &chain))
            return;
        if (count % BLOCK_BATCH == 0)
            virtio_interrupt(device, 0);
    }
    block->leading = false;
    virtio_interrupt(device, 0);
    if (result < 0)
        virtio_fail(device);
}

static void merge(struct block *block)
{
    block->merging = true;
    enter(block);
    disk_merge_step(block->disk);
    leave(block);
    block->merging = false;
}

static void flush(struct block *block)
{
    block->flush_wanted = false;
    enter(block);
    int result = disk_flush(block->disk);
    leave(block);
    block->flush_result = result;
}

/* False: there was nothing to do for long. */
static bool rest(struct block *block)
{
    int64_t until = clock_now_ms() + BLOCK_IDLE_MS;
    const struct timespec time = {.tv_sec = (time_t)(until / 1000),
                                  .tv_nsec = (long)(until % 1000) * 1000000};
    block->idle++;
    int code = pthread_cond_timedwait(&block->work, block->device.machine->loop->lock, &time);
    block->idle--;
    return code == 0 || block->coming;
}

static void *work(void *argument)
{
    struct block *block = argument;
    prctl(PR_SET_NAME, "forkd-disk");
    lock(block);
    do {
        block->coming = false;
        while (block->flush_wanted || may_lead(block) || may_merge(block)) {
            if (block->flush_wanted)
                flush(block);
            else if (may_lead(block))
                lead(block);
            else
                merge(block);
        }
    } while (!block->stop && rest(block));
    if (--block->threads == 0)
        pthread_cond_signal(&block->quiet);
    unlock(block);
    return NULL;
}

/* On the loop: where there is no thread for it. */
static void process(struct virtio_device *device, uint16_t index)
{
    struct block *block = container_of(device, struct block, device);
    while (!begin(device, index)) {
        if (may_lead(block))
            lead(block);
        else
            merge(block);
    }
}

static bool is_busy(const struct virtio_device *device)
{
    const struct block *block = container_of(device, struct block, device);
    return block->busy > 0 || block->leading || block->coming;
}

/* Pause. */

/* Until nothing is under way, and no flush is to be. */
static int await_quiet(struct block *block, int64_t timeout_ms)
{
    int64_t until = clock_now_ms() + timeout_ms;
    const struct timespec time = {.tv_sec = (time_t)(until / 1000),
                                  .tv_nsec = (long)(until % 1000) * 1000000};
    int code = 0;
    while ((block->busy > 0 || block->flush_wanted) && code == 0)
        code = pthread_cond_timedwait(&block->quiet, block->device.machine->loop->lock, &time);
    block->flush_wanted = false;
    return block->busy == 0 ? 0 : -ETIMEDOUT;
}

/* What the guest wrote to a disk that is no part of a snapshot is to be there when it says so. */
static int settle_shared(struct block *block)
{
    if (!block->unflushed || disk_mode(block->disk) != FORKD_DISK_SHARED)
        return 0;
    block->flush_result = -ETIMEDOUT;
    block->flush_wanted = true;
    if (!call_thread(block))
        flush(block);
    int result = await_quiet(block, BLOCK_FLUSH_MS);
    result = result < 0 ? result : block->flush_result;
    block->unflushed = result < 0;
    return result;
}

static int settle(struct virtio_device *device, struct forkd_error *err)
{
    struct block *block = container_of(device, struct block, device);
    block->held = true;
    int result = await_quiet(block, BLOCK_SETTLE_MS);
    if (result < 0)
        return error_set(
            err, ETIMEDOUT, "pause", "disk",
            "the host's storage has not answered %u requests of the guest for %d s: see what holds "
            "it up, and try again",
            block->busy, BLOCK_SETTLE_MS / 1000);
    result = settle_shared(block);
    return result < 0 ? error_set(err, result, "flush", "shared disk", NULL) : 0;
}

static void release(struct virtio_device *device)
{
    struct block *block = container_of(device, struct block, device);
    block->held = false;
    /* Another one merges, if somebody leads. */
    if (may_lead(block) || may_merge(block))
        virtio_kick(device, 0);
}

static void end_threads(struct block *block)
{
    lock(block);
    block->stop = true;
    pthread_cond_broadcast(&block->work);
    while (block->threads > 0)
        pthread_cond_wait(&block->quiet, block->device.machine->loop->lock);
    unlock(block);
}

static void read_config(struct virtio_device *device, uint32_t offset, void *data, uint32_t length)
{
    const struct block *block = container_of(device, struct block, device);
    const struct virtio_blk_config config = {
        .capacity = disk_size(block->disk) / DISK_SECTOR_SIZE,
        .seg_max = BLOCK_SEG_MAX,
        .blk_size = DISK_SECTOR_SIZE,
        .physical_block_exp = BLOCK_PHYSICAL_EXP,
        .min_io_size = 1u << BLOCK_PHYSICAL_EXP,
        .max_discard_sectors = BLOCK_RANGE_SECTORS,
        .max_discard_seg = BLOCK_RANGE_SEGMENTS,
        .discard_sector_alignment = 1u << BLOCK_PHYSICAL_EXP,
        .max_write_zeroes_sectors = BLOCK_RANGE_SECTORS,
        .max_write_zeroes_seg = BLOCK_RANGE_SEGMENTS,
        .write_zeroes_may_unmap = 1,
    };
    virtio_copy_config(&config, sizeof config, offset, data, length);
}

static void save(const struct virtio_device *device, struct vmstate_writer *writer)
{
    vmstate_put_u64(writer, disk_size(container_of(device, struct block, device)->disk));
}

static void restore(struct virtio_device *device, struct vmstate_section *section)
{
    /* A guest that knows another size would see its file system end early. */
    if (vmstate_get_u64(section) != disk_size(container_of(device, struct block, device)->disk))
        vmstate_reject(section);
}

static void close_device(struct virtio_device *device)
{
    struct block *block = container_of(device, struct block, device);
    throttle_free(device);
    if (block->threads > 0)
        end_threads(block);
    pthread_cond_destroy(&block->work);
    pthread_cond_destroy(&block->quiet);
    free(block);
}

static const struct virtio_ops block_ops = {
    .name = "block",
    .id = VIRTIO_ID_BLOCK,
    .queue_count = 1,
    .read_config = read_config,
    .process = process,
    .begin = begin,
    .busy = is_busy,
    .settle = settle,
    .release = release,
    .save = save,
    .restore = restore,
    .close = close_device,
};

int block_limit(struct virtio_device *device, uint64_t bytes_per_second, uint64_t requests_per_second,
                struct forkd_error *err)
{
    return throttle_queue(device, 0, bytes_per_second, requests_per_second, err);
}

int block_create(struct virtio_device **out, struct virtio_machine *machine, uint32_t gsi, struct disk *disk,
                 struct forkd_error *err)
{
    struct block *block = calloc(1, sizeof *block);
    if (block == NULL)
        return error_set(err, ENOMEM, "create", "block device", NULL);
    uint64_t features = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
                        1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_TOPOLOGY;
    features |= disk_read_only(disk) ? 1ull << VIRTIO_BLK_F_RO
                                     : 1ull << VIRTIO_BLK_F_WRITE_ZEROES | 1ull << VIRTIO_BLK_F_DISCARD;
    virtio_init(&block->device, &block_ops, machine, gsi, features, BLOCK_QUEUE_SIZE);
    block->disk = disk;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&block->work, &monotonic);
    pthread_cond_init(&block->quiet, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = &block->device;
    return 0;
}
