/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMs on a disk of the host's that hangs, fails, or does things by halves (disk.h), with a guest that goes on
 * while it waits (guests/patient.c). Only the one who has to wait for the disk does.
 */
#include "disk.h"

#include <poll.h>
#include <time.h>

#define WAIT_MS 20000
#define MORE 5 /* of what shows that something goes on */
#define PORT 1000

struct fixture {
    struct folder folder;
    struct served_disk *disk;
    char console[128];
    struct forkd_vm *vm;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->folder = folder_make();
    f->disk = served_start();
    folder_file(&f->folder, "console", f->console, sizeof f->console);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    served_set(f->disk, SERVED_WELL, 0);
    forkd_vm_free(f->vm);
    served_end(f->disk);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

/* How often the guest has printed a character. */
static int count(const struct fixture *f, char wanted)
{
    int fd = open(f->console, O_RDONLY | O_CLOEXEC);
    int found = 0;
    char buffer[4096];
    ssize_t got;
    while ((got = read(fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            found += buffer[i] == wanted;
    }
    close(fd);
    return found;
}

static void await_more(const struct fixture *f, char wanted)
{
    int most = count(f, wanted) + MORE;
    for (int i = 0; i < WAIT_MS / 5; i++) {
        if (count(f, wanted) >= most)
            return;
        usleep(5000);
    }
    fail_msg("the guest prints no '%c' any more", wanted);
}

static void start(struct fixture *f, uint32_t mode, const char *command_line)
{
    struct forkd_error error = {0};
    const struct forkd_disk disk = {.path = f->disk->path, .mode = mode};
    struct forkd_boot_options options = boot_options(GUEST("patient"));
    options.disks = &disk;
    options.disk_count = 1;
    options.console_path = f->console;
    options.command_line = command_line;
    f->vm = boot(&options);
    OK(forkd_vm_wait(f->vm, WAIT_MS, NULL, &error));
}

static void start_and_hang(struct fixture *f, uint32_t mode, const char *command_line)
{
    start(f, mode, command_line);
    await_more(f, 'k');
    served_set(f->disk, SERVED_NEVER, 0);
    served_await_asked(f->disk);
}

static void ask(const struct fixture *f)
{
    struct forkd_error error = {0};
    int fd = -1;
    char answer = 0;
    OK(forkd_vm_connect(f->vm, PORT, &fd, &error));
    assert_int_equal(write(fd, "?", 1), 1);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&polled, 1, WAIT_MS), 1);
    assert_int_equal(read(fd, &answer, 1), 1);
    assert_int_equal(answer, '!');
    close(fd);
}

static int branch(const struct fixture *f, const char *name, struct forkd_error *error)
{
    char directory[128];
    struct forkd_server *server = NULL;
    const struct forkd_branch_options options = {
        .directory = folder_file(&f->folder, name, directory, sizeof directory)};
    assert_int_equal(mkdir(directory, 0700), 0);
    int result = forkd_vm_branch(f->vm, &options, &server, NULL, error);
    if (result == 0)
        result = forkd_server_wait_written(server, WAIT_MS, error);
    forkd_server_free(server);
    return result;
}

static void guest_and_monitor_go_on_while_a_disk_hangs(void **state)
{
    struct fixture *f = *state;
    struct forkd_vm_status status;
    struct forkd_error error = {0};
    start_and_hang(f, FORKD_DISK_READ_ONLY, "r");
    int done = count(f, 'k');
    await_more(f, '.');
    ask(f);
    OK(forkd_vm_wait(f->vm, 0, &status, &error));
    assert_int_equal(status.phase, FORKD_VM_READY);
    assert_int_equal(count(f, 'k') + count(f, 'e'), done);
}

static void what_needs_the_disk_fails_in_time_and_the_guest_goes_on(void **state)
{
    struct fixture *f = *state;
    struct forkd_error error = {0};
    start_and_hang(f, FORKD_DISK_READ_ONLY, "r");
    assert_int_equal(branch(f, "branch", &error), -ETIMEDOUT);
    assert_non_null(strstr(error.text, "storage"));
    await_more(f, '.');
    ask(f);
    char directory[128];
    assert_int_equal(mkdir(folder_file(&f->folder, "snapshot", directory, sizeof directory), 0700), 0);
    assert_int_equal(forkd_vm_snapshot(f->vm, directory, &error), -ETIMEDOUT);
    await_more(f, '.');
    ask(f);
    served_set(f->disk, SERVED_WELL, 0);
    await_more(f, 'k');
    assert_int_equal(branch(f, "later", &error), 0);
    await_more(f, 'k');
}

static void the_same_of_a_private_disk_that_is_written_to(void **state)
{
    struct fixture *f = *state;
    struct forkd_error error = {0};
    start(f, FORKD_DISK_PRIVATE, "w"); /* whole blocks: the image is not asked */
    await_more(f, 'k');
    served_set(f->disk, SERVED_NEVER, 0);
    await_more(f, 'k');
    assert_int_equal(branch(f, "branch", &error), 0);
    await_more(f, 'k');
}

static void a_shared_disk_that_hangs_holds_up_nobody_else(void **state)
{
    struct fixture *f = *state;
    start_and_hang(f, FORKD_DISK_SHARED, "w");
    await_more(f, '.');
    ask(f);
}

static void a_vm_is_killed_while_its_disk_hangs(void **state)
{
    struct fixture *f = *state;
    struct forkd_vm_status status;
    struct forkd_error error = {0};
    start_and_hang(f, FORKD_DISK_READ_ONLY, "r");
    time_t before = time(NULL);
    forkd_vm_kill(f->vm);
    assert_true(time(NULL) - before < 10);
    OK(forkd_vm_wait_end(f->vm, WAIT_MS, &status, &error));
    assert_int_equal(status.end, FORKD_END_KILLED);
}

static void errors_are_the_guests(void **state)
{
    struct fixture *f = *state;
    start(f, FORKD_DISK_READ_ONLY, "r");
    await_more(f, 'k');
    served_set(f->disk, SERVED_WELL, EIO);
    await_more(f, 'e');
    served_set(f->disk, SERVED_WELL, 0);
    await_more(f, 'k');
}

static void what_is_read_and_written_in_part_is_gone_on_with(void **state)
{
    struct fixture *f = *state;
    start(f, FORKD_DISK_SHARED, "w");
    served_set(f->disk, SERVED_IN_PART, 0);
    await_more(f, 'k');
    assert_int_equal(count(f, 'e'), 0);
}

static void a_host_without_room_shows(void **state)
{
    struct fixture *f = *state;
    struct forkd_vm_status status = {0};
    struct forkd_error error = {0};
    start(f, FORKD_DISK_SHARED, "w");
    served_set(f->disk, SERVED_WELL, ENOSPC);
    await_more(f, 'e');
    for (int i = 0; i < WAIT_MS / 10 && status.host_full == 0; i++) {
        OK(forkd_vm_wait(f->vm, 0, &status, &error));
        usleep(10000);
    }
    assert_int_equal(status.host_full, 1);
    assert_int_equal(branch(f, "branch", &error), -ENOSPC);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(guest_and_monitor_go_on_while_a_disk_hangs),
        TEST(what_needs_the_disk_fails_in_time_and_the_guest_goes_on),
        TEST(the_same_of_a_private_disk_that_is_written_to),
        TEST(a_shared_disk_that_hangs_holds_up_nobody_else),
        TEST(a_vm_is_killed_while_its_disk_hangs),
        TEST(errors_are_the_guests),
        TEST(what_is_read_and_written_in_part_is_gone_on_with),
        TEST(a_host_without_room_shows),
    };
    return cmocka_run_group_tests_name("bad disk", tests, NULL, NULL);
}
