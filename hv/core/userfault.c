// SPDX-License-Identifier: Apache-2.0
// Faults that a process itself resolves: who misses a page, who is told, who is woken.
#include "hv/core/hostmm.h"

#include "hv/core/sched.h"
#include "hv/lib/errno.h"

struct user_fault {
    struct list node;
    hva_t hva;
    bool told;
};

void userfault_wait(struct hostmm *mm, const struct hostmm_area *a, hva_t hva)
{
    struct user_fault f = {.hva = hva & ~((1ull << a->page_shift) - 1)};
    struct user_page page;
    list_init(&f.node);
    list_add_tail(&f.node, &mm->user_faults);
    WRITE_ONCE(mm->untold_faults, mm->untold_faults + 1);
    mutex_unlock(&mm->lock);
    (void)wake_up_all(&mm->fault_readers);
    wait_event(&mm->fault_waiters, get_user_page_fast(mm, hva, true, &page) || !READ_ONCE(a->userfault));
    mutex_lock(&mm->lock);
    list_del(&f.node);
    WRITE_ONCE(mm->untold_faults, mm->untold_faults - (f.told ? 0 : 1));
}

int userfault_register(struct hostmm *mm, hva_t start, u64 size, bool on)
{
    mutex_lock(&mm->lock);
    struct hostmm_area *a = hostmm_find_area(mm, start);
    bool whole = a != NULL && !a->direct && a->start == start && a->size == size;
    if (whole)
        WRITE_ONCE(a->userfault, on);
    mutex_unlock(&mm->lock);
    (void)wake_up_all(&mm->fault_waiters);
    return whole ? 0 : -EINVAL;
}

static bool next_fault(struct hostmm *mm, hva_t *out)
{
    bool found = false;
    mutex_lock(&mm->lock);
    list_for_each(f, &mm->user_faults, struct user_fault, node)
    {
        if (!found && !f->told) {
            found = f->told = true;
            WRITE_ONCE(mm->untold_faults, mm->untold_faults - 1);
            *out = f->hva;
        }
    }
    mutex_unlock(&mm->lock);
    return found;
}

int userfault_read(struct hostmm *mm, hva_t *out)
{
    struct thread *self = current_thread();
    while (!next_fault(mm, out)) {
        wait_event(&mm->fault_readers,
                   READ_ONCE(mm->untold_faults) != 0 || READ_ONCE(self->signal_pending) != 0);
        if (READ_ONCE(self->signal_pending) != 0)
            return -EINTR;
    }
    return 0;
}
