/* SPDX-License-Identifier: Apache-2.0 */
#include "users.h"

#include "files.h"

static const char usual[] = "root:x:0:0::/:/bin/sh\napp:x:29:29::/home/app:/bin/sh\n";

/* name:password:uid:gid:comment:home:shell */
enum { FIELD_NAME = 0, FIELD_UID = 2, FIELD_HOME = 5, FIELDS = 7 };

struct part {
    const char *start;
    size_t length;
};

static bool equal(struct part a, struct part b)
{
    for (size_t i = 0; i < a.length && i < b.length; i++)
        if (a.start[i] != b.start[i])
            return false;
    return a.length == b.length;
}

static struct part up_to(const char *at, const char *end, char byte)
{
    return (struct part){at, (size_t)(scan((char *)at, end, byte) - at)};
}

/* False when the line has less. */
static bool split(struct part line, struct part fields[FIELDS])
{
    const char *at = line.start;
    const char *end = line.start + line.length;
    for (int i = 0; i < FIELDS; i++) {
        if (at > end)
            return false;
        fields[i] = up_to(at, end, ':');
        at += fields[i].length + 1;
    }
    return true;
}

bool user_home(const char *user, char home[128])
{
    const struct file *list = file_find("/etc/passwd");
    const char *at = list == NULL ? usual : list->value;
    const char *end = list == NULL ? usual + sizeof usual - 1 : list->value + list->length;
    struct part wanted = up_to(user, user + strlen(user), ':');
    bool number = wanted.length > 0 && *user >= '0' && *user <= '9';
    struct part found = {"/", 1};
    bool there = number;
    while (at < end) {
        struct part fields[FIELDS];
        struct part line = up_to(at, end, '\n');
        at += line.length + 1;
        if (!split(line, fields) || !equal(fields[number ? FIELD_UID : FIELD_NAME], wanted))
            continue;
        found = fields[FIELD_HOME];
        there = true;
        break;
    }
    if (!there || found.length >= 128)
        return false;
    memcpy(home, found.start, found.length);
    home[found.length] = '\0';
    return true;
}
