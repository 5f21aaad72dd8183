/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_DAEMON_H
#define FORKD_GUEST_DAEMON_H

/* The agent's process: configuration, warm-up, listeners, hello. */
_Noreturn void daemon_run(const char *cmdline);

#endif
