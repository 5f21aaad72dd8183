/* SPDX-License-Identifier: Apache-2.0 */
/* What VMs have on disks when something is wrong with those: damage in a layer, and a host that is full. */
#include "snapshot.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define WAIT_MS 20000
#define DISK_SIZE (4L << 20)
#define WRITTEN_KIB "512" /* before the snapshot */
#define FLAT "flat.layer"

struct disks {
    struct folder folder;
    char image[128];
    char memory[128];
    char vmstate[128];
    char layer[128];
    const char *layers[1];
    struct forkd_disk disk;
    struct forkd_server_options options;
};

/* A snapshot with a layer. */
static int make(void **state)
{
    struct disks *disks = calloc(1, sizeof *disks);
    struct forkd_error error = {0};
    disks->folder = folder_make();
    folder_file(&disks->folder, "disk.img", disks->image, sizeof disks->image);
    folder_file(&disks->folder, "memory.bin", disks->memory, sizeof disks->memory);
    folder_file(&disks->folder, "vmstate", disks->vmstate, sizeof disks->vmstate);
    folder_file(&disks->folder, "disk-0.layer", disks->layer, sizeof disks->layer);
    int fd = open(disks->image, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
    close(fd);
    disks->disk = (struct forkd_disk){.path = disks->image};
    struct forkd_boot_options options = boot_options(GUEST("scribble"));
    options.command_line = WRITTEN_KIB;
    options.disks = &disks->disk;
    options.disk_count = 1;
    struct forkd_vm *vm = boot(&options);
    OK(forkd_vm_wait(vm, WAIT_MS, NULL, &error));
    OK(forkd_vm_snapshot(vm, disks->folder.path, &error));
    forkd_vm_free(vm);
    disks->layers[0] = disks->layer;
    disks->disk.layer_paths = disks->layers;
    disks->disk.layer_count = 1;
    disks->options = (struct forkd_server_options){.vmm_path = FORKD_VMM,
                                                   .memory_path = disks->memory,
                                                   .vmstate_path = disks->vmstate,
                                                   .disks = &disks->disk,
                                                   .disk_count = 1};
    *state = disks;
    return 0;
}

static int unmake(void **state)
{
    struct disks *disks = *state;
    folder_remove(&disks->folder);
    free(disks);
    return 0;
}

/* Change a byte of a layer's data, or change it back: no length, no table and no header is wrong. */
static void damage_file(const char *path)
{
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, 5000), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
    close(fd);
}

static void damage(const struct disks *disks)
{
    damage_file(disks->layer);
}

static struct forkd_server *start_server(const struct disks *disks, const char *scratch)
{
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    struct forkd_server_options options = disks->options;
    options.scratch_dir = scratch;
    OK(forkd_server_start(&server, &options, &error));
    return server;
}

static struct forkd_vm *fork_child(struct forkd_server *server, const char *console)
{
    struct forkd_error error = {0};
    struct forkd_vm *child = NULL;
    struct forkd_child_options options = {.flags = FORKD_NO_AGENT, .console_path = console};
    OK(forkd_server_fork(server, &options, &child, &error));
    OK(forkd_vm_wait(child, WAIT_MS, NULL, &error));
    return child;
}

static void a_server_does_not_start_with_a_damaged_layer(void **state)
{
    const struct disks *disks = *state;
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    damage(disks);
    assert_int_equal(forkd_server_start(&server, &disks->options, &error), -EBADMSG);
    assert_string_equal(error.object, disks->layer);
    damage(disks);
    forkd_server_free(start_server(disks, NULL));
}

static void damage_is_not_merged(void **state)
{
    const struct disks *disks = *state;
    struct forkd_error error = {0};
    const char *flat = FILE_IN(disks->folder, FLAT);
    damage(disks);
    assert_int_equal(forkd_disk_flatten(&disks->disk, flat, &error), -EBADMSG);
    assert_string_equal(error.object, disks->layer);
    assert_int_equal(access(flat, F_OK), -1);
    damage(disks);
    OK(forkd_disk_flatten(&disks->disk, flat, &error));
    assert_int_equal(unlink(flat), 0);
}

