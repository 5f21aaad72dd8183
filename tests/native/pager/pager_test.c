/* SPDX-License-Identifier: Apache-2.0 */
/* forkd-pager as a whole program: files that are read and mapped while they are made. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
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

#include <cmocka.h>

#define PIECE 262144u
#define SIZE (4 * PIECE + 5000)
#define CONTROL UINT32_MAX
#define LET_GO 0u
#define COMPLETE 1u

static uint8_t content[SIZE];

struct pager {
    pid_t pid;
    int to;
    int from;
    int file; /* the one that is served */
};

static int run_pager(struct pager *pager, const char *path, uid_t user, char *line, size_t size)
{
    int in[2];
    int out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pager->pid = fork();
    assert_true(pager->pid >= 0);
    if (pager->pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        if (user != 0 && (setgid(user) < 0 || setuid(user) < 0))
            _exit(100);
        execl(FORKD_PAGER, "forkd-pager", "262144", path, NULL);
        _exit(100);
    }
    close(in[0]);
    close(out[1]);
    pager->to = in[1];
    pager->from = out[0];
    size_t length = 0;
    while (length + 1 < size && read(pager->from, line + length, 1) == 1 && line[length] != '\n')
        length++;
    line[length] = '\0';
    return (int)length;
}

static int open_served(const struct pager *pager)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/100", pager->pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static int setup(void **state)
{
    char *path = strdup("/tmp/forkd-pager-test-XXXXXX");
    int fd = mkstemp(path);
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (uint8_t)(i * 2654435761u >> 13);
    assert_int_equal(write(fd, content, SIZE), SIZE);
    assert_int_equal(fchmod(fd, 0644), 0);
    close(fd);
    *state = path;
    return 0;
}

static int teardown(void **state)
{
    unlink(*state);
    free(*state);
    return 0;
}

static void start(struct pager *pager, const char *path)
{
    char line[512];
    run_pager(pager, path, 0, line, sizeof line);
    assert_string_equal(line, "ok 100");
    pager->file = open_served(pager);
    assert_true(pager->file >= 0);
}

static void say(const struct pager *pager, uint32_t file, uint32_t piece)
{
    uint32_t message[] = {file, piece};
    assert_int_equal(write(pager->to, message, sizeof message), sizeof message);
}

static uint32_t wanted(const struct pager *pager)
{
    uint32_t message[2];
    assert_int_equal(read(pager->from, message, sizeof message), sizeof message);
    assert_int_equal(message[0], 0);
    return message[1];
}

/* It ends by itself when nobody has its files. */
static void finish(struct pager *pager)
{
    int status = 0;
    close(pager->to);
    close(pager->file);
    assert_int_equal(waitpid(pager->pid, &status, 0), pager->pid);
    assert_int_equal(status, 0);
    close(pager->from);
}

/* A process that reads a byte by way of a private mapping, as a VM does; its exit status is whether that is
 * right. */
static pid_t reader(const struct pager *pager, size_t offset)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pager->to);
        signal(SIGBUS, SIG_DFL);
        const uint8_t *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, pager->file, 0);
        _exit(memory == MAP_FAILED ? 2 : memory[offset] != content[offset]);
    }
    return pid;
}

