// SPDX-License-Identifier: Apache-2.0
//
// From machine code to price_insn: Capstone's decoding, the class of each instruction, what it reads and
// writes, and which calls are instrumentation.

#include "models/cpu/native/cs_register.h"
#include "models/cpu/native/price_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAX (1u << 0)
#define RCX PRICE_RCX
#define RDX (1u << 2)
#define RSP PRICE_RSP
#define RSI (1u << 6)
#define RDI (1u << 7)
#define R8 (1u << 8)
#define R9 (1u << 9)

static void index_rules(void);

bool price_classes_open(struct price_classes *c, const struct uarch *u, char *error, size_t error_size)
{
    static const char *const names[PRICE_CLASS_COUNT] = {
#define CLASS(name) [PRICE_CLASS_##name] = #name,
#include "models/cpu/native/price_classes.def"
#undef CLASS
    };
    c->u = u;
    for (size_t i = 0; i < PRICE_CLASS_COUNT; i++) {
        c->by_id[i] = uarch_class_find(u, names[i]);
        if (c->by_id[i] == NULL) {
            snprintf(error, error_size, "%s: classes: has no class \"%s\"; block prices need it", u->path,
                     names[i]);
            return false;
        }
    }
    index_rules();
    return true;
}

// -------------------------------------------------------------------------------------------------------------------
// Registers.

struct price_reg price_reg_of(unsigned id)
{
    struct cs_register r = cs_register_of(id);
    switch ((enum cs_register_kind)r.kind) {
    case CS_REGISTER_GPR:
    case CS_REGISTER_HIGH:
        return (struct price_reg){1u << r.number, r.bytes <= 2, 0};
    case CS_REGISTER_NONE:
    case CS_REGISTER_IP:
    case CS_REGISTER_SEGMENT:
        return (struct price_reg){0, false, 0};
    case CS_REGISTER_FLAGS:
        return (struct price_reg){PRICE_FLAGS, false, 0};
    case CS_REGISTER_XMM:
        return (struct price_reg){PRICE_OTHER, false, 1u << r.number};
    case CS_REGISTER_MMX:
    case CS_REGISTER_ST:
    case CS_REGISTER_X87_STATUS:
        return (struct price_reg){PRICE_OTHER, false, PRICE_X87};
    case CS_REGISTER_CR:
    case CS_REGISTER_DR:
    case CS_REGISTER_OTHER:
        break;
    }
    return (struct price_reg){PRICE_OTHER, false, 0};
}

#define FLAGS_TEST                                                                                           \
    (X86_EFLAGS_TEST_OF | X86_EFLAGS_TEST_SF | X86_EFLAGS_TEST_ZF | X86_EFLAGS_TEST_PF |                     \
     X86_EFLAGS_TEST_CF | X86_EFLAGS_TEST_AF | X86_EFLAGS_TEST_DF)

static void registers(struct price_insn *p, csh handle, const cs_insn *in)
{
    cs_regs reads, writes;
    uint8_t read_count = 0, write_count = 0;
    uint64_t flags = in->detail->x86.eflags;
    if (cs_regs_access(handle, in, reads, &read_count, writes, &write_count) != CS_ERR_OK) {
        p->reads = p->writes = PRICE_OTHER;
        p->foreign = true;
        return;
    }
    for (uint8_t i = 0; i < read_count; i++) {
        struct price_reg r = price_reg_of(reads[i]);
        p->reads |= r.bit;
        p->vector_reads |= r.vector;
        p->foreign |= r.bit == PRICE_OTHER && r.vector == 0;
    }
    for (uint8_t i = 0; i < write_count; i++) {
        struct price_reg r = price_reg_of(writes[i]);
        p->writes |= r.bit;
        p->vector_writes |= r.vector;
        p->foreign |= r.bit == PRICE_OTHER && r.vector == 0;
        if (r.narrow)
            p->reads |= r.bit;
    }
    if (flags & FLAGS_TEST)
        p->reads |= PRICE_FLAGS;
    if (flags & ~(uint64_t)(FLAGS_TEST | X86_EFLAGS_PRIOR_OF | X86_EFLAGS_PRIOR_SF | X86_EFLAGS_PRIOR_ZF |
                            X86_EFLAGS_PRIOR_AF | X86_EFLAGS_PRIOR_PF | X86_EFLAGS_PRIOR_CF))
        p->writes |= PRICE_FLAGS;
    if (in->id == X86_INS_CMP || in->id == X86_INS_TEST || in->id == X86_INS_BT)
        p->writes = PRICE_FLAGS;
    if (in->id == X86_INS_CMPXCHG)
        p->writes |= RAX;
}

