/* The interface of the leaf kernels: one table of functions per instruction-set level and real
 * type, implemented by table.h and chosen by dispatch.c. kernels.pxi declares it to Cython.
 *
 * Arrays are passed as void * and hold the table's real type; sizes and strides are in elements.
 * Kernels do not allocate, fail or call Python. Unless a comment says otherwise, rows are
 * contiguous, outputs are overwritten, and an element-wise output may be its own input. The
 * argument structs are flat, a line per operand, so that a call reads like one of BLAS. */
#ifndef NNCORE_KERNELS_H
#define NNCORE_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include "engine/tuning.h"

typedef ptrdiff_t nn_index;

/* sum += term; lost += the rounding error of that addition (Knuth's two-sum). T is double or a
 * vector. */
#define NN_TWO_SUM(T, sum, lost, term)                                        \
    do {                                                                      \
        const T term_ = (term), next_ = (sum) + term_, part_ = next_ - (sum); \
        (lost) += ((sum) - (next_ - part_)) + (term_ - part_);                \
        (sum) = next_;                                                        \
    } while (0)

/* A compensated sum of many numbers, accurate to the last digit. */
typedef struct { double sum, lost; } nn_total;
static inline void nn_add(nn_total *total, double term) {
    NN_TWO_SUM(double, total->sum, total->lost, term);
}
/* lost is NaN if sum is non-finite. */
static inline double nn_value(const nn_total *total) {
    return total->lost == total->lost ? total->sum + total->lost : total->sum;
}

/* The list of element-wise activations: ACTIVATION(NAME, name, USES, TILE_FORWARD, TILE_BACKWARD).
 * activation.h defines FN(name_forward) and FN(name_backward). The derivative is a function of the
 * OUTPUT a = f(z) or of the INPUT z, which a training network then keeps as well as a. The TILE
 * flags say whether GEMM tiles apply f or f' to the sums in registers, which pays for a few
 * operations; the other activations run over rows that are still in the cache. */
#define NN_ACTIVATIONS(ACTIVATION)                   \
    ACTIVATION(TANH, tanh, OUTPUT, 0, 0)             \
    ACTIVATION(RELU, relu, OUTPUT, 1, 1)             \
    ACTIVATION(SIGMOID, sigmoid, OUTPUT, 0, 0)       \
    ACTIVATION(LEAKY_RELU, leaky_relu, OUTPUT, 0, 0) \
    ACTIVATION(GELU, gelu, INPUT, 0, 0)              \
    ACTIVATION(GELU_TANH, gelu_tanh, INPUT, 0, 0)    \
    ACTIVATION(SILU, silu, INPUT, 0, 0)

#define NN_ACTIVATION_NAME(NAME, name, uses, forward, backward) NN_##NAME,
enum nn_activation_kind {
    NN_NONE,
    NN_ACTIVATIONS(NN_ACTIVATION_NAME)
    NN_SOFTMAX,
    NN_OUTPUT_SIGMOID, /* a sigmoid whose derivative is part of the loss's gradient */
    NN_ACTIVATION_KINDS
};
#undef NN_ACTIVATION_NAME

typedef struct {
    int kind;
    double slope; /* LeakyReLU's, for negative z */
} nn_activation;

enum { NN_USES_OUTPUT, NN_USES_INPUT };
#define NN_ACTIVATION_CASE(NAME, name, uses, forward, backward) \
    case NN_##NAME: return NN_USES_##uses == NN_USES_INPUT;
static inline int nn_uses_input(nn_activation f) {
    switch (f.kind) {
    NN_ACTIVATIONS(NN_ACTIVATION_CASE)
    default: return 0;
    }
}
#undef NN_ACTIVATION_CASE

/* Whether f (or f') runs over the product's rows because no tile applies it. */
#define NN_ACTIVATION_CASE(NAME, name, uses, forward, backward) \
    case NN_##NAME: return is_backward ? !(backward) : !(forward);
