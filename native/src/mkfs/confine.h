/* SPDX-License-Identifier: Apache-2.0 */
/* What keeps a program that reads strangers' images from all but what it makes of them: docs/isolation.md. */
#ifndef FORKD_MKFS_CONFINE_H
#define FORKD_MKFS_CONFINE_H

/* To the folder that `path` is in, by Landlock where the kernel has it, and to the system calls of the table,
 * whose names it takes. Ends the program (fail) where that cannot be. */
void confine_to_output(const char *path);

#endif
