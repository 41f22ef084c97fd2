# Trainings over many epochs: as one object, for nncore.sklearn, and passes of `fit` between which
# no Python code runs. engine/epochs.pxi runs them.

SCORES = {"classes": SCORE_CLASSES, "labels": SCORE_LABELS, "r2": SCORE_R2}


cdef class Epochs:
    """Epochs of a Program on the samples `order`, which is shuffled in place by the RandomState
    `generator`, or kept if that is None. weights: of the samples, float64, or None.

    best, bad: the best loss or score, and the epochs since then without an improvement by tol;
    single: losses are float32, and compared as such.
    """

    cdef Program program
    cdef Course course
    cdef object X, Y, held_out_X, lock
    cdef cnp.ndarray order, weights, rates, codes, targets, spreads, held_out_weights, outputs
    cdef list best_arrays  # of W and W0 of each layer

    def __init__(self, Program program, X, Y, cnp.ndarray order, Py_ssize_t batch_size,
                 generator, cnp.ndarray weights, double tol, double patience, bint single):
        cdef Course *c = &self.course
        self.program, self.X, self.Y, self.order, self.weights = program, X, Y, order, weights
        c.order, c.n = <int64_t *>cnp.PyArray_DATA(order), cnp.PyArray_SIZE(order)
        c.batch_size = max(1, min(batch_size, c.n))
        c.steps = (c.n + c.batch_size - 1) // c.batch_size
        self.rates = np.zeros(c.steps)
        c.rates = <double *>cnp.PyArray_DATA(self.rates)
        c.tol, c.patience, c.single = tol, patience, single
        if generator is not None:
            bit_generator = generator._bit_generator
            c.generator = <bitgen_t *>PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
            self.lock = bit_generator.lock

    def __dealloc__(self):
        free(self.course.held_out.best)

    @property
    def best(self):
        return self.course.best

    @best.setter
    def best(self, double value):
        self.course.best = value

    @property
    def bad(self):
        return self.course.bad

    @bad.setter
    def bad(self, double value):
        self.course.bad = value

    def hold_out(self, str kind, X, targets, weights, best, double threshold=0, spreads=None,
                 bint exponential=False):
        """Score samples after each epoch, and copy the best weights to the arrays `best`, W and
        W0 (n, 1) of each layer.

        targets: int64 classes (n,); bool labels (n, outputs), which outputs above the threshold
        predict; or float64 numbers (n, outputs), with the sum of squares about the mean of each
        output. All are C-contiguous.
        """
        cdef HeldOut *h = &self.course.held_out
        cdef Network *net = &self.program.e.net
        cdef Py_ssize_t i
        self.held_out_X, self.targets, self.held_out_weights = X, targets, weights
        self.spreads, self.best_arrays = spreads, best
        h.kind, h.n, h.threshold, h.exponential = SCORES[kind], X.shape[1], threshold, exponential
        h.codes = <const int64_t *>cnp.PyArray_DATA(self.targets)
        h.labels = <const char *>cnp.PyArray_DATA(self.targets)
        h.targets = <const double *>cnp.PyArray_DATA(self.targets)
        if weights is not None:
            h.weights = <const double *>cnp.PyArray_DATA(self.held_out_weights)
        if spreads is not None:
            h.spreads = <const double *>cnp.PyArray_DATA(self.spreads)
        self.outputs = np.empty((h.n, net.outputs), dtype_of(net.type_number))
        h.outputs = <char *>cnp.PyArray_DATA(self.outputs)
        h.best = <View *>calloc(2 * net.n_layers, sizeof(View))
        if h.best == NULL:
            raise MemoryError("views of the best weights")
        for i in range(net.n_layers):
            h.best[2 * i] = matrix_view(best[2 * i], False)
            h.best[2 * i + 1] = matrix_view(best[2 * i + 1], True)

    def run(self, cnp.ndarray etas, cnp.ndarray losses, cnp.ndarray scores):
        """Run as many epochs as `etas` has rates, or fewer; their mean losses and scores are
        written to the other arrays. Returns (their number, whether the best score has changed)."""
        cdef Program program = self.program
        cdef Engine *e = &program.e
        cdef Course *c = &self.course
        cdef Py_ssize_t done, most = cnp.PyArray_SIZE(etas)
        cdef object lock = self.lock
        PyErr_CheckSignals()
        program._begin(CALL_FIT, self.X, self.Y, self.order, c.n, c.batch_size, 0.0, None,
                       self.weights)
        e.run.mean = True
        c.etas = <const double *>cnp.PyArray_DATA(etas)
        c.losses = <double *>cnp.PyArray_DATA(losses)
        c.scores = <double *>cnp.PyArray_DATA(scores)
        if c.held_out.kind != SCORE_NONE:
            c.held_out.x = program.samples.source("held-out X", self.held_out_X, 0)
            if not e.plan.csr:
                reserve(e, max(c.batch_size, <Py_ssize_t>PREDICT_BLOCK), e.plan.n_threads)
        program.parameters.load(True)
        program._open_chunk(self.order, 0, c.n, c.batch_size, self.rates, False)
        if lock is not None:
            lock.acquire()
        try:
            with nogil:
                done = run_course(e, c, most)
        finally:
            if lock is not None:
                lock.release()
        program.parameters.store()
        program.steps = done * c.steps
        if program.optimizer is not None:
            program.optimizer.t = e.opt.updates
        return done, c.improved


