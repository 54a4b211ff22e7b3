// SPDX-License-Identifier: Apache-2.0
//
// Hand-assembled blocks for test_price.c, which states the price of each. A block runs from behind a HOOK to the next.
// r12 to r15, rbx and rbp are what the "program" keeps; everything else only serves hooks, as in compiled code.

        .intel_syntax noprefix
        .text

        .macro FUNCTION name
        .globl  \name
        .type   \name, @function
\name:
        .endm
        .macro HOOK
        call    __sanitizer_cov_trace_pc@PLT
        .endm
        .macro END name
        ret
        .size   \name, . - \name
        .endm

// Throughput.
FUNCTION alu
        HOOK
        add     rbx, 1
        add     rbp, 1
        add     r12, 1
        add     r13, 1
        HOOK
END alu
FUNCTION fused_branch
        HOOK
        cmp     rbx, rbp
        jne     1f
        HOOK
1:      HOOK
END fused_branch
FUNCTION inc_below                      // INC leaves CF alone, so it does not fuse with a test of CF.
        HOOK
        inc     rbx
        jb      1f
        HOOK
1:      HOOK
END inc_below
FUNCTION compare_memory_constant        // A memory operand with a constant does not fuse either.
        HOOK
        cmp     qword ptr [rbx], 5
        jne     1f
        HOOK
1:      HOOK
END compare_memory_constant
FUNCTION stores
        HOOK
        mov     [rbx], rbp
        mov     [rbx + 8], rbp
        HOOK
END stores
FUNCTION loads
        HOOK
        mov     rbx, [r12]
        mov     rbp, [r12 + 8]
        mov     r13, [r12 + 16]
        movzx   r14d, byte ptr [r12 + 24]
        HOOK
END loads
FUNCTION modify
        HOOK
        add     [rbx], rbp
        HOOK
END modify
FUNCTION modify_inc
        HOOK
        inc     qword ptr [rbx]
        HOOK
END modify_inc
FUNCTION indexed_store
        HOOK
        mov     [rbp + r12 * 8], rbx
        HOOK
END indexed_store
FUNCTION zero_idiom
        HOOK
        xor     ebx, ebx
        HOOK
END zero_idiom
FUNCTION moves
        HOOK
        mov     rbx, rbp
        mov     r12, r13
        HOOK
END moves
FUNCTION divide
        HOOK
        xor     edx, edx
        div     rbp
        mov     rbx, rax
        HOOK
END divide
FUNCTION slow_lea
        HOOK
        lea     rbx, [rbp + r12 * 8 + 4]
        lea     r13, [rbp + r12 * 8 + 4]
        HOOK
END slow_lea
FUNCTION calls
        HOOK
        call    hw_read@PLT
        HOOK
END calls
FUNCTION clear_64
        HOOK
        mov     ecx, 8
        rep stosq
        HOOK
END clear_64
FUNCTION clear_some
        HOOK
        mov     rcx, rbx
        rep stosb
        HOOK
END clear_some

// Chains.
FUNCTION chase
1:      HOOK
        mov     rbx, [rbx]
        test    rbx, rbx
        jne     1b
        HOOK
END chase
FUNCTION count_down
1:      HOOK
        sub     rbx, 1
        jne     1b
        HOOK
END count_down
FUNCTION loop_with_call                 // The callee runs between two turns: no recurrence is charged.
1:      HOOK
        mov     rbx, [rbx]
        call    hw_read@PLT
        test    rbx, rbx
        jne     1b
        HOOK
END loop_with_call
FUNCTION short_chain                    // Within what the scheduler covers.
        HOOK
        imul    rbx, rbx
        imul    rbx, rbx
        imul    rbx, rbx
        HOOK
END short_chain

// Instrumentation.
FUNCTION access
        HOOK
        lea     rdi, [rbx + 8]
        call    __tsan_read8@PLT
        mov     rbp, [rbx + 8]
        HOOK
END access
FUNCTION access_kept                    // The address is the program's own, its copy for the hook is not.
        HOOK
        lea     r12, [rbx + 8]
        mov     rdi, r12
        call    __tsan_read8@PLT
        mov     rbp, [r12]
        HOOK
