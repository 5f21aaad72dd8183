/* SPDX-License-Identifier: Apache-2.0 */
/* Starts a program in a session of its own, and gets rid of it with all its descendants. */
#ifndef FORKD_GUEST_SPAWN_H
#define FORKD_GUEST_SPAWN_H

#include "base/error.h"
#include "image.h"

#include <stdbool.h>
#include <sys/types.h>

struct spawn_options {
    const struct image *image; /* whose environment is added to ours, whose folder and user; NULL: ours */
    char *const *argv;         /* argv[0] is looked for in PATH of the whole environment */
    char *const *environment;  /* added to that, replacing names; NULL: nothing */
    const char *cwd;           /* instead of the image's; NULL: none */
    int stdio[3];              /* each above 2 */
    int keep[2];               /* stay open in the program under the same number; -1: none */
    int blocked_signal;        /* 0, or one signal that starts blocked */
    bool terminal;             /* stdio[0] is one, which its session is to have as its own */
};

struct child {
    pid_t pid; /* also its process group; 0: none */
    int pidfd; /* readable when it has ended */
};

/* The operation of an error whose object is the program, and not its folder or user. */
#define SPAWN_PROGRAM "execute"

/* Returns 0 once the program runs, or a negative errno, with a sentence as spawn_error makes it. */
int spawn(const struct spawn_options *options, struct child *out, struct forkd_error *err);

/* An error in Python's words: "FileNotFoundError: [Errno 2] No such file or directory: 'object'". */
int spawn_error(struct forkd_error *err, int code, const char *operation, const char *object);

/* The process group gets SIGKILL. Safe until child_reap: the zombie keeps its number taken. */
void child_kill(const struct child *child);

/* Waits for the end. Returns the exit status, or minus the number of the signal. */
int child_reap(struct child *child);

#endif
