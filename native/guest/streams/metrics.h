/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_METRICS_H
#define FORKD_GUEST_METRICS_H

#include "base/error.h"
#include "writer.h"

/* The guest's figures, as one line. 0 or a negative errno. */
int metrics_write(struct writer *writer, struct forkd_error *err);

#endif
