/* SPDX-License-Identifier: Apache-2.0 */
#include "exec.h"

#include "clock.h"
#include "drain.h"
#include "peer.h"
#include "reply.h"
#include "spawn.h"
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* A multiple of 3, so that only the last chunk of a stream has padding, and less than a pipe holds. */
#define EXEC_CHUNK 49152

/* How long others that the program started may still hold its output when it has ended, to write the rest. */
#define EXIT_GRACE_MS 200

enum { OUT, ERR };
enum { POLL_OUT, POLL_ERR, POLL_IN, POLL_CHILD, POLL_CLIENT, POLL_COUNT };

struct execution {
    const struct request *request;
    const struct image *image;
    struct writer *writer;
    struct child child;
    bool ended; /* the program itself; jobs that it left may still hold its output */
    int input;  /* the program's; -1: closed */
    int source; /* where more of it comes from; -1: nowhere */
    const unsigned char *unsent;
    size_t unsent_length;
    int output[2];
    struct spool spool[2];
    char *chunk;
    unsigned char *input_chunk; /* of EXEC_CHUNK; NULL: no input follows */
    int64_t deadline;           /* of the program, and then of the rest of its output */
    int error;                  /* negative errno: output could not be kept */
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

static int start(struct execution *run, struct forkd_error *err)
{
    const struct request *request = run->request;
    if (!run->chunk || (request->input_follows && !run->input_chunk))
        return spawn_error(err, ENOMEM, SPAWN_PROGRAM, request->argv[0]);
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    int status = make_pipes(pipes);
    if (status < 0) {
        spawn_error(err, status, SPAWN_PROGRAM, request->argv[0]);
    } else {
        struct spawn_options options = {
            .image = run->image,
            .argv = request->argv,
            .environment = request->environment,
            .cwd = request->cwd,
            .stdio = {pipes[0][0], pipes[1][1], pipes[2][1]},
            .keep = {-1, -1},
        };
        status = spawn(&options, &run->child, err);
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
    while (run->unsent_length > 0) {
        ssize_t sent = write(run->input, run->unsent, run->unsent_length);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            close_fd(&run->input); /* the program does not want more */
            return;
        }
        run->unsent += sent;
        run->unsent_length -= (size_t)sent;
    }
    if (run->source < 0)
        close_fd(&run->input);
}

/* Only when all that came before is with the program, so that it sets the pace. */
static bool wants_input(const struct execution *run)
{
    return run->source >= 0 && run->input >= 0 && run->unsent_length == 0;
}

static void receive_input(struct execution *run)
{
    ssize_t got = recv(run->source, run->input_chunk, EXEC_CHUNK, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got < 0)
        run->abandoned = true;
    if (got <= 0)
        run->source = -1;
    run->unsent = run->input_chunk;
    run->unsent_length = got > 0 ? (size_t)got : 0;
    feed_input(run);
}

static void stream_chunk(struct execution *run, int which, size_t length)
{
    struct writer *writer = run->writer;
    writer_format(writer, "{\"stream\":\"%s\",\"data_base64\":\"", which == OUT ? "stdout" : "stderr");
    writer_base64(writer, run->chunk, length);
    writer_text(writer, "\"}\n");
    writer_push(writer);
}

static void read_output(struct execution *run, int which, size_t most)
{
    ssize_t got = read(run->output[which], run->chunk, most < EXEC_CHUNK ? most : EXEC_CHUNK);
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

static bool is_over(const struct execution *run)
{
    if (run->error || run->timed_out || run->abandoned)
        return true;
    return run->ended && ((run->output[OUT] < 0 && run->output[ERR] < 0) || clock_now_ms() >= run->deadline);
}

static void step(struct execution *run)
{
    bool stream = run->request->stream;
    bool room = !stream || !writer_pending(run->writer);
    bool hungry = wants_input(run);
    struct pollfd fds[POLL_COUNT] = {
        [POLL_OUT] = {.fd = room ? run->output[OUT] : -1, .events = POLLIN},
        [POLL_ERR] = {.fd = room ? run->output[ERR] : -1, .events = POLLIN},
        [POLL_IN] = {.fd = hungry ? -1 : run->input, .events = POLLOUT},
        [POLL_CHILD] = {.fd = run->ended ? -1 : run->child.pidfd, .events = POLLIN},
        [POLL_CLIENT] = {.fd = stream || hungry ? run->writer->fd : -1,
                         .events = (short)((room ? 0 : POLLOUT) | (hungry ? POLLIN : 0))},
    };
    int timeout = clock_poll_timeout(run->deadline);
    if (stream && (timeout < 0 || timeout > PEER_PROBE_MS))
        timeout = PEER_PROBE_MS;
    if (poll(fds, POLL_COUNT, timeout) < 0)
        return;
    if (fds[POLL_IN].revents)
        feed_input(run);
    if (fds[POLL_OUT].revents)
        read_output(run, OUT, EXEC_CHUNK);
    if (fds[POLL_ERR].revents && !(stream && writer_pending(run->writer)) && !run->error)
        read_output(run, ERR, EXEC_CHUNK);
    if (hungry && fds[POLL_CLIENT].revents & (POLLIN | POLLHUP | POLLERR))
        receive_input(run);
    if (fds[POLL_CLIENT].revents & POLLOUT)
        writer_push(run->writer);
    if (stream && (run->writer->error || peer_is_gone(run->writer->fd, fds[POLL_CLIENT].revents)))
        run->abandoned = true;
    if (fds[POLL_CHILD].revents) {
        run->ended = true;
        run->deadline = clock_now_ms() + EXIT_GRACE_MS;
    } else if (!run->ended) {
        run->timed_out = clock_now_ms() >= run->deadline;
    }
}

/* What is in the pipes now, at the pace of the client; what comes later is nobody's. */
static void take_rest(struct execution *run)
{
    for (int which = OUT; which <= ERR; which++) {
        int left = 0;
        if (run->output[which] >= 0 && ioctl(run->output[which], FIONREAD, &left) < 0)
            left = 0;
        while (left > 0 && run->output[which] >= 0 && !run->error && !writer_flush(run->writer)) {
            read_output(run, which, (size_t)left);
            left -= left < EXEC_CHUNK ? left : EXEC_CHUNK;
        }
    }
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

static void reply_failure(const struct execution *run, const char *error, enum reply_code code)
{
    struct writer *writer = run->writer;
    if (!run->request->stream) {
        reply_error(writer, error, code);
        return;
    }
    writer_text(writer, "{\"exit_code\":1,\"error\":");
    writer_string(writer, error, strlen(error));
    reply_close(writer, code);
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
            writer->error = status;
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
    feed_input(run);
    while (!is_over(run))
        step(run);
    bool cut_short = !run->ended;
    if (cut_short)
        child_kill(&run->child);
    int code = child_reap(&run->child);
    if (run->abandoned)
        return;
    take_rest(run);
    if (!cut_short && !run->error) {
        reply_end(run, code);
    } else {
        char error[1400];
        describe_failure(run, error, sizeof error);
        reply_failure(run, error, run->timed_out ? REPLY_TIMED_OUT : REPLY_NO_CODE);
    }
}

static void start_and_run(struct execution *run)
{
    struct forkd_error err;
    int status = start(run, &err);
    if (status == 0) {
        run_to_end(run);
        return;
    }
    bool missing = status == -ENOENT && strcmp(err.operation, SPAWN_PROGRAM) == 0;
    reply_failure(run, err.text, missing ? REPLY_NOT_FOUND : REPLY_CANNOT_RUN);
}

/* Its jobs go on with a pipe that is read. */
static void release(int fd)
{
    if (fd >= 0)
        drain_adopt(fd);
}

void exec_serve(const struct request *request, const struct image *image, struct writer *writer)
{
    struct execution run = {
        .request = request,
        .image = image,
        .writer = writer,
        .input = -1,
        .source = request->input_follows ? writer->fd : -1,
        .unsent = request->input,
        .unsent_length = request->input_length,
        .output = {-1, -1},
        .deadline = clock_deadline(request->timeout),
        .chunk = malloc(EXEC_CHUNK),
        .input_chunk = request->input_follows ? malloc(EXEC_CHUNK) : NULL,
    };
    struct image as_user = {0};
    struct forkd_error err;
    spool_init(&run.spool[OUT]);
    spool_init(&run.spool[ERR]);
    if (request->user && image_with_user("", image, request->user, &as_user, &err) < 0) {
        char error[sizeof err.text + 16];
        snprintf(error, sizeof error, "LookupError: %s", err.text);
        reply_failure(&run, error, REPLY_CANNOT_RUN);
    } else {
        if (request->user)
            run.image = &as_user;
        start_and_run(&run);
    }
    image_free(&as_user);
    close_fd(&run.input);
    release(run.output[OUT]);
    release(run.output[ERR]);
    spool_free(&run.spool[OUT]);
    spool_free(&run.spool[ERR]);
    free(run.chunk);
    free(run.input_chunk);
}
