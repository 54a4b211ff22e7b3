// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/tests/insn_bench.h"
#include "tests/shim/shim.h"

enum { PML4 = 0x2000, PDPT = 0x3000, PD = 0x4000 };
#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)

uint64_t insn_get(uint64_t linear)
{
    return bench_get64(BENCH_GUEST + linear);
}

void insn_set(uint64_t linear, uint64_t value)
{
    bench_set64(BENCH_GUEST + linear, value);
}

struct vmx *insn_vmx(void)
{
    return &pcpu_current->x86->vmx;
}

static bool prepare(struct insn_controls controls)
{
    if (!bench_load("skylake-sp"))
        return false;
    bench_start(1);
    bench_vmx();
    bench_ept();
    insn_set(PML4, PDPT | TABLE);
    insn_set(PDPT, PD | TABLE);
    insn_set(PD, 0 | TABLE | X86_PTE_D | X86_PTE_PS);
    insn_set(PD + 8, 0x200000 | TABLE | X86_PTE_D | X86_PTE_PS);
    bench_vmwrite(GUEST_CR3, PML4);
    bench_vmwrite(GUEST_RIP, INSN_CODE);
    bench_vmwrite(GUEST_RSP, INSN_STACK);
    bench_vmwrite(GUEST_IDTR_BASE, 0x1000); // No program's.
    bench_vmwrite(GUEST_IDTR_LIMIT, 0);
    bench_vmwrite(EXCEPTION_BITMAP, UINT32_MAX);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, controls.cpu, CPU_HLT_EXITING & ~controls.cpu);
    bench_control(SECONDARY_VM_EXEC_CONTROL, controls.cpu2, 0);
    return true;
}

bool insn_code(const unsigned char *code, size_t bytes, struct insn_controls controls)
{
    if (!prepare(controls))
        return false;
    memcpy(bench.memory + BENCH_GUEST + INSN_CODE, code, bytes);
    return true;
}

bool insn_start_with(struct insn_controls controls)
{
    if (!prepare(controls))
        return false;
    if (!vmx_load_guest(pcpu_current)) {
        TEST_FAIL("VM entry failed");
        return false;
    }
    return true;
}

bool insn_start(void)
{
    return insn_start_with((struct insn_controls){0, 0});
}

void insn_mode(enum insn_mode mode, unsigned cpl)
{
    static const uint32_t code[] = {[MODE_64] = 0xa09b,
                                    [MODE_COMPATIBILITY] = 0xc09b,
                                    [MODE_32] = 0xc09b,
                                    [MODE_V86] = 0xf3,
                                    [MODE_REAL] = 0x93};
    struct x86_state *s = pcpu_current->x86;
    struct vmx *v = &s->vmx;

    v->rflags &= ~X86_RFLAGS_VM;
    v->rflags |= mode == MODE_V86 ? X86_RFLAGS_VM : 0;
    s->cr[0] = (s->cr[0] & ~X86_CR0_PE) | (mode == MODE_REAL ? 0 : X86_CR0_PE);
    MSR_VALUE(pcpu_current, IA32_EFER) &= ~(EFER_LMA | EFER_LME);
    if (mode <= MODE_COMPATIBILITY)
        MSR_VALUE(pcpu_current, IA32_EFER) |= EFER_LMA | EFER_LME;
    v->seg[SEG_CS].ar = code[mode] | cpl << AR_DPL_SHIFT;
    v->seg[SEG_SS].ar = 0xc093 | cpl << AR_DPL_SHIFT;
    v->seg[SEG_DS].ar = v->seg[SEG_ES].ar = 0xc0f3;
    v->seg[SEG_DS].limit = v->seg[SEG_ES].limit = UINT32_MAX;
    segment_changed(v, SEG_DS);
    segment_changed(v, SEG_ES);
    cpl_changed(v);
}

uint32_t insn_outcome(enum insn_result r)
{
    const struct vmexit *x = &insn_vmx()->exit;

    EXPECT_NE(r, INSN_FAULT);
    if (r != INSN_EXIT)
        return GONE_ON;
    return x->reason == EXIT_REASON_EXCEPTION_NMI ? RAISED(x->intr_info & INTR_INFO_VECTOR_MASK)
                                                  : EXITED(x->reason);
}

struct insn_operand insn_data(void)
{
    return (struct insn_operand){.memory = true,
                                 .segment = SEG_DS,
                                 .offset = INSN_DATA,
                                 .displacement = 0x18,
                                 .info = insn_memory_info(RBX, RSI, 2, 8, SEG_DS)};
}
