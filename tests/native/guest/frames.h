/* SPDX-License-Identifier: Apache-2.0 */
/* A client of docs/guest-protocol.md. */
#ifndef FORKD_TEST_FRAMES_H
#define FORKD_TEST_FRAMES_H

#include "client.h"

#include "streams/frame.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>

struct frame {
    unsigned type;
    size_t length;
    char data[FRAME_MAX + 1]; /* and a NUL */
};

static inline void send_all(int fd, const void *data, size_t length)
{
    const char *at = data;
    while (length > 0) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
        assert_true(sent > 0);
        at += sent;
        length -= (size_t)sent;
    }
}

/* False at the end of the connection. */
static inline bool receive_all(int fd, void *data, size_t length)
{
    char *at = data;
    while (length > 0) {
        ssize_t got = recv(fd, at, length, 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET))
            return false;
        if (got < 0)
            fail_msg("nothing came: %s", strerror(errno));
        at += got;
        length -= (size_t)got;
    }
    return true;
}

static inline int stream_open(const struct served *served, const char *line)
{
    int fd = connect_port(served->streams_port);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){128 << 10}, sizeof(int));
    send_all(fd, line, strlen(line));
    send_all(fd, "\n", 1);
    return fd;
}

/* The answer, without its newline. To be freed. */
static inline char *stream_answer(int fd)
{
    size_t capacity = (size_t)1 << 20;
    char *line = malloc(capacity + 1);
    for (size_t i = 0; i < capacity; i++) {
        if (!receive_all(fd, line + i, 1))
            fail_msg("closed after '%.*s'", (int)i, line);
        if (line[i] != '\n')
            continue;
        line[i] = '\0';
        return line;
    }
    fail_msg("%s", "the answer has no end");
    return NULL;
}

static inline void expect_answer(int fd, const char *expected)
{
    char *answer = stream_answer(fd);
    assert_string_equal(answer, expected);
    free(answer);
}

/* It is the last thing on the stream, and has this code. */
static inline void expect_refusal(int fd, const char *code)
{
    char part[64];
    char byte;
    char *answer = stream_answer(fd);
    snprintf(part, sizeof part, "\",\"code\":\"%s\"}", code);
    if (strncmp(answer, "{\"error\":\"", 10) != 0 || !strstr(answer, part))
        fail_msg("%s instead of %s", answer, code);
    free(answer);
    shutdown(fd, SHUT_WR);
    assert_false(receive_all(fd, &byte, 1));
    close(fd);
}

static inline void refused(const struct served *served, const char *line, const char *code)
{
    expect_refusal(stream_open(served, line), code);
}

/* One line there, one back. */
static inline void asked(const struct served *served, const char *line, const char *expected)
{
    int fd = stream_open(served, line);
    expect_answer(fd, expected);
    close(fd);
}

static inline void frame_send(int fd, unsigned type, const void *data, size_t length)
{
    unsigned char header[FRAME_HEADER];
    frame_header(header, (enum frame_type)type, length);
    send_all(fd, header, sizeof header);
    send_all(fd, data, length);
}

static inline bool frame_receive(int fd, struct frame *out)
{
    unsigned char header[FRAME_HEADER];
    uint32_t length;
    if (!receive_all(fd, header, sizeof header))
        return false;
    memcpy(&length, header + 4, sizeof length);
    out->type = header[0];
    out->length = le32toh(length);
    assert_in_range(out->length, 0, FRAME_MAX);
    assert_memory_equal(header + 1, "\0\0", 3);
    assert_true(receive_all(fd, out->data, out->length));
    out->data[out->length] = '\0';
    return true;
}

/* All that comes, up to END. */
struct outcome {
    char *data[2]; /* OUT and ERR; each with a NUL */
    size_t length[2];
    bool closed[2];
    char end[4096];
};

static inline void outcome_add(struct outcome *out, int which, const struct frame *frame)
{
    assert_false(out->closed[which]);
    out->closed[which] = frame->length == 0;
    out->data[which] = realloc(out->data[which], out->length[which] + frame->length + 1);
    memcpy(out->data[which] + out->length[which], frame->data, frame->length + 1);
    out->length[which] += frame->length;
}

static inline void stream_finish(int fd, struct outcome *out)
{
    static struct frame frame;
    char byte;
    *out = (struct outcome){.data = {calloc(1, 1), calloc(1, 1)}};
    for (;;) {
        if (!frame_receive(fd, &frame))
            fail_msg("no END after '%.100s'", out->data[0]);
        if (frame.type == FRAME_END)
            break;
        assert_true(frame.type == FRAME_OUT || frame.type == FRAME_ERR);
        outcome_add(out, frame.type == FRAME_ERR, &frame);
    }
    assert_true(frame.length < sizeof out->end);
    memcpy(out->end, frame.data, frame.length + 1);
    assert_false(receive_all(fd, &byte, 1)); /* nothing after it */
    close(fd);
}

static inline void outcome_free(struct outcome *out)
{
    free(out->data[0]);
    free(out->data[1]);
}

static inline void expect_end(int fd, const char *out, const char *err, const char *end)
{
    struct outcome outcome;
    stream_finish(fd, &outcome);
    assert_string_equal(outcome.data[0], out);
    assert_string_equal(outcome.data[1], err);
    assert_string_equal(outcome.end, end);
    outcome_free(&outcome);
}

/* {"pid":N} */
static inline int answered_pid(int fd)
{
    int pid = 0;
    char *answer = stream_answer(fd);
    if (sscanf(answer, "{\"pid\":%d}", &pid) != 1)
        fail_msg("%s", answer);
    free(answer);
    return pid;
}

static inline void ran(const struct served *served, const char *line, const char *out, const char *err,
                       const char *end)
{
    int fd = stream_open(served, line);
    answered_pid(fd);
    expect_end(fd, out, err, end);
}

#endif
