// SPDX-License-Identifier: Apache-2.0
// Machine code and text of replay ops, and the doors of hv/hw/guest.h.
#include "models/cpu/x86/entry_checks.h"
#include "models/cpu/x86/replay_exec.h"

#include "hv/hw/guest.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mmu/peek.h"
#include <stdio.h>

#define BYTES_MAX 15u
// A segment override that 64-bit mode ignores: pads an encoding to the length that the stream gives.
#define PADDING 0x2eu

struct code {
    unsigned char bytes[BYTES_MAX];
    unsigned count;
};

static void put(struct code *k, unsigned n, const unsigned char *bytes)
{
    for (unsigned i = 0; i < n && k->count < BYTES_MAX; i++)
        k->bytes[k->count++] = bytes[i];
}
#define PUT(k, ...) put(k, sizeof((const unsigned char[]){__VA_ARGS__}), (const unsigned char[]){__VA_ARGS__})

// ModRM of a register operand.
static unsigned char modrm(unsigned reg, unsigned rm)
{
    return (unsigned char)(0xc0 | (reg & 7) << 3 | (rm & 7));
}

// MOV between [rdi] and rax, al: two bytes, three in sizes that need a prefix; padded to the op's length.
static void encode_mov(struct code *k, unsigned size, bool store)
{
    unsigned char op = store ? 0x88 : 0x8a;

    if (size == 1)
        PUT(k, op, 0x07);
    else if (size == 2)
        PUT(k, 0x66, (unsigned char)(op + 1), 0x07);
    else if (size == 8)
        PUT(k, 0x48, (unsigned char)(op + 1), 0x07);
    else
        PUT(k, (unsigned char)(op + 1), 0x07);
}

// LOCK XADD, XCHG, LOCK CMPXCHG of [rdi]; `opcode` of the size that is not a byte.
static void encode_locked(struct code *k, const struct replay_op *op, unsigned char opcode, bool two_bytes)
{
    unsigned size = op->args[1] ? (unsigned)op->args[1] : 4;

    if (two_bytes)
        PUT(k, 0xf0);
    if (size == 2)
        PUT(k, 0x66);
    if (size == 8)
        PUT(k, 0x48);
    if (two_bytes)
        PUT(k, 0x0f);
    PUT(k, (unsigned char)(opcode - (size == 1)), op->kind == REPLAY_CMPXCHG ? 0x0f : 0x07);
}

static void encode_port(struct code *k, const struct replay_op *op, bool in)
{
    bool string = op->args[in ? 2 : 3] != 0, byte = op->args[1] == 1;
    unsigned char opcode = string ? (in ? 0x6c : 0x6e) : (in ? 0xec : 0xee);

    if (string)
        PUT(k, 0xf3);
    if (op->args[1] == 2)
        PUT(k, 0x66);
    PUT(k, (unsigned char)(opcode + (byte ? 0 : 1)));
}

static void encode_cr(struct code *k, const struct replay_op *op, bool to, bool debug)
{
    unsigned n = (unsigned)op->args[0];

    if (n >= 8)
        PUT(k, 0x44); // REX.R
    PUT(k, 0x0f, (unsigned char)((debug ? 0x21 : 0x20) + (to ? 2 : 0)), modrm(n, RAX));
}

