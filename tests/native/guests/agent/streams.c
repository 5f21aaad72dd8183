/* SPDX-License-Identifier: Apache-2.0 */
#include "streams.h"

#include "cpu.h"
#include "files.h"
#include "hostile.h"
#include "processes.h"
#include "stream_request.h"
#include "users.h"

#define HEADER 8u
#define PAYLOAD_MOST (64u << 10)
#define PATTERN_SIZE (1u << 30)
#define ECHO_PORT 7u
#define HTTP_PORT 80u
#define RESET_PORT 81u

enum frame { FRAME_IN = 1, FRAME_OUT, FRAME_ERR, FRAME_EVENT, FRAME_END };

enum kind {
    KIND_REQUEST, /* it has not come yet */
    KIND_LISTEN,
    KIND_READ,
    KIND_WRITE,
    KIND_ECHO,
    KIND_HTTP,
    KIND_RESET,
    KIND_HOSTILE, /* says nonsense without end, or nothing */
    KIND_OVER,    /* END is on its way */
};

struct stream {
    struct vsock_connection *connection; /* NULL: there is none */
    enum kind kind;
    bool input_over;
    bool silent;          /* a listener that wants no output */
    enum hostile hostile; /* of KIND_HOSTILE */
    struct process *process;
    uint32_t out; /* what was sent of its output */
    uint32_t err;
    struct file *file; /* NULL: /pattern, /sink */
    uint32_t at;       /* of what is read or written, */
    uint32_t left;     /* and how much there is to come */
    uint32_t length;   /* of `text` */
    struct stream_request request;
    char text[2048]; /* of a request of HTTP */
};

static struct stream streams[VSOCK_CONNECTIONS];
static uint64_t used; /* a bit for each that has a connection */
static bool progress;

static struct stream *stream_of(const struct vsock_connection *c)
{
    return &streams[vsock_number(c)];
}

/* --- What is said --- */

static struct text *output(struct stream *s)
{
    return &s->connection->output;
}

static void push(struct stream *s)
{
    vsock_send(s->connection, NULL, 0);
    vsock_push(s->connection);
    progress = true;
}

static void put_header(struct stream *s, enum frame type, uint32_t length)
{
    uint32_t header[] = {type, length};
    put_bytes(output(s), header, sizeof header);
}

static void put_frame(struct stream *s, enum frame type, const void *data, uint32_t length)
{
    put_header(s, type, length);
    put_bytes(output(s), data, length);
}

/* A frame of JSON, whose text is put between these two. */
static char *begin_frame(struct stream *s, enum frame type)
{
    put_header(s, type, 0);
    return output(s)->at;
}

static void end_frame(struct stream *s, char *start)
{
    uint32_t length = (uint32_t)(output(s)->at - start);
    memcpy(start - 4, &length, sizeof length);
}

static void over(struct stream *s)
{
    s->kind = KIND_OVER;
    vsock_finish(s->connection);
    progress = true;
}

static void end(struct stream *s, const char *json)
{
    put_frame(s, FRAME_END, json, strlen(json));
    over(s);
}

static void answer(struct stream *s, const char *json)
{
    put(output(s), json);
    put(output(s), "\n");
    push(s);
}

/* An answer after which there is nothing. */
static void reply(struct stream *s, const char *json)
{
    answer(s, json);
    over(s);
}

static void put_error(struct stream *s, const char *error, const char *code)
{
    put(output(s), "{\"error\":");
    put_string(output(s), error);
    put(output(s), ",\"code\":");
    put_string(output(s), code);
    put(output(s), "}");
}

static void fail(struct stream *s, const char *error, const char *code)
{
    put_error(s, error, code);
    reply(s, "");
}

static void end_with_error(struct stream *s, const char *error, const char *code)
{
    char *start = begin_frame(s, FRAME_END);
    put_error(s, error, code);
    end_frame(s, start);
    over(s);
}

/* --- Processes --- */