END access_kept
FUNCTION access_chain                   // Two instructions prepare one argument.
        HOOK
        mov     rax, rbx
        add     rax, 16
        mov     rdi, rax
        call    __tsan_write4@PLT
        mov     [rbx + 16], ebp
        HOOK
END access_chain
FUNCTION access_range
        HOOK
        mov     rdi, rbx
        mov     esi, 64
        call    __tsan_read_range@PLT
        HOOK
END access_range
FUNCTION argument_of_both               // rdi is also the argument of a call that stays: it is computed again after the hook.
        HOOK
        mov     rdi, rbx
        call    __tsan_read8@PLT
        mov     rdi, [rbx]
        call    hw_write@PLT
        HOOK
END argument_of_both
FUNCTION atomic_add                     // The value is computed by the program; moving it and the order are not.
        HOOK
        lea     rsi, [rbp + 1]
        mov     edx, 5
        mov     rdi, rbx
        call    __tsan_atomic64_fetch_add@PLT
        mov     r12, rax
        HOOK
END atomic_add
FUNCTION atomic_store
        HOOK
        mov     edx, 3
        xor     esi, esi
        mov     rdi, rbx
        call    __tsan_atomic64_store@PLT
        HOOK
END atomic_store
FUNCTION fence
        HOOK
        mov     edi, 5
        call    __tsan_atomic_thread_fence@PLT
        HOOK
END fence
FUNCTION enter_and_leave                // The first hook has the code in front of it; leaving by a jump to the hook is a return.
        push    rbx
        sub     rsp, 16
        mov     [rsp + 8], rbx
        mov     rdi, [rsp + 24]
        call    __tsan_func_entry@PLT
        HOOK
        add     rsp, 16
        pop     rbx
        jmp     __tsan_func_exit@PLT
        .size   enter_and_leave, . - enter_and_leave
FUNCTION leaf_frame                     // Nothing but hooks is called: without them there would be no frame.
        push    rbx
        mov     rbx, rdi
        sub     rsp, 8
        mov     rdi, [rsp + 16]
        call    __tsan_func_entry@PLT
        HOOK
        lea     rax, [rbx + 1]
        add     rsp, 8
        pop     rbx
        ret
        .size   leaf_frame, . - leaf_frame
FUNCTION bare_leaf                      // leaf_frame as written without hooks, but for the one that makes it a block.
        mov     rbx, rdi
        HOOK
        lea     rax, [rbx + 1]
        ret
        .size   bare_leaf, . - bare_leaf

FUNCTION half_frame                     // rbx lives across a call that stays, rbp only across a hook.
        push    rbp
        push    rbx
        mov     rbx, rdi
        mov     rbp, rsi
        HOOK
        mov     rdi, rbp
        call    hw_read@PLT
        add     rax, rbx
        pop     rbx
        pop     rbp
        ret
        .size   half_frame, . - half_frame

// Which code belongs to a hook.
FUNCTION joined                         // A jump to a tail without a hook is followed.
        HOOK
        add     rbx, 1
        jmp     2f
        HOOK
2:      add     rbp, 1
        mov     [rbp], rbx
END joined
FUNCTION forward                        // A forward branch is taken for not taken: the side that falls through counts.
        HOOK
        cmp     rbx, rbp
        je      3f
        add     rbp, 1
        jmp     4f
        HOOK
3:      mov     [rbp], rbx
4:      HOOK
        add     rbx, 1
        HOOK
END forward
FUNCTION backward                       // A backward branch is taken for taken: what follows the loop does not count in it.
1:      HOOK
        sub     rbx, 1
        jne     1b
        mov     [rbp], rbx
        mov     [rbp + 8], rbx
        jmp     4f
4:      HOOK
END backward
FUNCTION turns                          // A tail that loops without a hook is counted once.
        HOOK
5:      sub     rbx, 1
        jne     5b
END turns

        .section .note.GNU-stack, "", @progbits
