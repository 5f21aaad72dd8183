/* SPDX-License-Identifier: Apache-2.0 */
#include "line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void line_init(struct line *line, int fd, size_t limit)
{
    *line = (struct line){.fd = fd, .limit = limit};
}

void line_free(struct line *line)
{
    free(line->data);
    line->data = NULL;
}

static int grow(struct line *line)
{
    /* Two bytes beyond the limit: one tells that a line is too long, one is for the NUL. */
    if (line->capacity == line->limit + 2)
        return -EMSGSIZE;
    size_t capacity = line->capacity ? line->capacity * 2 : 4096;
    if (capacity > line->limit + 2)
        capacity = line->limit + 2;
    char *data = realloc(line->data, capacity);
    if (!data)
        return -ENOMEM;
    line->data = data;
    line->capacity = capacity;
    return 0;
}

static int finish(struct line *line, size_t length, size_t next)
{
    line->data[length] = '\0';
    line->length = length;
    line->ended = next > length;
    line->next = next;
    return 1;
}

int line_read(struct line *line)
{
    if (line->next > 0) {
        line->used -= line->next;
        memmove(line->data, line->data + line->next, line->used);
        line->next = 0;
        line->searched = 0;
    }
    for (;;) {
        size_t searched = line->searched;
        char *newline =
            line->used > searched ? memchr(line->data + searched, '\n', line->used - searched) : NULL;
        if (newline) {
            size_t length = (size_t)(newline - line->data);
            return finish(line, length, length + 1);
        }
        line->searched = line->used;
        if (line->used + 1 >= line->capacity) {
            int status = grow(line);
            if (status < 0)
                return status;
        }
        ssize_t got = read(line->fd, line->data + line->used, line->capacity - 1 - line->used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return line->used > 0 ? finish(line, line->used, line->used) : 0;
        line->used += (size_t)got;
    }
}

const char *line_rest(const struct line *line, size_t *length)
{
    *length = line->used - line->next;
    return line->data + line->next;
}
