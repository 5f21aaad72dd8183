/* SPDX-License-Identifier: Apache-2.0 */
/* The frames of docs/guest-protocol.md. */
#ifndef FORKD_GUEST_FRAME_H
#define FORKD_GUEST_FRAME_H

#include "writer.h"

#include <stdbool.h>
#include <stddef.h>

#define FRAME_HEADER 8
#define FRAME_MAX 65536

enum frame_type {
    FRAME_IN = 1,
    FRAME_OUT = 2,
    FRAME_ERR = 3,
    FRAME_EVENT = 4,
    FRAME_END = 5,
};

void frame_header(unsigned char out[FRAME_HEADER], enum frame_type type, size_t length);

/*
 * A frame whose payload is written by a struct writer in between, and is at most `bound` bytes (FRAME_MAX at
 * most). Frames are gathered until writer_flush.
 */
size_t frame_begin(struct writer *writer, enum frame_type type, size_t bound);
void frame_finish(struct writer *writer, size_t begun);

/* The IN frames of a host. */
struct inbox {
    int fd;
    bool over; /* the host has said that there is no more */
    /* private */
    unsigned char *data; /* NULL until something has come */
    size_t start;
    size_t used;
    size_t capacity;
    size_t left; /* of the payload of a frame that has begun */
};

/* `rest` has come already, and is copied. 0 or -ENOMEM. */
int inbox_init(struct inbox *inbox, int fd, const void *rest, size_t length);
void inbox_free(struct inbox *inbox);

enum { INBOX_EMPTY = 0, INBOX_PIECE = 1, INBOX_OVER = 2 };

/*
 * What comes next of all payloads together: INBOX_PIECE, valid until the next inbox_fill; INBOX_OVER, once;
 * INBOX_EMPTY when more has to be received first; or -EPROTO.
 */
int inbox_take(struct inbox *inbox, const unsigned char **data, size_t *length);

/* After INBOX_EMPTY, with flags of recv(2): 1; 0 when the host has closed the connection; or a negative
 * errno. */
int inbox_fill(struct inbox *inbox, int flags);

#endif