static void damaged_memory_is_not_put_together_either(void **state)
{
    const struct disks *disks = *state;
    struct forkd_error error = {0};
    char directory[128];
    char layer[160];
    char command[192];
    const char *const layers[] = {layer};
    const char *flat = FILE_IN(disks->folder, FLAT);
    folder_file(&disks->folder, "branch", directory, sizeof directory);
    snprintf(layer, sizeof layer, "%s/memory.layer", directory);
    struct forkd_server *server = start_server(disks, NULL);
    struct forkd_vm *child = fork_child(server, NULL);
    struct forkd_server *twin = NULL;
    const struct forkd_branch_options options = {.directory = directory, .flags = FORKD_BRANCH_LAYER};
    assert_int_equal(mkdir(directory, 0700), 0);
    OK(forkd_vm_branch(child, &options, &twin, NULL, &error));
    OK(forkd_server_wait_written(twin, WAIT_MS, &error));
    forkd_server_free(twin);
    forkd_vm_free(child);
    forkd_server_free(server);
    damage_file(layer);
    assert_int_equal(forkd_memory_flatten(disks->memory, layers, 1, flat, &error), -EBADMSG);
    assert_string_equal(error.object, layer);
    assert_int_equal(access(flat, F_OK), -1);
    damage_file(layer);
    OK(forkd_memory_flatten(disks->memory, layers, 1, flat, &error));
    assert_int_equal(unlink(flat), 0);
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    assert_int_equal(system(command), 0);
}

static void a_fifo_is_no_disk_and_not_waited_for(void **state)
{
    const struct disks *disks = *state;
    struct forkd_error error = {0};
    struct forkd_vm *vm = NULL;
    char path[128];
    folder_file(&disks->folder, "fifo", path, sizeof path);
    assert_int_equal(mkfifo(path, 0600), 0);
    const struct forkd_disk disk = {.path = path};
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    options.disks = &disk;
    options.disk_count = 1;
    alarm(WAIT_MS / 1000); /* ends the test */
    assert_int_equal(forkd_vm_boot(&vm, &options, &error), -EINVAL);
    options.kernel_path = path;
    options.disk_count = 0;
    assert_true(forkd_vm_boot(&vm, &options, &error) < 0);
    alarm(0);
    unlink(path);
}

static int branch_of(struct forkd_vm *child, const char *directory, uint32_t flags)
{
    struct forkd_error error = {0};
    struct forkd_server *twin = NULL;
    const struct forkd_branch_options options = {.directory = directory, .flags = flags};
    char command[192];
    assert_int_equal(mkdir(directory, 0700), 0);
    OK(forkd_vm_branch(child, &options, &twin, NULL, &error));
    int result = forkd_server_wait_written(twin, WAIT_MS, &error);
    forkd_server_free(twin);
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    assert_int_equal(system(command), 0);
    return result;
}

/* What the disk below lost after the server had looked at it. A branch over the same layers does not have to
 * read them. */
