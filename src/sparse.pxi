# Samples that are mostly zeros, in mini-batches and in prediction: the first layer takes them as lists of what is not zero (sparse.h).
# (Cython takes no include inside a class.)
#
# Its time is that of the numbers listed, so the share of them in the whole call's samples decides, by a look at some. Zeros that meet a
# weight that is not finite would give NaN: calls, and chunks of training, that begin with such weights take the dense way.

cdef Py_ssize_t SPARSE_LOOK = 64     # samples looked at
cdef Py_ssize_t SPARSE_BATCH = 16    # the least samples that go through the layers together
cdef Py_ssize_t SPARSE_ROOM = 1 << 22  # the most numbers of a batch: lists have room for all of them, twice in training
# The largest share of numbers that are not zero, for layers of eight vectors and more; narrower ones have less to do for each of them
# (the ways take the same time at 0.5 to 0.6 with 784-256, at 0.4 with 784-100, 0.25 with 97-40).
cdef double SPARSE_MOST = 0.35

# The same in the special path of sgd_small.h, and the least inputs; the lists cost less where vectors can be compressed (the ways take the
# same time at 0.5 with AVX-512, 0.25 to 0.4 with AVX2 and without, with 64-32-10 and 64-10; with 16-4-3 lists never pay).
cdef double SMALL_MOST = 0.25, SMALL_MOST_COMPRESSED = 0.4
cdef Py_ssize_t SMALL_INPUTS = 32


cdef double share_listed(Program self, const Source *x, const int64_t *indices, Py_ssize_t count) noexcept:
    """listed_of, without holding other Python threads up where it takes long."""
    cdef double share
    if min(count, SPARSE_LOOK) * self.inputs < SHORT_COPY:
        return listed_of(self, x, indices, count)
    with nogil:
        share = listed_of(self, x, indices, count)
    return share


cdef double listed_of(Program self, const Source *x, const int64_t *indices, Py_ssize_t count) noexcept nogil:
    """The share of numbers that are not zero in some of `count` samples, those of indices or all from the first."""
    cdef Py_ssize_t looks = min(count, SPARSE_LOOK), i, at, listed = 0
    for i in range(looks):
        at = i * count // looks
        listed += self.k.count_nonzeros(self.inputs, self._sample(x, indices[at] if indices != NULL else at, self.x_rows))
    return listed / fmax(1, <double>looks * self.inputs)


cdef bint mostly_zeros(Program self, const Source *x, const int64_t *indices, Py_ssize_t count, Py_ssize_t size,
                       Py_ssize_t together) noexcept:
    """Whether lists pay where samples come `size` at a time, with room for `together`."""
    cdef Stage *s = &self.stages[0]
    if not s.linear or size < SPARSE_BATCH or together > SPARSE_ROOM // max(self.inputs, 1):
        return False
    return share_listed(self, x, indices, count) < SPARSE_MOST * min(1.0, s.outputs / (8.0 * self.k.lanes))


cdef bint few_inputs(Program self, const Source *x, Py_ssize_t count) noexcept:
    """Whether lists pay in the special path of sgd_small.h."""
    cdef double most = SMALL_MOST_COMPRESSED if self.k.lanes * self.itemsize == 64 else SMALL_MOST
    return self.inputs >= SMALL_INPUTS and share_listed(self, x, NULL, count) < most


cdef int choose_lists(Program self, const Source *x, const int64_t *indices, Py_ssize_t count, Py_ssize_t size,
                      Py_ssize_t together) except -1:
    """Decide on lists for a call, and have room for them, after room for `together` samples has been reserved."""
    self.sparse = mostly_zeros(self, x, indices, count, size, together)
    if self.sparse and self.lists_room < together:
        self.wants_lists, self.capacity = True, 0
        self._reserve(together)
    return 0


cdef void lay_out_lists(Program self, char *base, Py_ssize_t batch):
    cdef Py_ssize_t lanes = self.k.lanes
    cdef nn_lists *a = &self.by_sample
    self.lists_room = batch if self.wants_lists and batch <= SPARSE_ROOM // max(self.inputs, 1) else 0
    if self.lists_room == 0:
        return
    a.rows, a.columns, a.room = batch, self.inputs, self.inputs + lanes
    a.entries = self._carve(base, a.rows * a.room * 2 * self.itemsize)
    a.ends = <int32_t *>self._carve(base, a.rows * self.k.sparse_blocks(a.columns) * sizeof(int32_t))
    self.largest_input = <double *>self._carve(base, batch * sizeof(double))
    if self.trains:
        a = &self.by_input
        a.rows, a.columns, a.room = self.inputs, batch, batch + lanes
        a.entries = self._carve(base, a.rows * a.room * 2 * self.itemsize)
        a.ends = <int32_t *>self._carve(base, a.rows * self.k.sparse_blocks(a.columns) * sizeof(int32_t))


cdef bint list_samples(Program self, const Source *x, const int64_t *indices, const Batch *batch, bint look) noexcept nogil:
    """The batch's samples as lists. False when one of them is not finite, if it is to be looked at."""
    cdef Py_ssize_t i
    cdef const char *at
    cdef bint finite = True
    for i in range(batch.size):
        if i + 1 < batch.size:
            ask_for(x, indices[i + 1])
        at = self._sample(x, indices[i], self.x_rows + (batch.first + i) * self.x_row * self.itemsize)
        self.k.list_row(&self.by_sample, batch.first + i, at)
        if look or self.in_user_memory:
            self.largest_input[batch.first + i] = self.k.largest(self.inputs, at)
            finite = finite and (not look or isfinite(self.largest_input[batch.first + i]))
    return finite


cdef double largest_of_lists(Program self, const Batch *batch) noexcept nogil:
    """max |x| over the batch."""
    cdef Py_ssize_t i
    cdef double most = 0
    for i in range(batch.size):
        most = fmax(most, self.largest_input[batch.first + i])
    return most


cdef void listed_forward(Program self, const Stage *s, const Batch *batch, char *a, int activation) noexcept nogil:
    """The first layer's outputs."""
    cdef nn_sparse g
    g.a, g.first, g.last, g.n = self.by_sample, batch.first, batch.first + batch.size, s.w_width
    g.b, g.b_row, g.packs_b = s.w, s.w_row, True
    g.c, g.c_row, g.updates, g.activation, g.bias = a, s.row, False, activation, s.w0
    self.k.sparse_product(&g)


cdef void turn_lists(Program self, const Batch *batch, Py_ssize_t low, Py_ssize_t high) noexcept nogil:
    """Lists of the samples of each input low .. high - 1, for listed_gradient."""
    self.k.turn_lists(&self.by_sample, batch.size, low, high, &self.by_input)


cdef void listed_gradient(Program self, const Stage *s, const Batch *batch, Py_ssize_t low, Py_ssize_t high, char *c, Py_ssize_t c_row,
                          bint updates, double eta) noexcept nogil:
    """Rows low .. high - 1 of the first W's gradient: stored at c or, to update, c <- c - eta times it."""
    cdef nn_sparse g
    g.a, g.first, g.last, g.n = self.by_input, low, high, s.w_width
    g.a.columns = batch.size
    g.b, g.b_row, g.packs_b = s.grad, s.row, False
    g.c, g.c_row, g.updates, g.eta, g.activation, g.bias = c, c_row, updates, eta, NN_NONE, NULL
    self.k.sparse_product(&g)
