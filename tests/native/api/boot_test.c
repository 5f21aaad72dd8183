/* SPDX-License-Identifier: Apache-2.0 */
/* Booting guests of our own through libforkd: how VMs become ready, how they end, and what bad input gives.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static struct forkd_vm_status wait_end(struct forkd_vm *vm)
{
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    OK(forkd_vm_wait_end(vm, 20000, &status, &error));
    return status;
}

static void guest_that_writes_the_ready_port_is_ready(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    struct forkd_vm *vm = boot(&options);
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    OK(forkd_vm_wait(vm, 20000, &status, &error));
    assert_int_equal(status.phase, FORKD_VM_READY);
    assert_int_equal(kill(status.pid, 0), 0);
    forkd_vm_free(vm);
    assert_int_equal(kill(status.pid, 0), -1);
}

static void power_off_is_told_from_the_console_and_the_status(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct forkd_boot_options options = boot_options(GUEST("poweroff"));
    options.console_path = FILE_IN(folder, "console");
    struct forkd_vm *vm = boot(&options);
    assert_int_equal(wait_end(vm).end, FORKD_END_POWER_OFF);
    forkd_vm_free(vm);
    char text[64] = {0};
    int fd = open(options.console_path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof text), 21);
    close(fd);
    assert_string_equal(text, "hello from the guest\n");
    folder_remove(&folder);
}

static void reset_ends_with_reset(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("reset"));
    struct forkd_vm *vm = boot(&options);
    assert_int_equal(wait_end(vm).end, FORKD_END_RESET);
    forkd_vm_free(vm);
}

static void triple_fault_ends_with_crash(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("crash"));
    struct forkd_vm *vm = boot(&options);
    struct forkd_vm_status status = wait_end(vm);
    assert_int_equal(status.end, FORKD_END_CRASH);
    assert_string_not_equal(status.error.text, "");
    forkd_vm_free(vm);
}

static void killed_process_ends_with_killed(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    struct forkd_vm *vm = boot(&options);
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    OK(forkd_vm_wait(vm, 20000, &status, &error));
    kill(status.pid, SIGKILL);
    assert_int_equal(wait_end(vm).end, FORKD_END_KILLED);
    forkd_vm_free(vm);
}

static void thirty_two_vcpus_can_be_made(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("poweroff"));
    options.vcpu_count = 32;
    struct forkd_vm *vm = boot(&options);
    assert_int_equal(wait_end(vm).end, FORKD_END_POWER_OFF);
    forkd_vm_free(vm);
}

static void memory_across_the_hole_can_be_given(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("poweroff"));
    options.memory_bytes = 5ull << 30;
    struct forkd_vm *vm = boot(&options);
    assert_int_equal(wait_end(vm).end, FORKD_END_POWER_OFF);
    forkd_vm_free(vm);
}

static void guest_that_is_not_ready_is_not_served(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("mute"));
    struct forkd_vm *vm = boot(&options);
    struct forkd_error error = {0};
    int fd = -1;
    assert_int_equal(forkd_vm_wait(vm, 50, NULL, &error), -ETIMEDOUT);
    assert_int_equal(forkd_vm_connect(vm, 8888, &fd, &error), -EAGAIN);
    assert_int_equal(forkd_vm_snapshot(vm, "/tmp", &error), -EAGAIN);
    forkd_vm_free(vm);
}

static void assert_refused(const struct forkd_boot_options *options, int code, const char *names)
{
    struct forkd_error error = {0};
    struct forkd_vm *vm = NULL;
    assert_int_equal(forkd_vm_boot(&vm, options, &error), -code);
    assert_null(vm);
    assert_int_equal(error.code, -code);
    if (strstr(error.text, names) == NULL)
        fail_msg("'%s' does not name '%s'", error.text, names);
}

static void missing_kernel_is_named(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options("/nowhere/vmlinux");
    assert_refused(&options, ENOENT, "/nowhere/vmlinux");
}

static void file_that_is_no_kernel_is_refused(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options("/bin/sh");
    assert_refused(&options, ENOEXEC, "kernel");
    options.kernel_path = "/etc/services";
    assert_refused(&options, ENOEXEC, "kernel");
    options.kernel_path = "/dev/null";
    assert_refused(&options, ENOEXEC, "kernel");
}

static void more_memory_than_the_host_has_is_refused(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    options.memory_bytes = 1ull << 44;
    assert_refused(&options, ENOMEM, "memory");
}

/* It would get nowhere. On other hosts there is nothing to refuse. */
static void linux_is_refused_where_it_does_not_run(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("linux"));
    if (system("grep -qwE 'vmx|svm' /proc/cpuinfo") == 0)
        forkd_vm_free(boot(&options));
    else
        assert_refused(&options, ENOTSUP, "nested virtualisation");
}

