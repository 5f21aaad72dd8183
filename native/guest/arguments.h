/* SPDX-License-Identifier: Apache-2.0 */
/* What execve(2) takes, out of JSON. */
#ifndef FORKD_GUEST_ARGUMENTS_H
#define FORKD_GUEST_ARGUMENTS_H

#include "json.h"

/*
 * 0 or a negative errno: -EINVAL for what is no list of strings, -EILSEQ for a NUL in one, -E2BIG for more of
 * them than any program can have, -ENOMEM. The strings stay those of the document; `*out` is to be freed,
 * also after an error.
 */
int arguments_list(const struct json_value *list, char ***out);

/* "NAME=value" of an object of strings; also -EDOM for what cannot be a name. */
int arguments_environment(const struct json_value *object, char ***out);
void arguments_free_environment(char **environment); /* NULL: nothing */

#endif
