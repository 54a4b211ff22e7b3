// SPDX-License-Identifier: Apache-2.0
// Somebody types at the 16550 (PC16550D, section 8): lines are echoed by polling and by interrupts, with the FIFO
// and without; what comes while nobody reads is lost from the seventeenth character on.
//
// Wants five lines, each behind its prompt: any two, seven characters with the carriage return, any, and 17 or
// more.
#include "check.inc"

#define UART_DATA 0 // With LCR_DLAB the divisor's low byte
#define UART_IER 1
#define UART_IIR 2 // Written: FCR
#define UART_LCR 3
#define UART_MCR 4
#define UART_LSR 5

#define IER_RECEIVED 1
#define IIR_RECEIVED 4
#define IIR_TIMEOUT 12
#define FCR_ENABLE 1
#define FCR_CLEAR_RECEIVER 2
#define FCR_TRIGGER_4 0x40
#define LCR_8_BITS 3
#define LCR_DLAB 0x80
#define MCR_DTR 1
#define MCR_RTS 2
#define MCR_OUT2 8
#define LSR_READY 1
#define LSR_OVERRUN 2

#define UART_GSI 4
#define IRQ_VECTOR 0x50
#define CAUSES 16

    .macro uart offset, value
    movw $CONSOLE + \offset, %dx
    movb $\value, %al
    outb %al, %dx
    .endm

    .macro ask prompt
    movb $0, line_ended(%rip)
    print "\prompt"
    .endm

// Echoes what there is to read.
echo:
    movw $CONSOLE + UART_LSR, %dx
    inb %dx, %al
    testb $LSR_READY, %al
    jz 2f
    movw $CONSOLE + UART_DATA, %dx
    inb %dx, %al
    incq received(%rip)
    cmpb $'\r', %al
    jne 1f
    movb $1, line_ended(%rip)
    movb $'\n', %al
1:  outb %al, %dx
    jmp echo
2:  ret

poll_line:
    call echo
    cmpb $0, line_ended(%rip)
    je poll_line
    ret

// Counts interrupts by what IIR says.
on_uart:
    movw $CONSOLE + UART_IIR, %dx
    inb %dx, %al
    andl $15, %eax
    incq causes(,%rax,8)
    call echo
    movl $0xfee00000, %eax
    movl $0, 0xb0(%rax)
    ret

interrupt_line:
    cli
    cmpb $0, line_ended(%rip)
    jne 1f
    sti
    hlt
    jmp interrupt_line
1:  ret

test:
    handler IRQ_VECTOR, on_uart
    movl $0xfee00000, %eax
    movl $0x1ff, 0xf0(%rax)
    movb $0xff, %al // Lines are the I/O APIC's, not the PICs'.
    outb %al, $0x21
    outb %al, $0xa1
    movl $0xfec00000, %eax
    movl $0x10 + 2 * UART_GSI, (%rax)
    movl $IRQ_VECTOR, 0x10(%rax)
    uart UART_LCR, LCR_DLAB + LCR_8_BITS // 8 data bits, no parity; 115200 baud
    uart UART_DATA, 1
    uart UART_IER, 0
    uart UART_LCR, LCR_8_BITS
    uart UART_IIR, 0
    uart UART_MCR, MCR_DTR + MCR_RTS + MCR_OUT2

    step // One character at a time, polled.
    ask "poll> "
    call poll_line

    step // The same with the FIFO.
    uart UART_IIR, FCR_ENABLE + FCR_CLEAR_RECEIVER
    ask "fifo> "
    call poll_line

    step // Four of seven make the trigger level, three time out.
    uart UART_IIR, FCR_ENABLE + FCR_CLEAR_RECEIVER + FCR_TRIGGER_4
    uart UART_IER, IER_RECEIVED
    ask "interrupts> "
    call interrupt_line
    expect 1, causes+8*IIR_RECEIVED(%rip)
    expect 1, causes+8*IIR_TIMEOUT(%rip)

    step // Without FIFO there is one for each.
    movq $0, causes+8*IIR_RECEIVED(%rip)
    movq $0, received(%rip)
    uart UART_IIR, 0
    ask "without> "
    call interrupt_line
    movq received(%rip), %rax
    cmpq causes+8*IIR_RECEIVED(%rip), %rax
    jne wrong
    expect 1, causes+8*IIR_TIMEOUT(%rip)
    uart UART_IER, 0

    step // Nobody reads: the line status says it once, the FIFO has the first sixteen.
    uart UART_IIR, FCR_ENABLE + FCR_CLEAR_RECEIVER
    movq $0, received(%rip)
    ask "overrun> "
    movw $CONSOLE + UART_LSR, %dx
1:  inb %dx, %al
    testb $LSR_OVERRUN, %al
    jz 1b
    inb %dx, %al
    testb $LSR_OVERRUN, %al
    jnz wrong
    uart UART_MCR, 0 // No more.
    call echo
    print "\n"
    cmpq $16, received(%rip)
    jb wrong
    ret

    .data
    .align 16
received: .quad 0
causes: .fill CAUSES, 8, 0
line_ended: .byte 0
    .text
