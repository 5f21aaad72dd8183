/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forkd-mkfs and forkd-mktree as whole programs, on descriptions that are right, full, cut, damaged or
 * hostile. What real images become is compared with umoci by the Java tests.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)
#define HEADER 72
#define NO_BLOB UINT32_MAX
#define TIME 1600000000

struct description {
    unsigned char *data;
    size_t length;
};

static char folder[] = "/tmp/mkfs-test-XXXXXX";
static char image[64];
static char answer[4096];

static void put(struct description *to, const void *data, size_t length)
{
    unsigned char *grown = realloc(to->data, to->length + length);
    assert_non_null(grown);
    memcpy(grown + to->length, data, length);
    to->data = grown;
    to->length += length;
}

static void number(struct description *to, uint64_t value, size_t length)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    put(to, bytes, length);
}

static void text(struct description *to, const char *bytes, size_t length)
{
    number(to, length, 4);
    put(to, bytes, length);
}

static void begin(struct description *to, uint64_t bytes)
{
    static const char identity[48] = "0123456789abcdef0123456789abcdefforkd-rootfs";
    *to = (struct description){0};
    put(to, "FORKDFS1", 8);
    number(to, bytes, 8);
    number(to, 8192, 4);
    number(to, 315532800, 4);
    put(to, identity, sizeof identity);
}

static void blob(struct description *to, const void *content, size_t length)
{
    put(to, "B", 1);
    number(to, length, 8);
    put(to, content, length);
}

static void timed_inode(struct description *to, uint32_t index, uint32_t mode, uint32_t links,
                        int64_t seconds, uint32_t nanoseconds)
{
    put(to, "I", 1);
    number(to, index, 4);
    number(to, mode, 4);
    number(to, 1000, 4);
    number(to, 70000, 4);
    number(to, (uint64_t)seconds, 8);
    number(to, nanoseconds, 4);
    number(to, links, 4);
}

static void inode(struct description *to, uint32_t index, uint32_t mode, uint32_t links)
{
    timed_inode(to, index, mode, links, TIME, 500);
}

static void entry(struct description *to, uint32_t index, uint32_t mode, const char *name, size_t length)
{
    number(to, index, 4);
    number(to, mode, 4);
    text(to, name, length);
}

static void end(struct description *to)
{
    put(to, "E", 1);
    number(to, 0, 1);
}

/* /d/f with a second name and an attribute, /d/link, /d/null. */
static void small_tree(struct description *to, uint64_t bytes)
{
    begin(to, bytes);
    blob(to, "dropped", 7);
    blob(to, "content\n", 8);
    put(to, "D", 1);
    number(to, 0, 4);
    inode(to, 0, S_IFDIR | 0755, 3);
    number(to, 0, 4);
    number(to, 1, 4);
    entry(to, 1, S_IFDIR | 0700, "d", 1);
    number(to, 0, 4);
    inode(to, 1, S_IFDIR | 0700, 2);
    number(to, 0, 4);
    number(to, 4, 4);
    entry(to, 2, S_IFREG | 0644, "f", 1);
    entry(to, 2, S_IFREG | 0644, "g", 1);
    entry(to, 3, S_IFLNK | 0777, "link", 4);
    entry(to, 4, S_IFCHR | 0666, "null", 4);
    number(to, 0, 4);
    inode(to, 2, S_IFREG | 0644, 2);
    number(to, 1, 4);
    number(to, 1, 4);
    text(to, "user.word", 9);
    text(to, "value", 5);
    inode(to, 3, S_IFLNK | 0777, 1);
    text(to, "../d/f", 6);
    number(to, 0, 4);
    inode(to, 4, S_IFCHR | 0666, 1);
    number(to, 1, 4);
    number(to, 3, 4);
    number(to, 0, 4);
    end(to);
}

static int wait_for(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Runs a program with the description as its input. Returns its exit status, or minus its signal. */
static int run(const char *program, const unsigned char *data, size_t length)
{
    int input = memfd_create("description", MFD_CLOEXEC);
    int output = memfd_create("answer", MFD_CLOEXEC);
    assert_true(input >= 0 && output >= 0);
    assert_int_equal(write(input, data, length), length);
    lseek(input, 0, SEEK_SET);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(input, STDIN_FILENO);
        dup2(output, STDOUT_FILENO);
        /* With sanitizers: the programs leave it to their end to give memory back. */
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
        execl(program, program, image, NULL);
        _exit(127);
    }
    int status = wait_for(pid);
    ssize_t got = pread(output, answer, sizeof answer - 1, 0);
    answer[got > 0 ? got : 0] = '\0';
    close(input);
    close(output);
    return status;
}

static int shell(const char *command)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, "sh", image, NULL);
        _exit(127);
    }
    return wait_for(pid);
}

static int make_folder(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(image, sizeof image, "%s/made", folder);
    return 0;
}

static int clear(void **state)
{
    (void)state;
    return shell("rm -rf \"$1\" \"${1%/*}/blobs\"");
}

static int remove_folder(void **state)
{
    clear(state);
    return rmdir(folder);
}

