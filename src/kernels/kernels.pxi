# The declarations of kernels.h, which documents them, for Cython. Included by _core.pyx.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "kernels/kernels.h" nogil:
    ctypedef Py_ssize_t nn_index

    enum:
        NN_NONE, NN_RELU, NN_LEAKY_RELU, NN_SIGMOID, NN_SOFTMAX, NN_OUTPUT_SIGMOID
        NN_ACTIVATION_KINDS
        NN_NO_LOSS, NN_NLL, NN_BINARY_NLL, NN_ELEMENTWISE_LOSS_KINDS, NN_HUBER
        NN_ALL_LOSS_KINDS
        NN_STORE, NN_DERIVATIVE, NN_UPDATE
        NN_EXP, NN_LOG, NN_LOG1P
        NN_LEVELS
        NN_BOOL, NN_I8, NN_U8, NN_I16, NN_U16, NN_I32, NN_U32, NN_I64, NN_U64, NN_F32, NN_F64

    ctypedef struct nn_activation:
        int kind
        double slope
    int nn_uses_input(nn_activation)

    ctypedef struct nn_gemm:
        nn_index m, n, k
        const void *a
        nn_index a_rs, a_cs
        const void *b
        nn_index b_rs, b_cs
        const void *packed
        void *c
        nn_index c_rs
        int epilogue
        nn_activation activation
        const void *bias
        int bias_down_rows
        const void *d
        nn_index d_rs
        double eta
        void *workspace

    ctypedef struct nn_csr:
        nn_index rows, columns, row_capacity
        void *entries
        int32_t *block_ends

    ctypedef struct nn_spmm:
        nn_csr a
        nn_index first, last, n
        const void *b
        nn_index b_rs
        int packs_b
        void *c
        nn_index c_rs
        int updates
        double eta
        nn_activation activation
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
        void *label_gap
        void *label_sum
        void *exp_rest
        void *workspace

    ctypedef struct nn_fused_layer:
        nn_index m, n, vectors
        nn_activation activation
        void *w
        void *wt
        void *b
        void *z
        void *a
        void *dz
        void *step
        void *copy
        void *state[2]
        void *state0[2]
        void *rows_z
        void *rows_a
        void *rows_dz
        nn_index row_stride

    ctypedef struct nn_fused_batch:
        nn_index n_layers, batch
        const nn_fused_layer *layers
        const void *x
        nn_index x_stride
        const int64_t *sample_index
        double eta

    ctypedef struct nn_total:
        double sum, lost
    void nn_add(nn_total *, double) noexcept nogil
    double nn_value(const nn_total *) noexcept nogil

    enum:
        NN_SGD, NN_MOMENTUM, NN_NESTEROV, NN_ADAGRAD, NN_RMSPROP, NN_ADAM, NN_RULE_KINDS
        NN_VELOCITY, NN_NESTEROV_VELOCITY

    ctypedef struct nn_rule:
        int kind
        double eta, scale, l2, keep, beta1, beta2, root, eps

    ctypedef struct nn_fused_sgd:
        nn_index n_layers, steps
        const nn_fused_layer *layers
        const void *x
        const void *y
        nn_index x_stride, y_stride
        const int64_t *row_starts
        const int32_t *columns
        const int64_t *sample_index
        const int64_t *label_index
        const double *rates
        int32_t *nonzero_index
        int loss, plain, two_copies
        double loss_parameter
        void *logits
        const nn_rule *rules
        double *squares
        double (*sum_of_squares)(nn_index, const void *) noexcept nogil

    ctypedef struct nn_column_layer:
        nn_index m, n, w_stride
        nn_activation activation
        const void *w
        const void *b
        void *z
        void *a
        void *dz
        void *w_gradient
        void *b_gradient
        void *b_lost

    ctypedef struct nn_columns:
        nn_index n_layers, padded
        const nn_column_layer *layers
        const void *x

    ctypedef struct nn_rank1:
        nn_index rows, columns, stride
        void *w
        void *s1
        void *s2
        const void *scalar
        const void *vector
        const void *factor
        void *sums
        int after

    ctypedef struct nn_batchnorm:
        nn_index batch, features
        const void *x
        nn_index x_stride
        const void *g
        const void *shift
        double eps
        void *mean
        void *var
        int given
        void *z
        void *norm
        nn_index row_stride
        const void *dz
        void *dx
        void *dg
        void *dshift

    ctypedef struct nn_kernels:
        const char *level
        const char *type
        nn_index lanes, itemsize, tile_rows, tile_columns
        void (*gemm)(const nn_gemm *) noexcept nogil
        nn_index (*gemm_workspace)(nn_index, nn_index) noexcept nogil
        void (*gemm_pack)(nn_index, nn_index, const void *, nn_index, nn_index,
                          void *) noexcept nogil
        nn_index (*gemm_packed_size)(nn_index, nn_index) noexcept nogil
        nn_index (*csr_blocks)(nn_index) noexcept nogil
        void (*csr_row)(const nn_csr *, nn_index, const void *) noexcept nogil
        void (*csr_transpose)(const nn_csr *, nn_index, nn_index, nn_index,
                              const nn_csr *) noexcept nogil
        void (*spmm)(const nn_spmm *) noexcept nogil
        void (*gemv)(nn_index, nn_index, const void *, const int32_t *, const void *, nn_index,
                     const void *, void *, nn_activation) noexcept nogil
        void (*gemv_listed)(nn_index, nn_index, const void *, const int32_t *, const void *,
                            nn_index, const void *, void *, nn_activation) noexcept nogil
        void (*gemv_unpadded)(nn_index, nn_index, const void *, const void *, nn_index,
                              const void *, void *, nn_activation) noexcept nogil
        void (*lookahead_pass)(nn_index, nn_index, void *, nn_index, const void *, const void *,
                               const void *, const void *, void *) noexcept nogil
        int (*lookahead_gram)(nn_index, const void *const *, void *) noexcept nogil
        void (*lookahead_columns)(nn_index, const void *const *, void *) noexcept nogil
        nn_index (*count_nonzeros)(nn_index, const void *) noexcept nogil
        nn_index (*nonzero_index)(nn_index, const void *, int32_t *) noexcept nogil
        void (*gemv_backward)(nn_index, nn_index, void *, nn_index, const void *, const void *,
                              void *, nn_activation, double) noexcept nogil
        void (*gemv_wt)(nn_index, nn_index, const void *, const void *, nn_index, const void *,
                        void *, nn_activation) noexcept nogil
        void (*gemv_backward_wt)(nn_index, nn_index, void *, nn_index, const void *, const void *,
                                 void *, nn_activation, double) noexcept nogil
        void (*gemv_t)(nn_index, nn_index, const void *, nn_index, const void *,
                       void *) noexcept nogil
        void (*rank1_update)(nn_index, nn_index, void *, nn_index, const void *, const int32_t *,
                             const void *) noexcept nogil
        void (*scaled)(nn_index, const void *, double, void *) noexcept nogil
        void (*subtract_scaled)(nn_index, void *, const void *, double) noexcept nogil
        void (*activation_forward)(nn_index, const void *, void *, nn_activation) noexcept nogil
        void (*activation_backward)(nn_index, const void *, const void *, void *,
                                    nn_activation) noexcept nogil
        void (*softmax)(const nn_softmax *) noexcept nogil
        nn_index (*softmax_workspace)(nn_index batch, nn_index classes) noexcept nogil
        double (*softmax_losses)(nn_index, const void *, const void *, const void *, double *,
                                 int) noexcept nogil
        double (*softmax_total)(nn_index, const void *, const void *, const void *,
                                double *) noexcept nogil
        double (*loss_and_gradient)(nn_index, const void *, const void *, void *, int,
                                    double) noexcept nogil
        void (*loss_terms)(nn_index, const void *, const void *, void *, int,
                           double) noexcept nogil
        void (*adjust_labels)(nn_index, nn_index, void *, nn_index, nn_index, double,
                              const double *) noexcept nogil
        void (*nll_backward)(nn_index, nn_index, const void *, const void *, void *) noexcept nogil
        void (*apply)(nn_index, const void *, void *, int) noexcept nogil
        void (*sum_rows)(nn_index, nn_index, const void *, nn_index, void *) noexcept nogil
        void (*sum_columns)(nn_index, nn_index, const void *, nn_index, void *) noexcept nogil
        void (*transpose)(nn_index, nn_index, const void *, nn_index, void *,
                          nn_index) noexcept nogil
        int (*fused_sgd[3])(const nn_fused_sgd *) noexcept nogil
        void (*fused_forward[3])(const nn_fused_batch *) noexcept nogil
        void (*fused_update[3])(const nn_fused_batch *) noexcept nogil
        void (*fused_predict[3])(const nn_fused_layer *, nn_index, const void *,
                                 void *) noexcept nogil
        void (*load_columns)(nn_index, nn_index, nn_index, const void *, nn_index, const int64_t *,
                             void *) noexcept nogil
        void (*columns_forward)(const nn_columns *) noexcept nogil
        void (*columns_backward)(const nn_columns *) noexcept nogil
        int (*optimizer_step)(nn_index, void *, const void *, void *, void *,
                              const nn_rule *) noexcept nogil
        int (*rank1_rule)(const nn_rank1 *, const nn_rule *) noexcept nogil
        void (*clip_rows)(nn_index, nn_index, void *, const void *, nn_index, double, double,
                          double, double *) noexcept nogil
        double (*sum_of_squares)(nn_index, const void *) noexcept nogil
        int (*optimizer_rows)(nn_index, nn_index, void *, nn_index, const void *, void *, void *,
                              const nn_rule *, double *) noexcept nogil
        void (*batchnorm_forward)(const nn_batchnorm *) noexcept nogil
        void (*batchnorm_backward)(const nn_batchnorm *) noexcept nogil
        void (*ema_update)(nn_index, void *, const void *, double, double) noexcept nogil
        void (*dropout)(nn_index, const void *, void *, uint64_t, uint32_t, uint32_t,
                        double) noexcept nogil
        int (*all_finite)(nn_index, const void *) noexcept nogil
        double (*largest)(nn_index, const void *) noexcept nogil
        int (*copy_finite)(nn_index, const void *, void *) noexcept nogil

    const char *nn_activation_name(int)
    const char *nn_loss_name(int)
    const char *nn_rule_name(int)
    const char *nn_level_name(int)
    int nn_level_usable(int)
    const nn_kernels *nn_table(int, int)
    void nn_convert(void *, nn_index, int, nn_index, nn_index, const char *, nn_index, nn_index,
                    int)
    void nn_write_back(char *, nn_index, nn_index, int, nn_index, nn_index, const void *, nn_index)
