/* Softmax of the samples of a batch and, with labels, the gradient of its NLL and what the losses are made from. Few classes go by vectors
 * along the samples, which are turned where the classes are contiguous; many by vectors along what is contiguous, rows in three stages. */

/* The sums behind softmax and loss of a vector of logits: e = e^(z - top), summed apart for the maximal logits (ties; e^0 = 1, or NaN
 * for infinite ones) and the others, and of y (top - z) and y. */
typedef struct { V others, ties, gap, weight; } FN(softmax_sums);

/* What the sums of the labels have lost by rounding, where many labels may count (see sums.h); else NULL is passed. */
typedef struct { V gap, weight; } FN(softmax_lost);

/* What labels add to the sums: y (top - z), where 0 silences an infinite gap, and y. */
static INLINE V FN(gap_of)(V z, V top, V y) { return FN(select)(y == 0, (V){0}, y * (top - z)); }

static INLINE void FN(add_labels)(V gap, V y, FN(softmax_sums) *sums, FN(softmax_lost) *lost) {
    if (lost) {
        NN_TWO_SUM(V, sums->gap, lost->gap, gap);
        NN_TWO_SUM(V, sums->weight, lost->weight, y);
        return;
    }
    sums->gap += gap;
    sums->weight += y;
}

/* Where there are many classes, few are maximal or have a y that is not 0: vectors without any of these only add to the others. */
static INLINE V FN(softmax_add)(V z, V top, V y, const int with_y, const int many, FN(softmax_sums) *sums,
                                FN(softmax_lost) *lost) {
    V e = FN(exp_negative)(z - top);
    if (many && !FN(any_equal)(z, top) && !(with_y && FN(any)((I)y))) {
        sums->others += e;
        return e;
    }
    I equal = z == top;
    sums->others += (V)((I)e & ~equal);
    sums->ties += (V)((I)e & equal);
    if (with_y) FN(add_labels)(FN(gap_of)(z, top, y), y, sums, lost);
    return e;
}

#undef STAGE_VECTORS
#undef IN_MEMORY
#define STAGE_VECTORS 4 /* vectors that a stage takes at once */
#define IN_MEMORY(s) ((s)->batch * (s)->classes * (nn_index)sizeof(real) > 4 * FAR_BYTES) /* logits */

/* The three stages of a sample in softmax_rows, for nv vectors or, with nv 0, for a part of one: the largest logit, */
static INLINE void FN(stage_top)(const int nv, nn_index part, const real *z, V *tops) {
    if (nv == 0) tops[0] = FN(max)(tops[0], FN(select)(FN(first)(part), FN(load_part)(z, part), tops[0]));
    UNROLLED
    for (int v = 0; v < nv; v++) tops[v] = FN(max)(tops[v], FN(load)(z + v * LANES));
}

/* (what the labels add; of one-hot labels, few are not 0) */
static INLINE void FN(stage_labels)(const int nv, nn_index part, const real *z, V top, const real *y, FN(softmax_sums) *sums,
                                    FN(softmax_lost) *lost) {
    if (nv == 0) {
        const V yi = FN(load_part)(y, part);
        FN(add_labels)(FN(gap_of)(FN(select)(FN(first)(part), FN(load_part)(z, part), top), top, yi), yi, sums, lost);
        return;
    }
    I labels = (I)FN(load)(y);
    UNROLLED
    for (int v = 1; v < nv; v++) labels |= (I)FN(load)(y + v * LANES);
    if (FN(any)(labels)) {
        V gap = {0}, weight = {0};
        UNROLLED
        for (int v = 0; v < nv; v++) {
            gap += FN(gap_of)(FN(load)(z + v * LANES), top, FN(load)(y + v * LANES));
            weight += FN(load)(y + v * LANES);
        }
        FN(add_labels)(gap, weight, sums, lost);
    }
}

