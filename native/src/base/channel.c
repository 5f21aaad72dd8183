/* SPDX-License-Identifier: Apache-2.0 */
#include "base/channel.h"

#include "base/listener.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define OBJECT "control channel"

union control_buffer {
    char data[CMSG_SPACE(CHANNEL_MAX_FDS * sizeof(int))];
    struct cmsghdr align;
};

int channel_pair(int out[2], struct forkd_error *err)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out) < 0)
        return error_set(err, errno, "socketpair", OBJECT, NULL);
    return 0;
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
    return listener_open(path, SOCK_SEQPACKET, 0600, err);
}

int channel_connect(const char *path, struct forkd_error *err)
{
    struct sockaddr_un address;
    int fd = make_socket(path, &address, err);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int result = error_set(err, errno, "connect", path, "what was to be found there has ended, or never was");
    close(fd);
    return result;
}

int channel_send(int channel, const void *message, size_t length, const int *fds, uint32_t fd_count,
                 struct forkd_error *err)
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
    ssize_t sent;
    do {
        sent = sendmsg(channel, &header, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return 0;
    int code = errno == ECONNRESET ? EPIPE : errno;
    return error_set(err, code, "sendmsg", OBJECT, code == EPIPE ? "the forkd-vmm process is gone" : NULL);
}

static void close_all(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        close(fds[i]);
}

int channel_receive(int channel, int flags, void *message, size_t length, size_t *received, int *fds,
                    uint32_t *fd_count, struct forkd_error *err)
{
    struct iovec iov = {.iov_base = message, .iov_len = length};
    union control_buffer control;
    struct msghdr header = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.data, .msg_controllen = sizeof control.data};
    uint32_t capacity = *fd_count;
    *fd_count = 0;
    ssize_t got;
    do {
        got = recvmsg(channel, &header, flags | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got == 0 || (got < 0 && errno == ECONNRESET))
        return 0;
    if (got < 0)
        return error_set(err, errno, "recvmsg", OBJECT, NULL);
    int arrived[CHANNEL_MAX_FDS];
    uint32_t count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&header); part != NULL; part = CMSG_NXTHDR(&header, part)) {
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
