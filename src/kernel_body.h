/* Every leaf kernel but the vector functions, once, for the widest vectors of a level and one real type. */

/* ------------------------------------------------------------------------------------------------ element by element */

#define ACTIVATE(KIND)                                                                                     \
    for (; i + LANES <= n; i += LANES) FN(store)(a + i, FN(activation)(FN(load)(z + i), KIND));            \
    if (i < n) FN(store_part)(a + i, FN(activation)(FN(load_part)(z + i, n - i), KIND), n - i);            \
    return;

static void FN(activate)(nn_index n, const void *z_, void *a_, int kind) {
    const real *z = z_;
    real *a = a_;
    nn_index i = 0;
    switch (kind) {
    case NN_TANH: ACTIVATE(NN_TANH)
    case NN_RELU: ACTIVATE(NN_RELU)
    case NN_SIGMOID: case NN_OUTPUT_SIGMOID: ACTIVATE(NN_SIGMOID)
    default: if (a != z) memmove(a, z, (size_t)n * sizeof(real));
    }
}

#include "product.h"

#define DERIVE(KIND)                                                                                                       \
    for (; i + LANES <= n; i += LANES) FN(store)(dz + i, FN(derivative)(FN(load)(da + i), FN(load)(a + i), KIND));         \
    if (i < n) FN(store_part)(dz + i, FN(derivative)(FN(load_part)(da + i, n - i), FN(load_part)(a + i, n - i), KIND), n - i); \
    return;

static void FN(derive)(nn_index n, const void *da_, const void *a_, void *dz_, int kind) {
    const real *da = da_, *a = a_;
    real *dz = dz_;
    nn_index i = 0;
    switch (kind) {
    case NN_TANH: DERIVE(NN_TANH)
    case NN_RELU: DERIVE(NN_RELU)
    case NN_SIGMOID: DERIVE(NN_SIGMOID)
    default: if (dz != da) memmove(dz, da, (size_t)n * sizeof(real));
    }
}

