// SPDX-License-Identifier: Apache-2.0
// Segment descriptors of a guest that is machine code: reading, checking, loading (SDM 3.4.5, 3.5, 5.6
// to 5.8).
#ifndef MODELS_CPU_X86_DESCRIPTOR_H
#define MODELS_CPU_X86_DESCRIPTOR_H

#include "models/cpu/x86/insn.h"

#define SELECTOR_RPL 3u
#define SELECTOR_TI 4u
#define SELECTOR_NULL(s) (((s) & ~SELECTOR_RPL) == 0)
// Error code that names a selector (SDM 6.13).
#define SELECTOR_ERROR(s) ((uint32_t)(s) & ~SELECTOR_RPL)

// Types of system descriptors (SDM table 3-2), and bits of code and data types (table 3-1).
enum {
    TYPE_TSS16 = 1,
    TYPE_LDT = 2,
    TYPE_TSS16_BUSY = 3,
    TYPE_CALL_GATE16 = 4,
    TYPE_TASK_GATE = 5,
    TYPE_INTERRUPT16 = 6,
    TYPE_TRAP16 = 7,
    TYPE_TSS32 = 9,
    TYPE_TSS32_BUSY = 11,
    TYPE_CALL_GATE32 = 12,
    TYPE_INTERRUPT32 = 14,
    TYPE_TRAP32 = 15, // In IA-32e mode those of 32 bits are of 64
};
#define TYPE_ACCESSED 1u
#define TYPE_WRITABLE 2u // Of data; readable of code
#define TYPE_EXPAND_DOWN 4u
#define TYPE_CONFORMING 4u
#define TYPE_CODE 8u
#define TYPE_BUSY 2u // Of a TSS

struct descriptor {
    uint64_t low, high;     // high: of 16-byte ones in IA-32e mode
    uint64_t address;       // Linear, of the descriptor
    struct segment segment; // As it would be loaded; of a gate only `ar` means anything
};

static inline unsigned descriptor_type(const struct descriptor *d)
{
    return d->segment.ar & AR_TYPE_MASK;
}

static inline unsigned descriptor_dpl(const struct descriptor *d)
{
    return (d->segment.ar & AR_DPL_MASK) >> AR_DPL_SHIFT;
}

static inline bool descriptor_system(const struct descriptor *d)
{
    return !(d->segment.ar & AR_S);
}

static inline bool descriptor_code(const struct descriptor *d)
{
    return (d->segment.ar & AR_S) && (d->segment.ar & TYPE_CODE);
}

static inline bool descriptor_present(const struct descriptor *d)
{
    return d->segment.ar & AR_P;
}

// Destination and selector of a gate.
static inline uint16_t gate_selector(const struct descriptor *d)
{
    return (uint16_t)(d->low >> 16);
}
uint64_t gate_offset(const struct descriptor *d);

bool guest_protected(const struct vmx *v); // Protected mode, not virtual-8086
bool guest_v86(const struct vmx *v);
bool guest_long(const struct vmx *v); // IA-32e mode

// Memory accesses of the processor itself: supervisor's whatever CPL is (SDM 4.6).
enum insn_result system_read(struct vmx *v, uint64_t linear, unsigned size, uint64_t *value);
enum insn_result system_write(struct vmx *v, uint64_t linear, unsigned size, uint64_t value);

// Reads the descriptor that `selector`, not null, names. Beyond its table: `vector` with the selector, with
// `ext` in it. A system descriptor in IA-32e mode has 16 bytes.
enum insn_result descriptor_read(struct vmx *v, uint16_t selector, unsigned vector, uint32_t ext,
                                 struct descriptor *d);
// Makes a descriptor of its bytes.
void descriptor_parse(struct descriptor *d, uint16_t selector);
// Sets its accessed bit in memory.
enum insn_result descriptor_accessed(struct vmx *v, struct descriptor *d);

// MOV to, POP, LDS and so on of a data segment register or SS, with all checks (SDM vol. 2, MOV).
enum insn_result segment_load(struct vmx *v, enum segment_name name, uint16_t selector);
// Puts a code or stack segment in place; CPL follows from SS, or from `cpl` for CS's selector.
void segment_put(struct vmx *v, enum segment_name name, uint16_t selector, const struct segment *s);
// A null selector: unusable.
void segment_put_null(struct vmx *v, enum segment_name name, uint16_t selector, unsigned dpl);
// Real-address and virtual-8086 mode: base by the selector.
void segment_put_real(struct vmx *v, enum segment_name name, uint16_t selector);
// SS.DPL has changed, so CPL has.
void cpl_changed(struct vmx *v);
// After a return to an outer level: data segments that it may not use become null (SDM 5.8.6).
void segments_check_outer(struct vmx *v);

// LLDT, LTR.
enum insn_result insn_lldt(struct vmx *v, uint16_t selector);
enum insn_result insn_ltr(struct vmx *v, uint16_t selector);

// Stack of privilege level `dpl` in the current TSS (SDM 7.2.1, 7.7). `ext` as above.
enum insn_result tss_stack(struct vmx *v, unsigned dpl, uint32_t ext, uint16_t *ss, uint64_t *rsp);
// IA-32e mode: RSPn, or ISTn of `ist` 1 to 7.
enum insn_result tss_stack64(struct vmx *v, unsigned dpl, unsigned ist, uint32_t ext, uint64_t *rsp);
// Checks a stack segment for a change to level `dpl`: #TS, or #SS if not present, or `vector` instead of #TS.
enum insn_result stack_segment(struct vmx *v, uint16_t ss, unsigned dpl, unsigned vector, uint32_t ext,
                               struct descriptor *d);

// VMX makes an exit of every task switch (SDM 25.1.2, 25.4.2). source: QUAL_TASK_SOURCE_*.
enum insn_result task_switch(struct vmx *v, uint16_t selector, unsigned source, unsigned length);

#endif
