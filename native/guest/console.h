/* SPDX-License-Identifier: Apache-2.0 */
/* Lines for the person who reads the console log. */
#ifndef FORKD_GUEST_CONSOLE_H
#define FORKD_GUEST_CONSOLE_H

/* One line, prefixed with "forkd: ", written with a single write so that threads do not mix. */
__attribute__((format(printf, 1, 2))) void console(const char *format, ...);

#endif
