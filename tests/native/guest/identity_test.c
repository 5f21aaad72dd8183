/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be tried of the identity without being a guest: the check of the message and the files. Entropy,
 * clock and hostname would change this machine; they are tried in a VM.
 */
#include "hosts.h"
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
    assert_int_equal(identity_check(&identity, NULL), 0);
    memset(identity.hostname, 'a', sizeof identity.hostname - 1);
    assert_int_equal(identity_check(&identity, NULL), 0);
}

static void bad_identities_are_refused(void **state)
{
    (void)state;
    struct guest_identity identity = good();
    identity.magic++;
    assert_int_equal(identity_check(&identity, NULL), -EBADMSG);
    identity = good();
    identity.version++;
    assert_int_equal(identity_check(&identity, NULL), -EPROTONOSUPPORT);
    identity = good();
    memset(identity.hostname, 'a', sizeof identity.hostname);
    assert_int_equal(identity_check(&identity, NULL), -EINVAL);
    identity = good();
    identity.hostname[0] = '\0';
    assert_int_equal(identity_check(&identity, NULL), -EINVAL);
    identity = good();
    identity.hostname[2] = '\n';
    assert_int_equal(identity_check(&identity, NULL), -EINVAL);
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
    assert_content(root, "/etc/hosts",
                   "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
                   "127.0.1.1\tchild-7\t# this machine, by forkd\n");
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

/* As on a read-only root, where mounts.c mounted a copy in memory over what the link leads to. */
static void what_cannot_be_written_through_a_link_is_written_beside(void **state)
{
    (void)state;
    char root[] = "/tmp/identity-test-XXXXXX";
    char path[64];
    struct guest_identity identity = good();
    assert_non_null(mkdtemp(root));
    make(root, "/etc");
    make(root, "/run");
    make(root, "/run/forkd");
    snprintf(path, sizeof path, "%s/etc/hosts", root);
    assert_int_equal(symlink("/proc/version", path), 0);
    snprintf(path, sizeof path, "%s/run/forkd/hosts", root);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(file, "::1 localhost\n", 14), 14);
    close(file);

    identity_write_files(root, &identity);

    assert_content(root, "/run/forkd/hosts", "::1 localhost\n127.0.1.1\tchild-7\t# this machine, by forkd\n");
    assert_int_equal(nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void assert_hosts(const char *old, const char *expected)
{
    char out[256] = "";
    size_t length = hosts_text(old, strlen(old), "10.42.0.2", "child-7", out, sizeof out - 1);
    assert_int_equal(length, strlen(expected));
    assert_string_equal(out, expected);
}

static void the_image_keeps_its_hosts(void **state)
{
    (void)state;
    static const char own[] = "10.42.0.2\tchild-7\t# this machine, by forkd\n";
    char expected[256];
    snprintf(expected, sizeof expected, "127.0.0.1 localhost\n# a comment\n10.0.0.1 db\n%s", own);
    assert_hosts("127.0.0.1 localhost\n# a comment\n10.0.0.1 db", expected);
    /* Once more, with another name. */
    assert_hosts(
        "127.0.0.1 localhost\n127.0.1.1\tparent\t# this machine, by forkd\n# a comment\n10.0.0.1 db\n",
        expected);
    snprintf(expected, sizeof expected,
             "127.0.0.1 localhost.localdomain # localhost\n127.0.0.1\tlocalhost\n"
             "::1\tlocalhost ip6-localhost ip6-loopback\n%s",
             own);
    assert_hosts("127.0.0.1 localhost.localdomain # localhost\n", expected);
    snprintf(expected, sizeof expected, "::1\tip6-localhost\tlocalhost\r\n%s", own);
    assert_hosts("::1\tip6-localhost\tlocalhost\r\n", expected);
}

static void hosts_that_do_not_fit_are_left_alone(void **state)
{
    (void)state;
    char out[64];
    assert_int_equal(hosts_text("", 0, "127.0.1.1", "child-7", out, sizeof out), 0);
}

static void localhost_is_no_name_of_its_own(void **state)
{
    (void)state;
    char out[64] = "";
    static const char old[] = "127.0.0.1 localhost\n";
    assert_int_equal(hosts_text(old, strlen(old), "127.0.1.1", "localhost", out, sizeof out), strlen(old));
    assert_string_equal(out, old);
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
        cmocka_unit_test(what_cannot_be_written_through_a_link_is_written_beside),
        cmocka_unit_test(the_image_keeps_its_hosts),
        cmocka_unit_test(hosts_that_do_not_fit_are_left_alone),
        cmocka_unit_test(localhost_is_no_name_of_its_own),
        cmocka_unit_test(a_booted_vm_keeps_its_machine_id_and_has_generation_0),
        cmocka_unit_test(a_root_without_folders_is_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
