/* SPDX-License-Identifier: Apache-2.0 */
/* Programs: run, attach, processes, signal, resize; and what is no order. */
#include "frames.h"

#include "clock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#define MIB ((size_t)1 << 20)

static struct served *served;

static int start(void **state)
{
    (void)state;
    served = serve(&(struct agent_options){0});
    return served->status;
}

static void a_program_has_its_outputs_and_its_end(void **state)
{
    (void)state;
    ran(served, "{\"op\":\"run\",\"argv\":[\"true\"]}", "", "", "{\"exit_code\":0}");
    ran(served, "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"echo out; echo err >&2; exit 3\"]}", "out\n",
        "err\n", "{\"exit_code\":3}");
    ran(served, "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"kill -9 $$\"],\"unknown\":[1]}", "", "",
        "{\"exit_code\":-9}");
}

static void environment_folder_and_user(void **state)
{
    (void)state;
    ran(served,
        "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"echo $A $(pwd) $(id -u):$(id -g) $HOME; cat\"],"
        "\"env\":{\"A\":\"1\"},\"cwd\":\"/proc\",\"user\":\"4711:4712\"}",
        "1 /proc 4711:4712 /\n", "", "{\"exit_code\":0}");
    ran(served,
        "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"echo $A $(pwd) $HOME\"],"
        "\"env\":{\"A\":\"~\",\"HOME\":\"~\"},\"cwd\":\"~/../proc\",\"user\":\"4711\"}",
        "~ /proc /\n", "", "{\"exit_code\":0}");
    ran(served, "{\"op\":\"run\",\"argv\":[\"pwd\"],\"cwd\":\"~\",\"user\":\"sys\"}", "/dev\n", "",
        "{\"exit_code\":0}");
}

static void what_cannot_be_run_is_refused(void **state)
{
    (void)state;
    refused(served, "{\"op\":\"run\",\"argv\":[\"no-such-program\"]}", "ENOENT");
    refused(served, "{\"op\":\"run\",\"argv\":[\"/etc/passwd\"]}", "EACCES");
    refused(served, "{\"op\":\"run\",\"argv\":[\"true\"],\"cwd\":\"/no/folder\"}", "ENOENT");
    refused(served, "{\"op\":\"run\",\"argv\":[\"true\"],\"user\":\"nobody-of-that-name\"}", "ESRCH");
    refused(served, "{\"op\":\"run\",\"argv\":[\"true\"],\"cwd\":\"relative\"}", "EINVAL");
    refused(served, "{\"op\":\"run\",\"argv\":[\"true\"],\"cwd\":\"~\"}", "EINVAL");
    refused(served, "{\"op\":\"run\",\"argv\":[\"true\"],\"cwd\":\"~bin\",\"user\":\"bin\"}", "EINVAL");
}

static void what_is_no_order_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "{}",
        "{\"op\":1}",
        "{\"op\":\"run\"}",
        "{\"op\":\"run\",\"argv\":[]}",
        "{\"op\":\"run\",\"argv\":\"true\"}",
        "{\"op\":\"run\",\"argv\":[\"true\",1]}",
        "{\"op\":\"run\",\"argv\":[\"a\\u0000b\"]}",
        "{\"op\":\"run\",\"argv\":[\"true\"],\"env\":{\"A=B\":\"1\"}}",
        "{\"op\":\"run\",\"argv\":[\"true\"],\"env\":{\"A\":1}}",
        "{\"op\":\"run\",\"argv\":[\"true\"],\"stdin\":1}",
        "{\"op\":\"run\",\"argv\":[\"true\"],\"pty\":{}}",
        "{\"op\":\"run\",\"argv\":[\"true\"],\"pty\":{\"rows\":0,\"columns\":80}}",
        "{\"op\":\"run\",\"argv\":[\"true\"],\"pty\":{\"rows\":24,\"columns\":65536}}",
        "{\"op\":\"run\",\"argv\":[\"true\"],\"timeout_ms\":-1}",
        "{\"op\":\"run\",\"argv\":[\"true\"],\"timeout_ms\":0.5}",
        "{\"op\":\"run\",\"argv\":[\"true\"],\"tag\":\"\"}",
        "{\"op\":\"run\",\"argv\":[\"true\"],\"tag\":\"a b\"}",
        "{\"op\":\"attach\"}",
        "{\"op\":\"attach\",\"pid\":1,\"tag\":\"a\"}",
        "{\"op\":\"attach\",\"pid\":1,\"from\":[1]}",
        "{\"op\":\"attach\",\"pid\":1,\"from\":[1,2,3]}",
        "{\"op\":\"signal\",\"pid\":1}",
        "{\"op\":\"signal\",\"pid\":1,\"signal\":65}",
        "{\"op\":\"resize\",\"pid\":1,\"rows\":1}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(served, wrong[i], "EINVAL");
    refused(served, "not JSON", "EPROTO");
    refused(served, "[]", "EPROTO");
    refused(served, "{\"op\":\"run\",\"argv\":[\"\xff\"]}", "EPROTO");
    refused(served, "{\"op\":\"fly\"}", "ENOSYS");
    char *line = malloc(MIB + 2);
    memset(line, ' ', MIB + 1);
    line[MIB + 1] = '\0';
    refused(served, line, "E2BIG");
    line[MIB] = '\0';
    refused(served, line, "EPROTO");
    free(line);
}

