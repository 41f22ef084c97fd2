/* The kernel tables of this build, which of them this processor can run, and the names of the lists
 * in kernels.h. Called by _core.pyx at import and by set_isa. */
#include "kernels.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

extern const nn_kernels nn_table_generic_float, nn_table_generic_double;
#if defined(__x86_64__)
extern const nn_kernels nn_table_avx2_float, nn_table_avx2_double, nn_table_avx512_float,
    nn_table_avx512_double;
#endif

static const nn_kernels *const tables[NN_LEVELS][2] = {
    {&nn_table_generic_float, &nn_table_generic_double},
#if defined(__x86_64__)
    {&nn_table_avx2_float, &nn_table_avx2_double},
    {&nn_table_avx512_float, &nn_table_avx512_double},
#endif
};

#define NAME(NAME, name, ...) #name,
const char *nn_activation_name(int kind) {
    static const char *const names[NN_ACTIVATION_KINDS] = {
        "none", NN_ACTIVATIONS(NAME) "softmax", "output_sigmoid"};
    return names[kind];
}

const char *nn_loss_name(int loss) {
    static const char *const names[NN_ALL_LOSS_KINDS] = {
        "none", "nll", NN_ELEMENTWISE_LOSSES(NAME) NN_SHAPED_LOSSES(NAME) NN_PARAMETRIC_LOSSES(NAME)};
    return names[loss];
}

const char *nn_rule_name(int kind) {
    static const char *const names[NN_RULE_KINDS] = {NN_RULES(NAME)};
    return names[kind];
}
#undef NAME

const char *nn_level_name(int level) {
    static const char *const names[NN_LEVELS] = {"generic", "avx2", "avx512"};
    return names[level];
}

#if defined(__x86_64__)
/* Register states that the operating system saves (XCR0), once OSXSAVE says that it can be read. */
enum { YMM_STATE = 0x06, ZMM_STATE = 0xe6 };

static unsigned saved_states(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Highest usable level by CPUID and XGETBV. __builtin_cpu_supports reads the same bits in gcc and
 * clang, but zig's runtime library answers 0 to everything, and clang-cl links no such library. */
static int highest_level(void) {
    unsigned a, b, c, d, features, states;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA)) return NN_GENERIC;
    if (!__get_cpuid_count(7, 0, &a, &features, &c, &d)) return NN_GENERIC;
    states = saved_states();
#if defined(__APPLE__) /* saves the zmm registers from their first use on, and says so only then */
    if ((states & YMM_STATE) == YMM_STATE) states |= ZMM_STATE;
#endif
    unsigned avx2 = bit_AVX2 | bit_BMI2;
    unsigned avx512 = avx2 | bit_AVX512F | bit_AVX512VL | bit_AVX512BW | bit_AVX512DQ;
    if ((features & avx2) != avx2 || (states & YMM_STATE) != YMM_STATE) return NN_GENERIC;
    if ((features & avx512) != avx512 || (states & ZMM_STATE) != ZMM_STATE) return NN_AVX2;
    return NN_AVX512;
}
#else
static int highest_level(void) { return NN_GENERIC; }
#endif

int nn_level_usable(int level) { return level <= highest_level(); }

const nn_kernels *nn_table(int level, int is_double) { return tables[level][is_double != 0]; }
