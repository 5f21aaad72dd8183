/* SPDX-License-Identifier: Apache-2.0 */
/* Channels: what was sent before the other end went is received, it is known who sent it, and nobody waits
 * who need not. */
#include "base/channel.h"
#include "base/listener.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

static void last_message_of_who_has_not_read_all_arrives(void **state)
{
    (void)state;
    struct forkd_error error;
    int pair[2];
    char message = 0;
    size_t length = 0;
    uint32_t no_fds = 0;
    assert_int_equal(channel_pair(pair, &error), 0);
    assert_int_equal(channel_send(pair[0], CHANNEL_NOW, "unread", 6, NULL, 0, &error), 0);
    assert_int_equal(channel_send(pair[1], CHANNEL_NOW, "x", 1, NULL, 0, &error), 0);
    close(pair[1]);
    assert_int_equal(
        channel_receive(pair[0], CHANNEL_NOW, &message, sizeof message, &length, NULL, &no_fds, &error), 1);
    assert_int_equal(length, 1);
    assert_int_equal(message, 'x');
    assert_int_equal(
        channel_receive(pair[0], CHANNEL_NOW, &message, sizeof message, &length, NULL, &no_fds, &error), 0);
    close(pair[0]);
}

/* Its own number in a message is what it says; the kernel says what it is. */
static void sender_of_a_message_is_known(void **state)
{
    (void)state;
    struct forkd_error error;
    int pair[2];
    int32_t said = 0;
    size_t length = 0;
    uint32_t no_fds = 0;
    pid_t sender = 0;
    assert_int_equal(channel_pair(pair, &error), 0);
    assert_int_equal(channel_ask_sender(pair[0], &error), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(channel_send(pair[1], CHANNEL_NOW, &(int32_t){1}, sizeof said, NULL, 0, NULL) < 0);
    assert_int_equal(
        channel_receive_from(pair[0], 10000, &said, sizeof said, &length, NULL, &no_fds, &sender, &error), 1);
    assert_int_equal(sender, child);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(pair[0]);
    close(pair[1]);
}

/* Whoever has it open takes connections, and another may be quicker. */
static void who_takes_a_connection_that_another_took_does_not_wait(void **state)
{
    (void)state;
    char path[64];
    struct forkd_error error;
    snprintf(path, sizeof path, "/tmp/forkd-channel-test-%d", getpid());
    int listener = channel_listen(path, &error);
    assert_true(listener >= 0);
    assert_int_equal(listener_accept(listener), -EAGAIN);
    unlink(path);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_message_of_who_has_not_read_all_arrives),
        cmocka_unit_test(sender_of_a_message_is_known),
        cmocka_unit_test(who_takes_a_connection_that_another_took_does_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
