/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forkd-net as a whole program, in a network and mount namespace that end with the test. What its rules let
 * through is shown with packets by the Java tests.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

#define NAME "forkd-child-1"
#define FILE_NAME "/run/netns/" NAME
#define MAKE "make " NAME " forkd-tap0 10.42.0.1 24 forkd-n1 10.43.0.2 10.43.0.1"

static FILE *to;
static FILE *from;
static char text[65536];

static int enter_throwaway(void **state)
{
    (void)state;
    int down[2];
    int up[2];
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount("", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("forkd", "/run", "tmpfs", 0, NULL) < 0 || pipe(down) < 0 || pipe(up) < 0)
        return -1;
    if (fork() == 0) {
        dup2(down[0], STDIN_FILENO);
        dup2(up[1], STDOUT_FILENO);
        close(down[1]);
        close(up[0]);
        execl(FORKD_NET, "forkd-net", (char *)NULL);
        _exit(127);
    }
    close(down[0]);
    close(up[1]);
    to = fdopen(down[1], "w");
    from = fdopen(up[0], "r");
    return to == NULL || from == NULL ? -1 : 0;
}

static int leave(void **state)
{
    (void)state;
    int status;
    fclose(to);
    fclose(from);
    return wait(&status) > 0 && status == 0 ? 0 : -1;
}

/* 0 or an errno; `text` is what was answered. */
static int ask(const char *line, const char *script)
{
    char word[16];
    int code = 0;
    size_t length;
    if (script != NULL)
        fprintf(to, "%s %zu\n%s", line, strlen(script), script);
    else
        fprintf(to, "%s\n", line);
    fflush(to);
    assert_int_equal(fscanf(from, "%15s", word), 1);
    if (strcmp(word, "error") == 0)
        assert_int_equal(fscanf(from, "%d", &code), 1);
    assert_int_equal(fscanf(from, "%zu%*1[\n]", &length), 1);
    assert_true(length < sizeof text);
    assert_int_equal(fread(text, 1, length, from), length);
    text[length] = '\0';
    return code;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void assert_nothing_left(void)
{
    assert_false(exists(FILE_NAME));
    assert_int_equal(if_nametoindex("forkd-n1"), 0);
}

static void remove_it(void)
{
    assert_int_equal(ask("remove " NAME " forkd-n1", NULL), 0);
    assert_int_equal(ask("sweep -", NULL), 0);
    assert_nothing_left();
}

static void a_namespace_has_tap_veth_and_rules(void **state)
{
    (void)state;
    assert_int_equal(ask(MAKE, "table inet forkd {\n}\n"), 0);
    assert_true(if_nametoindex("forkd-n1") > 0);
    assert_int_equal(ask("rules " NAME, "list ruleset"), 0);
    assert_non_null(strstr(text, "table inet forkd"));
    /* Ours has none. */
    assert_int_equal(ask("rules -", "list ruleset"), 0);
    assert_string_equal(text, "");
    int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(FILE_NAME, O_RDONLY | O_CLOEXEC);
    assert_int_equal(setns(there, CLONE_NEWNET), 0);
    bool has = if_nametoindex("forkd-tap0") > 0 && if_nametoindex("veth0") > 0;
    assert_int_equal(setns(own, CLONE_NEWNET), 0);
    close(own);
    close(there);
    assert_true(has);
    assert_int_equal(ask("forget " NAME " forkd-tap0", NULL), 0);
    remove_it();
}

static void what_is_not_there_is_removed_too(void **state)
{
    (void)state;
    remove_it();
}

static void none_is_made_twice(void **state)
{
    (void)state;
    assert_int_equal(ask(MAKE, ""), 0);
    assert_int_equal(ask(MAKE, ""), EEXIST);
    assert_true(if_nametoindex("forkd-n1") > 0);
    remove_it();
}

static void what_fails_leaves_nothing(void **state)
{
    (void)state;
    assert_int_equal(ask(MAKE, "table inet forkd { chain x { nonsense; } }"), EINVAL);
    assert_non_null(strstr(text, "nftables: "));
    assert_nothing_left();
    /* The veth of another is in the way. */
    assert_int_equal(ask(MAKE, ""), 0);
    assert_int_equal(ask("make other forkd-tap0 10.42.0.1 24 forkd-n1 10.43.0.3 10.43.0.1", ""), EEXIST);
    assert_non_null(strstr(text, "forkd-n1"));
    assert_false(exists("/run/netns/other"));
    remove_it();
}

static void a_file_without_a_namespace_is_removed(void **state)
{
    (void)state;
    assert_int_equal(ask(MAKE, ""), 0);
    remove_it();
    close(open(FILE_NAME, O_RDONLY | O_CREAT | O_CLOEXEC, 0));
    assert_int_equal(ask("rules " NAME, "list ruleset"), EINVAL);
    remove_it();
}

static void rules_are_set_all_or_none(void **state)
{
    (void)state;
    assert_int_equal(ask("rules -", "table inet forkd {\n}\n"), 0);
    assert_int_equal(ask("rules -", "delete table inet forkd\ndelete table inet other\n"), ENOENT);
    assert_int_equal(ask("rules -", "list ruleset"), 0);
    assert_non_null(strstr(text, "table inet forkd"));
    assert_int_equal(ask("rules -", "delete table inet forkd"), 0);
}

static void a_tap_is_made_again_and_removed(void **state)
{
    (void)state;
    assert_int_equal(ask("tap forkd-tap0 10.42.0.1 24 0", NULL), 0);
    assert_int_equal(ask("tap forkd-tap0 10.42.0.1 24 0", NULL), 0);
    assert_true(if_nametoindex("forkd-tap0") > 0);
    assert_int_equal(ask("sweep forkd-tap0", NULL), 0);
    assert_int_equal(if_nametoindex("forkd-tap0"), 0);
}

/* What a guest that took its process over has left behind may have it: nobody else's network it must become.
 */
static void a_namespace_whose_tap_somebody_has_is_not_forgotten(void **state)
{
    (void)state;
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    assert_int_equal(ask(MAKE, ""), 0);
    assert_int_equal(ask("forget " NAME " forkd-tap0", NULL), 0);
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(FILE_NAME, O_RDONLY | O_CLOEXEC);
    assert_int_equal(setns(there, CLONE_NEWNET), 0);
    int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC); /* it is of the namespace that it is opened in */
    snprintf(request.ifr_name, sizeof request.ifr_name, "forkd-tap0");
    assert_int_equal(ioctl(tap, TUNSETIFF, &request), 0);
    assert_int_equal(setns(home, CLONE_NEWNET), 0);
    assert_int_equal(ask("forget " NAME " forkd-tap0", NULL), EBUSY);
    close(tap);
    assert_int_equal(ask("forget " NAME " forkd-tap0", NULL), 0);
    close(there);
    close(home);
    remove_it();
}

