// SPDX-License-Identifier: Apache-2.0
// What the emulator keeps of the instruction that it carries out, part of struct x86_vcpu: user space may be
// asked in the middle of it.
#ifndef HV_X86_EMULATE_STATE_H
#define HV_X86_EMULATE_STATE_H

#include "hv/x86/decode.h"

struct x86_vcpu;

// How the instruction ended, or why it did not.
enum emu_stop {
    EMU_DONE,
    EMU_FAULT,     // emulation.fault is to be raised; nothing else changes.
    EMU_MMIO_READ, // User space must tell what device memory holds; then everything is done once more.
    EMU_RETRY,     // Somebody changed memory under a locked access: the guest tries again.
    EMU_UNHANDLED, // Not ours to do: internal error.
    EMU_RESULT,    // emulation.result, as of exit handlers, is what comes next.
};

// Rights and limits differ by these (SDM 3.2, 20.1).
enum emu_mode { EMU_REAL, EMU_V86, EMU_PROT16, EMU_PROT32, EMU_LONG };

#define EMU_NO_GFN (~0ull)
#define EMU_INSN_MAX 15u
// Bytes that one instruction may read: ENTER of the deepest level is the longest.
#define EMU_READS_MAX 288u

struct emulation {
    struct decoded d;
    u8 mode, cpl, stop;
    bool stream; // The guest has no memory operands of its own: they are at stream_gpa.
    u64 stream_gpa;
    u64 mmio_gfn; // Known to be no memory; EMU_NO_GFN.
    u64 r[16];    // By their bits in `known`; `changed` ones are written back at the end.
    u16 known, changed;
    u64 rip, rflags;      // After the instruction.
    u64 bit_offset;       // Added to the memory operand's address by BT and its like.
    u64 rmw_old, rmw_gpa; // What a read-modify-write found, for the locked write.
    bool rmw_memory;
    u32 shadow;                              // Interruptibility after it: INTERRUPTIBILITY_*.
    int result;                              // EMU_RESULT
    int (*then)(struct x86_vcpu *v);         // After it, as an exit handler; NULL.
    int (*after_writes)(struct x86_vcpu *v); // Of emulate_device_writes().
    u8 byte_count, bytes[EMU_INSN_MAX];
    struct {
        u8 vector;
        bool has_error_code;
        u32 error_code;
        u64 cr2;
    } fault;
    // Everything read so far, in order: on the second try no device is asked twice.
    u8 reads[EMU_READS_MAX];
    u16 reads_count, reads_at;
};

#endif
