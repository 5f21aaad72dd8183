/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   echo WORD...            sleep SECONDS             exit N          true, false
 *   cat                     its input                 cat NAME...     files, of any name
 *   tail -c N NAME          the end of one            rm NAME...
 *   set NAME VALUE          get NAME                  of a file
 *   env, pwd, hostname, whoami
 *   write N                 N bytes                   slow N          N bytes, one every 100 ms
 *   stderr WORD...          dirty N                   writes to N MiB of memory
 *   silent                  never answers             hostile KIND    see hostile()
 *   flood MAC               takes all it gets, until its connection ends: see flood.h; flooded: of what
 *   halt, crash             of the machine            console WORD... like echo, to the console
 *   head -c N, trap, winch, of processes of streams: N bytes of input, then it ends; tells of signals, of
 * sizes sh -c SCRIPT            the above with ; && || quotes $NAME $? > >> >&2 2>/dev/null
 */
#include "commands.h"

#include "../access.h"
#include "cpu.h"
#include "files.h"
#include "flood.h"
#include "processes.h"

#define PAGE 4096u
#define DIRTY_FROM 0x3a00000u /* behind what processes.c has */
#define SLOW_MS 100u

static void append(const char *name, const char *data, size_t length)
{
    struct file *file = file_make(name);
    if (file != NULL)
        file_append(file, data, length);
}

/* --- Output --- */

void commands_write(struct job *job, const char *data, size_t length)
{
    if (job->target != NULL)
        append(job->target, data, length);
    else if (!job->to_errors || !job->no_errors)
        job_write(job, job->to_errors, data, length);
}

static void out_words(struct job *job, char *const *words, uint32_t count)
{
    static char line[VSOCK_INPUT];
    struct text text = {line, line + sizeof line - 1};
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            put(&text, " ");
        put(&text, words[i]);
    }
    *text.at++ = '\n';
    commands_write(job, line, (size_t)(text.at - line));
}

static void out_line(struct job *job, const char *line)
{
    out_words(job, (char *const[]){(char *)line}, 1);
}

/* "NAME: what: why" on stderr. */
static uint32_t complain(struct job *job, const char *name, const char *what, const char *why)
{
    char line[256];
    struct text text = {line, line + sizeof line};
    put(&text, name);
    put(&text, ": ");
    put(&text, what);
    put(&text, ": ");
    put(&text, why);
    put(&text, "\n");
    if (!job->no_errors)
        job_write(job, true, line, (size_t)(text.at - line));
    return 1;
}

/* --- Commands --- */

static const char *const environment[][2] = {
    {"HOME", "/root"}, {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}};

static const char *environment_value(const struct job *job, const char *name)
{
    for (uint32_t i = job->request.variable_count; i-- > 0;) {
        if (same(job->request.names[i], name))
            return job->request.values[i];
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (same(environment[i][0], name))
            return environment[i][1];
    }
    return "";
}

static void print_variable(struct job *job, const char *name, const char *value)
{
    static char line[VSOCK_INPUT];
    struct text text = {line, line + sizeof line};
    put(&text, name);
    put(&text, "=");
    put(&text, value);
    *text.end = '\0';
    *text.at = '\0';
    out_line(job, line);
}

static uint32_t print_environment(struct job *job)
{
    for (uint32_t i = 0; i < 2; i++)
        print_variable(job, environment[i][0], environment_value(job, environment[i][0]));
    for (uint32_t i = 0; i < job->request.variable_count; i++) {
        if (!same(job->request.names[i], "HOME") && !same(job->request.names[i], "PATH"))
            print_variable(job, job->request.names[i], job->request.values[i]);
    }
    return 0;
}

/* The last `most` bytes of each. */
static uint32_t print_files(struct job *job, const char *command, char *const *names, uint32_t count,
                            uint32_t most)
{
    uint32_t status = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct file *file = file_find(names[i]);
        if (file == NULL) {
            status = complain(job, command, names[i], "No such file or directory");
            continue;
        }
        uint32_t from = file->length > most ? file->length - most : 0;
        commands_write(job, file->value + from, file->length - from);
    }
    return status;
}

