/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine's guest may use of the host (forkd.h, struct forkd_limits). */
#ifndef FORKD_MACHINE_LIMITS_H
#define FORKD_MACHINE_LIMITS_H

#include "machine/machine.h"

/* Of a machine that has just been made. */
void limits_default(struct machine *machine);
/* Of a machine whose children have those of another. */
void limits_inherit(struct machine *machine, const struct machine *from);
/* Whatever is not 0 in `asked` is the machine's limit from now on; in the process that runs it, before the
 * vCPUs do, and once there. */
int limits_apply(struct machine *machine, const struct forkd_limits *asked, struct forkd_error *err);

#endif
