// SPDX-License-Identifier: Apache-2.0
// System instructions: their operands, for models/cpu/x86/insn.h, which carries them out. Each ends its
// block: mode, privilege, translation or time may be others behind it.
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

// --- Operands. ---

static struct insn_operand operand_of(const struct vmx *v, const struct uop *u, unsigned n)
{
    struct insn_operand o = {.memory = u->kind[n] == OPERAND_MEMORY, .reg = u->reg[n], .size = u->size};

    if (!o.memory)
        return o;
    o.segment = (enum segment_name)u->segment;
    o.offset = effective_address(v, u);
    o.displacement = (uint64_t)u->disp;
    o.info =
        insn_memory_info(u->base == REG_NONE ? INSN_NO_REG : u->base,
                         u->index == REG_NONE ? INSN_NO_REG : u->index, u->scale, u->address_size, o.segment);
    return o;
}

// Shape of an instruction without operands; with one operand that is a register or memory.
#define PLAIN(name, call)                                                                                    \
    static enum insn_result name(struct vmx *v, const struct uop *u)                                         \
    {                                                                                                        \
        struct pcpu *c = v->cpu;                                                                             \
        unsigned length = u->length;                                                                         \
                                                                                                             \
        uop_at(v, u);                                                                                        \
        flags_settle(v);                                                                                     \
        return call;                                                                                         \
    }
#define WITH(name, n, call)                                                                                  \
    static enum insn_result name(struct vmx *v, const struct uop *u)                                         \
    {                                                                                                        \
        struct pcpu *c = v->cpu;                                                                             \
        unsigned length = u->length;                                                                         \
        struct insn_operand o = operand_of(v, u, n);                                                         \
                                                                                                             \
        uop_at(v, u);                                                                                        \
        flags_settle(v);                                                                                     \
        return call;                                                                                         \
    }
