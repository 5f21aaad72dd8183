/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The warm interpreter: a Python process, started before the snapshot, in which every eval runs. One eval at
 * a time; an interpreter that dies is started again, with its warm-up.
 */
#ifndef FORKD_GUEST_WARM_H
#define FORKD_GUEST_WARM_H

#include "request.h"
#include "reseed.h"
#include "spawn.h"
#include "turn.h"
#include "writer.h"

#include <pthread.h>

struct warm {
    const struct image *image; /* see spawn.h */
    const char *python;        /* NULL: the image has none */
    const char *code;          /* run once in each new interpreter; NULL: none */

    struct turn turn; /* taken during an eval */
    int channel;      /* frames; -1: no interpreter runs */

    pthread_mutex_t life; /* held while the process appears, disappears or is signalled */
    char numpy_version[64];
    struct child child;
    struct reseed reseed;
};

/*
 * Chooses python3 or python of the image's PATH, else the first of the `pythons` (NULL-terminated paths) that
 * exists.
 */
void warm_init(struct warm *warm, const struct image *image, const char *const *pythons, const char *code);

/*
 * Starts the interpreter and waits for its warm-up. Having none is no error, unless there is `code` to run.
 * Returns 0 or a negative errno; if the interpreter itself runs, it serves all the same.
 */
int warm_start(struct warm *warm, struct forkd_error *err);

/*
 * Writes the reply line; it may not be flushed. When its time is over, or its client goes away, the
 * interpreter is interrupted (KeyboardInterrupt), and only if that does not help killed and started again.
 */
void warm_eval(struct warm *warm, const struct request *request, struct writer *writer);

/* Starts the interpreter again if it has died: after the reply, so that nobody waits for it. */
void warm_revive(struct warm *warm);

void warm_numpy_version(struct warm *warm, char *out, size_t size);

/*
 * Makes Python's own generators differ from those of the VM's twins, even in the middle of an eval, and in
 * the processes that the interpreter forked (reseed.h): begin asks for it, finish waits. Both do nothing
 * without an interpreter. begin takes a lock that finish releases.
 */
void warm_reseed_begin(struct warm *warm);
int warm_reseed_finish(struct warm *warm); /* 0 or a negative errno */

#endif
