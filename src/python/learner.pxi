# Training from Python, a sample or a block per call: the counterpart of predictor.pxi. Created by
# Sequential.learner().
#
# A sample of a plain network takes one step of the engine on the user's own arrays: nothing is
# copied, so that W is current after each call and a write to it counts from the next one. That is
# the general step of `fit` (run_minibatch): partial_fit gives the same bits if it takes that path,
# too, else the same numbers to rounding. Everything else goes to Program.fit, or to the Python
# package: blocks, BatchNorm and Dropout, weights whose rows are not contiguous, modules that are
# not the library's, and every argument that must be refused.

cdef class Learner:
    """A network that learns from one sample, or one block of samples, per call:
    ``loss = learn(x, y)``. Created by Sequential.learner().

    x: a sample (D,), y its label: a class, a number, or a vector (n,); or a block X (D, K) with
    Y (n, K) or (K,). Each call is one step, as ``net.partial_fit(X, Y, batch_size=K)`` makes it,
    and returns the mean loss before the step. The network counts as training until close(), or
    until the ``with`` block ends.
    """

    cdef readonly object net, optimizer
    # the Python side: the checks and whatever is not compiled. It also ends the training of a
    # learner that is dropped: modules for the stable ABI call no __del__ of a cdef class.
    cdef object general
    cdef object rate
    cdef double eta        # the rate if it is a number, else -1
    cdef double known_eta  # what a function has given as rate of this call, else -1
    cdef object token      # in `sessions` while the network counts as training
    cdef object key
    cdef Program program   # of single samples, on the user's arrays; None: go the general way
    cdef Snapshot fingerprint, settings
    cdef int labels
    cdef int called        # taken during a call
    cdef int busy          # taken while a call, or `predict`, uses the program
    cdef bint holds_gil, ready
    cdef uint64_t process  # nn_pool_forks() of the process that the claim on the network is of
    cdef char *label_row   # (outputs), for a label that is not an array
    cdef readonly int64_t fast_calls  # samples that took the compiled step; for tests

    def __cinit__(self, net, optimizer, rate, general):
        self.net, self.optimizer, self.rate, self.general = net, optimizer, rate, general
        self.eta = as_rate(rate)
        self.key = id(net)

    def __dealloc__(self):
        free(self.label_row)

    def open(self, token):
        """Begin, after the network has been claimed under this token."""
        self.token, self.process = token, nn_pool_forks()
        self.prepare()

    cdef int prepare(self) except -1:
        """Check the network and compile it again: at first, and when anything has changed."""
        cdef Engine *e
        self.ready = False
        program, self.fingerprint, self.settings, labels = self.general.prepare()
        self.program = program
        self.labels = LABELS.get(labels, -1)
        self.ready = True
        if self.program is None:
            return 0
        e = &self.program.e
        free(self.label_row)
        self.label_row = <char *>calloc(max(e.net.outputs, 1), sizeof(double))
        if self.label_row == NULL:
            self.ready = False
            raise MemoryError()
        self.holds_gil = e.net.n_weights < GIL_COPY
        e.call.kind, e.call.python_rate, e.call.indices = CALL_FIT, False, NULL
        e.call.n_samples = e.call.n_columns = e.call.batch_size = 1
        e.call.live = True
        plan_call(e)
        self.program.parameters.load(True)
        e.weight_bound = -1
        # a layer that could not be used in place needs loading and storing
        if self.labels < 0 or e.net.has_special or not params_in_place(&e.net):
            self.program = None
        return 0

    # ------------------------------------------------------------------------------------ learning

    def __call__(self, x, y):
        """Learn from a sample or a block; return its mean loss before the step."""
        cdef double loss
        self.enter()
        try:
            if self.program is None:
                self.refresh()
            self.known_eta = -1
            if (self.program is not None and cnp.PyArray_CheckExact(x)
                    and cnp.PyArray_NDIM(<cnp.ndarray>x) == 1 and self.step(x, y, &loss)):
                return loss
            if self.program is not None:
                plain = self.general.plain(x, y)
                # the same path, and so the same bits, for equal numbers in any array
                if plain is not None and self.step(plain[0], plain[1], &loss):
                    return loss
            loss = self.general.step(x, y, None if self.known_eta < 0 else self.known_eta)
            if self.program is not None:
                self.program.e.weight_bound = -1  # the weights have changed
            return loss
        finally:
            self.leave()

    cdef void leave(self) noexcept:
        nn_end_turn(&self.busy)
        nn_end_turn(&self.called)

    cdef int enter(self) except -1:
        """Begin a call: one at a time, while the learner is open."""
        cdef int spins = 0
        if self.process != nn_pool_forks():
            # another thread of the parent may have been inside the engine
            if self.token is not None:
                self.general.claim(self.token)
            self.process, self.ready = nn_pool_forks(), False
            self.called = self.busy = 0
        if not nn_take_turn(&self.called):
            raise RuntimeError("a learner must not be called by two threads at once, or from "
                               "inside a call, got a second call while the first is running")
        while not nn_take_turn(&self.busy):
            with nogil:  # without the GIL, another thread predicts one sample
                nn_wait(&spins)
        if self.token is None:
            self.leave()
            raise RuntimeError("the learner is closed; net.learner() makes a new one")
        return 0

    cdef bint step(self, cnp.ndarray x, object y, double *loss) except -1:
        """Learn from one sample on the compiled step. Returns False, with nothing changed, if the
        general way must be gone."""
        cdef double eta = self.eta
        cdef int64_t t, first = 0
        cdef Py_ssize_t bad, written
        cdef Engine *e
        cdef Run *run
        cdef Source x_source, y_source
        written = self.sources(x, y, &x_source, &y_source)
        if written == -2:
            return False
        if eta < 0:
            if self.known_eta < 0:
                self.known_eta = _rates.at(self.rate, self.optimizer.t + 1)
            eta = self.known_eta
        if not (self.ready and uses_compiled_kernels and self.fingerprint.same(self.net)
                and self.settings.same(self.optimizer)):
            self.refresh()
            written = -2 if self.program is None else self.sources(x, y, &x_source, &y_source)
        if written == -2 or not self.fingerprint.is_disjoint(x):
            return False
        e, t = &self.program.e, self.optimizer.t
        run = &e.run
        run.x, run.y, run.indices = &x_source, &y_source, &first
        run.n_samples, run.batch_size, run.rates = 1, 1, &eta
        run.mean, run.checks_data, run.checks_weights = True, True, False
        run.total, run.status, run.offset, run.steps_before = nn_total(0, 0), FINITE, 0, 0
        e.opt.updates = t
        self.program.steps, self.program.optimizer = 0, self.optimizer
        if self.holds_gil:
            bad = self.run_step(e)
        else:
            with nogil:
                bad = self.run_step(e)
        if bad:
            self.recover(x, y, t)
        if written >= 0:
            memset(self.label_row, 0, (written + 1) * sizeof(double))
        self.optimizer.t = t + 1
        self.fast_calls += 1
        loss[0] = nn_value(&run.total)
        return True

    cdef Py_ssize_t run_step(self, Engine *e) noexcept nogil:
        """Take the step that e.run describes. Returns 0, or 1 if a value is non-finite or might
        become so."""
        cdef Py_ssize_t bad
        cdef uint64_t mode
        if e.weight_bound < 0:
            start_bounds(e)
        if not e.opt.active:
            return STEPPERS[e.plan.stepper].run(e, &e.run)
        mode = nn_flush_subnormals()
        bad = STEPPERS[e.plan.stepper].run(e, &e.run)
        nn_restore_subnormals(mode)
        return bad

    cdef int refresh(self) except -1:
        """Compare in full; prepare again if anything has changed."""
        if not (self.ready and uses_compiled_kernels and self.fingerprint.holds(self.net)
                and self.settings.holds(self.optimizer)):
            self.prepare()
            return 0
        self.optimizer.bind(self.net)  # it may have been reset
        if self.program is not None:  # arrays may have moved
            self.program.parameters.load(True)
            self.program.e.weight_bound = -1
        return 0

    cdef int recover(self, cnp.ndarray x, y, int64_t t) except -1:
        """Finish a step that might not stay finite. ValueError for data, FloatingPointError for
        divergence; the weights are then those from before the step."""
        cdef Program program = self.program
        memset(self.label_row, 0, program.e.net.outputs * sizeof(double))
        if program.e.run.status == UNSURE:
            self.label_source(y, <Source *>program.e.run.y)
            if program._careful_step():
                return 0
        elif program.e.run.status & BAD_DATA:
            program._refuse_data(np.asarray(x)[:, None], np.atleast_1d(y)[:, None], None)
        raise diverged(t + 1)

    cdef Py_ssize_t sources(self, cnp.ndarray x, object y, Source *x_source,
                            Source *y_source) except? -2:
        """The Sources for a sample and its label; returns what label_source does."""
        cdef Network *net = &self.program.e.net
        if not vector_source(x, net.inputs, net.type_number, x_source):
            return -2
        return self.label_source(y, y_source)

    cdef Py_ssize_t label_source(self, object y, Source *source) except? -2:
        """The Source for a label. Returns -2 if the general way must check it, else the last entry
        of label_row that has been written, or -1."""
        cdef Network *net = &self.program.e.net
        cdef double value
        cdef cnp.ndarray a
        cdef Py_ssize_t at = 0
        if cnp.PyArray_CheckExact(y) and cnp.PyArray_NDIM(<cnp.ndarray>y) == 1:
            a = <cnp.ndarray>y
            if (not vector_source(a, net.outputs, net.type_number, source)
                    or not vector_fits(source, self.labels) or not self.fingerprint.is_disjoint(a)):
                return -2
            return -1
        if type(y) is int or type(y) is float or cnp.PyArray_CheckScalar(y):
            try:
                value = y
            except (TypeError, ValueError, OverflowError):
                return -2
        else:
            return -2
        if self.labels == CLASSES:
            if not (0 <= value < net.outputs and value == <double><Py_ssize_t>value):
                return -2
            at, value = <Py_ssize_t>value, 1
        elif net.outputs != 1 or not label_fits(value, self.labels):
            return -2
        if net.type_number == cnp.NPY_DOUBLE:
            (<double *>self.label_row)[at] = value
        else:
            (<float *>self.label_row)[at] = <float>value
        source.data, source.features, source.direct = self.label_row, net.outputs, True
        source.feature_bytes, source.sample_bytes = net.itemsize, 0
        source.row_starts = NULL
        source.type = real_type(net)
        return at

    # ---------------------------------------------------------------------------------- the network

    def predict(self, x):
        """Return the network's outputs, as `predictor()` would with the weights as they are now:
        (n,) for a sample (D,), (n, K) for a block (D, K)."""
        cdef cnp.ndarray out = None
        if (cnp.PyArray_CheckExact(x) and cnp.PyArray_NDIM(<cnp.ndarray>x) == 1
                and self.process == nn_pool_forks() and nn_take_turn(&self.busy)):
            try:
                out = self.outputs(<cnp.ndarray>x)
            finally:
                nn_end_turn(&self.busy)
        return self.general.predict(x) if out is None else out

    cdef cnp.ndarray outputs(self, cnp.ndarray x):
        """The outputs for one sample by the compiled network; None if it must be prepared again, or
        x converted first. A call in another thread replaces the program and the fingerprint."""
        cdef Source source
        cdef Batch batch
        cdef Layer *last
        cdef cnp.npy_intp n
        cdef cnp.ndarray out
        cdef Engine *e
        if (self.program is None or not self.ready or self.token is None
                or not uses_compiled_kernels or not self.fingerprint.same(self.net)):
            return None
        e = &self.program.e
        if not vector_source(x, e.net.inputs, e.net.type_number, &source):
            return None
        memset(&batch, 0, sizeof(batch))
        batch.size, batch.gemm = 1, e.ws.gemm
        batch.x = read_sample(&e.net, &source, 0, e.ws.x_rows)
        forward(e, &batch, False)
        last, n = &e.net.layers[e.net.n_layers - 1], e.net.outputs
        out = <cnp.ndarray>cnp.PyArray_EMPTY(1, &n, e.net.type_number, False)
        memcpy(cnp.PyArray_DATA(out), last.a, n * e.net.itemsize)
        return out

    def sync(self):
        """Make the arrays of the network current. They are after every call, so there is nothing to
        do; programs that call it are also right on networks whose weights may be kept elsewhere."""
        if self.token is None:
            raise RuntimeError("the learner is closed; net.learner() makes a new one")

    def close(self):
        """End the training: the network may be trained otherwise again. A closed learner only
        predicts."""
        token, self.token = self.token, None
        if token is not None:
            end_session(self.key, token)

    @property
    def closed(self):
        """Whether the learner has ended."""
        return self.token is None

    def __enter__(self):
        if self.token is None:
            raise RuntimeError("the learner is closed; net.learner() makes a new one")
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __reduce__(self):
        raise TypeError("a learner cannot be pickled or copied; pickle or save its network, and "
                        "make a new learner of that")

    def __repr__(self):
        return f"Learner({self.general.description}, {self.optimizer!r}, lrate={self.rate!r})"


cdef bint vector_source(cnp.ndarray x, Py_ssize_t features, int type_number,
                        Source *source) noexcept:
    """The Source for one sample (features,) of any native real type; False for another array."""
    cdef int type_ = native_type(x)
    if (cnp.PyArray_NDIM(x) != 1 or cnp.PyArray_DIM(x, 0) != features or type_ < 0
            or not cnp.PyArray_ISBEHAVED_RO(x)):
        return False
    source.data, source.features, source.type = <char *>cnp.PyArray_DATA(x), features, type_
    source.feature_bytes, source.sample_bytes = cnp.PyArray_STRIDE(x, 0), 0
    source.row_starts = NULL
    source.direct = cnp.PyArray_TYPE(x) == type_number and is_unit_stride(x, 0)
    return True


cdef bint vector_fits(const Source *source, int labels) noexcept:
    """label_fits for every entry of a vector."""
    cdef Py_ssize_t i
    cdef double value
    for i in range(source.features if labels != NUMBERS else 0):
        value = number_at(source.data + i * source.feature_bytes, source.type)
        if not label_fits(value, labels):
            return False
    return True