static const cs_x86_op *memory_operand(const cs_insn *in)
{
    const cs_x86 *x = &in->detail->x86;
    for (unsigned i = 0; i < x->op_count; i++)
        if (x->operands[i].type == X86_OP_MEM)
            return &x->operands[i];
    return NULL;
}

// What an instruction does to a memory operand that stands first: the default is to read, modify and write
// it. (Capstone's own access bits are wrong for some, such as TEST.)
enum first_operand { READ_WRITE, READ, WRITE, ADDRESS };

static enum first_operand first_operand(unsigned id)
{
    static const struct {
        uint16_t id;
        uint8_t use;
    } uses[] = {
        {X86_INS_MOV, WRITE},          {X86_INS_MOVABS, WRITE},       {X86_INS_POP, WRITE},
        {X86_INS_CMP, READ},           {X86_INS_TEST, READ},          {X86_INS_BT, READ},
        {X86_INS_PUSH, READ},          {X86_INS_CALL, READ},          {X86_INS_JMP, READ},
        {X86_INS_MUL, READ},           {X86_INS_IMUL, READ},          {X86_INS_DIV, READ},
        {X86_INS_IDIV, READ},          {X86_INS_NOP, ADDRESS},        {X86_INS_PREFETCHT0, ADDRESS},
        {X86_INS_PREFETCHT1, ADDRESS}, {X86_INS_PREFETCHT2, ADDRESS}, {X86_INS_PREFETCHNTA, ADDRESS},
        {X86_INS_PREFETCHW, ADDRESS},  {X86_INS_SETA, WRITE},         {X86_INS_SETBE, WRITE},
        {X86_INS_SETAE, WRITE},        {X86_INS_SETB, WRITE},         {X86_INS_SETE, WRITE},
        {X86_INS_SETNE, WRITE},        {X86_INS_SETG, WRITE},         {X86_INS_SETGE, WRITE},
        {X86_INS_SETL, WRITE},         {X86_INS_SETLE, WRITE},        {X86_INS_SETNO, WRITE},
        {X86_INS_SETNP, WRITE},        {X86_INS_SETNS, WRITE},        {X86_INS_SETO, WRITE},
        {X86_INS_SETP, WRITE},         {X86_INS_SETS, WRITE},
    };
    for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++)
        if (uses[i].id == id)
            return (enum first_operand)uses[i].use;
    return READ_WRITE;
}

static void memory(struct price_insn *p, const cs_insn *in)
{
    const cs_x86_op *m = memory_operand(in);
    if (m == NULL)
        return;
    enum first_operand use = in->id == X86_INS_LEA ? ADDRESS : READ;
    if (m == &in->detail->x86.operands[0])
        use = first_operand(in->id);
    p->address_reads = price_reg_of(m->mem.base).bit | price_reg_of(m->mem.index).bit;
    p->indexed = price_reg_of(m->mem.index).bit != 0;
    p->load = use == READ || use == READ_WRITE;
    p->store = use == WRITE || use == READ_WRITE || (use == READ && in->id == X86_INS_XCHG);
}

// -------------------------------------------------------------------------------------------------------------------
// Classes. Each rule may change p->class and add what the operands cost.

#define TO(name) (c->by_id[PRICE_CLASS_##name])

