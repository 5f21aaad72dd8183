/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 32

static int copy_folder(int from, int to, int depth);

int tree_copy_file(int from, int to)
{
    char part[16384];
    for (;;) {
        ssize_t got = read(from, part, sizeof part);
        if (got == 0)
            return 0;
        for (ssize_t done = 0; done < got;) {
            ssize_t written = write(to, part + done, (size_t)(got - done));
            if (written < 0)
                return -errno;
            done += written;
        }
        if (got < 0)
            return -errno;
    }
}

/* The owner before the mode: changing it clears the set-user-ID and set-group-ID bits. */
static int give_attributes(int folder, const char *name, const struct stat *as)
{
    const struct timespec times[2] = {as->st_atim, as->st_mtim};
    if (fchownat(folder, name, as->st_uid, as->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        (!S_ISLNK(as->st_mode) && fchmodat(folder, name, as->st_mode & 07777, 0) < 0) ||
        utimensat(folder, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return 0;
}

static int copy_link(int from, int to, const char *name)
{
    char target[PATH_MAX];
    ssize_t length = readlinkat(from, name, target, sizeof target - 1);
    if (length < 0)
        return -errno;
    target[length] = '\0';
    return symlinkat(target, to, name) < 0 ? -errno : 0;
}

static int copy_content(int from, int to, const char *name, mode_t mode, int depth)
{
    bool folder = S_ISDIR(mode);
    if (folder && (depth >= DEPTH_MAX || mkdirat(to, name, 0700) < 0))
        return depth >= DEPTH_MAX ? -ELOOP : -errno;
    int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int target =
        openat(to, name, (folder ? O_RDONLY : O_WRONLY | O_CREAT | O_EXCL) | O_NOFOLLOW | O_CLOEXEC, 0600);
    int status = 0;
    if (source < 0 || target < 0)
        status = -errno;
    else if (folder)
        status = copy_folder(source, target, depth + 1);
    else
        status = tree_copy_file(source, target);
    if (source >= 0)
        close(source);
    if (target >= 0)
        close(target);
    return status;
}

static int copy_entry(int from, int to, const char *name, int depth)
{
    struct stat now;
    int status = fstatat(from, name, &now, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
    if (status < 0)
        return status;
    if (S_ISDIR(now.st_mode) || S_ISREG(now.st_mode))
        status = copy_content(from, to, name, now.st_mode, depth);
    else if (S_ISLNK(now.st_mode))
        status = copy_link(from, to, name);
    else
        status = mknodat(to, name, now.st_mode, now.st_rdev) < 0 ? -errno : 0;
    int given = give_attributes(to, name, &now);
    return status < 0 ? status : given;
}

static int copy_folder(int from, int to, int depth)
{
    int status = 0;
    int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) {
        status = -errno;
        if (fd >= 0)
            close(fd);
        return status;
    }
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int copied = copy_entry(from, to, entry->d_name, depth);
        if (status == 0)
            status = copied;
    }
    closedir(folder);
    return status;
}

int tree_copy(int from, int to)
{
    struct stat now;
    int status = copy_folder(from, to, 0);
    int given = fstat(from, &now) < 0 ? -errno : give_attributes(to, ".", &now);
    return status < 0 ? status : given;
}
