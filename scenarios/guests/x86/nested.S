// SPDX-License-Identifier: Apache-2.0
// A hypervisor of its own (L1) and its guest (L2): the activity state HLT, MSR areas, debug controls, failed entries
// (SDM 24.4.2, 24.7.2, 24.8.2, 26.3 to 26.8, 27.3 to 27.6), INIT in VMX operation (SDM 23.8, 25.2).
#include "check.inc"

#define VMCS_FIELD(name, encoding, section) .set name, encoding
#include "spec/vmcs_fields.def"

#define HLT 1
#define WAIT_FOR_SIPI 3
#define EXTERNAL_INTERRUPT 1
#define INIT_SIGNAL 3
#define NMI_WINDOW 8
#define VMCALL 18
#define INVALID_STATE 0x80000021
#define MSR_LOADING 0x80000022
#define PIN_EXTERNAL_INTERRUPT 1
#define PIN_NMI 0x28 // NMI exiting, virtual NMIs
#define CPU_NMI_WINDOW (1 << 22)
#define KERNEL_GS_BASE 0xc0000102
#define FS_BASE 0xc0000100
#define VECTOR 0x50
#define TRAMPOLINE 0x8000

    .macro vmw field, value
    movq $\value, %rbx
    movl $\field, %eax
    vmwrite %rbx, %rax
    jbe wrong
    .endm

    .macro vmw_reg field, reg
    movl $\field, %eax
    vmwrite \reg, %rax
    jbe wrong
    .endm

    // The field must have that value.
    .macro seen field, value
    movl $\field, %eax
    vmread %rax, %rbx
    jbe wrong
    movq %rbx, value_read(%rip)
    movq $\value, %rax
    cmpq %rax, %rbx
    jne wrong
    .endm

    .macro capability msr, value // \value with what the MSR demands
    movl $\msr, %ecx
    rdmsr
    orl $\value, %eax
    movl %eax, %ebx
    .endm

    .macro wrmsr_of msr, value
    movl $\msr, %ecx
    movq $\value, %rax
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
    .endm

    .macro apic offset, value
    movl $0xfee00000, %ebx
    movl $\value, \offset(%rbx)
    .endm

    // Enters L2 at `code` with RFLAGS; back behind it after its exit.
    .macro l2 code, rflags
    leaq \code(%rip), %rbx
    vmw_reg GUEST_RIP, %rbx
    vmw GUEST_RFLAGS, \rflags
    call enter
    .endm

// VMLAUNCH or VMRESUME, as `launched` says; returns at the exit.
enter:
    vmw_reg HOST_RSP, %rsp
    cmpl $0, launched(%rip)
    jne 1f
    vmlaunch
    jmp 2f
1:  vmresume
2:  setc vmfail(%rip)
    setz vmfail + 1(%rip)
    ret
exited: // With the stack of `enter`.
    movl $VM_EXIT_REASON, %eax
    vmread %rax, %rbx
    testl %ebx, %ebx
    js 1f
    movl $1, launched(%rip)
1:  ret

on_vector: // Of both levels; L2's frame ends with an exit.
    incq irqs(%rip)
    movl $0xfee00000, %eax
    movl $0, 0xb0(%rax)
    cmpl $0, in_l2(%rip)
    je 1f
    vmcall
1:  ret

// VMXON and a VMCS at %rdi, the region for VMXON before it, for an L2 that shares everything with L1.
vmx_on:
    movq %cr4, %rax
    orq $0x2000, %rax
    movq %rax, %cr4
    movl $0x3a, %ecx // IA32_FEATURE_CONTROL
    rdmsr
    testl $1, %eax
    jnz 1f
    orl $5, %eax
    wrmsr
