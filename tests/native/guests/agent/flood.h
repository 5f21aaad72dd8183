/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that takes what it gets: it writes as fast as it can to its console, its first disk, its network
 * and its memory, all of each again and again. */
#ifndef FORKD_TESTS_GUESTS_AGENT_FLOOD_H
#define FORKD_TESTS_GUESTS_AGENT_FLOOD_H

#include "agent.h"

/* `mac`: the gateway's, in hexadecimal digits and colons. False when there is no disk or no network. */
bool flood_start(const char *mac);
/* As much as the devices take without waiting. */
void flood_round(void);
/* How much that was by now: bytes of the console, KiB of the disk and requests to it that failed, frames, KiB
 * of memory. */
void flood_report(struct job *job);

#endif
