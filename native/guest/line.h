/* SPDX-License-Identifier: Apache-2.0 */
/* Lines from a descriptor, bounded in length. */
#ifndef FORKD_GUEST_LINE_H
#define FORKD_GUEST_LINE_H

#include <stdbool.h>
#include <stddef.h>

/* Of the line-JSON protocol, and of the warm-up program. */
#define LINE_MAX_LENGTH ((size_t)64 << 20)

struct line {
    int fd;
    size_t limit; /* the longest line that is allowed */
    char *data;   /* the line: NUL-terminated, without its newline */
    size_t length;
    bool ended; /* by a newline, and not by the end of input */
    /* private */
    size_t used;
    size_t capacity;
    size_t next;     /* where what follows the line begins */
    size_t searched; /* what has no newline */
};

void line_init(struct line *line, int fd, size_t limit);
void line_free(struct line *line);

/*
 * The next line, valid until the next call. The end of input ends a line as well. Returns 1, 0 at the end of
 * input with nothing left, or a negative errno: -EMSGSIZE for a line that is too long; -EAGAIN from a
 * descriptor that does not block, after which the next call goes on.
 */
int line_read(struct line *line);

/* What was read beyond the line. */
const char *line_rest(const struct line *line, size_t *length);

#endif
