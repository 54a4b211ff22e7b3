// SPDX-License-Identifier: Apache-2.0
#include "hv/tests/bench/work.h"
#include "hv/api.h"
#include "hv/lib/string.h"

static bool set_slot(struct work *w, u32 slot, u64 gpa, u64 bytes)
{
    struct hv_user_memory_region region = {
        .slot = slot, .guest_phys_addr = gpa, .memory_size = bytes, .userspace_addr = w->memory};

    return hv_ioctl_ptr(w->vm, HV_SET_USER_MEMORY_REGION, &region) == 0;
}

bool work_prepare(struct work *w)
{
    w->vm = (int)hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0);
    if (w->vm <= 0 || hv_ioctl(w->vm, HV_CREATE_IRQCHIP, 0) != 0)
        return false;
    w->memory = (u64)hv_mmap(WORK_BYTES, 12, HV_MAP_GUEST);
    if (!set_slot(w, 0, 0, WORK_BYTES))
        return false;
    w->vcpu = (int)hv_ioctl(w->vm, HV_CREATE_VCPU, 0);
    return w->vcpu > 0;
}

static bool memslot(struct work *w, u64 round)
{
    (void)round;
    return set_slot(w, 1, WORK_BYTES, WORK_BYTES) && set_slot(w, 1, 0, 0);
}

static bool prefault(struct work *w, u64 round)
{
    struct hv_pre_fault_memory range = {.gpa = round % WORK_PAGES * 4096, .size = 4096};

    if (range.gpa == 0 && !(set_slot(w, 0, 0, 0) && set_slot(w, 0, 0, WORK_BYTES)))
        return false;
    return hv_ioctl_ptr(w->vcpu, HV_PRE_FAULT_MEMORY, &range) == 0 && range.size == 0;
}

static bool yield(struct work *w, u64 round)
{
    (void)w, (void)round;
    return hv_syscall(HV_SYS_YIELD, 0, 0, 0, 0) == 0;
}

static const struct {
    const char *name;
    bool (*round)(struct work *w, u64 round);
} works[] = {{"memslot", memslot}, {"prefault", prefault}, {"yield", yield}};

s64 work_do(struct work *w, const char *name, u64 rounds)
{
    s64 done = 0;

    for (u32 i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
        if (strcmp(works[i].name, name) != 0)
            continue;
        for (u64 r = 0; r < rounds; r++)
            done += works[i].round(w, r);
        return done;
    }
    return -1;
}
