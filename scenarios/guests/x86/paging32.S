// SPDX-License-Identifier: Apache-2.0
// 32-bit paging, 4-MByte pages and PAE from 32-bit protected mode: translations, permissions with each error code of
// #PF, accessed and dirty bits, what INVLPG and MOV to CR3 bring (SDM 4.3, 4.4, 4.6, 4.7, 4.8).
#include "guest32.inc"

#define PAGE 0x800000 // Its linear address; what is there changes.
#define FRAME 0x600000
#define OTHER 0x601000

    .macro map entry
    movl $\entry, pt
    invlpg PAGE
    .endm

    .macro fault_at error, code:vararg
    raises 14, \error, \code
    movl %cr2, %eax
    cmpl $PAGE, %eax
    jne wrong
    .endm

    .macro ring3 error, label
    movl $0, caught
    movl $8001f, resume
    movl %esp, resume_esp
    movl $DS_USER, %eax // IRET takes segments away that ring 3 may not have.
    movl %eax, %ds
    pushl $DS_USER
    pushl $user_stack_top
    pushl $2
    pushl $CS32_USER
    pushl $\label
    iret
8001:
    cmpl $15, caught
    jne wrong
    cmpl $\error, caught_error
    jne wrong
    movl $DS, %eax
    movl %eax, %ds
    movl %eax, %es
    .endm

    .macro set_cr4 value
    movl $\value, %eax
    movl %eax, %cr4
    .endm

test:
    movl $0x11111111, FRAME
    movl $0x22222222, OTHER
    // One to one by pages of 4 KBytes for 8 MiB; PAGE by pt.
    movl $low, %edi
    movl $7, %eax
1:  movl %eax, (%edi)
    addl $4096, %eax
    addl $4, %edi
    cmpl $0x800007, %eax
    jne 1b
    movl $low + 7, pd
    movl $low + 4096 + 7, pd + 4
    movl $pt + 7, pd + 8
    movl $pd, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $0x80010000, %eax // PG, WP
    movl %eax, %cr0

    step // Translation, accessed and dirty bits.
    map (FRAME+7)
    expect 0x11111111, PAGE
    expect (FRAME+0x27), pt
    movl $0x33333333, PAGE
    expect (FRAME+0x67), pt
    expect 0x33333333, FRAME
    map (OTHER+7)
    expect 0x22222222, PAGE

    step // A stale translation lives until INVLPG or CR3.
    movl $FRAME + 7, pt
    movl %cr3, %eax
    movl %eax, %cr3
    expect 0x33333333, PAGE

    step // Error codes at ring 0.
    map 0
    fault_at 0, movl PAGE, %eax
    fault_at 2, movl %eax, PAGE
    map (FRAME+5) // Read only, WP
    fault_at 3, movl %eax, PAGE
    movl PAGE, %eax
    movl %cr0, %eax
    andl $~0x10000, %eax
    movl %eax, %cr0
    movl $0x44444444, PAGE // Without WP the supervisor may.
    expect 0x44444444, FRAME
    orl $0x10000, %eax
    movl %eax, %cr0

    step // And at ring 3.
    map (FRAME+3) // Supervisor's
    ring3 5, u_read
    ring3 7, u_write
    map (FRAME+5)
    ring3 7, u_write
    map 0
    ring3 4, u_read
    ring3 4, u_run // No NX: no bit for fetches
    map (FRAME+7)
    movl $pt + 3, pd + 8 // The directory's permissions count too.
    movl %cr3, %eax
    movl %eax, %cr3
    ring3 5, u_read
    movl $pt + 7, pd + 8
    movl %cr3, %eax
    movl %eax, %cr3

    step // An access over the end of a page faults at the second.
    map (FRAME+7)
    movl $0, low + 4 * 0x7ff
    invlpg PAGE - 4096
    raises 14, 2, movl %eax, PAGE - 2
    movl %cr2, %eax
    expect (PAGE-2), %eax
    movl $0x7ff000 + 7, low + 4 * 0x7ff
    movl $0, pt
    invlpg PAGE
    fault_at 2, movl %eax, PAGE - 2

    step // Pages of 4 MBytes, and their reserved bits.
    set_cr4 0x10
    movl $0x400087, pd + 8
    movl %cr3, %eax
    movl %eax, %cr3
    expect 0x44444444, PAGE + 0x200000
    movl pd + 8, %eax
    expect 0x4000a7, %eax
    movl $0x600087, pd + 8 // Bit 21
    movl %cr3, %eax
    movl %eax, %cr3
    raises 14, 9, movl PAGE, %eax

    step // PAE.
    movl %cr0, %eax
    andl $~0x80000000, %eax
    movl %eax, %cr0
    movl $0x000087, pae_pd
    movl $0x200087, pae_pd + 8
    movl $0x400087, pae_pd + 16
    movl $0x600087, pae_pd + 24
    movl $pae_pt + 7, pae_pd + 32
    movl $pae_pd + 1, pdpt
    set_cr4 0x20
    movl $pdpt, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx // IA32_EFER.NXE
    rdmsr
    orl $0x800, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    movl $FRAME + 7, pae_pt
    movl $0, pae_pt + 4
    expect 0x44444444, PAGE
    expect (FRAME+0x27), pae_pt

    step // Its error codes: NX, reserved bits.
    movl $0xc3c3c3c3, FRAME
    movl $PAGE, %eax
    call *%eax
    movl $0x80000000, pae_pt + 4
    invlpg PAGE
    movl $PAGE, %ebx
    fault_at 0x11, call *%ebx
    movl PAGE, %eax
    ring3 0x15, u_run
    movl $0x00100000, pae_pt + 4 // Bit 52
    invlpg PAGE
    fault_at 9, movl PAGE, %eax
    movl $0, pae_pt + 4
    movl $0, pae_pt
    invlpg PAGE
    fault_at 0x10, call *%ebx

    step // PDPTEs are registers: memory counts when CR3 is loaded.
    movl $FRAME + 7, pae_pt
    movl $0, pdpt
    movl PAGE, %eax
    movl $0xfff, pdpt + 8 // Reserved bits
    movl %cr3, %eax
    raises 13, 0, movl %eax, %cr3
    movl $pae_pd + 1, pdpt
    movl $0, pdpt + 8
    movl %eax, %cr3
    movl %cr0, %eax
    andl $~0x80000000, %eax
    movl %eax, %cr0
    ret

u_read:
    movl PAGE, %eax
u_write:
    movl %eax, PAGE
u_run:
    movl $PAGE, %eax
    jmp *%eax

    .bss
    .align 4096
pd: .skip 4096
pt: .skip 4096
low: .skip 2 * 4096
pdpt: .skip 4096
pae_pd: .skip 4096
pae_pt: .skip 4096
    .skip 4096
user_stack_top:
    .text
