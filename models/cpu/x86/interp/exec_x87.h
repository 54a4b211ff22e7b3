// SPDX-License-Identifier: Apache-2.0
// Between the files of x87.
#ifndef MODELS_CPU_X86_INTERP_EXEC_X87_H
#define MODELS_CPU_X86_INTERP_EXEC_X87_H

#include "models/cpu/x86/interp/uop.h"

// Is there a unit: #NM if not. And for instructions that wait: #MF if an exception is pending. INSN_DONE: go
// on.
enum insn_result x87_available(struct vmx *v, const struct uop *u);
enum insn_result x87_check(struct vmx *v, const struct uop *u);
// Control instructions, by u->op: NULL if there is none.
uop_fn x87_choose_memory(struct uop *u, const cs_insn *in);
uop_fn x87_choose_register(const struct uop *u);

#endif
