/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/order.h"

#include "arguments.h"
#include "base64.h"
#include "json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* The largest whole number that a JSON reader may be trusted with (RFC 8259, section 6). */
#define NUMBER_MAX 9007199254740991.0

#define DEPTH_MAX 64
#define SIGNAL_MAX 64

/* A name that /etc/passwd can have, and a group. */
#define USER_MAX 256

/* All members that mean something, as they stand in the text. `start` is NULL when one is missing. */
struct members {
    struct json_value op;
    struct json_value user;
    struct json_value argv;
    struct json_value env;
    struct json_value cwd;
    struct json_value cwd_base64;
    struct json_value input;
    struct json_value pty;
    struct json_value timeout_ms;
    struct json_value tag;
    struct json_value detach;
    struct json_value pid;
    struct json_value from;
    struct json_value from_base64;
    struct json_value output;
    struct json_value signal;
    struct json_value group;
    struct json_value rows;
    struct json_value columns;
    struct json_value path;
    struct json_value path_base64;
    struct json_value to;
    struct json_value to_base64;
    struct json_value target;
    struct json_value target_base64;
    struct json_value follow;
    struct json_value parents;
    struct json_value recursive;
    struct json_value depth;
    struct json_value offset;
    struct json_value length;
    struct json_value mode;
    struct json_value uid;
    struct json_value gid;
    struct json_value mtime_ms;
    struct json_value port;
    struct json_value host;
    struct json_value socket;
};

static const struct json_field fields[] = {
    {"op", offsetof(struct members, op)},
    {"user", offsetof(struct members, user)},
    {"argv", offsetof(struct members, argv)},
    {"env", offsetof(struct members, env)},
    {"cwd", offsetof(struct members, cwd)},
    {"cwd_base64", offsetof(struct members, cwd_base64)},
    {"stdin", offsetof(struct members, input)},
    {"pty", offsetof(struct members, pty)},
    {"timeout_ms", offsetof(struct members, timeout_ms)},
    {"tag", offsetof(struct members, tag)},
    {"detach", offsetof(struct members, detach)},
    {"pid", offsetof(struct members, pid)},
    {"from", offsetof(struct members, from)},
    {"from_base64", offsetof(struct members, from_base64)},
    {"output", offsetof(struct members, output)},
    {"signal", offsetof(struct members, signal)},
    {"group", offsetof(struct members, group)},
    {"rows", offsetof(struct members, rows)},
    {"columns", offsetof(struct members, columns)},
    {"path", offsetof(struct members, path)},
    {"path_base64", offsetof(struct members, path_base64)},
    {"to", offsetof(struct members, to)},
    {"to_base64", offsetof(struct members, to_base64)},
    {"target", offsetof(struct members, target)},
    {"target_base64", offsetof(struct members, target_base64)},
    {"follow", offsetof(struct members, follow)},
    {"parents", offsetof(struct members, parents)},
    {"recursive", offsetof(struct members, recursive)},
    {"depth", offsetof(struct members, depth)},
    {"offset", offsetof(struct members, offset)},
    {"length", offsetof(struct members, length)},
    {"mode", offsetof(struct members, mode)},
    {"uid", offsetof(struct members, uid)},
    {"gid", offsetof(struct members, gid)},
    {"mtime_ms", offsetof(struct members, mtime_ms)},
    {"port", offsetof(struct members, port)},
    {"host", offsetof(struct members, host)},
    {"unix", offsetof(struct members, socket)},
};

/* The sentence is the host's to read. */
#define refuse(err, code, ...) error_say(err, code, "parse", "order", __VA_ARGS__)

static bool is_there(const struct json_value *value)
{
    return value->start && value->kind != JSON_NULL;
}

/* NULL when it is missing. */
static int take_text(const struct json_value *value, const char *name, size_t most, char **out,
                     struct forkd_error *err)
{
    *out = NULL;
    if (!is_there(value))
        return 0;
    int status = json_c_string(value, out);
    if (status < 0)
        return refuse(err, EINVAL, "%s: %s", name, status == -EILSEQ ? "it has a NUL in it" : "not a string");
    if (strlen(*out) > most)
        return refuse(err, E2BIG, "%s: longer than %zu bytes", name, most);
    return 0;
}

