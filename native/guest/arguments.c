/* SPDX-License-Identifier: Apache-2.0 */
#include "arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More arguments than this never fit on a new program's stack; a bound, so that "[0,0,0..." is cheap. */
#define LIST_MAX ((size_t)1 << 18)

int arguments_list(const struct json_value *list, char ***out)
{
    struct json_walk walk = {0};
    struct json_value item;
    size_t count = 0;
    *out = NULL;
    if (list->kind != JSON_ARRAY)
        return -EINVAL;
    while (count <= LIST_MAX && json_next_item(list, &walk, &item))
        count++;
    if (count > LIST_MAX)
        return -E2BIG;
    *out = calloc(count + 1, sizeof **out);
    if (!*out)
        return -ENOMEM;
    int status = 0;
    walk = (struct json_walk){0};
    for (size_t i = 0; status == 0 && json_next_item(list, &walk, &item); i++)
        status = json_c_string(&item, &(*out)[i]);
    return status;
}

static int take_variable(const struct json_text *key, const struct json_value *value, char **out)
{
    char *text;
    int status = json_c_string(value, &text);
    if (status < 0)
        return status;
    if (key->length == 0 || strlen(key->data) != key->length || strchr(key->data, '='))
        return -EDOM;
    size_t size = key->length + strlen(text) + 2;
    *out = malloc(size);
    if (!*out)
        return -ENOMEM;
    snprintf(*out, size, "%s=%s", key->data, text);
    return 0;
}

int arguments_environment(const struct json_value *object, char ***out)
{
    struct json_text key;
    struct json_value value;
    size_t count = 0;
    size_t capacity = 0;
    *out = NULL;
    if (object->kind != JSON_OBJECT)
        return -EINVAL;
    for (struct json_walk walk = {0}; json_next_member(object, &walk, &key, &value); count++) {
        if (count == LIST_MAX)
            return -E2BIG;
        if (count + 1 >= capacity) {
            capacity = capacity ? capacity * 2 : 16;
            char **grown = realloc(*out, capacity * sizeof *grown);
            if (!grown)
                return -ENOMEM;
            *out = grown;
        }
        (*out)[count + 1] = NULL;
        (*out)[count] = NULL;
        int status = take_variable(&key, &value, &(*out)[count]);
        if (status < 0)
            return status;
    }
    return 0;
}

void arguments_free_environment(char **environment)
{
    for (char **variable = environment; variable && *variable; variable++)
        free(*variable);
    free(environment);
}
