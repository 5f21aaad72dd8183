/* SPDX-License-Identifier: Apache-2.0 */
#include "mounts.h"

#include "console.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
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
    if (!is_mounted(target) && mount(type, target, type, flags, options) < 0 && errno != EBUSY) {
        struct forkd_error err;
        error_say(&err, errno, "mount", target, "%s on %s: %s", type, target, strerror(errno));
        console_error(&err);
    }
}

void mounts_early(void)
{
    attach("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    attach("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    attach("devtmpfs", "/dev", MS_NOSUID, "mode=755");
}

/* Memory over a folder of a read-only root, with what the image has there. */
static void cover(const char *target)
{
    struct stat beneath;
    struct stat above;
    int from = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    attach("tmpfs", target, MS_NOSUID | MS_NODEV, "mode=755");
    int to = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (from >= 0 && to >= 0 && fstat(from, &beneath) == 0 && fstat(to, &above) == 0 &&
        beneath.st_dev != above.st_dev) {
        int status = tree_copy(from, to);
        if (status < 0)
            console_failure(status, "the image's files in", target);
    }
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
}

static int lay_copy_over(const char *path, const char *copy)
{
    int from = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (from < 0)
        return -errno;
    int to = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int status = to < 0 ? -errno : tree_copy_file(from, to);
    if (status == 0 && mount(copy, path, NULL, MS_BIND, NULL) < 0)
        status = -errno;
    if (to >= 0)
        close(to);
    close(from);
    return status;
}

/*
 * What differs from one child to the next has to be written to. Where it cannot, on a read-only root or
 * through a link, a copy in memory is mounted over it, as Docker does it.
 */
static void make_writable(void)
{
    static const char *const names[] = {"hostname", "hosts", "machine-id", "resolv.conf"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        char copy[64];
        snprintf(path, sizeof path, "/etc/%s", names[i]);
        snprintf(copy, sizeof copy, MOUNTS_OWN "/%s", names[i]);
        int fd = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0)
            close(fd);
        else if (errno == EROFS || errno == ELOOP) {
            int status = lay_copy_over(path, copy);
            if (status < 0)
                console_failure(status, "", path);
        }
    }
}

void mounts_all(void)
{
    mounts_early();
    (void)!symlink("/proc/self/fd", "/dev/fd");
    (void)!symlink("/proc/self/fd/0", "/dev/stdin");
    (void)!symlink("/proc/self/fd/1", "/dev/stdout");
    (void)!symlink("/proc/self/fd/2", "/dev/stderr");
    attach("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666");
    attach("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
    attach("mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    /* Kernels without control groups are none of our business. */
    (void)mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    /*
     * On a writable root /run and /tmp stay on the disk, which is private to this VM: there is what the image
     * has there; memory is what a fork has to share, and what is on a disk can be reclaimed.
     */
    struct statvfs root;
    if (statvfs("/", &root) == 0 && (root.f_flag & ST_RDONLY)) {
        cover("/run");
        cover("/tmp");
    } else if (mkdir("/tmp", 01777) == 0) {
        chmod("/tmp", 01777);
    }
    /* Memory, since each fork writes to it. */
    mounts_make_path(MOUNTS_OWN);
    attach("tmpfs", MOUNTS_OWN, MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755");
    make_writable();
    (void)!symlink("/proc/self/mounts", "/etc/mtab");
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
            mount(NULL, entry->mnt_dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0) {
            struct forkd_error err;
            error_say(&err, errno, "remount", entry->mnt_dir, "%s could not be made read-only: %s",
                      entry->mnt_dir, strerror(errno));
            console_error(&err);
        }
    if (table)
        endmntent(table);
}
