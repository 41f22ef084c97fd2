/* Both tables of one level. The including file defines LEVEL (a name) and LEVEL_BYTES (its vector width). */
#include <math.h>
#include <string.h>
#include "kernels.h"

#define INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define PASTE_(a, b, c) a##_##b##_##c
#define PASTE(a, b, c) PASTE_(a, b, c)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

#define DOUBLE 0
#include "kernel_body.h"
#undef DOUBLE
#define DOUBLE 1
#include "kernel_body.h"
#undef DOUBLE
