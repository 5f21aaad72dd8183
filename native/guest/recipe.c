/* SPDX-License-Identifier: Apache-2.0 */
#include "recipe.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct span {
    const char *start;
    const char *end;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span text)
{
    while (text.start < text.end && is_space(*text.start))
        text.start++;
    while (text.end > text.start && is_space(text.end[-1]))
        text.end--;
    return text;
}

static struct span unquote(struct span text)
{
    if (text.end - text.start >= 2 && (*text.start == '"' || *text.start == '\'') &&
        text.end[-1] == *text.start) {
        text.start++;
        text.end--;
    }
    return text;
}

char *recipe_value(const char *text, const char *key)
{
    struct span found = {0};
    while (*text) {
        size_t length = strcspn(text, "\n");
        struct span line = trim((struct span){text, text + length});
        text += length + (text[length] == '\n');
        const char *equals = memchr(line.start, '=', (size_t)(line.end - line.start));
        if (!equals || *line.start == '#')
            continue;
        struct span name = trim((struct span){line.start, equals});
        if (strlen(key) == (size_t)(name.end - name.start) && memcmp(name.start, key, strlen(key)) == 0)
            found = unquote(trim((struct span){equals + 1, line.end}));
    }
    return found.start ? strndup(found.start, (size_t)(found.end - found.start)) : NULL;
}