1:  movl $0x480, %ecx // IA32_VMX_BASIC
    rdmsr
    movl %eax, (%rdi)
    leaq -4096(%rdi), %rbx
    movl %eax, (%rbx)
    pushq %rbx
    vmxon (%rsp)
    jbe wrong
    movq %rdi, (%rsp)
    vmclear (%rsp)
    jbe wrong
    vmptrld (%rsp)
    jbe wrong
    popq %rbx
    capability 0x48d, 0 // TRUE_PINBASED
    vmw_reg PIN_BASED_VM_EXEC_CONTROL, %rbx
    movl %ebx, pin(%rip)
    capability 0x48e, 0x10000000 // MSR bitmaps
    vmw_reg CPU_BASED_VM_EXEC_CONTROL, %rbx
    movl %ebx, cpu(%rip)
    capability 0x48f, 0x200 // Host address-space size
    vmw_reg VM_EXIT_CONTROLS, %rbx
    capability 0x490, 0x200 // IA-32e mode guest
    vmw_reg VM_ENTRY_CONTROLS, %rbx
    vmw MSR_BITMAP, nothing
    vmw VMCS_LINK_POINTER, -1
    movq %cr0, %rbx
    vmw_reg GUEST_CR0, %rbx
    vmw_reg HOST_CR0, %rbx
    movq %cr3, %rbx
    vmw_reg GUEST_CR3, %rbx
    vmw_reg HOST_CR3, %rbx
    movq %cr4, %rbx
    vmw_reg GUEST_CR4, %rbx
    vmw_reg HOST_CR4, %rbx
    .irp segment, E, S, D, F, G
    vmw GUEST_\segment\()S_SELECTOR, DS
    vmw GUEST_\segment\()S_LIMIT, 0xffffffff
    vmw GUEST_\segment\()S_AR_BYTES, 0xc093
    vmw HOST_\segment\()S_SELECTOR, DS
    .endr
    vmw GUEST_CS_SELECTOR, CS64
    vmw GUEST_CS_LIMIT, 0xffffffff
    vmw GUEST_CS_AR_BYTES, 0xa09b
    vmw HOST_CS_SELECTOR, CS64
    vmw GUEST_LDTR_AR_BYTES, 0x10000
    vmw GUEST_TR_SELECTOR, TSS
    vmw GUEST_TR_LIMIT, 0x67
    vmw GUEST_TR_AR_BYTES, 0x8b
    vmw GUEST_TR_BASE, tss
    vmw HOST_TR_SELECTOR, TSS
    vmw HOST_TR_BASE, tss
    vmw GUEST_GDTR_BASE, gdt
    vmw GUEST_GDTR_LIMIT, (gdt_end - gdt - 1)
    vmw HOST_GDTR_BASE, gdt
    vmw GUEST_IDTR_BASE, idt
    vmw GUEST_IDTR_LIMIT, 0xfff
    vmw HOST_IDTR_BASE, idt
    vmw GUEST_DR7, 0x400
    leaq exited(%rip), %rbx
    vmw_reg HOST_RIP, %rbx
    leaq l2_stack_top(%rip), %rbx
    vmw_reg GUEST_RSP, %rbx
    ret

    // Controls as vmx_on left them, and these besides.
    .macro controls pin_bits, cpu_bits
    movl pin(%rip), %ebx
    orl $\pin_bits, %ebx
    vmw_reg PIN_BASED_VM_EXEC_CONTROL, %rbx
    movl cpu(%rip), %ebx
    orl $\cpu_bits, %ebx
    vmw_reg CPU_BASED_VM_EXEC_CONTROL, %rbx
    .endm

    // L2 halted, at code that only an event reaches past.
    .macro halted rflags
    leaq l2_stack_top(%rip), %rbx
    vmw_reg GUEST_RSP, %rbx
    vmw GUEST_ACTIVITY_STATE, HLT
    vmw GUEST_INTERRUPTIBILITY_INFO, 0
    movl $1, in_l2(%rip)
    l2 ran_on, \rflags
    movl $0, in_l2(%rip)
    .endm

    .macro takes_interrupt
    sti
    nop
    cli
    .endm

ran_on:
    incq runs(%rip)
    vmcall
calls:
    vmcall
halts:
    hlt
    vmcall
sees_msr:
    movl $KERNEL_GS_BASE, %ecx
    rdmsr
    movl %eax, msr_of_l2(%rip)
    wrmsr_of KERNEL_GS_BASE, 0x2222
    vmcall
changes_dr7:
    movq %dr7, %rax
    movq %rax, dr7_of_l2(%rip)
    movl $0x408, %eax
    movq %rax, %dr7
    vmcall
