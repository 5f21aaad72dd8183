/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include "arguments.h"
#include "base64.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_EXEC_TIMEOUT 30

/* The members that mean something, as they stand in the text. `start` is NULL when one is missing. */
struct members {
    struct json_value action;
    struct json_value args;
    struct json_value timeout;
    struct json_value environment;
    struct json_value cwd;
    struct json_value user;
    struct json_value input;
    struct json_value follows;
    struct json_value stream;
    struct json_value code;
};

static const struct json_field fields[] = {
    {"action", offsetof(struct members, action)},
    {"args", offsetof(struct members, args)},
    {"timeout", offsetof(struct members, timeout)},
    {"env", offsetof(struct members, environment)},
    {"cwd", offsetof(struct members, cwd)},
    {"user", offsetof(struct members, user)},
    {"stdin_base64", offsetof(struct members, input)},
    {"stdin", offsetof(struct members, follows)},
    {"stream", offsetof(struct members, stream)},
    {"code", offsetof(struct members, code)},
};

/* The sentence is the client's to read. */
#define refuse(err, code, ...) error_say(err, code, "parse", "request", __VA_ARGS__)

static int c_string(const struct json_value *value, const char *name, char **out, struct forkd_error *err)
{
    int status = json_c_string(value, out);
    if (status == -EILSEQ)
        return refuse(err, EINVAL, "ValueError: embedded null byte");
    return status < 0 ? refuse(err, EINVAL, "TypeError: %s: expected a string", name) : 0;
}

static int take_args(const struct json_value *args, struct request *out, struct forkd_error *err)
{
    if (!args->start)
        return refuse(err, EINVAL, "KeyError: 'args'");
    switch (arguments_list(args, &out->argv)) {
    case 0:
        return *out->argv ? 0 : refuse(err, EINVAL, "IndexError: list index out of range");
    case -EILSEQ:
        return refuse(err, EINVAL, "ValueError: embedded null byte");
    case -E2BIG:
        return refuse(err, E2BIG, "OSError: [Errno 7] Argument list too long");
    case -ENOMEM:
        return refuse(err, ENOMEM, "MemoryError: too many arguments");
    default:
        return refuse(err, EINVAL, "TypeError: args: expected a list of strings");
    }
}

static int take_environment(const struct json_value *environment, struct request *out,
                            struct forkd_error *err)
{
    if (!environment->start || environment->kind == JSON_NULL)
        return 0;
    switch (arguments_environment(environment, &out->environment)) {
    case 0:
        return 0;
    case -EDOM:
        return refuse(err, EINVAL, "ValueError: illegal environment variable name");
    case -EILSEQ:
        return refuse(err, EINVAL, "ValueError: embedded null byte");
    case -E2BIG:
        return refuse(err, E2BIG, "OSError: [Errno 7] Argument list too long");
    case -ENOMEM:
        return refuse(err, ENOMEM, "MemoryError: environment too large");
    default:
        return refuse(err, EINVAL, "TypeError: env: expected an object of strings");
    }
}

/* Other texts are no error: a published client may have a field of this name that means nothing here. */
static bool follows(const struct json_value *value)
{
    return value->start && value->kind == JSON_STRING && strcmp(json_string(value).data, "follows") == 0;
}

static int take_input(const struct json_value *input, struct request *out, struct forkd_error *err)
{
    if (!input->start || input->kind == JSON_NULL)
        return 0;
    if (input->kind != JSON_STRING)
        return refuse(err, EINVAL, "TypeError: stdin_base64: expected a string");
    struct json_text text = json_string(input);
    ssize_t length = base64_decode(text.data, text.length, (unsigned char *)text.data);
    if (length < 0)
        return refuse(err, EINVAL, "ValueError: stdin_base64: not base64");
    out->input = (unsigned char *)text.data;
    out->input_length = (size_t)length;
    return 0;
}

static int take_timeout(const struct json_value *timeout, struct request *out, struct forkd_error *err)
{
    if (!timeout->start)
        return 0;
    if (timeout->kind == JSON_NULL) {
        out->timeout = INFINITY;
        return 0;
    }
    if (timeout->kind != JSON_NUMBER || !json_number(timeout, &out->timeout))
        return refuse(err, EINVAL, "TypeError: timeout: expected a number");
    return 0;
}

/* NULL when there is none. */
static int take_text(const struct json_value *value, const char *name, const char **out,
                     struct forkd_error *err)
{
    char *text = NULL;
    int status = value->start && value->kind != JSON_NULL ? c_string(value, name, &text, err) : 0;
    *out = text;
    return status;
}

static int take_exec(const struct members *members, struct request *out, struct forkd_error *err)
{
    out->timeout = DEFAULT_EXEC_TIMEOUT;
    out->input_follows = follows(&members->follows);
    out->stream = members->stream.start && members->stream.kind == JSON_TRUE;
    int status = take_text(&members->cwd, "cwd", &out->cwd, err);
    if (status == 0)
        status = take_text(&members->user, "user", &out->user, err);
    if (status == 0)
        status = take_timeout(&members->timeout, out, err);
    if (status == 0)
        status = take_args(&members->args, out, err);
    if (status == 0)
        status = take_environment(&members->environment, out, err);
    return status == 0 ? take_input(&members->input, out, err) : status;
}

static int take_eval(const struct members *members, struct request *out, struct forkd_error *err)
{
    out->timeout = INFINITY;
    if (!members->code.start)
        return refuse(err, EINVAL, "KeyError: 'code'");
    if (members->code.kind != JSON_STRING)
        return refuse(err, EINVAL, "TypeError: code: expected a string");
    out->code = json_string(&members->code);
    return take_timeout(&members->timeout, out, err);
}

static int take_action(const struct members *members, struct request *out, struct forkd_error *err)
{
    if (!members->action.start || members->action.kind == JSON_NULL)
        return refuse(err, EINVAL, "unknown action: None");
    if (members->action.kind != JSON_STRING)
        return refuse(err, EINVAL, "unknown action: not a string");
    const char *action = json_string(&members->action).data;
    if (strcmp(action, "ping") == 0) {
        out->action = REQUEST_PING;
        return 0;
    }
    if (strcmp(action, "exec") == 0) {
        out->action = REQUEST_EXEC;
        return take_exec(members, out, err);
    }
    if (strcmp(action, "eval") == 0) {
        out->action = REQUEST_EVAL;
        return take_eval(members, out, err);
    }
    if (strcmp(action, "unmount") == 0) {
        out->action = REQUEST_UNMOUNT;
        return 0;
    }
    if (strcmp(action, "mount") == 0) {
        out->action = REQUEST_MOUNT;
        return 0;
    }
    if (strcmp(action, "shutdown") == 0) {
        out->action = REQUEST_SHUTDOWN;
        return 0;
    }
    return refuse(err, EINVAL, "unknown action: '%.100s'", action);
}

int request_parse(char *text, size_t length, struct request *out, struct forkd_error *err)
{
    *out = (struct request){0};
    struct json_value document;
    struct json_problem problem;
    if (!json_parse(text, length, &document, &problem))
        return refuse(err, EINVAL, "JSONDecodeError: %s (char %zu)", problem.what, problem.offset);
    if (document.kind != JSON_OBJECT)
        return refuse(err, EINVAL, "TypeError: expected an object");
    struct members members = {0};
    json_collect(&document, fields, sizeof fields / sizeof *fields, &members);
    int status = take_action(&members, out, err);
    if (status < 0)
        request_free(out);
    return status;
}

void request_free(struct request *request)
{
    free(request->argv);
    request->argv = NULL;
    arguments_free_environment(request->environment);
    request->environment = NULL;
}
