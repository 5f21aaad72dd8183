/* SPDX-License-Identifier: Apache-2.0 */
#include "bridge.h"

#include "clock.h"
#include "console.h"
#include "peer.h"
#include "reply.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void bridge_init(struct bridge *bridge, const struct image *image)
{
    *bridge = (struct bridge){.image = image, .child = {.pidfd = -1}};
    turn_init(&bridge->turn);
}

static void *forward(void *argument)
{
    struct line line;
    line_init(&line, *(int *)argument, LINE_MAX_LENGTH);
    while (line_read(&line) > 0)
        console("[warmup] %s", line.data);
    close(line.fd);
    line_free(&line);
    return NULL;
}

/* The descriptor is the thread's from here on. */
static void forward_to_console(int *fd)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, forward, fd) == 0)
        pthread_detach(thread);
    else
        close(*fd);
}

static void close_pair(const int pair[2])
{
    if (pair[0] >= 0)
        close(pair[0]);
    if (pair[1] >= 0)
        close(pair[1]);
}

static int launch(struct bridge *bridge, char *const *argv, struct forkd_error *err)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    int status = 0;
    for (int i = 0; i < 3 && status == 0; i++)
        if (pipe2(pipes[i], O_CLOEXEC) < 0)
            status = -errno;
    struct spawn_options options = {
        .image = bridge->image,
        .argv = argv,
        .stdio = {pipes[0][0], pipes[1][1], pipes[2][1]},
        .keep = {-1, -1},
    };
    bridge->input = malloc(sizeof *bridge->input);
    if (!bridge->input)
        status = -ENOMEM;
    if (status < 0)
        spawn_error(err, status, SPAWN_PROGRAM, argv[0]);
    else
        status = spawn(&options, &bridge->child, err);
    if (status < 0) {
        for (int i = 0; i < 3; i++)
            close_pair(pipes[i]);
        free(bridge->input);
        bridge->input = NULL;
        return status;
    }
    close(pipes[0][0]);
    close(pipes[1][1]);
    close(pipes[2][1]);
    writer_init(bridge->input, pipes[0][1]);
    line_init(&bridge->output, pipes[1][0], LINE_MAX_LENGTH);
    bridge->messages = pipes[2][0];
    forward_to_console(&bridge->messages);
    return 0;
}

static bool is_ready(struct line *line)
{
    struct json_value document;
    struct json_problem problem;
    struct json_walk walk = {0};
    struct json_text key;
    struct json_value value;
    bool ready = false;
    if (!json_parse(line->data, line->length, &document, &problem) || document.kind != JSON_OBJECT)
        return false;
    while (json_next_member(&document, &walk, &key, &value))
        if (strcmp(key.data, "ready") == 0)
            ready = value.kind == JSON_TRUE;
    return ready;
}

static int await_ready(struct bridge *bridge, const char *command, struct forkd_error *err)
{
    char said[201];
    if (line_read(&bridge->output) <= 0)
        return error_say(err, EPROTO, "run", command, "the warm-up ended before it was ready: %s", command);
    /* It is decoded in place. */
    snprintf(said, sizeof said, "%s", bridge->output.data);
    bridge->ready = is_ready(&bridge->output);
    if (bridge->ready)
        return 0;
    return error_say(err, EPROTO, "run", command,
                     "the first line of the warm-up was not {\"ready\":true}: %s", said);
}

int bridge_start(struct bridge *bridge, const char *command, bool evals, struct forkd_error *err)
{
    char *line = strdup(command);
    char **argv = line ? words_split(line) : NULL;
    int status = argv && argv[0] ? launch(bridge, argv, err)
                                 : error_say(err, EINVAL, "split", "FORKD_WARMUP_CMD",
                                             "FORKD_WARMUP_CMD cannot be split into words: %s", command);
    free(argv);
    free(line);
    if (status < 0)
        return status;

    status = await_ready(bridge, command, err);
    if (evals)
        fcntl(bridge->output.fd, F_SETFL, O_NONBLOCK);
    else
        forward_to_console(&bridge->output.fd);
    return status;
}

static void reply_plain(struct writer *writer, const char *error, enum reply_code code)
{
    writer_text(writer, "{\"error\":");
    writer_string(writer, error, strlen(error));
    writer_text(writer, ",\"exit_code\":1");
    reply_close(writer, code);
}

static void reply_raw(struct writer *writer, const char *error, const struct line *line)
{
    writer_text(writer, "{\"error\":");
    writer_string(writer, error, strlen(error));
    writer_text(writer, ",\"raw\":");
    writer_string(writer, line->data, line->length);
    writer_text(writer, ",\"exit_code\":1}\n");
}

