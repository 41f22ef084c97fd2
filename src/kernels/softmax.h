/* Softmax of a batch and, given labels, the gradient of its NLL and the terms of the losses. Called
 * by engine/layers.pxi, python/losses.pxi and python/predictor.pxi.
 *
 * Up to 2 LANES classes are processed in vectors along the samples, which are transposed if the
 * classes are contiguous. More classes are processed in vectors along the contiguous axis: rows
 * here and in softmax_rows.h, in three stages; columns in softmax_columns.h.
 *
 * The order of every sum follows from the number of classes alone, so that results have the same
 * bits at every address and in both layouts. The exponentials of many classes are summed in
 * SOFTMAX_GROUP chains of LANES lanes: the vectors of a group add to one chain each, the rest after
 * the groups to the first one; then the chains are added, then their lanes by halves. The sums over
 * the labels are one chain, to which each group adds its own sum. Loads and stores are aligned to
 * cache lines only in passes that take no sum. */

/* The sums of a vector of logits: e = e^(z - top), separately for the maximal logits (ties; e^0 =
 * 1, or NaN for infinite ones) and the others; y (top - z); y. */
typedef struct { V others, ties, label_gap, label_sum; } FN(softmax_sums);

/* The rounding errors of the sums over the labels (see sums.h). NULL is passed for few labels. */
typedef struct { V label_gap, label_sum; } FN(softmax_lost);

/* y (top - z); y = 0 suppresses an infinite difference. */
static INLINE V FN(gap_of)(V z, V top, V y) { return FN(select)(y == 0, (V){0}, y * (top - z)); }

static INLINE void FN(add_labels)(V label_gap, V y, FN(softmax_sums) *sums,
                                  FN(softmax_lost) *lost) {
    if (lost) {
        NN_TWO_SUM(V, sums->label_gap, lost->label_gap, label_gap);
        NN_TWO_SUM(V, sums->label_sum, lost->label_sum, y);
        return;
    }
    sums->label_gap += label_gap;
    sums->label_sum += y;
}

/* Of many classes, few are maximal or have a non-zero label. Vectors without any of these only add
 * to `others`. */
static INLINE V FN(softmax_add)(V z, V top, V y, const int with_y, const int many_classes,
                                FN(softmax_sums) *sums, FN(softmax_lost) *lost) {
    V e = FN(exp_negative)(z - top);
    if (many_classes && !FN(any_equal)(z, top) && !(with_y && FN(any)((I)y))) {
        sums->others += e;
        return e;
    }
    I equal = z == top;
    sums->others += (V)((I)e & ~equal);
    sums->ties += (V)((I)e & equal);
    if (with_y) FN(add_labels)(FN(gap_of)(z, top, y), y, sums, lost);
    return e;
}

#undef IN_MEMORY
#undef STAGE_GROUP
#define STAGE_GROUP (SOFTMAX_GROUP * LANES)
#define IN_MEMORY(s) \
    ((s)->batch * (s)->classes * (nn_index)sizeof(real) > SOFTMAX_PREFETCH_BYTES)

/* The three stages of a sample in softmax_rows, for nv vectors or, if nv is 0, part of one.
 * Stage 1: the largest logit. */
static INLINE void FN(stage_top)(const int nv, nn_index part, const real *z, V *tops) {
    if (nv == 0)
        tops[0] = FN(max)(tops[0], FN(select)(FN(first)(part), FN(load_part)(z, part), tops[0]));
    UNROLLED_FOR(v, nv) tops[v] = FN(max)(tops[v], FN(load)(z + v * LANES));
}

