/* SPDX-License-Identifier: Apache-2.0 */
#include "pager/content.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEAST_PIECE 4096u
#define MOST_PIECES (1u << 24)

enum { PIECE_MISSING = 0, PIECE_WANTED, PIECE_PRESENT };

int content_add(struct content *content, const char *path, uint32_t piece, struct forkd_error *err)
{
    if (content->count == CONTENT_MAX_FILES)
        return error_set(err, EINVAL, "serve", path, "there are more than %u files", CONTENT_MAX_FILES);
    if (piece < LEAST_PIECE || (piece & (piece - 1)) != 0)
        return error_set(err, EINVAL, "serve", path, "a piece of %u bytes", piece);
    struct content_file file = {.fd = open(path, O_RDONLY | O_CLOEXEC), .piece = piece};
    if (file.fd < 0)
        return error_set(err, errno, "open", path, NULL);
    int rc = io_size(file.fd, &file.size);
    uint64_t count = file.size / piece + (file.size % piece != 0);
    if (rc == 0 && count > MOST_PIECES)
        rc = -EFBIG;
    if (rc == 0 && (file.present = calloc(count + 1, 1)) == NULL)
        rc = -ENOMEM;
    if (rc < 0) {
        close(file.fd);
        return error_set(err, rc, "serve", path, NULL);
    }
    file.count = (uint32_t)count;
    content->files[content->count++] = file;
    return 0;
}

int content_have(struct content *content, struct content_message message)
{
    if (message.file >= content->count || message.piece >= content->files[message.file].count)
        return -EINVAL;
    content->files[message.file].present[message.piece] = PIECE_PRESENT;
    return 0;
}

void content_complete(struct content *content)
{
    for (uint32_t i = 0; i < content->count; i++)
        memset(content->files[i].present, PIECE_PRESENT, content->files[i].count);
    content->over = true;
}

/* Whoever makes the files may be gone: then nothing comes any more, which is found out where that is told. */
static void want(const struct content *content, uint32_t file, uint32_t piece)
{
    struct content_message message = {.file = file, .piece = piece};
    ssize_t done;
    do {
        done = write(content->want_fd, &message, sizeof message);
    } while (done < 0 && errno == EINTR);
}

enum content_state content_look(struct content *content, uint32_t file, uint64_t offset, uint64_t length)
{
    struct content_file *of = &content->files[file];
    enum content_state state = CONTENT_PRESENT;
    uint32_t last = (uint32_t)((offset + length - 1) / of->piece);
    for (uint32_t piece = (uint32_t)(offset / of->piece); piece <= last; piece++) {
        if (of->present[piece] == PIECE_PRESENT)
            continue;
        if (content->over)
            return CONTENT_LOST;
        state = CONTENT_AWAITED;
        if (of->present[piece] == PIECE_MISSING) {
            of->present[piece] = PIECE_WANTED;
            want(content, file, piece);
        }
    }
    return state;
}