static void a_description_becomes_a_clean_file_system(void **state)
{
    (void)state;
    struct description tree;
    small_tree(&tree, 4 * MIB);
    assert_int_equal(run(FORKD_MKFS, tree.data, tree.length), 0);
    assert_memory_equal(answer, "ok ", 3);
    assert_int_equal(shell("e2fsck -fn \"$1\" >/dev/null 2>&1"), 0);
    assert_int_equal(shell("test \"$(debugfs -R 'cat /d/g' \"$1\" 2>/dev/null)\" = content"), 0);
    assert_int_equal(shell("debugfs -R 'ea_get /d/f user.word' \"$1\" 2>/dev/null | grep -q value"), 0);
    free(tree.data);
}

static void a_description_becomes_a_folder(void **state)
{
    (void)state;
    if (getuid() != 0)
        fail_msg("run this test as root: it gives files away");
    struct description tree;
    struct stat first;
    struct stat second;
    char path[96];
    small_tree(&tree, 4 * MIB);
    assert_int_equal(run(FORKD_MKTREE, tree.data, tree.length), 0);
    snprintf(path, sizeof path, "%s/d/f", image);
    assert_int_equal(stat(path, &first), 0);
    snprintf(path, sizeof path, "%s/d/g", image);
    assert_int_equal(stat(path, &second), 0);
    assert_int_equal(first.st_ino, second.st_ino);
    assert_int_equal(first.st_uid, 1000);
    assert_int_equal(first.st_gid, 70000);
    assert_int_equal(first.st_mtim.tv_sec, TIME);
    /* No device: the image's programs will run there, and with a node of the host's disk they would have it.
     */
    assert_int_equal(shell("test \"$(cat \"$1/d/link\")\" = content && test ! -e \"$1/d/null\""), 0);
    free(tree.data);
}

static void a_description_that_is_cut_is_no_file_system(void **state)
{
    (void)state;
    struct description tree;
    small_tree(&tree, 4 * MIB);
    for (size_t length = 0; length < tree.length; length++) {
        assert_int_equal(run(FORKD_MKFS, tree.data, length), 1);
        assert_string_equal(answer, "error the description of the file system ended early\n");
        unlink(image);
    }
    free(tree.data);
}

static void a_damaged_description_gets_an_answer(void **state)
{
    (void)state;
    struct description tree;
    small_tree(&tree, 4 * MIB);
    for (size_t at = 0; at < tree.length; at++) {
        /* The upper half of the size: some file systems take such a file, and laying it out takes long. */
        if (at >= 12 && at < 16)
            continue;
        tree.data[at] ^= 0xff;
        int status = run(FORKD_MKFS, tree.data, tree.length);
        tree.data[at] ^= 0xff;
        if (status != 0 && status != 1)
            fail_msg("byte %zu: status %d, %s", at, status, answer);
        assert_non_null(strchr(answer, '\n'));
        unlink(image);
    }
    free(tree.data);
}

static void what_does_not_fit_is_told_a_size_that_suffices(void **state)
{
    (void)state;
    static unsigned char noise[8 << 20];
    memset(noise, 1, sizeof noise);
    uint64_t bytes = 4 * MIB;
    for (int attempt = 0; attempt < 2; attempt++) {
        struct description tree;
        begin(&tree, bytes);
        blob(&tree, noise, sizeof noise);
        inode(&tree, 0, S_IFDIR | 0755, 2);
        number(&tree, 0, 4);
        number(&tree, 1, 4);
        entry(&tree, 1, S_IFREG | 0644, "f", 1);
        number(&tree, 0, 4);
        inode(&tree, 1, S_IFREG | 0644, 1);
        number(&tree, 0, 4);
        number(&tree, 0, 4);
        end(&tree);
        int status = run(FORKD_MKFS, tree.data, tree.length);
        free(tree.data);
        assert_int_equal(status, attempt == 0 ? 1 : 0);
        if (attempt == 0) {
            assert_memory_equal(answer, "full ", 5);
            bytes = strtoull(answer + 5, NULL, 10);
            assert_in_range(bytes, sizeof noise, 64 * MIB);
            unlink(image);
        } else {
            assert_int_equal(shell("e2fsck -fn \"$1\" >/dev/null 2>&1"), 0);
        }
    }
}

/* The root with one entry. */
static void one_entry(struct description *to, uint32_t index, const char *name, size_t length)
{
    begin(to, 4 * MIB);
    inode(to, 0, S_IFDIR | 0755, 2);
    number(to, 0, 4);
    number(to, 1, 4);
    entry(to, index, S_IFREG | 0644, name, length);
    number(to, 0, 4);
    end(to);
}

static void assert_refused(uint32_t index, const char *name, size_t length, const char *why)
{
    static const char *const programs[] = {FORKD_MKFS, FORKD_MKTREE};
    struct description tree;
    one_entry(&tree, index, name, length);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(run(programs[i], tree.data, tree.length), 1);
        if (!strstr(answer, why))
            assert_string_equal(answer, why);
        assert_int_equal(clear(NULL), 0);
    }
    free(tree.data);
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"", ".", "..", "/", "../made", "a/b"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_refused(1, names[i], strlen(names[i]), "inode 1 its name");
    assert_refused(1, "a\0b", 3, "inode 1 its name");
}

