/* Everything that is compiled once for each set of instructions. */
#include "counts.c"
#include "pairs.c"
#include "units.c"