static void FN(subtract_scaled)(nn_index n, void *y_, const void *x_, double eta_) {
    real *y = y_;
    const real *x = x_, eta = (real)eta_;
    nn_index i = 0;
    for (; i + LANES <= n; i += LANES) FN(store)(y + i, FN(load)(y + i) - FN(load)(x + i) * eta);
    if (i < n) FN(store_part)(y + i, FN(load_part)(y + i, n - i) - FN(load_part)(x + i, n - i) * eta, n - i);
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
    for (; i + LANES <= n; i += LANES) bad += FN(load)(x + i) * 0; /* NaN for NaN and +-inf, and it stays */
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

/* ------------------------------------------------------------------------------------------------------ losses */

/* y softplus(-z) + (1 - y) softplus(z), softplus(z) = max(z, 0) + log1p(e^-|z|); a weight of 0 silences an infinite term. */
static INLINE V FN(sigmoid_loss)(V z, V y) {
    V tail = FN(log1p)(FN(exp)((V)((I)z | (I)FN(set)((real)-0.0))));
    V wrong_if_one = FN(max)((V){0}, -z) + tail, wrong_if_zero = FN(max)((V){0}, z) + tail;
    return FN(select)(y == 0, (V){0}, y * wrong_if_one) + FN(select)(y == 1, (V){0}, (1 - y) * wrong_if_zero);
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

static double FN(loss_and_gradient)(nn_index n, const void *z_, const void *y_, void *grad_, int loss) {
    const real *z = z_, *y = y_;
    real *grad = grad_;
    double total = 0;
#define EACH(loss)                                                                                                    \
    for (nn_index i = 0; i < n; i += LANES) {                                                                         \
        nn_index part = n - i < LANES ? n - i : LANES;                                                                \
        V gradient, terms = FN(output_loss)(FN(load_part)(z + i, part), FN(load_part)(y + i, part), loss, &gradient); \
        for (int l = 0; l < part; l++) total += terms[l]; /* in double, in order */                                   \
        FN(store_part)(grad + i, gradient, part);                                                                     \
    }
    switch (loss) {
    case NN_BINARY_NLL: EACH(NN_BINARY_NLL) break;
    case NN_SQUARED: EACH(NN_SQUARED) break;
    default: EACH(NN_HINGE)
    }
#undef EACH
    return total;
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

/* The sums behind softmax and loss of a vector of logits: e = e^(z - top), summed apart for the maximal logits (ties; e^0 = 1, or NaN
 * for infinite ones) and the others, and of y (top - z) and y. */
typedef struct { V others, ties, gap, weight; } FN(softmax_sums);

/* What labels add to the sums: y (top - z), where 0 silences an infinite gap, and y. */
static INLINE void FN(add_labels)(V z, V top, V y, FN(softmax_sums) *sums) {
    sums->gap += FN(select)(y == 0, (V){0}, y * (top - z));
    sums->weight += y;
}

/* Where there are many classes, few are maximal or have a y that is not 0: vectors without any of these only add to the others. */
static INLINE V FN(softmax_add)(V z, V top, V y, const int with_y, const int many, FN(softmax_sums) *sums) {
    V e = FN(exp_negative)(z - top);
    if (many && !FN(any_equal)(z, top) && !(with_y && FN(any)((I)y))) {
        sums->others += e;
        return e;
    }
    I equal = z == top;
    sums->others += (V)((I)e & ~equal);
    sums->ties += (V)((I)e & equal);
    if (with_y) FN(add_labels)(z, top, y, sums);
    return e;
}

#undef STAGE_VECTORS
#undef SIDE_BY_SIDE
#undef IN_MEMORY
#define STAGE_VECTORS 4                       /* vectors that a stage takes at once */
#define SIDE_BY_SIDE (8 * STAGE_VECTORS * LANES) /* elements of a row, at least, for its stages to run beside those of others */
#define IN_MEMORY(s) ((s)->batch * (s)->classes * (nn_index)sizeof(real) > 4 * FAR_BYTES) /* logits */

/* The three stages of a sample in softmax_rows, for nv vectors or, with nv 0, for a part of one: the largest logit, */
static INLINE void FN(stage_top)(const int nv, nn_index part, const real *z, V *tops) {
    if (nv == 0) tops[0] = FN(max)(tops[0], FN(select)(FN(first)(part), FN(load_part)(z, part), tops[0]));
    UNROLLED
    for (int v = 0; v < nv; v++) tops[v] = FN(max)(tops[v], FN(load)(z + v * LANES));
}

/* (what the labels add; of one-hot labels, few are not 0) */
static INLINE void FN(stage_labels)(const int nv, nn_index part, const real *z, V top, const real *y, FN(softmax_sums) *sums) {
    if (nv == 0) {
        FN(add_labels)(FN(select)(FN(first)(part), FN(load_part)(z, part), top), top, FN(load_part)(y, part), sums);
        return;
    }
    I labels = (I)FN(load)(y);
    UNROLLED
    for (int v = 1; v < nv; v++) labels |= (I)FN(load)(y + v * LANES);
    if (FN(any)(labels))
        UNROLLED
        for (int v = 0; v < nv; v++) FN(add_labels)(FN(load)(z + v * LANES), top, FN(load)(y + v * LANES), sums);
}

/* p <- e^(z - top), summed up, and what the labels add, */
static INLINE void FN(stage_exp)(const int nv, nn_index part, const int with_y, const real *z, V top, const real *y, real *p, V *sum,
                                 FN(softmax_sums) *sums) {
    if (with_y) FN(stage_labels)(nv, part, z, top, y, sums);
    if (nv == 0) {
        I used = FN(first)(part);
        V e = FN(exp_negative)(FN(select)(used, FN(load_part)(z, part), top) - top);
        FN(store_part)(p, e, part);
        sum[0] += (V)((I)e & used);
        return;
    }
    UNROLLED
    for (int v = 0; v < nv; v++) {
        V e = FN(exp_negative)(FN(load)(z + v * LANES) - top);
        FN(store)(p + v * LANES, e);
        sum[v] += e;
    }
}

/* p <- p scale, grad <- p - y. */
static INLINE void FN(stage_out)(const int nv, nn_index part, const int with_y, real *p, V scale, const real *y, real *grad) {
    if (nv == 0) {
        V pi = FN(load_part)(p, part) * scale;
        if (!with_y || grad != p) FN(store_part)(p, pi, part);
        if (with_y) FN(store_part)(grad, pi - FN(load_part)(y, part), part);
    }
    UNROLLED
    for (int v = 0; v < nv; v++) {
        V pi = FN(load)(p + v * LANES) * scale;
        if (!with_y || grad != p) FN(store)(p + v * LANES, pi);
        if (with_y) FN(store)(grad + v * LANES, pi - FN(load)(y + v * LANES));
    }
}

/* Exponentials p (n), summed apart where they are 1 and where less. */
static INLINE void FN(sum_apart)(nn_index n, const real *p, V *others, V *ties) {
    for (nn_index i = 0; i < n; i += LANES) {
        V e = n - i < LANES ? FN(load_part)(p + i, n - i) : FN(load)(p + i);
        I equal = e == 1;
        *others += (V)((I)e & ~equal);
        *ties += (V)((I)e & equal);
    }
}

/* The sum of a sample's exponentials p (n) without one largest, from the sum of all. Only where it is less than one, so that taking away
 * the largest, 1, loses its digits, they are summed once more. */
static INLINE V FN(softmax_rest)(nn_index n, const real *p, V all) {
    V others = {0}, ties = {0};
    if (!(all[0] - 1 < 1)) return all - 1; /* also NaN */
    FN(sum_apart)(n, p, &others, &ties);
    return FN(sum_all)(others) + (FN(sum_all)(ties) - 1);
}

/* Elements from x to the next address that a vector may have without reaching into two cache lines. */
static INLINE nn_index FN(to_boundary)(const real *x) { return (nn_index)(-(uintptr_t)x % WIDTH / sizeof(real)); }

/* The first stage of sample `next`, the second of `now`, the third of `last`, of which each may be -1, side by side, since the first and
 * the last wait for memory and the second for the multiply-add units; each in another third of its row, as the processor compares only
 * the lowest bits of addresses to tell whether a load needs what was just stored. *top, *scale: what the stages leave to those behind. */
static INLINE void FN(softmax_stages)(const int with_y, const nn_softmax *s, nn_index next, nn_index now, nn_index last, V *top, V *scale) {
    const nn_index n = s->classes, length = n < SIDE_BY_SIDE ? 0 : (n - LANES) / (3 * STAGE_VECTORS * LANES) * (STAGE_VECTORS * LANES);
    const int first = next >= 0, second = now >= 0, third = last >= 0;
    const int fetches = IN_MEMORY(s) && n <= 8192; /* what the next rows need */
    const real *z_next = (const real *)s->z + (first ? next : 0) * s->z_sample, *z = (const real *)s->z + (second ? now : 0) * s->z_sample;
    const real *y = with_y ? (const real *)s->y + (second ? now : 0) * s->y_sample : NULL;
    const real *y_last = with_y ? (const real *)s->y + (third ? last : 0) * s->y_sample : NULL;
    real *p = (real *)s->p + (second ? now : 0) * s->p_sample, *p_last = (real *)s->p + (third ? last : 0) * s->p_sample;
    real *grad = with_y ? (real *)s->grad + (third ? last : 0) * s->grad_sample : p_last;
    const nn_index skip_next = length ? FN(to_boundary)(z_next) : 0, skip = length ? FN(to_boundary)(p) : 0;
    const nn_index skip_last = length ? FN(to_boundary)(grad) : 0;
    const V before = *top, factor = *scale;
    V tops[STAGE_VECTORS], sum[STAGE_VECTORS];
    FN(softmax_sums) sums = {{0}, {0}, {0}, {0}};
    UNROLLED
    for (int u = 0; u < STAGE_VECTORS; u++) {
        tops[u] = FN(set)(-(real)INFINITY);
        sum[u] = (V){0};
    }
#define TOP(nv, i, part) FN(stage_top)(nv, part, z_next + (i), tops)
#define EXP(nv, i, part) FN(stage_exp)(nv, part, with_y, z + (i), before, with_y ? y + (i) : NULL, p + (i), sum, &sums)
#define OUT(nv, i, part) FN(stage_out)(nv, part, with_y, p_last + (i), factor, with_y ? y_last + (i) : NULL, grad + (i))
#define EDGES(STAGE, skip)                                          \
    do {                                                            \
        nn_index i = (skip) + 3 * length;                           \
        if (skip) STAGE(0, 0, skip);                                \
        for (; i + LANES <= n; i += LANES) STAGE(1, i, LANES);      \
        if (i < n) STAGE(0, i, n - i);                              \
    } while (0)
    if (third) EDGES(OUT, skip_last);
    if (second) EDGES(EXP, skip);
    if (first) EDGES(TOP, skip_next);
    for (int third_of_row = 0; third_of_row < 3; third_of_row++) {
        const nn_index at_next = skip_next + (third_of_row + 1) % 3 * length, at = skip + third_of_row * length;
        const nn_index at_last = skip_last + (third_of_row + 2) % 3 * length;
        for (nn_index i = 0; i < length; i += STAGE_VECTORS * LANES) {
            if (fetches)
                UNROLLED
                for (int u = 0; u < STAGE_VECTORS; u++) {
                    if (first) __builtin_prefetch(z_next + s->z_sample + at_next + i + u * LANES, 0, 3);
                    if (second && with_y) __builtin_prefetch(y + s->y_sample + at + i + u * LANES, 0, 2);
                    if (second) __builtin_prefetch(p + s->p_sample + at + i + u * LANES, 1, 2);
                }
            if (first) TOP(STAGE_VECTORS, at_next + i, LANES);
            if (second) EXP(STAGE_VECTORS, at + i, LANES);
            if (third) OUT(STAGE_VECTORS, at_last + i, LANES);
        }
    }
#undef TOP
#undef EXP
#undef OUT
#undef EDGES
    if (second) {
        const V rest = FN(softmax_rest)(n, p, FN(sum_all)((sum[0] + sum[1]) + (sum[2] + sum[3])));
        *scale = 1 / (rest + 1);
        if (with_y) {
            ((real *)s->gap)[now] = FN(sum_all)(sums.gap)[0];
            ((real *)s->weight)[now] = FN(sum_all)(sums.weight)[0];
            ((real *)s->rest)[now] = rest[0];
        }
    }
    if (first) *top = FN(max_all)(FN(max)(FN(max)(tops[0], tops[1]), FN(max)(tops[2], tops[3])));
}

typedef void FN(softmax_step)(const nn_softmax *s, nn_index next, nn_index now, nn_index last, V *top, V *scale);
static NOINLINE void FN(softmax_alone)(const nn_softmax *s, nn_index next, nn_index now, nn_index last, V *top, V *scale) {
    FN(softmax_stages)(0, s, next, now, last, top, scale);
}
static NOINLINE void FN(softmax_labelled)(const nn_softmax *s, nn_index next, nn_index now, nn_index last, V *top, V *scale) {
    FN(softmax_stages)(1, s, next, now, last, top, scale);
}

/* Rows of many classes by blocks, which stay in the L1 cache from the first stage to the second: each has the largest logit so far in the
 * place of the row's, which the third stage makes up for. All rows' blocks are one sequence: the first stage is a block ahead of the
 * second, the third a row behind, and what lies in memory is fetched a page ahead: the processor does not look as far by itself. */
#undef SOFTMAX_BLOCK
#define SOFTMAX_BLOCK (3072 / (nn_index)sizeof(real)) /* elements, at least: a whole number of groups of vectors */

typedef struct {
    V base, sum; /* of the block whose exponentials are summed: what to subtract from its logits; their sum */
    V top;       /* the largest logit of the block before it */
    V last_top, scale; /* of the block behind it: its row's largest logit; what makes its exponentials probabilities */
    FN(softmax_sums) labels; /* what they add, in the third stage */
} FN(softmax_state);

/* A stage's block: row, its first element, how many elements; row -1: none. */
typedef struct { nn_index row, from, n; } FN(softmax_piece);

static INLINE void FN(softmax_block)(const int with_y, const nn_softmax *s, FN(softmax_piece) next, FN(softmax_piece) now,
                                     FN(softmax_piece) last, FN(softmax_state) *state) {
    const int first = next.row >= 0, second = now.row >= 0, third = last.row >= 0;
    const int fetches = IN_MEMORY(s);
    const real *z_next = (const real *)s->z + (first ? next.row * s->z_sample + next.from : 0);
    const real *z = (const real *)s->z + (second ? now.row * s->z_sample + now.from : 0);
    const real *z_last = (const real *)s->z + (third ? last.row * s->z_sample + last.from : 0);
    const real *y = with_y ? (const real *)s->y + (third ? last.row * s->y_sample + last.from : 0) : NULL;
    real *p = (real *)s->p + (second ? now.row * s->p_sample + now.from : 0);
    real *p_last = (real *)s->p + (third ? last.row * s->p_sample + last.from : 0);
    real *grad = with_y ? (real *)s->grad + (third ? last.row * s->grad_sample + last.from : 0) : p_last;
    const V base = state->base, last_top = state->last_top, scale = state->scale;
    FN(softmax_sums) labels = state->labels;
    V tops[STAGE_VECTORS], sum[STAGE_VECTORS];
    UNROLLED
    for (int u = 0; u < STAGE_VECTORS; u++) {
        tops[u] = FN(set)(-(real)INFINITY);
        sum[u] = (V){0};
    }
#define TOP(nv, i, part) FN(stage_top)(nv, part, z_next + (i), tops)
#define EXP(nv, i, part) FN(stage_exp)(nv, part, 0, z + (i), base, NULL, p + (i), sum, NULL)
#define OUT(nv, i, part)                                                                                         \
    do {                                                                                                         \
        if (with_y) FN(stage_labels)(nv, part, z_last + (i), last_top, y + (i), &labels);                        \
        FN(stage_out)(nv, part, with_y, p_last + (i), scale, with_y ? y + (i) : NULL, grad + (i));               \
    } while (0)
#define EDGES(STAGE, piece)                                                     \
    do {                                                                        \
        nn_index i = together;                                                  \
        for (; i + LANES <= piece.n; i += LANES) STAGE(1, i, LANES);            \
        if (i < piece.n) STAGE(0, i, piece.n - i);                              \
    } while (0)
    nn_index together = PTRDIFF_MAX;
    if (first && next.n < together) together = next.n;
    if (second && now.n < together) together = now.n;
    if (third && last.n < together) together = last.n;
    together -= together % (STAGE_VECTORS * LANES);
    for (nn_index i = 0; i < together; i += STAGE_VECTORS * LANES) {
        if (fetches)
            UNROLLED
            for (int u = 0; u < STAGE_VECTORS; u++) {
                const nn_index ahead = i + u * LANES + 4096 / (nn_index)sizeof(real);
                if (first) __builtin_prefetch(z_next + ahead, 0, 2);
                if (second) __builtin_prefetch(p + ahead, 1, 2);
                if (third && with_y) __builtin_prefetch(y + ahead, 0, 2);
            }
        if (first) TOP(STAGE_VECTORS, i, LANES);
        if (second) EXP(STAGE_VECTORS, i, LANES);
        if (third) OUT(STAGE_VECTORS, i, LANES);
    }
    if (first) EDGES(TOP, next);
    if (second) EDGES(EXP, now);
    if (third) EDGES(OUT, last);
#undef TOP
#undef EXP
#undef OUT
#undef EDGES
    state->labels = labels;
    state->sum = FN(sum_all)((sum[0] + sum[1]) + (sum[2] + sum[3]));
    state->top = FN(max_all)(FN(max)(FN(max)(tops[0], tops[1]), FN(max)(tops[2], tops[3])));
}

/* Block b of a row that the batch has; blocks begin where p can be stored on a cache line, and the last takes what is left. */
static INLINE FN(softmax_piece) FN(block_of)(const nn_softmax *s, nn_index length, int blocks, nn_index row, int b) {
    if (row < 0 || row >= s->batch) return (FN(softmax_piece)){-1, 0, 0};
    const nn_index skip = FN(to_boundary)((const real *)s->p + row * s->p_sample), from = b > 0 ? skip + b * length : 0;
    return (FN(softmax_piece)){row, from, (b < blocks - 1 ? skip + (b + 1) * length : s->classes) - from};
}

static INLINE void FN(softmax_blocks)(const int with_y, const nn_softmax *s) {
    enum { MOST = 128 }; /* blocks a row */
    const nn_index n = s->classes, length = (n / (MOST * SOFTMAX_BLOCK) + 1) * SOFTMAX_BLOCK;
    const int blocks = n < length + LANES ? 1 : (int)((n - LANES) / length);
    const FN(softmax_piece) none = {-1, 0, 0};
    const V lowest = FN(set)(C(-FLT_MAX, -DBL_MAX)); /* e^(-infinity - lowest) = 0, where a block has nothing else */
    real base[MOST], sum[MOST], factor[MOST] = {0};
    FN(softmax_piece) next = FN(block_of)(s, length, blocks, 0, 0), now;
    FN(softmax_state) state = {.labels = {{0}, {0}, {0}, {0}}};
    V top = {0};
    FN(softmax_block)(with_y, s, next, none, none, &state);
    for (nn_index j = 0; j <= s->batch; j++) {
        for (int b = 0; b < blocks; b++) {
            now = next;
            next = b < blocks - 1 ? FN(block_of)(s, length, blocks, j, b + 1) : FN(block_of)(s, length, blocks, j + 1, 0);
            top = b > 0 ? FN(max)(top, state.top) : state.top;
            state.base = FN(max)(top, lowest);
            state.scale = FN(set)(factor[b]);
            FN(softmax_block)(with_y, s, next, now, FN(block_of)(s, length, blocks, j - 1, b), &state);
            base[b] = state.base[0], sum[b] = state.sum[0];
        }
        if (with_y && j > 0) {
            ((real *)s->gap)[j - 1] = FN(sum_all)(state.labels.gap)[0];
            ((real *)s->weight)[j - 1] = FN(sum_all)(state.labels.weight)[0];
        }
        if (j == s->batch) return;
        state.labels = (FN(softmax_sums)){{0}, {0}, {0}, {0}};
        state.last_top = top;
        V all = {0}, rest;
        for (int b = 0; b < blocks; b++) {
            factor[b] = FN(exp_negative)(FN(set)(base[b]) - top)[0];
            all += factor[b] * sum[b];
        }
        rest = all - 1;
        if (rest[0] < 1) { /* as in softmax_rest */
            V others = {0}, ties = {0};
            for (int b = 0; b < blocks; b++) {
                now = FN(block_of)(s, length, blocks, j, b);
                if (base[b] == top[0]) FN(sum_apart)(now.n, (const real *)s->p + j * s->p_sample + now.from, &others, &ties);
                else others[0] += factor[b] * sum[b];
            }
            rest = FN(sum_all)(others) + (FN(sum_all)(ties) - 1);
        }
        for (int b = 0; b < blocks; b++) factor[b] /= rest[0] + 1;
        if (with_y) ((real *)s->rest)[j] = rest[0];
    }
}
static NOINLINE void FN(softmax_blocks_alone)(const nn_softmax *s) { FN(softmax_blocks)(0, s); }
static NOINLINE void FN(softmax_blocks_labelled)(const nn_softmax *s) { FN(softmax_blocks)(1, s); }

/* Classes contiguous, in vectors along the classes. Long rows go by blocks, unless labels would not find their logits any more when the
 * probabilities are there; else three rows are in work at a time, or two, where six exceed the L2 cache. */
static void FN(softmax_rows)(const nn_softmax *s) {
    FN(softmax_step) *stages = s->y ? FN(softmax_labelled) : FN(softmax_alone);
    const nn_index last = s->batch - 1;
    V top = {0}, scale = {0};
    if (s->batch <= 0) return;
    if (s->classes >= (IN_MEMORY(s) ? SIDE_BY_SIDE : 2 * SOFTMAX_BLOCK) && (!s->y || s->p != s->z)) {
        if (s->y) FN(softmax_blocks_labelled)(s);
        else FN(softmax_blocks_alone)(s);
        return;
    }
    stages(s, 0, -1, -1, &top, &scale);
    if (s->classes * (nn_index)sizeof(real) > FAR_BYTES / 8) {
        for (nn_index j = 0; j <= last; j++) {
            stages(s, j < last ? j + 1 : -1, j, -1, &top, &scale);
            stages(s, -1, -1, j, &top, &scale);
        }
        return;
    }
    for (nn_index j = 0; j <= last; j++) stages(s, j < last ? j + 1 : -1, j, j - 1, &top, &scale);
    stages(s, -1, -1, last, &top, &scale);
}
#undef SOFTMAX_BLOCK

/* Samples side by side, samples contiguous: the same arithmetic in vectors along the samples, a few at a time, so that each class is read
 * from neighbouring cache lines. */
enum { FN(SIDE) = 64 };

static INLINE void FN(softmax_strip)(const int with_y, const nn_softmax *s, nn_index j, nn_index samples) {
    const real *z = (const real *)s->z + j, *y = with_y ? (const real *)s->y + j : NULL;
    real *p = (real *)s->p + j, *grad = with_y ? (real *)s->grad + j : NULL;
    const int vectors = (int)((samples + LANES - 1) / LANES);
    V top[FN(SIDE)], scale[FN(SIDE)];
    FN(softmax_sums) sums[FN(SIDE)];
#define EACH for (int v = 0; v < vectors; v++)
#define PART (samples - v * LANES < LANES ? samples - v * LANES : LANES)
#define LOAD(at, class) (PART == LANES ? FN(load)((at) + i * s->class + v * LANES) : FN(load_part)((at) + i * s->class + v * LANES, PART))
#define STORE(at, class, x) do {                                                                 \
        if (PART == LANES) FN(store)((at) + i * s->class + v * LANES, (x));                      \
        else FN(store_part)((at) + i * s->class + v * LANES, (x), PART);                         \
    } while (0)
    EACH {
        top[v] = FN(set)(-(real)INFINITY);
        sums[v] = (FN(softmax_sums)){{0}, {0}, {0}, {0}};
    }
    for (nn_index i = 0; i < s->classes; i++) EACH top[v] = FN(max)(top[v], LOAD(z, z_class));
    for (nn_index i = 0; i < s->classes; i++)
        EACH STORE(p, p_class, FN(softmax_add)(LOAD(z, z_class), top[v], with_y ? LOAD(y, y_class) : top[v], with_y, 1, &sums[v]));
    EACH {
        V rest = sums[v].others + (sums[v].ties - 1);
        scale[v] = 1 / (rest + 1);
        if (with_y) {
            FN(store_part)((real *)s->gap + j + v * LANES, sums[v].gap, PART);
            FN(store_part)((real *)s->weight + j + v * LANES, sums[v].weight, PART);
            FN(store_part)((real *)s->rest + j + v * LANES, rest, PART);
        }
    }
    for (nn_index i = 0; i < s->classes; i++)
        EACH {
            V pi = LOAD(p, p_class) * scale[v];
            if (!with_y || grad != p) STORE(p, p_class, pi);
            if (with_y) STORE(grad, grad_class, pi - LOAD(y, y_class));
        }
#undef EACH
#undef PART
#undef LOAD
#undef STORE
}

static void FN(softmax_strips)(const nn_softmax *s) {
    for (nn_index j = 0; j < s->batch; j += FN(SIDE) * LANES) {
        const nn_index samples = s->batch - j < FN(SIDE) * LANES ? s->batch - j : FN(SIDE) * LANES;
        if (s->y) FN(softmax_strip)(1, s, j, samples);
        else FN(softmax_strip)(0, s, j, samples);
    }
}

/* Few classes, samples contiguous: LANES samples at a time stay in registers. The arithmetic and its order are those of the strips. */
static INLINE void FN(softmax_few)(const int with_y, const nn_softmax *s) {
    const int classes = (int)s->classes;
#define EACH UNROLLED for (int c = 0; c < LANES; c++) if (c < classes)
#define FETCH(v, at, class) EACH v[c] = samples == LANES ? FN(load)((at) + c * (class) + j) : FN(load_part)((at) + c * (class) + j, samples)
#define PUT(v, at, class) EACH FN(store_part)((at) + c * (class) + j, v[c], samples)
    for (nn_index j = 0; j < s->batch; j += LANES) {
        const nn_index samples = s->batch - j < LANES ? s->batch - j : LANES;
        V p[LANES], y[LANES], top = FN(set)(-(real)INFINITY);
        FN(softmax_sums) sums = {{0}, {0}, {0}, {0}};
        UNROLLED
        for (int c = 0; c < LANES; c++) p[c] = y[c] = (V){0};
        FETCH(p, (const real *)s->z, s->z_class);
        if (with_y) FETCH(y, (const real *)s->y, s->y_class);
        EACH top = FN(max)(top, p[c]);
        EACH p[c] = FN(softmax_add)(p[c], top, with_y ? y[c] : top, with_y, 0, &sums);
        V rest = sums.others + (sums.ties - 1), scale = 1 / (rest + 1);
        EACH p[c] *= scale;
        if (with_y) {
            FN(store_part)((real *)s->gap + j, sums.gap, samples);
            FN(store_part)((real *)s->weight + j, sums.weight, samples);
            FN(store_part)((real *)s->rest + j, rest, samples);
            EACH y[c] = p[c] - y[c];
        }
        if (!with_y || s->grad != s->p) PUT(p, (real *)s->p, s->p_class);
        if (with_y) PUT(y, (real *)s->grad, s->grad_class);
    }
#undef EACH
#undef FETCH
#undef PUT
}

/* The same with the classes contiguous: LANES / 2 samples at a time, turned so that each vector holds two classes of all of them. */
static INLINE void FN(softmax_pairs)(const int with_y, const nn_softmax *s) {
    enum { SAMPLES = LANES / 2 };
    const nn_index classes = s->classes;
    const int pairs = (int)(classes + 1) / 2;
    const V lowest = FN(set)(-(real)INFINITY);
#define ROWS UNROLLED for (int r = 0; r < SAMPLES; r++)
#define EACH UNROLLED for (int c = 0; c < SAMPLES; c++) if (c < pairs)
#define FETCH(v, at, sample) ROWS v[r] = FN(load_part)((at) + (r < samples ? j + r : j) * (sample), r < samples ? classes : 0)
#define PUT(v, at, sample)                                                                                  \
    do {                                                                                                    \
        FN(interleave)(SAMPLES, LANES, v);                                                                  \
        ROWS if (r < samples) FN(store_part)((at) + (j + r) * (sample), v[r], classes);                     \
    } while (0)
    for (nn_index j = 0; j < s->batch; j += SAMPLES) {
        const nn_index samples = s->batch - j < SAMPLES ? s->batch - j : SAMPLES;
        V p[SAMPLES], y[SAMPLES], top = lowest;
        ROWS y[r] = (V){0};
        FN(softmax_sums) sums = {{0}, {0}, {0}, {0}};
        FETCH(p, (const real *)s->z, s->z_sample);
        FN(interleave)(SAMPLES, SAMPLES, p);
        if (with_y) {
            FETCH(y, (const real *)s->y, s->y_sample);
            FN(interleave)(SAMPLES, SAMPLES, y);
        }
        if (classes % 2)
            EACH if (c == pairs - 1) p[c] = FN(select)(FN(first)(SAMPLES), p[c], lowest);
        EACH top = FN(max)(top, p[c]);
        top = FN(max)(top, FN(other_half)(top));
        EACH p[c] = FN(softmax_add)(p[c], top, with_y ? y[c] : top, with_y, 0, &sums);
        V others = sums.others + FN(other_half)(sums.others), ties = sums.ties + FN(other_half)(sums.ties);
        V rest = others + (ties - 1), scale = 1 / (rest + 1);
        EACH p[c] *= scale;
        if (with_y) {
            FN(store_part)((real *)s->gap + j, sums.gap + FN(other_half)(sums.gap), samples);
            FN(store_part)((real *)s->weight + j, sums.weight + FN(other_half)(sums.weight), samples);
            FN(store_part)((real *)s->rest + j, rest, samples);
            EACH y[c] = p[c] - y[c];
        }
        if (!with_y || s->grad != s->p) PUT(p, (real *)s->p, s->p_sample);
        if (with_y) PUT(y, (real *)s->grad, s->grad_sample);
    }
#undef EACH
#undef ROWS
#undef FETCH
#undef PUT
}

static void FN(softmax)(const nn_softmax *s) {
    if (!s->classes_contiguous) {
        if (s->classes > LANES) FN(softmax_strips)(s);
        else if (s->y) FN(softmax_few)(1, s);
        else FN(softmax_few)(0, s);
        return;
    }
    if (s->classes <= LANES && s->batch > LANES / 8) {
        if (s->y) FN(softmax_pairs)(1, s);
        else FN(softmax_pairs)(0, s);
        return;
    }
    FN(softmax_rows)(s);
}

static void FN(softmax_losses)(nn_index n, const void *gap_, const void *weight_, const void *rest_, double *losses) {
    const real *gap = gap_, *weight = weight_, *rest = rest_;
    for (nn_index i = 0; i < n; i += LANES) {
        nn_index part = n - i < LANES ? n - i : LANES;
        V y = FN(log1p)(FN(load_part)(rest + i, part));
        for (int l = 0; l < part; l++) losses[i + l] = (double)gap[i + l] + (double)weight[i + l] * (double)y[l];
    }
}

/* -------------------------------------------------------------------------------------------- one sample at a time */

/* z <- x W + bias for nv vectors of outputs; nv * ku chains of sums hide the latency of the multiply-add. With `listed` the m
 * terms are those of rows[0 .. m - 1]. */
static INLINE void FN(row_strip)(const int nv, const int ku, const int whole, const int listed, nn_index part, nn_index m, const real *x,
                                 const int32_t *rows, const real *w, nn_index w_row, const real *bias, real *z) {
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
static INLINE void FN(row_strips)(const int listed, nn_index m, nn_index n, const real *x, const int32_t *rows, const real *w,
                                  nn_index w_row, const real *bias, real *z) {
    nn_index j = 0;
#define STRIP(nv, ku, whole, part) FN(row_strip)(nv, ku, whole, listed, part, m, x, rows, w + j, w_row, bias + j, z + j)
#if LEVEL_BYTES == 64
    for (; j + 8 * LANES <= n; j += 8 * LANES) STRIP(8, 1, 1, LANES);
#endif
    for (; j + 4 * LANES <= n; j += 4 * LANES) STRIP(4, 2, 1, LANES);
    for (; j + 2 * LANES <= n; j += 2 * LANES) STRIP(2, 4, 1, LANES);
    for (; j + LANES <= n; j += LANES) STRIP(1, 8, 1, LANES);
    if (j < n) STRIP(1, 8, 0, n - j);
#undef STRIP
}

static void FN(row_forward)(nn_index m, nn_index n, const void *x, const int32_t *rows, const void *w, nn_index w_row,
                            const void *bias, void *z, int kind) {
    if (rows) FN(row_strips)(1, m, n, x, rows, w, w_row, bias, z);
    else FN(row_strips)(0, m, n, x, NULL, w, w_row, bias, z);
    if (kind != NN_NONE) FN(activate)(n, z, z, kind);
}

/* out[0 .. 3] <- the sums of all lanes of a, b, c, d. Vectors are merged while they are summed, which takes half the shuffles. */
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
    V all = __builtin_shufflevector(ab, cd, PAIRS_LOW) + __builtin_shufflevector(ab, cd, PAIRS_HIGH);
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
static INLINE void FN(rows_back)(const int rows, const int update, nn_index n, real *w, nn_index w_row, const real *x, const real *dz,
                                 real *dx, real eta) {
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

static void FN(row_backward)(nn_index m, nn_index n, void *w_, nn_index w_row, const void *x_, const void *dz, void *dx_, int kind,
                             double eta) {
    real *w = w_, *dx = dx_;
    const real *x = x_;
    nn_index k = 0;
    for (; k + 4 <= m; k += 4) FN(rows_back)(4, 1, n, w + k * w_row, w_row, x + k, dz, dx + k, (real)eta);
    for (; k < m; k++) FN(rows_back)(1, 1, n, w + k * w_row, w_row, x + k, dz, dx + k, (real)eta);
    FN(derive)(m, dx, x, dx, kind);
}

static void FN(row_products)(nn_index m, nn_index n, const void *w_, nn_index w_row, const void *dz, void *dx_) {
    real *w = (real *)w_, *dx = dx_; /* only read: nothing is written without update */
    nn_index k = 0;
    for (; k + 4 <= m; k += 4) FN(rows_back)(4, 0, n, w + k * w_row, w_row, NULL, dz, dx + k, 0);
    for (; k < m; k++) FN(rows_back)(1, 0, n, w + k * w_row, w_row, NULL, dz, dx + k, 0);
}

/* row_backward for nv vectors of the columns of W, which are the rows of wt. */
static INLINE void FN(turned_strip)(const int nv, const int whole, nn_index part, nn_index n, real *wt, nn_index wt_row, const real *x,
                                    const real *dz, real *dx, int kind, real eta) {
    V sum[4], a[4];
#define LOAD(p, v) (whole ? FN(load)((p) + (v) * LANES) : FN(load_part)((p), part))
#define STORE(p, v, x) do { if (whole) FN(store)((p) + (v) * LANES, (x)); else FN(store_part)((p), (x), part); } while (0)
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

static void FN(turned_backward)(nn_index m, nn_index n, void *wt_, nn_index wt_row, const void *x_, const void *dz, void *dx_, int kind,
                                double eta) {
    real *wt = wt_, *dx = dx_;
    const real *x = x_;
    nn_index i = 0;
#define STRIP(nv, whole, part) FN(turned_strip)(nv, whole, part, n, wt + i, wt_row, x + i, dz, dx + i, kind, (real)eta)
    for (; i + 4 * LANES <= m; i += 4 * LANES) STRIP(4, 1, LANES);
    for (; i + LANES <= m; i += LANES) STRIP(1, 1, LANES);
    if (i < m) STRIP(1, 0, m - i);
#undef STRIP
}

static void FN(turned_forward)(nn_index m, nn_index n, const void *x, const void *wt, nn_index wt_row, const void *bias_, void *z_,
                               int kind) {
    const real *bias = bias_;
    real *z = z_;
    FN(row_products)(n, m, wt, wt_row, x, z);
    for (nn_index j = 0; j < n; j++) z[j] += bias[j];
    if (kind != NN_NONE) FN(activate)(n, z, z, kind);
}

/* nv vectors of the rows, the last row first: a forward product that has just passed over them has left the last ones in the cache, and
 * the next one begins with the first. */
static INLINE void FN(update_strip)(const int nv, const int whole, nn_index part, nn_index m, real *w, nn_index w_row, const real *x,
                                    const int32_t *rows, const real *step) {
    V steps[8];
    UNROLLED
    for (int v = 0; v < nv; v++) steps[v] = whole ? FN(load)(step + v * LANES) : FN(load_part)(step, part);
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

static void FN(row_update)(nn_index m, nn_index n, void *w_, nn_index w_row, const void *x, const int32_t *rows, const void *step_) {
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
    for (; k + LANES <= m; k += LANES, places = _mm512_add_epi32(places, _mm512_set1_epi32(LANES))) {
        __mmask16 set = _mm512_cmp_ps_mask(_mm512_loadu_ps(x + k), _mm512_setzero_ps(), _CMP_NEQ_UQ);
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

/* ------------------------------------------------------------------------------------------------ sums */

static void FN(sum_rows)(nn_index m, nn_index n, const void *x_, nn_index x_row, void *out_) {
    const real *x = x_;
    real *out = out_;
    for (nn_index j = 0; j < n; j += LANES) {
        nn_index part = n - j < LANES ? n - j : LANES;
        V s = {0};
        if (part == LANES) for (nn_index i = 0; i < m; i++) s += FN(load)(x + i * x_row + j);
        else for (nn_index i = 0; i < m; i++) s += FN(load_part)(x + i * x_row + j, part);
        FN(store_part)(out + j, s, part);
    }
}

#define TABLE_(level, type) nn_table_##level##_##type
#define TABLE(level, type) TABLE_(level, type)
const nn_kernels TABLE(LEVEL, real) = {
    .level = TEXT(LEVEL), .type = TEXT(real), .lanes = LANES, .itemsize = sizeof(real), .tile_rows = TILE_ROWS, .tile_columns = 2 * LANES,
    .product = FN(product), .product_work = FN(product_work), .sparse_blocks = FN(sparse_blocks), .list_row = FN(list_row),
    .turn_lists = FN(turn_lists), .sparse_product = FN(sparse_product), .row_forward = FN(row_forward), .row_backward = FN(row_backward),
    .row_update = FN(row_update), .turned_forward = FN(turned_forward), .turned_backward = FN(turned_backward),
    .block_pass = FN(block_pass), .block_gram = FN(block_gram), .sample_columns = FN(sample_columns),
    .count_nonzeros = FN(count_nonzeros), .nonzeros = FN(nonzeros),
    .scaled = FN(scaled),
    .row_products = FN(row_products), .softmax_losses = FN(softmax_losses),
    .subtract_scaled = FN(subtract_scaled), .activate = FN(activate), .derive = FN(derive), .softmax = FN(softmax),
    .loss_and_gradient = FN(loss_and_gradient), .loss_terms = FN(loss_terms), .apply = FN(apply), .sum_rows = FN(sum_rows),
    .transpose = FN(transpose), .all_finite = FN(all_finite), .copy_finite = FN(copy_finite), .largest = FN(largest),
    .optimize = FN(optimize), .normalize = FN(normalize), .normalize_back = FN(normalize_back), .follow = FN(follow),
    .dropout = FN(dropout),
#if WIDTH == 16
#define ALL_WIDTHS(name) {FN(name)}
#elif WIDTH == 32
#define ALL_WIDTHS(name) {PASTE(name, LEVEL, 16, real), FN(name)}
#else
#define ALL_WIDTHS(name) {PASTE(name, LEVEL, 16, real), PASTE(name, LEVEL, 32, real), FN(name)}
#endif
    .sgd_small = ALL_WIDTHS(sgd_small), .predict_small = ALL_WIDTHS(predict_small), .small_forward = ALL_WIDTHS(small_forward),
    .small_update = ALL_WIDTHS(small_update),
#undef ALL_WIDTHS
};

#undef ACTIVATE
#undef DERIVE
#undef TABLE_
#undef TABLE