static int take_bytes(const struct json_value *value, const char *name, char **out, struct forkd_error *err)
{
    if (value->kind != JSON_STRING)
        return refuse(err, EINVAL, "%s_base64: not a string", name);
    struct json_text text = json_string(value);
    ssize_t length = base64_decode(text.data, text.length, (unsigned char *)text.data);
    if (length < 0 || memchr(text.data, '\0', (size_t)length))
        return refuse(err, EINVAL, "%s_base64: %s", name, length < 0 ? "not base64" : "it has a NUL in it");
    text.data[length] = '\0';
    *out = text.data;
    return 0;
}

/* The name of a file, in either form. */
static int take_name(const struct json_value *text, const struct json_value *base64, const char *name,
                     char **out, struct forkd_error *err)
{
    int status = is_there(base64) ? take_bytes(base64, name, out, err)
                                  : take_text(text, name, ORDER_LINE_MAX, out, err);
    if (status == 0 && *out && strlen(*out) > ORDER_PATH_MAX)
        return refuse(err, ENAMETOOLONG, "%s: longer than %d bytes", name, ORDER_PATH_MAX);
    return status;
}

static int take_path(const struct json_value *text, const struct json_value *base64, const char *name,
                     char **out, struct forkd_error *err)
{
    int status = take_name(text, base64, name, out, err);
    if (status == 0 && *out && **out != '/')
        return refuse(err, EINVAL, "%s: not an absolute path", name);
    return status;
}

static bool begins_at_home(const char *path)
{
    return *path == '~' && (path[1] == '\0' || path[1] == '/');
}

static int take_folder(const struct members *members, struct order *out, struct forkd_error *err)
{
    int status = take_name(&members->cwd, &members->cwd_base64, "cwd", &out->cwd, err);
    if (status == 0 && out->cwd && *out->cwd != '/' && !(out->user && begins_at_home(out->cwd)))
        return refuse(err, EINVAL, "cwd: not an absolute path, nor one in the home of a user who is named");
    return status;
}

static int take_flag(const struct json_value *value, const char *name, bool usual, bool *out,
                     struct forkd_error *err)
{
    *out = usual;
    if (!is_there(value))
        return 0;
    if (value->kind != JSON_TRUE && value->kind != JSON_FALSE)
        return refuse(err, EINVAL, "%s: neither true nor false", name);
    *out = value->kind == JSON_TRUE;
    return 0;
}

static int check_number(const struct json_value *value, const char *name, double low, double high,
                        int64_t *out, struct forkd_error *err)
{
    double number;
    if (value->kind != JSON_NUMBER || !json_number(value, &number) || !(number >= low && number <= high) ||
        trunc(number) != number)
        return refuse(err, EINVAL, "%s: not a whole number from %.0f to %.0f", name, low, high);
    *out = (int64_t)number;
    return 0;
}

static int take_number(const struct json_value *value, const char *name, double low, double high,
                       int64_t usual, int64_t *out, struct forkd_error *err)
{
    *out = usual;
    return is_there(value) ? check_number(value, name, low, high, out, err) : 0;
}

static int need(bool there, const char *what, struct forkd_error *err)
{
    return there ? 0 : refuse(err, EINVAL, "%s: missing", what);
}

