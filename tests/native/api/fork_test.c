/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshot, fork server and children through libforkd, with a guest of our own. */
#include "snapshot.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define CHILDREN 10

static void memory_image_holds_what_the_guest_wrote(void **state)
{
    struct fixture *fixture = *state;
    struct stat info;
    assert_int_equal(stat(fixture->memory, &info), 0);
    assert_int_equal(info.st_size, MEMORY);
    int fd = open(fixture->memory, O_RDONLY | O_CLOEXEC);
    const uint32_t *memory = mmap(NULL, MEMORY, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_true(memory != MAP_FAILED);
    for (uint32_t address = 0x200000; address < MEMORY; address += 4096)
        assert_int_equal(memory[address / 4], address);
    munmap((void *)memory, MEMORY);
    close(fd);
}

static void untouched_disk_leaves_no_layer(void **state)
{
    struct fixture *fixture = *state;
    char layer[128];
    assert_int_equal(access(folder_file(&fixture->folder, "disk-0.layer", layer, sizeof layer), F_OK), -1);
}

static void children_become_ready_each_in_its_own_process(void **state)
{
    struct forkd_server *server = start(*state);
    struct forkd_vm *children[CHILDREN];
    struct forkd_vm_status status[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = fork_ready(server, NULL, &status[i]);
        for (int j = 0; j < i; j++)
            assert_int_not_equal(status[i].pid, status[j].pid);
        assert_true(status[i].ready_us >= status[i].fork_us);
    }
    for (int i = 0; i < CHILDREN; i++) {
        assert_int_equal(kill(status[i].pid, 0), 0);
        forkd_vm_free(children[i]);
        assert_gone(status[i].pid);
    }
    forkd_server_free(server);
}

/* Beside a VM that never becomes ready. */
static void those_that_are_ready_are_named_one_by_one(void **state)
{
    struct forkd_error error = {0};
    struct forkd_boot_options never = boot_options(GUEST("mute"));
    struct forkd_vm *vms[CHILDREN + 1] = {boot(&never)};
    struct forkd_server *server = start(*state);
    for (int i = 1; i <= CHILDREN; i++) {
        struct forkd_child_options options = {.flags = FORKD_NO_AGENT};
        OK(forkd_server_fork(server, &options, &vms[i], &error));
    }
    uint32_t index = 0;
    for (uint32_t count = CHILDREN + 1; count > 1; count--) {
        struct forkd_vm_status status;
        OK(forkd_vm_wait_any(vms, count, 20000, &index, &error));
        OK(forkd_vm_wait(vms[index], 0, &status, &error));
        assert_int_equal(status.phase, FORKD_VM_READY);
        forkd_vm_free(vms[index]);
        vms[index] = vms[count - 1];
    }
    assert_int_equal(forkd_vm_wait_any(vms, 1, 50, &index, &error), -ETIMEDOUT);
    assert_int_equal(forkd_vm_wait_any(vms, 0, 50, &index, &error), -EINVAL);
    forkd_vm_kill(vms[0]);
    OK(forkd_vm_wait_any(vms, 1, -1, &index, &error));
    assert_int_equal(index, 0);
    forkd_vm_free(vms[0]);
    forkd_server_free(server);
}

/* Of the program, what is run cannot be written, and what was relocated (its tables of functions) only read.
 */
static void childs_program_is_protected(void **state)
{
    struct forkd_server *server = start(*state);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    char path[64];
    char line[512];
    char mode[8];
    int read_only = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", status.pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        assert_int_equal(sscanf(line, "%*s %7s", mode), 1);
        assert_false(mode[1] == 'w' && mode[2] == 'x');
        if (strstr(line, "/forkd-vmm") != NULL && strcmp(mode, "r--p") == 0)
            read_only++;
    }
    fclose(file);
    assert_true(read_only > 0);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void parked_children_are_used_and_replaced(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server_options options = fixture->options;
    options.parked_count = 2;
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    OK(forkd_server_start(&server, &options, &error));
    int pid = forkd_server_pid(server);
    wait_for_children(pid, 2);
    struct forkd_vm *children[5];
    for (int i = 0; i < 5; i++) {
        struct forkd_vm_status status;
        children[i] = fork_ready(server, NULL, &status);
    }
    wait_for_children(pid, 5 + 2);
    for (int i = 0; i < 5; i++)
        forkd_vm_free(children[i]);
    wait_for_children(pid, 2);
    forkd_server_free(server);
    options.parked_count = FORKD_MAX_PARKED + 1;
    assert_int_equal(forkd_server_start(&server, &options, &error), -EINVAL);
}

static void assert_serves(struct forkd_server *server)
{
    struct forkd_vm_status status;
    forkd_vm_free(fork_ready(server, NULL, &status));
    forkd_server_free(server);
}

static void working_set_file_is_made_for_those_who_learn_and_not_needed(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    struct stat info;
    folder_file(&fixture->folder, "working-set", path, sizeof path);
    assert_serves(start_with_working_set(fixture, path, 0));
    assert_int_equal(access(path, F_OK), -1);
    assert_serves(start_with_working_set(fixture, path, FORKD_LEARN_WORKING_SET));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 0);
    assert_int_equal(truncate(path, 100), 0); /* damaged */
    assert_serves(start_with_working_set(fixture, path, 0));
    assert_serves(start_with_working_set(fixture, "/nowhere/working-set", FORKD_LEARN_WORKING_SET));
    assert_serves(start_with_working_set(fixture, fixture->folder.path, 0));
}

