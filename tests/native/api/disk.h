/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder with one file, disk.img, that a thread of the test serves by FUSE, so that it can answer what is
 * read and written as it likes: with an error, in part, or never. Needs root.
 */
#ifndef FORKD_TESTS_API_DISK_H
#define FORKD_TESTS_API_DISK_H

#include "harness.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/uio.h>

#define SERVED_SIZE (1u << 20)
#define SERVED_NODE 2u
#define SERVED_MOST (1u << 17) /* bytes of one write */

enum served_mode { SERVED_WELL, SERVED_IN_PART, SERVED_NEVER };

struct served_disk {
    struct folder folder;
    char path[128];
    int fuse;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum served_mode mode;
    int error;  /* what reads and writes fail with; 0: not */
    bool asked; /* while nobody answers */
    bool end;
    uint8_t content[SERVED_SIZE];
};

static inline void served_answer(const struct served_disk *disk, const struct fuse_in_header *to, int error,
                                 const void *data, size_t length)
{
    struct fuse_out_header header = {
        .len = (uint32_t)(sizeof header + length), .error = -error, .unique = to->unique};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)(uintptr_t)data, length}};
    (void)!writev(disk->fuse, parts, 2); /* who asked may be gone */
}

static inline struct fuse_attr served_attributes(uint64_t node)
{
    return (struct fuse_attr){.ino = node,
                              .size = node == SERVED_NODE ? SERVED_SIZE : 0,
                              .mode = node == SERVED_NODE ? S_IFREG | 0666 : S_IFDIR | 0755,
                              .nlink = 1,
                              .blksize = 4096};
}

static inline void served_transfer(struct served_disk *disk, const struct fuse_in_header *header,
                                   const uint8_t *body)
{
    struct fuse_read_in read_in; /* the beginning of fuse_write_in is the same */
    memcpy(&read_in, body, sizeof read_in);
    uint32_t size = read_in.offset + read_in.size > SERVED_SIZE ? 0 : read_in.size;
    pthread_mutex_lock(&disk->lock);
    int error = disk->error;
    bool in_part = disk->mode == SERVED_IN_PART;
    pthread_mutex_unlock(&disk->lock);
    if (in_part)
        size = (size + 1) / 2;
    if (error != 0) {
        served_answer(disk, header, error, NULL, 0);
    } else if (header->opcode == FUSE_READ) {
        served_answer(disk, header, 0, disk->content + read_in.offset, size);
    } else {
        memcpy(disk->content + read_in.offset, body + sizeof(struct fuse_write_in), size);
        struct fuse_write_out out = {.size = size};
        served_answer(disk, header, 0, &out, sizeof out);
    }
}

static inline void served_request(struct served_disk *disk, const struct fuse_in_header *header,
                                  const uint8_t *body)
{
    struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION,
                                 .minor = FUSE_KERNEL_MINOR_VERSION,
                                 .max_readahead = 0,
                                 .max_write = SERVED_MOST};
    struct fuse_entry_out entry = {.nodeid = SERVED_NODE, .attr = served_attributes(SERVED_NODE)};
    struct fuse_attr_out attributes = {.attr = served_attributes(header->nodeid)};
    struct fuse_open_out opened = {.open_flags = FOPEN_DIRECT_IO};
    switch (header->opcode) {
    case FUSE_INIT:
        served_answer(disk, header, 0, &init, sizeof init);
        break;
    case FUSE_LOOKUP:
        if (strcmp((const char *)body, "disk.img") == 0)
            served_answer(disk, header, 0, &entry, sizeof entry);
        else
            served_answer(disk, header, ENOENT, NULL, 0);
        break;
    case FUSE_GETATTR:
        served_answer(disk, header, 0, &attributes, sizeof attributes);
        break;
    case FUSE_OPEN:
        served_answer(disk, header, 0, &opened, sizeof opened);
        break;
    case FUSE_READ:
    case FUSE_WRITE:
        served_transfer(disk, header, body);
        break;
    case FUSE_FSYNC:
    case FUSE_RELEASE:
        served_answer(disk, header, 0, NULL, 0);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    default: /* FUSE_FLUSH among them: the end of a process waits for that without end */
        served_answer(disk, header, ENOSYS, NULL, 0);
    }
}

/* What nobody has read is not begun: who asked can be killed, as with a disk that is stuck for good he could
 * not.
 */
static inline bool served_await_request(struct served_disk *disk)
{
    struct pollfd polled = {.fd = disk->fuse, .events = POLLIN};
    bool there = poll(&polled, 1, 10) > 0;
    pthread_mutex_lock(&disk->lock);
    while (there && disk->mode == SERVED_NEVER) {
        disk->asked = true;
        pthread_cond_wait(&disk->changed, &disk->lock);
    }
    bool go_on = !disk->end;
    pthread_mutex_unlock(&disk->lock);
    return go_on;
}

static inline void *served_thread(void *argument)
{
    struct served_disk *disk = argument;
    static uint8_t buffer[SERVED_MOST + 4096] __attribute__((aligned(8)));
    while (served_await_request(disk)) {
        struct fuse_in_header header;
        ssize_t length = read(disk->fuse, buffer, sizeof buffer); /* does not block */
        if (length < (ssize_t)sizeof header)
            continue;
        memcpy(&header, buffer, sizeof header);
        served_request(disk, &header, buffer + sizeof header);
    }
    return NULL;
}

static inline struct served_disk *served_start(void)
{
    struct served_disk *disk = calloc(1, sizeof *disk);
    char options[128];
    assert_non_null(disk);
    disk->folder = folder_make();
    folder_file(&disk->folder, "disk.img", disk->path, sizeof disk->path);
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->changed, NULL);
    disk->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    assert_true(disk->fuse >= 0);
    /* allow_other: the monitor is another user. */
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", disk->fuse);
    assert_int_equal(mount("forkd-test", disk->folder.path, "fuse", MS_NOSUID | MS_NODEV, options), 0);
    assert_int_equal(pthread_create(&disk->thread, NULL, served_thread, disk), 0);
    return disk;
}

/* How it answers from now on. */
static inline void served_set(struct served_disk *disk, enum served_mode mode, int error)
{
    pthread_mutex_lock(&disk->lock);
    disk->mode = mode;
    disk->error = error;
    disk->asked = false;
    pthread_cond_signal(&disk->changed);
    pthread_mutex_unlock(&disk->lock);
}

/* Until there is a request that nobody answers. */
static inline void served_await_asked(struct served_disk *disk)
{
    bool asked = false;
    for (int i = 0; i < 2000 && !asked; i++) {
        usleep(10000);
        pthread_mutex_lock(&disk->lock);
        asked = disk->asked;
        pthread_mutex_unlock(&disk->lock);
    }
    if (!asked)
        fail_msg("nothing was asked of the disk");
}

static inline void served_end(struct served_disk *disk)
{
    assert_int_equal(umount2(disk->folder.path, MNT_DETACH), 0);
    pthread_mutex_lock(&disk->lock);
    disk->end = true;
    pthread_mutex_unlock(&disk->lock);
    served_set(disk, SERVED_WELL, 0);
    pthread_join(disk->thread, NULL);
    close(disk->fuse);
    folder_remove(&disk->folder);
    free(disk);
}

#endif
