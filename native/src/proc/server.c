/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/server.h"

#include "base/channel.h"
#include "proc/vm.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define PARK_PAUSE_MS 2

/* A child, and what has to be tidied up after it when it is killed. */
struct child {
    pid_t pid;
    bool parked; /* waits for its request */
    char vsock_path[CONTROL_PATH_SIZE];
};

struct server {
    int channel;
    int signals;
    struct vm vm; /* loaded, never run: each child inherits it */
    struct child *children;
    size_t child_count;
    size_t child_capacity;
    uint32_t parked_wanted;
    uint32_t parked; /* how many of the children are */
};

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

/* `fd_count` without the channel. */
static bool valid_fork(const struct control_fork *message, size_t length, uint32_t fd_count)
{
    return length == sizeof *message && message->header.magic == CONTROL_MAGIC &&
           message->header.type == CONTROL_FORK && fd_count == 0u + message->has_console + message->has_netns;
}

/* The first steps of every child. It does not outlive its server; nor may it start when the server died
 * before this line. */
static void leave_server(struct server *server, pid_t server_pid)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != server_pid)
        _exit(1);
    close(server->channel);
    close(server->signals);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    vm_prepare(&server->vm);
}

/* A parked child waits here for the request that it will serve. */
static _Noreturn void wait_parked(struct server *server, int channel)
{
    struct control_fork message;
    size_t length = 0;
    int fds[2];
    uint32_t fd_count = 2;
    if (channel_receive(channel, 0, &message, sizeof message, &length, fds, &fd_count, NULL) <= 0 ||
        !valid_fork(&message, length, fd_count))
        _exit(0);
    vm_process_child(&server->vm, channel, &message, fds);
}

/* fork(2), and note the child. In the parent: its entry in the table, or NULL and *err. In the child: returns
 * with *is_child set. */
static struct child *fork_child(struct server *server, bool *is_child, struct forkd_error *err)
{
    if (reserve_child(server, err) < 0)
        return NULL;
    pid_t server_pid = getpid();
    pid_t pid = fork();
    *is_child = pid == 0;
    if (pid < 0) {
        error_set(err, errno, "fork", "fork server", NULL);
        return NULL;
    }
    if (pid == 0) {
        leave_server(server, server_pid);
        return NULL;
    }
    struct child *child = &server->children[server->child_count++];
    *child = (struct child){.pid = pid};
    return child;
}

/* Fork one child in advance, and hand its channel to the owner. What fails here fails again, and is then
 * reported, when a child is asked for. */
static void park_child(struct server *server)
{
    int pair[2];
    if (channel_pair(pair, NULL) < 0) {
        server->parked_wanted = 0;
        return;
    }
    bool is_child = false;
    struct child *child = fork_child(server, &is_child, NULL);
    if (is_child) {
        close(pair[0]);
        wait_parked(server, pair[1]);
    }
    close(pair[1]);
    if (child == NULL) {
        server->parked_wanted = 0;
    } else {
        child->parked = true;
        server->parked++;
        struct control_parked message = {.header = {CONTROL_MAGIC, CONTROL_PARKED}, .pid = child->pid};
        channel_send(server->channel, &message, sizeof message, &pair[0], 1, NULL);
    }
    close(pair[0]);
}

static void set_vsock_path(struct child *child, const char *path)
{
    snprintf(child->vsock_path, sizeof child->vsock_path, "%.*s", CONTROL_PATH_SIZE - 1, path);
}

static void serve_fork(struct server *server, const struct control_fork *message, const int *fds)
{
    struct forkd_error error;
    bool is_child = false;
    struct child *child = fork_child(server, &is_child, &error);
    if (is_child)
        vm_process_child(&server->vm, fds[0], message, fds + 1);
    if (child == NULL)
        report_failed_fork(fds[0], &error);
    else
        set_vsock_path(child, message->vsock_path);
}

static struct child *find_child(struct server *server, pid_t pid)
{
    for (size_t i = 0; i < server->child_count; i++) {
        if (server->children[i].pid == pid)
            return &server->children[i];
    }
    return NULL;
}

static void note_taken(struct server *server, const struct control_taken *message)
{
    struct child *child = find_child(server, message->pid);
    if (child == NULL) {
        /* It was taken, ended and reaped before this came. */
        unlink(message->vsock_path);
    } else if (child->parked) {
        child->parked = false;
        server->parked--;
        set_vsock_path(child, message->vsock_path);
    }
}

static void remove_child(struct server *server, struct child *child)
{
    if (child->vsock_path[0] != '\0')
        unlink(child->vsock_path);
    if (child->parked)
        server->parked--;
    *child = server->children[--server->child_count];
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
        struct child *child = find_child(server, pid);
        if (child != NULL)
            remove_child(server, child);
    }
}

/* The owner is gone: nobody else may find a child, or its socket. */
static _Noreturn void end(struct server *server)
{
    for (size_t i = 0; i < server->child_count; i++)
        kill(server->children[i].pid, SIGKILL);
    while (server->child_count > 0)
        remove_child(server, &server->children[server->child_count - 1]);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    _exit(0);
}

static void receive(struct server *server)
{
    union control_message message;
    size_t length = 0;
    int fds[CHANNEL_MAX_FDS];
    uint32_t fd_count = CHANNEL_MAX_FDS;
    int got = channel_receive(server->channel, 0, &message, sizeof message, &length, fds, &fd_count, NULL);
    if (got == 0)
        end(server);
    if (got < 0)
        return;
    if (fd_count > 0 && valid_fork(&message.fork, length, fd_count - 1)) {
        serve_fork(server, &message.fork, fds);
    } else if (length == sizeof message.taken && message.header.magic == CONTROL_MAGIC &&
               message.header.type == CONTROL_TAKEN) {
        message.taken.vsock_path[CONTROL_PATH_SIZE - 1] = '\0';
        note_taken(server, &message.taken);
    }
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
    vm_send_reply(channel, result, &error);
    if (result < 0)
        _exit(1);
    close(fds[0]); /* the mapping holds memory.bin */
    close(fds[1]);
    struct pollfd polled[] = {{.fd = channel, .events = POLLIN}, {.fd = server.signals, .events = POLLIN}};
    server.parked_wanted = message->parked_count;
    int pause_ms = 0;
    for (;;) {
        /* Requests first. With nothing to do, one child at a time is parked; but not at once after a request,
         * whose child needs the processors. */
        bool parking = server.parked < server.parked_wanted;
        int ready = poll(polled, 2, parking ? pause_ms : -1);
        if (ready == 0) {
            park_child(&server);
            pause_ms = 0;
        }
        if (ready <= 0)
            continue;
        pause_ms = PARK_PAUSE_MS;
        if (polled[1].revents != 0)
            reap(&server);
        if (polled[0].revents != 0)
            receive(&server);
    }
}
