/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest should not say. */
#ifndef FORKD_TESTS_GUESTS_AGENT_HOSTILE_H
#define FORKD_TESTS_GUESTS_AGENT_HOSTILE_H

#include "vsock.h"

/* Whether a stream goes on after what was said: */
enum hostile { HOSTILE_NONE, HOSTILE_CLOSES, HOSTILE_STALLS, HOSTILE_FLOODS, HOSTILE_LISTS };

bool hostile_is(const char *kind);
/* Say it; HOSTILE_NONE: there is nothing of that name. */
enum hostile hostile_say(struct vsock_connection *c, const char *kind);
/* Some of a list that has no end. */
void hostile_list(struct vsock_connection *c);

#endif
