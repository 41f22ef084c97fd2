/* The kernel tables of this build, which of them this processor can run, and the names of the lists
 * in kernels.h. Called by _core.pyx at import and by set_isa. */
#include "kernels.h"

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

int nn_level_usable(int level) {
    if (level == NN_GENERIC) return 1;
#if defined(__x86_64__)
    /* The compiler's test also asks the operating system whether it saves the wide registers. */
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("bmi2");
    if (level == NN_AVX2) return avx2;
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#else
    return 0;
#endif
}

const nn_kernels *nn_table(int level, int is_double) { return tables[level][is_double != 0]; }
