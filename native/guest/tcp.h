/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_TCP_H
#define FORKD_GUEST_TCP_H

/*
 * End every TCP connection to another machine, of every program, as if the peer had reset it: in a fork they
 * are those of the VM that it was forked from, and of all its siblings. Listeners stay, and so do connections
 * within the VM. What the kernel sends to the peers of these is dropped by the monitor, which lets nothing
 * out before the fork has its identity.
 *
 * 0, or a negative errno: there is such a connection, and it could not be ended.
 */
int tcp_end_connections(void);

/*
 * The same without sock_diag, through the descriptors of all programs, for a kernel that has no
 * INET_DIAG_DESTROY: programs see ECONNRESET instead of ECONNABORTED, and one that a listener has not
 * accepted yet cannot be ended (-EOPNOTSUPP). Needs Linux 5.6 (pidfd_getfd(2)).
 */
int tcp_end_held_connections(void);

#endif