static void numbers_that_are_too_large_are_refused(void **state)
{
    (void)state;
    assert_refused(UINT32_MAX, "f", 1, "error inode 4294967295");
    assert_refused((1u << 24) + 1, "f", 1, "error inode 16777217");
}

/* The root with an empty file. */
static void one_file(struct description *to, uint32_t links, int64_t seconds, uint32_t nanoseconds)
{
    begin(to, 4 * MIB);
    inode(to, 0, S_IFDIR | 0755, 2);
    number(to, 0, 4);
    number(to, 1, 4);
    entry(to, 1, S_IFREG | 0644, "f", 1);
    number(to, 0, 4);
    timed_inode(to, 1, S_IFREG | 0644, links, seconds, nanoseconds);
    number(to, NO_BLOB, 4);
    number(to, 0, 4);
    end(to);
}

static void times_that_ext4_cannot_hold_become_the_nearest(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char
            *raw; /* as debugfs shows it: the seconds, and the extra bits of the epoch and nanoseconds */
    } times[] = {
        {INT64_MIN, "0x80000000:00000000"},
        {-62135596800, "0x80000000:00000000"},
        {-(1ll << 31), "0x80000000:0000001c"},
        {-1, "0xffffffff:0000001c"},
        {0, "0x00000000:0000001c"},
        {15032385535, "0x7fffffff:0000001f"},
        {15032385536, "0x7fffffff:00000003"},
        {99999999999, "0x7fffffff:00000003"},
        {INT64_MAX, "0x7fffffff:00000003"},
    };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char command[128];
        struct description tree;
        one_file(&tree, 1, times[i].seconds, 7);
        assert_int_equal(run(FORKD_MKFS, tree.data, tree.length), 0);
        snprintf(command, sizeof command, "debugfs -R 'stat /f' \"$1\" 2>/dev/null | grep -q 'mtime: %s'",
                 times[i].raw);
        if (shell(command) != 0)
            fail_msg("%lld is not %s", (long long)times[i].seconds, times[i].raw);
        assert_int_equal(shell("e2fsck -fn \"$1\" >/dev/null 2>&1"), 0);
        free(tree.data);
        clear(NULL);
    }
}

static void nanoseconds_of_a_second_or_more_are_refused(void **state)
{
    (void)state;
    struct description tree;
    one_file(&tree, 1, TIME, 1000000000);
    assert_int_equal(run(FORKD_MKFS, tree.data, tree.length), 1);
    assert_string_equal(answer, "inode 1 its time has 1000000000 nanoseconds\n");
    free(tree.data);
}

static void a_file_of_more_names_than_ext4_takes_is_refused(void **state)
{
    (void)state;
    struct description tree;
    one_file(&tree, 65001, TIME, 0);
    assert_int_equal(run(FORKD_MKFS, tree.data, tree.length), 1);
    assert_string_equal(answer, "inode 1 it has 65001 names, and ext4 takes 65000 of one file\n");
    free(tree.data);
}

/* What an image could have done that has taken the program over: see escape/mkfs_hook.c. */
static void whoever_takes_it_over_gets_no_further(void **state)
{
    static const char *const attempts[] = {"open", "create", "socket", "execve",
                                           "kill", "mount",  "mmap",   "mknod"};
    (void)state;
    for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
        setenv("ESCAPE", attempts[i], 1);
        int status = run(FORKD_MKFS_ESCAPE, (const unsigned char *)"", 0);
        bool died = strstr(answer, "seccomp") != NULL && strstr(answer, attempts[i]) != NULL;
        if (status == 0 || (!died && strcmp(answer, "error refused\n") != 0))
            fail_msg("%s: status %d, %s", attempts[i], status, answer);
    }
    unsetenv("ESCAPE");
    assert_int_equal(access("/tmp/forkd-mkfs-escape", F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_description_becomes_a_clean_file_system, clear),
        cmocka_unit_test_teardown(a_description_becomes_a_folder, clear),
        cmocka_unit_test_teardown(a_description_that_is_cut_is_no_file_system, clear),
        cmocka_unit_test_teardown(a_damaged_description_gets_an_answer, clear),
        cmocka_unit_test_teardown(what_does_not_fit_is_told_a_size_that_suffices, clear),
        cmocka_unit_test_teardown(names_that_lead_elsewhere_are_refused, clear),
        cmocka_unit_test_teardown(numbers_that_are_too_large_are_refused, clear),
        cmocka_unit_test_teardown(times_that_ext4_cannot_hold_become_the_nearest, clear),
        cmocka_unit_test_teardown(nanoseconds_of_a_second_or_more_are_refused, clear),
        cmocka_unit_test_teardown(a_file_of_more_names_than_ext4_takes_is_refused, clear),
        cmocka_unit_test_teardown(whoever_takes_it_over_gets_no_further, clear),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