/* The sums over the labels, part of stage 2. Most vectors of one-hot labels are zero. */
static INLINE void FN(stage_labels)(const int nv, nn_index part, const real *z, V top,
                                    const real *y, FN(softmax_sums) *sums,
                                    FN(softmax_lost) *lost) {
    if (nv == 0) {
        const V yi = FN(load_part)(y, part);
        const V zi = FN(select)(FN(first)(part), FN(load_part)(z, part), top);
        FN(add_labels)(FN(gap_of)(zi, top, yi), yi, sums, lost);
        return;
    }
    I labels = (I)FN(load)(y);
    UNROLLED
    for (int v = 1; v < nv; v++) labels |= (I)FN(load)(y + v * LANES);
    if (FN(any)(labels)) {
        V label_gap = {0}, weight = {0};
        UNROLLED_FOR(v, nv) {
            label_gap += FN(gap_of)(FN(load)(z + v * LANES), top, FN(load)(y + v * LANES));
            weight += FN(load)(y + v * LANES);
        }
        FN(add_labels)(label_gap, weight, sums, lost);
    }
}

/* Stage 2: p <- e^(z - top), its sum, and the sums over the labels. */
static INLINE void FN(stage_exp)(const int nv, nn_index part, const int with_y, const real *z,
                                 V top, const real *y, real *p, V *sum, FN(softmax_sums) *sums,
                                 FN(softmax_lost) *lost) {
    if (with_y) FN(stage_labels)(nv, part, z, top, y, sums, nv > 1 ? lost : NULL);
    if (nv == 0) {
        I used = FN(first)(part);
        V e = FN(exp_negative)(FN(select)(used, FN(load_part)(z, part), top) - top);
        FN(store_part)(p, e, part);
        sum[0] += (V)((I)e & used);
        return;
    }
    UNROLLED_FOR(v, nv) {
        V e = FN(exp_negative)(FN(load)(z + v * LANES) - top);
        FN(store)(p + v * LANES, e);
        sum[v] += e;
    }
}

/* Stage 3: p <- p scale, grad <- p - y. */
static INLINE void FN(stage_out)(const int nv, nn_index part, const int with_y, real *p, V scale,
                                 const real *y, real *grad) {
    if (nv == 0) {
        V pi = FN(rounded)(FN(load_part)(p, part) * scale);
        if (!with_y || grad != p) FN(store_part)(p, pi, part);
        if (with_y) FN(store_part)(grad, pi - FN(load_part)(y, part), part);
    }
    UNROLLED_FOR(v, nv) {
        V pi = FN(rounded)(FN(load)(p + v * LANES) * scale);
        if (!with_y || grad != p) FN(store)(p + v * LANES, pi);
        if (with_y) FN(store)(grad + v * LANES, pi - FN(load)(y + v * LANES));
    }
}

/* dL/dz of a class: weight p - y */
static INLINE V FN(gradient_of)(V p, V weight, V y) { return FN(rounded)(p * weight) - y; }

/* The sum of the chains. */
static INLINE V FN(chains)(const V *sum) { return (sum[0] + sum[1]) + (sum[2] + sum[3]); }

/* Sums of the exponentials p (n): of those less than 1, in groups (see sums.h), and of those
 * equal to 1. */
static INLINE void FN(sum_apart)(nn_index n, const real *p, FN(total) *others, V *ties) {
    V group = {0};
    nn_index i = 0;
#define APART(load)                                \
    do {                                           \
        const V e = (load);                        \
        const I equal = e == 1;                    \
        group += (V)((I)e & ~equal);               \
        *ties += (V)((I)e & equal);                \
    } while (0)
    for (; i + SUM_GROUP * LANES <= n; i += SUM_GROUP * LANES) {
        UNROLLED_FOR(v, SUM_GROUP) APART(FN(load)(p + i + v * LANES));
        FN(add)(others, group);
        group = (V){0};
    }
    for (; i + LANES <= n; i += LANES) APART(FN(load)(p + i));
    if (i < n) APART(FN(load_part)(p + i, n - i));
#undef APART
    FN(add)(others, group);
}

/* The sum of a sample's exponentials p (n) without one largest, given the sum of all. If it is less
 * than 1, subtracting the largest, 1, would cancel its digits, so they are summed again. */
static INLINE V FN(softmax_rest)(nn_index n, const real *p, V all) {
    FN(total) others = {{0}, {0}};
    V ties = {0};
    if (!(all[0] - 1 < 1)) return all - 1; /* also NaN */
    FN(sum_apart)(n, p, &others, &ties);
    return FN(sum_all)(FN(value)(others)) + (FN(sum_all)(ties) - 1);
}

