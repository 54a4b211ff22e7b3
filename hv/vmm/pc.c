// SPDX-License-Identifier: Apache-2.0
#include "hv/vmm/pc.h"

#define PC_DEVICE(model) extern const struct vmm_pc_model vmm_pc_##model;
#include "hv/vmm/pc_devices.def"
#undef PC_DEVICE

static const struct vmm_pc_model *const models[] = {
#define PC_DEVICE(model) &vmm_pc_##model,
#include "hv/vmm/pc_devices.def"
#undef PC_DEVICE
};
#define MODEL_COUNT (sizeof models / sizeof *models)

u64 vmm_pc_heap_bytes(void)
{
    u64 bytes = MODEL_COUNT * sizeof(struct vmm_pc_device) + 64;

    for (u32 i = 0; i < MODEL_COUNT; i++)
        bytes += models[i]->state_bytes + 64; // Each may lose 63 bytes to alignment.
    return bytes;
}

void vmm_pc_create(struct vmm_vm *vm)
{
    vm->pc = vmm_alloc(vm->vmm, MODEL_COUNT * sizeof *vm->pc);
    for (u32 i = 0; i < MODEL_COUNT; i++) {
        struct vmm_pc_device *d = &vm->pc[i];

        d->model = models[i];
        d->vm = vm;
        d->state = vmm_alloc(vm->vmm, models[i]->state_bytes);
        if (models[i]->reset)
            models[i]->reset(d);
    }
}

static void expire_thread(void *arg)
{
    struct vmm_pc_device *d = arg;

    for (;;) {
        u32 seen = __atomic_load_n(&d->changes, __ATOMIC_ACQUIRE);

        vmm_lock(&d->lock);
        u64 next_ns = d->model->expire(d, hv_clock_ns());

        vmm_unlock(&d->lock);
        if (__atomic_load_n(&d->vm->ended, __ATOMIC_ACQUIRE)) // Nobody is left to be interrupted.
            hv_exit();
        hv_futex_wait(&d->changes, seen, next_ns);
    }
}

void vmm_pc_start(struct vmm_vm *vm, u32 cpu)
{
    for (u32 i = 0; i < MODEL_COUNT; i++)
        if (models[i]->expire)
            vmm_require(hv_thread_create(expire_thread, &vm->pc[i], cpu, HV_PRIO_NORMAL), models[i]->name);
}

void vmm_pc_changed(struct vmm_pc_device *d)
{
    __atomic_add_fetch(&d->changes, 1, __ATOMIC_RELEASE);
    hv_futex_wake(&d->changes, 1);
}

static bool covers(const struct vmm_pc_model *m, u32 kind, u64 address)
{
    for (u32 i = 0; i < VMM_PC_RANGES_MAX && m->ranges[i].size; i++)
        if (m->ranges[i].kind == kind && address - m->ranges[i].base < m->ranges[i].size)
            return true;
    return false;
}

static void access(struct vmm_pc_device *d, u64 address, bool write, u8 *data, u32 size)
{
    u64 value = write ? 0 : ~0ull;

    for (u32 i = 0; write && i < size; i++)
        value |= (u64)data[i] << 8 * i;
    vmm_lock(&d->lock);
    if (write && d->model->write)
        d->model->write(d, address, size, value);
    else if (!write && d->model->read)
        value = d->model->read(d, address, size);
    vmm_unlock(&d->lock);
    for (u32 i = 0; !write && i < size; i++)
        data[i] = (u8)(value >> 8 * i);
}

bool vmm_pc_access(struct vmm_vm *vm, u32 kind, u64 address, bool write, u8 *data, u32 size)
{
    for (u32 i = 0; i < MODEL_COUNT; i++)
        if (covers(models[i], kind, address)) {
            access(&vm->pc[i], address, write, data, size);
            return true;
        }
    return false;
}
