// SPDX-License-Identifier: Apache-2.0
//
// Bit layouts of x86 registers, page tables and memory types. Layouts that belong to VMX are in
// spec/vmx_bits.h, those of the interrupt controllers in spec/apic_bits.h. Sections are of SDM volume 3
// unless said otherwise.

#ifndef SPEC_X86_BITS_H
#define SPEC_X86_BITS_H

#include "spec/vmx_bits.h"

// --- Exception vectors (SDM 6.15, table 6-1)
enum x86_vector {
    DE_VECTOR = 0,  // divide error
    DB_VECTOR = 1,  // debug
    NMI_VECTOR = 2, // non-maskable interrupt
    BP_VECTOR = 3,  // breakpoint
    OF_VECTOR = 4,  // overflow
    BR_VECTOR = 5,  // bound range exceeded
    UD_VECTOR = 6,  // invalid opcode
    NM_VECTOR = 7,  // device not available
    DF_VECTOR = 8,  // double fault, error code 0
    TS_VECTOR = 10, // invalid TSS, error code
    NP_VECTOR = 11, // segment not present, error code
    SS_VECTOR = 12, // stack fault, error code
    GP_VECTOR = 13, // general protection, error code
    PF_VECTOR = 14, // page fault, error code
    MF_VECTOR = 16, // x87 floating point
    AC_VECTOR = 17, // alignment check, error code 0
    MC_VECTOR = 18, // machine check
    XM_VECTOR = 19, // SIMD floating point
    VE_VECTOR = 20, // virtualization exception
    CP_VECTOR = 21, // control protection, error code
    X86_FIRST_EXTERNAL_VECTOR = 32,
};

// A bit per vector whose exception pushes an error code.
#define X86_VECTORS_WITH_ERROR_CODE 0x00227d00u

// --- CR0 (SDM 2.5)
//
//  31 30 29 28       19 18 17 16 15         6  5  4  3  2  1  0
// +--+--+--+-----------+--+--+--+------------+--+--+--+--+--+--+
// |PG|CD|NW|     0     |AM| 0|WP|     0      |NE|ET|TS|EM|MP|PE|
// +--+--+--+-----------+--+--+--+------------+--+--+--+--+--+--+
#define X86_CR0_PE (1ull << 0)
#define X86_CR0_MP (1ull << 1)
#define X86_CR0_EM (1ull << 2)
#define X86_CR0_TS (1ull << 3)
#define X86_CR0_ET (1ull << 4)
#define X86_CR0_NE (1ull << 5)
#define X86_CR0_WP (1ull << 16)
#define X86_CR0_AM (1ull << 18)
#define X86_CR0_NW (1ull << 29)
#define X86_CR0_CD (1ull << 30)
#define X86_CR0_PG (1ull << 31)
#define X86_CR0_DEFINED 0xe005003full
#define X86_CR0_RESET 0x60000010ull // SDM 9.1.1, table 9-1.

// --- CR3 (SDM 4.5, table 4-12)
//
//  63 62                 M M-1                      12 11       5  4   3  2  0
// +--+--------------------+---------------------------+----------+---+---+----+
// |NF|         0          | address of top table      |     0    |PCD|PWT|  0 |   CR4.PCIDE = 0
// +--+--------------------+---------------------------+----------+---+---+----+
// With CR4.PCIDE = 1 bits 11:0 are the PCID. NF: MOV to CR3 with PCIDE = 1 and this bit set keeps TLB
// entries.
#define X86_CR3_PWT (1ull << 3)
#define X86_CR3_PCD (1ull << 4)
#define X86_CR3_PCID_MASK 0xfffull
#define X86_CR3_ADDR_MASK 0x000ffffffffff000ull
#define X86_CR3_PAE_ADDR_MASK 0x00000000ffffffe0ull // PAE paging: 32-byte aligned (4.4.1).
#define X86_CR3_NO_FLUSH (1ull << 63)

