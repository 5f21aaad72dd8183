/* SPDX-License-Identifier: Apache-2.0 */
#include "warm.h"

#include "clock.h"
#include "console.h"
#include "peer.h"
#include "reply.h"
#include "warm_py.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Seconds. */
#define INTERRUPT_GRACE 5 /* less than what forkd's own client has beyond a time limit */
#define READY_MAX ((uint64_t)1 << 20)

/* Of a traceback, what a hello has room for. */
#define TRACEBACK_MAX ((size_t)383)

/*
 * All to the interpreter: 1, 0 when it has died, -ETIMEDOUT if it does not read. Its end is looked for apart
 * from the channel, which a process that it forked may keep open.
 */
static int send_all(const struct warm *warm, const void *data, size_t length, int64_t deadline)
{
    const char *at = data;
    if (warm->channel < 0)
        return 0;
    while (length > 0) {
        ssize_t sent = send(warm->channel, at, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            at += sent;
            length -= (size_t)sent;
            continue;
        }
        if (sent == 0 || (errno != EAGAIN && errno != EINTR))
            return 0;
        struct pollfd fds[2] = {
            {.fd = warm->channel, .events = POLLOUT},
            {.fd = warm->child.pidfd, .events = POLLIN},
        };
        int ready = poll(fds, 2, clock_poll_timeout(deadline));
        if (ready > 0 && fds[1].revents)
            return 0;
        if (ready == 0 && clock_now_ms() >= deadline)
            return -ETIMEDOUT;
    }
    return 1;
}

static int send_frame(const struct warm *warm, const char *data, size_t length, int64_t deadline)
{
    uint64_t header = htole64(length);
    int sent = send_all(warm, &header, sizeof header, deadline);
    return sent > 0 ? send_all(warm, data, length, deadline) : sent;
}

/* Up to `length` bytes from it: how many, or 0 and -ETIMEDOUT as above. */
static ssize_t receive(const struct warm *warm, void *out, size_t length, int64_t deadline)
{
    for (;;) {
        struct pollfd fds[2] = {
            {.fd = warm->channel, .events = POLLIN},
            {.fd = warm->child.pidfd, .events = POLLIN},
        };
        int ready = poll(fds, 2, clock_poll_timeout(deadline));
        if (ready == 0 && clock_now_ms() >= deadline)
            return -ETIMEDOUT;
        if (ready <= 0)
            continue;
        /* NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection): it does not wait */
        ssize_t got = recv(warm->channel, out, length, MSG_DONTWAIT);
        if (got >= 0)
            return got;
        if (errno != EAGAIN && errno != EINTR)
            return 0;
        if (fds[1].revents)
            return 0;
    }
}

/* The header of a frame, in full: 1, or what receive() returned. */
static int receive_header(const struct warm *warm, uint64_t *length, int64_t deadline)
{
    unsigned char header[8];
    for (size_t used = 0; used < sizeof header;) {
        ssize_t got = receive(warm, header + used, sizeof header - used, deadline);
        if (got <= 0)
            return (int)got;
        used += (size_t)got;
    }
    memcpy(length, header, sizeof header);
    *length = le64toh(*length);
    return 1;
}

/* Ends the interpreter, whatever it does: -ECHILD, and how it ended. */
static int end(struct warm *warm, struct forkd_error *err)
{
    pthread_mutex_lock(&warm->life);
    child_kill(&warm->child);
    int code = child_reap(&warm->child);
    reseed_close(&warm->reseed);
    pthread_mutex_unlock(&warm->life);
    close(warm->channel);
    warm->channel = -1;
    if (code < 0)
        return error_say(err, ECHILD, "run", warm->python, "the interpreter was killed by signal %d", -code);
    return error_say(err, ECHILD, "run", warm->python, "the interpreter ended with exit status %d", code);
}

/* ... after it died by itself. The status is its own: a zombie cannot be killed again. */
static int bury(struct warm *warm, struct forkd_error *err)
{
    struct pollfd dead = {.fd = warm->child.pidfd, .events = POLLIN};
    poll(&dead, 1, INTERRUPT_GRACE * 1000); /* it may have closed the channel and be about to exit */
    int status = end(warm, err);
    console_error(err);
    return status;
}

/*
 * On stdin the script is no file in the image and no long argument in the list of processes. A descriptor, or
 * a negative errno.
 */
