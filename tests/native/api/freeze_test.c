/* SPDX-License-Identifier: Apache-2.0 */
/* Children that are frozen when nobody uses them; the guest ticks 100 times a second (guests/ticks.c). */
#include "snapshot.h"

#include <time.h>
#include <x86intrin.h>

#define AFTER_MS 200
#define PATIENCE 100 /* intervals of 100 ms */

/* What guests/ticks.c answers. */
struct answer {
    uint32_t ticks;
    uint64_t tsc;
} __attribute__((packed));

static int set_up(void **state)
{
    return make_snapshot_of(state, GUEST("ticks"));
}

/* How often threads of the process have waited for something. */
static unsigned long wakeups(int pid)
{
    char command[128];
    snprintf(command, sizeof command, "cat /proc/%d/task/*/status", pid);
    FILE *file = popen(command, "r");
    assert_non_null(file);
    char line[256];
    unsigned long all = 0;
    unsigned long one = 0;
    while (fgets(line, sizeof line, file) != NULL)
        all += sscanf(line, "voluntary_ctxt_switches: %lu", &one) == 1 ? one : 0;
    pclose(file);
    assert_true(all > 0);
    return all;
}

static unsigned long wakeups_in(int pid, useconds_t interval_us)
{
    unsigned long before = wakeups(pid);
    usleep(interval_us);
    return wakeups(pid) - before;
}

static void freeze(struct forkd_vm *vm, uint32_t after_ms)
{
    struct forkd_error error = {0};
    OK(forkd_vm_freeze(vm, after_ms, &error));
}

/* Three times as long as it takes until it is looked at the next time. */
static void wait_until_frozen(int pid)
{
    for (int i = 0; i < PATIENCE; i++) {
        if (wakeups_in(pid, 100000) == 0 && wakeups_in(pid, 100000) == 0)
            return;
    }
    fail_msg("it has not been frozen");
}

/* It wakes up more often than it would before it is frozen. */
static void stays_awake(int pid)
{
    unsigned long before = wakeups(pid);
    for (int i = 0; i < PATIENCE; i++) {
        if (wakeups(pid) - before >= 200)
            return;
        usleep(100000);
    }
    fail_msg("it sleeps");
}

static struct forkd_vm *fork_frozen(struct forkd_server *server, const char *vsock_path,
                                    struct forkd_vm_status *status)
{
    struct forkd_vm *child = fork_ready(server, vsock_path, status);
    freeze(child, AFTER_MS);
    wait_until_frozen(status->pid);
    return child;
}

static struct answer ask_over(int fd, const char *question)
{
    struct answer answer;
    assert_int_equal(write(fd, question, 1), 1);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 20000), 1);
    assert_int_equal(read(fd, &answer, sizeof answer), sizeof answer);
    return answer;
}

static int connect_to(struct forkd_vm *vm)
{
    struct forkd_error error = {0};
    int fd = -1;
    OK(forkd_vm_connect(vm, ANSWER_PORT, &fd, &error));
    return fd;
}

static struct answer ask(struct forkd_vm *vm, const char *question)
{
    int fd = connect_to(vm);
    struct answer answer = ask_over(fd, question);
    close(fd);
    return answer;
}

