# How a call runs, and why. plan_call chooses once per call; plan_demote is the only later change.
# Called by Program. nncore.explain prints the plan, and the tests assert on it.

REASONS = {
    TOO_LARGE: (f"a layer is wider than {FUSED_VECTORS} vectors, or the first layer's weights "
                f"exceed {FUSED_BYTES >> 10} KiB"),
    INNER_LAYERS: ("not every layer is a Linear with an activation, or an output unit is not the "
                   "last one"),
    PYTHON_RATE: "a Python function gives the rate of each step",
    FIRST_LAYER: "the first module is not a Linear",
    MANY_WEIGHTS: (f"a block of steps reads more than {LOOKAHEAD_BYTES >> 20} MiB of weights, "
                   "which would delay signals"),
    SPECIAL_LAYERS: "a layer is neither a Linear nor an activation",
    SINGLE_SAMPLES: "the batch size is 1",
    OPTIMIZER: "an optimizer other than plain SGD, or a penalty, is used",
    THREADS_GAIN: "the batch is large enough for several threads to gain",
    CSR_GAINS: "the inputs are mostly zeros and the layers wide enough to gain by that",
    NARROW_ROWS: "the weights' rows are padded to vectors narrower than the kernels of optimizers",
    OBJECTIVE: "the loss, the penalty or the optimizer follows scikit-learn's conventions",
    CLIPS: "gradients are clipped",
    SAMPLE_WEIGHTS: "samples are weighted",
    FIXED_BIAS: "a Linear has no bias",
    LISTED: "X is a sparse matrix",
    NON_FINITE: "a value that is not finite appeared",
}


# ------------------------------------------------------------------------------ STEPPERS[i].accepts

cdef bint takes_single_samples(const Call *call) noexcept nogil:
    return call.kind == CALL_SGD or (call.kind == CALL_FIT and call.batch_size == 1)


cdef int accepts_fused_sgd(const Engine *e, const Call *call) noexcept nogil:
    if not takes_single_samples(call):
        return OTHER_CALL
    if e.objective.differs:
        return OBJECTIVE
    if e.objective.weights != NULL:
        return SAMPLE_WEIGHTS
    if e.opt.active and e.opt.clips:
        return CLIPS
    if call.python_rate and call.kind == CALL_SGD:
        return PYTHON_RATE
    return fused_takes_listed(e) if e.x.row_starts != NULL else e.fused.refusal


cdef int fused_takes_listed(const Engine *e) noexcept nogil:
    if e.opt.active:
        return OPTIMIZER
    if e.fused.refusal != ACCEPTED and not e.fused.listed_only:
        return e.fused.refusal
    # a chunk of FUSED_CHUNK steps must not delay signals
    return ACCEPTED if e.x.row_entries * e.net.layers[0].width <= FUSED_LISTED else LISTED


cdef int accepts_lookahead(const Engine *e, const Call *call) noexcept nogil:
    if not takes_single_samples(call):
        return OTHER_CALL
    if e.objective.differs:
        return OBJECTIVE
    if e.x.row_starts != NULL:
        return LISTED
    if call.python_rate:
        return PYTHON_RATE
    if e.opt.active:
        return CLIPS if e.opt.clips else OPTIMIZER
    if e.net.has_special:
        return SPECIAL_LAYERS
    if e.net.layers[0].kind != LINEAR:
        return FIRST_LAYER
    if e.net.layers[0].fixed_bias:
        return FIXED_BIAS
    return MANY_WEIGHTS if block_bytes(&e.net) > LOOKAHEAD_BYTES else ACCEPTED


cdef inline Py_ssize_t block_bytes(const Network *net) noexcept nogil:
    """The weights that a lookahead block reads: the first W once, the others in each step."""
    cdef Py_ssize_t first = net.layers[0].inputs * net.layers[0].outputs
    return (first + LOOKAHEAD_STEPS * (net.n_weights - first)) * net.itemsize


cdef int accepts_sgd(const Engine *e, const Call *call) noexcept nogil:
    if not takes_single_samples(call):
        return OTHER_CALL
    if e.objective.differs:
        return OBJECTIVE
    if not e.opt.active:
        return ACCEPTED
    if e.opt.clips:
        return CLIPS
    if e.x.row_starts != NULL:
        return LISTED
    if e.net.has_special:
        return SPECIAL_LAYERS
    # the kernel of the update takes whole vectors of the widest width
    return ACCEPTED if e.fused.lanes in (0, e.net.k.lanes) else NARROW_ROWS