static uint32_t remove_files(struct job *job, char *const *names, uint32_t count)
{
    uint32_t status = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct file *file = file_find(names[i]);
        if (file != NULL)
            file->used = false;
        else
            status = complain(job, "rm", names[i], "No such file or directory");
    }
    return status;
}

static uint32_t set_variable(const char *name, const char *value)
{
    struct file *file = file_make(name);
    if (file == NULL)
        return 1;
    file->length = 0;
    file_append(file, value, strlen(value));
    return 0;
}

static uint32_t get_variable(struct job *job, const char *name)
{
    const struct file *file = file_find(name);
    if (file == NULL)
        return 1;
    commands_write(job, file->value, file->length);
    commands_write(job, "\n", 1);
    return 0;
}

static uint32_t dirty(uint32_t mib)
{
    if (mib > (memory_end - DIRTY_FROM) >> 20)
        return 1;
    for (uint32_t address = DIRTY_FROM; address < DIRTY_FROM + (mib << 20); address += PAGE)
        *at(address) += 1;
    return 0;
}

static void hostile(struct job *job, const char *kind)
{
    static char nested[100001];
    if (same(kind, "endless")) {
        job->work = WORK_ENDLESS;
    } else if (same(kind, "base64")) {
        job_reply(job, "{\"stream\":\"stdout\",\"data_base64\":\"!!!!\"}\n");
    } else if (same(kind, "empty")) {
        job_reply(job, "{}\n");
    } else if (same(kind, "code")) {
        job_reply(job, "{\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":256}\n");
    } else if (same(kind, "text")) {
        job_reply(job, "this is no JSON\n");
    } else if (same(kind, "nested")) {
        memset(nested, '[', sizeof nested - 1);
        nested[sizeof nested - 1] = '\n';
        vsock_send(job->connection, nested, sizeof nested);
        job_reply(job, "");
    } else if (same(kind, "half")) {
        job_reply(job, "{\"stdout\":\"cut");
    } else { /* close */
        job_reply(job, "");
    }
}

static uint32_t word_number(char *const *words, uint32_t count, uint32_t index, uint32_t otherwise)
{
    const char *text = index < count ? words[index] : "";
    uint32_t number;
    return take_number(&text, &number) ? number : otherwise;
}

static void begin_sleep(struct job *job, const char *seconds)
{
    uint32_t ms;
    job->work = WORK_SLEEP;
    job->wake = cpu_after(take_seconds(&seconds, &ms) ? ms : UINT32_MAX);
}

/* Those that take time, or have no result: false when it is none of them. */
static bool start_work(struct job *job, char *const *words, uint32_t count)
{
    const char *name = words[0];
    uint32_t number = word_number(words, count, 1, 0);
    if (same(name, "sleep") && count > 1) {
        begin_sleep(job, words[1]);
    } else if (same(name, "write")) {
        job->work = WORK_WRITE;
        job->left = number;
    } else if (same(name, "slow")) {
        job->work = WORK_SLOW;
        job->left = number;
        job->wake = cpu_after(SLOW_MS);
    } else if (same(name, "cat") && count == 1) {
        job->work = WORK_CAT;
    } else if (same(name, "head") && count > 2 && job->process != NULL) {
        job->work = WORK_HEAD;
        job->left = word_number(words, count, 2, 0);
    } else if (same(name, "trap") && job->process != NULL) {
        job->work = WORK_TRAP;
    } else if (same(name, "winch") && job->process != NULL) {
        job->work = WORK_WINCH;
        process_tell_size(job->process);
    } else if (same(name, "silent")) {
        job->work = WORK_SILENT;
    } else if (same(name, "flood") && count > 1 && flood_start(words[1])) {
        job->work = WORK_FLOOD;
    } else if (same(name, "hostile")) {
        hostile(job, count > 1 ? words[1] : "");
    } else if (same(name, "halt")) {
        cpu_power_off();
    } else if (same(name, "crash")) {
        cpu_crash();
    } else {
        return false;
    }
    job->status = 0;
    return true;
}

