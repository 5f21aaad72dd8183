/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children that are put back to their snapshot, with a guest that counts in memory, registers and on its
 * disk, and stops with an E as soon as these do not fit together (guests/sequence.c).
 */
#include "sequence.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#define RESETS 200
#define KILLS 30 /* of a child, at random moments of its resets */

static int reset(struct forkd_vm *vm, struct forkd_error *error)
{
    const struct forkd_reset_options options = {0};
    return forkd_vm_reset(vm, &options, error);
}

static void reset_and_wait(struct forkd_vm *vm)
{
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    OK(reset(vm, &error));
    OK(forkd_vm_wait(vm, WAIT_MS, &status, &error));
    if (status.phase != FORKD_VM_READY)
        fail_msg("it ended: %s", status.error.text);
}

/* Every dot so far belongs to a life before, or stands for one that went right. */
static void wait_for_more_dots(const char *console)
{
    wait_for_dots(console, dots(console) + 2);
}

static uint64_t own_bytes(int pid)
{
    char path[64];
    char line[256];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    uint64_t kib = 0;
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "Anonymous: %lu", &kib) != 1) {
    }
    fclose(file);
    return kib << 10;
}

static void every_reset_is_of_one_instant(void **state)
{
    struct fixture *fixture = *state;
    char console[128];
    folder_file(&fixture->folder, "reset.console", console, sizeof console);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *child = fork_child(server, console, NULL);
    int pid = pid_of(child);
    wait_for_dots(console, 1); /* so that it has a top, then as at the end */
    char fds[64];
    snprintf(fds, sizeof fds, "/proc/%d/fd", pid);
    int open_before = count_files(fds);
    for (int i = 0; i < RESETS; i++) {
        usleep((useconds_t)(rand() % 3000));
        reset_and_wait(child);
        if (i % 10 == 0)
            wait_for_more_dots(console);
    }
    wait_for_more_dots(console);
    assert_int_equal(pid_of(child), pid);
    assert_int_equal(count_files(fds), open_before);
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* What it wrote is given back to the host, not only forgotten. */
static void reset_gives_memory_back(void **state)
{
    struct fixture *fixture = *state;
    char console[128];
    folder_file(&fixture->folder, "back.console", console, sizeof console);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *child = fork_child(server, console, NULL);
    wait_for_dots(console, 2); /* 256 pages at least */
    int pid = pid_of(child);
    assert_true(own_bytes(pid) >= 1 << 20);
    reset_and_wait(child);
    struct forkd_vm *fresh = fork_child(server, NULL, NULL); /* a sanitizer has memory of its own in each */
    assert_true(own_bytes(pid) < own_bytes(pid_of(fresh)) + (1 << 20) + (512 << 10)); /* with what it wrote */
    forkd_vm_free(fresh);
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* Branches of a life, its own reset in between: all go on, each with its own. */
static void reset_and_branches_leave_each_other_alone(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char console[128];
    folder_file(&fixture->folder, "branched.console", console, sizeof console);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *child = fork_child(server, console, NULL);
    for (int i = 0; i < 20; i++) {
        char directory[128];
        make_directory(fixture, "branch", directory, sizeof directory);
        wait_for_more_dots(console);
        struct forkd_server *twin = branch(child, directory, i % 2 == 0 ? 0 : FORKD_BRANCH_LAYER, NULL);
        reset_and_wait(child);
        assert_right(fixture, twin);
        OK(forkd_server_wait_written(twin, WAIT_MS, &error));
        forkd_server_free(twin);
        if (i % 2 == 0) { /* and of the files, whose children can be reset */
            struct forkd_server *again = start_flat(fixture, directory);
            char other[128];
            folder_file(&fixture->folder, "again.console", other, sizeof other);
            unlink(other);
            struct forkd_vm *second = fork_child(again, other, NULL);
            wait_for_dots(other, 1);
            reset_and_wait(second);
            wait_for_more_dots(other);
            forkd_vm_free(second);
            forkd_server_free(again);
        }
        remove_directory(directory);
    }
    wait_for_more_dots(console);
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* --- what is refused --------------------------------------------------------------------------------------
 */

static void assert_refused(struct forkd_vm *vm, int code, const char *why)
{
    struct forkd_error error = {0};
    assert_int_equal(reset(vm, &error), code);
    assert_string_equal(error.operation, "reset");
    if (strstr(error.text, why) == NULL)
        fail_msg("'%s' does not say '%s'", error.text, why);
}

static void child_of_a_branch_that_lives_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char console[128];
    char directory[128];
    folder_file(&fixture->folder, "twin.console", console, sizeof console);
    make_directory(fixture, "branch", directory, sizeof directory);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *source = fork_child(server, NULL, NULL);
    struct forkd_server *twin = branch(source, directory, 0, NULL);
    struct forkd_vm *child = fork_child(twin, console, NULL);
    assert_refused(child, -ENOTSUP, "in no file");
    wait_for_more_dots(console);
    OK(forkd_server_wait_written(twin, WAIT_MS, &error));
    assert_refused(child, -ENOTSUP, "in no file"); /* its own pages are not the file's, even so */
    wait_for_more_dots(console);
    forkd_vm_free(child);
    forkd_server_free(twin);
    forkd_vm_free(source);
    forkd_server_free(server);
    remove_directory(directory);
}

static void booted_vm_is_refused(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    struct forkd_error error = {0};
    struct forkd_vm *vm = boot(&options);
    OK(forkd_vm_wait(vm, WAIT_MS, NULL, &error));
    assert_refused(vm, -ENOTSUP, "it was booted");
    forkd_vm_free(vm);
}

static void vm_that_was_written_down_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char directory[128];
    make_directory(fixture, "down", directory, sizeof directory);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *child = fork_child(server, NULL, NULL);
    OK(forkd_vm_snapshot(child, directory, &error));
    assert_refused(child, -EBUSY, "written down");
    forkd_vm_free(child);
    forkd_server_free(server);
    struct forkd_server *again = start_flat(fixture, directory);
    assert_right(fixture, again);
    forkd_server_free(again);
    remove_directory(directory);
}

/* Of a guest that does not look at its disk, which has what was written to that in no layer. */
static void vm_that_writes_through_to_a_disk_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char directory[128];
    char memory[256];
    char vmstate[256];
    make_directory(fixture, "through", directory, sizeof directory);
    const struct forkd_disk disk = {.path = fixture->disk, .mode = FORKD_DISK_SHARED};
    struct forkd_boot_options booted = boot_options(GUEST("ready"));
    booted.disks = &disk;
    booted.disk_count = 1;
    struct forkd_vm *parent = boot(&booted);
    OK(forkd_vm_wait(parent, WAIT_MS, NULL, &error));
    OK(forkd_vm_snapshot(parent, directory, &error));
    forkd_vm_free(parent);
    const struct forkd_server_options options = {
        .vmm_path = vmm,
        .memory_path = path_in(directory, "memory.bin", memory, sizeof memory),
        .vmstate_path = path_in(directory, "vmstate", vmstate, sizeof vmstate),
        .disks = &disk,
        .disk_count = 1};
    struct forkd_server *server = NULL;
    OK(forkd_server_start(&server, &options, &error));
    struct forkd_vm *child = fork_child(server, NULL, NULL);
    assert_refused(child, -EBUSY, "disk 0");
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void options_are_checked(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *child = fork_child(server, NULL, NULL);
    const struct forkd_reset_options reserved = {.reserved = {1}};
    const struct forkd_reset_options reserved32 = {.reserved32 = 1};
    const struct forkd_reset_options longer = {
        .hostname = "0123456789012345678901234567890123456789012345678901234567890123456789"};
    assert_int_equal(forkd_vm_reset(child, &reserved, &error), -EINVAL);
    assert_int_equal(forkd_vm_reset(child, &reserved32, &error), -EINVAL);
    assert_int_equal(forkd_vm_reset(child, &longer, &error), -EINVAL);
    reset_and_wait(child);
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* --- others who have it -----------------------------------------------------------------------------------
 */

static void everybody_who_has_attached_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    char control[128];
    folder_file(&fixture->folder, "control", control, sizeof control);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *child = fork_child(server, NULL, control);
    struct forkd_vm *other = NULL;
    OK(forkd_vm_attach(&other, control, &error));
    OK(reset(other, &error));
    OK(forkd_vm_wait(other, WAIT_MS, &status, &error));
    assert_int_equal(status.phase, FORKD_VM_READY);
    uint64_t ready_us = status.ready_us;
    OK(forkd_vm_wait(child, WAIT_MS, &status, &error));
    assert_int_equal(status.ready_us, ready_us);
    struct forkd_vm *third = NULL; /* at the same socket */
    OK(forkd_vm_attach(&third, control, &error));
    forkd_vm_free(third);
    forkd_vm_kill(child);
    forkd_vm_free(child);
    assert_int_equal(reset(other, &error), -EPIPE);
    forkd_vm_free(other);
    forkd_server_free(server);
}

static void *kill_soon(void *argument)
{
    usleep((useconds_t)(rand() % 1000));
    kill(*(int *)argument, SIGKILL);
    return NULL;
}

static void child_that_is_killed_in_the_middle_is_gone(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start_flat(fixture, fixture->base);
    for (int i = 0; i < KILLS; i++) {
        struct forkd_error error = {0};
        struct forkd_vm *child = fork_child(server, NULL, NULL);
        int pid = pid_of(child);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, kill_soon, &pid), 0);
        int result = 0;
        while (result == 0 || result == -EAGAIN) /* not ready again yet */
            result = reset(child, &error);
        assert_int_equal(result, -EPIPE);
        pthread_join(thread, NULL);
        assert_gone(pid);
        forkd_vm_free(child);
    }
    assert_right(fixture, server);
    forkd_server_free(server);
}

