/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running VM's own pages, copied to a file in memory: what a branch takes in place of fork(2)'s page
 * tables, where those are many. The guest stands still only for what it wrote to last.
 *
 * On the loop's thread, with the VM's lock, which precopy_step gives back for the time of copying.
 */
#ifndef FORKD_PROC_PRECOPY_H
#define FORKD_PROC_PRECOPY_H

#include "machine/machine.h"

#include <stdbool.h>
#include <stdint.h>

struct precopy;

enum precopy_next {
    PRECOPY_AGAIN, /* there is more to do while the guest runs */
    PRECOPY_STOP,  /* it is to stand still for the rest */
    PRECOPY_FORK   /* fork(2) is better here */
};

enum precopy_when {
    PRECOPY_ALWAYS,    /* whether or not it is better */
    PRECOPY_FOR_GUEST, /* where the guest stands still for less */
    PRECOPY_FOR_BRANCH /* where the branch is not there much later, too */
};

/* False: there is so little memory that it never does. */
bool precopy_may_pay(const struct machine *machine, enum precopy_when when);
/* `most`: bytes that the copies may take. */
int precopy_start(struct precopy **out, struct machine *machine, uint64_t most, enum precopy_when when,
                  struct forkd_error *err);
/* A piece of it, a millisecond or two. */
enum precopy_next precopy_step(struct precopy *precopy);
/* Copy what is left; the machine stands still. */
int precopy_finish(struct precopy *precopy, struct forkd_error *err);
/* The pages, each where it is in memory, and which they are; until precopy_end. */
int precopy_file(const struct precopy *precopy);
const uint64_t *precopy_pages(const struct precopy *precopy);
/* NULL is allowed. */
void precopy_end(struct precopy *precopy);

#endif
