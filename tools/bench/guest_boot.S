// SPDX-License-Identifier: Apache-2.0
// A boot sector that does for emulators what hvsim's loader does: takes the flat image of a guest (a multiboot
// one, linked at 1 MiB) from the following sectors of the disk, and enters it at ENTRY in 32-bit protected
// mode. For measurements only.
#define SECTORS 64
#define BUFFER 0x10000
#define IMAGE 0x100000
#define ZEROED 0x80000 // Its .bss, with room

    .code16
    .globl start
start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    movw $packet, %si
    movb $0x42, %ah // Extended read; DL is the drive.
    int $0x13
    jc failed
    inb $0x92, %al // A20
    orb $2, %al
    outb %al, $0x92
    lgdtl pointer
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $1f
failed:
    hlt
    jmp failed

    .code32
1:  movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $BUFFER, %esi
    movl $IMAGE, %edi
    movl $SECTORS * 128, %ecx
    rep movsl
    xorl %eax, %eax
    movl $ZEROED / 4, %ecx
    rep stosl
    movl $ENTRY, %eax
    jmp *%eax

    .align 4
packet:
    .byte 16, 0
    .word SECTORS, 0, BUFFER >> 4
    .quad 1
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
pointer:
    .word 23
    .long gdt
    .org 510
    .word 0xaa55
