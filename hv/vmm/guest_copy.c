// SPDX-License-Identifier: Apache-2.0
// Guest memory as the VMM itself writes it.
#include "hv/lib/string.h"
#include "hv/vmm/vmm.h"

#define PAGE_BYTES 4096ull
#define VMM_EFAULT 14

static struct vmm_slot *slot_of(struct vmm_vm *vm, u64 gpa)
{
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++)
        if (vm->slots[i].used && gpa - vm->slots[i].gpa < vm->slots[i].bytes)
            return &vm->slots[i];
    return NULL;
}

s64 vmm_write_guest(struct vmm_vm *vm, u64 gpa, const void *from, u64 bytes)
{
    const u8 *next = from;

    while (bytes > 0) {
        struct vmm_slot *s = slot_of(vm, gpa);
        u64 left = PAGE_BYTES - gpa % PAGE_BYTES, count = bytes < left ? bytes : left;

        if (!s)
            return -VMM_EFAULT;
        s64 to = hv_syscall(HV_SYS_TOUCH, s->address + (gpa - s->gpa), HV_TOUCH_WRITE, 0, 0);

        if (to < 0)
            return to;
        memcpy((void *)to, next, count);
        vmm_dirty_mark(vm, s->slot, gpa - s->gpa, count);
        next += count;
        gpa += count;
        bytes -= count;
    }
    return 0;
}
