/* SPDX-License-Identifier: Apache-2.0 */
/* The console's log: a guest may talk for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/io.h"
#include "devices/serial.h"

#include <fcntl.h>
#include <forkd/forkd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    struct virtio_machine machine;
    struct serial serial;
    int fd;
};

static void set_irq(struct virtio_machine *machine, uint32_t gsi, bool level)
{
    (void)machine;
    (void)gsi;
    (void)level;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->machine.set_irq = set_irq;
    fixture->fd = open("/tmp", O_TMPFILE | O_RDWR | O_APPEND, 0600);
    assert_true(fixture->fd >= 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    close(fixture->fd);
    free(fixture);
    return 0;
}

static void start_log(struct fixture *fixture)
{
    serial_init(&fixture->serial, &fixture->machine, 4, fixture->fd);
}

static int64_t size_of(int fd)
{
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    return info.st_size;
}

static void say(struct fixture *fixture, const char *text)
{
    for (; *text != '\0'; text++)
        serial_write(&fixture->serial, 0, (uint8_t)*text);
}

/* Lines "line 0" to "line `count` - 1"; the log is never larger than `most`. */
static void say_lines(struct fixture *fixture, int count, int64_t most)
{
    for (int i = 0; i < count; i++) {
        char line[32];
        snprintf(line, sizeof line, "line %d\n", i);
        say(fixture, line);
        if (size_of(fixture->fd) > most)
            fail_msg("%lld bytes after line %d", (long long)size_of(fixture->fd), i);
    }
}

static char *read_log(const struct fixture *fixture)
{
    int64_t size = size_of(fixture->fd);
    char *text = calloc(1, (size_t)size + 1);
    assert_int_equal(io_pread(fixture->fd, text, (size_t)size, 0), 0);
    return text;
}

static void endless_talk_stays_within_the_limit(void **state)
{
    struct fixture *fixture = *state;
    start_log(fixture);
    say_lines(fixture, 300000, SERIAL_LOG_MOST);
    say(fixture, "Kernel panic\n");
    char *log = read_log(fixture);
    const char *end = "line 299998\nline 299999\nKernel panic\n";
    assert_string_equal(log + strlen(log) - strlen(end), end);
    assert_int_equal(strncmp(log, "[forkd: the log was full; what came before was left out]\nline ", 62), 0);
    /* Half of it at least, without a gap. */
    assert_true(strlen(log) > SERIAL_LOG_MOST / 2 - 256);
    int first = atoi(log + 62);
    const char *at = strstr(log, "line ");
    for (int i = first; i < 300000; i++) {
        char line[32];
        int length = snprintf(line, sizeof line, "line %d\n", i);
        assert_int_equal(strncmp(at, line, (size_t)length), 0);
        at += length;
    }
    assert_string_equal(at, "Kernel panic\n");
    free(log);
}

static void talk_without_newlines_stays_within_the_limit(void **state)
{
    struct fixture *fixture = *state;
    start_log(fixture);
    for (int i = 0; i < 3 << 20; i++)
        serial_write(&fixture->serial, 0, 'x');
    assert_in_range(size_of(fixture->fd), SERIAL_LOG_MOST / 2, SERIAL_LOG_MOST);
}

static void what_the_file_had_before_stays(void **state)
{
    struct fixture *fixture = *state;
    static char before[2 * SERIAL_LOG_MOST];
    memset(before, '#', sizeof before);
    assert_int_equal(write(fixture->fd, before, sizeof before), sizeof before);
    start_log(fixture);
    say_lines(fixture, 300000, sizeof before + SERIAL_LOG_MOST);
    char *log = read_log(fixture);
    assert_memory_equal(log, before, sizeof before);
    assert_int_equal(strncmp(log + sizeof before, "[forkd: ", 8), 0);
    free(log);
}

static void pipe_gets_everything(void **state)
{
    struct fixture *fixture = *state;
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    serial_init(&fixture->serial, &fixture->machine, 4, pair[1]);
    for (int i = 0; i < 40000; i++) {
        char buffer[64];
        say(fixture, "some thirty characters of text\n");
        assert_int_equal(read(pair[0], buffer, sizeof buffer), 31);
    }
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(endless_talk_stays_within_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(talk_without_newlines_stays_within_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_file_had_before_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pipe_gets_everything, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
