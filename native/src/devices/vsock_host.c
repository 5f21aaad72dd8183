/* SPDX-License-Identifier: Apache-2.0 */
/* The host's clients: the listener, its convention, and their sockets. */
#include "devices/vsock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections taken from the listener before others get their turn. */
#define VSOCK_ACCEPT_BUDGET 16u

static void request_or_hold(struct connection *c, uint32_t port)
{
    const struct vsock *vsock = c->vsock;
    c->guest_port = port;
    if (vsock->host != NULL && vsock->host->opening != NULL)
        vsock->host->opening(vsock->host);
    if (vsock->hold)
        c->state = CONNECTION_HELD;
    else
        connection_request(c);
}

static bool parse_line(const char *line, uint32_t length, uint32_t *port)
{
    static const char verb[] = "CONNECT ";
    uint32_t at = sizeof verb - 1;
    uint64_t value = 0;
    if (length <= at + 1 || memcmp(line, verb, at) != 0)
        return false;
    for (; at < length - 1; at++) {
        if (line[at] < '0' || line[at] > '9')
            return false;
        value = value * 10 + (uint64_t)(line[at] - '0');
    }
    *port = (uint32_t)value;
    return value <= UINT32_MAX;
}

/* Read a client's line and not a byte more: what follows is for the guest. False: the client is no good. */
static bool read_line(struct connection *c)
{
    char *end = c->line + c->line_length;
    ssize_t seen = recv(c->fd, end, sizeof c->line - c->line_length, MSG_PEEK | MSG_DONTWAIT);
    if (seen < 0)
        return errno == EAGAIN || errno == EINTR;
    const char *newline = memchr(end, '\n', (size_t)seen);
    size_t take = newline != NULL ? (size_t)(newline - end) + 1 : (size_t)seen;
    if (take == 0 || recv(c->fd, end, take, MSG_DONTWAIT) != (ssize_t)take)
        return false;
    c->line_length += (uint8_t)take;
    if (newline == NULL)
        return c->line_length < sizeof c->line;
    uint32_t port;
    if (!virtio_active(&c->vsock->device) || !parse_line(c->line, c->line_length, &port))
        return false;
    request_or_hold(c, port);
    return true;
}

void connection_opened(struct connection *c)
{
    c->state = CONNECTION_OPEN;
    if (c->origin != FROM_CLIENT)
        return;
    char line[32];
    int length = snprintf(line, sizeof line, "OK %u\n", c->host_port);
    if (send(c->fd, line, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL) != length)
        connection_lose_host(c);
}

void connection_ready(struct loop_watch *watch, uint32_t events)
{
    struct connection *c = container_of(watch, struct connection, watch);
    struct vsock *vsock = c->vsock;
    if ((events & (EPOLLHUP | EPOLLERR)) && !connection_host_is_gone(c)) {
        /* Asked again, because the event may be of the socket that had this place before. */
        struct pollfd now = {.fd = c->fd};
        if (poll(&now, 1, 0) > 0 && c->state != CONNECTION_LINE)
            connection_lose_host(c);
    }
    switch (c->state) {
    case CONNECTION_LINE:
        if (!read_line(c)) {
            connection_free(c);
            return;
        }
        break;
    case CONNECTION_HELD:
    case CONNECTION_REQUESTED:
        if (connection_host_is_gone(c)) /* a request that the guest has not seen yet needs no reset */
            connection_begin_close(c, c->state == CONNECTION_REQUESTED && !(c->control & SEND_REQUEST));
        break;
    default:
        connection_flush(c);
        if (c->input != INPUT_ENDED && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
            c->input = connection_wants_data(c) ? INPUT_READY : INPUT_NONE;
        break;
    }
    connection_settle(c);
    vsock_deliver(vsock);
}

void vsock_listener_continue(struct vsock *vsock)
{
    if (vsock->listener_fd >= 0 && !vsock->listener_held)
        loop_modify(vsock->device.machine->loop, &vsock->listener, EPOLLIN);
}

void vsock_hold(struct virtio_device *device, bool held)
{
    struct vsock *vsock = container_of(device, struct vsock, device);
    vsock->listener_held = held;
    if (held)
        loop_modify(device->machine->loop, &vsock->listener, 0);
    else
        vsock_listener_continue(vsock);
}

bool vsock_is_connected(const struct virtio_device *device)
{
    return container_of(device, struct vsock, device)->known != 0;
}

static void listener_ready(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vsock *vsock = container_of(watch, struct vsock, listener);
    if (vsock->listener_held)
        return; /* since this was on its way */
    for (uint32_t i = 0; i < VSOCK_ACCEPT_BUDGET; i++) {
        bool full = vsock->free == NULL && vsock->pool_used == vsock->connections_most;
        int fd = full ? -1 : accept4(vsock->listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (!full && fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
            return;
        if (fd < 0 || connection_new(vsock, fd, FROM_CLIENT) == NULL) {
            if (fd >= 0)
                close(fd);
            /* No room, or no descriptors: those who wait in the backlog go on doing so until there is
             * (vsock_listener_continue), or until there may be, which is looked at when one more comes. */
            loop_modify(vsock->device.machine->loop, &vsock->listener, EPOLLIN | EPOLLET);
            return;
        }
    }
}

int vsock_listen(struct virtio_device *device, int listen_fd, struct forkd_error *err)
{
    struct vsock *vsock = container_of(device, struct vsock, device);
    int result;
    vsock->listener.ready = listener_ready;
    if (vsock->listener_fd >= 0)
        result = error_set(err, EBUSY, "listen", "vsock device", "it has a socket already");
    else
        result = loop_add(device->machine->loop, &vsock->listener, listen_fd, EPOLLIN, err);
    if (result < 0)
        close(listen_fd);
    else
        vsock->listener_fd = listen_fd;
    return result;
}

int vsock_connect(struct virtio_device *device, int stream_fd, uint32_t port, struct forkd_error *err)
{
    struct vsock *vsock = container_of(device, struct vsock, device);
    bool active = virtio_active(device);
    struct connection *c = active ? connection_new(vsock, stream_fd, FROM_DESCRIPTOR) : NULL;
    if (c == NULL) {
        close(stream_fd);
        return active ? error_set(err, ENOBUFS, "connect", "vsock device", "too many connections")
                      : error_set(err, EAGAIN, "connect", "vsock device", "the guest's driver is not up");
    }
    request_or_hold(c, port);
    connection_settle(c);
    vsock_deliver(vsock);
    return 0;
}
