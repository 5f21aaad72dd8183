/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock: what a process and all that comes of it may do to files by path, whatever user it is. */
#ifndef FORKD_PROC_LANDLOCK_H
#define FORKD_PROC_LANDLOCK_H

#include <linux/landlock.h>
#include <stdbool.h>
#include <stdint.h>

/* Of a later kernel than the headers may be. */
#define LANDLOCK_FS_TRUNCATE (1ull << 14)

/*
 * From here on everything that this kernel's Landlock knows is forbidden: all of files but `allowed`, TCP,
 * sockets without a path and signals to processes outside. Below `folder` (-1: none) all of files is allowed
 * but to execute them. Descriptors that are open stay of use. False, with errno set: it is not in force.
 */
bool landlock_restrict(uint64_t allowed, int folder);

#endif