cdef int accepts_column_minibatch(const Engine *e, const Call *call) noexcept nogil:
    # no reason is recorded where vectors along the outputs are no worse
    cdef double slice_ = min(call.batch_size, <Py_ssize_t>COLUMN_SLICE)
    cdef Py_ssize_t lanes = e.fused.lanes if e.fused.lanes else e.net.k.lanes
    if (call.kind != CALL_FIT or call.batch_size < COLUMN_BATCH or not holds_columns(e)
            or not columns_pay(e, lanes, COLUMN_COST * (1 + COLUMN_SUMS / slice_))):
        return OTHER_CALL
    if e.objective.differs:
        return OBJECTIVE
    if e.x.row_starts != NULL:
        return LISTED
    if (splits_batches(&e.net, call.batch_size)
            and 6.0 * call.batch_size * e.net.n_weights > COLUMN_FLOPS):
        return THREADS_GAIN
    return CSR_GAINS if e.plan.csr else ACCEPTED


cdef int accepts_column_prediction(const Engine *e, const Call *call) noexcept nogil:
    if (call.kind != CALL_PREDICT or call.labelled or call.n_samples < COLUMN_BATCH
            or not holds_columns(e) or not columns_pay(e, e.net.k.lanes, COLUMN_PREDICTION_COST)):
        return OTHER_CALL
    if e.x.row_starts != NULL:
        return LISTED
    return CSR_GAINS if e.plan.csr else ACCEPTED


cdef int accepts_fused_minibatch(const Engine *e, const Call *call) noexcept nogil:
    if call.kind != CALL_FIT:
        return OTHER_CALL
    if e.objective.differs:
        return OBJECTIVE
    if e.x.row_starts != NULL:
        return LISTED
    if e.fused.refusal != ACCEPTED:
        return e.fused.refusal
    if e.net.widest > FUSED_VECTORS * e.net.k.lanes:
        return TOO_LARGE
    if call.batch_size == 1:
        return SINGLE_SAMPLES
    if e.opt.active:
        return CLIPS if e.opt.clips else OPTIMIZER
    # the criterion is whether threads could gain, not their number: the path affects the last bits
    if splits_batches(&e.net, call.batch_size):
        return THREADS_GAIN
    # CSR pays for wide layers: with a tenth of the inputs non-zero, 120-60-10 takes 1.45 times as
    # long by it
    return CSR_GAINS if e.plan.csr and e.net.widest > 2 * e.net.k.lanes else ACCEPTED


cdef int accepts_minibatch(const Engine *e, const Call *call) noexcept nogil:
    return ACCEPTED if call.kind == CALL_FIT else OTHER_CALL


cdef int accepts_prediction(const Engine *e, const Call *call) noexcept nogil:
    return ACCEPTED if call.kind == CALL_PREDICT else OTHER_CALL


cdef bint splits_batches(const Network *net, Py_ssize_t batch) noexcept nogil:
    """True if a second thread speeds up a mini-batch step; see SPLIT_BATCH."""
    return SPLIT_BATCH / batch + SPLIT_INPUTS * net.inputs / max(net.n_weights, 1) < 1


# --------------------------------------------------------------------------------------- the choice

cdef int plan_call(Engine *e) except -1:
    """Choose how e.call runs, and allocate its memory."""
    cdef Plan *plan = &e.plan
    cdef const Call *call = &e.call
    cdef Py_ssize_t bytes_ = e.net.n_weights * e.net.itemsize
    plan.call, plan.n_reasons = call.kind, 0
    if e.x.row_starts != NULL and e.sparse.row_entries < e.x.row_entries:
        e.sparse.row_entries, e.ws.capacity = e.x.row_entries, 0
    plan.csr = plan.nonzeros = False
    plan.n_threads = plan_threads(e, call)
    if e.x.row_starts != NULL and e.fused.listed_only:
        make_fused(e)
    if call.kind == CALL_SGD:
        reserve(e, 1, 1)
        plan.in_place = call.python_rate or bytes_ >= IN_PLACE_BYTES_SGD
    elif call.kind == CALL_FIT:
        reserve(e, call.batch_size, plan.n_threads)
        plan_csr(e, call, call.batch_size, call.batch_size)
        plan.in_place = (call.live or is_short(e, call) or needs_few_rows(e, call)
                         or (call.batch_size > 1 and bytes_ >= IN_PLACE_BYTES))
    else:
        reserve(e, max(1, min(call.n_samples, <Py_ssize_t>PREDICT_BLOCK * plan.n_threads)),
                plan.n_threads)
        plan_csr(e, call, call.n_samples, e.ws.capacity)
        plan.in_place = bytes_ >= IN_PLACE_BYTES or is_short(e, call)
    # the special paths hold copies of weights, and those of single samples bound none in place
    plan.stepper = -1
    if call.live or (call.kind == CALL_FIT and plan.in_place):
        plan.stepper = FUSED_MINIBATCH
    with nogil:
        plan_stepper(e, call)
    return 0


cdef bint is_short(const Engine *e, const Call *call) noexcept nogil:
    """True if copying the weights would take longer than the call."""
    return e.objective.short_calls and call.n_samples <= SHORT_CALL


