/* SPDX-License-Identifier: Apache-2.0 */
/* Who answers requests: one job for each connection to the agent's port. */
#ifndef FORKD_TESTS_GUESTS_AGENT_AGENT_H
#define FORKD_TESTS_GUESTS_AGENT_AGENT_H

#include "native/guest/protocol.h"
#include "request.h"
#include "vsock.h"

enum work {
    WORK_NONE,
    WORK_SLEEP,   /* until `wake` */
    WORK_SLOW,    /* `left` bytes, one at each `wake` */
    WORK_WRITE,   /* `left` bytes */
    WORK_CAT,     /* its input */
    WORK_ENDLESS, /* bytes without end, and without a newline */
    WORK_FLOOD,   /* all devices at once, as long as the connection is there */
    WORK_SILENT,  /* nothing at all, for ever */
    /* of processes.c alone */
    WORK_HEAD,  /* `left` bytes of its input */
    WORK_TRAP,  /* tells of signals */
    WORK_WINCH, /* tells of its terminal's size */
    WORK_SHELL, /* the next line of its input */
};

struct process;

struct job {
    struct vsock_connection *connection;
    struct process *process; /* NULL: it is of the line-JSON protocol; otherwise there is no connection */
    bool running;
    enum work work;
    uint64_t deadline;
    uint64_t wake;
    uint32_t left;
    uint32_t status;    /* exit code of the last command */
    char *script;       /* what is left of it; NULL: there is none */
    char separator;     /* what came behind the last command: ; & | */
    const char *target; /* of a redirection */
    bool to_errors;
    bool no_errors;
    bool interactive; /* a shell, whose lines are its input */
    bool opened;      /* a plain reply has begun, with its stdout */
    char *input;
    uint32_t input_length;
    uint32_t errors_length;
    struct request request;
    char errors[1024];
};

/* A line of a stream, as the agent for Linux writes them; bytes of a plain reply at a time. 0-9a-v, again and
 * again. */
#define PATTERN_BYTES 49152u
#define PATTERN_PERIOD 32u
extern char pattern[PATTERN_BYTES];

extern struct guest_identity identity;
extern uint32_t memory_end;

void agent_start(void);
/* Everything that can go on goes on; then wait. */
void agent_step(void);

/* --- for commands --- */

/* What a command writes. */
void job_write(struct job *job, bool error, const char *data, size_t length);
/* So many bytes of a pattern that repeats, 0-9a-v. */
uint32_t job_write_pattern(struct job *job, uint32_t length);
/* The reply that ends a job: how its command ended, or why it has no result; code 0: none. */
void job_end(struct job *job, uint32_t status);
void job_fail(struct job *job, const char *error, uint32_t code);
/* A whole reply, as it stands. */
void job_reply(struct job *job, const char *text);

#endif
