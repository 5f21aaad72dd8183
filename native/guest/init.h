/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_INIT_H
#define FORKD_GUEST_INIT_H

/*
 * PID 1. It sets the machine up, starts the agent as its child, and from then on only reaps, restarts the
 * agent should it die, and powers the machine off. What runs in it is so little because its end is the
 * machine's: user programs can kill the agent, and nothing but the agent is lost.
 */
_Noreturn void init_run(void);

#endif
