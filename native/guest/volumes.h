/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volumes that the kernel command line names (forkd.mounts). A writable one is unmounted while a snapshot
 * is taken and mounted again in every child, for others may have written to its image by then, and in a guest
 * that goes on.
 */
#ifndef FORKD_GUEST_VOLUMES_H
#define FORKD_GUEST_VOLUMES_H

#include "cmdline.h"

#define VOLUMES_MAX 24

/* Before a thread or another process is started, which then knows the list as well. */
void volumes_init(const char *cmdline);

/*
 * Mounts those that are not. 0, or a negative errno: of the first that failed, whose place is the object of
 * the error. The console has them all.
 */
int volumes_mount(struct forkd_error *err);

struct volumes_busy {
    size_t count;
    const char *targets[VOLUMES_MAX];
};

/* Unmounts the writable ones. Those in use stay, but what was written to them is on the disk. */
void volumes_unmount(struct volumes_busy *busy);

#endif
