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

#define MAX_FDS BROKER_MAX_JOINING

/* Disks' tops where a file system has no nameless files: disk.c removes the name at once. */
#define SCRATCH_PREFIX ".forkd-top-"

/*
 * A sandbox and what was made of it: what a server forks is one, and so are the twins of a VM with their
 * children. Each has so many channels at most, so that who opens them without end is alone with what becomes
 * of that.
 */
struct family {
    uint32_t members;
};

/* A channel, which one process has, and those that it was forked to without the broker's being told. */
struct client {
    int fd;
    struct family *family; /* NULL: the program itself, before there is a guest */
    int directory;         /* of the name of its socket; -1: it has none */
    char name[BROKER_NAME_SIZE];
    struct listener_before made; /* what that was when it was made */
    struct client *next;
};

struct broker {
    int proc;
    int asking; /* epoll: who has something to be read */
    int gone;   /* epoll: whose end is closed */
    uint32_t most;
    struct client *clients;
};

/* A request as it came. `fds`: reply, folder, listener, or to JOIN the channels; -1 for what did not. */
struct asked {
    struct broker_request request;
    struct client *client;
    pid_t by; /* the kernel says so; 0: it was not asked to */
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

/* A new one of a snapshot's own, in a folder that was handed over for one, or one without a name. Of those
 * that are there only the one by which its maker has begun: the others may be another snapshot's. */
static bool may_open(const char *name, uint32_t flags)
{
    const uint32_t ways = O_ACCMODE | O_CLOEXEC | O_NOFOLLOW;
    if (strcmp(name, ".") == 0)
        return (flags & ~(ways | O_EXCL)) == O_TMPFILE && (flags & O_EXCL) != 0;
    if ((flags & ~ways) == (O_CREAT | O_EXCL))
        return is_scratch(name) || snapshot_is_file(name);
    return (flags & ~ways) == 0 && strcmp(name, SNAPSHOT_STAGED) == 0;
}

/* Folders of sockets are handed over by what leads there only (O_PATH), those that files are made in are
 * open. So nobody puts a socket, or looks for one, where everybody's disks are, nor files where sockets are.
 */
static bool is_for_sockets(int directory)
{
    int flags = fcntl(directory, F_GETFL);
    return flags >= 0 && (flags & O_PATH) != 0;
}

/* --- files ------------------------------------------------------------------------------------------------
 */

static int rename_file(int directory, const char *from, const char *to)
{
    if (strcmp(from, SNAPSHOT_STAGED) != 0 || strcmp(to, SNAPSHOT_STATE) != 0)
        return -EPERM;
    return broker_find(directory, to) == -ENOENT ? broker_rename(directory, from, to) : -EEXIST;
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
    int rc = asked->by > 0 ? 0 : -EPERM;
    for (uint32_t i = 0; i < asked->request.count && i < BROKER_MAX_PIDS && rc == 0; i++)
        rc = kill_child(broker, asked->request.pids[i], asked->by);
    return rc;
}

/* --- sockets ----------------------------------------------------------------------------------------------
 */

static void release_name(struct client *client)
{
    struct listener_before now;
    if (client->directory < 0)
        return;
    if (fchdir(client->directory) == 0) {
        listener_note(client->name, &now);
        if (now.inode != 0 && memcmp(&now, &client->made, sizeof now) == 0)
            unlink(client->name);
    }
    close(client->directory);
    client->directory = -1;
}

/* A new socket, whose name goes with its client. */
static int make_listener(struct asked *asked)
{
    struct client *client = asked->client;
    if (!is_name(asked->request.name) || !is_for_sockets(asked->fds[DIRECTORY]) || client->directory >= 0)
        return -EPERM;
    if (fchdir(asked->fds[DIRECTORY]) < 0)
        return -errno;
    int rc = listener_open(asked->request.name, SOCK_STREAM | SOCK_NONBLOCK, 0, NULL);
    if (rc < 0)
        return rc;
    memcpy(client->name, asked->request.name, sizeof client->name);
    listener_note(client->name, &client->made);
    client->directory = asked->fds[DIRECTORY];
    asked->fds[DIRECTORY] = -1;
    return rc;
}

static int connect_to(int directory, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!is_name(name) || strlen(name) >= sizeof address.sun_path || !is_for_sockets(directory))
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

/* --- clients ----------------------------------------------------------------------------------------------
 */

static bool watch(const struct broker *broker, struct client *client)
{
    struct epoll_event asks = {.events = EPOLLIN, .data = {.ptr = client}};
    struct epoll_event goes = {.events = EPOLLRDHUP, .data = {.ptr = client}};
    int type = 0;
    socklen_t length = sizeof type;
    return getsockopt(client->fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET &&
           epoll_ctl(broker->asking, EPOLL_CTL_ADD, client->fd, &asks) == 0 &&
           epoll_ctl(broker->gone, EPOLL_CTL_ADD, client->fd, &goes) == 0;
}

/* Its descriptor is closed, and its name given up. */
static void remove_client(struct broker *broker, struct client *client)
{
    struct client **link = &broker->clients;
    while (*link != NULL && *link != client)
        link = &(*link)->next;
    if (*link != NULL)
        *link = client->next;
    /* Closing alone would not do: others may hold the same socket, and epoll goes by that. */
    epoll_ctl(broker->asking, EPOLL_CTL_DEL, client->fd, NULL);
    epoll_ctl(broker->gone, EPOLL_CTL_DEL, client->fd, NULL);
    release_name(client);
    close(client->fd);
    if (client->family != NULL && --client->family->members == 0)
        free(client->family);
    free(client);
}

/* `fd` is the client's, or is closed: then a family without others is gone, and it is false. */
static bool add_client(struct broker *broker, int fd, struct family *family)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        close(fd);
        if (family != NULL && family->members == 0)
            free(family);
        return false;
    }
    *client = (struct client){.fd = fd, .family = family, .directory = -1, .next = broker->clients};
    if (family != NULL)
        family->members++;
    broker->clients = client;
    if (watch(broker, client))
        return true;
    remove_client(broker, client);
    return false;
}

