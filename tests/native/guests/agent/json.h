/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON text that is read once, from left to right; strings are decoded in place. */
#ifndef FORKD_TESTS_GUESTS_AGENT_JSON_H
#define FORKD_TESTS_GUESTS_AGENT_JSON_H

#include "text.h"

struct json {
    char *at;
    const char *end;
    bool bad;
};

/* The next character that is no white space; '\0' at the end. */
char json_peek(struct json *json);
/* Take that one character. */
bool json_take(struct json *json, char c);
/* A string, NUL-terminated; NULL when there is none, which is an error. */
char *json_string(struct json *json);
void json_skip(struct json *json);
/*
 * Go through an object or array: take its opening bracket, then call this until it returns false. `first`
 * begins as true.
 */
bool json_next(struct json *json, char close, bool *first);
/* The same for an object: the member's name too. */
char *json_next_name(struct json *json, bool *first);

#endif
