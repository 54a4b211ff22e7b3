// SPDX-License-Identifier: Apache-2.0
// Integer instructions of the interpreter against Unicorn, an independent emulator: the same bytes from the
// same random state must end in the same registers, flags (but undefined ones), memory and exception.
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/differential/forms.h"
#include "tests/shim/shim.h"

#include <stdio.h>
#include <string.h>
#include <unicorn/unicorn.h>

static uc_engine *uc;
static uc_context *uc_fresh; // Without a trace of an earlier exception
static unsigned uc_vector;

static int uc_reg(unsigned n)
{
    static const int wide[16] = {UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX,
                                 UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_RSI, UC_X86_REG_RDI,
                                 UC_X86_REG_R8,  UC_X86_REG_R9,  UC_X86_REG_R10, UC_X86_REG_R11,
                                 UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15};
    static const int narrow[8] = {UC_X86_REG_EAX, UC_X86_REG_ECX, UC_X86_REG_EDX, UC_X86_REG_EBX,
                                  UC_X86_REG_ESP, UC_X86_REG_EBP, UC_X86_REG_ESI, UC_X86_REG_EDI};

    return mode_64 ? wide[n] : narrow[n];
}

static void on_interrupt(uc_engine *engine, uint32_t vector, void *unused)
{
    (void)unused;
    uc_vector = vector;
    uc_emu_stop(engine);
}

static void open_both(bool mode)
{
    uc_hook hook;

    form_open(mode);
    ASSERT_EQ(uc_open(UC_ARCH_X86, mode_64 ? UC_MODE_64 : UC_MODE_32, &uc), UC_ERR_OK);
    uc_ctl_set_cpu_model(uc, UC_CPU_X86_SKYLAKE_CLIENT);
    uc_mem_map(uc, CODE, 0x1000, UC_PROT_ALL);
    uc_mem_map(uc, DATA, DATA_BYTES, UC_PROT_READ | UC_PROT_WRITE);
    uc_context_alloc(uc, &uc_fresh);
    uc_context_save(uc, uc_fresh);
    uc_hook_add(uc, &hook, UC_HOOK_INTR, (void *)on_interrupt, NULL, 1, 0);
}

static void close_both(void)
{
    uc_context_free(uc_fresh);
    uc_close(uc);
    form_close();
}

static void run_unicorn(struct state *s, const unsigned char *code, unsigned length)
{
    unsigned char hlt = 0xf4;
    uc_err error;

    uc_vector = NO_VECTOR;
    uc_context_restore(uc, uc_fresh);
    uc_mem_write(uc, CODE, code, length);
    uc_mem_write(uc, CODE + length, &hlt, 1);
    uc_mem_write(uc, DATA, s->data, DATA_BYTES);
    for (unsigned i = 0; i < (mode_64 ? 16 : 8); i++)
        uc_reg_write(uc, uc_reg(i), &s->gpr[i]);
    uc_reg_write(uc, UC_X86_REG_EFLAGS, &s->rflags);
    uc_ctl_remove_cache(uc, CODE, CODE + 0x1000);
    error = uc_emu_start(uc, CODE, CODE + length, 0, 0);
    s->vector = error == UC_ERR_INSN_INVALID ? UD_VECTOR : uc_vector;
    if (error == UC_ERR_READ_UNMAPPED || error == UC_ERR_WRITE_UNMAPPED)
        s->vector = PF_VECTOR;
    for (unsigned i = 0; i < (mode_64 ? 16 : 8); i++)
        uc_reg_read(uc, uc_reg(i), &s->gpr[i]);
    uc_reg_read(uc, UC_X86_REG_EFLAGS, &s->rflags);
    uc_mem_read(uc, DATA, s->data, DATA_BYTES);
}

// Unicorn zero-extends 32-bit registers that an instruction does not write: the destination of a scan that
// finds nothing, EAX where CMPXCHG finds what it expects. Processors keep all 64 bits (SDM vol. 2, and the
// host's own).
static bool unicorn_cuts(const struct form *f, const struct state *theirs)
{
    bool scans = !strcmp(f->name, "bsf") || !strcmp(f->name, "bsr"),
         exchanges = !strcmp(f->name, "cmpxchg Ev");

    return (scans || exchanges) && (theirs->rflags & X86_RFLAGS_ZF);
}

static void try_one(const struct form *f, unsigned *done)
{
    static struct state before, ours, theirs;
    unsigned char code[CODE_BYTES_MAX];
    unsigned length = form_make(f, code, &before);

    if (!length)
        return;
    ours = theirs = before;
    run_ours(&ours, code, length);
    run_unicorn(&theirs, code, length);
    ++*done;
    if (unicorn_cuts(f, &theirs))
        memcpy(theirs.gpr, ours.gpr, sizeof ours.gpr);
    if (!state_equal(&ours, &theirs, f->undefined))
        state_report(f, "Unicorn", code, length, &before, &ours, &theirs);
}

static void try_all(bool mode)
{
    unsigned done = 0;

    open_both(mode);
    for (unsigned i = 0; i < form_count; i++)
        for (unsigned try = 0; try < TRIES_EACH && form_exists(&forms[i]) && !strchr(forms[i].sizes, 'H');
             try++)
            try_one(&forms[i], &done);
    printf("%u instructions\n", done);
    EXPECT_GT(done, form_count * TRIES_EACH / 2);
    close_both();
}

TEST(Differential, IntegerInstructionsIn64BitMode)
{
    try_all(true);
}

TEST(Differential, IntegerInstructionsIn32BitCode)
{
    try_all(false);
}