static void a_resolver_that_does_not_start_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(ask(MAKE, ""), 0);
    assert_int_equal(ask("resolver " NAME " /nonexistent /nonexistent", NULL), ENOENT);
    assert_int_equal(ask("quiet " NAME, NULL), 0);
    remove_it();
}

/* The one before it must have let go of its sockets. */
static void a_resolver_takes_anothers_place(void **state)
{
    (void)state;
    FILE *file = fopen("/run/resolver.conf", "w");
    assert_non_null(file);
    fputs("port=53\nlisten-address=10.42.0.1\nbind-interfaces\nno-resolv\nno-hosts\npid-file=\n", file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(ask(MAKE, ""), 0);
    for (int i = 0; i < 30; i++)
        assert_int_equal(ask("resolver " NAME " /usr/sbin/dnsmasq /run/resolver.conf", NULL), 0);
    assert_int_equal(ask("quiet " NAME, NULL), 0);
    assert_int_equal(unlink("/run/resolver.conf"), 0);
    remove_it();
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "unknown a",
        "make",
        "remove ../x forkd-n1",
        "remove " NAME " a/b",
        "tap forkd-tap0 10.42.0 24 0",
        "tap forkd-tap0 10.42.0.1 33 0",
        "tap forkd-tap0 10.42.0.1 24 -1",
        "tap a-name-that-is-too-long 10.42.0.1 24 0",
        "rules - 99999999999",
        "quiet a b c d e f g h i j k l",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_int_equal(ask(lines[i], NULL), EINVAL);
    assert_int_equal(ask("rules nobody", "list ruleset"), ENOENT);
}

int main(void)
{
    if (geteuid() != 0) {
        fprintf(stderr, "network namespaces need root\n");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_namespace_has_tap_veth_and_rules),
        cmocka_unit_test(what_is_not_there_is_removed_too),
        cmocka_unit_test(none_is_made_twice),
        cmocka_unit_test(what_fails_leaves_nothing),
        cmocka_unit_test(a_file_without_a_namespace_is_removed),
        cmocka_unit_test(rules_are_set_all_or_none),
        cmocka_unit_test(a_tap_is_made_again_and_removed),
        cmocka_unit_test(a_namespace_whose_tap_somebody_has_is_not_forgotten),
        cmocka_unit_test(a_resolver_that_does_not_start_is_an_error),
        cmocka_unit_test(a_resolver_takes_anothers_place),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, enter_throwaway, leave);
}
