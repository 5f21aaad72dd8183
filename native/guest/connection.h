/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_CONNECTION_H
#define FORKD_GUEST_CONNECTION_H

#include "agent.h"

/* Reads one request, answers it, closes. The descriptor is gone afterwards. */
void connection_serve(struct agent *agent, int fd);

#endif