// Those without operands that matter: opcode bytes by kind.
struct fixed_code {
    uint8_t count;
    unsigned char bytes[5];
};
static const struct fixed_code fixed[REPLAY_OP_COUNT] = {
    [REPLAY_CPUID] = {2, {0x0f, 0xa2}},
    [REPLAY_RDMSR] = {2, {0x0f, 0x32}},
    [REPLAY_WRMSR] = {2, {0x0f, 0x30}},
    [REPLAY_HLT] = {1, {0xf4}},
    [REPLAY_PAUSE] = {2, {0xf3, 0x90}},
    [REPLAY_MONITOR] = {3, {0x0f, 0x01, 0xc8}},
    [REPLAY_MWAIT] = {3, {0x0f, 0x01, 0xc9}},
    [REPLAY_VMCALL] = {3, {0x0f, 0x01, 0xc1}},
    [REPLAY_CLTS] = {2, {0x0f, 0x06}},
    [REPLAY_LMSW] = {3, {0x0f, 0x01, 0xf0}},                // lmsw ax
    [REPLAY_INVLPG] = {3, {0x0f, 0x01, 0x3f}},              // invlpg [rdi]
    [REPLAY_INVPCID] = {5, {0x66, 0x0f, 0x38, 0x82, 0x07}}, // invpcid rax, [rdi]
    [REPLAY_INVD] = {2, {0x0f, 0x08}},
    [REPLAY_WBINVD] = {2, {0x0f, 0x09}},
    [REPLAY_XSETBV] = {3, {0x0f, 0x01, 0xd1}},
    [REPLAY_RDTSC] = {2, {0x0f, 0x31}},
    [REPLAY_RDTSCP] = {3, {0x0f, 0x01, 0xf9}},
    [REPLAY_RDPMC] = {2, {0x0f, 0x33}},
    [REPLAY_RDRAND] = {3, {0x0f, 0xc7, 0xf0}},
    [REPLAY_RDSEED] = {3, {0x0f, 0xc7, 0xf8}},
    [REPLAY_LGDT] = {3, {0x0f, 0x01, 0x17}}, // lgdt [rdi]
    [REPLAY_SLDT] = {3, {0x0f, 0x00, 0xc0}}, // sldt eax
    [REPLAY_STI] = {1, {0xfb}},
    [REPLAY_CLI] = {1, {0xfa}},
    [REPLAY_IRET] = {2, {0x48, 0xcf}},
    [REPLAY_TASKSWITCH] = {2, {0xff, 0x2f}}, // jmp far [rdi]
    [REPLAY_VMXON] = {4, {0xf3, 0x0f, 0xc7, 0x37}},
    [REPLAY_VMXOFF] = {3, {0x0f, 0x01, 0xc4}},
    [REPLAY_VMCLEAR] = {4, {0x66, 0x0f, 0xc7, 0x37}},
    [REPLAY_VMPTRLD] = {3, {0x0f, 0xc7, 0x37}},
    [REPLAY_VMREAD] = {3, {0x0f, 0x78, 0xd0}},  // vmread rax, rdx
    [REPLAY_VMWRITE] = {3, {0x0f, 0x79, 0xd0}}, // vmwrite rdx, rax
    [REPLAY_BRANCH] = {3, {0x0f, 0x78, 0xd0}},
    [REPLAY_VMLAUNCH] = {3, {0x0f, 0x01, 0xc2}},
    [REPLAY_VMRESUME] = {3, {0x0f, 0x01, 0xc3}},
    [REPLAY_INVEPT] = {5, {0x66, 0x0f, 0x38, 0x80, 0x07}},
    [REPLAY_INVVPID] = {5, {0x66, 0x0f, 0x38, 0x81, 0x07}},
    [REPLAY_EOI] = {2, {0x0f, 0x30}}, // wrmsr; through the page it is mov [rdi], eax
    [REPLAY_FETCH] = {1, {0x90}},
};

static void encode_exception(struct code *k, const struct replay_op *op)
{
    if (op->args[0] == BP_VECTOR)
        PUT(k, 0xcc);
    else if (op->args[0] == UD_VECTOR)
        PUT(k, 0x0f, 0x0b);
    else if (op->args[0] == DE_VECTOR)
        PUT(k, 0xf7, 0xf0); // div eax
    else
        PUT(k, 0x8b, 0x47, 0x00);
}

