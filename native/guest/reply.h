/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_REPLY_H
#define FORKD_GUEST_REPLY_H

#include "writer.h"

/* {"error":...,"traceback":...,"exit_code":1} and a newline. */
void reply_error(struct writer *writer, const char *error);

#endif
