// SPDX-License-Identifier: Apache-2.0
// Guest memory by guest-physical address, page by page, through slots and the host's page tables.
#include "hv/core/arch.h"
#include "hv/core/dirty_log.h"
#include "hv/core/vm.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"

// Direct-map pointer to gpa, valid to the end of its page, or NULL. Inside vm->srcu.
static u8 *guest_pointer(struct vm *vm, u64 gpa, bool write)
{
    struct memslot *slot = gfn_to_memslot(vm_memslots(vm, 0), gpa >> PAGE_SHIFT);
    struct user_page page;
    if (slot == NULL || (slot->flags & MEMSLOT_INVALID) != 0)
        return NULL;
    if (write && (slot->flags & HV_MEM_READONLY) != 0)
        return NULL;
    if (get_user_page(vm->mm, gfn_to_hva_in(slot, gpa >> PAGE_SHIFT), write, &page) != 0)
        return NULL;
    return (u8 *)pfn_to_va(vm->host, page.pfn) + (gpa & ~PAGE_MASK);
}

const void *vm_guest_page_fast(struct vm *vm, gfn_t gfn)
{
    const struct memslot *slot = gfn_to_memslot(vm_memslots(vm, 0), gfn);
    struct user_page page;
    if (slot == NULL || (slot->flags & MEMSLOT_INVALID) != 0)
        return NULL;
    return get_user_page_fast(vm->mm, gfn_to_hva_in(slot, gfn), false, &page) ? pfn_to_va(vm->host, page.pfn)
                                                                              : NULL;
}

int vm_read_guest(struct vm *vm, gpa_t gpa, void *to, u64 bytes)
{
    u8 *out = to;
    while (bytes > 0) {
        u64 part = min_u64(bytes, PAGE_SIZE - (gpa.v & ~PAGE_MASK));
        const u8 *from = guest_pointer(vm, gpa.v, false);
        if (from == NULL)
            return -EFAULT;
        memcpy(out, from, part);
        out += part;
        gpa.v += part;
        bytes -= part;
    }
    return 0;
}

int vm_write_guest(struct vm *vm, gpa_t gpa, const void *from, u64 bytes)
{
    const u8 *in = from;
    while (bytes > 0) {
        u64 part = min_u64(bytes, PAGE_SIZE - (gpa.v & ~PAGE_MASK));
        u8 *to = guest_pointer(vm, gpa.v, true);
        if (to == NULL)
            return -EFAULT;
        memcpy(to, in, part);
        mark_page_dirty(vm, gpa.v >> PAGE_SHIFT);
        in += part;
        gpa.v += part;
        bytes -= part;
    }
    return 0;
}

static bool exchange(void *at, u64 *expected, u64 value, unsigned bytes)
{
    u8 e1 = (u8)*expected;
    u16 e2 = (u16)*expected;
    u32 e4 = (u32)*expected;
    bool done;

    switch (bytes) {
    case 1:
        done =
            __atomic_compare_exchange_n((u8 *)at, &e1, (u8)value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        *expected = e1;
        return done;
    case 2:
        done = __atomic_compare_exchange_n((u16 *)at, &e2, (u16)value, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
        *expected = e2;
        return done;
    case 4:
        done = __atomic_compare_exchange_n((u32 *)at, &e4, (u32)value, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
        *expected = e4;
        return done;
    default:
        return __atomic_compare_exchange_n((u64 *)at, expected, value, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    }
}

int vm_cmpxchg_guest(struct vm *vm, gpa_t gpa, u64 *expected, u64 value, unsigned bytes)
{
    u8 *at = guest_pointer(vm, gpa.v, true);

    if (at == NULL)
        return -EFAULT;
    if (!exchange(at, expected, value, bytes))
        return -1;
    mark_page_dirty(vm, gpa.v >> PAGE_SHIFT);
    return 0;
}
