// SPDX-License-Identifier: Apache-2.0
// System instructions: operands for models/cpu/x86/insn.h.
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

uop_fn system_choose_mov(struct uop *u)
{
    (void)u;
    return NULL;
}

static enum insn_result cli(struct vmx *v, const struct uop *u)
{
    (void)u;
    v->rflags &= ~X86_RFLAGS_IF;
    return INSN_DONE;
}

static enum insn_result hlt(struct vmx *v, const struct uop *u)
{
    struct vmexit *x;

    uop_at(v, u);
    x = vmx_exit_begin(v->cpu, EXIT_REASON_HLT);
    x->insn_length = u->length;
    return INSN_EXIT;
}

static uop_fn choose_hlt(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    (void)in;
    u->flags |= UOP_ENDS;
    return hlt;
}

const struct uop_row exec_system_rows[] = {
    {X86_INS_CLI, NULL, cli},
    {X86_INS_HLT, choose_hlt, NULL},
};
const unsigned exec_system_count = sizeof exec_system_rows / sizeof *exec_system_rows;
