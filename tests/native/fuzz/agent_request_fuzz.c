/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a client sends is a request or an error message, and strings are where they are said to be. */
#include "request.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t touch(char *const *list)
{
    size_t total = 0;
    for (; list && *list; list++)
        total += strlen(*list);
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request request;
    struct forkd_error err = {0};
    /* One byte more, as in a struct line; it is not part of the text. */
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (request_parse(text, size, &request, &err) == 0) {
        size_t total = touch(request.argv) + touch(request.environment);
        total += request.cwd ? strlen(request.cwd) : 0;
        for (size_t i = 0; i < request.input_length; i++)
            total += request.input[i];
        if (request.action == REQUEST_EVAL && request.code.data[request.code.length] != '\0')
            abort();
        if (request.action == REQUEST_EXEC && (total > (size + 1) * 256 || !request.argv[0]))
            abort();
        request_free(&request);
    } else if (err.code >= 0 || !*err.text || !memchr(err.text, '\0', sizeof err.text)) {
        abort();
    }
    free(text);
    return 0;
}
