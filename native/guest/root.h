/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_ROOT_H
#define FORKD_GUEST_ROOT_H

#include "base/error.h"

#include <stdbool.h>

/* Whether this process was started from an initramfs, which then has to be left. */
bool root_is_initramfs(void);

/*
 * Mounts the disk that the command line names (root=, rootfstype=, ro, rw), frees the initramfs and makes the
 * disk the root of this process. Returns 0 or a negative errno.
 */
int root_switch(const char *cmdline, struct forkd_error *err);

#endif
