// SPDX-License-Identifier: Apache-2.0
// An exit qualification in words (SDM 27.2.1).
#ifndef TOOLS_HVSIM_QUALIFICATION_H
#define TOOLS_HVSIM_QUALIFICATION_H

#include <stddef.h>
#include <stdint.h>

// What `qualification` means for basic exit reason `reason`; empty where the manual gives it no meaning.
void qualification_text(unsigned reason, uint64_t qualification, char *text, size_t size);
// The manual's section on when this exit happens; "" if the reason is unknown.
const char *exit_section(unsigned reason);
// Name of a VMCS field by its encoding (SDM appendix B), "?" if there is none.
const char *vmcs_field_name(unsigned encoding);
// The kernel's name of a reason; "?" if it is unknown.
const char *exit_reason_name(unsigned reason);
// The number of a reason's kernel name, or -1.
int exit_reason_number(const char *name);

#endif
