/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/memory_image.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define OBJECT "memory.bin"
#define IMAGE_PAGE 4096u
/* Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped (or migrating). */
#define PAGEMAP_THERE (3ull << 62)
#define PAGEMAP_BATCH 4096u

struct writer {
    int fd;
    int pagemap_fd; /* -1: none, every page is read */
    const uint8_t *memory;
    uint64_t pages;
    uint64_t run;     /* first page of the run of non-zero pages that waits to be written */
    uint64_t run_end; /* run == run_end: none waits */
    uint64_t entries[PAGEMAP_BATCH];
};

static int flush(struct writer *writer, struct forkd_error *err)
{
    uint64_t offset = writer->run * IMAGE_PAGE;
    int rc =
        io_pwrite(writer->fd, writer->memory + offset, (writer->run_end - writer->run) * IMAGE_PAGE, offset);
    writer->run = writer->run_end;
    return rc < 0 ? error_set(err, rc, "write", OBJECT, NULL) : 0;
}

/* Read a page, and have it written unless it is zero. */
static int take_page(struct writer *writer, uint64_t page, struct forkd_error *err)
{
    if (io_is_zero(writer->memory + page * IMAGE_PAGE, IMAGE_PAGE))
        return 0;
    if (page != writer->run_end) {
        int rc = flush(writer, err);
        if (rc < 0)
            return rc;
        writer->run = page;
    }
    writer->run_end = page + 1;
    return 0;
}

static int take_all(struct writer *writer, uint64_t first, uint64_t end, struct forkd_error *err)
{
    int rc = 0;
    for (uint64_t page = first; page < end && rc == 0; page++)
        rc = take_page(writer, page, err);
    return rc;
}

/* Of private anonymous memory, a page that is neither present nor swapped out was never written. */
static int take_touched(struct writer *writer, uint64_t first, uint64_t end, struct forkd_error *err)
{
    int rc = 0;
    while (first < end && rc == 0) {
        uint64_t count = end - first < PAGEMAP_BATCH ? end - first : PAGEMAP_BATCH;
        uint64_t entry = (uint64_t)(uintptr_t)writer->memory / IMAGE_PAGE + first;
        if (io_pread(writer->pagemap_fd, writer->entries, count * sizeof *writer->entries,
                     entry * sizeof *writer->entries) < 0)
            return take_all(writer, first, end, err);
        for (uint64_t i = 0; i < count && rc == 0; i++) {
            if ((writer->entries[i] & PAGEMAP_THERE) != 0)
                rc = take_page(writer, first + i, err);
        }
        first += count;
    }
    return rc;
}

/*
 * Go through the mappings that the memory consists of. In a mapping of a file an absent page is the file's,
 * so all of it is read; the page tables do not tell the one kind from the other, the list of mappings does.
 */
static int take_mappings(struct writer *writer, FILE *maps, struct forkd_error *err)
{
    uint64_t start = (uint64_t)(uintptr_t)writer->memory;
    uint64_t end = start + writer->pages * IMAGE_PAGE;
    uint64_t done = 0; /* pages */
    char line[512];
    bool line_start = true;
    int rc = 0;
    while (rc == 0 && done < writer->pages && fgets(line, sizeof line, maps) != NULL) {
        uint64_t from;
        uint64_t to;
        uint64_t inode;
        char share;
        /* A path may be longer than the buffer: what follows of it is no line. */
        bool is_line = line_start;
        for (size_t i = 0; i < sizeof line && line[i] != 0; i++)
            line_start = line[i] == '\n';
        /* NOLINTNEXTLINE(cert-err34-c): the kernel wrote it, and the number of fields is checked. */
        if (!is_line || sscanf(line, "%" SCNx64 "-%" SCNx64 " %*3c%c %*x %*x:%*x %" SCNu64, &from, &to,
                               &share, &inode) != 4)
            continue;
        if (to <= start || from >= end || inode != 0 || share != 'p')
            continue;
        uint64_t first = from <= start ? 0 : (from - start) / IMAGE_PAGE;
        uint64_t last = to >= end ? writer->pages : (to - start) / IMAGE_PAGE;
        rc = take_all(writer, done, first, err);
        if (rc == 0)
            rc = take_touched(writer, first, last, err);
        done = last;
    }
    return rc == 0 ? take_all(writer, done, writer->pages, err) : rc;
}

int memory_image_write(int fd, const void *memory, uint64_t size, struct forkd_error *err)
{
    if (size % IMAGE_PAGE != 0 || (uintptr_t)memory % IMAGE_PAGE != 0)
        return error_set(err, EINVAL, "write", OBJECT, "memory is not in whole pages");
    if (ftruncate(fd, (off_t)size) < 0)
        return error_set(err, errno, "set size of", OBJECT, NULL);
    struct writer writer = {.fd = fd, .memory = memory, .pages = size / IMAGE_PAGE};
    writer.pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    FILE *maps = writer.pagemap_fd < 0 ? NULL : fopen("/proc/self/maps", "re");
    int rc = 0;
    /* Without /proc everything is read, which is slower and as right. */
    if (maps != NULL)
        rc = take_mappings(&writer, maps, err);
    else
        rc = take_all(&writer, 0, writer.pages, err);
    if (rc == 0)
        rc = flush(&writer, err);
    if (maps != NULL)
        fclose(maps);
    if (writer.pagemap_fd >= 0)
        close(writer.pagemap_fd);
    return rc;
}

int memory_image_map(int fd, uint64_t expected_size, void **out, struct forkd_error *err)
{
    uint64_t size = 0;
    int rc = io_size(fd, &size);
    if (rc < 0)
        return error_set(err, rc, "map", OBJECT, "no regular file");
    if (size != expected_size)
        return error_set(err, size < expected_size ? EBADMSG : EINVAL, "map", OBJECT,
                         "the file has %" PRIu64 " bytes, the snapshot's memory %" PRIu64, size,
                         expected_size);
    void *map = mmap(NULL, expected_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (map == MAP_FAILED)
        return error_set(err, errno, "map", OBJECT, NULL);
    *out = map;
    return 0;
}
