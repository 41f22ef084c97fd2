# The network program: a chain of stages trained and run without Python, whatever the layers' sizes.
#
# Design
# - A stage is an optional Linear and an activation, or in training a BatchNorm or a Dropout (own_stages.pxi).
# - Samples are rows inside: activations are (batch, width) row-major, W (m, n) row-major, so every pass runs along W's rows. `width`
#   is n rounded up to whole vectors; padding of W, biases and gradients is zero and stays zero.
# - The user's W and W0 are the truth whenever Python can run: `bind` reads them into the padded copies, `sync` writes them back.
#   Where a user's rate function runs at every step, the stages point at the user's own memory instead and nothing is copied.
# - Training runs in chunks of about CHUNK_SECONDS between looks at signals; a chunk always ends after a whole step, and the
#   random draws of a chunk are made at its start, so the generator is right whenever Python code runs.
# - No kernel knows about stages; no stage knows about data types: pointers are bytes, and the table of leaf kernels is that of
#   the network's type.

# From so many bytes on, weights are used where they are instead of copied at each look at signals; from four times as many where each
# sample is a step, which the copies' alignment makes faster (measured with 784-2048-10, 2000-3000-500-10, 1024-4096-4096-1000).
cdef Py_ssize_t IN_PLACE_BYTES = 1 << 22
cdef double FLOAT_LIMIT = 8e37, DOUBLE_LIMIT = 4e307  # below the largest numbers of the types by more than a step's rounding
cdef double CHUNK_SECONDS = 0.04
cdef double FIRST_FLOPS = 5e7       # for each lane: a first chunk of some milliseconds, on slow processors of a tenth of a second
# If the OS preempts a helper thread, closing the region can stall for milliseconds, so small regions are not parallelised.
cdef double FLOPS_A_REGION = 1e8
LOSSES = {None: NN_NO_LOSS, "nll": NN_NLL, "binary_nll": NN_BINARY_NLL, "squared": NN_SQUARED, "hinge": NN_HINGE}
ACTIVATIONS = {
    "none": NN_NONE, "tanh": NN_TANH, "relu": NN_RELU, "sigmoid": NN_SIGMOID, "softmax": NN_SOFTMAX, "output_sigmoid": NN_OUTPUT_SIGMOID,
}


cdef struct Stage:
    Py_ssize_t inputs, outputs
    Py_ssize_t width       # outputs rounded up to whole vectors
    Py_ssize_t row         # distance between rows of a and grad
    int linear, activation
    int own                # OWN_NORM, OWN_DROPOUT: instead of Linear and activation
    Py_ssize_t w_rows      # of w: inputs of a Linear, 1 of a BatchNorm, whose G and B are w and w0; else 0
    char *own_w            # padded copies (w_rows, width), (width)
    char *own_w0
    char *w                # what the kernels use: the copies, or the user's memory
    char *w0
    Py_ssize_t w_row, w_width
    bint turned            # whether w is the copy of W's columns instead, w_row apart: of narrow layers, for one sample a step
    char *own_state[2]     # the optimiser's arrays for w and w0: padded copies, and what the kernels use
    char *own_state0[2]
    char *state[2]
    char *state0[2]
    char *a                # (batch, row) outputs of the activation
    char *grad             # (batch, row) gradient of the loss with respect to the activation's input
    char *norm             # BatchNorm: (batch, row) normalised inputs; by features the batch's mean and variance, the running ones,
    char *mean             # and the gradients of G and B
    char *var
    char *running_mean
    char *running_var
    char *g_grad
    char *b_grad
    double eps, momentum
    bint running           # whether it keeps running statistics
    uint64_t key, counted  # Dropout: its key, and the forwards before this call
    uint32_t threshold
    double scale


cdef struct Batch:
    # samples that go through the network together: a mini-batch, or one thread's share of it
    Py_ssize_t first       # their first row of a and grad
    Py_ssize_t size
    char *work             # room for packed blocks of a matrix product
    const char *x          # (size, x_row): samples as rows
    Py_ssize_t x_row
    const char *y          # (size, y_row)
    Py_ssize_t y_row
    char *outputs          # rows that a softmax in the last stage writes to, packed, or NULL: in place of its logits
    bint lists             # the samples stand as lists in by_sample instead (sparse.pxi)


cdef extern from "team.h":
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


cdef extern from "spare.h":
    ctypedef struct nn_block:
        char *memory
        size_t bytes
    Py_ssize_t NN_FENCE
    void nn_fence(char *, size_t)
    size_t SPARE_MOST
    nn_block nn_take(size_t)
    void nn_give(nn_block)


cdef void give(nn_block block) noexcept:
    """nn_give; other Python threads run while a block too large to be kept is freed (400 MB of small pages: 0.1 s)."""
    if block.bytes <= SPARE_MOST:
        nn_give(block)
        return
    with nogil:
        free(block.memory)


cdef struct Step:
    # what the pieces of one part of a mini-batch step have in common
    const Source *x_source
    const Source *y_source
    const int64_t *indices
    Batch batch
    double eta
    bint look_at_data
    bint updates           # the second part of the step
    int shares


cdef struct Run:
    # blocks of samples to predict
    void *program
    const Source *x
    const Source *y        # NULL without losses
    Py_ssize_t at, samples
    char *p
    double *out


cdef enum Found:
    # what was not finite
    NOTHING = 0
    LOSS = 1
    WEIGHTS = 2
    DATA = 4
    UNSURE = 8             # whether the weights stay finite must be seen


cdef struct Source:
    # an array of samples as columns, read sample by sample into rows of the network's type
    const char *data
    Py_ssize_t features, sample_stride, feature_stride  # strides in bytes
    int type
    bint direct            # samples are contiguous and of the network's type: no copy


