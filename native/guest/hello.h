/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_HELLO_H
#define FORKD_GUEST_HELLO_H

/*
 * Tells the monitor that the guest is up (`status` 0), or what went wrong (a positive errno). A monitor that
 * does not listen, or a machine without vsock, is no error.
 */
void hello_send(int status, const char *message);

#endif