PLAIN(cpuid, insn_cpuid(c, length))
PLAIN(rdmsr, insn_rdmsr(c, length))
PLAIN(wrmsr, insn_wrmsr(c, length))
PLAIN(rdtsc, insn_rdtsc(c, length))
PLAIN(rdtscp, insn_rdtscp(c, length))
PLAIN(rdpid, insn_rdpid(c, length, u->reg[0]))
PLAIN(rdpmc, insn_rdpmc(c, length))
PLAIN(rdrand, insn_rdrand(c, length, u->reg[0], u->size))
PLAIN(rdseed, insn_rdseed(c, length, u->reg[0], u->size))
PLAIN(xgetbv, insn_xgetbv(c, length))
PLAIN(xsetbv, insn_xsetbv(c, length))
PLAIN(rdpkru, insn_rdpkru(c, length))
PLAIN(wrpkru, insn_wrpkru(c, length))
PLAIN(serialize, insn_serialize(c, length))
PLAIN(hlt, insn_hlt(c, length))
PLAIN(pause_, insn_pause(c, length))
PLAIN(mwait, insn_mwait(c, length))
PLAIN(sti, insn_sti(c, length))
PLAIN(cli, insn_cli(c, length))
PLAIN(clts, insn_clts(c, length))
PLAIN(invd, insn_invd(c, length))
PLAIN(wbinvd, insn_wbinvd(c, length))
PLAIN(vmcall, insn_vmcall(c, length))
PLAIN(vmlaunch, insn_vmx_plain(c, length, EXIT_REASON_VMLAUNCH))
PLAIN(vmresume, insn_vmx_plain(c, length, EXIT_REASON_VMRESUME))
PLAIN(vmxoff, insn_vmx_plain(c, length, EXIT_REASON_VMOFF))
PLAIN(vmfunc, insn_vmfunc(c, length))
PLAIN(getsec, insn_getsec(c, length))
PLAIN(rsm, insn_rsm(c, length))
PLAIN(syscall, insn_syscall(c, length))
PLAIN(sysenter, insn_sysenter(c, length))
PLAIN(sysret, insn_sysret(c, length, u->size == 8))
PLAIN(sysexit, insn_sysexit(c, length, u->size == 8))
PLAIN(swapgs, insn_swapgs(c, length))
PLAIN(rdfsbase, insn_rdbase(c, length, SEG_FS, u->reg[0], u->size))
PLAIN(rdgsbase, insn_rdbase(c, length, SEG_GS, u->reg[0], u->size))
PLAIN(wrfsbase, insn_wrbase(c, length, SEG_FS, u->reg[0], u->size))
PLAIN(wrgsbase, insn_wrbase(c, length, SEG_GS, u->reg[0], u->size))
PLAIN(clac, insn_ac(c, length, false))
PLAIN(stac, insn_ac(c, length, true))
PLAIN(int_n, insn_int(c, length, (uint8_t)u->imm))
PLAIN(int3, insn_int3(c, length))
PLAIN(int1, insn_int1(c, length))
PLAIN(into, insn_into(c, length))
PLAIN(ud, insn_ud(c, length))
PLAIN(mov_to_cr, insn_mov_to_cr(c, length, u->reg[0], u->reg[1]))
PLAIN(mov_from_cr, insn_mov_from_cr(c, length, u->reg[1], u->reg[0]))
PLAIN(mov_to_dr, insn_mov_to_dr(c, length, u->reg[0], u->reg[1]))
PLAIN(mov_from_dr, insn_mov_from_dr(c, length, u->reg[1], u->reg[0]))
WITH(lmsw, 0, insn_lmsw(c, length, &o))
WITH(smsw, 0, insn_smsw(c, length, &o))
WITH(invlpg, 0, insn_invlpg(c, length, &o))
WITH(invpcid, 1, insn_invpcid(c, length, u->reg[0], &o))
WITH(clflush, 0, insn_clflush(c, length, &o))
WITH(lgdt, 0, insn_load_table(c, length, INSN_GDTR, &o, u->size))
WITH(lidt, 0, insn_load_table(c, length, INSN_IDTR, &o, u->size))
WITH(sgdt, 0, insn_store_table(c, length, INSN_GDTR, &o, u->size))
WITH(sidt, 0, insn_store_table(c, length, INSN_IDTR, &o, u->size))
WITH(lldt, 0, insn_load_selector(c, length, INSN_LDTR, &o))
WITH(ltr, 0, insn_load_selector(c, length, INSN_TR, &o))
WITH(sldt, 0, insn_store_selector(c, length, INSN_LDTR, &o))
WITH(str, 0, insn_store_selector(c, length, INSN_TR, &o))
WITH(vmclear, 0, insn_vmx_pointer(c, length, EXIT_REASON_VMCLEAR, &o))
WITH(vmptrld, 0, insn_vmx_pointer(c, length, EXIT_REASON_VMPTRLD, &o))
WITH(vmptrst, 0, insn_vmx_pointer(c, length, EXIT_REASON_VMPTRST, &o))
WITH(vmxon, 0, insn_vmx_pointer(c, length, EXIT_REASON_VMON, &o))
WITH(invept, 1, insn_vmx_invalidate(c, length, EXIT_REASON_INVEPT, u->reg[0], &o))
WITH(invvpid, 1, insn_vmx_invalidate(c, length, EXIT_REASON_INVVPID, u->reg[0], &o))
WITH(vmread, 0, insn_vmread(c, length, u->reg[1], &o))
WITH(vmwrite, 1, insn_vmwrite(c, length, u->reg[0], &o))
#undef PLAIN
#undef WITH

// MONITOR's operand is the byte at rAX, in DS or by override.
static enum insn_result monitor(struct vmx *v, const struct uop *u)
{
    struct insn_operand o = {.memory = true, .segment = (enum segment_name)u->segment, .size = 1};

    o.offset = v->gpr.r[REG_RAX] & size_mask(u->address_size);
    o.info = insn_memory_info(REG_RAX, INSN_NO_REG, 0, u->address_size, o.segment);
    uop_at(v, u);
    flags_settle(v);
    return insn_monitor(v->cpu, u->length, &o);
}

// BOUND: signed index between two bounds in memory.
static enum insn_result bound(struct vmx *v, const struct uop *u)
{
    uint64_t at = effective_address(v, u), low, high;
    int64_t index = sign_extend(reg_read(v, u->reg[0], u->size), u->size);
    enum insn_result r = operand_load(v, u, (enum segment_name)u->segment, at, u->size, &low);