static int end_of(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void what_is_there_is_read_and_what_is_not_is_waited_for(void **state)
{
    struct pager pager;
    start(&pager, *state);
    struct stat status;
    assert_int_equal(fstat(pager.file, &status), 0);
    assert_int_equal(status.st_size, SIZE);
    say(&pager, 0, 0);
    say(&pager, CONTROL, LET_GO);
    static uint8_t bytes[PIECE];
    assert_int_equal(pread(pager.file, bytes, PIECE, 0), PIECE);
    assert_memory_equal(bytes, content, PIECE);
    pid_t first = reader(&pager, 3 * PIECE + 17);
    uint32_t asked;
    do {
        asked = wanted(&pager);
    } while (asked == 0); /* it was read before the pager had heard that it is there */
    assert_int_equal(asked, 3);
    pid_t second = reader(&pager, 3 * PIECE + 17); /* is not asked for again */
    pid_t last = reader(&pager, SIZE - 1);
    assert_int_equal(wanted(&pager), 4);
    assert_int_equal(waitpid(first, NULL, WNOHANG), 0);
    say(&pager, 0, 3);
    assert_int_equal(end_of(first), 0);
    assert_int_equal(end_of(second), 0);
    say(&pager, 0, 4);
    assert_int_equal(end_of(last), 0);
    finish(&pager);
}

static void all_is_there_when_that_is_told_and_stays_when_its_maker_is_gone(void **state)
{
    struct pager pager;
    start(&pager, *state);
    pid_t pid = reader(&pager, PIECE);
    assert_int_equal(wanted(&pager), 1);
    say(&pager, CONTROL, COMPLETE);
    assert_int_equal(end_of(pid), 0);
    close(pager.to);
    pager.to = -1;
    assert_int_equal(end_of(reader(&pager, 2 * PIECE)), 0);
    finish(&pager);
}

static void who_waits_ends_with_the_maker_and_sees_nothing_else(void **state)
{
    struct pager pager;
    start(&pager, *state);
    say(&pager, 0, 2);
    pid_t pid = reader(&pager, PIECE);
    assert_int_equal(wanted(&pager), 1);
    close(pager.to);
    pager.to = -1;
    int status = end_of(pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    uint8_t byte;
    assert_int_equal(pread(pager.file, &byte, 1, 0), -1);
    assert_int_equal(errno, EIO);
    assert_int_equal(pread(pager.file, &byte, 1, 2 * PIECE), 1);
    assert_int_equal(byte, content[2 * PIECE]);
    finish(&pager);
}

static void who_is_killed_while_he_waits_ends_at_once(void **state)
{
    struct pager pager;
    start(&pager, *state);
    pid_t pid = reader(&pager, PIECE);
    assert_int_equal(wanted(&pager), 1);
    kill(pid, SIGKILL);
    int status = end_of(pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    pid = reader(&pager, PIECE + 1);
    say(&pager, 0, 1);
    assert_int_equal(end_of(pid), 0);
    finish(&pager);
}

/* The kernel may tell of the kill before the pager has noted who waits. */
static void who_is_killed_as_soon_as_he_asks_ends_at_once(void **state)
{
    struct pager pager;
    start(&pager, *state);
    for (unsigned i = 0; i < 300; i++) {
        pid_t pid = reader(&pager, PIECE + i % 64 * 4096);
        usleep(i * 7919 % 400);
        kill(pid, SIGKILL);
        for (int waited = 0; waitpid(pid, NULL, WNOHANG) == 0; waited++) {
            if (waited == 5000)
                fail_msg("the reader %u does not end", i);
            usleep(1000);
        }
    }
    finish(&pager);
}

static void numbers_of_no_file_and_no_piece_are_nothing(void **state)
{
    struct pager pager;
    start(&pager, *state);
    say(&pager, 1, 0);
    say(&pager, 0, 5);
    say(&pager, UINT32_MAX - 1, UINT32_MAX);
    say(&pager, CONTROL, 7);
    say(&pager, 0, 1);
    assert_int_equal(end_of(reader(&pager, PIECE)), 0);
    finish(&pager);
}

static void nobody_writes(void **state)
{
    struct pager pager;
    start(&pager, *state);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/100", pager.pid);
    assert_int_equal(open(path, O_RDWR), -1);
    assert_int_equal(errno, EROFS);
    finish(&pager);
}

static void file_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    struct pager pager;
    char line[512];
    run_pager(&pager, "/nonexistent", 0, line, sizeof line);
    assert_string_equal(line, "error 2 open /nonexistent: No such file or directory");
    assert_int_equal(WEXITSTATUS(end_of(pager.pid)), 1);
}

/* In a user namespace, where /dev/fuse may be opened. */
static void user_has_it_too(void **state)
{
    struct stat device;
    assert_int_equal(stat("/dev/fuse", &device), 0);
    assert_int_equal(chmod("/dev/fuse", 0666), 0);
    struct pager pager;
    char line[512];
    run_pager(&pager, *state, 65534, line, sizeof line);
    assert_int_equal(chmod("/dev/fuse", device.st_mode & 0777), 0);
    assert_string_equal(line, "ok 100");
    pid_t pid = fork();
    if (pid == 0) {
        close(pager.to);
        if (setgid(65534) < 0 || setuid(65534) < 0)
            _exit(100);
        uint8_t byte;
        int file = open_served(&pager);
        _exit(file < 0 ? 2 : pread(file, &byte, 1, PIECE) != 1 || byte != content[PIECE]);
    }
    assert_int_equal(wanted(&pager), 1);
    say(&pager, 0, 1);
    assert_int_equal(end_of(pid), 0);
    pager.file = -1;
    finish(&pager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there_is_read_and_what_is_not_is_waited_for),
        cmocka_unit_test(all_is_there_when_that_is_told_and_stays_when_its_maker_is_gone),
        cmocka_unit_test(who_waits_ends_with_the_maker_and_sees_nothing_else),
        cmocka_unit_test(who_is_killed_while_he_waits_ends_at_once),
        cmocka_unit_test(who_is_killed_as_soon_as_he_asks_ends_at_once),
        cmocka_unit_test(numbers_of_no_file_and_no_piece_are_nothing),
        cmocka_unit_test(nobody_writes),
        cmocka_unit_test(file_that_is_not_there_is_an_error),
        cmocka_unit_test(user_has_it_too),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
