/* SPDX-License-Identifier: Apache-2.0 */
/* Text on its way in and out: base64, escaping, the command line, recipe files, shell words. */
#include "base64.h"
#include "cmdline.h"
#include "recipe.h"
#include "words.h"
#include "writer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

/* RFC 4648 section 10. */
static void base64_of_known_strings(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xff\xfe\xfb", "//77"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char out[16] = "";
        size_t length = strlen(pairs[i][0]);
        base64_encode((const unsigned char *)pairs[i][0], length, out);
        assert_string_equal(out, pairs[i][1]);
        assert_int_equal(base64_decode(out, strlen(out), (unsigned char *)out), length);
        assert_memory_equal(out, pairs[i][0], length);
    }
}

static void bad_base64_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "A", "A===", "AA=", "AB==", "AAB=", "A A=", "AA==AA==", "-_--", "AAAA=", "="};
    unsigned char out[16];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(base64_decode(texts[i], strlen(texts[i]), out), -EINVAL);
    assert_int_equal(base64_decode("AAA", 3, out), 2); /* padding may be left out */
}

/* The text goes in parts of each size, as it does when it comes from a pipe. */
static void assert_escaped(const char *text, size_t length, const char *expected)
{
    static struct writer writer;
    for (size_t part = 1; part <= length; part++) {
        char out[256];
        int fd = memfd_create("escaped", MFD_CLOEXEC);
        writer_init(&writer, fd);
        for (size_t start = 0, end = 0; start < length;) {
            end = end + part < length ? end + part : length;
            start += writer_escape(&writer, text + start, end - start, end == length);
        }
        assert_int_equal(writer_flush(&writer), 0);
        ssize_t written = pread(fd, out, sizeof out - 1, 0);
        assert_true(written >= 0);
        out[written] = '\0';
        assert_string_equal(out, expected);
        close(fd);
    }
}

#define BAD "\xef\xbf\xbd"

