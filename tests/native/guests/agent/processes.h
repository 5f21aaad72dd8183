/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of streams: a job whose input and output outlive the connections of those who listen. */
#ifndef FORKD_TESTS_GUESTS_AGENT_PROCESSES_H
#define FORKD_TESTS_GUESTS_AGENT_PROCESSES_H

#include "agent.h"

#define PROCESSES 15u
#define PROCESS_OUT (512u << 10)
#define PROCESS_ERR (32u << 10)
#define PROCESS_IN (64u << 10)
#define PROCESS_TEXT (32u << 10)

/* Of what was written, what was last: bytes are counted from the start. */
struct ring {
    char *data;
    uint32_t size;
    uint32_t end;
    uint32_t taken; /* by the slowest who listens; when nobody does, by who was furthest */
};

struct process {
    bool used;
    bool failed; /* there is no such command */
    bool ended;
    bool timed_out;
    bool told; /* somebody had its end */
    bool stdin;
    bool pty;
    bool detach;
    bool input_over;
    uint32_t pid;
    uint32_t rows;
    uint32_t columns;
    uint32_t listeners;
    uint32_t line; /* bytes of `text_of_line` */
    int32_t exit_code;
    const char *tag; /* NULL: none */
    uint64_t deadline;
    struct ring out;
    struct ring err;
    uint32_t in_start;
    uint32_t in_end;
    struct job job;
    char home[128];          /* of the user whom the request names */
    char cwd[512];           /* where it says that this begins there */
    char text[PROCESS_TEXT]; /* the request */
    char text_of_line[1024]; /* of a shell */
    char in[PROCESS_IN];
    char out_data[PROCESS_OUT];
    char err_data[PROCESS_ERR];
};

extern struct process *const processes;

/* A place for one, in which it has a pid and nothing else; NULL when there is none. */
struct process *process_new(void);
/* By pid, or by tag. */
struct process *process_find(uint32_t pid, const char *tag);
/* Its job's request is complete: run it. */
void process_start(struct process *process);
void process_signal(struct process *process, uint32_t signal);
void process_resize(struct process *process, uint32_t rows, uint32_t columns);
/* Give it input, as much as there is room for. */
uint32_t process_feed(struct process *process, const char *data, uint32_t length);
void process_end_input(struct process *process);

/* All of them go on; *deadline becomes earlier when one waits for a time. */
void processes_step(uint64_t *deadline);

/* --- for jobs --- */

void process_write(struct process *process, bool error, const char *data, size_t length);
void process_end(struct process *process, int32_t exit_code, bool timed_out);
void process_fail(struct process *process);
void process_prompt(struct process *process);
void process_tell_size(struct process *process);

#endif
