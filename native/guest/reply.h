/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_REPLY_H
#define FORKD_GUEST_REPLY_H

#include "writer.h"

/* What a shell would say of a command that failed so. Published clients want an exit_code of 1. */
enum reply_code {
    REPLY_NO_CODE = 0,
    REPLY_TIMED_OUT = 124,
    REPLY_CANNOT_RUN = 126,
    REPLY_NOT_FOUND = 127,
};

/* {"error":...,"traceback":...,"exit_code":1} with "code":N, if there is one, and a newline. */
void reply_error(struct writer *writer, const char *error, enum reply_code code);

/* ,"code":N if there is one, the closing brace and a newline. */
void reply_close(struct writer *writer, enum reply_code code);

#endif