    if (r == INSN_DONE)
        r = operand_load(v, u, (enum segment_name)u->segment, (at + u->size) & size_mask(u->address_size),
                         u->size, &high);
    if (r != INSN_DONE)
        return r;
    if (index >= sign_extend(low, u->size) && index <= sign_extend(high, u->size))
        return INSN_DONE;
    uop_at(v, u);
    flags_settle(v);
    return insn_bound_fault(v->cpu, u->length);
}

// --- Ports. ---

static enum insn_result in(struct vmx *v, const struct uop *u)
{
    bool immediate = u->kind[1] == OPERAND_IMM;

    uop_at(v, u);
    return insn_in(v->cpu, u->length, immediate ? (uint8_t)u->imm : (uint16_t)v->gpr.r[REG_RDX], u->size,
                   immediate);
}

static enum insn_result out(struct vmx *v, const struct uop *u)
{
    bool immediate = u->kind[0] == OPERAND_IMM;

    uop_at(v, u);
    return insn_out(v->cpu, u->length, immediate ? (uint8_t)u->imm : (uint16_t)v->gpr.r[REG_RDX], u->size,
                    immediate);
}

static enum insn_result string_io(struct vmx *v, const struct uop *u)
{
    struct insn_string_io io = {.size = u->size,
                                .address_size = u->address_size,
                                .rep = u->flags & (UOP_REP | UOP_REPNE),
                                .segment = (enum segment_name)u->segment};
    bool ins = u->id == X86_INS_INSB || u->id == X86_INS_INSW || u->id == X86_INS_INSD;

    uop_at(v, u);
    flags_settle(v);
    return ins ? insn_ins(v->cpu, u->length, &io) : insn_outs(v->cpu, u->length, &io);
}

// --- Choosing. ---

static uop_fn choose_ends(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)in;
    u->flags |= UOP_ENDS;
    return u->flags & UOP_LOCK ? NULL : row->fn;
}

static uop_fn choose_memory(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    bool memory = u->kind[0] == OPERAND_MEMORY || u->kind[1] == OPERAND_MEMORY;

    return memory ? choose_ends(u, in, row) : NULL;
}

// LGDT and its like: a pseudo-descriptor as wide as addresses are (SDM vol. 2).
static uop_fn choose_table(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    if (u->code_size == CODE_64)
        u->size = 8;
    else
        u->size = (u->code_size == CODE_32) != (in->detail->x86.prefix[2] == X86_PREFIX_OPSIZE) ? 4 : 2;
    return choose_memory(u, in, row);
}

static uop_fn choose_rex(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    u->size = in->detail->x86.rex & 8 ? 8 : 4;
    return choose_ends(u, in, row);
}

static uop_fn choose_segment(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    u->segment = (uint8_t)decode_segment(u, in, SEG_DS);
    return choose_ends(u, in, row);
}

// The data's size: AL, AX or EAX for IN and OUT, the memory operand's for INS and OUTS.
static uop_fn choose_io(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    bool first = u->kind[0] == OPERAND_GPR && (u->reg[0] & 15) == REG_RAX;

    u->size = in->detail->x86.operands[first ? 0 : 1].size;
    return choose_ends(u, in, row);
}

static uop_fn choose_string_io(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    bool byte = u->id == X86_INS_INSB || u->id == X86_INS_OUTSB;
    bool word = u->id == X86_INS_INSW || u->id == X86_INS_OUTSW;

    u->size = byte ? 1 : word ? 2 : 4;
    return choose_segment(u, in, row);
}

uop_fn system_choose_mov(struct uop *u)
{
    u->flags |= UOP_ENDS;
    if (u->kind[0] == OPERAND_CR)
        return mov_to_cr;
    if (u->kind[1] == OPERAND_CR)
        return mov_from_cr;
    if (u->kind[0] == OPERAND_DR)
        return mov_to_dr;
    return u->kind[1] == OPERAND_DR ? mov_from_dr : NULL;
}

#define ENDS(id, fn)                                                                                         \
    {                                                                                                        \
        X86_INS_##id, choose_ends, fn                                                                        \
    }