def fit_passes(Program program, X, Y, cnp.ndarray samples, rng, Py_ssize_t most,
               Py_ssize_t batch_size, rate, Py_ssize_t t0, bint mean, weights):
    """Make up to `most` passes of Program.fit over the indices `samples`, each in a new order drawn
    by the Generator rng, or in theirs if that is None, within CHUNK_SECONDS; return their mean
    losses.

    Returns [], with weights and generator as before, if the passes must be made one by one: if one
    takes more than a chunk or is on weights in place, or if a value becomes non-finite.
    """
    cdef Course c
    cdef Engine *e = &program.e
    cdef Py_ssize_t done
    cdef cnp.ndarray order, losses, rates, etas
    memset(&c, 0, sizeof(Course))
    program.steps = 0
    samples = np.ascontiguousarray(samples, dtype=np.int64)
    order = samples.copy()
    c.n = cnp.PyArray_SIZE(samples)
    c.batch_size = max(1, min(batch_size, c.n))
    c.steps = (c.n + c.batch_size - 1) // c.batch_size
    if e.net.has_special or window_for(X, Y, c.n, c.batch_size, e.net.type_number,
                                       weights) is not None:
        return []
    program._begin(CALL_FIT, X, Y, order, c.n, c.batch_size, rate, None, weights)
    if e.plan.in_place or e.plan.csr or c.steps > program._steps_per_chunk():
        return []
    e.run.mean = mean
    most = min(most, <Py_ssize_t>1 << 14)  # bounds the memory
    etas, losses, rates = np.full(most, rate), np.empty(most), np.zeros(c.steps)
    c.order, c.samples = <int64_t *>cnp.PyArray_DATA(order), <int64_t *>cnp.PyArray_DATA(samples)
    c.etas, c.rates = <double *>cnp.PyArray_DATA(etas), <double *>cnp.PyArray_DATA(rates)
    c.losses, c.best, c.patience = <double *>cnp.PyArray_DATA(losses), INFINITY, INFINITY
    c.guarded = True
    program.parameters.load(True)
    program._open_chunk(order, 0, c.n, c.batch_size, rates, False)
    if rng is None:
        with nogil:
            done = run_course(e, &c, most)
    else:
        bits = rng.bit_generator
        state = bits.state
        c.generator = <bitgen_t *>PyCapsule_GetPointer(bits.capsule, "BitGenerator")
        with bits.lock:
            with nogil:
                done = run_course(e, &c, most)
        if c.failed:
            bits.state = state
    if c.failed:
        return []
    program.parameters.store()
    program.steps = done * c.steps
    if program.optimizer is not None:
        program.optimizer.t = e.opt.updates
    PyErr_CheckSignals()
    return losses[:done].tolist()
