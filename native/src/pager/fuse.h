/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system of the files of a struct content, called 0, 1, ... in its root, read-only: the kernel's FUSE
 * protocol (linux/fuse.h, Documentation/filesystems/fuse), of which it speaks as much as files that are read
 * and mapped take. It is mounted nowhere: who is to have a file gets a descriptor of it.
 */
#ifndef FORKD_PAGER_FUSE_H
#define FORKD_PAGER_FUSE_H

#include "pager/content.h"

#include <pthread.h>

#define FUSE_MAX_AWAITED 4096u

/* A read that waits for a piece. */
struct fuse_awaited {
    uint64_t unique; /* the kernel's number of the request */
    uint64_t offset;
    uint32_t file;
    uint32_t length;
};

struct fuse {
    struct content *content;
    pthread_mutex_t lock; /* over the content and what is awaited */
    struct fuse_awaited awaited[FUSE_MAX_AWAITED];
    uint32_t awaited_count;
    int device; /* /dev/fuse */
    int mount;  /* the root folder */
};

/* Make the file system. Where the user is not root it is in a user namespace of its own, so that the process
 * must have one thread. Errors: -ENOENT, -EACCES /dev/fuse cannot be used; -EPERM neither is the user root
 * nor has the host user namespaces. */
int fuse_open(struct fuse *fuse, struct content *content, struct forkd_error *err);

/* Answers the kernel's requests, on any number of threads, until nobody has any of the files. */
void fuse_serve(struct fuse *fuse);

/* Something has come, or will never come: those that waited for it are answered. With the lock held. */
void fuse_wake(struct fuse *fuse);

#endif