static void output_is_escaped(void **state)
{
    (void)state;
    assert_escaped("a\"\\/\b\f\n\r\t\0\x0b\x1f\x7f", 13,
                   "a\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u000b\\u001f\x7f");
    assert_escaped("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
}

/* The same numbers of replacement characters as bytes.decode("utf-8", "replace"). */
static void bytes_that_are_no_utf8_are_replaced_as_python_does(void **state)
{
    (void)state;
    assert_escaped("\xff\xfe", 2, BAD BAD);
    assert_escaped("a\x80z", 3, "a" BAD "z");
    assert_escaped("\xc0\xaf", 2, BAD BAD);
    assert_escaped("\xed\xa0\x80", 3, BAD BAD BAD);
    assert_escaped("\xe2\x82z", 3, BAD "z");
    assert_escaped("\xf0\x9f\x98", 3, BAD);
    assert_escaped("\xf4\x90\x80\x80", 4, BAD BAD BAD BAD);
    assert_escaped("\xf0\x9f\xe2\x82\xac", 5, BAD "\xe2\x82\xac");
}

static void words_of_the_command_line(void **state)
{
    (void)state;
    static const char line[] =
        "console=ttyS0 rw init=/x forkd.hostname=one \"a b=c d\" e=\"f g\" ip= quiet -- ro late=1\n";
    char value[32];
    assert_true(cmdline_value(line, "console", value, sizeof value));
    assert_string_equal(value, "ttyS0");
    assert_true(cmdline_value(line, "a b", value, sizeof value));
    assert_string_equal(value, "c d");
    assert_true(cmdline_value(line, "e", value, sizeof value));
    assert_string_equal(value, "f g");
    assert_true(cmdline_value(line, "ip", value, sizeof value));
    assert_string_equal(value, "");
    assert_true(cmdline_has(line, "rw"));
    assert_true(cmdline_has(line, "quiet"));
    assert_false(cmdline_has(line, "r"));
    assert_false(cmdline_has(line, "ro"));
    assert_false(cmdline_has(line, "late"));
    assert_false(cmdline_value(line, "console", value, 5));
    assert_false(cmdline_has("", "rw"));
}

static void volumes_of_the_command_line(void **state)
{
    (void)state;
    const char *list = "vdb:/data:ro,vdc:/x,bad,vdd:relative,../e:/y,vdf:/z:rw,:/q,vdg:/last";
    struct cmdline_mount mount;
    struct forkd_error err;
    assert_int_equal(cmdline_next_mount(&list, &mount, &err), 1);
    assert_string_equal(mount.device, "vdb");
    assert_string_equal(mount.target, "/data");
    assert_true(mount.read_only);
    assert_int_equal(cmdline_next_mount(&list, &mount, &err), 1);
    assert_string_equal(mount.device, "vdc");
    assert_false(mount.read_only);
    static const char *const malformed[] = {"bad", "vdd:relative", "../e:/y", "vdf:/z:rw", ":/q"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(cmdline_next_mount(&list, &mount, &err), -EINVAL);
        assert_string_equal(err.object, malformed[i]);
        assert_non_null(strstr(err.text, "forkd.mounts: malformed entry: "));
    }
    assert_int_equal(cmdline_next_mount(&list, &mount, &err), 1);
    assert_string_equal(mount.target, "/last");
    assert_int_equal(cmdline_next_mount(&list, &mount, &err), 0);
}

/* Without one the agent does not listen on TCP, and with one it answers that address alone. */
static void the_host_is_at_the_other_end_of_the_cable(void **state)
{
    (void)state;
    struct in_addr host = {0};
    assert_true(cmdline_host("console=ttyS0 ip=10.42.0.2::10.42.0.1:255.255.255.0::eth0:off quiet", &host));
    assert_int_equal(ntohl(host.s_addr), 0x0a2a0001);
    assert_false(cmdline_host("console=ttyS0 quiet", &host));
    assert_false(cmdline_host("ip=10.42.0.2", &host));
    assert_false(cmdline_host("ip=dhcp", &host));
    assert_false(cmdline_host("", &host));
}

static void network_of_the_command_line(void **state)
{
    (void)state;
    struct cmdline_network network;
    assert_true(cmdline_network("10.42.0.2::10.42.0.1:255.255.255.0::eth0:off", &network));
    assert_int_equal(network.address.s_addr, inet_addr("10.42.0.2"));
    assert_int_equal(network.gateway.s_addr, inet_addr("10.42.0.1"));
    assert_int_equal(network.netmask.s_addr, inet_addr("255.255.255.0"));
    assert_string_equal(network.device, "eth0");
    assert_true(cmdline_network("10.0.0.9", &network));
    assert_int_equal(network.gateway.s_addr, 0);
    assert_false(cmdline_network("dhcp", &network));
    assert_false(cmdline_network("", &network));
    assert_false(cmdline_network("1.2.3.4::nowhere:255.0.0.0::eth0:off", &network));
    assert_false(cmdline_network("1.2.3.4::::::a-name-of-a-device-that-is-too-long", &network) &&
                 strlen(network.device) > 15);
}

static void assert_recipe(const char *text, const char *key, const char *expected)
{
    char *value = recipe_value(text, key);
    if (expected)
        assert_string_equal(value, expected);
    else
        assert_null(value);
    free(value);
}

static void values_of_a_recipe(void **state)
{
    (void)state;
    static const char text[] =
        "# comment\n\n A = 1 \r\nB='x y'\nC=\"a=b\"\n#D=1\nE=\"open\nF=\nno equals\nA2=2\nG='\"'\nA=last";
    assert_recipe(text, "A", "last");
    assert_recipe(text, "B", "x y");
    assert_recipe(text, "C", "a=b");
    assert_recipe(text, "D", NULL);
    assert_recipe(text, "E", "\"open");
    assert_recipe(text, "F", "");
    assert_recipe(text, "G", "\"");
    assert_recipe("", "A", NULL);
}

static void command_lines_are_split_as_by_a_shell(void **state)
{
    (void)state;
    char line[] = "  node '/a b/x.js' \"q\\\"\\n\" a\\ b '' pre'mid'\"post\"  ";
    static const char *const expected[] = {"node", "/a b/x.js", "q\"\\n", "a b", "", "premidpost"};
    char **words = words_split(line);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(words[i], expected[i]);
    assert_null(words[6]);
    free(words);
    char open[] = "sh -c 'oops";
    assert_null(words_split(open));
    char dangling[] = "a \\";
    assert_null(words_split(dangling));
    char nothing[] = " ";
    words = words_split(nothing);
    assert_null(words[0]);
    free(words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_of_known_strings),
        cmocka_unit_test(bad_base64_is_refused),
        cmocka_unit_test(output_is_escaped),
        cmocka_unit_test(bytes_that_are_no_utf8_are_replaced_as_python_does),
        cmocka_unit_test(words_of_the_command_line),
        cmocka_unit_test(volumes_of_the_command_line),
        cmocka_unit_test(network_of_the_command_line),
        cmocka_unit_test(the_host_is_at_the_other_end_of_the_cable),
        cmocka_unit_test(values_of_a_recipe),
        cmocka_unit_test(command_lines_are_split_as_by_a_shell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
