/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include "utf8.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct scanner {
    char *at;
    char *end;
    const char *what; /* NULL: no problem so far */
};

static bool fail(struct scanner *scan, const char *what)
{
    scan->what = what;
    return false;
}

static void skip_space(struct scanner *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r'))
        scan->at++;
}

static bool skip_char(struct scanner *scan, char c)
{
    if (scan->at == scan->end || *scan->at != c)
        return false;
    scan->at++;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool skip_escape(struct scanner *scan)
{
    if (scan->at == scan->end)
        return fail(scan, "Unterminated string");
    if (*scan->at == '\0' || !strchr("\"\\/bfnrtu", *scan->at))
        return fail(scan, "Invalid \\escape");
    if (*scan->at++ != 'u')
        return true;
    for (int i = 0; i < 4; i++, scan->at++)
        if (scan->at == scan->end || hex_digit(*scan->at) < 0)
            return fail(scan, "Invalid \\uXXXX escape");
    return true;
}

static bool skip_string(struct scanner *scan)
{
    if (!skip_char(scan, '"'))
        return fail(scan, "Expecting a string in double quotes");
    while (scan->at < scan->end) {
        unsigned char c = (unsigned char)*scan->at;
        if (c == '"') {
            scan->at++;
            return true;
        }
        if (c < 0x20)
            return fail(scan, "Invalid control character");
        if (c == '\\') {
            scan->at++;
            if (!skip_escape(scan))
                return false;
            continue;
        }
        int length = utf8_sequence((unsigned char *)scan->at, (size_t)(scan->end - scan->at));
        if (length <= 0)
            return fail(scan, "Invalid UTF-8");
        scan->at += length;
    }
    return fail(scan, "Unterminated string");
}

static bool skip_digits(struct scanner *scan)
{
    char *start = scan->at;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
        scan->at++;
    return scan->at > start || fail(scan, "Expecting a digit");
}

static bool skip_number(struct scanner *scan)
{
    skip_char(scan, '-');
    if (!skip_char(scan, '0') && !skip_digits(scan))
        return false;
    if (skip_char(scan, '.') && !skip_digits(scan))
        return false;
    if (skip_char(scan, 'e') || skip_char(scan, 'E')) {
        if (!skip_char(scan, '+'))
            skip_char(scan, '-');
        return skip_digits(scan);
    }
    return true;
}

static bool skip_word(struct scanner *scan, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, word, length) != 0)
        return fail(scan, "Expecting a value");
    scan->at += length;
    return true;
}

static bool skip_value(struct scanner *scan, int depth, enum json_kind *kind);

static bool skip_container(struct scanner *scan, int depth, bool object)
{
    if (depth == JSON_DEPTH_MAX)
        return fail(scan, "Nested too deeply");
    char close = object ? '}' : ']';
    scan->at++;
    skip_space(scan);
    if (skip_char(scan, close))
        return true;
    for (;;) {
        enum json_kind kind;
        if (object) {
            if (!skip_string(scan))
                return false;
            skip_space(scan);
            if (!skip_char(scan, ':'))
                return fail(scan, "Expecting ':'");
            skip_space(scan);
        }
        if (!skip_value(scan, depth + 1, &kind))
            return false;
        skip_space(scan);
        if (skip_char(scan, close))
            return true;
        if (!skip_char(scan, ','))
            return fail(scan, "Expecting ','");
        skip_space(scan);
    }
}

static bool skip_value(struct scanner *scan, int depth, enum json_kind *kind)
{
    if (scan->at == scan->end)
        return fail(scan, "Expecting a value");
    switch (*scan->at) {
    case '{':
        *kind = JSON_OBJECT;
        return skip_container(scan, depth, true);
    case '[':
        *kind = JSON_ARRAY;
        return skip_container(scan, depth, false);
    case '"':
        *kind = JSON_STRING;
        return skip_string(scan);
    case 't':
        *kind = JSON_TRUE;
        return skip_word(scan, "true");
    case 'f':
        *kind = JSON_FALSE;
        return skip_word(scan, "false");
    case 'n':
        *kind = JSON_NULL;
        return skip_word(scan, "null");
    case '-':
    case '0' ... '9':
        *kind = JSON_NUMBER;
        return skip_number(scan);
    default:
        return fail(scan, "Expecting a value");
    }
}

