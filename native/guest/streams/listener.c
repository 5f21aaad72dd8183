/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/listener.h"

#include "clock.h"
#include "streams/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* How long it may take to close when it has been told the end. */
#define CLOSE_MS 10000

/* The END of who only sends, and whose input was taken. */
#define NOTHING_ELSE "{}"

struct listener *listener_new(int fd, const void *rest, size_t length)
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (listener && inbox_init(&listener->inbox, fd, rest, length) < 0) {
        free(listener);
        return NULL;
    }
    if (listener) {
        listener->fd = fd;
        listener->output = true;
        listener->deadline = CLOCK_NEVER;
    }
    return listener;
}

void listener_free(struct listener *listener)
{
    stream_close(listener->fd);
    inbox_free(&listener->inbox);
    free(listener);
}

static void add(struct listener *listener, const void *data, size_t length)
{
    memcpy(listener->small + listener->small_used, data, length);
    listener->small_used += length;
}

static void add_frame(struct listener *listener, enum frame_type type, const char *payload, size_t length)
{
    unsigned char header[FRAME_HEADER];
    frame_header(header, type, length);
    add(listener, header, sizeof header);
    add(listener, payload, length);
}

void listener_say(struct listener *listener, const char *text)
{
    add(listener, text, strlen(text));
}

/* All that follows at once, so that the end of a short program is one message. False: nothing now. */
static bool next_frames(struct listener *listener, const struct source *source)
{
    static const enum frame_type types[LOG_OUTPUTS] = {FRAME_OUT, FRAME_ERR};
    unsigned char header[FRAME_HEADER];
    int output;
    listener->small_start = 0;
    listener->small_used = 0;
    if (listener->output) {
        listener->payload = log_next(source->log, &listener->at, listener->from, FRAME_MAX, &output);
        if (listener->payload > 0) {
            frame_header(header, types[output], listener->payload);
            add(listener, header, sizeof header);
            return true;
        }
    }
    for (int i = 0; i < LOG_OUTPUTS && listener->output; i++) {
        if (listener->closed[i] || !source->closed[i] || (i == LOG_ERR && source->terminal))
            continue;
        add_frame(listener, types[i], "", 0);
        listener->closed[i] = true;
    }
    const char *end = source->end;
    if (!listener->output && listener->over && listener->unsent_length == 0)
        end = NOTHING_ELSE;
    if (*end && !listener->ending) {
        add_frame(listener, FRAME_END, end, strlen(end));
        listener->ending = true;
    }
    return listener->small_used > 0;
}

static void sent(struct listener *listener, const struct source *source, size_t length)
{
    size_t small = listener->small_used - listener->small_start;
    if (small > length)
        small = length;
    listener->small_start += small;
    if (length > small) {
        log_used(source->log, &listener->at, length - small);
        listener->payload -= length - small;
    }
}

void listener_push(struct listener *listener, const struct source *source)
{
    listener->blocked = false;
    while (listener->state == LISTENER_LIVE) {
        struct iovec parts[3];
        size_t count = 0;
        bool idle = listener->small_start == listener->small_used && listener->payload == 0;
        if (idle && listener->ending) {
            shutdown(listener->fd, SHUT_WR);
            listener->state = LISTENER_TOLD;
            listener->deadline = clock_now_ms() + CLOSE_MS;
            return;
        }
        if (idle && !next_frames(listener, source))
            return;
        if (listener->small_start < listener->small_used)
            parts[count++] = (struct iovec){listener->small + listener->small_start,
                                            listener->small_used - listener->small_start};
        if (listener->payload > 0)
            count += (size_t)log_pieces(source->log, &listener->at, listener->payload, parts + count);
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t length = sendmsg(listener->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (length > 0)
            sent(listener, source, (size_t)length);
        else if (length < 0 && errno == EAGAIN)
            listener->blocked = true;
        else if (length == 0 || errno != EINTR)
            listener->state = LISTENER_BROKEN;
        if (listener->blocked)
            return;
    }
}

/*
 * Of a host that closes as soon as it has the end, and so before this side shuts down, Linux says ENOTCONN
 * and not that there is nothing more (af_vsock.c: shutdown(2) takes back SOCK_DONE). It says so of
 * connections, too, that a restored VM has lost; these have an error beside it.
 */
static bool has_closed(int fd)
{
    int lost = 0;
    socklen_t size = sizeof lost;
    return errno == ENOTCONN && getsockopt(fd, SOL_SOCKET, SO_ERROR, &lost, &size) == 0 && lost == 0;
}

void listener_hear_close(struct listener *listener)
{
    char waste[4096];
    ssize_t got = recv(listener->fd, waste, sizeof waste, MSG_DONTWAIT);
    if (got == 0)
        listener->state = LISTENER_HAD;
    else if (got < 0 && errno != EAGAIN && errno != EINTR)
        listener->state = has_closed(listener->fd) ? LISTENER_HAD : LISTENER_BROKEN;
}
