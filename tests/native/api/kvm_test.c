/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts whose /dev/kvm is not ours to use, or leads nowhere: the error says what to do, and nothing is
 * started. */
#include "stranger.h"

#define NO_SUCH_DEVICE makedev(10, 254) /* of the same driver as /dev/kvm, and nobody's */

static void assert_refused(const struct fixture *fixture, int code, const char *remedy)
{
    struct forkd_vm *vm = NULL;
    struct forkd_server *server = NULL;
    struct forkd_boot_options options = boot_options(fixture->guest);
    options.vmm_path = fixture->vmm;
    for (int forking = 0; forking < 2; forking++) {
        struct forkd_error error = {0};
        int result = forking ? forkd_server_start(&server, &fixture->options, &error)
                             : forkd_vm_boot(&vm, &options, &error);
        assert_int_equal(result, -code);
        assert_int_equal(error.code, -code);
        assert_string_equal(error.object, "/dev/kvm");
        if (strstr(error.text, remedy) == NULL)
            fail_msg("'%s' lacks '%s'", error.text, remedy);
        wait_for_children(getpid(), 0);
    }
    assert_null(vm);
    assert_null(server);
}

static int make_snapshot_for_stranger(void **state)
{
    make_snapshot(state);
    give_to_stranger(*state);
    own_mounts();
    return 0;
}

static void user_without_the_right_is_told_of_the_group(void **state)
{
    struct fixture *fixture = *state;
    put_kvm(fixture, KVM_DEVICE, 0600);
    become(STRANGER);
    assert_refused(fixture, EACCES, "usermod -aG kvm");
    become(0);
    take_kvm_away(fixture);
}

/* The node may be there without a driver: modules announce theirs. */
static void device_without_a_driver_is_told_of_the_modules(void **state)
{
    struct fixture *fixture = *state;
    put_kvm(fixture, NO_SUCH_DEVICE, 0666);
    assert_refused(fixture, ENODEV, "load kvm-intel or kvm-amd");
    take_kvm_away(fixture);
}

static void missing_device_is_told_of_the_modules(void **state)
{
    struct fixture *fixture = *state;
    require(mount("dev", "/dev", "tmpfs", 0, NULL) == 0 &&
                mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)) == 0,
            "empty /dev");
    assert_refused(fixture, ENOENT, "load kvm-intel or kvm-amd");
    assert_int_equal(umount("/dev"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(user_without_the_right_is_told_of_the_group),
        cmocka_unit_test(device_without_a_driver_is_told_of_the_modules),
        cmocka_unit_test(missing_device_is_told_of_the_modules),
    };
    return cmocka_run_group_tests(tests, make_snapshot_for_stranger, remove_snapshot);
}
