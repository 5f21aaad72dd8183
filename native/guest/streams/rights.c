/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/rights.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UNCHANGED ((unsigned)-1)

/*
 * By system calls of its own: libc's would do it to all threads. Only the effective user changes, which takes
 * all effective capabilities along (capabilities(7)), and more than setfsuid(2) would: that leaves those with
 * which /proc is read, and /proc/sys goes by the effective user itself. As the real and saved user stay root,
 * that user's programs cannot send signals to the thread.
 */
int rights_take(const struct image *user)
{
    if (!user)
        return 0;
    if (syscall(SYS_setgroups, user->group_count, user->groups) < 0 ||
        syscall(SYS_setresgid, UNCHANGED, user->gid, UNCHANGED) < 0 ||
        syscall(SYS_setresuid, UNCHANGED, user->uid, UNCHANGED) < 0)
        return -errno;
    return 0;
}
