/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exec action. Without "stream" the output is kept until the program has ended and comes in one reply,
 * as text. With it, output comes as it is made, in base64, one line per chunk:
 *
 *   {"stream":"stdout","data_base64":"..."}        any number, also with "stderr"
 *   {"exit_code":N}                                the end; with "error" when it did not run or not to its
 * end
 *
 * and the program is only read as fast as the client reads. A streaming client that goes away takes the
 * program's process group with it. "code" beside "error" is the exit status of a shell: 127 when there is no
 * such program, 126 when it cannot run, 124 when it took too long.
 *
 * The end is that of the program itself. What it has started goes on; what that writes later is thrown away.
 *
 * Input is "stdin_base64", or with "stdin":"follows" all bytes after the line of the request, up to the end
 * of what the client sends.
 */
#ifndef FORKD_GUEST_EXEC_H
#define FORKD_GUEST_EXEC_H

#include "image.h"
#include "request.h"
#include "writer.h"

/* Writes the reply; it may not be flushed. `image`: see spawn.h. */
void exec_serve(const struct request *request, const struct image *image, struct writer *writer);

#endif