static int take_tag(const struct members *members, struct order *out, struct forkd_error *err)
{
    int status = take_text(&members->tag, "tag", ORDER_LINE_MAX, &out->tag, err);
    if (status < 0 || !out->tag)
        return status;
    size_t length = strspn(out->tag, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    if (length == 0 || length > ORDER_TAG_MAX || out->tag[length])
        return refuse(err, EINVAL, "tag: not 1 to %d characters of [A-Za-z0-9_.-]", ORDER_TAG_MAX);
    return 0;
}

/* A process of `run`, by number or by name. */
static int take_process(const struct members *members, struct order *out, struct forkd_error *err)
{
    int64_t pid;
    int status = take_number(&members->pid, "pid", 1, INT32_MAX, 0, &pid, err);
    if (status == 0)
        status = take_tag(members, out, err);
    out->pid = (pid_t)pid;
    if (status == 0 && (pid != 0) == (out->tag != NULL))
        return refuse(err, EINVAL, "either pid or tag says which process");
    return status;
}

static int take_size(const struct json_value *rows, const struct json_value *columns, struct order *out,
                     struct forkd_error *err)
{
    int64_t number[2] = {0};
    int status = need(is_there(rows) && is_there(columns), "rows or columns", err);
    if (status == 0)
        status = check_number(rows, "rows", 1, UINT16_MAX, &number[0], err);
    if (status == 0)
        status = check_number(columns, "columns", 1, UINT16_MAX, &number[1], err);
    if (status < 0)
        return status;
    out->rows = (uint16_t)number[0];
    out->columns = (uint16_t)number[1];
    return 0;
}

static int take_terminal(const struct json_value *pty, struct order *out, struct forkd_error *err)
{
    struct {
        struct json_value rows;
        struct json_value columns;
    } size = {0};
    static const struct json_field names[] = {{"rows", 0}, {"columns", sizeof(struct json_value)}};
    if (!is_there(pty))
        return 0;
    if (pty->kind != JSON_OBJECT)
        return refuse(err, EINVAL, "pty: not an object");
    out->terminal = true;
    json_collect(pty, names, 2, &size);
    return take_size(&size.rows, &size.columns, out, err);
}

static int list_problem(int status, const char *name, struct forkd_error *err)
{
    switch (status) {
    case 0:
        return 0;
    case -E2BIG:
    case -ENOMEM:
        return refuse(err, status, "%s: too many", name);
    case -EDOM:
        return refuse(err, EINVAL, "%s: a name is empty, or has a '=' or a NUL in it", name);
    default:
        return refuse(err, EINVAL, "%s: not all are strings without NUL", name);
    }
}

static int take_run(const struct members *members, struct order *out, struct forkd_error *err)
{
    int status = need(is_there(&members->argv), "argv", err);
    if (status == 0)
        status = list_problem(arguments_list(&members->argv, &out->argv), "argv", err);
    if (status == 0)
        status = need(*out->argv != NULL, "argv[0]", err);
    if (status == 0 && is_there(&members->env))
        status = list_problem(arguments_environment(&members->env, &out->environment), "env", err);
    if (status == 0)
        status = take_folder(members, out, err);
    if (status == 0)
        status = take_flag(&members->input, "stdin", false, &out->input, err);
    if (status == 0)
        status = take_terminal(&members->pty, out, err);
    if (status == 0)
        status =
            take_number(&members->timeout_ms, "timeout_ms", 1, NUMBER_MAX, ORDER_NONE, &out->timeout_ms, err);
    if (status == 0)
        status = take_tag(members, out, err);
    return status == 0 ? take_flag(&members->detach, "detach", false, &out->detach, err) : status;
}

static int take_offsets(const struct json_value *from, struct order *out, struct forkd_error *err)
{
    struct json_walk walk = {0};
    struct json_value item;
    int64_t offset = 0;
    if (!is_there(from))
        return 0;
    for (int i = 0; i < 2; i++) {
        if (from->kind != JSON_ARRAY || !json_next_item(from, &walk, &item))
            return refuse(err, EINVAL, "from: not a list of two numbers");
        int status = check_number(&item, "from", 0, NUMBER_MAX, &offset, err);
        if (status < 0)
            return status;
        out->from[i] = (uint64_t)offset;
    }
    return json_next_item(from, &walk, &item) ? refuse(err, EINVAL, "from: not a list of two numbers") : 0;
}

static int take_attach(const struct members *members, struct order *out, struct forkd_error *err)
{
    int status = take_process(members, out, err);
    if (status == 0)
        status = take_offsets(&members->from, out, err);
    return status == 0 ? take_flag(&members->output, "output", true, &out->output, err) : status;
}

static int take_processes(const struct members *members, struct order *out, struct forkd_error *err)
{
    (void)members;
    (void)out;
    (void)err;
    return 0;
}

static int take_signal(const struct members *members, struct order *out, struct forkd_error *err)
{
    int64_t number = 0;
    int status = take_process(members, out, err);
    if (status == 0)
        status = need(is_there(&members->signal), "signal", err);
    if (status == 0)
        status = check_number(&members->signal, "signal", 0, SIGNAL_MAX, &number, err);
    out->signal = (int)number;
    return status == 0 ? take_flag(&members->group, "group", false, &out->group, err) : status;
}

static int take_resize(const struct members *members, struct order *out, struct forkd_error *err)
{
    int status = take_process(members, out, err);
    return status == 0 ? take_size(&members->rows, &members->columns, out, err) : status;
}

static int take_file(const struct members *members, struct order *out, struct forkd_error *err)
{
    int status = take_path(&members->path, &members->path_base64, "path", &out->path, err);
    return status == 0 ? need(out->path != NULL, "path", err) : status;
}

static int take_stat(const struct members *members, struct order *out, struct forkd_error *err)
{
    int status = take_file(members, out, err);
    return status == 0 ? take_flag(&members->follow, "follow", true, &out->follow, err) : status;
}

static int take_list(const struct members *members, struct order *out, struct forkd_error *err)
{
    int64_t depth;
    int status = take_file(members, out, err);
    if (status == 0)
        status = take_number(&members->depth, "depth", 1, DEPTH_MAX, 1, &depth, err);
    if (status == 0)
        out->depth = (int)depth;
    return status;
}

static int take_file_read(const struct members *members, struct order *out, struct forkd_error *err)
{
    int status = take_file(members, out, err);
    if (status == 0)
        status = take_number(&members->offset, "offset", 0, NUMBER_MAX, 0, &out->offset, err);
    return status == 0 ? take_number(&members->length, "length", 0, NUMBER_MAX, ORDER_NONE, &out->length, err)
                       : status;
}

static int take_owner(const struct members *members, struct order *out, struct forkd_error *err)
{
    /* The largest is what chown(2) takes for "leave it". */
    int status = take_number(&members->uid, "uid", 0, UINT32_MAX - 1, ORDER_NONE, &out->uid, err);
    return status == 0 ? take_number(&members->gid, "gid", 0, UINT32_MAX - 1, ORDER_NONE, &out->gid, err)
                       : status;
}

static int take_creation(const struct members *members, struct order *out, struct forkd_error *err)
{
    int64_t mode = ORDER_NONE;
    int status = take_file(members, out, err);
    if (status == 0)
        status = take_owner(members, out, err);
    if (status == 0)
        status = take_number(&members->mode, "mode", 0, 07777, ORDER_NONE, &mode, err);
    if (status == 0)
        status = take_number(&members->mtime_ms, "mtime_ms", 0, NUMBER_MAX, ORDER_NONE, &out->mtime_ms, err);
    out->mode = (int)mode;
    return status == 0 ? take_flag(&members->parents, "parents", false, &out->parents, err) : status;
}

static int take_symlink(const struct members *members, struct order *out, struct forkd_error *err)
{
    int status = take_file(members, out, err);
    if (status == 0)
        status = take_name(&members->target, &members->target_base64, "target", &out->target, err);
    if (status == 0)
        status = need(out->target && *out->target, "target", err);
    return status == 0 ? take_owner(members, out, err) : status;
}

static int take_move(const struct members *members, struct order *out, struct forkd_error *err)
{
    int status = take_path(&members->from, &members->from_base64, "from", &out->source, err);
    if (status == 0)
        status = take_path(&members->to, &members->to_base64, "to", &out->destination, err);
    return status == 0 ? need(out->source && out->destination, "from or to", err) : status;
}

static int take_recursive(const struct members *members, struct order *out, struct forkd_error *err)
{
    int status = take_file(members, out, err);
    return status == 0 ? take_flag(&members->recursive, "recursive", false, &out->recursive, err) : status;
}

static int take_connect(const struct members *members, struct order *out, struct forkd_error *err)
{
    int64_t port;
    int status = take_number(&members->port, "port", 1, UINT16_MAX, 0, &port, err);
    if (status == 0)
        status = take_text(&members->host, "host", ORDER_PATH_MAX, &out->host, err);
    if (status == 0)
        status = take_path(&members->socket, &(struct json_value){0}, "unix", &out->socket, err);
    if (status < 0)
        return status;
    if ((port != 0) == (out->socket != NULL) || (out->host && out->socket))
        return refuse(err, EINVAL, "either port or unix says where to connect to");
    if (out->socket && strlen(out->socket) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return refuse(err, ENAMETOOLONG, "unix: longer than the path of a socket can be");
    out->port = (uint16_t)port;
    return 0;
}

static const struct {
    const char *name;
    enum order_operation operation;
    int (*take)(const struct members *members, struct order *out, struct forkd_error *err);
} operations[] = {
    {"run", ORDER_RUN, take_run},
    {"attach", ORDER_ATTACH, take_attach},
    {"processes", ORDER_PROCESSES, take_processes},
    {"signal", ORDER_SIGNAL, take_signal},
    {"resize", ORDER_RESIZE, take_resize},
    {"stat", ORDER_STAT, take_stat},
    {"list", ORDER_LIST, take_list},
    {"file-read", ORDER_FILE_READ, take_file_read},
    {"file-write", ORDER_FILE_WRITE, take_creation},
    {"mkdir", ORDER_MKDIR, take_creation},
    {"symlink", ORDER_SYMLINK, take_symlink},
    {"move", ORDER_MOVE, take_move},
    {"remove", ORDER_REMOVE, take_recursive},
    {"watch", ORDER_WATCH, take_recursive},
    {"connect", ORDER_CONNECT, take_connect},
    {"metrics", ORDER_METRICS, take_processes},
};

static int take(const struct members *members, struct order *out, struct forkd_error *err)
{
    char *name;
    int status = take_text(&members->op, "op", ORDER_LINE_MAX, &name, err);
    if (!name)
        return status < 0 ? status : need(false, "op", err);
    if (status == 0)
        status = take_text(&members->user, "user", USER_MAX, &out->user, err);
    if (status < 0)
        return status;
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (strcmp(operations[i].name, name) != 0)
            continue;
        out->operation = operations[i].operation;
        return operations[i].take(members, out, err);
    }
    return refuse(err, ENOSYS, "op: there is no '%.100s'", name);
}

int order_parse(char *text, size_t length, struct order *out, struct forkd_error *err)
{
    struct json_value document;
    struct json_problem problem;
    *out = (struct order){0};
    if (!json_parse(text, length, &document, &problem))
        return refuse(err, EPROTO, "not JSON: %s (char %zu)", problem.what, problem.offset);
    if (document.kind != JSON_OBJECT)
        return refuse(err, EPROTO, "not a JSON object");
    struct members members = {0};
    json_collect(&document, fields, sizeof fields / sizeof *fields, &members);
    int status = take(&members, out, err);
    if (status < 0)
        order_free(out);
    return status;
}

int order_go_home(struct order *order, const char *home, struct forkd_error *err)
{
    static const char variable[] = "HOME=~";
    if (order->cwd && begins_at_home(order->cwd)) {
        if (asprintf(&order->home_cwd, "%s%s", home, order->cwd + 1) < 0)
            return error_set(err, ENOMEM, "parse", "order", NULL);
        order->cwd = order->home_cwd;
    }
    for (char **at = order->environment; at && *at; at++) {
        char *value;
        if (strcmp(*at, variable) != 0)
            continue;
        if (asprintf(&value, "HOME=%s", home) < 0)
            return error_set(err, ENOMEM, "parse", "order", NULL);
        free(*at);
        *at = value;
    }
    return 0;
}

void order_free(struct order *order)
{
    free(order->home_cwd);
    order->home_cwd = NULL;
    free(order->argv);
    order->argv = NULL;
    arguments_free_environment(order->environment);
    order->environment = NULL;
}
