/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to ports and sockets of the guest; watches; figures. */
#include "frames.h"

#include "clock.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>

#define MIB ((size_t)1 << 20)

static struct served *served;
static char folder[] = "/tmp/streams-ports-XXXXXX";

static int start(void **state)
{
    (void)state;
    served = serve(&(struct agent_options){0});
    return mkdtemp(folder) ? served->status : -1;
}

static int stop(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* --- Ports --- */

/* A stream to a listener of the guest, and its other end. */
static int connected(int listener, const char *line, int *program)
{
    int fd = stream_open(served, line);
    expect_answer(fd, "{}");
    *program = opened(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    return fd;
}

static int connected_to_port(int *listener, int *program)
{
    char line[64];
    snprintf(line, sizeof line, "{\"op\":\"connect\",\"port\":%u}", served_listen(listener));
    return connected(*listener, line, program);
}

static void expect_frame(int fd, unsigned type, const char *data)
{
    struct frame *frame = malloc(sizeof *frame);
    assert_true(frame_receive(fd, frame));
    assert_int_equal(frame->type, type);
    assert_string_equal(frame->data, data);
    free(frame);
}

static void each_direction_ends_for_itself(void **state)
{
    (void)state;
    int listener;
    int program;
    char text[16] = "";
    int fd = connected_to_port(&listener, &program);
    frame_send(fd, FRAME_IN, "to", 2);
    frame_send(fd, FRAME_IN, " it", 3);
    frame_send(fd, FRAME_IN, "", 0);
    assert_true(receive_all(program, text, 5));
    assert_string_equal(text, "to it");
    assert_false(receive_all(program, text, 1));
    send_all(program, "back", 4);
    expect_frame(fd, FRAME_OUT, "back");
    shutdown(program, SHUT_WR);
    expect_frame(fd, FRAME_OUT, "");
    expect_frame(fd, FRAME_END, "{}");
    close(fd);
    close(program);

    fd = connected_to_port(&(int){0}, &program);
    shutdown(program, SHUT_WR); /* the program first */
    expect_frame(fd, FRAME_OUT, "");
    frame_send(fd, FRAME_IN, "late", 4);
    frame_send(fd, FRAME_IN, "", 0);
    assert_true(receive_all(program, text, 4));
    expect_frame(fd, FRAME_END, "{}");
    close(fd);
    close(program);
    close(listener);
}

static void unix_sockets_and_other_addresses(void **state)
{
    (void)state;
    int program;
    char line[256];
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int listener = opened(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    snprintf(name.sun_path, sizeof name.sun_path, "%s/socket", folder);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 1), 0);
    snprintf(line, sizeof line, "{\"op\":\"connect\",\"unix\":\"%s\"}", name.sun_path);
    int fd = connected(listener, line, &program);
    send_all(program, "hello", 5);
    expect_frame(fd, FRAME_OUT, "hello");
    close(fd);
    char byte;
    assert_false(receive_all(program, &byte, 1)); /* closed with the stream */
    close(program);
    snprintf(line, sizeof line, "{\"op\":\"connect\",\"unix\":\"%s\",\"user\":\"4711\"}", name.sun_path);
    assert_int_equal(chmod(folder, 0700), 0);
    refused(served, line, "EACCES");
    close(listener);
    refused(served, "{\"op\":\"connect\",\"unix\":\"/no/socket\"}", "ENOENT");
    refused(served, "{\"op\":\"connect\",\"unix\":\"socket\"}", "EINVAL");
    refused(served, "{\"op\":\"connect\"}", "EINVAL");
    refused(served, "{\"op\":\"connect\",\"port\":0}", "EINVAL");
    refused(served, "{\"op\":\"connect\",\"port\":65536}", "EINVAL");
    refused(served, "{\"op\":\"connect\",\"port\":1}", "ECONNREFUSED");
    refused(served, "{\"op\":\"connect\",\"port\":1,\"host\":\"localhost\"}", "EINVAL");
    snprintf(line, sizeof line, "{\"op\":\"connect\",\"port\":%u,\"host\":\"127.0.0.1\"}",
             served_listen(&listener));
    fd = connected(listener, line, &program);
    close(program);
    close(fd);
    close(listener);

    /* Only IPv6 is listened to. */
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t length = sizeof v6;
    listener = opened(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(bind(listener, (struct sockaddr *)&v6, sizeof v6), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&v6, &length);
    snprintf(line, sizeof line, "{\"op\":\"connect\",\"port\":%u}", ntohs(v6.sin6_port));
    fd = connected(listener, line, &program);
    close(program);
    close(fd);
    close(listener);
}

static void a_reset_is_told_and_a_wrong_frame_closes(void **state)
{
    (void)state;
    int listener;
    int program;
    char byte;
    int fd = connected_to_port(&listener, &program);
    setsockopt(program, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(program);
    struct frame *frame = malloc(sizeof *frame);
    assert_true(frame_receive(fd, frame));
    assert_int_equal(frame->type, FRAME_END);
    assert_non_null(strstr(frame->data, "\"code\":\"ECONNRESET\"}"));
    free(frame);
    close(fd);
    close(listener);
    fd = connected_to_port(&listener, &program);
    frame_send(fd, FRAME_OUT, "x", 1);
    assert_false(receive_all(fd, &byte, 1));
    assert_false(receive_all(program, &byte, 1));
    close(fd);
    close(program);
    close(listener);
}

static void *echo(void *argument)
{
    char *data = malloc(MIB);
    int fd = *(int *)argument;
    for (ssize_t got = recv(fd, data, MIB, 0); got > 0; got = recv(fd, data, MIB, 0))
        send_all(fd, data, (size_t)got);
    shutdown(fd, SHUT_WR);
    free(data);
    return NULL;
}

static void *send_pattern(void *argument)
{
    int fd = *(int *)argument;
    char *data = malloc(FRAME_MAX);
    for (int i = 0; i < 1024; i++) {
        memset(data, i, FRAME_MAX);
        frame_send(fd, FRAME_IN, data, FRAME_MAX);
    }
    frame_send(fd, FRAME_IN, "", 0);
    free(data);
    return NULL;
}

/* 64 MiB, in both directions at once, more than all that is between holds. */
static void much_goes_both_ways(void **state)
{
    (void)state;
    int listener;
    int program;
    int fd = connected_to_port(&listener, &program);
    pthread_t threads[2];
    assert_int_equal(pthread_create(&threads[0], NULL, echo, &program), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, send_pattern, &fd), 0);
    struct frame *frame = malloc(sizeof *frame);
    size_t total = 0;
    while (frame_receive(fd, frame) && frame->type == FRAME_OUT) {
        for (size_t i = 0; i < frame->length; i++)
            assert_int_equal((unsigned char)frame->data[i], (total + i) / FRAME_MAX % 256);
        total += frame->length;
    }
    assert_int_equal(total, 64 * MIB);
    assert_int_equal(frame->type, FRAME_END);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    free(frame);
    close(fd);
    close(program);
    close(listener);
}

/* --- Watches --- */

static void shell(const char *format, ...)
{
    char command[1024];
    int used = snprintf(command, sizeof command, "cd %s && ", folder);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command + used, sizeof command - (size_t)used, format, arguments);
    va_end(arguments);
    assert_int_equal(system(command), 0);
}

static int watching(const char *name, const char *more)
{
    char line[256];
    snprintf(line, sizeof line, "{\"op\":\"watch\",\"path\":\"%s/%s\"%s}", folder, name, more);
    int fd = stream_open(served, line);
    expect_answer(fd, "{}");
    return fd;
}

/* An EVENT, with the test's folder left out. To be freed. */
static char *next_change(int fd)
{
    struct frame *frame = malloc(sizeof *frame);
    char *out = calloc(1, FRAME_MAX);
    assert_true(frame_receive(fd, frame));
    assert_int_equal(frame->type, FRAME_EVENT);
    const char *at = frame->data;
    for (const char *found = strstr(at, folder); found; found = strstr(at, folder)) {
        strncat(out, at, (size_t)(found - at));
        at = found + strlen(folder);
    }
    strcat(out, at);
    free(frame);
    return out;
}

static void expect_change(int fd, const char *expected)
{
    char *change = next_change(fd);
    assert_string_equal(change, expected);
    free(change);
}

static void changes_of_a_directory_are_told(void **state)
{
    (void)state;
    shell("mkdir w out && touch w/here");
    int fd = watching("w", "");
    shell("echo x > w/file; chmod 600 w/file; mv w/file w/other; rm w/other; mkdir w/below; touch "
          "w/below/hidden");
    expect_change(fd, "{\"change\":\"create\",\"path\":\"/w/file\"}");
    expect_change(fd, "{\"change\":\"write\",\"path\":\"/w/file\"}");
    expect_change(fd, "{\"change\":\"attributes\",\"path\":\"/w/file\"}");
    expect_change(fd, "{\"change\":\"move\",\"path\":\"/w/file\",\"to\":\"/w/other\"}");
    expect_change(fd, "{\"change\":\"remove\",\"path\":\"/w/other\"}");
    expect_change(fd, "{\"change\":\"create\",\"path\":\"/w/below\"}");
    shell("mv w/here out/there");
    expect_change(fd, "{\"change\":\"remove\",\"path\":\"/w/here\"}");
    shell("mv out/there w/here");
    expect_change(fd, "{\"change\":\"create\",\"path\":\"/w/here\"}");
    shell("rm -r w");
    /* What was in it goes first. */
    for (bool gone = false; !gone;) {
        char *change = next_change(fd);
        gone = strcmp(change, "{\"change\":\"remove\",\"path\":\"/w\"}") == 0;
        free(change);
    }
    close(fd);
    shell("rm -r out");
    char line[128];
    snprintf(line, sizeof line, "{\"op\":\"watch\",\"path\":\"%s/w\"}", folder);
    refused(served, line, "ENOENT");
}

static void a_file_can_be_watched(void **state)
{
    (void)state;
    shell("echo x > single");
    int fd = watching("single", ",\"recursive\":true");
    shell("echo y >> single");
    expect_change(fd, "{\"change\":\"write\",\"path\":\"/single\"}");
    shell("rm single");
    char *change = next_change(fd);
    if (strstr(change, "attributes")) { /* of its links */
        free(change);
        change = next_change(fd);
    }
    assert_string_equal(change, "{\"change\":\"remove\",\"path\":\"/single\"}");
    free(change);
    close(fd);
}

static void new_directories_are_watched_at_once(void **state)
{
    (void)state;
    shell("mkdir -p r/a/b aside/in/deep && touch aside/in/deep/file && ln -s ../aside r/link");
    int fd = watching("r", ",\"recursive\":true");
    shell("touch r/a/b/file");
    expect_change(fd, "{\"change\":\"create\",\"path\":\"/r/a/b/file\"}");
    char *change = next_change(fd); /* touch also sets the time */
    while (!strstr(change, "\"write\"")) {
        free(change);
        change = next_change(fd);
    }
    free(change);
    /* With what is in it; a link is none. */
    shell("mv aside/in r/a/in");
    expect_change(fd, "{\"change\":\"create\",\"path\":\"/r/a/in\"}");
    expect_change(fd, "{\"change\":\"create\",\"path\":\"/r/a/in/deep\"}");
    expect_change(fd, "{\"change\":\"create\",\"path\":\"/r/a/in/deep/file\"}");
    shell("rm r/a/in/deep/file");
    expect_change(fd, "{\"change\":\"remove\",\"path\":\"/r/a/in/deep/file\"}");
    shell("touch aside/unseen");
    /* Moved within: below it is told under its new name. */
    shell("mv r/a/in r/moved");
    expect_change(fd, "{\"change\":\"move\",\"path\":\"/r/a/in\",\"to\":\"/r/moved\"}");
    shell("rmdir r/moved/deep");
    expect_change(fd, "{\"change\":\"remove\",\"path\":\"/r/moved/deep\"}");
    /* Moved out: no more of it. */
    shell("mv r/moved aside/out");
    expect_change(fd, "{\"change\":\"remove\",\"path\":\"/r/moved\"}");
    shell("touch aside/out/unseen; mkdir r/last");
    expect_change(fd, "{\"change\":\"create\",\"path\":\"/r/last\"}");
    close(fd);
    shell("rm -r r aside");
}

/* Which of 1000 were told, in a tree that is made at the same time. */
static void each_of_a_thousand_changes_is_told(void **state)
{
    (void)state;
    static bool told[1000];
    shell("mkdir t");
    int fd = watching("t", ",\"recursive\":true");
    shell("for i in $(seq 0 999); do mkdir -p t/$((i / 100)); : > t/$((i / 100))/n$i; done");
    for (size_t left = 1000; left > 0;) {
        char *change = next_change(fd);
        assert_null(strstr(change, "lost"));
        const char *number = strstr(change, "/n");
        long i = number ? strtol(number + 2, NULL, 10) : -1;
        if (i >= 0 && !told[i]) {
            told[i] = true;
            left--;
        }
        free(change);
    }
    close(fd);
    shell("rm -r t");
}

/* The host does not read, the kernel's queue is full, and all is well again afterwards. */
static void more_changes_than_can_be_kept_are_told_as_lost(void **state)
{
    (void)state;
    char path[128];
    shell("mkdir l");
    int fd = watching("l", ",\"recursive\":true");
    snprintf(path, sizeof path, "%s/l/x", folder);
    bool lost = false;
    for (int i = 0; i < 100000; i++) {
        int file = opened(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        close(file);
        unlink(path);
    }
    shell("mkdir -p l/made/below; touch l/end");
    while (!lost) {
        char *change = next_change(fd);
        lost = strcmp(change, "{\"change\":\"lost\"}") == 0;
        free(change);
    }
    /* From here on nothing is lost, also where directories came unseen. */
    for (bool seen = false; !seen;) {
        shell("touch l/made/below/file; rm l/made/below/file");
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        while (poll(&polled, 1, 100) == 1) { /* what was told before as well */
            char *change = next_change(fd);
            seen = seen || strstr(change, "/l/made/below/file") != NULL;
            free(change);
        }
    }
    close(fd);
    shell("rm -r l");
}

/* --- Figures --- */

static void the_figures_are_those_of_the_machine(void **state)
{
    (void)state;
    unsigned long long got[9];
    int fd = stream_open(served, "{\"op\":\"metrics\"}");
    char *answer = stream_answer(fd);
    assert_int_equal(sscanf(answer,
                            "{\"cpus\":%llu,\"cpu_us\":%llu,\"memory_bytes\":%llu,\"memory_used_bytes\":%llu,"
                            "\"memory_cache_bytes\":%llu,\"disk_bytes\":%llu,\"disk_used_bytes\":%llu,"
                            "\"processes\":%llu,\"uptime_ms\":%llu}",
                            &got[0], &got[1], &got[2], &got[3], &got[4], &got[5], &got[6], &got[7], &got[8]),
                     9);
    free(answer);
    close(fd);
    assert_int_equal(got[0], sysconf(_SC_NPROCESSORS_ONLN));
    assert_true(got[1] > 0 && got[3] > 0 && got[3] < got[2] && got[4] < got[2] && got[6] <= got[5]);
    long long pages = sysconf(_SC_PHYS_PAGES);
    assert_in_range(got[2], (unsigned long long)pages * 4096 / 2, (unsigned long long)pages * 4096 * 2);
    assert_in_range(got[7], 2, 100000);
    assert_true(got[8] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_direction_ends_for_itself),
        cmocka_unit_test(unix_sockets_and_other_addresses),
        cmocka_unit_test(a_reset_is_told_and_a_wrong_frame_closes),
        cmocka_unit_test(much_goes_both_ways),
        cmocka_unit_test(changes_of_a_directory_are_told),
        cmocka_unit_test(a_file_can_be_watched),
        cmocka_unit_test(new_directories_are_watched_at_once),
        cmocka_unit_test(each_of_a_thousand_changes_is_told),
        cmocka_unit_test(more_changes_than_can_be_kept_are_told_as_lost),
        cmocka_unit_test(the_figures_are_those_of_the_machine),
    };
    return cmocka_run_group_tests_name("streams_ports", tests, start, stop);
}