cdef class Program:
    """A Sequential of library modules, compiled. Built by nncore.training, which has checked what it is given."""

    cdef const nn_kernels *k
    cdef Stage *stages
    cdef Py_ssize_t count, itemsize, capacity, inputs, x_row, outputs, widest, weights, memory_used
    cdef int type_number, loss
    cdef bint trains, in_user_memory, frozen
    cdef bint plain                 # whether NLL's gradient is a - y whatever the labels of a sample sum to
    cdef nn_block weights_memory
    cdef nn_block batch_memory
    cdef char *x_rows
    cdef char *y_rows
    cdef char *first_step           # η times the gradient of the first layer's logits
    cdef int32_t *rows              # places of the sample's inputs that are not zero
    cdef Py_ssize_t listed
    cdef bint lists, skips_zeros, blocks
    cdef bint turns                 # whether narrow layers are held by columns
    cdef const void *block_samples[NN_BLOCK_STEPS]  # sgd_block.h: samples as rows, where they are or in
    cdef char *block_x
    cdef char *block_next           # and as columns, for this block and the one before,
    cdef char *block_old
    cdef char *block_gram           # their products with each other, negative, (K, K)
    cdef char *block_z              # their products with W as it was before the block, (K, width)
    cdef char *block_steps          # the steps, (K, width)
    cdef int block_at               # the block's step being done, or -1 outside blocks
    cdef bint block_waits           # the last block's update of W is still to be done
    cdef char *bias_grad
    cdef char *work                 # packed blocks of a matrix product
    cdef char *gap
    cdef char *weight
    cdef char *rest
    cdef double *losses
    cdef nn_small_layer *small      # the layers as sgd_small.h wants them, or NULL where the network does not fit
    cdef nn_block small_memory
    cdef char *small_x              # a block of samples, where the data cannot be read in place
    cdef char *small_y
    cdef int32_t *small_places      # of the inputs that are not zero of a sample and the next
    cdef int64_t *ordinals          # 0, 1, 2, ...: their places in the block
    cdef Py_ssize_t small_lanes, work_bytes
    cdef int threads, found
    cdef int helpers                # invited to the open parallel region
    cdef double weight_bound        # of |w| over all weights, where they are trained in the user's memory
    cdef nn_team team
    cdef Step step
    cdef bint small_batches         # whether this call's batches go the way of batch_small.h
    cdef int small_width            # index of the vector width among 16, 32, 64 bytes
    cdef bint optimizes             # by self.rule instead of plain SGD
    cdef nn_rule rule
    cdef double decay               # Adam's decay of the weights
    cdef Py_ssize_t state_count     # arrays of state a weight
    cdef list states
    cdef nn_block state_memory
    cdef char *gradient             # a block of rows of a gradient, for each thread
    cdef Py_ssize_t gradient_bytes
    cdef double *squares            # sums of the squares of the rows of all W
    cdef double[2] state_bound      # of the state's entries, as weight_bound
    cdef public object optimizer    # whose t counts the steps, or None
    cdef int64_t updates            # steps that the optimiser has made before
    cdef Py_ssize_t pace, paced_size  # steps a chunk that the last fit has found right, with batches of that size
    cdef readonly Py_ssize_t steps  # whole steps that the last sgd or fit has done, also where it ended in an error
    cdef readonly double total      # the loss summed over the samples of these steps, of fit
    cdef Py_ssize_t ahead           # steps of this chunk before the one being done
    cdef bint has_own, has_norm     # whether a stage is a BatchNorm or a Dropout; a BatchNorm
    cdef readonly bint sparse       # whether the last call found its samples to be mostly zeros
    cdef bint uses_lists            # and this chunk takes them as lists
    cdef bint wants_lists           # whether there shall be room for them
    cdef Py_ssize_t lists_room      # the samples there is room for, in
    cdef nn_lists by_sample, by_input
    cdef double *largest_input      # of each sample of the batch, where it is asked for
    cdef list owners      # (module, name of w, name of w0) of each stage with weights
    cdef list own_modules  # (stage, BatchNorm or Dropout)
    cdef list arrays      # the user's W and W0 as last bound, kept alive
    cdef list statistics  # the user's running means and variances as last bound
    cdef dict sources     # prepared data of this program's lifetime (one call of the layer API)

    def __cinit__(self, list stages, loss, dtype, inputs, plain=False):
        cdef Py_ssize_t i, width, lanes
        cdef Stage *s
        self.type_number = cnp.NPY_FLOAT if np.dtype(dtype) == np.float32 else cnp.NPY_DOUBLE
        self.k = kernels_for(self.type_number)
        self.itemsize = self.k.itemsize
        lanes = self._choose_small(stages, loss)
        self.count = len(stages)
        self.loss = LOSSES[loss]
        self.trains = loss is not None
        self.plain = plain
        self.stages = <Stage *>calloc(max(self.count, 1), sizeof(Stage))
        if self.stages == NULL:
            raise MemoryError()
        self.owners, self.own_modules, self.arrays, self.statistics, self.sources = [], [], [], [], {}
        self.inputs = width = inputs
        for i, (module, activation) in enumerate(stages):
            s = &self.stages[i]
            s.inputs = s.outputs = width
            if activation in OWN:
                add_own_stage(self, i, module, activation)
            else:
                s.activation = ACTIVATIONS[activation]
                s.linear = module is not None
            if s.linear:
                s.inputs, s.outputs = module.W.shape
                s.w_rows = s.inputs
                self.owners.append((module, "W", "W0"))
                self.weights += s.inputs * s.outputs
            if s.inputs != width:
                raise ValueError(f"stage {i} must take {width} inputs, got {s.inputs}")
            width = s.outputs
            s.width = (width + lanes - 1) // lanes * lanes
            s.row = self._row(s.width)
        self.outputs = width
        self.x_row = self._row(inputs)
        for i in range(self.count):
            self.widest = max(self.widest, self.stages[i].width)
        self.threads = 1
        self.block_at = -1
        self._allocate_weights()
        if self.small_lanes:
            self._allocate_small()

    def __dealloc__(self):
        free(self.stages)
        free(self.small)
        give(self.small_memory)
        give(self.weights_memory)
        give(self.batch_memory)
        give(self.state_memory)

    # -------------------------------------------------------------------------------------------- memory

    cdef Py_ssize_t _row(self, Py_ssize_t n):
        """A distance between rows of n elements at which rows do not share a few sets of the caches: an odd number of cache lines."""
        cdef Py_ssize_t line = 64 // self.itemsize
        return n if n <= line or n % (2 * line) else n + line

    cdef char *_carve(self, char *base, Py_ssize_t bytes_):
        """The next piece of a block, on a cache line of its own; with base NULL only counts."""
        cdef Py_ssize_t at = self.memory_used
        self.memory_used += (bytes_ + 63) // 64 * 64 + NN_FENCE
        if base == NULL:
            return NULL
        nn_fence(base + at + bytes_, self.memory_used - at - bytes_)
        return base + at

    cdef char *_block(self, nn_block *block) except NULL:
        """Zeroed memory for what _carve has counted, on a cache line's boundary; counting starts anew."""
        block[0] = nn_take(self.memory_used + 64)
        if block.memory == NULL:
            raise MemoryError(f"to run this network takes {self.memory_used} bytes, which are not available")
        self.memory_used = 0
        return block.memory + (64 - <size_t>block.memory % 64) % 64

    cdef void _lay_out_weights(self, char *base):
        cdef Py_ssize_t i
        cdef Stage *s
        for i in range(self.count):
            s = &self.stages[i]
            if s.w_rows:
                s.own_w = self._carve(base, max(s.w_rows * s.width, s.outputs * self._turned_row(s)) * self.itemsize)
                s.own_w0 = self._carve(base, s.width * self.itemsize)
            if s.own == OWN_NORM:
                lay_out_norm(self, s, base)

    cdef inline Py_ssize_t _turned_row(self, const Stage *s) noexcept:
        """The inputs in whole vectors."""
        return (s.w_rows + self.k.lanes - 1) // self.k.lanes * self.k.lanes

    cdef int _allocate_weights(self) except -1:
        self.memory_used = 0
        self._lay_out_weights(NULL)
        self._lay_out_weights(self._block(&self.weights_memory))
        return 0

    cdef void _lay_out_batch(self, char *base, Py_ssize_t batch):
        cdef Py_ssize_t i, widest = self.widest, work = 0
        cdef char *at
        cdef Stage *s
        for i in range(self.count):
            s = &self.stages[i]
            if s.linear and (batch > 1 or self.optimizes):
                work = max(work, self.k.product_work(s.width, s.inputs), self.k.product_work(s.width, batch))
                if i > 0:
                    work = max(work, self.k.product_work(self.stages[i - 1].width, s.outputs))
            s.a = self._carve(base, batch * s.row * self.itemsize)
            if self.trains:
                s.grad = self._carve(base, batch * s.row * self.itemsize)
            if s.own == OWN_NORM:
                s.norm = self._carve(base, batch * s.row * self.itemsize)
        self.x_rows = self._carve(base, batch * self.x_row * self.itemsize)
        self.y_rows = self._carve(base, batch * self.outputs * self.itemsize)
        if self.trains:
            self._lay_out_block(base)
        lay_out_lists(self, base, batch)
        self.bias_grad = self._carve(base, self.threads * widest * self.itemsize)
        if self.optimizes:
            lay_out_gradients(self, base)
        self.work_bytes = (work + 63) // 64 * 64 + NN_FENCE
        for i in range(self.threads):
            at = self._carve(base, work)
            self.work = at if i == 0 else self.work
        self.gap = self._carve(base, batch * self.itemsize)
        self.weight = self._carve(base, batch * self.itemsize)
        self.rest = self._carve(base, batch * self.itemsize)
        self.losses = <double *>self._carve(base, batch * sizeof(double))

    cdef void _lay_out_block(self, char *base):
        cdef Py_ssize_t samples = NN_BLOCK_STEPS * self.inputs * self.itemsize
        cdef Py_ssize_t vectors = NN_BLOCK_STEPS * self.stages[0].width * self.itemsize
        self.first_step = self._carve(base, self.stages[0].width * self.itemsize)
        self.rows = <int32_t *>self._carve(base, (self.inputs + 16) * sizeof(int32_t))
        self.block_x, self.block_next, self.block_old = self._carve(base, samples), self._carve(base, samples), self._carve(base, samples)
        self.block_z, self.block_steps = self._carve(base, vectors), self._carve(base, vectors)
        self.block_gram = self._carve(base, NN_BLOCK_STEPS * NN_BLOCK_STEPS * self.itemsize)

    cdef Py_ssize_t _first_chunk(self, Py_ssize_t samples) noexcept:
        """Steps of so many samples to begin with."""
        return max(1, <Py_ssize_t>(FIRST_FLOPS * self.k.lanes / (6.0 * samples * max(self.weights, 1))))

    cdef int _use_threads(self, int threads) except -1:
        """Share the work of a batch among so many."""
        if threads > self.threads:
            self.capacity = 0
        self.threads = threads
        return 0

    cdef int _reserve(self, Py_ssize_t batch) except -1:
        """Room for batches of this size."""
        if batch <= self.capacity:
            return 0
        give(self.batch_memory)
        self.batch_memory.memory = NULL
        self.capacity = 0
        self.memory_used = 0
        self._lay_out_batch(NULL, batch)
        self._lay_out_batch(self._block(&self.batch_memory), batch)
        self.capacity = batch
        return 0

    # -------------------------------------------------------------------------------------------- the special path of sgd_small.h

    cdef Py_ssize_t _choose_small(self, list stages, loss) except -1:
        """Lanes to pad rows to: those of the narrowest vector that holds a layer, where every layer fits SMALL_VECTORS of the widest."""
        cdef Py_ssize_t widest = 0, lanes
        self.small_lanes = 0
        cdef int outputs = 0
        for linear, a in stages:
            if linear is None or a in OWN:
                return self.k.lanes
            outputs += a in ("softmax", "output_sigmoid")
        if loss != "nll" or outputs != 1:
            return self.k.lanes
        for linear, _ in stages:
            widest = max(widest, linear.W.shape[1])
        if widest > SMALL_VECTORS * self.k.lanes or stages[0][0].W.size * self.itemsize > SMALL_BYTES:
            return self.k.lanes
        self.small_width, lanes = 0, 16 // self.itemsize
        while lanes < widest and lanes < self.k.lanes:
            self.small_width += 1
            lanes *= 2
        self.small_lanes = lanes
        return lanes

    cdef void _lay_out_small(self, char *base):
        cdef Py_ssize_t i
        cdef Stage *s
        for i in range(self.count):
            s = &self.stages[i]
            self.small[i].m, self.small[i].n, self.small[i].vectors = s.inputs, s.outputs, s.width // self.small_lanes
            self.small[i].activation = s.activation
            self.small[i].w, self.small[i].b = s.own_w, s.own_w0
            self.small[i].a = self._carve(base, s.width * self.itemsize)
            self.small[i].dz = self._carve(base, s.width * self.itemsize)
            self.small[i].step = self._carve(base, s.width * self.itemsize)
            if i > 0:
                self.small[i].wt = self._carve(base, s.outputs * self.stages[i - 1].width * self.itemsize)

        self.small_x = self._carve(base, SMALL_BLOCK * self.inputs * self.itemsize)
        self.small_y = self._carve(base, SMALL_BLOCK * self.outputs * self.itemsize)
        self.small_places = <int32_t *>self._carve(base, 2 * (self.inputs + 16) * sizeof(int32_t))
        self.ordinals = <int64_t *>self._carve(base, SMALL_BLOCK * sizeof(int64_t))

    cdef int _allocate_small(self) except -1:
        cdef Py_ssize_t i
        self.small = <nn_small_layer *>calloc(self.count, sizeof(nn_small_layer))
        if self.small == NULL:
            raise MemoryError()
        self.memory_used = 0
        self._lay_out_small(NULL)
        self._lay_out_small(self._block(&self.small_memory))
        for i in range(SMALL_BLOCK):
            self.ordinals[i] = i
        return 0

    cdef bint _run_small(self, const Source *x, const Source *y, const int64_t *draws, Py_ssize_t steps,
                         const double *rates) noexcept nogil:
        """Steps of one sample each on the bound copies. False when a logit was not finite; the copies are then void."""
        cdef nn_small call
        cdef Py_ssize_t at = 0
        self._turn_small()
        call.count, call.layers, call.places = self.count, self.small, self.small_places if self.skips_zeros else NULL
        call.plain = self.plain
        while at < steps:
            call.steps = min(steps - at, SMALL_BLOCK)
            call.rates = rates + at
            call.draws = draws + at
            if x.direct and y.direct:
                call.x, call.x_row = x.data, x.sample_stride // self.itemsize
                call.y, call.y_row = y.data, y.sample_stride // self.itemsize
            else:
                self._gather(x, draws + at, call.steps, self.small_x, self.inputs)
                self._gather(y, draws + at, call.steps, self.small_y, self.outputs)
                call.x, call.x_row, call.y, call.y_row, call.draws = self.small_x, self.inputs, self.small_y, self.outputs, self.ordinals
            if not self.k.sgd_small[self.small_width](&call):
                return False
            at += call.steps
        return True

    cdef void _turn_small(self) noexcept nogil:
        """The transposes of the weights as they are now."""
        cdef Py_ssize_t i
        for i in range(1, self.count):
            self.k.transpose(self.stages[i].inputs, self.stages[i].outputs, self.stages[i].own_w, self.stages[i].width, self.small[i].wt,
                             self.stages[i - 1].width)

    cdef void _open_small_batches(self) noexcept:
        """Tell the kernels of batch_small.h where the batch's activations and gradients are."""
        cdef Py_ssize_t i
        for i in range(self.count):
            self.small[i].rows_a, self.small[i].rows_dz, self.small[i].row = self.stages[i].a, self.stages[i].grad, self.stages[i].row

    cdef int _small_gradients(self, const Step *step, nn_small_batch *call) noexcept nogil:
        """_gradients of a small network, but for those that small_update takes. Returns what is not finite; of data in their own memory
        this is left to the loss and the weights, where it shows: any product with NaN or infinity is neither finite nor 0."""
        cdef Batch batch = step.batch
        cdef const Source *x = step.x_source
        cdef const Source *y = step.y_source
        cdef bint finite = True
        call.count, call.batch, call.layers, call.eta = self.count, batch.size, self.small, step.eta
        if x.direct:
            call.x, call.x_row, call.draws = x.data, x.sample_stride // self.itemsize, step.indices
        else:
            finite = self._gather(x, step.indices, batch.size, self.x_rows, self.x_row, step.look_at_data)
            call.x, call.x_row, call.draws = self.x_rows, self.x_row, NULL
        if not (self._gather(y, step.indices, batch.size, self.y_rows, self.outputs, step.look_at_data and not y.direct) and finite):
            return DATA
        self.k.small_forward[self.small_width](call)
        return NOTHING if self._output_gradient(&batch, True) else LOSS

    # -------------------------------------------------------------------------------------------- the user's arrays

    cdef cnp.ndarray _weights(self, str name, object x, Py_ssize_t rows, Py_ssize_t columns, bint written):
        """The user's array as it is now; Python code may have put another one in its place since."""
        if (not behaved(x, self.type_number) or cnp.PyArray_NDIM(<cnp.ndarray>x) != 2
                or cnp.PyArray_DIM(<cnp.ndarray>x, 0) != rows or cnp.PyArray_DIM(<cnp.ndarray>x, 1) != columns
                or (written and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>x))):
            given = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            wanted = f"{np.dtype(dtype_of(self.type_number))} array of shape ({rows}, {columns})"
            raise ValueError(f"{name} must stay a writeable {wanted} while its network runs, got {given}")
        return <cnp.ndarray>x

    cdef int _bind(self, bint written) except -1:
        """Read the weights: copy them into the padded rows, or point at the user's memory where its rows allow."""
        cdef Py_ssize_t i, j = 0
        cdef Stage *s
        cdef cnp.ndarray w, w0
        cdef list arrays = []
        for i in range(self.count):
            s = &self.stages[i]
            if not s.w_rows:
                continue
            owner, of_w, of_w0 = self.owners[j]
            j += 1
            if s.linear:
                w = self._weights(of_w, getattr(owner, of_w), s.inputs, s.outputs, written)
            else:
                w = self._weights(of_w, getattr(owner, of_w), s.outputs, 1, written).T
            w0 = self._weights(of_w0, getattr(owner, of_w0), s.outputs, 1, written)
            arrays.append((w, w0))
            s.turned = False
            if self.in_user_memory and along(w, 1) and along(w0, 0):
                s.w, s.w_row, s.w0, s.w_width = <char *>cnp.PyArray_DATA(w), step(w, 0), <char *>cnp.PyArray_DATA(w0), s.outputs
                continue
            s.w, s.w_row, s.w0, s.w_width = s.own_w, s.width, s.own_w0, s.width
            s.turned = (self.turns and i > 0 and s.linear and s.outputs <= TURNED_VECTORS * self.k.lanes
                        and s.inputs >= 2 * self.k.lanes)
            if s.width != s.outputs:  # an earlier run that was not finite may have left NaN in the padding
                clear(s.w, s.w_rows * s.width * self.itemsize)
                memset(s.w0, 0, s.width * self.itemsize)
            if s.turned:
                w, s.w_row = w.T, self._turned_row(s)
            convert(s.w, s.w_row, self.type_number == cnp.NPY_DOUBLE, s.outputs if s.turned else s.w_rows,
                       s.w_rows if s.turned else s.outputs, <char *>cnp.PyArray_DATA(w), cnp.PyArray_STRIDE(w, 0), cnp.PyArray_STRIDE(w, 1),
                       NN_F64 if self.type_number == cnp.NPY_DOUBLE else NN_F32)
            convert(s.w0, s.width, self.type_number == cnp.NPY_DOUBLE, 1, s.outputs, <char *>cnp.PyArray_DATA(w0),
                       0, cnp.PyArray_STRIDE(w0, 0), NN_F64 if self.type_number == cnp.NPY_DOUBLE else NN_F32)
        self.arrays = arrays
        if self.has_norm:
            bind_statistics(self)
        return bind_states(self) if self.optimizes else 0

    cdef int _sync(self) except -1:
        """Write the weights back to the arrays they were read from. Allocates nothing: a write-back is never left half done."""
        cdef Py_ssize_t i, j = 0
        cdef Stage *s
        cdef cnp.ndarray w, w0
        cdef bint is_double = self.type_number == cnp.NPY_DOUBLE
        for i in range(self.count):
            s = &self.stages[i]
            if not s.w_rows:
                continue
            w, w0 = self.arrays[j]
            j += 1
            if s.w != s.own_w:
                continue
            write_back(<char *>cnp.PyArray_DATA(w), cnp.PyArray_STRIDE(w, s.turned), cnp.PyArray_STRIDE(w, 1 - s.turned), is_double,
                          s.outputs if s.turned else s.w_rows, s.w_rows if s.turned else s.outputs, s.w, s.w_row)
            write_back(<char *>cnp.PyArray_DATA(w0), 0, cnp.PyArray_STRIDE(w0, 0), is_double, 1, s.outputs, s.w0, s.width)
        if self.has_norm:
            sync_statistics(self)
        return sync_states(self) if self.optimizes else 0

    cdef Source _source(self, str name, object X, Py_ssize_t samples_read) except *:
        """How to read X (features, N). Where many samples are read from rows that run along the samples, X is transposed once:
        a cache line then serves a sample's neighbouring features instead of one."""
        cdef Source source
        cdef cnp.ndarray x
        cdef Py_ssize_t n
        key = (name, id(X))
        if key in self.sources:
            x = self.sources[key][1]
        else:
            x = np.asarray(X)
            if not behaved(x, cnp.PyArray_TYPE(x)) or native_type(x) < 0:
                x = real_array(name, x, self.type_number)
            n = cnp.PyArray_DIM(x, 1)
            if not along(x, 0) and samples_read * TRANSPOSE_SHARE >= n and n > 1:
                x = self._transposed(x)
            self.sources[key] = (X, x)
        source.data = <char *>cnp.PyArray_DATA(x)
        source.features = cnp.PyArray_DIM(x, 0)
        source.feature_stride, source.sample_stride = cnp.PyArray_STRIDE(x, 0), cnp.PyArray_STRIDE(x, 1)
        source.type = native_type(x)
        source.direct = cnp.PyArray_TYPE(x) == self.type_number and along(x, 0)
        return source

    cdef object _transposed(self, cnp.ndarray x):
        cdef cnp.ndarray copy = new_matrix(cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), self.type_number, True)
        convert(cnp.PyArray_DATA(copy), cnp.PyArray_DIM(x, 0), self.type_number == cnp.NPY_DOUBLE, cnp.PyArray_DIM(x, 1),
                   cnp.PyArray_DIM(x, 0), <char *>cnp.PyArray_DATA(x), cnp.PyArray_STRIDE(x, 1), cnp.PyArray_STRIDE(x, 0), native_type(x))
        return copy

    cdef inline const char *_sample(self, const Source *source, Py_ssize_t index, char *room) noexcept nogil:
        """One sample as a contiguous row of the network's type: its own memory, or a copy in room."""
        cdef const char *at = source.data + index * source.sample_stride
        if source.direct:
            return at
        nn_convert(room, 0, self.type_number == cnp.NPY_DOUBLE, 1, source.features, at, 0, source.feature_stride, source.type)
        return room

    cdef bint _gather(self, const Source *source, const int64_t *indices, Py_ssize_t count, char *rows, Py_ssize_t apart,
                      bint look=False) noexcept nogil:
        """Samples as rows of the network's type, so many elements apart. False when one of them is not finite, if it is to be looked at."""
        cdef Py_ssize_t i, row = apart * self.itemsize, bytes_ = source.features * self.itemsize
        cdef const char *at
        cdef bint finite = True
        for i in range(count):
            if i + 1 < count:
                ask_for(source, indices[i + 1])
            at = self._sample(source, indices[i], rows + i * row)
            if look:
                finite = self.k.copy_finite(source.features, at, rows + i * row) and finite
            elif at != rows + i * row:
                memcpy(rows + i * row, at, bytes_)
        return finite

    # -------------------------------------------------------------------------------------------- passes

    cdef void _forward(self, const Batch *batch, bint keep_logits) noexcept nogil:
        """Activations of every stage; the last stage's softmax or sigmoid is left to the loss when keep_logits."""
        cdef Py_ssize_t i, r, b = batch.size, size = self.itemsize
        cdef Stage *s
        cdef const char *x = batch.x
        cdef char *a
        cdef Py_ssize_t x_row = batch.x_row
        cdef nn_product g
        cdef int activation
        for i in range(self.count):
            s = &self.stages[i]
            a = s.a + batch.first * s.row * size
            activation = s.activation
            if activation == NN_SOFTMAX or activation == NN_OUTPUT_SIGMOID:
                activation = NN_NONE
            if s.linear:
                if i == 0 and batch.lists:
                    listed_forward(self, s, batch, a, activation)
                elif b == 1:
                    if i == 0:
                        self._first_forward(s, x, a, activation)
                    elif s.turned:
                        self.k.turned_forward(s.inputs, s.outputs, x, s.w, s.w_row, s.w0, a, activation)
                    else:
                        self.k.row_forward(s.inputs, s.w_width, x, NULL, s.w, s.w_row, s.w0, a, activation)
                else:
                    g.m, g.n, g.k = b, s.w_width, s.inputs
                    g.a, g.a_row, g.a_col = x, x_row, 1
                    g.b, g.b_row, g.b_col, g.work = s.w, s.w_row, 1, batch.work
                    g.c, g.c_row = a, s.row
                    g.epilogue, g.activation = NN_STORE, activation
                    g.bias, g.bias_down_rows = s.w0, 0
                    self.k.product(&g)
            elif s.own:
                own_forward(self, s, batch, x, x_row)
            else:
                for r in range(b):
                    self.k.activate(s.outputs, x + r * x_row * size, a + r * s.row * size, activation)
            if not (keep_logits and i == self.count - 1):
                self._output_units(s, batch)
            x, x_row = a, s.row

    # The first layer at one sample a step. Dense samples go in blocks of steps that share a pass over W (sgd_block.h); of samples that
    # are mostly zeros, only the rows of what is not zero are visited.

    cdef void _first_forward(self, Stage *s, const char *x, char *a, int activation) noexcept nogil:
        cdef char *gram
        if self.block_at >= 0:
            gram = self.block_gram + self.block_at * NN_BLOCK_STEPS * self.itemsize
            self.k.row_forward(self.block_at, s.w_width, gram, NULL, self.block_steps, s.w_width,
                               self.block_z + self.block_at * s.w_width * self.itemsize, a, activation)
        else:
            self.k.row_forward(self.listed or s.inputs, s.w_width, x, self.rows if self.listed else NULL, s.w, s.w_row, s.w0, a, activation)

    cdef void _first_update(self, Stage *s, const char *x, double eta) noexcept nogil:
        if self.block_at >= 0:
            self.k.scaled(s.w_width, s.grad, eta, self.block_steps + self.block_at * s.w_width * self.itemsize)
        else:
            self.k.scaled(s.w_width, s.grad, eta, self.first_step)
            self.k.row_update(self.listed or s.inputs, s.w_width, s.w, s.w_row, x, self.rows if self.listed else NULL, self.first_step)

    cdef void _list_nonzeros(self, const char *x) noexcept nogil:
        """Fill `rows` where the sample x is mostly zeros; listed stays 0 for a dense one."""
        self.listed = self.k.nonzeros(self.inputs, x, self.rows) if self.skips_zeros else self.inputs
        if self.listed > self.inputs * SPARSE_SHARE:
            self.listed = 0
        elif self.listed == 0:  # no input at all: a list of one row, times zero
            self.rows[0] = 0
            self.listed = 1

    cdef bint _open_block(self, const Source *x, const int64_t *draws, Py_ssize_t count) noexcept nogil:
        """Products of a block's samples with W and with each other; zeros take the place of those that a last block lacks. False when the
        steps are better done one by one, as most inputs are 0, or when they must be, as a product is not finite; the last block's updates
        have then been carried out."""
        cdef Stage *s = &self.stages[0]
        cdef Py_ssize_t i, row = self.inputs * self.itemsize, nonzero = 0
        for i in range(count):
            self.block_samples[i] = self._sample(x, draws[i], self.block_x + i * row)
            if self.skips_zeros:
                nonzero += self.k.count_nonzeros(self.inputs, self.block_samples[i])
        for i in range(count, NN_BLOCK_STEPS):
            self.block_samples[i] = memset(self.block_x + i * row, 0, row)
        if ((self.skips_zeros and nonzero <= count * self.inputs * BLOCK_SPARSE_SHARE)
                or not self.k.block_gram(self.inputs, self.block_samples, self.block_gram)):
            self._settle()
            return False
        self.k.sample_columns(self.inputs, self.block_samples, self.block_next)
        self.k.block_pass(s.inputs, s.w_width, s.w, s.w_row, self.block_old if self.block_waits else NULL, self.block_steps,
                          self.block_next, s.w0, self.block_z)
        memset(self.block_steps + count * s.w_width * self.itemsize, 0, (NN_BLOCK_STEPS - count) * s.w_width * self.itemsize)
        self.block_old, self.block_next = self.block_next, self.block_old
        self.block_waits = True
        return True

    cdef void _settle(self) noexcept nogil:
        """Carry out a block's updates of W that are still waiting."""
        cdef Stage *s = &self.stages[0]
        if self.block_waits:
            self.k.block_pass(s.inputs, s.w_width, s.w, s.w_row, self.block_old, self.block_steps, NULL, s.w0, NULL)
            self.block_waits = False

    cdef void _output_units(self, Stage *s, const Batch *batch) noexcept nogil:
        cdef Py_ssize_t r
        cdef char *a = s.a + batch.first * s.row * self.itemsize
        if s.activation == NN_SOFTMAX:
            self._softmax(s, batch, NULL, True)
        elif s.activation == NN_OUTPUT_SIGMOID:
            for r in range(batch.size):
                self.k.activate(s.outputs, a + r * s.row * self.itemsize, a + r * s.row * self.itemsize, NN_SIGMOID)

    cdef void _softmax(self, Stage *s, const Batch *batch, const char *y, bint keeps_outputs) noexcept nogil:
        cdef nn_softmax f
        cdef Py_ssize_t first = batch.first * self.itemsize
        f.batch, f.classes, f.classes_contiguous = batch.size, s.outputs, 1
        f.z, f.z_sample, f.z_class = s.a + first * s.row, s.row, 1
        f.p, f.p_sample, f.p_class = (s.a if keeps_outputs else s.grad) + first * s.row, s.row, 1
        if keeps_outputs and batch.outputs != NULL and s == &self.stages[self.count - 1]:
            f.p, f.p_sample = batch.outputs, s.outputs
        f.y, f.y_sample, f.y_class, f.plain = y, batch.y_row, 1, self.plain
        f.grad, f.grad_sample, f.grad_class = s.grad + first * s.row, s.row, 1
        f.gap, f.weight, f.rest = self.gap + first, self.weight + first, self.rest + first
        self.k.softmax(&f)

    cdef bint _output_gradient(self, const Batch *batch, bint with_losses, bint keeps_outputs=False) noexcept nogil:
        """Gradient of the loss with respect to the last logits; writes the samples' losses, and with keeps_outputs the probabilities of
        a softmax in place of the logits. False: not finite."""
        cdef Stage *s = &self.stages[self.count - 1]
        cdef Py_ssize_t r, size = self.itemsize, first = batch.first * size
        cdef double *losses = self.losses + batch.first
        cdef bint finite = True
        if self.loss == NN_NLL:
            self._softmax(s, batch, batch.y, keeps_outputs)
            if not with_losses:
                return self.k.all_finite(batch.size, self.gap + first) and self.k.all_finite(batch.size, self.rest + first)
            self.k.softmax_losses(batch.size, self.gap + first, self.weight + first, self.rest + first, losses, False)
        else:
            for r in range(batch.size):
                losses[r] = self.k.loss_and_gradient(s.outputs, s.a + first * s.row + r * s.row * size, batch.y + r * batch.y_row * size,
                                                     s.grad + first * s.row + r * s.row * size, self.loss)
        for r in range(batch.size):
            finite = finite and isfinite(losses[r])
        return finite

    cdef int _activation_before(self, Py_ssize_t i) noexcept nogil:
        """The activation whose derivative a gradient meets between stage i and the stage before; output units hand it through."""
        cdef int activation = self.stages[i - 1].activation
        return NN_NONE if activation == NN_SOFTMAX or activation == NN_OUTPUT_SIGMOID else activation

    cdef void _backward(self, const Batch *batch) noexcept nogil:
        """Gradients with respect to every stage's logits, from the last stage to the first."""
        cdef Py_ssize_t i, r, b = batch.size, size = self.itemsize, first = batch.first * size
        cdef Stage *s
        cdef Stage *before
        cdef nn_product g
        for i in range(self.count - 1, 0, -1):
            s, before = &self.stages[i], &self.stages[i - 1]
            if s.linear:
                g.m, g.n, g.k = b, s.inputs, s.outputs
                g.a, g.a_row, g.a_col = s.grad + first * s.row, s.row, 1
                g.b, g.b_row, g.b_col, g.work = s.w, 1, s.w_row, batch.work
                g.c, g.c_row = before.grad + first * before.row, before.row
                g.epilogue, g.activation = NN_DERIVATIVE, self._activation_before(i)
                g.d, g.d_row = before.a + first * before.row, before.row
                self.k.product(&g)
            else:
                for r in range(b):
                    self.k.derive(s.inputs, s.grad + first * s.row + r * s.row * size,
                                  before.a + first * before.row + r * before.row * size,
                                  before.grad + first * before.row + r * before.row * size, self._activation_before(i))
            if before.own:
                own_backward(self, before, batch)

    cdef void _update(self, const Batch *batch, double eta, Py_ssize_t share, Py_ssize_t shares, Py_ssize_t thread) noexcept nogil:
        """W <- W - eta X' dZ and W0 <- W0 - eta sum dZ, in one of so many shares of the rows of every W."""
        cdef Py_ssize_t i, x_row = batch.x_row, low, high
        cdef Stage *s
        cdef const char *x = batch.x
        cdef char *w
        cdef char *bias_grad = self.bias_grad + thread * self.widest * self.itemsize
        cdef nn_product g
        for i in range(self.count):
            s = &self.stages[i]
            if s.linear:
                low, high = s.inputs * share // shares, s.inputs * (share + 1) // shares
                w = s.w + low * s.w_row * self.itemsize
                if i == 0 and batch.lists:
                    turn_lists(self, batch, low, high)
                    listed_gradient(self, s, batch, low, high, w, s.w_row, True, eta)
                else:
                    g.m, g.n, g.k = high - low, s.w_width, batch.size
                    g.a, g.a_row, g.a_col = x + low * self.itemsize, 1, x_row
                    g.b, g.b_row, g.b_col, g.work = s.grad, s.row, 1, self.work + thread * self.work_bytes
                    g.c, g.c_row, g.epilogue, g.eta = w, s.w_row, NN_UPDATE, eta
                    self.k.product(&g)
                if i % shares == share:
                    self.k.sum_rows(batch.size, s.w_width, s.grad, s.row, bias_grad)
                    self.k.subtract_scaled(s.w_width, s.w0, bias_grad, eta)
            elif s.own == OWN_NORM and share == 0:
                update_norm(self, s, batch.size, eta)
            x, x_row = s.a, s.row

    cdef void _sample_back(self, const Batch *sample, double eta) noexcept nogil:
        """The way back for one sample: each stage's weights are updated in the pass that takes the gradient through them."""
        cdef Py_ssize_t i
        cdef int kind
        cdef Stage *s
        cdef Stage *before
        for i in range(self.count - 1, -1, -1):
            s = &self.stages[i]
            before = &self.stages[i - 1] if i > 0 else NULL
            if s.own == OWN_NORM:
                update_norm(self, s, 1, eta)
            if not s.linear:
                if before != NULL:
                    self.k.derive(s.inputs, s.grad, before.a, before.grad, self._activation_before(i))
                    if before.own:
                        own_backward(self, before, sample)
                continue
            if before != NULL:
                kind = self._activation_before(i)
                if s.turned:
                    self.k.turned_backward(s.inputs, s.outputs, s.w, s.w_row, before.a, s.grad, before.grad, kind, eta)
                else:
                    self.k.row_backward(s.inputs, s.w_width, s.w, s.w_row, before.a, s.grad, before.grad, kind, eta)
                if before.own:
                    own_backward(self, before, sample)
            else:
                self._first_update(s, sample.x, eta)
            self.k.subtract_scaled(s.w_width, s.w0, s.grad, eta)

    # -------------------------------------------------------------------------------------------- training

    def use(self, str rule, dict parameters, list states, double l2):
        """Train by another rule than plain SGD: "sgd", "momentum", "nesterov", "adagrad", "rmsprop" or "adam", with its parameters.

        states: for each Linear ((arrays of W's state), (arrays of W0's)), C-contiguous, of the network's type; l2: the penalty's factor.
        """
        use_rule(self, rule, parameters, states, l2)

    cdef Py_ssize_t _run_samples(self, const Source *x, const Source *y, const int64_t *draws, Py_ssize_t steps,
                                 const double *rates) noexcept nogil:
        """Steps of one sample each. Returns the first step (from 1) whose loss is not finite, or 0."""
        cdef Py_ssize_t t = 0, at, together, bad = 0
        cdef const char *sample
        self.block_waits = False
        self.skips_zeros = self.lists and self._weights_finite()  # 0 times an infinite weight is NaN, and would be missed
        while t < steps:
            # blocks begin at multiples of their length, and so do chunks: the bits must not depend on where the clock ends a chunk
            together = min(NN_BLOCK_STEPS, steps - t)
            if self.blocks and t % NN_BLOCK_STEPS == 0 and together >= BLOCK_LEAST and self._open_block(x, draws + t, together):
                for at in range(together):
                    self.block_at = at
                    if t + at + NN_BLOCK_STEPS < steps:
                        ask_for(x, draws[t + at + NN_BLOCK_STEPS])
                    if not self._sample_step(<const char *>self.block_samples[at], y, draws[t + at], rates[t + at]):
                        bad = bad or t + at + 1
                self.block_at = -1
                t += together
            else:
                self._settle()
                self.ahead = t
                sample = self._sample(x, draws[t], self.x_rows)
                self._list_nonzeros(sample)
                if not self._sample_step(sample, y, draws[t], rates[t]):
                    bad = bad or t + 1
                t += 1
            if bad:
                self.blocks = False
        self._settle()
        self.listed = 0
        self.skips_zeros = False
        return bad

    cdef bint _sample_step(self, const char *sample, const Source *y, int64_t index, double eta) noexcept nogil:
        """A step of one sample. False when its loss is not finite."""
        cdef Batch batch
        cdef bint finite
        batch.first, batch.size, batch.x_row, batch.y_row, batch.lists, batch.outputs = 0, 1, self.inputs, self.outputs, False, NULL
        batch.x = sample
        batch.y = self._sample(y, index, self.y_rows)
        self._forward(&batch, True)
        finite = self._output_gradient(&batch, False)
        if not finite:
            self.skips_zeros = False
            self.listed = 0  # 0 times a gradient that is not finite is NaN, too
        self._sample_back(&batch, eta)
        return finite

    cdef Py_ssize_t _run_chunk(self, const Source *x, const Source *y, const int64_t *order, Py_ssize_t count, Py_ssize_t size,
                               const double *rates, bint mean, bint look_at_data, nn_total *total) noexcept nogil:
        """_run_batches, led by this thread with the others to help, in one parallel region for all steps."""
        cdef Py_ssize_t bad
        nn_team_open(&self.team)
        if 6.0 * self.weights * count >= FLOPS_A_REGION:
            self.helpers = nn_pool_open(self.threads, help_program, <void *>self)
        bad = self._run_batches(x, y, order, count, size, rates, mean, look_at_data, False, total)
        nn_team_close(&self.team)
        nn_pool_close(self.helpers)
        self.helpers = 0
        return bad

    cdef Py_ssize_t _run_batches(self, const Source *x, const Source *y, const int64_t *order, Py_ssize_t count, Py_ssize_t size,
                                 const double *rates, bint mean, bint look_at_data, bint look_at_weights, nn_total *total) noexcept nogil:
        """Steps of up to `size` samples each. Returns the first step (from 1) at which something is not finite, after undoing nothing,
        else 0: the loss, with look_at_data the samples, with look_at_weights the updated weights; self.found tells which. In the user's
        memory without look_at_weights, a step that might leave a weight that is not finite is not taken."""
        cdef Py_ssize_t at = 0, t = 0, r
        cdef Step *step = &self.step
        cdef Batch batch
        cdef nn_small_batch small
        cdef bint sure
        step.x_source, step.y_source, step.look_at_data = x, y, look_at_data
        if self.small_batches:
            self._turn_small()
        batch.first, batch.work, batch.outputs = 0, self.work, NULL
        batch.x, batch.x_row, batch.y, batch.y_row = self.x_rows, self.x_row, self.y_rows, self.outputs
        while at < count:
            batch.size = min(size, count - at)
            batch.lists = self.uses_lists and batch.size > 1
            step.batch, step.indices, step.eta = batch, order + at, rates[t] / batch.size if mean else rates[t]
            if self.optimizes:
                set_rule(self, t, rates[t], 1.0 / batch.size if mean else 1.0)
            step.shares = min(1 + self.helpers, max(1, batch.size // ROWS_A_THREAD))
            step.updates = False
            self.found = NOTHING
            self.ahead = t
            t += 1
            if self.small_batches:
                self.found = self._small_gradients(step, &small)
            else:
                self._run_shares(step)
            if self.found != NOTHING:
                return t
            if self.in_user_memory and not look_at_weights:
                if self.optimizes:
                    sure = bounds_hold(self, &batch)
                else:
                    if batch.size > 1:
                        self.weight_bound += self._largest_step(&batch, step.eta)
                    sure = batch.size > 1 and self.weight_bound < (FLOAT_LIMIT if self.type_number == cnp.NPY_FLOAT else DOUBLE_LIMIT)
                if not sure:
                    self.found = UNSURE
                    return t
            for r in range(batch.size):
                nn_add(total, self.losses[r])
            if self.small_batches:
                self.k.small_update[self.small_width](&small)
            elif batch.size == 1 and not self.optimizes:
                self._sample_back(&batch, step.eta)
            else:
                step.updates = True
                self._run_shares(step)
            if self.optimizes:
                if self.found != NOTHING:
                    return t
                nn_add(total, penalty(self) * (batch.size if mean else 1))
            at += batch.size
            if look_at_weights and not self._weights_finite():
                self.found = WEIGHTS
                return t
        return 0

    cdef void _run_shares(self, Step *step) noexcept nogil:
        """One part of a step in as many shares as it has; with helpers in the parallel region, they take theirs."""
        cdef int share
        if step.shares == 1:
            self._run_share(step, 0, 0)
            return
        nn_team_post(&self.team, step.shares)
        share = nn_team_claim(&self.team) if nn_pool_leader_works(self.helpers) else -1
        while share >= 0:
            self._run_share(step, share, 0)
            nn_team_finish(&self.team)
            share = nn_team_claim(&self.team)
        nn_team_join(&self.team, step.shares)

    cdef void _help(self, int thread) noexcept nogil:
        """What a helper in the parallel region does until the leader closes the team."""
        cdef int share = nn_team_next(&self.team)
        while share >= 0:
            self._run_share(&self.step, share, thread)
            nn_team_finish(&self.team)
            nn_pool_count(1)
            share = nn_team_next(&self.team)

    cdef void _run_share(self, const Step *step, int share, int thread) noexcept nogil:
        cdef int found
        if step.updates and not self.optimizes:
            self._update(&step.batch, step.eta, share, step.shares, thread)
            return
        found = optimize_share(self, &step.batch, share, step.shares, thread) if step.updates else self._gradients(step, share, thread)
        if found != NOTHING:
            nn_team_flag(&self.found, found)

    cdef int _gradients(self, const Step *step, int share, int thread) noexcept nogil:
        """One share of a batch's samples: fetched, forward, losses, and back to the gradients of all logits. Returns what is not
        finite."""
        cdef const Batch *whole = &step.batch
        cdef int shares = step.shares
        cdef Batch batch = whole[0]
        cdef Py_ssize_t low = whole.size * share // shares
        cdef bint finite
        batch.first, batch.size = low, whole.size * (share + 1) // shares - low
        batch.work = self.work + thread * self.work_bytes
        batch.x = self.x_rows + low * self.x_row * self.itemsize
        batch.y = self.y_rows + low * self.outputs * self.itemsize
        if batch.lists:
            finite = list_samples(self, step.x_source, step.indices + low, &batch, step.look_at_data)
        else:
            finite = self._gather(step.x_source, step.indices + low, batch.size, <char *>batch.x, self.x_row, step.look_at_data)
        if not (self._gather(step.y_source, step.indices + low, batch.size, <char *>batch.y, self.outputs, step.look_at_data) and finite):
            return DATA
        self._forward(&batch, True)
        if not self._output_gradient(&batch, True):
            return LOSS
        if whole.size > 1 or self.optimizes:
            self._backward(&batch)
        return NOTHING

    cdef double _largest_weight(self) noexcept nogil:
        """max |w| over all weights in use; infinity where one is not finite."""
        cdef Py_ssize_t i
        cdef Stage *s
        cdef double most = 0
        for i in range(self.count):
            s = &self.stages[i]
            if s.w_rows:
                most = fmax(most, fmax(self._largest(s.outputs, s.inputs, s.w, s.w_row) if s.turned else
                                       self._largest(s.w_rows, s.w_width, s.w, s.w_row), self._largest(1, s.w_width, s.w0, 0)))
        return most

    cdef double _largest(self, Py_ssize_t m, Py_ssize_t n, const char *x, Py_ssize_t x_row) noexcept nogil:
        """max |x| over a matrix; infinity where an entry is not finite."""
        cdef Py_ssize_t i
        cdef double most = 0
        if x_row == n:
            m, n = 1, m * n
        for i in range(m):
            most = fmax(most, self.k.largest(n, x + i * x_row * self.itemsize))
        return most

    cdef bint _weights_finite(self) noexcept nogil:
        return isfinite(self._largest_weight())

    cdef double _largest_step(self, const Batch *batch, double eta) noexcept nogil:
        """A bound of what a step adds to any weight: eta batch max |a| max |dL/dz|."""
        cdef Py_ssize_t i, x_row = batch.x_row, inputs = self.inputs
        cdef Stage *s
        cdef const char *x = batch.x
        cdef double most = 0
        for i in range(self.count):
            s = &self.stages[i]
            if s.linear:
                most = fmax(most, fmax(1, largest_of_lists(self, batch) if i == 0 and batch.lists else
                                       self._largest(batch.size, inputs, x, x_row))
                            * self._largest(batch.size, s.outputs, s.grad, s.row))
            elif s.own == OWN_NORM:
                most = fmax(most, fmax(self.k.largest(s.outputs, s.g_grad), self.k.largest(s.outputs, s.b_grad)) / batch.size)
            x, x_row, inputs = s.a, s.row, s.outputs
        return fabs(eta) * batch.size * most

    cdef int _advance(self, Py_ssize_t steps) except -1:
        """Count whole steps, where Python code can see them: in the optimizer and in the Dropouts."""
        self.steps += steps
        self.updates += steps
        if self.optimizer is not None:
            self.optimizer.t = self.updates
        return count_forwards(self)

    def sgd(self, X, Y, iters, rate, on_nonfinite, t0=0):
        """Make `iters` steps of stochastic gradient descent, each on one sample drawn by np.random.randint(N).

        rate is η: a number, a nncore.schedules.Schedule, or a function of t = t0 + 1, t0 + 2, ...; on_nonfinite(t) is called once, for
        the first step whose loss is not finite, and training goes on.
        """
        start_counting(self)
        self._sgd(X, Y, iters, rate, on_nonfinite, t0)

    cdef int _sgd(self, object X, object Y, object iters, object rate, object on_nonfinite, object t0) except -1:
        cdef Py_ssize_t t = 0, first = t0, total = iters, chunk, bad
        cdef Source x = self._source("X", X, total), y = self._source("Y", Y, total)
        cdef cnp.ndarray draws, rates
        cdef double seconds
        cdef bint told = False, user_rate = callable(rate) and not hasattr(rate, "values"), small
        cdef Py_ssize_t least
        n = X.shape[1]
        randint = np.random.randint
        self._reserve(1)
        self.in_user_memory = user_rate or self.weights * self.itemsize >= 4 * IN_PLACE_BYTES
        self.lists = self.stages[0].linear and not user_rate
        self.blocks = self.stages[0].linear and not user_rate and self.weights <= BLOCK_WEIGHTS and not self.has_own
        self.sparse = self.small != NULL and few_inputs(self, &x, n)
        least = NN_BLOCK_STEPS if self.blocks else 1
        chunk = 1 if user_rate else self._first_chunk(least) * least
        while t < total:
            small = self.small != NULL and not user_rate and not told
            if not user_rate:
                chunk = min(SMALL_CHUNK if small else chunk, total - t)
            # rates come first: where one is refused, nothing has been drawn for its step
            rates = schedules.over(rate, first + t + 1, chunk)
            chunk = cnp.PyArray_DIM(rates, 0)
            draws = np.asarray(randint(n, size=chunk), dtype=np.int64)
            self.turns = not small
            self._bind(True)
            seconds = now()
            if small:
                with nogil:
                    self.skips_zeros = self.sparse and self._weights_finite()  # 0 times an infinite weight is NaN, and would be missed
                    small = self._run_small(&x, &y, <int64_t *>cnp.PyArray_DATA(draws), chunk, <double *>cnp.PyArray_DATA(rates))
                if not small:  # the general path finds the step, from the weights of the chunk's start
                    self._bind(True)
            bad = 0
            if not small:
                with nogil:
                    bad = self._run_samples(&x, &y, <int64_t *>cnp.PyArray_DATA(draws), chunk, <double *>cnp.PyArray_DATA(rates))
            seconds = now() - seconds
            self._sync()
            self._advance(chunk)
            if bad and not told:
                told = True
                on_nonfinite(first + t + bad)
            t += chunk
            PyErr_CheckSignals()
            if not user_rate:
                chunk = (next_chunk(chunk, seconds) + least - 1) // least * least
        return 0

    @property
    def room(self):
        """Bytes of memory of its own."""
        return self.weights_memory.bytes + self.batch_memory.bytes + self.small_memory.bytes + self.state_memory.bytes

    def forget(self):
        """Let go of the data; for a program that is kept from one call of the layer API to the next."""
        self.sources.clear()

    def _refuse_data(self, X, Y, Copies start):
        """ValueError where X or Y is not finite, with the weights as they were at the start."""
        try:
            _checks.finite("X", X)
            _checks.finite("Y", Y)
            if self.found & DATA:
                number = np.dtype(dtype_of(self.type_number))
                raise ValueError(f"X and Y must be finite in the network's type {number}, got a number beyond its range")
        except BaseException:
            if start is not None:
                start.put_back()
            self._advance(-self.steps)
            raise

    cdef void _look_through(self, const Source *x, const Source *y, const int64_t *indices, Py_ssize_t count,
                            Py_ssize_t size) noexcept nogil:
        """Look at all samples; self.found is DATA where one is not finite."""
        cdef Py_ssize_t at = 0, here
        self.found = NOTHING
        while at < count:
            here = min(size, count - at)
            if not (self._gather(x, indices + at, here, self.x_rows, self.x_row, True)
                    and self._gather(y, indices + at, here, self.y_rows, self.outputs, True)):
                self.found = DATA
            at += here

    cdef bint _sure_step(self, const Source *x, const Source *y, const int64_t *indices, Py_ssize_t size, double rate, bint mean,
                         nn_total *total) except -1:
        """A step in the user's memory that is undone where it leaves a weight that is not finite. False: it was."""
        cdef Copies kept = Copies(user_arrays(self))
        cdef Py_ssize_t bad
        self._bind(True)
        with nogil:
            bad = self._run_batches(x, y, indices, size, size, &rate, mean, False, True, total)
        self._sync()
        if bad:
            kept.put_back()
        self.weight_bound = -1
        return bad == 0

    def fit(self, X, Y, cnp.ndarray order, batch_size, rate, t0, mean, look_at_data=False):
        """Make one pass over the sample indices `order` in batches; returns the loss summed over all samples, each batch's before its
        update. self.total is that of the steps done so far.

        FloatingPointError on divergence, with the weights as they were after the last step that left all of them finite.
        look_at_data: ValueError when a sample is not finite, with the weights of the start. Looking at each batch as it is
        fetched spares a pass over all the data before the training.
        """
        start_counting(self)
        if self.optimizer is not None:
            self.updates = self.optimizer.t
        self._fit(X, Y, order, batch_size, rate, t0, mean, look_at_data)
        return self.total

    cdef int _fit(self, object X, object Y, cnp.ndarray order, object batch_size, object rate, object t0, object mean,
                  object look_at_data) except -1:
        cdef Py_ssize_t count = cnp.PyArray_SIZE(order), size = batch_size, at = 0, t = t0, chunk = 1, steps, here, bad
        cdef Source x = self._source("X", X, count), y = self._source("Y", Y, count)
        cdef cnp.ndarray rates
        cdef nn_total total = nn_total(0, 0), chunk_total
        cdef double seconds
        cdef const int64_t *indices
        cdef bint user_rate = callable(rate) and not hasattr(rate, "values"), averaged = mean, look = look_at_data
        cdef bint in_place, shared
        self.total = 0
        order = np.ascontiguousarray(order, dtype=np.int64)
        indices = <const int64_t *>cnp.PyArray_DATA(order)
        size = min(size, max(count, 1))
        shared = steps_share(size, self.inputs, self.weights)
        # A BatchNorm needs the statistics of the whole batch, so its batches are not shared.
        self._use_threads(threads_for(size, 6.0 * size * self.weights) if shared and not self.has_norm else 1)
        self._reserve(size)
        # The copies that small weights are trained on also serve to go back to; of large ones they cost too much.
        choose_lists(self, &x, indices, count, size, size)
        # Lists pay where the layers are wide (measured: 120-60-10 with a tenth of the inputs takes 1.45 of the time without). Whether
        # threads could help counts, not how many there are, as the way shows in the last bits.
        self.small_batches = (self.small != NULL and size > 1 and not shared and not self.optimizes
                              and not (self.sparse and self.widest > 2 * self.k.lanes))
        if self.small_batches:
            self._open_small_batches()
        self.in_user_memory = in_place = size > 1 and self.weights * self.itemsize >= IN_PLACE_BYTES
        self.weight_bound = -1
        chunk = self.pace if size == self.paced_size else self._first_chunk(size)
        if look and in_place:
            with nogil:
                self._look_through(&x, &y, indices, count, size)
            if self.found:
                self._refuse_data(X, Y, None)
            look = False
        start = Copies(user_arrays(self)) if look else None
        while at < count:
            steps = min(1 if user_rate else chunk, (count - at + size - 1) // size)
            here = min(steps * size, count - at)
            rates = schedules.over(rate, t + 1, steps)
            steps = cnp.PyArray_DIM(rates, 0)
            here = min(steps * size, here)
            if user_rate and self.optimizer is not None:
                self.updates = self.optimizer.t
            self._bind(True)
            chunk_total = total  # one running sum, so that it does not depend on where the clock ends a chunk
            with nogil:
                if in_place and (user_rate or self.weight_bound < 0):
                    start_bounds(self)
                self.uses_lists = (self.sparse and not self.small_batches
                                   and (isfinite(self.weight_bound) if in_place else self._weights_finite()))
                seconds = now()
                bad = self._run_chunk(&x, &y, indices + at, here, size, <double *>cnp.PyArray_DATA(rates), averaged, look, &chunk_total)
                if bad == 0 and not in_place and not self._weights_finite():
                    bad = steps
            seconds = now() - seconds
            if bad and look:
                self._refuse_data(X, Y, start)
            if bad and in_place:
                self._sync()
                self._advance(bad - 1)
                at, t = at + (bad - 1) * size, t + bad - 1
                here, steps = min(size, count - at), 1
                if self.found == LOSS or not self._sure_step(&x, &y, indices + at, here, rates[bad - 1], averaged, &chunk_total):
                    raise diverged(t + 1)
            elif bad:
                # the user's arrays still hold the weights of the chunk's start: run again to find the step, then up to it
                self._bind(True)
                with nogil:
                    bad = self._run_batches(&x, &y, indices + at, here, size, <double *>cnp.PyArray_DATA(rates), averaged, False, True,
                                            &chunk_total)
                self._bind(True)
                with nogil:
                    self._run_batches(&x, &y, indices + at, (bad - 1) * size, size, <double *>cnp.PyArray_DATA(rates), averaged, False,
                                      False, &chunk_total)
                self._sync()
                self._advance(bad - 1)
                raise diverged(t + bad)
            self._sync()
            self._advance(steps)
            total = chunk_total
            self.total = nn_value(&total)
            at += here
            t += steps
            PyErr_CheckSignals()
            chunk = next_chunk(steps, seconds)
            if not user_rate:
                self.pace, self.paced_size = chunk, size
        return 0

    # -------------------------------------------------------------------------------------------- prediction

    def freeze(self):
        """Read the weights now, for all runs to come."""
        self.in_user_memory = False
        self._bind(False)
        self.frozen = True

    def run(self, X, Y=None):
        """(P, losses): the outputs (n, N), Fortran-ordered, and with Y the loss of every sample from its logits, (N,) float64."""
        cdef Py_ssize_t n = X.shape[1], at = 0, blocks
        self.sources.clear()
        cdef Source x = self._source("X", X, 0), y
        cdef bint with_loss = Y is not None
        cdef cnp.ndarray P = new_matrix(self.outputs, n, self.type_number, True)
        cdef cnp.ndarray losses = np.empty(n, np.float64) if with_loss else None
        cdef char *p = <char *>cnp.PyArray_DATA(P)
        cdef double *out = NULL
        cdef const Source *labels = NULL
        cdef Run run
        if with_loss:
            y = self._source("Y", Y, 0)
            labels = &y
            out = <double *>cnp.PyArray_DATA(losses)
        self._use_threads(threads_for(n // RUN_BLOCK * ROWS_A_THREAD, 2.0 * n * self.weights))
        self._reserve(max(1, min(n, RUN_BLOCK * self.threads)))
        choose_lists(self, &x, NULL, n, n, self.capacity)
        if not self.frozen:
            self.in_user_memory = self.weights * self.itemsize >= IN_PLACE_BYTES
            self._bind(False)
        self.uses_lists = self.sparse
        if self.sparse:
            with nogil:
                self.uses_lists = self._weights_finite()
        while at < n:
            blocks = min((n - at + RUN_BLOCK - 1) // RUN_BLOCK, 8 * self.threads)
            run.program, run.x, run.y, run.at, run.samples = <void *>self, &x, labels, at, n
            run.p, run.out = p, out
            with nogil:
                nn_pool_pieces(blocks, self.threads, run_block, &run)
            at += blocks * RUN_BLOCK
            PyErr_CheckSignals()
        return P, losses

    cdef void _run_block(self, const Source *x, const Source *y, Py_ssize_t at, Py_ssize_t size, Py_ssize_t thread, char *p,
                         double *out) noexcept nogil:
        """Samples at .. at + size - 1, in the rows that are this thread's."""
        cdef Batch batch
        cdef int64_t[128] indices
        cdef Py_ssize_t i, row = self.outputs * self.itemsize
        cdef Stage *last = &self.stages[self.count - 1]
        cdef char *rows
        batch.first, batch.size, batch.work = thread * RUN_BLOCK, size, self.work + thread * self.work_bytes
        batch.lists, batch.outputs = self.uses_lists, p + at * row if last.activation == NN_SOFTMAX else NULL
        rows = self.x_rows + batch.first * self.x_row * self.itemsize
        for i in range(size):
            indices[i] = at + i
        if batch.lists:
            list_samples(self, x, indices, &batch, False)
        elif x.direct and x.sample_stride > 0 and x.sample_stride % self.itemsize == 0:
            batch.x, batch.x_row = x.data + at * x.sample_stride, x.sample_stride // self.itemsize
        else:
            self._gather(x, indices, size, rows, self.x_row)
            batch.x, batch.x_row = rows, self.x_row
        self._forward(&batch, y != NULL)
        if y != NULL:
            batch.y, batch.y_row = self.y_rows + batch.first * row, self.outputs
            self._gather(y, indices, size, <char *>batch.y, self.outputs)
            self._losses_and_outputs(&batch, out + at)
        for i in range(size if batch.outputs == NULL else 0):
            memcpy(p + (at + i) * row, last.a + (batch.first + i) * last.row * self.itemsize, row)

    cdef void _losses_and_outputs(self, const Batch *batch, double *out) noexcept nogil:
        self._output_gradient(batch, True, True)
        memcpy(out, self.losses + batch.first, batch.size * sizeof(double))
        if self.loss != NN_NLL:  # the softmax kernel has left the probabilities in place of the logits
            self._output_units(&self.stages[self.count - 1], batch)


cdef Py_ssize_t RUN_BLOCK = 128  # samples that go through the layers together in prediction


cdef void run_block(void *arg, int block, int blocks, int thread) noexcept nogil:
    cdef Run *run = <Run *>arg
    cdef Py_ssize_t at = run.at + block * RUN_BLOCK
    (<Program>run.program)._run_block(run.x, run.y, at, min(RUN_BLOCK, run.samples - at), thread,
                                      run.p, run.out)


cdef void help_program(void *program, int thread) noexcept nogil:
    (<Program>program)._help(thread)


# A strided column costs a cache miss for each feature; a transposing copy of all N columns costs about as much as reading
# N / TRANSPOSE_SHARE of them one by one (measured with 784 x 10 000 float64 and float32 arrays).
cdef Py_ssize_t TRANSPOSE_SHARE = 4
# A sample is read by a list of what is not zero up to this share of its inputs; instead of a block of steps up to that one (measured
# with 784-128-10).
cdef double SPARSE_SHARE = 0.6
cdef double BLOCK_SPARSE_SHARE = 0.25
# Layers of up to so many vectors are held by columns while each sample is a step: no sums over the lanes of every row on the way back, no
# half empty vectors (measured: 784-128-10 takes 0.96 of the time on dense samples, 0.9 on MNIST's, 784-128-48 0.96, 20-200-200-3 0.92;
# beyond, up to 1.4).
cdef Py_ssize_t TURNED_VECTORS = 3
# A block of fewer steps, as a call may end with, takes longer than the steps one by one.
cdef Py_ssize_t BLOCK_LEAST = 4
# Networks of more weights take so long a step that a signal must not wait for a block of them.
cdef Py_ssize_t BLOCK_WEIGHTS = 1 << 23

# The special path of sgd_small.h takes layers of up to so many of the level's vectors, with a first layer that stays in the L1 cache.
cdef Py_ssize_t SMALL_VECTORS = 4
cdef Py_ssize_t SMALL_BYTES = 1 << 15
cdef Py_ssize_t SMALL_BLOCK = 128
# Steps a chunk on that path: fixed, as the place of a call's first step shows in the last bits; some milliseconds.
cdef Py_ssize_t SMALL_CHUNK = 8192


cdef extern from *:
    """
    static void nncore_prefetch(const char *at, Py_ssize_t bytes) {
        for (Py_ssize_t i = 0; i < bytes && i < 1024; i += 64) __builtin_prefetch(at + i, 0, 3);
    }
    """
    void prefetch "nncore_prefetch"(const char *, Py_ssize_t) nogil


cdef inline void ask_for(const Source *source, Py_ssize_t index) noexcept nogil:
    """Fetch the start of a contiguous sample, which is somewhere in memory; the processor sees the rest coming."""
    if source.direct:
        prefetch(source.data + index * source.sample_stride, source.features * source.feature_stride)


cdef int native_type(cnp.ndarray x) noexcept:
    """The array's type as nn_convert knows it, or -1."""
    cdef int t = cnp.PyArray_TYPE(x)
    if t == cnp.NPY_BOOL:
        return NN_BOOL
    if t == cnp.NPY_FLOAT:
        return NN_F32
    if t == cnp.NPY_DOUBLE:
        return NN_F64
    if cnp.PyArray_ISINTEGER(x):
        size = cnp.PyArray_ITEMSIZE(x)
        if cnp.PyArray_ISSIGNED(x):
            return NN_I8 if size == 1 else NN_I16 if size == 2 else NN_I32 if size == 4 else NN_I64
        return NN_U8 if size == 1 else NN_U16 if size == 2 else NN_U32 if size == 4 else NN_U64
    return -1


cdef object diverged(Py_ssize_t t):
    return FloatingPointError(f"training diverged at step {t}: the loss or a weight is no longer finite; the weights are those after "
                              f"step {t - 1}; a smaller lrate may help")


cdef extern from *:
    """
    #include <time.h>
    static double nncore_now(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    }
    """
    double now "nncore_now"() nogil


cdef Py_ssize_t next_chunk(Py_ssize_t steps, double seconds) noexcept:
    """Steps that should take about CHUNK_SECONDS, growing at most sixteenfold at a time."""
    cdef double wanted = 16.0 * steps
    if seconds > 0 and steps * CHUNK_SECONDS / seconds < wanted:
        wanted = steps * CHUNK_SECONDS / seconds
    return max(1, min(<Py_ssize_t>wanted, 1 << 20))
