/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_WATCH_H
#define FORKD_GUEST_WATCH_H

#include "streams/stream.h"

/* Tells of changes until the host closes. 0, or a negative errno with which the stream is refused. */
int watch_serve(struct stream *stream, struct forkd_error *err);

#endif