static void killed_child_is_reported_and_its_socket_removed(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm_status status;
    char path[128];
    folder_file(&fixture->folder, "k.vsock", path, sizeof path);
    struct forkd_vm *child = fork_ready(server, path, &status);
    assert_int_equal(access(path, F_OK), 0);
    kill(status.pid, SIGKILL);
    struct forkd_error error = {0};
    OK(forkd_vm_wait_end(child, 5000, &status, &error));
    assert_int_equal(status.end, FORKD_END_KILLED);
    /* The server does this, not the handle's owner. */
    assert_vanishes(path);
    struct forkd_vm *sibling = fork_ready(server, path, &status);
    forkd_vm_free(sibling);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static struct forkd_vm *fork_with(struct forkd_server *server, const struct forkd_child_options *options)
{
    struct forkd_error error = {0};
    struct forkd_vm *child = NULL;
    OK(forkd_server_fork(server, options, &child, &error));
    return child;
}

/* One at a time, and from the parked ones as well. */
static void second_child_of_one_socket_fails_and_the_first_keeps_it(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server_options options = fixture->options;
    struct forkd_error error = {0};
    char path[128];
    folder_file(&fixture->folder, "one.vsock", path, sizeof path);
    for (uint32_t parked = 0; parked < 3; parked += 2) {
        options.parked_count = parked;
        struct forkd_server *server = NULL;
        OK(forkd_server_start(&server, &options, &error));
        wait_for_children(forkd_server_pid(server), (int)parked);
        struct forkd_vm_status status;
        struct forkd_vm *first = fork_ready(server, path, &status);
        const struct forkd_child_options same = {.flags = FORKD_NO_AGENT, .vsock_path = path};
        struct forkd_vm *second = fork_with(server, &same);
        OK(forkd_vm_wait(second, 20000, &status, &error));
        assert_int_equal(status.phase, FORKD_VM_ENDED);
        assert_int_equal(status.error.code, -EADDRINUSE);
        assert_gone(status.pid);
        assert_int_equal(try_connect(path), 0);
        forkd_vm_free(second);
        assert_int_equal(try_connect(path), 0);
        forkd_vm_free(first);
        assert_vanishes(path);
        forkd_server_free(server);
    }
}

static void child_that_finds_its_socket_taken_leaves_it(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    char path[128];
    folder_file(&fixture->folder, "taken", path, sizeof path);
    write_file(path, "mine");
    const struct forkd_child_options options = {.flags = FORKD_NO_AGENT, .vsock_path = path};
    struct forkd_vm *child = fork_with(server, &options);
    OK(forkd_vm_wait(child, 20000, &status, &error));
    assert_int_equal(status.error.code, -EADDRINUSE);
    forkd_vm_free(child);
    wait_for_children(forkd_server_pid(server), 0);
    forkd_server_free(server);
    assert_file_holds(path, "mine");
}

/* A child of a guest that takes the identity and never acknowledges it: it does not come to making its own.
 */
static void child_that_is_killed_early_leaves_a_socket_that_was_there(void **state)
{
    (void)state;
    void *mute = NULL;
    assert_int_equal(make_snapshot_of(&mute, GUEST("answer")), 0);
    struct fixture *fixture = mute;
    struct forkd_server *server = start(fixture);
    char path[128];
    folder_file(&fixture->folder, "before", path, sizeof path);
    int fd = bind_at(path, false);
    const struct forkd_child_options options = {.hostname = "mute", .vsock_path = path};
    struct forkd_vm *child = fork_with(server, &options);
    wait_for_children(forkd_server_pid(server), 1);
    char command[64];
    snprintf(command, sizeof command, "pkill -KILL -P %d", forkd_server_pid(server));
    assert_int_equal(system(command), 0);
    wait_for_children(forkd_server_pid(server), 0);
    forkd_vm_free(child);
    forkd_server_free(server);
    assert_int_equal(access(path, F_OK), 0);
    close(fd);
    remove_snapshot(&mute);
}

static void killed_server_takes_its_children_along(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm_status status;
    char path[128];
    folder_file(&fixture->folder, "s.vsock", path, sizeof path);
    struct forkd_vm *child = fork_ready(server, path, &status);
    kill(forkd_server_pid(server), SIGKILL);
    struct forkd_error error = {0};
    OK(forkd_vm_wait_end(child, 5000, &status, &error));
    assert_gone(status.pid);
    struct forkd_vm *another = NULL;
    struct forkd_child_options options = {.flags = FORKD_NO_AGENT};
    int result = forkd_server_fork(server, &options, &another, &error);
    assert_int_equal(result, -EPIPE);
    forkd_vm_free(child);
    assert_vanishes(path);
    forkd_server_free(server);
}

static void ended_server_takes_its_children_along(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    struct forkd_vm_status status;
    char path[128];
    folder_file(&fixture->folder, "e.vsock", path, sizeof path);
    struct forkd_vm *child = fork_ready(server, path, &status);
    forkd_server_free(server);
    assert_gone(status.pid);
    assert_vanishes(path);
    forkd_vm_free(child);
}

/* The guest has no agent, so nobody acknowledges the new identity: the child must not be served. */
static void child_that_does_not_acknowledge_its_identity_is_ended(void **state)
{
    struct forkd_server *server = start(*state);
    struct forkd_error error = {0};
    struct forkd_vm *child = NULL;
    struct forkd_vm_status status;
    struct forkd_child_options options = {.hostname = "mute", .ready_timeout_ms = 300};
    OK(forkd_server_fork(server, &options, &child, &error));
    OK(forkd_vm_wait(child, 10000, &status, &error));
    assert_int_equal(status.phase, FORKD_VM_ENDED);
    assert_int_equal(status.end, FORKD_END_ERROR);
    int fd = -1;
    assert_true(forkd_vm_connect(child, 8888, &fd, &error) < 0);
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* --- damage -----------------------------------------------------------------------------------------------
 */

static void assert_server_refused(const struct forkd_server_options *options, int code, const char *names)
{
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    assert_int_equal(forkd_server_start(&server, options, &error), -code);
    if (strstr(error.text, names) == NULL)
        fail_msg("'%s' does not name '%s'", error.text, names);
}

static void damaged_vmstate_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char copy[128];
    char command[512];
    folder_file(&fixture->folder, "vmstate.bad", copy, sizeof copy);
    struct stat info;
    assert_int_equal(stat(fixture->vmstate, &info), 0);
    struct forkd_server_options options = fixture->options;
    options.vmstate_path = copy;
    for (off_t at = 0; at < info.st_size; at += info.st_size / 16) {
        snprintf(command, sizeof command, "cp '%s' '%s'", fixture->vmstate, copy);
        assert_int_equal(system(command), 0);
        int fd = open(copy, O_RDWR | O_CLOEXEC);
        uint8_t byte = 0;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        struct forkd_error error = {0};
        struct forkd_server *server = NULL;
        int result = forkd_server_start(&server, &options, &error);
        assert_true(result == -EBADMSG || result == -ENOTSUP);
        assert_non_null(strstr(error.text, "vmstate"));
    }
    assert_int_equal(truncate(copy, info.st_size / 2), 0);
    assert_server_refused(&options, EBADMSG, "vmstate");
    assert_int_equal(truncate(copy, 0), 0);
    assert_server_refused(&options, EBADMSG, "vmstate");
}

/* Whoever takes a feature out of the list that the host is compared with is found out. */
static void edited_feature_list_is_refused(void **state)
{
    struct fixture *fixture = *state;
    uint32_t vendor[3];
    uint32_t highest = 0;
    struct forkd_server_options options = fixture->options;
    char copy[128];
    static uint8_t bytes[1 << 20];
    __get_cpuid(0, &highest, &vendor[0], &vendor[1], &vendor[2]);
    int fd = open(fixture->vmstate, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, bytes, sizeof bytes);
    close(fd);
    assert_in_range(length, 1, sizeof bytes - 1);
    /* Leaf 0 as in the vCPU's struct kvm_cpuid_entry2; from its EBX on to ECX of leaf 1, the next entry. */
    uint8_t *leaf_0 = memmem(bytes, (size_t)length, vendor, sizeof vendor);
    assert_non_null(leaf_0);
    leaf_0[sizeof(struct kvm_cpuid_entry2) + 4] ^= 1;
    options.vmstate_path = folder_file(&fixture->folder, "vmstate.edited", copy, sizeof copy);
    fd = open(copy, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, bytes, (size_t)length), length);
    close(fd);
    assert_server_refused(&options, EBADMSG, "vmstate section vcpu 0: Bad message: wrong checksum");
}

