/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a layer. So that inputs stay small, they are not the file itself: first a byte that says
 * whether checksums are made right, one that says how many pages of data there are (at most 15), then up to
 * 64 bytes for the start of the header, then the table. A layer that opens is checked against what the format
 * promises, and put into a disk, every block of which must be readable.
 */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/io.h"
#include "snapshot/disk.h"
#include "snapshot/layer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAGE ((uint64_t)LAYER_PAGE_SIZE)
#define HEADER_START 64u
/* Above it a disk is not tried: its map alone would be what is measured. */
#define LARGEST_DISK (1ull << 32)

static void check_promises(const struct layer *layer, uint64_t file_size)
{
    uint64_t end = 0;
    uint64_t pages = layer->size / PAGE + (layer->size % PAGE != 0);
    for (uint64_t i = 0; i < layer->extent_count; i++) {
        const struct layer_extent *extent = &layer->extents[i];
        if (extent->count == 0 || extent->first < end || extent->count > pages - extent->first)
            abort();
        end = extent->first + extent->count;
        if (extent->file_page != UINT64_MAX && (extent->file_page + extent->count) * PAGE > file_size)
            abort();
    }
}

static void read_disk(int layer_fd, uint64_t size)
{
    static uint8_t buffer[64 * DISK_BLOCK_SIZE];
    struct disk *disk = NULL;
    struct forkd_error err;
    int layers[2] = {fcntl(layer_fd, F_DUPFD_CLOEXEC, 0), fcntl(layer_fd, F_DUPFD_CLOEXEC, 0)};
    int base = memfd_create("base", MFD_CLOEXEC);
    if (ftruncate(base, (off_t)size) < 0)
        abort();
    /* Twice the same: what shows is the upper one, wholly. */
    if (disk_open(&disk, "fuzz", FORKD_DISK_READ_ONLY, base, layers, 2, -1, &err) == 0) {
        for (uint64_t at = 0; at < size && at < 64 * sizeof buffer; at += sizeof buffer) {
            uint64_t length = size - at < sizeof buffer ? size - at : sizeof buffer;
            struct iovec iov = {.iov_base = buffer, .iov_len = length};
            if (disk_read(disk, &iov, 1, at) != 0)
                abort();
        }
        disk_close(disk);
        return;
    }
    close(base);
    close(layers[0]);
    close(layers[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    bool seal = (data[0] & 1) != 0;
    uint64_t data_pages = data[1] % 16;
    data += 2;
    size -= 2;
    size_t start = size < HEADER_START ? size : HEADER_START;
    const uint8_t *table = data + start;
    size_t table_size = size - start;
    uint64_t table_at = (1 + data_pages) * PAGE;
    static uint8_t header[LAYER_PAGE_SIZE];
    memset(header, 0, sizeof header);
    memcpy(header, data, start);
    if (seal) {
        memcpy(header, "FORKDLYR", 8);
        bytes_store(header + 32, table_at, 8);
        bytes_store(header + 40, table_at + table_size, 8);
        bytes_store(header + 48, crc32c(0, table, table_size), 4);
        bytes_store(header + 52, 0, 8);
        bytes_store(header + 60, 0, 4);
        bytes_store(header + PAGE - 4, crc32c(0, header, PAGE - 4), 4);
    }
    int fd = memfd_create("layer", MFD_CLOEXEC);
    struct layer layer;
    struct forkd_error err;
    if (fd < 0 || io_pwrite(fd, header, sizeof header, 0) < 0 || ftruncate(fd, (off_t)table_at) < 0 ||
        io_pwrite(fd, table, table_size, table_at) < 0)
        abort();
    if (layer_open(fd, "fuzz", &layer, &err) == 0) {
        check_promises(&layer, table_at);
        (void)layer_verify_data(fd, "fuzz", layer.size, &err);
        if (layer.size <= LARGEST_DISK)
            read_disk(fd, layer.size);
        layer_free(&layer);
    } else if (err.code >= 0 || err.object[0] == 0) {
        abort();
    }
    close(fd);
    return 0;
}
