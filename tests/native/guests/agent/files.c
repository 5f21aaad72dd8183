/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#define FILES_AT 0x2800000u /* behind what vsock.c has */

struct file *const files = (struct file *)FILES_AT;

_Static_assert(FILES_AT + FILES * sizeof(struct file) <= 0x2c00000u, "flood.c begins there");

static void make_directory(const char *name)
{
    struct file *file = file_make(name);
    file->type = FILE_DIRECTORY;
    file->mode = 0755;
}

void files_start(void)
{
    make_directory("/");
    make_directory("/tmp");
}

struct file *file_find(const char *name)
{
    for (uint32_t i = 0; i < FILES; i++) {
        if (files[i].used && same(files[i].name, name))
            return &files[i];
    }
    return NULL;
}

struct file *file_make(const char *name)
{
    struct file *file = file_find(name);
    for (uint32_t i = 0; i < FILES && file == NULL; i++) {
        if (!files[i].used)
            file = &files[i];
    }
    if (file == NULL || strlen(name) >= sizeof file->name)
        return NULL;
    if (!file->used) {
        memset(file, 0, offsetof(struct file, name));
        file->mode = 0644;
        file->modified_ms = 1700000000000;
    }
    memcpy(file->name, name, strlen(name) + 1);
    file->used = true;
    return file;
}

uint32_t file_append(struct file *file, const char *data, size_t length)
{
    if (length > sizeof file->value - file->length)
        length = sizeof file->value - file->length;
    memcpy(file->value + file->length, data, length);
    file->length += length;
    return length;
}

uint32_t file_depth(const char *root, const char *name)
{
    const char *rest = after(name, root);
    uint32_t depth = 1;
    if (rest == NULL || *rest == '\0')
        return 0;
    if (root[strlen(root) - 1] != '/' && *rest++ != '/')
        return 0;
    for (; *rest != '\0'; rest++)
        depth += *rest == '/';
    return depth;
}

bool file_parent(const char *name, char parent[256])
{
    size_t end = strlen(name);
    if (end <= 1 || end >= 256)
        return false;
    while (end > 0 && name[end - 1] != '/')
        end--;
    end -= end > 1;
    memcpy(parent, name, end);
    parent[end] = '\0';
    return true;
}
