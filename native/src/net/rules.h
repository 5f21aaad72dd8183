/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_NET_RULES_H
#define FORKD_NET_RULES_H

#include "base/error.h"

/* Run nft(8) commands in the namespace that the process is in: all of them, in one transaction, or none.
 * `output` (may be NULL) gets what they print; it is the caller's to free. */
int rules_run(const char *script, char **output, struct forkd_error *err);

/* Forget every connection of the namespace that the process is in: each packet is judged anew. */
int rules_forget_connections(struct forkd_error *err);

#endif
