/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/capabilities.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int capabilities_gain_none(struct forkd_error *err)
{
    const struct rlimit none = {0, 0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(err, errno, "prctl", "no_new_privs", NULL);
    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return error_set(err, errno, "setrlimit", "core files", NULL);
    return 0;
}

int capabilities_keep(uint64_t kept, struct forkd_error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0)
        return error_set(err, errno, "capget", "capabilities", NULL);
    for (uint32_t i = 0; i < 2; i++) {
        data[i].permitted &= (uint32_t)(kept >> (32 * i));
        data[i].effective = data[i].permitted;
        data[i].inheritable = 0;
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, data) < 0)
        return error_set(err, errno, "capset", "capabilities", NULL);
    return 0;
}
