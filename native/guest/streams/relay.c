/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/relay.h"

#include "clock.h"
#include "streams/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_MS 10000

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un socket;
};

/* A descriptor that does not block, or a negative errno. */
static int connect_to(const union address *address, socklen_t length, int64_t deadline)
{
    int error = 0;
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    /* A Unix socket whose backlog is full says EAGAIN, and there is nothing to wait for. */
    while (connect(fd, &address->any, length) < 0 && (error = errno) == EAGAIN && clock_now_ms() < deadline)
        clock_sleep_ms(10);
    if (error == EINPROGRESS) {
        struct pollfd polled = {.fd = fd, .events = POLLOUT};
        bool ready = poll(&polled, 1, clock_poll_timeout(deadline)) > 0;
        error = ETIMEDOUT;
        if (ready && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error}) < 0)
            error = errno;
    }
    if (error == EAGAIN)
        error = ETIMEDOUT;
    if (error == 0)
        return fd;
    close(fd);
    return -error;
}

static int connect_ip(const char *host, uint16_t port, int64_t deadline)
{
    union address address = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};
    if (inet_pton(AF_INET, host, &address.v4.sin_addr) == 1)
        return connect_to(&address, sizeof address.v4, deadline);
    address = (union address){.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
    if (inet_pton(AF_INET6, host, &address.v6.sin6_addr) == 1)
        return connect_to(&address, sizeof address.v6, deadline);
    return -EINVAL;
}

static int open_target(const struct order *order)
{
    int64_t deadline = clock_now_ms() + CONNECT_MS;
    if (order->socket) {
        union address address = {.socket = {.sun_family = AF_UNIX}};
        memcpy(address.socket.sun_path, order->socket, strlen(order->socket));
        return connect_to(&address, sizeof address.socket, deadline);
    }
    if (order->host)
        return connect_ip(order->host, order->port, deadline);
    int fd = connect_ip("127.0.0.1", order->port, deadline);
    if (fd >= 0)
        return fd;
    /* Where there is no IPv6, what IPv4 said is the reason. */
    int v6 = connect_ip("::1", order->port, deadline);
    return v6 >= 0 ? v6 : fd;
}

struct relay {
    int host;
    int target;
    int error;   /* a negative errno of the target */
    bool broken; /* the host is gone */
    struct inbox inbox;
    const unsigned char *unsent; /* to the target */
    size_t unsent_length;
    bool target_over; /* it has no more to say, and the host is told */
    /* To the host: a frame with its header. */
    size_t start;
    size_t used;
    unsigned char frame[FRAME_HEADER + FRAME_MAX];
};

static void send_to_target(struct relay *relay)
{
    while (relay->unsent_length > 0 && !relay->error) {
        ssize_t sent = send(relay->target, relay->unsent, relay->unsent_length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0 && errno != EINTR)
            relay->error = -errno;
        if (sent > 0) {
            relay->unsent += sent;
            relay->unsent_length -= (size_t)sent;
        }
    }
}

/* What has come, and then what comes in one call. */
static void hear_host(struct relay *relay, bool fill)
{
    while (relay->unsent_length == 0 && !relay->error) {
        int got = inbox_take(&relay->inbox, &relay->unsent, &relay->unsent_length);
        if (got == INBOX_PIECE) {
            send_to_target(relay);
        } else if (got == INBOX_OVER) {
            shutdown(relay->target, SHUT_WR);
        } else if (got == INBOX_EMPTY) {
            if (!fill)
                return;
            fill = false;
            got = inbox_fill(&relay->inbox, MSG_DONTWAIT);
            relay->broken = got <= 0 && got != -EAGAIN;
            if (got <= 0)
                return;
        } else {
            relay->broken = true;
            return;
        }
    }
}

