// SPDX-License-Identifier: Apache-2.0
#include "sim/machine/images.h"
#include "sim/machine/machine.h"
#include "traces/digest.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELD_BYTES = 80 };
#define IMAGE_FOLDER "../lib/images"
#define ALIGN 64ull
#define PAGE 4096ull

static uint64_t aligned(uint64_t bytes, uint64_t align)
{
    return (bytes + align - 1) & ~(align - 1);
}

// Where the image is: beside this command, if it came with hvsim.
static char *image_path(const char *image)
{
    char name[FIELD_BYTES * 2];

    if (strncmp(image, SCENARIO_OWN_IMAGES, strlen(SCENARIO_OWN_IMAGES)) != 0)
        return strdup(image);
    snprintf(name, sizeof name, IMAGE_FOLDER "/%.100s.elf", image + strlen(SCENARIO_OWN_IMAGES));
    return machine_installed_path(name);
}

static int read_files(struct image_request *r, const struct scenario_program *p, uint32_t vm,
                      struct user_error *e)
{
    char field[FIELD_BYTES], *image = image_path(p->image);
    int result;

    snprintf(field, sizeof field, "vms[%u].program.image", vm);
    result = image_read(image ? image : p->image, field, &r->image, e);
    free(image);
    if (result)
        return -1;
    snprintf(field, sizeof field, "vms[%u].program.initrd", vm);
    if (p->initrd && image_read(p->initrd, field, &r->initrd, e))
        return -1;
    for (uint32_t i = 0; i < p->module_count; i++) {
        snprintf(field, sizeof field, "vms[%u].program.modules[%u]", vm, i);
        r->module_count++;
        if (image_read(p->modules[i], field, &r->modules[i], e))
            return -1;
    }
    return 0;
}

static void add_digest(struct digest *d, const struct image_file *f)
{
    struct trace_digest one = digest_bytes(f->bytes, f->size, 0);

    digest_two(d, one.hi, one.lo);
}

static struct trace_digest digest_files(const struct image_request *r)
{
    struct digest d;

    digest_init(&d, 0);
    add_digest(&d, &r->image);
    if (r->initrd.path)
        add_digest(&d, &r->initrd);
    for (uint32_t i = 0; i < r->module_count; i++)
        add_digest(&d, &r->modules[i]);
    return digest_value(&d);
}

static int load_vm(struct guest_image *to, const struct scenario *s, uint32_t vm, struct user_error *e)
{
    const struct scenario_program *p = s->vms[vm].program;

    to->used = true;
    to->hide = p->hide;
    to->hide_count = p->hide_count;
    to->request = (struct image_request){
        .append = p->append, .memory_bytes = s->vms[vm].memory_bytes, .flat = p->flat, .load = p->load};
    if (read_files(&to->request, p, vm, e) || image_plan_make(&to->request, &to->plan, e))
        return -1;
    to->digest = digest_files(&to->request);
    return 0;
}

int images_load(struct image_set *set, const struct scenario *s, struct user_error *e)
{
    *set = (struct image_set){.vms = calloc(s->vm_count, sizeof *set->vms), .vm_count = s->vm_count};
    if (!set->vms)
        abort();
    for (uint32_t i = 0; i < s->vm_count; i++) {
        if (!s->vms[i].program)
            continue;
        set->image_count++;
        if (load_vm(&set->vms[i], s, i, e))
            return -1;
    }
    return 0;
}

void images_free(struct image_set *set)
{
    for (uint32_t i = 0; i < set->vm_count; i++) {
        image_plan_free(&set->vms[i].plan);
        image_request_free(&set->vms[i].request);
    }
    free(set->vms);
    *set = (struct image_set){0};
}

uint64_t images_bytes(const struct image_set *set)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < set->vm_count; i++)
        for (uint32_t k = 0; k < set->vms[i].plan.segment_count; k++)
            bytes += aligned(set->vms[i].plan.segments[k].size, ALIGN);
    return aligned(bytes, PAGE);
}

uint64_t images_config_bytes(const struct image_set *set, uint32_t vm)
{
    const struct guest_image *g = &set->vms[vm];

    return g->used ? sizeof(struct vmm_program_config) +
                         g->plan.segment_count * sizeof(struct vmm_segment_config) +
                         g->hide_count * sizeof(struct vmm_cpuid_bit)
                   : 0;
}

