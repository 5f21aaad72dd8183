/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_PROC_CAPABILITIES_H
#define FORKD_PROC_CAPABILITIES_H

#include "base/error.h"

#include <linux/capability.h>
#include <stdint.h>

#define CAPABILITY(name) (1ull << (name))

/* No program that could be started from here on gives any, and what is in memory gets into no core file. */
int capabilities_gain_none(struct forkd_error *err);

/* Keep no other capability than those in `kept`, whatever user this is. */
int capabilities_keep(uint64_t kept, struct forkd_error *err);

#endif