// --- CR4 (SDM 2.5)
//
//  24  23  22   21   20 19  18  17  16 15 14 13  12  11 10  9  8   7   6   5   4  3  2   1   0
// +---+---+---+----+----+--+---+---+---+-+--+--+----+--+---+--+---+---+---+---+---+--+---+---+---+
// |PKS|CET|PKE|SMAP|SMEP|KL|OSX|PCI|FSG|0|SM|VM|LA57|UM|OSM|OS|PCE|PGE|MCE|PAE|PSE|DE|TSD|PVI|VME|
// +---+---+---+----+----+--+---+---+---+-+--+--+----+--+---+--+---+---+---+---+---+--+---+---+---+
#define X86_CR4_VME (1ull << 0)
#define X86_CR4_PVI (1ull << 1)
#define X86_CR4_TSD (1ull << 2)
#define X86_CR4_DE (1ull << 3)
#define X86_CR4_PSE (1ull << 4)
#define X86_CR4_PAE (1ull << 5)
#define X86_CR4_MCE (1ull << 6)
#define X86_CR4_PGE (1ull << 7)
#define X86_CR4_PCE (1ull << 8)
#define X86_CR4_OSFXSR (1ull << 9)
#define X86_CR4_OSXMMEXCPT (1ull << 10)
#define X86_CR4_UMIP (1ull << 11)
#define X86_CR4_LA57 (1ull << 12)
#define X86_CR4_VMXE (1ull << 13)
#define X86_CR4_SMXE (1ull << 14)
#define X86_CR4_FSGSBASE (1ull << 16)
#define X86_CR4_PCIDE (1ull << 17)
#define X86_CR4_OSXSAVE (1ull << 18)
#define X86_CR4_KL (1ull << 19)
#define X86_CR4_SMEP (1ull << 20)
#define X86_CR4_SMAP (1ull << 21)
#define X86_CR4_PKE (1ull << 22)
#define X86_CR4_CET (1ull << 23)
#define X86_CR4_PKS (1ull << 24)
#define X86_CR4_DEFINED 0x01ff7fffull

// --- CR8: bits 3:0 are bits 7:4 of the TPR (SDM 10.8.6.1).
#define X86_CR8_TPR_MASK 0xfull

// --- IA32_EFER (SDM 2.2.1)
//
//  63        12 11  10  9  8  7       1  0
// +------------+---+---+--+---+--------+---+
// |     0      |NXE|LMA| 0|LME|   0    |SCE|
// +------------+---+---+--+---+--------+---+
#define EFER_SCE (1ull << 0)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)
#define EFER_SVME (1ull << 12) // AMD only (APM vol. 2, 3.1.7).
#define EFER_DEFINED 0xd01ull  // Intel.

// --- RFLAGS (SDM 2.3)
//
//  63    22 21  20  19 18 17 16 15 14 13 12 11 10  9  8  7  6  5  4  3  2  1  0
// +--------+--+---+---+--+--+--+--+--+-----+--+--+--+--+--+--+--+--+--+--+--+--+
// |    0   |ID|VIP|VIF|AC|VM|RF| 0|NT| IOPL|OF|DF|IF|TF|SF|ZF| 0|AF| 0|PF| 1|CF|
// +--------+--+---+---+--+--+--+--+--+-----+--+--+--+--+--+--+--+--+--+--+--+--+
#define X86_RFLAGS_CF (1ull << 0)
#define X86_RFLAGS_FIXED (1ull << 1)
#define X86_RFLAGS_PF (1ull << 2)
#define X86_RFLAGS_AF (1ull << 4)
#define X86_RFLAGS_ZF (1ull << 6)
#define X86_RFLAGS_SF (1ull << 7)
#define X86_RFLAGS_TF (1ull << 8)
#define X86_RFLAGS_IF (1ull << 9)
#define X86_RFLAGS_DF (1ull << 10)
#define X86_RFLAGS_OF (1ull << 11)
#define X86_RFLAGS_IOPL (3ull << 12)
#define X86_RFLAGS_IOPL_SHIFT 12
#define X86_RFLAGS_NT (1ull << 14)
#define X86_RFLAGS_RF (1ull << 16)
#define X86_RFLAGS_VM (1ull << 17)
#define X86_RFLAGS_AC (1ull << 18)
#define X86_RFLAGS_VIF (1ull << 19)
#define X86_RFLAGS_VIP (1ull << 20)
#define X86_RFLAGS_ID (1ull << 21)
#define X86_RFLAGS_RESERVED_0 0xffffffffffc08028ull // Bits 63:22, 15, 5, 3.

