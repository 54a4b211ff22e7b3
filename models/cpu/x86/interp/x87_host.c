// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/interp/x87_host.h"

#define FLAGS 0x8d5u // CF, PF, AF, ZF, SF, OF

// Protected-mode image of FNSAVE, 32-bit operand size (SDM vol. 1 8.1.10).
struct image {
    uint32_t control, status, tags, ip, cs_opcode, dp, ds;
    unsigned char st[8][10];
};

// --- One copy of each instruction: register forms by opcode and ModRM, memory forms by opcode and reg. ---

#define COPY_BYTES 4u
__asm__(".pushsection .text\n"
        ".balign 16\n"
        ".hidden x87_register_forms\n"
        ".globl x87_register_forms\n"
        "x87_register_forms:\n"
        ".set x87_opcode, 0xd8\n"
        ".rept 8\n"
        ".set x87_modrm, 0xc0\n"
        ".rept 64\n"
        ".byte x87_opcode, x87_modrm, 0xc3, 0x90\n" // RET, NOP
        ".set x87_modrm, x87_modrm + 1\n"
        ".endr\n"
        ".set x87_opcode, x87_opcode + 1\n"
        ".endr\n"
        ".hidden x87_memory_forms\n"
        ".globl x87_memory_forms\n"
        "x87_memory_forms:\n" // [rdi]
        ".set x87_opcode, 0xd8\n"
        ".rept 8\n"
        ".set x87_modrm, 0x07\n"
        ".rept 8\n"
        ".byte x87_opcode, x87_modrm, 0xc3, 0x90\n"
        ".set x87_modrm, x87_modrm + 8\n"
        ".endr\n"
        ".set x87_opcode, x87_opcode + 1\n"
        ".endr\n"
        ".popsection\n");
extern const char x87_register_forms[], x87_memory_forms[];

static const char *copy_of(uint8_t opcode, uint8_t modrm)
{
    unsigned row = opcode & 7;

    return modrm >= 0xc0 ? x87_register_forms + COPY_BYTES * (row * 64 + (modrm & 63))
                         : x87_memory_forms + COPY_BYTES * (row * 8 + (modrm >> 3 & 7));
}

// --- State. ---

static void to_image(struct image *m, const struct x87 *x)
{
    memset(m, 0, sizeof *m);
    m->control = x->control;
    m->status = x->status;
    for (unsigned i = 0; i < 8; i++)
        if (!(x->valid >> i & 1))
            m->tags |= 3u << (2 * i);
    for (unsigned i = 0; i < 8; i++)
        memcpy(m->st[i], x->st[i], 10);
}

static void from_image(struct x87 *x, const struct image *m)
{
    x->status = (uint16_t)m->status;
    x->valid = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((m->tags >> (2 * i) & 3) != 3)
            x->valid |= (uint8_t)(1u << i);
    for (unsigned i = 0; i < 8; i++) {
        x->st[i][1] = 0;
        memcpy(x->st[i], m->st[i], 10);
    }
}

void x87_host_run(struct x87 *x, uint8_t opcode, uint8_t modrm, void *memory, uint64_t *rflags)
{
    struct image m;
    uint64_t flags = *rflags & FLAGS;
    const char *fn = copy_of(opcode, modrm);

    to_image(&m, x);
    // FNSAVE does not look at pending exceptions, and leaves the host's unit initialized.
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\t" // Below the red zone.
                     "frstor (%1)\n\t"
                     "pushq %0\n\t"
                     "popfq\n\t"
                     "call *%2\n\t"
                     "fnsave (%1)\n\t"
                     "pushfq\n\t"
                     "popq %0\n\t"
                     "leaq 128(%%rsp), %%rsp"
                     : "+r"(flags)
                     : "r"(&m), "r"(fn), "D"(memory)
                     : "memory", "cc", "rax");
    from_image(x, &m);
    *rflags = (*rflags & ~(uint64_t)FLAGS) | (flags & FLAGS);
}