// An operand that the instruction does not have is of type X86_OP_INVALID.
const cs_x86_op *price_operand(const cs_insn *in, unsigned index)
{
    static const cs_x86_op none;

    return index < in->detail->x86.op_count ? &in->detail->x86.operands[index] : &none;
}

static bool has_immediate(const cs_insn *in)
{
    for (unsigned i = 0; i < in->detail->x86.op_count; i++)
        if (in->detail->x86.operands[i].type == X86_OP_IMM)
            return true;
    return false;
}

static void classify_alu(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    const cs_x86_op *a = price_operand(in, 0), *b = price_operand(in, 1);
    const cs_x86_op *m = memory_operand(in);
    bool same = price_is_reg(a) && price_is_reg(b) && a->reg == b->reg && a->size >= 4;
    if (same && (in->id == X86_INS_XOR || in->id == X86_INS_SUB)) {
        p->class = TO(zero_idiom);
        p->reads = 0;
        p->constant = true;
        p->immediate = 0;
    }
    p->moves_stack = price_is_reg(a) && a->reg == X86_REG_RSP && b->type == X86_OP_IMM &&
                     (in->id == X86_INS_ADD || in->id == X86_INS_SUB);
    // A rip-relative address and an immediate do not fit into one micro-fused uop (OPT 2.4.1.3).
    if (m != NULL && m->mem.base == X86_REG_RIP && has_immediate(in))
        p->extra_fused++;
    bool fits = m == NULL || !has_immediate(in);
    bool compare = in->id == X86_INS_CMP || in->id == X86_INS_TEST;
    bool fusible = compare ? fits : !p->store;
    p->fuse_all = fusible && (in->id == X86_INS_TEST || in->id == X86_INS_AND);
    p->fuse_compare = fusible && (in->id == X86_INS_CMP || in->id == X86_INS_ADD || in->id == X86_INS_SUB);
}

// INC and DEC: their read-modify-write form does not micro-fuse the load (UOPS INC_M64: three slots).
static void classify_step(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    (void)in, (void)c;
    p->fuse_step = !p->store;
    if (p->store)
        p->extra_fused++;
}

static void classify_move(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    const cs_x86_op *a = price_operand(in, 0), *b = price_operand(in, 1);
    if (p->load || p->store) {
        p->class = NULL;
    } else if (price_is_reg(a) && price_is_reg(b)) {
        p->copy = true;
        if (a->size >= 4 && c->u->front_end.move_elimination)
            p->class = TO(move_eliminated);
    } else if (price_is_reg(a) && b->type == X86_OP_IMM) {
        p->constant = true;
        p->immediate = b->imm;
    }
}

static void classify_extend(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    const cs_x86_op *a = price_operand(in, 0), *b = price_operand(in, 1);
    if (p->load && a->size >= 4) {
        p->class = NULL;
    } else if (in->id == X86_INS_MOVZX && price_is_reg(b) && b->size == 1 && a->size >= 4 &&
               b->reg != X86_REG_AH && b->reg != X86_REG_BH && b->reg != X86_REG_CH && b->reg != X86_REG_DH &&
               c->u->front_end.move_elimination) {
        p->class = TO(move_eliminated);
    }
}

static void classify_lea(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    const x86_op_mem *m = &price_operand(in, 1)->mem;
    if (m->base == X86_REG_RIP)
        p->class = TO(lea_rip);
    else if (m->base != X86_REG_INVALID && price_reg_of(m->index).bit != 0 && m->disp != 0)
        p->class = TO(lea_slow);
}

static void classify_nop(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    (void)c;
    p->load = p->store = false;
    p->ends = in->id == X86_INS_UD2 || in->id == X86_INS_INT3;
    if (in->id == X86_INS_NOP)
        p->reads = p->writes = p->address_reads = 0;
}