static void answer_process(struct stream *s, bool attached)
{
    struct process *p = s->process;
    struct text *out = output(s);
    put(out, "{\"pid\":");
    put_number(out, p->pid);
    if (attached) {
        if (p->tag != NULL) {
            put(out, ",\"tag\":");
            put_string(out, p->tag);
        }
        put(out, ",\"from\":[");
        put_number(out, s->out);
        put(out, ",");
        put_number(out, s->err);
        put(out, p->pty ? "],\"pty\":true" : "],\"pty\":false");
        put(out, p->stdin ? ",\"stdin\":true" : ",\"stdin\":false");
    }
    answer(s, "}");
    s->kind = KIND_LISTEN;
    p->listeners++;
}

/* The request is in the connection's input, which goes with it. */
static const char *moved(const struct stream *s, const char *text)
{
    return text == NULL ? NULL : s->process->text + (text - s->connection->input);
}

/* Where the request says `~`. False when there is no such user. */
static bool go_home(struct process *p)
{
    struct request *run = &p->job.request;
    if (run->user == NULL)
        return true;
    if (!user_home(run->user, p->home))
        return false;
    if (run->cwd != NULL && *run->cwd == '~') {
        struct text path = {p->cwd, p->cwd + sizeof p->cwd - 1};
        put(&path, p->home);
        put(&path, run->cwd + 1);
        *path.at = '\0';
        run->cwd = p->cwd;
    }
    for (uint32_t i = 0; i < run->variable_count; i++)
        if (same(run->names[i], "HOME") && same(run->values[i], "~"))
            run->values[i] = p->home;
    return true;
}

static void take_request(struct stream *s)
{
    struct process *p = s->process;
    const struct stream_request *request = &s->request;
    struct request *run = &p->job.request;
    memcpy(p->text, s->connection->input, s->connection->kept);
    *run = request->run;
    run->cwd = moved(s, run->cwd);
    run->user = moved(s, run->user);
    for (uint32_t i = 0; i < run->arg_count; i++)
        run->args[i] = (char *)moved(s, run->args[i]);
    for (uint32_t i = 0; i < run->variable_count; i++) {
        run->names[i] = moved(s, run->names[i]);
        run->values[i] = moved(s, run->values[i]);
    }
    p->tag = moved(s, request->tag);
    p->pty = request->has_pty;
    p->rows = request->rows;
    p->columns = request->columns;
    p->stdin = request->stdin || request->has_pty;
    p->detach = request->detach;
    p->deadline = cpu_after(run->timeout_ms);
}

static void be_hostile(struct stream *s, const char *kind)
{
    enum hostile then = hostile_say(s->connection, kind);
    push(s);
    s->kind = KIND_HOSTILE;
    s->hostile = then;
    if (then == HOSTILE_CLOSES)
        over(s);
}

/* False when a process has it that goes on, or whose end somebody may still want to hear. */
static bool free_tag(const char *tag)
{
    struct process *p = process_find(0, tag);
    if (p != NULL && p->ended && p->listeners == 0)
        p->tag = NULL;
    return p == NULL || p->tag == NULL;
}

static void run(struct stream *s)
{
    struct request *run = &s->request.run;
    if (run->arg_count == 0) {
        fail(s, "argv: there is none", "EINVAL");
    } else if (run->arg_count == 2 && same(run->args[0], "hostile") && hostile_is(run->args[1])) {
        be_hostile(s, run->args[1]);
    } else if (s->connection->kept > PROCESS_TEXT) {
        fail(s, "the request is too long", "E2BIG");
    } else if (s->request.tag != NULL && !free_tag(s->request.tag)) {
        fail(s, "a process has that tag", "EEXIST");
    } else if ((s->process = process_new()) == NULL) {
        fail(s, "there are too many processes", "EAGAIN");
    } else {
        take_request(s);
        bool known = go_home(s->process);
        if (known)
            process_start(s->process);
        if (known && !s->process->failed) {
            answer_process(s, false);
            return;
        }
        s->process->used = false;
        s->process = NULL;
        fail(s, known ? "No such file or directory" : "there is no such user", known ? "ENOENT" : "ESRCH");
    }
}

