// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/interp/operand.h"
#include "models/cpu/x86/debug.h"

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
    const struct segment *s = &v->seg[segment];

    *linear = offset;
    // In 64-bit mode the stack's addresses have a fault of their own.
    if (size <= OPERAND_BYTES_MAX && segment != SEG_SS &&
        offset < (access & EPT_ACCESS_WRITE ? s->plain_write : s->plain_read))
        return INSN_DONE;
    if (!segment_linear(v, segment, offset, size, access & EPT_ACCESS_WRITE, linear))
        return segment_fault(v, u, segment);
    if (__builtin_expect(v->alignment, 0) && size <= 8 && (*linear & (size - 1)))
        return uop_fault(v, u, AC_VECTOR, 0); // SDM 6.15, interrupt 17
    return INSN_DONE;
}

static enum insn_result again(struct vmx *v, const struct uop *u)
{
    uop_at(v, u);
    return INSN_AGAIN;
}

// Sizes as constants, for those that are usual.
#define EACH_SIZE(X) X(1) X(2) X(4) X(8)

static bool load_fast(struct pcpu *c, uint64_t linear, unsigned size, uint64_t *value)
{
    switch (size) {
#define CASE(n)                                                                                              \
    case n:                                                                                                  \
        return guest_load_fast(c, linear, n, value);
        EACH_SIZE(CASE)
#undef CASE
    }
    return guest_load_fast(c, linear, size, value);
}

static bool store_fast(struct pcpu *c, uint64_t linear, unsigned size, const uint64_t *value)
{
    switch (size) {
#define CASE(n)                                                                                              \
    case n:                                                                                                  \
        return guest_store_fast(c, linear, n, value);
        EACH_SIZE(CASE)
#undef CASE
    }
    return guest_store_fast(c, linear, size, value);
}

enum insn_result operand_load_any(struct vmx *v, const struct uop *u, enum segment_name segment,
                                  uint64_t offset, unsigned size, uint64_t *value)
{
    uint64_t linear;
    enum insn_result r = operand_linear(v, u, segment, offset, size, EPT_ACCESS_READ, &linear);

    if (r != INSN_DONE)
        return r;
    if (!in_turn(v))
        return again(v, u);
    *value = 0;
    if (!load_fast(v->cpu, linear, size, value)) {
        uop_at(v, u);
        r = insn_access(guest_access(v->cpu, linear, size, EPT_ACCESS_READ, value));
    }
    if (r == INSN_DONE && debug_watched(v->cpu))
        debug_data(v->cpu, linear, size, false);
    return r;
}

void operand_stored(struct vmx *v, uint64_t linear, unsigned size)
{
    const struct block *b = block_running(v);
    uint64_t code = v->interp->code_from + OPERAND_BYTES_MAX - 1;

    if (linear < code + b->bytes && linear + size > code)
        v->behind = true;
    if (debug_watched(v->cpu))
        debug_data(v->cpu, linear, size, true);
}

enum insn_result operand_store_any(struct vmx *v, const struct uop *u, enum segment_name segment,
                                   uint64_t offset, unsigned size, uint64_t value)
{
    uint64_t linear;
    enum insn_result r = operand_linear(v, u, segment, offset, size, EPT_ACCESS_WRITE, &linear);

    if (r != INSN_DONE)
        return r;
    if (!in_turn(v))
        return again(v, u);
    if (!store_fast(v->cpu, linear, size, &value)) {
        uop_at(v, u);
        r = insn_access(guest_access(v->cpu, linear, size, EPT_ACCESS_WRITE, &value));
    }
    if (r == INSN_DONE)
        operand_stored(v, linear, size);
    return r;
}

// --- Any number of bytes: SSE operands in one access, areas in several. ---

#define ACCESS_BYTES 16u

static enum insn_result bytes_begin(struct vmx *v, const struct uop *u, unsigned at, unsigned size,
                                    unsigned align, unsigned access, uint64_t *linear)
{
    uint64_t offset = effective_address(v, u) + at;
    enum insn_result r;

    if (u->address_size != 8)
        offset &= size_mask(u->address_size);
    r = operand_linear(v, u, (enum segment_name)u->segment, offset, size, access, linear);
    if (r != INSN_DONE)
        return r;
    if (*linear & (align - 1))
        return uop_fault(v, u, GP_VECTOR, 0);
    return in_turn(v) ? INSN_DONE : again(v, u);
}

// All pages of an area, before any byte moves.
static enum insn_result area_begin(struct vmx *v, const struct uop *u, uint64_t linear, unsigned size,
                                   unsigned access)
{
    uint64_t hpa;
    enum insn_result r;

    uop_at(v, u);
    r = insn_access(guest_translate(v->cpu, linear, access, &hpa));
    if (r == INSN_DONE && (linear & 0xfff) + size > 4096)
        r = insn_access(guest_translate(v->cpu, (linear | 0xfff) + 1, access, &hpa));
    return r;
}

enum insn_result memory_load_bytes_at(struct vmx *v, const struct uop *u, unsigned at, unsigned size,
                                      unsigned align, void *bytes)
{
    unsigned char buffer[MEMORY_BYTES_MAX];
    uint64_t linear;
    enum insn_result r = bytes_begin(v, u, at, size, align, EPT_ACCESS_READ, &linear);

    if (r != INSN_DONE)
        return r;
    if (size > ACCESS_BYTES)
        r = area_begin(v, u, linear, size, EPT_ACCESS_READ);
    for (unsigned i = 0; r == INSN_DONE && i < size; i += ACCESS_BYTES) {
        unsigned n = size - i < ACCESS_BYTES ? size - i : ACCESS_BYTES;

        if (guest_load_fast(v->cpu, linear + i, n, buffer + i))
            continue;
        uop_at(v, u);
        r = insn_access(guest_access(v->cpu, linear + i, n, EPT_ACCESS_READ, buffer + i));
    }
    if (r != INSN_DONE)
        return r;
    memcpy(bytes, buffer, size);
    if (debug_watched(v->cpu))
        debug_data(v->cpu, linear, size, false);
    return INSN_DONE;
}

