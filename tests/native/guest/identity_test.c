/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be tried of the identity without being a guest: the check of the message and the files. Entropy,
 * clock and hostname would change this machine; they are tried in a VM.
 */
#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

static struct guest_identity good(void)
{
    struct guest_identity identity = {
        .magic = GUEST_IDENTITY_MAGIC,
        .version = GUEST_PROTOCOL_VERSION,
        .generation = 42,
        .machine_id = {0x01, 0x23, 0xff},
        .hostname = "child-7",
    };
    return identity;
}

static void a_good_identity_is_taken(void **state)
{
    (void)state;
    struct guest_identity identity = good();
    assert_int_equal(identity_check(&identity), 0);
    memset(identity.hostname, 'a', sizeof identity.hostname - 1);
    assert_int_equal(identity_check(&identity), 0);
}

static void bad_identities_are_refused(void **state)
{
    (void)state;
    struct guest_identity identity = good();
    identity.magic++;
    assert_int_equal(identity_check(&identity), -EBADMSG);
    identity = good();
    identity.version++;
    assert_int_equal(identity_check(&identity), -EPROTONOSUPPORT);
    identity = good();
    memset(identity.hostname, 'a', sizeof identity.hostname);
    assert_int_equal(identity_check(&identity), -EINVAL);
    identity = good();
    identity.hostname[0] = '\0';
    assert_int_equal(identity_check(&identity), -EINVAL);
    identity = good();
    identity.hostname[2] = '\n';
    assert_int_equal(identity_check(&identity), -EINVAL);
}

static void assert_content(const char *root, const char *name, const char *expected)
{
    char path[256];
    char text[128] = "";
    snprintf(path, sizeof path, "%s%s", root, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    assert_string_equal(text, expected);
}

static void make(const char *root, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s", root, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static int remove_entry(const char *path, const struct stat *now, int kind, struct FTW *where)
{
    (void)now;
    (void)kind;
    (void)where;
    return remove(path);
}

static void files_are_written_and_the_generation_is_moved_into_place(void **state)
{
    (void)state;
    char root[] = "/tmp/identity-test-XXXXXX";
    char folder[64];
    struct guest_identity identity = good();
    assert_non_null(mkdtemp(root));
    make(root, "/etc");
    make(root, "/run");
    make(root, "/run/forkd");
    snprintf(folder, sizeof folder, "%s/etc/hostname", root);
    static const char old[] = "a name that is longer than the new one\n";
    int file = open(folder, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(file, old, sizeof old - 1), sizeof old - 1);
    close(file);
    snprintf(folder, sizeof folder, "%s/run/forkd", root);
    int notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    assert_true(inotify_add_watch(notify, folder, IN_MOVED_TO) >= 0);

    identity_write_files(root, &identity);

    assert_content(root, "/etc/hostname", "child-7\n");
    assert_content(root, "/etc/machine-id", "0123ff00000000000000000000000000\n");
    assert_content(root, "/run/forkd/generation", "42\n");
    union {
        struct inotify_event event;
        char bytes[512];
    } seen;
    assert_true(read(notify, &seen, sizeof seen) > 0);
    assert_string_equal(seen.event.name, "generation");
    close(notify);
    assert_int_equal(nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void a_booted_vm_keeps_its_machine_id_and_has_generation_0(void **state)
{
    (void)state;
    char root[] = "/tmp/identity-test-XXXXXX";
    struct guest_identity identity = good();
    assert_non_null(mkdtemp(root));
    make(root, "/etc");
    make(root, "/run");
    make(root, "/run/forkd");
    identity_write_files(root, &identity);

    identity_begin(root);

    assert_content(root, "/etc/machine-id", "0123ff00000000000000000000000000\n");
    assert_content(root, "/run/forkd/generation", "0\n");
    assert_int_equal(nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void a_root_without_folders_is_no_error(void **state)
{
    (void)state;
    struct guest_identity identity = good();
    identity_write_files("/nonexistent", &identity);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_identity_is_taken),
        cmocka_unit_test(bad_identities_are_refused),
        cmocka_unit_test(files_are_written_and_the_generation_is_moved_into_place),
        cmocka_unit_test(a_booted_vm_keeps_its_machine_id_and_has_generation_0),
        cmocka_unit_test(a_root_without_folders_is_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
