/* SPDX-License-Identifier: Apache-2.0 */
/* Messages with descriptors over SOCK_SEQPACKET sockets: how the library and the processes talk. */
#ifndef FORKD_BASE_CHANNEL_H
#define FORKD_BASE_CHANNEL_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CHANNEL_MAX_FDS 250 /* the kernel takes 253, SCM_MAX_FD */

/* A connected pair, close-on-exec. */
int channel_pair(int out[2], struct forkd_error *err);
/* A listening socket at a new path, which nobody but its owner may connect to. -EADDRINUSE the path exists.
 */
int channel_listen(const char *path, struct forkd_error *err);
/*
 * The other side may be stopped, or never read: so each call says how long it waits at most, in milliseconds;
 * CHANNEL_NOW: not at all, CHANNEL_FOREVER, to receive: without limit. After that it is -ETIMEDOUT (-EAGAIN
 * with CHANNEL_NOW).
 */
#define CHANNEL_NOW 0
#define CHANNEL_FOREVER (-1)
int channel_connect(const char *path, int timeout_ms, struct forkd_error *err);
/* Send one message; the descriptors stay the caller's. -EPIPE when the other side is gone. */
int channel_send(int channel, int timeout_ms, const void *message, size_t length, const int *fds,
                 uint32_t fd_count, struct forkd_error *err);
/*
 * Receive one message of exactly `length` bytes or fewer; *received says how many. Descriptors that came
 * along are the caller's (close-on-exec); those beyond *fd_count's capacity make the message a fault. 1: a
 * message; 0: the other side is gone; negative errno otherwise.
 */
int channel_receive(int channel, int timeout_ms, void *message, size_t length, size_t *received, int *fds,
                    uint32_t *fd_count, struct forkd_error *err);

/* From here on each message that is sent to this end says who sent it, as the kernel has it: to be asked for
 * before the other end is handed over. channel_connect has it asked for. */
int channel_ask_sender(int channel, struct forkd_error *err);
/* The same, with the process that sent it; 0 where that was not asked for, or is not to be seen here. */
int channel_receive_from(int channel, int timeout_ms, void *message, size_t length, size_t *received,
                         int *fds, uint32_t *fd_count, pid_t *sender, struct forkd_error *err);

#endif
