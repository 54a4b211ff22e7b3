// SPDX-License-Identifier: Apache-2.0
// IN, OUT, INS, OUTS (SDM 25.1.3, 24.6.4; vol. 1 ch. 19).
#include "models/cpu/x86/insn_common.h"

#include "models/cpu/uarch/uarch.h"
#include "models/cpu/x86/debug.h"
#include "models/mem/mem.h"

#define TSS_LIMIT_MIN 103u // Of one that has an I/O permission bit map base.
#define TSS_IO_MAP_BASE 0x66u
#define TSS_32_BIT 8u // Of the type: 32 or 64 bits

// The I/O permission bit map of the TSS (SDM vol. 1 19.5.2): two bytes are read, and both must be within the
// limit.
static enum insn_result bitmap_allows(struct pcpu *c, uint16_t port, unsigned size)
{
    struct vmx *v = &c->x86->vmx;
    const struct segment *tr = &v->seg[SEG_TR];
    uint64_t base, bits;
    uint32_t at;
    enum insn_result r;

    if ((tr->ar & AR_UNUSABLE) || !(tr->ar & TSS_32_BIT) || tr->limit < TSS_LIMIT_MIN)
        return insn_gp(c);
    r = system_read(v, tr->base + TSS_IO_MAP_BASE, 2, &base);
    if (r != INSN_DONE)
        return r;
    at = (uint32_t)base + port / 8;
    if (at + 1 > tr->limit)
        return insn_gp(c);
    r = system_read(v, tr->base + at, 2, &bits);
    if (r != INSN_DONE)
        return r;
    return bits >> (port % 8) & ((1u << size) - 1) ? insn_gp(c) : INSN_DONE;
}

// Protected mode by IOPL, then by the bit map; virtual-8086 mode by the bit map alone (SDM 20.2.8.1).
static enum insn_result io_allowed(struct pcpu *c, uint16_t port, unsigned size)
{
    const struct vmx *v = &c->x86->vmx;

    if (!insn_v86(v) && insn_iopl_allows(v))
        return INSN_DONE;
    return bitmap_allows(c, port, size);
}

static bool io_exits(struct pcpu *c, uint16_t port, unsigned size)
{
    const struct vmx *v = &c->x86->vmx;

    if (!(v->ctl.cpu & CPU_USE_IO_BITMAPS))
        return v->ctl.cpu & CPU_UNCONDITIONAL_IO_EXITING;
    if (port + size > 0x10000u)
        return true; // Wraps around the 16-bit port space.
    for (unsigned i = 0; i < size; i++) {
        uint32_t p = port + i, bit = p & 0x7fff;
        uint64_t base = p & 0x8000 ? v->io_bitmap_b : v->io_bitmap_a;

        if ((mem_read64(c, base + bit / 64 * 8) >> (bit % 64)) & 1)
            return true;
    }
    return false;
}

// SDM table 27-5.
static struct vmexit *io_exit(struct pcpu *c, unsigned length, uint16_t port, unsigned size, uint64_t more)
{
    struct vmexit *x = insn_exit_begin(c, EXIT_REASON_IO_INSTRUCTION, length);

    x->qualification = (size - 1) | (uint64_t)port << QUAL_IO_PORT_SHIFT | more;
    return x;
}

enum insn_result insn_in(struct pcpu *c, unsigned length, uint16_t port, unsigned size, bool immediate)
{
    struct vmx *v = &c->x86->vmx;
    enum insn_result r = io_allowed(c, port, size);

    if (r != INSN_DONE)
        return r;
    if (io_exits(c, port, size)) {
        io_exit(c, length, port, size, QUAL_IO_IN | (immediate ? QUAL_IO_IMMEDIATE : 0));
        return INSN_EXIT;
    }
    pcpu_charge_cycles(c, c->uarch->op.in_cycles);
    insn_set_reg(v, RAX, size, x86_port_in(c, port, size));
    debug_io(c, port, size);
    return INSN_DONE;
}

enum insn_result insn_out(struct pcpu *c, unsigned length, uint16_t port, unsigned size, bool immediate)
{
    struct vmx *v = &c->x86->vmx;
    enum insn_result r = io_allowed(c, port, size);