/* The gradient weights (see labels.h) of up to `period` samples from j on, in lanes, repeated every
 * `period` lanes. sums: the sums of their labels. */
static NOINLINE V FN(label_weights)(const nn_softmax *s, nn_index j, nn_index samples,
                                        int period, V sums) {
    V weights = FN(set)(1);
    for (int l = 0; l < LANES; l++)
        if (l % period < samples)
            weights[l] = FN(gradient_weight)(s->plain, sums[l], s->classes,
                                             (const real *)s->y + (j + l % period) * s->y_sample,
                                             s->y_class);
    return weights;
}

static INLINE V FN(gradient_weights)(const nn_softmax *s, nn_index j, nn_index samples, int period,
                                     V sums) {
    const V off = (V)((I)(sums - 1) & ~(I)FN(set)((real)-0.0));
    if (!FN(any)(~(off <= (real)s->classes * C(0x1p-24f, 0x1p-24)) & FN(first)(samples)))
        return FN(set)(1);
    return FN(label_weights)(s, j, samples, period, sums);
}

/* Elements from x to the next aligned vector. */
static INLINE nn_index FN(to_boundary)(const real *x) {
    return (nn_index)(-(uintptr_t)x % WIDTH / sizeof(real));
}

/* A third of a row's whole groups, if the row is not taken in blocks. The rest goes first. */
static INLINE nn_index FN(third_of)(nn_index n) {
    return n < 8 * STAGE_GROUP ? 0 : (n - LANES) / (3 * STAGE_GROUP) * STAGE_GROUP;
}

/* What a row's stages leave to the following ones. */
typedef struct { V top, scale; real weight; } FN(row_state);

/* Stage 1 of sample `next`, 2 of `now` and 3 of `last`, each of which may be -1, interleaved: the
 * first and the last are bound by memory, the second by the multiply-add units. Each is in another
 * third of its row, since the processor compares only the lowest bits of addresses to detect a load
 * of data that was just stored. One function, although long: the sums of all stages stay in
 * registers. */
