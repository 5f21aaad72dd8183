/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol as a client sees it, over TCP: framing, ping, exec, streams. */
#include "client.h"

#include "base64.h"
#include "clock.h"
#include "line.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

/* 100 MiB and some, in lines that are all different. */
#define BIG_LAST 13000000

static struct served *served;

static int start(void **state)
{
    (void)state;
    served = serve(&(struct agent_options){0});
    return served->status;
}

static void ping_has_all_fields(void **state)
{
    (void)state;
    char expected[160];
    snprintf(expected, sizeof expected,
             "{\"pong\":true,\"numpy_version\":\"not-installed\",\"pid\":%d,\"agent_lang\":\"python\","
             "\"warmup_ready\":false}\n",
             (int)getpid());
    assert_answer(served, "{\"action\":\"ping\"}", expected);
}

static void a_guest_without_volumes_unmounts_and_mounts_none(void **state)
{
    (void)state;
    assert_answer(served, "{\"action\":\"unmount\"}", "{\"busy\":[]}\n");
    assert_answer(served, "{\"action\":\"mount\"}", "{\"mounted\":true}\n");
}

static void a_line_without_newline_is_answered(void **state)
{
    (void)state;
    int fd = client_connect(served);
    client_send(fd, "{\"action\":\"exec\",\"args\":[\"echo\",\"x\"]}");
    shutdown(fd, SHUT_WR);
    char *reply = client_receive(fd);
    assert_string_equal(reply, "{\"stdout\":\"x\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
    free(reply);
}

static void a_client_that_does_not_half_close_is_answered(void **state)
{
    (void)state;
    int fd = client_connect(served);
    client_send(fd, "{\"action\":\"exec\",\"args\":[\"echo\",\"x\"]}\nextra bytes\n{\"action\":\"ping\"}\n");
    char *reply = client_receive(fd);
    assert_string_equal(reply, "{\"stdout\":\"x\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
    free(reply);
}

static void an_empty_connection_is_closed_silently(void **state)
{
    (void)state;
    int fd = client_connect(served);
    shutdown(fd, SHUT_WR);
    char *reply = client_receive(fd);
    assert_string_equal(reply, "");
    free(reply);
}

static void hostile_requests_get_an_error(void **state)
{
    (void)state;
    assert_answer_has(served, "", "{\"error\":\"JSONDecodeError: ");
    assert_answer_has(served, "{]", "\"exit_code\":1}");
    assert_answer_has(served, "\xff\xfe", "{\"error\":\"JSONDecodeError: ");
    assert_answer_has(served, "{\"action\":\"\\ud800\"}", "{\"error\":\"unknown action: ");
    char *deep = malloc(1000002);
    memset(deep, '[', 1000000);
    deep[1000000] = '\0';
    assert_answer_has(served, deep, "Nested too deeply");
    free(deep);
}

static void a_request_that_is_too_long_gets_an_error(void **state)
{
    (void)state;
    size_t length = LINE_MAX_LENGTH + 100000;
    char *text = malloc(length + 1);
    memset(text, ' ', length);
    text[length] = '\0';
    assert_answer_has(served, text, "longer than 64 MiB");
    text[LINE_MAX_LENGTH] = '\0';
    assert_answer_has(served, text, "JSONDecodeError");
    free(text);
}

static void exit_codes_and_signals(void **state)
{
    (void)state;
    assert_answer(served, "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"echo out; echo err >&2; exit 3\"]}",
                  "{\"stdout\":\"out\\n\",\"stderr\":\"err\\n\",\"exit_code\":3}\n");
    assert_answer(served, "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"kill -9 $$\"]}",
                  "{\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":-9}\n");
}

static void output_that_is_no_text_is_replaced(void **state)
{
    (void)state;
    assert_answer(
        served, "{\"action\":\"exec\",\"args\":[\"printf\",\"a\\\\377\\\\303\\\\050\\\\000\\\\342\\\\202\"]}",
        "{\"stdout\":\"a\xef\xbf\xbd\xef\xbf\xbd(\\u0000\xef\xbf\xbd\",\"stderr\":\"\","
        "\"exit_code\":0}\n");
}

static void a_program_that_cannot_start(void **state)
{
    (void)state;
    assert_answer_has(served, "{\"action\":\"exec\",\"args\":[\"no-such-program\"]}",
                      "{\"error\":\"FileNotFoundError: [Errno 2] No such file or directory: "
                      "'no-such-program'\",\"traceback\":");
    assert_answer_has(served, "{\"action\":\"exec\",\"args\":[\"/dev/null\"]}",
                      "{\"error\":\"PermissionError: [Errno 13] Permission denied: '/dev/null'\"");
    assert_answer_has(served, "{\"action\":\"exec\",\"args\":[\"true\"],\"cwd\":\"/no/folder\"}",
                      "{\"error\":\"FileNotFoundError: [Errno 2] No such file or directory: '/no/folder'\"");
    assert_answer_has(served, "{\"action\":\"exec\",\"args\":[\"\"]}", "FileNotFoundError");
    assert_answer_has(served, "{\"action\":\"exec\",\"args\":[\"nothing\"],\"stream\":true}",
                      "{\"exit_code\":1,\"error\":\"FileNotFoundError: ");
}

/* The exit status of a shell, beside the 1 that published clients want. */
static void failures_have_a_code(void **state)
{
    (void)state;
    assert_answer_has(served, "{\"action\":\"exec\",\"args\":[\"nothing\"],\"stream\":true}",
                      ",\"code\":127}\n");
    assert_answer_has(served, "{\"action\":\"exec\",\"args\":[\"/etc/passwd\"]}",
                      "\"exit_code\":1,\"code\":126}\n");
    assert_answer_has(served, "{\"action\":\"exec\",\"args\":[\"true\"],\"cwd\":\"/no/folder\"}",
                      ",\"code\":126}\n");
    assert_answer_has(served, "{\"action\":\"exec\",\"args\":[\"sleep\",\"300\"],\"timeout\":0.1}",
                      "\"exit_code\":1,\"code\":124}\n");
}

static void what_a_program_wrote_before_its_timeout_is_delivered(void **state)
{
    (void)state;
    assert_answer(
        served,
        "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"printf '\\\\0'; exec sleep 300\"],\"timeout\":2,"
        "\"stream\":true}",
        "{\"stream\":\"stdout\",\"data_base64\":\"AA==\"}\n{\"exit_code\":1,\"error\":\"TimeoutExpired: "
        "Command '['sh', '-c', 'printf '\\\\0'; exec sleep 300']' timed out after 2 seconds\","
        "\"code\":124}\n");
}

/* By number and by name, with the groups that /etc/passwd and /etc/group of this machine give root. */
static void a_program_runs_as_the_user_that_is_asked_for(void **state)
{
    (void)state;
    assert_answer(served,
                  "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"id -u; id -g; echo $HOME\"],"
                  "\"user\":\"4711:4712\"}",
                  "{\"stdout\":\"4711\\n4712\\n/\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
    assert_answer(served,
                  "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"id -u; echo $HOME\"],\"user\":\"root\","
                  "\"env\":{\"A\":\"1\"}}",
                  "{\"stdout\":\"0\\n/root\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
    assert_answer_has(
        served, "{\"action\":\"exec\",\"args\":[\"true\"],\"user\":\"no-such-user\",\"stream\":true}",
        "{\"exit_code\":1,\"error\":\"LookupError: the image's user 'no-such-user' is not in its "
        "/etc/passwd\",\"code\":126}\n");
}

static void environment_folder_and_input(void **state)
{
    (void)state;
    assert_answer(served,
                  "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"echo $A $HOME; pwd; cat\"],"
                  "\"env\":{\"A\":\"1\",\"HOME\":\"/h\"},\"cwd\":\"/proc\",\"stdin_base64\":\"aW4K\"}",
                  "{\"stdout\":\"1 /h\\n/proc\\nin\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
    assert_answer(served, "{\"action\":\"exec\",\"args\":[\"env\"],\"env\":{\"PATH\":\"/nowhere\"}}",
                  "{\"error\":\"FileNotFoundError: [Errno 2] No such file or directory: 'env'\","
                  "\"traceback\":\"FileNotFoundError: [Errno 2] No such file or directory: 'env'\","
                  "\"exit_code\":1,\"code\":127}\n");
}

/* A request with 3 MiB of input. */
static char *request_with_input(const char *program)
{
    size_t length = (size_t)4 << 20;
    size_t size = length + 128;
    char *request = malloc(size);
    int head = snprintf(request, size, "{\"action\":\"exec\",\"args\":[%s],\"stdin_base64\":\"", program);
    memset(request + head, 'A', length);
    snprintf(request + head + length, 3, "\"}");
    return request;
}

static void input_of_many_bytes(void **state)
{
    (void)state;
    char *request = request_with_input("\"wc\",\"-c\"");
    assert_answer(served, request, "{\"stdout\":\"3145728\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
    free(request);
}

static void input_that_nobody_reads_is_no_error(void **state)
{
    (void)state;
    char *request = request_with_input("\"true\"");
    assert_answer(served, request, "{\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":0}\n");
    free(request);
}

/* The whole of a request's input when it comes behind the request, at once and bit by bit. */
static void input_that_follows_the_request(void **state)
{
    (void)state;
    int fd = client_connect(served);
    client_send(fd, "{\"action\":\"exec\",\"args\":[\"cat\"],\"stdin\":\"follows\"}\nfirst\n");
    clock_sleep_ms(100);
    client_send(fd, "second\n");
    shutdown(fd, SHUT_WR);
    char *reply = client_receive(fd);
    assert_string_equal(reply, "{\"stdout\":\"first\\nsecond\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
    free(reply);

    size_t length = (size_t)100 << 20; /* more than a request may have */
    char *input = malloc(length + 1);
    memset(input, 'i', length);
    input[length] = '\0';
    fd = client_connect(served);
    client_send(fd, "{\"action\":\"exec\",\"args\":[\"wc\",\"-c\"],\"stdin\":\"follows\",\"stream\":true}\n");
    client_send(fd, input);
    shutdown(fd, SHUT_WR);
    reply = client_receive(fd);
    assert_string_equal(reply,
                        "{\"stream\":\"stdout\",\"data_base64\":\"MTA0ODU3NjAwCg==\"}\n{\"exit_code\":0}\n");
    free(reply);
    free(input);
}

static void input_that_nobody_reads_does_not_hold_up_the_end(void **state)
{
    (void)state;
    int fd = client_connect(served);
    client_send(fd, "{\"action\":\"exec\",\"args\":[\"true\"],\"stdin\":\"follows\"}\n");
    char *reply = client_receive(fd); /* our side stays open */
    assert_string_equal(reply, "{\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":0}\n");
    free(reply);
}

/* Gone, or a zombie that whoever adopted it has not reaped. */
static bool has_ended(pid_t pid)
{
    char path[64];
    char text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    const char *name_end = strrchr(text, ')');
    return got <= 0 || !name_end || name_end[2] == 'Z' || name_end[2] == 'X';
}

static void assert_ends(pid_t pid)
{
    for (int64_t end = clock_now_ms() + 5000; !has_ended(pid) && clock_now_ms() < end;)
        clock_sleep_ms(10);
    assert_true(has_ended(pid));
}

static pid_t read_pid(const char *path)
{
    char text[16] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    unlink(path);
    return (pid_t)strtol(text, NULL, 10);
}

static void a_timeout_kills_grandchildren_that_hold_the_pipe(void **state)
{
    (void)state;
    char path[] = "/tmp/agent-test-XXXXXX";
    char request[256];
    close(mkstemp(path));
    snprintf(request, sizeof request,
             "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"sleep 300 & echo $! > %s; sleep 300\"],"
             "\"timeout\":1}",
             path);
    int64_t began = clock_now_ms();
    assert_answer_has(served, request, "{\"error\":\"TimeoutExpired: Command '['sh', '-c', 'sleep 300 & ");
    assert_in_range(clock_now_ms() - began, 1000, 10000);
    assert_ends(read_pid(path));
}

static void a_timeout_kills_the_program(void **state)
{
    (void)state;
    assert_answer_has(served, "{\"action\":\"exec\",\"args\":[\"sleep\",\"300\"],\"timeout\":0.2}",
                      "timed out after 0.2 seconds\",\"traceback\":");
    assert_answer_has(served,
                      "{\"action\":\"exec\",\"args\":[\"sleep\",\"300\"],\"timeout\":0.2,\"stream\":true}",
                      "{\"exit_code\":1,\"error\":\"TimeoutExpired: ");
}

static void a_background_program_without_the_pipe_lives_on(void **state)
{
    (void)state;
    char path[] = "/tmp/agent-test-XXXXXX";
    char request[256];
    close(mkstemp(path));
    snprintf(request, sizeof request,
             "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"sleep 300 >/dev/null 2>&1 & echo $! > %s\"]}",
             path);
    assert_answer(served, request, "{\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":0}\n");
    pid_t pid = read_pid(path);
    assert_false(has_ended(pid));
    kill(pid, SIGKILL);
}

static void exec_ends_with_its_program_and_the_job_goes_on(void **state)
{
    (void)state;
    static const char *const replies[] = {
        "{\"stdout\":\"started\\n\",\"stderr\":\"\",\"exit_code\":3}\n",
        "{\"stream\":\"stdout\",\"data_base64\":\"c3RhcnRlZAo=\"}\n{\"exit_code\":3}\n",
    };
    for (int stream = 0; stream < 2; stream++) {
        char path[] = "/tmp/agent-test-XXXXXX";
        char request[256];
        close(mkstemp(path));
        snprintf(request, sizeof request,
                 "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"sleep 300 & echo $! > %s; echo started; "
                 "exit 3\"],"
                 "\"stream\":%s}",
                 path, stream ? "true" : "false");
        assert_answer(served, request, replies[stream]);
        pid_t pid = read_pid(path);
        assert_false(has_ended(pid));
        kill(pid, SIGKILL);
    }
}

/* It has more to say than a pipe holds. */
static void a_job_that_goes_on_writing_neither_dies_nor_stands_still(void **state)
{
    (void)state;
    char path[] = "/tmp/agent-test-XXXXXX";
    char request[256];
    close(mkstemp(path));
    snprintf(request, sizeof request,
             "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"(sleep 1; seq 1 100000; rm %s) & exit 0\"]}",
             path);
    assert_answer(served, request, "{\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":0}\n");
    for (int i = 0; i < 1000 && access(path, F_OK) == 0; i++)
        clock_sleep_ms(10);
    assert_int_equal(access(path, F_OK), -1);
}

static void what_is_in_the_pipe_at_the_end_comes_at_the_pace_of_the_client(void **state)
{
    (void)state;
    int fd = client_connect(served);
    client_send(
        fd, "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"sleep 30 & head -c 6000000 /dev/zero; kill $!\"],"
            "\"stream\":true}\n");
    clock_sleep_ms(1000); /* nobody reads */
    struct line line;
    line_init(&line, fd, LINE_MAX_LENGTH);
    ssize_t total = 0;
    while (line_read(&line) > 0 && strstr(line.data, "\"stream\"")) {
        char *data = strstr(line.data, "data_base64\":\"") + strlen("data_base64\":\"");
        total += base64_decode(data, strcspn(data, "\""), (unsigned char *)data);
    }
    assert_int_equal(total, 6000000);
    assert_string_equal(line.data, "{\"exit_code\":0}");
    close(fd);
    line_free(&line);
}

static char *ask_from(const struct served *to, uint32_t address)
{
    struct sockaddr_in ours = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    struct sockaddr_in theirs = {.sin_family = AF_INET, .sin_port = htons(to->port)};
    theirs.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = opened(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(bind(fd, (struct sockaddr *)&ours, sizeof ours), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&theirs, sizeof theirs), 0);
    clock_sleep_ms(100); /* it is closed unread: what is sent later would be answered by a reset */
    char reply[64] = "";
    if (send(fd, "{\"action\":\"unmount\"}\n", 21, MSG_NOSIGNAL) == 21)
        (void)!recv(fd, reply, sizeof reply - 1, 0);
    close(fd);
    return strdup(reply);
}

static void only_the_hosts_end_of_the_cable_is_answered(void **state)
{
    (void)state;
    struct served *guarded = serve(&(struct agent_options){.client.s_addr = htonl(INADDR_LOOPBACK + 1)});
    char *reply = ask_from(guarded, INADDR_LOOPBACK + 1);
    assert_string_equal(reply, "{\"busy\":[]}\n");
    free(reply);
    reply = ask_from(guarded, INADDR_LOOPBACK);
    assert_string_equal(reply, "");
    free(reply);
}

static void connections_do_not_wait_for_each_other(void **state)
{
    (void)state;
    int slow = client_connect(served);
    client_send(slow, "{\"action\":\"exec\",\"args\":[\"sleep\",\"2\"]}\n");
    int64_t began = clock_now_ms();
    assert_answer_has(served, "{\"action\":\"ping\"}", "pong");
    assert_true(clock_now_ms() - began < 1500);
    free(client_receive(slow));
}

/* FNV-1a of what "seq 1 BIG_LAST" prints. */
static uint64_t hash_byte(uint64_t hash, unsigned char byte)
{
    return (hash ^ byte) * 0x100000001b3u;
}

static uint64_t big_hash(uint64_t *total)
{
    uint64_t hash = 0xcbf29ce484222325u;
    char digits[16] = "0";
    size_t length = 1;
    for (int i = 0; i < BIG_LAST; i++) {
        size_t at = length;
        while (at > 0 && digits[at - 1] == '9')
            digits[--at] = '0';
        if (at > 0) {
            digits[at - 1]++;
        } else {
            memmove(digits + 1, digits, length++);
            digits[0] = '1';
        }
        for (size_t c = 0; c < length; c++)
            hash = hash_byte(hash, (unsigned char)digits[c]);
        hash = hash_byte(hash, '\n');
        *total += length + 1;
    }
    return hash;
}

static void big_output_comes_whole(void **state)
{
    (void)state;
    static const char head[] = "{\"stdout\":\"";
    uint64_t expected_total = 0;
    uint64_t expected = big_hash(&expected_total);
    assert_true(expected_total > (uint64_t)100 << 20);
    char request[128];
    snprintf(request, sizeof request, "{\"action\":\"exec\",\"args\":[\"seq\",\"1\",\"%d\"],\"timeout\":100}",
             BIG_LAST);

    char *reply = ask(served, request);

    assert_memory_equal(reply, head, sizeof head - 1);
    uint64_t hash = 0xcbf29ce484222325u;
    uint64_t total = 0;
    const char *at = reply + sizeof head - 1;
    for (; *at && *at != '"'; at++, total++) {
        if (*at == '\\')
            assert_int_equal(*++at, 'n');
        hash = hash_byte(hash, *at == 'n' ? '\n' : (unsigned char)*at);
    }
    assert_int_equal(total, expected_total);
    assert_true(hash == expected);
    assert_string_equal(at, "\",\"stderr\":\"\",\"exit_code\":0}\n");
    free(reply);
}

static void text_is_not_broken_where_the_spool_is_cut(void **state)
{
    (void)state;
    /* Three bytes a letter, 3 MiB: the cuts at 64 KiB fall into letters. */
    char *reply = ask(served, "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"yes "
                              "'\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac' | head -c 3145720\"]}");
    assert_null(strstr(reply, "\xef\xbf\xbd"));
    assert_true(strlen(reply) > 3145720);
    free(reply);
}

static void a_stream_is_whole_and_binary(void **state)
{
    (void)state;
    uint64_t expected_total = 0;
    uint64_t expected = big_hash(&expected_total);
    char request[128];
    snprintf(request, sizeof request,
             "{\"action\":\"exec\",\"args\":[\"seq\",\"1\",\"%d\"],\"timeout\":100,\"stream\":true}\n",
             BIG_LAST);
    struct line line;
    line_init(&line, client_connect(served), LINE_MAX_LENGTH);
    client_send(line.fd, request);
    static const char head[] = "{\"stream\":\"stdout\",\"data_base64\":\"";
    uint64_t hash = 0xcbf29ce484222325u;
    uint64_t total = 0;
    while (line_read(&line) > 0 && strncmp(line.data, head, sizeof head - 1) == 0) {
        char *data = line.data + sizeof head - 1;
        ssize_t length = base64_decode(data, strcspn(data, "\""), (unsigned char *)data);
        assert_true(length > 0);
        for (ssize_t i = 0; i < length; i++)
            hash = hash_byte(hash, (unsigned char)data[i]);
        total += (uint64_t)length;
    }
    assert_string_equal(line.data, "{\"exit_code\":0}");
    assert_int_equal(line_read(&line), 0);
    assert_int_equal(total, expected_total);
    assert_true(hash == expected);
    close(line.fd);
    line_free(&line);
    assert_answer(served,
                  "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"printf '\\\\000\\\\377' >&2; exit 7\"],"
                  "\"stream\":true}",
                  "{\"stream\":\"stderr\",\"data_base64\":\"AP8=\"}\n{\"exit_code\":7}\n");
}

/* Reads the program's number from the first line of its stream. */
static pid_t first_pid(int fd)
{
    struct line line;
    line_init(&line, fd, LINE_MAX_LENGTH);
    assert_int_equal(line_read(&line), 1);
    char *data = strstr(line.data, "\"data_base64\":\"");
    assert_non_null(data);
    data += strlen("\"data_base64\":\"");
    ssize_t length = base64_decode(data, strcspn(data, "\""), (unsigned char *)data);
    assert_true(length > 0);
    data[length] = '\0';
    pid_t pid = (pid_t)strtol(data, NULL, 10);
    line_free(&line);
    return pid;
}

static void a_silent_stream_dies_with_its_client(void **state)
{
    (void)state;
    int fd = client_connect(served);
    client_send(fd, "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"echo $$; sleep 300\"],\"stream\":true,"
                    "\"timeout\":300}\n");
    pid_t pid = first_pid(fd);
    struct linger reset = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    assert_ends(pid);
}

static void a_flowing_stream_waits_for_its_client_and_dies_with_it(void **state)
{
    (void)state;
    int fd = client_connect(served);
    client_send(fd, "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"echo $$; sleep 0.2; exec yes\"],"
                    "\"stream\":true,\"timeout\":300}\n");
    shutdown(fd, SHUT_WR);
    pid_t pid = first_pid(fd);
    clock_sleep_ms(1500); /* nobody reads */
    assert_false(has_ended(pid));
    close(fd);
    assert_ends(pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ping_has_all_fields),
        cmocka_unit_test(a_guest_without_volumes_unmounts_and_mounts_none),
        cmocka_unit_test(a_line_without_newline_is_answered),
        cmocka_unit_test(a_client_that_does_not_half_close_is_answered),
        cmocka_unit_test(an_empty_connection_is_closed_silently),
        cmocka_unit_test(hostile_requests_get_an_error),
        cmocka_unit_test(a_request_that_is_too_long_gets_an_error),
        cmocka_unit_test(exit_codes_and_signals),
        cmocka_unit_test(output_that_is_no_text_is_replaced),
        cmocka_unit_test(a_program_that_cannot_start),
        cmocka_unit_test(failures_have_a_code),
        cmocka_unit_test(what_a_program_wrote_before_its_timeout_is_delivered),
        cmocka_unit_test(a_program_runs_as_the_user_that_is_asked_for),
        cmocka_unit_test(environment_folder_and_input),
        cmocka_unit_test(input_of_many_bytes),
        cmocka_unit_test(input_that_nobody_reads_is_no_error),
        cmocka_unit_test(input_that_follows_the_request),
        cmocka_unit_test(input_that_nobody_reads_does_not_hold_up_the_end),
        cmocka_unit_test(a_timeout_kills_grandchildren_that_hold_the_pipe),
        cmocka_unit_test(a_timeout_kills_the_program),
        cmocka_unit_test(a_background_program_without_the_pipe_lives_on),
        cmocka_unit_test(exec_ends_with_its_program_and_the_job_goes_on),
        cmocka_unit_test(a_job_that_goes_on_writing_neither_dies_nor_stands_still),
        cmocka_unit_test(what_is_in_the_pipe_at_the_end_comes_at_the_pace_of_the_client),
        cmocka_unit_test(only_the_hosts_end_of_the_cable_is_answered),
        cmocka_unit_test(connections_do_not_wait_for_each_other),
        cmocka_unit_test(big_output_comes_whole),
        cmocka_unit_test(text_is_not_broken_where_the_spool_is_cut),
        cmocka_unit_test(a_stream_is_whole_and_binary),
        cmocka_unit_test(a_silent_stream_dies_with_its_client),
        cmocka_unit_test(a_flowing_stream_waits_for_its_client_and_dies_with_it),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