unsigned replay_encode(const struct replay_op *op, unsigned char bytes[15])
{
    struct code k = {.count = 0};
    unsigned want = replay_length(op), pad;

    switch (op->kind) {
    case REPLAY_READ:
    case REPLAY_WRITE:
        encode_mov(&k, op->args[1] ? (unsigned)op->args[1] : 4, op->kind == REPLAY_WRITE);
        break;
    case REPLAY_XADD:
        encode_locked(&k, op, 0xc1, true);
        break;
    case REPLAY_XCHG:
        encode_locked(&k, op, 0x87, false);
        break;
    case REPLAY_CMPXCHG:
        encode_locked(&k, op, 0xb1, true);
        break;
    case REPLAY_IN:
    case REPLAY_OUT:
        encode_port(&k, op, op->kind == REPLAY_IN);
        break;
    case REPLAY_MOVTOCR:
    case REPLAY_MOVFROMCR:
        encode_cr(&k, op, op->kind == REPLAY_MOVTOCR, false);
        break;
    case REPLAY_MOVTODR:
    case REPLAY_MOVFROMDR:
        encode_cr(&k, op, op->kind == REPLAY_MOVTODR, true);
        break;
    case REPLAY_EXCEPTION:
        encode_exception(&k, op);
        break;
    default:
        put(&k, fixed[op->kind].count, fixed[op->kind].bytes);
        break;
    }
    pad = want > k.count && want <= BYTES_MAX ? want - k.count : 0;
    memset(bytes, PADDING, pad);
    memcpy(bytes + pad, k.bytes, k.count);
    return pad + k.count;
}

// --- Text. ---

static void text_msr(const struct replay_op *op, const char *word, char *text, size_t size)
{
    const char *name = msrs_name((uint32_t)op->args[0]);

    if (name)
        snprintf(text, size, "%s %s", word, name);
    else
        snprintf(text, size, "%s %#llx", word, (unsigned long long)op->args[0]);
}

static const char *const words[REPLAY_OP_COUNT] = {
#define REPLAY_OP(name, word, args, min, max, length, section) word,
#include "models/cpu/x86/replay_ops.def"
#undef REPLAY_OP
};

static const char *field_name(uint64_t encoding)
{
    switch (encoding) {
#define VMCS_FIELD(name, enc, section)                                                                       \
    case enc:                                                                                                \
        return #name;
#include "spec/vmcs_fields.def"
    default:
        return NULL;
    }
}

void replay_text(const struct replay_op *op, char *text, size_t size)
{
    const char *word = words[op->kind], *name;

    switch (op->kind) {
    case REPLAY_RDMSR:
    case REPLAY_WRMSR:
        text_msr(op, word, text, size);
        break;
    case REPLAY_VMREAD:
    case REPLAY_VMWRITE:
    case REPLAY_BRANCH:
        name = field_name(op->args[0]);
        snprintf(text, size, "%s %s", op->kind == REPLAY_BRANCH ? "vmread" : word,
                 name ? name : "(unknown field)");
        break;
    case REPLAY_CPUID:
    case REPLAY_IN:
    case REPLAY_OUT:
    case REPLAY_VMCALL:
    case REPLAY_READ:
    case REPLAY_WRITE:
    case REPLAY_FETCH:
    case REPLAY_XADD:
    case REPLAY_XCHG:
    case REPLAY_CMPXCHG:
    case REPLAY_INVLPG:
        snprintf(text, size, "%s %#llx", word, (unsigned long long)op->args[0]);
        break;
    case REPLAY_MOVTOCR:
    case REPLAY_MOVFROMCR:
        snprintf(text, size, op->kind == REPLAY_MOVTOCR ? "mov cr%u, rax" : "mov rax, cr%u",
                 (unsigned)op->args[0]);
        break;
    case REPLAY_MOVTODR:
    case REPLAY_MOVFROMDR:
        snprintf(text, size, op->kind == REPLAY_MOVTODR ? "mov dr%u, rax" : "mov rax, dr%u",
                 (unsigned)op->args[0]);
        break;
    default:
        snprintf(text, size, "%s", word);
        break;
    }
}

// --- hv/hw/guest.h ---

static struct replay_guest *current_guest(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;

    return v->current.mem ? replay_find(c->machine, vmcs_get(v, GUEST_IDTR_BASE)) : NULL;
}

bool hw_guest_is_stream(void)
{
    return current_guest(pcpu_current) != NULL;
}

