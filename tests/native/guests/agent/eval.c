/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   integers of 32 bits with + - * // % and brackets      'a text' or "a text"      True, False, None
 *   count        how often it was asked for, in this guest's memory
 *   hostname, generation                                  of the identity that this child was given
 *   raise NAME('text')                                    an error
 *   sleep SECONDS                                         None, after that time
 */
#include "eval.h"

#include "cpu.h"

struct parser {
    const char *at;
    const char *error;
};

static int32_t sum(struct parser *parser);

static void skip(struct parser *parser)
{
    while (*parser->at == ' ')
        parser->at++;
}

static bool take(struct parser *parser, const char *word)
{
    skip(parser);
    const char *behind = after(parser->at, word);
    if (behind != NULL)
        parser->at = behind;
    return behind != NULL;
}

static int32_t factor(struct parser *parser)
{
    static uint32_t count;
    uint32_t number = 0;
    if (take(parser, "-"))
        return -factor(parser);
    if (take(parser, "count"))
        return (int32_t)++count;
    if (take(parser, "generation"))
        return (int32_t)identity.generation;
    if (take(parser, "(")) {
        int32_t value = sum(parser);
        if (!take(parser, ")"))
            parser->error = "SyntaxError: '(' was never closed";
        return value;
    }
    if (!take_number(&parser->at, &number) && parser->error == NULL)
        parser->error = "SyntaxError: invalid syntax";
    return (int32_t)number;
}

/* Rounded down, as Python does. */
static int32_t divide(struct parser *parser, int32_t a, int32_t b, bool remainder)
{
    if (b == 0) {
        parser->error = "ZeroDivisionError: integer division or modulo by zero";
        return 0;
    }
    int32_t quotient = a / b - (a % b != 0 && (a < 0) != (b < 0));
    return remainder ? a - quotient * b : quotient;
}

static int32_t product(struct parser *parser)
{
    int32_t value = factor(parser);
    for (;;) {
        if (take(parser, "//"))
            value = divide(parser, value, factor(parser), false);
        else if (take(parser, "%"))
            value = divide(parser, value, factor(parser), true);
        else if (take(parser, "*"))
            value = (int32_t)((uint32_t)value * (uint32_t)factor(parser));
        else
            return value;
    }
}

static int32_t sum(struct parser *parser)
{
    int32_t value = product(parser);
    for (;;) {
        if (take(parser, "+"))
            value = (int32_t)((uint32_t)value + (uint32_t)product(parser));
        else if (take(parser, "-"))
            value = (int32_t)((uint32_t)value - (uint32_t)product(parser));
        else
            return value;
    }
}

static void reply_value(struct job *job, const char *value)
{
    struct text *out = &job->connection->output;
    put(out, "{\"result\":");
    put_string(out, value);
    job_reply(job, ",\"exit_code\":0}\n");
}

static void reply_quoted(struct job *job, const char *value)
{
    static char quoted[VSOCK_INPUT];
    struct text text = {quoted, quoted + sizeof quoted - 2};
    put(&text, "'");
    put(&text, value);
    memcpy(text.at, "'", 2);
    reply_value(job, quoted);
}

/* What is raised: NAME, NAME(), or NAME('text'). */
static void reply_raised(struct job *job, const char *raised)
{
    char error[256];
    struct text text = {error, error + sizeof error - 1};
    while (*raised != '\0' && *raised != '(')
        put_bytes(&text, raised++, 1);
    put(&text, ": ");
    for (; *raised != '\0'; raised++) {
        if (*raised != '(' && *raised != ')' && *raised != '\'' && *raised != '"')
            put_bytes(&text, raised, 1);
    }
    *text.at = '\0';
    job_fail(job, error, 0);
}

static void reply_number(struct job *job, struct parser *parser)
{
    char number[16];
    struct text text = {number, number + sizeof number - 1};
    put_number(&text, sum(parser));
    *text.at = '\0';
    skip(parser);
    if (*parser->at != '\0' && parser->error == NULL)
        parser->error = "SyntaxError: invalid syntax";
    if (parser->error != NULL)
        job_fail(job, parser->error, 0);
    else
        reply_value(job, number);
}

void eval_start(struct job *job)
{
    const char *code = job->request.code;
    const char *rest;
    struct parser parser = {code, NULL};
    size_t length = strlen(code);
    if (length > 1 && (*code == '\'' || *code == '"') && code[length - 1] == *code) {
        ((char *)code)[length - 1] = '\0';
        reply_quoted(job, code + 1);
    } else if (same(code, "hostname")) {
        reply_quoted(job, identity.hostname);
    } else if (same(code, "True") || same(code, "False") || same(code, "None")) {
        reply_value(job, code);
    } else if ((rest = after(code, "raise ")) != NULL) {
        reply_raised(job, rest);
    } else if ((rest = after(code, "sleep ")) != NULL) {
        uint32_t ms;
        job->work = WORK_SLEEP;
        job->wake = cpu_after(take_seconds(&rest, &ms) ? ms : UINT32_MAX);
    } else {
        reply_number(job, &parser);
    }
}
