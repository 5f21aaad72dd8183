/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/log.h"

#include <errno.h>
#include <sys/mman.h>

/* A program that writes to both outputs by turns uses one each time. */
#define SEGMENTS ((size_t)16384)

#define MAPPING (LOG_SIZE + SEGMENTS * sizeof(uint32_t))

static uint32_t *segment_at(const struct log *log, uint64_t segment)
{
    return &log->segments[segment % SEGMENTS];
}

static size_t length_of(uint32_t segment)
{
    return segment >> 1;
}

static int output_of(uint32_t segment)
{
    return (int)(segment & 1);
}

int log_init(struct log *log)
{
    *log = (struct log){0};
    unsigned char *data =
        mmap(NULL, MAPPING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        return -ENOMEM;
    /* A program that is started meanwhile has no use for it, and fork(2) would have to copy its tables. */
    madvise(data, MAPPING, MADV_DONTFORK);
    log->data = data;
    log->segments = (uint32_t *)(data + LOG_SIZE);
    return 0;
}

void log_free(struct log *log)
{
    if (log->data)
        munmap(log->data, MAPPING);
    log->data = NULL;
}

size_t log_room(const struct log *log, const struct log_cursor *keep)
{
    if (!keep)
        return LOG_SIZE;
    /* The segment at the end may grow; what is added may need one more. */
    if (log->end.segment - keep->segment >= SEGMENTS - 1)
        return 0;
    return LOG_SIZE - (size_t)(log->end.byte - keep->byte);
}

static int pieces(const struct log *log, uint64_t byte, size_t length, struct iovec out[2])
{
    size_t start = (size_t)(byte % LOG_SIZE);
    size_t first = length < LOG_SIZE - start ? length : LOG_SIZE - start;
    out[0] = (struct iovec){log->data + start, first};
    out[1] = (struct iovec){log->data, length - first};
    return length > first ? 2 : 1;
}

int log_space(const struct log *log, size_t length, struct iovec out[2])
{
    return pieces(log, log->end.byte, length, out);
}

/* Goes on by `length` bytes of the segment that the cursor is in. */
static void advance(struct log_cursor *cursor, int output, size_t length)
{
    cursor->byte += length;
    cursor->within += length;
    cursor->offset[output] += length;
}

/* A cursor at the end of a segment goes to the next, when there is one. How much is left of its segment. */
static size_t settle(const struct log *log, struct log_cursor *cursor)
{
    if (cursor->byte == log->end.byte)
        return 0;
    size_t length = length_of(*segment_at(log, cursor->segment));
    if (cursor->within < length)
        return length - cursor->within;
    cursor->segment++;
    cursor->within = 0;
    return length_of(*segment_at(log, cursor->segment));
}

static void forget(struct log *log, size_t most)
{
    size_t left = settle(log, &log->oldest);
    advance(&log->oldest, output_of(*segment_at(log, log->oldest.segment)), left < most ? left : most);
}

/* `end` is at the end of the newest segment, which is empty in a new log only. */
void log_add(struct log *log, int output, size_t length)
{
    int newest = output_of(*segment_at(log, log->end.segment));
    if (log->end.within > 0 && (newest != output || log->end.within + length > LOG_SIZE)) {
        /* Before its place is used again. */
        while (log->end.segment + 1 - log->oldest.segment >= SEGMENTS)
            forget(log, LOG_SIZE);
        log->end.segment++;
        log->end.within = 0;
    }
    advance(&log->end, output, length);
    *segment_at(log, log->end.segment) = (uint32_t)(log->end.within << 1 | (size_t)output);
    while (log->end.byte - log->oldest.byte > LOG_SIZE)
        forget(log, (size_t)(log->end.byte - log->oldest.byte - LOG_SIZE));
}

size_t log_next(const struct log *log, struct log_cursor *cursor, const uint64_t from[LOG_OUTPUTS],
                size_t most, int *output)
{
    for (;;) {
        size_t left = settle(log, cursor);
        if (left == 0)
            return 0;
        *output = output_of(*segment_at(log, cursor->segment));
        uint64_t offset = cursor->offset[*output];
        if (offset >= from[*output])
            return left < most ? left : most;
        uint64_t skipped = from[*output] - offset;
        advance(cursor, *output, skipped < left ? (size_t)skipped : left);
    }
}

int log_pieces(const struct log *log, const struct log_cursor *cursor, size_t length, struct iovec out[2])
{
    return pieces(log, cursor->byte, length, out);
}

void log_used(const struct log *log, struct log_cursor *cursor, size_t length)
{
    advance(cursor, output_of(*segment_at(log, cursor->segment)), length);
}
