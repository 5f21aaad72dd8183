/* SPDX-License-Identifier: Apache-2.0 */
#include "words.h"

#include <stdlib.h>
#include <string.h>

static const char space[] = " \t\r\n";

/* Copies one quoted part; returns the position behind its closing quote, NULL without one. */
static const char *take_quoted(const char *at, char quote, char **out)
{
    while (*at && *at != quote) {
        /* POSIX 2.2.3: between double quotes a backslash escapes only what would be special. */
        if (quote == '"' && *at == '\\' && (at[1] == '"' || at[1] == '\\'))
            at++;
        *(*out)++ = *at++;
    }
    return *at ? at + 1 : NULL;
}

/* Copies one word over the text; returns where it ended, NULL for an open quote. */
static const char *take_word(const char *at, char **out)
{
    while (at && *at && !strchr(space, *at)) {
        if (*at == '"' || *at == '\'') {
            at = take_quoted(at + 1, *at, out);
        } else if (*at == '\\') {
            if (!at[1])
                return NULL;
            *(*out)++ = at[1];
            at += 2;
        } else {
            *(*out)++ = *at++;
        }
    }
    return at;
}

char **words_split(char *line)
{
    char **words = calloc(strlen(line) / 2 + 2, sizeof *words);
    const char *at = line + strspn(line, space);
    char *out = line;
    for (size_t count = 0; words && *at; count++) {
        words[count] = out;
        at = take_word(at, &out);
        if (!at) {
            free(words);
            return NULL;
        }
        /* Before the NUL goes in: it may fall on the space that ended the word. */
        at += strspn(at, space);
        *out++ = '\0';
    }
    return words;
}
