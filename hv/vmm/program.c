// SPDX-License-Identifier: Apache-2.0
// Machine code in place of a stream: the work of a boot loader, as the simulator's loader has planned it
// (sim/image).
#include "hv/hw/setup.h"
#include "hv/hw/trace.h"
#include "hv/lib/spans.h"
#include "hv/vmm/vmm.h"
#include "spec/x86_bits.h"

#define MXCSR_RESET 0x1f80u // SDM vol. 1 11.6.4.

#define REAL_SEGMENT_BYTES 0x10000u

const struct vmm_program_config *vmm_program_of(const struct vmm_vm *vm)
{
    return vm->config->program_offset ? vmm_config_at(vm->vmm->config, vm->config->program_offset) : NULL;
}

struct hv_segment vmm_flat_segment(u16 selector, u8 type, bool code64)
{
    return (struct hv_segment){.limit = 0xffffffff,
                               .selector = selector,
                               .type = type,
                               .present = 1,
                               .s = 1,
                               .g = 1,
                               .l = code64,
                               .db = !code64};
}

// Memory that nobody has written yet is zero: only bytes of files are copied.
void vmm_program_load(struct vmm_vm *vm)
{
    const struct vmm_program_config *p = vmm_program_of(vm);
    const struct vmm_segment_config *s = vmm_config_at(vm->vmm->config, p->segments_offset);

    hw_trace_span_begin(SPAN_SETUP);
    hw_setup_begin();
    for (u32 i = 0; i < p->segment_count; i++)
        vmm_require(vmm_write_guest(vm, s[i].gpa, (const void *)s[i].source, s[i].bytes),
                    "a part of the image does not fit the guest's memory");
    hw_setup_end();
    hw_trace_span_end(SPAN_SETUP);
}

// CS:IP for a linear address below 1 MiB; the other segments begin at 0, and the stack wraps to the end of
// its own.
static void set_real(struct hv_sregs *s, struct hv_regs *r, u64 linear)
{
    u16 selector = linear < REAL_SEGMENT_BYTES ? 0 : (u16)(linear >> 4);

    s->cs.selector = selector;
    s->cs.base = (u64)selector << 4;
    r->rip = linear - s->cs.base;
}

static void set_flat(struct hv_sregs *s, const struct vmm_program_config *p, bool code64)
{
    s->cs = vmm_flat_segment(VMM_PROGRAM_CODE, 0xb, code64);
    s->ds = s->es = s->fs = s->gs = s->ss = vmm_flat_segment(VMM_PROGRAM_DATA, 0x3, false);
    s->tr = (struct hv_segment){.limit = 0x67, .type = 0xb, .present = 1};
    s->ldt = (struct hv_segment){.unusable = 1};
    s->gdt = (struct hv_dtable){.base = p->gdt, .limit = VMM_PROGRAM_GDT_BYTES - 1};
    s->idt = (struct hv_dtable){.limit = 0};
    s->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
}

static void set_paging(struct hv_sregs *s, u64 root, u32 levels)
{
    s->cr0 |= X86_CR0_PG;
    s->cr3 = root;
    s->cr4 |= X86_CR4_PAE | (levels == 5 ? X86_CR4_LA57 : 0);
    s->efer = EFER_LME | EFER_LMA;
}

// x87, SSE and PKRU as after INIT: machine code has such registers of its own.
static void set_fpu(const struct vmm_vcpu *vcpu)
{
    struct hv_xsave area = {.region[HV_XSAVE_MXCSR / 4] = MXCSR_RESET};

    vmm_require(hv_ioctl_ptr(vcpu->handle, HV_SET_XSAVE, &area), "SET_XSAVE");
}

void vmm_program_enter(const struct vmm_vcpu *vcpu, u64 root)
{
    const struct vmm_program_config *p = vmm_program_of(vcpu->vm);
    struct hv_sregs s;
    struct hv_regs r = {.rip = p->rip,
                        .rax = p->rax,
                        .rbx = p->rbx,
                        .rsi = p->rsi,
                        .rsp = p->rsp,
                        .rflags = X86_RFLAGS_FIXED};

    set_fpu(vcpu);
    if (vcpu->index > 0) // As reset leaves it.
        return;
    vmm_require(hv_ioctl_ptr(vcpu->handle, HV_GET_SREGS, &s), "GET_SREGS");
    if (p->mode == VMM_MODE_REAL)
        set_real(&s, &r, p->rip);
    else
        set_flat(&s, p, p->mode == VMM_MODE_LONG);
    if (p->mode == VMM_MODE_LONG)
        set_paging(&s, root, vcpu->vm->config->paging_levels);
    vmm_require(hv_ioctl_ptr(vcpu->handle, HV_SET_SREGS, &s), "SET_SREGS");
    vmm_require(hv_ioctl_ptr(vcpu->handle, HV_SET_REGS, &r), "SET_REGS");
}
