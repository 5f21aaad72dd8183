/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error style of the core and of the guest: 0 (or something useful that is not negative) or a
 * negative errno, and a struct forkd_error filled in where it went wrong.
 */
#ifndef FORKD_BASE_ERROR_H
#define FORKD_BASE_ERROR_H

#include <forkd/forkd.h>

/*
 * Fill *err (NULL is allowed) and return the negative errno, so that `return error_set(...)` reads well.
 * `code` is an errno of either sign. `format` is the explanation without operation, object and errno text,
 * which are put in front of it; NULL for none. Either of operation and object is "" where the other says it
 * all.
 */
__attribute__((format(printf, 5, 6), cold)) int error_set(struct forkd_error *err, int code,
                                                          const char *operation, const char *object,
                                                          const char *format, ...);

/* The same where the whole sentence is `format`: for what has a wording of its own, as a guest's replies. */
__attribute__((format(printf, 5, 6), cold)) int error_say(struct forkd_error *err, int code,
                                                          const char *operation, const char *object,
                                                          const char *format, ...);

#endif