changes_fs:
    movl $DS_USER, %eax
    movl %eax, %fs
    vmcall
    movl %fs, %eax
    movl %eax, fs_of_l2(%rip)
    vmcall
spins:
    movl $1, spinning(%rip)
1:  pause
    jmp 1b

test:
    handler VECTOR, on_vector
    movb $0, idt + 16 * VECTOR + 4(%rip)
    apic 0xf0, 0x1ff
    apic 0x3e0, 11 // Timer: each cycle of its clock
    apic 0x320, VECTOR
    leaq vmcs(%rip), %rdi
    call vmx_on

    step // IA32_VMX_MISC offers HLT, and not wait-for-SIPI.
    movl $0x485, %ecx
    rdmsr
    andl $0x1c0, %eax
    cmpl $0x40, %eax
    jne wrong

    step // An interrupt that waits for L1: L2 leaves at once, as halted as it was.
    controls PIN_EXTERNAL_INTERRUPT, 0
    apic 0x300, (0x40000 + VECTOR)
    halted 2
    seen VM_EXIT_REASON, EXTERNAL_INTERRUPT
    seen GUEST_ACTIVITY_STATE, HLT
    expect 0, runs(%rip)
    takes_interrupt
    expect 1, irqs(%rip)

    step // One that comes later ends the halt, whatever L2's IF.
    apic 0x380, 200000
    halted 2
    seen VM_EXIT_REASON, EXTERNAL_INTERRUPT
    seen GUEST_ACTIVITY_STATE, HLT
    expect 0, runs(%rip)
    takes_interrupt
    expect 2, irqs(%rip)

    step // So does L2's own HLT, where L1 does not intercept it; it ended behind the instruction.
    vmw GUEST_ACTIVITY_STATE, 0
    apic 0x380, 200000
    l2 halts, 2
    seen VM_EXIT_REASON, EXTERNAL_INTERRUPT
    seen GUEST_ACTIVITY_STATE, HLT
    leaq halts + 1(%rip), %rdx
    movl $GUEST_RIP, %eax
    vmread %rax, %rbx
    cmpq %rdx, %rbx
    jne wrong
    takes_interrupt
    expect 3, irqs(%rip)

    step // Without external-interrupt exiting it is L2 that takes it, and runs.
    controls 0, 0
    apic 0x380, 200000
    halted 0x202
    seen VM_EXIT_REASON, VMCALL
    seen GUEST_ACTIVITY_STATE, 0
    expect 4, irqs(%rip)

    step // An event that L1 injects wakes it.
    vmw VM_ENTRY_INTR_INFO_FIELD, (0x80000000 + VECTOR)
    halted 0x202
    seen VM_EXIT_REASON, VMCALL
    seen GUEST_ACTIVITY_STATE, 0
    expect 5, irqs(%rip)
    expect 0, runs(%rip)

    step // A window opens while it is halted.
    controls PIN_NMI, CPU_NMI_WINDOW
    halted 2
    seen VM_EXIT_REASON, NMI_WINDOW
    seen GUEST_ACTIVITY_STATE, HLT
    controls 0, 0

    step // HLT is for CPL 0, and software interrupts do not wake.
    vmw GUEST_SS_AR_BYTES, 0xc0f3
    halted 2
    seen VM_EXIT_REASON, INVALID_STATE
    vmw GUEST_SS_AR_BYTES, 0xc093
    vmw VM_ENTRY_INTR_INFO_FIELD, (0x80000400 + VECTOR)
    vmw VM_ENTRY_INSTRUCTION_LEN, 2
    halted 2
    seen VM_EXIT_REASON, INVALID_STATE
    vmw VM_ENTRY_INTR_INFO_FIELD, 0
    vmw GUEST_ACTIVITY_STATE, WAIT_FOR_SIPI
    l2 calls, 2
    seen VM_EXIT_REASON, INVALID_STATE
    vmw GUEST_ACTIVITY_STATE, 0

    step // MSR areas: loaded at entry; stored and loaded at exit.
    vmw VM_ENTRY_MSR_LOAD_ADDR, entry_area
    vmw VM_ENTRY_MSR_LOAD_COUNT, 1
    vmw VM_EXIT_MSR_STORE_ADDR, store_area
    vmw VM_EXIT_MSR_STORE_COUNT, 1
    vmw VM_EXIT_MSR_LOAD_ADDR, exit_area
    vmw VM_EXIT_MSR_LOAD_COUNT, 1
    l2 sees_msr, 2
    seen VM_EXIT_REASON, VMCALL
    expect 0x1111, msr_of_l2(%rip)
    expect 0x2222, store_area + 8(%rip)
    movl $KERNEL_GS_BASE, %ecx
    rdmsr
    cmpl $0x3333, %eax
    jne wrong

    step // FS.base is the VMCS's: the entry's number is told, L1's MSRs are as an exit leaves them.
    vmw VM_ENTRY_MSR_LOAD_COUNT, 2
    l2 calls, 2
    seen VM_EXIT_REASON, MSR_LOADING
    seen EXIT_QUALIFICATION, 2
    movl $KERNEL_GS_BASE, %ecx
    rdmsr
    cmpl $0x3333, %eax
    jne wrong
    vmw VM_ENTRY_MSR_LOAD_COUNT, 0
    vmw VM_EXIT_MSR_STORE_COUNT, 0
    vmw VM_EXIT_MSR_LOAD_COUNT, 0

    step // What L2 changed stays when L1 writes another field before the next entry.
    l2 changes_fs, 2
    seen VM_EXIT_REASON, VMCALL
    vmw EXCEPTION_BITMAP, 0
    movl $VM_EXIT_INSTRUCTION_LEN, %eax
    vmread %rax, %rdx
    movl $GUEST_RIP, %eax
    vmread %rax, %rbx
    addq %rdx, %rbx
    vmw_reg GUEST_RIP, %rbx
    call enter
    expect DS_USER, fs_of_l2(%rip)
    vmw GUEST_FS_SELECTOR, DS

    step // DR7 stays L1's without "load debug controls", and L2's is lost without "save".
    movl $0x402, %eax
    movq %rax, %dr7
    vmw GUEST_DR7, 0x404
    l2 changes_dr7, 2
    seen VM_EXIT_REASON, VMCALL
    expect 0x402, dr7_of_l2(%rip)
    seen GUEST_DR7, 0x404
    movq %dr7, %rax
    cmpq $0x400, %rax
    jne wrong

    step // With both it is not.
    movl $VM_EXIT_CONTROLS, %eax
    vmread %rax, %rbx
    orl $4, %ebx
    vmwrite %rbx, %rax
    movl $VM_ENTRY_CONTROLS, %eax
    vmread %rax, %rbx
    orl $4, %ebx
    vmwrite %rbx, %rax
    l2 changes_dr7, 2
    seen VM_EXIT_REASON, VMCALL
    expect 0x404, dr7_of_l2(%rip)
    seen GUEST_DR7, 0x408

    step // #GP has an error code: an entry without it fails, before anything is entered.
    vmw VM_ENTRY_INTR_INFO_FIELD, 0x8000030d
    movw $0, vmfail(%rip)
    l2 calls, 2
    expect 0x100, vmfail(%rip)
    seen VM_INSTRUCTION_ERROR, 7
    vmw VM_ENTRY_INTR_INFO_FIELD, 0

    step // CR0 keeps PE, PG and NE in VMX operation; VMX instructions want canonical addresses.
    movq %cr0, %rax
    andq $~0x20, %rax
    raises 13, 0, movq %rax, %cr0
    movq $0x800000000000, %rax
    raises 13, 0, vmptrst (%rax)
    movq $0x800000000000, %rbp
    raises 12, 0, vmptrst (%rbp)

    step // A launched VMCS cannot be launched, one whose entry failed was not.
    movq $vmcs, pointer(%rip)
    vmclear pointer(%rip)
    vmptrld pointer(%rip)
    movl $0, launched(%rip)
    vmw GUEST_ACTIVITY_STATE, WAIT_FOR_SIPI
    l2 calls, 2
    seen VM_EXIT_REASON, INVALID_STATE
    vmw GUEST_ACTIVITY_STATE, 0
    movl $1, launched(%rip)
    l2 calls, 2
    seen VM_INSTRUCTION_ERROR, 5
    movl $0, launched(%rip)
    l2 calls, 2
    seen VM_EXIT_REASON, VMCALL
    movl $0, launched(%rip)
    l2 calls, 2
    seen VM_INSTRUCTION_ERROR, 4
    vmxoff

    step // The other processor enters VMX operation.
    movl $trampoline, %esi
    movl $TRAMPOLINE, %edi
    movl $trampoline_end - trampoline, %ecx
    rep movsb
    apic 0x300, 0xc4500 // INIT, all but self
    movl $20000, %ecx