static void a_host_that_says_nothing_is_not_waited_for(void **state)
{
    (void)state;
    int silent = connect_port(served->streams_port);
    int slow = connect_port(served->streams_port);
    send_all(slow, "{\"op\"", 5);
    expect_refusal(silent, "ETIMEDOUT");
    expect_refusal(slow, "ETIMEDOUT");
    int gone = connect_port(served->streams_port);
    char byte;
    send_all(gone, "{\"op\":\"processes\"}", 18);
    shutdown(gone, SHUT_WR);
    assert_false(receive_all(gone, &byte, 1)); /* a line without its end is none */
    close(gone);
}

static void input_comes_with_the_line_and_after_it(void **state)
{
    (void)state;
    int fd = connect_port(served->streams_port);
    char text[256];
    int length = snprintf(text, sizeof text, "{\"op\":\"run\",\"argv\":[\"cat\"],\"stdin\":true}\n");
    frame_header((unsigned char *)text + length, FRAME_IN, 5);
    memcpy(text + length + FRAME_HEADER, "first", 5);
    send_all(fd, text, (size_t)length + FRAME_HEADER + 5);
    answered_pid(fd);
    struct frame *frame = malloc(sizeof *frame);
    assert_true(frame_receive(fd, frame));
    assert_string_equal(frame->data, "first");
    free(frame);
    frame_send(fd, FRAME_IN, " second", 7);
    frame_send(fd, FRAME_IN, "", 0);
    expect_end(fd, " second", "", "{\"exit_code\":0}");
}

static void attached(const char *line, const char *answer, const char *out, const char *err, const char *end)
{
    int fd = stream_open(served, line);
    expect_answer(fd, answer);
    expect_end(fd, out, err, end);
}

static void a_client_that_is_killed_loses_nothing(void **state)
{
    (void)state;
    char line[128];
    char answer[128];
    struct frame *frame = malloc(sizeof *frame);
    int fd = stream_open(
        served, "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"echo one; echo two >&2; read x; echo $x; exit "
                "5\"],\"stdin\":true,\"tag\":\"kept\"}");
    int pid = answered_pid(fd);
    assert_true(frame_receive(fd, frame));
    assert_string_equal(frame->data, "one\n");
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
    free(frame);

    /* Nobody hears what has not been written. */
    for (int i = 0; i < 2; i++) {
        snprintf(line, sizeof line, "{\"op\":\"attach\",\"pid\":%d,\"from\":[%d,%d]}", pid, i == 0 ? 5 : 4,
                 i == 0 ? 0 : 5);
        refused(served, line, "EINVAL");
    }

    /* Another only sends, a third hears from where the first was. */
    fd = stream_open(served, "{\"op\":\"attach\",\"tag\":\"kept\",\"output\":false}");
    free(stream_answer(fd));
    frame_send(fd, FRAME_IN, "three\n", 6);
    frame_send(fd, FRAME_IN, "", 0);
    expect_end(fd, "", "", "{}");
    snprintf(line, sizeof line, "{\"op\":\"attach\",\"pid\":%d,\"from\":[4,0]}", pid);
    snprintf(answer, sizeof answer,
             "{\"pid\":%d,\"tag\":\"kept\",\"from\":[4,0],\"pty\":false,\"stdin\":true}", pid);
    attached(line, answer, "three\n", "two\n", "{\"exit_code\":5}");

    /* Somebody had the end. */
    clock_sleep_ms(200);
    refused(served, line, "ESTALE");
    refused(served, "{\"op\":\"attach\",\"tag\":\"kept\"}", "ESRCH");
    refused(served, "{\"op\":\"attach\",\"pid\":1}", "ESRCH");
}

