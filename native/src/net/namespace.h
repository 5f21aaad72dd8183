/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network namespaces as ip-netns(8) keeps them: a name in /run/netns, on which the namespace is mounted. The
 * process is in its own namespace between any two calls.
 */
#ifndef FORKD_NET_NAMESPACE_H
#define FORKD_NET_NAMESPACE_H

#include "base/error.h"

#include <stdint.h>

/* What a namespace gets when it is made. All text was checked by who read it. */
struct namespace_plan {
    const char *name;
    const char *tap;       /* device that the VM opens */
    uint32_t gateway;      /* of the tap, host byte order, as all addresses here */
    uint32_t gateway_bits; /* length of its network's prefix */
    const char *uplink;    /* end of the veth that stays in our namespace; the other one is called veth0 */
    uint32_t address;      /* of veth0 */
    uint32_t next_hop;     /* the default route: an address that nobody has to own */
};

/* Remember our namespace, to come back to. Call it first. */
int namespace_init(struct forkd_error *err);

/* Make a namespace with a tap, a veth to us, addresses, routes, and the rules of `script` (NUL-terminated).
 * All of it, or nothing. -EEXIST: there is one of that name. */
int namespace_make(const struct namespace_plan *plan, const char *script, struct forkd_error *err);

/* Take its name from it, and mark its veth for removal, which `sweep` does; what is not there is no error. */
int namespace_remove(const char *name, const char *uplink, struct forkd_error *err);

/* Run `action` in that namespace, "-" being our own. */
int namespace_within(const char *name, int (*action)(void *context, struct forkd_error *err), void *context,
                     struct forkd_error *err);

/* End the resolvers, processes called dnsmasq, that run in it. */
int namespace_end_resolver(const char *name, struct forkd_error *err);
/* The same for the namespace that the process is in. */
int namespace_end_own_resolver(struct forkd_error *err);

#endif
