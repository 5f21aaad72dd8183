/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel command line, and the values on it that are ours. */
#ifndef FORKD_GUEST_CMDLINE_H
#define FORKD_GUEST_CMDLINE_H

#include "base/error.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#define CMDLINE_SIZE 4096

/*
 * The value of the first word `key=value` (quotes around it removed), or the empty string for the bare word
 * `key`. Words behind "--" are not the kernel's. False when there is none or it does not fit.
 */
bool cmdline_value(const char *cmdline, const char *key, char *out, size_t size);
bool cmdline_has(const char *cmdline, const char *word);

/* One volume of forkd.mounts=vdb:/data:ro,vdc:/x */
struct cmdline_mount {
    char device[32]; /* without /dev/ */
    char target[256];
    bool read_only;
};

/*
 * Takes the next entry from *list and moves *list behind it. Returns 1, 0 at the end, or -EINVAL for an entry
 * that is malformed.
 */
int cmdline_next_mount(const char **list, struct cmdline_mount *out, struct forkd_error *err);

/* ip=<client>::<gateway>:<netmask>::<device>:off */
struct cmdline_network {
    struct in_addr address;
    struct in_addr gateway; /* zero: none */
    struct in_addr netmask;
    char device[16];
};
bool cmdline_network(const char *text, struct cmdline_network *out);

/* The host's end of the guest's cable. False when the guest has none. */
bool cmdline_host(const char *cmdline, struct in_addr *out);

#endif
