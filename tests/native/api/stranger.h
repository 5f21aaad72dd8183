/* SPDX-License-Identifier: Apache-2.0 */
/* Acting as a user that runs nothing else, with a /dev of this program's own. Needs root. */
#ifndef FORKD_TESTS_API_STRANGER_H
#define FORKD_TESTS_API_STRANGER_H

#include "snapshot.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define STRANGER 54321
#define KVM_DEVICE makedev(10, 232)

static inline void require(bool good, const char *what)
{
    if (!good)
        fail_msg("%s: %s: run the native tests as root", what, strerror(errno));
}

/* From here on, mounts are this program's own. */
static inline void own_mounts(void)
{
    require(unshare(CLONE_NEWNS) == 0 && mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "own mounts");
}

/* What opens as /dev/kvm from now on; after own_mounts. */
static inline void put_kvm(const struct fixture *fixture, dev_t device, mode_t mode)
{
    char node[128];
    folder_file(&fixture->folder, "kvm", node, sizeof node);
    mode_t mask = umask(0);
    require(mknod(node, S_IFCHR | mode, device) == 0 && mount(node, "/dev/kvm", NULL, MS_BIND, NULL) == 0,
            "put a node over /dev/kvm");
    umask(mask);
}

static inline void take_kvm_away(const struct fixture *fixture)
{
    require(umount("/dev/kvm") == 0 && unlink(FILE_IN(fixture->folder, "kvm")) == 0, "take it away");
}

/* The fixture's folder, and in it the programs, for which the way to ours may be closed. */
static inline void give_to_stranger(struct fixture *fixture)
{
    char command[512];
    snprintf(command, sizeof command, "cp '%s' '%s' '%s' && chown -R %d '%s'", FORKD_VMM, GUEST("ready"),
             fixture->folder.path, STRANGER, fixture->folder.path);
    assert_int_equal(system(command), 0);
    folder_file(&fixture->folder, "forkd-vmm", fixture->vmm, sizeof fixture->vmm);
    folder_file(&fixture->folder, "ready.elf", fixture->guest, sizeof fixture->guest);
    fixture->options.vmm_path = fixture->vmm;
}

static inline void become(uid_t user)
{
    assert_int_equal(setresuid(user, user, 0), 0);
}

#endif
