/* Gradients that are clipped before the rule's step. Called by engine/clipping.pxi.
 *
 * Squares are summed in double without compensation, lane by lane: over a row of n entries the error
 * is below n / LANES units in the last place of a double. Rows are added up with compensation. */

static INLINE double FN(clip_row)(const int finishes, nn_index n, real *g, const real *w, V scale,
                                  V l2, V limit) {
    FN(wide) sum[WIDE] = {{0}};
    for (nn_index i = 0; i < n; i += LANES) {
        const nn_index part = n - i < LANES ? n - i : LANES;
        FN(wide) wide[WIDE];
        V gi = part == LANES ? FN(load)(g + i) : FN(load_part)(g + i, part);
        if (finishes) {
            gi *= scale;
            if (w) gi += (part == LANES ? FN(load)(w + i) : FN(load_part)(w + i, part)) * l2;
            /* NaN stays NaN */
            gi = FN(select)(gi > limit, limit, FN(select)(gi < -limit, -limit, gi));
            if (part == LANES) FN(store)(g + i, gi);
            else FN(store_part)(g + i, gi, part);
        }
        FN(widen)(gi, wide);
        UNROLLED_FOR(v, WIDE) sum[v] += wide[v] * wide[v];
    }
    double total = 0;
    UNROLLED_FOR(v, WIDE) for (int l = 0; l < (int)(WIDTH / sizeof(double)); l++) total += sum[v][l];
    return total;
}

static void FN(clip_rows)(nn_index rows, nn_index n, void *g_, const void *w_, nn_index w_stride,
                          double scale_, double l2_, double limit_, double *squares) {
    const V scale = FN(set)((real)scale_), l2 = FN(set)((real)l2_), limit = FN(set)((real)limit_);
    const real *w = w_;
    real *g = g_;
    if (scale_ == 1 && !w && limit_ == INFINITY)
        for (nn_index r = 0; r < rows; r++, g += n)
            squares[r] = FN(clip_row)(0, n, g, NULL, scale, l2, limit);
    else
        for (nn_index r = 0; r < rows; r++, g += n)
            squares[r] = FN(clip_row)(1, n, g, w ? w + r * w_stride : NULL, scale, l2, limit);
}
