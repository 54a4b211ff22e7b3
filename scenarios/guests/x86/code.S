// SPDX-License-Identifier: Apache-2.0
// Code that changes under way and code that crosses pages: what runs is what memory has (SDM 11.6).
#include "check.inc"

#define PAGE_A 0x400000
#define PAGE_B 0x401000

test:
    step // An instruction changes the next one of its own block.
    movl $0, %ecx
    movb $7, 1f + 1(%rip)
1:  movl $1, %ecx
    expect 7, %rcx

    step // Code written byte by byte, run, and written again.
    movl $PAGE_A, %edi
    movw $0xc031, (%rdi) // xorl %eax, %eax
    movl $0xb0 | 42 << 8 | 0xc3 << 16, 2(%rdi) // movb $42, %al; ret
    call *%rdi
    expect 42, %rax
    movb $43, 3(%rdi)
    call *%rdi
    expect 43, %rax

    step // In a loop: each pass changes its own constant.
    movl $10, %ecx
    xorl %edx, %edx
1:  addl $0, %edx // 83 c2 ib
2:  incb 1b + 2(%rip)
    decl %ecx
    jnz 1b
    expect 45, %rdx

    step // An instruction over the end of a page: mov $0x11223344, %eax; ret.
    movl $PAGE_B - 3, %edi
    movb $0xb8, (%rdi)
    movl $0x11223344, 1(%rdi)
    movb $0xc3, 5(%rdi)
    call *%rdi
    expect 0x11223344, %rax
    movb $0x55, PAGE_B // Its part in the second page changes.
    call *%rdi
    expect 0x11553344, %rax

    step // The same linear addresses, other pages behind them.
    movl $PAGE_B + 0x1000, %esi
    movl $0xc3662211, (%rsi) // Will be the second page.
    movl $0xc3, 2(%rsi)
    movw $0x6622, (%rsi)
    call map_small
    movq $PAGE_B + 0x1000 + 7, pt + 8(%rip)
    invlpg PAGE_B
    call *%rdi
    expect 0x66223344, %rax

    step // The second page is not there: #PF at the instruction with the address of the page.
    movq $0, pt + 8(%rip)
    invlpg PAGE_B
    raises 14, 0x10, call *%rdi
    movq %cr2, %rax
    expect PAGE_B, %rax
    expect (PAGE_B-3), caught_rip(%rip)

    step // One page by two addresses: written by one, run by the other.
    movq $PAGE_A + 7, pt + 8(%rip)
    invlpg PAGE_B
    movl $PAGE_B, %edi
    call *%rdi
    expect 43, %rax
    movb $44, PAGE_A + 3
    call *%rdi
    expect 44, %rax

    step // A string instruction writes over what follows it.
    leaq 1f(%rip), %rdi
    leaq nops(%rip), %rsi
    movl $2, %ecx
    xorl %eax, %eax
    rep movsb
1:  incl %eax // Two NOPs by then
    expect 0, %rax

    step // A jump into the middle of an instruction.
    xorl %eax, %eax
    jmp 1f + 1
1:  movl $0x90c0ff90, %ecx // nop; incl %eax; nop
    expect 1, %rax
    ret

    // The 2-MByte page of PAGE_A by 4-KByte pages.
map_small:
    movl $PAGE_A + 7, %eax
    leaq pt(%rip), %rdx
1:  movq %rax, (%rdx)
    addq $0x1000, %rax
    addq $8, %rdx
    cmpl $PAGE_A + 0x200007, %eax
    jb 1b
    leaq pt + 7(%rip), %rax
    movq %rax, pd + 8 * 2(%rip)
    movq %cr3, %rax
    movq %rax, %cr3
    ret

    .data
nops: .byte 0x90, 0x90
    .bss
    .align 4096
pt: .skip 4096
    .text