bool json_parse(char *text, size_t length, struct json_value *out, struct json_problem *problem)
{
    struct scanner scan = {.at = text, .end = text + length};
    skip_space(&scan);
    out->start = scan.at;
    if (skip_value(&scan, 0, &out->kind)) {
        out->end = scan.at;
        skip_space(&scan);
        if (scan.at == scan.end)
            return true;
        scan.what = "Extra data";
    }
    problem->what = scan.what;
    problem->offset = (size_t)(scan.at - text);
    return false;
}

/* Puts the scanner on the next element, behind '[' or ','. */
static bool next_element(const struct json_value *container, const struct json_walk *walk,
                         struct scanner *scan)
{
    scan->at = walk->at ? walk->at : container->start + 1;
    scan->end = container->end - 1;
    skip_space(scan);
    if (walk->at && !skip_char(scan, ','))
        return false;
    skip_space(scan);
    return scan->at < scan->end;
}

static bool take_value(struct scanner *scan, struct json_walk *walk, struct json_value *value)
{
    value->start = scan->at;
    if (!skip_value(scan, 0, &value->kind))
        return false;
    value->end = scan->at;
    walk->at = scan->at;
    return true;
}

bool json_next_item(const struct json_value *array, struct json_walk *walk, struct json_value *item)
{
    struct scanner scan = {0};
    return next_element(array, walk, &scan) && take_value(&scan, walk, item);
}

bool json_next_member(const struct json_value *object, struct json_walk *walk, struct json_text *key,
                      struct json_value *value)
{
    struct scanner scan = {0};
    if (!next_element(object, walk, &scan))
        return false;
    struct json_value name = {.kind = JSON_STRING, .start = scan.at};
    if (!skip_string(&scan))
        return false;
    name.end = scan.at;
    skip_space(&scan);
    skip_char(&scan, ':');
    skip_space(&scan);
    if (!take_value(&scan, walk, value))
        return false;
    *key = json_string(&name);
    return true;
}

static uint32_t hex4(const char *text)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 4 | (uint32_t)hex_digit(text[i]);
    return value;
}

/* `at` is behind "\u". Returns the position behind the escape, or behind the pair of escapes. */
static const char *decode_unicode(const char *at, uint32_t *code)
{
    *code = hex4(at);
    at += 4;
    if (*code < 0xd800 || *code > 0xdfff)
        return at;
    if (*code < 0xdc00 && at[0] == '\\' && at[1] == 'u') {
        uint32_t low = hex4(at + 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *code = 0x10000 + ((*code & 0x3ff) << 10) + (low & 0x3ff);
            return at + 6;
        }
    }
    *code = 0xfffd;
    return at;
}

struct json_text json_string(const struct json_value *string)
{
    static const char names[] = "bfnrt";
    static const char meanings[] = "\b\f\n\r\t";
    const char *at = string->start + 1;
    const char *end = string->end - 1;
    char *out = string->start;
    while (at < end) {
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        char escape = at[1];
        at += 2;
        const char *name = strchr(names, escape);
        if (escape == 'u') {
            uint32_t code;
            at = decode_unicode(at, &code);
            out += utf8_encode(code, (unsigned char *)out);
        } else {
            *out++ = name ? meanings[name - names] : escape;
        }
    }
    *out = '\0';
    return (struct json_text){.data = string->start, .length = (size_t)(out - string->start)};
}

int json_c_string(const struct json_value *value, char **out)
{
    if (!value->start || value->kind != JSON_STRING)
        return -EINVAL;
    struct json_text text = json_string(value);
    *out = text.data;
    return strlen(text.data) == text.length ? 0 : -EILSEQ;
}

void json_collect(const struct json_value *object, const struct json_field *fields, size_t count, void *out)
{
    struct json_walk walk = {0};
    struct json_text key;
    struct json_value value;
    while (json_next_member(object, &walk, &key, &value))
        for (size_t i = 0; i < count; i++)
            if (strlen(fields[i].name) == key.length && memcmp(fields[i].name, key.data, key.length) == 0)
                memcpy((char *)out + fields[i].offset, &value, sizeof value);
}

bool json_number(const struct json_value *number, double *out)
{
    char text[64];
    size_t length = (size_t)(number->end - number->start);
    if (length >= sizeof text)
        return false;
    memcpy(text, number->start, length);
    text[length] = '\0';
    *out = strtod(text, NULL);
    return true;
}