cdef bint needs_few_rows(const Engine *e, const Call *call) noexcept nogil:
    """True if a sparse matrix's samples need so few rows of the first W, in so few steps, each of
    which looks at every row, that copying W would take longer than the call."""
    return (e.x.row_starts != NULL and e.net.n_weights * e.net.itemsize >= LISTED_COPY_BYTES
            and call.n_samples * e.x.row_entries * LISTED_SHARE <= e.net.inputs
            and call.n_samples * LISTED_SHARE <= call.batch_size * e.net.layers[0].outputs)


cdef int plan_threads(Engine *e, const Call *call) except -1:
    """The number of threads that the call's size is worth."""
    if call.kind == CALL_PREDICT:
        return threads_for(call.n_samples // PREDICT_BLOCK * ROWS_PER_THREAD,
                           2.0 * call.n_samples * e.net.n_weights)
    # a BatchNorm's statistics need the whole batch
    if call.kind == CALL_FIT and splits_batches(&e.net, call.batch_size) and not e.net.has_norm:
        return threads_for(call.batch_size, 6.0 * call.batch_size * e.net.n_weights)
    return 1


cdef int plan_csr(Engine *e, const Call *call, Py_ssize_t batch, Py_ssize_t capacity) except -1:
    """Decide on CSR rows by the density of the call's samples, and allocate `capacity` of them."""
    cdef Layer *first = &e.net.layers[0]
    cdef double density
    if first.kind != LINEAR or batch < CSR_BATCH or e.x.row_starts != NULL:
        return 0
    if capacity > CSR_CAPACITY // max(e.net.inputs, 1):
        return 0
    with nogil:
        density = input_density(e, &e.x, call.indices,
                                call.n_columns if call.indices == NULL else call.n_samples)
    e.plan.csr = density < CSR_DENSITY * min(1.0, first.outputs / (8.0 * e.net.k.lanes))
    if e.plan.csr and e.sparse.capacity < capacity:
        e.sparse.wanted, e.ws.capacity = True, 0
        reserve(e, capacity, e.plan.n_threads)
    return 0


cdef void plan_stepper(Engine *e, const Call *call) noexcept nogil:
    """Choose the first row of STEPPERS after the current one that accepts the call, and set the
    fields that depend on it."""
    cdef Plan *plan = &e.plan
    cdef int i, reason
    for i in range(plan.stepper + 1, N_STEPPERS):
        reason = STEPPERS[i].accepts(e, call)
        if reason == ACCEPTED:
            break
        if reason != OTHER_CALL:
            add_reason(plan, reason)
    plan.stepper = i
    plan.chunk_multiple = LOOKAHEAD_STEPS if plan.stepper == LOOKAHEAD_SGD else 1
    plan.transposes, plan.nonzeros = TRANSPOSE_NONE, False
    if plan.stepper == COLUMN_MINIBATCH:
        plan.n_threads = 1
    if plan.stepper == FUSED_SGD:
        plan.nonzeros = (not e.opt.active and e.x.row_starts == NULL
                         and fused_nonzeros_pay(e, call))
        plan.transposes = TRANSPOSE_NONE if fused_two_copies(e) else TRANSPOSE_ALL
    elif plan.stepper == LOOKAHEAD_SGD or plan.stepper == SGD:
        plan.nonzeros = (e.net.layers[0].kind == LINEAR and not call.python_rate
                         and not e.opt.active)
        plan.transposes = TRANSPOSE_NARROW


cdef bint fused_nonzeros_pay(Engine *e, const Call *call) noexcept nogil:
    """True if the fused SGD kernel is faster through the index of each sample's non-zeros."""
    cdef bint compresses = e.net.k.lanes * e.net.itemsize == 64
    cdef double limit = FUSED_DENSITY_COMPRESS if compresses else FUSED_DENSITY
    return (e.net.inputs >= FUSED_NONZERO_INPUTS
            and input_density(e, &e.x, NULL, call.n_columns) < limit)


cdef bint skips_zeros(const Engine *e, bint bounded) noexcept nogil:
    """True if a chunk may skip zeros: 0 times a non-finite weight would be NaN. bounded: the
    weights are finite if weight_bound is."""
    if not (e.plan.nonzeros or (e.plan.csr and e.plan.stepper != FUSED_MINIBATCH)):
        return False
    return isfinite(e.weight_bound) if bounded else weights_finite(&e.net)


cdef void plan_demote(Engine *e, int reason) noexcept nogil:
    """Replace a special stepper by the next one that accepts the call."""
    if e.plan.stepper == FUSED_SGD or e.plan.stepper == LOOKAHEAD_SGD:
        add_reason(&e.plan, reason)
        plan_stepper(e, &e.call)


cdef void add_reason(Plan *plan, int reason) noexcept nogil:
    """Record why a stepper was not chosen, once."""
    cdef int i
    for i in range(plan.n_reasons):
        if plan.reasons[i] == reason:
            return
    if plan.n_reasons < MAX_REASONS:
        plan.reasons[plan.n_reasons] = reason
        plan.n_reasons += 1
