/* SPDX-License-Identifier: Apache-2.0 */
/* Files: each operation, as root and as a user with fewer rights. Needs root, for the users and a small
 * tmpfs. */
#include "frames.h"

#include "base64.h"
#include "clock.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define MIB ((size_t)1 << 20)

static struct served *served;
static char folder[] = "/tmp/streams-files-XXXXXX";

static int start(void **state)
{
    (void)state;
    served = serve(&(struct agent_options){0});
    if (!mkdtemp(folder) || chmod(folder, 0755) < 0)
        return -1;
    return served->status;
}

static int stop(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* A line or an answer with the test's folder for each %D. To be freed. */
static char *in_folder(const char *text)
{
    char *out = malloc(16384);
    size_t used = 0;
    for (; *text; text++) {
        if (text[0] == '%' && text[1] == 'D') {
            used += (size_t)sprintf(out + used, "%s", folder);
            text++;
        } else {
            out[used++] = *text;
        }
    }
    out[used] = '\0';
    return out;
}

static int opened_in(const char *line)
{
    char *text = in_folder(line);
    int fd = stream_open(served, text);
    free(text);
    return fd;
}

static void asked_in(const char *line, const char *expected)
{
    char *text = in_folder(expected);
    int fd = opened_in(line);
    expect_answer(fd, text);
    close(fd);
    free(text);
}

static void refused_in(const char *line, const char *code)
{
    expect_refusal(opened_in(line), code);
}

static void write_text(const char *name, const char *text)
{
    char *path = in_folder(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    free(path);
}

static void expect_text(const char *name, const char *expected)
{
    char *path = in_folder(name);
    char text[256] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    free(path);
    assert_string_equal(text, expected);
}

static struct stat status_of(const char *name)
{
    struct stat is = {0};
    char *path = in_folder(name);
    assert_int_equal(lstat(path, &is), 0);
    free(path);
    return is;
}

static void set_time(const char *name)
{
    char *path = in_folder(name);
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000, .tv_nsec = 5000000}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
    free(path);
}

static void missing(const char *name)
{
    char *path = in_folder(name);
    assert_int_equal(access(path, F_OK), -1);
    free(path);
}

/* What has been staged and was not moved. */
static void nothing_is_left_over(void)
{
    char command[96];
    snprintf(command, sizeof command, "test -z \"$(find %s -name '.forkd-*')\"", folder);
    assert_int_equal(system(command), 0);
}

static void stat_tells_of_all_types(void **state)
{
    (void)state;
    write_text("%D/text", "12345");
    set_time("%D/text");
    char *link = in_folder("%D/link");
    assert_int_equal(symlink("text", link), 0);
    set_time("%D/link");
    free(link);
    asked_in("{\"op\":\"stat\",\"path\":\"%D/link\"}",
             "{\"name\":\"link\",\"path\":\"%D/"
             "link\",\"type\":\"file\",\"size\":5,\"mode\":420,\"uid\":0,\"gid\":0,"
             "\"user\":\"root\",\"group\":\"root\",\"mtime_ms\":1000005}");
    asked_in("{\"op\":\"stat\",\"path\":\"%D/link\",\"follow\":false}",
             "{\"name\":\"link\",\"path\":\"%D/link\",\"type\":\"symlink\",\"size\":4,\"mode\":511,\"uid\":0,"
             "\"gid\":0,\"user\":\"root\",\"group\":\"root\",\"mtime_ms\":1000005,\"target\":\"text\"}");
    static const char *const types[][2] = {
        {"/dev/null", "char"}, {"/proc", "directory"}, {"%D/fifo", "fifo"}, {"%D/block", "block"}};
    char *fifo = in_folder("%D/fifo");
    char *block = in_folder("%D/block");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(mknod(block, S_IFBLK | 0600, 0), 0);
    free(fifo);
    free(block);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char line[128];
        char part[32];
        snprintf(line, sizeof line, "{\"op\":\"stat\",\"path\":\"%s\"}", types[i][0]);
        snprintf(part, sizeof part, "\"type\":\"%s\"", types[i][1]);
        int fd = opened_in(line);
        char *answer = stream_answer(fd);
        assert_non_null(strstr(answer, part));
        free(answer);
        close(fd);
    }
    refused_in("{\"op\":\"stat\",\"path\":\"%D/none\"}", "ENOENT");
    refused_in("{\"op\":\"stat\",\"path\":\"%D/text/below\"}", "ENOTDIR");
    refused_in("{\"op\":\"stat\",\"path\":\"relative\"}", "EINVAL");
    refused_in("{\"op\":\"stat\",\"path\":\"/a\\u0000b\"}", "EINVAL");
    refused_in("{\"op\":\"stat\"}", "EINVAL");
    char *line = malloc(6000);
    memset(line, '/', 6000);
    memcpy(line, "{\"op\":\"stat\",\"path\":\"", 21);
    memcpy(line + 21 + 4096, "\"}", 3);
    refused(served, line, "ENAMETOOLONG");
    memcpy(line + 21 + 4095, "\"}", 3);
    int fd = stream_open(served, line);
    char *answer = stream_answer(fd);
    assert_non_null(strstr(answer, "\"type\":\"directory\""));
    free(answer);
    close(fd);
    free(line);
}

