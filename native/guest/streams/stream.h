/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to the port of streams, and what all operations answer with. */
#ifndef FORKD_GUEST_STREAM_H
#define FORKD_GUEST_STREAM_H

#include "base/error.h"
#include "image.h"
#include "streams/order.h"
#include "writer.h"

#include <stddef.h>

#define STREAMS_MAX 192

struct stream {
    int fd;                    /* blocking; -1: somebody else has it now, who calls stream_close */
    const struct image *image; /* of the user that is asked for; NULL: programs run as the agent does */
    struct order order;
    struct writer *writer;
    const char *rest; /* came with the opening line: frames */
    size_t rest_length;
};

/* Serves a connection to its end, and what it leaves behind. `image` as above. */
void stream_serve(const struct image *image, int fd);

/* Closes what stream_serve was given. */
void stream_close(int fd);

/* The only line, or the last frame, of a stream that fails. `err` is what happened. */
void stream_refuse(struct writer *writer, const struct forkd_error *err);
void stream_fail(struct writer *writer, const struct forkd_error *err);

/* {} as the answer, or as the end. */
void stream_accept(struct writer *writer);
void stream_end(struct writer *writer);

/* An error of a system call, that is about a path. Returns the negative errno. */
int stream_error(struct forkd_error *err, int code, const char *operation, const char *object);

#endif
