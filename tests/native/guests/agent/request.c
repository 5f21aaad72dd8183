/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include "json.h"

void request_take_args(struct json *json, struct request *out)
{
    bool first = true;
    out->has_args = true;
    json->bad |= !json_take(json, '[');
    while (json_next(json, ']', &first)) {
        char *arg = json_string(json);
        if (out->arg_count < REQUEST_ARGS)
            out->args[out->arg_count++] = arg;
    }
}

void request_take_variables(struct json *json, struct request *out)
{
    bool first = true;
    const char *name;
    json->bad |= !json_take(json, '{');
    while ((name = json_next_name(json, &first)) != NULL) {
        const char *value = json_string(json);
        if (out->variable_count == REQUEST_VARIABLES)
            continue;
        out->names[out->variable_count] = name;
        out->values[out->variable_count++] = value;
    }
}

static void take_timeout(struct json *json, struct request *out)
{
    const char *number = json->at;
    out->has_timeout = true;
    if (!take_seconds(&number, &out->timeout_ms)) {
        out->timeout_ms = UINT32_MAX;
        json_skip(json);
        return;
    }
    json->at = (char *)number;
}

static void take_member(struct json *json, const char *name, struct request *out)
{
    char c = json_peek(json);
    if (same(name, "args") && c == '[') {
        request_take_args(json, out);
    } else if (same(name, "env") && c == '{') {
        request_take_variables(json, out);
    } else if (same(name, "timeout")) {
        take_timeout(json, out);
    } else if (same(name, "stream")) {
        out->stream = c == 't';
        json_skip(json);
    } else if (c == '"' && same(name, "action")) {
        out->action = json_string(json);
    } else if (c == '"' && same(name, "code")) {
        out->code = json_string(json);
    } else if (c == '"' && same(name, "cwd")) {
        out->cwd = json_string(json);
    } else if (c == '"' && same(name, "user")) {
        out->user = json_string(json);
    } else if (c == '"' && same(name, "stdin_base64")) {
        out->input = json_string(json);
    } else if (c == '"' && same(name, "stdin")) {
        const char *value = json_string(json);
        out->input_follows = value != NULL && same(value, "follows");
    } else {
        json_skip(json);
    }
}

char *request_parse(char *text, const char *end, struct request *out)
{
    struct json json = {text, end, false};
    const char *name;
    bool first = true;
    memset(out, 0, offsetof(struct request, args)); /* not what the counts are of */
    out->timeout_ms = UINT32_MAX;
    json.bad = !json_take(&json, '{');
    while ((name = json_next_name(&json, &first)) != NULL)
        take_member(&json, name, out);
    return json.bad ? NULL : json.at;
}
