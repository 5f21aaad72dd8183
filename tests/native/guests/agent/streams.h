/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's streams (docs/guest-protocol.md), of the machine's own files, programs and ports:
 *
 *   run               commands.c; `hostile KIND` does what hostile.c has under that name
 *   files             files.c; /pattern is a file of 1 GiB, whatever is written to /sink is thrown away
 *   connect           7 echoes, 80 is a web server, 81 resets what talks to it
 *   move, watch       there are none (ENOSYS)
 */
#ifndef FORKD_TESTS_GUESTS_AGENT_STREAMS_H
#define FORKD_TESTS_GUESTS_AGENT_STREAMS_H

#include "vsock.h"

/* Something happened to it; it is about to be forgotten. */
void stream_changed(struct vsock_connection *c);
void stream_closed(struct vsock_connection *c);
/* All of them go on, and the processes that they listen to; *deadline becomes earlier when one waits for a
 * time. */
void streams_step(uint64_t *deadline, bool *output_matters);

#endif
