// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/interp/operand.h"

#include "models/mem/mem.h"

static enum insn_result segment_fault(struct vmx *v, const struct uop *u, enum segment_name segment)
{
    return uop_fault(v, u, segment == SEG_SS ? SS_VECTOR : GP_VECTOR, 0);
}

// Accesses are where other processors are met: whoever is earlier goes first.
static bool in_turn(struct vmx *v)
{
    struct pcpu *c = v->cpu;

    if (__builtin_expect(c->now_ticks < c->limit_ticks, 1))
        return true;
    pcpu_slow_path(c, false);
    if (v->timer_at_ticks < c->limit_ticks)
        c->limit_ticks = v->timer_at_ticks;
    return c->now_ticks < c->limit_ticks;
}

enum insn_result operand_linear(struct vmx *v, const struct uop *u, enum segment_name segment,
                                uint64_t offset, unsigned size, unsigned access, uint64_t *linear)
{
    if (!segment_linear(v, segment, offset, size, access & EPT_ACCESS_WRITE, linear))
        return segment_fault(v, u, segment);
    return INSN_DONE;
}

static enum insn_result again(struct vmx *v, const struct uop *u)
{
    uop_at(v, u);
    return INSN_AGAIN;
}

enum insn_result operand_load(struct vmx *v, const struct uop *u, enum segment_name segment, uint64_t offset,
                              unsigned size, uint64_t *value)
{
    uint64_t linear;
    enum insn_result r = operand_linear(v, u, segment, offset, size, EPT_ACCESS_READ, &linear);

    if (r != INSN_DONE)
        return r;
    if (!in_turn(v))
        return again(v, u);
    *value = 0;
    uop_at(v, u);
    return insn_access(guest_access(v->cpu, linear, size, EPT_ACCESS_READ, value));
}

// Is this page one that the running block was decoded from? Its bytes may be others now.
static void note_store(struct vmx *v, uint64_t linear, unsigned size)
{
    const struct block *b = block_running(v);
    uint64_t code = b->rip + v->seg[SEG_CS].base; // In 64-bit mode the base is 0.

    if (linear < code + b->bytes && linear + size > code)
        v->interp->page_written = true;
}

enum insn_result operand_store(struct vmx *v, const struct uop *u, enum segment_name segment, uint64_t offset,
                               unsigned size, uint64_t value)
{
    uint64_t linear;
    enum insn_result r = operand_linear(v, u, segment, offset, size, EPT_ACCESS_WRITE, &linear);

    if (r != INSN_DONE)
        return r;
    if (!in_turn(v))
        return again(v, u);
    uop_at(v, u);
    r = insn_access(guest_access(v->cpu, linear, size, EPT_ACCESS_WRITE, &value));
    if (r == INSN_DONE)
        note_store(v, linear, size);
    return r;
}

// --- More than eight bytes. ---

// Checks, takes its turn and translates all pages of the operand.
static enum insn_result bytes_begin(struct vmx *v, const struct uop *u, unsigned at, unsigned size,
                                    unsigned align, unsigned access, uint64_t *linear)
{
    uint64_t offset = effective_address(v, u) + at, hpa;
    enum insn_result r;

    if (u->address_size != 8)
        offset &= size_mask(u->address_size);
    r = operand_linear(v, u, (enum segment_name)u->segment, offset, size, access, linear);
    if (r != INSN_DONE)
        return r;
    if (*linear & (align - 1))
        return uop_fault(v, u, GP_VECTOR, 0);
    if (!in_turn(v))
        return again(v, u);
    uop_at(v, u);
    r = insn_access(guest_translate(v->cpu, *linear, access, &hpa));
    if (r == INSN_DONE && (*linear & 0xfff) + size > 4096)
        r = insn_access(guest_translate(v->cpu, (*linear | 0xfff) + 1, access, &hpa));
    return r;
}

enum insn_result memory_load_bytes_at(struct vmx *v, const struct uop *u, unsigned at, unsigned size,
                                      unsigned align, void *bytes)
{
    unsigned char buffer[512];
    uint64_t linear;
    enum insn_result r = bytes_begin(v, u, at, size, align, EPT_ACCESS_READ, &linear);

    for (unsigned i = 0; r == INSN_DONE && i < size; i += 8) {
        unsigned n = size - i < 8 ? size - i : 8;
        uint64_t value = 0;

        r = insn_access(guest_access(v->cpu, linear + i, n, EPT_ACCESS_READ, &value));
        memcpy(buffer + i, &value, n);
    }
    if (r == INSN_DONE)
        memcpy(bytes, buffer, size);
    return r;
}

enum insn_result memory_store_bytes_at(struct vmx *v, const struct uop *u, unsigned at, unsigned size,
                                       unsigned align, const void *bytes)
{
    uint64_t linear;
    enum insn_result r = bytes_begin(v, u, at, size, align, EPT_ACCESS_WRITE, &linear);

    for (unsigned i = 0; r == INSN_DONE && i < size; i += 8) {
        unsigned n = size - i < 8 ? size - i : 8;
        uint64_t value = 0;

        memcpy(&value, (const unsigned char *)bytes + i, n);
        r = insn_access(guest_access(v->cpu, linear + i, n, EPT_ACCESS_WRITE, &value));
    }
    if (r == INSN_DONE)
        note_store(v, linear, size);
    return r;
}

// --- Read-modify-write (SDM 8.1.2). ---

enum insn_result operand_rmw_begin(struct vmx *v, const struct uop *u, uint64_t offset, unsigned size,
                                   uint64_t *value)
{
    struct rmw *rmw = &v->interp->rmw;
    struct pcpu *c = v->cpu;
    uint64_t hpa, hpa2;
    unsigned first;
    enum insn_result r =
        operand_linear(v, u, (enum segment_name)u->segment, offset, size, EPT_ACCESS_WRITE, &rmw->linear);

    if (r != INSN_DONE)
        return r;
    if (!in_turn(v))
        return again(v, u);
    uop_at(v, u);
    first = 4096 - (unsigned)(rmw->linear & 0xfff);
    r = insn_access(guest_translate(c, rmw->linear, EPT_ACCESS_READ | EPT_ACCESS_WRITE, &hpa));
    if (r == INSN_DONE && first < size)
        r = insn_access(guest_translate(c, rmw->linear + first, EPT_ACCESS_READ | EPT_ACCESS_WRITE, &hpa2));
    if (r != INSN_DONE)
        return r;
    *value = 0;
    rmw->p = (u->flags & UOP_LOCK) && first >= size ? mem_hpa_to_ptr(c, hpa, size) : NULL;
    if (!rmw->p)
        return insn_access(guest_access(c, rmw->linear, size, EPT_ACCESS_READ, value));
    mem_access(c, hpa, size, MEM_GUEST_RMW);
    memcpy(value, rmw->p, size);
    return INSN_DONE;
}

void operand_rmw_end(struct vmx *v, const struct uop *u, unsigned size, uint64_t value)
{
    const struct rmw *rmw = &v->interp->rmw;

    (void)u;
    if (rmw->p)
        memcpy(rmw->p, &value, size);
    else
        guest_access(v->cpu, rmw->linear, size, EPT_ACCESS_WRITE, &value);
    note_store(v, rmw->linear, size);
}
