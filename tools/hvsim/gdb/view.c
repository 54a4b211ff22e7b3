// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/gdb/view.h"

#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/x86_state.h"
#include "models/mem/mem.h"
#include "models/mmu/peek.h"
#include "tools/hvsim/qualification.h"
#include <stdlib.h>

#define PAGE 4096u

bool view_open(struct view *v, const struct sim_machine *m, const struct scenario *s)
{
    *v = (struct view){.machine = m, .scenario = s};
    for (uint32_t i = 0; i < s->vm_count; i++) {
        v->first[i] = v->count;
        v->count += s->vms[i].program ? s->vms[i].vcpu_count : 0;
    }
    v->vcpus = calloc(v->count + 1, sizeof *v->vcpus);
    if (!v->vcpus)
        abort();
    for (uint32_t i = 0, at = 0; i < s->vm_count; i++)
        for (uint32_t k = 0; s->vms[i].program && k < s->vms[i].vcpu_count; k++, at++) {
            v->vcpus[at].vm = i;
            v->vcpus[at].vcpu = k;
        }
    return v->count != 0;
}

void view_close(struct view *v)
{
    free(v->vcpus);
    v->vcpus = NULL;
}

struct view_vcpu *view_of(const struct view *v, const struct pcpu *c)
{
    const struct scenario *s = v->scenario;

    if (c->note_vm >= s->vm_count || !s->vms[c->note_vm].program ||
        c->note_vcpu >= s->vms[c->note_vm].vcpu_count)
        return NULL;
    return &v->vcpus[v->first[c->note_vm] + c->note_vcpu];
}

// --- Registers. ---

static uint64_t rflags_of(const struct vmx *v)
{
    return v->lazy.on ? (v->rflags & ~(uint64_t)FLAGS_ARITHMETIC) | flags_of_lazy(&v->lazy) : v->rflags;
}

uint64_t view_pc(const struct vmx *v)
{
    return segment_code_size(v) == CODE_64 ? v->rip : (uint32_t)(v->seg[SEG_CS].base + v->rip);
}

static void capture_segments(struct gdb_regs *r, const struct vmx *v)
{
    for (unsigned i = 0; i < SEGMENTS; i++) {
        r->selector[i] = v->seg[i].selector;
        r->base[i] = segment_base(v, (enum segment_name)i);
        r->limit[i] = v->seg[i].limit;
        r->ar[i] = v->seg[i].ar;
    }
    r->gdtr_base = v->gdtr.base;
    r->gdtr_limit = v->gdtr.limit;
    r->idtr_base = v->idtr.base;
    r->idtr_limit = v->idtr.limit;
    r->pc = view_pc(v);
}

// In gdb's order of what FSAVE stores.
static void capture_x87(struct gdb_regs *r, const struct x87 *x)
{
    const uint32_t fpu[8] = {x->control,      x->status, x87_tags(x),     0,
                             (uint32_t)x->ip, 0,         (uint32_t)x->dp, x->opcode};

    memcpy(r->fpu, fpu, sizeof fpu);
    for (unsigned i = 0; i < 8; i++)
        memcpy(r->st[i], x->st[i], sizeof r->st[i]);
}

void view_capture(struct gdb_regs *r, const struct pcpu *c)
{
    const struct x86_state *s = c->x86;
    const struct vmx *v = &s->vmx;

    memset(r, 0, sizeof *r);
    memcpy(r->gpr, v->gpr.r, sizeof r->gpr);
    r->rip = v->rip;
    r->rflags = rflags_of(v);
    memcpy(r->cr, s->cr, sizeof r->cr);
    r->cr[8] = x86_cr(c, 8);
    memcpy(r->dr, s->dr, sizeof r->dr);
    r->efer = MSR_VALUE(c, IA32_EFER);
    r->kernel_gs_base = MSR_VALUE(c, IA32_KERNEL_GS_BASE);
    capture_segments(r, v);
    memcpy(r->xmm, v->xmm, sizeof r->xmm);
    r->mxcsr = v->mxcsr;
    capture_x87(r, &v->x87);
    r->vmcs_hpa = v->current.hpa;
    r->space = s->mmu->space;
}

const struct gdb_regs *view_regs(void *view, unsigned thread)
{
    struct view *v = view;
    struct view_vcpu *g = &v->vcpus[thread - 1];

    if (g->in_guest)
        view_capture(&g->regs, g->cpu);
    return &g->regs;
}

// --- Memory. ---

// What is at a host-physical address.
static bool read_host(const struct pcpu *c, uint64_t hpa, void *to, size_t size)
{
    const void *p = mem_hpa_to_ptr(c, hpa, size);

    if (p)
        memcpy(to, p, size);
    return p != NULL;
}

// A page that the EPT does not map yet has what loading put there, until somebody maps it.
static bool read_physical(const struct view *v, const struct view_vcpu *g, uint64_t gpa, void *to,
                          size_t size)
{
    struct array_value page;

    if (g->cpu && mmu_peek_ept(g->cpu, &g->regs.space, gpa, 1, &page, NULL))
        return read_host(g->cpu, page.hpa | (gpa & (PAGE - 1)), to, size);
    return machine_loaded(v->machine, g->vm, gpa, to, size);
}

// Within a page. Pages of the guest's tables that the EPT lacks cannot be walked.
static bool read_piece(const struct view *v, const struct view_vcpu *g, enum view_space space,
                       uint64_t address, void *to, size_t size)
{
    uint64_t gpa = address;

    if (space == VIEW_HOST)
        return g->cpu && read_host(g->cpu, address, to, size);
    if (space == VIEW_VIRTUAL && (!g->cpu || !mmu_peek(g->cpu, &g->regs.space, address, &gpa)))
        return false;
    return read_physical(v, g, gpa, to, size);
}

size_t view_read_in(const struct view *v, unsigned thread, enum view_space space, uint64_t address, void *to,
                    size_t size)
{
    size_t done = 0;

    view_regs((void *)(uintptr_t)v, thread);
    while (done < size) {
        size_t piece = PAGE - (address + done) % PAGE;

        if (piece > size - done)
            piece = size - done;
        if (!read_piece(v, &v->vcpus[thread - 1], space, address + done, (char *)to + done, piece))
            break;
        done += piece;
    }
    return done;
}

size_t view_read(void *view, unsigned thread, uint64_t address, void *to, size_t size)
{
    const struct view *v = view;

    return view_read_in(v, thread, v->space, address, to, size);
}

void view_describe(void *view, unsigned thread, char *text, size_t size)
{
    const struct view *v = view;
    const struct view_vcpu *g = &v->vcpus[thread - 1];

    if (!g->cpu)
        snprintf(text, size, "vm %u vCPU %u: not started", g->vm, g->vcpu);
    else if (g->in_guest)
        snprintf(text, size, "vm %u vCPU %u: in the guest", g->vm, g->vcpu);
    else
        snprintf(text, size, "vm %u vCPU %u: out, %s", g->vm, g->vcpu, exit_reason_name(g->last_reason));
}
