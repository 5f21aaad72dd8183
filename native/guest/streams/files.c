/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/files.h"

#include "streams/entry.h"
#include "streams/frame.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of what is removed. A thread's stack is small. */
#define REMOVE_DEPTH_MAX 512

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* --- stat --- */

/* NULL when it is no link, or not one for long enough. */
static const char *read_target(int folder, const char *name, const struct stat *is, char target[PATH_MAX])
{
    ssize_t length = S_ISLNK(is->st_mode) ? readlinkat(folder, name, target, PATH_MAX - 1) : -1;
    if (length < 0)
        return NULL;
    target[length] = '\0';
    return target;
}

int files_stat(struct stream *stream, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    char target[PATH_MAX];
    struct entry entry = {.name = entry_name(order->path), .path = order->path};
    if (fstatat(AT_FDCWD, order->path, &entry.is, order->follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
        return stream_error(err, errno, "look at", order->path);
    entry.target = read_target(AT_FDCWD, order->path, &entry.is, target);
    struct owners owners;
    owners_init(&owners);
    entry_write(&entry, &owners, stream->writer);
    writer_text(stream->writer, "\n");
    owners_free(&owners);
    return 0;
}

/* --- list --- */

struct listing {
    struct writer *writer;
    struct owners owners;
    int depth; /* how far down */
    int error; /* a negative errno: the list is not whole */
    char path[ORDER_PATH_MAX + 1 + NAME_MAX + 1];
    char target[PATH_MAX];
};

/* Only what is in a directory that can be searched can be looked at. A descriptor or a negative errno. */
static int open_folder(int parent, const char *name, int flags)
{
    struct stat is;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC | flags);
    if (fd < 0)
        return -errno;
    if (fstatat(fd, ".", &is, 0) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

static void list_folder(struct listing *listing, int fd, size_t length, int depth);

/* `length` is that of its path. */
static void list_entry(struct listing *listing, int folder, const char *name, size_t length, int depth)
{
    struct entry entry = {.name = name, .path = listing->path};
    int fd = -1;
    if (fstatat(folder, name, &entry.is, AT_SYMLINK_NOFOLLOW) < 0)
        return; /* it has just gone */
    entry.target = read_target(folder, name, &entry.is, listing->target);
    if (S_ISDIR(entry.is.st_mode) && depth < listing->depth) {
        fd = open_folder(folder, name, O_NOFOLLOW);
        entry.error = fd < 0 ? strerror(-fd) : NULL;
    }
    size_t begun = frame_begin(listing->writer, FRAME_EVENT, entry_bound(&entry));
    entry_write(&entry, &listing->owners, listing->writer);
    frame_finish(listing->writer, begun);
    if (fd >= 0)
        list_folder(listing, fd, length, depth + 1);
}

static void list_folder(struct listing *listing, int fd, size_t length, int depth)
{
    DIR *folder = fdopendir(fd);
    if (!folder) {
        listing->error = -errno;
        close(fd);
        return;
    }
    while (!listing->error && !listing->writer->error) {
        errno = 0;
        const struct dirent *found = readdir(folder);
        if (!found && errno)
            listing->error = -errno;
        if (!found)
            break;
        if (is_dots(found->d_name))
            continue;
        size_t total = length + (size_t)sprintf(listing->path + length, "%s%s",
                                                listing->path[length - 1] == '/' ? "" : "/", found->d_name);
        if (total > ORDER_PATH_MAX)
            listing->error = -ENAMETOOLONG;
        else
            list_entry(listing, fd, found->d_name, total, depth);
        listing->path[length] = '\0';
    }
    closedir(folder);
}

int files_list(struct stream *stream, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    int fd = open_folder(AT_FDCWD, order->path, 0);
    if (fd < 0)
        return stream_error(err, fd, "list", order->path);
    struct listing *listing = malloc(sizeof *listing);
    if (!listing) {
        close(fd);
        return stream_error(err, ENOMEM, "list", order->path);
    }
    listing->writer = stream->writer;
    listing->depth = order->depth;
    listing->error = 0;
    owners_init(&listing->owners);
    stream_accept(stream->writer);
    list_folder(listing, fd, (size_t)sprintf(listing->path, "%s", order->path), 1);
    if (listing->error) {
        stream_error(err, listing->error, "list", order->path);
        stream_fail(stream->writer, err);
    } else {
        stream_end(stream->writer);
    }
    owners_free(&listing->owners);
    free(listing);
    return 0;
}

/* --- What is made --- */

int files_make_parents(const char *path)
{
    char part[ORDER_PATH_MAX + 1];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        if (!slash[strspn(slash, "/")])
            break; /* what is before is the last name */
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return -errno;
    }
    return 0;
}

int files_set_attributes(int fd, int64_t uid, int64_t gid, int mode, int64_t mtime_ms)
{
    struct stat is;
    if (fstat(fd, &is) < 0)
        return -errno;
    if ((uid != ORDER_NONE && (uid_t)uid != is.st_uid) || (gid != ORDER_NONE && (gid_t)gid != is.st_gid))
        if (fchown(fd, uid == ORDER_NONE ? (uid_t)-1 : (uid_t)uid,
                   gid == ORDER_NONE ? (gid_t)-1 : (gid_t)gid) < 0)
            return -errno;
    if (mode != ORDER_NONE && fchmod(fd, (mode_t)mode) < 0)
        return -errno;
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = mtime_ms / 1000, .tv_nsec = mtime_ms % 1000 * 1000000},
    };
    return mtime_ms != ORDER_NONE && futimens(fd, times) < 0 ? -errno : 0;
}