static void dots_and_links_lead_where_the_kernel_says(void **state)
{
    (void)state;
    write_text("%D/up", "x");
    asked_in("{\"op\":\"mkdir\",\"path\":\"%D/down\"}", "{\"created\":true}");
    int fd = opened_in("{\"op\":\"file-read\",\"path\":\"%D/down/../up\"}");
    free(stream_answer(fd));
    expect_end(fd, "x", "", "{\"bytes\":1}");
    char *link = in_folder("%D/loop");
    assert_int_equal(symlink("loop", link), 0);
    free(link);
    refused_in("{\"op\":\"stat\",\"path\":\"%D/loop\"}", "ELOOP");
    refused_in("{\"op\":\"file-write\",\"path\":\"%D/loop\"}", "ELOOP");
}

static void names_that_are_no_utf8_have_their_bytes(void **state)
{
    (void)state;
    char path[128];
    char base64[256] = "";
    char line[512];
    snprintf(path, sizeof path, "%s/\xff\xfe", folder);
    base64_encode((unsigned char *)path, strlen(path), base64);
    snprintf(line, sizeof line, "{\"op\":\"mkdir\",\"path_base64\":\"%s\"}", base64);
    asked(served, line, "{\"created\":true}");
    assert_int_equal(access(path, F_OK), 0);
    snprintf(line, sizeof line, "{\"op\":\"stat\",\"path\":\"/\",\"path_base64\":\"%s\"}", base64);
    int fd = stream_open(served, line);
    char *answer = stream_answer(fd);
    snprintf(line, sizeof line,
             "{\"name\":\"\xef\xbf\xbd\xef\xbf\xbd\",\"name_base64\":\"//4=\",\"path\":\"%s/"
             "\xef\xbf\xbd\xef\xbf\xbd\",\"path_base64\":\"%s\",",
             folder, base64);
    assert_memory_equal(answer, line, strlen(line));
    free(answer);
    close(fd);
    snprintf(line, sizeof line, "{\"op\":\"remove\",\"path_base64\":\"%s\"}", base64);
    asked(served, line, "{}");
    refused(served, "{\"op\":\"stat\",\"path_base64\":\"*\"}", "EINVAL");
    refused(served, "{\"op\":\"stat\",\"path_base64\":\"AAA=\"}", "EINVAL");
}

/* The paths of the EVENTs of a list, as many lines. */
static void expect_list(int fd, const char *expected, const char *end)
{
    struct frame *frame = malloc(sizeof *frame);
    char paths[4096] = "";
    while (frame_receive(fd, frame) && frame->type == FRAME_EVENT) {
        char *path = strstr(frame->data, "\"path\":\"") + 8 + strlen(folder);
        strncat(paths, path, strcspn(path, "\""));
        if (strstr(frame->data, "\"error\":"))
            strcat(paths, "!");
        strcat(paths, "\n");
    }
    assert_int_equal(frame->type, FRAME_END);
    assert_string_equal(frame->data, end);
    assert_string_equal(paths, expected);
    free(frame);
    close(fd);
}

