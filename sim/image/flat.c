// SPDX-License-Identifier: Apache-2.0
// A flat binary: its bytes at one address, entered there in real mode, as firmware enters a boot sector.
#include "sim/image/build.h"
#include <inttypes.h>

int flat_plan(struct image_build *b)
{
    const struct image_file *f = &b->r->image;

    if (b->r->load >= IMAGE_MIB)
        return image_error(b, "cannot be entered in real mode at %#" PRIx64 "; load it below 1 MiB",
                           b->r->load);
    if (b->r->initrd.path || b->r->module_count)
        return image_error(b, "a flat binary takes no modules and no initrd; leave them out");
    if (*b->r->append)
        return image_error(b, "a flat binary takes no command line; leave `append` out");
    b->plan->format = "flat";
    b->plan->mode = VMM_MODE_REAL;
    b->plan->rip = b->r->load;
    return image_add(
        b, &(struct image_segment){.gpa = b->r->load, .bytes = f->bytes, .size = f->size, .what = "code"});
}
