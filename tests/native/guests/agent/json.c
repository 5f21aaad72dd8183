/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

char json_peek(struct json *json)
{
    while (json->at < json->end &&
           (*json->at == ' ' || *json->at == '\t' || *json->at == '\r' || *json->at == '\n'))
        json->at++;
    return json->at < json->end ? *json->at : '\0';
}

bool json_take(struct json *json, char c)
{
    if (json_peek(json) != c)
        return false;
    json->at++;
    return true;
}

static uint32_t hex4(struct json *json)
{
    uint32_t value = 0;
    for (int i = 0; i < 4 && json->at < json->end; i++) {
        char c = *json->at++;
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            value = value << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        else
            json->bad = true;
    }
    return value;
}

static char *put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
        return out;
    }
    if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *out++ = (char)(0xe0 | c >> 12);
        } else {
            *out++ = (char)(0xf0 | c >> 18);
            *out++ = (char)(0x80 | (c >> 12 & 63));
        }
        *out++ = (char)(0x80 | (c >> 6 & 63));
    }
    *out++ = (char)(0x80 | (c & 63));
    return out;
}

static char *take_escape(struct json *json, char *out)
{
    static const char names[] = "bfnrt";
    static const char values[] = "\b\f\n\r\t";
    char c = json->at < json->end ? *json->at++ : '\0';
    if (c == 'u') {
        uint32_t value = hex4(json);
        if (value >= 0xd800 && value < 0xdc00 && json->end - json->at >= 6 && json->at[0] == '\\' &&
            json->at[1] == 'u') {
            json->at += 2;
            value = 0x10000 + ((value - 0xd800) << 10) + (hex4(json) - 0xdc00);
        }
        return put_utf8(out, value);
    }
    for (int i = 0; names[i] != '\0'; i++) {
        if (c == names[i])
            c = values[i];
    }
    *out++ = c;
    return out;
}

char *json_string(struct json *json)
{
    if (!json_take(json, '"')) {
        json->bad = true;
        return NULL;
    }
    char *start = json->at;
    char *out = start;
    char *quote = json->at - 1;
    while (!json->bad) {
        if (quote < json->at)
            quote = scan(json->at, json->end, '"');
        char *special = scan(json->at, quote, '\\');
        size_t plain = (size_t)(special - json->at);
        if (out != json->at)
            memcpy(out, json->at, plain); /* downwards */
        out += plain;
        json->at = special + 1;
        if (special == json->end)
            break;
        if (special == quote) {
            *out = '\0';
            return start;
        }
        out = take_escape(json, out);
    }
    json->bad = true;
    return NULL;
}

void json_skip(struct json *json)
{
    uint32_t depth = 0;
    do {
        char c = json_peek(json);
        if (c == '"') {
            json_string(json);
        } else if (c == '\0') {
            json->bad = true;
        } else if (c == '{' || c == '[') {
            depth++;
            json->at++;
        } else if (depth > 0 && (c == '}' || c == ']')) {
            depth--;
            json->at++;
        } else if (depth > 0 && (c == ',' || c == ':')) {
            json->at++;
        } else {
            char *start = json->at;
            while (json->at < json->end && *json->at > ' ' && *json->at != ',' && *json->at != ']' &&
                   *json->at != '}')
                json->at++;
            json->bad |= json->at == start;
        }
    } while (!json->bad && depth > 0);
}

bool json_next(struct json *json, char close, bool *first)
{
    bool begins = *first;
    *first = false;
    if (json->bad || json_take(json, close))
        return false;
    if (!begins && !json_take(json, ','))
        json->bad = true;
    return !json->bad;
}

char *json_next_name(struct json *json, bool *first)
{
    if (!json_next(json, '}', first))
        return NULL;
    char *name = json_string(json);
    json->bad |= !json_take(json, ':');
    return json->bad ? NULL : name;
}
