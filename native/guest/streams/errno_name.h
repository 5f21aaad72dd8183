/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_ERRNO_NAME_H
#define FORKD_GUEST_ERRNO_NAME_H

/* "ENOENT", of either sign; "EIO" for what is no errno. (musl has no strerrorname_np.) */
const char *errno_name(int error);

#endif