1:  pause
    loop 1b
    apic 0x300, 0xc4608 // SIPI to 8000h
1:  pause
    cmpl $1, stage(%rip)
    jne 1b

    step // INIT does nothing to it, for now.
    apic 0x300, 0xc4500
    call wait_a_while
    movq beats(%rip), %rbp
    call wait_a_while
    cmpq beats(%rip), %rbp
    je wrong

    step // It is L2's exit, when there is one to leave; and then it is gone.
    movl $2, stage(%rip)
1:  pause
    cmpl $3, stage(%rip)
    jne 1b
    expect 0, spinning(%rip)
    apic 0x300, 0xc4500
    movl $4, stage(%rip)
    call wait_a_while
    movq beats(%rip), %rbp
    call wait_a_while
    cmpq beats(%rip), %rbp
    je wrong

    step // What still waits comes with VMXOFF, and a SIPI starts the processor again.
    movl $5, stage(%rip)
    call wait_a_while
    movq beats(%rip), %rbp
    call wait_a_while
    cmpq beats(%rip), %rbp
    jne wrong
    movl $6, stage(%rip)
    apic 0x300, 0xc4608
1:  pause
    cmpl $7, stage(%rip)
    jne 1b
    ret

wait_a_while:
    movl $20000, %ecx
1:  pause
    loop 1b
    ret

    .code16
