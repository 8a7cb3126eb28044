// sum + x y, rounded once: one instruction, and the same bits wherever it stands.
#pragma once

#include "common.cuh"

namespace ibsync {

IBSYNC_FUNCTION float multiply_add(float x, float y, float sum) { return fmaf(x, y, sum); }
IBSYNC_FUNCTION double multiply_add(double x, double y, double sum) { return fma(x, y, sum); }

}  // namespace ibsync
