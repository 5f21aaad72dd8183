/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include "commands.h"
#include "cpu.h"
#include "eval.h"
#include "files.h"
#include "flood.h"
#include "processes.h"
#include "streams.h"

#define EXEC_TIMEOUT_MS 30000u
#define SLOW_MS 100u
#define CHUNK PATTERN_BYTES
#define CHUNKS_AT_ONCE 4u

struct guest_identity identity = {.hostname = "forkd"};
uint32_t memory_end;

static struct job jobs[VSOCK_CONNECTIONS];
static uint64_t active; /* a bit for each job that has something to do */

/* A chunk of what `write` writes, plain and encoded: the same each time, so that none is ever copied. */
char pattern[CHUNK];
static char pattern_base64[CHUNK / 3 * 4];

static const char *const stream_start[] = {"{\"stream\":\"stdout\",\"data_base64\":\"",
                                           "{\"stream\":\"stderr\",\"data_base64\":\""};

static struct job *job_of(const struct vsock_connection *c)
{
    return &jobs[vsock_number(c)];
}

static struct text *output(struct job *job)
{
    return &job->connection->output;
}

void agent_start(void)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    base64_prepare();
    files_start();
    for (uint32_t i = 0; i < CHUNK; i += sizeof digits - 1)
        memcpy(pattern + i, digits, sizeof digits - 1);
    struct text text = {pattern_base64, pattern_base64 + sizeof pattern_base64};
    put_base64(&text, (const uint8_t *)pattern, 96); /* 96 bytes of it are 128 characters, and again */
    for (; text.at < text.end; text.at += 128)
        memcpy(text.at, pattern_base64, 128);
}

/* --- Replies --- */

static void open_plain(struct job *job)
{
    if (!job->opened && !job->request.stream)
        put(output(job), "{\"stdout\":\"");
    job->opened = true;
}

void job_write(struct job *job, bool error, const char *data, size_t length)
{
    if (length == 0)
        return;
    if (job->process != NULL) {
        process_write(job->process, error, data, length);
    } else if (job->request.stream) {
        put(output(job), stream_start[error]);
        put_base64(output(job), (const uint8_t *)data, length);
        put(output(job), "\"}\n");
    } else if (error) {
        struct text text = {job->errors + job->errors_length, job->errors + sizeof job->errors};
        put_bytes(&text, data, length);
        job->errors_length = (uint32_t)(text.at - job->errors);
    } else {
        open_plain(job);
        put_escaped(output(job), data, length);
    }
}

uint32_t job_write_pattern(struct job *job, uint32_t length)
{
    uint32_t part = length < CHUNK ? length : CHUNK;
    if (!job->request.stream) {
        open_plain(job);
        vsock_send(job->connection, pattern, part);
        return part;
    }
    uint32_t whole = part / 3 * 3;
    put(output(job), stream_start[0]);
    vsock_send(job->connection, pattern_base64, whole / 3 * 4);
    put_base64(output(job), (const uint8_t *)pattern + whole, part - whole);
    put(output(job), "\"}\n");
    return part;
}

static void finish(struct job *job)
{
    job->running = false;
    vsock_finish(job->connection);
}

void job_reply(struct job *job, const char *text)
{
    if (job->process != NULL) {
        process_fail(job->process);
        return;
    }
    put(output(job), text);
    finish(job);
}

void job_end(struct job *job, uint32_t status)
{
    if (job->process != NULL) {
        process_end(job->process, (int32_t)status, false);
        return;
    }
    struct text *out = output(job);
    if (job->request.stream) {
        put(out, "{\"exit_code\":");
    } else {
        open_plain(job);
        put(out, "\",\"stderr\":\"");
        put_escaped(out, job->errors, job->errors_length);
        put(out, "\",\"exit_code\":");
    }
    put_number(out, status);
    job_reply(job, "}\n");
}

void job_fail(struct job *job, const char *error, uint32_t code)
{
    if (job->process != NULL) {
        process_fail(job->process);
        return;
    }
    struct text *out = output(job);
    if (job->request.stream) {
        put(out, "{\"exit_code\":1,\"error\":");
        put_string(out, error);
    } else if (job->opened) {
        job_reply(job, ""); /* a line without an end is no answer */
        return;
    } else {
        put(out, "{\"error\":");
        put_string(out, error);
        put(out, ",\"traceback\":\"");
        if (job->request.code != NULL)
            put(out, "Traceback (most recent call last):\\n  File \\\"<string>\\\", line 1, in <module>\\n");
        put_escaped(out, error, strlen(error));
        put(out, "\",\"exit_code\":1");
    }
    if (code != 0) {
        put(out, ",\"code\":");
        put_number(out, code);
    }
    job_reply(job, "}\n");
}

