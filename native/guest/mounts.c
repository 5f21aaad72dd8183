/* SPDX-License-Identifier: Apache-2.0 */
#include "mounts.h"

#include "console.h"

#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static bool is_mounted(const char *path)
{
    struct stat here;
    struct stat above;
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s/..", path);
    return stat(path, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev;
}

/* The kernel, an initramfs or an image's own init may have mounted it already; proc would come twice. */
static void attach(const char *type, const char *target, unsigned long flags, const char *options)
{
    mkdir(target, 0755);
    if (!is_mounted(target) && mount(type, target, type, flags, options) < 0 && errno != EBUSY)
        console("%s on %s: %s", type, target, strerror(errno));
}

void mounts_early(void)
{
    attach("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    attach("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    attach("devtmpfs", "/dev", MS_NOSUID, "mode=755");
}

void mounts_all(void)
{
    mounts_early();
    (void)!symlink("/proc/self/fd", "/dev/fd");
    (void)!symlink("/proc/self/fd/0", "/dev/stdin");
    (void)!symlink("/proc/self/fd/1", "/dev/stdout");
    (void)!symlink("/proc/self/fd/2", "/dev/stderr");
    attach("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666");
    attach("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
    /* Kernels without control groups are none of our business. */
    (void)mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    attach("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755");
    /*
     * On a writable root /tmp stays on the disk, which is private to this VM: memory is what a fork has to
     * share, and what is there can be reclaimed.
     */
    struct statvfs root;
    if (statvfs("/", &root) == 0 && (root.f_flag & ST_RDONLY))
        attach("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
    else if (mkdir("/tmp", 01777) == 0)
        chmod("/tmp", 01777);
    mounts_make_path("/run/forkd");
}

int mounts_device(const char *device, const char *target, const char *type, bool read_only)
{
    const char *types[] = {type ? type : "ext4", type ? NULL : "squashfs"};
    int status = -EINVAL;
    for (size_t i = 0; i < 2 && types[i]; i++) {
        if (mount(device, target, types[i], read_only ? MS_RDONLY : 0, NULL) == 0)
            return 0;
        int error = errno;
        /* A drive may be read-only without the command line saying so. */
        if ((error == EACCES || error == EROFS) && mount(device, target, types[i], MS_RDONLY, NULL) == 0)
            return 0;
        /* Not that file system, or not in this kernel: the reason to report is the other one's, if any. */
        if (i == 0 || (error != ENODEV && error != EINVAL))
            status = -error;
    }
    return status;
}

void mounts_make_path(const char *path)
{
    char part[PATH_MAX];
    for (const char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        int length = slash ? (int)(slash - path) : (int)strlen(path);
        snprintf(part, sizeof part, "%.*s", length, path);
        mkdir(part, 0755);
        if (!slash)
            return;
    }
}

void mounts_close(void)
{
    FILE *table = setmntent("/proc/self/mounts", "re");
    for (struct mntent *entry = table ? getmntent(table) : NULL; entry; entry = getmntent(table))
        if (strncmp(entry->mnt_fsname, "/dev/", 5) == 0 &&
            mount(NULL, entry->mnt_dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
            console("%s could not be made read-only: %s", entry->mnt_dir, strerror(errno));
    if (table)
        endmntent(table);
}
