/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_WORDS_H
#define FORKD_GUEST_WORDS_H

/*
 * Splits a command line as a POSIX shell does (quotes and backslashes, no expansion, no comments), in place.
 * Returns a NULL-terminated array to free, or NULL: an open quote, or no memory.
 */
char **words_split(char *line);

#endif