static void list_goes_as_deep_as_it_is_asked_for(void **state)
{
    (void)state;
    asked_in("{\"op\":\"mkdir\",\"path\":\"%D/list/a/b/c\",\"parents\":true}", "{\"created\":true}");
    write_text("%D/list/a/b/c/file", "x");
    int fd = opened_in("{\"op\":\"list\",\"path\":\"%D/list\"}");
    expect_answer(fd, "{}");
    expect_list(fd, "/list/a\n", "{}");
    fd = opened_in("{\"op\":\"list\",\"path\":\"%D/list\",\"depth\":3}");
    expect_answer(fd, "{}");
    expect_list(fd, "/list/a\n/list/a/b\n/list/a/b/c\n", "{}");
    fd = opened_in("{\"op\":\"list\",\"path\":\"%D/list/\",\"depth\":64}");
    expect_answer(fd, "{}");
    expect_list(fd, "/list/a\n/list/a/b\n/list/a/b/c\n/list/a/b/c/file\n", "{}");
    refused_in("{\"op\":\"list\",\"path\":\"%D/list/a/b/c/file\"}", "ENOTDIR");
    refused_in("{\"op\":\"list\",\"path\":\"%D/none\"}", "ENOENT");
    refused_in("{\"op\":\"list\",\"path\":\"%D\",\"depth\":0}", "EINVAL");
    refused_in("{\"op\":\"list\",\"path\":\"%D\",\"depth\":65}", "EINVAL");

    /* Of a user who may not look into one of them. */
    char *closed = in_folder("%D/list/a/b");
    assert_int_equal(chmod(closed, 0700), 0);
    free(closed);
    fd = opened_in("{\"op\":\"list\",\"path\":\"%D/list\",\"depth\":64,\"user\":\"4711\"}");
    expect_answer(fd, "{}");
    expect_list(fd, "/list/a\n/list/a/b!\n", "{}");
}

static void a_file_is_read_whole_and_in_part(void **state)
{
    (void)state;
    size_t length = 3 * MIB + 12345;
    char *data = malloc(length);
    for (size_t i = 0; i < length; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    char *path = in_folder("%D/big");
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(file, data, length), (ssize_t)length);
    close(file);
    free(path);
    struct outcome outcome;
    int fd = opened_in("{\"op\":\"file-read\",\"path\":\"%D/big\"}");
    char *answer = stream_answer(fd);
    assert_non_null(strstr(answer, "\"size\":3158073,\"mode\":384,"));
    free(answer);
    stream_finish(fd, &outcome);
    assert_string_equal(outcome.end, "{\"bytes\":3158073}");
    assert_int_equal(outcome.length[0], length);
    assert_memory_equal(outcome.data[0], data, length);
    outcome_free(&outcome);
    fd = opened_in("{\"op\":\"file-read\",\"path\":\"%D/big\",\"offset\":100000,\"length\":70000}");
    free(stream_answer(fd));
    stream_finish(fd, &outcome);
    assert_string_equal(outcome.end, "{\"bytes\":70000}");
    assert_memory_equal(outcome.data[0], data + 100000, 70000);
    outcome_free(&outcome);
    fd = opened_in("{\"op\":\"file-read\",\"path\":\"%D/big\",\"offset\":3158073}");
    free(stream_answer(fd));
    expect_end(fd, "", "", "{\"bytes\":0}");
    free(data);
    /* Files that have no size. */
    fd = opened_in("{\"op\":\"file-read\",\"path\":\"/proc/sys/kernel/ostype\"}");
    free(stream_answer(fd));
    expect_end(fd, "Linux\n", "", "{\"bytes\":6}");
    refused_in("{\"op\":\"file-read\",\"path\":\"%D\"}", "EISDIR");
    refused_in("{\"op\":\"file-read\",\"path\":\"%D/fifo\"}", "EINVAL");
    refused_in("{\"op\":\"file-read\",\"path\":\"/dev/zero\"}", "EINVAL");
    refused_in("{\"op\":\"file-read\",\"path\":\"%D/none\"}", "ENOENT");
    refused_in("{\"op\":\"file-read\",\"path\":\"%D/big\",\"offset\":-1}", "EINVAL");
}

