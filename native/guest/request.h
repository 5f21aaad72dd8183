/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of the line-JSON protocol. Its bytes come from outside: every text gives either a request or
 * an error message, and nothing is trusted before it has been checked here.
 */
#ifndef FORKD_GUEST_REQUEST_H
#define FORKD_GUEST_REQUEST_H

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

#define REQUEST_ERROR_SIZE 256

/*
 * `text` is decoded in place and must live as long as the request. On failure returns false and puts an error
 * in Python's form ("KeyError: 'args'") into `error`; nothing needs to be freed then.
 */
bool request_parse(char *text, size_t length, struct request *out, char error[REQUEST_ERROR_SIZE]);
void request_free(struct request *request);

#endif
