/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_HELLO_H
#define FORKD_GUEST_HELLO_H

#include "base/error.h"

/*
 * Tells the monitor that the guest is up (NULL), or what went wrong. A monitor that does not listen, or a
 * machine without vsock, is no error.
 */
void hello_send(const struct forkd_error *err);

#endif
