/* SPDX-License-Identifier: Apache-2.0 */
/* An image that VMs read is not to be written, and one that is written is not to be read: whoever has it, and
 * for as long as somebody has it. */
#include "snapshot.h"

#include <errno.h>
#include <sys/stat.h>

#define WAIT_MS 20000

static struct forkd_disk private_disk(const char *path)
{
    return (struct forkd_disk){.path = path, .mode = FORKD_DISK_PRIVATE};
}

static struct forkd_disk read_only_disk(const char *path)
{
    return (struct forkd_disk){.path = path, .mode = FORKD_DISK_READ_ONLY};
}

static struct forkd_disk shared_disk(const char *path)
{
    return (struct forkd_disk){.path = path, .mode = FORKD_DISK_SHARED};
}

static int boot_with(const struct forkd_disk *disks, uint32_t count, struct forkd_vm **vm,
                     struct forkd_error *error)
{
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    options.disks = disks;
    options.disk_count = count;
    return forkd_vm_boot(vm, &options, error);
}

static void assert_boots(struct forkd_disk disk)
{
    struct forkd_error error = {0};
    struct forkd_vm *vm = NULL;
    OK(boot_with(&disk, 1, &vm, &error));
    forkd_vm_free(vm);
}

static void assert_in_use(struct forkd_disk disk)
{
    struct forkd_error error = {0};
    struct forkd_vm *vm = NULL;
    assert_int_equal(boot_with(&disk, 1, &vm, &error), -EBUSY);
    assert_string_equal(error.object, disk.path);
    assert_null(vm);
}

/* Somebody reads it: others may, too. */
static void assert_read(const char *path)
{
    assert_in_use(shared_disk(path));
    assert_boots(private_disk(path));
    assert_boots(read_only_disk(path));
}

static void assert_written(const char *path)
{
    assert_in_use(shared_disk(path));
    assert_in_use(private_disk(path));
    assert_in_use(read_only_disk(path));
}

/* Nobody has it: who ended last lets go of it no later than its end is known. */
static void assert_free(const char *path)
{
    assert_boots(shared_disk(path));
    assert_boots(private_disk(path));
}

static struct forkd_vm *boot_one(struct forkd_disk disk)
{
    struct forkd_error error = {0};
    struct forkd_vm *vm = NULL;
    OK(boot_with(&disk, 1, &vm, &error));
    return vm;
}

static void readers_keep_a_writer_out(void **state)
{
    const struct fixture *fixture = *state;
    struct forkd_vm *one = boot_one(private_disk(fixture->disk));
    assert_read(fixture->disk);
    struct forkd_vm *other = boot_one(read_only_disk(fixture->disk));
    forkd_vm_free(one);
    assert_read(fixture->disk);
    forkd_vm_free(other);
    assert_free(fixture->disk);
}

static void a_writer_keeps_all_others_out(void **state)
{
    const struct fixture *fixture = *state;
    struct forkd_vm *writer = boot_one(shared_disk(fixture->disk));
    assert_written(fixture->disk);
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    assert_int_equal(forkd_server_start(&server, &fixture->options, &error), -EBUSY);
    assert_string_equal(error.object, fixture->disk);
    forkd_vm_free(writer);
    assert_free(fixture->disk);
}

static void links_lead_to_the_same_image(void **state)
{
    const struct fixture *fixture = *state;
    char soft[128];
    char hard[128];
    folder_file(&fixture->folder, "soft", soft, sizeof soft);
    folder_file(&fixture->folder, "hard", hard, sizeof hard);
    assert_int_equal(symlink("disk.img", soft), 0);
    assert_int_equal(link(fixture->disk, hard), 0);
    struct forkd_vm *reader = boot_one(private_disk(fixture->disk));
    assert_read(soft);
    assert_read(hard);
    forkd_vm_free(reader);
    struct forkd_vm *writer = boot_one(shared_disk(hard));
    assert_written(soft);
    assert_written(fixture->disk);
    forkd_vm_free(writer);
    unlink(soft);
    unlink(hard);
}

