// SPDX-License-Identifier: Apache-2.0
// Layout of saved processor state: the area of FXSAVE, and of XSAVE around it (SDM vol. 1 10.5, 13.4).
#ifndef MODELS_CPU_X86_XSAVE_H
#define MODELS_CPU_X86_XSAVE_H

#include "models/cpu/x86/x86_state.h"

#define FXSAVE_BYTES 512u
#define XSAVE_HEADER FXSAVE_BYTES // Its offset
#define XSAVE_HEADER_BYTES 64u
#define XSAVE_LEGACY_BYTES (FXSAVE_BYTES + XSAVE_HEADER_BYTES)
#define XSAVE_COMPACTED (1ull << 63) // Of XCOMP_BV
// Components whose state there is. Others of XCR0 are always in their initial configuration.
#define XSAVE_MODELLED (XFEATURE_X87 | XFEATURE_SSE | XFEATURE_PKRU)
#define PKRU_COMPONENT 9u

// Parts of the FXSAVE area: offset and bytes.
enum {
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_XMM = 160,
    FX_X87_HEAD_BYTES = 24,
    FX_MXCSR_BYTES = 8,
    FX_ST_BYTES = 128,
    FX_XMM_BYTES = 16 // Of each register
};

// The area; `wide`: instruction and data pointers of 64 bits (REX.W), else 32 and a selector of 0. Bytes that
// software may use are 0.
void fxsave_image(const struct vmx *v, bool wide, unsigned char *area);
// The x87 part of an area, the first `count` XMM registers.
void fxsave_load_x87(struct vmx *v, const unsigned char *area, bool wide);
void fxsave_load_xmm(struct vmx *v, const unsigned char *area, unsigned count);
// MXCSR of an area; false: it has a reserved bit.
bool fxsave_mxcsr(const unsigned char *area, uint32_t *mxcsr);

// Initial configurations.
void xsave_init_x87(struct vmx *v);
void xsave_init_xmm(struct vmx *v, unsigned count);

// Components that are not in their initial configuration (XINUSE); `compacted`: MXCSR counts (SDM vol. 1
// 13.10).
uint64_t xsave_in_use(const struct x86_state *s, bool compacted);
// Offset of component `n` (2 up) in an area that has the components `present` in compacted form, or in
// standard form (present 0). 0: the processor does not have it.
unsigned xsave_offset(const struct pcpu *c, unsigned n, uint64_t present);

#endif
