# Calls on a network that an earlier call has prepared: the program, and the snapshots that show
# whether it still fits. They cost little more than their arithmetic. Each answers None if anything
# about the call is unusual, and has then changed nothing: the Python package goes the general way,
# which also words the errors.

cdef dict sessions = {}  # {id of a network: its training}, that of nncore.training.session


def set_sessions(dict training):
    """Share the table of networks that are being trained with nncore.training.session."""
    global sessions
    sessions = training


def end_session(key, claimant):
    """End the training that the claimant has begun on the network of this id. Also as Python exits:
    no global of a Python module is used."""
    if sessions.get(key) is claimant:
        del sessions[key]


cdef enum Labels:
    # what a loss wants of Y
    NUMBERS
    CLASSES
    BINARY
    SIGNS

# typed, so that `get` does not take the dict's own lock on a free-threaded Python
cdef dict LABELS = {"numbers": NUMBERS, "classes": CLASSES, "binary": BINARY, "signs": SIGNS}


cdef bint is_plain_matrix(object x, Py_ssize_t rows) noexcept:
    """True for an array (rows, N) of a native real type that the engine reads where it is."""
    return (cnp.PyArray_CheckExact(x) and cnp.PyArray_NDIM(<cnp.ndarray>x) == 2
            and cnp.PyArray_DIM(<cnp.ndarray>x, 0) == rows
            and native_type(<cnp.ndarray>x) >= 0
            and is_addressable(x, cnp.PyArray_TYPE(<cnp.ndarray>x)))


cdef double as_rate(object x) noexcept:
    """A step size given as a float or an int; -1 for anything else."""
    cdef double eta
    if type(x) is float:
        eta = x
    elif type(x) is int:
        try:
            eta = x
        except OverflowError:
            return -1
    else:
        return -1
    return eta if 0 <= eta and isfinite(eta) else -1