static void memory_image_of_another_size_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char copy[128];
    folder_file(&fixture->folder, "memory.bad", copy, sizeof copy);
    int fd = open(copy, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, MEMORY - 4096), 0);
    struct forkd_server_options options = fixture->options;
    options.memory_path = copy;
    assert_server_refused(&options, EBADMSG, "memory");
    assert_int_equal(ftruncate(fd, MEMORY + 4096), 0);
    assert_server_refused(&options, EINVAL, "memory");
    close(fd);
}

static void wrong_disks_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server_options options = fixture->options;
    options.disk_count = 0;
    assert_server_refused(&options, EINVAL, "disk");
    struct forkd_disk missing = {.path = "/nowhere/disk.img"};
    options.disk_count = 1;
    options.disks = &missing;
    assert_server_refused(&options, ENOENT, "/nowhere/disk.img");
}

static void snapshot_never_overwrites(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    struct forkd_vm *vm = boot(&options);
    struct forkd_error error = {0};
    assert_int_equal(forkd_vm_snapshot(vm, "/nowhere", &error), -ENOENT);
    OK(forkd_vm_wait(vm, 20000, NULL, &error));
    assert_int_equal(forkd_vm_snapshot(vm, fixture->folder.path, &error), -EEXIST);
    forkd_vm_free(vm);
    assert_int_equal(access(fixture->memory, F_OK), 0);
}

