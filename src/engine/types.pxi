# The engine's data, without Python objects. Functions are in the file of their duty; Program owns
# the one Engine.
#
# Pointers to numbers are char *: only the table of kernels knows the network's type, float or
# double. Strides are in elements unless a name says bytes.

cdef extern from "engine/buffer_pool.h":
    ctypedef struct nn_buffer:
        char *memory
        size_t bytes
    Py_ssize_t NN_REDZONE
    void nn_redzone(char *, size_t)
    nn_buffer nn_buffer_acquire(size_t)
    char *nn_buffer_start(nn_buffer)
    void nn_buffer_release(nn_buffer)
    size_t POOLED_MAX_BYTES


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
    void nn_wait(int *) nogil


cdef extern from "engine/subnormals.h":
    uint64_t nn_flush_subnormals() nogil
    void nn_restore_subnormals(uint64_t) nogil


cdef enum:
    # kinds of layers; those of special.pxi follow
    LINEAR
    ACTIVATION             # an activation that does not follow a Linear directly
    N_PLAIN_KINDS


cdef enum Status:
    # what was non-finite in a run
    FINITE = 0
    BAD_LOSS = 1
    BAD_WEIGHTS = 2
    BAD_DATA = 4
    UNSURE = 8             # the bound does not prove that the next weights are finite


cdef inline nn_activation no_activation() noexcept nogil:
    return nn_activation(NN_NONE, 0)


cdef enum:
    # Source.type of int32 class numbers, which are read as one-hot rows
    CLASS_NUMBERS = NN_F64 + 1


cdef struct Source:
    # an array with samples as columns, read sample by sample as rows of the network's type
    const char *data
    Py_ssize_t features, sample_bytes, feature_bytes
    int type               # NN_BOOL ... NN_F64, or CLASS_NUMBERS
    bint direct            # samples are contiguous and of the network's type: no copy
    # a CSR matrix with samples as rows, if row_starts is not NULL; data is its values then
    const int64_t *row_starts
    const int32_t *columns  # sorted and different in each row
    Py_ssize_t row_entries  # the largest number of entries of a row


cdef struct Params:
    # W (rows, outputs) and W0 (outputs) of a Linear; G and B of a BatchNorm, with one row
    Py_ssize_t rows
    char *w                # in use: the packed copy or the user's memory
    char *w0
    Py_ssize_t row_stride, width
    bint transposed        # w holds W transposed; used for narrow layers at batch size 1
    char *packed_w
    char *packed_w0
    char *panels           # W packed for products, of a frozen network; may be NULL
    char *state[2]         # the optimizer's arrays for w and w0
    char *state0[2]
    char *packed_state[2]
    char *packed_state0[2]


cdef struct NormState:
    # a BatchNorm's; all but norm have one entry per feature
    char *norm             # (batch, row_stride), the normalised inputs
    char *mean             # over the batch
    char *var
    char *running_mean
    char *running_var
    char *g_grad
    char *b_grad
    double eps, momentum
    bint running           # has running statistics


cdef struct DropoutState:
    uint64_t key, count    # count: forward passes before this call
    uint32_t threshold
    double scale


cdef struct Layer:
    int kind               # LINEAR, ACTIVATION or one of special.pxi
    nn_activation activation
    Py_ssize_t inputs, outputs
    Py_ssize_t width       # outputs rounded up to whole vectors
    Py_ssize_t row_stride  # of a and grad
    char *z                # (batch, row_stride) activation inputs; a unless training needs both
    char *a                # (batch, row_stride) activation outputs
    char *grad             # (batch, row_stride) dL/dz
    char *w_gradient       # as w and w0; for samples as columns, or to be clipped
    char *b_gradient
    char *b_lost           # its rounding errors
    bint fixed_bias        # W0 is not trained
    Params params
    NormState norm
    DropoutState drop


cdef struct Network:
    # immutable after construction
    const nn_kernels *k
    Layer *layers
    Py_ssize_t n_layers, itemsize, inputs, outputs, n_weights
    Py_ssize_t x_stride    # of samples as rows
    Py_ssize_t widest      # the largest layer width
    int type_number, loss
    bint trains
    bint plain_nll         # NLL's gradient is a - y for any labels, as for a loss of the user's own
    bint has_special       # a layer of special.pxi
    bint has_norm


cdef struct LabelRule:
    # what a loss makes of the labels: smoothed, then weighted by class; see adjust_labels
    bint adjusted
    double smoothing
    const double *weights  # (outputs), or NULL


