/* SPDX-License-Identifier: Apache-2.0 */
/* Pseudo-terminals (pty(7)). */
#ifndef FORKD_GUEST_TERMINAL_H
#define FORKD_GUEST_TERMINAL_H

#include <stdint.h>

/* Our end, which does not block, and the program's. 0 or a negative errno. */
int terminal_open(uint16_t rows, uint16_t columns, int *ours, int *theirs);

int terminal_resize(int fd, uint16_t rows, uint16_t columns); /* likewise */

/* What ends the input of a program that reads lines from it. */
unsigned char terminal_end_of_file(int fd);

#endif
