/* SPDX-License-Identifier: Apache-2.0 */
#include "reply.h"

#include <string.h>

void reply_close(struct writer *writer, enum reply_code code)
{
    if (code != REPLY_NO_CODE)
        writer_format(writer, ",\"code\":%d", (int)code);
    writer_text(writer, "}\n");
}

void reply_error(struct writer *writer, const char *error, enum reply_code code)
{
    writer_text(writer, "{\"error\":");
    writer_string(writer, error, strlen(error));
    /* There is no Python frame to show; the field exists for clients that print it. */
    writer_text(writer, ",\"traceback\":");
    writer_string(writer, error, strlen(error));
    writer_text(writer, ",\"exit_code\":1");
    reply_close(writer, code);
}