cdef struct LossTerms:
    # the loss of sample j is label_gap[j] + label_sum[j] log(1 + exp_rest[j])
    char *label_gap
    char *label_sum
    char *exp_rest
    double *losses         # per sample


cdef struct Workspace:
    # memory; its size depends on the network, the batch and the number of threads
    nn_buffer weights_buffer
    nn_buffer panels_buffer
    nn_buffer batch_buffer
    nn_buffer state_buffer
    Py_ssize_t capacity    # in samples
    int n_threads
    char *x_rows           # (capacity, x_stride)
    char *y_rows           # (capacity, outputs)
    char *bias_grad        # (n_threads, widest)
    char *gemm             # packing memory, gemm_bytes per thread
    Py_ssize_t gemm_bytes
    char *columns          # a slice of samples as columns, column_bytes per thread
    Py_ssize_t column_bytes
    LossTerms terms


cdef struct Columns:
    # a slice of samples as columns, in a thread's memory
    nn_columns call
    nn_column_layer[COLUMN_LAYERS] layers
    Py_ssize_t count
    char *x                # (inputs, padded)
    char *y                # (outputs, padded)
    char *gap              # terms of the losses
    char *sum
    char *rest
    char *workspace


cdef struct Optimizer:
    bint active            # False: plain SGD without a penalty
    nn_rule rule
    double decay           # AdamW's weight decay
    Py_ssize_t n_states    # arrays of state per weight
    char *gradient         # a block of gradient rows, gradient_bytes per thread
    Py_ssize_t gradient_bytes
    double *squares        # sum of squares of each row of all W
    double state_bound[2]  # on the entries of each state array
    int64_t updates        # steps before this chunk
    bint clips             # gradients are stored whole and clipped, see clipping.pxi
    double clip_value      # of every entry; infinity: no bound
    double clip_norm       # of all gradients; infinity: no bound
    double clip_factor     # of the current step
    double *gradient_squares  # sum of squares of each row of all gradients


cdef struct Objective:
    # how losses and gradients enter a step of fit; changed by Program.set_objective
    bint differs           # from nncore's own: the special paths do not compute it
    double loss_factor     # of each sample's loss; the penalty is apart
    double gradient_factor
    double loss_parameter  # of NN_SHAPED_LOSSES and NN_PARAMETRIC_LOSSES
    bint clips             # NLL takes probabilities in [eps, 1 - eps] only
    bint l2_per_weight     # the penalty is divided by the batch's sum of weights
    double l2              # its factor then
    bint plain_root        # Adam adds eps to the root of the uncorrected second moment
    bint continues         # non-finite values do not end a run
    bint short_calls       # calls on a few samples use the weights where they are
    const double *weights  # of the samples, or NULL
    bint weighted_mean     # a mean is divided by the batch's sum of weights, not by its size
    Py_ssize_t skipped     # steps of this chunk with weights that sum to 0, which are not taken


cdef struct Lookahead:
    # K = LOOKAHEAD_STEPS consecutive steps that share a pass over the first layer's W, see
    # lookahead.h
    const void *samples[LOOKAHEAD_STEPS]  # as rows, in the user's memory or in x
    char *x
    char *next             # (inputs, K) samples of this block as columns
    char *old              # those of the previous block
    char *gram             # (K, K) Gram matrix, negative
    char *z                # (K, width) products of the samples with W from before the block
    char *steps            # (K, width)
    int step               # current step of the block, -1 outside blocks
    bint pending           # the last block's update of W has not been carried out
    bint has_product       # z holds the coming sample's product with W, W0 included


cdef struct Fused:
    # for the fused kernels of small networks
    int refusal            # the reason against them, or ACCEPTED
    bint listed_only       # refused for the size of the first W, which sparse matrices allow
    nn_fused_layer *layers  # NULL if refused
    nn_buffer buffer
    char *x                # FUSED_BLOCK samples, if the data cannot be read in place
    char *y
    int32_t *nonzero_index  # of a sample and of the next one
    int64_t *ordinals      # 0, 1, 2, ...: sample indices of a gathered block
    char *logits           # of a block of steps
    LossTerms terms        # likewise
    nn_rule *rules
    double *squares
    Py_ssize_t lanes
    int width_index        # 0, 1, 2: vectors of 16, 32, 64 bytes