/* The program reads when all has been sent, which is far more than is on its way anywhere. */
static void who_only_sends_is_told_when_all_was_taken(void **state)
{
    (void)state;
    char line[128];
    char *data = malloc(MIB);
    memset(data, 'x', MIB);
    int fd = stream_open(
        served,
        "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"sleep 0.3; wc -c\"],\"stdin\":true,\"detach\":true}");
    int pid = answered_pid(fd);
    snprintf(line, sizeof line, "{\"op\":\"attach\",\"pid\":%d,\"output\":false}", pid);
    int sends = stream_open(served, line);
    free(stream_answer(sends));
    for (size_t at = 0; at < MIB; at += FRAME_MAX)
        frame_send(sends, FRAME_IN, data + at, FRAME_MAX);
    frame_send(sends, FRAME_IN, "", 0);
    expect_end(sends, "", "", "{}");
    expect_end(fd, "1048576\n", "", "{\"exit_code\":0}");
    free(data);
}

/* --- Terminals --- */

/* What was shown and not looked at yet. */
static char screen[1 << 16];

/* Waits for `part`, and has looked at all up to its end. */
static void shown(int fd, const char *part)
{
    struct frame *frame = malloc(sizeof *frame);
    while (!strstr(screen, part)) {
        if (!frame_receive(fd, frame) || frame->type != FRAME_OUT)
            fail_msg("'%s' without '%s'", screen, part);
        strncat(screen, frame->data, sizeof screen - 1 - strlen(screen));
    }
    char *rest = strstr(screen, part) + strlen(part);
    memmove(screen, rest, strlen(rest) + 1);
    free(frame);
}

static void type(int fd, const char *text)
{
    frame_send(fd, FRAME_IN, text, strlen(text));
}

static void a_terminal_is_the_programs_own(void **state)
{
    (void)state;
    *screen = '\0';
    char line[128];
    int fd =
        stream_open(served, "{\"op\":\"run\",\"argv\":[\"sh\"],\"env\":{\"PS1\":\"ready\"},\"user\":\"4711\","
                            "\"pty\":{\"rows\":24,\"columns\":80}}");
    int pid = answered_pid(fd);
    shown(fd, "ready");
    type(fd, "stty size; test -O $(tty) && echo is his\n");
    shown(fd, "24 80\r\nis his\r\n");
    snprintf(line, sizeof line, "{\"op\":\"resize\",\"pid\":%d,\"rows\":30,\"columns\":100}", pid);
    asked(served, line, "{}");
    type(fd, "stty size\n");
    shown(fd, "30 100\r\n");
    type(fd, "sleep 300; echo went on\n");
    clock_sleep_ms(300);
    type(fd, "\003"); /* Ctrl-C */
    shown(fd, "^C");
    shown(fd, "ready");
    type(fd, "cat > /dev/null; echo end of $((1 + 1))\n");
    clock_sleep_ms(300);
    frame_send(fd, FRAME_IN, "", 0);
    shown(fd, "end of 2\r\n");
    snprintf(line, sizeof line, "{\"op\":\"attach\",\"pid\":%d,\"output\":false}", pid);
    int other = stream_open(served, line);
    free(stream_answer(other));
    type(other, "exit 7\n");
    struct outcome outcome;
    stream_finish(fd, &outcome);
    assert_string_equal(outcome.end, "{\"exit_code\":7}");
    assert_int_equal(outcome.length[1], 0);
    outcome_free(&outcome);
    close(other);
}

static void without_a_terminal_there_is_none_to_resize(void **state)
{
    (void)state;
    char line[128];
    int fd = stream_open(served, "{\"op\":\"run\",\"argv\":[\"cat\"],\"stdin\":true}");
    int pid = answered_pid(fd);
    snprintf(line, sizeof line, "{\"op\":\"resize\",\"pid\":%d,\"rows\":30,\"columns\":100}", pid);
    refused(served, line, "ENOTTY");
    frame_send(fd, FRAME_IN, "", 0);
    expect_end(fd, "", "", "{\"exit_code\":0}");
    refused(served, "{\"op\":\"resize\",\"pid\":1,\"rows\":30,\"columns\":100}", "ESRCH");
}

static void a_terminal_that_goes_away_takes_its_programs_along(void **state)
{
    (void)state;
    int fd =
        stream_open(served, "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"exec <&- >&- 2>&-; sleep 1; exit 4\"],"
                            "\"pty\":{\"rows\":1,\"columns\":1}}");
    answered_pid(fd);
    expect_end(fd, "", "", "{\"exit_code\":4}");
    fd = stream_open(served, "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"sleep 300 & echo $!; exit 0\"],"
                             "\"pty\":{\"rows\":1,\"columns\":1}}");
    answered_pid(fd);
    struct outcome outcome;
    stream_finish(fd, &outcome);
    pid_t left = (pid_t)strtol(outcome.data[0], NULL, 10);
    outcome_free(&outcome);
    assert_true(left > 0);
    kill(left, SIGKILL); /* hung up or not, as the shell had it */
}