// --- DR6 and DR7 (SDM 17.2.3, 17.2.4)
//
// DR6  31      17 16  15 14 13 12 11  10        4  3  2  1  0
//     +----------+---+--+--+--+--+---+------------+--+--+--+--+
//     |     1    |RTM|BT|BS|BD| 0|BLD|     1      |B3|B2|B1|B0|     RTM and BLD are active low
//     +----------+---+--+--+--+--+---+------------+--+--+--+--+
//
// DR7  31 30 29 28 27 26 25 24 23 22 21 20 19 18 17 16 15 14 13 12 11  10  9  8  7  6  5  4  3  2  1  0
//     +-----+-----+-----+-----+-----+-----+-----+-----+-----+--+--+---+---+--+--+--+--+--+--+--+--+--+--+
//     |LEN3 |R/W3 |LEN2 |R/W2 |LEN1 |R/W1 |LEN0 |R/W0 |  0  |GD| 0|RTM| 1 |GE|LE|G3|L3|G2|L2|G1|L1|G0|L0|
//     +-----+-----+-----+-----+-----+-----+-----+-----+-----+--+--+---+---+--+--+--+--+--+--+--+--+--+--+
#define X86_DR6_B(n) (1ull << (n))
#define X86_DR6_BREAKPOINTS 0xfull
#define X86_DR6_BLD (1ull << 11)
#define X86_DR6_BD (1ull << 13)
#define X86_DR6_BS (1ull << 14)
#define X86_DR6_BT (1ull << 15)
#define X86_DR6_RTM (1ull << 16)
#define X86_DR6_RESET 0xffff0ff0ull
#define X86_DR7_L(n) (1ull << (2 * (n)))
#define X86_DR7_G(n) (2ull << (2 * (n)))
#define X86_DR7_ENABLES 0xffull
#define X86_DR7_LE (1ull << 8)
#define X86_DR7_GE (1ull << 9)
#define X86_DR7_FIXED_1 (1ull << 10)
#define X86_DR7_RTM (1ull << 11)
#define X86_DR7_GD (1ull << 13)
#define X86_DR7_RW_SHIFT(n) (16 + 4 * (n))  // 0 execute, 1 write, 2 I/O (CR4.DE), 3 read or write
#define X86_DR7_LEN_SHIFT(n) (18 + 4 * (n)) // 0 one byte, 1 two, 2 eight, 3 four
#define X86_DR7_RESET 0x400ull
#define X86_DR7_FIXED_0 0xffffffff0000d000ull // Bits 63:32, 15:14, 12.

// --- IA32_DEBUGCTL (SDM 17.4.1)
#define DEBUGCTL_LBR (1ull << 0)
#define DEBUGCTL_BTF (1ull << 1)
#define DEBUGCTL_BUS_LOCK_DETECT (1ull << 2)
#define DEBUGCTL_TR (1ull << 6)
#define DEBUGCTL_BTS (1ull << 7)
#define DEBUGCTL_BTINT (1ull << 8)
#define DEBUGCTL_BTS_OFF_OS (1ull << 9)
#define DEBUGCTL_BTS_OFF_USR (1ull << 10)
#define DEBUGCTL_FREEZE_LBRS_ON_PMI (1ull << 11)
#define DEBUGCTL_FREEZE_PERFMON_ON_PMI (1ull << 12)
#define DEBUGCTL_ENABLE_UNCORE_PMI (1ull << 13)
#define DEBUGCTL_FREEZE_WHILE_SMM (1ull << 14)
#define DEBUGCTL_RTM_DEBUG (1ull << 15)

// --- XCR0 and IA32_XSS state components (SDM vol. 1, 13.1, 13.3)
#define XFEATURE_X87 (1ull << 0)
#define XFEATURE_SSE (1ull << 1)
#define XFEATURE_AVX (1ull << 2)
#define XFEATURE_BNDREGS (1ull << 3)
#define XFEATURE_BNDCSR (1ull << 4)
#define XFEATURE_OPMASK (1ull << 5)
#define XFEATURE_ZMM_HI256 (1ull << 6)
#define XFEATURE_HI16_ZMM (1ull << 7)
#define XFEATURE_PT (1ull << 8) // IA32_XSS.
#define XFEATURE_PKRU (1ull << 9)
#define XFEATURE_CET_U (1ull << 11) // IA32_XSS.
#define XFEATURE_CET_S (1ull << 12) // IA32_XSS.
#define XFEATURE_TILECFG (1ull << 17)
#define XFEATURE_TILEDATA (1ull << 18)

