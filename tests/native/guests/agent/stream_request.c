/* SPDX-License-Identifier: Apache-2.0 */
#include "stream_request.h"

#include "json.h"

static uint32_t take_count(struct json *json)
{
    const char *at = json->at;
    uint32_t number;
    if (!take_number(&at, &number)) {
        json_skip(json);
        return ABSENT;
    }
    json->at = (char *)at;
    return number;
}

static int64_t take_time(struct json *json)
{
    int64_t number = 0;
    while (json->at < json->end && *json->at >= '0' && *json->at <= '9')
        number = number * 10 + (*json->at++ - '0');
    return number;
}

static bool take_flag(struct json *json)
{
    bool is = json_peek(json) == 't';
    json_skip(json);
    return is;
}

static void take_size(struct json *json, struct stream_request *out)
{
    bool first = true;
    const char *name;
    out->has_pty = json_take(json, '{');
    while (out->has_pty && (name = json_next_name(json, &first)) != NULL) {
        json_peek(json);
        uint32_t number = take_count(json);
        if (same(name, "rows"))
            out->rows = number;
        else if (same(name, "columns"))
            out->columns = number;
    }
}

static void take_from(struct json *json, struct stream_request *out)
{
    bool first = true;
    uint32_t index = 0;
    json->bad |= !json_take(json, '[');
    while (json_next(json, ']', &first)) {
        json_peek(json);
        uint32_t number = take_count(json);
        if (index < 2)
            out->from[index++] = number;
    }
    out->has_from = index == 2;
}

static char *take_base64(struct json *json)
{
    char *bytes = json_string(json);
    int32_t length = bytes != NULL ? base64_decode(bytes) : -1;
    json->bad |= length < 0;
    if (length >= 0)
        bytes[length] = '\0';
    return bytes;
}

/* False when it is no such member. */
static bool take_string(struct json *json, const char *name, struct stream_request *out)
{
    if (same(name, "op"))
        out->op = json_string(json);
    else if (same(name, "path"))
        out->path = json_string(json);
    else if (same(name, "path_base64"))
        out->path = take_base64(json);
    else if (same(name, "target"))
        out->target = json_string(json);
    else if (same(name, "target_base64"))
        out->target = take_base64(json);
    else if (same(name, "tag"))
        out->tag = json_string(json);
    else if (same(name, "host"))
        out->host = json_string(json);
    else if (same(name, "unix"))
        out->unix_path = json_string(json);
    else if (same(name, "cwd"))
        out->run.cwd = json_string(json);
    else if (same(name, "user"))
        out->run.user = json_string(json);
    else
        return false;
    return true;
}

static bool take_numbers(struct json *json, const char *name, struct stream_request *out)
{
    static const struct {
        const char *name;
        size_t at;
    } numbers[] = {
        {"pid", offsetof(struct stream_request, pid)},
        {"signal", offsetof(struct stream_request, signal)},
        {"port", offsetof(struct stream_request, port)},
        {"depth", offsetof(struct stream_request, depth)},
        {"mode", offsetof(struct stream_request, mode)},
        {"uid", offsetof(struct stream_request, uid)},
        {"gid", offsetof(struct stream_request, gid)},
        {"rows", offsetof(struct stream_request, rows)},
        {"columns", offsetof(struct stream_request, columns)},
        {"offset", offsetof(struct stream_request, offset)},
        {"length", offsetof(struct stream_request, length)},
        {"timeout_ms", offsetof(struct stream_request, run.timeout_ms)},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (same(name, numbers[i].name)) {
            *(uint32_t *)((char *)out + numbers[i].at) = take_count(json);
            return true;
        }
    }
    return false;
}

static void take_member(struct json *json, const char *name, struct stream_request *out)
{
    char c = json_peek(json);
    if (c == '"' && take_string(json, name, out))
        return;
    if (c >= '0' && c <= '9' && same(name, "mtime_ms"))
        out->modified_ms = take_time(json);
    else if (c >= '0' && c <= '9' && take_numbers(json, name, out))
        return;
    else if (c == '[' && same(name, "argv"))
        request_take_args(json, &out->run);
    else if (c == '{' && same(name, "env"))
        request_take_variables(json, &out->run);
    else if (same(name, "pty"))
        take_size(json, out);
    else if (same(name, "from") && c == '[')
        take_from(json, out);
    else if (same(name, "stdin"))
        out->stdin = take_flag(json);
    else if (same(name, "detach"))
        out->detach = take_flag(json);
    else if (same(name, "parents"))
        out->parents = take_flag(json);
    else if (same(name, "recursive"))
        out->recursive = take_flag(json);
    else if (same(name, "follow"))
        out->no_follow = !take_flag(json);
    else if (same(name, "output"))
        out->no_output = !take_flag(json);
    else
        json_skip(json);
}

bool stream_request_parse(char *text, const char *end, struct stream_request *out)
{
    struct json json = {text, end, false};
    const char *name;
    bool first = true;
    memset(out, 0, offsetof(struct stream_request, run));
    memset(&out->run, 0, offsetof(struct request, args));
    out->pid = out->signal = out->port = out->mode = out->uid = out->gid = out->length = ABSENT;
    out->run.timeout_ms = UINT32_MAX;
    out->depth = 1;
    out->modified_ms = -1;
    json.bad = !json_take(&json, '{');
    while ((name = json_next_name(&json, &first)) != NULL)
        take_member(&json, name, out);
    return !json.bad;
}
