/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads JSON (RFC 8259) in place: a document is checked once as a whole, and then walked. No tree is built,
 * so a hostile document costs no more memory than its own text.
 *
 * Strings are decoded over their own text, so a value is walked or decoded once.
 */
#ifndef FORKD_GUEST_JSON_H
#define FORKD_GUEST_JSON_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_DEPTH_MAX 64

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_value {
    enum json_kind kind;
    char *start; /* of the text, quotes and brackets included */
    char *end;   /* behind it */
};

struct json_text {
    char *data; /* NUL-terminated; may hold other NULs */
    size_t length;
};

/* What is wrong with a document, and at which byte. */
struct json_problem {
    const char *what;
    size_t offset;
};

/* Checks all of `text` (UTF-8 included). Everything below takes values of a checked document. */
bool json_parse(char *text, size_t length, struct json_value *out, struct json_problem *problem);

/* Walks an array or object: set `at` to NULL, call until it returns false. Keys come decoded. */
struct json_walk {
    char *at;
};
bool json_next_item(const struct json_value *array, struct json_walk *walk, struct json_value *item);
bool json_next_member(const struct json_value *object, struct json_walk *walk, struct json_text *key,
                      struct json_value *value);

/* Decodes a string in place. A surrogate without its partner becomes U+FFFD. */
struct json_text json_string(const struct json_value *string);

/* A string that goes into a system call: 0, -EINVAL when it is no string, -EILSEQ when it has a NUL in it. */
int json_c_string(const struct json_value *value, char **out);

/*
 * Puts the members that have a name of the table into the struct json_value at its offset of `out`. One that
 * is given twice has its last value, one that is missing stays as it is, and others are ignored.
 */
struct json_field {
    const char *name;
    size_t offset;
};
void json_collect(const struct json_value *object, const struct json_field *fields, size_t count, void *out);

/* False when the number has more characters than any number that means something. */
bool json_number(const struct json_value *number, double *out);

#endif