void hw_guest_read_xmm(unsigned n, u64 value[2])
{
    const struct pcpu *c = x86_instruction(pcpu_current->uarch->l1d.latency_cycles, false);

    memcpy(value, c->x86->vmx.xmm[n], sizeof c->x86->vmx.xmm[n]);
}

void hw_guest_write_xmm(unsigned n, const u64 value[2])
{
    struct pcpu *c = x86_instruction(pcpu_current->uarch->l1d.latency_cycles, false);

    memcpy(c->x86->vmx.xmm[n], value, sizeof c->x86->vmx.xmm[n]);
}

bool hw_guest_read_mmx(unsigned n, u64 *value)
{
    struct pcpu *c = x86_instruction(pcpu_current->uarch->l1d.latency_cycles, false);
    struct x87 *x = &c->x86->vmx.x87;

    if (x->status & X87_STATUS_ES)
        return false;
    *value = mmx_read(x, n);
    mmx_enter(x);
    return true;
}

bool hw_guest_write_mmx(unsigned n, u64 value)
{
    struct pcpu *c = x86_instruction(pcpu_current->uarch->l1d.latency_cycles, false);
    struct x87 *x = &c->x86->vmx.x87;

    if (x->status & X87_STATUS_ES)
        return false;
    mmx_write(x, n, value);
    return true;
}

// A walk of four levels and the data, all in the first-level cache.
static struct pcpu *walk_of_software(unsigned loads)
{
    return x86_instruction((4 + loads) * pcpu_current->uarch->l1d.latency_cycles, false);
}

unsigned hw_guest_fetch(u8 *bytes, unsigned max)
{
    struct pcpu *c = walk_of_software(2);
    const struct vmx *v = &c->x86->vmx;
    struct replay_guest *g = current_guest(c);
    unsigned char code[BYTES_MAX];
    unsigned count;

    if (!g || vmcs_get(v, GUEST_RIP) != g->rip_saved)
        return 0;
    if (replay_current(g)->kind == REPLAY_EOI &&
        (vmcs_get(v, SECONDARY_VM_EXEC_CONTROL) & CPU2_VIRTUALIZE_APIC_ACCESSES))
        count = replay_encode(&(struct replay_op){.kind = REPLAY_WRITE, .args = {0, 4}}, code);
    else
        count = replay_encode(replay_current(g), code);
    if (count > max)
        count = max;
    memcpy(bytes, code, count);
    return count;
}

bool hw_guest_read_operand(u64 linear, void *buf, unsigned size)
{
    struct pcpu *c = walk_of_software(1 + size / 8);
    const struct replay_guest *g = current_guest(c);
    uint64_t at = linear - REPLAY_OPERAND_LINEAR;

    if (!g || size > 16 || at >= g->operand_bytes || size > g->operand_bytes - at)
        return false;
    for (unsigned i = 0; i < size; i++)
        ((unsigned char *)buf)[i] = g->operand[(at + i) % sizeof g->operand];
    return true;
}

// By the guest's tables as the VMCS names them, where its program's addresses are linear.
bool hw_guest_translate(u64 linear, u64 *gpa)
{
    struct pcpu *c = walk_of_software(0);
    const struct vmx *v = &c->x86->vmx;
    const struct replay_guest *g = current_guest(c);
    struct mmu_space s = {0};

    if (!g || (!g->program->linear && linear >> REPLAY_GPA_BITS))
        return false;
    if (!g->program->linear) {
        *gpa = linear;
        return true;
    }
    s.paging.cr3 = vmcs_get(v, GUEST_CR3);
    s.paging.levels = vmcs_get(v, GUEST_CR4) & X86_CR4_LA57 ? 5 : 4;
    s.paging.nxe = s.paging.pages_1g = true;
    s.ept = entry_controls(v).cpu2 & CPU2_ENABLE_EPT;
    s.eptp = s.ept ? vmcs_get(v, EPT_POINTER) : 0;
    return mmu_peek(c, &s, linear, gpa);
}
