/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes that are complete or failed: they go on after EINTR and after short transfers. All return
 * 0 or a negative errno; a read that meets the end of the file first returns -ENODATA. None moves the file
 * offset, which processes share after fork(2).
 */
#ifndef FORKD_BASE_IO_H
#define FORKD_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

int io_pread(int fd, void *buffer, size_t length, uint64_t offset);
int io_pwrite(int fd, const void *buffer, size_t length, uint64_t offset);
/* `iov` is used up: the elements are changed while a transfer advances. Any count, IOV_MAX or not. */
int io_preadv(int fd, struct iovec *iov, int count, uint64_t offset);
/* Only what is in the host's memory, all `bytes` of it: -EAGAIN when that is not so, or not to be known. */
int io_preadv_at_once(int fd, const struct iovec *iov, int count, uint64_t bytes, uint64_t offset);
int io_pwritev(int fd, struct iovec *iov, int count, uint64_t offset);

/* Make a file's data, and the size needed to read it, durable. */
int io_sync(int fd);

/* Size in bytes of a regular file or a block device. */
int io_size(int fd, uint64_t *out);

/* Make [offset, offset + length) read as zeroes, freeing its space where the file system can. The range must
 * lie within the file. */
int io_zero(int fd, uint64_t offset, uint64_t length);

/* Give back the space of a range whose content nobody needs; nothing where the file system cannot. */
int io_punch(int fd, uint64_t offset, uint64_t length);

/* Whether `length` bytes are all zero; fast on page-sized input. */
bool io_is_zero(const void *data, size_t length);

/* Until poll(2) tells of the events, or of an end: 0; -EAGAIN when that is not by a time of clock_now_ms. */
int io_wait(int fd, short events, int64_t deadline_ms);

#endif
