/* SPDX-License-Identifier: Apache-2.0 */
/* A channel: what was sent before its other end went is received, whatever that end had left unread. */
#include "base/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(last_message_of_who_has_not_read_all_arrives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
