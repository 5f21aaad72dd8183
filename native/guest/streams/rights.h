/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_RIGHTS_H
#define FORKD_GUEST_RIGHTS_H

#include "image.h"

/*
 * The calling thread, and no other, has that user's rights to files from here on; NULL: it keeps its own.
 * There is no way back. 0 or a negative errno.
 */
int rights_take(const struct image *user);

#endif
