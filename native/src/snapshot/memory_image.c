/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/memory_image.h"

#include "base/array.h"
#include "base/io.h"
#include "snapshot/layer.h"
#include "snapshot/pagemap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define IMAGE "memory.bin"
#define LAYER "memory.layer"
#define IMAGE_PAGE PAGEMAP_PAGE
#define COPY_BUFFER (1u << 20)

/* --- which pages are anonymous ----------------------------------------------------------------------------
 */

struct ranges {
    struct layer_extent *extents; /* file_page is not used */
    uint64_t count;
    uint64_t capacity;
};

static int add_range(void *context, uint64_t first, uint64_t count, bool anonymous)
{
    struct ranges *ranges = context;
    if (!anonymous)
        return 0;
    struct layer_extent *extents =
        array_room(ranges->extents, ranges->count + 1, &ranges->capacity, sizeof *extents);
    if (extents == NULL)
        return -ENOMEM;
    ranges->extents = extents;
    ranges->extents[ranges->count++] = (struct layer_extent){.first = first, .count = count};
    return 0;
}

/* The pages of a private mapping that are no longer, or never were, a file's. */
static int find_anonymous(const void *memory, uint64_t size, const char *object, struct ranges *out,
                          struct forkd_error *err)
{
    if (size % IMAGE_PAGE != 0 || (uintptr_t)memory % IMAGE_PAGE != 0)
        return error_set(err, EINVAL, "write", object, "memory is not in whole pages");
    int rc = pagemap_scan(memory, size, add_range, out);
    return rc < 0 ? error_set(err, rc, "read", "/proc/self/pagemap",
                              "which says what of the memory is to be written")
                  : 0;
}

/* --- writing ----------------------------------------------------------------------------------------------
 */

/* Write pages that are not zero; the file has holes where the others are. */
static int write_pages(int fd, const uint8_t *memory, const struct layer_extent *extent,
                       struct forkd_error *err)
{
    uint64_t end = extent->first + extent->count;
    for (uint64_t page = extent->first; page < end;) {
        uint64_t run = page;
        while (run < end && !io_is_zero(memory + run * IMAGE_PAGE, IMAGE_PAGE))
            run++;
        int rc = run == page ? 0
                             : io_pwrite(fd, memory + page * IMAGE_PAGE, (run - page) * IMAGE_PAGE,
                                         page * IMAGE_PAGE);
        if (rc < 0)
            return error_set(err, rc, "write", IMAGE, NULL);
        page = run == end ? end : run + 1;
    }
    return 0;
}

/* File systems that cannot, or not between these two files, leave it to us. */
static int copy_through_buffer(int from, int to, uint64_t offset, uint64_t length)
{
    uint8_t *buffer = malloc(COPY_BUFFER);
    int rc = buffer == NULL ? -ENOMEM : 0;
    while (rc == 0 && length > 0) {
        size_t some = length < COPY_BUFFER ? (size_t)length : COPY_BUFFER;
        rc = io_pread(from, buffer, some, offset);
        if (rc == 0)
            rc = io_pwrite(to, buffer, some, offset);
        offset += some;
        length -= some;
    }
    free(buffer);
    return rc;
}

static int copy_bytes(int from, int to, uint64_t offset, uint64_t length)
{
    while (length > 0) {
        off_t in = (off_t)offset;
        off_t out = (off_t)offset;
        ssize_t copied = copy_file_range(from, &in, to, &out, length, 0);
        if (copied < 0 && errno == EINTR)
            continue;
        if (copied < 0 && (errno == ENOSPC || errno == EIO || errno == EDQUOT || errno == EFBIG))
            return -errno;
        if (copied <= 0)
            return copy_through_buffer(from, to, offset, length);
        offset += (uint64_t)copied;
        length -= (uint64_t)copied;
    }
    return 0;
}

/* Copy [offset, end) of one file to the same place in the other, an empty one; holes stay holes. */
static int copy_range(int from, int to, uint64_t offset, uint64_t end, struct forkd_error *err)
{
    while (offset < end) {
        off_t data = lseek(from, (off_t)offset, SEEK_DATA);
        if ((data < 0 && errno == ENXIO) || data >= (off_t)end)
            return 0;
        if (data < 0)
            return error_set(err, errno, "read", IMAGE, NULL);
        off_t hole = lseek(from, data, SEEK_HOLE);
        uint64_t data_end = hole < 0 || (uint64_t)hole > end ? end : (uint64_t)hole;
        int rc = copy_bytes(from, to, (uint64_t)data, data_end - (uint64_t)data);
        if (rc < 0)
            return error_set(err, rc, "write", IMAGE, NULL);
        offset = data_end;
    }
    return 0;
}

static int set_size(int fd, uint64_t size, struct forkd_error *err)
{
    return ftruncate(fd, (off_t)size) < 0 ? error_set(err, errno, "set size of", IMAGE, NULL) : 0;
}

