/* SPDX-License-Identifier: Apache-2.0 */
#include "processes.h"

#include "commands.h"
#include "cpu.h"
#include "flood.h"

#define PROCESSES_AT 0x3000000u
#define FIRST_PID 100u
#define SLOW_MS 100u
#define CHUNKS_AT_ONCE 4u

enum { SIGNAL_INTERRUPT = 2, SIGNAL_KILL = 9, SIGNAL_CHILD = 17, SIGNAL_CONTINUE = 18, SIGNAL_WINCH = 28 };
enum { KEY_INTERRUPT = 3, KEY_END = 4 };

struct process *const processes = (struct process *)PROCESSES_AT;
static uint32_t pids = FIRST_PID;
static uint32_t running; /* a bit for each that does */

_Static_assert(PROCESSES * sizeof(struct process) <= 0xa00000u, "commands.c dirties what is behind");

/* --- Output --- */

static uint32_t room(const struct process *p, const struct ring *ring)
{
    uint32_t taken = p->detach && p->listeners == 0 ? ring->end : ring->taken;
    uint32_t most =
        ring->size / 4; /* the rest may still be on its way to who has "taken" it, and is lost with him */
    return ring->end - taken < most ? most - (ring->end - taken) : 0;
}

static uint32_t add(struct process *p, struct ring *ring, const char *data, uint32_t length)
{
    uint32_t most = room(p, ring);
    uint32_t count = length < most ? length : most;
    for (uint32_t left = count; left > 0;) {
        uint32_t at = ring->end % ring->size;
        uint32_t part = left < ring->size - at ? left : ring->size - at;
        memcpy(ring->data + at, data, part);
        data += part;
        left -= part;
        ring->end += part;
    }
    return count;
}

/* What there is no room for is lost: those that write much look before. */
void process_write(struct process *p, bool error, const char *data, size_t length)
{
    const char *end = data + length;
    while (p->pty && data < end) {
        char *newline = scan((char *)data, end, '\n');
        add(p, &p->out, data, (uint32_t)(newline - data));
        if (newline < end)
            add(p, &p->out, "\r\n", 2);
        data = newline < end ? newline + 1 : end;
    }
    if (data < end)
        add(p, error ? &p->err : &p->out, data, (uint32_t)(end - data));
}

/* --- Life --- */

struct process *process_find(uint32_t pid, const char *tag)
{
    for (struct process *p = processes; p < processes + PROCESSES; p++) {
        if (p->used && (tag != NULL ? p->tag != NULL && same(p->tag, tag) : p->pid == pid))
            return p;
    }
    return NULL;
}

struct process *process_new(void)
{
    struct process *place = NULL;
    uint32_t best = 0;
    for (struct process *p = processes; p < processes + PROCESSES; p++) {
        uint32_t good = !p->used ? 3 : !p->ended || p->listeners > 0 ? 0 : p->told ? 2 : 1;
        if (good > best) {
            best = good;
            place = p;
        }
    }
    if (place == NULL)
        return NULL;
    memset(place, 0, offsetof(struct process, text));
    place->used = true;
    place->pid = pids++;
    place->deadline = NEVER;
    place->out = (struct ring){place->out_data, PROCESS_OUT, 0, 0};
    place->err = (struct ring){place->err_data, PROCESS_ERR, 0, 0};
    place->job.process = place;
    place->job.deadline = NEVER;
    return place;
}

void process_start(struct process *p)
{
    p->job.running = true;
    running |= 1u << (p - processes);
    commands_start(&p->job);
}

void process_end(struct process *p, int32_t exit_code, bool timed_out)
{
    p->job.running = false;
    running &= ~(1u << (p - processes));
    p->ended = true;
    p->exit_code = exit_code;
    p->timed_out = timed_out;
}

void process_fail(struct process *p)
{
    process_end(p, 127, false);
    p->failed = true;
}

void process_signal(struct process *p, uint32_t signal)
{
    if (p->ended || signal == 0)
        return;
    if (p->job.work == WORK_TRAP && signal != SIGNAL_KILL) {
        char line[32];
        struct text text = {line, line + sizeof line};
        put(&text, "signal ");
        put_number(&text, signal);
        put(&text, "\n");
        process_write(p, false, line, (size_t)(text.at - line));
    } else if (signal != SIGNAL_WINCH && signal != SIGNAL_CHILD && signal != SIGNAL_CONTINUE) {
        process_end(p, -(int32_t)signal, false);
    }
}

void process_tell_size(struct process *p)
{
    char line[32];
    struct text text = {line, line + sizeof line};
    put_number(&text, p->rows);
    put(&text, " ");
    put_number(&text, p->columns);
    put(&text, "\n");
    process_write(p, false, line, (size_t)(text.at - line));
}

void process_resize(struct process *p, uint32_t rows, uint32_t columns)
{
    p->rows = rows;
    p->columns = columns;
    if (!p->ended && p->job.work == WORK_WINCH)
        process_tell_size(p);
}

/* --- Input --- */

/* What a terminal does with what is typed: true when that is not input. */
static bool is_key(struct process *p, char c)
{
    if (c == KEY_INTERRUPT) {
        process_write(p, false, "^C", 2);
        process_signal(p, SIGNAL_INTERRUPT);
    } else if (c == KEY_END) {
        p->input_over = true;
    } else {
        return false;
    }
    return true;
}

