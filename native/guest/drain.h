/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_DRAIN_H
#define FORKD_GUEST_DRAIN_H

/*
 * Takes over the reading end of a pipe, which does not block, and throws away what still comes, until nobody
 * has its other end: a job that a command left in the background must neither be ended by SIGPIPE nor stand
 * still because nobody reads what it prints.
 */
void drain_adopt(int fd);

#endif
