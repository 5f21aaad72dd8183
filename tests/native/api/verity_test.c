/* SPDX-License-Identifier: Apache-2.0 */
/* fs-verity by forkd.h, where the file system of this machine has it, and where it has none. */
#include <forkd/forkd.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fsverity.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

/* Of 4096 zeroes: what `fsverity digest` says, which is SHA-256 of the descriptor over the hash of the block.
 */
static const char *const zeroes_digest = "babc284ee4ffe7f449377fbf6692715b43aec7bc39c094a95878904d34bac97e";

/* Beside this test, since /tmp may be no file system of a disk. */
static void make(char *path, size_t size)
{
    char page[4096] = {0};
    snprintf(path, size, "./verity-test.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, page, sizeof page), sizeof page);
    close(fd);
}

/* What the kernel says of a file like those. */
static bool has_verity(void)
{
    char path[64];
    make(path, sizeof path);
    struct fsverity_enable_arg arg = {
        .version = 1, .hash_algorithm = FS_VERITY_HASH_ALG_SHA256, .block_size = 4096};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    bool has = ioctl(fd, FS_IOC_ENABLE_VERITY, &arg) == 0;
    close(fd);
    unlink(path);
    return has;
}

static void a_file_has_it_or_the_file_system_has_none(void **state)
{
    (void)state;
    bool has = has_verity();
    char path[64];
    char digest[FORKD_VERITY_DIGEST_SIZE] = "";
    struct forkd_error err = {0};
    make(path, sizeof path);
    assert_int_equal(forkd_verity_measure(path, digest, &err), -ENODATA);
    assert_int_equal(err.code, -ENODATA);
    if (has) {
        assert_int_equal(forkd_verity_enable(path, &err), 0);
        assert_int_equal(forkd_verity_enable(path, &err), 0);
        assert_int_equal(forkd_verity_measure(path, digest, &err), 0);
        assert_string_equal(digest, zeroes_digest);
        assert_true(open(path, O_WRONLY | O_CLOEXEC) < 0);
    } else {
        assert_int_equal(forkd_verity_enable(path, &err), -EOPNOTSUPP);
        assert_int_equal(err.code, -EOPNOTSUPP);
        assert_string_equal(err.object, path);
        assert_int_equal(forkd_verity_measure(path, digest, &err), -ENODATA);
    }
    print_message("this file system has %s\n", has ? "fs-verity" : "no fs-verity");
    unlink(path);
}

static void a_file_that_is_open_for_writing_is_refused(void **state)
{
    (void)state;
    if (!has_verity()) {
        print_message("not asked: it is refused for all files\n");
        return;
    }
    char path[64];
    struct forkd_error err = {0};
    make(path, sizeof path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(forkd_verity_enable(path, &err), -ETXTBSY);
    close(fd);
    unlink(path);
}

static void a_file_that_is_not_there_is_named(void **state)
{
    (void)state;
    char digest[FORKD_VERITY_DIGEST_SIZE];
    struct forkd_error err = {0};
    assert_int_equal(forkd_verity_enable("/nonexistent/memory.bin", &err), -ENOENT);
    assert_string_equal(err.object, "/nonexistent/memory.bin");
    assert_int_equal(forkd_verity_measure("/nonexistent/memory.bin", digest, &err), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_has_it_or_the_file_system_has_none),
        cmocka_unit_test(a_file_that_is_open_for_writing_is_refused),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