/* Who is refused sees that the other end is closed. */
static void join(struct broker *broker, struct asked *asked)
{
    bool joined = true;
    for (int i = 0; i < MAX_FDS && asked->fds[i] >= 0 && joined; i++) {
        struct family *family = asked->client->family;
        if (family != NULL && family->members >= broker->most)
            return;
        if (family == NULL && (family = calloc(1, sizeof *family)) == NULL)
            return;
        joined = add_client(broker, asked->fds[i], family);
        asked->fds[i] = -1;
    }
}

/* --- requests ---------------------------------------------------------------------------------------------
 */

/* 1: a request; 0: none; -1: nobody is left who could ask. Descriptors are ours, also of what is no request.
 */
static int receive(struct client *client, struct asked *asked)
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
        got = recvmsg(client->fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
    if (got < 0)
        return errno == EAGAIN ? 0 : -1;
    /* A message may be empty, but says who sent it. */
    if (got == 0 && header.msg_controllen == 0)
        return -1;
    asked->client = client;
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
static int serve(const struct broker *broker, struct asked *asked, bool *opened)
{
    const struct broker_request *request = &asked->request;
    int directory = asked->fds[DIRECTORY];
    *opened = false;
    switch (request->operation) {
    case BROKER_OPEN:
        *opened = true;
        return may_open(request->name, request->flags) && !is_for_sockets(directory)
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
        return make_listener(asked);
    case BROKER_RELEASE:
        release_name(asked->client);
        return 0;
    case BROKER_CONNECT:
        *opened = true;
        return connect_to(directory, request->name);
    case BROKER_UNLISTEN:
        if (!is_for_sockets(directory))
            return -EPERM;
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

static void answer(const struct broker *broker, struct asked *asked)
{
    bool opened = false;
    int result = asked->fds[REPLY] < 0 ? -EPROTO : serve(broker, asked, &opened);
    struct broker_reply reply = {.result = result};
    bool with_fd = opened && result >= 0;
    int sent =
        channel_send(asked->fds[REPLY], CHANNEL_NOW, &reply, sizeof reply, &result, with_fd ? 1 : 0, NULL);
    if (with_fd)
        close(result);
    if (sent < 0 && with_fd && asked->request.operation == BROKER_LISTEN)
        release_name(asked->client);
}

/* One request; false: there is none. The client is gone with the last who had the other end. */
static bool serve_next(struct broker *broker, struct client *client)
{
    struct asked asked;
    int got = receive(client, &asked);
    if (got < 0)
        remove_client(broker, client);
    if (got <= 0)
        return false;
    if (asked.request.operation == BROKER_JOIN)
        join(broker, &asked);
    else
        answer(broker, &asked);
    for (int i = 0; i < MAX_FDS; i++) {
        if (asked.fds[i] >= 0)
            close(asked.fds[i]);
    }
    return true;
}

/* What they have asked before is done first: one that they forked may be about to join. */
static void end_gone(struct broker *broker)
{
    struct epoll_event event;
    while (epoll_wait(broker->gone, &event, 1, 0) == 1) {
        while (serve_next(broker, event.data.ptr))
            ;
    }
}

_Noreturn void broker_process(int requests, int proc, uint32_t most)
{
    struct broker broker = {.proc = proc,
                            .asking = epoll_create1(EPOLL_CLOEXEC),
                            .gone = epoll_create1(EPOLL_CLOEXEC),
                            .most = most};
    if (broker.asking < 0 || broker.gone < 0)
        _exit(1);
    add_client(&broker, requests, NULL);
    while (broker.clients != NULL) {
        struct pollfd polled = {.fd = broker.asking, .events = POLLIN};
        struct epoll_event event;
        poll(&polled, 1, -1);
        end_gone(&broker);
        /* One request of each in turn. */
        if (epoll_wait(broker.asking, &event, 1, 0) == 1)
            serve_next(&broker, event.data.ptr);
    }
    _exit(0);
}
