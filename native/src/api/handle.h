/* SPDX-License-Identifier: Apache-2.0 */
/* What the handles of forkd.h are made of. */
#ifndef FORKD_API_HANDLE_H
#define FORKD_API_HANDLE_H

#include "base/error.h"
#include "proc/control.h"

#include <stdbool.h>
#include <sys/types.h>

#define API __attribute__((visibility("default")))

struct forkd_vm {
    int channel;
    pid_t process; /* the forkd-vmm that we started; 0: a child, which its server reaps */
    struct forkd_vm_status status;
    char vsock_path[CONTROL_PATH_SIZE];
};

/* A child that the server forked in advance, and has told us of. */
struct parked_child {
    int channel;
    pid_t pid;
};

struct forkd_server {
    int channel;
    pid_t process;
    uint32_t parked_count;
    struct parked_child parked[FORKD_MAX_PARKED];
};

/* Descriptors on their way into a message; all are closed afterwards, sent or not. */
struct fd_list {
    int fds[64];
    uint32_t count;
};

/* Open a file and append it; `what` names it in the error. */
int fd_list_open(struct fd_list *list, const char *path, int flags, const char *what,
                 struct forkd_error *err);
/* Append the folder for private disk layers; NULL: the default, /var/tmp. */
int fd_list_open_scratch(struct fd_list *list, const char *path, struct forkd_error *err);
/* Append the disks of an options struct: base, then layer, if any. Fills modes and, unless NULL, has_layer.
 */
int fd_list_open_disks(struct fd_list *list, const struct forkd_disk *disks, uint32_t count, uint32_t *modes,
                       uint8_t *has_layer, struct forkd_error *err);
void fd_list_close(struct fd_list *list);

/* Copy a string option of bounded size; NULL becomes "". -EINVAL, naming the option, when it is too long. */
int copy_option(char *to, size_t size, const char *from, const char *name, struct forkd_error *err);
/* -EINVAL unless all are zero. */
int check_reserved(const uint64_t *reserved, size_t count, struct forkd_error *err);

/* Start forkd-vmm; *channel is our end of its control channel. */
int process_start(const char *vmm_path, int *channel, pid_t *process, struct forkd_error *err);
/* Close the channel and wait until the process is gone. `now`: kill it first. */
void process_end(int channel, pid_t process, bool now);

/* Receive the reply to the request under way. STATUS messages that come first are kept in *status (may be
 * NULL). */
int receive_reply(int channel, struct forkd_vm_status *status, struct forkd_error *err);

#endif
