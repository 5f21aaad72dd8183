/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_PROC_SERVER_H
#define FORKD_PROC_SERVER_H

#include "proc/control.h"

/*
 * The fork server of one snapshot; does not return in the server. It stays single-threaded, so that fork(2)
 * is safe, and never writes to guest memory, so that fork(2) copies no page tables for it.
 */
_Noreturn void server_process(int channel, const struct control_serve *message, const int *fds,
                              uint32_t fd_count);

#endif