/* Parts of the answer are passed on as they are written: a checked JSON text stays one. */
static void pass_on(const struct json_value *answer, struct writer *writer)
{
    struct json_walk walk = {0};
    struct json_text key;
    struct json_value value;
    struct json_value error = {0};
    struct json_value stack = {0};
    struct json_value result = {0};
    while (json_next_member(answer, &walk, &key, &value)) {
        if (strcmp(key.data, "error") == 0)
            error = value;
        else if (strcmp(key.data, "stack") == 0)
            stack = value;
        else if (strcmp(key.data, "result") == 0)
            result = value;
    }
    if (!error.start) {
        writer_text(writer, "{\"result_json\":");
        if (result.start)
            writer_string(writer, result.start, (size_t)(result.end - result.start));
        else
            writer_text(writer, "\"null\"");
        writer_text(writer, ",\"exit_code\":0}\n");
        return;
    }
    writer_text(writer, "{\"error\":");
    writer_bytes(writer, error.start, (size_t)(error.end - error.start));
    writer_text(writer, ",\"stack\":");
    if (stack.start)
        writer_bytes(writer, stack.start, (size_t)(stack.end - stack.start));
    else
        writer_text(writer, "\"\"");
    writer_text(writer, ",\"exit_code\":1}\n");
}

/* The next line: 1, 0 at the end of its output, -ETIMEDOUT, -EPIPE when the client is gone, or another error.
 */
static int hear(struct bridge *bridge, int client, int64_t deadline)
{
    for (;;) {
        int got = line_read(&bridge->output);
        if (got != -EAGAIN)
            return got;
        struct pollfd fds[2] = {{.fd = bridge->output.fd, .events = POLLIN}, {.fd = client}};
        int timeout = clock_poll_timeout(deadline);
        if (timeout < 0 || timeout > PEER_PROBE_MS)
            timeout = PEER_PROBE_MS;
        if (poll(fds, 2, timeout) < 0 || fds[0].revents)
            continue;
        if (clock_now_ms() >= deadline)
            return -ETIMEDOUT;
        if (peer_is_gone(client, fds[1].revents))
            return -EPIPE;
    }
}

/* The answers to those that had gone. */
static int catch_up(struct bridge *bridge, int client, int64_t deadline)
{
    int got = 1;
    while (bridge->unanswered > 0 && (got = hear(bridge, client, deadline)) > 0)
        bridge->unanswered--;
    return got;
}

static int ask(struct bridge *bridge, const struct request *request)
{
    writer_format(bridge->input, "{\"id\":\"%lu\",\"code\":", ++bridge->requests);
    writer_string(bridge->input, request->code.data, request->code.length);
    writer_text(bridge->input, "}\n");
    return writer_flush(bridge->input);
}

static void reply_answer(struct line *line, struct writer *writer)
{
    struct json_value answer;
    struct json_problem problem;
    if (!json_parse(line->data, line->length, &answer, &problem) || answer.kind != JSON_OBJECT)
        reply_raw(writer, "warmup reply is not a JSON object", line);
    else
        pass_on(&answer, writer);
}

static void converse(struct bridge *bridge, const struct request *request, int64_t deadline,
                     struct writer *writer)
{
    int got = catch_up(bridge, writer->fd, deadline);
    const char *late = "TimeoutExpired: warmup is busy with an eval that took longer than it may";
    if (got > 0) {
        if (ask(bridge, request)) {
            reply_plain(writer, "warmup pipe broken", REPLY_NO_CODE);
            return;
        }
        got = hear(bridge, writer->fd, deadline);
        late = "TimeoutExpired: eval took longer than it may; warmup is still busy with it";
        if (got == -ETIMEDOUT || got == -EPIPE)
            bridge->unanswered++;
    }
    if (got > 0)
        reply_answer(&bridge->output, writer);
    else if (got == -ETIMEDOUT)
        reply_plain(writer, late, REPLY_TIMED_OUT);
    else
        reply_plain(writer, "warmup closed its output", REPLY_NO_CODE);
}

void bridge_eval(struct bridge *bridge, const struct request *request, struct writer *writer)
{
    if (!bridge->ready) {
        reply_plain(writer, "warmup not ready", REPLY_NO_CODE);
        return;
    }
    int64_t deadline = clock_deadline(request->timeout);
    if (turn_take(&bridge->turn, writer->fd, deadline) < 0) {
        reply_plain(writer, "TimeoutExpired: another eval took too long", REPLY_TIMED_OUT);
        return;
    }
    converse(bridge, request, deadline, writer);
    turn_give(&bridge->turn);
}