/* p <- e^(z - top), summed up, and what the labels add, */
static INLINE void FN(stage_exp)(const int nv, nn_index part, const int with_y, const real *z, V top, const real *y, real *p, V *sum,
                                 FN(softmax_sums) *sums, FN(softmax_lost) *lost) {
    if (with_y) FN(stage_labels)(nv, part, z, top, y, sums, nv > 1 ? lost : NULL);
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
static INLINE void FN(sum_apart)(nn_index n, const real *p, FN(total) *others, V *ties) {
    for (nn_index i = 0; i < n; i += LANES) {
        V e = n - i < LANES ? FN(load_part)(p + i, n - i) : FN(load)(p + i);
        I equal = e == 1;
        FN(add)(others, (V)((I)e & ~equal));
        *ties += (V)((I)e & equal);
    }
}

/* The sum of a sample's exponentials p (n) without one largest, from the sum of all. Only where it is less than one, so that taking away
 * the largest, 1, loses its digits, they are summed once more. */
static INLINE V FN(softmax_rest)(nn_index n, const real *p, V all) {
    FN(total) others = {{0}, {0}};
    V ties = {0};
    if (!(all[0] - 1 < 1)) return all - 1; /* also NaN */
    FN(sum_apart)(n, p, &others, &ties);
    return FN(sum_all)(FN(value)(others)) + (FN(sum_all)(ties) - 1);
}

/* Elements from x to the next address that a vector may have without reaching into two cache lines. */
static INLINE nn_index FN(to_boundary)(const real *x) { return (nn_index)(-(uintptr_t)x % WIDTH / sizeof(real)); }

/* The first stage of sample `next`, the second of `now`, the third of `last`, of which each may be -1, side by side, since the first and
 * the last wait for memory and the second for the multiply-add units; each in another third of its row, as the processor compares only
 * the lowest bits of addresses to tell whether a load needs what was just stored. *top, *scale: what the stages leave to those behind. */
static INLINE void FN(softmax_stages)(const int with_y, const nn_softmax *s, nn_index next, nn_index now, nn_index last, V *top, V *scale) {
    const nn_index n = s->classes, group = STAGE_VECTORS * LANES, length = n < 8 * group ? 0 : (n - LANES) / (3 * group) * group;
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
    V tops[STAGE_VECTORS], sum[STAGE_VECTORS], of_thirds = {0}; /* shorter chains round less */
    FN(softmax_sums) sums = {0};
    FN(softmax_lost) lost = {0};
    UNROLLED
    for (int u = 0; u < STAGE_VECTORS; u++) {
        tops[u] = FN(set)(-(real)INFINITY);
        sum[u] = (V){0};
    }
#define TOP(nv, i, part) FN(stage_top)(nv, part, z_next + (i), tops)
#define EXP(nv, i, part) FN(stage_exp)(nv, part, with_y, z + (i), before, with_y ? y + (i) : NULL, p + (i), sum, &sums, &lost)
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
        if (length == 0) break;
        of_thirds += (sum[0] + sum[1]) + (sum[2] + sum[3]);
        UNROLLED
        for (int u = 0; u < STAGE_VECTORS; u++) sum[u] = (V){0};
    }
#undef TOP
#undef EXP
#undef OUT
#undef EDGES
    if (second) {
        const V rest = FN(softmax_rest)(n, p, FN(sum_all)(of_thirds + ((sum[0] + sum[1]) + (sum[2] + sum[3]))));
        *scale = 1 / (rest + 1);
        if (with_y) {
            ((real *)s->gap)[now] = FN(value_all)((FN(total)){sums.gap, lost.gap});
            ((real *)s->weight)[now] = FN(value_all)((FN(total)){sums.weight, lost.weight});
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
    FN(softmax_lost) lost;
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
    FN(softmax_lost) lost = state->lost;
    V tops[STAGE_VECTORS], sum[STAGE_VECTORS];
    UNROLLED
    for (int u = 0; u < STAGE_VECTORS; u++) {
        tops[u] = FN(set)(-(real)INFINITY);
        sum[u] = (V){0};
    }
#define TOP(nv, i, part) FN(stage_top)(nv, part, z_next + (i), tops)
#define EXP(nv, i, part) FN(stage_exp)(nv, part, 0, z + (i), base, NULL, p + (i), sum, NULL, NULL)
#define OUT(nv, i, part)                                                                                         \
    do {                                                                                                         \
        if (with_y) FN(stage_labels)(nv, part, z_last + (i), last_top, y + (i), &labels, &lost);                        \
        FN(stage_out)(nv, part, with_y, p_last + (i), scale, with_y ? y + (i) : NULL, grad + (i));               \
    } while (0)
/* What the longer pieces have left, in groups as before: no sum depends on the other pieces' lengths. */
#define EDGES(STAGE, piece)                                                                   \
    do {                                                                                      \
        nn_index i = together;                                                                \
        for (; i + STAGE_VECTORS * LANES <= piece.n; i += STAGE_VECTORS * LANES)              \
            STAGE(STAGE_VECTORS, i, LANES);                                                   \
        for (; i + LANES <= piece.n; i += LANES) STAGE(1, i, LANES);                          \
        if (i < piece.n) STAGE(0, i, piece.n - i);                                            \
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
    state->lost = lost;
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
    const int blocks = (int)((n - LANES) / length);
    const FN(softmax_piece) none = {-1, 0, 0};
    const V lowest = FN(set)(C(-FLT_MAX, -DBL_MAX)); /* e^(-infinity - lowest) = 0, where a block has nothing else */
    real base[MOST], sum[MOST], factor[MOST] = {0};
    FN(softmax_piece) next = FN(block_of)(s, length, blocks, 0, 0), now;
    FN(softmax_state) state = {0};
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
            ((real *)s->gap)[j - 1] = FN(value_all)((FN(total)){state.labels.gap, state.lost.gap});
            ((real *)s->weight)[j - 1] = FN(value_all)((FN(total)){state.labels.weight, state.lost.weight});
        }
        if (j == s->batch) return;
        state.labels = (FN(softmax_sums)){0};
        state.lost = (FN(softmax_lost)){0};
        state.last_top = top;
        FN(total) all = {{0}, {0}};
        V rest;
        for (int b = 0; b < blocks; b++) {
            factor[b] = FN(exp_negative)(FN(set)(base[b]) - top)[0];
            FN(add)(&all, FN(set)(factor[b] * sum[b]));
        }
        rest = FN(value)(all) - 1;
        if (rest[0] < 1) { /* as in softmax_rest */
            FN(total) others = {{0}, {0}};
            V ties = {0};
            for (int b = 0; b < blocks; b++) {
                now = FN(block_of)(s, length, blocks, j, b);
                if (base[b] == top[0]) FN(sum_apart)(now.n, (const real *)s->p + j * s->p_sample + now.from, &others, &ties);
                else FN(add)(&others, (V){factor[b] * sum[b]});
            }
            rest = FN(sum_all)(FN(value)(others)) + (FN(sum_all)(ties) - 1);
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
    if (s->classes >= 2 * SOFTMAX_BLOCK && (!s->y || s->p != s->z)) { /* whatever the batch, of which this may be a share */
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
    enum { FEW = 32 }; /* classes that are summed without compensation */
    const int vectors = (int)((samples + LANES - 1) / LANES), many = s->classes > FEW;
    V top[FN(SIDE)], scale[FN(SIDE)];
    FN(softmax_sums) sums[FN(SIDE)];
    FN(softmax_lost) lost[FN(SIDE)];
    FN(total) others[FN(SIDE)];
#define EACH for (int v = 0; v < vectors; v++)
#define PART (samples - v * LANES < LANES ? samples - v * LANES : LANES)
#define LOAD(at, class) (PART == LANES ? FN(load)((at) + i * s->class + v * LANES) : FN(load_part)((at) + i * s->class + v * LANES, PART))
#define STORE(at, class, x) do {                                                                 \
        if (PART == LANES) FN(store)((at) + i * s->class + v * LANES, (x));                      \
        else FN(store_part)((at) + i * s->class + v * LANES, (x), PART);                         \
    } while (0)
    EACH {
        top[v] = FN(set)(-(real)INFINITY);
        sums[v] = (FN(softmax_sums)){0};
        lost[v] = (FN(softmax_lost)){0};
        others[v] = (FN(total)){{0}, {0}};
    }
    for (nn_index i = 0; i < s->classes; i++) EACH top[v] = FN(max)(top[v], LOAD(z, z_class));
    for (nn_index low = 0; low < s->classes; low += FEW) {
        const nn_index high = s->classes - low < FEW ? s->classes : low + FEW;
        for (nn_index i = low; i < high; i++)
            EACH {
                const V zi = LOAD(z, z_class), yi = with_y ? LOAD(y, y_class) : top[v];
                STORE(p, p_class, FN(softmax_add)(zi, top[v], yi, with_y, 1, &sums[v], many ? &lost[v] : NULL));
            }
        EACH {
            FN(add)(&others[v], sums[v].others);
            sums[v].others = (V){0};
        }
    }
    EACH {
        V rest = FN(value)(others[v]) + (sums[v].ties - 1);
        scale[v] = 1 / (rest + 1);
        if (with_y) {
            FN(store_part)((real *)s->gap + j + v * LANES, FN(value)((FN(total)){sums[v].gap, lost[v].gap}), PART);
            FN(store_part)((real *)s->weight + j + v * LANES, FN(value)((FN(total)){sums[v].weight, lost[v].weight}), PART);
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
        FN(softmax_sums) sums = {0};
        UNROLLED
        for (int c = 0; c < LANES; c++) p[c] = y[c] = (V){0};
        FETCH(p, (const real *)s->z, s->z_class);
        if (with_y) FETCH(y, (const real *)s->y, s->y_class);
        EACH top = FN(max)(top, p[c]);
        EACH p[c] = FN(softmax_add)(p[c], top, with_y ? y[c] : top, with_y, 0, &sums, NULL);
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

static double FN(softmax_losses)(nn_index n, const void *gap_, const void *weight_, const void *rest_, double *losses) {
    const real *gap = gap_, *weight = weight_, *rest = rest_;
    FN(wide_total) total = {0};
    for (nn_index i = 0; i < n; i += LANES) {
        const nn_index part = n - i < LANES ? n - i : LANES;
        FN(wide) gaps[WIDE], weights[WIDE], logs[WIDE];
        FN(widen)(FN(load_part)(gap + i, part), gaps);
        FN(widen)(FN(load_part)(weight + i, part), weights);
        FN(widen)(FN(log1p)(FN(load_part)(rest + i, part)), logs);
        UNROLLED
        for (int w = 0; w < WIDE; w++) {
            gaps[w] += weights[w] * logs[w];
            FN(add_wide)(&total, w, gaps[w]);
        }
        if (part == LANES) __builtin_memcpy(losses + i, gaps, sizeof gaps);
        else memcpy(losses + i, gaps, (size_t)part * sizeof(double));
    }
    return FN(wide_value)(&total);
}
