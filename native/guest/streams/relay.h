/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_RELAY_H
#define FORKD_GUEST_RELAY_H

#include "streams/stream.h"

/* Connects to a port or a Unix socket of the guest, and passes on what comes. As watch_serve. */
int relay_serve(struct stream *stream, struct forkd_error *err);

#endif
