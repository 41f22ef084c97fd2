# The engine's Python interface: a network of library modules, compiled. Program owns an engine and
# refers to the user's objects; everything that runs without Python is in engine/. Used by the
# Python package's training and by Predictor.

# The lists of kernels/kernels.h: {name: number}.
LOSSES = {None: NN_NO_LOSS}
for _number in range(NN_NLL, NN_ALL_LOSS_KINDS):
    LOSSES[nn_loss_name(_number).decode()] = _number
ACTIVATIONS = {}
for _number in range(NN_ACTIVATION_KINDS):
    ACTIVATIONS[nn_activation_name(_number).decode()] = _number


PROGRAM_RULES = {
    **RULES, "velocity": NN_VELOCITY, "nesterov_velocity": NN_NESTEROV_VELOCITY,
    "gradient": NN_MOMENTUM,  # for the layout of its state; see Program.gradient
}
SPECIAL_KINDS = {"batchnorm": BATCHNORM, "dropout": DROPOUT}  # the layers of engine/special.pxi


cdef nn_activation activation_named(name):
    """An activation by its name, or by (name, slope)."""
    kind, slope = (name, 0) if isinstance(name, str) else name
    return nn_activation(ACTIVATIONS[kind], slope)


cdef class Program:
    """A Sequential of library modules, compiled. Created by the Python package, which has validated
    the arguments.

    stages: [(Linear or None, activation's name)], or (BatchNorm, "batchnorm"), (Dropout,
    "dropout"); loss: a name, or None for prediction alone; plain: NLL's gradient is a − y for any
    sum of a sample's labels.
    """

    cdef Engine e
    cdef Parameters parameters
    cdef Samples samples
    cdef list dropouts              # (layer, Dropout)
    cdef cnp.ndarray weights        # of the samples of the call, kept alive
    cdef cnp.ndarray in_order       # 0, 1, 2, ...
    cdef cnp.ndarray equal_rates    # of the last chunk with a number as rate
    cdef bint frozen
    cdef public bint live           # predicts with the weights where they are, in short calls
    cdef bint holds_gil             # in such a call
    # steps per chunk that the last fit arrived at, and its batch size
    cdef Py_ssize_t steps_per_chunk, chunk_batch_size
    cdef nn_total total_before      # of the losses, before the current chunk of fit
    cdef public object optimizer    # whose t counts the steps, or None
    # whole steps that the last sgd or fit has taken, also if it ended in an error
    cdef readonly Py_ssize_t steps
    cdef readonly Py_ssize_t steps_by_function  # of sgd in the loop for rate functions; for tests
    cdef readonly double total      # the loss summed over the samples of these steps of fit

    def __cinit__(self, list stages, loss, dtype, inputs, plain=False):
        cdef Engine *e = &self.e
        cdef Py_ssize_t bytes_ = len(stages) * sizeof(Layer)
        e.net.type_number = cnp.NPY_FLOAT if np.dtype(dtype) == np.float32 else cnp.NPY_DOUBLE
        e.net.k = kernels_for(e.net.type_number)
        e.net.itemsize, e.net.inputs = e.net.k.itemsize, inputs
        e.net.loss, e.net.trains, e.net.plain_nll = LOSSES[loss], loss is not None, plain
        e.net.layers = <Layer *>calloc(max(len(stages), 1), sizeof(Layer))
        if e.net.layers == NULL:
            raise MemoryError(f"to run this network takes {bytes_} bytes, which are not available")
        e.ws.n_threads, e.lookahead.step = 1, -1
        e.objective.loss_factor = e.objective.gradient_factor = 1
        e.net.x_stride = padded_stride(&e.net, inputs)
        self.samples, self.dropouts = Samples(e.net.type_number), []
        self.parameters = Parameters()
        self.parameters.e = e
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
        """The reason against the fused kernels, or ACCEPTED, after choosing their vector width."""
        cdef Py_ssize_t widest = 0, outputs = 0, first_weights = 0
        for module, name in stages:
            if module is None or name in SPECIAL_KINDS:
                return INNER_LAYERS
            outputs += name in ("softmax", "output_sigmoid")
            widest = max(widest, module.W.shape[1])
            first_weights = first_weights or module.W.size
        if not self.e.net.trains:
            return OTHER_CALL
        # the output unit is the last one: SoftMax, OutputSigmoid or, for other losses, none
        if outputs != (self.e.net.loss == NN_NLL or self.e.net.loss == NN_BINARY_NLL):
            return INNER_LAYERS
        return ACCEPTED if choose_fused(&self.e, widest, first_weights) else TOO_LARGE

    cdef int _add_layers(self, list stages) except -1:
        """Append a layer per stage and record the modules with weights."""
        cdef Engine *e = &self.e
        cdef Py_ssize_t width = e.net.inputs
        for i, (module, name) in enumerate(stages):
            if name in SPECIAL_KINDS:
                add_layer(e, SPECIAL_KINDS[name], no_activation(), width, width)
                if name == "dropout":
                    self.dropouts.append((i, module))
                elif name == "batchnorm":
                    self._set_norm(i, module)
            elif module is None:
                add_layer(e, ACTIVATION, activation_named(name), width, width)
            else:
                if module.W.shape[0] != width:
                    raise ValueError(f"W must have shape ({width}, n) to follow a module with "
                                     f"{width} outputs, got {module.W.shape}")
                add_layer(e, LINEAR, activation_named(name), width, module.W.shape[1])
                self.parameters.owners.append((i, module, "W", "W0"))
            width = e.net.outputs
        return 0

    cdef int _set_norm(self, Py_ssize_t i, module) except -1:
        """Copy the settings of a BatchNorm to layer i."""
        cdef NormState *norm = &self.e.net.layers[i].norm
        norm.eps, norm.momentum = module.eps, module.momentum
        norm.running = module.statistics == "running"
        self.parameters.owners.append((i, module, "G", "B"))
        if norm.running:
            self.parameters.norms.append((i, module))
        return 0

    def use(self, str rule, dict parameters, list states, double l2):
        """Train by another rule than plain SGD, with its parameters by name.

        states: ((arrays of W's state), (arrays of W0's state)) of each module with weights,
        C-contiguous, of the network's type; l2: the penalty's factor.
        """
        self.parameters.states = states
        set_optimizer(&self.e, PROGRAM_RULES[rule],
                      parameters.get("beta1", 0), parameters.get("beta2", 0),
                      parameters.get("eps", 0), l2, parameters.get("weight_decay", 0),
                      len(states[0][0]))

    def set_objective(self, double loss_factor=1, double gradient_factor=1,
                      double loss_parameter=0, bint clips=False, double l2_per_weight=-1,
                      bint plain_root=False, bint continues=False, bint short_calls=False):
        """Train by fit with other conventions than nncore's, as scikit-learn's estimators do; after
        `use`.

        loss_factor, gradient_factor: of the loss's value and gradient; loss_parameter: of Huber or
        quantile; clips: NLL's value takes probabilities in [eps, 1 - eps]; l2_per_weight: a
        penalty's factor that is divided by the batch's weight, from 0; plain_root: Adam adds eps to
        the root of the uncorrected second moment; continues: non-finite values do not end fit;
        short_calls: calls on a few samples use the weights where they are.
        """
        cdef Objective *objective = &self.e.objective
        objective.differs = True
        objective.loss_factor, objective.gradient_factor = loss_factor, gradient_factor
        objective.loss_parameter, objective.clips = loss_parameter, clips
        objective.l2_per_weight, objective.l2 = l2_per_weight >= 0, l2_per_weight
        objective.plain_root, objective.continues = plain_root, continues
        objective.short_calls = short_calls

    # ------------------------------------------------------------------------------------- training

    def sgd(self, X, Y, iters, rate, on_nonfinite, t0=0):
        """Take `iters` steps of stochastic gradient descent, each on one sample drawn by
        np.random.randint(N).

        rate is η: a number, a nncore.schedules.Schedule, or a function of t = t0 + 1, t0 + 2, ...
        on_nonfinite(t) is called once, for the first step with a non-finite loss, and training
        continues.
        """
        self._begin(CALL_SGD, X, Y, None, iters, 1, rate)
        if type(rate) is WatchedRate and self._sgd_by_function(X, iters, rate, on_nonfinite, t0):
            return
        cdef Py_ssize_t done = 0, total = iters, steps, bad
        cdef cnp.ndarray indices, rates
        cdef bint warned = False
        cdef double seconds
        n = X.shape[1]
        while done < total:
            steps = min(self._steps_per_chunk(), total - done)
            # before the samples are drawn, so that an invalid rate draws none
            rates = self._rates(rate, t0 + done + 1, steps)
            steps = min(steps, cnp.PyArray_DIM(rates, 0))
            indices = draws.many(n, steps)
            self.parameters.load(True)
            self._open_chunk(indices, 0, steps, 1, rates, False)
            seconds = now()
            bad = self._run()
            # the weights are invalid then; the next stepper finds the step
            if bad and self.e.plan.stepper == FUSED_SGD:
                plan_demote(&self.e, NON_FINITE)
                self.parameters.load(True)
                self._open_chunk(indices, 0, steps, 1, rates, False)
                bad = self._run()
            seconds = now() - seconds
            self.parameters.store()
            self._advance(steps)
            if bad and not warned:
                warned = True
                on_nonfinite(t0 + done + bad)
            done += steps
            PyErr_CheckSignals()
            self._set_steps_per_chunk(steps, seconds)

    cdef bint _sgd_by_function(self, X, Py_ssize_t iters, WatchedRate watched, on_nonfinite,
                               Py_ssize_t t0) except -1:
        """The steps of sgd on the user's own arrays, each with the rate that a function gives for
        it. Returns False, with nothing done, if the weights cannot be used in place."""
        cdef Engine *e = &self.e
        cdef Run *run = &e.run
        cdef Snapshot snapshot = watched.snapshot
        cdef object function = watched.rate, given
        cdef Py_ssize_t done, n = X.shape[1]
        cdef double eta
        cdef int64_t index
        cdef bint bad, warned = False, holds_gil = e.net.n_weights < GIL_COPY
        if e.net.has_special or snapshot is None:
            return False
        self.parameters.load(True)
        if not params_in_place(&e.net):
            return False
        run.x, run.y, run.indices, run.rates = &e.x, &e.y, &index, &eta
        run.n_samples, run.batch_size, run.checks_data, run.offset = 1, 1, False, 0
        e.sparse.skips_zeros = False
        for done in range(iters):
            given = function(t0 + done + 1)
            if not snapshot.same(watched.owner):
                if not snapshot.holds(watched.owner):
                    raise watched.changed(given)
                self.parameters.load(True)  # arrays may have moved
                if not params_in_place(&e.net):
                    raise watched.changed(given)
            eta = given if isinstance(given, float) else -1
            if not (0 <= eta and isfinite(eta)):
                eta = schedules.checked(given, t0 + done + 1)
            index = draws.one(n)
            run.status, run.steps_before = FINITE, self.steps
            if holds_gil:
                bad = STEPPERS[e.plan.stepper].run(e, run)
            else:
                with nogil:
                    bad = STEPPERS[e.plan.stepper].run(e, run)
            self.steps += 1
            self.steps_by_function += 1
            if bad and not warned:
                warned = True
                on_nonfinite(t0 + done + 1)
            PyErr_CheckSignals()
        return True

    def fit(self, X, Y, cnp.ndarray order, batch_size, rate, t0, mean, checks_data=False,
            weights=None):
        """Make one pass over the sample indices `order` in batches; return the loss summed over all
        samples, each batch's before its update. self.total is that of the steps taken so far.

        FloatingPointError on divergence, with the weights after the last step that left all of them
        finite. checks_data: ValueError if a sample is non-finite, with the initial weights; each
        batch is checked as it is read, which saves a pass over all data. weights: float64, of all
        samples; a batch whose weights sum to 0 makes no step.
        """
        order = self._first_indices(X.shape[1]) if order is None else np.ascontiguousarray(
            order, dtype=np.int64)
        cdef Py_ssize_t first = 0, count = cnp.PyArray_SIZE(order)
        cdef Py_ssize_t size = max(1, min(<Py_ssize_t>batch_size, count)), steps, bad, t = t0
        cdef double seconds
        cdef bint checks = checks_data
        cdef Copies start = None
        cdef cnp.ndarray rates
        self._begin(CALL_FIT, X, Y, order, count, size, rate)
        self.e.run.mean = mean
        self._set_weights(weights)
        if checks and self.e.plan.in_place:  # a backup of the weights would cost too much
            self._check_all_data(X, Y, order)
            checks = False
        while first < count:
            steps = min(self._steps_per_chunk(), (count - first + size - 1) // size)
            rates = self._rates(rate, t + 1, steps)
            steps = min(steps, cnp.PyArray_DIM(rates, 0))
            if self.e.call.python_rate and self.optimizer is not None:
                self.e.opt.updates = self.optimizer.t
            self.total_before = self.e.run.total
            if checks and start is None and first + steps * size < count:
                start = Copies(self.parameters.trained_arrays())  # before the first of many chunks
            self.parameters.load(True)
            self._open_chunk(order, first, min(steps * size, count - first), size, rates, checks)
            seconds = now()
            bad = self._run()
            seconds = now() - seconds
            if bad:
                steps = self._recover(X, Y, start, bad, t)
            else:
                self.parameters.store()
                self._advance(steps)
            self.total = nn_value(&self.e.run.total)
            first += min(steps * size, count - first)
            t += steps
            PyErr_CheckSignals()
            self._set_steps_per_chunk(steps, seconds)
        return self.total

    def gradient(self, X, Y, order, batch_size, weights=None):
        """Add the gradient of the summed loss over the samples `order` to the arrays of the state
        that use("gradient", ...) was given; return the summed loss, each sample's times its
        weight."""
        order = np.ascontiguousarray(order, dtype=np.int64)
        cdef Py_ssize_t count = cnp.PyArray_SIZE(order)
        cdef Py_ssize_t size = max(1, min(<Py_ssize_t>batch_size, count))
        cdef cnp.ndarray rates = np.full((count + size - 1) // size,
                                         -self.e.objective.gradient_factor)
        self._begin(CALL_FIT, X, Y, order, count, size, 0.0)
        self._set_weights(weights)
        self.parameters.load(False)
        self._open_chunk(order, 0, count, size, rates, False)
        with nogil:
            gradient_steps(&self.e, &self.e.run)
        self.parameters.store()
        PyErr_CheckSignals()
        return nn_value(&self.e.run.total)

    cdef int _set_weights(self, cnp.ndarray weights) except -1:
        """Weigh the samples of this call."""
        self.weights = weights
        self.e.objective.weights = NULL
        if weights is not None:
            if (cnp.PyArray_TYPE(weights) != cnp.NPY_DOUBLE
                    or not cnp.PyArray_IS_C_CONTIGUOUS(weights)):
                raise TypeError("weights must be a contiguous float64 array")
            self.e.objective.weights = <const double *>cnp.PyArray_DATA(weights)
        return 0

    cdef cnp.ndarray _first_indices(self, Py_ssize_t count):
        """0, 1, 2, ..., of which the first `count` are read."""
        if self.in_order is None or cnp.PyArray_DIM(self.in_order, 0) != count:
            self.in_order = np.arange(count, dtype=np.int64)
        return self.in_order

    cdef cnp.ndarray _rates(self, rate, Py_ssize_t first, Py_ssize_t count):
        """The step sizes of a chunk, float64: at least `count`, or fewer if the next one is
        invalid."""
        cdef double eta
        if type(rate) is not float:
            return <cnp.ndarray>schedules.over(rate, first, count)
        eta = rate
        if (self.equal_rates is None or cnp.PyArray_DIM(self.equal_rates, 0) < count
                or (<double *>cnp.PyArray_DATA(self.equal_rates))[0] != eta):
            self.equal_rates = <cnp.ndarray>schedules.over(rate, first, count)
        return self.equal_rates

    cdef int _begin(self, int kind, X, Y, order, Py_ssize_t n_samples, Py_ssize_t batch_size,
                    rate) except -1:
        """Plan a call of training and prepare its first chunk."""
        cdef Engine *e = &self.e
        self.steps, self.total = 0, 0
        self._plan_training(kind, X, Y, order, n_samples, batch_size, rate)
        e.opt.updates = 0 if self.optimizer is None else self.optimizer.t
        e.run.total, e.run.mean, e.run.checks_weights = nn_total(0, 0), False, False
        e.weight_bound = -1
        e.plan.chunk = first_chunk(e)
        if kind == CALL_FIT and batch_size == self.chunk_batch_size:
            e.plan.chunk = self.steps_per_chunk
        return self._begin_dropouts()

    cdef int _plan_training(self, int kind, X, Y, order, Py_ssize_t n_samples,
                            Py_ssize_t batch_size, rate, bint live=False) except -1:
        cdef Engine *e = &self.e
        cdef Call *call = &e.call
        e.x, e.y = self.samples.source("X", X, n_samples), self.samples.source("Y", Y, n_samples)
        call.kind, call.n_samples, call.n_columns = kind, n_samples, X.shape[1]
        call.batch_size, call.live = batch_size, live
        call.python_rate = callable(rate) and not hasattr(rate, "values")
        call.indices = NULL
        if order is not None:
            call.indices = <const int64_t *>cnp.PyArray_DATA(<cnp.ndarray>order)
        return plan_call(e)

    cdef int _begin_dropouts(self) except -1:
        """Draw the keys of the Dropouts' masks."""
        cdef DropoutState *drop
        for i, module in self.dropouts:
            drop = &self.e.net.layers[<Py_ssize_t>i].drop
            module.draw_key()
            drop.key, drop.count = module.key, module.count
            drop.threshold, drop.scale = dropout_threshold(module.p), 1 / (1 - module.p)
        return 0

    cdef int _advance(self, Py_ssize_t steps) except -1:
        """Count whole steps, in the optimizer and in the Dropouts as well."""
        self.steps += steps
        self.e.opt.updates += steps - self.e.objective.skipped
        self.e.objective.skipped = 0
        if self.optimizer is not None:
            self.optimizer.t = self.e.opt.updates
        for i, module in self.dropouts:
            module.count = self.e.net.layers[<Py_ssize_t>i].drop.count + self.steps
        return 0

    cdef Py_ssize_t _steps_per_chunk(self) noexcept:
        """Steps until Python code may run again."""
        if self.e.call.python_rate:
            return 1
        return FUSED_CHUNK if self.e.plan.stepper == FUSED_SGD else self.e.plan.chunk

    cdef void _set_steps_per_chunk(self, Py_ssize_t steps, double seconds) noexcept:
        """Choose the steps of the next chunk by the time of the last one."""
        cdef Plan *plan = &self.e.plan
        cdef Py_ssize_t multiple = plan.chunk_multiple
        plan.chunk = (next_chunk(steps, seconds) + multiple - 1) // multiple * multiple
        if plan.call == CALL_FIT and not self.e.call.python_rate:
            self.steps_per_chunk, self.chunk_batch_size = plan.chunk, self.e.call.batch_size

    cdef int _open_chunk(self, cnp.ndarray indices, Py_ssize_t first, Py_ssize_t n_samples,
                         Py_ssize_t batch_size, cnp.ndarray rates, bint checks) except -1:
        """Set e.run to a chunk of steps on the samples from indices[first] on, after the weights
        have been loaded."""
        cdef Engine *e = &self.e
        cdef Run *run = &e.run
        run.x, run.y = &e.x, &e.y
        run.indices = <const int64_t *>cnp.PyArray_DATA(indices) + first
        run.n_samples, run.batch_size = n_samples, batch_size
        run.rates = <const double *>cnp.PyArray_DATA(rates)
        run.checks_data, run.steps_before, run.offset = checks, self.steps, 0
        e.objective.skipped = 0
        run.status = FINITE
        cdef bint bounded = e.plan.in_place and e.plan.call == CALL_FIT
        with nogil:
            if (bounded and not e.objective.continues
                    and (e.call.python_rate or e.weight_bound < 0)):
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
            if (bad == 0 and e.plan.call == CALL_FIT and not e.plan.in_place
                    and not e.objective.continues and not weights_finite(&e.net)):
                bad = (run.n_samples + run.batch_size - 1) // run.batch_size
                run.status = BAD_WEIGHTS
        return bad

    # ---------------------------------------------------------------------------- non-finite values

    cdef Py_ssize_t _recover(self, X, Y, Copies start, Py_ssize_t bad, Py_ssize_t t) except -1:
        """Recover from a chunk of fit whose step `bad` produced a non-finite value: finish the
        steps before it, and the step itself if its result is finite.

        Returns the number of steps taken. FloatingPointError on divergence, ValueError if a sample
        is non-finite.
        """
        cdef Run *run = &self.e.run
        cdef Py_ssize_t steps = (run.n_samples + run.batch_size - 1) // run.batch_size
        if run.checks_data:
            self._refuse_data(X, Y, start)
            run.checks_data = False
        plan_demote(&self.e, NON_FINITE)
        if self.e.plan.in_place:
            self.parameters.store()
            self._advance(bad - 1)
            run.indices += (bad - 1) * run.batch_size
            run.rates += bad - 1
            run.n_samples = min(run.batch_size, run.n_samples - (bad - 1) * run.batch_size)
            if run.status == BAD_LOSS or not self._careful_step():
                raise diverged(t + bad)
            self._advance(1)
            return bad
        # the user's arrays still hold the weights from before the chunk: run it again to find the
        # step, then again up to that step
        self.parameters.load(True)
        run.total = self.total_before
        run.checks_weights = True
        bad = self._run()
        run.checks_weights = False
        if not bad:  # a fused kernel's test for non-finite values is stricter than necessary
            self.parameters.store()
            self._advance(steps)
            return steps
        self.parameters.load(True)
        run.total = self.total_before
        run.n_samples = (bad - 1) * run.batch_size
        self._run()
        self.parameters.store()
        self._advance(bad - 1)
        raise diverged(t + bad)

    cdef bint _careful_step(self) except -1:
        """Take a step on weights in place. Returns False if a weight became non-finite and the step
        was undone."""
        cdef Run *run = &self.e.run
        cdef Copies kept = Copies(self.parameters.trained_arrays())
        cdef Py_ssize_t bad
        self.parameters.load(True)
        run.checks_weights = True
        bad = self._run()
        run.checks_weights = False
        self.parameters.store()
        if bad:
            kept.put_back()
        self.e.weight_bound = -1
        return bad == 0

    cdef int _check_all_data(self, X, Y, cnp.ndarray order) except -1:
        """ValueError if a sample of the call is non-finite."""
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
        """ValueError if X or Y is non-finite, after restoring the initial weights."""
        try:
            _checks.finite("X", X)
            _checks.finite("Y", Y)
            if self.e.run.status & BAD_DATA:
                number = np.dtype(dtype_of(self.e.net.type_number))
                raise ValueError(f"X and Y must be finite in the network's type {number}, got a "
                                 "number beyond its range")
        except BaseException:
            if start is not None:
                start.put_back()
            self._advance(-self.steps)
            raise
        return 0

    # ----------------------------------------------------------------------------------- prediction

    def freeze(self):
        """Read the weights now, for all later runs."""
        self.e.plan.in_place, self.e.plan.transposes = False, TRANSPOSE_NONE
        self.parameters.load(False)
        self.frozen = True

    def run(self, X, Y=None):
        """(P, losses): the outputs (n, N), Fortran-ordered, and, given Y, the loss of each sample
        from its logits, (N,) float64, else None."""
        cdef Engine *e = &self.e
        cdef Py_ssize_t n = X.shape[1], blocks
        cdef cnp.ndarray P = new_matrix(e.net.outputs, n, e.net.type_number, True)
        cdef cnp.ndarray losses = None
        cdef Prediction p
        self._plan_prediction(X, Y is not None)
        p.e, p.x, p.y, p.first, p.n_samples = e, &e.x, NULL, 0, n
        p.outputs, p.losses = <char *>cnp.PyArray_DATA(P), NULL
        if Y is not None:
            losses = np.empty(n, np.float64)
            e.y = self.samples.source("Y", Y, 0)
            p.y, p.losses = &e.y, <double *>cnp.PyArray_DATA(losses)
        if not self.frozen:
            self.parameters.load(False)
        if e.plan.csr:
            with nogil:
                e.sparse.skips_zeros = skips_zeros(e, False)
        while p.first < n:
            blocks = min((n - p.first + PREDICT_BLOCK - 1) // PREDICT_BLOCK, 8 * e.plan.n_threads)
            if self.holds_gil:
                nn_pool_pieces(blocks, e.plan.n_threads, predict_block, &p)
            else:
                with nogil:
                    nn_pool_pieces(blocks, e.plan.n_threads, predict_block, &p)
            p.first += blocks * PREDICT_BLOCK
            PyErr_CheckSignals()
        return P, losses

    cdef int _plan_prediction(self, X, bint labelled) except -1:
        cdef Engine *e = &self.e
        self.samples.clear()
        e.x = self.samples.source("X", X, 0)
        e.call.kind, e.call.python_rate, e.call.indices = CALL_PREDICT, False, NULL
        e.call.labelled = labelled
        e.call.n_samples = e.call.n_columns = e.call.batch_size = X.shape[1]
        plan_call(e)
        self.holds_gil = (self.live and e.net.n_weights * <Py_ssize_t>X.shape[1] <= GIL_PREDICTION)
        e.plan.in_place = (e.plan.in_place or self.holds_gil) and not self.frozen
        e.call.live = self.holds_gil
        return 0

    # -------------------------------------------------------------------------------------- queries

    def plan(self, str call, X, Y=None, batch_size=1, rate=0.0):
        """The plan for a call of "sgd", "fit", "learner" or "predict", as a dict; see
        nncore.explain."""
        if call == "predict":
            self._plan_prediction(X, Y is not None)
        elif call == "learner":
            self._plan_training(CALL_FIT, X, Y, None, 1, 1, rate, not self.e.net.has_special)
        else:
            self._plan_training(CALL_SGD if call == "sgd" else CALL_FIT, X, Y, None, X.shape[1],
                                min(batch_size, X.shape[1]), rate)
        return self.last_plan

    @property
    def last_plan(self):
        """The plan of the last call, as a dict: path, reasons, threads, parameters, inputs, level,
        dtype."""
        cdef Engine *e = &self.e
        cdef Plan *plan = &e.plan
        cdef list reasons = []
        for i in range(plan.n_reasons):
            reasons.append(REASONS[plan.reasons[i]])
        inputs = "dense"
        if plan.csr and plan.stepper != FUSED_MINIBATCH:
            inputs = "csr"
        elif plan.nonzeros:
            inputs = "non-zeros"
        return {
            "path": STEPPERS[plan.stepper].name.decode(),
            "reasons": reasons,
            "threads": plan.n_threads,
            "parameters": "in place" if plan.in_place else "packed",
            "inputs": inputs,
            "level": e.net.k.level.decode(),
            "dtype": np.dtype(dtype_of(e.net.type_number)).name,
        }

    @property
    def nbytes(self):
        """Bytes of the engine's buffers."""
        cdef Workspace *ws = &self.e.ws
        return (ws.weights_buffer.bytes + ws.batch_buffer.bytes + ws.state_buffer.bytes
                + self.e.fused.buffer.bytes)

    @property
    def resident_bytes(self):
        """nbytes less a large buffer for packed weights that the last call did not touch."""
        cdef size_t packed = self.e.ws.weights_buffer.bytes
        untouched = (packed > POOLED_MAX_BYTES and self.e.plan.in_place
                     and params_in_place(&self.e.net))
        return self.nbytes - (packed if untouched else 0)

    def forget(self):
        """Release the data of the last call; for a program that is cached between calls."""
        self.samples.clear()


cdef bint params_in_place(const Network *net) noexcept:
    """True if the user's arrays are in use, of every layer."""
    cdef Py_ssize_t i
    for i in range(net.n_layers):
        if net.layers[i].params.rows and net.layers[i].params.w == net.layers[i].params.packed_w:
            return False
    return True


cdef object diverged(Py_ssize_t t):
    return FloatingPointError(
        f"training diverged at step {t}: the loss or a weight is no longer finite; the weights are "
        f"those after step {t - 1}; a smaller lrate may help")