enum insn_result memory_store_bytes_at(struct vmx *v, const struct uop *u, unsigned at, unsigned size,
                                       unsigned align, const void *bytes)
{
    unsigned char buffer[ACCESS_BYTES];
    uint64_t linear;
    enum insn_result r = bytes_begin(v, u, at, size, align, EPT_ACCESS_WRITE, &linear);

    if (r != INSN_DONE)
        return r;
    if (size > ACCESS_BYTES)
        r = area_begin(v, u, linear, size, EPT_ACCESS_WRITE);
    for (unsigned i = 0; r == INSN_DONE && i < size; i += ACCESS_BYTES) {
        unsigned n = size - i < ACCESS_BYTES ? size - i : ACCESS_BYTES;

        if (guest_store_fast(v->cpu, linear + i, n, (const unsigned char *)bytes + i))
            continue;
        uop_at(v, u);
        memcpy(buffer, (const unsigned char *)bytes + i, n);
        r = insn_access(guest_access(v->cpu, linear + i, n, EPT_ACCESS_WRITE, buffer));
    }
    if (r == INSN_DONE)
        operand_stored(v, linear, size);
    return r;
}

bool operand_in_turn(struct vmx *v, const struct uop *u)
{
    return in_turn(v) || again(v, u) == INSN_DONE;
}

// --- Read-modify-write (SDM 8.1.2). One without LOCK is a load and a store, both allowed beforehand. ---

static enum insn_result rmw_locked(struct vmx *v, const struct uop *u, struct rmw *rmw)
{
    uop_at(v, u);
    return insn_access(guest_rmw_begin(v->cpu, rmw->access.address, rmw->access.size, &rmw->access));
}

static enum insn_result rmw_unlocked(struct vmx *v, const struct uop *u, struct rmw *rmw)
{
    struct pcpu *c = v->cpu;
    struct guest_rmw *a = &rmw->access;
    unsigned first = 4096 - (unsigned)(a->address & 0xfff);
    uint64_t hpa;
    enum insn_result r;

    uop_at(v, u);
    r = insn_access(guest_translate(c, a->address, EPT_ACCESS_READ | EPT_ACCESS_WRITE, &hpa));
    if (r == INSN_DONE && first < a->size)
        r = insn_access(guest_translate(c, a->address + first, EPT_ACCESS_READ | EPT_ACCESS_WRITE, &hpa));
    if (r == INSN_DONE)
        r = insn_access(guest_access(c, a->address, a->size, EPT_ACCESS_READ, a->bytes));
    a->p = a->bytes;
    return r;
}

static unsigned char *plain_load(struct pcpu *c, struct rmw *rmw)
{
    unsigned char *p = mmu_ordinary(c->x86->mmu, rmw->access.address, rmw->access.size,
                                    EPT_ACCESS_READ | EPT_ACCESS_WRITE, &rmw->hpa);

    if (p)
        mem_time_guest_load(c, rmw->hpa, rmw->access.size);
    return p;
}

static inline void bytes_get(const unsigned char *p, unsigned size, uint64_t *value)
{
    switch (size) {
#define CASE(n)                                                                                              \
    case n:                                                                                                  \
        memcpy(value, p, n);                                                                                 \
        return;
        EACH_SIZE(CASE)
#undef CASE
    }
    memcpy(value, p, size);
}

static inline void bytes_put(unsigned char *p, unsigned size, uint64_t value)
{
    switch (size) {
#define CASE(n)                                                                                              \
    case n:                                                                                                  \
        memcpy(p, &value, n);                                                                                \
        return;
        EACH_SIZE(CASE)
#undef CASE
    }
    memcpy(p, &value, size);
}

enum insn_result operand_rmw_begin(struct vmx *v, const struct uop *u, uint64_t offset, unsigned size,
                                   uint64_t *value)
{
    struct rmw *rmw = &v->interp->rmw;
    enum insn_result r = operand_linear(v, u, (enum segment_name)u->segment, offset, size, EPT_ACCESS_WRITE,
                                        &rmw->access.address);

    if (r != INSN_DONE)
        return r;
    if (!in_turn(v))
        return again(v, u);
    rmw->access.size = size;
    rmw->locked = u->flags & UOP_LOCK;
    *value = 0;
    if (!rmw->locked && (rmw->plain = plain_load(v->cpu, rmw)))
        return bytes_get(rmw->plain, size, value), INSN_DONE;
    rmw->plain = NULL;
    r = rmw->locked ? rmw_locked(v, u, rmw) : rmw_unlocked(v, u, rmw);
    if (r == INSN_DONE)
        memcpy(value, rmw->access.p, size);
    return r;
}

void operand_rmw_end(struct vmx *v, const struct uop *u, unsigned size, uint64_t value)
{
    struct rmw *rmw = &v->interp->rmw;

    (void)u;
    if (rmw->plain) {
        mem_guest_store(v->cpu, rmw->hpa, rmw->plain, size);
        bytes_put(rmw->plain, size, value);
    } else {
        memcpy(rmw->access.p, &value, size);
        if (rmw->locked)
            guest_rmw_end(v->cpu, &rmw->access);
        else
            guest_access(v->cpu, rmw->access.address, size, EPT_ACCESS_WRITE, &value);
    }
    operand_stored(v, rmw->access.address, size);
}
