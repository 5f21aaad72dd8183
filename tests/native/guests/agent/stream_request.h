/* SPDX-License-Identifier: Apache-2.0 */
/* The first line of a stream, taken apart (docs/guest-protocol.md). */
#ifndef FORKD_TESTS_GUESTS_AGENT_STREAM_REQUEST_H
#define FORKD_TESTS_GUESTS_AGENT_STREAM_REQUEST_H

#include "request.h"

/* A number that was not given. */
#define ABSENT UINT32_MAX

struct stream_request {
    const char *op;
    char *path; /* its bytes, where they were given so */
    char *target;
    const char *tag;
    const char *host;
    const char *unix_path;
    uint32_t pid;
    uint32_t signal;
    uint32_t port;
    uint32_t depth;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t rows;
    uint32_t columns;
    uint32_t offset;
    uint32_t length;
    uint32_t from[2];
    int64_t modified_ms; /* -1: not given */
    bool has_from;
    bool has_pty;
    bool stdin;
    bool detach;
    bool no_follow;
    bool parents;
    bool recursive;
    bool no_output;
    struct request run; /* args, names, values, cwd, user, timeout_ms */
};

/* False when it is not a JSON object. Its strings are in the text. */
bool stream_request_parse(char *text, const char *end, struct stream_request *out);

#endif
