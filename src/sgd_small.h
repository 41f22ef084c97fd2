/* Stochastic gradient descent on networks of a few vectors a layer, many steps a call: a special path of the network program.
 *
 * Every layer's W is kept twice, W (m, n) and its transpose (n, m), rows padded to whole vectors, and both are updated: then the
 * forward product and the product back are the same routine, sums of scaled rows, and no sum runs across lanes. The two stay equal
 * to the last bit, as both subtract the product of the same two numbers. Padding is zero, but for the last layer's biases, which
 * are the most negative number: padded classes have probability 0 and gradient 0.
 *
 * Deleting this file, its two lines in kernels.h and `_run_small` of program.pxi leaves the general path, with the same results. */

enum { FN(MOST) = 4 }; /* vectors a layer */

/* sum[v] += row k of w times x[k], for k < m; several chains hide the latency of the multiply-add */
static INLINE void FN(add_rows)(const int nv, nn_index m, const real *w, const real *x, V *sum) {
    const int chains = nv == 1 ? 4 : nv == 2 ? 2 : 1;
    V more[3][FN(MOST)];
    UNROLLED
    for (int c = 0; c < chains - 1; c++)
        UNROLLED
        for (int v = 0; v < nv; v++) more[c][v] = (V){0};
    nn_index k = 0;
    for (; k + chains <= m; k += chains)
        UNROLLED
        for (int c = 0; c < chains; c++)
            UNROLLED
            for (int v = 0; v < nv; v++) {
                V *to = c == 0 ? &sum[v] : &more[c - 1][v];
                *to += FN(load)(w + ((k + c) * nv + v) * LANES) * x[k + c];
            }
    for (; k < m; k++)
        UNROLLED
        for (int v = 0; v < nv; v++) sum[v] += FN(load)(w + (k * nv + v) * LANES) * x[k];
    UNROLLED
    for (int c = 0; c < chains - 1; c++)
        UNROLLED
        for (int v = 0; v < nv; v++) sum[v] += more[c][v];
}

/* row k of w -= x[k] step, for k < m */
static INLINE void FN(subtract_rows)(const int nv, nn_index m, real *w, const real *x, const V *step) {
    for (nn_index k = 0; k < m; k++)
        UNROLLED
        for (int v = 0; v < nv; v++) {
            real *at = w + (k * nv + v) * LANES;
            FN(store)(at, FN(load)(at) - step[v] * x[k]);
        }
}

/* back[v] += row j of wt times dz[j] and row j of wt -= step[j] a, for j < n, in one pass */
static INLINE void FN(back_rows)(const int nv, nn_index n, real *wt, const real *dz, const real *step, const V *a, V *back) {
    V more[FN(MOST)];
    nn_index j = 0;
    UNROLLED
    for (int v = 0; v < nv; v++) back[v] = more[v] = (V){0};
#define ROW(to, j)                                              \
    UNROLLED                                                    \
    for (int v = 0; v < nv; v++) {                              \
        real *at = wt + ((j) * nv + v) * LANES;                 \
        V row = FN(load)(at);                                   \
        to[v] += row * dz[j];                                   \
        FN(store)(at, row - a[v] * step[j]);                    \
    }
    for (; j + 2 <= n; j += 2) {
        ROW(back, j)
        ROW(more, j + 1)
    }
    if (j < n) ROW(back, j)
#undef ROW
    UNROLLED
    for (int v = 0; v < nv; v++) back[v] += more[v];
}

static INLINE V FN(activation_of)(V z, int kind) {
    return kind == NN_TANH ? FN(tanh)(z) : kind == NN_RELU ? FN(max)((V){0}, z) : kind == NN_SIGMOID ? FN(sigmoid)(z) : z;
}

static INLINE V FN(derivative_of)(V da, V a, int kind) {
    return kind == NN_TANH ? FN(derivative)(da, a, NN_TANH) : kind == NN_RELU ? FN(derivative)(da, a, NN_RELU)
         : kind == NN_SIGMOID ? FN(derivative)(da, a, NN_SIGMOID) : da;
}

/* Largest entry and sum over the vectors of the classes, in every lane; log2(reach) steps suffice where only the first `reach`
 * lanes matter. */
static INLINE V FN(across)(V v, int reach, const int want_max) {
    (void)reach;
    return want_max ? FN(max_all)(v) : FN(sum_all)(v);
}

