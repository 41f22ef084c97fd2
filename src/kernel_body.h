/* Every leaf kernel but the vector functions, once, for the widest vectors of a level and one real
 * type. */

/* --------------------------------------------------------------------------- element by element */

#define ACTIVATE(KIND)                                                                          \
    for (; i + LANES <= n; i += LANES) FN(store)(a + i, FN(activation)(FN(load)(z + i), KIND)); \
    if (i < n) FN(store_part)(a + i, FN(activation)(FN(load_part)(z + i, n - i), KIND), n - i); \
    return;

static void FN(activate)(nn_index n, const void *z_, void *a_, int kind) {
    const real *z = z_;
    real *a = a_;
    nn_index i = 0;
    switch (kind) {
    case NN_TANH: ACTIVATE(NN_TANH)
    case NN_RELU: ACTIVATE(NN_RELU)
    case NN_SIGMOID: case NN_OUTPUT_SIGMOID: ACTIVATE(NN_SIGMOID)
    default: memmove(a, z, (size_t)n * sizeof(real));
    }
}

#include "product.h"
#include "sums.h"

#define DERIVE(KIND)                                                                         \
    for (; i + LANES <= n; i += LANES)                                                       \
        FN(store)(dz + i, FN(derivative)(FN(load)(da + i), FN(load)(a + i), KIND));          \
    if (i < n)                                                                               \
        FN(store_part)(                                                                      \
            dz + i,                                                                          \
            FN(derivative)(FN(load_part)(da + i, n - i), FN(load_part)(a + i, n - i), KIND), \
            n - i);                                                                          \
    return;

static void FN(derive)(nn_index n, const void *da_, const void *a_, void *dz_, int kind) {
    const real *da = da_, *a = a_;
    real *dz = dz_;
    nn_index i = 0;
    switch (kind) {
    case NN_TANH: DERIVE(NN_TANH)
    case NN_RELU: DERIVE(NN_RELU)
    case NN_SIGMOID: DERIVE(NN_SIGMOID)
    default: memmove(dz, da, (size_t)n * sizeof(real));
    }
}

static void FN(subtract_scaled)(nn_index n, void *y_, const void *x_, double eta_) {
    real *y = y_;
    const real *x = x_, eta = (real)eta_;
    nn_index i = 0;
    for (; i + LANES <= n; i += LANES) FN(store)(y + i, FN(load)(y + i) - FN(load)(x + i) * eta);
    if (i < n)
        FN(store_part)(y + i, FN(load_part)(y + i, n - i) - FN(load_part)(x + i, n - i) * eta,
                       n - i);
}

static void FN(apply)(nn_index n, const void *x_, void *y_, int function) {
    const real *x = x_;
    real *y = y_;
    for (nn_index i = 0; i < n; i += LANES) {
        nn_index part = n - i < LANES ? n - i : LANES;
        V v = FN(load_part)(x + i, part);
        v = function == NN_EXP ? FN(exp)(v) : function == NN_LOG ? FN(log)(v) : FN(log1p)(v);
        FN(store_part)(y + i, v, part);
    }
}

static int FN(all_finite)(nn_index n, const void *x_) {
    const real *x = x_;
    V bad = {0};
    nn_index i = 0;
    for (; i + LANES <= n; i += LANES)
        bad += FN(load)(x + i) * 0; /* NaN for NaN and +-inf, and it stays */
    if (i < n) bad += FN(load_part)(x + i, n - i) * 0;
    return FN(sum_all)(bad)[0] == 0;
}

static double FN(largest)(nn_index n, const void *x_) {
    const real *x = x_;
    const I sign = (I)FN(set)((real)-0.0);
    V bad = {0}, most = {0};
    for (nn_index i = 0; i < n; i += LANES) {
        V xi = n - i < LANES ? FN(load_part)(x + i, n - i) : FN(load)(x + i);
        bad += xi * 0;
        most = FN(max)(most, (V)((I)xi & ~sign));
    }
    return FN(sum_all)(bad)[0] == 0 ? (double)FN(max_all)(most)[0] : (double)INFINITY;
}

