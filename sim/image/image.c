// SPDX-License-Identifier: Apache-2.0
#include "sim/image/image.h"
#include "sim/image/build.h"
#include "sim/scenario/input.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20 };

// --- Files. ---

// Reads until the end. 0, or an errno; EFBIG: there is more than may be.
static int read_all(int fd, struct image_file *file)
{
    uint64_t room = 0;

    for (;;) {
        if (room - file->size < READ_BYTES) {
            room = room ? 2 * room : READ_BYTES;
            uint8_t *grown = realloc(file->bytes, room);

            if (!grown)
                return ENOMEM;
            file->bytes = grown;
        }
        ssize_t n = read(fd, file->bytes + file->size, READ_BYTES);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        file->size += (uint64_t)n;
        if (file->size > IMAGE_FILE_BYTES_MAX)
            return EFBIG;
        if (n == 0)
            return 0;
    }
}

int image_read(const char *path, const char *what, struct image_file *file, struct user_error *e)
{
    const char *why = NULL;
    int fd = input_open(path, &why);

    *file = (struct image_file){.path = strdup(path)};
    if (fd >= 0) {
        int error = read_all(fd, file);

        close(fd);
        if (!error && file->size != 0)
            return 0;
        why = error ? strerror(error) : NULL;
    }
    image_file_free(file);
    return user_error_at(e, path, 0, what, why ? "cannot be read: %s" : "is empty%s", why ? why : "");
}

void image_file_free(struct image_file *file)
{
    free(file->path);
    free(file->bytes);
    *file = (struct image_file){0};
}

void image_request_free(struct image_request *r)
{
    image_file_free(&r->image);
    image_file_free(&r->initrd);
    for (uint32_t i = 0; i < r->module_count; i++)
        image_file_free(&r->modules[i]);
    r->module_count = 0;
}

// --- Plans. ---

static int plan_by_format(struct image_build *b)
{
    const struct image_file *f = &b->r->image;
    uint64_t offset = 0;

    if (b->r->flat)
        return flat_plan(b);
    if (multiboot_find(f, &offset))
        return multiboot_plan(b, offset);
    if (multiboot2_find(f, &offset))
        return multiboot2_plan(b, offset);
    if (bzimage_is(f))
        return bzimage_plan(b);
    if (elf_is(f))
        return elf_plan(b);
    return image_error(b,
                       "is no image that can be booted (no multiboot header, Linux kernel or ELF file); for "
                       "raw real-mode code give its load address (`load`)");
}

int image_plan_make(const struct image_request *r, struct image_plan *plan, struct user_error *e)
{
    struct image_build b = {.r = r, .plan = plan, .e = e};
    int result = 0;

    *plan = (struct image_plan){0};
    if (strlen(r->append) > IMAGE_APPEND_MAX)
        result = image_error(&b, "the command line has more than %u characters", IMAGE_APPEND_MAX);
    if (!result)
        result = plan_by_format(&b);
    if (result)
        image_plan_free(plan);
    return result;
}

void image_plan_free(struct image_plan *plan)
{
    for (uint32_t i = 0; i < plan->made_count; i++)
        free(plan->made[i]);
    *plan = (struct image_plan){0};
}
