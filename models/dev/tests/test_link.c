// SPDX-License-Identifier: Apache-2.0
// The link's laws of time, order, queues and loss, at its registers: two processors of a test's own, no
// software.
#include "models/dev/link.h"

#include "hv/hw/link.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "tests/shim/shim.h"
#include <string.h>

#define GBIT 1000000000ull
#define US 1000000ull // In picoseconds.
#define MEMORY_BYTES (64u << 20)

// A clock of 16 GHz at 16 ticks a cycle: a tick is 1/256 ns; times in the tests are multiples of 1 us.
uint64_t pcpu_ticks_to_ps(const struct pcpu *c, uint64_t ticks)
{
    (void)c;
    return ticks;
}

uint64_t pcpu_ps_to_ticks(const struct pcpu *c, uint64_t ps)
{
    (void)c;
    return ps;
}

static struct {
    uint64_t at[256];
    unsigned count;
} interrupts[2];

void pcpu_send(struct pcpu *to, enum pcpu_message_kind kind, uint8_t vector, bool level, uint64_t at_ticks)
{
    EXPECT_EQ(kind, PCPU_MSG_FIXED);
    EXPECT_EQ(vector, LINK_VECTOR);
    EXPECT_FALSE(level);
    ASSERT_TRUE(interrupts[to->host].count < 256);
    interrupts[to->host].at[interrupts[to->host].count++] = at_ticks;
}

static struct machine machine;
static struct pcpu cpus[2];
static const struct link_config config = {
    .bits_per_second = 10 * GBIT, .latency_ps = 50 * US, .queue_bytes = 4u << 20, .mtu_bytes = 9000};

static void open_link(const struct link_config *c)
{
    mem_arena_destroy();
    for (unsigned h = 0; h < 2; h++) {
        ASSERT_EQ(mem_arena_create(h, MEMORY_BYTES), 0);
        cpus[h] = (struct pcpu){.index = h, .host = h, .machine = &machine};
        interrupts[h].count = 0;
    }
    link_destroy(machine.link);
    machine.link = link_create(c);
    for (unsigned h = 0; h < 2; h++)
        link_out(&cpus[h], LINK_PORT_CONTROL, LINK_CONTROL_ENABLE);
}

static void *memory(unsigned host, uint64_t hpa)
{
    return mem_hpa_to_ptr(&cpus[host], hpa, 1);
}

static void at(uint64_t ps)
{
    cpus[0].now_ticks = cpus[1].now_ticks = ps;
}

// A message with a header of `header` bytes of value `mark` and `pages` pages from 1 MiB on.
static void send(unsigned host, uint32_t header, uint8_t mark, uint32_t pages)
{
    struct link_send *d = memory(host, 0x10000);

    memset(d, 0, sizeof *d);
    d->header_bytes = header;
    memset(d->header, mark, header);
    d->segment_count = pages ? 1 : 0;
    d->segments[0] = (struct link_segment){1u << 20, (uint64_t)pages * LINK_PAGE_BYTES};
    link_out(&cpus[host], LINK_PORT_SEND, 0x10);
}

static const struct link_message *take(unsigned host)
{
    link_out(&cpus[host], LINK_PORT_TAKE, 0x20);
    return memory(host, 0x20000);
}

// The payload to 2 MiB on.
static void place(unsigned host, uint64_t bytes)
{
    struct link_place *d = memory(host, 0x30000);

    d->segment_count = 1;
    d->segments[0] = (struct link_segment){2u << 20, bytes};
    link_out(&cpus[host], LINK_PORT_PLACE, 0x30);
}

static bool has_message(unsigned host)
{
    return link_in(&cpus[host], LINK_PORT_STATUS) & LINK_STATUS_MESSAGE;
}

