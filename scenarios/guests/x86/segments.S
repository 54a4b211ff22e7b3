// SPDX-License-Identifier: Apache-2.0
// Loading of segment registers and far transfers in 64-bit mode: each fault with its error code (SDM 5.4, 6.13;
// vol. 2 MOV, LLDT, LTR, JMP).
#include "check.inc"

#define SELECTOR(name) (name-table)

    .macro load_sreg register, selector
    movl $\selector, %eax
    movl %eax, %\register
    .endm

    .macro far_jump selector
    movw $\selector, far_pointer + 8(%rip)
    rex.w ljmp *far_pointer(%rip)
    .endm

    .macro push_at_rbx
    leaq 16(%rbx), %rsp
    pushq %rax
    .endm

test:
    use_gdt table, table_end
    movq $1f, far_pointer(%rip)

    step // Data segments.
    goes_on load_sreg ds, 0
    goes_on load_sreg ds, SELECTOR(data)
    raises 13, (table_end-table), load_sreg ds, (table_end-table)
    raises 13, SELECTOR(execute_only), load_sreg ds, SELECTOR(execute_only)
    raises 13, SELECTOR(busy_tss), load_sreg es, SELECTOR(busy_tss)
    raises 11, SELECTOR(absent), load_sreg fs, SELECTOR(absent)
    raises 13, SELECTOR(data), load_sreg gs, (data-table+3) // RPL 3 > DPL 0
    raises 13, 4, load_sreg ds, 4 // No LDT: TI is part of the error code.
    goes_on load_sreg ds, DS
    goes_on load_sreg es, DS

    step // The stack segment.
    goes_on load_sreg ss, 0 // Null, at ring 0 of 64-bit mode
    raises 13, 0, load_sreg ss, 3
    raises 13, SELECTOR(data), load_sreg ss, (data-table+1)
    raises 13, SELECTOR(read_only), load_sreg ss, SELECTOR(read_only)
    raises 13, (DS_USER&~3), load_sreg ss, DS_USER
    raises 12, SELECTOR(absent), load_sreg ss, SELECTOR(absent)
    goes_on load_sreg ss, DS

    step // CS by a far jump.
    raises 13, 0, far_jump 0
    raises 13, DS, far_jump DS
    raises 11, SELECTOR(absent_code), far_jump SELECTOR(absent_code)
    raises 13, SELECTOR(code_l_and_d), far_jump SELECTOR(code_l_and_d)
    raises 13, (CS64_USER&~3), far_jump CS64_USER
    raises 13, SELECTOR(absent_tss), far_jump SELECTOR(absent_tss) // No task switch in 64-bit mode
    movabsq $0x800000000000, %rax
    movq %rax, far_pointer(%rip)
    raises 13, 0, far_jump CS64
    movq $1f, far_pointer(%rip)
    far_jump CS64
    jmp wrong
1:

    step // LDTR and TR.
    movl $SELECTOR(absent_ldt), %eax
    raises 11, SELECTOR(absent_ldt), lldt %ax
    movl $SELECTOR(data), %eax
    raises 13, SELECTOR(data), lldt %ax
    xorl %eax, %eax
    goes_on lldt %ax
    raises 13, 0, ltr %ax
    movl $SELECTOR(busy_tss), %eax
    raises 13, SELECTOR(busy_tss), ltr %ax
    movl $SELECTOR(absent_tss), %eax
    raises 11, SELECTOR(absent_tss), ltr %ax

    step // Through the LDT.
    leaq local(%rip), %rax
    movw %ax, ldt + 2(%rip)
    shrq $16, %rax
    movb %al, ldt + 4(%rip)
    movl $SELECTOR(ldt), %eax
    goes_on lldt %ax
    goes_on load_sreg ds, 4
    raises 11, 12, load_sreg ds, 12
    raises 13, 20, load_sreg ds, 20 // Beyond its limit
    goes_on load_sreg ds, DS

    step // Addresses that are not canonical: #GP, by way of the stack #SS.
    movabsq $0x800000000000, %rbx
    raises 13, 0, movb (%rbx), %al
    raises 13, 0, movb $0, (%rbx)
    movq %rbx, %rbp
    raises 12, 0, movb (%rbp), %al
    raises 12, 0, push_at_rbx
    movabsq $0xffff7fffffffffff, %rbx
    raises 13, 0, jmp *%rbx

    step // LAR, LSL, VERR, VERW.
    movl $SELECTOR(data), %eax
    larl %eax, %ecx
    jnz wrong
    expect 0xcf9300, %rcx
    lsll %eax, %ecx
    jnz wrong
    movl %ecx, %ecx
    cmpl $-1, %ecx
    jne wrong
    movl $(table_end-table), %eax
    larl %eax, %ecx
    jz wrong
    movl $SELECTOR(read_only), %eax
    verr %ax
    jnz wrong
    verw %ax
    jz wrong
    movl $SELECTOR(execute_only), %eax
    verr %ax
    jz wrong

    step // Gates that are not there, and one that is not for INT.
    movb $0x0e, idt + 16 * 0x50 + 5(%rip)
    raises 11, (0x50*8+2), int $0x50
    movb $0x8c, idt + 16 * 0x50 + 5(%rip)
    raises 13, (0x50*8+2), int $0x50
    movb $0x8e, idt + 16 * 0x50 + 5(%rip)
    movw $SELECTOR(absent_code), idt + 16 * 0x50 + 2(%rip)
    raises 11, SELECTOR(absent_code), int $0x50
    movw $0, idt + 16 * 0x50 + 2(%rip)
    raises 13, 0, int $0x50

    step // Compatibility mode: limits count.
    movq $2f, far_pointer(%rip)
    movw $CS32, far_pointer + 8(%rip)
    movl $SELECTOR(small), %eax
    movl %eax, %ds
    raises 13, 0, rex.w ljmp *far_pointer(%rip)
    movl $DS, %eax
    movl %eax, %ds
    raises 13, 0, call compatibility_write
    ret

    // Writes beyond the limit of a small segment.
compatibility_write:
    movq $3f, far_pointer(%rip)
    movw $CS32, far_pointer + 8(%rip)
    rex.w ljmp *far_pointer(%rip)
    .code32
2:  movb 0x1000, %al // One byte beyond the limit
    hlt
3:  movl $SELECTOR(read_only), %eax
    movl %eax, %ds
    movb %al, 0 // Read only
    hlt
    .code64

    .data
    .align 16
table: .skip 64
data: .quad 0x00cf93000000ffff
read_only: .quad 0x00cf91000000ffff
execute_only: .quad 0x00cf99000000ffff
absent: .quad 0x00cf13000000ffff
absent_code: .quad 0x00af1b000000ffff
code_l_and_d: .quad 0x00ef9b000000ffff
small: .quad 0x0040930000000fff
busy_tss: .quad 0x00008b0000000067, 0
absent_tss: .quad 0x0000090000000067, 0
absent_ldt: .quad 0x0000020000000000, 0
ldt: .quad 0x000082000000000f, 0
table_end:
local: .quad 0x00cf93000000ffff, 0x00cf13000000ffff
far_pointer: .quad 0
    .word 0
    .text
