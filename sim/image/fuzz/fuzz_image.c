// SPDX-License-Identifier: Apache-2.0
// Any bytes as an image: a plan whose parts lie in memory, apart from each other, or a message; never a
// crash.
//
// The first byte chooses what stands beside the image: bits 1:0 the guest's memory, 2 a module, 3 an initrd,
// 4 a command line, 5 a load address. The second one chooses what the rest is: the image itself, or its
// length (2 bytes) and changes (offset in 2 bytes, value) of a sound one.
#include "sim/image/tests/image_fixture.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void check_plan(const struct image_request *r, const struct image_plan *plan)
{
    uint64_t low = r->memory_bytes < VMM_HOLE ? r->memory_bytes : VMM_HOLE, sum = 0;

    for (uint32_t i = 0; i < plan->segment_count; i++) {
        const struct image_segment *s = &plan->segments[i];
        uint64_t bytes = s->size + s->zeroes,
                 limit = s->gpa < low ? low : VMM_ABOVE_HOLE + r->memory_bytes - low;

        must(s->gpa < low || s->gpa >= VMM_ABOVE_HOLE);
        must(bytes <= limit && s->gpa <= limit - bytes);
        for (uint32_t k = 0; k < i; k++) {
            const struct image_segment *o = &plan->segments[k];

            must(s->gpa + bytes <= o->gpa || o->gpa + o->size + o->zeroes <= s->gpa);
        }
        for (uint64_t n = 0; n < s->size; n++) // Each byte can be read.
            sum += s->bytes[n];
    }
    must(plan->format != NULL && sum + 1 != 0);
    must(plan->mode != VMM_MODE_PROTECTED || plan->rip >> 32 == 0);
    must(plan->mode != VMM_MODE_REAL || plan->rip >> 20 == 0);
}

static void sound_image(struct fixture *f, unsigned kind)
{
    static const uint32_t addresses[] = {2, 24, 0x300000, 0x300000, 0, 0x310000, 3, 12, 0x300000, 0};

    if (kind == 1)
        fixture_bzimage(f);
    else
        fixture_elf(f, kind & 1);
    if (kind == 4 || kind == 5)
        fixture_multiboot(f, kind == 4 ? 3 : 0x10000);
    if (kind == 6 || kind == 7)
        fixture_pvh(f);
    if (kind == 8 || kind == 9)
        fixture_multiboot2(f, addresses, kind == 8 ? sizeof addresses : 0);
}

// A copy of just its size: a byte too far is seen.
static void make_image(struct image_file *image, unsigned kind, const uint8_t *data, size_t size)
{
    static struct fixture f;

    image->size = size;
    if (kind) {
        sound_image(&f, kind);
        image->size = size < 2 ? FIXTURE_BYTES : 1 + (data[0] | data[1] << 8) % FIXTURE_BYTES;
        for (size_t at = 2; at + 3 <= size; at += 3)
            f.bytes[(data[at] | data[at + 1] << 8) % FIXTURE_BYTES] = data[at + 2];
        if (kind >= 8) // A header is one only with its sum.
            fixture_multiboot2_sum(&f);
    }
    image->bytes = malloc(image->size ? image->size : 1);
    must(image->bytes != NULL);
    memcpy(image->bytes, kind ? f.bytes : data, image->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t memories[] = {1 << 20, 32 << 20, 5ull << 30, 3 << 20};
    static uint8_t other[5000];
    struct image_request r = {.append = "", .image.path = (char *)(uintptr_t) "dir/fuzz.img"};
    struct image_plan plan;
    struct user_error e = {""};

    if (size < 3)
        return 0;
    make_image(&r.image, data[1] % 10, data + 2, size - 2);
    r.memory_bytes = memories[data[0] & 3];
    if (data[0] & 4)
        r.modules[r.module_count++] = (struct image_file){r.image.path, other, sizeof other};
    if (data[0] & 8)
        r.initrd = (struct image_file){r.image.path, other, sizeof other};
    if (data[0] & 16)
        r.append = "console=ttyS0 quiet";
    r.flat = (data[0] & 32) != 0;
    r.load = (uint64_t)data[0] << 12;
    if (image_plan_make(&r, &plan, &e)) {
        must(e.text[0] != 0 && plan.segment_count == 0 && plan.made_count == 0);
    } else {
        check_plan(&r, &plan);
        image_plan_free(&plan);
    }
    free(r.image.bytes);
    return 0;
}
