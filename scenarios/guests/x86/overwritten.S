// SPDX-License-Identifier: Apache-2.0
// A guest with a bug, to be looked for with a debugger (docs/gdb.md): it fills a table of squares, one entry too many,
// and finds much later that the number behind the table is not what it was: exit status 3. With 2 processors the other
// one counts meanwhile, in real mode.
#include "guest.inc"

#define ENTRIES 8
#define WAIT_LOOPS 2000
#define APIC_ICR_LOW 0xfee00300
#define APIC_ICR_HIGH 0xfee00310
#define START_LOOPS 20000
#define START_UP 0x8000 // Of the other processor, below 1 MiB
#define COUNTER 0x9000

main:
    call start_other
    call fill_squares
    movl $WAIT_LOOPS, %ecx
1:  call work
    decl %ecx
    jnz 1b
check:
    cmpq $1234, balance(%rip)
    jne 2f
    print "balance is right\n"
    xorl %eax, %eax
    ret
2:  print "balance is wrong\n"
    movl $3, %eax
    ret

// squares[i] = i * i.
fill_squares:
    leaq squares(%rip), %rdi
    xorl %ecx, %ecx
1:  movl %ecx, %eax
    imull %ecx, %eax
    movslq %eax, %rax
store_square:
    movq %rax, (%rdi,%rcx,8)
    incl %ecx
    cmpl $ENTRIES, %ecx
    jbe 1b // One too many: this should be jb.
    ret

work:
    movq sum(%rip), %rax
    addq squares + 8(%rip), %rax
    movq %rax, sum(%rip)
    ret

// INIT and SIPI to processor 1 (SDM 8.4.4.1); if there is one it begins to count soon.
start_other:
    leaq other(%rip), %rsi
    movl $START_UP, %edi
    movl $other_end - other, %ecx
    rep movsb
    movl $APIC_ICR_HIGH, %edi
    movl $1 << 24, (%rdi)
    movl $APIC_ICR_LOW, %edi
    movl $0x4500, (%rdi)
    movl $0x4600 + (START_UP >> 12), (%rdi)
    movl $START_LOOPS, %ecx
1:  cmpw $0, COUNTER
    jne 2f
    pause
    decl %ecx
    jnz 1b
2:  ret

    .code16
other:
    xorw %ax, %ax
    movw %ax, %ds
1:  incw COUNTER
    pause
    jmp 1b
other_end:
    .code64

    .data
    .align 8
squares: .skip 8 * ENTRIES
balance: .quad 1234
sum: .quad 0
