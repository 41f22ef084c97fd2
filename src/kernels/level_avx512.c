/* The level of AVX-512 F, VL, BW, DQ: 64-byte vectors, chosen by dispatch.c if the processor and
 * the operating system support it. Nothing is built on other processors. */
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(                                                    \
    __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2")
#endif
#define LEVEL avx512
#define LEVEL_BYTES 64
#define N_VECTOR_REGISTERS 32
#define HAS_MASKS 1
#define HAS_COMPRESS 1
#include "level.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