static inline int nn_follows_product(nn_activation f, int is_backward) {
    switch (f.kind) {
    NN_ACTIVATIONS(NN_ACTIVATION_CASE)
    default: return 0;
    }
}
#undef NN_ACTIVATION_CASE

/* The list of losses that are sums over the outputs; NLL is in softmax.h. loss.h defines
 * FN(name_loss), the loss and its derivative given an output of the last Linear, and FN(name_term),
 * the loss given an output of the network. They are convex in z, and at most 1 + y^2 at z = 0, from
 * which the fused kernels conclude that a loss is finite. */
#define NN_ELEMENTWISE_LOSSES(LOSS) \
    LOSS(BINARY_NLL, binary_nll)    \
    LOSS(SQUARED, squared)          \
    LOSS(HINGE, hinge)              \
    LOSS(ABSOLUTE, absolute)

/* The same for losses with a parameter, which FN(name_loss) and FN(name_term) take as well. */
#define NN_SHAPED_LOSSES(LOSS) LOSS(HUBER, huber)

/* Losses of nncore.sklearn, also sums over the outputs: FN(name_loss) takes a parameter, which only
 * QUANTILE uses. */
#define NN_PARAMETRIC_LOSSES(LOSS)               \
    LOSS(CLIPPED_BINARY_NLL, clipped_binary_nll) \
    LOSS(POISSON, poisson)                       \
    LOSS(QUANTILE, quantile)

#define NN_LOSS_NAME(NAME, name) NN_##NAME,
enum nn_loss {
    NN_NO_LOSS,
    NN_NLL,
    NN_ELEMENTWISE_LOSSES(NN_LOSS_NAME)
    NN_ELEMENTWISE_LOSS_KINDS,
    NN_FIRST_SHAPED_LOSS = NN_ELEMENTWISE_LOSS_KINDS - 1, /* so that the next one has that number */
    NN_SHAPED_LOSSES(NN_LOSS_NAME)
    NN_LOSS_KINDS,
    NN_FIRST_PARAMETRIC_LOSS = NN_LOSS_KINDS - 1, /* likewise */
    NN_PARAMETRIC_LOSSES(NN_LOSS_NAME)
    NN_ALL_LOSS_KINDS
};
#undef NN_LOSS_NAME

enum nn_epilogue {
    NN_STORE,      /* C <- f(A B + bias) */
    NN_DERIVATIVE, /* C <- (A B) * f'(D), D = f(Z) or Z, see nn_uses_input */
    NN_UPDATE      /* C <- C - eta A B */
};

/* C (m, n) <- epilogue(A B), A (m, k), B (k, n). A has any row and column strides (rs, cs); rows or
 * columns of B are contiguous, and rows of C and D. */
typedef struct {
    nn_index m, n, k;
    const void *a;
    nn_index a_rs, a_cs;
    const void *b;
    nn_index b_rs, b_cs;
    const void *packed; /* B as gemm_pack writes it, 64-byte aligned, or NULL; b is then not read */
    void *c;
    nn_index c_rs;
    int epilogue;
    nn_activation activation; /* none or element-wise */
    const void *bias;         /* NN_STORE: NULL or one entry per column or per row of C */
    int bias_down_rows;       /* 0: bias[j], 1: bias[i] */
    const void *d;            /* NN_DERIVATIVE, (m, n) */
    nn_index d_rs;
    double eta;               /* NN_UPDATE */
    void *workspace; /* gemm_workspace(n, k) bytes, 64-byte aligned; may be NULL if b_cs is 1 */
} nn_gemm;

/* A sparse matrix of at most `rows` rows: CSR with a fixed capacity per row. An entry is a pair of
 * a column and a value, each of the real type's size. The entries of row i begin at entry i *
 * row_capacity, in order of columns. Columns are divided into csr_blocks(columns) blocks; the first
 * block_ends[p * rows + i] entries of row i belong to blocks 0 .. p. row_capacity is at least
 * columns plus the lanes of a vector. See spmm.h. */
