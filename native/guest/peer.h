/* SPDX-License-Identifier: Apache-2.0 */
/* Whether whoever asked still waits for the answer. */
#ifndef FORKD_GUEST_PEER_H
#define FORKD_GUEST_PEER_H

#include <stdbool.h>

/* How often a quiet connection is looked at. */
#define PEER_PROBE_MS 1000

/* Before the first question. */
void peer_watch(int fd);

/* `events` are what poll(2) reported for it; 0: nothing. */
bool peer_is_gone(int fd, short events);

/* Closes it when the peer has had all that was sent: when it closes, or after a while. */
void peer_finish(int fd);

#endif
