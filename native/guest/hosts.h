/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_HOSTS_H
#define FORKD_GUEST_HOSTS_H

#include <stddef.h>

/*
 * The text of /etc/hosts in which `name` is at `address`: `old` without the line that this added to it
 * before, with one for localhost where it has none, and the new line at its end. Returns its length, or 0
 * when it takes more than `size` bytes.
 */
size_t hosts_text(const char *old, size_t length, const char *address, const char *name, char *out,
                  size_t size);

#endif
