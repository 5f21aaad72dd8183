/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/devices.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_QUEUE_SIZE VIRTQUEUE_MAX_SIZE
/* virtio 1.2, 5.2.4: segments of data in a request; the header and the status byte take two more. */
#define BLOCK_SEG_MAX (VIRTQUEUE_MAX_SIZE - 2)
/* virtio 1.2, 5.2.4: 2^3 sectors make one block of the disk's, so the guest aligns its I/O to 4 KiB. */
#define BLOCK_PHYSICAL_EXP 3
/* virtio 1.2, 5.2.6: of a write-zeroes request. Bounded, because the loop waits for it. */
#define BLOCK_ZEROES_SECTORS 32768u
#define BLOCK_ZEROES_SEGMENTS 1u
/* virtio 1.2, 5.2.6: the length of the ID string. */
#define BLOCK_ID "forkd"
_Static_assert(DISK_BLOCK_SIZE == DISK_SECTOR_SIZE << BLOCK_PHYSICAL_EXP, "topology is that of the disk");

struct block {
    struct virtio_device device;
    struct disk *disk; /* borrowed */
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

static uint8_t status_of(int result)
{
    return result == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

/* Read into the writable part less its last byte; *written grows by what was read. */
static uint8_t read_sectors(struct block *block, struct virtqueue_chain *chain, uint64_t sector,
                            uint32_t *written)
{
    uint32_t bytes = chain->writable_bytes - 1;
    if (bytes == 0 || !in_range(block, sector, bytes))
        return VIRTIO_BLK_S_IOERR;
    struct iovec *iov = chain->iov + chain->readable_count;
    int count = chain->writable_count;
    if (--iov[count - 1].iov_len == 0)
        count--;
    uint8_t status = status_of(disk_read(block->disk, iov, count, sector * DISK_SECTOR_SIZE));
    if (status == VIRTIO_BLK_S_OK)
        *written += bytes;
    return status;
}

/* Write the readable part less the header. */
static uint8_t write_sectors(struct block *block, struct virtqueue_chain *chain, uint64_t sector)
{
    size_t header = sizeof(struct virtio_blk_outhdr);
    uint32_t bytes = chain->readable_bytes - (uint32_t)header;
    if (disk_read_only(block->disk) || bytes == 0 || !in_range(block, sector, bytes))
        return VIRTIO_BLK_S_IOERR;
    uint16_t gone = cut_front(chain->iov, chain->readable_count, header);
    return status_of(
        disk_write(block->disk, chain->iov + gone, chain->readable_count - gone, sector * DISK_SECTOR_SIZE));
}

static uint8_t write_zeroes(struct block *block, const struct virtqueue_chain *chain)
{
    struct virtio_blk_discard_write_zeroes range;
    size_t header = sizeof(struct virtio_blk_outhdr);
    if (disk_read_only(block->disk) || chain->readable_bytes != header + sizeof range)
        return VIRTIO_BLK_S_IOERR;
    virtqueue_read(chain, header, &range, sizeof range);
    /* virtio 1.2, 5.2.6.2: flags that we do not know are to be refused so. */
    if ((range.flags & ~(uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0)
        return VIRTIO_BLK_S_UNSUPP;
    uint64_t bytes = (uint64_t)range.num_sectors * DISK_SECTOR_SIZE;
    if (range.num_sectors > BLOCK_ZEROES_SECTORS || !in_range(block, range.sector, bytes))
        return VIRTIO_BLK_S_IOERR;
    if (bytes == 0)
        return VIRTIO_BLK_S_OK;
    throttle_charge(block->device.throttles[0], bytes, 0);
    return status_of(disk_write_zeroes(block->disk, range.sector * DISK_SECTOR_SIZE, bytes));
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

/* Carry out one request; false when there is not even room for header and status. */
static bool serve(struct virtio_device *device, struct virtqueue_chain *chain, uint32_t *written)
{
    struct block *block = container_of(device, struct block, device);
    struct virtio_blk_outhdr header;
    if (chain->readable_bytes < sizeof header || chain->writable_bytes < 1)
        return false;
    virtqueue_read(chain, 0, &header, sizeof header);
    /* virtio 1.2, 5.2.6: the last writable byte. Found now, because reading cuts it off the vector. */
    const struct iovec *last = &chain->iov[chain->readable_count + chain->writable_count - 1];
    uint8_t *status_byte = (uint8_t *)last->iov_base + last->iov_len - 1;
    uint8_t status;
    throttle_charge(device->throttles[0], (uint64_t)chain->readable_bytes + chain->writable_bytes, 1);
    *written = 1;
    switch (header.type) {
    case VIRTIO_BLK_T_IN:
        status = read_sectors(block, chain, header.sector, written);
        break;
    case VIRTIO_BLK_T_OUT:
        status = write_sectors(block, chain, header.sector);
        break;
    case VIRTIO_BLK_T_FLUSH:
        status = status_of(disk_flush(block->disk));
        break;
    case VIRTIO_BLK_T_GET_ID:
        status = get_id(chain, written);
        break;
    case VIRTIO_BLK_T_WRITE_ZEROES:
        status = write_zeroes(block, chain);
        break;
    default:
        status = VIRTIO_BLK_S_UNSUPP;
        break;
    }
    *status_byte = status;
    return true;
}

static void process(struct virtio_device *device, uint16_t index)
{
    virtio_serve_queue(device, index, BLOCK_QUEUE_SIZE, serve);
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
        .max_write_zeroes_sectors = BLOCK_ZEROES_SECTORS,
        .max_write_zeroes_seg = BLOCK_ZEROES_SEGMENTS,
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
    throttle_free(device);
    free(container_of(device, struct block, device));
}

static const struct virtio_ops block_ops = {
    .name = "block",
    .id = VIRTIO_ID_BLOCK,
    .queue_count = 1,
    .read_config = read_config,
    .process = process,
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
    features |= disk_read_only(disk) ? 1ull << VIRTIO_BLK_F_RO : 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
    virtio_init(&block->device, &block_ops, machine, gsi, features, BLOCK_QUEUE_SIZE);
    block->disk = disk;
    *out = &block->device;
    return 0;
}