static int FN(copy_finite)(nn_index n, const void *x_, void *out_) {
    const real *x = x_;
    real *out = out_;
    V bad[2] = {{0}, {0}};
    nn_index i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES)
        UNROLLED
        for (int v = 0; v < 2; v++) {
            V xi = FN(load)(x + i + v * LANES);
            FN(store)(out + i + v * LANES, xi);
            bad[v] += xi * 0;
        }
    for (nn_index part; i < n; i += part) {
        part = n - i < LANES ? n - i : LANES;
        V xi = FN(load_part)(x + i, part);
        FN(store_part)(out + i, xi, part);
        bad[0] += xi * 0;
    }
    return FN(sum_all)(bad[0] + bad[1])[0] == 0;
}

/* --------------------------------------------------------------------------------------- losses */

/* y softplus(-z) + (1 - y) softplus(z), softplus(z) = max(z, 0) + log1p(e^-|z|); a weight of 0
 * silences an infinite term. */
static INLINE V FN(sigmoid_loss)(V z, V y) {
    V tail = FN(log1p)(FN(exp)((V)((I)z | (I)FN(set)((real)-0.0))));
    V wrong_if_one = FN(max)((V){0}, -z) + tail, wrong_if_zero = FN(max)((V){0}, z) + tail;
    return FN(select)(y == 0, (V){0}, y * wrong_if_one) +
           FN(select)(y == 1, (V){0}, (1 - y) * wrong_if_zero);
}

/* A loss of an output z with the label y, and its derivative. */
static INLINE V FN(output_loss)(V z, V y, const int loss, V *gradient) {
    if (loss == NN_BINARY_NLL) {
        *gradient = FN(sigmoid)(z) - y;
        return FN(sigmoid_loss)(z, y);
    }
    if (loss == NN_SQUARED) {
        V error = z - y;
        *gradient = 2 * error;
        return error * error;
    }
    V margin = y * z; /* of the hinge; NaN stays NaN */
    *gradient = FN(select)(margin < 1, -y, (V){0});
    return FN(select)(margin >= 1, (V){0}, 1 - margin);
}

static double FN(loss_and_gradient)(nn_index n, const void *z_, const void *y_, void *grad_,
                                    int loss) {
    const real *z = z_, *y = y_;
    real *grad = grad_;
    double few = 0; /* in order, where one vector holds them all */
    FN(wide_total) many = {0};
#define EACH(loss)                                                                        \
    for (nn_index i = 0; i < n; i += LANES) {                                             \
        nn_index part = n - i < LANES ? n - i : LANES;                                    \
        V gradient, terms = FN(output_loss)(FN(load_part)(z + i, part),                   \
                                            FN(load_part)(y + i, part), loss, &gradient); \
        if (n > LANES)                                                                    \
            FN(add_vector)(&many, (V)((I)terms & FN(first)(part)), 0);                    \
        else                                                                              \
            for (int l = 0; l < part; l++) few += terms[l];                               \
        FN(store_part)(grad + i, gradient, part);                                         \
    }
    switch (loss) {
    case NN_BINARY_NLL: EACH(NN_BINARY_NLL) break;
    case NN_SQUARED: EACH(NN_SQUARED) break;
    default: EACH(NN_HINGE)
    }
#undef EACH
    return n > LANES ? FN(wide_value)(&many) : few;
}

/* -y log p, and for two classes -(1 - y) log(1 - p) with it; 0 log 0 = 0 */
static INLINE V FN(nll_term)(V p, V y, const int binary) {
    V term = FN(select)(y == 0, (V){0}, y * -FN(log)(p));
    if (binary) term += FN(select)(y == 1, (V){0}, (1 - y) * -FN(log1p)(-p));
    return term;
}

static void FN(loss_terms)(nn_index n, const void *p_, const void *y_, void *terms_, int loss) {
    const real *p = p_, *y = y_;
    real *terms = terms_;
    for (nn_index i = 0; i < n; i += LANES) {
        nn_index part = n - i < LANES ? n - i : LANES;
        V pi = FN(load_part)(p + i, part), yi = FN(load_part)(y + i, part), gradient, term;
        switch (loss) {
        case NN_NLL: term = FN(nll_term)(pi, yi, 0); break;
        case NN_BINARY_NLL: term = FN(nll_term)(pi, yi, 1); break;
        case NN_SQUARED: term = FN(output_loss)(pi, yi, NN_SQUARED, &gradient); break;
        default: term = FN(output_loss)(pi, yi, NN_HINGE, &gradient);
        }
        FN(store_part)(terms + i, term, part);
    }
}

