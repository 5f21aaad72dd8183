/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_VSOCK_H
#define FORKD_GUEST_VSOCK_H

#include <stdbool.h>

int vsock_listen(unsigned port);               /* a descriptor, or a negative errno */
int vsock_accept(int listener, bool *of_host); /* likewise; tells whether the peer is the host */
int vsock_connect_host(unsigned port);         /* likewise */

#endif
