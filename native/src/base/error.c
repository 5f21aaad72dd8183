/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct forkd_error *err, int code, const char *operation, const char *object,
              const char *format, ...)
{
    int positive = code < 0 ? -code : code;
    if (err == NULL)
        return -positive;
    memset(err, 0, sizeof *err);
    err->code = -positive;
    snprintf(err->operation, sizeof err->operation, "%s", operation);
    snprintf(err->object, sizeof err->object, "%s", object);
    int used = snprintf(err->text, sizeof err->text, "%s %s: %s", operation, object, strerror(positive));
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
