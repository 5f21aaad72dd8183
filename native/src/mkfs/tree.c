/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same description as volume.c takes, made into a folder: for package managers, which want to run in it.
 * Runs as root, if only of a user namespace; what such a root may not make, a device, is left out there.
 */
#include "mkfs/fail.h"
#include "mkfs/stream.h"
#include "mkfs/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

struct named {
    uint32_t index;
    char *path;
};

struct volume {
    char **paths; /* by index: the first name of each inode */
    uint32_t path_room;

    struct named *pending; /* further names of inodes that are still to come */
    size_t pending_count;
    size_t pending_room;

    struct volume_inode *directories; /* whose times are set when they are filled */
    size_t directory_count;
    size_t directory_room;

    uint32_t blobs;
    const char *blob_folder;
    uint32_t current; /* the directory that is being read */
};

static void *more(void *memory, size_t count, size_t size)
{
    void *grown = realloc(memory, count * size);
    if (!grown)
        fail("out of memory");
    return grown;
}

static void must(int status, const char *what, const char *path)
{
    if (status < 0)
        fail("%s %s: %s", what, path, strerror(errno));
}

/* Names are relative: the program stands in the folder. */
struct volume *volume_create(const char *path, const struct volume_options *options)
{
    (void)options;
    struct volume *v = more(NULL, 1, sizeof *v);
    memset(v, 0, sizeof *v);
    v->blob_folder = "../blobs";
    must(mkdir(path, 0755), "cannot make", path);
    must(chdir(path), "cannot enter", path);
    must(mkdir(v->blob_folder, 0700), "cannot make", v->blob_folder);
    umask(0);
    return v;
}

static void blob_path(const struct volume *v, uint32_t blob, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/%u", v->blob_folder, blob);
}

void volume_add_blob(struct volume *v, uint64_t size)
{
    char path[PATH_MAX];
    blob_path(v, v->blobs++, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(fd, "cannot make", path);
    for (uint64_t done = 0; done < size;) {
        size_t part;
        const void *from = stream_view(size - done < 1u << 20 ? (size_t)(size - done) : 1u << 20, &part);
        ssize_t put = write(fd, from, part);
        if (put < 0 && errno == EINTR)
            continue;
        must(put < 0 ? -1 : 0, "cannot write", path);
        stream_skip((size_t)put);
        done += (uint64_t)put;
    }
    must(close(fd), "cannot write", path);
}

void volume_drop_blob(struct volume *v, uint32_t blob)
{
    char path[PATH_MAX];
    blob_path(v, blob, path);
    must(unlink(path), "cannot remove", path);
}

static const char *path_of(const struct volume *v, uint32_t index)
{
    if (index == 0)
        return ".";
    if (index >= v->path_room || !v->paths[index])
        fail("inode %u has no name", index);
    return v->paths[index];
}

static void describe(const char *path, const struct volume_inode *inode)
{
    struct timespec times[2] = {{inode->mtime, inode->mtime_nsec}, {inode->mtime, inode->mtime_nsec}};
    must(lchown(path, inode->uid, inode->gid), "cannot give away", path);
    if (!S_ISLNK(inode->mode))
        must(chmod(path, inode->mode & 07777), "cannot set the mode of", path);
    must(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), "cannot set the time of", path);
}

static void add_names(struct volume *v, uint32_t index)
{
    size_t kept = 0;
    for (size_t i = 0; i < v->pending_count; i++) {
        if (v->pending[i].index == index) {
            must(link(path_of(v, index), v->pending[i].path), "cannot link", v->pending[i].path);
            free(v->pending[i].path);
        } else {
            v->pending[kept++] = v->pending[i];
        }
    }
    v->pending_count = kept;
}

void volume_file(struct volume *v, const struct volume_inode *inode, uint32_t blob)
{
    const char *path = path_of(v, inode->index);
    if (blob == VOLUME_NO_BLOB) {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        must(fd, "cannot make", path);
        close(fd);
    } else {
        char from[PATH_MAX];
        blob_path(v, blob, from);
        must(rename(from, path), "cannot make", path);
    }
    describe(path, inode);
    add_names(v, inode->index);
}

void volume_symlink(struct volume *v, const struct volume_inode *inode, const char *target, size_t length)
{
    (void)length;
    const char *path = path_of(v, inode->index);
    must(symlink(target, path), "cannot make", path);
    describe(path, inode);
    add_names(v, inode->index);
}

void volume_special(struct volume *v, const struct volume_inode *inode, uint32_t major, uint32_t minor)
{
    const char *path = path_of(v, inode->index);
    if (mknod(path, inode->mode & (S_IFMT | 07777), makedev(major, minor)) < 0) {
        if (errno == EPERM)
            return;
        must(-1, "cannot make", path);
    }
    describe(path, inode);
    add_names(v, inode->index);
}

void volume_begin_directory(struct volume *v, uint32_t index, uint32_t parent)
{
    (void)parent;
    v->current = index;
    if (index != 0)
        must(mkdir(path_of(v, index), 0755), "cannot make", path_of(v, index));
}

void volume_add_entry(struct volume *v, uint32_t index, uint32_t mode, const char *name, size_t length)
{
    (void)mode;
    const char *folder = path_of(v, v->current);
    size_t size = strlen(folder) + length + 2;
    char *path = more(NULL, size, 1);
    snprintf(path, size, "%s/%s", folder, name);
    if (index >= v->path_room) {
        uint32_t room = index + index / 2 + 64;
        v->paths = more(v->paths, room, sizeof *v->paths);
        memset(v->paths + v->path_room, 0, (room - v->path_room) * sizeof *v->paths);
        v->path_room = room;
    }
    if (!v->paths[index]) {
        v->paths[index] = path;
        return;
    }
    struct stat there;
    if (lstat(v->paths[index], &there) == 0) {
        must(link(v->paths[index], path), "cannot link", path);
        free(path);
        return;
    }
    if (v->pending_count == v->pending_room) {
        v->pending_room = v->pending_room ? 2 * v->pending_room : 16;
        v->pending = more(v->pending, v->pending_room, sizeof *v->pending);
    }
    v->pending[v->pending_count++] = (struct named){index, path};
}

void volume_end_directory(struct volume *v, const struct volume_inode *inode)
{
    if (v->directory_count == v->directory_room) {
        v->directory_room = v->directory_room ? 2 * v->directory_room : 256;
        v->directories = more(v->directories, v->directory_room, sizeof *v->directories);
    }
    v->directories[v->directory_count++] = *inode;
}

void volume_xattrs_begin(struct volume *v, uint32_t index)
{
    v->current = index;
}

/* What this root may not set, trusted.* in a user namespace, is left out. */
void volume_xattr(struct volume *v, const char *name, const void *value, size_t length)
{
    const char *path = path_of(v, v->current);
    if (lsetxattr(path, name, value, length, 0) < 0 && errno != EPERM && errno != ENOENT)
        fail("cannot set %s of %s: %s", name, path, strerror(errno));
}

void volume_xattrs_end(struct volume *v)
{
    (void)v;
}

bool volume_finish(struct volume *v, bool sync, uint64_t *used, uint64_t *needed)
{
    (void)sync;
    for (size_t i = v->directory_count; i > 0; i--)
        describe(path_of(v, v->directories[i - 1].index), &v->directories[i - 1]);
    *used = *needed = 0;
    return true;
}
