/* The level of AVX2 and FMA: 32-byte vectors, chosen by dispatch.c if the processor and the
 * operating system support it. Nothing is built on other processors. */
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,bmi2")
#endif
#define LEVEL avx2
#define LEVEL_BYTES 32
#define N_VECTOR_REGISTERS 16
#define HAS_MASKS 0
#define HAS_COMPRESS 0
#include "level.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
