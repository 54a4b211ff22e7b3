#include "tests/shim/shim.h"
