/* SPDX-License-Identifier: Apache-2.0 */
/* forkd-vmm: started by libforkd with its control channel at descriptor 3; the first message says what to be.
 */
#include "base/channel.h"
#include "proc/control.h"
#include "proc/server.h"
#include "proc/vm.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* writes to sockets that are gone are errors */
    union control_message message;
    size_t length = 0;
    int fds[CHANNEL_MAX_FDS];
    uint32_t fd_count = CHANNEL_MAX_FDS;
    struct forkd_error error;
    int got = channel_receive(CONTROL_FD, 0, &message, sizeof message, &length, fds, &fd_count, &error);
    if (got < 0) {
        fprintf(stderr, "forkd-vmm is started by libforkd, not by hand: %s\n", error.text);
        return 2;
    }
    if (got == 0)
        return 0;
    if (length == sizeof message.boot && message.header.magic == CONTROL_MAGIC &&
        message.header.type == CONTROL_BOOT)
        vm_process_boot(CONTROL_FD, &message.boot, fds, fd_count);
    if (length == sizeof message.serve && message.header.magic == CONTROL_MAGIC &&
        message.header.type == CONTROL_SERVE)
        server_process(CONTROL_FD, &message.serve, fds, fd_count);
    fprintf(stderr, "forkd-vmm: the library that started it is of another version\n");
    return 2;
}
