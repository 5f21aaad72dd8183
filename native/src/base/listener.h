/* SPDX-License-Identifier: Apache-2.0 */
/* Listening Unix sockets, and the names that they have in the file system: nobody removes another's. */
#ifndef FORKD_BASE_LISTENER_H
#define FORKD_BASE_LISTENER_H

#include "base/error.h"

#include <stdint.h>

/*
 * Bind and listen at a new path: 0, or -EADDRINUSE when something is there, which stays. `type`: SOCK_STREAM
 * or SOCK_SEQPACKET, with flags; `mode` of the path, which is never open to more, or 0: by the umask. Returns
 * the descriptor.
 */
int listener_open(const char *path, int type, uint32_t mode, struct forkd_error *err);

/*
 * Take one connection, close-on-exec: its descriptor, or a negative errno. Where descriptors have run out
 * (-EMFILE, -ENFILE) it is closed, so that a loop which is told of it is not told for ever; standard input,
 * which must be /dev/null as standard output is, lends its number for that.
 */
int listener_accept(int listener);

/* Remove the path of a listener that is open here, unless something else has it by now. Connections that
 * nobody has taken yet are closed. */
void listener_unlink(int listener);
/* The same where paths do not lead there: `directory`, which becomes the working directory, is the one that
 * the listener has its name in. */
void listener_unlink_in(int listener, int directory);

/* What was at a path before a process was asked to make its socket there. */
struct listener_before {
    uint64_t device;
    uint64_t inode; /* 0: nothing */
    int64_t changed_ns;
};

void listener_note(const char *path, struct listener_before *out);

/*
 * Remove the socket that a process, which is gone, may have left at `path` ("": none): one that nobody
 * listens at, and that was not there before. Never anything else: a process that came to its end by itself
 * has removed its own, and one that was killed early has made none.
 */
void listener_remove_left(const char *path, const struct listener_before *before);

#endif