static void write_console(char *const *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        for (const char *at = words[i]; *at != '\0'; at++)
            out8(CONSOLE_PORT, (uint8_t)*at);
        out8(CONSOLE_PORT, i + 1 < count ? ' ' : '\n');
    }
}

/* Those that are done at once: false when it is none of them. */
static bool run_now(struct job *job, char *const *words, uint32_t count)
{
    const char *name = words[0];
    job->status = 0;
    if (same(name, "echo")) {
        out_words(job, words + 1, count - 1);
    } else if (same(name, "stderr")) {
        job->to_errors = true;
        out_words(job, words + 1, count - 1);
    } else if (same(name, "exit") || same(name, "false")) {
        job->status = word_number(words, count, 1, same(name, "false")) & 255;
        if (same(name, "exit") && job->script != NULL)
            *job->script = '\0';
        job->interactive = false;
    } else if (same(name, "cat")) {
        job->status = print_files(job, name, words + 1, count - 1, UINT32_MAX);
    } else if (same(name, "tail") && count > 3) {
        job->status = print_files(job, name, words + 3, count - 3, word_number(words, count, 2, 0));
    } else if (same(name, "rm")) {
        job->status = remove_files(job, words + 1, count - 1);
    } else if (same(name, "set") && count == 3) {
        job->status = set_variable(words[1], words[2]);
    } else if (same(name, "get") && count == 2) {
        job->status = get_variable(job, words[1]);
    } else if (same(name, "env")) {
        job->status = print_environment(job);
    } else if (same(name, "pwd")) {
        out_line(job, job->request.cwd != NULL ? job->request.cwd : "/");
    } else if (same(name, "hostname")) {
        out_line(job, identity.hostname);
    } else if (same(name, "whoami")) {
        const char *user = job->request.user;
        out_line(job, user != NULL && !same(user, "0") ? user : "root");
    } else if (same(name, "flooded")) {
        flood_report(job);
    } else if (same(name, "console")) {
        write_console(words + 1, count - 1);
    } else if (same(name, "dirty")) {
        job->status = dirty(word_number(words, count, 1, 0));
    } else {
        return same(name, "true");
    }
    return true;
}

/* --- The shell --- */

#define WORDS 64u

struct command {
    uint32_t count;
    char *words[WORDS];
    struct text text; /* where the words are written */
};

