/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest may use of the host, with guests that take all they get: each bound holds, and a sibling goes
 * on meanwhile. As root, in a network namespace of its own.
 */
#include "snapshot.h"
#include "usage.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

#define WAIT_MS 30000
#define DISK_SIZE (4L << 20)
#define TAP "limits0"
#define RATE 200000u /* of the network, in bytes a second */

struct snapshot {
    struct folder folder;
    char image[128];
    char memory[128];
    char vmstate[128];
    struct forkd_disk disk;
    struct forkd_server *server;
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The server of a snapshot of `guest`, with one private disk. */
static struct snapshot snapshot_of(const char *guest, const char *command_line, const char *tap)
{
    struct snapshot made = {.folder = folder_make()};
    struct forkd_error error = {0};
    folder_file(&made.folder, "disk.img", made.image, sizeof made.image);
    folder_file(&made.folder, "memory.bin", made.memory, sizeof made.memory);
    folder_file(&made.folder, "vmstate", made.vmstate, sizeof made.vmstate);
    int fd = open(made.image, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
    close(fd);
    made.disk = (struct forkd_disk){.path = made.image};
    struct forkd_boot_options options = boot_options(guest);
    options.command_line = command_line;
    options.tap_name = tap;
    options.disks = &made.disk;
    options.disk_count = 1;
    struct forkd_vm *vm = boot(&options);
    OK(forkd_vm_wait(vm, WAIT_MS, NULL, &error));
    OK(forkd_vm_snapshot(vm, made.folder.path, &error));
    forkd_vm_free(vm);
    const struct forkd_server_options server = {.vmm_path = FORKD_VMM,
                                                .memory_path = made.memory,
                                                .vmstate_path = made.vmstate,
                                                .disks = &made.disk,
                                                .disk_count = 1};
    OK(forkd_server_start(&made.server, &server, &error));
    return made;
}

static void remove_snapshot_of(const struct snapshot *made)
{
    forkd_server_free(made->server);
    folder_remove(&made->folder);
}

static struct forkd_vm *fork_limited(struct forkd_server *server, struct forkd_child_options options)
{
    struct forkd_error error = {0};
    struct forkd_vm *child = NULL;
    struct forkd_vm_status status;
    options.flags = FORKD_NO_AGENT;
    OK(forkd_server_fork(server, &options, &child, &error));
    OK(forkd_vm_wait(child, WAIT_MS, &status, &error));
    if (status.phase != FORKD_VM_READY)
        fail_msg("the child ended: %s", status.error.text);
    return child;
}

static struct forkd_vm_status status_of(struct forkd_vm *vm)
{
    struct forkd_error error = {0};
    struct forkd_vm_status status = {0};
    OK(forkd_vm_wait(vm, 0, &status, &error));
    return status;
}

static void await_disk_full(struct forkd_vm *vm)
{
    for (int i = 0; i < WAIT_MS / 10 && status_of(vm).disk_full == 0; i++)
        usleep(10000);
    assert_int_equal(status_of(vm).disk_full, 1);
    assert_int_equal(status_of(vm).phase, FORKD_VM_READY);
}

/* How often it printed a character. */
static int printed(const char *console, char which)
{
    char text[4096];
    int count = 0;
    int fd = open(console, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text);
    for (ssize_t i = 0; i < length; i++)
        count += text[i] == which;
    if (fd >= 0)
        close(fd);
    return count;
}

static void await_printed(const char *console, char which, int count)
{
    for (int i = 0; i < WAIT_MS / 10 && printed(console, which) < count; i++)
        usleep(10000);
    assert_true(printed(console, which) >= count);
}

static void disk_limit_holds_and_is_the_guests_alone(void **state)
{
    (void)state;
    struct forkd_error error = {0};
    struct snapshot made = snapshot_of(GUEST("scribble"), "0", NULL);
    char console[128];
    char other_console[128];
    folder_file(&made.folder, "console", console, sizeof console);
    folder_file(&made.folder, "other.console", other_console, sizeof other_console);
    struct forkd_vm *sibling =
        fork_limited(made.server, (struct forkd_child_options){.console_path = other_console});
    struct forkd_vm *child = fork_limited(
        made.server,
        (struct forkd_child_options){.console_path = console,
                                     .limits = {.disk_bytes = 1 << 20, .disk_requests_per_second = 10}});
    await_disk_full(child);
    await_printed(console, 'E', 1);
    assert_int_equal(status_of(child).host_full, 0);
    assert_in_range(nameless_space(status_of(child).pid), (1 << 20) - 65536, (1 << 20) + 65536);
    struct forkd_server *twin = NULL;
    const struct forkd_branch_options branch = {.directory = made.folder.path};
    assert_int_equal(forkd_vm_branch(child, &branch, &twin, NULL, &error), -ENOSPC);
    assert_non_null(strstr(error.text, "1 MiB"));
    assert_int_equal(forkd_vm_snapshot(child, made.folder.path, &error), -ENOSPC);
    await_printed(other_console, '.', printed(other_console, '.') + 2);
    assert_int_equal(printed(other_console, 'E'), 0);
    assert_int_equal(status_of(sibling).disk_full, 0);
    /* Put back, it has its room again, and none of the files that were full. */
    const struct forkd_reset_options reset = {0};
    OK(forkd_vm_reset(child, &reset, &error));
    OK(forkd_vm_wait(child, WAIT_MS, NULL, &error));
    assert_int_equal(status_of(child).disk_full, 0); /* which it cannot have filled so soon */
    await_disk_full(child);
    assert_in_range(nameless_space(status_of(child).pid), (1 << 20) - 65536, (1 << 20) + 65536);
    forkd_vm_free(child);
    forkd_vm_free(sibling);
    remove_snapshot_of(&made);
}

static void a_limit_at_boot_holds(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    char image[128];
    char console[128];
    folder_file(&folder, "console", console, sizeof console);
    folder_file(&folder, "disk.img", image, sizeof image);
    int fd = open(image, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
    close(fd);
    const struct forkd_disk disk = {.path = image};
    struct forkd_boot_options options = boot_options(GUEST("scribble"));
    options.command_line = "2048";
    options.console_path = console;
    options.disks = &disk;
    options.disk_count = 1;
    options.limits.disk_bytes = 1 << 20;
    struct forkd_error error = {0};
    struct forkd_vm *vm = boot(&options);
    OK(forkd_vm_wait(vm, WAIT_MS, NULL, &error));
    await_disk_full(vm);
    await_printed(console, 'E', 1);
    forkd_vm_free(vm);
    folder_remove(&folder);
}

/* A guest that waits for its disk can be branched, its branch's children have its limits, and what they are
 * given themselves comes before that. */
static void children_of_a_branch_have_its_limits(void **state)
{
    (void)state;
    struct forkd_error error = {0};
    struct snapshot made = snapshot_of(GUEST("scribble"), "0", NULL);
    char console[128];
    char other_console[128];
    char directory[128];
    folder_file(&made.folder, "console", console, sizeof console);
    folder_file(&made.folder, "other.console", other_console, sizeof other_console);
    folder_file(&made.folder, "branch", directory, sizeof directory);
    assert_int_equal(mkdir(directory, 0700), 0);
    int64_t begun = now_ms();
    struct forkd_vm *source =
        fork_limited(made.server, (struct forkd_child_options){.console_path = console,
                                                               .limits = {.disk_bytes = 2 << 20,
                                                                          .disk_bytes_per_second = 512 << 10,
                                                                          .vsock_connections = 5}});
    struct forkd_server *twin = NULL;
    const struct forkd_branch_options branch = {.directory = directory};
    OK(forkd_vm_branch(source, &branch, &twin, NULL, &error));
    struct forkd_vm *quick = fork_limited(
        twin, (struct forkd_child_options){.console_path = other_console,
                                           .limits = {.disk_bytes_per_second = FORKD_UNLIMITED}});
    await_disk_full(quick);
    await_printed(other_console, 'E', 1);
    /* Nothing of a file is its own, which the branch gave it. */
    assert_in_range(nameless_space(status_of(quick).pid), (2 << 20) - 65536, (2 << 20) + (1 << 20));
    await_disk_full(source);
    /* 2 MiB at 512 KiB a second; a fifth of a second for what may come at once. */
    assert_true(now_ms() - begun >= 3800);
    forkd_vm_free(quick);
    forkd_server_free(twin);
    forkd_vm_free(source);
    remove_snapshot_of(&made);
}

static off_t size_of(const char *path)
{
    struct stat info = {0};
    return stat(path, &info) == 0 ? info.st_size : 0;
}

static void console_limit_holds(void **state)
{
    (void)state;
    enum { LIMIT = 64 << 10, LINE = 256 };
    struct snapshot made = snapshot_of(GUEST("flood"), "c", NULL);
    struct snapshot other = snapshot_of(GUEST("answer"), "", NULL);
    char console[128];
    folder_file(&made.folder, "console", console, sizeof console);
    struct forkd_vm *sibling = fork_limited(other.server, (struct forkd_child_options){0});
    struct forkd_vm *child =
        fork_limited(made.server, (struct forkd_child_options){.console_path = console,
                                                               .limits = {.console_bytes = LIMIT}});
    bool cut = false;
    off_t before = 0;
    for (int i = 0; i < WAIT_MS * 10 && !cut; i++) {
        off_t size = size_of(console);
        assert_true(size <= LIMIT + LINE);
        cut = size < before;
        before = size;
        usleep(100);
    }
    assert_true(cut);
    ask_child(sibling);
    forkd_vm_free(child);
    forkd_vm_free(sibling);
    remove_snapshot_of(&made);
    remove_snapshot_of(&other);
}

static void vsock_limits_hold(void **state)
{
    (void)state;
    enum { CONNECTIONS = 100, BUFFER = 2 << 20, SEEN = 600 };
    struct snapshot made = snapshot_of(GUEST("flood"), "v", NULL);
    struct snapshot other = snapshot_of(GUEST("answer"), "", NULL);
    char vsock[120];
    char port[128];
    static int accepted[SEEN];
    folder_file(&made.folder, "vsock", vsock, sizeof vsock);
    snprintf(port, sizeof port, "%s_9", vsock);
    int listener = bind_at(port, true);
    assert_int_equal(listen(listener, 64), 0);
    struct forkd_vm *sibling = fork_limited(other.server, (struct forkd_child_options){0});
    struct forkd_vm *child =
        fork_limited(made.server, (struct forkd_child_options){.vsock_path = vsock,
                                                               .limits = {.vsock_connections = CONNECTIONS,
                                                                          .vsock_buffer_bytes = BUFFER}});
    int pid = status_of(child).pid;
    int count = 0;
    for (int64_t end = now_ms() + WAIT_MS; count < SEEN && now_ms() < end;) {
        struct pollfd polled = {.fd = listener, .events = POLLIN};
        /* When all places are taken by what nobody reads, no more come. */
        if (poll(&polled, 1, 1000) == 0)
            break;
        accepted[count++] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        assert_true(own_memory(pid) < BUFFER + (8 << 20));
    }
    assert_true(count >= BUFFER / (256 << 10));
    int open = 0;
    for (int i = 0; i < count; i++) {
        struct pollfd polled = {.fd = accepted[i]};
        open += poll(&polled, 1, 0) == 0;
    }
    assert_in_range(open, BUFFER / (256 << 10), CONNECTIONS);
    ask_child(sibling);
    assert_int_equal(status_of(child).phase, FORKD_VM_READY);
    for (int i = 0; i < count; i++)
        close(accepted[i]);
    close(listener);
    forkd_vm_free(child);
    forkd_vm_free(sibling);
    remove_snapshot_of(&made);
    remove_snapshot_of(&other);
}

static void make_tap(void)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    snprintf(request.ifr_name, sizeof request.ifr_name, TAP);
    int unshared = unshare(CLONE_NEWNET);
    int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (unshared < 0 || ioctl(tap, TUNSETIFF, &request) < 0 || ioctl(tap, TUNSETPERSIST, 1) < 0)
        fail_msg("cannot make a tap: run the native tests as root, with the module tun");
    close(tap);
    assert_int_equal(system("ip link set " TAP " up"), 0);
}

/* What the guest has sent, as the tap counts it. */
static uint64_t sent_bytes(void)
{
    unsigned long long bytes = 0;
    FILE *command = popen("ip -s link show " TAP " | awk '/RX:/ { getline; print $1 }'", "re");
    assert_non_null(command);
    assert_int_equal(fscanf(command, "%llu", &bytes), 1);
    pclose(command);
    return bytes;
}

static void network_limit_holds(void **state)
{
    (void)state;
    make_tap();
    struct snapshot made = snapshot_of(GUEST("flood"), "n", TAP);
    struct snapshot other = snapshot_of(GUEST("answer"), "", NULL);
    struct forkd_vm *sibling = fork_limited(other.server, (struct forkd_child_options){0});
    int64_t begun = now_ms();
    struct forkd_vm *child = fork_limited(
        made.server, (struct forkd_child_options){.tap_name = TAP, .limits = {.net_bytes_per_second = RATE}});
    for (int i = 0; i < 10; i++) {
        usleep(200000);
        uint64_t sent = sent_bytes();
        uint64_t most = RATE / 10 + 2 * 1526 + (uint64_t)(now_ms() - begun) * RATE / 1000;
        if (sent > most)
            fail_msg("%llu bytes in %lld ms", (unsigned long long)sent, (long long)(now_ms() - begun));
    }
    assert_true(sent_bytes() > 0);
    ask_child(sibling);
    forkd_vm_free(child);
    forkd_vm_free(sibling);
    remove_snapshot_of(&made);
    remove_snapshot_of(&other);
}

static void limits_out_of_range_are_refused(void **state)
{
    (void)state;
    struct snapshot made = snapshot_of(GUEST("ready"), "", NULL);
    struct forkd_error error = {0};
    struct forkd_vm *vm = NULL;
    const struct forkd_limits wrong[] = {
        {.console_bytes = 4095},
        {.console_bytes = FORKD_CONSOLE_MOST + 1},
        {.console_bytes = FORKD_UNLIMITED},
        {.disk_bytes = 4095},
        {.vsock_buffer_bytes = 262143},
        {.vsock_connections = FORKD_MAX_VSOCK_CONNECTIONS + 1},
        {.reserved32 = 1},
        {.reserved = {[7] = 1}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct forkd_child_options child = {.flags = FORKD_NO_AGENT, .limits = wrong[i]};
        struct forkd_boot_options booted = boot_options(GUEST("ready"));
        booted.limits = wrong[i];
        assert_int_equal(forkd_server_fork(made.server, &child, &vm, &error), -EINVAL);
        assert_int_equal(forkd_vm_boot(&vm, &booted, &error), -EINVAL);
    }
    struct forkd_boot_options options = boot_options(GUEST("ready"));
    struct forkd_disk disk = {.path = made.image, .reserved = {[5] = 1}};
    options.disks = &disk;
    options.disk_count = 1;
    assert_int_equal(forkd_vm_boot(&vm, &options, &error), -EINVAL);
    remove_snapshot_of(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disk_limit_holds_and_is_the_guests_alone),
        cmocka_unit_test(a_limit_at_boot_holds),
        cmocka_unit_test(children_of_a_branch_have_its_limits),
        cmocka_unit_test(console_limit_holds),
        cmocka_unit_test(vsock_limits_hold),
        cmocka_unit_test(limits_out_of_range_are_refused),
        cmocka_unit_test(network_limit_holds), /* last: it takes the process into a network namespace */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