// 1,000 bytes and a frame's 38 at 10 Gbit/s: 830.4 ns; then 50 us.
TEST(Link, AMessageTakesItsBytesAndTheLatency)
{
    open_link(&config);
    at(7 * US);
    send(0, 1000, 0x5a, 0);
    const uint64_t arrival = 7 * US + 830400 + 50 * US;

    at(arrival - 1);
    EXPECT_FALSE(has_message(1));
    at(arrival);
    EXPECT_TRUE(has_message(1));
    const struct link_message *m = take(1);

    EXPECT_EQ(m->header_bytes, 1000);
    EXPECT_EQ(m->payload_bytes, 0);
    EXPECT_EQ(m->header[999], 0x5a);
    EXPECT_FALSE(has_message(1));
    EXPECT_EQ(interrupts[1].at[0], arrival);
}

TEST(Link, EveryPacketCarriesItsFrameAndTakesTheCardsTime)
{
    static const struct {
        const char *name;
        uint32_t mtu;
        uint64_t packet_ps, bytes, expected_ps;
    } rows[] = {
        {"one packet", 9000, 0, 9000, (9000 + 38) * 800ull},
        {"a byte more", 9000, 0, 9001, (9001 + 2 * 38) * 800ull},
        {"small packets", 1500, 0, 3000, (3000 + 2 * 38) * 800ull},
        {"the card's time", 1500, 250000, 3000, (3000 + 2 * 38) * 800ull + 500000},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct link_config c = {
            .bits_per_second = 10 * GBIT, .mtu_bytes = rows[i].mtu, .packet_ps = rows[i].packet_ps};

        test_row("%s", rows[i].name);
        EXPECT_EQ(link_serialize_ps(&c, rows[i].bytes), rows[i].expected_ps);
    }
}

TEST(Link, MessagesFollowEachOtherAndDirectionsDoNotWait)
{
    open_link(&config);
    send(0, 1000, 1, 0);
    send(0, 1000, 2, 0);
    send(1, 1000, 3, 0);
    at(830400 + 50 * US);
    EXPECT_TRUE(has_message(1));
    EXPECT_TRUE(has_message(0));
    EXPECT_EQ(take(1)->header[0], 1);
    EXPECT_FALSE(has_message(1));
    at(2 * 830400 + 50 * US);
    EXPECT_TRUE(has_message(1));
    EXPECT_EQ(take(1)->header[0], 2);
    EXPECT_EQ(take(0)->header[0], 3);
}

// Bytes move at placement; pages of zeros cross as bits: 64 bytes of map, header and one page of 4,096.
TEST(Link, APayloadIsPlacedAndZerosAreFound)
{
    open_link(&config);
    memset(memory(0, (1u << 20) + LINK_PAGE_BYTES), 0x77, LINK_PAGE_BYTES);
    memset(memory(1, 2u << 20), 0xff, 3 * LINK_PAGE_BYTES);
    send(0, 64, 0, 3);
    at(link_serialize_ps(&config, 64 + 64 + 4096) + 50 * US);
    ASSERT_TRUE(has_message(1));
    const struct link_message *m = take(1);

    EXPECT_EQ(m->payload_bytes, 3 * LINK_PAGE_BYTES);
    EXPECT_EQ(m->zero[0], 5);
    place(1, 3 * LINK_PAGE_BYTES);
    const uint8_t *to = memory(1, 2u << 20);

    EXPECT_EQ(to[0], 0);
    EXPECT_EQ(to[LINK_PAGE_BYTES], 0x77);
    EXPECT_EQ(to[2 * LINK_PAGE_BYTES], 0);
    EXPECT_EQ(link_in(&cpus[1], LINK_PORT_PLACED), 0);
    at(cpus[1].now_ticks + 3 * LINK_PAGE_BYTES / 16 * 1016);
    EXPECT_EQ(link_in(&cpus[1], LINK_PORT_PLACED), 1);
}

TEST(Link, DroppedPartsOfAPayloadTouchNothing)
{
    open_link(&config);
    memset(memory(0, 1u << 20), 0x77, 2 * LINK_PAGE_BYTES);
    send(0, 64, 0, 2);
    at(100 * US);
    take(1);
    struct link_place *d = memory(1, 0x30000);

    d->segment_count = 2;
    d->segments[0] = (struct link_segment){LINK_ADDRESS_NONE, LINK_PAGE_BYTES};
    d->segments[1] = (struct link_segment){2u << 20, LINK_PAGE_BYTES};
    link_out(&cpus[1], LINK_PORT_PLACE, 0x30);
    EXPECT_EQ(*(uint8_t *)memory(1, 2u << 20), 0x77);
    EXPECT_EQ(*(uint8_t *)memory(1, (2u << 20) + LINK_PAGE_BYTES), 0);
}

