/* SPDX-License-Identifier: Apache-2.0 */
/* Starts a program in a session of its own, and gets rid of it with all its descendants. */
#ifndef FORKD_GUEST_SPAWN_H
#define FORKD_GUEST_SPAWN_H

#include "image.h"

#include <stddef.h>
#include <sys/types.h>

struct spawn_options {
    const struct image *image; /* whose environment is added to ours, whose folder and user; NULL: ours */
    char *const *argv;         /* argv[0] is looked for in PATH of the whole environment */
    char *const *environment;  /* added to that, replacing names; NULL: nothing */
    const char *cwd;           /* instead of the image's; NULL: none */
    int stdio[3];              /* each above 2 */
    int keep[2];               /* stay open in the program under the same number; -1: none */
    int blocked_signal;        /* 0, or one signal that starts blocked */
};

struct child {
    pid_t pid; /* also its process group; 0: none */
    int pidfd; /* readable when it has ended */
};

/*
 * Returns 0 once the program runs, or a negative errno. *culprit is then the name of what it is about: of
 * the program, unless the folder or the user was the reason.
 */
int spawn(const struct spawn_options *options, struct child *out, const char **culprit);

/* The process group gets SIGKILL. Safe until child_reap: the zombie keeps its number taken. */
void child_kill(const struct child *child);

/* Waits for the end. Returns the exit status, or minus the number of the signal. */
int child_reap(struct child *child);

/* In Python's words: "FileNotFoundError: [Errno 2] No such file or directory: 'name'". */
void spawn_error_text(int error, const char *name, char *out, size_t size);

#endif
