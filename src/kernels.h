/* The leaf kernels: one table of functions for each pair (instruction-set level, real type).
 *
 * Arrays are passed as void* and hold the table's real type; sizes and strides are counted in
 * elements. Kernels allocate nothing, raise nothing and know no Python. Unless a comment says
 * otherwise, rows are contiguous, outputs are overwritten, and an output may be the input it is
 * computed from element by element. */
#ifndef NNCORE_KERNELS_H
#define NNCORE_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include "engine/tuning.h"

typedef ptrdiff_t nn_index;

/* sum += term; lost += what the rounding of that addition has lost (Knuth's two-sum). Of T, double
 * or a vector. */
#define NN_TWO_SUM(T, sum, lost, term)                                  \
    do {                                                                \
        const T term_ = (term), next_ = (sum) + term_, part_ = next_ - (sum); \
        (lost) += ((sum) - (next_ - part_)) + (term_ - part_);          \
        (sum) = next_;                                                  \
    } while (0)

/* A sum of many numbers to the last digit, in the order in which they are added. */
typedef struct { double sum, lost; } nn_total;
static inline void nn_add(nn_total *total, double term) {
    NN_TWO_SUM(double, total->sum, total->lost, term);
}
/* lost is NaN where sum is not finite. */
static inline double nn_value(const nn_total *total) {
    return total->lost == total->lost ? total->sum + total->lost : total->sum;
}

enum { NN_SOFTMAX_LONG = 6144 }; /* bytes of logits from which on softmax goes by blocks */

enum nn_activation { NN_NONE, NN_TANH, NN_RELU, NN_SIGMOID, NN_SOFTMAX, NN_OUTPUT_SIGMOID };

/* of a network: from the outputs of its last Linear */
enum nn_loss { NN_NO_LOSS, NN_NLL, NN_BINARY_NLL, NN_SQUARED, NN_HINGE };

enum nn_epilogue {
    NN_STORE,      /* C <- f(A B + bias) */
    NN_DERIVATIVE, /* C <- (A B) * f'(D), f' written in terms of the outputs D = f(Z) */
    NN_UPDATE      /* C <- C - eta A B */
};

/* C (m, n) <- epilogue of A (m, k) B (k, n). A has any strides; rows or columns of B are
 * contiguous, and rows of C and D. */
typedef struct {
    nn_index m, n, k;
    const void *a;
    nn_index a_row, a_col;
    const void *b;
    nn_index b_row, b_col;
    void *c;
    nn_index c_row;
    int epilogue;
    int activation;        /* NN_NONE .. NN_SIGMOID */
    const void *bias;      /* NN_STORE: NULL, or n entries added to every row, or m entries added to
                              every column */
    int bias_down_rows;    /* 0: bias[j], 1: bias[i] */
    const void *d;         /* NN_DERIVATIVE: outputs of the activation, (m, n) */
    nn_index d_row;
    double eta;            /* NN_UPDATE */
    void
        *work; /* product_work(n, k) bytes on a cache line's boundary; NULL only where b_col is 1 */
} nn_product;

/* A matrix of at most `rows` rows as lists of its entries that are not zero: pairs of a column and
 * a value, both of the size of the real type. Those of row i begin at entry i * room, columns
 * rising; those of blocks 0 .. p of its columns end behind ends[p * rows + i] of them. There are
 * sparse_blocks(columns) blocks; room: columns and the lanes of a vector more. See sparse.h. */
typedef struct {
    nn_index rows, columns, room;
    void *entries;
    int32_t *ends;
} nn_lists;

/* Rows first .. last - 1 of C <- f(A B + bias) or, to update, of C <- C - eta A B. c is the first
 * of these rows. */
typedef struct {
    nn_lists a;
    nn_index first, last, n;
    const void *b;
    nn_index b_row;
    int packs_b; /* whether B's rows may be so far apart that they share few sets of the cache */
    void *c;
    nn_index c_row;
    int updates;
    double eta;
    int activation;
    const void *bias; /* n entries or NULL */
} nn_sparse;

