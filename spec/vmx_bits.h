// SPDX-License-Identifier: Apache-2.0
//
// Bit layouts of VMCS fields, exit qualifications and EPT entries (SDM chapters 24, 27, 28, 29).

#ifndef SPEC_VMX_BITS_H
#define SPEC_VMX_BITS_H

// --- Region headers (SDM 24.2, 24.11.5)
//
// bytes 0-3: bit 31 shadow-VMCS indicator, 30:0 VMCS revision identifier. bytes 4-7: VMX-abort indicator.
#define VMCS_SHADOW_INDICATOR (1u << 31)
#define VMCS_REVISION_MASK 0x7fffffffu
#define VMCS_ABORT_OFFSET 4u

// VMX-abort indicators (SDM 27.7).
#define VMX_ABORT_SAVE_GUEST_MSR 1u
#define VMX_ABORT_HOST_PDPTE 2u
#define VMX_ABORT_VMCS_CORRUPT 3u
#define VMX_ABORT_LOAD_HOST_MSR 4u
#define VMX_ABORT_MACHINE_CHECK 5u
#define VMX_ABORT_HOST_NOT_64 6u

// --- Segment access rights (SDM 24.4.1, table 24-2)
//
//  31              17 16 15 14  13 12  11    8  7  6 5  4  3      0
// +------------------+--+--+---+--+---+--------+--+----+--+--------+
// |        0         |U |G |D/B|L |AVL|    0   |P |DPL |S |  type  |
// +------------------+--+--+---+--+---+--------+--+----+--+--------+
#define AR_TYPE_MASK 0xfu
#define AR_S (1u << 4) // 1 code or data, 0 system.
#define AR_DPL_SHIFT 5
#define AR_DPL_MASK (3u << 5)
#define AR_P (1u << 7)
#define AR_AVL (1u << 12)
#define AR_L (1u << 13) // CS only.
#define AR_DB (1u << 14)
#define AR_G (1u << 15)
#define AR_UNUSABLE (1u << 16)
#define AR_RESERVED 0xfffe0f00u

// --- Interruptibility state (SDM 24.4.2, table 24-3)
//
//  31        5  4   3   2    1   0
// +-----------+---+---+---+------+---+
// |     0     |ENC|NMI|SMI|MOV SS|STI|
// +-----------+---+---+---+------+---+
#define INTERRUPTIBILITY_STI (1u << 0)
#define INTERRUPTIBILITY_MOV_SS (1u << 1)
#define INTERRUPTIBILITY_SMI (1u << 2)
#define INTERRUPTIBILITY_NMI (1u << 3)
#define INTERRUPTIBILITY_ENCLAVE (1u << 4)
#define INTERRUPTIBILITY_RESERVED 0xffffffe0u

// Activity state (SDM 24.4.2).
#define ACTIVITY_ACTIVE 0u
#define ACTIVITY_HLT 1u
#define ACTIVITY_SHUTDOWN 2u
#define ACTIVITY_WAIT_SIPI 3u

// --- Pending debug exceptions (SDM 24.4.2, table 24-4); exit qualification of #DB (27.2.1, table 27-1)
//
//  63       17 16  15 14 13 12 11  10       4  3  2  1  0
// +-----------+---+--+--+--+--+---+-----------+--+--+--+--+
// |     0     |RTM| 0|BS|BD|EB|BLD|     0     |B3|B2|B1|B0|     EB: pending only; BD: qualification only
// +-----------+---+--+--+--+--+---+-----------+--+--+--+--+
#define DEBUG_INFO_B(n) (1ull << (n))
#define DEBUG_INFO_BLD (1ull << 11)
#define DEBUG_INFO_ENABLED_BREAKPOINT (1ull << 12)
#define DEBUG_INFO_BD (1ull << 13)
#define DEBUG_INFO_BS (1ull << 14)
#define DEBUG_INFO_RTM (1ull << 16)
#define PENDING_DBG_RESERVED 0xfffffffffffea7f0ull