static void a_host_that_goes_away_leaves_the_terminal_to_the_next(void **state)
{
    (void)state;
    *screen = '\0';
    int fd =
        stream_open(served, "{\"op\":\"run\",\"argv\":[\"sh\"],\"env\":{\"PS1\":\"ready\"},\"tag\":\"shell\","
                            "\"pty\":{\"rows\":24,\"columns\":80}}");
    int pid = answered_pid(fd);
    shown(fd, "ready");
    type(fd, "kept=same\n");
    shown(fd, "ready");
    close(fd);
    *screen = '\0';
    char answer[128];
    fd = stream_open(served, "{\"op\":\"attach\",\"tag\":\"shell\"}");
    snprintf(answer, sizeof answer,
             "{\"pid\":%d,\"tag\":\"shell\",\"from\":[0,0],\"pty\":true,\"stdin\":true}", pid);
    expect_answer(fd, answer);
    shown(fd, "kept=same");
    type(fd, "echo the $kept shell; exit 6\n");
    shown(fd, "the same shell\r\n");
    struct outcome outcome;
    stream_finish(fd, &outcome);
    assert_string_equal(outcome.end, "{\"exit_code\":6}");
    outcome_free(&outcome);
}

/* --- Ends --- */

static void a_program_that_takes_too_long_is_ended_with_its_session(void **state)
{
    (void)state;
    int64_t began = clock_now_ms();
    int fd = stream_open(
        served, "{\"op\":\"run\",\"argv\":[\"setsid\",\"-w\",\"sh\",\"-c\",\"true\"],\"timeout_ms\":60000}");
    answered_pid(fd);
    expect_end(fd, "", "", "{\"exit_code\":0}");
    fd = stream_open(
        served,
        "{\"op\":\"run\",\"argv\":[\"bash\",\"-mc\",\"sleep 300 & echo $!; wait\"],\"timeout_ms\":300}");
    answered_pid(fd);
    struct outcome outcome;
    stream_finish(fd, &outcome);
    assert_string_equal(outcome.end, "{\"exit_code\":-9,\"timed_out\":true}");
    pid_t job = (pid_t)strtol(outcome.data[0], NULL, 10); /* of a process group of its own */
    outcome_free(&outcome);
    assert_true(job > 0);
    char path[64];
    char text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)job);
    int stat = open(path, O_RDONLY | O_CLOEXEC);
    if (stat >= 0) {
        assert_true(read(stat, text, sizeof text - 1) >= 0);
        close(stat);
    }
    assert_true(stat < 0 || strstr(text, ") Z "));
    assert_in_range(clock_now_ms() - began, 300, 20000);
}

static void signals_reach_the_process_or_its_session(void **state)
{
    (void)state;
    *screen = '\0';
    char line[128];
    int fd = stream_open(served,
                         "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"trap 'echo got it' USR1; echo go; while "
                         "sleep 0.1; do :; done\"],\"tag\":\"trapper\"}");
    int pid = answered_pid(fd);
    shown(fd, "go\n");
    asked(served, "{\"op\":\"signal\",\"tag\":\"trapper\",\"signal\":10}", "{}");
    shown(fd, "got it\n");
    snprintf(line, sizeof line, "{\"op\":\"signal\",\"pid\":%d,\"signal\":15,\"group\":true}", pid);
    asked(served, line, "{}");
    struct outcome outcome;
    stream_finish(fd, &outcome);
    assert_string_equal(outcome.end, "{\"exit_code\":-15}");
    outcome_free(&outcome);
    clock_sleep_ms(100);
    refused(served, line, "ESTALE");
    refused(served, "{\"op\":\"signal\",\"pid\":1,\"signal\":0}", "ESRCH");
    refused(served, "{\"op\":\"signal\",\"tag\":\"trapper\",\"signal\":0}", "ESRCH");
}

static void what_is_left_in_the_background_goes_on(void **state)
{
    (void)state;
    char path[] = "/tmp/streams-run-XXXXXX";
    char line[256];
    close(mkstemp(path));
    snprintf(
        line, sizeof line,
        "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"(sleep 1; seq 1 100000; rm %s) & echo started; exit 3\"]}",
        path);
    ran(served, line, "started\n", "", "{\"exit_code\":3}");
    for (int i = 0; i < 1000 && access(path, F_OK) == 0; i++)
        clock_sleep_ms(10);
    assert_int_equal(access(path, F_OK), -1);
}

/* --- Flow --- */