/* Whom the request is about; NULL when there is none, which is said then. */
static struct process *named(struct stream *s)
{
    struct process *p = process_find(s->request.pid, s->request.tag);
    if (p == NULL)
        fail(s, "No such process", "ESRCH");
    return p;
}

static uint32_t beginning(const struct ring *ring, uint32_t from)
{
    uint32_t oldest = ring->end > ring->size ? ring->end - ring->size : 0;
    return from < oldest ? oldest : from;
}

static bool is_ahead(struct stream *s, const char *name, const struct ring *ring, uint32_t from)
{
    char said[128];
    struct text text = {said, said + sizeof said - 1};
    if (from <= ring->end)
        return false;
    put(&text, name);
    put(&text, " has ");
    put_number(&text, ring->end);
    put(&text, " bytes until now, which is before ");
    put_number(&text, from);
    *text.at = '\0';
    fail(s, said, "EINVAL");
    return true;
}

static void attach(struct stream *s)
{
    struct process *p = named(s);
    const uint32_t *from = s->request.from;
    if (p == NULL || is_ahead(s, "stdout", &p->out, from[0]) || is_ahead(s, "stderr", &p->err, from[1]))
        return;
    s->process = p;
    s->silent = s->request.no_output;
    s->out = beginning(&p->out, from[0]);
    s->err = beginning(&p->err, from[1]);
    answer_process(s, true);
}

static void list_processes(struct stream *s)
{
    struct text *out = output(s);
    const char *separator = "";
    put(out, "{\"processes\":[");
    for (struct process *p = processes; p < processes + PROCESSES; p++) {
        if (!p->used)
            continue;
        put(out, separator);
        put(out, "{\"pid\":");
        put_number(out, p->pid);
        if (p->tag != NULL) {
            put(out, ",\"tag\":");
            put_string(out, p->tag);
        }
        put(out, ",\"argv\":[");
        for (uint32_t i = 0; i < p->job.request.arg_count; i++) {
            put(out, i > 0 ? "," : "");
            put_string(out, p->job.request.args[i]);
        }
        put(out, "],\"cwd\":");
        put_string(out, p->job.request.cwd != NULL ? p->job.request.cwd : "/");
        put(out, p->pty ? ",\"pty\":true" : ",\"pty\":false");
        put(out, ",\"started_ms\":1700000000000");
        if (p->ended) {
            put(out, ",\"exit_code\":");
            put_number(out, p->exit_code);
        }
        put(out, "}");
        separator = ",";
    }
    reply(s, "]}");
}

static void send_signal(struct stream *s)
{
    struct process *p = named(s);
    if (p == NULL)
        return;
    if (s->request.signal > 64) {
        fail(s, "signal: it must be 1 to 64", "EINVAL");
        return;
    }
    process_signal(p, s->request.signal);
    reply(s, "{}");
}

static void resize(struct stream *s)
{
    struct process *p = named(s);
    if (p == NULL)
        return;
    if (!p->pty) {
        fail(s, "it has no terminal", "ENOTTY");
        return;
    }
    process_resize(p, s->request.rows, s->request.columns);
    reply(s, "{}");
}

static bool send_ring(struct stream *s, enum frame type, const struct ring *ring, uint32_t *at)
{
    uint32_t length = ring->end - *at;
    if (length > PAYLOAD_MOST)
        length = PAYLOAD_MOST;
    uint32_t offset = *at % ring->size;
    if (length > ring->size - offset)
        length = ring->size - offset;
    if (length == 0)
        return false;
    put_frame(s, type, ring->data + offset, length);
    *at += length;
    return true;
}

static void send_output(struct stream *s)
{
    struct process *p = s->process;
    bool more = !s->silent && send_ring(s, FRAME_OUT, &p->out, &s->out);
    more |= !s->silent && send_ring(s, FRAME_ERR, &p->err, &s->err);
    if (more) {
        push(s);
    } else if (p->ended) {
        if (!s->silent)
            put_frame(s, FRAME_OUT, NULL, 0);
        if (!s->silent && !p->pty)
            put_frame(s, FRAME_ERR, NULL, 0);
        char *start = begin_frame(s, FRAME_END);
        put(output(s), "{\"exit_code\":");
        put_number(output(s), p->exit_code);
        put(output(s), p->timed_out ? ",\"timed_out\":true}" : "}");
        end_frame(s, start);
        p->told = true;
        over(s);
    }
}

