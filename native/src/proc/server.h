/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fork server of one snapshot. It stays single-threaded, so that fork(2) is safe, and never writes to
 * guest memory, so that fork(2) copies no page tables for it beyond those that were there when it began.
 */
#ifndef FORKD_PROC_SERVER_H
#define FORKD_PROC_SERVER_H

#include "proc/control.h"
#include "proc/twin.h"
#include "proc/vm.h"

/* Of a snapshot's files; returns only in children, which is to say never. */
_Noreturn void server_process(int channel, const struct control_serve *message, const int *fds,
                              uint32_t fd_count);

/* Of a branch that `vm` was loaded with (or was not: `result` and *error), which it also has written down. */
_Noreturn void server_process_twin(struct vm *vm, const struct twin *twin, int result,
                                   const struct forkd_error *error);

#endif
