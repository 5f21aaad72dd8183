/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that opens files and sockets for the confined ones (base/broker.h). It starts with the program,
 * holds nothing of a guest's, reads nothing but requests of one size, and ends with the last that could ask.
 */
#ifndef FORKD_PROC_BROKER_H
#define FORKD_PROC_BROKER_H

/* `requests`: our end of the socket at which the others ask; `proc`: /proc, or -1. */
_Noreturn void broker_process(int requests, int proc);

#endif
