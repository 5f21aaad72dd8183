/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/entry.h"

#include "base64.h"
#include "utf8.h"

#include <stdbool.h>
#include <string.h>

/* Six characters for one is the most that JSON makes of it. */
static size_t name_bound(const char *name)
{
    size_t length = name ? strlen(name) : 0;
    return 6 * length + BASE64_ENCODED_SIZE(length);
}

void owners_init(struct owners *owners)
{
    *owners = (struct owners){.uid = (uid_t)-1, .gid = (gid_t)-1};
    accounts_load("", &owners->accounts);
}

void owners_free(struct owners *owners)
{
    accounts_free(&owners->accounts);
}

static bool is_utf8(const char *name)
{
    const unsigned char *at = (const unsigned char *)name;
    size_t left = strlen(name);
    while (left > 0) {
        int length = utf8_sequence(at, left);
        if (length <= 0)
            return false;
        at += length;
        left -= (size_t)length;
    }
    return true;
}

void entry_write_name(const char *key, const char *name, struct writer *writer)
{
    size_t length = strlen(name);
    writer_format(writer, "\"%s\":", key);
    writer_string(writer, name, length);
    if (is_utf8(name))
        return;
    writer_format(writer, ",\"%s_base64\":\"", key);
    writer_base64(writer, name, length);
    writer_text(writer, "\"");
}

const char *entry_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static const char *type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "symlink";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    case S_IFBLK:
        return "block";
    case S_IFCHR:
        return "char";
    default:
        return "file";
    }
}

size_t entry_bound(const struct entry *entry)
{
    return name_bound(entry->name) + name_bound(entry->path) + name_bound(entry->target) +
           name_bound(entry->error) + 2 * 6 * (size_t)ACCOUNT_NAME_MAX + 512;
}

static void write_owner(const char *key, const struct account_name *name, struct writer *writer)
{
    if (name->length == 0)
        return;
    writer_format(writer, ",\"%s\":", key);
    writer_string(writer, name->start, name->length);
}

void entry_write(const struct entry *entry, struct owners *owners, struct writer *writer)
{
    const struct stat *is = &entry->is;
    if (is->st_uid != owners->uid)
        owners->user = accounts_user(&owners->accounts, owners->uid = is->st_uid);
    if (is->st_gid != owners->gid)
        owners->group = accounts_group(&owners->accounts, owners->gid = is->st_gid);
    writer_text(writer, "{");
    entry_write_name("name", entry->name, writer);
    writer_text(writer, ",");
    entry_write_name("path", entry->path, writer);
    writer_format(writer, ",\"type\":\"%s\",\"size\":%lld,\"mode\":%u,\"uid\":%u,\"gid\":%u",
                  type_of(is->st_mode), (long long)is->st_size, (unsigned)(is->st_mode & 07777),
                  (unsigned)is->st_uid, (unsigned)is->st_gid);
    write_owner("user", &owners->user, writer);
    write_owner("group", &owners->group, writer);
    writer_format(writer, ",\"mtime_ms\":%lld",
                  (long long)is->st_mtim.tv_sec * 1000 + is->st_mtim.tv_nsec / 1000000);
    if (entry->target) {
        writer_text(writer, ",");
        entry_write_name("target", entry->target, writer);
    }
    if (entry->error) {
        writer_text(writer, ",\"error\":");
        writer_string(writer, entry->error, strlen(entry->error));
    }
    writer_text(writer, "}");
}
