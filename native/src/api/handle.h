/* SPDX-License-Identifier: Apache-2.0 */
/* What the handles of forkd.h are made of. */
#ifndef FORKD_API_HANDLE_H
#define FORKD_API_HANDLE_H

#include "base/channel.h"
#include "base/error.h"
#include "base/listener.h"
#include "proc/control.h"

#include <stdbool.h>
#include <sys/types.h>

#define API __attribute__((visibility("default")))

struct forkd_vm {
    int channel;
    pid_t process;       /* the forkd-vmm that we started; 0: a child, which its server reaps */
    pid_t server;        /* which speaks for a child that it could not fork; 0: none does */
    bool detached;       /* goes on without us */
    uint32_t unanswered; /* requests whose reply is still to come: the one under way, and those given up */
    struct forkd_vm_status status;
    char vsock_path[CONTROL_PATH_SIZE];
    struct listener_before vsock_before; /* what was there before the VM was asked for */
    int server_channel; /* of the server that has to be told that its parked child was taken; -1: nobody has
                         */
    pid_t taken;        /* that child, as the server named it */
};

/* A child that the server forked in advance, and has told us of. */
struct parked_child {
    int channel;
    pid_t pid;
};

struct forkd_server {
    int channel;
    pid_t process; /* the forkd-vmm that we started; 0: a branch, or one that we attached to */
    bool detached; /* goes on without us */
    struct forkd_server_status status; /* the last that it said; pid is always right */
    uint32_t parked_count;
    struct parked_child parked[FORKD_MAX_PARKED];
};

/* Descriptors on their way into a message; all are closed afterwards, sent or not. */
struct fd_list {
    int fds[CHANNEL_MAX_FDS];
    uint32_t count;
};

/* Open a file and append it; `what` names it in the error. */
int fd_list_open(struct fd_list *list, const char *path, int flags, const char *what,
                 struct forkd_error *err);
/* Append the folder for private disk layers; NULL: the default, /var/tmp. */
int fd_list_open_scratch(struct fd_list *list, const char *path, struct forkd_error *err);
/* Append the disks of an options struct, locked: base, then layers. Fills modes and layer_counts; NULL:
 * layers do not belong here. */
int fd_list_open_disks(struct fd_list *list, const struct forkd_disk *disks, uint32_t count, uint32_t *modes,
                       uint32_t *layer_counts, struct forkd_error *err);
/* Append the folder that a path is in, which only says where that is; NULL: nothing to do. */
int fd_list_open_folder_of(struct fd_list *list, const char *path, struct forkd_error *err);
/* Append a tap device, of the network namespace at a path (NULL: the caller's). */
int fd_list_open_tap(struct fd_list *list, const char *name, const char *netns_path, struct forkd_error *err);
/* Append what a cgroup is entered by, and before that its folder when a process is to be born in it; NULL:
 * nothing to do. -EINVAL: it is no cgroup of version 2. */
int fd_list_open_cgroup(struct fd_list *list, const char *path, bool with_folder, struct forkd_error *err);
/* Make the listening socket of what is to be detached, and append its folder and it; NULL: nothing to do. */
int fd_list_listen(struct fd_list *list, const char *path, struct forkd_error *err);
void fd_list_close(struct fd_list *list);

/* Copy a string option of bounded size; NULL becomes "". -EINVAL, naming the option, when it is too long. */
int copy_option(char *to, size_t size, const char *from, const char *name, struct forkd_error *err);
/* Copy limits; -EINVAL, naming the one that is out of range. */
int copy_limits(struct forkd_limits *to, const struct forkd_limits *from, struct forkd_error *err);
/* -EINVAL unless all are zero. */
int check_reserved(const uint64_t *reserved, size_t count, struct forkd_error *err);

/* How long a process has for what it is asked, in milliseconds: one that is stopped holds nobody up. */
#define ATTACH_TIMEOUT_MS 1000
#define REQUEST_TIMEOUT_MS 10000
/* Of a child, when its starter names none. */
#define DEFAULT_READY_TIMEOUT_MS 120000
/* Shared disks are flushed first. */
#define BRANCH_TIMEOUT_MS 60000
/* Files are read and checked, with whatever they are on. */
#define START_TIMEOUT_MS 600000
/* All memory is written. */
#define SNAPSHOT_TIMEOUT_MS 3600000

/* Start forkd-vmm; *channel is our end of its control channel. */
int process_start(const char *vmm_path, int *channel, pid_t *process, struct forkd_error *err);
/* A pidfd of the process at the other end of a channel; -1 when that has ended. */
int process_open(pid_t process, int channel);
/* Wait until a process that was killed, or whose channel has ended, is gone, and with it its locks and its
 * sockets: the channel is only one of the descriptors that the kernel closes. Closes pidfd, which may be -1.
 * False: it is not gone after PROCESS_AWAIT_MS, since the kernel cannot end it. */
#define PROCESS_AWAIT_MS 10000
bool process_await(int pidfd);
/* Close the channel of a process that is not ours to wait for, once it has seen that and ended; it is killed
 * when it does not. */
void process_let_end(int channel, pid_t process);
/* Close the channel and wait until the process is gone. `now`: kill it first; otherwise when it does not end
 * by itself. */
void process_end(int channel, pid_t process, bool now);

/*
 * Receive a message of forkd-vmm's; as channel_receive. A guest may have taken over who sends it: what it
 * says of itself is what the kernel says, or within the bounds of what can be said, with texts that end.
 * `server`, if it is not 0, speaks for a process that there is not.
 */
int receive_message(int channel, int timeout_ms, pid_t server, union control_message *message, size_t *length,
                    int *fd, uint32_t *fd_count, struct forkd_error *err);
/* Receive the reply to the request under way, the last of *unanswered. STATUS messages that come first are
 * kept in *status (may be NULL), what BRANCH answers in *branch (likewise). */
int receive_reply(int channel, int timeout_ms, pid_t server, uint32_t *unanswered,
                  struct forkd_vm_status *status, struct forkd_branch_result *branch,
                  struct forkd_error *err);
/* How many bytes a process may take more, half of what its host and its cgroups have left; 0: not to be
 * known. */
uint64_t memory_room(pid_t process);
/* The status that a VM has said last. */
void keep_status(struct forkd_vm_status *status, const struct forkd_vm_status *said);
/* Take in one message of a server: a child that was parked, or news. 1: done; 0: the server is gone; -EAGAIN:
 * none there (with CHANNEL_NOW). */
int hear(struct forkd_server *server, int timeout_ms, struct forkd_error *err);
/* -ETIMEDOUT of attaching. */
int no_answer(const char *control_path, struct forkd_error *err);
/* Tell the server, if that is still to be done: late, so that its wake-up does not delay the child. */
void tell_taken(struct forkd_vm *vm);

#endif
