/* SPDX-License-Identifier: Apache-2.0 */
/* Files in memory, in one flat table by their names; those that begin with a slash make a tree. */
#ifndef FORKD_TESTS_GUESTS_AGENT_FILES_H
#define FORKD_TESTS_GUESTS_AGENT_FILES_H

#include "text.h"

#define FILES 46u
#define FILE_MOST (64u << 10)

enum file_type { FILE_REGULAR, FILE_DIRECTORY, FILE_LINK };

struct file {
    bool used;
    enum file_type type;
    uint32_t length;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    int64_t modified_ms;
    char name[256];
    char value[FILE_MOST]; /* of a link: where it leads */
};

/* All of them, used or not; a directory is before what is in it. */
extern struct file *const files;

/* The root, and /tmp. */
void files_start(void);
struct file *file_find(const char *name);
/* The one of that name, or a new empty regular one; NULL when there is no room. */
struct file *file_make(const char *name);
/* How much of it there was room for. */
uint32_t file_append(struct file *file, const char *data, size_t length);

/* Whether `name` is below the directory `root`, and how many names below it; 0: it is not. */
uint32_t file_depth(const char *root, const char *name);
/* The directory that it is in; false when `name` is the root. */
bool file_parent(const char *name, char parent[256]);

#endif