static void a_file_that_grows_is_read_to_the_end_that_it_has_then(void **state)
{
    (void)state;
    size_t length = 32 * MIB; /* more than is on its way */
    char *path = in_folder("%D/growing");
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(file, (off_t)length), 0);
    free(path);
    int fd = opened_in("{\"op\":\"file-read\",\"path\":\"%D/growing\"}");
    char *answer = stream_answer(fd);
    assert_non_null(strstr(answer, "\"size\":33554432,"));
    free(answer);
    assert_int_equal(pwrite(file, "tail", 4, (off_t)length), 4);
    close(file);
    struct outcome outcome;
    stream_finish(fd, &outcome);
    assert_string_equal(outcome.end, "{\"bytes\":33554436}");
    assert_string_equal(outcome.data[0] + length, "tail");
    outcome_free(&outcome);
}

static void a_file_is_there_when_it_is_whole(void **state)
{
    (void)state;
    write_text("%D/place", "old");
    int fd = opened_in("{\"op\":\"file-write\",\"path\":\"%D/place\"}");
    expect_answer(fd, "{}");
    frame_send(fd, FRAME_IN, "new ", 4);
    frame_send(fd, FRAME_IN, "text", 4);
    clock_sleep_ms(100);
    expect_text("%D/place", "old");
    close(fd); /* the host is gone */
    clock_sleep_ms(100);
    expect_text("%D/place", "old");
    nothing_is_left_over();

    fd = opened_in("{\"op\":\"file-write\",\"path\":\"%D/place\",\"mtime_ms\":1500}");
    expect_answer(fd, "{}");
    frame_send(fd, FRAME_IN, "new ", 4);
    frame_send(fd, FRAME_IN, "text", 4);
    frame_send(fd, FRAME_IN, "", 0);
    char *end = in_folder(
        "{\"name\":\"place\",\"path\":\"%D/place\",\"type\":\"file\",\"size\":8,\"mode\":420,\"uid\":0,"
        "\"gid\":0,\"user\":\"root\",\"group\":\"root\",\"mtime_ms\":1500}");
    expect_end(fd, "", "", end);
    free(end);
    expect_text("%D/place", "new text");
    nothing_is_left_over();
}

static void written(const char *line, const char *text)
{
    int fd = opened_in(line);
    expect_answer(fd, "{}");
    frame_send(fd, FRAME_IN, text, strlen(text));
    if (*text)
        frame_send(fd, FRAME_IN, "", 0);
    struct outcome outcome;
    stream_finish(fd, &outcome);
    assert_null(strstr(outcome.end, "\"error\""));
    outcome_free(&outcome);
}

static void what_is_replaced_keeps_its_owner_and_mode(void **state)
{
    (void)state;
    written("{\"op\":\"file-write\",\"path\":\"%D/new/er/file\",\"parents\":true}", "x");
    assert_int_equal(status_of("%D/new/er/file").st_mode, S_IFREG | 0644);
    char *path = in_folder("%D/new/er/file");
    assert_int_equal(chown(path, 4711, 4712), 0);
    assert_int_equal(chmod(path, 04750), 0);
    free(path);
    written("{\"op\":\"file-write\",\"path\":\"%D/new/er/file\"}", "y");
    assert_int_equal(status_of("%D/new/er/file").st_mode, S_IFREG | 04750);
    assert_int_equal(status_of("%D/new/er/file").st_uid, 4711);
    assert_int_equal(status_of("%D/new/er/file").st_gid, 4712);
    written("{\"op\":\"file-write\",\"path\":\"%D/new/er/file\",\"mode\":384,\"uid\":1,\"gid\":2}", "");
    assert_int_equal(status_of("%D/new/er/file").st_mode, S_IFREG | 0600);
    assert_int_equal(status_of("%D/new/er/file").st_uid, 1);
    assert_int_equal(status_of("%D/new/er/file").st_size, 0);
    /* A link stays, and what it leads to is written; also when that is not there yet. */
    char *link = in_folder("%D/new/link");
    assert_int_equal(symlink("er/other", link), 0);
    free(link);
    written("{\"op\":\"file-write\",\"path\":\"%D/new/link\"}", "through");
    expect_text("%D/new/er/other", "through");
    assert_true(S_ISLNK(status_of("%D/new/link").st_mode));
    refused_in("{\"op\":\"file-write\",\"path\":\"%D/new\"}", "EISDIR");
    refused_in("{\"op\":\"file-write\",\"path\":\"%D/new/\"}", "EISDIR");
    refused_in("{\"op\":\"file-write\",\"path\":\"%D/new/..\"}", "EISDIR");
    refused_in("{\"op\":\"file-write\",\"path\":\"/dev/null\"}", "EINVAL");
    refused_in("{\"op\":\"file-write\",\"path\":\"%D/fifo\"}", "EINVAL");
    refused_in("{\"op\":\"file-write\",\"path\":\"%D/none/file\"}", "ENOENT");
    refused_in("{\"op\":\"file-write\",\"path\":\"%D/x\",\"mode\":4096}", "EINVAL");
    nothing_is_left_over();
}

