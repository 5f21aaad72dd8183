/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_API_TAP_H
#define FORKD_API_TAP_H

#include "base/error.h"

/*
 * Open an existing tap device, of the caller's network namespace or (netns >= 0) of another, for net_attach.
 * Errors: -ENOENT no /dev/net/tun or no such tap; -EBUSY another VM has it; -EPERM.
 */
int tap_open(const char *name, int netns, struct forkd_error *err);

#endif
