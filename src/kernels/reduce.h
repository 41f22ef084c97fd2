/* Compensated sums over whole arrays, on those of sums.h. Used by softmax, losses, batch
 * normalisation and the bias gradients. */

/* Totals in double for either real type: WIDE vectors of doubles hold the lanes of one vector. */
#if DOUBLE
#define WIDE 1
#else
#define WIDE 2
#endif
typedef double FN(wide) __attribute__((vector_size(WIDTH), may_alias));
typedef real FN(part) __attribute__((vector_size(WIDTH / WIDE), may_alias));
typedef struct { FN(wide) sum[WIDE], lost[WIDE]; } FN(wide_total);

static INLINE void FN(widen)(V v, FN(wide) *wide) {
    UNROLLED_FOR(w, WIDE) {
        FN(part) part;
        __builtin_memcpy(&part, (const char *)&v + w * sizeof part, sizeof part);
        wide[w] = __builtin_convertvector(part, FN(wide));
    }
}

/* vector w of WIDE */
static INLINE void FN(add_wide)(FN(wide_total) *total, int w, FN(wide) term) {
    NN_TWO_SUM(FN(wide), total->sum[w], total->lost[w], term);
}

/* total <- total + v, or + v^2, squared in double */
static INLINE void FN(add_vector)(FN(wide_total) *total, V v, const int squared) {
    FN(wide) wide[WIDE];
    FN(widen)(v, wide);
    UNROLLED_FOR(w, WIDE) {
        if (squared) wide[w] *= wide[w];
        FN(add_wide)(total, w, wide[w]);
    }
}

/* The sum over all lanes, compensated as well, so that it does not depend on which term was in
 * which lane. lost is NaN if sum is non-finite. */
static INLINE double FN(wide_value)(const FN(wide_total) *total) {
    enum { WIDE_LANES = WIDTH / sizeof(double) };
    double sum[WIDE * WIDE_LANES], lost[WIDE * WIDE_LANES];
    __builtin_memcpy(sum, total->sum, sizeof sum);
    __builtin_memcpy(lost, total->lost, sizeof lost);
    UNROLLED
    for (int half = WIDE * WIDE_LANES / 2; half > 0; half /= 2)
        UNROLLED_FOR(l, half) {
            lost[l] += lost[l + half];
            NN_TWO_SUM(double, sum[l], lost[l], sum[l + half]);
        }
    return lost[0] == lost[0] ? sum[0] + lost[0] : sum[0];
}

static double FN(sum_of_squares)(nn_index n, const void *x_) {
    const real *x = x_;
    FN(wide_total) total = {0};
    nn_index i = 0;
    for (; i + LANES <= n; i += LANES) FN(add_vector)(&total, FN(load)(x + i), 1);
    if (i < n) FN(add_vector)(&total, FN(load_part)(x + i, n - i), 1);
    return FN(wide_value)(&total);
}

static void FN(sum_rows)(nn_index m, nn_index n, const void *x_, nn_index x_stride, void *out_) {
    const real *x = x_;
    real *out = out_;
    nn_index j = 0;
    for (; j + LANES <= n; j += LANES) {
        SUM_OVER_ROWS(sum, m, FN(load)(x + r * x_stride + j))
        FN(store)(out + j, sum);
    }
    if (j < n) {
        SUM_OVER_ROWS(sum, m, FN(load_part)(x + r * x_stride + j, n - j))
        FN(store_part)(out + j, sum, n - j);
    }
}

/* The same sums over contiguous columns, which are transposed as they are loaded. */
static void FN(sum_columns)(nn_index m, nn_index n, const void *x_, nn_index x_stride, void *out_) {
    const real *x = x_;
    for (nn_index j = 0; j < n; j += LANES) {
        const nn_index columns = n - j < LANES ? n - j : LANES;
        FN(total) groups = {{0}, {0}};
        V group = {0};
        for (nn_index i = 0; i < m; i += LANES) {
            const nn_index rows = m - i < LANES ? m - i : LANES;
            V v[LANES];
            UNROLLED_FOR(c, LANES) {
                const real *from = x + (j + (c < columns ? c : 0)) * x_stride + i;
                v[c] = rows == LANES ? FN(load)(from) : FN(load_part)(from, rows);
            }
            FN(transpose_square)(v);
            UNROLLED_FOR(r, LANES) { /* rows beyond m are 0 */
                group += v[r];
                if (r % SUM_GROUP == SUM_GROUP - 1 ||
                    (LANES < SUM_GROUP && r == LANES - 1 && (i + LANES) % SUM_GROUP == 0)) {
                    FN(add)(&groups, group);
                    group = (V){0};
                }
            }
        }
        FN(add)(&groups, group);
        FN(store_part)((real *)out_ + j, FN(value)(groups), columns);
    }
}
