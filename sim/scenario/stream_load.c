// SPDX-License-Identifier: Apache-2.0
// Stream files from disk.
#include "sim/scenario/stream.h"

#include "sim/scenario/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool load_fail(struct stream_error *error, const char *path, const char *why)
{
    *error = (struct stream_error){0};
    (void)snprintf(error->text, sizeof(error->text), "%.300s: %s", path, why);
    return false;
}

// Reads until the end, so that pipes work too; or until a zero byte, which no text has: /dev/zero has no end.
static bool read_all(FILE *file, char **text, size_t *size, size_t *capacity)
{
    while (!feof(file) && !ferror(file) && *size < STREAM_FILE_MAX) {
        if (*size == *capacity) {
            size_t more = *capacity == 0 ? 65536 : *capacity * 2;
            char *grown = realloc(*text, more);
            if (grown == NULL) {
                errno = ENOMEM;
                return false;
            }
            *text = grown;
            *capacity = more;
        }
        size_t got = fread(*text + *size, 1, *capacity - *size, file);
        bool is_text = got == 0 || memchr(*text + *size, 0, got) == NULL;

        *size += got;
        if (!is_text) {
            break;
        }
    }
    return !ferror(file);
}

bool stream_load(const char *path, const struct stream_target *target, struct stream_set *set,
                 struct stream_error *error)
{
    *set = (struct stream_set){0};
    const char *why;
    int fd = input_open(path, &why);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "rb");
    if (file == NULL) {
        return load_fail(error, path, fd < 0 ? why : strerror(errno));
    }
    char *text = NULL;
    size_t size = 0, capacity = 0;
    bool good = read_all(file, &text, &size, &capacity);
    if (!good) {
        load_fail(error, path, strerror(errno));
    } else if (size >= STREAM_FILE_MAX) {
        good = load_fail(error, path, "the file is too big; the most is 4 GiB");
    } else {
        good = stream_parse(path, text == NULL ? "" : text, size, target, set, error);
    }
    free(text);
    (void)fclose(file);
    return good;
}
