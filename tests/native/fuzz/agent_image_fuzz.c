/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever is in an image's files, they give a user, a folder and an environment, or a reason why not. The
 * three texts are separated by NULs.
 */
#include "image.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The text up to the next NUL, in memory of just its length. */
static char *next_text(const uint8_t **data, size_t *size)
{
    const uint8_t *end = *size > 0 ? memchr(*data, '\0', *size) : NULL;
    size_t length = end ? (size_t)(end - *data) : *size;
    char *text = malloc(length + 1);
    if (!text)
        abort();
    if (length > 0)
        memcpy(text, *data, length);
    text[length] = '\0';
    length += end != NULL;
    *data += length;
    *size -= length;
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image image;
    struct forkd_error err = {0};
    char *passwd = next_text(&data, &size);
    char *group = next_text(&data, &size);
    char *json = malloc(size + 1);
    if (!json)
        abort();
    if (size > 0)
        memcpy(json, data, size);
    json[size] = '\0';
    if (image_parse(json, size, passwd, group, &image, &err) == 0) {
        if (image.uid > INT32_MAX || image.gid > INT32_MAX || !*image.cwd)
            abort();
        for (char **variable = image.environment; *variable; variable++)
            if (!strchr(*variable, '='))
                abort();
        free(image_find_program(&image, "x"));
        image_free(&image);
    } else if (err.code >= 0 || !*err.text || !memchr(err.text, '\0', sizeof err.text)) {
        abort();
    }
    free(json);
    free(group);
    free(passwd);
    return 0;
}