static void snapshot_leaves_files_that_are_in_its_way(void **state)
{
    (void)state;
    static const char *const names[] = {"disk-0.layer", "memory.bin", "memory.layer", "vmstate",
                                        "vmstate.new"};
    struct folder folder = folder_make();
    struct forkd_error error = {0};
    const char *image = FILE_IN(folder, "disk.img");
    write_file(image, "");
    assert_int_equal(truncate(image, 1 << 20), 0);
    const struct forkd_disk disk = {.path = image};
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    options.disks = &disk;
    options.disk_count = 1;
    struct forkd_vm *vm = boot(&options);
    OK(forkd_vm_wait(vm, 20000, NULL, &error));
    const char *directory = FILE_IN(folder, "snapshot");
    assert_int_equal(mkdir(directory, 0700), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        write_file(path, "mine");
        assert_int_equal(forkd_vm_snapshot(vm, directory, &error), -EEXIST);
        assert_non_null(strstr(error.text, names[i]));
        assert_file_holds(path, "mine");
        assert_int_equal(count_entries("%s", directory), 3);
        assert_int_equal(unlink(path), 0);
    }
    OK(forkd_vm_snapshot(vm, directory, &error));
    assert_int_equal(count_entries("%s", directory), 2 + 2);
    forkd_vm_free(vm);
    folder_remove(&folder);
}