static int set_folder_attributes(const struct order *order)
{
    int fd = open(order->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int mode = order->mode == ORDER_NONE ? 0755 : order->mode;
    int status = files_set_attributes(fd, order->uid, order->gid, mode, order->mtime_ms);
    close(fd);
    return status;
}

int files_mkdir(struct stream *stream, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    struct stat is;
    int status = order->parents ? files_make_parents(order->path) : 0;
    bool created = status == 0 && mkdir(order->path, 0700) == 0;
    if (status == 0 && !created)
        status = -errno;
    bool there = status == -EEXIST && order->parents && stat(order->path, &is) == 0 && S_ISDIR(is.st_mode);
    if (created)
        status = set_folder_attributes(order);
    if (status < 0 && !there)
        return stream_error(err, status, "make", order->path);
    writer_format(stream->writer, "{\"created\":%s}\n", created ? "true" : "false");
    return 0;
}

int files_symlink(const struct order *order, struct forkd_error *err)
{
    uid_t uid = order->uid == ORDER_NONE ? (uid_t)-1 : (uid_t)order->uid;
    gid_t gid = order->gid == ORDER_NONE ? (gid_t)-1 : (gid_t)order->gid;
    if (symlink(order->target, order->path) < 0)
        return stream_error(err, errno, "make", order->path);
    bool owned = order->uid != ORDER_NONE || order->gid != ORDER_NONE;
    if (owned && lchown(order->path, uid, gid) < 0)
        return stream_error(err, errno, "change the owner of", order->path);
    return 0;
}

int files_move(const struct order *order, struct forkd_error *err)
{
    return rename(order->source, order->destination) < 0 ? stream_error(err, errno, "move", order->source)
                                                         : 0;
}

/* --- remove --- */

int files_open_parent(const char *path, char name[NAME_MAX + 1])
{
    char parent[ORDER_PATH_MAX + 1];
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    if (end - start > NAME_MAX)
        return -ENAMETOOLONG;
    snprintf(name, NAME_MAX + 1, "%.*s", (int)(end - start), path + start);
    snprintf(parent, sizeof parent, "%.*s", (int)start, path);
    int fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Not into another mount, also one of the same file system (openat2(2)). A descriptor or a negative errno. */
static int open_within(int parent, const char *name)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_NO_XDEV,
    };
    int fd = (int)syscall(SYS_openat2, parent, name, &how, sizeof how);
    if (fd >= 0)
        return fd;
    return errno == EXDEV ? -EBUSY : -errno;
}

static int remove_entry(int parent, const char *name, bool recursive, int depth);

/* 1: something was; 0: there was nothing; or a negative errno. */
static int remove_some(int parent, const char *name, int depth)
{
    int removed = 0;
    int fd = open_within(parent, name);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) {
        int status = fd < 0 ? fd : -errno;
        if (fd >= 0)
            close(fd);
        return status;
    }
    int status = 0;
    for (struct dirent *found = readdir(folder); found && status == 0; found = readdir(folder)) {
        if (is_dots(found->d_name))
            continue;
        status = remove_entry(fd, found->d_name, true, depth + 1);
        removed = 1;
    }
    closedir(folder);
    return status < 0 ? status : removed;
}

/* A directory may have to be read more than once: reading and removing by turns can leave something out. */
static int remove_entry(int parent, const char *name, bool recursive, int depth)
{
    if (unlinkat(parent, name, 0) == 0)
        return 0;
    if (errno != EISDIR)
        return -errno;
    if (depth > REMOVE_DEPTH_MAX)
        return -ELOOP;
    while (unlinkat(parent, name, AT_REMOVEDIR) < 0) {
        if (!recursive || (errno != ENOTEMPTY && errno != EEXIST))
            return -errno;
        int removed = remove_some(parent, name, depth);
        if (removed <= 0)
            return removed < 0 ? removed : -ENOTEMPTY;
    }
    return 0;
}

int files_remove(const struct order *order, struct forkd_error *err)
{
    char name[NAME_MAX + 1];
    int parent = files_open_parent(order->path, name);
    if (parent < 0)
        return stream_error(err, parent, "remove", order->path);
    int status = !*name          ? -EBUSY /* the root */
                 : is_dots(name) ? -EINVAL
                                 : remove_entry(parent, name, order->recursive, 0);
    close(parent);
    return status < 0 ? stream_error(err, status, "remove", order->path) : 0;
}