// A full receive queue holds the sender back until a latency after the release.
TEST(Link, AFullQueueHoldsTheSenderBack)
{
    struct link_config small = config;

    small.queue_bytes = 64u << 10;
    open_link(&small);
    memset(memory(0, 1u << 20), 0x11, 64u << 10);
    send(0, 0, 0, 12); // 48 KiB
    send(0, 0, 0, 12); // Does not fit beside it.
    EXPECT_EQ(link_in(&cpus[0], LINK_PORT_PENDING), 2);
    EXPECT_EQ(link_in(&cpus[0], LINK_PORT_STATUS) & LINK_STATUS_SPACE, 0);
    const uint64_t one = link_serialize_ps(&small, 64 + 12 * LINK_PAGE_BYTES);

    at(10000 * US);
    ASSERT_TRUE(has_message(1));
    take(1);
    EXPECT_FALSE(has_message(1));
    link_out(&cpus[1], LINK_PORT_PLACE, 0); // Dropped: released at once.
    at(10000 * US + 50 * US);
    EXPECT_EQ(link_in(&cpus[0], LINK_PORT_PENDING), 1);
    at(10000 * US + 50 * US + one + 50 * US - 1);
    EXPECT_FALSE(has_message(1));
    at(10000 * US + 50 * US + one + 50 * US);
    EXPECT_TRUE(has_message(1));
}

// What is on its way is lost, what has arrived stays; both sides hear of it; afterwards it works again.
TEST(Link, ABreakLosesWhatIsOnItsWay)
{
    open_link(&config);
    send(0, 1000, 1, 0);
    at(40 * US);
    send(0, 1000, 2, 0);
    at(60 * US);
    EXPECT_TRUE(has_message(1));
    interrupts[0].count = interrupts[1].count = 0;
    link_out(&cpus[0], LINK_PORT_CONTROL, LINK_CONTROL_DOWN);
    EXPECT_EQ(interrupts[1].at[interrupts[1].count - 1], 60 * US);
    EXPECT_EQ(link_in(&cpus[1], LINK_PORT_STATUS) & LINK_STATUS_UP, 0);
    EXPECT_EQ(link_in(&cpus[1], LINK_PORT_CARRIER), 1);
    EXPECT_EQ(link_in(&cpus[0], LINK_PORT_PENDING), 0);
    send(0, 1000, 3, 0); // Nowhere.
    at(1000 * US);
    link_out(&cpus[0], LINK_PORT_CONTROL, LINK_CONTROL_UP);
    EXPECT_EQ(take(1)->header[0], 1);
    EXPECT_FALSE(has_message(1));
    send(0, 1000, 4, 0);
    at(2000 * US);
    ASSERT_TRUE(has_message(1));
    EXPECT_EQ(take(1)->header[0], 4);
}

// One interrupt is under way at a time; looking at the registers arms the next.
TEST(Link, InterruptsMergeAndNoneIsLost)
{
    open_link(&config);
    for (unsigned i = 0; i < 100; i++)
        send(0, 1000, (uint8_t)i, 0);
    EXPECT_EQ(interrupts[1].count, 1);
    unsigned received = 0;

    for (unsigned seen = 0; seen < interrupts[1].count; seen++) {
        at(interrupts[1].at[seen]);
        while (has_message(1)) {
            EXPECT_EQ(take(1)->header[0], received);
            received++;
        }
    }
    EXPECT_EQ(received, 100);
}

TEST(Link, AHostWithoutACardReadsAllOnes)
{
    struct pcpu lonely = {.machine = &machine};

    link_destroy(machine.link);
    machine.link = NULL;
    EXPECT_EQ(link_in(&lonely, LINK_PORT_STATUS), UINT32_MAX);
    link_out(&lonely, LINK_PORT_SEND, 1);
}