/* A folder on a file system of 8 MiB: the 64 MiB of memory do not fit. */
static void full_disk_leaves_nothing_behind(void **state)
{
    struct fixture *fixture = *state;
    char mount[128];
    char command[512];
    folder_file(&fixture->folder, "small", mount, sizeof mount);
    snprintf(command, sizeof command, "mkdir '%s' && mount -t tmpfs -o size=8m none '%s'", mount, mount);
    if (system(command) != 0)
        fail_msg("cannot mount a tmpfs: run the native tests as root");
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    struct forkd_vm *vm = boot(&options);
    struct forkd_error error = {0};
    OK(forkd_vm_wait(vm, 20000, NULL, &error));
    int result = forkd_vm_snapshot(vm, mount, &error);
    forkd_vm_free(vm);
    snprintf(command, sizeof command, "test -z \"$(ls -A '%s')\"", mount);
    int empty = system(command);
    snprintf(command, sizeof command, "umount '%s'", mount);
    assert_int_equal(system(command), 0);
    assert_int_equal(result, -ENOSPC);
    assert_int_equal(empty, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_image_holds_what_the_guest_wrote),
        cmocka_unit_test(untouched_disk_leaves_no_layer),
        cmocka_unit_test(children_become_ready_each_in_its_own_process),
        cmocka_unit_test(those_that_are_ready_are_named_one_by_one),
        cmocka_unit_test(childs_program_is_protected),
        cmocka_unit_test(parked_children_are_used_and_replaced),
        cmocka_unit_test(working_set_file_is_made_for_those_who_learn_and_not_needed),
        cmocka_unit_test(killed_child_is_reported_and_its_socket_removed),
        cmocka_unit_test(second_child_of_one_socket_fails_and_the_first_keeps_it),
        cmocka_unit_test(child_that_finds_its_socket_taken_leaves_it),
        cmocka_unit_test(child_that_is_killed_early_leaves_a_socket_that_was_there),
        cmocka_unit_test(killed_server_takes_its_children_along),
        cmocka_unit_test(ended_server_takes_its_children_along),
        cmocka_unit_test(child_that_does_not_acknowledge_its_identity_is_ended),
        cmocka_unit_test(damaged_vmstate_is_refused),
        cmocka_unit_test(edited_feature_list_is_refused),
        cmocka_unit_test(memory_image_of_another_size_is_refused),
        cmocka_unit_test(wrong_disks_are_refused),
        cmocka_unit_test(snapshot_never_overwrites),
        cmocka_unit_test(snapshot_leaves_files_that_are_in_its_way),
        cmocka_unit_test(full_disk_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, make_snapshot, remove_snapshot);
}
