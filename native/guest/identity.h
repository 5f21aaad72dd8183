/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a forked VM another one than its siblings. This is on the way of every fork: no program is started,
 * what can be opened before is open, and nothing is allocated.
 *
 * Programs in the guest see a fork by watching the folder /run/forkd for IN_MOVED_TO: the file `generation`
 * (a decimal number and a newline) is replaced by rename(2) when the VM's other identity is in place.
 */
#ifndef FORKD_GUEST_IDENTITY_H
#define FORKD_GUEST_IDENTITY_H

#include "base/error.h"
#include "protocol.h"
#include "warm.h"

struct identity_target {
    const char *root; /* "" in a guest: what the paths below begin with */
    int random;       /* /dev/random, open for writing, or a negative errno */
    struct warm *warm;
};

/* 0, or a negative errno: what came is no identity. */
int identity_check(const struct guest_identity *identity, struct forkd_error *err);

/* The files: /etc/hostname, /etc/machine-id, /etc/hosts, /run/forkd/generation. Having no /etc is no error.
 */
void identity_write_files(const char *root, const struct guest_identity *identity);

/*
 * The identity of a VM that was booted: generation 0, the hostname as it is, the machine-id of the image or,
 * where that is empty, a new one. What is written here once is in the caches of every fork.
 */
void identity_begin(const char *root);

/* Applies all of a checked identity, also when a step fails: 0, or the negative errno of the first that did.
 */
int identity_apply(const struct identity_target *target, const struct guest_identity *identity,
                   struct forkd_error *err);

/* Serves one connection after the other, for ever. Only the host is listened to. */
_Noreturn void identity_serve(const struct identity_target *target, int listener);

#endif
