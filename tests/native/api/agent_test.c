/* SPDX-License-Identifier: Apache-2.0 */
/* Children with an agent, that of guests/agent: they take their identity, and answer as long as they live. */
#include "snapshot.h"

#include <pthread.h>
#include <sys/wait.h>

#define AGENT_PORT 8888u
#define PATTERN "0123456789abcdefghijklmnopqrstuv"
#define MEBIBYTES (8u << 20)
#define CONNECTIONS 64
#ifdef __SANITIZE_ADDRESS__
#define IDLE_CHILDREN 20 /* each has a sanitizer's memory of its own */
#else
#define IDLE_CHILDREN 200
#endif

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct forkd_error error = {0};
    fixture->folder = folder_make();
    folder_file(&fixture->folder, "memory.bin", fixture->memory, sizeof fixture->memory);
    folder_file(&fixture->folder, "vmstate", fixture->vmstate, sizeof fixture->vmstate);
    struct forkd_boot_options options = boot_options(GUEST("agent"));
    options.flags = 0;
    struct forkd_vm *vm = boot(&options);
    struct forkd_vm_status status;
    OK(forkd_vm_wait(vm, 20000, &status, &error));
    if (status.phase != FORKD_VM_READY)
        fail_msg("the guest did not say hello: %s", status.error.text);
    OK(forkd_vm_snapshot(vm, fixture->folder.path, &error));
    forkd_vm_free(vm);
    fixture->options = (struct forkd_server_options){
        .vmm_path = FORKD_VMM, .memory_path = fixture->memory, .vmstate_path = fixture->vmstate};
    *state = fixture;
    return 0;
}

static struct forkd_vm *fork_child(struct forkd_server *server, const char *hostname)
{
    struct forkd_error error = {0};
    struct forkd_vm *child = NULL;
    struct forkd_child_options options = {.hostname = hostname};
    OK(forkd_server_fork(server, &options, &child, &error));
    return child;
}

static void await_ready(struct forkd_vm *child)
{
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    OK(forkd_vm_wait(child, 60000, &status, &error));
    if (status.phase != FORKD_VM_READY)
        fail_msg("the child ended: %s", status.error.text);
}

static int open_request(struct forkd_vm *child, const char *request)
{
    struct forkd_error error = {0};
    int fd = -1;
    OK(forkd_vm_connect(child, AGENT_PORT, &fd, &error));
    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    return fd;
}