#define MEMORY(id, fn)                                                                                       \
    {                                                                                                        \
        X86_INS_##id, choose_memory, fn                                                                      \
    }
const struct uop_row exec_system_rows[] = {
    ENDS(CPUID, cpuid),
    ENDS(RDMSR, rdmsr),
    ENDS(WRMSR, wrmsr),
    ENDS(RDTSC, rdtsc),
    ENDS(RDTSCP, rdtscp),
    ENDS(RDPMC, rdpmc),
    ENDS(RDRAND, rdrand),
    ENDS(RDSEED, rdseed),
    ENDS(XGETBV, xgetbv),
    ENDS(XSETBV, xsetbv),
    {UOP_RDPKRU, choose_ends, rdpkru},
    {UOP_RDPID, choose_ends, rdpid},
    {UOP_SERIALIZE, choose_ends, serialize},
    {UOP_UD1, choose_ends, ud},
    {UOP_UD0, choose_ends, ud},
    {UOP_WRPKRU, choose_ends, wrpkru},
    ENDS(HLT, hlt),
    ENDS(PAUSE, pause_),
    ENDS(MWAIT, mwait),
    ENDS(STI, sti),
    ENDS(CLI, cli),
    ENDS(CLTS, clts),
    ENDS(INVD, invd),
    ENDS(WBINVD, wbinvd),
    ENDS(VMCALL, vmcall),
    ENDS(VMLAUNCH, vmlaunch),
    ENDS(VMRESUME, vmresume),
    ENDS(VMXOFF, vmxoff),
    ENDS(VMFUNC, vmfunc),
    ENDS(GETSEC, getsec),
    ENDS(RSM, rsm),
    ENDS(SYSCALL, syscall),
    ENDS(SYSENTER, sysenter),
    {X86_INS_SYSRET, choose_rex, sysret},
    {X86_INS_SYSEXIT, choose_rex, sysexit},
    ENDS(SWAPGS, swapgs),
    ENDS(RDFSBASE, rdfsbase),
    ENDS(RDGSBASE, rdgsbase),
    ENDS(WRFSBASE, wrfsbase),
    ENDS(WRGSBASE, wrgsbase),
    ENDS(CLAC, clac),
    ENDS(STAC, stac),
    ENDS(INT, int_n),
    ENDS(INT3, int3),
    ENDS(INT1, int1),
    ENDS(INTO, into),
    ENDS(UD2, ud),
    ENDS(LMSW, lmsw),
    ENDS(SMSW, smsw),
    MEMORY(INVLPG, invlpg),
    MEMORY(INVPCID, invpcid),
    MEMORY(CLFLUSH, clflush),
    MEMORY(CLFLUSHOPT, clflush),
    MEMORY(CLWB, clflush),
    {X86_INS_LGDT, choose_table, lgdt},
    {X86_INS_LIDT, choose_table, lidt},
    {X86_INS_SGDT, choose_table, sgdt},
    {X86_INS_SIDT, choose_table, sidt},
    ENDS(LLDT, lldt),
    ENDS(LTR, ltr),
    ENDS(SLDT, sldt),
    ENDS(STR, str),
    MEMORY(VMCLEAR, vmclear),
    MEMORY(VMPTRLD, vmptrld),
    MEMORY(VMPTRST, vmptrst),
    MEMORY(VMXON, vmxon),
    MEMORY(INVEPT, invept),
    MEMORY(INVVPID, invvpid),
    ENDS(VMREAD, vmread),
    ENDS(VMWRITE, vmwrite),
    {X86_INS_MONITOR, choose_segment, monitor},
    MEMORY(BOUND, bound),
    {X86_INS_IN, choose_io, in},
    {X86_INS_OUT, choose_io, out},
    {X86_INS_INSB, choose_string_io, string_io},
    {X86_INS_INSW, choose_string_io, string_io},
    {X86_INS_INSD, choose_string_io, string_io},
    {X86_INS_OUTSB, choose_string_io, string_io},
    {X86_INS_OUTSW, choose_string_io, string_io},
    {X86_INS_OUTSD, choose_string_io, string_io},
};
const unsigned exec_system_count = sizeof exec_system_rows / sizeof *exec_system_rows;
