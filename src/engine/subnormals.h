/* Subnormal numbers as zeros, for loops whose state decays towards zero: on x86 an operation on a
 * subnormal number takes a hundred cycles, and a mean that decays by rounding stays subnormal for
 * ever. Called by engine/steppers.pxi. */
#ifndef NNCORE_SUBNORMALS_H
#define NNCORE_SUBNORMALS_H

#include <stdint.h>

/* Flush subnormal operands and results in this thread; returns the mode to restore. */
static inline uint64_t nn_flush_subnormals(void) {
#if defined(__x86_64__)
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040); /* flush to zero, denormals are zeros */
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24)) : "memory");
    return before;
#else
    return 0;
#endif
}

static inline void nn_restore_subnormals(uint64_t before) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before) : "memory");
#else
    (void)before;
#endif
}

#endif
