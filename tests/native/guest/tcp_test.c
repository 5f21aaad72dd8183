/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to another machine end, all others stay. The other machine is a network namespace at the other
 * end of a veth. Needs root, and ip (iproute2).
 */
#include "tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

#define PORT 4000
#define MANY 600 /* more than one answer of the kernel's lists, or than one pass ends */

/* A mapped address is IPv4 on an IPv6 socket. */
#define MAPPED "::ffff:"
#define OURS_V4 "10.9.0.1"
#define THEIRS_V4 "10.9.0.2"
#define OURS_V6 "fd09::1"
#define THEIRS_V6 "fd09::2"

struct pair {
    int ours;
    int theirs;
};

static void run(const char *command)
{
    if (system(command) != 0)
        fail_msg("%s: failed; it needs root and iproute2", command);
}

static socklen_t fill(struct sockaddr_storage *out, const char *address)
{
    *out = (struct sockaddr_storage){0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(PORT);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    assert_int_equal(inet_pton(AF_INET6, address, &v6->sin6_addr), 1);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(PORT);
    return sizeof *v6;
}

static int listen_at(const char *address)
{
    struct sockaddr_storage name;
    socklen_t length = fill(&name, address);
    int fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, length), 0);
    assert_int_equal(listen(fd, MANY), 0);
    return fd;
}

static int connect_to(const char *address)
{
    struct sockaddr_storage name;
    socklen_t length = fill(&name, address);
    int fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&name, length) < 0)
        fail_msg("connect to %s: %s", address, strerror(errno));
    return fd;
}

static struct pair pair_at(const char *address)
{
    int listener = listen_at(address);
    struct pair pair = {.ours = connect_to(address)};
    pair.theirs = accept(listener, NULL, NULL);
    assert_true(pair.theirs >= 0);
    close(listener);
    return pair;
}

static void assert_alive(struct pair pair)
{
    char byte = 0;
    assert_int_equal(send(pair.ours, "x", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(recv(pair.theirs, &byte, 1, 0), 1);
}

static void assert_ended(int fd, int error)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, error);
}

/* The other machine: it answers whoever connects, and connects to whom it is told to. */
static void be_other(int ready, int go)
{
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWNET) < 0 || write(ready, "", 1) != 1 || read(go, &byte, 1) != 1 ||
        system("ip link set lo up && ip addr add " THEIRS_V4 "/24 dev v1 && ip -6 addr add " THEIRS_V6
               "/64 dev v1 nodad && ip link set v1 up") != 0)
        _exit(1);
    listen_at(THEIRS_V4);
    listen_at(THEIRS_V6);
    if (write(ready, "", 1) != 1 || read(go, &byte, 1) != 1)
        _exit(1);
    connect_to(OURS_V4);
    if (write(ready, "", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

static void wait_for(int fd)
{
    char byte;
    assert_int_equal(read(fd, &byte, 1), 1);
}

/* `unaccepted`: what is returned while a listener has not accepted one; `error`: what programs see. */
static void check(int (*end_connections)(void), int unaccepted, int error)
{
    int ready[2];
    int go[2];
    char command[256];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    if (unshare(CLONE_NEWNET) < 0)
        fail_msg("unshare: %s; it needs root", strerror(errno));
    pid_t other = fork();
    if (other == 0)
        be_other(ready[1], go[0]);
    wait_for(ready[0]);
    run("ip link set lo up");
    snprintf(command, sizeof command, "ip link add v0 type veth peer name v1 netns %d", other);
    run(command);
    run("ip addr add " OURS_V4 "/24 dev v0 && ip -6 addr add " OURS_V6
        "/64 dev v0 nodad && ip link set v0 up");
    assert_int_equal(write(go[1], "", 1), 1);
    wait_for(ready[0]);

    int listener = listen_at(OURS_V4);
    int out_v4[MANY];
    for (int i = 0; i < MANY; i++)
        out_v4[i] = connect_to(THEIRS_V4);
    int out_v6 = connect_to(THEIRS_V6);
    int out_mapped = connect_to(MAPPED THEIRS_V4);
    assert_int_equal(write(go[1], "", 1), 1);
    wait_for(ready[0]);
    struct pair loopback_v4 = pair_at("127.0.0.1");
    struct pair loopback_v6 = pair_at("::1");
    struct pair loopback_mapped = pair_at(MAPPED "127.0.0.2");
    struct pair own = pair_at(OURS_V6);

    assert_int_equal(end_connections(), unaccepted);
    int in = accept(listener, NULL, NULL);
    assert_true(in >= 0);
    assert_int_equal(end_connections(), 0);

    for (int i = 0; i < MANY; i++)
        assert_ended(out_v4[i], error);
    assert_ended(out_v6, error);
    assert_ended(out_mapped, error);
    assert_ended(in, error);
    assert_alive(loopback_v4);
    assert_alive(loopback_v6);
    assert_alive(loopback_mapped);
    assert_alive(own);
    close(connect_to(OURS_V4)); /* whose listener is still there */
    assert_int_equal(end_connections(), 0);
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
}

static void connections_to_others_end_and_all_else_stays(void **state)
{
    (void)state;
    check(tcp_end_connections, 0, ECONNABORTED);
}

static void without_inet_diag_they_are_ended_through_descriptors(void **state)
{
    (void)state;
    check(tcp_end_held_connections, -EOPNOTSUPP, ECONNRESET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_to_others_end_and_all_else_stays),
        cmocka_unit_test(without_inet_diag_they_are_ended_through_descriptors),
    };
    return cmocka_run_group_tests_name("tcp", tests, NULL, NULL);
}
