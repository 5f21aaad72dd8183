/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program has written to its two outputs, in the order in which it was read: the last MiB. One writes
 * to it, any number read, each at a cursor of its own; who writes sees to it that nothing is overwritten that
 * somebody still needs (log_room).
 */
#ifndef FORKD_GUEST_LOG_H
#define FORKD_GUEST_LOG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define LOG_SIZE ((size_t)1 << 20)

enum { LOG_OUT = 0, LOG_ERR = 1, LOG_OUTPUTS = 2 };

struct log_cursor {
    uint64_t byte;    /* of both outputs together, since the start of the program */
    uint64_t segment; /* a stretch of one output */
    size_t within;    /* that segment */
    uint64_t offset[LOG_OUTPUTS];
};

struct log {
    unsigned char *data;
    uint32_t *segments; /* length and output of each, in a ring */
    struct log_cursor oldest;
    struct log_cursor end;
};

int log_init(struct log *log); /* 0 or -ENOMEM */
void log_free(struct log *log);

/* How many bytes may be added when nothing from `keep` on may be lost; NULL: all may. */
size_t log_room(const struct log *log, const struct log_cursor *keep);

/* Where the next `length` bytes go (at most log_room): one or two pieces. Then say what has come. */
int log_space(const struct log *log, size_t length, struct iovec out[2]);
void log_add(struct log *log, int output, size_t length);

/*
 * What comes next at `cursor`, at most `most` bytes of one output, leaving out what is before `from`: the
 * length, 0 when there is nothing; one or two pieces and which output. Then say how much of it was used.
 */
size_t log_next(const struct log *log, struct log_cursor *cursor, const uint64_t from[LOG_OUTPUTS],
                size_t most, int *output);
int log_pieces(const struct log *log, const struct log_cursor *cursor, size_t length, struct iovec out[2]);
void log_used(const struct log *log, struct log_cursor *cursor, size_t length);

#endif