static void type(struct process *p, const char *data, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        char c = data[i] == '\r' ? '\n' : data[i];
        if (is_key(p, c))
            continue;
        process_write(p, false, &c, 1);
        p->in[p->in_end++] = c;
    }
}

uint32_t process_feed(struct process *p, const char *data, uint32_t length)
{
    if (!p->stdin || p->ended)
        return length; /* nobody wants it */
    if (p->in_start > 0) {
        memcpy(p->in, p->in + p->in_start, p->in_end - p->in_start); /* downwards */
        p->in_end -= p->in_start;
        p->in_start = 0;
    }
    if (length > sizeof p->in - p->in_end)
        length = sizeof p->in - p->in_end;
    if (p->pty) {
        type(p, data, length);
    } else {
        memcpy(p->in + p->in_end, data, length);
        p->in_end += length;
    }
    return length;
}

void process_end_input(struct process *p)
{
    p->input_over = true;
}

/* --- Work --- */

void process_prompt(struct process *p)
{
    if (p->pty)
        process_write(p, false, "$ ", 2);
    p->job.work = WORK_SHELL;
}

/* The next line of its input becomes its script; false when there is none yet. */
static bool take_line(struct process *p)
{
    char *start = p->in + p->in_start;
    char *end = p->in + p->in_end;
    char *newline = scan(start, end, '\n');
    uint32_t length = (uint32_t)(newline - start);
    if (newline == end && !p->input_over)
        return false;
    if (newline == end && length == 0) {
        p->job.interactive = false;
        return true;
    }
    if (length >= sizeof p->text_of_line)
        length = sizeof p->text_of_line - 1;
    memcpy(p->text_of_line, start, length);
    p->text_of_line[length] = '\0';
    p->in_start += (uint32_t)(newline - start) + (newline < end);
    p->job.script = p->text_of_line;
    p->job.separator = ';';
    return true;
}

/* Up to `most` bytes of its input become its output. */
static uint32_t copy(struct process *p, uint32_t most)
{
    uint32_t length = p->in_end - p->in_start;
    if (length > most)
        length = most;
    if (p->job.target == NULL && length > room(p, &p->out) / 2) /* a terminal may need twice as much */
        length = room(p, &p->out) / 2;
    commands_write(&p->job, p->in + p->in_start, length);
    p->in_start += length;
    return length;
}

static bool input_is_over(const struct process *p)
{
    return p->in_start == p->in_end && (p->input_over || !p->stdin);
}

static void write_pattern(struct process *p)
{
    bool endless = p->job.work == WORK_ENDLESS;
    /* With nobody who listens there is always room. */
    for (uint32_t i = 0; i < CHUNKS_AT_ONCE && (p->job.left > 0 || endless); i++) {
        uint32_t phase = p->out.end % PATTERN_PERIOD;
        uint32_t part = PATTERN_BYTES - PATTERN_PERIOD;
        if (!endless && part > p->job.left)
            part = p->job.left;
        part = add(p, &p->out, pattern + phase, part);
        p->job.left -= endless ? 0 : part;
        if (part == 0)
            return;
    }
}

static void write_slowly(struct process *p)
{
    while (p->job.left > 0 && cpu_now() >= p->job.wake && room(p, &p->out) > 0) {
        job_write(&p->job, false, ".", 1);
        p->job.left--;
        p->job.wake += cpu_after(SLOW_MS) - cpu_now();
    }
}

/* Its next step; true when it is done. */
static bool work(struct process *p)
{
    struct job *job = &p->job;
    switch (job->work) {
    case WORK_SLEEP:
        return cpu_now() >= job->wake;
    case WORK_SLOW:
        write_slowly(p);
        return job->left == 0;
    case WORK_WRITE:
    case WORK_ENDLESS:
        write_pattern(p);
        return job->work == WORK_WRITE && job->left == 0;
    case WORK_CAT:
        copy(p, UINT32_MAX);
        return input_is_over(p);
    case WORK_HEAD:
        job->left -= copy(p, job->left);
        return job->left == 0 || input_is_over(p);
    case WORK_SHELL:
        return take_line(p);
    case WORK_FLOOD:
        flood_round();
        return false;
    default:
        return false;
    }
}

static void step(struct process *p, uint64_t *deadline)
{
    uint32_t before[] = {p->in_start, p->out.end, p->err.end};
    while (p->job.running && work(p)) {
        p->job.work = WORK_NONE;
        commands_continue(&p->job);
    }
    if (p->job.running && cpu_now() >= p->deadline)
        process_end(p, -SIGNAL_KILL, true);
    if (p->in_start != before[0] || p->out.end != before[1] || p->err.end != before[2] || p->ended)
        *deadline = NOW; /* those who listen go on */
    if (!p->job.running)
        return;
    *deadline = earlier(*deadline, p->deadline);
    if (p->job.work == WORK_SLEEP || (p->job.work == WORK_SLOW && room(p, &p->out) > 0))
        *deadline = earlier(*deadline, p->job.wake);
    if (p->job.work == WORK_FLOOD)
        *deadline = NOW;
}

void processes_step(uint64_t *deadline)
{
    uint32_t left = running;
    for (struct process *p = processes; left != 0; p++, left >>= 1) {
        if ((left & 1) != 0)
            step(p, deadline);
    }
}