static uint64_t hashed(uint64_t hash, const char *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)data[i]) * 0x100000001b3u;
    return hash;
}

struct flow {
    int fd;
    size_t total;
    uint64_t hash;
};

static void *send_flow(void *argument)
{
    struct flow *flow = argument;
    char *data = malloc(FRAME_MAX);
    uint64_t random = 1;
    for (size_t sent = 0; sent < flow->total; sent += FRAME_MAX) {
        for (size_t i = 0; i < FRAME_MAX; i++)
            data[i] = (char)((random = random * 6364136223846793005u + 1) >> 56);
        flow->hash = hashed(flow->hash, data, FRAME_MAX);
        frame_send(flow->fd, FRAME_IN, data, FRAME_MAX);
    }
    frame_send(flow->fd, FRAME_IN, "", 0);
    free(data);
    return NULL;
}

static void much_goes_through_a_program_and_comes_back_whole(void **state)
{
    (void)state;
    struct frame *frame = malloc(sizeof *frame);
    int fd = stream_open(served, "{\"op\":\"run\",\"argv\":[\"cat\"],\"stdin\":true}");
    answered_pid(fd);
    struct flow flow = {.fd = fd, .total = 128 * MIB};
    uint64_t hash = 0;
    size_t total = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_flow, &flow), 0);
    while (frame_receive(fd, frame) && frame->type == FRAME_OUT) {
        hash = hashed(hash, frame->data, frame->length);
        total += frame->length;
    }
    pthread_join(thread, NULL);
    assert_int_equal(total, flow.total);
    assert_true(hash == flow.hash);
    free(frame);
    close(fd);
}

/* The second of two numbers that the program notes as it goes. */
static long noted(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    return strtol(text, NULL, 10);
}

/* When it has come to a standstill. On a busy machine nothing may happen for a while. */
static long noted_at_rest(const char *path)
{
    long before = -1;
    int same = 0;
    for (int i = 0; i < 300 && same < 3; i++) {
        clock_sleep_ms(1000);
        long now = noted(path);
        same = now == before && now > 0 ? same + 1 : 0;
        before = now;
    }
    return before;
}

#define COUNTED 4000
/* 4000 pieces of 4 KiB, each with its number; it notes how far it is. */
#define COUNT                                                                                                \
    "\"argv\":[\"bash\",\"-c\",\"printf -v pad '%%4090s' ''; for ((i = 10000; i < 14000; i++)); do echo "    \
    "\\\"$i$pad\\\" "                                                                                        \
    "|| exit; echo $((i - 9999)) > %s; done\"]"

static void expect_pieces(const struct outcome *outcome, size_t first)
{
    char number[8];
    assert_int_equal(outcome->length[0], (COUNTED - first) * 4096);
    for (size_t i = first; i < COUNTED; i++) {
        snprintf(number, sizeof number, "%zu ", 10000 + i);
        assert_memory_equal(outcome->data[0] + (i - first) * 4096, number, 6);
    }
}

static void a_slow_reader_holds_the_program_back_and_loses_nothing(void **state)
{
    (void)state;
    char path[] = "/tmp/streams-run-XXXXXX";
    char line[512];
    struct outcome outcome;
    close(mkstemp(path));
    snprintf(line, sizeof line, "{\"op\":\"run\"," COUNT ",\"detach\":true}", path);
    int fd = stream_open(served, line);
    int pid = answered_pid(fd);
    assert_in_range(noted_at_rest(path), 64, COUNTED - 1);
    /* Another, who reads, does not change that; and both get everything. */
    snprintf(line, sizeof line, "{\"op\":\"attach\",\"pid\":%d}", pid);
    int other = stream_open(served, line);
    free(stream_answer(other));
    assert_in_range(noted_at_rest(path), 64, COUNTED - 1);
    close(other);
    stream_finish(fd, &outcome);
    expect_pieces(&outcome, 0);
    assert_string_equal(outcome.end, "{\"exit_code\":0}");
    outcome_free(&outcome);
    unlink(path);
}

static void what_was_on_its_way_to_a_listener_that_goes_is_not_lost(void **state)
{
    (void)state;
    char path[] = "/tmp/streams-run-XXXXXX";
    char line[512];
    struct outcome outcome;
    close(mkstemp(path));
    snprintf(line, sizeof line, "{\"op\":\"run\"," COUNT ",\"tag\":\"way\"}", path);
    int fd = stream_open(served, line);
    int pid = answered_pid(fd);
    noted_at_rest(path);
    close(fd);
    noted_at_rest(path);
    fd = stream_open(served, "{\"op\":\"attach\",\"tag\":\"way\",\"from\":[4096,0]}");
    snprintf(line, sizeof line,
             "{\"pid\":%d,\"tag\":\"way\",\"from\":[4096,0],\"pty\":false,\"stdin\":false}", pid);
    expect_answer(fd, line);
    stream_finish(fd, &outcome);
    expect_pieces(&outcome, 1);
    outcome_free(&outcome);
    unlink(path);
}

