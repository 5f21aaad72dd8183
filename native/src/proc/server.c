/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/server.h"

#include "base/channel.h"
#include "proc/vm.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What has to be tidied up after a child that was killed. */
struct child {
    pid_t pid;
    char vsock_path[CONTROL_PATH_SIZE];
};

struct server {
    int channel;
    int signals;
    struct vm vm; /* loaded, never run: each child inherits it */
    struct child *children;
    size_t child_count;
    size_t child_capacity;
};

static void send_reply(int channel, const struct forkd_error *error)
{
    struct control_reply reply = {.header = {CONTROL_MAGIC, CONTROL_REPLY}};
    if (error != NULL)
        reply.error = *error;
    channel_send(channel, &reply, sizeof reply, NULL, 0, NULL);
}

/* The child cannot say it itself: there is none. */
static void report_failed_fork(int channel, const struct forkd_error *error)
{
    struct control_status message = {
        .header = {CONTROL_MAGIC, CONTROL_STATUS},
        .status = {.phase = FORKD_VM_ENDED, .end = FORKD_END_ERROR, .error = *error}};
    channel_send(channel, &message, sizeof message, NULL, 0, NULL);
}

static int reserve_child(struct server *server, struct forkd_error *err)
{
    if (server->child_count < server->child_capacity)
        return 0;
    size_t capacity = server->child_capacity == 0 ? 64 : 2 * server->child_capacity;
    struct child *larger = realloc(server->children, capacity * sizeof *larger);
    if (larger == NULL)
        return error_set(err, ENOMEM, "allocate", "table of children", NULL);
    server->children = larger;
    server->child_capacity = capacity;
    return 0;
}

static _Noreturn void become_child(struct server *server, const struct control_fork *message, const int *fds,
                                   pid_t server_pid, uint64_t started_us)
{
    /* A child does not outlive its server; nor may it start when the server died before this line. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != server_pid)
        _exit(1);
    close(server->channel);
    close(server->signals);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    server->vm.started_us = started_us;
    vm_process_child(&server->vm, fds[0], message, fds);
}

static void fork_child(struct server *server, const struct control_fork *message, const int *fds,
                       uint32_t fd_count)
{
    struct forkd_error error;
    if (fd_count != 1u + message->has_console + message->has_netns) {
        error_set(&error, EPROTO, "receive", "control channel", "a descriptor is missing");
        if (fd_count > 0)
            report_failed_fork(fds[0], &error);
        return;
    }
    if (reserve_child(server, &error) < 0) {
        report_failed_fork(fds[0], &error);
        return;
    }
    pid_t server_pid = getpid();
    uint64_t started_us = vm_now_us();
    pid_t pid = fork();
    if (pid == 0)
        become_child(server, message, fds, server_pid, started_us);
    if (pid < 0) {
        error_set(&error, errno, "fork", "fork server", NULL);
        report_failed_fork(fds[0], &error);
        return;
    }
    struct child *child = &server->children[server->child_count++];
    child->pid = pid;
    memcpy(child->vsock_path, message->vsock_path, sizeof child->vsock_path);
    child->vsock_path[sizeof child->vsock_path - 1] = '\0';
}

static void remove_child(struct server *server, size_t index)
{
    if (server->children[index].vsock_path[0] != '\0')
        unlink(server->children[index].vsock_path);
    server->children[index] = server->children[--server->child_count];
}

static void reap(struct server *server)
{
    struct signalfd_siginfo info;
    ssize_t ignored = read(server->signals, &info, sizeof info);
    (void)ignored;
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid <= 0)
            return;
        for (size_t i = 0; i < server->child_count; i++) {
            if (server->children[i].pid == pid) {
                remove_child(server, i);
                break;
            }
        }
    }
}

/* The owner is gone: nobody else may find a child, or its socket. */
static _Noreturn void end(struct server *server)
{
    for (size_t i = 0; i < server->child_count; i++)
        kill(server->children[i].pid, SIGKILL);
    while (server->child_count > 0)
        remove_child(server, server->child_count - 1);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    _exit(0);
}

static void receive(struct server *server)
{
    struct control_fork message;
    size_t length = 0;
    int fds[CHANNEL_MAX_FDS];
    uint32_t fd_count = CHANNEL_MAX_FDS;
    int got = channel_receive(server->channel, 0, &message, sizeof message, &length, fds, &fd_count, NULL);
    if (got == 0)
        end(server);
    if (got > 0 && length == sizeof message && message.header.magic == CONTROL_MAGIC &&
        message.header.type == CONTROL_FORK)
        fork_child(server, &message, fds, fd_count);
    for (uint32_t i = 0; i < fd_count; i++)
        close(fds[i]);
}

static int thread_count(void)
{
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL)
        return -1;
    int count = 0;
    while (readdir(tasks) != NULL)
        count++;
    closedir(tasks);
    return count - 2; /* . and .. */
}

_Noreturn void server_process(int channel, const struct control_serve *message, const int *fds,
                              uint32_t fd_count)
{
    static struct server server;
    prctl(PR_SET_NAME, "forkd-server");
    server.channel = channel;
    struct forkd_error error;
    int result = vm_load(&server.vm, message, fds, fd_count, &error);
    sigset_t child_signal;
    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_signal, NULL);
    server.signals = signalfd(-1, &child_signal, SFD_CLOEXEC | SFD_NONBLOCK);
    if (result == 0 && server.signals < 0)
        result = error_set(&error, errno, "signalfd", "fork server", NULL);
    if (result == 0 && thread_count() != 1)
        result = error_set(&error, EINVAL, "start", "fork server", "it has %d threads; fork(2) needs one",
                           thread_count());
    send_reply(channel, result < 0 ? &error : NULL);
    if (result < 0)
        _exit(1);
    close(fds[0]); /* the mapping holds memory.bin */
    close(fds[1]);
    struct pollfd polled[] = {{.fd = channel, .events = POLLIN}, {.fd = server.signals, .events = POLLIN}};
    for (;;) {
        if (poll(polled, 2, -1) < 0)
            continue;
        if (polled[1].revents != 0)
            reap(&server);
        if (polled[0].revents != 0)
            receive(&server);
    }
}
