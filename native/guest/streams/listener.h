/* SPDX-License-Identifier: Apache-2.0 */
/* Whoever is attached to a program: gets what its log has, and the end. */
#ifndef FORKD_GUEST_LISTENER_H
#define FORKD_GUEST_LISTENER_H

#include "streams/frame.h"
#include "streams/log.h"

#include <stdbool.h>
#include <stdint.h>

/* What a program has to say. */
struct source {
    const struct log *log;
    bool closed[LOG_OUTPUTS]; /* nothing will be added of that output */
    bool terminal;            /* there is no ERR */
    char end[64];             /* the payload of END; empty: not yet */
};

enum listener_state {
    LISTENER_LIVE,
    LISTENER_TOLD,   /* it has been sent the end, and has not closed yet */
    LISTENER_HAD,    /* it has, and closed */
    LISTENER_BROKEN, /* it is gone, or broke the protocol */
};

struct listener {
    struct listener *next;
    enum listener_state state;
    int fd;
    bool output;                /* false: it only sends, */
    bool over;                  /* and there is no more of that */
    uint64_t from[LOG_OUTPUTS]; /* where its output begins */
    struct log_cursor at;
    bool blocked;                /* more can be sent when it takes more */
    const unsigned char *unsent; /* input that the program has not taken */
    size_t unsent_length;
    unsigned char end_of_file;
    int64_t deadline; /* of the state */
    struct inbox inbox;
    /* private */
    char small[512]; /* headers, frames without payload, and the answer to attach */
    size_t small_start;
    size_t small_used;
    size_t payload; /* of the log, at the cursor, that the last header has announced */
    bool closed[LOG_OUTPUTS];
    bool ending; /* END is in `small` */
};

/* `rest` came with its opening line. NULL: no memory. */
struct listener *listener_new(int fd, const void *rest, size_t length);
void listener_free(struct listener *listener); /* the connection too */

/* Says something before all else. */
void listener_say(struct listener *listener, const char *text);

/* Sends as much as it takes without waiting. */
void listener_push(struct listener *listener, const struct source *source);

/* It has been told the end, and something has come: the close, or what nobody wants. */
void listener_hear_close(struct listener *listener);

#endif
