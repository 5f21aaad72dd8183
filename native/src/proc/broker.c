/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/broker.h"

#include "base/broker.h"
#include "base/channel.h"
#include "base/listener.h"
#include "snapshot/files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_FDS 3

/* Disks' tops where a file system has no nameless files: disk.c removes the name at once. */
#define SCRATCH_PREFIX ".forkd-top-"

/* A socket's name, until the process that it was made for closes its end of `fd`. */
struct lease {
    int fd;
    int directory;
    pid_t owner;
    char name[BROKER_NAME_SIZE];
    struct listener_before made; /* what it was when it was made */
    struct lease *next;
};

struct broker {
    int requests;
    int proc;
    int epoll;
    struct lease *leases;
};

/* A request as it came. `fds`: reply, folder, listener; -1 for what did not. */
struct asked {
    struct broker_request request;
    pid_t by; /* the kernel says so */
    int fds[MAX_FDS];
};

#define REPLY 0
#define DIRECTORY 1
#define LISTENER 2

/* --- what may be asked for --------------------------------------------------------------------------------
 */

/* A file in the folder itself, and not the folder or what it is in. */
static bool is_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool is_scratch(const char *name)
{
    return strncmp(name, SCRATCH_PREFIX, sizeof SCRATCH_PREFIX - 1) == 0 && is_name(name);
}

/* A snapshot's own, in a folder that was handed over for one; or one without a name. */
static bool may_open(const char *name, uint32_t flags)
{
    const uint32_t ways = O_ACCMODE | O_CLOEXEC | O_NOFOLLOW;
    if (strcmp(name, ".") == 0)
        return (flags & ~(ways | O_EXCL)) == O_TMPFILE && (flags & O_EXCL) != 0;
    if ((flags & ~ways) == (O_CREAT | O_EXCL))
        return is_scratch(name) || snapshot_is_file(name);
    return (flags & ~ways) == 0 && snapshot_is_file(name);
}

/* --- files ------------------------------------------------------------------------------------------------
 */

static int rename_file(int directory, const char *from, const char *to)
{
    return snapshot_is_file(from) && snapshot_is_file(to) ? broker_rename(directory, from, to) : -EPERM;
}

static int unlink_file(int directory, const char *name)
{
    return is_scratch(name) || snapshot_is_file(name) ? broker_unlink(directory, name) : -EPERM;
}

/* --- processes --------------------------------------------------------------------------------------------
 */

static int open_proc(const struct broker *broker, pid_t pid, const char *file)
{
    char path[64];
    snprintf(path, sizeof path, "%d/%s", pid, file);
    int fd = broker->proc < 0 ? -1 : openat(broker->proc, path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? (broker->proc < 0 ? -ENOENT : -errno) : fd;
}

/* Field 4 of /proc/PID/stat, which follows the name in its brackets and the state. -1: there is none. */
static pid_t parent_of(const struct broker *broker, pid_t pid)
{
    char text[512];
    int fd = open_proc(broker, pid, "stat");
    if (fd < 0)
        return -1;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    const char *end = strrchr(text, ')');
    return end == NULL || strlen(end) < 5 ? -1 : (pid_t)strtol(end + 4, NULL, 10);
}

/* What is looked at is the process that the descriptor is of: it had the number before that was asked. */
static int kill_child(const struct broker *broker, pid_t pid, pid_t parent)
{
    int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (pidfd < 0)
        return -ESRCH;
    int rc = parent_of(broker, pid) == parent ? 0 : -EPERM;
    if (rc == 0)
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    close(pidfd);
    return rc;
}

static int kill_children(const struct broker *broker, const struct asked *asked)
{
    int rc = 0;
    for (uint32_t i = 0; i < asked->request.count && i < BROKER_MAX_PIDS && rc == 0; i++)
        rc = kill_child(broker, asked->request.pids[i], asked->by);
    return rc;
}

/* --- sockets ----------------------------------------------------------------------------------------------
 */

static void end_lease(struct broker *broker, struct lease *lease)
{
    struct listener_before now;
    if (fchdir(lease->directory) == 0) {
        listener_note(lease->name, &now);
        if (now.inode != 0 && memcmp(&now, &lease->made, sizeof now) == 0)
            unlink(lease->name);
    }
    struct lease **link = &broker->leases;
    while (*link != NULL && *link != lease)
        link = &(*link)->next;
    if (*link != NULL)
        *link = lease->next;
    close(lease->directory);
    close(lease->fd); /* last: broker_release waits for it */
    free(lease);
}

/* The listening socket, and a lease on its name in *out. A process has one. */
static int make_listener(struct broker *broker, const struct asked *asked, struct lease **out)
{
    for (const struct lease *lease = broker->leases; lease != NULL; lease = lease->next) {
        if (lease->owner == asked->by)
            return -EPERM;
    }
    if (!is_name(asked->request.name) || asked->fds[DIRECTORY] < 0)
        return -EPERM;
    struct lease *lease = calloc(1, sizeof *lease);
    if (lease == NULL)
        return -ENOMEM;
    *lease = (struct lease){.fd = fcntl(asked->fds[REPLY], F_DUPFD_CLOEXEC, 0),
                            .directory = fcntl(asked->fds[DIRECTORY], F_DUPFD_CLOEXEC, 0),
                            .owner = asked->by,
                            .next = broker->leases};
    memcpy(lease->name, asked->request.name, sizeof lease->name);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data = {.ptr = lease}};
    int rc = -EMFILE;
    if (lease->fd >= 0 && lease->directory >= 0 &&
        epoll_ctl(broker->epoll, EPOLL_CTL_ADD, lease->fd, &event) == 0)
        rc = fchdir(lease->directory) == 0 ? listener_open(lease->name, SOCK_STREAM | SOCK_NONBLOCK, 0, NULL)
                                           : -errno;
    if (rc < 0) {
        if (lease->fd >= 0)
            close(lease->fd);
        if (lease->directory >= 0)
            close(lease->directory);
        free(lease);
        return rc;
    }
    listener_note(lease->name, &lease->made);
    broker->leases = lease;
    *out = lease;
    return rc;
}

