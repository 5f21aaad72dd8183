/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/stream.h"

#include "clock.h"
#include "line.h"
#include "peer.h"
#include "streams/errno_name.h"
#include "streams/files.h"
#include "streams/frame.h"
#include "streams/metrics.h"
#include "streams/process.h"
#include "streams/relay.h"
#include "streams/rights.h"
#include "streams/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPENING_MS 10000

static atomic_int streams; /* that are open */

void stream_close(int fd)
{
    close(fd);
    atomic_fetch_sub(&streams, 1);
}

static void error_object(struct writer *writer, const struct forkd_error *err)
{
    writer_text(writer, "{\"error\":");
    writer_string(writer, err->text, strlen(err->text));
    writer_format(writer, ",\"code\":\"%s\"}", errno_name(err->code));
}

void stream_refuse(struct writer *writer, const struct forkd_error *err)
{
    error_object(writer, err);
    writer_text(writer, "\n");
}

void stream_fail(struct writer *writer, const struct forkd_error *err)
{
    size_t begun = frame_begin(writer, FRAME_END, 6 * sizeof err->text + 64);
    error_object(writer, err);
    frame_finish(writer, begun);
}

void stream_accept(struct writer *writer)
{
    writer_text(writer, "{}\n");
}

void stream_end(struct writer *writer)
{
    size_t begun = frame_begin(writer, FRAME_END, 2);
    writer_text(writer, "{}");
    frame_finish(writer, begun);
}

int stream_error(struct forkd_error *err, int code, const char *operation, const char *object)
{
    return error_set(err, code, operation, object, NULL);
}

/* 1: there is a line; 0: the host is gone; or a negative errno. */
static int read_opening(struct line *line, struct forkd_error *err)
{
    int64_t deadline = clock_now_ms() + OPENING_MS;
    struct pollfd host = {.fd = line->fd, .events = POLLIN};
    fcntl(line->fd, F_SETFL, O_NONBLOCK);
    int got = line_read(line);
    while (got == -EAGAIN && poll(&host, 1, clock_poll_timeout(deadline)) > 0)
        got = line_read(line);
    fcntl(line->fd, F_SETFL, 0);
    if (got == -EAGAIN)
        return error_say(err, ETIMEDOUT, "read", "order", "no line within %d s", OPENING_MS / 1000);
    if (got == -EMSGSIZE)
        return error_say(err, E2BIG, "read", "order", "the line is longer than %zu bytes", ORDER_LINE_MAX);
    if (got == -ENOMEM)
        return error_set(err, ENOMEM, "read", "order", NULL);
    /* What a closed connection leaves is no line. */
    return got > 0 && line->ended;
}

/* What only files, sockets and directories are needed for. */
static int perform_as_user(struct stream *stream, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    int status = rights_take(stream->image);
    if (status < 0)
        return error_set(err, status, "take the rights of", "user", NULL);
    switch (order->operation) {
    case ORDER_STAT:
        return files_stat(stream, err);
    case ORDER_LIST:
        return files_list(stream, err);
    case ORDER_FILE_READ:
        return files_read(stream, err);
    case ORDER_FILE_WRITE:
        return files_write(stream, err);
    case ORDER_MKDIR:
        return files_mkdir(stream, err);
    case ORDER_WATCH:
        return watch_serve(stream, err);
    case ORDER_CONNECT:
        return relay_serve(stream, err);
    case ORDER_SYMLINK:
        status = files_symlink(order, err);
        break;
    case ORDER_MOVE:
        status = files_move(order, err);
        break;
    case ORDER_REMOVE:
        status = files_remove(order, err);
        break;
    default:
        return error_set(err, ENOSYS, "perform", "order", NULL);
    }
    if (status == 0)
        stream_accept(stream->writer);
    return status;
}

static int perform(struct stream *stream, struct process **process, struct forkd_error *err)
{
    struct writer *writer = stream->writer;
    int status;
    switch (stream->order.operation) {
    case ORDER_RUN:
        return process_run(stream, process, err);
    case ORDER_ATTACH:
        return process_attach(stream, err);
    case ORDER_PROCESSES:
        return process_list(writer, err);
    case ORDER_METRICS:
        return metrics_write(writer, err);
    case ORDER_SIGNAL:
        status = process_signal(&stream->order, err);
        break;
    case ORDER_RESIZE:
        status = process_resize(&stream->order, err);
        break;
    default:
        return perform_as_user(stream, err);
    }
    if (status == 0)
        stream_accept(writer);
    return status;
}

static struct process *answer(struct stream *stream, struct line *line)
{
    struct forkd_error err;
    struct process *process = NULL;
    struct image as_user = {0};
    int status = read_opening(line, &err);
    if (status == 0)
        return NULL;
    if (status > 0)
        status = order_parse(line->data, line->length, &stream->order, &err);
    if (status == 0 && stream->order.user) {
        status = image_with_user("", stream->image, stream->order.user, &as_user, &err);
        stream->image = &as_user;
        if (status == 0)
            status = order_go_home(&stream->order, as_user.home, &err);
    }
    if (status == 0) {
        stream->rest = line_rest(line, &stream->rest_length);
        status = perform(stream, &process, &err);
    }
    if (status < 0)
        stream_refuse(stream->writer, &err);
    order_free(&stream->order);
    image_free(&as_user);
    return process;
}

/* Too many, or no memory for one. */
static void turn_away(int fd)
{
    static const char text[] = "{\"error\":\"192 streams are open already\",\"code\":\"EAGAIN\"}\n";
    _Static_assert(STREAMS_MAX == 192, "as the text says");
    (void)!send(fd, text, sizeof text - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    stream_close(fd);
}

void stream_serve(const struct image *image, int fd)
{
    struct stream stream = {.fd = fd, .image = image, .writer = malloc(sizeof *stream.writer)};
    struct process *process = NULL;
    struct line line;
    if (atomic_fetch_add(&streams, 1) >= STREAMS_MAX || !stream.writer) {
        free(stream.writer);
        turn_away(fd);
        return;
    }
    line_init(&line, fd, ORDER_LINE_MAX);
    writer_init(stream.writer, fd);
    process = answer(&stream, &line);
    if (stream.fd >= 0) {
        writer_flush(stream.writer);
        peer_finish(fd);
        atomic_fetch_sub(&streams, 1);
    }
    free(stream.writer);
    line_free(&line);
    if (process)
        process_serve(process);
}
