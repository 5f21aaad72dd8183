/* SPDX-License-Identifier: Apache-2.0 */
#include "pager/fuse.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Of the protocol that is spoken; the kernel speaks that of who has the older one. */
#define MINOR 31u
#define READ_PAGES 256u
#define READ_BYTES (READ_PAGES * 4096u)
#define REQUEST_BYTES (FUSE_MIN_READ_BUFFER + READ_BYTES)

/* Nothing of a file ever changes. */
#define FOREVER_SECONDS (365u * 24 * 3600)

#define NODE(file) ((uint64_t)(file) + FUSE_ROOT_ID + 1)

/* --- answers ----------------------------------------------------------------------------------------------
 */

/* An answer that the kernel does not take any more, since who waited for it has been killed, is no loss. */
static void answer(const struct fuse *fuse, uint64_t unique, int error, const void *data, size_t length)
{
    struct fuse_out_header header = {
        .len = (uint32_t)(sizeof header + length), .error = error, .unique = unique};
    struct iovec iov[] = {{&header, sizeof header}, {(void *)data, length}};
    ssize_t done;
    do {
        done = writev(fuse->device, iov, 2);
    } while (done < 0 && errno == EINTR);
}

static void fail(const struct fuse *fuse, uint64_t unique, int error)
{
    answer(fuse, unique, -error, NULL, 0);
}

static struct fuse_attr attributes(const struct fuse *fuse, uint64_t node)
{
    struct fuse_attr attr = {.ino = node, .nlink = 1, .uid = getuid(), .gid = getgid(), .blksize = 4096};
    if (node == FUSE_ROOT_ID) {
        attr.mode = S_IFDIR | 0500;
        attr.nlink = 2;
        return attr;
    }
    attr.mode = S_IFREG | 0400;
    attr.size = fuse->content->files[node - FUSE_ROOT_ID - 1].size;
    attr.blocks = attr.size / 512;
    return attr;
}

static bool is_file(const struct fuse *fuse, uint64_t node)
{
    return node > FUSE_ROOT_ID && node - FUSE_ROOT_ID - 1 < fuse->content->count;
}

static void init(const struct fuse *fuse, uint64_t unique, const struct fuse_init_in *in)
{
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION,
        .minor = MINOR,
        /* What is read ahead may be a piece that nobody needs and everybody would wait for. */
        .max_readahead = 0,
        .flags = in->flags & (FUSE_ASYNC_READ | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS),
        .max_background = 64,
        .congestion_threshold = 64,
        .max_write = READ_BYTES,
        .max_pages = READ_PAGES,
    };
    answer(fuse, unique, in->major < FUSE_KERNEL_VERSION ? -EPROTO : 0, &out, sizeof out);
}

static void lookup(const struct fuse *fuse, uint64_t unique, const char *name, size_t length)
{
    char *end = NULL;
    unsigned long file = memchr(name, '\0', length) == NULL ? ULONG_MAX : strtoul(name, &end, 10);
    if (file >= fuse->content->count || end == name || *end != '\0') {
        fail(fuse, unique, ENOENT);
        return;
    }
    struct fuse_entry_out out = {.nodeid = NODE(file),
                                 .entry_valid = FOREVER_SECONDS,
                                 .attr_valid = FOREVER_SECONDS,
                                 .attr = attributes(fuse, NODE(file))};
    answer(fuse, unique, 0, &out, sizeof out);
}

static void get_attributes(const struct fuse *fuse, uint64_t unique, uint64_t node)
{
    struct fuse_attr_out out = {.attr_valid = FOREVER_SECONDS, .attr = attributes(fuse, node)};
    answer(fuse, unique, 0, &out, sizeof out);
}

static void open_file(const struct fuse *fuse, uint64_t unique, const struct fuse_open_in *in)
{
    if ((in->flags & O_ACCMODE) != O_RDONLY) {
        fail(fuse, unique, EROFS);
        return;
    }
    struct fuse_open_out out = {.open_flags = FOPEN_KEEP_CACHE};
    answer(fuse, unique, 0, &out, sizeof out);
}