// --- Paging-structure entries, 4-level and 5-level and PAE (SDM 4.5.4, tables 4-14 to 4-20)
//
//  63 62 59 58  52 51  M M-1                      12 11   9  8  7  6  5  4   3   2   1   0
// +--+-----+------+-----+---------------------------+------+--+--+--+--+---+---+---+---+--+
// |XD| PK  | ign. |  0  | address of table or frame | ign. |G |PS|D |A |PCD|PWT|U/S|R/W|P |
// +--+-----+------+-----+---------------------------+------+--+--+--+--+---+---+---+---+--+
// PS: 1 in a PDPTE maps 1 GiB, in a PDE 2 MiB; in a PTE this bit is PAT. A large page's PAT is bit 12.
// D, G and PK count only where the entry maps a page.
#define X86_PTE_P (1ull << 0)
#define X86_PTE_RW (1ull << 1)
#define X86_PTE_US (1ull << 2)
#define X86_PTE_PWT (1ull << 3)
#define X86_PTE_PCD (1ull << 4)
#define X86_PTE_A (1ull << 5)
#define X86_PTE_D (1ull << 6)
#define X86_PTE_PS (1ull << 7)
#define X86_PTE_PAT (1ull << 7)
#define X86_PTE_G (1ull << 8)
#define X86_PTE_PAT_LARGE (1ull << 12)
#define X86_PTE_ADDR_MASK 0x000ffffffffff000ull
#define X86_PTE_PK_SHIFT 59
#define X86_PTE_PK_MASK (0xfull << 59)
#define X86_PTE_XD (1ull << 63)

// PDPTE of PAE paging (SDM 4.4.1, table 4-8): address of a page directory, PCD, PWT, P; all else must be 0.
#define X86_PDPTE_PAE_RESERVED 0x1e6ull // Bits 8:5 and 2:1; above: MAXPHYADDR and more

// --- Page-directory entry of 32-bit paging that maps 4 MiB (SDM 4.3, table 4-4); other entries of 32-bit
// paging have the layout above, without bits 63:32.
//
//  31            22 21 20            13 12   11   9  8  7  6  5  4   3   2   1   0
// +----------------+--+----------------+---+------+--+--+--+--+---+---+---+---+--+
// | frame 31:22    | 0| frame 39:32    |PAT| ign. |G | 1|D |A |PCD|PWT|U/S|R/W|P |
// +----------------+--+----------------+---+------+--+--+--+--+---+---+---+---+--+
// With PSE-36 bits 39:32 as far as MAXPHYADDR goes; the others must be 0.
#define X86_PDE_4M_HIGH_SHIFT 13
#define X86_PDE_4M_HIGH_MASK 0xffull
#define X86_PDE_4M_RESERVED (1ull << 21)

// Page-fault error code (SDM 4.7, figure 4-12).
//
//  31  16 15  14    8  7    6  5  4   3    2   1   0
// +------+---+-------+----+--+--+---+----+---+---+--+
// |   0  |SGX|   0   |HLAT|SS|PK|I/D|RSVD|U/S|W/R|P |
// +------+---+-------+----+--+--+---+----+---+---+--+
#define PFERR_P (1u << 0)
#define PFERR_WRITE (1u << 1)
#define PFERR_USER (1u << 2)
#define PFERR_RSVD (1u << 3)
#define PFERR_FETCH (1u << 4)
#define PFERR_PK (1u << 5)
#define PFERR_SS (1u << 6)
#define PFERR_HLAT (1u << 7)
#define PFERR_SGX (1u << 15)

// Error code of other faults (SDM 6.13): 15:3 selector index, 2 TI, 1 IDT, 0 EXT.
#define X86_ERROR_EXT (1u << 0)
#define X86_ERROR_IDT (1u << 1)
#define X86_ERROR_TI (1u << 2)

