// SPDX-License-Identifier: Apache-2.0
// GSI routing: refusals, fan-out, acknowledgements, and changes beside readers.
#include "hv/core/irq_routing.h"
#include "hv/core/vm.h"
#include "hv/lib/errno.h"
#include "hv/tests/fake_arch.h"
#include "hv/tests/fake_hw.h"
#include "tests/shim/shim.h"

static void run(u32 cpus, u64 seed, void (*body)(void *))
{
    struct fake_config config = {.cpus = cpus, .seed = seed};
    fake_arch_reset();
    EXPECT_EQ(fake_run(&config, body, NULL), 0);
    EXPECT_STREQ(fake_panic(), "");
    EXPECT_EQ(fake_violations(NULL), 0);
}

static struct vm *new_vm(void)
{
    struct vm *vm = NULL;
    EXPECT_EQ(vm_create(this_host(), current_thread()->mm, 0, &vm), 0);
    return vm;
}

#define CHIP(g, c, p)                                                                                        \
    {                                                                                                        \
        .gsi = (g), .type = HV_IRQ_ROUTING_IRQCHIP, .u.irqchip = {(c), (p) }                                 \
    }
#define MSI(g, a, d)                                                                                         \
    {                                                                                                        \
        .gsi = (g), .type = HV_IRQ_ROUTING_MSI, .u.msi = {(a), 1, (d) }                                      \
    }

static u64 pins_set;

static int note_pin(struct vm *vm, unsigned irqchip, unsigned pin, unsigned level)
{
    (void)vm;
    pins_set = pins_set * 1000 + irqchip * 100 + pin;
    return level != 0 ? 1 : 0;
}

static void routing_body(void *arg)
{
    struct vm *vm = new_vm();
    static const struct {
        struct hv_irq_routing_entry e[4];
        u32 count;
        const char *rule;
    } bad[] = {
        {{CHIP(HV_IRQ_ROUTES_MAX, 2, 0)}, 1, "gsi out of range"},
        {{{.gsi = 1, .type = 0}}, 1, "type 0"},
        {{{.gsi = 1, .type = 3}}, 1, "unknown type"},
        {{{.gsi = 1, .type = HV_IRQ_ROUTING_MSI, .flags = 1}}, 1, "flags"},
        {{CHIP(1, 3, 0)}, 1, "chip 3"},
        {{CHIP(1, 2, 24)}, 1, "IOAPIC pin 24"},
        {{CHIP(1, 0, 8)}, 1, "PIC pin 8"},
        {{CHIP(1, 2, 1), CHIP(1, 2, 2)}, 2, "the same chip twice"},
        {{CHIP(1, 2, 1), MSI(1, 0, 0)}, 2, "a pin and a message"},
        {{MSI(1, 0, 0), MSI(1, 0, 1)}, 2, "two messages"},
    };
    const struct hv_irq_routing_entry good[] = {CHIP(4, 0, 4), CHIP(4, 2, 4), CHIP(23, 2, 23),
                                                MSI(40, 0xfee01000, 0x31)};
    (void)arg;
    fake_arch.irqchip_set = note_pin;
    EXPECT_EQ(set_irq(vm, 0, 4, 1), -EINVAL); // No routes yet.
    EXPECT_EQ(set_gsi_routing(vm, good, 4), 0);
    const struct irq_routing_table *table = vm->irq_routing;
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        test_row("%s", bad[i].rule);
        EXPECT_EQ(set_gsi_routing(vm, bad[i].e, bad[i].count), -EINVAL);
        EXPECT_TRUE(vm->irq_routing == table);
    }
    test_row(NULL);
    pins_set = 0;
    EXPECT_EQ(set_irq(vm, 0, 4, 1), 2); // Both chips took it.
    EXPECT_EQ(pins_set, 4204);
    EXPECT_EQ(set_irq(vm, 0, 4, 0), 0);
    EXPECT_EQ(set_irq(vm, 0, 4, 2), -EINVAL);
    EXPECT_EQ(set_irq(vm, 0, 5, 1), -EINVAL);
    EXPECT_EQ(set_irq(vm, 0, 41, 1), -EINVAL);
    EXPECT_EQ(set_irq(vm, 0, UINT32_MAX, 1), -EINVAL);
    EXPECT_EQ(set_irq(vm, 0, 40, 1), 1);
    EXPECT_EQ(fake_arch.msis, 1);
    EXPECT_EQ(fake_arch.msi_address, 0x1fee01000ull);
    EXPECT_EQ(fake_arch.msi_data, 0x31);
    EXPECT_EQ(set_irq(vm, 0, 40, 0), -1); // A message cannot be taken back.
    EXPECT_EQ(fake_arch.msis, 1);
    EXPECT_EQ(set_gsi_routing(vm, NULL, 0), 0);
    EXPECT_EQ(set_irq(vm, 0, 4, 1), -EINVAL);
    vm_put(vm);
}

