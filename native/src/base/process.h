/* SPDX-License-Identifier: Apache-2.0 */
/* What tells a process from a later one with the same number. */
#ifndef FORKD_BASE_PROCESS_H
#define FORKD_BASE_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* Field 22 of /proc/PID/stat: clock ticks from the host's boot to the process's start. 0: no such process. */
uint64_t process_start_time(pid_t pid);

#endif
