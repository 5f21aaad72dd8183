/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IOV_MAX
#define IOV_MAX 1024
#endif

int io_pread(int fd, void *buffer, size_t length, uint64_t offset)
{
    uint8_t *bytes = buffer;
    while (length > 0) {
        ssize_t got = pread(fd, bytes, length, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return -ENODATA;
        bytes += got;
        length -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

int io_pwrite(int fd, const void *buffer, size_t length, uint64_t offset)
{
    const uint8_t *bytes = buffer;
    while (length > 0) {
        ssize_t put = pwrite(fd, bytes, length, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        if (put == 0)
            return -EIO;
        bytes += put;
        length -= (size_t)put;
        offset += (uint64_t)put;
    }
    return 0;
}

/* Drop `bytes` transferred bytes, and empty elements, from the front. */
static void advance(struct iovec **iov, int *count, size_t bytes)
{
    while (*count > 0 && bytes >= (*iov)->iov_len) {
        bytes -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (*count > 0) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + bytes;
        (*iov)->iov_len -= bytes;
    }
}

static int transfer(int fd, struct iovec *iov, int count, uint64_t offset, bool writing)
{
    advance(&iov, &count, 0);
    while (count > 0) {
        int some = count < IOV_MAX ? count : IOV_MAX;
        ssize_t done = writing ? pwritev(fd, iov, some, (off_t)offset) : preadv(fd, iov, some, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        if (done == 0)
            return writing ? -EIO : -ENODATA;
        offset += (uint64_t)done;
        advance(&iov, &count, (size_t)done);
    }
    return 0;
}

int io_preadv(int fd, struct iovec *iov, int count, uint64_t offset)
{
    return transfer(fd, iov, count, offset, false);
}

int io_pwritev(int fd, struct iovec *iov, int count, uint64_t offset)
{
    return transfer(fd, iov, count, offset, true);
}

int io_preadv_at_once(int fd, const struct iovec *iov, int count, uint64_t bytes, uint64_t offset)
{
    if (count > IOV_MAX)
        return -EAGAIN;
    /* Of musl only the newest has it. */
    ssize_t done = syscall(SYS_preadv2, fd, iov, (long)count, (long)offset, 0L, (long)RWF_NOWAIT);
    /* Whatever else may be wrong shows when it is read in full. */
    return done >= 0 && (uint64_t)done == bytes ? 0 : -EAGAIN;
}

int io_sync(int fd)
{
    while (fdatasync(fd) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int io_size(int fd, uint64_t *out)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (S_ISREG(status.st_mode)) {
        *out = (uint64_t)status.st_size;
        return 0;
    }
    if (!S_ISBLK(status.st_mode))
        return -EINVAL;
    return ioctl(fd, BLKGETSIZE64, out) < 0 ? -errno : 0;
}

/* 0; 1: no holes here. */
static int punch(int fd, uint64_t offset, uint64_t length)
{
    while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) < 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV)
            return 1;
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int io_punch(int fd, uint64_t offset, uint64_t length)
{
    int rc = length > 0 ? punch(fd, offset, length) : 0;
    return rc > 0 ? 0 : rc;
}

int io_zero(int fd, uint64_t offset, uint64_t length)
{
    static const uint8_t zeroes[64 * 1024];
    int rc = length > 0 ? punch(fd, offset, length) : 0;
    if (rc <= 0)
        return rc;
    /* Write them out. */
    while (length > 0) {
        size_t some = length < sizeof zeroes ? (size_t)length : sizeof zeroes;
        rc = io_pwrite(fd, zeroes, some, offset);
        if (rc < 0)
            return rc;
        offset += some;
        length -= some;
    }
    return 0;
}

bool io_is_zero(const void *data, size_t length)
{
    const uint8_t *bytes = data;
    /* Eight words at a time, or'ed together, which compilers turn into vector code; memcpy because the data
     * need not be aligned. */
    for (; length >= 64; bytes += 64, length -= 64) {
        uint64_t words[8];
        memcpy(words, bytes, sizeof words);
        if ((words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7]) != 0)
            return false;
    }
    for (; length > 0; bytes++, length--) {
        if (*bytes != 0)
            return false;
    }
    return true;
}

int io_wait(int fd, short events, int64_t deadline_ms)
{
    struct pollfd polled = {.fd = fd, .events = events};
    for (;;) {
        int64_t left = deadline_ms - clock_now_ms();
        int ready = poll(&polled, 1, left < 0 ? 0 : (int)left);
        if (ready > 0)
            return 0;
        if (ready == 0 && left <= 0)
            return -EAGAIN;
        if (ready < 0 && errno != EINTR)
            return -errno;
    }
}
