/* SPDX-License-Identifier: Apache-2.0 */
#include "writer.h"

#include "base64.h"
#include "utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void writer_init(struct writer *writer, int fd)
{
    /* Not the buffer: clearing it would touch 17 pages for a short reply. */
    writer->fd = fd;
    writer->error = 0;
    writer->start = 0;
    writer->used = 0;
}

int writer_flush(struct writer *writer)
{
    while (!writer->error && writer->start < writer->used) {
        ssize_t sent = write(writer->fd, writer->data + writer->start, writer->used - writer->start);
        if (sent > 0)
            writer->start += (size_t)sent;
        else if (sent == 0 || errno != EINTR)
            writer->error = sent == 0 ? -EIO : -errno;
    }
    writer->start = 0;
    writer->used = 0;
    return writer->error;
}

void writer_push(struct writer *writer)
{
    while (!writer->error && writer_pending(writer)) {
        ssize_t sent = send(writer->fd, writer->data + writer->start, writer->used - writer->start,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            writer->start += (size_t)sent;
        else if (sent < 0 && errno == EAGAIN)
            return;
        else if (sent == 0 || errno != EINTR)
            writer->error = sent == 0 ? -EIO : -errno;
    }
    writer->start = 0;
    writer->used = 0;
}

bool writer_pending(const struct writer *writer)
{
    return writer->start < writer->used;
}

static char *reserve(struct writer *writer, size_t length)
{
    if (WRITER_SIZE - writer->used < length)
        writer_flush(writer);
    char *space = writer->data + writer->used;
    writer->used += length;
    return space;
}

void writer_bytes(struct writer *writer, const void *data, size_t length)
{
    const char *at = data;
    while (length > 0 && !writer->error) {
        size_t part = length < 4096 ? length : 4096;
        memcpy(reserve(writer, part), at, part);
        at += part;
        length -= part;
    }
}

void writer_text(struct writer *writer, const char *text)
{
    writer_bytes(writer, text, strlen(text));
}

void writer_format(struct writer *writer, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0)
        writer_bytes(writer, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

static void escape_ascii(struct writer *writer, unsigned char c)
{
    static const char names[] = "btn\0fr"; /* of 8 to 13; 11 has none */
    if (c == '"' || c == '\\')
        memcpy(reserve(writer, 2), (char[2]){'\\', (char)c}, 2);
    else if (c >= 8 && c <= 13 && c != 11)
        memcpy(reserve(writer, 2), (char[2]){'\\', names[c - 8]}, 2);
    else
        writer_format(writer, "\\u%04x", c);
}

size_t writer_escape(struct writer *writer, const void *data, size_t length, bool last)
{
    const unsigned char *text = data;
    size_t at = 0;
    while (at < length && !writer->error) {
        size_t plain = at;
        while (plain < length && plain - at < 4096 && text[plain] >= 0x20 && text[plain] < 0x80 &&
               text[plain] != '"' && text[plain] != '\\')
            plain++;
        if (plain > at) {
            writer_bytes(writer, text + at, plain - at);
            at = plain;
            continue;
        }
        if (text[at] < 0x80) {
            escape_ascii(writer, text[at++]);
            continue;
        }
        int sequence = utf8_sequence(text + at, length - at);
        if (sequence == 0 && !last)
            return at;
        if (sequence > 0) {
            writer_bytes(writer, text + at, (size_t)sequence);
            at += (size_t)sequence;
        } else {
            writer_bytes(writer, "\xef\xbf\xbd", 3);
            at = sequence == 0 ? length : at + (size_t)-sequence;
        }
    }
    return length;
}

void writer_string(struct writer *writer, const void *data, size_t length)
{
    writer_bytes(writer, "\"", 1);
    writer_escape(writer, data, length, true);
    writer_bytes(writer, "\"", 1);
}

void writer_base64(struct writer *writer, const void *data, size_t length)
{
    const unsigned char *at = data;
    while (length > 0 && !writer->error) {
        size_t part = length < 3072 ? length : 3072;
        base64_encode(at, part, reserve(writer, BASE64_ENCODED_SIZE(part)));
        at += part;
        length -= part;
    }
}
