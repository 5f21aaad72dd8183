/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/landlock.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FS_IOCTL_DEVICE (1ull << 15)
#define NET_BIND (1ull << 0)
#define NET_CONNECT (1ull << 1)
#define SCOPE_ABSTRACT_SOCKET (1ull << 0)
#define SCOPE_SIGNAL (1ull << 1)

/* struct landlock_ruleset_attr of the newest that we know; an older kernel is given less of it. */
struct ruleset {
    uint64_t files;
    uint64_t network;
    uint64_t scoped;
};

/* How much of *out this kernel takes; 0, with errno set: nothing. */
static size_t fill(struct ruleset *out)
{
    int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        return 0;
    *out = (struct ruleset){.files = LANDLOCK_ACCESS_FS_MAKE_SYM | (LANDLOCK_ACCESS_FS_MAKE_SYM - 1)};
    if (version >= 2)
        out->files |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        out->files |= LANDLOCK_FS_TRUNCATE;
    if (version >= 5)
        out->files |= FS_IOCTL_DEVICE;
    if (version >= 4)
        out->network = NET_BIND | NET_CONNECT;
    if (version >= 6)
        out->scoped = SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL;
    return version >= 6   ? sizeof *out
           : version >= 4 ? offsetof(struct ruleset, scoped)
                          : offsetof(struct ruleset, network);
}

bool landlock_restrict(uint64_t allowed, int folder)
{
    struct ruleset ruleset;
    size_t size = fill(&ruleset);
    if (size == 0)
        return false;
    ruleset.files &= ~allowed;
    const struct landlock_path_beneath_attr below = {
        .allowed_access = ruleset.files & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE, .parent_fd = folder};
    int fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, size, 0);
    if (fd < 0)
        return false;
    bool done =
        (folder < 0 || syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &below, 0) == 0) &&
        syscall(SYS_landlock_restrict_self, fd, 0) == 0;
    int code = errno;
    close(fd);
    errno = code;
    return done;
}