int memory_image_write(int fd, const void *memory, uint64_t size, int base_fd, struct forkd_error *err)
{
    struct ranges ranges = {0};
    int rc = find_anonymous(memory, size, IMAGE, &ranges, err);
    if (rc == 0)
        rc = set_size(fd, size, err);
    uint64_t done = 0; /* bytes */
    for (uint64_t i = 0; i < ranges.count && rc == 0; i++) {
        const struct layer_extent *extent = &ranges.extents[i];
        if (base_fd >= 0)
            rc = copy_range(base_fd, fd, done, extent->first * IMAGE_PAGE, err);
        if (rc == 0)
            rc = write_pages(fd, memory, extent, err);
        done = (extent->first + extent->count) * IMAGE_PAGE;
    }
    if (rc == 0 && base_fd >= 0)
        rc = copy_range(base_fd, fd, done, size, err);
    free(ranges.extents);
    return rc;
}

static int read_memory(void *context, uint64_t first, uint64_t pages, void *buffer, struct forkd_error *err)
{
    (void)err;
    memcpy(buffer, (const uint8_t *)context + first * IMAGE_PAGE, pages * IMAGE_PAGE);
    return 0;
}

int memory_layer_write(int fd, const void *memory, uint64_t size, struct forkd_error *err)
{
    struct ranges ranges = {0};
    int rc = find_anonymous(memory, size, LAYER, &ranges, err);
    if (rc == 0)
        rc = layer_write(fd, LAYER, size, ranges.extents, ranges.count, read_memory, (void *)memory, err);
    free(ranges.extents);
    return rc;
}

/* --- flattening -------------------------------------------------------------------------------------------
 */

static int apply_extent(int fd, int layer_fd, const char *name, const struct layer_extent *extent,
                        uint8_t *buffer, struct forkd_error *err)
{
    uint64_t to = extent->first * IMAGE_PAGE;
    uint64_t length = extent->count * IMAGE_PAGE;
    if (extent->file_page == UINT64_MAX) {
        int rc = io_zero(fd, to, length);
        return rc < 0 ? error_set(err, rc, "write", IMAGE, NULL) : 0;
    }
    uint64_t from = extent->file_page * IMAGE_PAGE;
    while (length > 0) {
        size_t some = length < COPY_BUFFER ? (size_t)length : COPY_BUFFER;
        int rc = io_pread(layer_fd, buffer, some, from);
        if (rc < 0)
            return error_set(err, rc, "read", name, NULL);
        if ((rc = io_pwrite(fd, buffer, some, to)) < 0)
            return error_set(err, rc, "write", IMAGE, NULL);
        from += some;
        to += some;
        length -= some;
    }
    return 0;
}

static int apply_layer(int fd, uint64_t size, int layer_fd, const char *name, uint8_t *buffer,
                       struct forkd_error *err)
{
    struct layer layer;
    int rc = layer_open(layer_fd, name, &layer, err);
    if (rc < 0)
        return rc;
    if (layer.size != size)
        rc =
            error_set(err, EBADMSG, "read layer", name,
                      "it belongs to a memory of %" PRIu64 " bytes, this one has %" PRIu64, layer.size, size);
    if (rc == 0)
        rc = layer_verify_data(layer_fd, name, size, err);
    for (uint64_t i = 0; i < layer.extent_count && rc == 0; i++)
        rc = apply_extent(fd, layer_fd, name, &layer.extents[i], buffer, err);
    layer_free(&layer);
    return rc;
}

int memory_image_flatten(int fd, int base_fd, const int *layer_fds, const char *const *names, uint32_t count,
                         struct forkd_error *err)
{
    uint64_t size = 0;
    int rc = io_size(base_fd, &size);
    if (rc < 0 || size % IMAGE_PAGE != 0)
        return error_set(err, rc < 0 ? rc : EBADMSG, "read", IMAGE, "no memory image");
    uint8_t *buffer = malloc(COPY_BUFFER);
    if (buffer == NULL)
        return error_set(err, ENOMEM, "flatten", IMAGE, NULL);
    if ((rc = set_size(fd, size, err)) == 0)
        rc = copy_range(base_fd, fd, 0, size, err);
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = apply_layer(fd, size, layer_fds[i], names[i], buffer, err);
    free(buffer);
    return rc;
}

int memory_image_map(int fd, uint64_t expected_size, void **out, struct forkd_error *err)
{
    uint64_t size = 0;
    int rc = io_size(fd, &size);
    if (rc < 0)
        return error_set(err, rc, "map", IMAGE, "no regular file");
    if (size != expected_size)
        return error_set(err, size < expected_size ? EBADMSG : EINVAL, "map", IMAGE,
                         "the file has %" PRIu64 " bytes, the snapshot's memory %" PRIu64, size,
                         expected_size);
    void *map = mmap(NULL, expected_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (map == MAP_FAILED)
        return error_set(err, errno, "map", IMAGE, NULL);
    *out = map;
    return 0;
}