static INLINE void FN(softmax_stages)(const int with_y, const nn_softmax *s, nn_index next,
                                      nn_index now, nn_index last, FN(row_state) *state) {
    const nn_index n = s->classes, length = FN(third_of)(n);
    const int first = next >= 0, second = now >= 0, third = last >= 0;
    const int prefetches = IN_MEMORY(s) && n <= 8192; /* the next rows */
    const real *z_next = (const real *)s->z + (first ? next : 0) * s->z_sample,
               *z = (const real *)s->z + (second ? now : 0) * s->z_sample;
    const real *y = with_y ? (const real *)s->y + (second ? now : 0) * s->y_sample : NULL;
    const real *y_last = with_y ? (const real *)s->y + (third ? last : 0) * s->y_sample : NULL;
    real *p = (real *)s->p + (second ? now : 0) * s->p_sample,
         *p_last = (real *)s->p + (third ? last : 0) * s->p_sample;
    real *grad = with_y ? (real *)s->grad + (third ? last : 0) * s->grad_sample : p_last;
    const nn_index skip_next = length ? FN(to_boundary)(z_next) : 0,
                   skip_last = length ? FN(to_boundary)(grad) : 0;
    const V before = state->top, scale = state->scale;
    V tops[SOFTMAX_GROUP], sum[SOFTMAX_GROUP], of_thirds = {0}; /* shorter chains round less */
    FN(softmax_sums) sums = {0};
    FN(softmax_lost) lost = {0};
    UNROLLED_FOR(u, SOFTMAX_GROUP) {
        tops[u] = FN(set)(-(real)INFINITY);
        sum[u] = (V){0};
    }
#define TOP(nv, i, part) FN(stage_top)(nv, part, z_next + (i), tops)
#define EXP(nv, i, part)                                                                           \
    FN(stage_exp)(nv, part, with_y, z + (i), before, with_y ? y + (i) : NULL, p + (i), sum, &sums, \
                  &lost)
#define OUT(nv, i, part) \
    FN(stage_out)(nv, part, with_y, p_last + (i), scale, with_y ? y_last + (i) : NULL, grad + (i))
#define EDGES(STAGE, skip)                                     \
    do {                                                       \
        nn_index i = (skip) + 3 * length;                      \
        if (skip) STAGE(0, 0, skip);                           \
        for (; i + LANES <= n; i += LANES) STAGE(1, i, LANES); \
        if (i < n) STAGE(0, i, n - i);                         \
    } while (0)
    if (third) EDGES(OUT, skip_last);
    if (second) EDGES(EXP, 0);
    if (first) EDGES(TOP, skip_next);
    for (int third_of_row = 0; third_of_row < 3; third_of_row++) {
        const nn_index next_start = skip_next + (third_of_row + 1) % 3 * length,
                       now_start = third_of_row * length;
        const nn_index last_start = skip_last + (third_of_row + 2) % 3 * length;
        for (nn_index i = 0; i < length; i += STAGE_GROUP) {
            if (prefetches)
                UNROLLED_FOR(u, SOFTMAX_GROUP) {
                    if (first)
                        __builtin_prefetch(z_next + s->z_sample + next_start + i + u * LANES, 0, 3);
                    if (second && with_y)
                        __builtin_prefetch(y + s->y_sample + now_start + i + u * LANES, 0, 2);
                    if (second)
                        __builtin_prefetch(p + s->p_sample + now_start + i + u * LANES, 1, 2);
                }
            if (first) TOP(SOFTMAX_GROUP, next_start + i, LANES);
            if (second) EXP(SOFTMAX_GROUP, now_start + i, LANES);
            if (third) OUT(SOFTMAX_GROUP, last_start + i, LANES);
        }
        if (length == 0) break;
        of_thirds += FN(chains)(sum);
        UNROLLED_FOR(u, SOFTMAX_GROUP) sum[u] = (V){0};
    }
#undef TOP
#undef EXP
#undef OUT
#undef EDGES
    if (second) {
        const V exp_rest = FN(softmax_rest)(n, p, FN(sum_all)(of_thirds + FN(chains)(sum)));
        state->scale = 1 / (exp_rest + 1);
        if (with_y) {
            const real labels = FN(value_all)((FN(total)){sums.label_sum, lost.label_sum});
            const FN(total) gap = {sums.label_gap, lost.label_gap};
            ((real *)s->label_gap)[now] = FN(value_all)(gap);
            ((real *)s->label_sum)[now] = labels;
            ((real *)s->exp_rest)[now] = exp_rest[0];
            state->weight = FN(gradient_weight)(s->plain, labels, n, y, 1);
        }
    }
    if (first)
        state->top = FN(max_all)(FN(max)(FN(max)(tops[0], tops[1]), FN(max)(tops[2], tops[3])));
}

typedef void FN(softmax_step)(const nn_softmax *s, nn_index next, nn_index now, nn_index last,
                              FN(row_state) *state);
static NOINLINE void FN(softmax_alone)(const nn_softmax *s, nn_index next, nn_index now,
                                       nn_index last, FN(row_state) *state) {
    FN(softmax_stages)(0, s, next, now, last, state);
}
static NOINLINE void FN(softmax_labelled)(const nn_softmax *s, nn_index next, nn_index now,
                                          nn_index last, FN(row_state) *state) {
    FN(softmax_stages)(1, s, next, now, last, state);
}

/* Stage 3 of a row alone, for any sum of its labels. */
static NOINLINE void FN(row_out)(FN(softmax_step) *stages, const nn_softmax *s, nn_index j,
                                 FN(row_state) *state) {
    if (state->weight == 1) {
        stages(s, -1, -1, j, state);
        return;
    }
    const nn_index n = s->classes;
    const real *y = (const real *)s->y + j * s->y_sample;
    real *p = (real *)s->p + j * s->p_sample, *grad = (real *)s->grad + j * s->grad_sample;
    for (nn_index i = 0; i < n; i += LANES) {
        const nn_index part = n - i < LANES ? n - i : LANES;
        V pi = FN(rounded)(FN(load_part)(p + i, part) * state->scale);
        FN(store_part)(p + i, pi, part);
        FN(store_part)(grad + i,
                       FN(gradient_of)(pi, FN(set)(state->weight), FN(load_part)(y + i, part)),
                       part);
    }
}

