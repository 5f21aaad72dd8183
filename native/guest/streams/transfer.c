/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/files.h"

#include "streams/entry.h"
#include "streams/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Frames that are read from a file and sent at once. */
#define BATCH 4

/* As many as Linux follows. */
#define LINKS_MAX 40

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void write_entry(const struct order *order, const struct stat *is, struct writer *writer)
{
    struct owners owners;
    struct entry entry = {.name = entry_name(order->path), .path = order->path, .is = *is};
    owners_init(&owners);
    entry_write(&entry, &owners, writer);
    owners_free(&owners);
}

static int check_type(const struct stat *is)
{
    if (S_ISREG(is->st_mode))
        return 0;
    return S_ISDIR(is->st_mode) ? -EISDIR : -EINVAL;
}

/* --- file-read --- */

/* Looked at before: a device may do something when it is opened. A descriptor or a negative errno. */
static int open_file(const char *path, struct stat *is)
{
    if (stat(path, is) < 0)
        return -errno;
    int status = check_type(is);
    if (status < 0)
        return status;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, is) < 0)
        status = -errno;
    else
        status = check_type(is);
    if (status < 0 && fd >= 0)
        close(fd);
    return status < 0 ? status : fd;
}

static int send_whole(int fd, const unsigned char *data, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return -EPIPE;
        data += sent;
        length -= (size_t)sent;
    }
    return 0;
}

struct batch {
    struct {
        unsigned char header[FRAME_HEADER];
        unsigned char payload[FRAME_MAX];
    } frames[BATCH];
};

/* As many bytes as there are, at most `most`: they are in frames, one behind the other. 0 at the end. */
static ssize_t read_batch(struct batch *batch, int file, int64_t most)
{
    struct iovec parts[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){batch->frames[i].payload, (size_t)lesser(most, FRAME_MAX)};
        most -= (int64_t)parts[i].iov_len;
    }
    ssize_t got;
    do
        got = readv(file, parts, BATCH);
    while (got < 0 && errno == EINTR);
    ssize_t left = got;
    for (int i = 0; left > 0; i++, left -= FRAME_MAX)
        frame_header(batch->frames[i].header, FRAME_OUT, (size_t)lesser(left, FRAME_MAX));
    return got < 0 ? -errno : got;
}

/* How many bytes, or a negative errno: of the file, or -EPIPE. */
static int64_t send_file(struct batch *batch, int file, int to, int64_t most)
{
    int64_t total = 0;
    while (total < most) {
        ssize_t got = read_batch(batch, file, most - total);
        if (got <= 0)
            return got < 0 ? got : total;
        size_t headers = ((size_t)got + FRAME_MAX - 1) / FRAME_MAX * FRAME_HEADER;
        if (send_whole(to, batch->frames[0].header, (size_t)got + headers) < 0)
            return -EPIPE;
        total += got;
    }
    return total;
}

static void read_file(struct stream *stream, int file, struct batch *batch, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    int64_t most = order->length == ORDER_NONE ? INT64_MAX : order->length;
    if (writer_flush(stream->writer) < 0)
        return;
    int64_t total = send_file(batch, file, stream->fd, most);
    if (total < 0) {
        stream_error(err, (int)total, "read", order->path);
        stream_fail(stream->writer, err);
        return;
    }
    size_t begun = frame_begin(stream->writer, FRAME_END, 64);
    writer_format(stream->writer, "{\"bytes\":%lld}", (long long)total);
    frame_finish(stream->writer, begun);
}

int files_read(struct stream *stream, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    struct stat is;
    int fd = open_file(order->path, &is);
    if (fd < 0)
        return stream_error(err, fd, "read", order->path);
    struct batch *batch = malloc(sizeof *batch);
    int status = 0;
    if (!batch)
        status = stream_error(err, ENOMEM, "read", order->path);
    else if (order->offset > 0 && lseek(fd, order->offset, SEEK_SET) < 0)
        status = stream_error(err, errno, "read", order->path);
    if (status == 0) {
        write_entry(order, &is, stream->writer);
        writer_text(stream->writer, "\n");
        read_file(stream, fd, batch, err);
    }
    free(batch);
    close(fd);
    return status;
}

/* --- file-write --- */

/* A file that is written beside its place. */
struct staged {
    int parent; /* a directory */
    int fd;
    bool replaces; /* a file, which was */
    struct stat old;
    char name[NAME_MAX + 1];
    char temporary[32];
    char path[ORDER_PATH_MAX + 1];
};

/* The file that a link leads to, also when it is not there. */
static int follow(char path[ORDER_PATH_MAX + 1])
{
    char target[ORDER_PATH_MAX + 1];
    char joined[2 * ORDER_PATH_MAX + 2];
    for (int i = 0; i <= LINKS_MAX; i++) {
        ssize_t length = readlink(path, target, sizeof target);
        if (length < 0)
            return errno == EINVAL || errno == ENOENT ? 0 : -errno;
        const char *slash = strrchr(path, '/');
        int folder = target[0] == '/' ? 0 : (int)(slash + 1 - path);
        int total = snprintf(joined, sizeof joined, "%.*s%.*s", folder, path, (int)length, target);
        if (total > ORDER_PATH_MAX)
            return -ENAMETOOLONG;
        memcpy(path, joined, (size_t)total + 1);
    }
    return -ELOOP;
}

