/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on files, with the rights that the calling thread has. 0 or a negative errno, with which the
 * stream is refused; what goes wrong after the answer is told in its END.
 */
#ifndef FORKD_GUEST_FILES_H
#define FORKD_GUEST_FILES_H

#include "streams/stream.h"

#include <limits.h>
#include <stdint.h>

int files_stat(struct stream *stream, struct forkd_error *err);
int files_list(struct stream *stream, struct forkd_error *err);
int files_mkdir(struct stream *stream, struct forkd_error *err);
int files_symlink(const struct order *order, struct forkd_error *err);
int files_move(const struct order *order, struct forkd_error *err);
int files_remove(const struct order *order, struct forkd_error *err);

/* transfer.c */
int files_read(struct stream *stream, struct forkd_error *err);
int files_write(struct stream *stream, struct forkd_error *err);

/* The directories above `path` that are missing. 0 or a negative errno. */
int files_make_parents(const char *path);

/* Of an open file; what is ORDER_NONE stays. The owner before the mode, which that would take bits from. */
int files_set_attributes(int fd, int64_t uid, int64_t gid, int mode, int64_t mtime_ms);

/*
 * Opens the directory that the last name of `path` is in, and finds that name, without slashes behind it. A
 * descriptor (O_PATH) or a negative errno.
 */
int files_open_parent(const char *path, char name[NAME_MAX + 1]);

#endif