TEST(HvIrqRouting, RefusesBadTablesAndDrivesEveryRoute)
{
    run(1, 0, routing_body);
}

static u32 acks[2];

static void acked_first(struct irq_ack_notifier *n)
{
    (void)n;
    acks[0]++;
}
static void acked_second(struct irq_ack_notifier *n)
{
    (void)n;
    acks[1]++;
}

static void ack_body(void *arg)
{
    struct vm *vm = new_vm();
    struct irq_ack_notifier a = {.gsi = 23, .acked = acked_first}, b = {.gsi = 4, .acked = acked_second};
    const struct hv_irq_routing_entry routes[] = {CHIP(4, 0, 4), CHIP(23, 2, 22)};
    (void)arg;
    acks[0] = acks[1] = 0;
    EXPECT_EQ(set_gsi_routing(vm, routes, 2), 0);
    register_irq_ack_notifier(vm, &a);
    register_irq_ack_notifier(vm, &b);
    EXPECT_TRUE(irq_has_notifier(vm, 2, 22));
    EXPECT_FALSE(irq_has_notifier(vm, 2, 23));
    notify_acked_irq(vm, 2, 22);
    notify_acked_irq(vm, 2, 23); // No gsi leads there.
    notify_acked_irq(vm, 0, 4);
    EXPECT_EQ(acks[0], 1);
    EXPECT_EQ(acks[1], 1);
    unregister_irq_ack_notifier(vm, &a);
    EXPECT_FALSE(irq_has_notifier(vm, 2, 22));
    notify_acked_irq(vm, 2, 22);
    EXPECT_EQ(acks[0], 1);
    unregister_irq_ack_notifier(vm, &b);
    vm_put(vm);
}

TEST(HvIrqRouting, AcknowledgementsReachTheRightNotifier)
{
    run(1, 0, ack_body);
}

static struct vm *busy_vm;
static struct completion done;

static void driver(void *arg)
{
    (void)arg;
    for (u32 i = 0; i < 60; i++)
        EXPECT_EQ(set_irq(busy_vm, 0, 7, i & 1), (i & 1) != 0 ? 1 : 0);
    complete(&done);
}

static void busy_body(void *arg)
{
    const struct hv_irq_routing_entry one[] = {CHIP(7, 2, 7)}, two[] = {CHIP(7, 2, 9), CHIP(30, 2, 3)};
    (void)arg;
    busy_vm = new_vm();
    fake_arch.irqchip_set = note_pin;
    EXPECT_EQ(set_gsi_routing(busy_vm, one, 1), 0);
    completion_init(&done);
    struct thread_options o = {.name = "driver", .prio = THREAD_PRIO_NORMAL, .pinned_cpu = 1};
    thread_wake(thread_create(this_host(), &o, driver, NULL));
    for (u32 i = 0; i < 10; i++)
        EXPECT_EQ(set_gsi_routing(busy_vm, i & 1 ? one : two, i & 1 ? 1 : 2), 0);
    wait_for_completion(&done);
    vm_put(busy_vm);
}

TEST(HvIrqRouting, TablesChangeUnderRunningDevices)
{
    for (u64 seed = 0; seed < fake_seeds(10); seed++)
        run(2, seed, busy_body);
}
