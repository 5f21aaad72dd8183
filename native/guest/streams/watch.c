/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify(7) watches a directory, not what is below it. So each directory has a watch of its own, and a new
 * one is read when its watch is there: what was made in it before that is told as if it were made now, and
 * what is made meanwhile may be told twice, but nothing is missed.
 */
#include "streams/watch.h"

#include "streams/entry.h"
#include "streams/frame.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHANGES                                                                                              \
    (IN_CREATE | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF |     \
     IN_MOVE_SELF | IN_EXCL_UNLINK)

/* Our bound on what a tree costs us; the kernel has one of its own (max_user_watches). */
#define WATCHES_MAX ((size_t)65536)

/* How long the second half of a move may take to come. */
#define MOVE_MS 20

struct watch {
    int number; /* inotify's, which only grows */
    char *path; /* NULL: no longer watched */
};

struct watcher {
    int fd;
    bool recursive;
    int root; /* its watch; -1: it is gone */
    const char *root_path;
    struct writer *writer;
    struct watch *watches; /* by number */
    size_t count;
    size_t capacity;
    bool lost; /* since it was told last */
    /* The first half of a move. */
    char *moved;
    uint32_t cookie;
    bool moved_folder;
};

/* --- What is told --- */

static void tell(struct watcher *watcher, const char *change, const char *path, const char *to)
{
    size_t lengths = strlen(path) + (to ? strlen(to) : 0);
    size_t begun = frame_begin(watcher->writer, FRAME_EVENT, lengths * 7 + lengths / 2 + 128);
    writer_format(watcher->writer, "{\"change\":\"%s\",", change);
    entry_write_name("path", path, watcher->writer);
    if (to) {
        writer_text(watcher->writer, ",");
        entry_write_name("to", to, watcher->writer);
    }
    writer_text(watcher->writer, "}");
    frame_finish(watcher->writer, begun);
}

static void tell_lost(struct watcher *watcher)
{
    size_t begun = frame_begin(watcher->writer, FRAME_EVENT, 32);
    writer_text(watcher->writer, "{\"change\":\"lost\"}");
    frame_finish(watcher->writer, begun);
    watcher->lost = false;
}

/* To be freed; NULL when it would be too long, or there is no memory: then something is lost. */
static char *join(struct watcher *watcher, const char *folder, const char *name)
{
    size_t length = strlen(folder);
    bool slash = length > 0 && folder[length - 1] == '/';
    char *path = NULL;
    if (length + strlen(name) + 1 > ORDER_PATH_MAX ||
        asprintf(&path, "%s%s%s", folder, slash ? "" : "/", name) < 0) {
        watcher->lost = true;
        return NULL;
    }
    return path;
}

/* --- What is watched --- */

