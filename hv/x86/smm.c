// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/smm.h"

#include "hv/hw/trace.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/x86/regs.h"
#include "hv/x86/x86.h"

#define IMAGE_OFFSET 0xfe00u
#define IMAGE_TRIES 16u

struct image {
    u8 bytes[512] __attribute__((aligned(8)));
};

static u64 field(const struct image *image, u32 offset, u32 bytes)
{
    u64 value = 0;
    memcpy(&value, &image->bytes[offset], bytes);
    return value;
}

// --- Reading it. Other processors may write to it all the while.

static int read_field(struct vm *vm, u64 at, struct image *out, u32 offset, u32 bytes)
{
    hw_trace_count("smm.guest_reads", 1);
    return vm_read_guest(vm, gpa(at + offset), &out->bytes[offset], bytes);
}

// Each field when its turn comes: they may be of different images.
static int read_piecemeal(struct vm *vm, u64 at, struct image *out)
{
    static const struct {
        u16 offset, bytes;
    } fields[] = {
#define SMM_SEGMENT(name, at) {at, 2}, {(at) + 2, 2}, {(at) + 4, 4}, {(at) + 8, 8},
#define SMM_TABLE(name, at) {(at) + 4, 2}, {(at) + 8, 8},
#define SMM_SREG(name, at) {at, 8},
#define SMM_REG(name, at) {at, 8},
#include "hv/x86/smm_state.def"
    };
    for (u32 i = 0; i < ARRAY_COUNT(fields); i++) {
        int result = read_field(vm, at, out, fields[i].offset, fields[i].bytes);
        if (result != 0)
            return result;
    }
    return 0;
}

// All of it at once, and again until it was the same twice: then no write was half seen.
static int read_whole(struct vm *vm, u64 at, struct image *out)
{
    struct image again;
    int result = read_field(vm, at, out, 0, sizeof(*out));
    for (u32 i = 0; result == 0 && i < IMAGE_TRIES; i++) {
        memset(&again, 0, sizeof(again));
        memcpy(&again, out, sizeof(again));
        result = read_field(vm, at, out, 0, sizeof(*out));
        if (result == 0 && memcmp(&again, out, sizeof(again)) == 0)
            return 0;
    }
    return result != 0 ? result : -EAGAIN;
}

// --- Loading it.

static void load_segment(struct hv_segment *s, const struct image *image, u32 offset)
{
    u32 attributes = (u32)field(image, offset + 2, 2);
    *s = (struct hv_segment){.selector = (u16)field(image, offset, 2),
                             .limit = (u32)field(image, offset + 4, 4),
                             .base = field(image, offset + 8, 8),
                             .type = attributes & 15,
                             .s = (attributes >> 4) & 1,
                             .dpl = (attributes >> 5) & 3,
                             .present = (attributes >> 7) & 1,
                             .avl = (attributes >> 8) & 1,
                             .l = (attributes >> 9) & 1,
                             .db = (attributes >> 10) & 1,
                             .g = (attributes >> 11) & 1,
                             .unusable = !((attributes >> 7) & 1)};
}

static void load_table(struct hv_dtable *t, const struct image *image, u32 offset)
{
    t->limit = (u16)field(image, offset + 4, 2);
    t->base = field(image, offset + 8, 8);
}

static int load_image(struct x86_vcpu *v, const struct image *image)
{
    struct hv_sregs sregs;
    struct hv_regs regs = {0};
    vcpu_get_sregs(v, &sregs); // What the image does not have stays: CR2, CR8, the APIC's base.
#define SMM_SEGMENT(name, at) load_segment(&sregs.name, image, at);
#define SMM_TABLE(name, at) load_table(&sregs.name, image, at);
#define SMM_SREG(name, at) sregs.name = field(image, at, 8);
#define SMM_REG(name, at) regs.name = field(image, at, 8);
#include "hv/x86/smm_state.def"
    int result = vcpu_set_sregs(v, &sregs);
    if (result == 0)
        result = vcpu_set_regs(v, &regs);
    hw_trace(TP_SMM_LEAVE, v->vcpu.index, (u64)-result, sregs.cr0, sregs.cr3, sregs.cr4, regs.rip);
    return result;
}

int smm_leave(struct x86_vcpu *v, u64 smbase)
{
    bool piecemeal = knob(&v->vcpu.vm->host->knobs, KNOB_SMM_RSM_READ) == SMM_RSM_READ_PIECEMEAL;
    struct image image;
    memset(&image, 0, sizeof(image));
    int result = piecemeal ? read_piecemeal(v->vcpu.vm, smbase + IMAGE_OFFSET, &image)
                           : read_whole(v->vcpu.vm, smbase + IMAGE_OFFSET, &image);
    return result != 0 ? result : load_image(v, &image);
}
