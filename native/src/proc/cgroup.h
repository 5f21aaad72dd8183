/* SPDX-License-Identifier: Apache-2.0 */
/* Cgroups (version 2), by descriptors that the library has opened: which one a process is in. */
#ifndef FORKD_PROC_CGROUP_H
#define FORKD_PROC_CGROUP_H

#include "base/error.h"

#include <sys/types.h>

/*
 * fork(2), the child being in the cgroup whose folder that is from its first instruction: nothing that it
 * takes is another's, and nobody waits for it to be moved. For a process with one thread, whose locks are
 * free: to the C library the child's thread goes on to have the number of ours. The kernel asks whether this
 * process may write there.
 */
pid_t cgroup_fork(int folder);

/* Move this process: `procs` is the cgroup.procs of the new one, open for writing. What it has taken so far
 * stays the old one's. The kernel asks whether who opened that may write there. */
int cgroup_enter(int procs, struct forkd_error *err);

#endif
