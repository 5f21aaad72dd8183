/* SPDX-License-Identifier: Apache-2.0 */
#include "console.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void console(const char *format, ...)
{
    int saved = errno;
    char line[1024];
    int used = snprintf(line, sizeof line, "forkd: ");
    va_list arguments;
    va_start(arguments, format);
    int added = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    va_end(arguments);
    if (added > 0)
        used += added;
    if (used > (int)sizeof line - 2)
        used = (int)sizeof line - 2;
    line[used] = '\n';
    /* Nobody can be told when the console itself fails. */
    (void)!write(STDERR_FILENO, line, (size_t)used + 1);
    errno = saved;
}

void console_error(const struct forkd_error *err)
{
    console("%s", err->text);
}

void console_failure(int code, const char *operation, const char *object)
{
    struct forkd_error err;
    error_set(&err, code, operation, object, NULL);
    console_error(&err);
}