#include "softmax_rows.h"

/* Contiguous classes, in vectors along the classes. Long rows are taken in blocks, unless the
 * probabilities overwrite the logits that the labels need (python/losses.pxi and the engine avoid
 * this). Otherwise the stages of three rows overlap, or of two if the rows exceed the L2 cache. */
static void FN(softmax_rows)(const nn_softmax *s) {
    FN(softmax_step) *stages = s->y ? FN(softmax_labelled) : FN(softmax_alone);
    const nn_index last = s->batch - 1;
    FN(row_state) state = {{0}, {0}, 1};
    if (s->batch <= 0) return;
    /* for every batch size, as this may be one partition of a batch */
    if (FN(uses_blocks)(s->classes) && (!s->y || s->p != s->z)) {
        if (s->y) FN(softmax_blocks_labelled)(s);
        else FN(softmax_blocks_alone)(s);
        return;
    }
    const int two_rows = s->classes * (nn_index)sizeof(real) > SOFTMAX_OVERLAP_BYTES;
    stages(s, 0, -1, -1, &state);
    for (nn_index j = 0; j <= last; j++) {
        const int behind = !two_rows && j > 0, together = behind && state.weight == 1;
        if (behind && !together) FN(row_out)(stages, s, j - 1, &state);
        stages(s, j < last ? j + 1 : -1, j, together ? j - 1 : -1, &state);
        if (two_rows) FN(row_out)(stages, s, j, &state);
    }
    if (!two_rows) FN(row_out)(stages, s, last, &state);
}
#include "softmax_columns.h"

/* Up to LANES contiguous classes, with the sums of softmax_few: LANES / 2 samples at a time,
 * transposed so that each vector holds two classes of all of them. */
static INLINE void FN(softmax_pairs)(const int with_y, const nn_softmax *s) {
    enum { SAMPLES = LANES / 2 };
    const nn_index classes = s->classes;
    const int pairs = (int)(classes + 1) / 2;
    const V lowest = FN(set)(-(real)INFINITY);
#define ROWS UNROLLED_FOR(r, SAMPLES)
#define EACH UNROLLED_FOR(c, SAMPLES) if (c < pairs)
#define FETCH(v, at, sample) \
    ROWS v[r] =              \
        FN(load_part)((at) + (r < samples ? j + r : j) * (sample), r < samples ? classes : 0)
#define PUT(v, at, sample)                                                              \
    do {                                                                                \
        FN(interleave)(SAMPLES, LANES, v);                                              \
        ROWS if (r < samples) FN(store_part)((at) + (j + r) * (sample), v[r], classes); \
    } while (0)
    for (nn_index j = 0; j < s->batch; j += SAMPLES) {
        const nn_index samples = s->batch - j < SAMPLES ? s->batch - j : SAMPLES;
        V p[SAMPLES], y[SAMPLES], top = lowest;
        ROWS y[r] = (V){0};
        FN(softmax_sums) sums = {0};
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
        EACH p[c] = FN(softmax_add)(p[c], top, with_y ? y[c] : top, with_y, 0, &sums, NULL);
        V others = sums.others + FN(other_half)(sums.others),
          ties = sums.ties + FN(other_half)(sums.ties);
        V exp_rest = others + (ties - 1), scale = 1 / (exp_rest + 1);
        EACH p[c] *= scale;
        if (with_y) {
            const V label_gap = sums.label_gap + FN(other_half)(sums.label_gap),
                    label_sum = sums.label_sum + FN(other_half)(sums.label_sum);
            FN(store_part)((real *)s->label_gap + j, label_gap, samples);
            FN(store_part)((real *)s->label_sum + j, label_sum, samples);
            FN(store_part)((real *)s->exp_rest + j, exp_rest, samples);
            if (!s->grad) continue;
            const V weights = FN(gradient_weights)(s, j, samples, SAMPLES, label_sum);
            EACH y[c] = FN(gradient_of)(p[c], weights, y[c]);
        }
        if (!with_y || s->grad != s->p) PUT(p, (real *)s->p, s->p_sample);
        if (with_y) PUT(y, (real *)s->grad, s->grad_sample);
    }
#undef EACH
#undef ROWS
#undef FETCH
#undef PUT
}