static void one_guest_cannot_have_an_image_twice_and_write_to_it(void **state)
{
    const struct fixture *fixture = *state;
    const char *path = fixture->disk;
    const struct forkd_disk refused[][2] = {{private_disk(path), shared_disk(path)},
                                            {shared_disk(path), read_only_disk(path)},
                                            {shared_disk(path), shared_disk(path)}};
    const struct forkd_disk readers[2] = {private_disk(path), read_only_disk(path)};
    struct forkd_error error = {0};
    struct forkd_vm *vm = NULL;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_int_equal(boot_with(refused[i], 2, &vm, &error), -EBUSY);
        assert_string_equal(error.object, path);
    }
    OK(boot_with(readers, 2, &vm, &error));
    forkd_vm_free(vm);
    assert_free(path);
}

static struct forkd_vm *fork_detached(struct forkd_server *server, const char *control_path)
{
    struct forkd_error error = {0};
    struct forkd_vm *child = NULL;
    struct forkd_vm_status status;
    struct forkd_child_options options = {.flags = FORKD_NO_AGENT, .control_path = control_path};
    OK(forkd_server_fork(server, &options, &child, &error));
    OK(forkd_vm_wait(child, WAIT_MS, &status, &error));
    assert_string_equal(status.error.text, "");
    assert_int_equal(status.phase, FORKD_VM_READY);
    return child;
}

/* Of a server with `parked` children in advance, of which one is taken. */
static void assert_child_holds(struct fixture *fixture, struct forkd_disk disk, uint32_t parked,
                               void (*assert_held)(const char *path))
{
    struct forkd_error error = {0};
    char control[128];
    folder_file(&fixture->folder, "control", control, sizeof control);
    struct forkd_server_options options = fixture->options;
    options.disks = &disk;
    options.parked_count = parked;
    struct forkd_server *server = NULL;
    OK(forkd_server_start(&server, &options, &error));
    assert_held(disk.path);
    wait_for_children(forkd_server_pid(server), (int)parked);
    struct forkd_vm *child = fork_detached(server, control);
    int pid = forkd_server_pid(server);
    forkd_server_free(server);
    assert_gone(pid);
    assert_held(disk.path);
    forkd_vm_kill(child);
    forkd_vm_free(child);
    unlink(control);
    assert_free(disk.path);
}

static void a_detached_child_holds_what_its_server_held(void **state)
{
    struct fixture *fixture = *state;
    assert_child_holds(fixture, private_disk(fixture->disk), 0, assert_read);
    assert_child_holds(fixture, private_disk(fixture->disk), 2, assert_read);
    assert_child_holds(fixture, shared_disk(fixture->disk), 0, assert_written);
    assert_child_holds(fixture, shared_disk(fixture->disk), 2, assert_written);
}

static void a_branch_holds_what_it_reads(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char directory[128];
    char command[192];
    folder_file(&fixture->folder, "branch", directory, sizeof directory);
    assert_int_equal(mkdir(directory, 0700), 0);
    struct forkd_server *server = start(fixture);
    struct forkd_vm_status status;
    struct forkd_vm *source = fork_ready(server, NULL, &status);
    const struct forkd_branch_options options = {.directory = directory};
    struct forkd_server *twin = NULL;
    OK(forkd_vm_branch(source, &options, &twin, NULL, &error));
    forkd_vm_free(source);
    forkd_server_free(server);
    assert_read(fixture->disk);
    OK(forkd_server_wait_written(twin, WAIT_MS, &error));
    assert_read(fixture->disk);
    forkd_server_free(twin);
    assert_free(fixture->disk);
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    assert_int_equal(system(command), 0);
}

/* Layers go over an image that nobody changes. */
static void layers_are_not_merged_over_an_image_that_is_written(void **state)
{
    const struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_vm *writer = boot_one(shared_disk(fixture->disk));
    const struct forkd_disk disk = private_disk(fixture->disk);
    assert_int_equal(forkd_disk_flatten(&disk, FILE_IN(fixture->folder, "flat"), &error), -EBUSY);
    assert_int_equal(access(FILE_IN(fixture->folder, "flat"), F_OK), -1);
    forkd_vm_free(writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_keep_a_writer_out),
        cmocka_unit_test(a_writer_keeps_all_others_out),
        cmocka_unit_test(links_lead_to_the_same_image),
        cmocka_unit_test(one_guest_cannot_have_an_image_twice_and_write_to_it),
        cmocka_unit_test(a_detached_child_holds_what_its_server_held),
        cmocka_unit_test(a_branch_holds_what_it_reads),
        cmocka_unit_test(layers_are_not_merged_over_an_image_that_is_written),
    };
    return cmocka_run_group_tests(tests, make_snapshot, remove_snapshot);
}
