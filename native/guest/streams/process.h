/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs of `run`. Each has a thread, which alone looks after it, its log and whoever listens: the one
 * of the stream that started it. It goes on when that stream is gone, and others hand it theirs. So what a
 * short program takes beside its own start is that of one thread, with no other to wake.
 */
#ifndef FORKD_GUEST_PROCESS_H
#define FORKD_GUEST_PROCESS_H

#include "streams/stream.h"

#define PROCESSES_MAX 512
#define PROCESSES_ENDED_MAX 64 /* that nobody has had the end of */

struct process;

/*
 * Starts it and answers. 0 or a negative errno; then process_serve, which takes the stream's connection and
 * returns when the process is over and forgotten.
 */
int process_run(struct stream *stream, struct process **out, struct forkd_error *err);
void process_serve(struct process *process);

/* Hands the connection over, or a negative errno. */
int process_attach(struct stream *stream, struct forkd_error *err);

int process_list(struct writer *writer, struct forkd_error *err); /* flushes */
int process_signal(const struct order *order, struct forkd_error *err);
int process_resize(const struct order *order, struct forkd_error *err);

#endif