static void frames_that_are_not_allowed_write_nothing(void **state)
{
    (void)state;
    static const unsigned char wrong[][FRAME_HEADER] = {
        {0, 0, 0, 0, 1}, {2, 0, 0, 0, 1},          {5, 0, 0, 0, 1},
        {1, 1, 0, 0, 1}, {1, 0, 0, 0, 1, 0, 1, 0}, {255, 255},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char byte;
        int fd = opened_in("{\"op\":\"file-write\",\"path\":\"%D/wrong\"}");
        expect_answer(fd, "{}");
        frame_send(fd, FRAME_IN, "x", 1);
        send_all(fd, wrong[i], FRAME_HEADER);
        assert_false(receive_all(fd, &byte, 1));
        close(fd);
    }
    missing("%D/wrong");
    nothing_is_left_over();
}

static void a_full_disk_is_told_and_leaves_what_was(void **state)
{
    (void)state;
    char *path = in_folder("%D/small");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(mount("none", path, "tmpfs", 0, "size=1m"), 0);
    write_text("%D/small/file", "old");
    int fd = opened_in("{\"op\":\"file-write\",\"path\":\"%D/small/file\"}");
    expect_answer(fd, "{}");
    char *data = calloc(1, FRAME_MAX);
    for (int i = 0; i < 64; i++)
        frame_send(fd, FRAME_IN, data, FRAME_MAX);
    free(data);
    struct outcome outcome;
    stream_finish(fd, &outcome);
    assert_non_null(strstr(outcome.end, "\"code\":\"ENOSPC\"}"));
    outcome_free(&outcome);
    expect_text("%D/small/file", "old");
    nothing_is_left_over();

    /* A mount is not entered. */
    refused_in("{\"op\":\"remove\",\"path\":\"%D/small\",\"recursive\":true}", "EBUSY");
    expect_text("%D/small/file", "old");
    assert_int_equal(umount(path), 0);
    assert_int_equal(mount("none", path, "tmpfs", MS_RDONLY, "size=1m"), 0);
    refused_in("{\"op\":\"file-write\",\"path\":\"%D/small/file\"}", "EROFS");
    assert_int_equal(umount(path), 0);
    free(path);
}

