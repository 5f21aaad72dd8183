/* SPDX-License-Identifier: Apache-2.0 */
#include "api/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

API int forkd_netns_enter(const char *path, struct forkd_error *err)
{
    /* Not waiting: a FIFO would have us wait for its other end. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, errno, "open", path, "the network namespace");
    int result = setns(fd, CLONE_NEWNET) < 0
                     ? error_set(err, errno, "enter", path, "the network namespace; only root may")
                     : 0;
    close(fd);
    return result;
}