/* --- Files --- */

static void put_path(struct text *out, const char *field, const char *name, size_t length)
{
    bool ascii = true;
    put(out, "\"");
    put(out, field);
    put(out, "\":\"");
    for (size_t i = 0; i < length; i++) {
        ascii &= (uint8_t)name[i] < 0x80;
        if ((uint8_t)name[i] < 0x80)
            put_escaped(out, name + i, 1);
        else
            put(out, "\\ufffd");
    }
    put(out, "\"");
    if (!ascii) {
        put(out, ",\"");
        put(out, field);
        put(out, "_base64\":\"");
        put_base64(out, (const uint8_t *)name, length);
        put(out, "\"");
    }
}

static void put_entry(struct text *out, const struct file *file)
{
    static const char *const types[] = {"file", "directory", "symlink"};
    const char *base = file->name + strlen(file->name);
    while (base > file->name && base[-1] != '/')
        base--;
    put(out, "{");
    put_path(out, "name", base, strlen(base));
    put(out, ",");
    put_path(out, "path", file->name, strlen(file->name));
    put(out, ",\"type\":\"");
    put(out, types[file->type]);
    put(out, "\",\"size\":");
    put_number(out, file->length);
    put(out, ",\"mode\":");
    put_number(out, file->mode & 07777);
    put(out, ",\"uid\":");
    put_number(out, file->uid);
    put(out, ",\"gid\":");
    put_number(out, file->gid);
    put(out, file->uid == 0 ? ",\"user\":\"root\"" : "");
    put(out, ",\"mtime_ms\":");
    put_number(out, file->modified_ms);
    if (file->type == FILE_LINK) {
        put(out, ",");
        put_path(out, "target", file->value, file->length);
    }
    put(out, "}");
}

/* /pattern or /sink. */
static void put_special(struct text *out, const char *path, uint32_t size)
{
    static struct file special;
    memcpy(special.name, path, strlen(path) + 1);
    special.length = size;
    special.mode = 0644;
    put_entry(out, &special);
}

/* Links in the middle of a path lead nowhere here. */
static struct file *find(struct stream *s, bool follow)
{
    struct file *file = file_find(s->request.path);
    for (int i = 0; i < 8 && follow && file != NULL && file->type == FILE_LINK; i++) {
        char target[256];
        uint32_t length = file->length < sizeof target - 1 ? file->length : sizeof target - 1;
        memcpy(target, file->value, length);
        target[length] = '\0';
        file = file_find(target);
    }
    return file;
}

static struct file *require(struct stream *s, bool follow)
{
    struct file *file = find(s, follow);
    if (file == NULL)
        fail(s, "No such file or directory", "ENOENT");
    return file;
}

/* Whether something can be made there; with `parents` the directories are made. */
static bool has_parent(struct stream *s, const char *path)
{
    char name[256];
    if (!file_parent(path, name))
        return true;
    struct file *parent = file_find(name);
    if (parent == NULL && s->request.parents && has_parent(s, name) && (parent = file_make(name)) != NULL) {
        parent->type = FILE_DIRECTORY;
        parent->mode = 0755;
    }
    if (parent != NULL && parent->type == FILE_DIRECTORY)
        return true;
    if (s->kind == KIND_REQUEST && parent == NULL)
        fail(s, "No such file or directory", "ENOENT");
    else if (s->kind == KIND_REQUEST)
        fail(s, "Not a directory", "ENOTDIR");
    return false;
}

static void set_attributes(struct file *file, const struct stream_request *request)
{
    if (request->mode != ABSENT)
        file->mode = request->mode;
    if (request->uid != ABSENT)
        file->uid = request->uid;
    if (request->gid != ABSENT)
        file->gid = request->gid;
    if (request->modified_ms >= 0)
        file->modified_ms = request->modified_ms;
}