static struct forkd_vm *attach(const char *control)
{
    struct forkd_error error = {0};
    struct forkd_vm *vm = NULL;
    OK(forkd_vm_attach(&vm, control, &error));
    return vm;
}

/* One thread resets as another branches, by handles of their own: one after the other, each whole. */
struct resetting {
    const char *control;
    bool stop;
    int result;
    struct forkd_error error;
};

static void *reset_often(void *argument)
{
    struct resetting *resetting = argument;
    struct forkd_vm *vm = NULL;
    resetting->result = forkd_vm_attach(&vm, resetting->control, &resetting->error);
    while (resetting->result == 0 && !__atomic_load_n(&resetting->stop, __ATOMIC_RELAXED)) {
        resetting->result = reset(vm, &resetting->error);
        if (resetting->result == 0 || resetting->result == -EAGAIN)
            resetting->result = forkd_vm_wait(vm, WAIT_MS, NULL, &resetting->error);
        usleep(2000);
    }
    forkd_vm_free(vm);
    return NULL;
}

static void branches_in_the_middle_of_resets_are_whole(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char control[128];
    char console[128];
    char directory[128];
    folder_file(&fixture->folder, "both", control, sizeof control);
    folder_file(&fixture->folder, "both.console", console, sizeof console);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    forkd_vm_free(fork_child(server, console, control)); /* a handle that nobody reads would be dropped */
    struct resetting resetting = {.control = control};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, reset_often, &resetting), 0);
    for (int done = 0; done < 20;) {
        make_directory(fixture, "meanwhile", directory, sizeof directory);
        const struct forkd_branch_options options = {.directory = directory};
        struct forkd_server *twin = NULL;
        struct forkd_vm *vm = attach(control);
        int result = forkd_vm_branch(vm, &options, &twin, NULL, &error);
        forkd_vm_free(vm);
        if (result == 0) {
            assert_right(fixture, twin);
            OK(forkd_server_wait_written(twin, WAIT_MS, &error));
            forkd_server_free(twin);
            done++;
        } else {
            assert_int_equal(result, -EAGAIN); /* it is not ready again yet */
        }
        remove_directory(directory);
    }
    __atomic_store_n(&resetting.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    if (resetting.result != 0)
        fail_msg("%s", resetting.error.text);
    wait_for_more_dots(console);
    struct forkd_vm *last = attach(control);
    forkd_vm_kill(last);
    forkd_vm_free(last);
    forkd_server_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reset_is_of_one_instant),
        cmocka_unit_test(reset_gives_memory_back),
        cmocka_unit_test(reset_and_branches_leave_each_other_alone),
        cmocka_unit_test(child_of_a_branch_that_lives_is_refused),
        cmocka_unit_test(booted_vm_is_refused),
        cmocka_unit_test(vm_that_was_written_down_is_refused),
        cmocka_unit_test(vm_that_writes_through_to_a_disk_is_refused),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(everybody_who_has_attached_is_told),
        cmocka_unit_test(child_that_is_killed_in_the_middle_is_gone),
        cmocka_unit_test(branches_in_the_middle_of_resets_are_whole),
    };
    return cmocka_run_group_tests(tests, make_snapshot, remove_snapshot);
}