static void classify_shift(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    const cs_x86_op *last = price_operand(in, in->detail->x86.op_count - 1u);
    if (!price_is_reg(last) || last->reg != X86_REG_CL)
        return;
    if (in->id == X86_INS_SHLD || in->id == X86_INS_SHRD)
        p->class = TO(shift_double_cl);
    else
        p->class = in->id == X86_INS_ROL || in->id == X86_INS_ROR ? TO(rotate_cl) : TO(shift_cl);
}

static void classify_bit_test(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    if (p->load && price_is_reg(price_operand(in, 1)))
        p->class = TO(bit_test_memory);
}

static void classify_width(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    if (price_operand(in, 0)->size != 8)
        return;
    p->class = in->id == X86_INS_BSWAP ? TO(bswap64) : in->id == X86_INS_DIV ? TO(div64) : TO(idiv64);
}

static void classify_multiply(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    if (in->detail->x86.op_count == 1)
        p->class = price_operand(in, 0)->size == 8 ? TO(mul64) : TO(mul32);
}

static void classify_stack(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    const cs_x86_op *o = price_operand(in, 0);
    (void)c;
    p->ends = in->id == X86_INS_RET;
    if (price_is_reg(o))
        p->saved = price_reg_of(o->reg).bit;
    // The stack engine renames the stack pointer: it is no dependency (OPT 2.4.1.5).
    p->reads |= RSP;
    p->writes |= RSP;
}

static void classify_control(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    const cs_x86_op *o = price_operand(in, 0);
    (void)c;
    p->call = in->id == X86_INS_CALL;
    p->jump = !p->call;
    p->conditional = p->jump && in->id != X86_INS_JMP;
    p->ends = in->id == X86_INS_JMP;
    if (p->conditional)
        p->condition = in->detail->x86.opcode[in->detail->x86.opcode[0] == 0x0f ? 1 : 0] & 15;
    if (o->type == X86_OP_IMM)
        p->target = (uint64_t)o->imm;
}

static void classify_string(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    if (in->detail->x86.opcode[0] == 0x0f) { // MOVSD of XMM.
        p->class = TO(vector_move);
        classify_vector_move(p, in, c);
        return;
    }
    bool repeated =
        in->detail->x86.prefix[0] == X86_PREFIX_REP || in->detail->x86.prefix[0] == X86_PREFIX_REPNE;
    p->start = repeated;
    p->element_bytes = price_operand(in, 0)->size;
    p->load = in->id == X86_INS_MOVSB || in->id == X86_INS_MOVSW || in->id == X86_INS_MOVSD ||
              in->id == X86_INS_MOVSQ;
    p->store = false; // Part of the class.
    p->reads |= RDI | (p->load ? RSI : RAX) | (repeated ? RCX : 0);
    p->writes |= RDI | (p->load ? RSI : 0) | (repeated ? RCX : 0);
}

static const struct {
    uint16_t id;
    price_rule *rule;
    enum price_class_id class;
} rules[] = {
#define I(instruction, rule_name, class_name)                                                                \
    {X86_INS_##instruction, classify_##rule_name, PRICE_CLASS_##class_name},
#include "models/cpu/native/price_classes.def"
#undef I
};

// Index + 1 into rules[] by instruction id; made once, the same always.
static uint16_t rule_of[X86_INS_ENDING];

static void index_rules(void)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        rule_of[rules[i].id] = (uint16_t)(i + 1);
}

static void classify(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    unsigned r = in->id < X86_INS_ENDING ? rule_of[in->id] : 0;
    // XCHG with memory locks the bus without being told to (SDM 8.1.2.1).
    p->locked = in->detail->x86.prefix[0] == X86_PREFIX_LOCK || (in->id == X86_INS_XCHG && p->load);
    if (r == 0 || p->foreign) {
        p->class = c->by_id[PRICE_CLASS_unknown];
        p->unknown = true;
        return;
    }
    p->class = c->by_id[rules[r - 1].class];
    rules[r - 1].rule(p, in, c);
    if (!c->u->front_end.fuse_indexed && p->indexed) {
        p->extra_fused = (uint8_t)(p->extra_fused + (p->load && p->class != NULL) + p->store);
    }
}

