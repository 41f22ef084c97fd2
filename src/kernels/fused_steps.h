/* Steps at batch size 1 on small networks of any number of vectors per layer, with any rule, many
 * steps per call: the special path "fused-sgd" of the engine where fused_sgd.h does not fit.
 *
 * Every weight is read and written once per step and more rarely than by separate products and
 * updates, as stores bound the time:
 * - Layers but the first hold W transposed alone. The forward product takes sums over lanes, four at
 *   a time; the backward product and the update share a pass.
 * - The first layer's update and its product with the next sample share a pass.
 * - Of a sparse matrix's sample the first layer visits the rows of W that its entries name.
 * - A gradient is never stored: a rule other than plain SGD takes its rank-one factors (rank1_rows
 *   of optimizer.h).
 * The bits do not depend on where a call begins. */

/* vectors of the widest layer */
#define MOST_VECTORS (FUSED_WIDTH / LANES > FUSED_VECTORS ? FUSED_WIDTH / LANES : FUSED_VECTORS)

/* dz <- (sum of y) softmax(z) - y over nv vectors, 0 beyond the n classes. See labels.h for the
 * factor. */
static INLINE void FN(fused_softmax)(const int nv, nn_index n, int plain, const V *z, const real *y,
                                     V *dz) {
    const real limit = C(40.0f, 340.0);
    V top, sum = {0}, labels[MOST_VECTORS], label_sum = {0};
    I large = {0}, used[MOST_VECTORS];
    for (int v = 0; v < nv; v++) {
        used[v] = FN(first)(n - v * LANES < LANES ? n - v * LANES : LANES);
        large |= ~((z[v] < limit) & (z[v] > -limit)) & used[v];
    }
    if (__builtin_expect(FN(any)(large), 0)) {
        top = FN(set)(-(real)INFINITY);
        for (int v = 0; v < nv; v++) top = FN(max)(top, FN(select)(used[v], z[v], top));
        top = FN(max_all)(top);
        for (int v = 0; v < nv; v++) dz[v] = FN(exp)(z[v] - top);
    } else
        for (int v = 0; v < nv; v++) dz[v] = FN(exp_within)(z[v]);
    for (int v = 0; v < nv; v++) sum += dz[v] = (V)((I)dz[v] & used[v]);
    const V total = FN(sum_all)(sum), scale = 1 / total;
    for (int v = 0; v < nv; v++) {
        labels[v] = FN(load_part)(y + v * LANES, n - v * LANES < LANES ? n - v * LANES : LANES);
        label_sum += labels[v];
    }
    const real weight = FN(gradient_weight)(plain, FN(sum_all)(label_sum)[0], n, y, 1);
    if (__builtin_expect(weight == 1, 1)) {
        for (int v = 0; v < nv; v++) {
            V p = nv == 1 ? dz[v] / total : dz[v] * scale;
            dz[v] = p - labels[v];
        }
    } else
        for (int v = 0; v < nv; v++) dz[v] = dz[v] / total * weight - labels[v];
}

/* The same for an element-wise loss of one vector of outputs. Returns a vector that is finite only if
 * all losses are: by convexity a loss is at most its value at z = 0 plus z dL/dz, and that value at
 * most 1 + y^2. The losses themselves, which may take logarithms, are not computed. */
