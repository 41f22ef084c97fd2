# The engine's data. Functions are in the file of their duty; nothing here is a Python object.
#
# Pointers to numbers are char *: the network's type (float or double) is known to the table of
# kernels alone. Strides are counted in elements unless a name says bytes.

cdef extern from "engine/buffer_pool.h":
    ctypedef struct nn_buffer:
        char *memory
        size_t bytes
    Py_ssize_t NN_REDZONE
    void nn_redzone(char *, size_t)
    nn_buffer nn_buffer_acquire(size_t)
    void nn_buffer_release(nn_buffer)
    size_t POOLED_MOST


cdef extern from "engine/team.h":
    ctypedef struct nn_team:
        pass
    void nn_team_open(nn_team *) nogil
    void nn_team_post(nn_team *, int) nogil
    int nn_team_claim(nn_team *) nogil
    void nn_team_finish(nn_team *) nogil
    void nn_team_join(nn_team *, int) nogil
    void nn_team_close(nn_team *) nogil
    int nn_team_next(nn_team *) nogil
    void nn_team_flag(int *, int) nogil


cdef enum LayerKind:
    LINEAR
    ACTIVATION             # an activation that does not follow a Linear directly
    BATCHNORM
    DROPOUT


cdef enum Status:
    # what a run found to be non-finite
    FINITE = 0
    BAD_LOSS = 1
    BAD_WEIGHTS = 2
    BAD_DATA = 4
    UNSURE = 8             # a bound no longer proves that the next weights are finite


cdef inline nn_activation no_activation() noexcept nogil:
    return nn_activation(NN_NONE, 0)


cdef struct Source:
    # an array with samples as columns, read one sample at a time as a row of the network's type
    const char *data
    Py_ssize_t features, sample_bytes, feature_bytes  # strides in bytes
    int type               # NN_BOOL ... NN_F64
    bint direct            # samples are contiguous and of the network's type: no copy


cdef struct Params:
    # W (rows, outputs) and W0 (outputs) of a Linear; G and B of a BatchNorm, with one row
    Py_ssize_t rows
    char *w                # in use: the packed copies, or the user's memory
    char *w0
    Py_ssize_t row_stride, width
    bint transposed        # w holds W transposed; used for narrow layers at batch size 1
    char *packed_w
    char *packed_w0
    char *state[2]         # the optimizer's arrays for w and w0
    char *state0[2]
    char *packed_state[2]
    char *packed_state0[2]


cdef struct NormState:
    # of a BatchNorm; all but norm have one entry per feature
    char *norm             # (batch, row_stride) normalised inputs
    char *mean             # of the batch
    char *var
    char *running_mean
    char *running_var
    char *g_grad
    char *b_grad
    double eps, momentum
    bint running           # whether it keeps running statistics


cdef struct DropoutState:
    uint64_t key, count    # count: forward passes before this call
    uint32_t threshold
    double scale


cdef struct Layer:
    LayerKind kind
    nn_activation activation
    Py_ssize_t inputs, outputs
    Py_ssize_t width       # outputs rounded up to whole vectors
    Py_ssize_t row_stride  # of a and grad
    # (batch, row_stride) inputs of the activation; a unless training needs both
    char *z
    char *a                # (batch, row_stride) outputs of the activation
    char *grad             # (batch, row_stride) gradient with respect to the activation's input
    Params params
    NormState norm
    DropoutState drop


cdef struct Network:
    # fixed when the engine is made
    const nn_kernels *k
    Layer *layers
    Py_ssize_t n_layers, itemsize, inputs, outputs, n_weights
    Py_ssize_t x_stride    # between samples as rows
    Py_ssize_t widest      # of the layers' widths
    int type_number, loss
    bint trains
    # NLL's gradient is a − y whatever a sample's labels sum to, as a user's own loss has it
    bint plain_nll
    bint has_special       # a BatchNorm or a Dropout
    bint has_norm


cdef struct LossTerms:
    # the loss of sample j is label_gap[j] + label_sum[j] log(1 + exp_rest[j])
    char *label_gap
    char *label_sum
    char *exp_rest
    double *losses         # per sample


cdef struct Workspace:
    # memory whose size depends on the batch or the number of threads
    nn_buffer weights_buffer
    nn_buffer batch_buffer
    nn_buffer state_buffer
    Py_ssize_t capacity    # samples that there is memory for
    int n_threads
    char *x_rows           # (capacity, x_stride)
    char *y_rows           # (capacity, outputs)
    char *bias_grad        # (n_threads, widest)
    char *gemm             # packed blocks of a matrix product, gemm_bytes per thread
    Py_ssize_t gemm_bytes
    LossTerms terms


cdef struct Optimizer:
    bint active            # False: plain SGD without a penalty
    nn_rule rule
    double decay           # AdamW's
    Py_ssize_t n_states    # arrays of state per weight
    char *gradient         # a block of gradient rows per thread, gradient_bytes each
    Py_ssize_t gradient_bytes
    double *squares        # sum of squares of each row of all W
    double state_bound[2]  # of the entries of the state
    int64_t updates        # steps made before this chunk


