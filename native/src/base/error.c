/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct forkd_error *err, int negative, const char *operation, const char *object)
{
    memset(err, 0, sizeof *err);
    err->code = negative;
    snprintf(err->operation, sizeof err->operation, "%s", operation);
    snprintf(err->object, sizeof err->object, "%s", object);
}

int error_set(struct forkd_error *err, int code, const char *operation, const char *object,
              const char *format, ...)
{
    int positive = code < 0 ? -code : code;
    if (err == NULL)
        return -positive;
    fill(err, -positive, operation, object);
    const char *space = *operation != '\0' && *object != '\0' ? " " : "";
    int used =
        snprintf(err->text, sizeof err->text, "%s%s%s: %s", operation, space, object, strerror(positive));
    if (format != NULL && used >= 0 && (size_t)used < sizeof err->text) {
        used += snprintf(err->text + used, sizeof err->text - (size_t)used, ": ");
        va_list args;
        va_start(args, format);
        if ((size_t)used < sizeof err->text)
            vsnprintf(err->text + used, sizeof err->text - (size_t)used, format, args);
        va_end(args);
    }
    return -positive;
}

int error_say(struct forkd_error *err, int code, const char *operation, const char *object,
              const char *format, ...)
{
    int negative = code < 0 ? code : -code;
    if (err == NULL)
        return negative;
    fill(err, negative, operation, object);
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return negative;
}
