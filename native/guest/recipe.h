/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_RECIPE_H
#define FORKD_GUEST_RECIPE_H

#include <stddef.h>

/*
 * The value of `key` in the text of /etc/forkd-recipe.env (KEY=VALUE lines, # comments, one pair of quotes
 * around the value is removed, nothing is expanded; the last line wins). Returns a new string, or NULL.
 */
char *recipe_value(const char *text, const char *key);

#endif