static NOINLINE void FN(several_labelled)(const nn_softmax *s) { FN(softmax_several)(1, s); }
static NOINLINE void FN(several_alone)(const nn_softmax *s) { FN(softmax_several)(0, s); }

/* The rows of up to LANES samples of LANES + 1 to 2 LANES classes, as columns of LANES samples; and
 * back. */
static INLINE void FN(turn_rows)(nn_index samples, nn_index classes, const real *x,
                                 nn_index stride, real *columns) {
    UNROLLED_FOR(half, 2) {
        V v[LANES];
        UNROLLED_FOR(r, LANES) {
            v[r] = (V){0};
            if (r >= samples) continue;
            v[r] = half ? FN(load_part)(x + r * stride + LANES, classes - LANES)
                        : FN(load)(x + r * stride);
        }
        FN(transpose_square)(v);
        UNROLLED_FOR(k, LANES) FN(store)(columns + (half * LANES + k) * LANES, v[k]);
    }
}

static INLINE void FN(turn_back)(nn_index samples, nn_index classes, const real *columns, real *x,
                                 nn_index stride) {
    UNROLLED_FOR(half, 2) {
        V v[LANES];
        UNROLLED_FOR(k, LANES) v[k] = FN(load)(columns + (half * LANES + k) * LANES);
        FN(transpose_square)(v);
        UNROLLED_FOR(r, LANES) {
            if (r >= samples) break;
            if (half) FN(store_part)(x + r * stride + LANES, v[r], classes - LANES);
            else FN(store)(x + r * stride, v[r]);
        }
    }
}

/* LANES + 1 to 2 LANES contiguous classes: as columns, which softmax_several takes with the sums of
 * softmax_rows. */
static void FN(softmax_turned)(const nn_softmax *s) {
    real z[2 * LANES * LANES] __attribute__((aligned(WIDTH))),
        y[2 * LANES * LANES] __attribute__((aligned(WIDTH)));
    nn_softmax part = *s;
    part.classes_contiguous = 0;
    part.z = part.p = z;
    part.y = s->y ? y : NULL, part.grad = s->y ? y : z;
    part.z_class = part.y_class = part.p_class = part.grad_class = LANES;
    part.z_sample = part.y_sample = part.p_sample = part.grad_sample = 1;
    for (nn_index j = 0; j < s->batch; j += LANES) {
        part.batch = s->batch - j < LANES ? s->batch - j : LANES;
        FN(turn_rows)(part.batch, s->classes, (const real *)s->z + j * s->z_sample, s->z_sample,
                      z);
        if (!s->y) {
            FN(several_alone)(&part);
        } else {
            FN(turn_rows)(part.batch, s->classes, (const real *)s->y + j * s->y_sample,
                          s->y_sample, y);
            part.label_gap = (real *)s->label_gap + j;
            part.label_sum = (real *)s->label_sum + j;
            part.exp_rest = (real *)s->exp_rest + j;
            FN(several_labelled)(&part);
            if (!s->grad) continue;
            FN(turn_back)(part.batch, s->classes, y, (real *)s->grad + j * s->grad_sample,
                          s->grad_sample);
        }
        if (!s->y || s->grad != s->p)
            FN(turn_back)(part.batch, s->classes, z, (real *)s->p + j * s->p_sample, s->p_sample);
    }
}

static void FN(softmax)(const nn_softmax *s) {
    nn_softmax with_grad;
    if (!s->classes_contiguous) {
        if (s->classes > 2 * LANES) FN(softmax_columns)(s);
        else if (s->classes > LANES && s->y) FN(several_labelled)(s);
        else if (s->classes > LANES) FN(several_alone)(s);
        else if (s->y) FN(softmax_few)(1, s);
        else FN(softmax_few)(0, s);
        return;
    }
    if (s->classes <= LANES && s->batch > (LANES > 4)) {
        if (s->y) FN(softmax_pairs)(1, s);
        else FN(softmax_pairs)(0, s);
        return;
    }
    if (s->classes > LANES && s->classes <= 2 * LANES && s->batch >= LANES / 2) {
        FN(softmax_turned)(s);
        return;
    }
    if (s->y && !s->grad) {
        with_grad = *s;
        with_grad.grad = s->p, with_grad.grad_sample = s->p_sample;
        s = &with_grad;
    }
    FN(softmax_rows)(s);
}

