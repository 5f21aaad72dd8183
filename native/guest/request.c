/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include "base64.h"

#include <math.h>
#include <stdarg.h>
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

__attribute__((format(printf, 2, 3))) static bool refuse(char *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, REQUEST_ERROR_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

/* A string that goes into a system call. */
static bool c_string(const struct json_value *value, const char *name, char **out, char *error)
{
    if (value->kind != JSON_STRING)
        return refuse(error, "TypeError: %s: expected a string", name);
    struct json_text text = json_string(value);
    if (strlen(text.data) != text.length)
        return refuse(error, "ValueError: embedded null byte");
    *out = text.data;
    return true;
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

static bool take_args(const struct json_value *args, struct request *out, char *error)
{
    if (!args->start)
        return refuse(error, "KeyError: 'args'");
    if (args->kind != JSON_ARRAY)
        return refuse(error, "TypeError: args: expected a list of strings");
    size_t count = count_items(args);
    if (count == 0)
        return refuse(error, "IndexError: list index out of range");
    if (count > LIST_MAX)
        return refuse(error, "OSError: [Errno 7] Argument list too long");
    out->argv = calloc(count + 1, sizeof *out->argv);
    if (!out->argv)
        return refuse(error, "MemoryError: too many arguments");
    struct json_walk walk = {0};
    struct json_value item;
    for (size_t i = 0; json_next_item(args, &walk, &item); i++)
        if (!c_string(&item, "args", &out->argv[i], error))
            return false;
    return true;
}

static bool take_variable(const struct json_text *key, const struct json_value *value, char **out,
                          char *error)
{
    char *text;
    if (!c_string(value, "env", &text, error))
        return false;
    if (key->length == 0 || strlen(key->data) != key->length || strchr(key->data, '='))
        return refuse(error, "ValueError: illegal environment variable name");
    size_t size = key->length + strlen(text) + 2;
    *out = malloc(size);
    if (!*out)
        return refuse(error, "MemoryError: environment too large");
    snprintf(*out, size, "%s=%s", key->data, text);
    return true;
}

static bool take_environment(const struct json_value *environment, struct request *out, char *error)
{
    if (!environment->start || environment->kind == JSON_NULL)
        return true;
    if (environment->kind != JSON_OBJECT)
        return refuse(error, "TypeError: env: expected an object of strings");
    struct json_text key;
    struct json_value value;
    size_t count = 0;
    size_t capacity = 0;
    for (struct json_walk walk = {0}; json_next_member(environment, &walk, &key, &value); count++) {
        if (count == LIST_MAX)
            return refuse(error, "OSError: [Errno 7] Argument list too long");
        if (count + 1 >= capacity) {
            capacity = capacity ? capacity * 2 : 16;
            char **grown = realloc(out->environment, capacity * sizeof *grown);
            if (!grown)
                return refuse(error, "MemoryError: environment too large");
            out->environment = grown;
        }
        out->environment[count + 1] = NULL;
        out->environment[count] = NULL;
        if (!take_variable(&key, &value, &out->environment[count], error))
            return false;
    }
    return true;
}

/* Other texts are no error: a published client may have a field of this name that means nothing here. */
static bool follows(const struct json_value *value)
{
    return value->start && value->kind == JSON_STRING && strcmp(json_string(value).data, "follows") == 0;
}

static bool take_input(const struct json_value *input, struct request *out, char *error)
{
    if (!input->start || input->kind == JSON_NULL)
        return true;
    if (input->kind != JSON_STRING)
        return refuse(error, "TypeError: stdin_base64: expected a string");
    struct json_text text = json_string(input);
    ssize_t length = base64_decode(text.data, text.length, (unsigned char *)text.data);
    if (length < 0)
        return refuse(error, "ValueError: stdin_base64: not base64");
    out->input = (unsigned char *)text.data;
    out->input_length = (size_t)length;
    return true;
}

static bool take_timeout(const struct json_value *timeout, struct request *out, char *error)
{
    if (!timeout->start)
        return true;
    if (timeout->kind == JSON_NULL) {
        out->timeout = INFINITY;
        return true;
    }
    if (timeout->kind != JSON_NUMBER || !json_number(timeout, &out->timeout))
        return refuse(error, "TypeError: timeout: expected a number");
    return true;
}

/* NULL when there is none. */
static bool take_text(const struct json_value *value, const char *name, const char **out, char *error)
{
    char *text = NULL;
    if (value->start && value->kind != JSON_NULL && !c_string(value, name, &text, error))
        return false;
    *out = text;
    return true;
}

static bool take_exec(const struct members *members, struct request *out, char *error)
{
    out->timeout = DEFAULT_EXEC_TIMEOUT;
    if (!take_text(&members->cwd, "cwd", &out->cwd, error) ||
        !take_text(&members->user, "user", &out->user, error))
        return false;
    out->input_follows = follows(&members->follows);
    out->stream = members->stream.start && members->stream.kind == JSON_TRUE;
    return take_timeout(&members->timeout, out, error) && take_args(&members->args, out, error) &&
           take_environment(&members->environment, out, error) && take_input(&members->input, out, error);
}

static bool take_eval(const struct members *members, struct request *out, char *error)
{
    out->timeout = INFINITY;
    if (!members->code.start)
        return refuse(error, "KeyError: 'code'");
    if (members->code.kind != JSON_STRING)
        return refuse(error, "TypeError: code: expected a string");
    out->code = json_string(&members->code);
    return take_timeout(&members->timeout, out, error);
}

static bool take_action(const struct members *members, struct request *out, char *error)
{
    if (!members->action.start || members->action.kind == JSON_NULL)
        return refuse(error, "unknown action: None");
    if (members->action.kind != JSON_STRING)
        return refuse(error, "unknown action: not a string");
    const char *action = json_string(&members->action).data;
    if (strcmp(action, "ping") == 0) {
        out->action = REQUEST_PING;
        return true;
    }
    if (strcmp(action, "exec") == 0) {
        out->action = REQUEST_EXEC;
        return take_exec(members, out, error);
    }
    if (strcmp(action, "eval") == 0) {
        out->action = REQUEST_EVAL;
        return take_eval(members, out, error);
    }
    if (strcmp(action, "unmount") == 0) {
        out->action = REQUEST_UNMOUNT;
        return true;
    }
    if (strcmp(action, "mount") == 0) {
        out->action = REQUEST_MOUNT;
        return true;
    }
    if (strcmp(action, "shutdown") == 0) {
        out->action = REQUEST_SHUTDOWN;
        return true;
    }
    return refuse(error, "unknown action: '%.100s'", action);
}

bool request_parse(char *text, size_t length, struct request *out, char error[REQUEST_ERROR_SIZE])
{
    *out = (struct request){0};
    struct json_value document;
    struct json_problem problem;
    if (!json_parse(text, length, &document, &problem))
        return refuse(error, "JSONDecodeError: %s (char %zu)", problem.what, problem.offset);
    if (document.kind != JSON_OBJECT)
        return refuse(error, "TypeError: expected an object");
    struct members members = {0};
    collect(&document, &members);
    if (take_action(&members, out, error))
        return true;
    request_free(out);
    return false;
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
