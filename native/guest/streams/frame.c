/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/frame.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A few frames a call. It is only written to as far as a host sends. */
#define INBOX_SIZE ((size_t)4 * (FRAME_HEADER + FRAME_MAX))

void frame_header(unsigned char out[FRAME_HEADER], enum frame_type type, size_t length)
{
    uint32_t size = htole32((uint32_t)length);
    memset(out, 0, FRAME_HEADER);
    out[0] = (unsigned char)type;
    memcpy(out + 4, &size, sizeof size);
}

size_t frame_begin(struct writer *writer, enum frame_type type, size_t bound)
{
    unsigned char header[FRAME_HEADER];
    if (WRITER_SIZE - writer->used < FRAME_HEADER + bound)
        writer_flush(writer);
    size_t begun = writer->used;
    frame_header(header, type, 0);
    writer_bytes(writer, header, sizeof header);
    return begun;
}

void frame_finish(struct writer *writer, size_t begun)
{
    if (writer->error)
        return;
    uint32_t size = htole32((uint32_t)(writer->used - begun - FRAME_HEADER));
    memcpy(writer->data + begun + 4, &size, sizeof size);
}

static int allocate(struct inbox *inbox, size_t capacity)
{
    inbox->data = malloc(capacity);
    inbox->capacity = capacity;
    return inbox->data ? 0 : -ENOMEM;
}

int inbox_init(struct inbox *inbox, int fd, const void *rest, size_t length)
{
    *inbox = (struct inbox){.fd = fd};
    if (length == 0)
        return 0;
    if (allocate(inbox, length > INBOX_SIZE ? length : INBOX_SIZE) < 0)
        return -ENOMEM;
    memcpy(inbox->data, rest, length);
    inbox->used = length;
    return 0;
}

void inbox_free(struct inbox *inbox)
{
    free(inbox->data);
    inbox->data = NULL;
}

/* The header of the next frame: its payload is then what is left. */
static int take_header(struct inbox *inbox)
{
    static const unsigned char zero[3];
    const unsigned char *header = inbox->data + inbox->start;
    uint32_t length;
    memcpy(&length, header + 4, sizeof length);
    length = le32toh(length);
    if (header[0] != FRAME_IN || memcmp(header + 1, zero, sizeof zero) != 0 || length > FRAME_MAX ||
        inbox->over)
        return -EPROTO;
    inbox->start += FRAME_HEADER;
    inbox->left = length;
    inbox->over = length == 0;
    return inbox->over ? INBOX_OVER : INBOX_PIECE;
}

int inbox_take(struct inbox *inbox, const unsigned char **data, size_t *length)
{
    if (inbox->left == 0) {
        if (inbox->used - inbox->start < FRAME_HEADER)
            return INBOX_EMPTY;
        int status = take_header(inbox);
        if (status != INBOX_PIECE)
            return status;
    }
    size_t there = inbox->used - inbox->start;
    if (there == 0)
        return INBOX_EMPTY;
    *data = inbox->data + inbox->start;
    *length = there < inbox->left ? there : inbox->left;
    inbox->start += *length;
    inbox->left -= *length;
    return INBOX_PIECE;
}

int inbox_fill(struct inbox *inbox, int flags)
{
    if (!inbox->data && allocate(inbox, INBOX_SIZE) < 0)
        return -ENOMEM;
    inbox->used -= inbox->start;
    memmove(inbox->data, inbox->data + inbox->start, inbox->used); /* part of a header */
    inbox->start = 0;
    ssize_t got;
    do
        got = recv(inbox->fd, inbox->data + inbox->used, inbox->capacity - inbox->used, flags);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return got < 0 ? -errno : 0;
    inbox->used += (size_t)got;
    return 1;
}
