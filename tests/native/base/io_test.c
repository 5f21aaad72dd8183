/* SPDX-License-Identifier: Apache-2.0 */
/* Complete reads and writes, the zero test, and CRC-32C. */
#include "base/crc32c.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static int make_file(uint64_t size)
{
    int fd = memfd_create("io-test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static void crc32c_of_known_strings(void **state)
{
    (void)state;
    const uint8_t zeroes[32] = {0};
    /* RFC 3720, B.4, and the check value of the polynomial. */
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, zeroes, sizeof zeroes), 0x8a9136aa);
    assert_int_equal(crc32c(0, "", 0), 0);
}

static void crc32c_is_the_same_with_and_without_the_instruction(void **state)
{
    (void)state;
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 3));
    for (size_t length = 0; length + 9 < sizeof bytes; length++) {
        size_t start = length % 9; /* aligned and not */
        assert_int_equal(crc32c(5, bytes + start, length), crc32c_portable(5, bytes + start, length));
    }
}

static void crc32c_goes_on_where_it_stopped(void **state)
{
    (void)state;
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void zero_test_sees_every_byte(void **state)
{
    (void)state;
    uint8_t bytes[4096] = {0};
    assert_true(io_is_zero(bytes, sizeof bytes));
    assert_true(io_is_zero(bytes + 1, 77));
    assert_true(io_is_zero(bytes, 0));
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = 0x80;
        assert_false(io_is_zero(bytes, sizeof bytes));
        assert_false(io_is_zero(bytes + i, 1));
        bytes[i] = 0;
    }
}

static void end_of_file_is_enodata(void **state)
{
    (void)state;
    char bytes[16];
    int fd = make_file(10);
    struct iovec iov[] = {{.iov_base = bytes, .iov_len = 4}, {.iov_base = bytes + 4, .iov_len = 8}};
    assert_int_equal(io_pread(fd, bytes, 10, 0), 0);
    assert_int_equal(io_pread(fd, bytes, 11, 0), -ENODATA);
    assert_int_equal(io_preadv(fd, iov, 2, 0), -ENODATA);
    close(fd);
}

/* More elements than the kernel takes at once, of every length from none. */
static void vectors_longer_than_iov_max_are_transferred(void **state)
{
    (void)state;
    enum { COUNT = 3000, SIZE = COUNT / 5 * 10 };
    static uint8_t out[SIZE];
    static uint8_t in[SIZE];
    static struct iovec iov[COUNT];
    size_t used = 0;
    for (size_t i = 0; i < SIZE; i++)
        out[i] = (uint8_t)(i * 31 >> 2);
    for (size_t i = 0; i < COUNT; used += i % 5, i++)
        iov[i] = (struct iovec){.iov_base = out + used, .iov_len = i % 5};
    assert_int_equal(used, SIZE);
    int fd = make_file(0);
    assert_int_equal(io_pwritev(fd, iov, COUNT, 3), 0);
    used = 0;
    for (size_t i = 0; i < COUNT; used += i % 5, i++)
        iov[i] = (struct iovec){.iov_base = in + used, .iov_len = i % 5};
    assert_int_equal(io_preadv(fd, iov, COUNT, 3), 0);
    assert_memory_equal(in, out, SIZE);
    close(fd);
}

/* A file size limit makes the kernel write a part first, and say why only when asked for the rest. */
static void rest_of_a_short_write_is_tried(void **state)
{
    (void)state;
    uint8_t bytes[300];
    char path[] = "/tmp/forkd-io-test-XXXXXX";
    struct rlimit before;
    uint64_t size = 0;
    memset(bytes, 1, sizeof bytes);
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    struct iovec iov[] = {{.iov_base = bytes, .iov_len = 150}, {.iov_base = bytes + 150, .iov_len = 150}};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit limit = {.rlim_cur = 200, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(io_pwritev(fd, iov, 2, 0), -EFBIG);
    assert_int_equal(io_pwrite(fd, bytes, sizeof bytes, 0), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(io_size(fd, &size), 0);
    assert_int_equal(size, 200);
    close(fd);
}

static void zeroing_keeps_size_and_neighbours(void **state)
{
    (void)state;
    uint8_t bytes[20000];
    uint64_t size = 0;
    memset(bytes, 1, sizeof bytes);
    int fd = make_file(0);
    assert_int_equal(io_pwrite(fd, bytes, sizeof bytes, 0), 0);
    assert_int_equal(io_zero(fd, 100, 15000), 0);
    assert_int_equal(io_pread(fd, bytes, sizeof bytes, 0), 0);
    assert_int_equal(bytes[99], 1);
    assert_true(io_is_zero(bytes + 100, 15000));
    assert_int_equal(bytes[15100], 1);
    assert_int_equal(io_size(fd, &size), 0);
    assert_int_equal(size, sizeof bytes);
    close(fd);
}

static void a_pipe_has_no_size(void **state)
{
    (void)state;
    int fds[2];
    uint64_t size = 0;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(io_size(fds[0], &size), -EINVAL);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_of_known_strings),
        cmocka_unit_test(crc32c_is_the_same_with_and_without_the_instruction),
        cmocka_unit_test(crc32c_goes_on_where_it_stopped),
        cmocka_unit_test(zero_test_sees_every_byte),
        cmocka_unit_test(end_of_file_is_enodata),
        cmocka_unit_test(vectors_longer_than_iov_max_are_transferred),
        cmocka_unit_test(rest_of_a_short_write_is_tried),
        cmocka_unit_test(zeroing_keeps_size_and_neighbours),
        cmocka_unit_test(a_pipe_has_no_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