/* All that comes until the agent closes. */
static size_t read_all(int fd, char *reply, size_t size)
{
    size_t length = 0;
    ssize_t got = 1;
    while (got > 0 && length < size) {
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        if (poll(&polled, 1, 60000) != 1)
            fail_msg("no end of the answer after %zu bytes", length);
        got = read(fd, reply + length, size - length);
        length += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    return length;
}

static void assert_answer(struct forkd_vm *child, const char *request, const char *answer)
{
    char reply[4096] = "";
    int fd = open_request(child, request);
    shutdown(fd, SHUT_WR);
    read_all(fd, reply, sizeof reply - 1);
    assert_string_equal(reply, answer);
}

static void child_has_its_identity_and_its_own_memory(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *one = fork_child(server, "one");
    struct forkd_vm *two = fork_child(server, "two");
    await_ready(one);
    await_ready(two);
    assert_answer(one, "{\"action\":\"ping\"}\n",
                  "{\"pong\":true,\"numpy_version\":\"not-installed\",\"pid\":1,\"agent_lang\":\"python\","
                  "\"warmup_ready\":false}\n");
    assert_answer(one, "{\"action\":\"eval\",\"code\":\"hostname\"}\n",
                  "{\"result\":\"'one'\",\"exit_code\":0}\n");
    assert_answer(two, "{\"action\":\"eval\",\"code\":\"hostname\"}\n",
                  "{\"result\":\"'two'\",\"exit_code\":0}\n");
    assert_answer(one, "{\"action\":\"eval\",\"code\":\"count\"}\n", "{\"result\":\"1\",\"exit_code\":0}\n");
    assert_answer(one, "{\"action\":\"eval\",\"code\":\"count\"}\n", "{\"result\":\"2\",\"exit_code\":0}\n");
    assert_answer(two, "{\"action\":\"eval\",\"code\":\"count\"}\n", "{\"result\":\"1\",\"exit_code\":0}\n");
    forkd_vm_free(one);
    forkd_vm_free(two);
    forkd_server_free(server);
}

/* A folder on a file system of 16 KiB, which the state alone is more than. */
static void child_goes_on_after_a_snapshot_that_failed(void **state)
{
    struct fixture *fixture = *state;
    char mount[128];
    char other[128];
    char command[512];
    folder_file(&fixture->folder, "small", mount, sizeof mount);
    folder_file(&fixture->folder, "other", other, sizeof other);
    snprintf(command, sizeof command, "mkdir '%s' '%s' && mount -t tmpfs -o size=16k none '%s'", mount, other,
             mount);
    if (system(command) != 0)
        fail_msg("cannot mount a tmpfs: run the native tests as root");
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_child(server, "child");
    struct forkd_error error = {0};
    await_ready(child);
    assert_answer(child, "{\"action\":\"eval\",\"code\":\"count\"}\n",
                  "{\"result\":\"1\",\"exit_code\":0}\n");
    int result = forkd_vm_snapshot(child, mount, &error);
    snprintf(command, sizeof command, "umount '%s'", mount);
    assert_int_equal(system(command), 0);
    assert_int_equal(result, -ENOSPC);
    assert_answer(child, "{\"action\":\"eval\",\"code\":\"count\"}\n",
                  "{\"result\":\"2\",\"exit_code\":0}\n");
    OK(forkd_vm_snapshot(child, other, &error));
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* As uploads and downloads of files do it. */
static void file_that_was_written_is_read_back(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_child(server, "child");
    await_ready(child);
    assert_answer(child,
                  "{\"action\":\"exec\",\"args\":[\"/bin/bash\",\"-l\",\"-c\",\"cat > '/tmp/a b'\"],"
                  "\"stdin\":\"follows\",\"stream\":true}\n{\"a\\line\n",
                  "{\"exit_code\":0}\n");
    assert_answer(child, "{\"action\":\"exec\",\"args\":[\"cat\",\"/tmp/a b\"]}\n",
                  "{\"stdout\":\"{\\\"a\\\\line\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void commands_answer_in_both_forms(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_child(server, "child");
    await_ready(child);
    assert_answer(child, "{\"action\":\"exec\",\"args\":[\"echo\",\"a \\u00e9\\\"\"]}\n",
                  "{\"stdout\":\"a \xc3\xa9\\\"\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
    assert_answer(child, "{\"action\":\"exec\",\"args\":[\"echo\",\"hi\"],\"stream\":true}\n",
                  "{\"stream\":\"stdout\",\"data_base64\":\"aGkK\"}\n{\"exit_code\":0}\n");
    assert_answer(
        child,
        "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"echo $X > f; cat f; echo 'no'  >&2; exit 3\"],"
        "\"env\":{\"X\":\"y z\"}}\n",
        "{\"stdout\":\"y z\\n\",\"stderr\":\"no\\n\",\"exit_code\":3}\n");
    assert_answer(child, "{\"action\":\"exec\",\"args\":[\"cat\"],\"stdin_base64\":\"aGVsbG8=\"}\n",
                  "{\"stdout\":\"hello\",\"stderr\":\"\",\"exit_code\":0}\n");
    assert_answer(child,
                  "{\"action\":\"exec\",\"args\":[\"cat\"],\"stdin\":\"follows\",\"stream\":true}\nabc",
                  "{\"stream\":\"stdout\",\"data_base64\":\"YWJj\"}\n{\"exit_code\":0}\n");
    assert_answer(
        child, "{\"action\":\"exec\",\"args\":[\"nope\"],\"stream\":true}\n",
        "{\"exit_code\":1,\"error\":\"FileNotFoundError: [Errno 2] No such file or directory: 'nope'\","
        "\"code\":127}\n");
    assert_answer(child,
                  "{\"action\":\"exec\",\"args\":[\"sleep\",\"60\"],\"timeout\":0.2,\"stream\":true}\n",
                  "{\"exit_code\":1,\"error\":\"TimeoutExpired: Command '['sleep', '60']' timed out after 0 "
                  "seconds\",\"code\":124}\n");
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* Through the guest's memory of what it may send, which is far less. */
static void long_output_arrives_whole(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_child(server, "child");
    await_ready(child);
    char *reply = malloc(MEBIBYTES + 4096);
    int fd = open_request(child, "{\"action\":\"exec\",\"args\":[\"write\",\"8388608\"]}\n");
    size_t length = read_all(fd, reply, MEBIBYTES + 4096);
    assert_int_equal(length,
                     strlen("{\"stdout\":\"") + MEBIBYTES + strlen("\",\"stderr\":\"\",\"exit_code\":0}\n"));
    for (size_t i = 0; i < MEBIBYTES; i += sizeof PATTERN - 1)
        assert_memory_equal(reply + strlen("{\"stdout\":\"") + i, PATTERN, sizeof PATTERN - 1);
    free(reply);
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* More than the guest has room for, so that it has to give credit as it goes on. */
static void long_input_comes_back(void **state)
{
    enum { LENGTH = 512 << 10 };
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_child(server, "child");
    await_ready(child);
    char *input = malloc(LENGTH);
    char *reply = malloc(LENGTH + 4096);
    for (size_t i = 0; i < LENGTH; i++)
        input[i] = (char)('a' + i * i % 23);
    int fd = open_request(child,
                          "{\"action\":\"exec\",\"args\":[\"cat\"],\"stdin\":\"follows\",\"timeout\":600}\n");
    pid_t writer = fork();
    if (writer == 0)
        _exit(write(fd, input, LENGTH) == LENGTH && shutdown(fd, SHUT_WR) == 0 ? 0 : 1);
    size_t length = read_all(fd, reply, LENGTH + 4096);
    assert_int_equal(length,
                     strlen("{\"stdout\":\"") + LENGTH + strlen("\",\"stderr\":\"\",\"exit_code\":0}\n"));
    assert_memory_equal(reply + strlen("{\"stdout\":\""), input, LENGTH);
    int status = 0;
    assert_int_equal(waitpid(writer, &status, 0), writer);
    assert_int_equal(status, 0);
    free(input);
    free(reply);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void many_connections_are_open_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_child(server, "child");
    await_ready(child);
    int fds[CONNECTIONS];
    for (int i = 0; i < CONNECTIONS; i++)
        fds[i] = open_request(child, "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"sleep 1; echo hi\"]}\n");
    for (int i = 0; i < CONNECTIONS; i++) {
        char reply[128] = "";
        read_all(fds[i], reply, sizeof reply - 1);
        assert_string_equal(reply, "{\"stdout\":\"hi\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
    }
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* What its parent was doing for others is over in a child, and goes on in the parent. */
static void branch_of_a_busy_guest_answers(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *source = fork_child(server, "source");
    await_ready(source);
    int flood = open_request(source, "{\"action\":\"exec\",\"args\":[\"hostile\",\"endless\"]}\n");
    int slow = open_request(source, "{\"action\":\"exec\",\"args\":[\"slow\",\"10\"],\"stream\":true}\n");
    int late = open_request(source, "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"sleep 2; echo hi\"]}\n");
    assert_answer(source, "{\"action\":\"eval\",\"code\":\"count\"}\n",
                  "{\"result\":\"1\",\"exit_code\":0}\n");
    for (int round = 0; round < 5; round++) {
        struct forkd_error error = {0};
        struct folder folder = folder_make();
        const struct forkd_branch_options options = {.directory = folder.path};
        struct forkd_server *twin = NULL;
        OK(forkd_vm_branch(source, &options, &twin, NULL, &error));
        struct forkd_vm *child = fork_child(twin, "child");
        await_ready(child);
        assert_answer(child, "{\"action\":\"eval\",\"code\":\"hostname\"}\n",
                      "{\"result\":\"'child'\",\"exit_code\":0}\n");
        assert_answer(child, "{\"action\":\"eval\",\"code\":\"count\"}\n",
                      "{\"result\":\"2\",\"exit_code\":0}\n");
        forkd_vm_free(child);
        forkd_server_free(twin);
        folder_remove(&folder);
    }
    char reply[8192] = "";
    read_all(late, reply, sizeof reply - 1);
    assert_string_equal(reply, "{\"stdout\":\"hi\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
    memset(reply, 0, sizeof reply);
    read_all(slow, reply, sizeof reply - 1);
    assert_non_null(strstr(reply, "\n{\"exit_code\":0}\n"));
    close(flood);
    forkd_vm_free(source);
    forkd_server_free(server);
}

static struct forkd_reset_options as(const char *hostname)
{
    return (struct forkd_reset_options){.hostname = hostname};
}

/* With nothing of the life before: neither its name, nor what it counted, nor what it was asked. */
static void reset_child_has_a_new_identity(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_vm_status before;
    struct forkd_vm_status after;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_child(server, "first");
    await_ready(child);
    OK(forkd_vm_wait(child, 0, &before, &error));
    for (int round = 0; round < 20; round++) {
        int endless = open_request(child, "{\"action\":\"exec\",\"args\":[\"sleep\",\"60\"]}\n");
        assert_answer(child, "{\"action\":\"eval\",\"code\":\"count\"}\n",
                      "{\"result\":\"1\",\"exit_code\":0}\n");
        assert_answer(child, "{\"action\":\"eval\",\"code\":\"count\"}\n",
                      "{\"result\":\"2\",\"exit_code\":0}\n");
        const struct forkd_reset_options options = as(round % 2 == 0 ? "second" : "third");
        OK(forkd_vm_reset(child, &options, &error));
        char reply[64];
        assert_int_equal(read_all(endless, reply, sizeof reply), 0);
        await_ready(child);
        assert_answer(child, "{\"action\":\"eval\",\"code\":\"hostname\"}\n",
                      round % 2 == 0 ? "{\"result\":\"'second'\",\"exit_code\":0}\n"
                                     : "{\"result\":\"'third'\",\"exit_code\":0}\n");
    }
    OK(forkd_vm_wait(child, 0, &after, &error));
    assert_int_equal(after.pid, before.pid);
    forkd_vm_free(child);
    forkd_server_free(server);
}

struct second_reset {
    struct forkd_vm *vm;
    int result;
};

static void *reset_again(void *argument)
{
    struct second_reset *second = argument;
    const struct forkd_reset_options options = as("again");
    second->result = forkd_vm_reset(second->vm, &options, NULL);
    return NULL;
}

static void *continue_later(void *argument)
{
    sleep(2);
    kill(*(int *)argument, SIGCONT);
    return NULL;
}

/* Two ask while it is stopped: it hears both before its guest has answered to the first. */
static void child_that_is_not_ready_is_not_reset(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    const char *control = FILE_IN(fixture->folder, "control");
    struct forkd_server *server = start(fixture);
    const struct forkd_child_options child_options = {.hostname = "child", .control_path = control};
    struct forkd_vm *child = NULL;
    OK(forkd_server_fork(server, &child_options, &child, &error));
    await_ready(child);
    struct second_reset second = {0};
    OK(forkd_vm_attach(&second.vm, control, &error));
    OK(forkd_vm_wait(child, 0, &status, &error));
    const struct forkd_reset_options nameless = {0};
    assert_int_equal(forkd_vm_reset(child, &nameless, &error), -EINVAL);
    assert_answer(child, "{\"action\":\"eval\",\"code\":\"hostname\"}\n",
                  "{\"result\":\"'child'\",\"exit_code\":0}\n");
    pthread_t threads[2];
    assert_int_equal(kill(status.pid, SIGSTOP), 0);
    assert_int_equal(pthread_create(&threads[0], NULL, continue_later, &status.pid), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, reset_again, &second), 0);
    const struct forkd_reset_options options = as("again");
    int first = forkd_vm_reset(child, &options, &error);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    assert_int_equal(first + second.result, -EAGAIN);
    await_ready(child);
    assert_answer(child, "{\"action\":\"eval\",\"code\":\"hostname\"}\n",
                  "{\"result\":\"'again'\",\"exit_code\":0}\n");
    forkd_vm_kill(child);
    forkd_vm_free(child);
    forkd_vm_free(second.vm);
    forkd_server_free(server);
}

static void connect_line(int fd)
{
    char line[] = "CONNECT 8888\n{\"action\":\"eval\",\"code\":\"hostname\"}\n";
    assert_int_equal(write(fd, line, strlen(line)), strlen(line));
}

/* The socket stays; who comes while the guest is put back is answered by the new one. */
static void clients_wait_until_the_reset_child_is_ready(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_server *server = start(fixture);
    const char *path = FILE_IN(fixture->folder, "vsock");
    struct forkd_vm *child = NULL;
    const struct forkd_child_options child_options = {.hostname = "before", .vsock_path = path};
    OK(forkd_server_fork(server, &child_options, &child, &error));
    await_ready(child);
    struct stat socket_before;
    struct stat socket_after;
    assert_int_equal(stat(path, &socket_before), 0);
    for (int round = 0; round < 10; round++) {
        const struct forkd_reset_options options = as("after");
        OK(forkd_vm_reset(child, &options, &error));
        struct sockaddr_un address = socket_address(path);
        int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
        connect_line(client);
        char line[128] = "";
        for (size_t length = 0; strstr(line, "}\n") == NULL; length++) {
            struct pollfd polled = {.fd = client, .events = POLLIN};
            assert_true(length < sizeof line - 1 && poll(&polled, 1, 60000) == 1);
            assert_int_equal(read(client, line + length, 1), 1);
        }
        assert_non_null(strstr(line, "{\"result\":\"'after'\",\"exit_code\":0}\n"));
        close(client);
        await_ready(child);
    }
    assert_int_equal(stat(path, &socket_after), 0);
    assert_int_equal(socket_after.st_ino, socket_before.st_ino);
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* As a child that does not take its identity, one that was reset and does not is ended. */
static void reset_child_that_does_not_acknowledge_is_ended(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_child(server, "child");
    await_ready(child);
    const struct forkd_reset_options options = {.hostname = "child", .ready_timeout_ms = 1};
    OK(forkd_vm_wait(child, 0, &status, &error));
    int result = 0;
    for (int i = 0; i < 200 && result == 0; i++) { /* one that is faster than that is there again */
        OK(forkd_vm_reset(child, &options, &error));
        OK(forkd_vm_wait(child, 20000, &status, &error));
        result = status.phase == FORKD_VM_ENDED ? status.error.code : 0;
    }
    assert_int_equal(result, -ETIMEDOUT);
    assert_gone(status.pid);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void guest_that_is_told_to_powers_off_behind_its_answer(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_child(server, "child");
    await_ready(child);
    assert_answer(child, "{\"action\":\"shutdown\"}\n", "{\"exit_code\":0}\n");
    OK(forkd_vm_wait_end(child, 20000, &status, &error));
    assert_int_equal(status.end, FORKD_END_POWER_OFF);
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* In clock ticks: user and system time of a process. */
static long processor_time(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    long user = 0;
    long system = 0;
    assert_int_equal(
        fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &system), 2);
    fclose(file);
    return user + system;
}

static void idle_children_cost_no_processor_time(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    static struct forkd_vm *children[IDLE_CHILDREN];
    static struct forkd_vm_status status[IDLE_CHILDREN];
    struct forkd_error error = {0};
    for (int i = 0; i < IDLE_CHILDREN; i++)
        children[i] = fork_child(server, "child");
    for (int i = 0; i < IDLE_CHILDREN; i++)
        await_ready(children[i]);
    long before = 0;
    long after = 0;
    for (int i = 0; i < IDLE_CHILDREN; i++) {
        OK(forkd_vm_wait(children[i], 0, &status[i], &error));
        before += processor_time(status[i].pid);
    }
    sleep(2);
    for (int i = 0; i < IDLE_CHILDREN; i++)
        after += processor_time(status[i].pid);
    /* One that spun would alone have had two seconds. */
    assert_in_range(after - before, 0, sysconf(_SC_CLK_TCK) / 4);
    for (int i = 0; i < IDLE_CHILDREN; i++) {
        assert_answer(children[i], "{\"action\":\"eval\",\"code\":\"6 * 7\"}\n",
                      "{\"result\":\"42\",\"exit_code\":0}\n");
        forkd_vm_free(children[i]);
    }
    forkd_server_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(child_has_its_identity_and_its_own_memory),
        cmocka_unit_test(child_goes_on_after_a_snapshot_that_failed),
        cmocka_unit_test(file_that_was_written_is_read_back),
        cmocka_unit_test(commands_answer_in_both_forms),
        cmocka_unit_test(long_output_arrives_whole),
        cmocka_unit_test(long_input_comes_back),
        cmocka_unit_test(many_connections_are_open_at_once),
        cmocka_unit_test(branch_of_a_busy_guest_answers),
        cmocka_unit_test(reset_child_has_a_new_identity),
        cmocka_unit_test(child_that_is_not_ready_is_not_reset),
        cmocka_unit_test(clients_wait_until_the_reset_child_is_ready),
        cmocka_unit_test(reset_child_that_does_not_acknowledge_is_ended),
        cmocka_unit_test(guest_that_is_told_to_powers_off_behind_its_answer),
        cmocka_unit_test(idle_children_cost_no_processor_time),
    };
    return cmocka_run_group_tests(tests, set_up, remove_snapshot);
}
