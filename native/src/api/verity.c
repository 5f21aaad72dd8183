/* SPDX-License-Identifier: Apache-2.0 */
/* fs-verity: the kernel compares each page of a file with a hash of it when it is read from the disk. */
#include "api/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fsverity.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BLOCK_SIZE 4096
#define DIGEST_SIZE 32

/* Digest and head in one, as the kernel wants them. */
union measured {
    struct fsverity_digest head;
    unsigned char bytes[sizeof(struct fsverity_digest) + DIGEST_SIZE];
};

/* Not waiting: a FIFO would have us wait for its other end. */
static int open_file(const char *path, struct forkd_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd < 0 ? error_set(err, errno, "open", path, NULL) : fd;
}

/* Of file systems that do not know it, that know it and are made without, and that have other blocks. */
static bool is_unsupported(int code)
{
    return code == ENOTTY || code == EOPNOTSUPP || code == EINVAL;
}

API int forkd_verity_enable(const char *path, struct forkd_error *err)
{
    int fd = open_file(path, err);
    if (fd < 0)
        return fd;
    struct fsverity_enable_arg arg = {
        .version = 1, .hash_algorithm = FS_VERITY_HASH_ALG_SHA256, .block_size = BLOCK_SIZE};
    int code = ioctl(fd, FS_IOC_ENABLE_VERITY, &arg) < 0 ? errno : 0;
    close(fd);
    if (code == 0 || code == EEXIST)
        return 0;
    return error_set(err, is_unsupported(code) ? EOPNOTSUPP : code, "FS_IOC_ENABLE_VERITY", path,
                     code == ETXTBSY ? "somebody has it open for writing" : NULL);
}

API int forkd_verity_measure(const char *path, char *digest, struct forkd_error *err)
{
    int fd = open_file(path, err);
    if (fd < 0)
        return fd;
    union measured measured = {.head.digest_size = DIGEST_SIZE};
    int code = ioctl(fd, FS_IOC_MEASURE_VERITY, &measured) < 0 ? errno : 0;
    close(fd);
    /* EOVERFLOW: it has a longer one, of another algorithm, by somebody else. */
    if (is_unsupported(code) || code == EOVERFLOW ||
        (code == 0 && (measured.head.digest_algorithm != FS_VERITY_HASH_ALG_SHA256 ||
                       measured.head.digest_size != DIGEST_SIZE)))
        code = ENODATA;
    if (code != 0)
        return error_set(err, code, "FS_IOC_MEASURE_VERITY", path, NULL);
    for (int i = 0; i < DIGEST_SIZE; i++)
        snprintf(digest + 2 * i, 3, "%02x", measured.bytes[sizeof(struct fsverity_digest) + i]);
    return 0;
}