static INLINE V FN(fused_loss)(const nn_fused_sgd *s, nn_index n, V z, const real *y, V *dz) {
    const V labels = FN(load_part)(y, n);
    const I used = FN(first)(n);
    V gradient;
    switch (s->loss) {
#define CASE(NAME, name) case NN_##NAME: (void)FN(name##_loss)(z, labels, &gradient); break;
    NN_ELEMENTWISE_LOSSES(CASE)
#undef CASE
#define CASE(NAME, name)                                                                        \
    case NN_##NAME:                                                                             \
        (void)FN(name##_loss)(z, labels, &gradient, FN(set)((real)s->loss_parameter)); \
        break;
    NN_SHAPED_LOSSES(CASE)
#undef CASE
    default: gradient = FN(set)((real)NAN);
    }
    *dz = (V)((I)gradient & used);
    return (V)((I)(gradient * (z + gradient) + labels * labels) & used);
}

/* dz of the last layer. Returns a vector that is NaN in some lane if a logit or loss is
 * non-finite. */
static NOINLINE V FN(steps_loss)(const nn_fused_sgd *s, const nn_fused_layer *layer,
                                 const real *y) {
    const int nv = (int)layer->vectors;
    const real *z_ = layer->z;
    real *dz_ = layer->dz;
    V bad = {0}, z[MOST_VECTORS], dz[MOST_VECTORS];
    if (s->loss == NN_NLL) {
        for (int v = 0; v < nv; v++) z[v] = FN(load)(z_ + v * LANES);
        FN(fused_softmax)(nv, layer->n, s->plain, z, y, dz);
        for (int v = 0; v < nv; v++) {
            const nn_index left = layer->n - v * LANES;
            bad += (V)((I)z[v] & FN(first)(left < LANES ? left : LANES)) * 0;
            FN(store)(dz_ + v * LANES, dz[v]);
        }
        return bad;
    }
    for (int v = 0; v < nv; v++) {
        const nn_index left = layer->n - v * LANES;
        bad += FN(fused_loss)(s, left < LANES ? left : LANES, FN(load)(z_ + v * LANES),
                              y + v * LANES, &dz[0]) * 0;
        FN(store)(dz_ + v * LANES, dz[0]);
    }
    return bad;
}

/* The rule's step of a layer's W and b. first: on the samples x and next, whose z is set to that of
 * the next one; other layers: dz of the layer before, without f'. Returns NaN in some lane if a
 * result is non-finite. */
static V FN(steps_rule)(const nn_fused_layer *layer, int first, const nn_rule *rule, const real *x,
                        const real *next) {
    const real one = 1;
    nn_rule of_bias = *rule;
    of_bias.l2 = 0;
    const nn_rank1 b = {1, layer->n, 0, layer->b, layer->state0[0], layer->state0[1],
                        &one, layer->dz, NULL, NULL, 0};
    const V bad = FN(rank1_bad)(&b, &of_bias);
    nn_rank1 w = {.s1 = layer->state[0], .s2 = layer->state[1]};
    if (first) {
        w.rows = layer->m, w.columns = layer->n, w.stride = layer->vectors * LANES;
        w.w = layer->w, w.scalar = x, w.vector = layer->dz;
        w.factor = next, w.sums = layer->z, w.after = 1;
        memcpy(layer->z, layer->b, (size_t)layer->vectors * sizeof(V));
    } else {
        const nn_fused_layer *before = layer - 1;
        w.rows = layer->n, w.columns = layer->m, w.stride = before->vectors * LANES;
        w.w = layer->wt, w.scalar = layer->dz, w.vector = before->a;
        w.factor = layer->dz, w.sums = before->dz, w.after = 0;
        memset(before->dz, 0, (size_t)before->vectors * sizeof(V));
    }
    return bad + FN(rank1_bad)(&w, rule);
}

/* step <- eta dz, b <- b - step */
static INLINE void FN(steps_bias)(const nn_fused_layer *layer, real eta) {
    const real *dz = layer->dz;
    real *step = layer->step, *b = layer->b;
    for (nn_index j = 0; j < layer->vectors * LANES; j += LANES) {
        const V s = FN(load)(dz + j) * eta;
        FN(store)(step + j, s);
        FN(store)(b + j, FN(load)(b + j) - s);
    }
}

static double FN(steps_squares)(const nn_fused_sgd *s) {
    double sum = 0;
    for (nn_index l = 0; l < s->n_layers; l++) {
        const nn_fused_layer *layer = &s->layers[l];
        sum += l == 0 ? s->sum_of_squares(layer->m * layer->vectors * LANES, layer->w)
                      : s->sum_of_squares(layer->n * (layer - 1)->vectors * LANES, layer->wt);
    }
    return sum;
}

static NOINLINE int FN(fused_steps)(const nn_fused_sgd *s) {
    const nn_index last = s->n_layers - 1;
    const nn_fused_layer *const first = &s->layers[0];
    const size_t first_bytes = (size_t)first->vectors * sizeof(V);
    V bad = {0}; /* becomes NaN once a logit, a loss or the result of a rule is non-finite */
    const int64_t *starts = s->row_starts;
    int32_t *indexed = s->rules || starts ? NULL : s->nonzero_index;
    const int32_t *index = indexed; /* of the rows of W that a sample needs, if not all */
    nn_index count = 0;
    for (nn_index t = 0; t < s->steps; t++) {
        const int64_t at = s->sample_index[t], at_next = s->sample_index[t + (t + 1 < s->steps)];
        const real *sample = (const real *)s->x + (starts ? starts[at] : at * s->x_stride),
                   *next = (const real *)s->x + (starts ? 0 : at_next * s->x_stride),
                   *y = (const real *)s->y + s->label_index[t] * s->y_stride;
        const real eta = (real)s->rates[t];
        if (s->squares) s->squares[t] = FN(steps_squares)(s);
        if (t == 0 || indexed || starts) {
            memcpy(first->z, first->b, first_bytes);
            if (starts) {
                index = s->columns + starts[at];
                count = starts[at + 1] - starts[at];
                FN(listed_product)(first->vectors, count, index, first->w, sample, first->z);
                for (int64_t i = starts[at_next]; i < starts[at_next + 1]; i += 64 / (int)sizeof(real)) {
                    __builtin_prefetch(s->columns + i);
                    __builtin_prefetch((const real *)s->x + i);
                }
            } else if (indexed) {
                count = FN(nonzero_index)(first->m, sample, indexed);
                FN(indexed_product)(first->vectors, count, index, first->w, sample, first->z);
            } else if (s->rules) {
                const nn_rank1 u = {.rows = first->m, .columns = first->n, .w = first->w,
                                    .stride = first->vectors * LANES, .factor = sample,
                                    .sums = first->z};
                FN(rank1_product)(&u);
            } else
                FN(rows_product)(first->vectors, first->m, first->w, sample, first->z);
        }
        for (nn_index l = 0; l < last; l++) {
            const nn_fused_layer *layer = &s->layers[l], *after = layer + 1;
            const nn_index end = (layer->vectors - 1) * LANES;
            real *a = layer->a;
            FN(fused_activate)(layer, layer->z, a, 1, 0);
            FN(store)(a + end, (V)((I)FN(load)(a + end) & FN(first)(layer->n - end)));
            FN(dot_rows)(layer->vectors, after->n, after->wt, a, after->b, after->z);
        }
        bad += FN(steps_loss)(s, &s->layers[last], y);
        if (s->logits)
            memcpy((real *)s->logits + t * s->layers[last].n, s->layers[last].z,
                   (size_t)s->layers[last].n * sizeof(real));
        for (nn_index l = last; l > 0; l--) {
            const nn_fused_layer *layer = &s->layers[l], *before = layer - 1;
            if (s->rules)
                bad += FN(steps_rule)(layer, 0, &s->rules[t], NULL, NULL);
            else {
                FN(steps_bias)(layer, eta);
                FN(back_update)(before->vectors, layer->n, layer->wt, layer->dz, layer->step,
                                before->a, before->dz);
            }
            FN(fused_derive)(before, before->z, before->dz, 1, 0);
        }
        if (s->rules)
            bad += FN(steps_rule)(first, 1, &s->rules[t], sample, next);
        else {
            FN(steps_bias)(first, eta);
            if (starts)
                FN(listed_update)(first->vectors, count, index, first->w, sample, first->step);
            else if (indexed)
                FN(indexed_update)(first->vectors, count, index, first->w, sample, first->step);
            else {
                memcpy(first->z, first->b, first_bytes);
                FN(rows_update)(first->vectors, first->m, first->w, sample, first->step, next,
                                first->z);
            }
        }
    }
    return FN(sum_all)(bad)[0] == 0;
}
#undef MOST_VECTORS