#include "softmax.h"

static void FN(nll_backward)(nn_index batch, nn_index classes, const void *p_, const void *y_,
                             void *grad_) {
    const real *p = p_, *y = y_;
    real *grad = grad_;
    for (nn_index j = 0; j < batch; j++, p += classes, y += classes, grad += classes) {
        V labels = {0};
        for (nn_index i = 0; i < classes; i += LANES)
            labels += FN(load_part)(y + i, classes - i < LANES ? classes - i : LANES);
        const V weight = FN(set)(FN(gradient_weight)(0, FN(sum_all)(labels)[0], classes, y, 1));
        for (nn_index i = 0; i < classes; i += LANES) {
            const nn_index part = classes - i < LANES ? classes - i : LANES;
            FN(store_part)(
                grad + i,
                FN(gradient_of)(FN(load_part)(p + i, part), weight, FN(load_part)(y + i, part)),
                part);
        }
    }
}

/* ------------------------------------------------------------------------- one sample at a time */

/* z <- x W + bias for nv vectors of outputs; nv * ku chains of sums hide the latency of the
 * multiply-add. With `listed` the m terms are those of rows[0 .. m - 1]. */
static INLINE void FN(row_strip)(const int nv, const int ku, const int whole, const int listed,
                                 nn_index part, nn_index m, const real *x, const int32_t *rows,
                                 const real *w, nn_index w_row, const real *bias, real *z) {
    V sum[8][8];
    nn_index k = 0;
#define LOAD(p, v) (whole ? FN(load)((p) + (v) * LANES) : FN(load_part)((p), part))
#define TERM(u, k)                                                                        \
    do {                                                                                  \
        const nn_index place = listed ? rows[k] : (k);                                    \
        UNROLLED                                                                          \
        for (int v = 0; v < nv; v++) sum[u][v] += LOAD(w + place * w_row, v) * x[place];  \
    } while (0)
    UNROLLED
    for (int v = 0; v < nv; v++)
        UNROLLED
        for (int u = 0; u < ku; u++) sum[u][v] = (V){0};
    for (; k + ku <= m; k += ku)
        UNROLLED
        for (int u = 0; u < ku; u++) TERM(u, k + u);
    for (; k < m; k++) TERM(0, k);
    UNROLLED
    for (int v = 0; v < nv; v++) {
        UNROLLED
        for (int half = ku / 2; half > 0; half /= 2)
            UNROLLED
            for (int u = 0; u < half; u++) sum[u][v] += sum[u + half][v];
        V out = sum[0][v] + LOAD(bias, v);
        if (whole) FN(store)(z + v * LANES, out); else FN(store_part)(z, out, part);
    }
#undef TERM
#undef LOAD
}

/* All n outputs in strips of 8, 4, 2, 1 vectors and a part. */
static INLINE void FN(row_strips)(const int listed, nn_index m, nn_index n, const real *x,
                                  const int32_t *rows, const real *w, nn_index w_row,
                                  const real *bias, real *z) {
    nn_index j = 0;
#define STRIP(nv, ku, whole, part) \
    FN(row_strip)(nv, ku, whole, listed, part, m, x, rows, w + j, w_row, bias + j, z + j)
#if LEVEL_BYTES == 64
    for (; j + 8 * LANES <= n; j += 8 * LANES) STRIP(8, 1, 1, LANES);
#endif
    for (; j + 4 * LANES <= n; j += 4 * LANES) STRIP(4, 2, 1, LANES);
    for (; j + 2 * LANES <= n; j += 2 * LANES) STRIP(2, 4, 1, LANES);
    for (; j + LANES <= n; j += LANES) STRIP(1, 8, 1, LANES);
    if (j < n) STRIP(1, 8, 0, n - j);
#undef STRIP
}

static void FN(row_forward)(nn_index m, nn_index n, const void *x, const int32_t *rows,
                            const void *w, nn_index w_row, const void *bias, void *z, int kind) {
    if (rows) FN(row_strips)(1, m, n, x, rows, w, w_row, bias, z);
    else FN(row_strips)(0, m, n, x, NULL, w, w_row, bias, z);
    if (kind != NN_NONE) FN(activate)(n, z, z, kind);
}