static void a_branch_does_not_merge_damage_either(void **state)
{
    const struct disks *disks = *state;
    char directory[128];
    folder_file(&disks->folder, "branch", directory, sizeof directory);
    struct forkd_server *server = start_server(disks, NULL);
    struct forkd_vm *child = fork_child(server, NULL);
    assert_int_equal(branch_of(child, directory, 0), 0);
    damage(disks);
    assert_int_equal(branch_of(child, directory, 0), -EBADMSG);
    assert_int_equal(branch_of(child, directory, FORKD_BRANCH_LAYER), 0);
    damage(disks);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void mount_small(const struct disks *disks, char *mount, size_t size)
{
    char command[192];
    folder_file(&disks->folder, "small", mount, size);
    assert_int_equal(mkdir(mount, 0700), 0);
    snprintf(command, sizeof command, "mount -t tmpfs -o size=1m none '%s'", mount);
    if (system(command) != 0)
        fail_msg("cannot mount a tmpfs: run the native tests as root");
}

static void unmount_small(const char *mount)
{
    char command[192];
    snprintf(command, sizeof command, "umount '%s'", mount);
    assert_int_equal(system(command), 0);
    assert_int_equal(rmdir(mount), 0);
}

static bool is_full(struct forkd_vm *vm)
{
    struct forkd_error error = {0};
    struct forkd_vm_status status = {0};
    OK(forkd_vm_wait(vm, 0, &status, &error));
    assert_int_equal(status.phase, FORKD_VM_READY);
    return status.host_full != 0;
}

static void await_full(struct forkd_vm *vm)
{
    for (int i = 0; i < WAIT_MS / 10 && !is_full(vm); i++)
        usleep(10000);
    assert_true(is_full(vm));
}

static void await_console(const char *path, char wanted)
{
    char last = 0;
    for (int i = 0; i < WAIT_MS / 10 && last == 0; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (read(fd, &last, 1) != 1)
            usleep(10000);
        close(fd);
    }
    assert_int_equal(last, wanted);
}

static void a_full_host_is_told(void **state)
{
    const struct disks *disks = *state;
    struct forkd_error error = {0};
    char mount[128];
    char console[128];
    char roomy_console[128];
    char directory[128];
    folder_file(&disks->folder, "console", console, sizeof console);
    folder_file(&disks->folder, "roomy.console", roomy_console, sizeof roomy_console);
    folder_file(&disks->folder, "branch", directory, sizeof directory);
    mount_small(disks, mount, sizeof mount);
    struct forkd_server *server = start_server(disks, mount);
    struct forkd_vm *child = fork_child(server, console);
    await_full(child);
    await_console(console, 'E');
    struct forkd_server *twin = NULL;
    struct forkd_branch_options options = {.directory = directory};
    assert_int_equal(mkdir(directory, 0700), 0);
    assert_int_equal(forkd_vm_branch(child, &options, &twin, NULL, &error), -ENOSPC);
    options.flags = FORKD_BRANCH_LAYER;
    assert_int_equal(forkd_vm_branch(child, &options, &twin, NULL, &error), -ENOSPC);
    assert_int_equal(forkd_vm_snapshot(child, directory, &error), -ENOSPC);
    assert_int_equal(rmdir(directory), 0);
    forkd_vm_free(child);
    forkd_server_free(server);
    unmount_small(mount);

    /* The same where there is room. */
    server = start_server(disks, NULL);
    child = fork_child(server, roomy_console);
    await_console(roomy_console, '.');
    assert_false(is_full(child));
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* As each of the disks will need one more; and when it is, nothing is the matter with the guest. */
static void a_branch_is_refused_without_descriptors(void **state)
{
    enum { DISKS = FORKD_MAX_DISKS, DESCRIPTORS = 3 * DISKS };
    const struct disks *disks = *state;
    struct forkd_error error = {0};
    struct forkd_disk many[DISKS];
    char directory[128];
    folder_file(&disks->folder, "branch", directory, sizeof directory);
    char vmm[128];
    write_poor_vmm(folder_file(&disks->folder, "poor-vmm", vmm, sizeof vmm), DESCRIPTORS);
    for (int i = 0; i < DISKS; i++)
        many[i] = (struct forkd_disk){.path = disks->image};
    struct forkd_boot_options booted = boot_options(GUEST("scribble"));
    booted.vmm_path = vmm;
    booted.disks = many;
    booted.disk_count = DISKS;
    struct forkd_vm *vm = boot(&booted);
    struct forkd_vm_status status;
    OK(forkd_vm_wait(vm, WAIT_MS, NULL, &error));
    struct forkd_server *twin = NULL;
    const struct forkd_branch_options options = {.directory = directory};
    assert_int_equal(mkdir(directory, 0700), 0);
    assert_int_equal(forkd_vm_branch(vm, &options, &twin, NULL, &error), -EMFILE);
    assert_int_equal(rmdir(directory), 0);
    OK(forkd_vm_wait(vm, 0, &status, &error));
    assert_int_equal(status.phase, FORKD_VM_READY);
    forkd_vm_free(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_does_not_start_with_a_damaged_layer),
        cmocka_unit_test(damage_is_not_merged),
        cmocka_unit_test(a_branch_does_not_merge_damage_either),
        cmocka_unit_test(damaged_memory_is_not_put_together_either),
        cmocka_unit_test(a_fifo_is_no_disk_and_not_waited_for),
        cmocka_unit_test(a_full_host_is_told),
        cmocka_unit_test(a_branch_is_refused_without_descriptors),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