// --- Interruption information: VM entry (SDM 24.8.3), VM exit (24.9.2), IDT vectoring (24.9.3)
//
//  31 30               13 12 11 10   8 7            0
// +--+-------------------+--+--+------+--------------+
// |V |         0         |N |E | type |    vector    |
// +--+-------------------+--+--+------+--------------+
// V valid; N NMI unblocking due to IRET (VM exit only; reserved at VM entry, undefined in IDT vectoring);
// E an error code goes with it.
#define INTR_INFO_VECTOR_MASK 0xffu
#define INTR_INFO_TYPE_SHIFT 8
#define INTR_INFO_TYPE_MASK (7u << 8)
#define INTR_INFO_DELIVER_CODE (1u << 11)
#define INTR_INFO_UNBLOCK_NMI (1u << 12)
#define INTR_INFO_VALID (1u << 31)
#define INTR_INFO_ENTRY_RESERVED 0x7ffff000u

#define INTR_TYPE_EXTERNAL (0u << 8)
#define INTR_TYPE_RESERVED (1u << 8)
#define INTR_TYPE_NMI (2u << 8)
#define INTR_TYPE_HARD_EXCEPTION (3u << 8)
#define INTR_TYPE_SOFT_INTERRUPT (4u << 8)
#define INTR_TYPE_PRIV_SOFT_EXCEPTION (5u << 8) // INT1.
#define INTR_TYPE_SOFT_EXCEPTION (6u << 8)      // INT3, INTO.
#define INTR_TYPE_OTHER (7u << 8)               // VM entry only: pending MTF, vector 0.

// --- Exit qualification: task switch (SDM 27.2.1, table 27-2)
//
//  31 30 29         16 15                       0
// +-----+-------------+--------------------------+
// | src |      0      |  selector of the TSS     |
// +-----+-------------+--------------------------+
#define QUAL_TASK_SELECTOR_MASK 0xffffull
#define QUAL_TASK_SOURCE_SHIFT 30
#define QUAL_TASK_SOURCE_CALL 0u
#define QUAL_TASK_SOURCE_IRET 1u
#define QUAL_TASK_SOURCE_JMP 2u
#define QUAL_TASK_SOURCE_GATE 3u // Task gate in the IDT.

// --- Exit qualification: control-register access (SDM 27.2.1, table 27-3)
//
//  31             16 15  12 11    8  7  6  5  4 3        0
// +-----------------+------+--------+--+--+-----+--------+
// | LMSW source     |   0  |  GPR   | 0|M |type |   CR   |     M: LMSW operand in memory
// +-----------------+------+--------+--+--+-----+--------+
#define QUAL_CR_NUMBER_MASK 0xfull
#define QUAL_CR_TYPE_SHIFT 4
#define QUAL_CR_TYPE_MASK (3ull << 4)
#define QUAL_CR_LMSW_MEMORY (1ull << 6)
#define QUAL_CR_GPR_SHIFT 8
#define QUAL_CR_GPR_MASK (0xfull << 8)
#define QUAL_CR_LMSW_SHIFT 16
#define QUAL_CR_LMSW_MASK (0xffffull << 16)
#define QUAL_CR_MOV_TO 0u
#define QUAL_CR_MOV_FROM 1u
#define QUAL_CR_CLTS 2u
#define QUAL_CR_LMSW 3u

// --- Exit qualification: MOV DR (SDM 27.2.1, table 27-4)
//
//  63         12 11    8 7   5  4   3  2   0
// +-------------+-------+-----+---+---+-----+
// |      0      |  GPR  |  0  |DIR| 0 | DR  |     DIR: 0 MOV to DR, 1 MOV from DR
// +-------------+-------+-----+---+---+-----+
#define QUAL_DR_NUMBER_MASK 7ull
#define QUAL_DR_FROM (1ull << 4)
#define QUAL_DR_GPR_SHIFT 8
#define QUAL_DR_GPR_MASK (0xfull << 8)

