/* SPDX-License-Identifier: Apache-2.0 */
/* Enough of Python for questions about a child's state: see eval.c. */
#ifndef FORKD_TESTS_GUESTS_AGENT_EVAL_H
#define FORKD_TESTS_GUESTS_AGENT_EVAL_H

#include "agent.h"

void eval_start(struct job *job);

#endif
