/* Both kernel tables of one level, float and double. Included by level_*.c alone, which describe
 * the level:
 *   LEVEL               name
 *   LEVEL_BYTES         width of the widest vector: 16, 32 or 64
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
/* Precedes a loop with a compile-time trip count and unrolls it fully, so that the vectors it
 * indexes live in registers. clang reads "GCC unroll" as partial unrolling, which runs after the
 * arrays have been placed in memory (GEMM reaches 0.4 of its speed). */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#define UNROLLED_FOR(i, n) UNROLLED for (int i = 0; i < n; i++)

/* Vector v of a strip of nv vectors at p. A strip that is not `whole` is the first `part` lanes of
 * one vector. Both names are constants of the enclosing function. */
#define LOAD(p, v) (whole ? FN(load)((p) + (v) * LANES) : FN(load_part)((p), part))
#define STORE(p, v, x)                         \
    do {                                       \
        if (whole)                             \
            FN(store)((p) + (v) * LANES, (x)); \
        else                                   \
            FN(store_part)((p), (x), part);    \
    } while (0)

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