static char *expand(struct job *job, char *at, struct text *text)
{
    char name[64];
    struct text builder = {name, name + sizeof name - 1};
    bool braces = *at == '{';
    at += braces;
    if (*at == '?') {
        put_number(text, job->status);
        return at + 1;
    }
    while ((*at >= '0' && *at <= '9') || (*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z') ||
           *at == '_')
        put_bytes(&builder, at++, 1);
    *builder.at = '\0';
    put(text, builder.at == name ? "$" : environment_value(job, name));
    return at + (braces && *at == '}');
}

/* A word up to white space or an operator; *end is where it ends. */
static char *take_word(struct job *job, char *at, struct command *command)
{
    char quote = '\0';
    for (; *at != '\0'; at++) {
        if (quote != '\0' && *at == quote) {
            quote = '\0';
        } else if (quote == '\0' && (*at == '\'' || *at == '"')) {
            quote = *at;
        } else if (quote != '\'' && *at == '$') {
            at = expand(job, at + 1, &command->text) - 1;
        } else if (quote != '\'' && *at == '\\' && at[1] != '\0') {
            put_bytes(&command->text, ++at, 1);
        } else if (quote == '\0' && (*at == ' ' || *at == '\t' || *at == '\n' || *at == ';' || *at == '&' ||
                                     *at == '|' || *at == '>' || *at == '<')) {
            break;
        } else {
            put_bytes(&command->text, at, 1);
        }
    }
    put_bytes(&command->text, "", 1);
    return at;
}

static char *skip_blanks(char *at)
{
    while (*at == ' ' || *at == '\t')
        at++;
    return at;
}

/* Behind > that `at` is at, where the output of `from` ('1' or '2') goes. */
static char *take_redirection(struct job *job, char *at, char from, struct command *command)
{
    bool more = *++at == '>';
    at += more;
    if (*at == '&') { /* >&2, 2>&1 */
        job->to_errors = at[1] == '2';
        return at + 2;
    }
    char *name = command->text.at;
    at = take_word(job, skip_blanks(at), command);
    if (from == '2') {
        job->no_errors = true;
    } else {
        job->target = name;
        if (!more && file_find(name) != NULL)
            file_find(name)->length = 0;
        append(name, "", 0);
    }
    return at;
}

/* The next command of the script, which is moved behind it and what separates it from the next. */
static void take_command(struct job *job, struct command *command)
{
    char *at = job->script;
    job->target = NULL;
    job->to_errors = job->no_errors = false;
    command->count = 0;
    for (;;) {
        at = skip_blanks(at);
        if (*at == '\0' || *at == ';' || *at == '\n' || *at == '&' || *at == '|')
            break;
        if (*at == '>' || *at == '<') {
            at = take_redirection(job, at, '1', command);
        } else if ((*at == '1' || *at == '2') && at[1] == '>') {
            at = take_redirection(job, at + 1, *at, command);
        } else if (command->count < WORDS) {
            command->words[command->count++] = command->text.at;
            at = take_word(job, at, command);
        } else {
            break;
        }
    }
    job->separator = *at == '\0' ? ';' : *at;
    while (*at != '\0' && (*at == ';' || *at == '\n' || *at == '&' || *at == '|'))
        at++;
    job->script = at;
}

static void run_script(struct job *job)
{
    static char words[VSOCK_INPUT];
    while (job->running && job->work == WORK_NONE && *job->script != '\0') {
        struct command command = {.text = {words, words + sizeof words}};
        bool skipped =
            (job->separator == '&' && job->status != 0) || (job->separator == '|' && job->status == 0);
        uint32_t status = job->status;
        take_command(job, &command);
        if (skipped || command.count == 0) {
            job->status = status;
        } else if (!start_work(job, command.words, command.count) &&
                   !run_now(job, command.words, command.count)) {
            complain(job, "sh", command.words[0], "not found");
            job->status = 127;
        }
    }
}

/* What is behind the options of a shell that has -c among them: -c, -lc, -l -c. */
static char *find_script(const struct request *request)
{
    const char *name = request->args[0];
    if (!same(name, "sh") && !same(name, "/bin/sh") && !same(name, "bash") && !same(name, "/bin/bash"))
        return NULL;
    for (uint32_t i = 1; i + 1 < request->arg_count && *request->args[i] == '-'; i++) {
        if (request->args[i][strlen(request->args[i]) - 1] == 'c')
            return request->args[i + 1];
    }
    return NULL;
}

void commands_start(struct job *job)
{
    struct request *request = &job->request;
    const char *name = request->args[0];
    const char *base = after(name, "/bin/");
    if (base == NULL)
        base = after(name, "/usr/bin/");
    job->script = find_script(request);
    if (job->script == NULL && job->process != NULL && same(base != NULL ? base : name, "sh")) {
        static char nothing[1];
        job->interactive = true;
        job->script = nothing;
    }
    if (job->script == NULL) {
        if (base != NULL)
            request->args[0] = (char *)base;
        if (!start_work(job, request->args, request->arg_count) &&
            !run_now(job, request->args, request->arg_count)) {
            char error[256];
            struct text text = {error, error + sizeof error - 2};
            put(&text, "FileNotFoundError: [Errno 2] No such file or directory: '");
            put(&text, name);
            memcpy(text.at, "'", 2);
            job_fail(job, error, 127);
            return;
        }
    }
    commands_continue(job);
}

void commands_continue(struct job *job)
{
    if (job->script != NULL)
        run_script(job);
    if (job->running && job->work == WORK_NONE && job->interactive)
        process_prompt(job->process);
    else if (job->running && job->work == WORK_NONE)
        job_end(job, job->status);
}
