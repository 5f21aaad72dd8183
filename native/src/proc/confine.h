/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keeps a process that a guest has taken over from everything else on the host: docs/isolation.md. It is
 * done once, before the first message, and inherited: a child pays nothing for it. Nothing turns it off.
 */
#ifndef FORKD_PROC_CONFINE_H
#define FORKD_PROC_CONFINE_H

#include "base/error.h"

#include <stdbool.h>

#define CONFINE_WHY_SIZE 160

/* A layer that not every host has. The others are there, or the process is not. */
struct confine_layer {
    bool in_force;
    char why[CONFINE_WHY_SIZE]; /* not: what the host said */
};

struct confinement {
    struct confine_layer namespaces; /* own mounts, network, IPC, host name; user, unless it is root */
    struct confine_layer empty_root; /* no path leads anywhere */
    struct confine_layer landlock;   /* nor does a folder that it holds */
    struct confine_layer own_user;   /* each sandbox is a user that is nobody else */
};

/*
 * Start the broker and confine this process, which must have one thread; afterwards it asks the broker.
 * `on_violation` as in filter_install. Where it fails the process must end: nothing of a guest's may reach
 * it.
 */
int confine(struct confinement *out, void (*on_violation)(const struct forkd_error *),
            struct forkd_error *err);

/* A sandbox's process, at its beginning: its siblings are other users', if there is a way to that. */
int confine_to_own_user(struct forkd_error *err);

#endif