/* out[0 .. 3] <- the sums of all lanes of a, b, c, d. Vectors are merged while they are summed,
 * which takes half the shuffles. */
static INLINE void FN(four_sums)(V a, V b, V c, V d, real *out) {
#if LANES == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define PAIRS_LOW 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23
#define PAIRS_HIGH 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31
#elif LANES == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#define PAIRS_LOW 0, 1, 8, 9, 2, 3, 10, 11
#define PAIRS_HIGH 4, 5, 12, 13, 6, 7, 14, 15
#elif LANES == 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#define PAIRS_LOW 0, 1, 4, 5
#define PAIRS_HIGH 2, 3, 6, 7
#else
#define LOW 0, 2
#define HIGH 1, 3
#endif
    V ab = __builtin_shufflevector(a, b, LOW) + __builtin_shufflevector(a, b, HIGH);
    V cd = __builtin_shufflevector(c, d, LOW) + __builtin_shufflevector(c, d, HIGH);
#if LANES == 2
    FN(store)(out, ab);
    FN(store)(out + 2, cd);
#else
    V all =
        __builtin_shufflevector(ab, cd, PAIRS_LOW) + __builtin_shufflevector(ab, cd, PAIRS_HIGH);
#if LANES == 16
    all += __builtin_shufflevector(all, all, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    all += __builtin_shufflevector(all, all, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
#elif LANES == 8
    all += __builtin_shufflevector(all, all, 4, 5, 6, 7, 0, 1, 2, 3);
#endif
    __builtin_memcpy(out, &all, 4 * sizeof(real));
#undef PAIRS_LOW
#undef PAIRS_HIGH
#endif
#undef LOW
#undef HIGH
}

/* rows k .. k + rows - 1 of W: dx[k] = W[k] . dz, then, to update, W[k] -= eta x[k] dz */
static INLINE void FN(rows_back)(const int rows, const int update, nn_index n, real *w,
                                 nn_index w_row, const real *x, const real *dz, real *dx,
                                 real eta) {
    V sum[4];
    real step[4];
    UNROLLED
    for (int r = 0; r < rows; r++) {
        sum[r] = (V){0};
        step[r] = update ? eta * x[r] : 0;
    }
    nn_index j = 0;
    for (; j + LANES <= n; j += LANES) {
        V d = FN(load)(dz + j);
        UNROLLED
        for (int r = 0; r < rows; r++) {
            real *at = w + r * w_row + j;
            V v = FN(load)(at);
            sum[r] += v * d;
            if (update) FN(store)(at, v - d * step[r]);
        }
    }
    if (j < n) {
        nn_index part = n - j;
        V d = FN(load_part)(dz + j, part);
        UNROLLED
        for (int r = 0; r < rows; r++) {
            real *at = w + r * w_row + j;
            V v = FN(load_part)(at, part);
            sum[r] += v * d;
            if (update) FN(store_part)(at, v - d * step[r], part);
        }
    }
    if (rows == 4) FN(four_sums)(sum[0], sum[1], sum[2], sum[3], dx);
    else for (int r = 0; r < rows; r++) dx[r] = FN(sum_all)(sum[r])[0];
}

static void FN(row_backward)(nn_index m, nn_index n, void *w_, nn_index w_row, const void *x_,
                             const void *dz, void *dx_, int kind, double eta) {
    real *w = w_, *dx = dx_;
    const real *x = x_;
    nn_index k = 0;
    for (; k + 4 <= m; k += 4)
        FN(rows_back)(4, 1, n, w + k * w_row, w_row, x + k, dz, dx + k, (real)eta);
    for (; k < m; k++) FN(rows_back)(1, 1, n, w + k * w_row, w_row, x + k, dz, dx + k, (real)eta);
    FN(derive)(m, dx, x, dx, kind);
}

static void FN(row_products)(nn_index m, nn_index n, const void *w_, nn_index w_row, const void *dz,
                             void *dx_) {
    real *w = (real *)w_, *dx = dx_; /* only read: nothing is written without update */
    nn_index k = 0;
    for (; k + 4 <= m; k += 4) FN(rows_back)(4, 0, n, w + k * w_row, w_row, NULL, dz, dx + k, 0);
    for (; k < m; k++) FN(rows_back)(1, 0, n, w + k * w_row, w_row, NULL, dz, dx + k, 0);
}

/* row_backward for nv vectors of the columns of W, which are the rows of wt. */
static INLINE void FN(turned_strip)(const int nv, const int whole, nn_index part, nn_index n,
                                    real *wt, nn_index wt_row, const real *x, const real *dz,
                                    real *dx, int kind, real eta) {
    V sum[4], a[4];
#define LOAD(p, v) (whole ? FN(load)((p) + (v) * LANES) : FN(load_part)((p), part))
#define STORE(p, v, x)                         \
    do {                                       \
        if (whole)                             \
            FN(store)((p) + (v) * LANES, (x)); \
        else                                   \
            FN(store_part)((p), (x), part);    \
    } while (0)
#define EACH UNROLLED for (int v = 0; v < nv; v++)
    EACH {
        sum[v] = (V){0};
        a[v] = LOAD(x, v);
    }
    for (nn_index j = 0; j < n; j++, wt += wt_row) {
        const real step = eta * dz[j];
        EACH {
            V w = LOAD(wt, v);
            sum[v] += w * dz[j];
            STORE(wt, v, w - a[v] * step);
        }
    }
    EACH STORE(dx, v, FN(derivative_of)(sum[v], a[v], kind));
#undef LOAD
#undef STORE
#undef EACH
}

static void FN(turned_backward)(nn_index m, nn_index n, void *wt_, nn_index wt_row, const void *x_,
                                const void *dz, void *dx_, int kind, double eta) {
    real *wt = wt_, *dx = dx_;
    const real *x = x_;
    nn_index i = 0;
#define STRIP(nv, whole, part) \
    FN(turned_strip)(nv, whole, part, n, wt + i, wt_row, x + i, dz, dx + i, kind, (real)eta)
    for (; i + 4 * LANES <= m; i += 4 * LANES) STRIP(4, 1, LANES);
    for (; i + LANES <= m; i += LANES) STRIP(1, 1, LANES);
    if (i < m) STRIP(1, 0, m - i);
#undef STRIP
}

static void FN(turned_forward)(nn_index m, nn_index n, const void *x, const void *wt,
                               nn_index wt_row, const void *bias_, void *z_, int kind) {
    const real *bias = bias_;
    real *z = z_;
    FN(row_products)(n, m, wt, wt_row, x, z);
    for (nn_index j = 0; j < n; j++) z[j] += bias[j];
    if (kind != NN_NONE) FN(activate)(n, z, z, kind);
}

/* nv vectors of the rows, the last row first: a forward product that has just passed over them has
 * left the last ones in the cache, and the next one begins with the first. */
static INLINE void FN(update_strip)(const int nv, const int whole, nn_index part, nn_index m,
                                    real *w, nn_index w_row, const real *x, const int32_t *rows,
                                    const real *step) {
    V steps[8];
    UNROLLED
    for (int v = 0; v < nv; v++)
        steps[v] = whole ? FN(load)(step + v * LANES) : FN(load_part)(step, part);
    for (nn_index k = m - 1; k >= 0; k--) {
        const nn_index place = rows ? rows[k] : k;
        real *at = w + place * w_row;
        UNROLLED
        for (int v = 0; v < nv; v++) {
            if (whole) FN(store)(at + v * LANES, FN(load)(at + v * LANES) - steps[v] * x[place]);
            else FN(store_part)(at, FN(load_part)(at, part) - steps[v] * x[place], part);
        }
    }
}

static void FN(row_update)(nn_index m, nn_index n, void *w_, nn_index w_row, const void *x,
                           const int32_t *rows, const void *step_) {
    real *w = w_;
    const real *step = step_;
    nn_index j = 0;
#define STRIP(nv, whole, part) FN(update_strip)(nv, whole, part, m, w + j, w_row, x, rows, step + j)
    for (; j + 8 * LANES <= n; j += 8 * LANES) STRIP(8, 1, LANES);
    for (; j + 2 * LANES <= n; j += 2 * LANES) STRIP(2, 1, LANES);
    for (; j + LANES <= n; j += LANES) STRIP(1, 1, LANES);
    if (j < n) STRIP(1, 0, n - j);
#undef STRIP
}

static void FN(scaled)(nn_index n, const void *x_, double eta, void *y_) {
    const real *x = x_;
    real *y = y_;
    for (nn_index i = 0; i < n; i++) y[i] = x[i] * (real)eta;
}

static nn_index FN(count_nonzeros)(nn_index m, const void *x_) {
    const real *x = x_;
    I count = {0}; /* a lane counts m / LANES at most */
    nn_index k = 0, total = 0;
    for (; k + LANES <= m; k += LANES) count -= FN(load)(x + k) != 0;
    for (; k < m; k++) total += x[k] != 0;
    for (int l = 0; l < LANES; l++) total += count[l];
    return total;
}

static nn_index FN(nonzeros)(nn_index m, const void *x_, int32_t *rows) {
    const real *x = x_;
    nn_index count = 0, k = 0;
#if LEVEL_BYTES == 64 && !DOUBLE
    __m512i places = (__m512i)FN(iota)();
    for (; k + LANES <= m;
         k += LANES, places = _mm512_add_epi32(places, _mm512_set1_epi32(LANES))) {
        __mmask16 set =
            _mm512_cmp_ps_mask(_mm512_loadu_ps(x + k), _mm512_setzero_ps(), _CMP_NEQ_UQ);
        _mm512_storeu_si512(rows + count, _mm512_maskz_compress_epi32(set, places));
        count += __builtin_popcount(set);
    }
#endif
    for (; k < m; k++) {
        rows[count] = (int32_t)k;
        count += x[k] != 0;
    }
    return count;
}

#include "sgd_block.h"
#include "sparse.h"
#include "optimizers.h"
#include "normalize.h"
#include "dropout.h"

#define TABLE_(level, type) nn_table_##level##_##type
#define TABLE(level, type) TABLE_(level, type)
const nn_kernels TABLE(LEVEL, real) = {
    .level = TEXT(LEVEL),
    .type = TEXT(real),
    .lanes = LANES,
    .itemsize = sizeof(real),
    .tile_rows = TILE_ROWS,
    .tile_columns = 2 * LANES,
    .product = FN(product),
    .product_work = FN(product_work),
    .sparse_blocks = FN(sparse_blocks),
    .list_row = FN(list_row),
    .turn_lists = FN(turn_lists),
    .sparse_product = FN(sparse_product),
    .row_forward = FN(row_forward),
    .row_backward = FN(row_backward),
    .row_update = FN(row_update),
    .turned_forward = FN(turned_forward),
    .turned_backward = FN(turned_backward),
    .block_pass = FN(block_pass),
    .block_gram = FN(block_gram),
    .sample_columns = FN(sample_columns),
    .count_nonzeros = FN(count_nonzeros),
    .nonzeros = FN(nonzeros),
    .scaled = FN(scaled),
    .row_products = FN(row_products),
    .softmax_losses = FN(softmax_losses),
    .subtract_scaled = FN(subtract_scaled),
    .activate = FN(activate),
    .derive = FN(derive),
    .softmax = FN(softmax),
    .softmax_work = FN(softmax_work),
    .loss_and_gradient = FN(loss_and_gradient),
    .loss_terms = FN(loss_terms),
    .nll_backward = FN(nll_backward),
    .apply = FN(apply),
    .sum_rows = FN(sum_rows),
    .sum_columns = FN(sum_columns),
    .transpose = FN(transpose),
    .all_finite = FN(all_finite),
    .copy_finite = FN(copy_finite),
    .largest = FN(largest),
    .optimize = FN(optimize),
    .squares = FN(squares),
    .normalize = FN(normalize),
    .normalize_back = FN(normalize_back),
    .follow = FN(follow),
    .dropout = FN(dropout),
#if WIDTH == 16
#define ALL_WIDTHS(name) {FN(name)}
#elif WIDTH == 32
#define ALL_WIDTHS(name) {PASTE(name, LEVEL, 16, real), FN(name)}
#else
#define ALL_WIDTHS(name) {PASTE(name, LEVEL, 16, real), PASTE(name, LEVEL, 32, real), FN(name)}
#endif
    .sgd_small = ALL_WIDTHS(sgd_small),
    .predict_small = ALL_WIDTHS(predict_small),
    .small_forward = ALL_WIDTHS(small_forward),
    .small_update = ALL_WIDTHS(small_update),
#undef ALL_WIDTHS
};

#undef ACTIVATE
#undef DERIVE
#undef SUM_OVER_ROWS
#undef WIDE
#undef TABLE_
#undef TABLE
