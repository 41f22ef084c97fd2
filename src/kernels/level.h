/* Both tables of one level. The including file defines LEVEL (a name) and LEVEL_BYTES (16, 32 or
 * 64: its widest vector). */
#include <float.h>
#include <math.h>
#include <string.h>
#include "kernels.h"

#define INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
/* Before a loop of a count known when compiled: unrolled whole, so that the vectors it indexes live
 * in registers. clang takes "GCC unroll" for a partial unrolling, done when the arrays already lie
 * in memory (measured: 0.4 of the speed of the product). */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#define PASTE_(a, b, c, d) a##_##b##_##c##_##d
#define PASTE(a, b, c, d) PASTE_(a, b, c, d)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

#define DOUBLE 0
#include "table.h"
#undef DOUBLE
#define DOUBLE 1
#include "table.h"
#undef DOUBLE