// --- Exit qualification: I/O instructions (SDM 27.2.1, table 27-5)
//
//  31                 16 15       7  6   5   4   3  2     0
// +---------------------+----------+---+---+---+---+-------+
// |       port          |    0     |IMM|REP|STR|IN | size-1|
// +---------------------+----------+---+---+---+---+-------+
// size-1: 0, 1 or 3. IN: 0 OUT, 1 IN. STR: INS or OUTS. IMM: 0 port in DX, 1 immediate.
#define QUAL_IO_SIZE_MASK 7ull
#define QUAL_IO_IN (1ull << 3)
#define QUAL_IO_STRING (1ull << 4)
#define QUAL_IO_REP (1ull << 5)
#define QUAL_IO_IMMEDIATE (1ull << 6)
#define QUAL_IO_PORT_SHIFT 16
#define QUAL_IO_PORT_MASK (0xffffull << 16)

// --- Exit qualification: APIC access (SDM 27.2.1, table 27-6)
//
//  63        17 16 15    12 11                    0
// +------------+--+--------+-----------------------+
// |     0      |AS|  type  |  offset in the page   |     AS: asynchronous to instruction execution
// +------------+--+--------+-----------------------+
#define QUAL_APIC_OFFSET_MASK 0xfffull
#define QUAL_APIC_TYPE_SHIFT 12
#define QUAL_APIC_TYPE_MASK (0xfull << 12)
#define QUAL_APIC_ASYNC (1ull << 16)
#define QUAL_APIC_LINEAR_READ 0u
#define QUAL_APIC_LINEAR_WRITE 1u
#define QUAL_APIC_LINEAR_FETCH 2u
#define QUAL_APIC_LINEAR_EVENT 3u    // During event delivery.
#define QUAL_APIC_PHYSICAL_EVENT 10u // During event delivery; offset undefined.
#define QUAL_APIC_PHYSICAL_INSN 15u  // Fetch or execution; offset undefined.

// --- Exit qualification: EPT violation (SDM 27.2.1, table 27-7)
//
//  63  17 16 15  14  13 12  11 10  9   8  7  6  5 4 3  2 1 0
// +------+--+---+---+--+--+---+--+---+--+--+--+------+------+
// |   0  |AS|GPV|SSS|SS|N |XD |RW|USR|TR|LA|XU|X W R |F W R |
// +------+--+---+---+--+--+---+--+---+--+--+--+------+------+
//                                            allowed  access
// LA: GUEST_LINEAR_ADDRESS is valid. TR, if LA: 1 the access was to the translation of the linear address,
// 0 to a paging-structure entry. USR, RW, XD: of the linear address, if LA and TR and the processor has the
// advanced information.
#define QUAL_EPT_READ (1ull << 0)
#define QUAL_EPT_WRITE (1ull << 1)
#define QUAL_EPT_FETCH (1ull << 2)
#define QUAL_EPT_READABLE (1ull << 3)
#define QUAL_EPT_WRITABLE (1ull << 4)
#define QUAL_EPT_EXECUTABLE (1ull << 5)
#define QUAL_EPT_USER_EXECUTABLE (1ull << 6) // With mode-based execute control, else undefined.
#define QUAL_EPT_LINEAR_VALID (1ull << 7)
#define QUAL_EPT_TRANSLATED (1ull << 8)
#define QUAL_EPT_LINEAR_USER (1ull << 9)
#define QUAL_EPT_LINEAR_WRITABLE (1ull << 10)
#define QUAL_EPT_LINEAR_XD (1ull << 11)
#define QUAL_EPT_UNBLOCK_NMI (1ull << 12)
#define QUAL_EPT_SHADOW_STACK (1ull << 13)
#define QUAL_EPT_SSS (1ull << 14)
#define QUAL_EPT_GUEST_PAGING_VERIFICATION (1ull << 15)
#define QUAL_EPT_ASYNC (1ull << 16)
#define QUAL_EPT_ALLOWED_SHIFT 3

// Other qualifications: PML full, SPP, notify.
#define QUAL_UNBLOCK_NMI (1ull << 12)
#define QUAL_SPP_MISCONFIG (1ull << 11)
#define QUAL_NOTIFY_CONTEXT_INVALID (1ull << 0)