static void directories_are_made_and_removed(void **state)
{
    (void)state;
    asked_in("{\"op\":\"mkdir\",\"path\":\"%D/made\",\"mode\":1472,\"uid\":4711,\"gid\":4712,\"mtime_ms\":5}",
             "{\"created\":true}");
    struct stat is = status_of("%D/made");
    assert_int_equal(is.st_mode, S_IFDIR | 02700);
    assert_int_equal(is.st_uid, 4711);
    assert_int_equal(is.st_mtim.tv_nsec, 5000000);
    refused_in("{\"op\":\"mkdir\",\"path\":\"%D/made\"}", "EEXIST");
    asked_in("{\"op\":\"mkdir\",\"path\":\"%D/made\",\"parents\":true}", "{\"created\":false}");
    asked_in("{\"op\":\"mkdir\",\"path\":\"%D/made/a/b/\",\"parents\":true}", "{\"created\":true}");
    assert_int_equal(status_of("%D/made/a/b").st_mode, S_IFDIR | 0755);
    refused_in("{\"op\":\"mkdir\",\"path\":\"%D/none/a\"}", "ENOENT");
    write_text("%D/made/a/file", "x");
    refused_in("{\"op\":\"mkdir\",\"path\":\"%D/made/a/file\",\"parents\":true}", "EEXIST");
    refused_in("{\"op\":\"mkdir\",\"path\":\"%D/made/a/file/b\",\"parents\":true}", "ENOTDIR");
    asked_in("{\"op\":\"symlink\",\"path\":\"%D/made/a/out\",\"target\":\"/etc\",\"uid\":4711,\"gid\":4711}",
             "{}");
    assert_int_equal(status_of("%D/made/a/out").st_uid, 4711);
    refused_in("{\"op\":\"symlink\",\"path\":\"%D/made/a/out\",\"target\":\"/etc\"}", "EEXIST");
    refused_in("{\"op\":\"symlink\",\"path\":\"%D/made/a/none\",\"target\":\"\"}", "EINVAL");
    refused_in("{\"op\":\"remove\",\"path\":\"%D/made\"}", "ENOTEMPTY");
    refused_in("{\"op\":\"remove\",\"path\":\"%D/none\",\"recursive\":true}", "ENOENT");
    refused_in("{\"op\":\"remove\",\"path\":\"/\",\"recursive\":true}", "EBUSY");
    refused_in("{\"op\":\"remove\",\"path\":\"%D/made/.\",\"recursive\":true}", "EINVAL");
    refused_in("{\"op\":\"remove\",\"path\":\"%D/made/..\",\"recursive\":true}", "EINVAL");
    asked_in("{\"op\":\"remove\",\"path\":\"%D/made/a/file\"}", "{}");
    asked_in("{\"op\":\"remove\",\"path\":\"%D/made/a/b/\"}", "{}");
    asked_in("{\"op\":\"remove\",\"path\":\"%D/made\",\"recursive\":true}", "{}");
    missing("%D/made");
    assert_int_equal(access("/etc/passwd", F_OK), 0);
}

