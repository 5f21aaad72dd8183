/* SPDX-License-Identifier: Apache-2.0 */
/* Lines for the person who reads the console log. */
#ifndef FORKD_GUEST_CONSOLE_H
#define FORKD_GUEST_CONSOLE_H

#include "base/error.h"

/* One line, prefixed with "forkd: ", written with a single write so that threads do not mix. */
__attribute__((format(printf, 1, 2))) void console(const char *format, ...);

/* The sentence of an error. */
void console_error(const struct forkd_error *err);

/* The same of one that nobody else is told of, since things go on without: see error_set. */
void console_failure(int code, const char *operation, const char *object);

#endif