static void frozen_child_wakes_nobody(void **state)
{
    struct forkd_server *server = start(*state);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    stays_awake(status.pid);
    freeze(child, AFTER_MS);
    wait_until_frozen(status.pid);
    assert_int_equal(wakeups_in(status.pid, 2000000), 0);
    freeze(child, 0);
    stays_awake(status.pid);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void question_thaws_it_and_its_clock_has_gone_on(void **state)
{
    struct forkd_server *server = start(*state);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    struct answer before = ask(child, "?");
    uint64_t host_before = __rdtsc();
    freeze(child, AFTER_MS);
    wait_until_frozen(status.pid);
    usleep(2000000);
    struct answer after = ask(child, "?");
    uint64_t host = __rdtsc() - host_before;
    uint64_t guest = after.tsc - before.tsc;
    assert_true(guest > host / 10 * 9 && guest < host / 10 * 11);
    assert_true(after.ticks > before.ticks);
    assert_true(after.ticks < before.ticks + 150); /* 2 s would have been 200 */
    usleep(50000);
    assert_true(ask(child, "?").ticks > after.ticks); /* its timer goes on */
    wait_until_frozen(status.pid);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void client_of_its_socket_thaws_it(void **state)
{
    struct fixture *fixture = *state;
    const char *path = FILE_IN(fixture->folder, "vsock");
    struct forkd_server *server = start(fixture);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_frozen(server, path, &status);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_un address = socket_address(path);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    static const char request[] = "CONNECT 52\n";
    assert_int_equal(write(fd, request, sizeof request - 1), sizeof request - 1);
    char reply[32];
    assert_true(read(fd, reply, sizeof reply) > 3);
    assert_memory_equal(reply, "OK ", 3);
    assert_true(ask_over(fd, "?").ticks > 0);
    close(fd);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void who_is_connected_keeps_it_from_freezing(void **state)
{
    struct forkd_server *server = start(*state);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    int fd = connect_to(child);
    struct answer first = ask_over(fd, "?");
    freeze(child, AFTER_MS);
    usleep(2000000);
    assert_true(ask_over(fd, "?").ticks > first.ticks + 100);
    close(fd);
    wait_until_frozen(status.pid);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void guest_at_work_is_not_frozen(void **state)
{
    struct forkd_server *server = start(*state);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    struct answer first = ask(child, "b");
    freeze(child, AFTER_MS);
    usleep(2000000);
    struct answer second = ask(child, "?"); /* at work no more */
    assert_true(second.ticks > first.ticks + 50);
    wait_until_frozen(status.pid);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void branch_of_a_frozen_one_is_as_any(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_frozen(server, NULL, &status);
    struct forkd_error error = {0};
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "branch-%d", i);
        char *directory = FILE_IN(fixture->folder, name);
        assert_int_equal(mkdir(directory, 0700), 0);
        const struct forkd_branch_options options = {.directory = directory};
        struct forkd_server *twin = NULL;
        OK(forkd_vm_branch(child, &options, &twin, NULL, &error));
        struct forkd_vm_status twins;
        struct forkd_vm *of_branch = fork_ready(twin, NULL, &twins);
        struct answer answer = ask(of_branch, "?");
        usleep(50000);
        assert_true(ask(of_branch, "?").ticks > answer.ticks);
        stays_awake(twins.pid); /* it has not been asked to freeze */
        wait_until_frozen(status.pid);
        forkd_vm_free(of_branch);
        OK(forkd_server_wait_written(twin, 20000, &error));
        forkd_server_free(twin);
    }
    assert_true(ask(child, "?").ticks > 0);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void reset_of_a_frozen_one_is_as_any(void **state)
{
    struct forkd_server *server = start(*state);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_frozen(server, NULL, &status);
    struct forkd_error error = {0};
    const struct forkd_reset_options options = {0};
    for (int i = 0; i < 3; i++) {
        OK(forkd_vm_reset(child, &options, &error));
        OK(forkd_vm_wait(child, 20000, &status, &error));
        assert_int_equal(status.phase, FORKD_VM_READY);
        assert_true(ask(child, "?").ticks < 20); /* from the beginning */
        wait_until_frozen(status.pid);
    }
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void snapshot_of_a_frozen_one_is_as_any(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_frozen(server, NULL, &status);
    struct forkd_error error = {0};
    char *directory = FILE_IN(fixture->folder, "snapshot");
    assert_int_equal(mkdir(directory, 0700), 0);
    OK(forkd_vm_snapshot(child, directory, &error));
    forkd_vm_free(child);
    struct fixture written = *fixture;
    folder_file(&fixture->folder, "snapshot/memory.bin", written.memory, sizeof written.memory);
    folder_file(&fixture->folder, "snapshot/vmstate", written.vmstate, sizeof written.vmstate);
    written.options.memory_path = written.memory;
    written.options.vmstate_path = written.vmstate;
    struct forkd_server *again = start(&written);
    struct forkd_vm *second = fork_ready(again, NULL, &status);
    struct answer answer = ask(second, "?");
    usleep(50000);
    assert_true(ask(second, "?").ticks > answer.ticks);
    forkd_vm_free(second);
    forkd_server_free(again);
    forkd_server_free(server);
}

static void who_attaches_is_told_and_does_not_thaw_it(void **state)
{
    struct fixture *fixture = *state;
    const char *path = FILE_IN(fixture->folder, "control");
    struct forkd_server *server = start(fixture);
    struct forkd_error error = {0};
    struct forkd_vm *child = NULL;
    const struct forkd_child_options options = {.flags = FORKD_NO_AGENT, .control_path = path};
    OK(forkd_server_fork(server, &options, &child, &error));
    struct forkd_vm_status status;
    OK(forkd_vm_wait(child, 20000, &status, &error));
    for (uint32_t frozen = 0; frozen <= 1; frozen++) {
        struct forkd_vm *attached = NULL;
        OK(forkd_vm_attach(&attached, path, &error));
        OK(forkd_vm_wait(attached, 0, &status, &error));
        assert_int_equal(status.frozen, frozen);
        forkd_vm_free(attached);
        if (frozen)
            break;
        freeze(child, AFTER_MS);
        wait_until_frozen(status.pid);
    }
    usleep(100000);
    assert_int_equal(wakeups_in(status.pid, 1000000), 0);
    forkd_vm_kill(child);
    forkd_vm_free(child);
    assert_gone(status.pid);
    forkd_server_free(server);
}

static void too_soon_is_refused(void **state)
{
    struct forkd_server *server = start(*state);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    struct forkd_error error = {0};
    assert_int_equal(forkd_vm_freeze(child, 99, &error), -EINVAL);
    assert_string_equal(error.operation, "freeze");
    OK(forkd_vm_freeze(child, 0, &error));
    forkd_vm_free(child);
    forkd_server_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frozen_child_wakes_nobody),
        cmocka_unit_test(question_thaws_it_and_its_clock_has_gone_on),
        cmocka_unit_test(client_of_its_socket_thaws_it),
        cmocka_unit_test(who_is_connected_keeps_it_from_freezing),
        cmocka_unit_test(guest_at_work_is_not_frozen),
        cmocka_unit_test(branch_of_a_frozen_one_is_as_any),
        cmocka_unit_test(reset_of_a_frozen_one_is_as_any),
        cmocka_unit_test(snapshot_of_a_frozen_one_is_as_any),
        cmocka_unit_test(who_attaches_is_told_and_does_not_thaw_it),
        cmocka_unit_test(too_soon_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, remove_snapshot);
}