static void trees_that_are_too_deep_or_large_are_removed_or_refused(void **state)
{
    (void)state;
    char command[256];
    snprintf(command, sizeof command,
             "mkdir %s/many && cd %s/many && seq 1 5000 | xargs touch && mkdir $(seq -s / 6001 6100 | sed "
             "'s,^,./,') "
             "-p",
             folder, folder);
    assert_int_equal(system(command), 0);
    asked_in("{\"op\":\"remove\",\"path\":\"%D/many\",\"recursive\":true}", "{}");
    missing("%D/many");
    char *deep = in_folder("%D/deep");
    assert_int_equal(mkdir(deep, 0700), 0);
    int fd = open(deep, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(deep);
    for (int i = 0; i < 600; i++) {
        assert_int_equal(mkdirat(fd, "d", 0700), 0);
        int next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = next;
    }
    close(fd);
    refused_in("{\"op\":\"remove\",\"path\":\"%D/deep\",\"recursive\":true}", "ELOOP");
}

static void what_is_moved_replaces(void **state)
{
    (void)state;
    write_text("%D/from", "moved");
    write_text("%D/to", "old");
    asked_in("{\"op\":\"move\",\"from\":\"%D/from\",\"to\":\"%D/to\"}", "{}");
    expect_text("%D/to", "moved");
    missing("%D/from");
    refused_in("{\"op\":\"move\",\"from\":\"%D/from\",\"to\":\"%D/to\"}", "ENOENT");
    refused_in("{\"op\":\"move\",\"from\":\"%D/to\",\"to\":\"/proc/to\"}", "EXDEV");
    refused_in("{\"op\":\"move\",\"from\":\"%D/to\"}", "EINVAL");
    refused_in("{\"op\":\"move\",\"from\":\"to\",\"to\":\"%D/to\"}", "EINVAL");
}

/* Whatever root could do: none of its capabilities is left. */
static void a_user_has_no_more_rights_than_his_own(void **state)
{
    (void)state;
    asked_in("{\"op\":\"mkdir\",\"path\":\"%D/roots\"}", "{\"created\":true}");
    asked_in("{\"op\":\"mkdir\",\"path\":\"%D/his\",\"uid\":4711,\"gid\":4711}", "{\"created\":true}");
    write_text("%D/roots/open", "readable");
    write_text("%D/roots/secret", "secret");
    write_text("%D/his/roots", "of root");
    char *secret = in_folder("%D/roots/secret");
    assert_int_equal(chmod(secret, 0600), 0);
    free(secret);
    int fd = opened_in("{\"op\":\"file-read\",\"path\":\"%D/roots/open\",\"user\":\"4711\"}");
    free(stream_answer(fd));
    expect_end(fd, "readable", "", "{\"bytes\":8}");
    static const char *const eacces[] = {
        "{\"op\":\"file-read\",\"path\":\"%D/roots/secret\",\"user\":\"4711\"}",
        "{\"op\":\"file-write\",\"path\":\"%D/roots/open\",\"user\":\"4711\"}",
        "{\"op\":\"file-write\",\"path\":\"%D/roots/new\",\"user\":\"4711\"}",
        "{\"op\":\"file-write\",\"path\":\"%D/his/roots\",\"user\":\"4711\"}",
        "{\"op\":\"mkdir\",\"path\":\"%D/roots/new\",\"user\":\"4711\"}",
        "{\"op\":\"symlink\",\"path\":\"%D/roots/new\",\"target\":\"x\",\"user\":\"4711\"}",
        "{\"op\":\"remove\",\"path\":\"%D/roots/open\",\"user\":\"4711\"}",
        "{\"op\":\"move\",\"from\":\"%D/roots/open\",\"to\":\"%D/his/open\",\"user\":\"4711\"}",
        "{\"op\":\"file-read\",\"path\":\"/proc/1/environ\",\"user\":\"4711\"}",
        "{\"op\":\"list\",\"path\":\"/proc/1/fd\",\"user\":\"4711\"}",
        "{\"op\":\"watch\",\"path\":\"%D/roots/secret\",\"user\":\"4711\"}",
    };
    for (size_t i = 0; i < sizeof eacces / sizeof *eacces; i++)
        refused_in(eacces[i], "EACCES");
    refused_in("{\"op\":\"mkdir\",\"path\":\"%D/his/given\",\"uid\":0,\"user\":\"4711\"}", "EPERM");
    written("{\"op\":\"file-write\",\"path\":\"%D/his/own\",\"user\":\"4711:4712\"}", "x");
    assert_int_equal(status_of("%D/his/own").st_uid, 4711);
    assert_int_equal(status_of("%D/his/own").st_gid, 4712);
    refused_in("{\"op\":\"stat\",\"path\":\"/\",\"user\":\"nobody-of-that-name\"}", "ESRCH");
    /* The agent itself is as it was. */
    asked_in("{\"op\":\"mkdir\",\"path\":\"%D/roots/again\"}", "{\"created\":true}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stat_tells_of_all_types),
        cmocka_unit_test(dots_and_links_lead_where_the_kernel_says),
        cmocka_unit_test(names_that_are_no_utf8_have_their_bytes),
        cmocka_unit_test(list_goes_as_deep_as_it_is_asked_for),
        cmocka_unit_test(a_file_is_read_whole_and_in_part),
        cmocka_unit_test(a_file_that_grows_is_read_to_the_end_that_it_has_then),
        cmocka_unit_test(a_file_is_there_when_it_is_whole),
        cmocka_unit_test(what_is_replaced_keeps_its_owner_and_mode),
        cmocka_unit_test(frames_that_are_not_allowed_write_nothing),
        cmocka_unit_test(a_full_disk_is_told_and_leaves_what_was),
        cmocka_unit_test(directories_are_made_and_removed),
        cmocka_unit_test(trees_that_are_too_deep_or_large_are_removed_or_refused),
        cmocka_unit_test(what_is_moved_replaces),
        cmocka_unit_test(a_user_has_no_more_rights_than_his_own),
    };
    /* Its mounts are its own. */
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        perror("a mount namespace; this test needs root");
        return 1;
    }
    return cmocka_run_group_tests_name("streams_files", tests, start, stop);
}
