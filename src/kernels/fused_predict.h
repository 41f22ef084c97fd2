/* One sample through a network with at most FUSED_VECTORS vectors per layer, for calls from Python
 * that must cost no more than their arithmetic: a special path of python/predictor.pxi, with
 * add_rows of fused_sgd.h.
 *
 * Deleting this file, its lines in kernels.h, fused.h and table.h and the use of `fused_predict` in
 * predictor.pxi leaves the general path. */

/* out (n of the last layer) <- the network at x. The layers need no wt, a, dz and step. */
static void FN(fused_predict)(const nn_fused_layer *layers, nn_index count, const void *x_,
                              void *out_) {
    const real *x = x_;
    real *out = out_;
    real a[FUSED_VECTORS * LANES] __attribute__((aligned(64)));
    V z[FUSED_VECTORS];
    for (nn_index l = 0;; l++) {
        const nn_fused_layer *layer = &layers[l];
        const int nv = (int)layer->vectors;
        const real *w = layer->w, *b = layer->b;
        for (int v = 0; v < nv; v++) z[v] = FN(load)(b + v * LANES);
        switch (nv) {
        case 1: FN(add_rows)(1, layer->m, w, x, z); break;
        case 2: FN(add_rows)(2, layer->m, w, x, z); break;
        case 3: FN(add_rows)(3, layer->m, w, x, z); break;
        default: FN(add_rows)(4, layer->m, w, x, z);
        }
        if (l == count - 1) break;
        for (int v = 0; v < nv; v++)
            FN(store)(a + v * LANES, FN(activation)(z[v], layer->activation.kind,
                                                    (real)layer->activation.slope));
        x = a;
    }
    const nn_fused_layer *last = &layers[count - 1];
    const int nv = (int)last->vectors;
    const int kind = last->activation.kind == NN_OUTPUT_SIGMOID ? NN_SIGMOID
                                                                : last->activation.kind;
    if (kind == NN_SOFTMAX) {
        V top = FN(set)(-(real)INFINITY), sum = {0};
#define USED(v) FN(first)(last->n - (v) * LANES < LANES ? last->n - (v) * LANES : LANES)
        for (int v = 0; v < nv; v++) top = FN(max)(top, FN(select)(USED(v), z[v], top));
        top = FN(max_all)(top);
        for (int v = 0; v < nv; v++) sum += z[v] = (V)((I)FN(exp)(z[v] - top) & USED(v));
#undef USED
        V scale = 1 / FN(sum_all)(sum);
        for (int v = 0; v < nv; v++) z[v] *= scale;
    } else
        for (int v = 0; v < nv; v++)
            z[v] = FN(activation)(z[v], kind, (real)last->activation.slope);
    for (int v = 0; v < nv; v++)
        FN(store_part)(out + v * LANES, z[v],
                       last->n - v * LANES < LANES ? last->n - v * LANES : LANES);
}
