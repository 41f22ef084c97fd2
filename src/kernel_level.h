/* Both tables of one level. The including file defines LEVEL (a name) and LEVEL_BYTES (16, 32 or 64: its widest vector). */
#include <float.h>
#include <math.h>
#include <string.h>
#include "kernels.h"

#define INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define PASTE_(a, b, c, d) a##_##b##_##c##_##d
#define PASTE(a, b, c, d) PASTE_(a, b, c, d)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

#define DOUBLE 0
#include "kernel_type.h"
#undef DOUBLE
#define DOUBLE 1
#include "kernel_type.h"
#undef DOUBLE