#define BY_VECTORS(nv, CALL) \
    switch (nv) {            \
    case 1: { enum { NV = 1 }; CALL; break; } \
    case 2: { enum { NV = 2 }; CALL; break; } \
    case 3: { enum { NV = 3 }; CALL; break; } \
    default: { enum { NV = 4 }; CALL; break; } \
    }

static INLINE int FN(sgd_small_vectors)(const nn_small *s, const int only) {
    const nn_index last = s->count - 1;
    V finite = {0}; /* becomes NaN once a logit is not finite */
    for (nn_index t = 0; t < s->steps; t++) {
        const real *sample = (const real *)s->x + s->draws[t] * s->x_row, *y = (const real *)s->y + s->draws[t] * s->y_row;
        const real eta = (real)s->rates[t], *x = sample;
        V z[FN(MOST)] = {{0}}, dz[FN(MOST)], step[FN(MOST)];
        for (nn_index l = 0; l <= last; l++) {
            const nn_small_layer *layer = &s->layers[l];
            const int nv = only ? 1 : (int)layer->vectors;
            real *b = layer->b, *a = layer->a;
            for (int v = 0; v < nv; v++) z[v] = FN(load)(b + v * LANES);
            if (only) FN(add_rows)(1, layer->m, layer->w, x, z);
            else BY_VECTORS(nv, FN(add_rows)(NV, layer->m, layer->w, x, z))
            if (l == last) break;
            for (int v = 0; v < nv; v++) FN(store)(a + v * LANES, FN(activation_of)(z[v], layer->activation));
            x = a;
        }
        {
            const nn_small_layer *layer = &s->layers[last];
            const int nv = only ? 1 : (int)layer->vectors;
            real *b = layer->b;
            V top = z[0], sum = {0};
            for (int v = 1; v < nv; v++) top = FN(max)(top, z[v]);
            top = FN(across)(top, layer->n, 1);
            for (int v = 0; v < nv; v++) {
                finite += z[v] * 0;
                dz[v] = FN(exp)(z[v] - top);
                sum += dz[v];
            }
            V scale = 1 / FN(across)(sum, layer->n, 0);
            for (int v = 0; v < nv; v++) {
                nn_index part = layer->n - v * LANES < LANES ? layer->n - v * LANES : LANES;
                dz[v] = dz[v] * scale - FN(load_part)(y + v * LANES, part);
                step[v] = dz[v] * eta;
                FN(store)(b + v * LANES, FN(load)(b + v * LANES) - step[v]);
            }
        }
        for (nn_index l = last; l > 0; l--) {
            const nn_small_layer *layer = &s->layers[l], *before = layer - 1;
            const int nv = only ? 1 : (int)layer->vectors, mv = only ? 1 : (int)before->vectors;
            real *dz_scalars = layer->dz, *steps = layer->step, *b = before->b;
            const real *a = before->a;
            V back[FN(MOST)], inputs[FN(MOST)];
            for (int v = 0; v < nv; v++) {
                FN(store)(dz_scalars + v * LANES, dz[v]);
                FN(store)(steps + v * LANES, step[v]);
            }
            for (int v = 0; v < mv; v++) inputs[v] = FN(load)(a + v * LANES);
            if (only) {
                FN(back_rows)(1, layer->n, layer->wt, dz_scalars, steps, inputs, back);
                FN(subtract_rows)(1, layer->m, layer->w, a, step);
            } else {
                BY_VECTORS(mv, FN(back_rows)(NV, layer->n, layer->wt, dz_scalars, steps, inputs, back))
                BY_VECTORS(nv, FN(subtract_rows)(NV, layer->m, layer->w, a, step))
            }
            for (int v = 0; v < mv; v++) {
                dz[v] = FN(derivative_of)(back[v], inputs[v], before->activation);
                step[v] = dz[v] * eta;
                FN(store)(b + v * LANES, FN(load)(b + v * LANES) - step[v]);
            }
        }
        {
            const nn_small_layer *layer = &s->layers[0];
            if (only) FN(subtract_rows)(1, layer->m, layer->w, sample, step);
            else BY_VECTORS((int)layer->vectors, FN(subtract_rows)(NV, layer->m, layer->w, sample, step))
        }
    }
    return FN(sum_all)(finite)[0] == 0;
}

static int FN(sgd_small)(const nn_small *s) {
    int only = 1;
    for (nn_index l = 0; l < s->count; l++) only = only && s->layers[l].vectors == 1;
    return only ? FN(sgd_small_vectors)(s, 1) : FN(sgd_small_vectors)(s, 0);
}

#undef BY_VECTORS
