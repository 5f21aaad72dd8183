/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_PROC_TAP_H
#define FORKD_PROC_TAP_H

#include "base/error.h"

/*
 * Open an existing tap device of this network namespace for net_attach. Errors: -ENOENT no /dev/net/tun or no
 * such tap; -EBUSY another VM has it; -EPERM.
 */
int tap_open(const char *name, struct forkd_error *err);

#endif
