/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that there are, and a shell of a few lines that runs them. See commands.c for the list. */
#ifndef FORKD_TESTS_GUESTS_AGENT_COMMANDS_H
#define FORKD_TESTS_GUESTS_AGENT_COMMANDS_H

#include "agent.h"

/* Run what the request asks for, as far as that goes at once: job->work is what is left. */
void commands_start(struct job *job);
/* job->work is done. */
void commands_continue(struct job *job);

/* What a command writes, to where that goes. */
void commands_write(struct job *job, const char *data, size_t length);

#endif
