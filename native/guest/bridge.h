/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The warm-up command of a recipe: a process of any language that says {"ready":true} on its first line of
 * output and, when it serves evals, answers each line {"id":"N","code":"..."} with {"id":..,"result":..} or
 * {"id":..,"error":"..","stack":".."}.
 */
#ifndef FORKD_GUEST_BRIDGE_H
#define FORKD_GUEST_BRIDGE_H

#include "line.h"
#include "request.h"
#include "spawn.h"
#include "turn.h"
#include "writer.h"

#include <stdbool.h>

struct bridge {
    const struct image *image; /* see spawn.h */
    bool ready;
    struct child child;
    struct turn turn;
    struct writer *input;
    struct line output;
    int messages; /* its stderr */
    unsigned long requests;
    unsigned long unanswered; /* whose answers are to come, and are nobody's */
};

/* Before bridge_start: a bridge without a command answers "warmup not ready". */
void bridge_init(struct bridge *bridge, const struct image *image);

/*
 * Starts the command and waits for its first line. `evals` tells whether it will be asked anything; if not,
 * what it prints later goes to the console. Returns 0, or a negative errno when it is not ready.
 */
int bridge_start(struct bridge *bridge, const char *command, bool evals, struct forkd_error *err);

/*
 * Writes the reply line; it may not be flushed. When its time is over, or its client goes away, the command
 * is not interrupted: no signal means that in every language. Its answer is awaited by the next eval, within
 * the time of that, and thrown away.
 */
void bridge_eval(struct bridge *bridge, const struct request *request, struct writer *writer);

#endif