/* What is there stays until it is replaced; who may not write to it may not do that either. */
static int check_place(struct staged *staged)
{
    if (fstatat(staged->parent, staged->name, &staged->old, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    staged->replaces = true;
    int status = check_type(&staged->old);
    if (status == 0 && syscall(SYS_faccessat2, staged->parent, staged->name, W_OK, AT_EACCESS) < 0)
        status = -errno;
    return status;
}

/* A descriptor or a negative errno. */
static int stage(struct staged *staged)
{
    uint64_t random;
    int status = follow(staged->path);
    if (status < 0)
        return status;
    size_t length = strlen(staged->path);
    staged->parent = files_open_parent(staged->path, staged->name);
    if (staged->parent < 0)
        return staged->parent;
    if (staged->path[length - 1] == '/' || strcmp(staged->name, ".") == 0 || strcmp(staged->name, "..") == 0)
        return -EISDIR;
    status = check_place(staged);
    if (status < 0)
        return status;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return -EIO;
    snprintf(staged->temporary, sizeof staged->temporary, ".forkd-%016llx", (unsigned long long)random);
    int fd =
        openat(staged->parent, staged->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

static int write_whole(int fd, const unsigned char *data, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, data, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        data += written;
        length -= (size_t)written;
    }
    return 0;
}

/* 1: all has come; 0: the host is gone, or broke the protocol; or a negative errno of the file. */
static int receive_file(struct inbox *inbox, int fd)
{
    const unsigned char *data;
    size_t length;
    for (;;) {
        switch (inbox_take(inbox, &data, &length)) {
        case INBOX_PIECE: {
            int status = write_whole(fd, data, length);
            if (status < 0)
                return status;
            break;
        }
        case INBOX_EMPTY:
            if (inbox_fill(inbox, 0) <= 0)
                return 0;
            break;
        case INBOX_OVER:
            return 1;
        default:
            return 0;
        }
    }
}

/* Puts it into its place. */
static int install(struct staged *staged, int fd, const struct order *order, struct stat *is)
{
    int64_t uid = order->uid;
    int64_t gid = order->gid;
    int mode = order->mode;
    if (staged->replaces) {
        uid = uid == ORDER_NONE ? staged->old.st_uid : uid;
        gid = gid == ORDER_NONE ? staged->old.st_gid : gid;
        mode = mode == ORDER_NONE ? (int)(staged->old.st_mode & 07777) : mode;
    }
    int status = files_set_attributes(fd, uid, gid, mode == ORDER_NONE ? 0644 : mode, order->mtime_ms);
    if (status < 0)
        return status;
    if (fstat(fd, is) < 0 || renameat(staged->parent, staged->temporary, staged->parent, staged->name) < 0)
        return -errno;
    staged->temporary[0] = '\0';
    return 0;
}

static void take_file(struct stream *stream, struct staged *staged, struct inbox *inbox,
                      struct forkd_error *err)
{
    const struct order *order = &stream->order;
    struct stat is;
    int status = receive_file(inbox, staged->fd);
    if (status == 0) {
        stream->writer->error = -EPIPE; /* nothing more is said */
        return;
    }
    if (status > 0)
        status = install(staged, staged->fd, order, &is);
    if (status < 0) {
        stream_error(err, status, "write", order->path);
        stream_fail(stream->writer, err);
        return;
    }
    size_t begun = frame_begin(stream->writer, FRAME_END, FRAME_MAX);
    write_entry(order, &is, stream->writer);
    frame_finish(stream->writer, begun);
}

static int write_file(struct stream *stream, struct staged *staged, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    struct inbox inbox;
    int status = order->parents ? files_make_parents(order->path) : 0;
    int fd = status < 0 ? status : stage(staged);
    if (fd < 0)
        return stream_error(err, fd, "write", order->path);
    staged->fd = fd;
    status = inbox_init(&inbox, stream->fd, stream->rest, stream->rest_length);
    if (status < 0)
        return stream_error(err, status, "write", order->path);
    stream_accept(stream->writer);
    if (writer_flush(stream->writer) == 0)
        take_file(stream, staged, &inbox, err);
    inbox_free(&inbox);
    return 0;
}

int files_write(struct stream *stream, struct forkd_error *err)
{
    struct staged *staged = calloc(1, sizeof *staged);
    if (!staged)
        return stream_error(err, ENOMEM, "write", stream->order.path);
    staged->parent = -1;
    staged->fd = -1;
    snprintf(staged->path, sizeof staged->path, "%s", stream->order.path);
    int status = write_file(stream, staged, err);
    if (staged->fd >= 0 && *staged->temporary)
        unlinkat(staged->parent, staged->temporary, 0);
    if (staged->fd >= 0)
        close(staged->fd);
    if (staged->parent >= 0)
        close(staged->parent);
    free(staged);
    return status;
}
