/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of a file. */
#ifndef FORKD_GUEST_ENTRY_H
#define FORKD_GUEST_ENTRY_H

#include "image.h"
#include "writer.h"

#include <stddef.h>
#include <sys/stat.h>

/* For the names of owners; those that were asked for last are remembered. */
struct owners {
    struct accounts accounts;
    uid_t uid;
    gid_t gid;
    struct account_name user; /* of uid */
    struct account_name group;
};

void owners_init(struct owners *owners);
void owners_free(struct owners *owners);

struct entry {
    const char *name;
    const char *path;
    const char *target; /* of a symlink; NULL: none, or it cannot be read */
    const char *error;  /* why a directory cannot be read; NULL: it can */
    struct stat is;
};

/* The most that entry_write writes. It fits into a frame for names that Linux allows. */
size_t entry_bound(const struct entry *entry);
void entry_write(const struct entry *entry, struct owners *owners, struct writer *writer);

/* "name":"..", and "name_base64":".." when that is not all: of a name that is no UTF-8. */
void entry_write_name(const char *key, const char *name, struct writer *writer);

/* Behind the last slash. */
const char *entry_name(const char *path);

#endif
