/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/cgroup.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The call itself, since the C library has none. */
pid_t cgroup_fork(int folder)
{
    const struct clone_args arguments = {
        .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)folder};
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

int cgroup_enter(int procs, struct forkd_error *err)
{
    return write(procs, "0", 1) == 1 ? 0 : error_set(err, errno, "enter", "cgroup", NULL);
}
