/* Softmax of long rows in blocks, which stay in the L1 cache from stage 1 to stage 2. Included by
 * softmax.h, which defines the stages.
 *
 * Each block subtracts the largest logit so far instead of the row's; stage 3 corrects for it. The
 * blocks of all rows are one sequence: stage 1 is a block ahead of stage 2, stage 3 a row behind,
 * and data in memory is prefetched a page ahead, further than the hardware prefetcher looks. */
#undef SOFTMAX_BLOCK
/* The least number of elements per block, a whole number of groups. */
#define SOFTMAX_BLOCK (SOFTMAX_LONG_BYTES / 2 / (nn_index)sizeof(real))

static INLINE int FN(uses_blocks)(nn_index n) {
    return n * (nn_index)sizeof(real) >= SOFTMAX_LONG_BYTES;
}
static INLINE nn_index FN(block_length)(nn_index n) {
    return (n / (SOFTMAX_ROW_BLOCKS * SOFTMAX_BLOCK) + 1) * SOFTMAX_BLOCK;
}
static INLINE int FN(block_count)(nn_index n) {
    return FN(uses_blocks)(n) ? (int)((n - LANES) / FN(block_length)(n)) : 1;
}

/* Finite, so that the exponentials of a block of -infinity alone are 0. */
static INLINE V FN(block_base)(V top) { return FN(max)(top, FN(set)(C(-FLT_MAX, -DBL_MAX))); }

/* Given each block's base and sum of exponentials, with a stride of `stride` vectors, and the row's
 * largest logit: base <- e^(base - top), the factor from the block's exponentials to the row's, and
 * sum <- the block's contribution to the row's sum, which is returned. Not inlined, so that
 * products and sums round in the same way for rows and columns. */
static NOINLINE V FN(join_blocks)(int blocks, V *base, V *sum, nn_index stride, V top) {
    FN(total) all = {{0}, {0}};
    for (int b = 0; b < blocks; b++, base += stride, sum += stride) {
        *base = FN(exp_negative)(*base - top);
        *sum *= *base;
        FN(add)(&all, *sum);
    }
    return FN(value)(all);
}

typedef struct {
    V base, sum; /* stage 2: the logit subtracted in its block, the sum of the exponentials */
    V top;       /* stage 1: the largest logit of its block */
    V last_top, scale;       /* stage 3: its row's largest logit, factor to the probabilities */
    FN(softmax_sums) labels; /* stage 3: the sums over its row's labels */
    FN(softmax_lost) lost;
} FN(softmax_state);

/* The block of a stage: row, first element, number of elements. Row -1: none. */
typedef struct { nn_index row, from, n; } FN(softmax_piece);

