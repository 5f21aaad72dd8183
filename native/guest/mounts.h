/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_MOUNTS_H
#define FORKD_GUEST_MOUNTS_H

#include <stdbool.h>

/* A folder of our own, in memory. */
#define MOUNTS_OWN "/run/forkd"

/* proc, sys and dev alone: what an initramfs needs to find its root. */
void mounts_early(void);

/* Everything else that programs expect, on the final root. Failures go to the console and are not fatal. */
void mounts_all(void);

/* `type` NULL: ext4, then squashfs. 0 or a negative errno. */
int mounts_device(const char *device, const char *target, const char *type, bool read_only);

/* Makes all disks read-only, so that none needs its journal replayed. */
void mounts_close(void);

/* mkdir -p */
void mounts_make_path(const char *path);

#endif
