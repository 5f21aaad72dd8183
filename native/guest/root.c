/* SPDX-License-Identifier: Apache-2.0 */
#include "root.h"

#include "clock.h"
#include "cmdline.h"
#include "console.h"
#include "mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define DEVICE_WAIT_MS 5000
#define NEW_ROOT "/newroot"
#define DEPTH_MAX 32

bool root_is_initramfs(void)
{
    struct statfs root;
    return statfs("/", &root) == 0 &&
           ((unsigned long)root.f_type == RAMFS_MAGIC || (unsigned long)root.f_type == TMPFS_MAGIC);
}

/* Takes over the descriptor. Never leaves the file system it began in. */
static void remove_tree(int fd, dev_t device, int depth)
{
    DIR *folder = fdopendir(fd);
    if (!folder) {
        close(fd);
        return;
    }
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        struct stat now;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(fd, entry->d_name, &now, AT_SYMLINK_NOFOLLOW) < 0 || now.st_dev != device)
            continue;
        if (S_ISDIR(now.st_mode) && depth < DEPTH_MAX) {
            int inner = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (inner >= 0)
                remove_tree(inner, device, depth + 1);
        }
        unlinkat(fd, entry->d_name, S_ISDIR(now.st_mode) ? AT_REMOVEDIR : 0);
    }
    closedir(folder);
}

/* The files of an initramfs are memory; modules and this program are several MiB of it. */
static void free_initramfs(void)
{
    struct stat root;
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &root) == 0)
        remove_tree(fd, root.st_dev, 0);
    else if (fd >= 0)
        close(fd);
}

static void carry_mount(const char *from)
{
    char to[64];
    snprintf(to, sizeof to, NEW_ROOT "%s", from);
    mkdir(to, 0755);
    if (mount(from, to, NULL, MS_MOVE, NULL) < 0)
        umount2(from, MNT_DETACH); /* the image has no such folder, and is read-only */
}

/* switch_root(8) tells why: the first root cannot be unmounted or pivoted, only covered. */
static int enter(void)
{
    carry_mount("/dev");
    carry_mount("/proc");
    carry_mount("/sys");
    free_initramfs();
    if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return -errno;
    return 0;
}

int root_switch(const char *cmdline, struct forkd_error *err)
{
    char device[128];
    char type[32];
    if (!cmdline_value(cmdline, "root", device, sizeof device))
        snprintf(device, sizeof device, "/dev/vda");
    bool typed = cmdline_value(cmdline, "rootfstype", type, sizeof type);
    if (strncmp(device, "/dev/", 5) != 0)
        return error_say(err, EINVAL, "check", device, "root=%s: only names in /dev are understood", device);
    for (int64_t end = clock_now_ms() + DEVICE_WAIT_MS; access(device, F_OK) < 0; clock_sleep_ms(10))
        if (clock_now_ms() >= end)
            return error_say(err, ENODEV, "open", device, "root device %s did not appear", device);
    mkdir(NEW_ROOT, 0755);
    bool read_only = cmdline_has(cmdline, "ro") && !cmdline_has(cmdline, "rw");
    int status = mounts_device(device, NEW_ROOT, typed ? type : NULL, read_only);
    if (status == 0)
        status = enter();
    return status < 0 ? error_set(err, status, "root device", device, NULL) : 0;
}
