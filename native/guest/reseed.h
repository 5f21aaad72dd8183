/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the generators of the warm interpreter, and of the processes that were forked from it, differ from
 * those of the VM's twins. Each of them has the handler of a signal, and the writing end of a pipe under one
 * number, both from the interpreter (warm.py); neither outlives exec(3), so that whoever has both is meant,
 * and nobody else is ever signalled. A process answers with RESEED_RECORD bytes: its pid (little-endian), and
 * + or -.
 */
#ifndef FORKD_GUEST_RESEED_H
#define FORKD_GUEST_RESEED_H

#include "spawn.h"

#define RESEED_SIGNAL 40 /* also in warm.py */

struct reseed {
    int answers;   /* the reading end; -1: none */
    int number;    /* of the writing end, in those processes */
    char pipe[40]; /* what its link in /proc says */
};

/* Makes the pipe; returns the writing end, or a negative errno. */
int reseed_open(struct reseed *reseed);
void reseed_close(struct reseed *reseed);

/* Signals the interpreter. */
void reseed_begin(const struct reseed *reseed, const struct child *interpreter);

/*
 * Waits for its answer, which it owes: 0 or a negative errno. Then does the same for all others, until there
 * are none that were not asked; the console says which did not answer in time, or cannot be asked.
 */
int reseed_finish(const struct reseed *reseed, const struct child *interpreter);

#endif