cdef struct Sparse:
    # inputs that are mostly zeros
    bint skips_zeros       # zeros may be skipped in this chunk
    int32_t *nonzero_index  # batch size 1: indices of the sample's non-zeros
    Py_ssize_t n_nonzero   # their number, 0 if the sample is dense
    bint wanted            # batches: allocate CSR rows
    Py_ssize_t capacity    # in samples
    nn_csr by_sample       # the batch
    nn_csr by_input        # its transpose
    double *largest_input  # per sample, max |x|
    # a CSR Source: the batch's entries by input, those of input k from input_starts[k] on
    # to input_ends[k] - 1
    Py_ssize_t *input_starts
    Py_ssize_t *input_ends
    int32_t *entry_rows    # row in the batch of each entry
    double *entry_values
    Py_ssize_t row_entries  # room: so many entries per sample


cdef struct Batch:
    # samples that pass the layers together: a mini-batch or a thread's partition of one
    Py_ssize_t first       # first row of z, a and grad
    Py_ssize_t size
    char *gemm             # packing memory
    const char *x          # (size, x_stride) samples as rows
    Py_ssize_t x_stride
    const char *y          # (size, y_stride), or with y_index rows of the Source
    Py_ssize_t y_stride
    const int64_t *y_index  # rows of y that belong to the samples; NULL: in order
    char *outputs          # contiguous rows for the last softmax's outputs; NULL: in place
    bint csr               # the samples are rows of sparse.by_sample instead of x
    const int64_t *listed  # the samples are these rows of the Source, a CSR matrix; or NULL


cdef struct Run:
    # one chunk of steps
    const Source *x
    const Source *y
    const int64_t *indices  # of the samples
    Py_ssize_t n_samples, batch_size
    const double *rates    # one per step
    bint mean              # divide the gradient by the batch size
    bint checks_data       # report non-finite samples
    bint checks_weights    # report non-finite weights after each step
    nn_total total         # the loss summed over the samples so far
    int status
    Py_ssize_t offset      # of the current step in the chunk
    Py_ssize_t steps_before  # of the call, before this chunk


cdef struct Step:
    # shared by the partitions of one half of a mini-batch step
    Run *run
    const int64_t *indices
    Batch batch
    double eta
    bint stores            # second half: gradients are stored, to be clipped
    bint updates           # second half: the update
    double weight          # what a mean is divided by: the batch size or its sum of weights
    bint accumulates       # the update adds to a gradient instead of changing weights
    int n_partitions


cdef struct Call:
    # the call that a plan is made for
    int kind               # CALL_SGD, CALL_FIT, CALL_PREDICT
    Py_ssize_t n_samples   # read by the call
    Py_ssize_t n_columns   # of X; of the samples probed, for a Window
    Py_ssize_t batch_size
    bint labelled          # a prediction with labels, whose losses are wanted
    bint python_rate       # a Python function gives the rate of each step
    bint live              # weights of any size are used in the user's memory
    const int64_t *indices  # of the samples; NULL: all in order


cdef struct Plan:
    # how a call runs: set once by plan_call, changed only by plan_demote
    int call
    int stepper
    int n_threads
    bint in_place          # weights are updated in the user's memory, not on packed copies
    bint nonzeros          # batch size 1: sparse samples are read through their non-zero index
    bint csr               # batches enter the first layer as CSR rows
    int transposes         # which layers hold W transposed: TRANSPOSE_NONE, ...
    Py_ssize_t chunk, chunk_multiple
    int n_reasons
    int reasons[MAX_REASONS]


cdef struct Engine:
    Network net
    LabelRule labels
    Workspace ws
    Optimizer opt
    Objective objective
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
    double weight_bound    # on |w| over all weights in place; negative: not computed yet


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
    COLUMN_MINIBATCH
    FUSED_MINIBATCH
    MINIBATCH
    COLUMN_PREDICTION
    PREDICTION
    N_STEPPERS


cdef enum:
    CALL_SGD
    CALL_FIT
    CALL_PREDICT


cdef enum:
    # Plan.transposes
    TRANSPOSE_NONE
    TRANSPOSE_NARROW       # narrow layers but the first
    TRANSPOSE_ALL          # all layers but the first, in the fused layout


cdef enum Reason:
    # reasons against a stepper; the texts are in REASONS
    ACCEPTED
    OTHER_CALL
    TOO_LARGE
    INNER_LAYERS
    PYTHON_RATE
    FIRST_LAYER
    MANY_WEIGHTS
    SPECIAL_LAYERS
    SINGLE_SAMPLES
    OPTIMIZER
    THREADS_GAIN
    CSR_GAINS
    NARROW_ROWS
    OBJECTIVE
    CLIPS
    SAMPLE_WEIGHTS
    FIXED_BIAS
    LISTED
    NON_FINITE
