/* SPDX-License-Identifier: Apache-2.0 */
#include "base/channel.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/listener.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define OBJECT "control channel"

union control_buffer {
    char data[CMSG_SPACE(CHANNEL_MAX_FDS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    struct cmsghdr align;
};

int channel_pair(int out[2], struct forkd_error *err)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out) < 0)
        return error_set(err, errno, "socketpair", OBJECT, NULL);
    return 0;
}

int channel_ask_sender(int channel, struct forkd_error *err)
{
    const int yes = 1;
    return setsockopt(channel, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) < 0
               ? error_set(err, errno, "setsockopt", OBJECT, NULL)
               : 0;
}

static int make_socket(const char *path, struct sockaddr_un *address, struct forkd_error *err)
{
    size_t length = strlen(path);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (length == 0 || length >= sizeof address->sun_path)
        return error_set(err, EINVAL, "check", path, "a socket's path has 1 to %zu bytes",
                         sizeof address->sun_path - 1);
    memcpy(address->sun_path, path, length);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    return fd < 0 ? error_set(err, errno, "socket", path, NULL) : fd;
}

int channel_listen(const char *path, struct forkd_error *err)
{
    return listener_open(path, SOCK_SEQPACKET | SOCK_NONBLOCK, 0600, err);
}

static int no_answer(const char *operation, const char *object, int timeout_ms, struct forkd_error *err)
{
    if (timeout_ms == CHANNEL_NOW)
        return error_set(err, EAGAIN, operation, object, NULL);
    return error_set(err, ETIMEDOUT, operation, object,
                     "the forkd-vmm process is stopped, or has too much to do: no answer in %d ms",
                     timeout_ms);
}

int channel_connect(const char *path, int timeout_ms, struct forkd_error *err)
{
    struct sockaddr_un address;
    int fd = make_socket(path, &address, err);
    if (fd < 0)
        return fd;
    /* Who does not accept connections has room for a few. No event tells when there is more: connect(2) has
     * to wait itself. */
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 &&
        channel_ask_sender(fd, NULL) == 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int result = errno == EAGAIN ? no_answer("connect", path, timeout_ms, err)
                                 : error_set(err, errno, "connect", path,
                                             "what was to be found there has ended, or never was");
    close(fd);
    return result;
}

int channel_send(int channel, int timeout_ms, const void *message, size_t length, const int *fds,
                 uint32_t fd_count, struct forkd_error *err)
{
    if (fd_count > CHANNEL_MAX_FDS)
        return error_set(err, EINVAL, "sendmsg", OBJECT, "%u descriptors", fd_count);
    struct iovec iov = {.iov_base = (void *)message, .iov_len = length};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    union control_buffer control;
    if (fd_count > 0) {
        memset(&control, 0, CMSG_SPACE(fd_count * sizeof(int)));
        header.msg_control = control.data;
        header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
    }
    int64_t deadline = timeout_ms > 0 ? clock_now_ms() + timeout_ms : 0;
    int code = 0;
    while (code == 0) {
        if (sendmsg(channel, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        code = errno == EINTR ? 0 : errno;
        if (code == EAGAIN && timeout_ms > 0)
            code = -io_wait(channel, POLLOUT, deadline);
    }
    if (code == EAGAIN)
        return no_answer("sendmsg", OBJECT, timeout_ms, err);
    code = code == ECONNRESET ? EPIPE : code;
    return error_set(err, code, "sendmsg", OBJECT, code == EPIPE ? "the forkd-vmm process is gone" : NULL);
}

static void close_all(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        close(fds[i]);
}

int channel_receive(int channel, int timeout_ms, void *message, size_t length, size_t *received, int *fds,
                    uint32_t *fd_count, struct forkd_error *err)
{
    pid_t sender;
    return channel_receive_from(channel, timeout_ms, message, length, received, fds, fd_count, &sender, err);
}

int channel_receive_from(int channel, int timeout_ms, void *message, size_t length, size_t *received,
                         int *fds, uint32_t *fd_count, pid_t *sender, struct forkd_error *err)
{
    struct iovec iov = {.iov_base = message, .iov_len = length};
    union control_buffer control;
    struct msghdr header = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.data, .msg_controllen = sizeof control.data};
    uint32_t capacity = *fd_count;
    *fd_count = 0;
    if (timeout_ms > 0 && io_wait(channel, POLLIN, clock_now_ms() + timeout_ms) == -EAGAIN)
        return no_answer("recvmsg", OBJECT, timeout_ms, err);
    ssize_t got;
    do {
        got =
            recvmsg(channel, &header, MSG_CMSG_CLOEXEC | (timeout_ms == CHANNEL_FOREVER ? 0 : MSG_DONTWAIT));
        /* ECONNRESET says that the other end is gone and had not read all: once, and before what it sent. */
    } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
    if (got == 0)
        return 0;
    if (got < 0)
        return error_set(err, errno, "recvmsg", OBJECT, NULL);
    int arrived[CHANNEL_MAX_FDS];
    uint32_t count = 0;
    *sender = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&header); part != NULL; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_CREDENTIALS) {
            struct ucred credentials;
            memcpy(&credentials, CMSG_DATA(part), sizeof credentials);
            *sender = credentials.pid;
        }
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        count = (uint32_t)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(arrived, CMSG_DATA(part), count * sizeof(int));
    }
    if (count > capacity || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        close_all(arrived, count);
        return error_set(err, EPROTO, "recvmsg", OBJECT, "the message does not fit; do the versions match?");
    }
    for (uint32_t i = 0; i < count; i++)
        fds[i] = arrived[i];
    *fd_count = count;
    *received = (size_t)got;
    return 1;
}
