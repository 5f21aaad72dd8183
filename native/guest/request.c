/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include "base64.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_EXEC_TIMEOUT 30

/* More arguments than this never fit on a new program's stack; a bound, so that "[0,0,0..." is cheap. */
#define LIST_MAX ((size_t)1 << 18)

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

static const struct {
    const char *name;
    size_t offset;
} fields[] = {
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

/* A name that is given twice has its last value; unknown names are ignored, as Python clients expect. */
static void collect(const struct json_value *object, struct members *out)
{
    struct json_walk walk = {0};
    struct json_text key;
    struct json_value value;
    while (json_next_member(object, &walk, &key, &value))
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            if (strlen(fields[i].name) == key.length && memcmp(fields[i].name, key.data, key.length) == 0)
                memcpy((char *)out + fields[i].offset, &value, sizeof value);
}

/* The sentence is the client's to read. */
#define refuse(err, code, ...) error_say(err, code, "parse", "request", __VA_ARGS__)

/* A string that goes into a system call. */
static int c_string(const struct json_value *value, const char *name, char **out, struct forkd_error *err)
{
    if (value->kind != JSON_STRING)
        return refuse(err, EINVAL, "TypeError: %s: expected a string", name);
    struct json_text text = json_string(value);
    if (strlen(text.data) != text.length)
        return refuse(err, EINVAL, "ValueError: embedded null byte");
    *out = text.data;
    return 0;
}

static size_t count_items(const struct json_value *container)
{
    struct json_walk walk = {0};
    struct json_value item;
    size_t count = 0;
    while (count <= LIST_MAX && json_next_item(container, &walk, &item))
        count++;
    return count;
}

static int take_args(const struct json_value *args, struct request *out, struct forkd_error *err)
{
    if (!args->start)
        return refuse(err, EINVAL, "KeyError: 'args'");
    if (args->kind != JSON_ARRAY)
        return refuse(err, EINVAL, "TypeError: args: expected a list of strings");
    size_t count = count_items(args);
    if (count == 0)
        return refuse(err, EINVAL, "IndexError: list index out of range");
    if (count > LIST_MAX)
        return refuse(err, E2BIG, "OSError: [Errno 7] Argument list too long");
    out->argv = calloc(count + 1, sizeof *out->argv);
    if (!out->argv)
        return refuse(err, ENOMEM, "MemoryError: too many arguments");
    struct json_walk walk = {0};
    struct json_value item;
    int status = 0;
    for (size_t i = 0; status == 0 && json_next_item(args, &walk, &item); i++)
        status = c_string(&item, "args", &out->argv[i], err);
    return status;
}

static int take_variable(const struct json_text *key, const struct json_value *value, char **out,
                         struct forkd_error *err)
{
    char *text;
    int status = c_string(value, "env", &text, err);
    if (status < 0)
        return status;
    if (key->length == 0 || strlen(key->data) != key->length || strchr(key->data, '='))
        return refuse(err, EINVAL, "ValueError: illegal environment variable name");
    size_t size = key->length + strlen(text) + 2;
    *out = malloc(size);
    if (!*out)
        return refuse(err, ENOMEM, "MemoryError: environment too large");
    snprintf(*out, size, "%s=%s", key->data, text);
    return 0;
}

static int take_environment(const struct json_value *environment, struct request *out,
                            struct forkd_error *err)
{
    if (!environment->start || environment->kind == JSON_NULL)
        return 0;
    if (environment->kind != JSON_OBJECT)
        return refuse(err, EINVAL, "TypeError: env: expected an object of strings");
    struct json_text key;
    struct json_value value;
    size_t count = 0;
    size_t capacity = 0;
    for (struct json_walk walk = {0}; json_next_member(environment, &walk, &key, &value); count++) {
        if (count == LIST_MAX)
            return refuse(err, E2BIG, "OSError: [Errno 7] Argument list too long");
        if (count + 1 >= capacity) {
            capacity = capacity ? capacity * 2 : 16;
            char **grown = realloc(out->environment, capacity * sizeof *grown);
            if (!grown)
                return refuse(err, ENOMEM, "MemoryError: environment too large");
            out->environment = grown;
        }
        out->environment[count + 1] = NULL;
        out->environment[count] = NULL;
        int status = take_variable(&key, &value, &out->environment[count], err);
        if (status < 0)
            return status;
    }
    return 0;
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
    collect(&document, &members);
    int status = take_action(&members, out, err);
    if (status < 0)
        request_free(out);
    return status;
}

void request_free(struct request *request)
{
    free(request->argv);
    request->argv = NULL;
    for (char **variable = request->environment; variable && *variable; variable++)
        free(*variable);
    free(request->environment);
    request->environment = NULL;
}
