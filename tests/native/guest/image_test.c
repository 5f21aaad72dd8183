/* SPDX-License-Identifier: Apache-2.0 */
/* What an image says of its programs: its user as Docker understands it, and what an agent makes of it. */
#include "client.h"
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
                             "# a comment:and:no:entry\n"
                             "broken:x:no number:1::/:\n"
                             "app:x:1000:1001:An app,,,:/home/app:/bin/sh\n"
                             "app:x:7:7::/second:/bin/sh\n"
                             "homeless:x:1002:1002\n"
                             "99:x:1003:1003::/home/99:/bin/sh";
static const char group[] = "root:x:0:\n"
                            "app:x:1001:\n"
                            "audio:x:29:root,app\n"
                            "video:x:44:apple,app,homeless\n"
                            "short:x\n"
                            "wheel:x:10:";

static struct forkd_error err;

static int parse(const char *json, struct image *image)
{
    char *text = strdup(json);
    int status = image_parse(text, strlen(text), passwd, group, image, &err);
    free(text);
    return status;
}

static void parse_user(const char *user, struct image *image)
{
    char json[256];
    snprintf(json, sizeof json, "{\"version\":1,\"env\":[],\"working_dir\":\"\",\"user\":\"%s\"}", user);
    assert_int_equal(parse(json, image), 0);
}

