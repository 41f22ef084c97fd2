/* Both tables of one level. The including file describes the level:
 *   LEVEL               its name
 *   LEVEL_BYTES         its widest vector: 16, 32 or 64
 *   N_VECTOR_REGISTERS
 *   HAS_MASKS           loads, stores and arithmetic under a mask register, at all widths, and
 *                       scaling by powers of two
 *   HAS_COMPRESS        packing the lanes that a mask selects, in vectors of 64 bytes */
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
