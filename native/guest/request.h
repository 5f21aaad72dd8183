/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of the line-JSON protocol. Its bytes come from outside: every text gives either a request or
 * an error message, and nothing is trusted before it has been checked here.
 */
#ifndef FORKD_GUEST_REQUEST_H
#define FORKD_GUEST_REQUEST_H

#include "base/error.h"
#include "json.h"

#include <stdbool.h>
#include <stddef.h>

enum request_action {
    REQUEST_PING,
    REQUEST_EXEC,
    REQUEST_EVAL,
    REQUEST_UNMOUNT,
    REQUEST_MOUNT,
    REQUEST_SHUTDOWN,
};

struct request {
    enum request_action action;
    double timeout; /* seconds; infinite when there is none */
    /* exec */
    char **argv;
    char **environment; /* "NAME=value", NULL-terminated; NULL: none given */
    const char *cwd;    /* NULL: the agent's */
    const char *user;   /* NULL: the image's */
    const unsigned char *input;
    size_t input_length;
    bool input_follows; /* the request; input is then what came along with it */
    bool stream;
    /* eval */
    struct json_text code;
};

/*
 * `text` is decoded in place and must live as long as the request. Returns 0 or a negative errno, with a
 * sentence in Python's form ("KeyError: 'args'"); nothing needs to be freed then.
 */
int request_parse(char *text, size_t length, struct request *out, struct forkd_error *err);
void request_free(struct request *request);

#endif