    if (r != INSN_DONE)
        return r;
    if (io_exits(c, port, size)) {
        io_exit(c, length, port, size, immediate ? QUAL_IO_IMMEDIATE : 0);
        return INSN_EXIT;
    }
    pcpu_charge_cycles(c, c->uarch->op.out_cycles);
    x86_port_out(c, port, size, (uint32_t)v->gpr.r[RAX]);
    debug_io(c, port, size);
    return INSN_DONE;
}

// --- INS and OUTS. ---

// What both do before their element; INSN_DONE: carry it out, INSN_AGAIN: REP has come to its end.
static enum insn_result string_begin(struct pcpu *c, unsigned length, const struct insn_string_io *io,
                                     bool in, enum segment_name segment)
{
    struct vmx *v = &c->x86->vmx;
    uint16_t port = (uint16_t)v->gpr.r[RDX];
    enum insn_result r = io_allowed(c, port, io->size);
    struct vmexit *x;

    if (r != INSN_DONE)
        return r;
    if (io->rep && insn_reg(v, RCX, io->address_size) == 0)
        return INSN_AGAIN;
    if (!io_exits(c, port, io->size))
        return INSN_DONE;
    x = io_exit(c, length, port, io->size,
                QUAL_IO_STRING | (in ? QUAL_IO_IN : 0) | (io->rep ? QUAL_IO_REP : 0));
    // SDM table 27-9: address size, and of OUTS the segment.
    x->insn_info = (io->address_size / 4u) << INSN_INFO_ADDR_SIZE_SHIFT |
                   (in ? 0u : (uint32_t)segment << INSN_INFO_SEG_SHIFT);
    x->has_linear = true;
    x->linear = insn_linear(v, segment, insn_reg(v, in ? RDI : RSI, io->address_size));
    return INSN_EXIT;
}

static enum insn_result string_end(struct pcpu *c, const struct insn_string_io *io, unsigned reg)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t step = v->rflags & X86_RFLAGS_DF ? 0ull - io->size : io->size;
    unsigned size = io->address_size;

    insn_set_reg(v, reg, size, v->gpr.r[reg] + step);
    debug_io(c, (uint16_t)v->gpr.r[RDX], io->size);
    if (!io->rep)
        return INSN_DONE;
    insn_set_reg(v, RCX, size, v->gpr.r[RCX] - 1);
    return insn_reg(v, RCX, size) ? INSN_AGAIN : INSN_DONE;
}

// The destination is written to as by a store, and may exit; no port is read for an element that cannot be
// stored.
enum insn_result insn_ins(struct pcpu *c, unsigned length, const struct insn_string_io *io)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t to = insn_reg(v, RDI, io->address_size);
    enum insn_result r = string_begin(c, length, io, true, SEG_ES);

    if (r == INSN_AGAIN)
        return INSN_DONE;
    if (r == INSN_DONE)
        r = insn_probe(c, length, SEG_ES, to, io->size, EPT_ACCESS_WRITE);
    if (r != INSN_DONE)
        return r;
    pcpu_charge_cycles(c, c->uarch->op.in_cycles);
    r = insn_write(c, length, SEG_ES, to, io->size, x86_port_in(c, (uint16_t)v->gpr.r[RDX], io->size));
    return r == INSN_DONE ? string_end(c, io, RDI) : r;
}

enum insn_result insn_outs(struct pcpu *c, unsigned length, const struct insn_string_io *io)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t from = insn_reg(v, RSI, io->address_size), value = 0;
    enum insn_result r = string_begin(c, length, io, false, io->segment);

    if (r == INSN_AGAIN)
        return INSN_DONE;
    if (r == INSN_DONE && io->bytes)
        memcpy(&value, io->bytes, io->size);
    else if (r == INSN_DONE)
        r = insn_read(c, length, io->segment, from, io->size, &value);
    if (r != INSN_DONE)
        return r;
    pcpu_charge_cycles(c, c->uarch->op.out_cycles);
    x86_port_out(c, (uint16_t)v->gpr.r[RDX], io->size, (uint32_t)value);
    return string_end(c, io, RSI);
}