/* Softmax and its loss over `batch` samples of `classes` logits. In all four arrays the classes of
 * a sample are contiguous and *_sample is the other stride, or the samples are contiguous and
 * *_class is. y NULL: softmax alone. */
typedef struct {
    nn_index batch, classes;
    int classes_contiguous;
    const void *z; nn_index z_sample, z_class;
    const void *y; nn_index y_sample, y_class;
    void *p;       nn_index p_sample, p_class;       /* probabilities; may be z, never NULL */
    void *grad;    nn_index grad_sample, grad_class; /* weight p - y; may be p; see labels.h */
    int plain;                                       /* p - y, whatever the labels sum to */
    /* The loss of sample j is gap[j] + weight[j] log(1 + rest[j]) nats: weight the sum of y, gap =
     * sum y (max - z), rest the sum of e^(z - max) over all entries but one maximal one. NULL
     * unless y is given. */
    void *gap, *weight, *rest;
    void *work; /* softmax_work(batch, classes) bytes on a cache line's boundary, unless the classes
                   are contiguous */
} nn_softmax;

/* A network of a few vectors a layer, and `steps` steps of one sample each on it; see sgd_small.h.
 * Rows of w, wt, and all vectors are padded to `vectors` (of the layer, for wt of the layer before)
 * vectors of the chosen width. */
typedef struct {
    nn_index m, n, vectors;
    int activation;
    void *w, *wt, *b, *a, *dz, *step; /* wt NULL in the first layer */
    void *rows_a, *rows_dz;           /* of a mini-batch: a and dz of its samples, `row` apart */
    nn_index row;
} nn_small_layer;

typedef struct {
    nn_index count, steps;
    const nn_small_layer *layers;
    const void *x, *y;              /* samples as rows */
    nn_index x_row, y_row;
    const int64_t *draws;
    const double *rates;
    int32_t *places; /* where samples are mostly zeros, room for 2 (m + 16) of the first layer's m;
                        else NULL */
    int plain;                      /* as in nn_softmax */
} nn_small;

/* A mini-batch on such a network: its samples are the rows draws[0], draws[1], ... of x, or 0, 1,
 * ... where draws is NULL. */
typedef struct {
    nn_index count, batch;
    const nn_small_layer *layers;
    const void *x;
    nn_index x_row;
    const int64_t *draws;
    double eta;
} nn_small_batch;

/* One step of an optimiser on weights w along the gradient g' = scale g + l2 w, after w has shrunk
 * to keep w; see optimizers.h. */
enum nn_rule_kind { NN_SGD, NN_MOMENTUM, NN_NESTEROV, NN_ADAGRAD, NN_RMSPROP, NN_ADAM };

typedef struct {
    int kind;
    double eta;            /* the step size; Adam's divided by 1 - beta1^t */
    double scale, l2, keep;
    double beta1, beta2;   /* what momentum and Adam keep of the mean gradient, RMSprop and Adam of
                              the mean square */
    double root, eps;      /* the root of the mean square counts as root * sqrt(s) + eps */
} nn_rule;

/* Batch normalisation of samples as rows: z <- g norm + shift, norm <- (x - mean) / sqrt(var +
 * eps), and the way back. */
typedef struct {
    nn_index batch, features;
    const void *x; nn_index x_row;
    const void *g, *shift;  /* (features) */
    double eps;
    void *mean, *var;       /* (features): over the batch, or `given` */
    int given;
    void *z, *norm;         /* norm NULL where nobody asks for it */
    nn_index row;           /* of z, norm, dz, dx */
    const void *dz;
    void *dx, *dg, *dshift; /* dx may be dz; dg <- sum dz norm, dshift <- sum dz */
} nn_norm;

