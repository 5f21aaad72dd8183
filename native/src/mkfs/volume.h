/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ext4 file system in a sparse file, made without mounting anything. First the contents of files are put
 * into it, in any order, and may be dropped again; then come inodes, whose numbers are known beforehand, so
 * that nothing but the list of contents is kept in memory.
 *
 * When the file system is full, writing ends and counting goes on, so that the end can say how much is
 * needed.
 */
#ifndef FORKD_MKFS_VOLUME_H
#define FORKD_MKFS_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VOLUME_NO_BLOB UINT32_MAX

/* The names that ext4 lets a file have. A directory may be named by more; its count then says nothing. */
#define VOLUME_LINKS_MAX 65000u

struct volume_options {
    uint64_t bytes;
    uint32_t bytes_per_inode;
    uint32_t time; /* of the file system; nothing in it is taken from the clock */
    uint8_t uuid[16];
    uint8_t hash_seed[16];
    char label[17];
};

struct volume_inode {
    uint32_t index; /* 0 is the root directory */
    uint32_t mode;  /* with the type */
    uint32_t uid;
    uint32_t gid;
    int64_t mtime;
    uint32_t mtime_nsec;
    uint32_t links;
};

struct volume;

struct volume *volume_create(const char *path, const struct volume_options *options);

/* The next `size` bytes of the stream become blob number 0, 1, 2 and so on. */
void volume_add_blob(struct volume *v, uint64_t size);
void volume_drop_blob(struct volume *v, uint32_t blob);

/* VOLUME_NO_BLOB is an empty file. Each blob belongs to one file at most. */
void volume_file(struct volume *v, const struct volume_inode *inode, uint32_t blob);
void volume_symlink(struct volume *v, const struct volume_inode *inode, const char *target, size_t length);
/* A device, a fifo or a socket; the numbers are 0 for the latter two. */
void volume_special(struct volume *v, const struct volume_inode *inode, uint32_t major, uint32_t minor);

/* Entries of a directory between begin and end; "." and ".." come by themselves. */
void volume_begin_directory(struct volume *v, uint32_t index, uint32_t parent);
void volume_add_entry(struct volume *v, uint32_t index, uint32_t mode, const char *name, size_t length);
void volume_end_directory(struct volume *v, const struct volume_inode *inode);

/* After its inode. Values are as getxattr(2) gives them. */
void volume_xattrs_begin(struct volume *v, uint32_t index);
void volume_xattr(struct volume *v, const char *name, const void *value, size_t length);
void volume_xattrs_end(struct volume *v);

/* Completes the file system, on the disk if `sync`. False when it was full; `needed` is then a size that
 * suffices. */
bool volume_finish(struct volume *v, bool sync, uint64_t *used, uint64_t *needed);

#endif
