// SPDX-License-Identifier: Apache-2.0
#include "tests/shim/shim.h"
#include "tests/wild/wild.h"

TEST(WildLong, GuestsHurtOnlyThemselves)
{
    wild_guests_for(1000000, 900);
}

TEST(WildLong, MachineCodeHurtsOnlyItself)
{
    wild_images_for(1000000, 900);
}
