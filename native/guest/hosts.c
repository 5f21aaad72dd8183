/* SPDX-License-Identifier: Apache-2.0 */
#include "hosts.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LOCALHOST "localhost"
#define MARK "# this machine, by forkd"

struct text {
    char *data;
    size_t length;
    size_t size;
    bool full;
};

static void add(struct text *text, const char *data, size_t length)
{
    text->full = text->full || length > text->size - text->length;
    if (text->full)
        return;
    memcpy(text->data + text->length, data, length);
    text->length += length;
}

static bool ends_with(const char *line, size_t length, const char *end)
{
    size_t size = strlen(end);
    return length >= size && memcmp(line + length - size, end, size) == 0;
}

/* ADDRESS NAME... # COMMENT */
static bool names_localhost(const char *line, size_t length)
{
    const char *comment = memchr(line, '#', length);
    const char *end = comment ? comment : line + length;
    bool is_name = false;
    while (line < end) {
        const char *word = line;
        while (line < end && !strchr(" \t\r", *line))
            line++;
        size_t size = (size_t)(line - word);
        if (is_name && size == strlen(LOCALHOST) && memcmp(word, LOCALHOST, size) == 0)
            return true;
        is_name = is_name || size > 0;
        line += line < end;
    }
    return false;
}

size_t hosts_text(const char *old, size_t length, const char *address, const char *name, char *out,
                  size_t size)
{
    static const char local[] = "127.0.0.1\t" LOCALHOST "\n::1\t" LOCALHOST " ip6-localhost ip6-loopback\n";
    struct text text = {.data = out, .size = size};
    bool has_localhost = false;
    while (length > 0) {
        const char *end = memchr(old, '\n', length);
        size_t line = end ? (size_t)(end - old) : length;
        if (!ends_with(old, line, MARK)) {
            has_localhost = has_localhost || names_localhost(old, line);
            add(&text, old, line);
            add(&text, "\n", 1);
        }
        line += end != NULL;
        old += line;
        length -= line;
    }
    if (!has_localhost)
        add(&text, local, sizeof local - 1);
    if (strcmp(name, LOCALHOST) != 0) {
        char own[256]; /* both are short */
        int used = snprintf(own, sizeof own, "%s\t%s\t" MARK "\n", address, name);
        add(&text, own, (size_t)used);
    }
    return text.full ? 0 : text.length;
}