static struct watch *find(const struct watcher *watcher, int number)
{
    size_t low = 0;
    size_t high = watcher->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (watcher->watches[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < watcher->count && watcher->watches[low].number == number;
    return found && watcher->watches[low].path ? &watcher->watches[low] : NULL;
}

static void compact(struct watcher *watcher)
{
    size_t kept = 0;
    for (size_t i = 0; i < watcher->count; i++)
        if (watcher->watches[i].path)
            watcher->watches[kept++] = watcher->watches[i];
    watcher->count = kept;
}

static int make_room(struct watcher *watcher)
{
    if (watcher->count < watcher->capacity)
        return 0;
    compact(watcher);
    if (watcher->count <= watcher->capacity / 2 && watcher->capacity > 0)
        return 0;
    if (watcher->count >= WATCHES_MAX)
        return -ENOSPC;
    size_t capacity = watcher->capacity ? watcher->capacity * 2 : 64;
    struct watch *grown = realloc(watcher->watches, capacity * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    watcher->watches = grown;
    watcher->capacity = capacity;
    return 0;
}

static void forget(struct watch *watch)
{
    free(watch->path);
    watch->path = NULL;
}

/* The number of the watch, or a negative errno. */
static int add(struct watcher *watcher, const char *path, uint32_t flags)
{
    int status = make_room(watcher);
    if (status < 0)
        return status;
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    int number = inotify_add_watch(watcher->fd, path, CHANGES | flags);
    if (number < 0) {
        status = -errno;
        free(copy);
        return status;
    }
    /* A directory that is watched already has another name now. */
    struct watch *known = find(watcher, number);
    if (known) {
        free(known->path);
        known->path = copy;
    } else {
        watcher->watches[watcher->count++] = (struct watch){number, copy};
    }
    return number;
}

/* Whether `path` is `folder` or below it. */
static bool is_below(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

static void unwatch_below(struct watcher *watcher, const char *folder)
{
    for (size_t i = 0; i < watcher->count; i++) {
        struct watch *watch = &watcher->watches[i];
        if (!watch->path || !is_below(watch->path, folder))
            continue;
        inotify_rm_watch(watcher->fd, watch->number);
        forget(watch);
    }
}

static void rename_below(struct watcher *watcher, const char *from, const char *to)
{
    for (size_t i = 0; i < watcher->count; i++) {
        struct watch *watch = &watcher->watches[i];
        if (!watch->path || !is_below(watch->path, from))
            continue;
        char *path = NULL;
        const char *rest = watch->path + strlen(from);
        if (strlen(to) + strlen(rest) > ORDER_PATH_MAX || asprintf(&path, "%s%s", to, rest) < 0) {
            inotify_rm_watch(watcher->fd, watch->number);
            path = NULL;
            watcher->lost = true;
        }
        free(watch->path);
        watch->path = path;
    }
}

/* --- Trees --- */

/* Directories that are still to be read. */
struct pending {
    char **paths;
    size_t count;
    size_t capacity;
};

static bool push(struct pending *pending, char *path)
{
    if (pending->count == pending->capacity) {
        size_t capacity = pending->capacity ? pending->capacity * 2 : 16;
        char **grown = realloc(pending->paths, capacity * sizeof *grown);
        if (!grown) {
            free(path);
            return false;
        }
        pending->paths = grown;
        pending->capacity = capacity;
    }
    pending->paths[pending->count++] = path;
    return true;
}

static bool is_folder(int parent, const struct dirent *found)
{
    struct stat is;
    if (found->d_type != DT_UNKNOWN)
        return found->d_type == DT_DIR;
    return fstatat(parent, found->d_name, &is, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(is.st_mode);
}

/* What is in a directory: told when that is wanted, and its directories are put to the others. */
static void read_folder(struct watcher *watcher, const char *path, bool told, struct pending *pending)
{
    int link = path == watcher->root_path ? 0 : O_NOFOLLOW;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC | link);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) {
        watcher->lost = watcher->lost || errno != ENOENT;
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *found = readdir(folder); found; found = readdir(folder)) {
        if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0)
            continue;
        bool below = is_folder(dirfd(folder), found);
        char *child = told || below ? join(watcher, path, found->d_name) : NULL;
        if (!child)
            continue;
        if (told)
            tell(watcher, "create", child, NULL);
        if (!below)
            free(child);
        else if (!push(pending, child))
            watcher->lost = true;
    }
    closedir(folder);
}

/* One that has gone meanwhile is none. */
static void add_folder(struct watcher *watcher, const char *path, bool told, struct pending *pending)
{
    uint32_t link = path == watcher->root_path ? 0 : IN_DONT_FOLLOW;
    int number = add(watcher, path, IN_ONLYDIR | link);
    if (number >= 0)
        read_folder(watcher, path, told, pending);
    else if (number != -ENOENT && number != -ENOTDIR)
        watcher->lost = true;
}

static void add_tree(struct watcher *watcher, const char *path, bool told)
{
    struct pending pending = {0};
    add_folder(watcher, path, told, &pending);
    while (pending.count > 0) {
        char *next = pending.paths[--pending.count];
        add_folder(watcher, next, told, &pending);
        free(next);
    }
    free(pending.paths);
}

/* --- Events --- */

/* Its second half has not come: it went where nobody watches. */
static void end_move(struct watcher *watcher)
{
    if (!watcher->moved)
        return;
    tell(watcher, "remove", watcher->moved, NULL);
    if (watcher->moved_folder)
        unwatch_below(watcher, watcher->moved);
    free(watcher->moved);
    watcher->moved = NULL;
}

static void handle_arrival(struct watcher *watcher, const struct inotify_event *event, const char *path)
{
    bool folder = event->mask & IN_ISDIR;
    if (event->mask & IN_MOVED_TO && watcher->moved && watcher->cookie == event->cookie) {
        tell(watcher, "move", watcher->moved, path);
        if (folder)
            rename_below(watcher, watcher->moved, path);
        free(watcher->moved);
        watcher->moved = NULL;
        return;
    }
    end_move(watcher);
    tell(watcher, "create", path, NULL);
    if (folder && watcher->recursive)
        add_tree(watcher, path, true);
}

static void handle_root(struct watcher *watcher, const struct inotify_event *event)
{
    if (!(event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)))
        return;
    tell(watcher, "remove", watcher->root_path, NULL);
    for (size_t i = 0; i < watcher->count; i++) {
        if (watcher->watches[i].path)
            inotify_rm_watch(watcher->fd, watcher->watches[i].number);
        forget(&watcher->watches[i]);
    }
    watcher->root = -1;
}

/* All that can be known again; what happened meanwhile the host has to look at. */
static void start_over(struct watcher *watcher)
{
    end_move(watcher);
    tell_lost(watcher);
    if (watcher->recursive && watcher->root >= 0)
        add_tree(watcher, watcher->root_path, false);
}

static void handle(struct watcher *watcher, const struct inotify_event *event)
{
    if (event->mask & IN_Q_OVERFLOW) {
        start_over(watcher);
        return;
    }
    struct watch *watch = find(watcher, event->wd);
    if (!watch)
        return;
    if (event->mask & IN_IGNORED) {
        forget(watch);
        return;
    }
    if (!(event->mask & IN_MOVED_TO))
        end_move(watcher);
    bool own = event->len == 0; /* the watched file itself; of a directory its parent tells */
    if (own && event->wd == watcher->root)
        handle_root(watcher, event);
    watch = find(watcher, event->wd);
    if (!watch || (own && event->wd != watcher->root))
        return;
    char *path = own ? strdup(watch->path) : join(watcher, watch->path, event->name);
    if (!path)
        return;
    if (event->mask & (IN_CREATE | IN_MOVED_TO)) {
        handle_arrival(watcher, event, path);
    } else if (event->mask & IN_MOVED_FROM) {
        watcher->moved = path;
        watcher->cookie = event->cookie;
        watcher->moved_folder = event->mask & IN_ISDIR;
        return;
    } else if (event->mask & IN_DELETE) {
        tell(watcher, "remove", path, NULL);
    } else if (event->mask & IN_CLOSE_WRITE) {
        tell(watcher, "write", path, NULL);
    } else if (event->mask & IN_ATTRIB) {
        tell(watcher, "attributes", path, NULL);
    }
    free(path);
}

/* False when there is nothing any more. */
static bool read_events(struct watcher *watcher)
{
    _Alignas(struct inotify_event) char events[16384];
    ssize_t length = read(watcher->fd, events, sizeof events);
    for (ssize_t at = 0; at < length;) {
        const struct inotify_event *event = (const struct inotify_event *)(events + at);
        handle(watcher, event);
        at += (ssize_t)(sizeof *event + event->len);
    }
    return length > 0;
}

/* Until the host closes, or says what it has no business to say. */
static void serve(struct watcher *watcher, int host)
{
    struct pollfd polled[2] = {{.fd = watcher->fd, .events = POLLIN}, {.fd = host, .events = POLLIN}};
    while (writer_flush(watcher->writer) == 0 && polled[1].revents == 0) {
        int ready = poll(polled, 2, watcher->moved ? MOVE_MS : -1);
        if (ready < 0)
            continue;
        if (ready == 0)
            end_move(watcher);
        if (polled[0].revents && !read_events(watcher))
            return;
        if (watcher->lost)
            tell_lost(watcher);
    }
}

static int begin(struct watcher *watcher, const struct order *order)
{
    if (watcher->fd < 0)
        return -errno;
    watcher->root = add(watcher, order->path, 0);
    if (watcher->root < 0)
        return watcher->root;
    struct stat is;
    if (watcher->recursive && stat(order->path, &is) == 0 && S_ISDIR(is.st_mode))
        add_tree(watcher, order->path, false);
    return 0;
}

int watch_serve(struct stream *stream, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    struct watcher watcher = {
        .fd = inotify_init1(IN_CLOEXEC),
        .recursive = order->recursive,
        .root_path = order->path,
        .writer = stream->writer,
    };
    int status = begin(&watcher, order);
    if (status == 0) {
        stream_accept(stream->writer);
        if (watcher.lost)
            tell_lost(&watcher);
        serve(&watcher, stream->fd);
    }
    for (size_t i = 0; i < watcher.count; i++)
        free(watcher.watches[i].path);
    free(watcher.watches);
    free(watcher.moved);
    if (watcher.fd >= 0)
        close(watcher.fd);
    return status < 0 ? stream_error(err, status, "watch", order->path) : 0;
}
