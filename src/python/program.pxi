# The engine's Python interface: a compiled network that trains, in chunks of steps. Used by the
# Python package's training and by Predictor.

cdef class Program(Compiled):
    """A compiled network with its training."""

    cdef cnp.ndarray weights        # of the samples of the call, kept alive
    cdef cnp.ndarray in_order       # 0, 1, 2, ...
    cdef cnp.ndarray equal_rates    # of the last chunk with a number as rate
    # steps per chunk that the last fit arrived at, and its batch size
    cdef Py_ssize_t steps_per_chunk, chunk_batch_size
    cdef nn_total total_before      # of the losses, before the current chunk of fit
    cdef public object optimizer    # whose t counts the steps, or None
    # whole steps that the last sgd or fit has taken, also if it ended in an error
    cdef readonly Py_ssize_t steps
    cdef readonly Py_ssize_t steps_by_function  # of sgd in the loop for rate functions; for tests
    cdef readonly double total      # the loss summed over the samples of these steps of fit

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
                eta = _rates.checked(given, t0 + done + 1)
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
        samples of X, which multiply losses and gradients.
        """
        order = self._first_indices(X.shape[1]) if order is None else np.ascontiguousarray(
            order, dtype=np.int64)
        cdef Py_ssize_t first = 0, count = cnp.PyArray_SIZE(order)
        cdef Py_ssize_t size = max(1, min(<Py_ssize_t>batch_size, count)), steps, bad, t = t0
        cdef double seconds
        cdef bint checks = checks_data
        cdef Copies start = None
        cdef cnp.ndarray rates, indices = order
        cdef Window window = window_for(X, Y, count, size, self.e.net.type_number, weights)
        cdef Py_ssize_t start_of_window = 0, here
        self._begin(CALL_FIT, X, Y, order, count, size, rate, window, weights)
        self.e.run.mean = mean
        if checks and self.e.plan.in_place:  # a backup of the weights would cost too much
            self._check_all_data(X, Y, order, window)
            checks = False
        while first < count:
            steps = min(self._steps_per_chunk(), (count - first + size - 1) // size)
            if window is not None:
                here = window.open(&self.e, order, first, count)
                steps = min(steps, (here + size - 1) // size)
                indices, start_of_window = window.slots, window.first
            rates = self._rates(rate, t + 1, steps)
            steps = min(steps, cnp.PyArray_DIM(rates, 0))
            if self.e.call.python_rate and self.optimizer is not None:
                self.e.opt.updates = self.optimizer.t
            self.total_before = self.e.run.total
            if checks and start is None and first + steps * size < count:
                start = Copies(self.parameters.trained_arrays())  # before the first of many chunks
            self.parameters.load(True)
            self._open_chunk(indices, first - start_of_window, min(steps * size, count - first),
                             size, rates, checks)
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
        self._begin(CALL_FIT, X, Y, order, count, size, 0.0, None, weights)
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
            return <cnp.ndarray>_rates.over(rate, first, count)
        eta = rate
        if (self.equal_rates is None or cnp.PyArray_DIM(self.equal_rates, 0) < count
                or (<double *>cnp.PyArray_DATA(self.equal_rates))[0] != eta):
            self.equal_rates = <cnp.ndarray>_rates.over(rate, first, count)
        return self.equal_rates

    cdef int _begin(self, int kind, X, Y, order, Py_ssize_t n_samples, Py_ssize_t batch_size,
                    rate, Window window=None, weights=None) except -1:
        """Plan a call of training and prepare its first chunk."""
        cdef Engine *e = &self.e
        self._set_weights(weights)
        self.steps, self.total = 0, 0
        self._plan_training(kind, X, Y, order, n_samples, batch_size, rate, False, window)
        e.opt.updates = 0 if self.optimizer is None else self.optimizer.t
        e.run.total, e.run.mean, e.run.checks_weights = nn_total(0, 0), False, False
        e.weight_bound = -1
        e.plan.chunk = first_chunk(e)
        if kind == CALL_FIT and batch_size == self.chunk_batch_size:
            e.plan.chunk = self.steps_per_chunk
        return self._begin_dropouts()

    cdef int _plan_training(self, int kind, X, Y, order, Py_ssize_t n_samples,
                            Py_ssize_t batch_size, rate, bint live=False,
                            Window window=None) except -1:
        cdef Engine *e = &self.e
        cdef Call *call = &e.call
        call.kind, call.n_samples, call.n_columns = kind, n_samples, X.shape[1]
        if window is None:
            e.x = self.samples.source("X", X, n_samples)
            e.y = self.samples.source("Y", Y, n_samples)
        else:
            call.n_columns = window.probe(e, order, n_samples, batch_size == 1)
        call.batch_size, call.live = batch_size, live
        call.python_rate = callable(rate) and not hasattr(rate, "values")
        call.indices = NULL
        if order is not None and window is None:
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

    cdef int _check_all_data(self, X, Y, cnp.ndarray order, Window window) except -1:
        """ValueError if a sample of the call is non-finite."""
        cdef Engine *e = &self.e
        cdef const int64_t *indices = <const int64_t *>cnp.PyArray_DATA(order)
        cdef Py_ssize_t first = 0, count = cnp.PyArray_SIZE(order), n = count
        cdef bint finite
        while first < count:
            if window is not None:
                n = window.open(e, order, first, count)
                indices = <const int64_t *>cnp.PyArray_DATA(window.slots)
            with nogil:
                finite = all_samples_finite(e, &e.x, indices, n, e.ws.x_rows, e.net.x_stride)
                finite = all_samples_finite(e, &e.y, indices, n, e.ws.y_rows,
                                            e.net.outputs) and finite
            if not finite:
                e.run.status = BAD_DATA
                self._refuse_data(X, Y, None)
            first += n
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

    def forget(self):
        """Release the data of the last call, with the weights of its samples."""
        Compiled.forget(self)
        self._set_weights(None)

    # -------------------------------------------------------------------------------------- queries

    def plan(self, str call, X, Y=None, batch_size=1, rate=0.0, weights=None):
        """The plan for a call of "sgd", "fit", "learner" or "predict", as a dict; see
        nncore.explain."""
        self._set_weights(weights)
        if call == "predict":
            self._plan_prediction(X, Y is not None)
        elif call == "learner":
            self._plan_training(CALL_FIT, X, Y, None, 1, 1, rate, not self.e.net.has_special)
        elif call == "sgd":
            self._plan_training(CALL_SGD, X, Y, None, X.shape[1], 1, rate)
        else:
            size = min(batch_size, X.shape[1])
            self._plan_training(CALL_FIT, X, Y, None, X.shape[1], size, rate, False,
                                window_for(X, Y, X.shape[1], size, self.e.net.type_number,
                                           weights))
        return self.last_plan


cdef object diverged(Py_ssize_t t):
    return FloatingPointError(
        f"training diverged at step {t}: the loss or a weight is no longer finite; the weights are "
        f"those after step {t - 1}; a smaller lrate may help")
