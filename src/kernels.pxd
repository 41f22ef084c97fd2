# The C interface of kernels.h, in Cython's words.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "kernels.h" nogil:
    ctypedef Py_ssize_t nn_index

    enum:
        NN_NONE, NN_TANH, NN_RELU, NN_SIGMOID, NN_SOFTMAX, NN_OUTPUT_SIGMOID
        NN_NO_LOSS, NN_NLL, NN_BINARY_NLL, NN_SQUARED, NN_HINGE
        NN_STORE, NN_DERIVATIVE, NN_UPDATE
        NN_EXP, NN_LOG, NN_LOG1P
        NN_LEVELS
        NN_BOOL, NN_I8, NN_U8, NN_I16, NN_U16, NN_I32, NN_U32, NN_I64, NN_U64, NN_F32, NN_F64

    ctypedef struct nn_product:
        nn_index m, n, k
        const void *a
        nn_index a_row, a_col
        const void *b
        nn_index b_row, b_col
        void *c
        nn_index c_row
        int epilogue, activation
        const void *bias
        int bias_down_rows
        const void *d
        nn_index d_row
        double eta
        void *work

    ctypedef struct nn_lists:
        nn_index rows, columns, room
        void *entries
        int32_t *ends

    ctypedef struct nn_sparse:
        nn_lists a
        nn_index first, last, n
        const void *b
        nn_index b_row
        int packs_b
        void *c
        nn_index c_row
        int updates
        double eta
        int activation
        const void *bias

    ctypedef struct nn_softmax:
        nn_index batch, classes
        int classes_contiguous
        const void *z
        nn_index z_sample, z_class
        const void *y
        nn_index y_sample, y_class
        void *p
        nn_index p_sample, p_class
        void *grad
        nn_index grad_sample, grad_class
        int plain
        void *gap
        void *weight
        void *rest
        void *work

    ctypedef struct nn_small_layer:
        nn_index m, n, vectors
        int activation
        void *w
        void *wt
        void *b
        void *a
        void *dz
        void *step
        void *rows_a
        void *rows_dz
        nn_index row

    ctypedef struct nn_small:
        nn_index count, steps
        const nn_small_layer *layers
        const void *x
        const void *y
        nn_index x_row, y_row
        const int64_t *draws
        const double *rates
        int32_t *places
        int plain

    ctypedef struct nn_small_batch:
        nn_index count, batch
        const nn_small_layer *layers
        const void *x
        nn_index x_row
        const int64_t *draws
        double eta

    enum: NN_SOFTMAX_LONG

    ctypedef struct nn_total:
        double sum, lost
    void nn_add(nn_total *, double) noexcept nogil
    double nn_value(const nn_total *) noexcept nogil

    enum:
        NN_SGD, NN_MOMENTUM, NN_NESTEROV, NN_ADAGRAD, NN_RMSPROP, NN_ADAM

    ctypedef struct nn_rule:
        int kind
        double eta, scale, l2, keep, beta1, beta2, root, eps

    ctypedef struct nn_norm:
        nn_index batch, features
        const void *x
        nn_index x_row
        const void *g
        const void *shift
        double eps
        void *mean
        void *var
        int given
        void *z
        void *norm
        nn_index row
        const void *dz
        void *dx
        void *dg
        void *dshift

    ctypedef struct nn_kernels:
        const char *level
        const char *type
        nn_index lanes, itemsize, tile_rows, tile_columns
        void (*product)(const nn_product *) noexcept nogil
        nn_index (*product_work)(nn_index, nn_index) noexcept nogil
        nn_index (*sparse_blocks)(nn_index) noexcept nogil
        void (*list_row)(const nn_lists *, nn_index, const void *) noexcept nogil
        void (*turn_lists)(const nn_lists *, nn_index, nn_index, nn_index,
                           const nn_lists *) noexcept nogil
        void (*sparse_product)(const nn_sparse *) noexcept nogil
        void (*row_forward)(nn_index, nn_index, const void *, const int32_t *, const void *,
                            nn_index, const void *, void *,
                            int) noexcept nogil
        void (*block_pass)(nn_index, nn_index, void *, nn_index, const void *, const void *,
                           const void *, const void *,
                           void *) noexcept nogil
        int (*block_gram)(nn_index, const void *const *, void *) noexcept nogil
        void (*sample_columns)(nn_index, const void *const *, void *) noexcept nogil
        nn_index (*count_nonzeros)(nn_index, const void *) noexcept nogil
        nn_index (*nonzeros)(nn_index, const void *, int32_t *) noexcept nogil
        void (*row_backward)(nn_index, nn_index, void *, nn_index, const void *, const void *,
                             void *, int, double) noexcept nogil
        void (*turned_forward)(nn_index, nn_index, const void *, const void *, nn_index,
                               const void *, void *, int) noexcept nogil
        void (*turned_backward)(nn_index, nn_index, void *, nn_index, const void *, const void *,
                                void *, int, double) noexcept nogil
        void (*row_products)(nn_index, nn_index, const void *, nn_index, const void *,
                             void *) noexcept nogil
        void (*row_update)(nn_index, nn_index, void *, nn_index, const void *, const int32_t *,
                           const void *) noexcept nogil
        void (*scaled)(nn_index, const void *, double, void *) noexcept nogil
        void (*subtract_scaled)(nn_index, void *, const void *, double) noexcept nogil
        void (*activate)(nn_index, const void *, void *, int) noexcept nogil
        void (*derive)(nn_index, const void *, const void *, void *, int) noexcept nogil
        void (*softmax)(const nn_softmax *) noexcept nogil
        nn_index (*softmax_work)(nn_index batch, nn_index classes) noexcept nogil
        double (*softmax_losses)(nn_index, const void *, const void *, const void *, double *,
                                 int) noexcept nogil
        double (*loss_and_gradient)(nn_index, const void *, const void *, void *,
                                    int) noexcept nogil
        void (*loss_terms)(nn_index, const void *, const void *, void *, int) noexcept nogil
        void (*nll_backward)(nn_index, nn_index, const void *, const void *, void *) noexcept nogil
        void (*apply)(nn_index, const void *, void *, int) noexcept nogil
        void (*sum_rows)(nn_index, nn_index, const void *, nn_index, void *) noexcept nogil
        void (*sum_columns)(nn_index, nn_index, const void *, nn_index, void *) noexcept nogil
        void (*transpose)(nn_index, nn_index, const void *, nn_index, void *,
                          nn_index) noexcept nogil
        int (*sgd_small[3])(const nn_small *) noexcept nogil
        void (*small_forward[3])(const nn_small_batch *) noexcept nogil
        void (*small_update[3])(const nn_small_batch *) noexcept nogil
        void (*predict_small[3])(const nn_small_layer *, nn_index, const void *,
                                 void *) noexcept nogil
        int (*optimize)(nn_index, void *, const void *, void *, void *,
                        const nn_rule *) noexcept nogil
        double (*squares)(nn_index, const void *) noexcept nogil
        void (*normalize)(const nn_norm *) noexcept nogil
        void (*normalize_back)(const nn_norm *) noexcept nogil
        void (*follow)(nn_index, void *, const void *, double, double) noexcept nogil
        void (*dropout)(nn_index, const void *, void *, uint64_t, uint32_t, uint32_t,
                        double) noexcept nogil
        int (*all_finite)(nn_index, const void *) noexcept nogil
        double (*largest)(nn_index, const void *) noexcept nogil
        int (*copy_finite)(nn_index, const void *, void *) noexcept nogil

    const char *nn_level_name(int)
    int nn_level_usable(int)
    const nn_kernels *nn_table(int, int)
    void nn_convert(void *, nn_index, int, nn_index, nn_index, const char *, nn_index, nn_index,
                    int)
    void nn_write_back(char *, nn_index, nn_index, int, nn_index, nn_index, const void *, nn_index)
