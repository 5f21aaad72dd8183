/* SPDX-License-Identifier: Apache-2.0 */
#include "base/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128

static bool fill_address(struct sockaddr_un *address, const char *path)
{
    size_t length = strlen(path);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (length == 0 || length >= sizeof address->sun_path)
        return false;
    memcpy(address->sun_path, path, length);
    return true;
}

int listener_open(const char *path, int type, uint32_t mode, struct forkd_error *err)
{
    struct sockaddr_un address;
    if (!fill_address(&address, path))
        return error_set(err, EINVAL, "check", path, "a socket's path has 1 to %zu bytes",
                         sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, errno, "socket", path, NULL);
    /* What fchmod says before bind is what the path gets: there is no moment at which it is open to others.
     */
    if ((mode == 0 || fchmod(fd, mode) == 0) && bind(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        if (listen(fd, BACKLOG) == 0)
            return fd;
        unlink(path);
    }
    int result = error_set(err, errno, "bind", path, NULL);
    close(fd);
    return result;
}

int listener_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        return fd;
    int code = errno;
    if (code == EMFILE || code == ENFILE) {
        close(STDIN_FILENO);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        /* The number is kept by one that is open: a socket must not get it. */
        dup2(STDOUT_FILENO, STDIN_FILENO);
    }
    return -code;
}

/* Whether one that waits is of this process; it is closed. -1: nobody waits. */
static int take_own(int listener)
{
    struct pollfd polled = {.fd = listener, .events = POLLIN};
    if (poll(&polled, 1, 0) <= 0)
        return -1;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return -1;
    struct ucred peer = {0};
    socklen_t length = sizeof peer;
    bool own = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid == getpid();
    close(fd);
    return own;
}

/* 0, or why a connection to the address was refused. Never waits. */
static int try_connect(const struct sockaddr_un *address, int type)
{
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int result = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

void listener_unlink(int listener)
{
    listener_unlink_in(listener, -1);
}

/* Make the address that of the same name in the working directory, which becomes `directory`. */
static bool make_relative(struct sockaddr_un *address, int directory)
{
    const char *slash = strrchr(address->sun_path, '/');
    if (slash != NULL)
        memmove(address->sun_path, slash + 1, strlen(slash + 1) + 1);
    return fchdir(directory) == 0;
}

void listener_unlink_in(int listener, int directory)
{
    struct sockaddr_un address = {0};
    socklen_t length = sizeof address;
    int type = 0;
    socklen_t type_length = sizeof type;
    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0 || address.sun_path[0] == '\0' ||
        getsockopt(listener, SOL_SOCKET, SO_TYPE, &type, &type_length) < 0)
        return;
    address.sun_path[sizeof address.sun_path - 1] = '\0';
    if (directory >= 0 && !make_relative(&address, directory))
        return;
    /* The path is ours when who knocks there is heard here. Others may go on knocking as fast as they are
     * taken, but no more than the backlog are before us. */
    for (int i = 0; i <= BACKLOG && take_own(listener) >= 0; i++)
        ;
    if (try_connect(&address, type) < 0)
        return;
    int own = 0;
    for (int i = 0; i <= BACKLOG + 1 && own == 0; i++)
        own = take_own(listener);
    if (own == 1)
        unlink(address.sun_path);
}

void listener_note(const char *path, struct listener_before *out)
{
    struct stat info;
    *out = (struct listener_before){0};
    if (path[0] != '\0' && lstat(path, &info) == 0)
        *out = (struct listener_before){.device = info.st_dev,
                                        .inode = info.st_ino,
                                        .changed_ns =
                                            (int64_t)info.st_ctim.tv_sec * 1000000000 + info.st_ctim.tv_nsec};
}

void listener_remove_left(const char *path, const struct listener_before *before)
{
    struct sockaddr_un address;
    struct stat info;
    struct listener_before now;
    if (!fill_address(&address, path) || lstat(path, &info) < 0 || !S_ISSOCK(info.st_mode))
        return;
    listener_note(path, &now);
    if (memcmp(&now, before, sizeof now) == 0)
        return;
    if (try_connect(&address, SOCK_STREAM) == -ECONNREFUSED)
        unlink(path);
}