static void fail_late(struct job *job)
{
    char error[512];
    struct text text = {error, error + sizeof error - 1};
    if (job->request.code != NULL) {
        put(&text, "TimeoutExpired: eval took longer than it may, and was interrupted");
    } else {
        put(&text, "TimeoutExpired: Command '[");
        for (uint32_t i = 0; i < job->request.arg_count; i++) {
            put(&text, i > 0 ? ", '" : "'");
            put(&text, job->request.args[i]);
            put(&text, "'");
        }
        put(&text, "]' timed out after ");
        put_number(&text, job->request.timeout_ms / 1000);
        put(&text, " seconds");
    }
    *text.at = '\0';
    job_fail(job, error, 124);
}

/* --- Requests --- */

static void start_exec(struct job *job)
{
    struct request *request = &job->request;
    if (!request->has_args) {
        job_fail(job, "KeyError: 'args'", 0);
        return;
    }
    if (request->arg_count == 0) {
        job_fail(job, "IndexError: list index out of range", 0);
        return;
    }
    if (!request->has_timeout)
        request->timeout_ms = EXEC_TIMEOUT_MS;
    job->deadline = cpu_after(request->timeout_ms);
    if (request->input != NULL) {
        int32_t length = base64_decode(request->input);
        if (length < 0) {
            job_fail(job, "ValueError: stdin_base64: not base64", 0);
            return;
        }
        job->input = request->input;
        job->input_length = (uint32_t)length;
    }
    commands_start(job);
}

static void start_eval(struct job *job)
{
    if (job->request.code == NULL) {
        job_fail(job, "KeyError: 'code'", 0);
        return;
    }
    job->deadline = cpu_after(job->request.timeout_ms);
    eval_start(job);
}

static void shut_down(struct job *job)
{
    job_reply(job, "{\"exit_code\":0}\n");
    vsock_drain();
    cpu_power_off();
}

static void fail_unknown(struct job *job, const char *action)
{
    char error[128];
    struct text text = {error, error + sizeof error - 2};
    put(&text, "unknown action: '");
    put(&text, action);
    memcpy(text.at, "'", 2);
    job_fail(job, error, 0);
}

static void start(struct job *job)
{
    const char *action = job->request.action;
    job->running = true;
    if (action == NULL)
        job_fail(job, "unknown action: None", 0);
    else if (same(action, "exec"))
        start_exec(job);
    else if (same(action, "eval"))
        start_eval(job);
    else if (same(action, "ping"))
        job_reply(job,
                  "{\"pong\":true,\"numpy_version\":\"not-installed\",\"pid\":1,\"agent_lang\":\"python\","
                  "\"warmup_ready\":false}\n");
    else if (same(action, "unmount"))
        job_reply(job, "{\"busy\":[]}\n");
    else if (same(action, "mount"))
        job_reply(job, "{\"mounted\":true}\n");
    else if (same(action, "shutdown"))
        shut_down(job);
    else
        fail_unknown(job, action);
}

static void begin(struct job *job, struct vsock_connection *c)
{
    memset(job, 0, offsetof(struct job, request));
    job->connection = c;
    job->deadline = NEVER;
    active |= 1ull << vsock_number(c);
}

/* The line is complete: it ends with a newline, or with what comes in. */
static void take_line(struct job *job, struct vsock_connection *c, uint32_t length)
{
    begin(job, c);
    vsock_consume(c, c->input[length - 1] == '\n' ? length : c->end);
    if (request_parse(c->input, c->input + length, &job->request) == NULL) {
        job->request.stream = false;
        job->running = true;
        job_fail(job, "JSONDecodeError: Expecting value (char 0)", 0);
        return;
    }
    start(job);
}

static void read_request(struct job *job, struct vsock_connection *c)
{
    char *end = c->input + c->end;
    char *newline = scan(c->input, end, '\n');
    uint32_t length = newline < end ? (uint32_t)(newline - c->input) + 1 : 0;
    if (length == 0 && c->ended)
        length = c->end;
    if (length == 0 && c->end == VSOCK_INPUT) {
        begin(job, c);
        job->running = true;
        job->request.stream = false;
        job_fail(job, "ValueError: the request is too long", 0);
    } else if (length > 0) {
        c->kept = length;
        take_line(job, c, length);
    } else if (c->ended) {
        vsock_reset(c);
    }
}

/* --- The monitor --- */

static void take_identity(struct vsock_connection *c)
{
    if (c->end < sizeof identity || c->leaving)
        return;
    const struct guest_identity *given = (const struct guest_identity *)c->input;
    struct guest_identity_ack ack = {.magic = GUEST_IDENTITY_MAGIC, .generation = given->generation};
    if (given->magic != GUEST_IDENTITY_MAGIC || given->version != GUEST_PROTOCOL_VERSION) {
        ack.status = 74; /* EBADMSG */
        memcpy(ack.message, "identity", sizeof "identity");
    } else {
        identity = *given;
        cpu_set_rate((uint32_t)given->tsc_khz);
    }
    put_bytes(&c->output, &ack, sizeof ack);
    vsock_finish(c);
}

