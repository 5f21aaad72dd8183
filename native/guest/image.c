/* SPDX-License-Identifier: Apache-2.0 */
#include "image.h"

#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE_JSON "/etc/forkd/image.json"
#define IMAGE_VERSION 1

/* Each of the three files; no environment that execve(2) takes is longer. */
#define FILE_MAX_SIZE ((size_t)2 << 20)

/* Linux' own bound on supplementary groups. */
#define GROUPS_MAX 65536

/* Docker's bound on uid and gid. */
#define ID_MAX INT32_MAX

struct span {
    const char *start;
    size_t length;
};

/* /etc/passwd is name:password:uid:gid:comment:home:shell, /etc/group name:password:gid:members. */
enum { ENTRY_NAME = 0, ENTRY_ID = 2, ENTRY_GID = 3, ENTRY_MEMBERS = 3, ENTRY_HOME = 5, ENTRY_FIELDS = 6 };

static int no_memory(struct forkd_error *err)
{
    error_say(err, ENOMEM, "read", IMAGE_JSON, IMAGE_JSON ": no memory");
    return -ENOMEM;
}

static bool is_text(struct span span, const char *text)
{
    return strlen(text) == span.length && memcmp(text, span.start, span.length) == 0;
}

static struct span split(struct span *rest, char separator)
{
    const char *end = memchr(rest->start, separator, rest->length);
    size_t length = end ? (size_t)(end - rest->start) : rest->length;
    struct span part = {rest->start, length};
    length += end != NULL;
    *rest = (struct span){rest->start + length, rest->length - length};
    return part;
}

