/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_NETWORK_H
#define FORKD_GUEST_NETWORK_H

#include "cmdline.h"

void network_loopback_up(void);

/* Address, netmask, up, default route; what the kernel has set already stays. Failures go to the console. */
void network_set_up(const struct cmdline_network *network);

/* Where this machine finds itself: the address that was set up, or one of the loopback device. */
const char *network_own_address(void);

/* As in a container: users may open any port, and ping. */
void network_allow_users(void);

/* Two public resolvers, unless the image brings its own. */
void network_write_resolvers(void);

#endif
