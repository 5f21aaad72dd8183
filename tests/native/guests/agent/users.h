/* SPDX-License-Identifier: Apache-2.0 */
/* Who may be named in this guest, where nobody has rights that others have not. */
#ifndef FORKD_TESTS_GUESTS_AGENT_USERS_H
#define FORKD_TESTS_GUESTS_AGENT_USERS_H

#include <stdbool.h>

/*
 * The home of NAME or UID, with or without :GROUP, as the file /etc/passwd has it; without that file there
 * are root and app. A number need not be there. False when there is no such user, or no room.
 */
bool user_home(const char *user, char home[128]);

#endif