static void stat(struct stream *s)
{
    bool is_pattern = same(s->request.path, "/pattern");
    const struct file *file = is_pattern ? NULL : require(s, !s->request.no_follow);
    if (is_pattern)
        put_special(output(s), "/pattern", PATTERN_SIZE);
    else if (file != NULL)
        put_entry(output(s), file);
    else
        return;
    reply(s, "");
}

static void list(struct stream *s)
{
    const struct file *directory = require(s, true);
    if (directory == NULL)
        return;
    if (directory->type != FILE_DIRECTORY) {
        fail(s, "Not a directory", "ENOTDIR");
        return;
    }
    answer(s, "{}");
    for (uint32_t i = 0; i < FILES; i++) {
        uint32_t depth = files[i].used ? file_depth(s->request.path, files[i].name) : 0;
        if (depth == 0 || depth > s->request.depth)
            continue;
        char *start = begin_frame(s, FRAME_EVENT);
        put_entry(output(s), &files[i]);
        end_frame(s, start);
    }
    end(s, "{}");
}

static void read_file(struct stream *s)
{
    bool is_pattern = same(s->request.path, "/pattern");
    struct file *file = s->file = is_pattern ? NULL : require(s, true);
    if (!is_pattern && file == NULL)
        return;
    if (file != NULL && file->type == FILE_DIRECTORY) {
        fail(s, "Is a directory", "EISDIR");
        return;
    }
    uint32_t size = is_pattern ? PATTERN_SIZE : file->length;
    s->at = s->request.offset < size ? s->request.offset : size;
    s->left = size - s->at < s->request.length ? size - s->at : s->request.length;
    s->length = s->left;
    if (is_pattern)
        put_special(output(s), "/pattern", PATTERN_SIZE);
    else
        put_entry(output(s), file);
    answer(s, "");
    s->kind = KIND_READ;
}

static void send_file(struct stream *s)
{
    for (uint32_t i = 0; i < 2 && s->left > 0; i++) {
        const char *from = s->file != NULL ? s->file->value + s->at : pattern + s->at % PATTERN_PERIOD;
        uint32_t part = s->file != NULL ? PAYLOAD_MOST : PATTERN_BYTES - PATTERN_PERIOD;
        if (part > s->left)
            part = s->left;
        put_header(s, FRAME_OUT, part);
        vsock_send(s->connection, from, part); /* which stays as it is */
        s->at += part;
        s->left -= part;
    }
    push(s);
    if (s->left > 0)
        return;
    put_frame(s, FRAME_OUT, NULL, 0);
    char *start = begin_frame(s, FRAME_END);
    put(output(s), "{\"bytes\":");
    put_number(output(s), s->length);
    put(output(s), "}");
    end_frame(s, start);
    over(s);
}

/* What is being written has a name that no path has. */
static struct file *make_aside(struct stream *s)
{
    char name[32];
    struct text text = {name, name + sizeof name - 1};
    put(&text, "being written ");
    put_number(&text, vsock_number(s->connection));
    *text.at = '\0';
    struct file *file = file_make(name);
    if (file != NULL)
        file->length = 0;
    return file;
}

static void write_file(struct stream *s)
{
    struct file *there = find(s, true);
    bool sink = same(s->request.path, "/sink");
    if (there != NULL && there->type == FILE_DIRECTORY) {
        fail(s, "Is a directory", "EISDIR");
        return;
    }
    if (!has_parent(s, s->request.path))
        return;
    s->file = sink ? NULL : make_aside(s);
    if (!sink && s->file == NULL) {
        fail(s, "No space left on device", "ENOSPC");
        return;
    }
    answer(s, "{}");
    s->kind = KIND_WRITE;
}

static void take_file(struct stream *s, const char *data, uint32_t length)
{
    s->at += length;
    if (s->file != NULL && file_append(s->file, data, length) < length) {
        s->file->used = false;
        s->file = NULL;
        end_with_error(s, "No space left on device", "ENOSPC");
    }
}

