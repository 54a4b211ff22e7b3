// SPDX-License-Identifier: Apache-2.0
#include "tests/shim/shim.h"
#include "tests/wild/wild.h"

TEST(Wild, GuestsHurtOnlyThemselves)
{
    wild_guests_for(1, 20);
}

TEST(Wild, MachineCodeHurtsOnlyItself)
{
    wild_images_for(1, 20);
}