static int connect_to(int directory, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!is_name(name) || strlen(name) >= sizeof address.sun_path)
        return -EPERM;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (fchdir(directory) == 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int code = errno;
    close(fd);
    return -code;
}

/* Of processes that have ended, or that said so. */
static void end_leases(struct broker *broker)
{
    struct epoll_event event;
    while (epoll_wait(broker->epoll, &event, 1, 0) == 1)
        end_lease(broker, event.data.ptr);
}

/* --- requests ---------------------------------------------------------------------------------------------
 */

/* 1: a request; 0: nobody is left who could ask. Descriptors are ours, also of what is no request. */
static int receive(const struct broker *broker, struct asked *asked)
{
    struct iovec iov = {.iov_base = &asked->request, .iov_len = sizeof asked->request};
    union {
        char data[CMSG_SPACE(MAX_FDS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
    } control;
    struct msghdr header = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.data, .msg_controllen = sizeof control.data};
    ssize_t got;
    do {
        got = recvmsg(broker->requests, &header, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got <= 0)
        return 0;
    asked->by = 0;
    for (int i = 0; i < MAX_FDS; i++)
        asked->fds[i] = -1;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&header); part != NULL; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
            size_t bytes = part->cmsg_len - CMSG_LEN(0);
            memcpy(asked->fds, CMSG_DATA(part), bytes < sizeof asked->fds ? bytes : sizeof asked->fds);
        } else if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_CREDENTIALS) {
            struct ucred sender;
            memcpy(&sender, CMSG_DATA(part), sizeof sender);
            asked->by = sender.pid;
        }
    }
    if (got != sizeof asked->request || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        asked->request.operation = 0;
    asked->request.name[BROKER_NAME_SIZE - 1] = '\0';
    asked->request.to[BROKER_NAME_SIZE - 1] = '\0';
    return 1;
}

/* Whether a descriptor is to be sent is told by *opened. */
static int serve(struct broker *broker, const struct asked *asked, bool *opened, struct lease **lease)
{
    const struct broker_request *request = &asked->request;
    int directory = asked->fds[DIRECTORY];
    *opened = false;
    switch (request->operation) {
    case BROKER_OPEN:
        *opened = true;
        return may_open(request->name, request->flags)
                   ? broker_open(directory, request->name, (int)request->flags, request->mode & 0600)
                   : -EPERM;
    case BROKER_UNLINK:
        return unlink_file(directory, request->name);
    case BROKER_RENAME:
        return rename_file(directory, request->name, request->to);
    case BROKER_FIND:
        return snapshot_is_file(request->name) ? broker_find(directory, request->name) : -EPERM;
    case BROKER_PAGEMAP:
        *opened = true;
        return open_proc(broker, asked->by, "pagemap");
    case BROKER_LISTEN:
        *opened = true;
        return make_listener(broker, asked, lease);
    case BROKER_CONNECT:
        *opened = true;
        return connect_to(directory, request->name);
    case BROKER_UNLISTEN:
        listener_unlink_in(asked->fds[LISTENER], directory);
        return 0;
    case BROKER_KILL:
        return kill_children(broker, asked);
    case BROKER_TIDY:
        return 0; /* it is done before each request */
    default:
        return -EPROTO;
    }
}

static void answer(struct broker *broker, const struct asked *asked)
{
    bool opened = false;
    struct lease *lease = NULL;
    int result = asked->fds[REPLY] < 0 ? -EPROTO : serve(broker, asked, &opened, &lease);
    struct broker_reply reply = {.result = result};
    bool with_fd = opened && result >= 0;
    int sent =
        channel_send(asked->fds[REPLY], CHANNEL_NOW, &reply, sizeof reply, &result, with_fd ? 1 : 0, NULL);
    if (with_fd)
        close(result);
    if (lease != NULL && sent < 0)
        end_lease(broker, lease);
}

_Noreturn void broker_process(int requests, int proc)
{
    struct broker broker = {.requests = requests, .proc = proc, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    const int yes = 1;
    /* Who asks is told by the kernel. */
    if (broker.epoll < 0 || setsockopt(requests, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) < 0)
        _exit(1);
    for (;;) {
        struct pollfd polled[] = {{.fd = requests, .events = POLLIN}, {.fd = broker.epoll, .events = POLLIN}};
        poll(polled, 2, -1);
        end_leases(&broker);
        if (polled[0].revents == 0)
            continue;
        struct asked asked;
        if (!receive(&broker, &asked))
            break;
        answer(&broker, &asked);
        for (int i = 0; i < MAX_FDS; i++) {
            if (asked.fds[i] >= 0)
                close(asked.fds[i]);
        }
    }
    while (broker.leases != NULL)
        end_lease(&broker, broker.leases);
    _exit(0);
}