// Exit qualification of a failed VM entry due to invalid guest state (SDM 26.8).
#define QUAL_ENTRY_DEFAULT 0u
#define QUAL_ENTRY_PDPTE 2u
#define QUAL_ENTRY_NMI 3u      // Injecting an NMI into a guest that blocks by MOV SS.
#define QUAL_ENTRY_LINK_PTR 4u // VMCS link pointer.

// --- VM-exit instruction information (SDM 27.2.5, tables 27-8 to 27-14)
//
//  31   28  27  26  23  22  21  18 17 15 14   11  10 9    7 6    3  2 1  0
// +-------+---+-------+---+-------+-----+-------+---+------+------+--+----+
// | reg2  |BI | base  |II | index | seg |       |REG| addr | reg1 |  |scl |
// +-------+---+-------+---+-------+-----+-------+---+------+------+--+----+
// addr: 0 16-bit, 1 32-bit, 2 64-bit. REG: operand is a register (reg1), not memory. BI, II: no base, no
// index. Bit 11 is the operand size in LGDT's family; there and in LLDT's, bits 29:28 tell which instruction.
#define INSN_INFO_SCALE_MASK 3u
#define INSN_INFO_REG1_SHIFT 3
#define INSN_INFO_REG1_MASK (0xfu << 3)
#define INSN_INFO_ADDR_SIZE_SHIFT 7
#define INSN_INFO_ADDR_SIZE_MASK (7u << 7)
#define INSN_INFO_IS_REG (1u << 10)
#define INSN_INFO_OPERAND_32 (1u << 11) // LGDT, LIDT, SGDT, SIDT outside of 64-bit mode: 0 is 16 bits.
#define INSN_INFO_SEG_SHIFT 15          // ES CS SS DS FS GS.
#define INSN_INFO_SEG_MASK (7u << 15)
#define INSN_INFO_INDEX_SHIFT 18
#define INSN_INFO_INDEX_MASK (0xfu << 18)
#define INSN_INFO_NO_INDEX (1u << 22)
#define INSN_INFO_BASE_SHIFT 23
#define INSN_INFO_BASE_MASK (0xfu << 23)
#define INSN_INFO_NO_BASE (1u << 27)
#define INSN_INFO_REG2_SHIFT 28
#define INSN_INFO_REG2_MASK (0xfu << 28)

// --- EPT pointer (SDM 24.6.11, table 24-9)
//
//  63      N N-1                12 11    8  7   6  5     3 2     0
// +---------+---------------------+-------+---+---+-------+-------+
// |    0    | address of top table|   0   |SSS|AD |walk-1 |memtype|
// +---------+---------------------+-------+---+---+-------+-------+
#define EPTP_MEMTYPE_MASK 7ull // 0 UC or 6 WB.
#define EPTP_WALK_SHIFT 3      // Page-walk length minus 1.
#define EPTP_WALK_MASK (7ull << 3)
#define EPTP_WALK_4 (3ull << 3)
#define EPTP_WALK_5 (4ull << 3)
#define EPTP_AD (1ull << 6)
#define EPTP_SSS (1ull << 7) // Enforcement of rights for supervisor shadow-stack pages.
#define EPTP_RESERVED_LOW 0xf00ull
#define EPTP_ADDR_MASK 0x000ffffffffff000ull