static bool parse_id(struct span text, id_t *out)
{
    uint64_t value = 0;
    if (text.length == 0 || text.length > 10)
        return false;
    for (size_t i = 0; i < text.length; i++) {
        if (text.start[i] < '0' || text.start[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text.start[i] - '0');
    }
    *out = (id_t)value;
    return value <= ID_MAX;
}

/* The next line; fields that it does not have are empty. */
static bool next_entry(struct span *rest, struct span fields[ENTRY_FIELDS])
{
    if (rest->length == 0)
        return false;
    struct span line = split(rest, '\n');
    for (int i = 0; i < ENTRY_FIELDS; i++)
        fields[i] = split(&line, ':');
    return true;
}

/*
 * The first line wins. A user that is a number need not be there: then the group is 0, as in Docker. ESRCH is
 * what getpwnam_r(3) says as well.
 */
static int find_user(const char *passwd, struct span wanted, struct image *out, struct span *name,
                     struct span *home, struct forkd_error *err)
{
    struct span rest = {passwd, strlen(passwd)};
    struct span fields[ENTRY_FIELDS];
    id_t number = 0;
    bool numeric = wanted.length == 0 || parse_id(wanted, &number);
    while (next_entry(&rest, fields)) {
        id_t uid;
        id_t gid;
        bool same = fields[ENTRY_NAME].length == wanted.length &&
                    memcmp(fields[ENTRY_NAME].start, wanted.start, wanted.length) == 0;
        if (!parse_id(fields[ENTRY_ID], &uid) || !parse_id(fields[ENTRY_GID], &gid) ||
            !(numeric ? uid == number : same))
            continue;
        *name = fields[ENTRY_NAME];
        *home = fields[ENTRY_HOME];
        out->uid = uid;
        out->gid = gid;
        return 0;
    }
    if (!numeric)
        return error_say(err, ESRCH, "find user in", "/etc/passwd",
                         "the image's user '%.*s' is not in its /etc/passwd",
                         (int)(wanted.length < 64 ? wanted.length : 64), wanted.start);
    out->uid = number;
    return 0;
}

static int find_group(const char *group, struct span wanted, struct image *out, struct forkd_error *err)
{
    struct span rest = {group, strlen(group)};
    struct span fields[ENTRY_FIELDS];
    if (parse_id(wanted, &out->gid))
        return 0;
    while (next_entry(&rest, fields))
        if (fields[ENTRY_NAME].length == wanted.length &&
            memcmp(fields[ENTRY_NAME].start, wanted.start, wanted.length) == 0 &&
            parse_id(fields[ENTRY_ID], &out->gid))
            return 0;
    return error_say(err, EINVAL, "find group in", "/etc/group",
                     "the image's group '%.*s' is not in its /etc/group",
                     (int)(wanted.length < 64 ? wanted.length : 64), wanted.start);
}

static bool is_member(struct span members, struct span name)
{
    while (members.length > 0) {
        struct span member = split(&members, ',');
        if (member.length == name.length && memcmp(member.start, name.start, name.length) == 0)
            return true;
    }
    return false;
}

static int find_supplementary(const char *group, struct span name, struct image *out, struct forkd_error *err)
{
    struct span rest = {group, strlen(group)};
    struct span fields[ENTRY_FIELDS];
    if (name.length == 0)
        return 0;
    while (out->group_count < GROUPS_MAX && next_entry(&rest, fields)) {
        id_t gid;
        if (!parse_id(fields[ENTRY_ID], &gid) || !is_member(fields[ENTRY_MEMBERS], name))
            continue;
        /* Grown at each power of two. */
        if ((out->group_count & (out->group_count - 1)) == 0) {
            size_t capacity = out->group_count ? out->group_count * 2 : 1;
            gid_t *grown = realloc(out->groups, capacity * sizeof *grown);
            if (!grown)
                return no_memory(err);
            out->groups = grown;
        }
        out->groups[out->group_count++] = gid;
    }
    return 0;
}

static int take_user(const char *text, const char *passwd, const char *group, struct image *out,
                     struct forkd_error *err)
{
    struct span rest = {text, strlen(text)};
    struct span wanted = split(&rest, ':');
    struct span name = {"", 0}; /* empty: /etc/passwd does not have it */
    struct span home = {"", 0};
    int status = find_user(passwd, wanted, out, &name, &home, err);
    if (status < 0)
        return status;
    out->home = home.length > 0 && *home.start == '/' ? strndup(home.start, home.length) : strdup("/");
    if (!out->home)
        return no_memory(err);
    return rest.length > 0 ? find_group(group, rest, out, err) : find_supplementary(group, name, out, err);
}

/* A string that goes into a system call. */
static const char *c_string(const struct json_value *value)
{
    char *text = NULL;
    return json_c_string(value, &text) == 0 ? text : NULL;
}

static const char *find_variable(char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (; *environment; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

/* HOME is the user's where the image does not set it. */
static int add_home(const struct image *image, char **slot)
{
    return asprintf(slot, "HOME=%s", image->home) < 0 ? -ENOMEM : 0;
}

static int take_environment(const struct json_value *list, struct image *out, struct forkd_error *err)
{
    struct json_walk walk = {0};
    struct json_value item;
    size_t count = 0;
    if (!list->start || list->kind != JSON_ARRAY)
        return error_say(err, EINVAL, "check", IMAGE_JSON, IMAGE_JSON ": env is not a list");
    while (json_next_item(list, &walk, &item))
        count++;
    out->environment = calloc(count + 2, sizeof *out->environment);
    if (!out->environment)
        return no_memory(err);
    char **slot = out->environment;
    walk = (struct json_walk){0};
    while (json_next_item(list, &walk, &item)) {
        const char *variable = c_string(&item);
        if (!variable)
            return error_say(err, EINVAL, "check", IMAGE_JSON, IMAGE_JSON ": env is not a list of strings");
        /* What is no assignment means nothing to a program. */
        if (!strchr(variable, '=') || *variable == '=')
            continue;
        *slot = strdup(variable);
        if (!*slot++)
            return no_memory(err);
    }
    out->own_home = find_variable(out->environment, "HOME") != NULL;
    if (!out->own_home && add_home(out, slot) < 0)
        return no_memory(err);
    return 0;
}

struct members {
    struct json_value version;
    struct json_value environment;
    struct json_value cwd;
    struct json_value user;
};

static void collect(const struct json_value *object, struct members *out)
{
    struct json_walk walk = {0};
    struct json_text key;
    struct json_value value;
    while (json_next_member(object, &walk, &key, &value)) {
        struct span name = {key.data, key.length};
        if (is_text(name, "version"))
            out->version = value;
        else if (is_text(name, "env"))
            out->environment = value;
        else if (is_text(name, "working_dir"))
            out->cwd = value;
        else if (is_text(name, "user"))
            out->user = value;
    }
}

static int take(const struct members *members, const char *passwd, const char *group, struct image *out,
                struct forkd_error *err)
{
    double version = 0;
    if (!members->version.start || members->version.kind != JSON_NUMBER ||
        !json_number(&members->version, &version) || version != IMAGE_VERSION)
        return error_say(err, EINVAL, "check", IMAGE_JSON,
                         IMAGE_JSON ": not of version %d; make the image again", IMAGE_VERSION);
    const char *cwd = c_string(&members->cwd);
    const char *user_text = c_string(&members->user);
    if (!cwd || !user_text)
        return error_say(err, EINVAL, "check", IMAGE_JSON, IMAGE_JSON ": working_dir or user is no string");
    out->cwd = strdup(*cwd ? cwd : "/");
    if (!out->cwd)
        return no_memory(err);
    int status = take_user(user_text, passwd, group, out, err);
    return status < 0 ? status : take_environment(&members->environment, out, err);
}

int image_parse(char *text, size_t length, const char *passwd, const char *group, struct image *out,
                struct forkd_error *err)
{
    struct json_value document;
    struct json_problem problem;
    struct members members = {0};
    *out = (struct image){0};
    if (!json_parse(text, length, &document, &problem))
        return error_say(err, EINVAL, "check", IMAGE_JSON, IMAGE_JSON ": %s (char %zu)", problem.what,
                         problem.offset);
    if (document.kind != JSON_OBJECT)
        return error_say(err, EINVAL, "check", IMAGE_JSON, IMAGE_JSON ": not an object");
    collect(&document, &members);
    int status = take(&members, passwd, group, out, err);
    if (status < 0)
        image_free(out);
    return status;
}

/* Of `size` bytes and a NUL. No waiting for what is no file. */
static int read_file(const char *root, const char *name, char **out, size_t *size, struct forkd_error *err)
{
    char path[PATH_MAX];
    struct stat now;
    snprintf(path, sizeof path, "%s%s", root, name);
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int status = fd < 0 || fstat(fd, &now) < 0 ? -errno : 0;
    if (status == 0 && (!S_ISREG(now.st_mode) || (size_t)now.st_size > FILE_MAX_SIZE))
        status = S_ISREG(now.st_mode) ? -EFBIG : -EINVAL;
    if (status == 0 && !(*out = malloc((size_t)now.st_size + 1)))
        status = -ENOMEM;
    *size = 0;
    while (status == 0 && *size < (size_t)now.st_size) {
        ssize_t got = read(fd, *out + *size, (size_t)now.st_size - *size);
        if (got == 0)
            break;
        if (got > 0)
            *size += (size_t)got;
        else if (errno != EINTR)
            status = -errno;
    }
    if (fd >= 0)
        close(fd);
    if (status == 0) {
        (*out)[*size] = '\0';
        return 0;
    }
    free(*out);
    *out = NULL;
    error_set(err, status, "", name, NULL);
    return status;
}

/* An image may do without users; numbers are enough. */
static int read_if_there(const char *root, const char *name, char **out, struct forkd_error *err)
{
    size_t size;
    int status = read_file(root, name, out, &size, err);
    if (status != -ENOENT && status != -ENOTDIR)
        return status;
    *out = calloc(1, 1);
    return *out ? 0 : no_memory(err);
}

int image_load(const char *root, struct image *out, struct forkd_error *err)
{
    char *text = NULL;
    char *passwd = NULL;
    char *group = NULL;
    size_t size = 0;
    *out = (struct image){0};
    int status = read_file(root, IMAGE_JSON, &text, &size, err);
    if (status == -ENOENT || status == -ENOTDIR)
        return 0;
    if (status == 0)
        status = read_if_there(root, "/etc/passwd", &passwd, err);
    if (status == 0)
        status = read_if_there(root, "/etc/group", &group, err);
    if (status == 0)
        status = image_parse(text, size, passwd, group, out, err);
    free(group);
    free(passwd);
    free(text);
    return status < 0 ? status : 1;
}

static int copy_environment(const struct image *image, struct image *out, struct forkd_error *err)
{
    size_t count = 0;
    while (image && image->environment[count])
        count++;
    out->environment = calloc(count + 2, sizeof *out->environment);
    if (!out->environment)
        return no_memory(err);
    char **slot = out->environment;
    for (size_t i = 0; i < count; i++) {
        if (!image->own_home && strncmp(image->environment[i], "HOME=", 5) == 0)
            continue;
        *slot = strdup(image->environment[i]);
        if (!*slot++)
            return no_memory(err);
    }
    out->own_home = image && image->own_home;
    return !out->own_home && add_home(out, slot) < 0 ? no_memory(err) : 0;
}

int image_with_user(const char *root, const struct image *image, const char *user, struct image *out,
                    struct forkd_error *err)
{
    char *passwd = NULL;
    char *group = NULL;
    *out = (struct image){0};
    int status = read_if_there(root, "/etc/passwd", &passwd, err);
    if (status == 0)
        status = read_if_there(root, "/etc/group", &group, err);
    if (status == 0)
        status = take_user(user, passwd, group, out, err);
    if (status == 0)
        status = copy_environment(image, out, err);
    if (status == 0 && image && !(out->cwd = strdup(image->cwd)))
        status = no_memory(err);
    free(group);
    free(passwd);
    if (status < 0)
        image_free(out);
    return status;
}

void image_free(struct image *image)
{
    for (char **variable = image->environment; variable && *variable; variable++)
        free(*variable);
    free(image->environment);
    free(image->home);
    free(image->cwd);
    free(image->groups);
    *image = (struct image){0};
}

void accounts_load(const char *root, struct accounts *out)
{
    if (read_if_there(root, "/etc/passwd", &out->passwd, NULL) < 0)
        out->passwd = NULL;
    if (read_if_there(root, "/etc/group", &out->group, NULL) < 0)
        out->group = NULL;
}

void accounts_free(struct accounts *accounts)
{
    free(accounts->passwd);
    free(accounts->group);
}

/* Both files have the number in the same place. */
static struct account_name find_name(const char *text, id_t wanted)
{
    struct span rest = {text, text ? strlen(text) : 0};
    struct span fields[ENTRY_FIELDS];
    id_t number;
    while (next_entry(&rest, fields)) {
        if (!parse_id(fields[ENTRY_ID], &number) || number != wanted)
            continue;
        size_t length = fields[ENTRY_NAME].length;
        return (struct account_name){fields[ENTRY_NAME].start,
                                     length < ACCOUNT_NAME_MAX ? length : ACCOUNT_NAME_MAX};
    }
    return (struct account_name){NULL, 0};
}

struct account_name accounts_user(const struct accounts *accounts, uid_t uid)
{
    return find_name(accounts->passwd, uid);
}

struct account_name accounts_group(const struct accounts *accounts, gid_t gid)
{
    return find_name(accounts->group, gid);
}

char *image_find_program(const struct image *image, const char *name)
{
    const char *path = find_variable(image->environment, "PATH");
    struct span rest = {path, path ? strlen(path) : 0};
    while (rest.length > 0) {
        struct span folder = split(&rest, ':');
        struct stat file;
        char *candidate;
        if (folder.length == 0 || asprintf(&candidate, "%.*s/%s", (int)folder.length, folder.start, name) < 0)
            continue;
        if (stat(candidate, &file) == 0 && S_ISREG(file.st_mode) && access(candidate, X_OK) == 0)
            return candidate;
        free(candidate);
    }
    return NULL;
}
