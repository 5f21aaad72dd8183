/* SPDX-License-Identifier: Apache-2.0 */
/* The other side of a branch: the process that fork(2) of a paused VM's process makes. */
#ifndef FORKD_PROC_TWIN_H
#define FORKD_PROC_TWIN_H

#include "snapshot/vmstate.h"

#include <stdbool.h>

struct vm;

struct twin {
    int channel;            /* to who asked for the branch */
    int directory;          /* where to write it */
    int listener_directory; /* -1: not detached */
    int listener;           /* -1 likewise */
    int cgroup;             /* -1: it stays in its source's */
    bool over_base;         /* write layers */
    bool unwritten;         /* write nothing */
    int copies;             /* file of copied pages, each where it is in memory; -1: memory is inherited */
    const uint64_t *copied; /* which they are, a bit for each page */
    struct vmstate_writer state; /* the paused machine's */
};

/*
 * Go on as the fork server of what `source`, the VM that this process was forked from, holds: memory (or what
 * was copied of it) and disks are inherited, devices are made anew from the saved state, and everything else
 * that is the source's (KVM descriptors, sockets, its event loop) is let go.
 */
_Noreturn void twin_process(const struct vm *source, const struct twin *twin);

#endif