typedef struct {
    nn_index rows, columns, row_capacity;
    void *entries;
    int32_t *block_ends;
} nn_csr;

/* Rows first .. last - 1 of C <- f(A B + bias) or, if `updates`, of C <- C - eta A B. c points to
 * the first of these rows. */
typedef struct {
    nn_csr a;
    nn_index first, last, n;
    const void *b;
    nn_index b_rs;
    int packs_b; /* B's row stride may be so large that its rows share few cache sets */
    void *c;
    nn_index c_rs;
    int updates;
    double eta;
    nn_activation activation;
    const void *bias; /* n entries or NULL */
} nn_spmm;

/* Softmax and its NLL over `batch` samples of `classes` logits. In all four arrays the classes of a
 * sample are contiguous and *_sample is the other stride, or the samples are contiguous and *_class
 * is. y NULL: softmax alone. */
typedef struct {
    nn_index batch, classes;
    int classes_contiguous;
    const void *z; nn_index z_sample, z_class;
    const void *y; nn_index y_sample, y_class;
    void *p;       nn_index p_sample, p_class;       /* probabilities; may be z, never NULL */
    void *grad;    nn_index grad_sample, grad_class; /* (sum of y) p - y; may be p; see labels.h;
                                                        NULL: if the classes are contiguous, only
                                                        the terms below are wanted, p is undefined */
    int plain;                                       /* the gradient is p - y for any labels */
    /* The loss of sample j is label_gap[j] + label_sum[j] log(1 + exp_rest[j]) nats: label_sum is
     * the sum of y, label_gap the sum of y (max - z), exp_rest the sum of e^(z - max) over all
     * entries but one maximal one. NULL unless y is given. */
    void *label_gap, *label_sum, *exp_rest;
    void *workspace; /* softmax_workspace(batch, classes) bytes, 64-byte aligned; not used if the
                        classes are contiguous */
} nn_softmax;

/* A layer of a small network; see fused_sgd.h and fused_steps.h. Rows of w and all vectors are
 * padded to `vectors` vectors of the chosen width, rows of wt to those of the previous layer. */
typedef struct {
    nn_index m, n, vectors;
    nn_activation activation;
    void *w, *wt, *b, *z, *a, *dz, *step; /* wt: NULL in layer 0; z: a unless f' uses z */
    void *copy; /* memory for wt if w is kept as well */
    void *state[2], *state0[2];           /* the rule's, laid out as wt (layer 0: w), and as b */
    void *rows_z, *rows_a, *rows_dz;      /* the same for a mini-batch, with row_stride */
    nn_index row_stride;
} nn_fused_layer;

/* A mini-batch on such a network: rows sample_index[0], sample_index[1], ... of x, or its first
 * rows if sample_index is NULL. */
typedef struct {
    nn_index n_layers, batch;
    const nn_fused_layer *layers;
    const void *x;
    nn_index x_stride;
    const int64_t *sample_index;
    double eta;
} nn_fused_batch;

/* One optimizer step on weights w: w is first multiplied by `keep`; the gradient is scale g + l2 w.
 * See optimizer.h. */
#define NN_RULES(RULE)         \
    RULE(SGD, sgd, 0)          \
    RULE(MOMENTUM, momentum, 1) \
    RULE(NESTEROV, nesterov, 1) \
    RULE(ADAGRAD, adagrad, 1)  \
    RULE(RMSPROP, rmsprop, 1)  \
    RULE(ADAM, adam, 2)

/* Momentum whose state contains the step size, of nncore.sklearn: v <- beta1 v - eta g. */
#define NN_VELOCITY_RULES(RULE)     \
    RULE(VELOCITY, velocity, 1)     \
    RULE(NESTEROV_VELOCITY, nesterov_velocity, 1)