static void finish_file(struct stream *s)
{
    struct file *there = find(s, true);
    char *start = begin_frame(s, FRAME_END);
    if (s->file == NULL) {
        put_special(output(s), "/sink", s->at);
    } else {
        if (there != NULL) {
            memcpy(there->value, s->file->value, s->file->length);
            there->length = s->file->length;
            s->file->used = false;
        } else {
            there = s->file;
            memcpy(there->name, s->request.path, strlen(s->request.path) + 1);
        }
        s->file = NULL;
        set_attributes(there, &s->request);
        put_entry(output(s), there);
    }
    end_frame(s, start);
    over(s);
}

static void make_directory(struct stream *s)
{
    struct file *there = find(s, true);
    if (there != NULL && (!s->request.parents || there->type != FILE_DIRECTORY)) {
        fail(s, "File exists", "EEXIST");
    } else if (there != NULL) {
        reply(s, "{\"created\":false}");
    } else if (has_parent(s, s->request.path)) {
        there = file_make(s->request.path);
        if (there == NULL) {
            fail(s, "No space left on device", "ENOSPC");
            return;
        }
        there->type = FILE_DIRECTORY;
        there->mode = 0755;
        set_attributes(there, &s->request);
        reply(s, "{\"created\":true}");
    }
}

static void make_link(struct stream *s)
{
    if (find(s, false) != NULL) {
        fail(s, "File exists", "EEXIST");
    } else if (s->request.target == NULL) {
        fail(s, "target: there is none", "EINVAL");
    } else if (has_parent(s, s->request.path)) {
        struct file *link = file_make(s->request.path);
        if (link == NULL) {
            fail(s, "No space left on device", "ENOSPC");
            return;
        }
        link->type = FILE_LINK;
        link->mode = 0777;
        file_append(link, s->request.target, strlen(s->request.target));
        set_attributes(link, &s->request);
        reply(s, "{}");
    }
}

static void remove_file(struct stream *s)
{
    struct file *there = require(s, false);
    bool empty = true;
    if (there == NULL)
        return;
    for (uint32_t i = 0; i < FILES; i++)
        empty &= !files[i].used || file_depth(s->request.path, files[i].name) == 0;
    if (!empty && !s->request.recursive) {
        fail(s, "Directory not empty", "ENOTEMPTY");
        return;
    }
    for (uint32_t i = 0; i < FILES; i++) {
        if (files[i].used && file_depth(s->request.path, files[i].name) > 0)
            files[i].used = false;
    }
    there->used = false;
    reply(s, "{}");
}

/* --- Ports --- */

static void connect(struct stream *s)
{
    uint32_t port = s->request.unix_path != NULL ? 0 : s->request.port;
    s->kind = port == ECHO_PORT    ? KIND_ECHO
              : port == HTTP_PORT  ? KIND_HTTP
              : port == RESET_PORT ? KIND_RESET
                                   : KIND_REQUEST;
    if (s->kind == KIND_REQUEST)
        fail(s, "Connection refused", "ECONNREFUSED");
    else
        answer(s, "{}");
}

static void end_port(struct stream *s)
{
    put_frame(s, FRAME_OUT, NULL, 0);
    end(s, "{}");
}

static bool ends_with(const struct stream *s, const char *end)
{
    uint32_t length = strlen(end);
    return s->length >= length && same(s->text + s->length - length, end);
}

