/* SPDX-License-Identifier: Apache-2.0 */
/* Children whose memory's file cannot be read any more: KVM would try the same page for ever. */
#include "snapshot.h"

#define WITHIN_MS 20000
#define RINGS_AT 0x400000 /* guests/virtio.h */

/* With an error that names the file. */
static void assert_ended(struct forkd_vm *child, const struct fixture *fixture)
{
    struct forkd_error error = {0};
    struct forkd_vm_status status = {0};
    OK(forkd_vm_wait_end(child, WITHIN_MS, &status, &error));
    print_message("%s\n", status.error.text);
    assert_int_equal(status.end, FORKD_END_ERROR);
    assert_string_equal(status.error.object, fixture->memory);
    forkd_vm_free(child);
}

/* The file loses all that they read: from then on it fails as it does when the disk or fs-verity says so. */
static void assert_ends(const char *way)
{
    void *state;
    struct forkd_vm_status status = {0};
    make_snapshot_with(&state, GUEST("reader"), way, 1 << 20);
    struct fixture *fixture = state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    usleep(200000);
    assert_int_equal(truncate(fixture->memory, 0x1000000), 0);
    assert_ended(child, fixture);
    forkd_server_free(server);
    remove_snapshot(&state);
}

static void guest_that_takes_interrupts(void **state)
{
    (void)state;
    assert_ends("1");
}

static void guest_that_takes_none(void **state)
{
    (void)state;
    assert_ends("0");
}

static void guest_that_is_emulated(void **state)
{
    (void)state;
    assert_ends("e");
}

/* The device looks for what the driver has offered. */
static void device_of_a_guest(void **state)
{
    struct forkd_error error = {0};
    struct forkd_vm_status status = {0};
    int fd = -1;
    make_snapshot_of(state, GUEST("answer"));
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    usleep(200000); /* it halts */
    assert_int_equal(truncate(fixture->memory, RINGS_AT), 0);
    assert_int_equal(forkd_vm_connect(child, ANSWER_PORT, &fd, &error), -EPIPE);
    assert_ended(child, fixture);
    forkd_server_free(server);
    remove_snapshot(state);
}

/* Its first owner has gone, whose descriptor's number another has by now. */
static void device_of_a_detached_guest(void **state)
{
    struct forkd_error error = {0};
    struct forkd_vm *child = NULL;
    make_snapshot_of(state, GUEST("answer"));
    struct fixture *fixture = *state;
    char *socket_path = FILE_IN(fixture->folder, "vsock");
    char *control = FILE_IN(fixture->folder, "control");
    struct forkd_child_options options = {
        .flags = FORKD_NO_AGENT, .vsock_path = socket_path, .control_path = control};
    struct forkd_server *server = start(fixture);
    OK(forkd_server_fork(server, &options, &child, &error));
    OK(forkd_vm_wait(child, 20000, NULL, &error));
    forkd_vm_free(child);
    usleep(200000);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = socket_address(socket_path);
    char answer[512] = {0};
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(write(fd, "CONNECT 52\n", 11), 11);
    assert_true(read(fd, answer, sizeof answer) > 0);
    assert_memory_equal(answer, "OK ", 3);
    usleep(200000);
    assert_int_equal(truncate(fixture->memory, RINGS_AT), 0);
    assert_int_equal(write(fd, "p", 1), 1);
    assert_true(read(fd, answer, sizeof answer) <= 0);
    close(fd);
    forkd_server_free(server);
    remove_snapshot(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guest_that_takes_none),       cmocka_unit_test(guest_that_is_emulated),
        cmocka_unit_test(guest_that_takes_interrupts), cmocka_unit_test(device_of_a_guest),
        cmocka_unit_test(device_of_a_detached_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
