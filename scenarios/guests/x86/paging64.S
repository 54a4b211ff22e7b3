// SPDX-License-Identifier: Apache-2.0
// Paging in 64-bit mode: permissions of all four levels, NX, WP, SMEP, SMAP with AC, reserved bits, huge pages; error
// code and CR2 of each #PF (SDM 4.5, 4.6, 4.7).
#include "check.inc"

#define PAGE 0x8000000000 // The second entry of the PML4
#define FRAME 0x600000
#define NX 0x8000000000000000

    .macro map entry
    movabsq $\entry, %rax
    movq %rax, own_pt(%rip)
    movabsq $PAGE, %rax
    invlpg (%rax)
    .endm

    .macro fault_at error, code:vararg
    raises 14, \error, \code
    movq %cr2, %rax
    cmpq %rax, %rbx
    jne wrong
    .endm

    .macro user_fault error, label
    movq $0, caught(%rip)
    movq $8007f, resume(%rip)
    movq %rsp, resume_rsp(%rip)
    user \label
    jmp wrong
8007:
    cmpq $15, caught(%rip)
    jne wrong
    cmpq $\error, caught_error(%rip)
    jne wrong
    movq %cr2, %rax
    cmpq %rax, %rbx
    jne wrong
    .endm

    .macro cr4_set bits
    movq %cr4, %rax
    orq $\bits, %rax
    movq %rax, %cr4
    .endm

test:
    movq $own_pt + 7, %rax
    movq %rax, own_pd(%rip)
    movq $own_pd + 7, %rax
    movq %rax, own_pdpt(%rip)
    movq $own_pdpt + 7, %rax
    movq %rax, pml4 + 8(%rip)
    movl $0xc3, FRAME // ret
    movabsq $PAGE, %rbx
    movq %cr0, %rax
    orq $0x10000, %rax // WP
    movq %rax, %cr0

    step // Accessed and dirty bits of all levels.
    map (FRAME+7)
    movl (%rbx), %ecx
    expect 0xc3, %rcx
    expect (FRAME+0x27), own_pt(%rip)
    movl %ecx, (%rbx)
    expect (FRAME+0x67), own_pt(%rip)
    testb $0x20, own_pd(%rip)
    jz wrong
    testb $0x20, own_pdpt(%rip)
    jz wrong

    step // Supervisor: absent, read only, NX, reserved.
    map 0
    fault_at 0, movl (%rbx), %ecx
    fault_at 2, movl %ecx, (%rbx)
    fault_at 0x10, call *%rbx
    map (FRAME+5)
    fault_at 3, movl %ecx, (%rbx)
    map (FRAME+7+NX)
    fault_at 0x11, call *%rbx
    movl (%rbx), %ecx
    map (FRAME+7+0x8000000000000) // Bit 51
    fault_at 9, movl (%rbx), %ecx
    fault_at 0xb, movl %ecx, (%rbx)

    step // User.
    map (FRAME+3)
    user_fault 5, u_read
    user_fault 7, u_write
    user_fault 0x15, u_run
    map (FRAME+5)
    user_fault 7, u_write
    map (FRAME+7+NX)
    user_fault 0x15, u_run
    map 0
    user_fault 6, u_write

    step // Every level counts.
    map (FRAME+7)
    andq $~4, own_pd(%rip)
    invlpg (%rbx)
    user_fault 5, u_read
    orq $4, own_pd(%rip)
    andq $~2, own_pdpt(%rip)
    invlpg (%rbx)
    fault_at 3, movl %ecx, (%rbx)
    orq $2, own_pdpt(%rip)
    btsq $63, pml4 + 8(%rip)
    invlpg (%rbx)
    fault_at 0x11, call *%rbx
    btrq $63, pml4 + 8(%rip)
    andq $~1, own_pd(%rip)
    invlpg (%rbx)
    fault_at 0, movl (%rbx), %ecx
    orq $1, own_pd(%rip)
    orq $0x80, pml4 + 8(%rip) // PS of a PML4E is reserved.
    invlpg (%rbx)
    fault_at 9, movl (%rbx), %ecx
    andq $~0x80, pml4 + 8(%rip)
    invlpg (%rbx)
    movl (%rbx), %ecx

    step // SMEP. The kernel's own pages are the user's in guest.inc: they must not be, first.
    call kernel_only
    map (FRAME+7)
    call *%rbx
    cr4_set 0x100000
    fault_at 0x11, call *%rbx
    map (FRAME+3)
    call *%rbx

    step // SMAP, and RFLAGS.AC against it.
    map (FRAME+7)
    cr4_set 0x200000
    fault_at 1, movl (%rbx), %ecx
    fault_at 3, movl %ecx, (%rbx)
    stac
    movl (%rbx), %ecx
    clac
    fault_at 1, movl (%rbx), %ecx
    movq %cr4, %rax
    andq $~0x300000, %rax
    movq %rax, %cr4

    step // Pages of 2 MBytes and of 1 GByte, and what is reserved in them.
    movq $0x600087, own_pd(%rip)
    invlpg (%rbx)
    movl (%rbx), %ecx
    expect 0xc3, %rcx
    expect 0x6000a7, own_pd(%rip)
    orq $0x2000, own_pd(%rip)
    invlpg (%rbx)
    fault_at 9, movl (%rbx), %ecx
    movq $0x87, own_pdpt(%rip)
    invlpg (%rbx)
    movl FRAME(%rbx), %ecx
    expect 0xc3, %rcx
    orq $0x200000, own_pdpt(%rip)
    invlpg (%rbx)
    fault_at 9, movl (%rbx), %ecx

    step // CR3: global pages live on, others do not.
    movq $own_pd + 7, %rax
    movq %rax, own_pdpt(%rip)
    movq $own_pt + 7, %rax
    movq %rax, own_pd(%rip)
    cr4_set 0x80
    map (FRAME+0x107)
    movl (%rbx), %ecx
    movq $0, own_pt(%rip)
    movq %cr3, %rax
    movq %rax, %cr3
    movl (%rbx), %ecx
    movq %cr4, %rax
    xorq $0x80, %rax
    movq %rax, %cr4
    fault_at 0, movl (%rbx), %ecx

    step // An access over a boundary faults where it cannot go on, and does nothing.
    map (FRAME+7)
    movq $FRAME + 0x1000 + 5, own_pt + 8(%rip)
    leaq 0xffe(%rbx), %rdx
    movl $0, (FRAME+0xffc)
    raises 14, 3, movl $-1, (%rdx)
    movq %cr2, %rax
    subq %rbx, %rax
    expect 0x1000, %rax
    cmpl $0, (FRAME+0xffc)
    jne wrong
    ret

    // All of the first 4 GiB for the supervisor, but this guest's user code and stack: none is needed any more.
kernel_only:
    andq $~4, pml4(%rip)
    movq %cr3, %rax
    movq %rax, %cr3
    ret

u_read: movl (%rbx), %ecx
u_write: movl %ecx, (%rbx)
u_run: jmp *%rbx

    .bss
    .align 4096
own_pdpt: .skip 4096
own_pd: .skip 4096
own_pt: .skip 4096
    .text
