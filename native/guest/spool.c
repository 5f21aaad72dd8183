/* SPDX-License-Identifier: Apache-2.0 */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_MAX ((size_t)1 << 20)

void spool_init(struct spool *spool)
{
    *spool = (struct spool){.fd = -1};
}

void spool_free(struct spool *spool)
{
    free(spool->memory);
    if (spool->fd >= 0)
        close(spool->fd);
    spool_init(spool);
}

static int write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, data, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        data += written;
        length -= (size_t)written;
    }
    return 0;
}

static int open_file(struct spool *spool)
{
    spool->fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (spool->fd < 0)
        spool->fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return spool->fd < 0 ? -errno : 0;
}

static int grow(struct spool *spool, size_t needed)
{
    size_t capacity = spool->capacity ? spool->capacity : 4096;
    while (capacity < needed)
        capacity *= 2;
    char *memory = realloc(spool->memory, capacity);
    if (!memory)
        return -ENOMEM;
    spool->memory = memory;
    spool->capacity = capacity;
    return 0;
}

int spool_append(struct spool *spool, const void *data, size_t length)
{
    int status = 0;
    if (length == 0)
        return 0;
    if (spool->fd < 0 && spool->used + length <= MEMORY_MAX) {
        if (spool->used + length > spool->capacity)
            status = grow(spool, spool->used + length);
        if (status == 0) {
            memcpy(spool->memory + spool->used, data, length);
            spool->used += length;
        }
        return status;
    }
    if (spool->fd < 0) {
        status = open_file(spool);
        if (status == 0)
            status = write_all(spool->fd, spool->memory, spool->used);
        free(spool->memory);
        spool->memory = NULL;
    }
    return status < 0 ? status : write_all(spool->fd, data, length);
}

int spool_write_string(struct spool *spool, struct writer *writer)
{
    if (spool->fd < 0) {
        writer_string(writer, spool->memory, spool->used);
        return 0;
    }
    static const size_t size = 65536;
    char *part = malloc(size);
    if (!part)
        return -ENOMEM;
    if (lseek(spool->fd, 0, SEEK_SET) < 0) {
        free(part);
        return -errno;
    }
    int status = 0;
    size_t held = 0; /* an incomplete sequence at the end of the last part */
    writer_text(writer, "\"");
    for (;;) {
        ssize_t got = read(spool->fd, part + held, size - held);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = -errno;
        size_t length = held + (got > 0 ? (size_t)got : 0);
        size_t taken = writer_escape(writer, part, length, got <= 0);
        held = length - taken;
        memmove(part, part + taken, held);
        if (got <= 0 || writer->error)
            break;
    }
    writer_text(writer, "\"");
    free(part);
    return status;
}