static void say_hello(struct vsock_connection *c)
{
    static const struct guest_hello hello = {.magic = GUEST_HELLO_MAGIC, .version = GUEST_PROTOCOL_VERSION};
    if (!c->open || c->leaving)
        return;
    vsock_send(c, (const char *)&hello, sizeof hello);
    vsock_finish(c);
}

/* --- Connections --- */

bool vsock_listens(uint32_t port)
{
    return port == GUEST_PORT_AGENT || port == GUEST_PORT_STREAMS || port == GUEST_PORT_IDENTITY;
}

void vsock_changed(struct vsock_connection *c)
{
    struct job *job = job_of(c);
    if (c->port == GUEST_PORT_IDENTITY)
        take_identity(c);
    else if (c->port == GUEST_PORT_STREAMS)
        stream_changed(c);
    else if (c->port != GUEST_PORT_AGENT)
        say_hello(c);
    else if (job->connection != c)
        read_request(job, c);
}

void vsock_closed(struct vsock_connection *c)
{
    struct job *job = job_of(c);
    if (c->port == GUEST_PORT_STREAMS)
        stream_closed(c);
    job->connection = NULL;
    job->running = false;
    active &= ~(1ull << vsock_number(c));
}

/* --- Work --- */

static bool slow(struct job *job)
{
    while (job->left > 0 && cpu_now() >= job->wake) {
        job_write(job, false, ".", 1);
        job->left--;
        job->wake += cpu_after(SLOW_MS) - cpu_now();
    }
    if (job->request.stream) {
        vsock_send(job->connection, NULL, 0);
        vsock_push(job->connection);
        (void)vsock_is_idle(job->connection);
    }
    return job->left == 0;
}

static bool write_pattern(struct job *job)
{
    for (uint32_t i = 0; i < CHUNKS_AT_ONCE && job->left > 0; i++)
        job->left -= job_write_pattern(job, job->left);
    return job->left == 0;
}

static bool copy_input(struct job *job)
{
    struct vsock_connection *c = job->connection;
    bool follows = job->request.input_follows;
    const char *data = follows ? c->input + c->start : job->input;
    uint32_t length = follows ? c->end - c->start : job->input_length;
    if (length > CHUNK)
        length = CHUNK;
    commands_write(job, data, length);
    if (follows) {
        vsock_consume(c, length);
        return c->ended && c->start == c->end;
    }
    job->input += length;
    job->input_length -= length;
    return job->input_length == 0;
}

static bool write_endlessly(struct job *job)
{
    for (uint32_t i = 0; i < CHUNKS_AT_ONCE; i++)
        vsock_send(job->connection, pattern, CHUNK);
    return false;
}

static bool is_waiting(const struct job *job)
{
    return job->work == WORK_CAT && job->request.input_follows && !job->connection->ended &&
           job->connection->start == job->connection->end;
}

/* Its next step; true when it is done. *output_matters: it waits until what it wrote has gone out. */
static bool work(struct job *job, bool *output_matters)
{
    struct vsock_connection *c = job->connection;
    switch (job->work) {
    case WORK_SLEEP:
        return cpu_now() >= job->wake;
    case WORK_SLOW:
        return slow(job);
    case WORK_FLOOD:
        flood_round();
        return false;
    case WORK_SILENT:
    case WORK_NONE:
        return false;
    default:
        break;
    }
    if (is_waiting(job))
        return false;
    if (!vsock_is_idle(c)) {
        *output_matters = true;
        return false;
    }
    bool done = job->work == WORK_WRITE ? write_pattern(job)
                : job->work == WORK_CAT ? copy_input(job)
                                        : write_endlessly(job);
    vsock_send(c, NULL, 0);
    vsock_push(c);
    *output_matters |= !done;
    return done;
}

static void done(struct job *job)
{
    if (job->request.code != NULL) {
        job_reply(job, "{\"result\":\"None\",\"exit_code\":0}\n");
        return;
    }
    job->work = WORK_NONE;
    commands_continue(job);
}

static void step(struct job *job, bool *output_matters)
{
    vsock_push(job->connection);
    while (job->running && work(job, output_matters))
        done(job);
    if (job->running && job->work != WORK_SILENT && cpu_now() >= job->deadline)
        fail_late(job);
}

void agent_step(void)
{
    uint64_t deadline = NEVER;
    bool output_matters = false;
    vsock_poll();
    streams_step(&deadline, &output_matters);
    uint64_t left = active;
    for (uint32_t i = 0; left != 0; i++, left >>= 1) {
        struct job *job = &jobs[i];
        if ((left & 1) == 0)
            continue;
        step(job, &output_matters);
        if (!job->running || job->work == WORK_SILENT)
            continue;
        deadline = earlier(deadline, job->deadline);
        if (job->work == WORK_SLEEP || job->work == WORK_SLOW)
            deadline = earlier(deadline, job->wake);
        if (job->work == WORK_FLOOD)
            deadline = NOW;
    }
    vsock_wait(deadline, output_matters);
}