typedef struct {
    const char *level, *type;
    nn_index lanes, itemsize, tile_rows, tile_columns;

    void (*product)(const nn_product *);
    /* bytes of work that serve every product of up to n columns and k terms */
    nn_index (*product_work)(nn_index n, nn_index k);
    nn_index (*sparse_blocks)(nn_index columns);
    /* row `row` <- the entries of x (columns) that are not 0 (NaN is not) */
    void (*list_row)(const nn_lists *, nn_index row, const void *x);
    /* rows first .. last - 1 of the transpose `to` <- columns first .. last - 1 of the first `rows`
     * rows of `from` */
    void (*turn_lists)(const nn_lists *from, nn_index rows, nn_index first, nn_index last,
                       const nn_lists *to);
    void (*sparse_product)(const nn_sparse *);
    /* z (n) <- f(x (m) W (m, n) + bias (n)) for one sample; rows: the m places in x and W to use,
     * or NULL for 0 .. m - 1 */
    void (*row_forward)(nn_index m, nn_index n, const void *x, const int32_t *rows, const void *w,
                        nn_index w_row, const void *bias, void *z, int activation);
    /* W <- W - old' steps, where old is not NULL, then z <- next' W + bias for each of
     * LOOKAHEAD_STEPS samples, where next is not NULL, in one pass over W; old, next (m,
     * LOOKAHEAD_STEPS), steps, z (LOOKAHEAD_STEPS, n); see sgd_block.h */
    void (*block_pass)(nn_index m, nn_index n, void *w, nn_index w_row, const void *old,
                       const void *steps, const void *next, const void *bias, void *z);
    /* gram[k][j] <- -(x_j . x_k + 1) for j < k, of LOOKAHEAD_STEPS samples x[k] (m); returns 1 when
     * all are finite */
    int (*block_gram)(nn_index m, const void *const *x, void *gram);
    /* out (m, LOOKAHEAD_STEPS) <- the samples as columns */
    void (*sample_columns)(nn_index m, const void *const *x, void *out);
    /* how many entries of x are not 0 (NaN is not) */
    nn_index (*count_nonzeros)(nn_index m, const void *x);
    /* their places, in order; rows has room for m + 16; returns how many */
    nn_index (*nonzeros)(nn_index m, const void *x, int32_t *rows);
    /* dx (m) <- (W dz) * f'(x); W <- W - eta x dz, one pass over W */
    void (*row_backward)(nn_index m, nn_index n, void *w, nn_index w_row, const void *x,
                         const void *dz, void *dx, int activation, double eta);
    /* row_forward and row_backward of a W that is held by its columns, in the rows of wt (n, m) */
    void (*turned_forward)(nn_index m, nn_index n, const void *x, const void *wt, nn_index wt_row,
                           const void *bias, void *z, int activation);
    void (*turned_backward)(nn_index m, nn_index n, void *wt, nn_index wt_row, const void *x,
                            const void *dz, void *dx, int activation, double eta);
    /* dx (m) <- W dz */
    void (*row_products)(nn_index m, nn_index n, const void *w, nn_index w_row, const void *dz,
                         void *dx);
    /* W <- W - x step in the m places of `rows`, or in all m rows where that is NULL */
    void (*row_update)(nn_index m, nn_index n, void *w, nn_index w_row, const void *x,
                       const int32_t *rows, const void *step);
    /* y (n) <- eta x */
    void (*scaled)(nn_index n, const void *x, double eta, void *y);
    /* y (n) <- y - eta x */
    void (*subtract_scaled)(nn_index n, void *y, const void *x, double eta);
    void (*activate)(nn_index n, const void *z, void *a, int activation);
    /* dz <- da * f'(z) with f' written in terms of a = f(z) */
    void (*derive)(nn_index n, const void *da, const void *a, void *dz, int activation);
    void (*softmax)(const nn_softmax *);
    nn_index (*softmax_work)(nn_index batch, nn_index classes);
    /* losses <- gap + weight log(1 + rest); returns their sum where `adds` */
    double (*softmax_losses)(nn_index n, const void *gap, const void *weight, const void *rest,
                             double *losses, int adds);
    /* element by element from the last Linear's outputs, for NN_BINARY_NLL, NN_SQUARED, NN_HINGE:
     * grad <- dL/dz; returns the summed loss */
    double (*loss_and_gradient)(nn_index n, const void *z, const void *y, void *grad, int loss);
    /* element by element from the network's outputs: terms <- what each adds to its sample's loss;
     * 0 log 0 = 0 */
    void (*loss_terms)(nn_index n, const void *p, const void *y, void *terms, int loss);
    /* grad <- weight p - y of labels.h, sample after sample; grad may be p */
    void (*nll_backward)(nn_index batch, nn_index classes, const void *p, const void *y,
                         void *grad);
    void (*apply)(nn_index n, const void *x, void *y,
                  int function); /* NN_EXP, NN_LOG, NN_LOG1P: for tests */
    /* out (n) <- sums over the rows of x (m, n); see sums.h */
    void (*sum_rows)(nn_index m, nn_index n, const void *x, nn_index x_row, void *out);
    /* the same of x whose columns are contiguous, x_column apart */
    void (*sum_columns)(nn_index m, nn_index n, const void *x, nn_index x_column, void *out);
    /* out (n, m) <- transpose of x (m, n) */
    void (*transpose)(nn_index m, nn_index n, const void *x, nn_index x_row, void *out,
                      nn_index out_row);
    /* By vectors of 16, 32, 64 bytes, NULL where the level has none so wide. Returns 0 when a logit
     * was not finite. */
    int (*sgd_small[3])(const nn_small *);
    /* By the same widths: the layers' rows_a <- their outputs, of the last the logits; then, from
     * its rows_dz, those of the others and W <- W - eta x dz summed over the batch; see
     * batch_small.h */
    void (*small_forward[3])(const nn_small_batch *);
    void (*small_update[3])(const nn_small_batch *);
    /* out (n of the last layer) <- the network at the sample x, by the same widths; see
     * predict_small.h */
    void (*predict_small[3])(const nn_small_layer *layers, nn_index count, const void *x,
                             void *out);
    /* w (n) and its state s1, s2 (NULL where the rule has none) <- one step along g. Returns 1 when
     * all that was written is finite. */
    int (*optimize)(nn_index n, void *w, const void *g, void *s1, void *s2, const nn_rule *rule);
    /* the sum of x^2, squared and summed in double */
    double (*squares)(nn_index n, const void *x);
    void (*normalize)(const nn_norm *);
    void (*normalize_back)(const nn_norm *);
    /* running (n) <- running + momentum (factor of_batch - running) */
    void (*follow)(nn_index n, void *running, const void *of_batch, double factor, double momentum);
    /* y (n) <- scale x where a random word made of `word` and place, place + 1, ... is at least
     * threshold, else 0; see dropout.h */
    void (*dropout)(nn_index n, const void *x, void *y, uint64_t word, uint32_t place,
                    uint32_t threshold, double scale);
    /* 1 when all are finite */
    int (*all_finite)(nn_index n, const void *x);
    /* max |x|, infinity where one is not finite */
    double (*largest)(nn_index n, const void *x);
    /* out <- x, which it may be; 1 when all are finite */
    int (*copy_finite)(nn_index n, const void *x, void *out);
} nn_kernels;

enum nn_function { NN_EXP, NN_LOG, NN_LOG1P };

/* Levels in rising order; the generic one is always there. */
enum nn_level { NN_GENERIC, NN_AVX2, NN_AVX512, NN_LEVELS };

const char *nn_level_name(int level);
int nn_level_usable(int level);
/* NULL when the level is not in this build. */
const nn_kernels *nn_table(int level, int is_double);

/* dst (rows, columns; dst_row apart, in elements, float or double) <- src of another native type,
 * strides in bytes. */
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
void nn_convert(void *dst, nn_index dst_row, int dst_is_double, nn_index rows, nn_index columns,
                const char *src, nn_index src_row, nn_index src_column, int src_type);
/* dst (rows, columns; strides in bytes) <- src of the same type, src_row apart in elements. */
void nn_write_back(char *dst, nn_index dst_row, nn_index dst_column, int is_double, nn_index rows,
                   nn_index columns, const void *src, nn_index src_row);

#endif