/* --- reading ----------------------------------------------------------------------------------------------
 */

static void give(const struct fuse *fuse, const struct fuse_awaited *read)
{
    uint8_t *buffer = malloc(read->length);
    int rc = buffer == NULL
                 ? -ENOMEM
                 : io_pread(fuse->content->files[read->file].fd, buffer, read->length, read->offset);
    answer(fuse, read->unique, rc, buffer, rc < 0 ? 0 : read->length);
    free(buffer);
}

/* What cannot wait, since too much does already, is refused: whoever asked for it ends, and nobody hangs. */
static void read_file(struct fuse *fuse, uint64_t unique, uint64_t node, const struct fuse_read_in *in)
{
    uint32_t file = (uint32_t)(node - FUSE_ROOT_ID - 1);
    uint64_t size = fuse->content->files[file].size;
    uint64_t left = in->offset < size ? size - in->offset : 0;
    struct fuse_awaited read = {.unique = unique,
                                .offset = in->offset,
                                .file = file,
                                .length = (uint32_t)(in->size < left ? in->size : left)};
    if (read.length == 0 || read.length > READ_BYTES) {
        fail(fuse, unique, read.length == 0 ? 0 : EINVAL);
        return;
    }
    pthread_mutex_lock(&fuse->lock);
    enum content_state state = content_look(fuse->content, file, read.offset, read.length);
    if (state == CONTENT_AWAITED && fuse->awaited_count < FUSE_MAX_AWAITED)
        fuse->awaited[fuse->awaited_count++] = read;
    else if (state == CONTENT_AWAITED)
        state = CONTENT_LOST;
    pthread_mutex_unlock(&fuse->lock);
    if (state == CONTENT_PRESENT)
        give(fuse, &read);
    else if (state == CONTENT_LOST)
        fail(fuse, unique, EIO);
}

static void forget_awaited(struct fuse *fuse, uint32_t index)
{
    fuse->awaited[index] = fuse->awaited[--fuse->awaited_count];
}

void fuse_wake(struct fuse *fuse)
{
    for (uint32_t i = 0; i < fuse->awaited_count;) {
        struct fuse_awaited read = fuse->awaited[i];
        enum content_state state = content_look(fuse->content, read.file, read.offset, read.length);
        if (state == CONTENT_AWAITED) {
            i++;
            continue;
        }
        forget_awaited(fuse, i);
        if (state == CONTENT_PRESENT)
            give(fuse, &read);
        else
            fail(fuse, read.unique, EIO);
    }
}

/* Who waits has been killed, and cannot end before it is answered. What is not noted as awaited yet, another
 * thread is about to: the kernel is to tell it again, which it does unless that has been answered. */
static void interrupt(struct fuse *fuse, uint64_t unique, const struct fuse_interrupt_in *in)
{
    pthread_mutex_lock(&fuse->lock);
    uint32_t i = 0;
    while (i < fuse->awaited_count && fuse->awaited[i].unique != in->unique)
        i++;
    if (i < fuse->awaited_count) {
        forget_awaited(fuse, i);
        fail(fuse, in->unique, EINTR);
    } else {
        fail(fuse, unique, EAGAIN);
    }
    pthread_mutex_unlock(&fuse->lock);
}

/* --- requests ---------------------------------------------------------------------------------------------
 */

static void handle(struct fuse *fuse, const struct fuse_in_header *header, const void *body, size_t length)
{
    uint64_t unique = header->unique;
    switch (header->opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
        return; /* has no answer */
    case FUSE_INTERRUPT:
        if (length >= sizeof(struct fuse_interrupt_in))
            interrupt(fuse, unique, body);
        return;
    case FUSE_INIT:
        if (length >= 16) { /* what is in it since the first version that has flags */
            init(fuse, unique, body);
            return;
        }
        break;
    case FUSE_LOOKUP:
        lookup(fuse, unique, body, length);
        return;
    case FUSE_GETATTR:
        if (header->nodeid == FUSE_ROOT_ID || is_file(fuse, header->nodeid)) {
            get_attributes(fuse, unique, header->nodeid);
            return;
        }
        break;
    case FUSE_OPEN:
        if (is_file(fuse, header->nodeid) && length >= sizeof(struct fuse_open_in)) {
            open_file(fuse, unique, body);
            return;
        }
        break;
    case FUSE_READ:
        if (is_file(fuse, header->nodeid) && length >= sizeof(struct fuse_read_in)) {
            read_file(fuse, unique, header->nodeid, body);
            return;
        }
        break;
    case FUSE_RELEASE:
        fail(fuse, unique, 0);
        return;
    default: /* The kernel does without. */
        break;
    }
    fail(fuse, unique, ENOSYS);
}

