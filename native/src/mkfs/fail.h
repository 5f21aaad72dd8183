/* SPDX-License-Identifier: Apache-2.0 */
/* Ends the program with a line on standard output that the caller reads. */
#ifndef FORKD_MKFS_FAIL_H
#define FORKD_MKFS_FAIL_H

#include <stdint.h>

/* "error TEXT", exit status 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "inode INDEX TEXT", exit status 1: the caller knows the name of that inode. */
_Noreturn void fail_inode(uint32_t index, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
