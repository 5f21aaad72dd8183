/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_SESSION_H
#define FORKD_GUEST_SESSION_H

#include <sys/types.h>

/*
 * To all processes of a session: a shell with job control puts each job into a process group of its own.
 * Those that are made meanwhile get SIGKILL, too. The caller holds the session's number, by not having reaped
 * its leader.
 */
void session_signal(pid_t session, int signal);

#endif
