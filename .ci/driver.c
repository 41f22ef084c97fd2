/* tanh of products, by every usable level, against plain loops, without Python: for systems of which
 * only a compiler and an emulator are at hand. Prints the levels and the largest error; exits with 1
 * if it is too large. See .ci/wheels.py. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/kernels.h"

static double at(const void *a, int is_double, long i) {
    return is_double ? ((const double *)a)[i] : ((const float *)a)[i];
}

static void *random_array(int is_double, long n) {
    static unsigned state = 1;
    char *a = malloc(8 * n + 64);
    a += 64 - (size_t)a % 64; /* never freed: the program is short */
    for (long i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        double x = (double)(state >> 8) / (1 << 23) - 1;
        if (is_double) ((double *)a)[i] = x;
        else ((float *)a)[i] = (float)x;
    }
    return a;
}

/* Largest error of C = tanh(A B), in units of the type's precision and of the sum's length. */
static double product(const nn_kernels *k, int is_double, long m, long n, long depth) {
    void *a = random_array(is_double, m * depth), *b = random_array(is_double, depth * n);
    void *c = random_array(is_double, m * n);
    nn_gemm g;
    memset(&g, 0, sizeof g);
    g.m = m, g.n = n, g.k = depth;
    g.a = a, g.a_rs = depth, g.a_cs = 1;
    g.b = b, g.b_rs = n, g.b_cs = 1;
    g.c = c, g.c_rs = n;
    g.epilogue = NN_STORE;
    g.activation.kind = NN_NONE;
    g.workspace = random_array(1, (k->gemm_workspace(n, depth) + 7) / 8);
    k->gemm(&g);
    nn_activation f = {.kind = NN_TANH};
    k->activation_forward(m * n, c, c, f);
    double worst = 0, precision = is_double ? 0x1p-52 : 0x1p-23;
    for (long i = 0; i < m; i++)
        for (long j = 0; j < n; j++) {
            double sum = 0;
            for (long l = 0; l < depth; l++)
                sum += at(a, is_double, i * depth + l) * at(b, is_double, l * n + j);
            double error = fabs(at(c, is_double, i * n + j) - tanh(sum)) / precision / (8 + depth);
            if (!(error <= worst)) worst = error;
        }
    return worst;
}

int main(void) {
    static const long sizes[] = {1, 2, 3, 7, 8, 9, 16, 17, 33, 65};
    enum { N = sizeof sizes / sizeof *sizes };
    double worst = 0;
    long count = 0;
    for (int level = 0; level < NN_LEVELS; level++) {
        if (!nn_level_usable(level)) continue;
        printf("%s ", nn_level_name(level));
        for (int is_double = 0; is_double < 2; is_double++)
            for (int i = 0; i < N * N * N; i++, count++) {
                double error = product(nn_table(level, is_double), is_double, sizes[i % N],
                                       sizes[i / N % N], sizes[i / N / N]);
                if (!(error <= worst)) worst = error;
            }
    }
    printf("%ld products, largest error %.2g of what rounding allows\n", count, worst);
    return !(worst <= 1);
}
