/* SPDX-License-Identifier: Apache-2.0 */
/* The copy of a folder keeps what programs look at: owners, modes, kinds, contents. */
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

static int remove_entry(const char *path, const struct stat *now, int kind, struct FTW *where)
{
    (void)now;
    (void)kind;
    (void)where;
    return remove(path);
}

static int open_folder(int in, const char *name)
{
    int fd = openat(in, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void write_file(int in, const char *name, size_t size)
{
    char *content = calloc(1, size);
    memset(content, 'x', size);
    int fd = openat(in, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, content, size), size);
    close(fd);
    free(content);
}

static void assert_like(int from, int to, const char *name)
{
    struct stat was;
    struct stat is;
    assert_int_equal(fstatat(from, name, &was, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(fstatat(to, name, &is, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(is.st_mode, was.st_mode);
    assert_int_equal(is.st_uid, was.st_uid);
    assert_int_equal(is.st_gid, was.st_gid);
    assert_int_equal(is.st_mtim.tv_sec, was.st_mtim.tv_sec);
    if (!S_ISDIR(was.st_mode))
        assert_int_equal(is.st_size, was.st_size);
}

static void a_copy_has_everything(void **state)
{
    (void)state;
    if (getuid() != 0)
        fail_msg("run this test as root: it gives files to somebody else");
    char root[] = "/tmp/tree-test-XXXXXX";
    assert_non_null(mkdtemp(root));
    int base = open_folder(AT_FDCWD, root);
    assert_int_equal(mkdirat(base, "from", 0755), 0);
    assert_int_equal(mkdirat(base, "to", 0700), 0);
    int from = open_folder(base, "from");
    int to = open_folder(base, "to");
    /* As database images have it. */
    assert_int_equal(mkdirat(from, "service", 0755), 0);
    write_file(from, "service/large", 100000);
    assert_int_equal(fchmodat(from, "service/large", 04755, 0), 0);
    assert_int_equal(fchownat(from, "service", 999, 999, 0), 0);
    assert_int_equal(fchmodat(from, "service", 02775, 0), 0);
    write_file(from, "empty", 0);
    assert_int_equal(symlinkat("service/large", from, "link"), 0);
    assert_int_equal(fchownat(from, "link", 999, 998, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(mkfifoat(from, "pipe", 0600), 0);
    assert_int_equal(mkdirat(from, "lock", 01777), 0);
    assert_int_equal(fchmodat(from, "lock", 01777, 0), 0);
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(from, "service", old, 0), 0);
    assert_int_equal(fchmod(from, 0711), 0);

    assert_int_equal(tree_copy(from, to), 0);

    static const char *const names[] = {".", "service", "service/large", "empty", "link", "pipe", "lock"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_like(from, to, names[i]);
    /* A second copy meets the first, goes on, and says so. */
    assert_int_equal(tree_copy(from, to), -EEXIST);
    close(from);
    close(to);
    close(base);
    assert_int_equal(nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_has_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