static void assert_user(const char *user, uid_t uid, gid_t gid, const char *home, const char *groups)
{
    struct image image;
    char got[64] = "";
    parse_user(user, &image);
    assert_int_equal(image.uid, uid);
    assert_int_equal(image.gid, gid);
    for (size_t i = 0; i < image.group_count; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%u ", image.groups[i]);
    assert_string_equal(got, groups);
    assert_string_equal(image.environment[0] + strlen("HOME="), home);
    image_free(&image);
}

static void users_are_those_of_docker(void **state)
{
    (void)state;
    assert_user("", 0, 0, "/root", "29 ");
    assert_user("root", 0, 0, "/root", "29 ");
    assert_user("app", 1000, 1001, "/home/app", "29 44 ");
    assert_user("1000", 1000, 1001, "/home/app", "29 44 ");
    assert_user("app:wheel", 1000, 10, "/home/app", "");
    assert_user("app:55", 1000, 55, "/home/app", "");
    assert_user("homeless", 1002, 1002, "/", "44 ");
    assert_user("4321", 4321, 0, "/", "");
    assert_user("4321:1234", 4321, 1234, "/", "");
    assert_user("99", 99, 0, "/", ""); /* a number is never a name */
    assert_user("2147483647", 2147483647, 0, "/", "");
}

static void assert_error(const char *json, int error, const char *part)
{
    struct image image;
    assert_int_equal(parse(json, &image), -error);
    assert_int_equal(err.code, -error);
    if (!strstr(err.text, part))
        assert_string_equal(err.text, part);
    assert_null(image.environment);
}

static void assert_refused(const char *json, const char *part)
{
    assert_error(json, EINVAL, part);
}

static void assert_unknown(const char *json, const char *part)
{
    assert_error(json, ESRCH, part);
}

#define REST "\"env\":[],\"working_dir\":\"/\""

static void who_is_not_there_is_named(void **state)
{
    (void)state;
    assert_unknown("{\"version\":1," REST ",\"user\":\"nobody\"}", "user 'nobody' is not in its /etc/passwd");
    assert_refused("{\"version\":1," REST ",\"user\":\"app:no\"}", "group 'no' is not in its /etc/group");
    assert_unknown("{\"version\":1," REST ",\"user\":\"2147483648\"}", "'2147483648'");
    assert_unknown("{\"version\":1," REST ",\"user\":\"-1\"}", "'-1'");
    assert_unknown("{\"version\":1," REST ",\"user\":\"broken\"}", "'broken'");
    assert_refused("{\"version\":1," REST ",\"user\":\"app:short\"}", "'short'");
}

static void what_is_no_configuration_is_refused(void **state)
{
    (void)state;
    assert_refused("", "Expecting a value");
    assert_refused("[]", "not an object");
    assert_refused("{" REST ",\"user\":\"\"}", "version 1");
    assert_refused("{\"version\":2," REST ",\"user\":\"\"}", "version 1");
    assert_refused("{\"version\":1," REST "}", "user");
    assert_refused("{\"version\":1," REST ",\"user\":7}", "user");
    assert_refused("{\"version\":1," REST ",\"user\":\"a\\u0000\"}", "user");
    assert_refused("{\"version\":1,\"env\":{},\"working_dir\":\"\",\"user\":\"\"}", "env");
    assert_refused("{\"version\":1,\"env\":[1],\"working_dir\":\"\",\"user\":\"\"}", "env");
    assert_refused("{\"version\":1,\"env\":[\"A=1\",\"B=\\u0000\"],\"working_dir\":\"\",\"user\":\"\"}",
                   "env");
    assert_refused("{\"version\":1,\"env\":[],\"working_dir\":null,\"user\":\"\"}", "working_dir");
}

static void the_environment_keeps_its_order_and_gets_a_home(void **state)
{
    (void)state;
    struct image image;
    assert_int_equal(parse("{\"version\":1,\"env\":[\"B=2=\",\"none\",\"=x\",\"A=\\u00e4\"],"
                           "\"working_dir\":\"/srv\",\"user\":\"app\",\"more\":[]}",
                           &image),
                     0);
    static const char *const expected[] = {"B=2=", "A=\xc3\xa4", "HOME=/home/app"};
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(image.environment[i], expected[i]);
    assert_null(image.environment[3]);
    assert_string_equal(image.cwd, "/srv");
    image_free(&image);

    assert_int_equal(
        parse("{\"version\":1,\"env\":[\"HOME=/h\"],\"working_dir\":\"\",\"user\":\"app\"}", &image), 0);
    assert_string_equal(image.environment[0], "HOME=/h");
    assert_null(image.environment[1]);
    assert_string_equal(image.cwd, "/");
    image_free(&image);
}

static char root[] = "/tmp/image-test-XXXXXX";

static void in_root(char out[128], const char *name)
{
    snprintf(out, 128, "%s%s", root, name);
}

static void write_file(const char *name, const char *text)
{
    char path[128];
    in_root(path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void make_folder(const char *name)
{
    char path[128];
    in_root(path, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void remove_file(const char *name)
{
    char path[128];
    in_root(path, name);
    remove(path);
}

static int make_root(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(root));
    assert_int_equal(chmod(root, 0755), 0);
    make_folder("/etc");
    make_folder("/etc/forkd");
    make_folder("/bin");
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    static const char *const names[] = {"/etc/forkd/image.json",
                                        "/etc/forkd",
                                        "/etc/passwd",
                                        "/etc/group",
                                        "/etc",
                                        "/bin/python3",
                                        "/bin",
                                        ""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        remove_file(names[i]);
    return 0;
}

#define CONFIG(user) "{\"version\":1,\"env\":[],\"working_dir\":\"/\",\"user\":\"" user "\"}\n"

static void a_root_without_image_has_none(void **state)
{
    (void)state;
    struct image image;
    assert_int_equal(image_load(root, &image, &err), 0);
    assert_int_equal(image_load("/dev/null", &image, &err), 0);
}

static void an_image_without_users_needs_numbers(void **state)
{
    (void)state;
    struct image image;
    write_file("/etc/forkd/image.json", CONFIG("12:34"));
    assert_int_equal(image_load(root, &image, &err), 1);
    assert_int_equal(image.uid, 12);
    image_free(&image);
    write_file("/etc/forkd/image.json", CONFIG("app"));
    assert_int_equal(image_load(root, &image, &err), -ESRCH);
    write_file("/etc/passwd", passwd);
    write_file("/etc/group", group);
    assert_int_equal(image_load(root, &image, &err), 1);
    assert_int_equal(image.group_count, 2);
    image_free(&image);
}

static void what_is_no_file_is_not_waited_for(void **state)
{
    (void)state;
    struct image image;
    char path[128];
    remove_file("/etc/passwd");
    in_root(path, "/etc/passwd");
    assert_int_equal(mkfifo(path, 0644), 0);
    assert_int_equal(image_load(root, &image, &err), -EINVAL);
    assert_non_null(strstr(err.text, "/etc/passwd"));
    remove_file("/etc/passwd");
    write_file("/etc/passwd", passwd);
    in_root(path, "/etc/group");
    assert_int_equal(truncate(path, (off_t)64 << 20), 0);
    assert_int_equal(image_load(root, &image, &err), -EFBIG);
    remove_file("/etc/group");
}

static struct served *serve_image(void)
{
    static struct image image;
    static char path[160];
    static char *environment[] = {path, "GREETING=hello", "OVER=image", NULL};
    static gid_t groups[] = {29, 44};
    static struct served *served;
    snprintf(path, sizeof path, "PATH=%s/bin:/usr/bin:/bin", root);
    image = (struct image){.environment = environment,
                           .cwd = "/proc",
                           .uid = 1000,
                           .gid = 1001,
                           .groups = groups,
                           .group_count = 2};
    if (!served)
        served = serve(&(struct agent_options){.image = &image});
    return served;
}

static void programs_run_as_the_image_says(void **state)
{
    (void)state;
    if (getuid() != 0)
        fail_msg("run this test as root: it starts programs as somebody else");
    struct served *served = serve_image();
    assert_answer(
        served,
        "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"pwd; id -u; id -g; id -G; echo $GREETING $OVER; "
        "grep -cE '^Cap(Prm|Eff):.0+$' /proc/self/status\"]}",
        "{\"stdout\":\"/proc\\n1000\\n1001\\n1001 29 44\\nhello image\\n2\\n\",\"stderr\":\"\","
        "\"exit_code\":0}\n");
    assert_answer(served,
                  "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"pwd; echo $GREETING $OVER\"],\"cwd\":\"/\","
                  "\"env\":{\"OVER\":\"request\"}}",
                  "{\"stdout\":\"/\\nhello request\\n\",\"stderr\":\"\",\"exit_code\":0}\n");
}

static void programs_open_their_output_by_name(void **state)
{
    (void)state;
    if (getuid() != 0)
        fail_msg("run this test as root: it starts programs as somebody else");
    assert_answer(serve_image(),
                  "{\"action\":\"exec\",\"args\":[\"sh\",\"-c\",\"cat /dev/stdin; echo out >/dev/stdout; "
                  "echo more >>/dev/stdout; echo err >/dev/stderr\"],\"stdin_base64\":\"aW4K\"}",
                  "{\"stdout\":\"in\\nout\\nmore\\n\",\"stderr\":\"err\\n\",\"exit_code\":0}\n");
}

static void a_folder_of_the_image_that_is_missing_is_named(void **state)
{
    (void)state;
    static char *environment[] = {NULL};
    static struct image image = {.environment = environment, .cwd = "/no/such"};
    assert_answer_has(serve(&(struct agent_options){.image = &image}),
                      "{\"action\":\"exec\",\"args\":[\"true\"]}",
                      "FileNotFoundError: [Errno 2] No such file or directory: '/no/such'");
}

static void the_interpreter_is_the_one_in_the_image_path(void **state)
{
    (void)state;
    struct image image;
    char json[256];
    char expected[128];
    snprintf(json, sizeof json,
             "{\"version\":1,\"env\":[\"PATH=/nowhere::%s/etc:%s/bin\"],\"working_dir\":\"\",\"user\":\"\"}",
             root, root);
    assert_int_equal(parse(json, &image), 0);
    assert_null(image_find_program(&image, "python3"));
    assert_null(image_find_program(&image, "forkd")); /* a folder */
    write_file("/bin/python3", "");
    char *found = image_find_program(&image, "python3");
    in_root(expected, "/bin/python3");
    assert_string_equal(found, expected);
    free(found);
    image_free(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_are_those_of_docker),
        cmocka_unit_test(who_is_not_there_is_named),
        cmocka_unit_test(what_is_no_configuration_is_refused),
        cmocka_unit_test(the_environment_keeps_its_order_and_gets_a_home),
        cmocka_unit_test(a_root_without_image_has_none),
        cmocka_unit_test(an_image_without_users_needs_numbers),
        cmocka_unit_test(what_is_no_file_is_not_waited_for),
        cmocka_unit_test(programs_run_as_the_image_says),
        cmocka_unit_test(programs_open_their_output_by_name),
        cmocka_unit_test(a_folder_of_the_image_that_is_missing_is_named),
        cmocka_unit_test(the_interpreter_is_the_one_in_the_image_path),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