void fuse_serve(struct fuse *fuse)
{
    uint8_t *buffer = malloc(REQUEST_BYTES);
    while (buffer != NULL) {
        ssize_t length = read(fuse->device, buffer, REQUEST_BYTES);
        if (length < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
            continue;
        struct fuse_in_header header;
        if (length < (ssize_t)sizeof header)
            break; /* ENODEV: the last one has let go of it */
        memcpy(&header, buffer, sizeof header);
        handle(fuse, &header, buffer + sizeof header, (size_t)length - sizeof header);
    }
    free(buffer);
}

/* --- mounting ---------------------------------------------------------------------------------------------
 */

static int write_file(const char *path, const char *text, struct forkd_error *err)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t length = (ssize_t)strlen(text);
    int code = fd < 0 || write(fd, text, (size_t)length) != length ? errno : 0;
    if (fd >= 0)
        close(fd);
    return code != 0 ? error_set(err, code, "write", path, NULL) : 0;
}

/* In a namespace where he is himself, a user may mount (user_namespaces(7)). */
static int become_able(struct forkd_error *err)
{
    char map[64];
    unsigned user = getuid();
    unsigned group = getgid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return error_set(err, errno, "make", "a user namespace",
                         "to serve files that are not all there takes one, or root");
    int rc = write_file("/proc/self/setgroups", "deny", err);
    snprintf(map, sizeof map, "%u %u 1", user, user);
    if (rc == 0)
        rc = write_file("/proc/self/uid_map", map, err);
    snprintf(map, sizeof map, "%u %u 1", group, group);
    if (rc == 0)
        rc = write_file("/proc/self/gid_map", map, err);
    /* It has become more than it was, for which the kernel takes its descriptors from the sight of its user.
     */
    if (rc == 0 && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        rc = error_set(err, errno, "prctl", "PR_SET_DUMPABLE", NULL);
    return rc;
}

static int option(int context, const char *key, unsigned value)
{
    char text[16];
    snprintf(text, sizeof text, strcmp(key, "rootmode") == 0 ? "%o" : "%u", value);
    return (int)syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, text, 0);
}

static int mount_detached(struct fuse *fuse, bool is_root)
{
    int context = (int)syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC);
    if (context < 0)
        return -errno;
    int rc = 0;
    if (option(context, "fd", (unsigned)fuse->device) < 0 || option(context, "rootmode", S_IFDIR) < 0 ||
        option(context, "user_id", getuid()) < 0 || option(context, "group_id", getgid()) < 0 ||
        /* VMs may be of other users than who starts them. */
        (is_root && syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "allow_other", NULL, 0) < 0) ||
        syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        rc = -errno;
    fuse->mount =
        rc < 0 ? -1
               : (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                              MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (rc == 0 && fuse->mount < 0)
        rc = -errno;
    close(context);
    return rc;
}

int fuse_open(struct fuse *fuse, struct content *content, struct forkd_error *err)
{
    fuse->content = content;
    pthread_mutex_init(&fuse->lock, NULL);
    bool is_root = geteuid() == 0;
    /* Before it is opened: who has it open from elsewhere may not mount it. */
    int rc = is_root ? 0 : become_able(err);
    if (rc < 0)
        return rc;
    fuse->device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse->device < 0)
        return error_set(err, errno, "open", "/dev/fuse", NULL);
    rc = mount_detached(fuse, is_root);
    if (rc == 0)
        return 0;
    close(fuse->device);
    return error_set(err, rc, "mount", "fuse", "to serve files that are not all there");
}