// -------------------------------------------------------------------------------------------------------------------
// Hooks.

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

#define BLOCK_HOOK "__sanitizer_cov_trace_pc"
#define WRAPPED "__wrap_" // By the linker, in native guests (cmake/hvsim.cmake).

static const char *unwrapped(const char *name)
{
    return has_prefix(name, WRAPPED) ? name + strlen(WRAPPED) : name;
}

bool price_name_is_block_hook(const char *name)
{
    return strcmp(unwrapped(name), BLOCK_HOOK) == 0;
}

// The arguments of __tsan_atomicN_OPERATION: address, values, memory orders
// (sanitizer/tsan_interface_atomic.h).
static void atomic_arguments(struct price_insn *p, const char *name)
{
    p->hook = PRICE_HOOK_ATOMIC;
    if (strstr(name, "_fence") != NULL) {
        p->hook_arguments = RDI;
    } else if (strstr(name, "_load") != NULL) {
        p->hook_arguments = RDI | RSI;
    } else if (strstr(name, "_compare_exchange") != NULL) {
        p->hook_arguments = RDI | RSI | RCX | R8;
        p->hook_values = RDX;
    } else {
        p->hook_arguments = RDI | RDX;
        p->hook_values = RSI;
    }
}

void price_insn_hook(struct price_insn *p, const struct price_elf *elf, const struct price_classes *c)
{
    if (p->target == 0 || p->conditional)
        return;
    const char *name = price_elf_target(elf, p->target);
    if (name == NULL)
        return;
    name = unwrapped(name);
    if (has_prefix(name, "__tsan_atomic")) {
        atomic_arguments(p, name);
    } else if (strcmp(name, BLOCK_HOOK) == 0) {
        p->hook = PRICE_HOOK_BLOCK;
    } else if (has_prefix(name, "__tsan_") || has_prefix(name, "__sanitizer_cov_")) {
        p->hook = PRICE_HOOK_ACCESS;
        p->hook_arguments = strstr(name, "_range") != NULL || strstr(name, "vptr") != NULL ? RDI | RSI : RDI;
    } else if (has_prefix(name, "hw_note_")) { // hv/hw/note.h
        p->hook = PRICE_HOOK_ACCESS;
        p->hook_arguments = RDI | RSI | RDX | RCX;
    }
    if (p->hook != PRICE_HOOK_NONE && p->jump) {
        p->hook = PRICE_HOOK_RETURN;
        p->hook_arguments = 0;
        p->class = c->by_id[PRICE_CLASS_ret];
    }
}

void price_insn_decode(struct price_insn *p, csh handle, const cs_insn *in, const struct price_classes *c)
{
    *p = (struct price_insn){.address = in->address, .id = (uint16_t)in->id, .size = (uint8_t)in->size};
    registers(p, handle, in);
    memory(p, in);
    classify(p, in, c);
}

int price_insn_text(csh handle, const struct price_elf *elf, const struct price_insn *p, char *line,
                    size_t size)
{
    const uint8_t *code = elf->text + (p->address - elf->text_address);
    size_t left = p->size;
    uint64_t address = p->address;
    int length = 0;
    cs_insn *in = cs_malloc(handle);
    line[0] = '\0';
    if (p->hook == PRICE_HOOK_RETURN) {
        length = snprintf(line, size, "ret\n");
    } else if (cs_disasm_iter(handle, &code, &left, &address, in)) {
        const char *name = p->target != 0 ? price_elf_target(elf, p->target) : NULL;
        if (p->target != 0)
            length = snprintf(line, size, "%s %s\n", in->mnemonic, name != NULL ? name : ".Lelsewhere");
        else if (in->id == X86_INS_NOP)
            length = snprintf(line, size, "nop\n");
        else
            length =
                snprintf(line, size, "%s%s%s\n", in->mnemonic, in->op_str[0] != '\0' ? " " : "", in->op_str);
    }
    cs_free(in, 1);
    return length;
}
