// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/fpu.h"
#include "hv/core/vm.h"
#include "hv/hw/fpu.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/x86/regs.h"

#define MXCSR_DEFINED 0xffffu
#define XSTATE_OFFERED (XFEATURE_X87 | XFEATURE_SSE | XFEATURE_PKRU)

// v->fpu
struct guest_fpu {
    struct preempt_notifier notifier; // Of `thread`.
    struct thread *thread;            // Whose registers these are; NULL: nobody has run the vCPU.
    struct cpu *cpu;                  // They are in this processor; NULL: in the area.
    void *area;                       // Page.
    hpa_t hpa;
};

_Static_assert(HW_XSAVE_BYTES <= sizeof(struct hv_xsave), "an area fits into what user space gets");

// --- In and out of a processor: on it, interrupts disabled.

static void load(struct guest_fpu *f, struct cpu *cpu)
{
    // What fpu_set() has let in has no reserved bits.
    if (hw_xrstor(f->hpa) != HW_DONE)
        HV_PANIC("the guest's registers cannot be loaded");
    f->cpu = cpu;
}

static void save(struct guest_fpu *f)
{
    hw_xsave(f->hpa);
    f->cpu = NULL;
}

static void sched_in(struct preempt_notifier *n, struct cpu *cpu)
{
    load(container_of(n, struct guest_fpu, notifier), cpu);
}

static void sched_out(struct preempt_notifier *n, bool preempted)
{
    struct guest_fpu *f = container_of(n, struct guest_fpu, notifier);

    (void)preempted;
    if (f->cpu != NULL)
        save(f);
    if (current_thread()->state == THREAD_DEAD)
        f->thread = NULL; // Its list of notifiers goes with it.
}

// By cpu_call() on the processor that had the registers: they may be in the area by now.
static void save_here(void *arg)
{
    struct guest_fpu *f = arg;

    if (f->cpu == this_cpu())
        save(f);
}

static void copy_here(void *arg)
{
    struct guest_fpu *f = arg;

    if (f->cpu == this_cpu())
        hw_xsave(f->hpa);
}

// --- The vCPU's thread.

// What the next RUN does first, as arch_vcpu_pre_run() returns: its thread has the registers from now on.
static int bind(struct x86_vcpu *v)
{
    struct guest_fpu *f = v->fpu;

    HV_ASSERT(f->thread == NULL || f->thread == current_thread());
    preempt_disable();
    if (f->thread == NULL) {
        f->thread = current_thread();
        f->notifier.sched_in = sched_in;
        f->notifier.sched_out = sched_out;
        preempt_notifier_register(&f->notifier);
    }
    if (f->cpu == NULL)
        load(f, this_cpu());
    preempt_enable();
    return 1;
}

void fpu_free(struct x86_vcpu *v)
{
    struct guest_fpu *f = v->fpu;

    if (f == NULL)
        return;
    if (f->thread != NULL)
        preempt_notifier_unregister(&f->notifier);
    page_free(v->vcpu.vm->host, f->area, MEM_KERNEL);
    kfree(v->vcpu.vm->host, f, sizeof(*f));
    v->fpu = NULL;
}

// --- User space.

static int create(struct x86_vcpu *v)
{
    struct host *host = v->vcpu.vm->host;
    struct guest_fpu *f = kzalloc(host, sizeof(*f));

    if (f == NULL || (f->area = page_alloc_zeroed(host, MEM_KERNEL)) == NULL) {
        kfree(host, f, sizeof(*f));
        return -ENOMEM;
    }
    f->hpa = va_to_hpa(host, f->area);
    v->fpu = f;
    return 0;
}

s64 fpu_get(struct x86_vcpu *v, u64 arg)
{
    struct guest_fpu *f = v->fpu;
    struct cpu *cpu = f != NULL ? load_acquire(&f->cpu) : NULL;

    if (f == NULL)
        return -EINVAL;
    if (cpu != NULL)
        cpu_call(cpu, copy_here, f);
    return copy_to_user(current_thread()->mm, arg, f->area, sizeof(struct hv_xsave));
}

static bool acceptable(const u8 *area)
{
    const u64 *header = (const u64 *)(area + HW_XSAVE_HEADER);
    u32 mxcsr = *(const u32 *)(area + HW_XSAVE_MXCSR);

    return !(mxcsr & ~MXCSR_DEFINED) && !(header[0] & ~XSTATE_OFFERED) && header[1] == 0 && header[2] == 0;
}

s64 fpu_set(struct x86_vcpu *v, u64 arg)
{
    struct host *host = v->vcpu.vm->host;
    s64 result = 0;

    if (v->complete != NULL && v->complete != bind)
        return -EBUSY;
    if (v->fpu == NULL && (result = create(v)) != 0)
        return result;
    // Not into the area: it must not have what cannot be loaded, and the thread may just be saving into it.
    void *page = page_alloc_zeroed(host, MEM_KERNEL);

    if (page == NULL)
        return -ENOMEM;
    if (copy_from_user(current_thread()->mm, page, arg, sizeof(struct hv_xsave)))
        result = -EFAULT;
    else if (!acceptable(page))
        result = -EINVAL;
    if (result == 0) {
        struct cpu *cpu = load_acquire(&v->fpu->cpu);

        if (cpu != NULL)
            cpu_call(cpu, save_here, v->fpu);
        memcpy(v->fpu->area, page, sizeof(struct hv_xsave));
        v->complete = bind;
    }
    page_free(host, page, MEM_KERNEL);
    return result;
}

void fpu_get_xcrs(struct x86_vcpu *v, struct hv_xcrs *out)
{
    *out = (struct hv_xcrs){.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = v->xcr0}};
}

int fpu_set_xcrs(struct x86_vcpu *v, const struct hv_xcrs *in)
{
    if (in->flags != 0 || in->nr_xcrs > HV_XCRS_MAX)
        return -EINVAL;
    for (u32 i = 0; i < in->nr_xcrs; i++)
        if (in->xcrs[i].xcr == 0)
            return vcpu_set_xcr0(v, in->xcrs[i].value) ? -EINVAL : 0;
    return 0;
}
