/* SPDX-License-Identifier: Apache-2.0 */
/* Starts a program in a session of its own, and gets rid of it with all its descendants. */
#ifndef FORKD_GUEST_SPAWN_H
#define FORKD_GUEST_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

struct spawn_options {
    char *const *argv;        /* argv[0] is looked for in PATH (of `environment`, else ours) */
    char *const *environment; /* added to ours, replacing names; NULL: nothing */
    const char *cwd;          /* NULL: ours */
    int stdio[3];             /* each above 2 */
    int keep[2];              /* stay open in the program under the same number; -1: none */
    int blocked_signal;       /* 0, or one signal that starts blocked */
};

struct child {
    pid_t pid; /* also its process group; 0: none */
    int pidfd; /* readable when it has ended */
};

/*
 * Returns 0 once the program runs, or a negative errno. *out_of_cwd (may be NULL) then tells whether the
 * folder, not the program, was the reason.
 */
int spawn(const struct spawn_options *options, struct child *out, int *out_of_cwd);

/* The process group gets SIGKILL. Safe until child_reap: the zombie keeps its number taken. */
void child_kill(const struct child *child);

/* Waits for the end. Returns the exit status, or minus the number of the signal. */
int child_reap(struct child *child);

/* In Python's words: "FileNotFoundError: [Errno 2] No such file or directory: 'name'". */
void spawn_error_text(int error, const char *name, char *out, size_t size);

#endif
