/* SPDX-License-Identifier: Apache-2.0 */
/* An agent in this process, on ports of the loopback device, and a client of its line-JSON protocol. */
#ifndef FORKD_TEST_CLIENT_H
#define FORKD_TEST_CLIENT_H

#include "agent.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

struct served {
    struct agent agent;
    int listener;
    uint16_t port;
    int streams_listener;
    uint16_t streams_port; /* see frames.h */
    int status;            /* of the warm-up */
    struct forkd_error err;
};

/* Without it there is no test; unlike an assertion, the analyzer knows that this does not return. */
static inline int opened(int fd)
{
    if (fd < 0) {
        perror("socket");
        exit(1);
    }
    return fd;
}

static inline void *served_run(void *argument)
{
    struct served *served = argument;
    agent_serve(&served->agent.lines, served->listener);
}

static inline void *served_run_streams(void *argument)
{
    struct served *served = argument;
    agent_serve(&served->agent.streams, served->streams_listener);
}

static inline uint16_t served_listen(int *listener)
{
    struct sockaddr_in name = {0};
    socklen_t length = sizeof name;
    *listener = opened(agent_listen_tcp(INADDR_LOOPBACK, 0));
    getsockname(*listener, (struct sockaddr *)&name, &length);
    return ntohs(name.sin_port);
}

static inline void served_start(void *(*run)(void *), struct served *served)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, served), 0);
    pthread_detach(thread);
}

/* Lives as long as the test: an agent has no end. */
static inline struct served *serve(const struct agent_options *options)
{
    static const char *const none[] = {NULL};
    struct served *served = calloc(1, sizeof *served);
    struct agent_options given = *options;
    if (!given.pythons)
        given.pythons = none;
    agent_init(&served->agent, &given);
    served->status = agent_warm_up(&served->agent, &served->err);
    served->port = served_listen(&served->listener);
    served->streams_port = served_listen(&served->streams_listener);
    /* No more is on its way than between a guest and its host. */
    setsockopt(served->streams_listener, SOL_SOCKET, SO_SNDBUF, &(int){128 << 10}, sizeof(int));
    served_start(served_run, served);
    served_start(served_run_streams, served);
    return served;
}

static inline int connect_port(uint16_t port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = opened(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    /* A test that hangs says where. */
    struct timeval patience = {.tv_sec = 60};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static inline int client_connect(const struct served *served)
{
    return connect_port(served->port);
}

static inline void client_send(int fd, const char *text)
{
    size_t length = strlen(text);
    while (length > 0) {
        ssize_t sent = send(fd, text, length, MSG_NOSIGNAL);
        assert_true(sent > 0);
        text += sent;
        length -= (size_t)sent;
    }
}

/* Everything up to the end of the connection, NUL-terminated; the connection is closed. */
static inline char *client_receive(int fd)
{
    size_t used = 0;
    size_t capacity = 4096;
    char *text = malloc(capacity);
    for (;;) {
        if (used + 1 == capacity) {
            char *grown = realloc(text, capacity *= 2);
            assert_non_null(grown);
            text = grown;
        }
        ssize_t got = recv(fd, text + used, capacity - 1 - used, 0);
        assert_true(got >= 0);
        if (got == 0)
            break;
        used += (size_t)got;
    }
    text[used] = '\0';
    close(fd);
    return text;
}

/* As the published clients do it: one line, half-close, read to the end. */
static inline char *ask(const struct served *served, const char *request)
{
    int fd = client_connect(served);
    client_send(fd, request);
    client_send(fd, "\n");
    shutdown(fd, SHUT_WR);
    return client_receive(fd);
}

static inline void assert_answer(const struct served *served, const char *request, const char *expected)
{
    char *reply = ask(served, request);
    assert_string_equal(reply, expected);
    free(reply);
}

static inline void assert_answer_has(const struct served *served, const char *request, const char *part)
{
    char *reply = ask(served, request);
    if (!strstr(reply, part))
        assert_string_equal(reply, part);
    assert_int_equal(reply[strlen(reply) - 1], '\n');
    free(reply);
}

#endif
