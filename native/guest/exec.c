/* SPDX-License-Identifier: Apache-2.0 */
#include "exec.h"

#include "clock.h"
#include "reply.h"
#include "spawn.h"
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A multiple of 3, so that only the last chunk of a stream has padding, and less than a pipe holds. */
#define EXEC_CHUNK 49152

/* How often a quiet stream looks whether its client is still there. */
#define PROBE_MS 1000

enum { OUT, ERR };
enum { POLL_OUT, POLL_ERR, POLL_IN, POLL_CHILD, POLL_CLIENT, POLL_COUNT };

struct execution {
    const struct request *request;
    const struct image *image;
    struct writer *writer;
    struct child child;
    bool ended; /* the program itself; others may still hold its output */
    int input;
    size_t input_sent;
    int output[2];
    struct spool spool[2];
    char *chunk;
    int64_t deadline;
    int error; /* negative errno: output could not be kept */
    bool timed_out;
    bool abandoned; /* the client is gone */
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The program's ends are [0][0], [1][1] and [2][1]; ours do not block. */
static int make_pipes(int pipes[3][2])
{
    for (int i = 0; i < 3; i++)
        if (pipe2(pipes[i], O_CLOEXEC) < 0)
            return -errno;
    if (fcntl(pipes[0][1], F_SETFL, O_NONBLOCK) < 0 || fcntl(pipes[1][0], F_SETFL, O_NONBLOCK) < 0 ||
        fcntl(pipes[2][0], F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

static int start(struct execution *run, const char **culprit)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    int status = make_pipes(pipes);
    if (status == 0) {
        struct spawn_options options = {
            .image = run->image,
            .argv = run->request->argv,
            .environment = run->request->environment,
            .cwd = run->request->cwd,
            .stdio = {pipes[0][0], pipes[1][1], pipes[2][1]},
            .keep = {-1, -1},
        };
        status = spawn(&options, &run->child, culprit);
    }
    close_fd(&pipes[0][0]);
    close_fd(&pipes[1][1]);
    close_fd(&pipes[2][1]);
    run->input = pipes[0][1];
    run->output[OUT] = pipes[1][0];
    run->output[ERR] = pipes[2][0];
    return status;
}

static void feed_input(struct execution *run)
{
    const struct request *request = run->request;
    while (run->input_sent < request->input_length) {
        ssize_t sent =
            write(run->input, request->input + run->input_sent, request->input_length - run->input_sent);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            break; /* the program does not want more */
        run->input_sent += (size_t)sent;
    }
    close_fd(&run->input);
}

static void stream_chunk(struct execution *run, int which, size_t length)
{
    struct writer *writer = run->writer;
    writer_format(writer, "{\"stream\":\"%s\",\"data_base64\":\"", which == OUT ? "stdout" : "stderr");
    writer_base64(writer, run->chunk, length);
    writer_text(writer, "\"}\n");
    writer_push(writer);
}

static void read_output(struct execution *run, int which)
{
    ssize_t got = read(run->output[which], run->chunk, EXEC_CHUNK);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        close_fd(&run->output[which]);
        return;
    }
    if (run->request->stream)
        stream_chunk(run, which, (size_t)got);
    else
        run->error = spool_append(&run->spool[which], run->chunk, (size_t)got);
}

static bool is_complete(const struct execution *run)
{
    return run->ended && run->output[OUT] < 0 && run->output[ERR] < 0 && !writer_pending(run->writer);
}

static bool is_over(const struct execution *run)
{
    return run->error || run->timed_out || run->abandoned || is_complete(run);
}

/*
 * A client that closed both directions cannot be told from one that only finished sending, except by sending
 * to it. Sending nothing is enough on vsock; on TCP it reports a reset that has come, and keep-alive probes
 * bring one.
 */
static bool client_is_gone(const struct execution *run, short events)
{
    if (run->writer->error || (events & (POLLERR | POLLHUP)))
        return true;
    return send(run->writer->fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN && errno != EINTR;
}

static void step(struct execution *run)
{
    bool stream = run->request->stream;
    bool room = !stream || !writer_pending(run->writer);
    struct pollfd fds[POLL_COUNT] = {
        [POLL_OUT] = {.fd = room ? run->output[OUT] : -1, .events = POLLIN},
        [POLL_ERR] = {.fd = room ? run->output[ERR] : -1, .events = POLLIN},
        [POLL_IN] = {.fd = run->input, .events = POLLOUT},
        [POLL_CHILD] = {.fd = run->ended ? -1 : run->child.pidfd, .events = POLLIN},
        [POLL_CLIENT] = {.fd = stream ? run->writer->fd : -1, .events = room ? 0 : POLLOUT},
    };
    int timeout = clock_poll_timeout(run->deadline);
    if (stream && (timeout < 0 || timeout > PROBE_MS))
        timeout = PROBE_MS;
    if (poll(fds, POLL_COUNT, timeout) < 0)
        return;
    if (fds[POLL_IN].revents)
        feed_input(run);
    if (fds[POLL_OUT].revents)
        read_output(run, OUT);
    if (fds[POLL_ERR].revents && !(stream && writer_pending(run->writer)) && !run->error)
        read_output(run, ERR);
    if (fds[POLL_CHILD].revents)
        run->ended = true;
    if (fds[POLL_CLIENT].revents & POLLOUT)
        writer_push(run->writer);
    if (stream)
        run->abandoned = client_is_gone(run, fds[POLL_CLIENT].revents);
    run->timed_out = clock_now_ms() >= run->deadline && !is_complete(run);
}

/* As Python prints a list, as far as it fits. */
static void describe_command(char *const *argv, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (size_t i = 0; argv[i] && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s'%.200s'", i > 0 ? ", " : "", argv[i]);
    if (used < size)
        snprintf(out + used, size - used, "]");
    else
        memcpy(out + size - 4, "...", 4);
}

static void describe_failure(const struct execution *run, char *out, size_t size)
{
    if (run->timed_out) {
        char command[1024];
        describe_command(run->request->argv, command, sizeof command);
        snprintf(out, size, "TimeoutExpired: Command '%s' timed out after %g seconds", command,
                 run->request->timeout);
    } else {
        snprintf(out, size, "OSError: [Errno %d] %s: output could not be kept", -run->error,
                 strerror(-run->error));
    }
}

static void reply_failure(const struct execution *run, const char *error)
{
    struct writer *writer = run->writer;
    if (!run->request->stream) {
        reply_error(writer, error);
        return;
    }
    writer_text(writer, "{\"exit_code\":1,\"error\":");
    writer_string(writer, error, strlen(error));
    writer_text(writer, "}\n");
}

static void reply_end(struct execution *run, int code)
{
    struct writer *writer = run->writer;
    if (!run->request->stream) {
        writer_text(writer, "{\"stdout\":");
        int status = spool_write_string(&run->spool[OUT], writer);
        writer_text(writer, ",\"stderr\":");
        if (status == 0)
            status = spool_write_string(&run->spool[ERR], writer);
        /* Too late for an error reply: a line that does not end cannot be taken for a whole answer. */
        if (status < 0) {
            writer->error = -status;
            return;
        }
        writer_text(writer, ",");
    } else {
        writer_text(writer, "{");
    }
    writer_format(writer, "\"exit_code\":%d}\n", code);
}

static void run_to_end(struct execution *run)
{
    if (run->request->input_length == 0)
        close_fd(&run->input);
    while (!is_over(run))
        step(run);
    bool cut_short = run->timed_out || run->error || run->abandoned;
    if (cut_short)
        child_kill(&run->child);
    int code = child_reap(&run->child);
    if (!cut_short) {
        reply_end(run, code);
    } else if (!run->abandoned) {
        char error[1400];
        describe_failure(run, error, sizeof error);
        reply_failure(run, error);
    }
}

void exec_serve(const struct request *request, const struct image *image, struct writer *writer)
{
    struct execution run = {
        .request = request,
        .image = image,
        .writer = writer,
        .input = -1,
        .output = {-1, -1},
        .deadline = clock_deadline(request->timeout),
        .chunk = malloc(EXEC_CHUNK),
    };
    spool_init(&run.spool[OUT]);
    spool_init(&run.spool[ERR]);
    const char *culprit = request->argv[0];
    int status = run.chunk ? start(&run, &culprit) : -ENOMEM;
    if (status == 0) {
        run_to_end(&run);
    } else {
        char error[512];
        spawn_error_text(-status, culprit, error, sizeof error);
        reply_failure(&run, error);
    }
    close_fd(&run.input);
    close_fd(&run.output[OUT]);
    close_fd(&run.output[ERR]);
    spool_free(&run.spool[OUT]);
    spool_free(&run.spool[ERR]);
    free(run.chunk);
}
