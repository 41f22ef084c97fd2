# The engine as Python sees it: a network of library modules, compiled. The class owns an engine and
# refers to the user's objects; everything that runs without Python is in engine/.

LOSSES = {None: NN_NO_LOSS, "nll": NN_NLL, "binary_nll": NN_BINARY_NLL, "squared": NN_SQUARED,
          "hinge": NN_HINGE}
ACTIVATIONS = {
    "none": NN_NONE, "tanh": NN_TANH, "relu": NN_RELU, "sigmoid": NN_SIGMOID,
    "leaky_relu": NN_LEAKY_RELU, "gelu": NN_GELU, "gelu_tanh": NN_GELU_TANH, "silu": NN_SILU,
    "softmax": NN_SOFTMAX, "output_sigmoid": NN_OUTPUT_SIGMOID,
}
RULES = {
    "sgd": NN_SGD, "momentum": NN_MOMENTUM, "nesterov": NN_NESTEROV, "adagrad": NN_ADAGRAD,
    "rmsprop": NN_RMSPROP, "adam": NN_ADAM,
}


cdef nn_activation activation_named(name):
    """An activation by its name, or by (name, slope)."""
    kind, slope = (name, 0) if isinstance(name, str) else name
    return nn_activation(ACTIVATIONS[kind], slope)


