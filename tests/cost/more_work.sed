# SPDX-License-Identifier: Apache-2.0
# Puts a hundred rounds of arithmetic into handle_cpuid(): registers only, so that a block's price is all they cost.
/^int handle_cpuid(/,/^}/s/^    struct hw_cpuid_regs r;$/&\
    u32 more = leaf;\
\
    for (u32 round = 0; round < 100; round++)\
        __asm__ volatile("imull $5, %0, %0\\n\\taddl $1, %0" : "+r"(more) : : "cc");/