cdef class Ready:
    """A network's program with the snapshots of what it was compiled for.

    labels: a key of LABELS, or None if only the general way can check them; name: the optimizer's;
    sizes: (inputs, outputs, dtype); clipping: how gradients are clipped, or None.
    """

    cdef public Program program  # None until a call needs it
    cdef readonly Snapshot fingerprint, settings
    cdef readonly object optimizer
    cdef object name
    cdef readonly bint plain
    cdef readonly double l2
    cdef readonly object clipping
    cdef int labels, type_number
    cdef Py_ssize_t inputs, n_outputs
    cdef int predicts, trains  # taken by the thread that does
    cdef readonly int64_t calls  # that were answered; for tests

    def __cinit__(self, Program program, Snapshot fingerprint, Snapshot settings, optimizer, name,
                  bint plain, double l2, labels, sizes, clipping=None):
        self.program, self.fingerprint, self.settings = program, fingerprint, settings
        self.optimizer, self.name, self.plain, self.l2 = optimizer, name, plain, l2
        self.clipping = clipping
        self.labels = LABELS.get(labels, -1)
        self.inputs, self.n_outputs, dtype = sizes
        self.type_number = cnp.NPY_FLOAT if dtype == np.float32 else cnp.NPY_DOUBLE

    def partial_fit(self, net, X, Y, batch_size, lrate, optimizer, l2, reduction,
                    clipping=None, claimant=None, order=None, t0=None):
        """Sequential.partial_fit, by whatever the network counts as being trained by; None if the
        general way must be gone. order: of the samples; t0: steps before, for an error's text, if
        the summed loss is wanted instead of the mean."""
        cdef Program program = self.program
        cdef double eta
        cdef Py_ssize_t size, N
        before = net.optimizer
        if (self.labels < 0 or before is not self.optimizer
                or not (optimizer is None or optimizer is before
                        or (type(optimizer) is str and optimizer == self.name))):
            return None
        if type(l2) not in (float, int) or l2 != self.l2 or type(batch_size) is not int:
            return None
        if clipping is not self.clipping and clipping != self.clipping:
            return None
        if type(reduction) is not str or reduction not in ("mean", "sum") or batch_size < 1:
            return None
        eta = as_rate(before.LRATE if lrate is None else lrate)
        if eta < 0 or not self.fits(net):
            return None
        if not is_plain_matrix(X, self.inputs):
            return None
        N = cnp.PyArray_DIM(<cnp.ndarray>X, 1)
        Y = self.columns(Y, N, True)
        if Y is None or not (self.fingerprint.is_disjoint(X) and self.fingerprint.is_disjoint(Y)):
            return None
        size = N if batch_size > N else batch_size
        key = id(net)
        if claimant is None:
            if not nn_take_turn(&self.trains):
                return None
            if sessions.setdefault(key, self) is not self:
                nn_end_turn(&self.trains)
                return None
        elif sessions.get(key) is not claimant:
            return None
        try:
            program.optimizer = before
            program.fit(X, Y, order, size, eta, before.t if t0 is None else t0,
                        reduction == "mean", True)
        finally:
            program.forget()
            if claimant is None:
                sessions.pop(key, None)
                nn_end_turn(&self.trains)
        self.calls += 1
        return program.total / N if t0 is None else program.total

    def data(self, net, X, Y):
        """(X, Y as columns) for sgd; None if the general way must check them."""
        data = self.checked(net, X, Y, False)
        if data is not None:
            self.calls += 1
        return data

    def fit_data(self, net, X, Y):
        """(X, Y as columns) for fit; None if the general way must check them."""
        return self.checked(net, X, Y, True)

    cdef object checked(self, net, X, object Y, bint positive):
        """(X, Y as columns) of a network and data that need no other check, or None. positive: see
        columns."""
        if self.labels < 0 or not self.fits_network(net) or not is_plain_matrix(X, self.inputs):
            return None
        Y = self.columns(Y, cnp.PyArray_DIM(<cnp.ndarray>X, 1), positive)
        if Y is None or not (self.fingerprint.is_disjoint(X) and self.fingerprint.is_disjoint(Y)):
            return None
        return X, Y

    cdef bint fits(self, net) except -1:
        """True if the program still fits the network and its optimizer."""
        if not self.fits_network(net):
            return False
        if not self.settings.same(self.optimizer):
            if not self.settings.holds(self.optimizer):
                return False
            self.optimizer.bind(net)  # it may have been reset
        return True

    def holds(self, net):
        """True if the network is as it was."""
        return self.fits_network(net)

    cdef bint fits_network(self, net) except -1:
        """True if the program still fits the network, or there is none yet."""
        if not uses_compiled_kernels or (
                self.program is not None
                and self.program.e.net.k != kernels_for(self.type_number)):
            return False
        return self.fingerprint.holds(net)

    def outputs(self, net, X, Y=None):
        """(outputs (n, N), loss of each sample or None, Y as columns) of up to EVALUATE_SLICE
        samples; None if the general way must be gone."""
        if not self.fits_network(net) or not is_plain_matrix(X, self.inputs):
            return None
        cdef Py_ssize_t N = cnp.PyArray_DIM(<cnp.ndarray>X, 1)
        if N == 0 or N > EVALUATE_SLICE:
            return None
        if Y is not None:
            Y = None if self.labels < 0 else self.columns(Y, N, False)
            if Y is None:
                return None
        if not nn_take_turn(&self.predicts):
            return None
        try:
            P, losses = self.program.run(X, Y)
        finally:
            self.program.forget()
            nn_end_turn(&self.predicts)
        self.calls += 1
        return P, losses, Y

    cdef object columns(self, object Y, Py_ssize_t N, bint positive):
        """Y as columns (n, N) that the loss takes, or None. positive: weights of classes must not
        be negative."""
        cdef Py_ssize_t n = self.n_outputs
        cdef bint checks = self.labels != NUMBERS and (positive or self.labels != CLASSES)
        if N == 0 or N * n > LABELS_AT_ONCE and (checks or cnp.PyArray_CheckExact(Y)
                                                 and cnp.PyArray_NDIM(<cnp.ndarray>Y) != 2):
            return None
        if cnp.PyArray_CheckExact(Y) and cnp.PyArray_NDIM(<cnp.ndarray>Y) == 1:
            if (cnp.PyArray_DIM(<cnp.ndarray>Y, 0) != N or native_type(<cnp.ndarray>Y) < 0
                    or not is_addressable(Y, cnp.PyArray_TYPE(<cnp.ndarray>Y))):
                return None
            if self.labels == CLASSES:
                return self.one_hot(<cnp.ndarray>Y, N, n)
            if n != 1:
                return None
            Y = Y[None, :]
            if self.labels == BINARY and not labels_fit(<cnp.ndarray>Y, CLASSES, 2):
                return None
        if not is_plain_matrix(Y, n) or cnp.PyArray_DIM(<cnp.ndarray>Y, 1) != N:
            return None
        return Y if not checks or labels_fit(<cnp.ndarray>Y, self.labels, 0) else None

    cdef object one_hot(self, cnp.ndarray labels, Py_ssize_t N, Py_ssize_t n):
        """One-hot columns (n, N) of class numbers (N,), or None if they are not all below n."""
        cdef cnp.npy_intp[2] shape
        cdef double value
        cdef Py_ssize_t j
        cdef int type_ = native_type(labels)
        cdef cnp.ndarray Y
        shape[0], shape[1] = n, N
        Y = <cnp.ndarray>cnp.PyArray_ZEROS(2, shape, self.type_number, True)
        for j in range(N):
            value = number_at(<const char *>cnp.PyArray_DATA(labels)
                              + j * cnp.PyArray_STRIDE(labels, 0), type_)
            if not (0 <= value < n and value == <double><Py_ssize_t>value):
                return None
            if self.type_number == cnp.NPY_DOUBLE:
                (<double *>cnp.PyArray_DATA(Y))[j * n + <Py_ssize_t>value] = 1
            else:
                (<float *>cnp.PyArray_DATA(Y))[j * n + <Py_ssize_t>value] = 1
        return Y


cdef inline bint label_fits(double value, int labels) noexcept:
    """True if a loss takes this entry of a label; classes are taken as weights."""
    if labels == NUMBERS:
        return True
    if labels == SIGNS:
        return fabs(value) == 1
    return value >= 0 and (labels != BINARY or value <= 1)


cdef bint labels_fit(cnp.ndarray Y, int labels, Py_ssize_t classes) noexcept:
    """True if every entry of a small matrix of labels is one that the loss takes: with `classes`,
    an integer below it."""
    cdef Py_ssize_t j, i, n = cnp.PyArray_DIM(Y, 0)
    cdef const char *column = <const char *>cnp.PyArray_DATA(Y)
    cdef double value
    cdef int type_ = native_type(Y)
    if labels == NUMBERS:
        return True
    for j in range(cnp.PyArray_DIM(Y, 1)):
        for i in range(n):
            value = number_at(column + i * cnp.PyArray_STRIDE(Y, 0), type_)
            if classes > 0:
                if not (0 <= value < classes and value == <double><Py_ssize_t>value):
                    return False
            elif not label_fits(value, labels):
                return False
        column += cnp.PyArray_STRIDE(Y, 1)
    return True