trampoline:
    cli
    movw %cs, %ax
    movw %ax, %ds
    lgdtl trampoline_gdt - trampoline
    movl $pml4, %eax
    movl %eax, %cr3
    movl $0x620, %eax
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl %cr0, %eax
    andl $~0x60000000, %eax
    orl $0x80000023, %eax
    movl %eax, %cr0
    ljmpl $CS64, $other
trampoline_gdt:
    .word 0x4f
    .long gdt
trampoline_end:

    .code64
other:
    movl $DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    leaq other_stack_top(%rip), %rsp
    cmpl $6, stage(%rip)
    jne 1f
    movl $7, stage(%rip)
    jmp rest
1:  lidt idt_pointer(%rip)
    leaq other_vmcs(%rip), %rdi
    call vmx_on
    movl $0, launched(%rip)
    movl $1, stage(%rip)
    movl $2, %r8d
    call beat_until
    l2 spins, 2 // With an INIT that waits: leaves before the first instruction.
    seen VM_EXIT_REASON, INIT_SIGNAL
    movl $3, stage(%rip)
    movl $5, %r8d
    call beat_until
    vmxoff
    movl $8, stage(%rip) // Never reached.
rest:
    cli
    hlt
    jmp rest

beat_until:
1:  incq beats(%rip)
    pause
    cmpl %r8d, stage(%rip)
    jne 1b
    ret

    .data
    .align 16
entry_area: .long KERNEL_GS_BASE, 0
    .quad 0x1111
    .long FS_BASE, 0
    .quad 0
store_area: .long KERNEL_GS_BASE, 0
    .quad 0
exit_area: .long KERNEL_GS_BASE, 0
    .quad 0x3333
irqs: .quad 0
runs: .quad 0
beats: .quad 0
pointer: .quad 0
value_read: .quad 0
msr_of_l2: .quad 0
dr7_of_l2: .quad 0
fs_of_l2: .quad 0
vmfail: .quad 0
spinning: .quad 0
stage: .quad 0
launched: .long 0
in_l2: .long 0
pin: .long 0
cpu: .long 0
    .bss
    .align 4096
    .skip 4096 // VMXON's
vmcs: .skip 4096
    .skip 4096
other_vmcs: .skip 4096
nothing: .skip 4096
    .skip 4096
l2_stack_top:
    .skip 4096
other_stack_top:
    .text