cdef class Program:
    """A Sequential of library modules, compiled. Made by nncore.training, which has checked what it
    is given.

    stages: [(Linear or None, activation's name)], or (BatchNorm, "batchnorm"), (Dropout,
    "dropout"); loss: a name or None, for prediction alone; plain: whether NLL's gradient is a − y
    whatever a sample's labels sum to.
    """

    cdef Engine e
    # (layer, module, name of w, name of w0) of each layer with weights
    cdef list owners
    cdef list norms                 # (layer, BatchNorm) of those with running statistics
    cdef list dropouts              # (layer, Dropout)
    cdef list arrays                # the user's (W, W0) as last loaded, kept alive
    cdef list statistics            # the user's (running_mean, running_var), likewise
    cdef list states                # the optimizer's (arrays for W, arrays for W0) of each owner
    cdef dict sources               # prepared data of the call
    cdef bint frozen
    # steps per chunk that the last fit has found right, with batches of that size
    cdef Py_ssize_t pace, paced_batch
    cdef public object optimizer    # whose t counts the steps, or None
    # whole steps that the last sgd or fit has done, also if it ended in an error
    cdef readonly Py_ssize_t steps
    cdef readonly double total      # the loss summed over the samples of these steps, of fit

    def __cinit__(self, list stages, loss, dtype, inputs, plain=False):
        cdef Engine *e = &self.e
        e.net.type_number = cnp.NPY_FLOAT if np.dtype(dtype) == np.float32 else cnp.NPY_DOUBLE
        e.net.k = kernels_for(e.net.type_number)
        e.net.itemsize, e.net.inputs = e.net.k.itemsize, inputs
        e.net.loss, e.net.trains, e.net.plain_nll = LOSSES[loss], loss is not None, plain
        e.net.layers = <Layer *>calloc(max(len(stages), 1), sizeof(Layer))
        if e.net.layers == NULL:
            raise MemoryError(f"to run this network takes {len(stages) * sizeof(Layer)} bytes, which are not available")
        e.ws.n_threads, e.lookahead.at = 1, -1
        e.net.x_stride = padded_stride(&e.net, inputs)
        self.owners, self.norms, self.dropouts = [], [], []
        self.arrays, self.statistics, self.states, self.sources = [], [], [], {}
        e.fused.refusal = self._fused_refusal(stages)
        self._add_layers(stages)
        arena_fill(e, layout_weights, &e.ws.weights_buffer)
        if e.fused.refusal == ACCEPTED:
            make_fused(e)

    def __dealloc__(self):
        free(self.e.net.layers)
        free(self.e.fused.layers)
        buffer_release(self.e.fused.buffer)
        buffer_release(self.e.ws.weights_buffer)
        buffer_release(self.e.ws.batch_buffer)
        buffer_release(self.e.ws.state_buffer)

    cdef int _fused_refusal(self, list stages) except -1:
        """Why the fused kernels cannot train this network, or ACCEPTED; their vector width is
        chosen then."""
        cdef Py_ssize_t widest = 0, outputs = 0, first_weights = 0
        for module, name in stages:
            if module is None or name in ("batchnorm", "dropout"):
                return INNER_LAYERS
            outputs += name in ("softmax", "output_sigmoid")
            widest = max(widest, module.W.shape[1])
            first_weights = first_weights or module.W.size
        if self.e.net.loss != NN_NLL:
            return NOT_NLL
        if outputs != 1:
            return INNER_LAYERS
        return ACCEPTED if choose_fused(&self.e, widest, first_weights) else NOT_SMALL

    cdef int _add_layers(self, list stages) except -1:
        cdef Engine *e = &self.e
        cdef Py_ssize_t width = e.net.inputs
        for i, (module, name) in enumerate(stages):
            if name == "dropout":
                add_layer(e, DROPOUT, no_activation(), width, width)
                self.dropouts.append((i, module))
            elif name == "batchnorm":
                add_layer(e, BATCHNORM, no_activation(), width, width)
                self._set_norm(i, module)
            elif module is None:
                add_layer(e, ACTIVATION, activation_named(name), width, width)
            else:
                if module.W.shape[0] != width:
                    raise ValueError(f"W must have shape ({width}, n) to follow a module with {width} outputs, got {module.W.shape}")
                add_layer(e, LINEAR, activation_named(name), width, module.W.shape[1])
                self.owners.append((i, module, "W", "W0"))
            width = e.net.outputs
        return 0

    cdef int _set_norm(self, Py_ssize_t i, module) except -1:
        cdef NormState *norm = &self.e.net.layers[i].norm
        norm.eps, norm.momentum, norm.running = module.eps, module.momentum, module.statistics == "running"
        self.owners.append((i, module, "G", "B"))
        if norm.running:
            self.norms.append((i, module))
        return 0

    def use(self, str rule, dict parameters, list states, double l2):
        """Train by another rule than plain SGD, with its parameters by name.

        states: for each module with weights ((arrays of W's state), (arrays of W0's)),
        C-contiguous, of the network's type; l2: the penalty's factor.
        """
        self.states = states
        set_optimizer(&self.e, RULES[rule], parameters.get("beta1", 0), parameters.get("beta2", 0),
                      parameters.get("eps", 0), l2,
                      parameters.get("weight_decay", 0), len(states[0][0]))

    # -------------------------------------------------------------------------------------------- the user's arrays

    cdef int _load(self, bint written) except -1:
        """Read weights, state and statistics from where the user's objects hold them now."""
        cdef cnp.ndarray w, w0
        cdef Layer *layer
        cdef list arrays = []
        for i, module, of_w, of_w0 in self.owners:
            layer = &self.e.net.layers[<Py_ssize_t>i]
            w = self._array(of_w, getattr(module, of_w),
                            layer.inputs if layer.kind == LINEAR else layer.outputs,
                            layer.outputs if layer.kind == LINEAR else 1, written)
            w0 = self._array(of_w0, getattr(module, of_w0), layer.outputs, 1, written)
            arrays.append((w, w0))
        self.arrays = arrays
        self._load_statistics()
        self._transfer(True)
        return 0

    cdef int _store(self) except -1:
        """Write everything back to the arrays it was read from. Allocates nothing: a store is never
        left half done."""
        return self._transfer(False)

    cdef int _transfer(self, bint loads) except -1:
        """Move weights, state and statistics between the user's arrays and the engine."""
        cdef Engine *e = &self.e
        cdef Py_ssize_t k, i
        cdef int j
        cdef tuple owner, pair
        cdef bint is_norm
        for k in range(len(self.owners)):
            owner, pair = self.owners[k], self.arrays[k]
            i = owner[0]
            is_norm = e.net.layers[i].kind == BATCHNORM
            transfer(e, i, -1, loads, matrix_view(pair[0], is_norm), matrix_view(pair[1], True))
            for j in range(e.opt.n_states if e.opt.active else 0):
                pair = self.states[k]
                transfer(e, i, j, loads, matrix_view((<tuple>pair[0])[j], is_norm),
                         matrix_view((<tuple>pair[1])[j], True))
        for k in range(len(self.norms)):
            owner, pair = self.norms[k], self.statistics[k]
            if loads:
                load_statistics(e, owner[0], matrix_view(pair[0], True), matrix_view(pair[1], True))
            else:
                store_statistics(e, owner[0], matrix_view(pair[0], True),
                                 matrix_view(pair[1], True))
        return 0

    cdef cnp.ndarray _array(self, str name, object x, Py_ssize_t rows, Py_ssize_t columns,
                            bint written):
        """The user's array as it is now; Python code may have put another one in its place
        since."""
        if (not is_addressable(x, self.e.net.type_number) or cnp.PyArray_NDIM(<cnp.ndarray>x) != 2
                or cnp.PyArray_DIM(<cnp.ndarray>x, 0) != rows or cnp.PyArray_DIM(<cnp.ndarray>x,
                                                                                 1) != columns
                or (written and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>x))):
            given = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            wanted = f"{np.dtype(dtype_of(self.e.net.type_number))} array of shape ({rows}, {columns})"
            raise ValueError(f"{name} must stay a writeable {wanted} while its network runs, got {given}")
        return <cnp.ndarray>x

    cdef int _load_statistics(self) except -1:
        cdef list found = []
        cdef Py_ssize_t n
        for i, module in self.norms:
            n = self.e.net.layers[<Py_ssize_t>i].outputs
            found.append((self._array("running_mean", module.running_mean, n, 1, True),
                          self._array("running_var", module.running_var, n, 1, True)))
        self.statistics = found
        return 0

    cdef list _trained_arrays(self):
        """Every array of the user's that training changes."""
        cdef list arrays = []
        for _, module, of_w, of_w0 in self.owners:
            arrays.append(getattr(module, of_w))
            arrays.append(getattr(module, of_w0))
        for _, module in self.norms:
            arrays.append(module.running_mean)
            arrays.append(module.running_var)
        for of_w, of_w0 in self.states if self.e.opt.active else ():
            arrays.extend(of_w)
            arrays.extend(of_w0)
        return arrays

    cdef Source _source(self, str name, object X, Py_ssize_t samples_read) except *:
        """How to read X (features, N). If many samples are read from rows that run along the
        samples, X is transposed once: a cache line then serves a sample's neighbouring features
        instead of one."""
        cdef cnp.ndarray x
        cdef Py_ssize_t n
        key = (name, id(X))
        if key in self.sources:
            x = self.sources[key][1]
        else:
            x = np.asarray(X)
            if not is_addressable(x, cnp.PyArray_TYPE(x)) or native_type(x) < 0:
                x = real_array(name, x, self.e.net.type_number)
            n = cnp.PyArray_DIM(x, 1)
            if not is_unit_stride(x, 0) and samples_read * TRANSPOSE_SHARE >= n and n > 1:
                x = self._transposed(x)
            self.sources[key] = (X, x)
        return source_of(x, self.e.net.type_number)

    cdef cnp.ndarray _transposed(self, cnp.ndarray x):
        cdef cnp.ndarray copy = new_matrix(cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1),
                                           self.e.net.type_number, True)
        cdef int kind = native_type(x)
        convert(cnp.PyArray_DATA(copy), cnp.PyArray_DIM(x, 0),
                self.e.net.type_number == cnp.NPY_DOUBLE, cnp.PyArray_DIM(x, 1),
                cnp.PyArray_DIM(x, 0), <char *>cnp.PyArray_DATA(x), cnp.PyArray_STRIDE(x,
                                                                                       1), cnp.PyArray_STRIDE(x, 0), kind)
        return copy

    # -------------------------------------------------------------------------------------------- training

    def sgd(self, X, Y, iters, rate, on_nonfinite, t0=0):
        """Make `iters` steps of stochastic gradient descent, each on one sample drawn by
        np.random.randint(N).

        rate is η: a number, a nncore.schedules.Schedule, or a function of t = t0 + 1, t0 + 2, ...;
        on_nonfinite(t) is called once, for the first step whose loss is not finite, and training
        goes on.
        """
        self._begin(CALL_SGD, X, Y, None, iters, 1, rate)
        cdef Py_ssize_t done = 0, total = iters, steps, bad
        cdef cnp.ndarray draws, rates
        cdef bint warned = False
        cdef double seconds
        n, randint = X.shape[1], np.random.randint
        while done < total:
            steps = min(self._chunk(), total - done)
            # before the draws: a rate that is refused draws nothing
            rates = schedules.over(rate, t0 + done + 1, steps)
            steps = cnp.PyArray_DIM(rates, 0)
            draws = np.asarray(randint(n, size=steps), dtype=np.int64)
            self._load(True)
            self._open_chunk(draws, 0, steps, 1, rates, False)
            seconds = now()
            bad = self._run()
            # its weights are void: the next stepper finds the step
            if bad and self.e.plan.stepper == FUSED_SGD:
                plan_demote(&self.e, NON_FINITE)
                self._load(True)
                self._open_chunk(draws, 0, steps, 1, rates, False)
                bad = self._run()
            seconds = now() - seconds
            self._store()
            self._advance(steps)
            if bad and not warned:
                warned = True
                on_nonfinite(t0 + done + bad)
            done += steps
            PyErr_CheckSignals()
            self._pace(steps, seconds)

    def fit(self, X, Y, cnp.ndarray order, batch_size, rate, t0, mean, checks_data=False):
        """Make one pass over the sample indices `order` in batches; returns the loss summed over
        all samples, each batch's before its update. self.total is that of the steps done so far.

        FloatingPointError on divergence, with the weights after the last step that left all of them
        finite. checks_data: ValueError when a sample is not finite, with the weights of the start.
        Looking at each batch as it is read spares a pass over all data before.
        """
        order = np.ascontiguousarray(order, dtype=np.int64)
        cdef Py_ssize_t at = 0, count = cnp.PyArray_SIZE(order)
        cdef Py_ssize_t size = max(1, min(<Py_ssize_t>batch_size, count)), steps, bad, t = t0
        cdef double seconds
        cdef bint checks = checks_data
        cdef Copies start = None
        cdef cnp.ndarray rates
        self._begin(CALL_FIT, X, Y, order, count, size, rate)
        self.e.run.mean = mean
        if checks and self.e.plan.in_place:  # copies to go back to would cost too much
            self._check_all_data(X, Y, order)
            checks = False
        if checks:
            start = Copies(self._trained_arrays())
        while at < count:
            steps = min(self._chunk(), (count - at + size - 1) // size)
            rates = schedules.over(rate, t + 1, steps)
            steps = cnp.PyArray_DIM(rates, 0)
            if self.e.call.python_rate and self.optimizer is not None:
                self.e.opt.updates = self.optimizer.t
            self._load(True)
            self._open_chunk(order, at, min(steps * size, count - at), size, rates, checks)
            seconds = now()
            bad = self._run()
            seconds = now() - seconds
            if bad:
                steps = self._recover(X, Y, start, bad, t)
            else:
                self._store()
                self._advance(steps)
            self.total = nn_value(&self.e.run.total)
            at += min(steps * size, count - at)
            t += steps
            PyErr_CheckSignals()
            self._pace(steps, seconds)
        return self.total

    cdef int _begin(self, int kind, X, Y, order, Py_ssize_t n_samples, Py_ssize_t batch_size,
                    rate) except -1:
        """Plan a call of training and make ready for its first chunk."""
        cdef Engine *e = &self.e
        self.steps, self.total = 0, 0
        self._plan_training(kind, X, Y, order, n_samples, batch_size, rate)
        e.opt.updates = 0 if self.optimizer is None else self.optimizer.t
        e.run.total, e.run.mean, e.run.checks_weights, e.weight_bound = nn_total(0,
                                                                                 0), False, False, -1
        e.plan.chunk = self.pace if kind == CALL_FIT and batch_size == self.paced_batch else first_chunk(e)
        return self._begin_dropouts()

    cdef int _plan_training(self, int kind, X, Y, order, Py_ssize_t n_samples,
                            Py_ssize_t batch_size, rate) except -1:
        cdef Engine *e = &self.e
        e.x, e.y = self._source("X", X, n_samples), self._source("Y", Y, n_samples)
        e.call.kind, e.call.n_samples, e.call.n_columns, e.call.batch_size = kind, n_samples, X.shape[1], batch_size
        e.call.python_rate = callable(rate) and not hasattr(rate, "values")
        e.call.indices = NULL if order is None else <const int64_t *>cnp.PyArray_DATA(<cnp.ndarray>order)
        return plan_call(e)

    cdef int _begin_dropouts(self) except -1:
        cdef DropoutState *drop
        for i, module in self.dropouts:
            drop = &self.e.net.layers[<Py_ssize_t>i].drop
            module.draw_key()
            drop.key, drop.count = module.key, module.count
            drop.threshold, drop.scale = dropout_threshold(module.p), 1 / (1 - module.p)
        return 0

    cdef int _advance(self, Py_ssize_t steps) except -1:
        """Count whole steps, where Python code can see them: in the optimizer and in the
        Dropouts."""
        self.steps += steps
        self.e.opt.updates += steps
        if self.optimizer is not None:
            self.optimizer.t = self.e.opt.updates
        for i, module in self.dropouts:
            module.count = self.e.net.layers[<Py_ssize_t>i].drop.count + self.steps
        return 0

    cdef Py_ssize_t _chunk(self) noexcept:
        """Steps until Python code may run again."""
        if self.e.call.python_rate:
            return 1
        return FUSED_CHUNK if self.e.plan.stepper == FUSED_SGD else self.e.plan.chunk

    cdef void _pace(self, Py_ssize_t steps, double seconds) noexcept:
        cdef Plan *plan = &self.e.plan
        plan.chunk = (next_chunk(steps, seconds) + plan.chunk_multiple - 1) // plan.chunk_multiple * plan.chunk_multiple
        if plan.call == CALL_FIT and not self.e.call.python_rate:
            self.pace, self.paced_batch = plan.chunk, self.e.call.batch_size

    cdef int _open_chunk(self, cnp.ndarray indices, Py_ssize_t at, Py_ssize_t n_samples,
                         Py_ssize_t batch_size, cnp.ndarray rates,
                         bint checks) except -1:
        """Describe a chunk, once the weights are loaded."""
        cdef Engine *e = &self.e
        cdef Run *run = &e.run
        run.x, run.y, run.indices = &e.x, &e.y, <const int64_t *>cnp.PyArray_DATA(indices) + at
        run.n_samples, run.batch_size, run.rates = n_samples, batch_size, <const double *>cnp.PyArray_DATA(rates)
        run.checks_data, run.steps_before, run.offset, run.status = checks, self.steps, 0, FINITE
        cdef bint bounded = e.plan.in_place and e.plan.call == CALL_FIT
        with nogil:
            if bounded and (e.call.python_rate or e.weight_bound < 0):
                start_bounds(e)
            e.sparse.skips_zeros = skips_zeros(e, bounded)
        return 0

    cdef Py_ssize_t _run(self) noexcept:
        """Run the open chunk by the plan's stepper. Returns 0, or the 1-based step that produced a
        non-finite value."""
        cdef Engine *e = &self.e
        cdef Run *run = &e.run
        cdef Py_ssize_t bad
        with nogil:
            bad = STEPPERS[e.plan.stepper].run(e, run)
            if bad == 0 and e.plan.call == CALL_FIT and not e.plan.in_place and not weights_finite(&e.net):
                bad, run.status = (run.n_samples + run.batch_size - 1) // run.batch_size, BAD_WEIGHTS
        return bad

    # -------------------------------------------------------------------------------------------- what is not finite

    cdef Py_ssize_t _recover(self, X, Y, Copies start, Py_ssize_t bad, Py_ssize_t t) except -1:
        """After a chunk of fit whose step `bad` met a non-finite value: finish the steps up to it,
        and it if it can be.

        Returns the steps done. FloatingPointError on divergence, ValueError if a sample is not
        finite.
        """
        cdef Run *run = &self.e.run
        if run.checks_data:
            self._refuse_data(X, Y, start)
            run.checks_data = False
        if self.e.plan.in_place:
            self._store()
            self._advance(bad - 1)
            run.indices += (bad - 1) * run.batch_size
            run.rates += bad - 1
            run.n_samples = min(run.batch_size, run.n_samples - (bad - 1) * run.batch_size)
            if run.status == BAD_LOSS or not self._careful_step():
                raise diverged(t + bad)
            self._advance(1)
            return bad
        # the user's arrays still hold the weights of the chunk's start: run again to find the step,
        # then up to it
        self._load(True)
        run.checks_weights = True
        bad = self._run()
        run.checks_weights = False
        self._load(True)
        run.n_samples = (bad - 1) * run.batch_size
        self._run()
        self._store()
        self._advance(bad - 1)
        raise diverged(t + bad)

    cdef bint _careful_step(self) except -1:
        """A step on weights in place, undone if it leaves one that is not finite. False: it was."""
        cdef Run *run = &self.e.run
        cdef Copies kept = Copies(self._trained_arrays())
        cdef Py_ssize_t bad
        self._load(True)
        run.checks_weights = True
        bad = self._run()
        run.checks_weights = False
        self._store()
        if bad:
            kept.put_back()
        self.e.weight_bound = -1
        return bad == 0

    cdef int _check_all_data(self, X, Y, cnp.ndarray order) except -1:
        """ValueError if a sample of the call is not finite."""
        cdef Engine *e = &self.e
        cdef const int64_t *indices = <const int64_t *>cnp.PyArray_DATA(order)
        cdef Py_ssize_t n = cnp.PyArray_SIZE(order)
        cdef bint finite
        with nogil:
            finite = all_samples_finite(e, &e.x, indices, n, e.ws.x_rows, e.net.x_stride)
            finite = all_samples_finite(e, &e.y, indices, n, e.ws.y_rows, e.net.outputs) and finite
        if not finite:
            e.run.status = BAD_DATA
            self._refuse_data(X, Y, None)
        return 0

    cdef int _refuse_data(self, X, Y, Copies start) except -1:
        """ValueError if X or Y is not finite, with the weights as they were at the start."""
        try:
            _checks.finite("X", X)
            _checks.finite("Y", Y)
            if self.e.run.status & BAD_DATA:
                number = np.dtype(dtype_of(self.e.net.type_number))
                raise ValueError(f"X and Y must be finite in the network's type {number}, got a number beyond its range")
        except BaseException:
            if start is not None:
                start.put_back()
            self._advance(-self.steps)
            raise
        return 0

    # -------------------------------------------------------------------------------------------- prediction

    def freeze(self):
        """Read the weights now, for all runs to come."""
        self.e.plan.in_place = self.e.plan.transposes = False
        self._load(False)
        self.frozen = True

    def run(self, X, Y=None):
        """(P, losses): the outputs (n, N), Fortran-ordered, and with Y the loss of every sample
        from its logits, (N,) float64."""
        cdef Engine *e = &self.e
        cdef Py_ssize_t n = X.shape[1], blocks
        cdef cnp.ndarray P = new_matrix(e.net.outputs, n, e.net.type_number, True)
        cdef cnp.ndarray losses = None
        cdef Prediction p
        self._plan_prediction(X)
        p.e, p.x, p.y, p.first, p.n_samples = e, &e.x, NULL, 0, n
        p.outputs, p.losses = <char *>cnp.PyArray_DATA(P), NULL
        if Y is not None:
            losses = np.empty(n, np.float64)
            e.y = self._source("Y", Y, 0)
            p.y, p.losses = &e.y, <double *>cnp.PyArray_DATA(losses)
        if not self.frozen:
            self._load(False)
        with nogil:
            e.sparse.skips_zeros = skips_zeros(e, False)
        while p.first < n:
            blocks = min((n - p.first + PREDICT_BLOCK - 1) // PREDICT_BLOCK, 8 * e.plan.n_threads)
            with nogil:
                nn_pool_pieces(blocks, e.plan.n_threads, predict_block, &p)
            p.first += blocks * PREDICT_BLOCK
            PyErr_CheckSignals()
        return P, losses

    cdef int _plan_prediction(self, X) except -1:
        cdef Engine *e = &self.e
        self.sources.clear()
        e.x = self._source("X", X, 0)
        e.call.kind, e.call.n_samples, e.call.n_columns, e.call.batch_size = CALL_PREDICT, X.shape[1], X.shape[1], X.shape[1]
        e.call.python_rate, e.call.indices = False, NULL
        plan_call(e)
        if self.frozen:
            e.plan.in_place = False
        return 0

    # -------------------------------------------------------------------------------------------- what others ask

    def plan(self, str call, X, Y=None, batch_size=1, rate=0.0):
        """What plan_call chooses for a call of "sgd", "fit" or "predict", as a dict; see
        nncore.explain."""
        if call == "predict":
            self._plan_prediction(X)
        else:
            self._plan_training(CALL_SGD if call == "sgd" else CALL_FIT, X, Y, None, X.shape[1],
                                min(batch_size, X.shape[1]), rate)
        return self.last_plan

    @property
    def last_plan(self):
        """The plan of the last call, as it ended: path, reasons and what else was chosen."""
        cdef Engine *e = &self.e
        cdef Plan *plan = &e.plan
        cdef list reasons = []
        for i in range(plan.n_reasons):
            reasons.append(REASONS[plan.reasons[i]])
        inputs = "csr" if plan.csr and plan.stepper != FUSED_MINIBATCH else "non-zeros" if plan.nonzeros else "dense"
        return {"path": STEPPERS[plan.stepper].name.decode(), "reasons": reasons,
                "threads": plan.n_threads,
                "parameters": "in place" if plan.in_place else "packed", "inputs": inputs,
                "level": e.net.k.level.decode(), "dtype": np.dtype(dtype_of(e.net.type_number)).name}

    @property
    def nbytes(self):
        """Bytes of memory of its own."""
        cdef Workspace *ws = &self.e.ws
        return ws.weights_buffer.bytes + ws.batch_buffer.bytes + ws.state_buffer.bytes + self.e.fused.buffer.bytes

    def forget(self):
        """Let go of the data; for a program that is kept from one call to the next."""
        self.sources.clear()


# ------------------------------------------------------------------- arrays as the engine sees them

cdef Source source_of(cnp.ndarray x, int type_number) noexcept:
    """A is_addressable array with samples as columns, for a network of this type."""
    cdef Source source
    source.data = <char *>cnp.PyArray_DATA(x)
    source.features = cnp.PyArray_DIM(x, 0)
    source.feature_bytes, source.sample_bytes = cnp.PyArray_STRIDE(x, 0), cnp.PyArray_STRIDE(x, 1)
    source.type = native_type(x)
    source.direct = cnp.PyArray_TYPE(x) == type_number and is_unit_stride(x, 0)
    return source


cdef View matrix_view(object array, bint transposed) noexcept:
    """A matrix, or its transpose: that of a vector (n, 1) is one row."""
    cdef View view
    cdef cnp.ndarray a = <cnp.ndarray>array
    view.data = <char *>cnp.PyArray_DATA(a)
    view.row_bytes, view.column_bytes = cnp.PyArray_STRIDE(a, transposed), cnp.PyArray_STRIDE(a,
                                                                                              not transposed)
    return view


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