static void odd_options_are_refused(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    options.memory_bytes = MEMORY + 1;
    assert_refused(&options, EINVAL, "memory_bytes");
    options = boot_options(GUEST("ready"));
    options.vcpu_count = 33;
    assert_refused(&options, EINVAL, "vcpu_count");
    options = boot_options(GUEST("ready"));
    options.reserved[3] = 1;
    assert_refused(&options, EINVAL, "reserved");
    options = boot_options(GUEST("ready"));
    options.vmm_path = "/nowhere/forkd-vmm";
    assert_refused(&options, ENOENT, "/nowhere/forkd-vmm");
    char long_line[2049];
    memset(long_line, 'x', sizeof long_line - 1);
    long_line[sizeof long_line - 1] = '\0';
    options = boot_options(GUEST("ready"));
    options.command_line = long_line;
    assert_refused(&options, EINVAL, "command_line");
}

/* --- what is at vsock_path --------------------------------------------------------------------------------
 */

static void boot_that_fails_leaves_what_is_at_its_vsock_path(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct forkd_boot_options options = boot_options("/etc/services");
    options.vsock_path = FILE_IN(folder, "mine");
    write_file(options.vsock_path, "mine");
    assert_refused(&options, ENOEXEC, "kernel");
    assert_file_holds(options.vsock_path, "mine");
    folder_remove(&folder);
}

static void vm_that_finds_its_vsock_path_taken_ends_and_leaves_it(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    options.vsock_path = FILE_IN(folder, "mine");
    write_file(options.vsock_path, "mine");
    struct forkd_vm *vm = boot(&options);
    struct forkd_vm_status status = wait_end(vm);
    assert_int_equal(status.end, FORKD_END_ERROR);
    assert_int_equal(status.error.code, -EADDRINUSE);
    forkd_vm_free(vm);
    assert_file_holds(options.vsock_path, "mine");
    folder_remove(&folder);
}

/* Nobody takes connections there, as at what a killed VM leaves behind: but it was there before. */
static void vm_that_is_killed_early_leaves_a_socket_that_was_there(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct forkd_boot_options options = boot_options(GUEST("mute"));
    options.vsock_path = FILE_IN(folder, "mine");
    int fd = bind_at(options.vsock_path, false);
    forkd_vm_free(boot(&options));
    assert_int_equal(access(options.vsock_path, F_OK), 0);
    close(fd);
    folder_remove(&folder);
}

static struct forkd_vm *boot_ready(const struct forkd_boot_options *options, struct forkd_vm_status *status)
{
    struct forkd_error error = {0};
    struct forkd_vm *vm = boot(options);
    OK(forkd_vm_wait(vm, 20000, status, &error));
    assert_int_equal(status->phase, FORKD_VM_READY);
    return vm;
}

static void killed_vm_leaves_no_socket(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    options.vsock_path = FILE_IN(folder, "vsock");
    for (int from_outside = 0; from_outside < 2; from_outside++) {
        struct forkd_vm_status status;
        struct forkd_vm *vm = boot_ready(&options, &status);
        assert_int_equal(try_connect(options.vsock_path), 0);
        if (from_outside) {
            kill(status.pid, SIGKILL);
            wait_end(vm);
        }
        forkd_vm_free(vm);
        assert_vanishes(options.vsock_path);
    }
    folder_remove(&folder);
}

/* Somebody took the VM's socket away and put another there. */
static void vm_leaves_the_socket_that_took_the_place_of_its_own(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    options.vsock_path = FILE_IN(folder, "vsock");
    struct forkd_vm_status status;
    struct forkd_vm *vm = boot_ready(&options, &status);
    assert_int_equal(unlink(options.vsock_path), 0);
    int fd = bind_at(options.vsock_path, true);
    forkd_vm_free(vm);
    assert_int_equal(try_connect(options.vsock_path), 0);
    close(fd);
    folder_remove(&folder);
}

static void missing_tap_is_named(void **state)
{
    (void)state;
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    options.tap_name = "forkd-none0";
    struct forkd_error error = {0};
    struct forkd_vm *vm = NULL;
    assert_true(forkd_vm_boot(&vm, &options, &error) < 0);
    assert_non_null(strstr(error.text, "forkd-none0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guest_that_writes_the_ready_port_is_ready),
        cmocka_unit_test(power_off_is_told_from_the_console_and_the_status),
        cmocka_unit_test(reset_ends_with_reset),
        cmocka_unit_test(triple_fault_ends_with_crash),
        cmocka_unit_test(killed_process_ends_with_killed),
        cmocka_unit_test(thirty_two_vcpus_can_be_made),
        cmocka_unit_test(memory_across_the_hole_can_be_given),
        cmocka_unit_test(guest_that_is_not_ready_is_not_served),
        cmocka_unit_test(missing_kernel_is_named),
        cmocka_unit_test(file_that_is_no_kernel_is_refused),
        cmocka_unit_test(more_memory_than_the_host_has_is_refused),
        cmocka_unit_test(linux_is_refused_where_it_does_not_run),
        cmocka_unit_test(odd_options_are_refused),
        cmocka_unit_test(missing_tap_is_named),
        cmocka_unit_test(boot_that_fails_leaves_what_is_at_its_vsock_path),
        cmocka_unit_test(vm_that_finds_its_vsock_path_taken_ends_and_leaves_it),
        cmocka_unit_test(vm_that_is_killed_early_leaves_a_socket_that_was_there),
        cmocka_unit_test(killed_vm_leaves_no_socket),
        cmocka_unit_test(vm_leaves_the_socket_that_took_the_place_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
