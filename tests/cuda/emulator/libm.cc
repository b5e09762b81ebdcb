/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A device has a mathematical library of its own, whose results are not always the host's. Inside kernels these functions are
 * two units in the last place from the host's, up or down by argument and seed; what both libraries have exactly stays. Whoever
 * promises the CPU's bits and calls one of them is found out, and tolerances that are too tight are. The linker
 * puts them in the place of the library's (--wrap in the Makefile). */
#include <math.h>

#include "emulator.h"
#include "inside.h"

namespace
{

/* Half of all arguments go up. */
bool goes_up(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits ^ sg_emulator_seed()) * 0x9e3779b97f4a7c15u;
    return bits >> 63;
}

template <typename real> real differ(real x, real y)
{
    if (!sg_emulator_inside() || x == 0 || y == 0 || y == 1 || !isfinite(y))
        return y;
    real towards = goes_up((double)x) ? (real)INFINITY : -(real)INFINITY;
    return nextafter(nextafter(y, towards), towards);
}

} // namespace

#define ONE(name, real)                                                                            \
    extern "C" real __real_##name(real x);                                                         \
    extern "C" real __wrap_##name(real x);                                                         \
    extern "C" real __wrap_##name(real x)                                                          \
    {                                                                                              \
        return differ(x, __real_##name(x));                                                        \
    }
#define BOTH(name) ONE(name, double) ONE(name##f, float)
BOTH(exp)
BOTH(exp2)
BOTH(expm1)
BOTH(log)
BOTH(log2)
BOTH(log1p)
BOTH(sin)
BOTH(cos)
BOTH(tan)
BOTH(atan)
BOTH(tanh)
BOTH(erf)
BOTH(erfc)
BOTH(tgamma)
BOTH(lgamma)

#define TWO(name, real)                                                                            \
    extern "C" real __real_##name(real x, real y);                                                 \
    extern "C" real __wrap_##name(real x, real y);                                                 \
    extern "C" real __wrap_##name(real x, real y)                                                  \
    {                                                                                              \
        return differ(x, __real_##name(x, y));                                                     \
    }
TWO(pow, double)
TWO(powf, float)

extern "C" void __real_sincos(double x, double *sine, double *cosine);
extern "C" void __wrap_sincos(double x, double *sine, double *cosine);
extern "C" void __wrap_sincos(double x, double *sine, double *cosine)
{
    __real_sincos(x, sine, cosine);
    *sine = differ(x, *sine);
    *cosine = differ(x, *cosine);
}