static int open_script(void)
{
    int fd = memfd_create("forkd-warm", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (write(fd, warm_py, sizeof warm_py - 1) < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static int launch(struct warm *warm, struct forkd_error *err)
{
    int channel[2];
    struct reseed reseed;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) < 0)
        return spawn_error(err, errno, SPAWN_PROGRAM, warm->python);
    int answers = reseed_open(&reseed);
    if (answers < 0) {
        close(channel[0]);
        close(channel[1]);
        return spawn_error(err, answers, SPAWN_PROGRAM, warm->python);
    }
    int input = open_script();
    int output = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    char numbers[2][12];
    snprintf(numbers[0], sizeof numbers[0], "%d", channel[1]);
    snprintf(numbers[1], sizeof numbers[1], "%d", answers);
    char *argv[] = {(char *)warm->python, "-", numbers[0], numbers[1], NULL};
    struct spawn_options options = {
        .image = warm->image,
        .argv = argv,
        .stdio = {input, output, output},
        .keep = {channel[1], answers},
        .blocked_signal = RESEED_SIGNAL, /* until its handler is there; its default would be death */
    };
    pthread_mutex_lock(&warm->life);
    int status =
        input < 0 ? spawn_error(err, input, SPAWN_PROGRAM, warm->python) : spawn(&options, &warm->child, err);
    warm->reseed = reseed;
    pthread_mutex_unlock(&warm->life);
    if (input >= 0)
        close(input);
    close(output);
    close(channel[1]);
    close(answers);
    if (status < 0) {
        close(channel[0]);
        reseed_close(&reseed);
        return status;
    }
    warm->channel = channel[0];
    return 0;
}

/* What the interpreter says when it is warm; of two equal names the last counts. */
static int take_ready(struct warm *warm, char *text, size_t length, struct forkd_error *err)
{
    struct json_value ready;
    struct json_problem problem;
    struct json_walk walk = {0};
    struct json_text key;
    struct json_value value;
    struct json_text error = {.data = ""};
    if (!json_parse(text, length, &ready, &problem) || ready.kind != JSON_OBJECT)
        return 0;
    while (json_next_member(&ready, &walk, &key, &value)) {
        if (value.kind != JSON_STRING)
            continue;
        struct json_text string = json_string(&value);
        if (strcmp(key.data, "numpy_version") == 0)
            snprintf(warm->numpy_version, sizeof warm->numpy_version, "%s", string.data);
        if (strcmp(key.data, "error") == 0)
            error = string;
    }
    /* The end of a traceback says most. */
    size_t skip = error.length > TRACEBACK_MAX ? error.length - TRACEBACK_MAX : 0;
    const char *said = error.data + skip;
    return *said ? error_say(err, EINVAL, "warm up", warm->python, "%s", said) : 0;
}

/* Waits for the end of the warm-up, as long as it takes: whoever boots the VM has a bound on that. */
static int warm_up(struct warm *warm, struct forkd_error *err)
{
    const char *code = warm->code ? warm->code : "";
    uint64_t length = 0;
    if (send_frame(warm, code, strlen(code), CLOCK_NEVER) <= 0 ||
        receive_header(warm, &length, CLOCK_NEVER) <= 0 || length > READY_MAX)
        return bury(warm, err);
    char *text = calloc(1, length + 1);
    size_t used = 0;
    while (text && used < length) {
        ssize_t got = receive(warm, text + used, length - used, CLOCK_NEVER);
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    if (used < length) {
        free(text);
        return bury(warm, err);
    }
    pthread_mutex_lock(&warm->life);
    int status = take_ready(warm, text, used, err);
    pthread_mutex_unlock(&warm->life);
    free(text);
    return status;
}

static int bring_up(struct warm *warm, struct forkd_error *err)
{
    int status = launch(warm, err);
    return status < 0 ? status : warm_up(warm, err);
}

void warm_init(struct warm *warm, const struct image *image, const char *const *pythons, const char *code)
{
    *warm = (struct warm){.image = image, .code = code, .channel = -1, .child = {.pidfd = -1}};
    turn_init(&warm->turn);
    pthread_mutex_init(&warm->life, NULL);
    snprintf(warm->numpy_version, sizeof warm->numpy_version, "not-installed");
    if (image)
        warm->python = image_find_program(image, "python3");
    if (image && !warm->python)
        warm->python = image_find_program(image, "python");
    for (; *pythons && !warm->python; pythons++)
        if (access(*pythons, X_OK) == 0)
            warm->python = *pythons;
}

int warm_start(struct warm *warm, struct forkd_error *err)
{
    if (!warm->python && !warm->code)
        return 0;
    if (!warm->python)
        return error_say(err, ENOENT, "find", "python3", "there is warm-up code, but no Python in the image");
    turn_take(&warm->turn, -1, CLOCK_NEVER);
    int status = bring_up(warm, err);
    turn_give(&warm->turn);
    return status;
}

void warm_numpy_version(struct warm *warm, char *out, size_t size)
{
    pthread_mutex_lock(&warm->life);
    snprintf(out, size, "%s", warm->numpy_version);
    pthread_mutex_unlock(&warm->life);
}

/* A reply is passed on as it comes. When the client goes away the rest is read and dropped. */
static bool pass_on(struct warm *warm, uint64_t length, struct writer *writer)
{
    char part[8192];
    while (length > 0) {
        ssize_t got = receive(warm, part, length < sizeof part ? (size_t)length : sizeof part, CLOCK_NEVER);
        if (got <= 0)
            return false;
        writer_bytes(writer, part, (size_t)got);
        length -= (uint64_t)got;
    }
    writer_text(writer, "\n");
    return true;
}

enum outcome { ANSWERED, TIMED_OUT, ABANDONED };

/* Until the interpreter answers, or ends. `client` is looked at, too, unless it is -1. */
static enum outcome await_answer(const struct warm *warm, int client, int64_t deadline)
{
    for (;;) {
        struct pollfd fds[3] = {
            {.fd = warm->channel, .events = POLLIN},
            {.fd = warm->child.pidfd, .events = POLLIN},
            {.fd = client},
        };
        int timeout = clock_poll_timeout(deadline);
        if (client >= 0 && (timeout < 0 || timeout > PEER_PROBE_MS))
            timeout = PEER_PROBE_MS;
        int ready = poll(fds, 3, timeout);
        if (ready > 0 && (fds[0].revents || fds[1].revents))
            return ANSWERED;
        if (clock_now_ms() >= deadline)
            return TIMED_OUT;
        if (ready >= 0 && client >= 0 && peer_is_gone(client, fds[2].revents))
            return ABANDONED;
    }
}

static void evaluate(struct warm *warm, const struct request *request, int64_t deadline,
                     struct writer *writer)
{
    struct forkd_error err;
    char error[sizeof err.text + 16];
    uint64_t length = 0;
    int got = send_frame(warm, request->code.data, request->code.length, deadline);
    if (got > 0) {
        enum outcome outcome = await_answer(warm, writer->fd, deadline);
        if (outcome != ANSWERED) {
            syscall(SYS_pidfd_send_signal, warm->child.pidfd, SIGINT, NULL, 0);
            outcome = await_answer(warm, -1, clock_deadline(INTERRUPT_GRACE));
        }
        got = outcome == ANSWERED ? receive_header(warm, &length, CLOCK_NEVER) : -ETIMEDOUT;
    }
    if (got < 0) {
        end(warm, NULL);
        snprintf(error, sizeof error,
                 "TimeoutExpired: eval timed out after %g seconds; the interpreter had to be killed",
                 request->timeout);
        reply_error(writer, error, REPLY_TIMED_OUT);
    } else if (got == 0) {
        bury(warm, &err);
        snprintf(error, sizeof error, "RuntimeError: %s", err.text);
        reply_error(writer, error, REPLY_NO_CODE);
    } else if (!pass_on(warm, length, writer)) {
        bury(warm, &err);
        writer->error = -EPIPE; /* a reply that was begun cannot become another one */
    }
}

static void wait_and_evaluate(struct warm *warm, const struct request *request, struct writer *writer)
{
    struct forkd_error err;
    char error[sizeof err.text + 64];
    int64_t deadline = clock_deadline(request->timeout);
    int status = turn_take(&warm->turn, writer->fd, deadline);
    if (status < 0) {
        snprintf(error, sizeof error, "TimeoutExpired: another eval was not done after %g seconds",
                 request->timeout);
        reply_error(writer, error, REPLY_TIMED_OUT);
        return;
    }
    if (warm->channel < 0)
        bring_up(warm, &err);
    if (warm->channel >= 0) {
        evaluate(warm, request, deadline, writer);
        writer_flush(writer);
    } else {
        snprintf(error, sizeof error, "RuntimeError: the interpreter does not start: %s", err.text);
        reply_error(writer, error, REPLY_NO_CODE);
    }
    turn_give(&warm->turn);
}

void warm_eval(struct warm *warm, const struct request *request, struct writer *writer)
{
    if (warm->python)
        wait_and_evaluate(warm, request, writer);
    else
        reply_error(writer, "RuntimeError: eval needs Python, and the image has none", REPLY_NO_CODE);
}

void warm_revive(struct warm *warm)
{
    struct forkd_error err;
    if (!warm->python)
        return;
    turn_take(&warm->turn, -1, CLOCK_NEVER);
    if (warm->channel < 0 && bring_up(warm, &err) < 0)
        console("warm-up after a restart: %s", err.text);
    turn_give(&warm->turn);
}

void warm_reseed_begin(struct warm *warm)
{
    pthread_mutex_lock(&warm->life);
    if (warm->child.pid != 0)
        reseed_begin(&warm->reseed, &warm->child);
}

int warm_reseed_finish(struct warm *warm)
{
    int status = warm->child.pid == 0 ? 0 : reseed_finish(&warm->reseed, &warm->child);
    pthread_mutex_unlock(&warm->life);
    return status;
}