#define NN_RULE_NAME(NAME, name, n_states) NN_##NAME,
enum nn_rule_kind {
    NN_RULES(NN_RULE_NAME)
    NN_RULE_KINDS,
    NN_FIRST_VELOCITY_RULE = NN_RULE_KINDS - 1,
    NN_VELOCITY_RULES(NN_RULE_NAME)
};
#undef NN_RULE_NAME

typedef struct {
    int kind;
    double eta; /* step size; Adam's is divided by 1 - beta1^t */
    double scale, l2, keep;
    double beta1, beta2; /* decay of the mean gradient (momentum, Adam) and of the mean square
                            (RMSprop, Adam) */
    double root, eps;    /* Adam divides by root * sqrt(mean square) + eps */
} nn_rule;

/* Samples as columns through a network of narrow layers: activations (n, padded); see
 * fused_columns.h. */
typedef struct {
    nn_index m, n, w_stride;
    nn_activation activation;
    const void *w, *b;
    void *z, *a, *dz;              /* z: a unless f' uses z */
    void *w_gradient, *b_gradient; /* as w and b */
    void *b_lost; /* the rounding errors of b_gradient, to be added to it */
} nn_column_layer;

typedef struct {
    nn_index n_layers, padded; /* the samples, in whole vectors */
    const nn_column_layer *layers;
    const void *x; /* (m, padded) */
} nn_columns;

/* Steps at batch size 1 on a small network. */
typedef struct {
    nn_index n_layers, steps;
    const nn_fused_layer *layers;
    const void *x, *y; /* samples as rows */
    nn_index x_stride, y_stride;
    /* NULL, or x holds the values of a CSR matrix, for plain SGD without two_copies */
    const int64_t *row_starts;
    const int32_t *columns;
    const int64_t *sample_index, *label_index; /* rows of x and y for each step */
    const double *rates;
    int32_t *nonzero_index; /* NULL for dense samples, else 2 (m + 16) entries, m of layer 0 */
    int loss, plain;        /* nn_loss; as in nn_softmax */
    double loss_parameter;  /* of NN_SHAPED_LOSSES */
    int two_copies;         /* layers 1, 2, ... hold w as well as wt */
    void *logits;           /* (steps, n of the last layer), or NULL */
    const nn_rule *rules;   /* of each step, or NULL for plain SGD */
    double *squares;        /* the sum of squares of all weights before each step, or NULL */
    double (*sum_of_squares)(nn_index n, const void *x);
} nn_fused_sgd;

/* One optimizer step on a W (rows, columns) and its state, padded to whole vectors, along the
 * gradient scalar[r] vector[j]; see optimizer.h. The rule's scale is 1. sums (one row) += the rows of W from before the step, or
 * from after it if `after`, each times its factor. */
typedef struct {
    nn_index rows, columns, stride; /* columns beyond `columns` are 0 and stay 0 */
    void *w, *s1, *s2;              /* NULL if the rule has none */
    const void *scalar, *vector;
    const void *factor;             /* NULL: no sums */
    void *sums;
    int after;
} nn_rank1;

/* Batch normalisation of samples as rows: z <- g norm + shift, norm <- (x - mean) / sqrt(var +
 * eps), and its backward pass. */
typedef struct {
    nn_index batch, features;
    const void *x; nn_index x_stride;
    const void *g, *shift;  /* (features) */
    double eps;
    void *mean, *var;       /* (features): over the batch, or `given` */
    int given;
    void *z, *norm;         /* norm may be NULL */
    nn_index row_stride;    /* of z, norm, dz, dx */
    const void *dz;
    void *dx, *dg, *dshift; /* dx may be dz; dg <- sum dz norm, dshift <- sum dz */
} nn_batchnorm;