// --- Memory types, MTRRs and PAT (SDM 11.11, 11.12)
enum x86_memory_type {
    MEMTYPE_UC = 0,
    MEMTYPE_WC = 1,
    MEMTYPE_WT = 4,
    MEMTYPE_WP = 5,
    MEMTYPE_WB = 6,
    MEMTYPE_UC_MINUS = 7, // PAT only.
};

// IA32_MTRRCAP (figure 11-5).
#define MTRRCAP_VCNT_MASK 0xffull // Number of variable ranges.
#define MTRRCAP_FIX (1ull << 8)
#define MTRRCAP_WC (1ull << 10)
#define MTRRCAP_SMRR (1ull << 11)

// IA32_MTRR_DEF_TYPE (figure 11-6).
#define MTRR_DEF_TYPE_MASK 0xffull
#define MTRR_DEF_TYPE_FE (1ull << 10) // Fixed ranges enabled.
#define MTRR_DEF_TYPE_E (1ull << 11)  // MTRRs enabled.

// IA32_MTRR_PHYSBASEn: M-1:12 base, 7:0 type. IA32_MTRR_PHYSMASKn: M-1:12 mask, 11 V (figure 11-7).
#define MTRR_PHYSMASK_V (1ull << 11)

// IA32_PAT after reset: WB, WT, UC-, UC, twice (table 11-12).
#define PAT_RESET 0x0007040600070406ull

// --- IA32_APIC_BASE (SDM 10.4.4, 10.12.1)
//
//  63      M M-1            12 11  10   9  8   7     0
// +---------+-----------------+--+----+--+---+--------+
// |    0    |   base address  |EN|EXTD| 0|BSP|   0    |
// +---------+-----------------+--+----+--+---+--------+
// EN EXTD: 00 disabled, 10 xAPIC, 11 x2APIC; 01 is invalid. From x2APIC the way to xAPIC is by disabled.
#define APIC_BASE_BSP (1ull << 8)
#define APIC_BASE_EXTD (1ull << 10)
#define APIC_BASE_EN (1ull << 11)
#define APIC_BASE_ADDR_MASK 0x000ffffffffff000ull
#define APIC_BASE_RESET_ADDR 0xfee00000ull

// --- IA32_MISC_ENABLE, the bits that guests look at (SDM vol. 4, 2.1)
#define MISC_ENABLE_FAST_STRING (1ull << 0)
#define MISC_ENABLE_PERFMON (1ull << 7)
#define MISC_ENABLE_BTS_UNAVAILABLE (1ull << 11)
#define MISC_ENABLE_PEBS_UNAVAILABLE (1ull << 12)
#define MISC_ENABLE_ENHANCED_SPEEDSTEP (1ull << 16)
#define MISC_ENABLE_MONITOR (1ull << 18)
#define MISC_ENABLE_LIMIT_CPUID (1ull << 22)
#define MISC_ENABLE_XD_DISABLE (1ull << 34)

// --- Speculation control (SDM vol. 4, 2.1)
#define SPEC_CTRL_IBRS (1ull << 0)
#define SPEC_CTRL_STIBP (1ull << 1)
#define SPEC_CTRL_SSBD (1ull << 2)
#define PRED_CMD_IBPB (1ull << 0)
#define FLUSH_CMD_L1D (1ull << 0)

// --- Segments
// Selector (SDM 3.4.2): 15:3 index, 2 TI, 1:0 RPL.
#define X86_SEL_RPL_MASK 3u
#define X86_SEL_TI (1u << 2)
#define X86_SEL_INDEX_SHIFT 3

// Code and data types (SDM 3.4.5.1): bit 3 code, bit 0 accessed; data: 2 expand-down, 1 writable; code:
// 2 conforming, 1 readable.
#define X86_SEG_ACCESSED 1u
#define X86_SEG_WRITABLE 2u // Data.
#define X86_SEG_READABLE 2u // Code.
#define X86_SEG_EXPAND_DOWN 4u
#define X86_SEG_CONFORMING 4u
#define X86_SEG_CODE 8u

// System types (SDM 3.5, table 3-2) that VM entry checks.
#define X86_SYS_LDT 2u
#define X86_SYS_TSS16_BUSY 3u
#define X86_SYS_TSS_BUSY 11u // 32-bit, and 64-bit in IA-32e mode.

#endif