static void without_a_listener_it_is_held_back_when_the_last_mib_is_full(void **state)
{
    (void)state;
    char path[] = "/tmp/streams-run-XXXXXX";
    char line[512];
    struct outcome outcome;
    close(mkstemp(path));
    snprintf(line, sizeof line, "{\"op\":\"run\"," COUNT ",\"tag\":\"held\"}", path);
    int fd = stream_open(served, line);
    int pid = answered_pid(fd);
    close(fd);
    assert_in_range(noted_at_rest(path), 256, 600); /* and what is in the pipe */
    fd = stream_open(served, "{\"op\":\"attach\",\"tag\":\"held\"}");
    snprintf(line, sizeof line, "{\"pid\":%d,\"tag\":\"held\",\"from\":[0,0],\"pty\":false,\"stdin\":false}",
             pid);
    expect_answer(fd, line);
    stream_finish(fd, &outcome);
    expect_pieces(&outcome, 0);
    outcome_free(&outcome);
    unlink(path);
}

static void one_that_is_detached_goes_on_and_its_oldest_output_is_forgotten(void **state)
{
    (void)state;
    char path[] = "/tmp/streams-run-XXXXXX";
    char line[512];
    struct outcome outcome;
    close(mkstemp(path));
    snprintf(line, sizeof line, "{\"op\":\"run\"," COUNT ",\"detach\":true,\"tag\":\"gone\"}", path);
    int fd = stream_open(served, line);
    answered_pid(fd);
    close(fd);
    assert_int_equal(noted_at_rest(path), COUNTED);
    clock_sleep_ms(300);
    fd = stream_open(served, "{\"op\":\"attach\",\"tag\":\"gone\",\"from\":[4096,0]}");
    snprintf(line, sizeof line, "\"from\":[%zu,0],", (size_t)COUNTED * 4096 - MIB);
    char *answer = stream_answer(fd);
    assert_non_null(strstr(answer, line));
    free(answer);
    stream_finish(fd, &outcome);
    expect_pieces(&outcome, COUNTED - MIB / 4096);
    outcome_free(&outcome);
    unlink(path);
}

/* By turns to both outputs, a byte each: more stretches than are kept. */
static void both_outputs_are_kept_in_their_order(void **state)
{
    (void)state;
    struct outcome outcome;
    int fd = stream_open(
        served, "{\"op\":\"run\",\"argv\":[\"bash\",\"-c\",\"for ((i = 0; i < 20000; i++)); do echo $((i % "
                "10)); echo $((i % 10)) >&2; done\"],\"tag\":\"both\",\"detach\":true}");
    answered_pid(fd);
    stream_finish(fd, &outcome);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(outcome.length[i], 40000);
        for (size_t at = 0; at < 40000; at += 2)
            assert_int_equal(outcome.data[i][at], (int)('0' + at / 2 % 10));
    }
    outcome_free(&outcome);
}

static void frames_that_are_not_allowed_close_the_stream_and_not_the_program(void **state)
{
    (void)state;
    *screen = '\0';
    static const unsigned char wrong[][FRAME_HEADER] = {
        {0, 0, 0, 0, 1}, {2, 0, 0, 0, 1}, {3, 0, 0, 0, 1}, {4, 0, 0, 0, 1},       {5, 0, 0, 0, 1},
        {6, 0, 0, 0, 1}, {1, 0, 1, 0, 1}, {1, 0, 0, 9, 1}, {1, 0, 0, 0, 1, 0, 1}, {1, 0, 0, 0, 0, 0, 0, 128},
    };
    char byte;
    int fd = stream_open(served, "{\"op\":\"run\",\"argv\":[\"cat\"],\"stdin\":true,\"tag\":\"cat\"}");
    answered_pid(fd);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int other = stream_open(served, "{\"op\":\"attach\",\"tag\":\"cat\"}");
        free(stream_answer(other));
        send_all(other, wrong[i], FRAME_HEADER);
        assert_false(receive_all(other, &byte, 1));
        close(other);
    }
    /* What is said after the end. */
    int other = stream_open(served, "{\"op\":\"attach\",\"tag\":\"cat\"}");
    free(stream_answer(other));
    type(fd, "still there");
    shown(fd, "still there");
    shown(other, "still there");
    frame_send(other, FRAME_IN, "", 0);
    expect_end(fd, "", "", "{\"exit_code\":0}");
    frame_send(other, FRAME_IN, "", 0);
    while (receive_all(other, &byte, 1))
        ;
    close(other);
}