/* One function, although long: the sums of all stages stay in registers. */
static INLINE void FN(softmax_block)(const int with_y, const nn_softmax *s, FN(softmax_piece) next,
                                     FN(softmax_piece) now, FN(softmax_piece) last,
                                     FN(softmax_state) *state) {
    const int first = next.row >= 0, second = now.row >= 0, third = last.row >= 0;
    const int prefetches = IN_MEMORY(s);
    const real *z_next = (const real *)s->z + (first ? next.row * s->z_sample + next.from : 0);
    const real *z = (const real *)s->z + (second ? now.row * s->z_sample + now.from : 0);
    const real *z_last = (const real *)s->z + (third ? last.row * s->z_sample + last.from : 0);
    const real *y =
        with_y ? (const real *)s->y + (third ? last.row * s->y_sample + last.from : 0) : NULL;
    real *p = (real *)s->p + (second ? now.row * s->p_sample + now.from : 0);
    real *p_last = (real *)s->p + (third ? last.row * s->p_sample + last.from : 0);
    real *grad =
        with_y ? (real *)s->grad + (third ? last.row * s->grad_sample + last.from : 0) : p_last;
    const V base = state->base, last_top = state->last_top, scale = state->scale;
    FN(softmax_sums) labels = state->labels;
    FN(softmax_lost) lost = state->lost;
    V tops[SOFTMAX_GROUP], sum[SOFTMAX_GROUP];
    UNROLLED_FOR(u, SOFTMAX_GROUP) {
        tops[u] = FN(set)(-(real)INFINITY);
        sum[u] = (V){0};
    }
#define TOP(nv, i, part) FN(stage_top)(nv, part, z_next + (i), tops)
#define EXP(nv, i, part) FN(stage_exp)(nv, part, 0, z + (i), base, NULL, p + (i), sum, NULL, NULL)
#define OUT(nv, i, part)                                                                           \
    do {                                                                                           \
        if (with_y) FN(stage_labels)(nv, part, z_last + (i), last_top, y + (i), &labels, &lost);   \
        FN(stage_out)(nv, part, with_y, p_last + (i), scale, with_y ? y + (i) : NULL, grad + (i)); \
    } while (0)
/* The rest of the longer pieces, in groups as before, so that no sum depends on the other pieces'
 * lengths. */
#define EDGES(STAGE, piece)                                          \
    do {                                                             \
        nn_index i = together;                                       \
        for (; i + STAGE_GROUP <= piece.n; i += STAGE_GROUP)         \
            STAGE(SOFTMAX_GROUP, i, LANES);                          \
        for (; i + LANES <= piece.n; i += LANES) STAGE(1, i, LANES); \
        if (i < piece.n) STAGE(0, i, piece.n - i);                   \
    } while (0)
    nn_index together = PTRDIFF_MAX;
    if (first && next.n < together) together = next.n;
    if (second && now.n < together) together = now.n;
    if (third && last.n < together) together = last.n;
    together -= together % STAGE_GROUP;
    for (nn_index i = 0; i < together; i += STAGE_GROUP) {
        if (prefetches)
            UNROLLED_FOR(u, SOFTMAX_GROUP) {
                const nn_index ahead = i + u * LANES + 4096 / (nn_index)sizeof(real);
                if (first) __builtin_prefetch(z_next + ahead, 0, 2);
                if (second) __builtin_prefetch(p + ahead, 1, 2);
                if (third && with_y) __builtin_prefetch(y + ahead, 0, 2);
            }
        if (first) TOP(SOFTMAX_GROUP, i, LANES);
        if (second) EXP(SOFTMAX_GROUP, i, LANES);
        if (third) OUT(SOFTMAX_GROUP, i, LANES);
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
    state->sum = FN(sum_all)(FN(chains)(sum));
    state->top = FN(max_all)(FN(max)(FN(max)(tops[0], tops[1]), FN(max)(tops[2], tops[3])));
}

/* Block b of a row, or none if the batch has no such row. The last block takes the rest. */
static INLINE FN(softmax_piece) FN(block_of)(const nn_softmax *s, nn_index length, int blocks,
                                             nn_index row, int b) {
    if (row < 0 || row >= s->batch) return (FN(softmax_piece)){-1, 0, 0};
    const nn_index end = b < blocks - 1 ? (b + 1) * length : s->classes;
    return (FN(softmax_piece)){row, b * length, end - b * length};
}

/* Recompute the gradient of row j if its labels, which stage 3 has summed, do not sum to 1. base,
 * scale: of its blocks, as in stages 2 and 3. */
static NOINLINE void FN(weigh_row)(const nn_softmax *s, nn_index j, int blocks, const V *base,
                                   const V *scale) {
    const nn_index n = s->classes, length = FN(block_length)(n);
    const real *z = (const real *)s->z + j * s->z_sample, *y = (const real *)s->y + j * s->y_sample;
    real *grad = (real *)s->grad + j * s->grad_sample;
    const real label_sum = ((const real *)s->label_sum)[j];
    const V weight = FN(set)(FN(gradient_weight)(s->plain, label_sum, n, y, 1));
    if (weight[0] == 1) return;
    for (int b = 0; b < blocks; b++) {
        const FN(softmax_piece) piece = FN(block_of)(s, length, blocks, j, b);
        for (nn_index i = piece.from; i < piece.from + piece.n; i += LANES) {
            const nn_index left = piece.from + piece.n - i, part = left < LANES ? left : LANES;
            V pi = FN(rounded)(FN(exp_negative)(FN(load_part)(z + i, part) - base[b]) * scale[b]);
            FN(store_part)(grad + i, FN(gradient_of)(pi, weight, FN(load_part)(y + i, part)), part);
        }
    }
}

static INLINE void FN(softmax_blocks)(const int with_y, const nn_softmax *s) {
    const nn_index n = s->classes, length = FN(block_length)(n);
    const int blocks = FN(block_count)(n);
    const FN(softmax_piece) none = {-1, 0, 0};
    V base[2][SOFTMAX_ROW_BLOCKS]; /* of this row and the previous one */
    V sum[SOFTMAX_ROW_BLOCKS], scale[SOFTMAX_ROW_BLOCKS];
    FN(softmax_piece) next = FN(block_of)(s, length, blocks, 0, 0), now;
    FN(softmax_state) state = {0};
    V top = {0};
    for (int b = 0; b < blocks; b++) scale[b] = (V){0};
    FN(softmax_block)(with_y, s, next, none, none, &state);
    for (nn_index j = 0; j <= s->batch; j++) {
        V *const bases = base[j & 1];
        for (int b = 0; b < blocks; b++) {
            now = next;
            next = b < blocks - 1 ? FN(block_of)(s, length, blocks, j, b + 1)
                                  : FN(block_of)(s, length, blocks, j + 1, 0);
            top = b > 0 ? FN(max)(top, state.top) : state.top;
            state.base = FN(block_base)(top);
            state.scale = scale[b];
            FN(softmax_block)(with_y, s, next, now, FN(block_of)(s, length, blocks, j - 1, b),
                              &state);
            bases[b] = state.base, sum[b] = state.sum;
        }
        if (with_y && j > 0) {
            const FN(total) gap = {state.labels.label_gap, state.lost.label_gap},
                            labels = {state.labels.label_sum, state.lost.label_sum};
            ((real *)s->label_gap)[j - 1] = FN(value_all)(gap);
            ((real *)s->label_sum)[j - 1] = FN(value_all)(labels);
            FN(weigh_row)(s, j - 1, blocks, base[(j - 1) & 1], scale);
        }
        if (j == s->batch) return;
        state.labels = (FN(softmax_sums)){0};
        state.lost = (FN(softmax_lost)){0};
        state.last_top = top;
        for (int b = 0; b < blocks; b++) scale[b] = bases[b];
        V exp_rest = FN(join_blocks)(blocks, scale, sum, 1, top) - 1;
        if (exp_rest[0] < 1) { /* as in softmax_rest */
            FN(total) others = {{0}, {0}};
            V ties = {0};
            for (int b = 0; b < blocks; b++) {
                now = FN(block_of)(s, length, blocks, j, b);
                if (bases[b][0] == top[0])
                    FN(sum_apart)(now.n, (const real *)s->p + j * s->p_sample + now.from, &others,
                                  &ties);
                else FN(add)(&others, (V){sum[b][0]});
            }
            exp_rest = FN(sum_all)(FN(value)(others)) + (FN(sum_all)(ties) - 1);
        }
        for (int b = 0; b < blocks; b++) scale[b] /= exp_rest + 1;
        if (with_y) ((real *)s->exp_rest)[j] = exp_rest[0];
    }
}
static NOINLINE void FN(softmax_blocks_alone)(const nn_softmax *s) { FN(softmax_blocks)(0, s); }
static NOINLINE void FN(softmax_blocks_labelled)(const nn_softmax *s) { FN(softmax_blocks)(1, s); }