/* Answers with the request's first line. */
static void take_http(struct stream *s, const char *data, uint32_t length)
{
    for (uint32_t i = 0; i < length && s->length < sizeof s->text - 1; i++) {
        s->text[s->length++] = data[i];
        s->text[s->length] = '\0';
        if (!ends_with(s, "\r\n\r\n"))
            continue;
        uint32_t line = (uint32_t)(scan(s->text, s->text + s->length, '\r') - s->text);
        char body[128];
        struct text text = {body, body + sizeof body};
        put(&text, "hello from the guest: ");
        put_bytes(&text, s->text, line);
        char head[128];
        struct text more = {head, head + sizeof head};
        put(&more, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: ");
        put_number(&more, text.at - body);
        put(&more, "\r\n\r\n");
        put_header(s, FRAME_OUT, (uint32_t)(more.at - head + (text.at - body)));
        put_bytes(output(s), head, (size_t)(more.at - head));
        put_bytes(output(s), body, (size_t)(text.at - body));
        end_port(s);
        return;
    }
}

/* --- Requests --- */

static const struct {
    const char *op;
    bool has_path;
    void (*start)(struct stream *s);
} operations[] = {
    {"run", false, run},
    {"attach", false, attach},
    {"processes", false, list_processes},
    {"signal", false, send_signal},
    {"resize", false, resize},
    {"stat", true, stat},
    {"list", true, list},
    {"file-read", true, read_file},
    {"file-write", true, write_file},
    {"mkdir", true, make_directory},
    {"symlink", true, make_link},
    {"remove", true, remove_file},
    {"connect", false, connect},
};

static void start(struct stream *s)
{
    const char *op = s->request.op;
    char *path = s->request.path;
    if (op == NULL) {
        fail(s, "op: there is none", "EINVAL");
        return;
    }
    if (same(op, "metrics")) {
        reply(
            s,
            "{\"cpus\":1,\"cpu_us\":1000,\"memory_bytes\":67108864,\"memory_used_bytes\":33554432,"
            "\"memory_cache_bytes\":1048576,\"disk_bytes\":1048576,\"disk_used_bytes\":65536,\"processes\":3,"
            "\"uptime_ms\":5000}");
        return;
    }
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (!same(op, operations[i].op))
            continue;
        if (!operations[i].has_path) {
            operations[i].start(s);
        } else if (path == NULL || *path != '/') {
            fail(s, "path: it must be absolute", "EINVAL");
        } else if (strlen(path) >= 255) {
            fail(s, "File name too long", "ENAMETOOLONG");
        } else if (after(path, "/hostile/") != NULL && hostile_is(path)) {
            be_hostile(s, path);
        } else {
            for (size_t length = strlen(path); length > 1 && path[length - 1] == '/';)
                path[--length] = '\0';
            operations[i].start(s);
        }
        return;
    }
    fail(s, "Function not implemented", "ENOSYS");
}

static void read_request(struct stream *s)
{
    struct vsock_connection *c = s->connection;
    char *end = c->input + c->end;
    char *newline = scan(c->input, end, '\n');
    if (newline == end) {
        if (c->end >= VSOCK_INPUT)
            fail(s, "the request is too long", "E2BIG");
        else if (c->ended)
            vsock_reset(c);
        return;
    }
    c->kept = (uint32_t)(newline - c->input) + 1;
    vsock_consume(c, c->kept);
    if (!stream_request_parse(c->input, newline, &s->request))
        fail(s, "the request is no JSON object", "EPROTO");
    else
        start(s);
}

/* --- Input --- */

/* False: it cannot be taken yet. */
static bool take_frame(struct stream *s, const char *data, uint32_t length)
{
    switch (s->kind) {
    case KIND_LISTEN:
        if (length == 0)
            process_end_input(s->process);
        else if (s->process->stdin && !s->process->ended &&
                 length > PROCESS_IN - (s->process->in_end - s->process->in_start))
            return false;
        else
            process_feed(s->process, data, length);
        return true;
    case KIND_WRITE:
        if (length == 0)
            finish_file(s);
        else
            take_file(s, data, length);
        return true;
    case KIND_ECHO:
        if (!vsock_is_idle(s->connection))
            return false;
        if (length == 0) {
            end_port(s);
        } else {
            put_frame(s, FRAME_OUT, data, length);
            push(s);
        }
        return true;
    case KIND_HTTP:
        if (length == 0)
            end_port(s);
        else
            take_http(s, data, length);
        return true;
    case KIND_RESET:
        end_with_error(s, "Connection reset by peer", "ECONNRESET");
        return true;
    default:
        return true;
    }
}