/* --- Many --- */

static void a_hundred_streams_at_once(void **state)
{
    (void)state;
    enum { MANY = 100 };
    int fds[MANY];
    for (int i = 0; i < MANY; i++)
        fds[i] = stream_open(served,
                             "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"read x; echo $x\"],\"stdin\":true}");
    for (int i = 0; i < MANY; i++)
        answered_pid(fds[i]);
    for (int i = 0; i < MANY; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d\n", i);
        type(fds[i], text);
    }
    for (int i = 0; i < MANY; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d\n", i);
        expect_end(fds[i], text, "", "{\"exit_code\":0}");
    }
}

static void more_streams_than_there_may_be_are_refused(void **state)
{
    (void)state;
    enum { MOST = 192 };
    int fds[MOST];
    clock_sleep_ms(500); /* those of other tests are closed by then */
    for (int i = 0; i < MOST; i++)
        fds[i] = connect_port(served->streams_port);
    clock_sleep_ms(200);
    int fd = connect_port(served->streams_port);
    char *answer = stream_answer(fd);
    assert_non_null(strstr(answer, "\"code\":\"EAGAIN\"}"));
    free(answer);
    close(fd);
    for (int i = 0; i < MOST; i++)
        close(fds[i]);
    clock_sleep_ms(500);
    ran(served, "{\"op\":\"run\",\"argv\":[\"true\"]}", "", "", "{\"exit_code\":0}");
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)); text++)
        count++;
    return count;
}

/* Until so many entries of the list have it. */
static void wait_listed(const char *part, int wanted)
{
    int count = -1;
    for (int i = 0; i < 500 && count != wanted; i++) {
        clock_sleep_ms(count < 0 ? 0 : 10);
        int list = stream_open(served, "{\"op\":\"processes\"}");
        char *answer = stream_answer(list);
        count = count_of(answer, part);
        free(answer);
        close(list);
    }
    assert_int_equal(count, wanted);
}

static void processes_are_told_until_somebody_had_their_end(void **state)
{
    (void)state;
    char part[256];
    int fd = stream_open(
        served, "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"read x; exit 9\",\"\\u001b\"],\"stdin\":true,"
                "\"tag\":\"listed\",\"cwd\":\"/tmp\"}");
    int pid = answered_pid(fd);
    refused(served, "{\"op\":\"run\",\"argv\":[\"true\"],\"tag\":\"listed\"}", "EEXIST");
    int list = stream_open(served, "{\"op\":\"processes\"}");
    char *answer = stream_answer(list);
    snprintf(part, sizeof part,
             "{\"pid\":%d,\"tag\":\"listed\",\"argv\":[\"sh\",\"-c\",\"read x; exit "
             "9\",\"\\u001b\"],\"cwd\":\"/tmp\",\"pty\":false,\"started_ms\":1",
             pid);
    assert_non_null(strstr(answer, part));
    assert_int_equal(count_of(answer, "\"exit_code\""), 0);
    free(answer);
    close(list);
    close(fd);
    fd = stream_open(served, "{\"op\":\"attach\",\"tag\":\"listed\",\"output\":false}");
    free(stream_answer(fd));
    frame_send(fd, FRAME_IN, "", 0);
    expect_end(fd, "", "", "{}");
    wait_listed("\"exit_code\":9}", 1);
    snprintf(part, sizeof part, "{\"op\":\"signal\",\"pid\":%d,\"signal\":0}", pid);
    refused(served, part, "ESTALE");
    fd = stream_open(served, "{\"op\":\"attach\",\"tag\":\"listed\"}");
    free(stream_answer(fd));
    expect_end(fd, "", "", "{\"exit_code\":9}");
    /* Who has the end can use its name at once. */
    ran(served, "{\"op\":\"run\",\"argv\":[\"true\"],\"tag\":\"listed\"}", "", "", "{\"exit_code\":0}");
    ran(served, "{\"op\":\"run\",\"argv\":[\"true\"],\"tag\":\"listed\"}", "", "", "{\"exit_code\":0}");
    asked(served, "{\"op\":\"processes\"}", "{\"processes\":[]}");
}