static void send_to_host(struct relay *relay)
{
    while (relay->start < relay->used && !relay->broken) {
        ssize_t sent = send(relay->host, relay->frame + relay->start, relay->used - relay->start,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            relay->start += (size_t)sent;
        else if (sent < 0 && errno == EAGAIN)
            return;
        else if (sent == 0 || errno != EINTR)
            relay->broken = true;
    }
}

static void hear_target(struct relay *relay)
{
    ssize_t got = recv(relay->target, relay->frame + FRAME_HEADER, FRAME_MAX, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got < 0) {
        relay->error = -errno;
        return;
    }
    relay->target_over = got == 0;
    frame_header(relay->frame, FRAME_OUT, (size_t)got);
    relay->start = 0;
    relay->used = FRAME_HEADER + (size_t)got;
    send_to_host(relay);
}

/* Each side is read when all that it said before is with the other. */
static void step(struct relay *relay)
{
    bool idle = relay->start == relay->used;
    bool waiting = relay->unsent_length > 0;
    struct pollfd host = {.fd = relay->host};
    struct pollfd target = {.fd = relay->target};
    host.events = (short)((waiting ? POLLRDHUP : POLLIN) | (idle ? 0 : POLLOUT));
    target.events = (short)((waiting ? POLLOUT : 0) | (idle && !relay->target_over ? POLLIN : 0));
    /* A closed connection that is still to be heard of would wake us again and again. */
    if (target.events == 0)
        target.fd = -1;
    struct pollfd polled[2] = {host, target};
    if (poll(polled, 2, -1) < 0)
        return;
    if (polled[1].revents & (POLLOUT | POLLERR | POLLHUP))
        send_to_target(relay);
    if (idle && polled[1].revents & (POLLIN | POLLHUP | POLLERR) && !relay->error && !relay->target_over)
        hear_target(relay);
    if (polled[0].revents & POLLOUT)
        send_to_host(relay);
    if (!waiting && polled[0].revents & (POLLIN | POLLRDHUP | POLLHUP | POLLERR))
        hear_host(relay, true);
    else if (polled[0].revents & (POLLRDHUP | POLLHUP | POLLERR))
        relay->broken = true;
    else if (waiting && relay->unsent_length == 0)
        hear_host(relay, false);
}

static void run(struct relay *relay)
{
    hear_host(relay, false);
    while (!relay->error && !relay->broken) {
        bool over = relay->target_over && relay->start == relay->used;
        if (over && relay->inbox.over && relay->unsent_length == 0)
            return;
        step(relay);
    }
}

static void end(struct stream *stream, struct relay *relay, struct forkd_error *err)
{
    /* Half a frame would be the last that the host understands. */
    if (relay->error && !relay->broken && relay->start < relay->used &&
        send(relay->host, relay->frame + relay->start, relay->used - relay->start, MSG_NOSIGNAL) < 0)
        relay->broken = true;
    if (relay->broken) {
        stream->writer->error = -EPIPE;
    } else if (relay->error) {
        stream_error(err, relay->error, "pass on", "connection");
        stream_fail(stream->writer, err);
    } else {
        stream_end(stream->writer);
    }
}

int relay_serve(struct stream *stream, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    char name[32];
    snprintf(name, sizeof name, "port %u", (unsigned)order->port);
    int target = open_target(order);
    if (target < 0)
        return stream_error(err, target, "connect to", order->socket ? order->socket : name);
    struct relay *relay = malloc(sizeof *relay);
    struct inbox inbox;
    if (!relay || inbox_init(&inbox, stream->fd, stream->rest, stream->rest_length) < 0) {
        free(relay);
        close(target);
        return stream_error(err, ENOMEM, "connect to", name);
    }
    /* Not the frame: clearing it would touch all of its pages. */
    memset(relay, 0, offsetof(struct relay, frame));
    relay->host = stream->fd;
    relay->target = target;
    relay->inbox = inbox;
    if (!order->socket)
        setsockopt(target, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    stream_accept(stream->writer);
    if (writer_flush(stream->writer) == 0) {
        run(relay);
        end(stream, relay, err);
    }
    inbox_free(&relay->inbox);
    free(relay);
    close(target);
    return 0;
}
