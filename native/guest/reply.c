/* SPDX-License-Identifier: Apache-2.0 */
#include "reply.h"

#include <string.h>

void reply_error(struct writer *writer, const char *error)
{
    writer_text(writer, "{\"error\":");
    writer_string(writer, error, strlen(error));
    /* There is no Python frame to show; the field exists for clients that print it. */
    writer_text(writer, ",\"traceback\":");
    writer_string(writer, error, strlen(error));
    writer_text(writer, ",\"exit_code\":1}\n");
}