typedef struct {
    const char *level, *type;
    nn_index lanes, itemsize, tile_rows, tile_columns;

    void (*gemm)(const nn_gemm *);
    /* bytes of workspace that suffice for every product of up to n columns and k terms */
    nn_index (*gemm_workspace)(nn_index n, nn_index k);
    /* packed <- B (k, n) for nn_gemm's packed, gemm_packed_size(n, k) bytes */
    void (*gemm_pack)(nn_index n, nn_index k, const void *b, nn_index b_rs, nn_index b_cs,
                      void *packed);
    nn_index (*gemm_packed_size)(nn_index n, nn_index k);
    nn_index (*csr_blocks)(nn_index columns);
    /* row `row` <- the non-zero entries of x (columns); NaN is non-zero */
    void (*csr_row)(const nn_csr *, nn_index row, const void *x);
    /* rows first .. last - 1 of `to` <- the transpose of the first `rows` rows of `from` */
    void (*csr_transpose)(const nn_csr *from, nn_index rows, nn_index first, nn_index last,
                          const nn_csr *to);
    void (*spmm)(const nn_spmm *);
    /* z (n) <- f(x (m) W (m, n) + bias (n)); index: the m entries of x and rows of W to use, or
     * NULL for 0 .. m - 1 */
    void (*gemv)(nn_index m, nn_index n, const void *x, const int32_t *index, const void *w,
                 nn_index w_stride, const void *bias, void *z, nn_activation);
    /* gemv with an index, for the m entries of x alone; index ascends */
    void (*gemv_listed)(nn_index m, nn_index n, const void *x, const int32_t *index, const void *w,
                        nn_index w_stride, const void *bias, void *z, nn_activation);
    /* gemv without an index for W without padding, with the bits of gemv for rows padded to whole
     * vectors */
    void (*gemv_unpadded)(nn_index m, nn_index n, const void *x, const void *w, nn_index w_stride,
                          const void *bias, void *z, nn_activation);
    /* W <- W - old' steps, unless old is NULL, then z <- next' W + bias for LOOKAHEAD_STEPS
     * samples, unless next is NULL, in one pass over W; old, next (m, LOOKAHEAD_STEPS), steps, z
     * (LOOKAHEAD_STEPS, n); see lookahead.h */
    void (*lookahead_pass)(nn_index m, nn_index n, void *w, nn_index w_stride, const void *old,
                           const void *steps, const void *next, const void *bias, void *z);
    /* gram[k][j] <- -(x_j . x_k + 1) for j < k of LOOKAHEAD_STEPS samples x[k] (m); returns 1 if
     * all are finite */
    int (*lookahead_gram)(nn_index m, const void *const *x, void *gram);
    /* out (m, LOOKAHEAD_STEPS) <- the samples as columns */
    void (*lookahead_columns)(nn_index m, const void *const *x, void *out);
    /* number of non-zero entries of x; NaN is non-zero */
    nn_index (*count_nonzeros)(nn_index m, const void *x);
    /* index (capacity m + 16) <- the indices of the non-zero entries, in order; returns their
     * number */
    nn_index (*nonzero_index)(nn_index m, const void *x, int32_t *index);
    /* dx (m) <- (W dz) * f'(x); W <- W - eta x dz, in one pass over W */
    void (*gemv_backward)(nn_index m, nn_index n, void *w, nn_index w_stride, const void *x,
                          const void *dz, void *dx, nn_activation, double eta);
    /* gemv and gemv_backward for W held transposed, wt (n, m) */
    void (*gemv_wt)(nn_index m, nn_index n, const void *x, const void *wt, nn_index wt_stride,
                    const void *bias, void *z, nn_activation);
    void (*gemv_backward_wt)(nn_index m, nn_index n, void *wt, nn_index wt_stride, const void *x,
                             const void *dz, void *dx, nn_activation, double eta);
    /* dx (m) <- W dz */
    void (*gemv_t)(nn_index m, nn_index n, const void *w, nn_index w_stride, const void *dz,
                   void *dx);
    /* W <- W - x step in the m rows of `index`, or in all m rows if it is NULL */
    void (*rank1_update)(nn_index m, nn_index n, void *w, nn_index w_stride, const void *x,
                         const int32_t *index, const void *step);
    /* y (n) <- eta x */
    void (*scaled)(nn_index n, const void *x, double eta, void *y);
    /* y (n) <- y - eta x */
    void (*subtract_scaled)(nn_index n, void *y, const void *x, double eta);
    void (*activation_forward)(nn_index n, const void *z, void *a, nn_activation);
    /* dz <- da * f'(u), u = a or z, see nn_uses_input */
    void (*activation_backward)(nn_index n, const void *da, const void *u, void *dz, nn_activation);
    void (*softmax)(const nn_softmax *);
    nn_index (*softmax_workspace)(nn_index batch, nn_index classes);
    /* losses <- label_gap + label_sum log(1 + exp_rest); returns their sum if `adds`, else 0 */
    double (*softmax_losses)(nn_index n, const void *label_gap, const void *label_sum,
                             const void *exp_rest, double *losses, int adds);
    /* the sum alone, for little more than one logarithm; losses is overwritten */
    double (*softmax_total)(nn_index n, const void *label_gap, const void *label_sum,
                            const void *exp_rest, double *losses);
    /* element-wise from the last Linear's outputs, for the losses of all lists: grad <- dL/dz;
     * returns the summed loss. parameter: where the Huber loss becomes linear, or the quantile */
    double (*loss_and_gradient)(nn_index n, const void *z, const void *y, void *grad, int loss,
                                double parameter);
    /* element-wise from the network's outputs: terms <- each entry's contribution to its sample's
     * loss; 0 log 0 = 0 */
    void (*loss_terms)(nn_index n, const void *p, const void *y, void *terms, int loss,
                       double parameter);
    /* y <- weights ((1 - smoothing) y + smoothing / classes (sum of y)) per sample, in place; weights:
     * one per class, or NULL */
    void (*adjust_labels)(nn_index batch, nn_index classes, void *y, nn_index y_sample,
                          nn_index y_class, double smoothing, const double *weights);
    /* grad <- (sum of y) p - y per contiguous sample, see labels.h; grad may be p */
    void (*nll_backward)(nn_index batch, nn_index classes, const void *p, const void *y,
                         void *grad);
    /* y <- NN_EXP, NN_LOG or NN_LOG1P of x; for tests */
    void (*apply)(nn_index n, const void *x, void *y, int function);
    /* out (n) <- sums over the rows of x (m, n); see reduce.h */
    void (*sum_rows)(nn_index m, nn_index n, const void *x, nn_index x_stride, void *out);
    /* the same for x with contiguous columns and column stride x_stride */
    void (*sum_columns)(nn_index m, nn_index n, const void *x, nn_index x_stride, void *out);
    /* out (n, m) <- transpose of x (m, n) */
    void (*transpose)(nn_index m, nn_index n, const void *x, nn_index x_stride, void *out,
                      nn_index out_stride);
    /* For vectors of 16, 32 and 64 bytes; NULL for widths that the level lacks. Returns 0 if a
     * logit, a loss or the result of a rule may have been non-finite. */
    int (*fused_sgd[3])(const nn_fused_sgd *);
    /* For the same widths. Forward: rows_a of each layer <- its outputs (the last layer's: logits).
     * Update: from rows_dz of the last layer, those of the others and W <- W - eta x dz summed over
     * the batch. See fused_minibatch.h. */
    void (*fused_forward[3])(const nn_fused_batch *);
    void (*fused_update[3])(const nn_fused_batch *);
    /* out (n of the last layer) <- the network at the sample x, for the same widths; see
     * fused_predict.h */
    void (*fused_predict[3])(const nn_fused_layer *layers, nn_index n_layers, const void *x,
                             void *out);
    /* to (m, padded) <- rows index[0 .. count - 1] of x, or its first rows if index is NULL, as
     * columns, with zeros beyond them */
    void (*load_columns)(nn_index m, nn_index count, nn_index padded, const void *x,
                         nn_index x_stride, const int64_t *index, void *to);
    /* z and a of all layers, of the last one z alone */
    void (*columns_forward)(const nn_columns *);
    /* From dz of the last layer: dz of the others, and gradients += those of these samples. */
    void (*columns_backward)(const nn_columns *);
    /* w (n) and its state s1, s2 (NULL if the rule has none) <- one step along g. Returns 1 if all
     * results are finite. */
    int (*optimizer_step)(nn_index n, void *w, const void *g, void *s1, void *s2,
                          const nn_rule *rule);
    /* The same along a gradient of rank one; rule NULL: the sums alone, in the same order. Returns 1
     * if all results are finite. */
    int (*rank1_rule)(const nn_rank1 *, const nn_rule *rule);
    /* g (rows, n), contiguous, <- scale g + l2 w, bounded to [-limit, limit]; NaN stays NaN. w, rows
     * w_stride apart, may be NULL: no penalty. squares (rows) <- the sum of squares of each row */
    void (*clip_rows)(nn_index rows, nn_index n, void *g, const void *w, nn_index w_stride,
                      double scale, double l2, double limit, double *squares);
    /* the sum of x^2, squared and summed in double */
    double (*sum_of_squares)(nn_index n, const void *x);
    /* the same step for rows of n weights, w_stride apart; gradient and state are contiguous.
     * squares (rows) <- the sum of squares of each row before the step, unless NULL */
    int (*optimizer_rows)(nn_index rows, nn_index n, void *w, nn_index w_stride, const void *g,
                          void *s1, void *s2, const nn_rule *rule, double *squares);
    void (*batchnorm_forward)(const nn_batchnorm *);
    void (*batchnorm_backward)(const nn_batchnorm *);
    /* running (n) <- running + momentum (factor of_batch - running) */
    void (*ema_update)(nn_index n, void *running, const void *of_batch, double factor,
                       double momentum);
    /* y (n) <- scale x if the random word of `word` and the entry's index first, first + 1, ... is
     * at least threshold, else 0; see dropout.h */
    void (*dropout)(nn_index n, const void *x, void *y, uint64_t word, uint32_t first,
                    uint32_t threshold, double scale);
    /* 1 if all entries are finite */
    int (*all_finite)(nn_index n, const void *x);
    /* max |x|; infinity if an entry is non-finite */
    double (*largest)(nn_index n, const void *x);
    /* out <- x, which it may be; 1 if all entries are finite */
    int (*copy_finite)(nn_index n, const void *x, void *out);
} nn_kernels;

