/* SPDX-License-Identifier: Apache-2.0 */
/* A request of the line-JSON protocol, taken apart. */
#ifndef FORKD_TESTS_GUESTS_AGENT_REQUEST_H
#define FORKD_TESTS_GUESTS_AGENT_REQUEST_H

#include "text.h"

#define REQUEST_ARGS 64u
#define REQUEST_VARIABLES 64u

struct request {
    const char *action; /* NULL: none */
    const char *code;
    const char *cwd;
    const char *user;
    char *input; /* base64 */
    uint32_t arg_count;
    uint32_t variable_count;
    uint32_t timeout_ms; /* UINT32_MAX: none */
    bool has_args;
    bool has_timeout;
    bool stream;
    bool input_follows;
    char *args[REQUEST_ARGS];
    const char *names[REQUEST_VARIABLES];
    const char *values[REQUEST_VARIABLES];
};

/* Returns where the request ends in the text; NULL when it is not JSON. Its strings are in the text. */
char *request_parse(char *text, const char *end, struct request *out);

struct json;

/* The value of a member: an array of arguments, an object of variables. */
void request_take_args(struct json *json, struct request *out);
void request_take_variables(struct json *json, struct request *out);

#endif