cdef struct Lookahead:
    # K = LOOKAHEAD_STEPS consecutive steps that share a pass over the first layer's W; the
    # mathematics is in lookahead.h
    const void *samples[LOOKAHEAD_STEPS]  # as rows, in the user's memory or in x
    char *x
    char *next             # samples as columns, of this block and of the one before
    char *old
    char *gram             # (K, K) negative products of the samples with each other
    char *z                # (K, width) their products with W before the block
    char *steps            # (K, width)
    int at                 # the step of the block being done, -1 outside blocks
    bint pending           # the last block's update of W has not been carried out


cdef struct Fused:
    # what the fused kernels of small networks need
    int refusal            # why they cannot train the network, or ACCEPTED
    nn_fused_layer *layers  # NULL unless they can
    nn_buffer buffer
    char *x                # FUSED_BLOCK samples, if the data cannot be read in place
    char *y
    int32_t *nonzero_index  # of a sample and the next one
    int64_t *ordinals      # 0, 1, 2, ...: the samples' places in the block
    Py_ssize_t lanes
    int width_index        # among vectors of 16, 32 and 64 bytes


cdef struct Sparse:
    # inputs that are mostly zeros
    int32_t *nonzero_index  # single-sample SGD: where the sample is not zero,
    Py_ssize_t n_nonzero   # the length of that index, 0 if the sample is dense,
    bint skips_zeros       # and whether zeros may be skipped in this chunk
    bint wanted            # batches: whether there must be memory for CSR rows
    Py_ssize_t capacity
    nn_csr by_sample
    nn_csr by_input
    double *largest_input  # of each sample


cdef struct Batch:
    # samples that go through the layers together: a mini-batch or a thread's partition of one
    Py_ssize_t first       # their first row of a and grad
    Py_ssize_t size
    char *gemm
    const char *x          # (size, x_stride) samples as rows
    Py_ssize_t x_stride
    const char *y          # (size, y_stride)
    Py_ssize_t y_stride
    # where the network's last softmax writes, rows close together; NULL: in place of the logits
    char *outputs
    bint csr               # the samples are rows of sparse.by_sample instead


cdef struct Run:
    # one chunk of steps
    const Source *x
    const Source *y
    const int64_t *indices  # of the samples, in order
    Py_ssize_t n_samples, batch_size
    const double *rates    # one per step
    bint mean              # divide the gradient by the batch's size
    bint checks_data       # report samples that are not finite
    bint checks_weights    # report weights that are not finite after each step
    nn_total total         # the loss summed over the samples so far
    int status
    Py_ssize_t offset      # steps of this chunk before the one being done
    Py_ssize_t steps_before  # of the call, before this chunk


cdef struct Step:
    # what the partitions of one half of a mini-batch step share
    Run *run
    const int64_t *indices
    Batch batch
    double eta
    bint updates           # the second half: gradients are done, weights change
    int n_partitions


cdef struct Call:
    # what a plan is made for
    int kind               # CALL_SGD, CALL_FIT, CALL_PREDICT
    Py_ssize_t n_samples   # that the call reads
    Py_ssize_t n_columns   # of X
    Py_ssize_t batch_size
    bint python_rate       # a Python function gives the rate of each step
    const int64_t *indices  # of the samples, or NULL for all in order


cdef struct Plan:
    # how a call runs: made once by plan_call, changed by plan_demote alone
    int call
    int stepper
    int n_threads
    bint in_place          # weights are updated in the user's memory, not on packed copies
    # single-sample SGD visits the non-zero inputs of sparse samples only
    bint nonzeros
    bint csr               # batches enter the first layer as CSR rows
    bint transposes        # narrow layers hold W transposed
    Py_ssize_t chunk, chunk_multiple
    int n_reasons
    int reasons[MAX_REASONS]


cdef struct Engine:
    Network net
    Workspace ws
    Optimizer opt
    Lookahead lookahead
    Fused fused
    Sparse sparse
    Source x
    Source y
    Call call
    Plan plan
    Run run
    Step step
    nn_team team
    int helpers            # threads invited to the open parallel region
    # of |w| over all weights trained in place, negative if it must be computed
    double weight_bound


cdef struct Stepper:
    const char *name
    int (*accepts)(const Engine *, const Call *) noexcept nogil
    Py_ssize_t (*run)(Engine *, Run *) noexcept nogil


# In order of preference: the first row that accepts a call runs it, the next one that does is its
# fallback.
cdef enum:
    FUSED_SGD
    LOOKAHEAD_SGD
    SGD
    FUSED_MINIBATCH
    MINIBATCH
    PREDICTION
    N_STEPPERS


cdef enum:
    CALL_SGD
    CALL_FIT
    CALL_PREDICT


cdef enum Reason:
    # why a stepper is not the one; the texts are in REASONS
    ACCEPTED
    OTHER_CALL
    NOT_SMALL
    NOT_NLL
    INNER_LAYERS
    PYTHON_RATE
    FIRST_LAYER
    MANY_WEIGHTS
    SPECIAL_LAYERS
    SINGLE_SAMPLES
    OPTIMIZER
    THREADS_GAIN
    CSR_GAINS
    NON_FINITE