enum nn_function { NN_EXP, NN_LOG, NN_LOG1P };

/* Levels in ascending order; the generic one always exists. */
enum nn_level { NN_GENERIC, NN_AVX2, NN_AVX512, NN_LEVELS };

/* The names in the lists above, by number: the words of Python. */
const char *nn_activation_name(int kind);
const char *nn_loss_name(int loss);
const char *nn_rule_name(int kind);
const char *nn_level_name(int level);
int nn_level_usable(int level);
/* NULL if the level is not in this build. */
const nn_kernels *nn_table(int level, int is_double);

/* dst (rows, columns), float or double with a row stride in elements <- src of any native type,
 * with strides in bytes. */
enum nn_type {
    NN_BOOL,
    NN_I8,
    NN_U8,
    NN_I16,
    NN_U16,
    NN_I32,
    NN_U32,
    NN_I64,
    NN_U64,
    NN_F32,
    NN_F64
};
void nn_convert(void *dst, nn_index dst_stride, int dst_is_double, nn_index rows, nn_index columns,
                const char *src, nn_index src_stride, nn_index src_col_stride, int src_type);
/* dst (rows, columns), strides in bytes <- src of the same type, with a row stride in elements. */
void nn_write_back(char *dst, nn_index dst_stride, nn_index dst_col_stride, int is_double,
                   nn_index rows, nn_index columns, const void *src, nn_index src_stride);

#endif