static void take_input(struct stream *s)
{
    struct vsock_connection *c = s->connection;
    while (s->kind != KIND_OVER && s->kind != KIND_HOSTILE && c->end - c->start >= HEADER) {
        uint32_t header[2];
        memcpy(header, c->input + c->start, sizeof header);
        if (header[0] != FRAME_IN || header[1] > PAYLOAD_MOST || s->input_over) {
            end_with_error(s, "a frame that is not allowed", "EPROTO");
            return;
        }
        if (c->end - c->start < HEADER + header[1] || !take_frame(s, c->input + c->start + HEADER, header[1]))
            return;
        s->input_over = header[1] == 0;
        progress = true;
        if (s->input_over && s->silent)
            end(s, "{}");
        if (s->connection == c) /* it may be gone */
            vsock_consume(c, HEADER + header[1]);
        else
            return;
    }
}

/* --- Connections --- */

void stream_changed(struct vsock_connection *c)
{
    struct stream *s = stream_of(c);
    if (c->leaving)
        return;
    if (s->connection == NULL) {
        memset(s, 0, offsetof(struct stream, request));
        s->connection = c;
        used |= 1ull << vsock_number(c);
    }
    if (s->kind == KIND_REQUEST)
        read_request(s);
}

void stream_closed(struct vsock_connection *c)
{
    struct stream *s = stream_of(c);
    if (s->connection == NULL)
        return;
    if (s->process != NULL && (s->kind == KIND_LISTEN || s->kind == KIND_OVER))
        s->process->listeners--;
    if (s->kind == KIND_WRITE && s->file != NULL)
        s->file->used = false;
    s->connection = NULL;
    used &= ~(1ull << vsock_number(c));
}

static void flood(struct stream *s)
{
    if (s->hostile == HOSTILE_LISTS)
        hostile_list(s->connection);
    else
        vsock_send(s->connection, pattern, PATTERN_BYTES);
    push(s);
}

static bool floods(const struct stream *s)
{
    return s->kind == KIND_HOSTILE && (s->hostile == HOSTILE_FLOODS || s->hostile == HOSTILE_LISTS);
}

static void step(struct stream *s, bool *output_matters)
{
    bool sends = s->kind == KIND_READ || s->kind == KIND_LISTEN || floods(s);
    vsock_push(s->connection);
    if (s->connection == NULL)
        return;
    take_input(s);
    if (s->connection == NULL)
        return;
    bool waits = s->kind == KIND_ECHO && s->connection->start < s->connection->end;
    if ((sends || waits) && !vsock_is_idle(s->connection))
        *output_matters = true;
    else if (s->kind == KIND_LISTEN)
        send_output(s);
    else if (s->kind == KIND_READ)
        send_file(s);
    else if (floods(s))
        flood(s);
}

static bool listens(const struct stream *s)
{
    return s->kind == KIND_LISTEN && !s->silent;
}

/* What of its output all have that listen. */
static void count_taken(void)
{
    uint64_t left = used;
    for (struct stream *s = streams; left != 0; s++, left >>= 1) {
        if ((left & 1) != 0 && listens(s)) {
            s->process->out.taken = s->process->out.end;
            s->process->err.taken = s->process->err.end;
        }
    }
    left = used;
    for (struct stream *s = streams; left != 0; s++, left >>= 1) {
        if ((left & 1) == 0 || !listens(s))
            continue;
        struct process *p = s->process;
        if (p->out.end - s->out > p->out.end - p->out.taken)
            p->out.taken = s->out;
        if (p->err.end - s->err > p->err.end - p->err.taken)
            p->err.taken = s->err;
    }
}

void streams_step(uint64_t *deadline, bool *output_matters)
{
    uint64_t left = used;
    progress = false;
    for (struct stream *s = streams; left != 0; s++, left >>= 1) {
        if ((left & 1) != 0)
            step(s, output_matters);
    }
    if (used != 0)
        count_taken();
    processes_step(deadline);
    if (progress && used != 0)
        *deadline = NOW;
}
