/* SPDX-License-Identifier: Apache-2.0 */
#include "mkfs/stream.h"

#include "base/bytes.h"
#include "mkfs/fail.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int source;
static unsigned char buffer[1u << 20];
static size_t first;
static size_t end;

void stream_open(int fd)
{
    source = fd;
    first = end = 0;
}

static void fill(void)
{
    ssize_t got;
    do {
        got = read(source, buffer, sizeof buffer);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        fail("cannot read what to build: %s", strerror(errno));
    if (got == 0)
        fail("the description of the file system ended early");
    first = 0;
    end = (size_t)got;
}

const void *stream_view(size_t most, size_t *length)
{
    if (first == end)
        fill();
    *length = end - first < most ? end - first : most;
    return buffer + first;
}

void stream_skip(size_t length)
{
    first += length;
}

void stream_bytes(void *out, size_t length)
{
    for (size_t done = 0; done < length;) {
        size_t part;
        const void *from = stream_view(length - done, &part);
        memcpy((char *)out + done, from, part);
        stream_skip(part);
        done += part;
    }
}

uint8_t stream_u8(void)
{
    uint8_t value;
    stream_bytes(&value, sizeof value);
    return value;
}

uint16_t stream_u16(void)
{
    unsigned char raw[2];
    stream_bytes(raw, sizeof raw);
    return (uint16_t)bytes_load(raw, sizeof raw);
}

uint32_t stream_u32(void)
{
    unsigned char raw[4];
    stream_bytes(raw, sizeof raw);
    return (uint32_t)bytes_load(raw, sizeof raw);
}

uint64_t stream_u64(void)
{
    unsigned char raw[8];
    stream_bytes(raw, sizeof raw);
    return bytes_load(raw, sizeof raw);
}

size_t stream_text(char *out)
{
    size_t length = stream_u32();
    if (length > STREAM_TEXT_MAX)
        fail("a text of %zu bytes is too long", length);
    stream_bytes(out, length);
    out[length] = '\0';
    return length;
}