void images_write(const struct image_set *set, uint32_t vm, void *to, uint64_t offset, uint64_t *at)
{
    const struct image_plan *plan = &set->vms[vm].plan;
    struct vmm_program_config *p = to;
    struct vmm_segment_config *segments = (struct vmm_segment_config *)(p + 1);

    *p = (struct vmm_program_config){.mode = plan->mode,
                                     .segment_count = plan->segment_count,
                                     .rip = plan->rip,
                                     .rax = plan->rax,
                                     .rbx = plan->rbx,
                                     .rsi = plan->rsi,
                                     .rsp = plan->rsp,
                                     .gdt = plan->gdt,
                                     .segments_offset = offset + sizeof *p,
                                     .hidden_offset =
                                         offset + sizeof *p + plan->segment_count * sizeof *segments,
                                     .hidden_count = set->vms[vm].hide_count};
    for (uint32_t i = 0; i < plan->segment_count; i++) {
        const struct image_segment *s = &plan->segments[i];

        segments[i] = (struct vmm_segment_config){.gpa = s->gpa, .bytes = s->size, .source = *at};
        memcpy((void *)(uintptr_t)*at, s->bytes, s->size);
        *at += aligned(s->size, ALIGN);
    }
    memcpy(segments + plan->segment_count, set->vms[vm].hide, p->hidden_count * sizeof *set->vms[vm].hide);
}

char *images_text(const struct image_set *set, const struct scenario *s)
{
    char *text = NULL, digest[TRACE_DIGEST_TEXT];
    size_t size = 0;
    FILE *out = set->image_count ? open_memstream(&text, &size) : NULL;

    for (uint32_t i = 0; out && i < set->vm_count; i++) {
        const struct guest_image *g = &set->vms[i];
        const char *slash = g->used ? strrchr(g->request.image.path, '/') : NULL;

        if (!g->used)
            continue;
        trace_digest_text(g->digest, digest);
        fprintf(out, "%suntimed load of %s (%s, %" PRIu64 " bytes, digest %s) into %s",
                ftell(out) ? ", " : "", slash ? slash + 1 : g->request.image.path, g->plan.format,
                g->request.image.size, digest, s->vms[i].name);
    }
    if (out)
        fclose(out);
    return text;
}

bool images_read(const struct image_set *set, uint32_t vm, uint64_t gpa, void *to, uint64_t size)
{
    const struct guest_image *g = &set->vms[vm];
    uint64_t low = g->request.memory_bytes < VMM_HOLE ? g->request.memory_bytes : VMM_HOLE;
    uint64_t high = VMM_ABOVE_HOLE + g->request.memory_bytes - low;

    if (!g->used || gpa + size < gpa || !(gpa + size <= low || (gpa >= VMM_ABOVE_HOLE && gpa + size <= high)))
        return false;
    memset(to, 0, size);
    for (uint32_t i = 0; i < g->plan.segment_count; i++) {
        const struct image_segment *s = &g->plan.segments[i];
        uint64_t from = gpa > s->gpa ? gpa : s->gpa;
        uint64_t end = gpa + size < s->gpa + s->size ? gpa + size : s->gpa + s->size;

        if (from < end)
            memcpy((char *)to + (from - gpa), s->bytes + (from - s->gpa), end - from);
    }
    return true;
}

char *images_setup_text(const struct image_set *set, const struct terminal_set *typed,
                        const struct scenario *s)
{
    char *images = images_text(set, s);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    for (uint32_t i = 0; out && i < s->vm_count; i++)
        if (s->vms[i].flags & VMM_VM_UNTIMED)
            fprintf(out, "%suntimed prefault of %s", ftell(out) ? ", " : "", s->vms[i].name);
    if (out && images)
        fprintf(out, "%s%s", ftell(out) ? ", " : "", images);
    if (out)
        terminals_print(typed, s, out);
    free(images);
    if (out)
        fclose(out);
    if (text && !*text) {
        free(text);
        text = NULL;
    }
    return text;
}
