/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that opens files and sockets for the confined ones (base/broker.h). It starts with the program,
 * holds nothing of a guest's, reads nothing but requests of one size, and ends with the last that could ask.
 */
#ifndef FORKD_PROC_BROKER_H
#define FORKD_PROC_BROKER_H

#include <stdint.h>

/* `requests`: our end of the channel of who started us, from which those of the others come; `proc`: /proc,
 * or -1; `most`: how many channels a sandbox may have, with those that are made of it. */
_Noreturn void broker_process(int requests, int proc, uint32_t most);

#endif