// --- EPT entries (SDM 28.3.2, tables 28-1 to 28-7)
//
// refers to a table (7 = 0):
//  63                52 51 N N-1                 12 11 10  9  8  7      3  2 1 0
// +--------------------+----+----------------------+--+--+---+--+--------+------+
// |      ignored       | 0  | address of the table | i|XU| i |A |   0    |X W R |
// +--------------------+----+----------------------+--+--+---+--+--------+------+
// maps a page (7 = 1 in a PDPTE or PDE; a PTE ignores 7); low address bits of a large page are reserved:
//  63 62 61  60 59 58 57  56 52 51 N N-1         12 11 10  9  8  7   6   5 3  2 1 0
// +--+--+---+---+--+--+---+----+----+--------------+--+--+--+--+--+----+-----+------+
// |SV| i|SPP|SSS| i|PW|VGP| i  | 0  | page address | i|XU|D |A |PS|IPAT| mt  |X W R |
// +--+--+---+---+--+--+---+----+----+--------------+--+--+--+--+--+----+-----+------+
#define EPT_READ (1ull << 0)
#define EPT_WRITE (1ull << 1)
#define EPT_EXEC (1ull << 2) // Supervisor-mode addresses only, with mode-based execute control.
#define EPT_RWX 7ull
#define EPT_MEMTYPE_SHIFT 3
#define EPT_MEMTYPE_MASK (7ull << 3)
#define EPT_IPAT (1ull << 6)
#define EPT_PS (1ull << 7)
#define EPT_A (1ull << 8)
#define EPT_D (1ull << 9)
#define EPT_EXEC_USER (1ull << 10) // With mode-based execute control, else ignored.
#define EPT_ADDR_MASK 0x000ffffffffff000ull
#define EPT_VGP (1ull << 57) // Verify guest paging.
#define EPT_PW (1ull << 58)  // Paging-write access.
#define EPT_SSS (1ull << 60) // Supervisor shadow stack.
#define EPT_SPP (1ull << 61) // Sub-page write permissions; 4 KiB pages.
#define EPT_SUPPRESS_VE (1ull << 63)
#define EPT_TABLE_RESERVED_LOW 0xf8ull    // Bits 7:3 of a PML5E or PML4E.
#define EPT_TABLE_RESERVED_LOW_PS 0x78ull // Bits 6:3 of a PDPTE or PDE that refers to a table.
#define EPT_1G_RESERVED_LOW 0x3ffff000ull // Bits 29:12.
#define EPT_2M_RESERVED_LOW 0x001ff000ull // Bits 20:12.

// --- INVEPT, INVVPID types (SDM 30.3)
#define INVEPT_SINGLE 1u
#define INVEPT_ALL 2u
#define INVVPID_ADDRESS 0u
#define INVVPID_SINGLE 1u
#define INVVPID_ALL 2u
#define INVVPID_SINGLE_RETAIN_GLOBALS 3u

// --- Bitmaps (SDM 24.6.4, 24.6.9) and MSR areas (24.7.2)
// I/O bitmap A holds ports 0000-7fff, B 8000-ffff. The MSR bitmap holds four of 1 KiB each, a bit per MSR of
// 00000000-00001fff (low) or c0000000-c0001fff (high); an MSR of neither range always exits.
#define MSR_BITMAP_READ_LOW 0x000u
#define MSR_BITMAP_READ_HIGH 0x400u
#define MSR_BITMAP_WRITE_LOW 0x800u
#define MSR_BITMAP_WRITE_HIGH 0xc00u
#define MSR_BITMAP_RANGE 0x2000u
#define MSR_BITMAP_HIGH_BASE 0xc0000000u
// An entry of an MSR area is 16 bytes: 31:0 MSR index, 63:32 zero, 127:64 data.
#define MSR_AREA_ENTRY_BYTES 16u

// --- Virtual APIC (SDM 24.4.2, 24.6.8, 29.1, 29.6)
// GUEST_INTR_STATUS: 15:8 SVI, 7:0 RVI.
#define INTR_STATUS_RVI_MASK 0x00ffu
#define INTR_STATUS_SVI_MASK 0xff00u
#define TPR_THRESHOLD_MASK 0xfu
#define TPR_THRESHOLD_RESERVED 0xfffffff0u

// Posted-interrupt descriptor, 64 bytes, 64-byte aligned: 255:0 requests, a bit per vector; 256 ON
// outstanding notification. To the processor the rest is software's (29.6); VT-d reads of it 257 SN suppress
// notification, 279:272 NV notification vector, 319:288 NDST notification destination.
#define PI_DESC_BYTES 64u
#define PI_DESC_ON_BIT 256u
#define PI_DESC_SN_BIT 257u
#define PI_DESC_NV_BIT 272u
#define PI_DESC_NDST_BIT 288u

// PML: 512 entries of 8 bytes, filled from GUEST_PML_INDEX 511 downwards; above 511 is "full" (SDM 28.3.6).
#define PML_ENTRIES 512u

#endif