static void of_those_that_have_ended_the_last_64_are_kept(void **state)
{
    (void)state;
    char line[128];
    for (int i = 0; i < 70; i++) {
        snprintf(line, sizeof line,
                 "{\"op\":\"run\",\"argv\":[\"sh\",\"-c\",\"read x\"],\"stdin\":true,\"tag\":\"t%d\"}", i);
        int fd = stream_open(served, line);
        answered_pid(fd);
        close(fd);
        snprintf(line, sizeof line, "{\"op\":\"attach\",\"tag\":\"t%d\",\"output\":false}", i);
        fd = stream_open(served, line);
        free(stream_answer(fd));
        frame_send(fd, FRAME_IN, "", 0);
        expect_end(fd, "", "", "{}");
        wait_listed("\"exit_code\":1}", i < 63 ? i + 1 : 64);
    }
    refused(served, "{\"op\":\"attach\",\"tag\":\"t0\"}", "ESRCH");
    for (int i = 6; i < 70; i++) {
        snprintf(line, sizeof line, "{\"op\":\"attach\",\"tag\":\"t%d\"}", i);
        int fd = stream_open(served, line);
        free(stream_answer(fd));
        expect_end(fd, "", "", "{\"exit_code\":1}");
    }
}

static void more_processes_than_there_may_be_are_refused(void **state)
{
    (void)state;
    enum { MOST = 512 };
    static int pids[MOST];
    char line[128];
    clock_sleep_ms(300);
    for (int i = 0; i < MOST; i++) {
        int fd = stream_open(served, "{\"op\":\"run\",\"argv\":[\"sleep\",\"300\"],\"detach\":true}");
        pids[i] = answered_pid(fd);
        close(fd);
    }
    refused(served, "{\"op\":\"run\",\"argv\":[\"true\"]}", "EAGAIN");
    int list = stream_open(served, "{\"op\":\"processes\"}");
    char *answer = stream_answer(list); /* of a MiB at most */
    assert_int_equal(count_of(answer, "\"argv\":[\"sleep\",\"300\"]"), MOST);
    free(answer);
    close(list);
    for (int i = 0; i < MOST; i++) {
        snprintf(line, sizeof line, "{\"op\":\"signal\",\"pid\":%d,\"signal\":9}", pids[i]);
        asked(served, line, "{}");
    }
    for (int kept = MOST; kept > 64; clock_sleep_ms(50)) { /* those that have ended */
        list = stream_open(served, "{\"op\":\"processes\"}");
        answer = stream_answer(list);
        kept = count_of(answer, "\"argv\":[\"sleep\",\"300\"]");
        free(answer);
        close(list);
    }
    ran(served, "{\"op\":\"run\",\"argv\":[\"true\"]}", "", "", "{\"exit_code\":0}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_has_its_outputs_and_its_end),
        cmocka_unit_test(environment_folder_and_user),
        cmocka_unit_test(what_cannot_be_run_is_refused),
        cmocka_unit_test(what_is_no_order_is_refused),
        cmocka_unit_test(a_host_that_says_nothing_is_not_waited_for),
        cmocka_unit_test(input_comes_with_the_line_and_after_it),
        cmocka_unit_test(a_client_that_is_killed_loses_nothing),
        cmocka_unit_test(who_only_sends_is_told_when_all_was_taken),
        cmocka_unit_test(a_terminal_is_the_programs_own),
        cmocka_unit_test(without_a_terminal_there_is_none_to_resize),
        cmocka_unit_test(a_terminal_that_goes_away_takes_its_programs_along),
        cmocka_unit_test(a_host_that_goes_away_leaves_the_terminal_to_the_next),
        cmocka_unit_test(a_program_that_takes_too_long_is_ended_with_its_session),
        cmocka_unit_test(signals_reach_the_process_or_its_session),
        cmocka_unit_test(what_is_left_in_the_background_goes_on),
        cmocka_unit_test(much_goes_through_a_program_and_comes_back_whole),
        cmocka_unit_test(a_slow_reader_holds_the_program_back_and_loses_nothing),
        cmocka_unit_test(what_was_on_its_way_to_a_listener_that_goes_is_not_lost),
        cmocka_unit_test(without_a_listener_it_is_held_back_when_the_last_mib_is_full),
        cmocka_unit_test(one_that_is_detached_goes_on_and_its_oldest_output_is_forgotten),
        cmocka_unit_test(both_outputs_are_kept_in_their_order),
        cmocka_unit_test(frames_that_are_not_allowed_close_the_stream_and_not_the_program),
        cmocka_unit_test(a_hundred_streams_at_once),
        cmocka_unit_test(more_streams_than_there_may_be_are_refused),
        cmocka_unit_test(processes_are_told_until_somebody_had_their_end),
        cmocka_unit_test(of_those_that_have_ended_the_last_64_are_kept),
        cmocka_unit_test(more_processes_than_there_may_be_are_refused),
    };
    return cmocka_run_group_tests_name("streams_run", tests, start, NULL);
}