static double FN(softmax_losses)(nn_index n, const void *gap_, const void *sum_,
                                 const void *rest_, double *losses, int adds) {
    const real *label_gap = gap_, *label_sum = sum_, *exp_rest = rest_;
    FN(wide_total) total = {0};
    for (nn_index i = 0; i < n; i += LANES) {
        const nn_index part = n - i < LANES ? n - i : LANES;
        FN(wide) gaps[WIDE], label_sums[WIDE], logs[WIDE];
        FN(widen)(FN(load_part)(label_gap + i, part), gaps);
        FN(widen)(FN(load_part)(label_sum + i, part), label_sums);
        FN(widen)(FN(log1p)(FN(load_part)(exp_rest + i, part)), logs);
        UNROLLED_FOR(w, WIDE) {
            gaps[w] += label_sums[w] * logs[w];
            if (adds) FN(add_wide)(&total, w, gaps[w]);
        }
        if (part == LANES) __builtin_memcpy(losses + i, gaps, sizeof gaps);
        else memcpy(losses + i, gaps, (size_t)part * sizeof(double));
    }
    return adds ? FN(wide_value)(&total) : 0;
}

/* (1 + p) (1 + r) - 1; keeps the digits of small p and r, which 1 + r loses */
#define JOIN(p, r) ((p) + (r) + (p) * (r))

/* The sum of up to 64 samples' losses, whose labels sum to 1: of the logarithms by one of their
 * product. */
static INLINE double FN(product_losses)(nn_index n, const real *label_gap, const real *exp_rest) {
    FN(wide) gap[WIDE] = {{0}}, product[WIDE] = {{0}};
    double lanes[LANES], gaps[LANES];
    for (nn_index i = 0; i < n; i += LANES) {
        const nn_index part = n - i < LANES ? n - i : LANES;
        FN(wide) more[WIDE];
        FN(widen)(FN(load_part)(label_gap + i, part), more);
        UNROLLED_FOR(w, WIDE) gap[w] += more[w];
        FN(widen)(FN(load_part)(exp_rest + i, part), more);
        UNROLLED_FOR(w, WIDE) product[w] = JOIN(product[w], more[w]);
    }
    __builtin_memcpy(lanes, product, sizeof product);
    __builtin_memcpy(gaps, gap, sizeof gap);
    UNROLLED
    for (int half = LANES / 2; half > 0; half /= 2)
        UNROLLED_FOR(l, half) {
            lanes[l] = JOIN(lanes[l], lanes[l + half]);
            gaps[l] += gaps[l + half];
        }
    return log1p(lanes[0]) + gaps[0];
}
#undef JOIN

/* The sum of the losses alone; `losses` is overwritten. */
static double FN(softmax_total)(nn_index n, const void *label_gap, const void *label_sum,
                                const void *exp_rest, double *losses) {
    const real *sums = label_sum;
    double total = 0, lost = 0;
    I off = {0};
    for (nn_index i = 0; i < n; i += LANES) {
        const nn_index part = n - i < LANES ? n - i : LANES;
        off |= (FN(load_part)(sums + i, part) != 1) & FN(first)(part);
    }
    for (nn_index i = 0; i < n && !FN(any)(off); i += 64) {
        const double more = FN(product_losses)(n - i < 64 ? n - i : 64,
                                               (const real *)label_gap + i,
                                               (const real *)exp_rest + i);
        NN_TWO_SUM(double, total, lost, more);
    }
    total += lost;
    /* large products overflow */
    return !FN(any)(off) && total - total == 0
               ? total
               : FN(softmax_losses)(n, label_gap, label_sum, exp_rest, losses, 1);
}
