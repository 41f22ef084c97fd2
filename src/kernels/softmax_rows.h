/* Rows of many classes by blocks, which stay in the L1 cache from the first stage to the second:
 * each has the largest logit so far in the place of the row's, which the third stage makes up for.
 * All rows' blocks are one sequence: the first stage is a block ahead of the second, the third a
 * row behind, and what lies in memory is fetched a page ahead: the processor does not look as far
 * by itself. */
#undef SOFTMAX_BLOCK
#define SOFTMAX_BLOCK      \
    (SOFTMAX_LONG_BYTES / 2 / \
     (nn_index)sizeof(real))    /* elements, at least: a whole number of groups */

static INLINE int FN(is_long)(nn_index n) { return n * (nn_index)sizeof(real) >= SOFTMAX_LONG_BYTES; }
static INLINE nn_index FN(block_length)(nn_index n) {
    return (n / (SOFTMAX_ROW_BLOCKS *SOFTMAX_BLOCK) + 1) * SOFTMAX_BLOCK;
}
static INLINE int FN(block_count)(nn_index n) {
    return FN(is_long)(n) ? (int)((n - LANES) / FN(block_length)(n)) : 1;
}

/* e^(-infinity - lowest) = 0, where a block has nothing else */
static INLINE V FN(block_base)(V top) { return FN(max)(top, FN(set)(C(-FLT_MAX, -DBL_MAX))); }

/* From the blocks' bases and the sums of their exponentials, `apart` vectors from block to block,
 * and the largest logit: sum <- its part of the row's sum, base <- what makes the block's
 * exponentials those of the row, 1 where the base is the largest logit. Returns the row's sum. Not
 * inlined, so that products and sums are rounded in one way for rows and columns. */
static NOINLINE V FN(join_blocks)(int blocks, V *base, V *sum, nn_index apart, V top) {
    FN(total) all = {{0}, {0}};
    for (int b = 0; b < blocks; b++, base += apart, sum += apart) {
        *base = FN(exp_negative)(*base - top);
        *sum *= *base;
        FN(add)(&all, *sum);
    }
    return FN(value)(all);
}

typedef struct {
    V base, sum; /* of the block whose exponentials are summed: what to subtract from its logits;
                    their sum */
    V top;       /* the largest logit of the block before it */
    V last_top, scale;       /* of the block behind it: its row's largest logit; what makes its
                                exponentials probabilities */
    FN(softmax_sums) labels; /* what they add, in the third stage */
    FN(softmax_lost) lost;
} FN(softmax_state);

/* A stage's block: row, its first element, how many elements; row -1: none. */
typedef struct { nn_index row, from, n; } FN(softmax_piece);

static INLINE void FN(softmax_block)(const int with_y, const nn_softmax *s, FN(softmax_piece) next,
                                     FN(softmax_piece) now, FN(softmax_piece) last,
                                     FN(softmax_state) *state) {
    const int first = next.row >= 0, second = now.row >= 0, third = last.row >= 0;
    const int fetches = IN_MEMORY(s);
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
    UNROLLED
    for (int u = 0; u < SOFTMAX_GROUP; u++) {
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
/* What the longer pieces have left, in groups as before: no sum depends on the other pieces'
 * lengths. */
#define EDGES(STAGE, piece)                                                            \
    do {                                                                               \
        nn_index i = together;                                                         \
        for (; i + STAGE_GROUP <= piece.n; i += STAGE_GROUP) STAGE(SOFTMAX_GROUP, i, LANES);       \
        for (; i + LANES <= piece.n; i += LANES) STAGE(1, i, LANES);                   \
        if (i < piece.n) STAGE(0, i, piece.n - i);                                     \
    } while (0)
    nn_index together = PTRDIFF_MAX;
    if (first && next.n < together) together = next.n;
    if (second && now.n < together) together = now.n;
    if (third && last.n < together) together = last.n;
    together -= together % STAGE_GROUP;
    for (nn_index i = 0; i < together; i += STAGE_GROUP) {
        if (fetches)
            UNROLLED
            for (int u = 0; u < SOFTMAX_GROUP; u++) {
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

/* Block b of a row that the batch has; the last takes what is left. */
static INLINE FN(softmax_piece)
    FN(block_of)(const nn_softmax *s, nn_index length, int blocks, nn_index row, int b) {
    if (row < 0 || row >= s->batch) return (FN(softmax_piece)){-1, 0, 0};
    return (FN(softmax_piece)){row, b * length,
                               (b < blocks - 1 ? (b + 1) * length : s->classes) - b * length};
}

/* The gradient of row j once more, where its labels, which were added up on the way, do not sum
 * to 1. base: of its blocks; scale: as they were taken to probabilities. */
static NOINLINE void FN(weigh_row)(const nn_softmax *s, nn_index j, int blocks, const V *base,
                                   const V *scale) {
    const nn_index n = s->classes, length = FN(block_length)(n);
    const real *z = (const real *)s->z + j * s->z_sample, *y = (const real *)s->y + j * s->y_sample;
    real *grad = (real *)s->grad + j * s->grad_sample;
    const V weight = FN(set)(FN(gradient_weight)(s->plain, ((const real *)s->label_sum)[j], n, y, 1));
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
    V base[2][SOFTMAX_ROW_BLOCKS], sum[SOFTMAX_ROW_BLOCKS],
        scale[SOFTMAX_ROW_BLOCKS]; /* bases of this row and of the one before */
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
            ((real *)s->label_gap)[j - 1] = FN(value_all)((FN(total)){state.labels.label_gap, state.lost.label_gap});
            ((real *)s->label_sum)[j - 1] =
                FN(value_all)((FN(total)){state.labels.label_sum, state.lost.label_sum});
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
