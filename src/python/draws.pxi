# np.random.randint(n) and the shuffling of an array through the generator's C interface: the same
# numbers and the same state of the generator as NumPy's own calls, of which randint takes 1.1 us
# for one number and 7 us for nine, and shuffle 10 ns per element instead of 4.

from cpython.pycapsule cimport PyCapsule_GetPointer

cdef extern from "numpy/random/bitgen.h":
    ctypedef struct bitgen_t:
        void *state
        uint64_t (*next_uint64)(void *) noexcept nogil
        uint32_t (*next_uint32)(void *) noexcept nogil


cdef extern from *:
    """
    /* True if no other thread can run Python code, and so none is inside the generator. */
    #if defined(Py_LIMITED_API) /* has no list of threads; False takes the generator's lock */
    static int nncore_only_thread(void) { return 0; }
    #else
    static int nncore_only_thread(void) {
        PyThreadState *mine = PyThreadState_Get();
        PyThreadState *first = PyInterpreterState_ThreadHead(PyThreadState_GetInterpreter(mine));
        return first == mine && PyThreadState_Next(first) == NULL;
    }
    #endif
    """
    bint only_thread "nncore_only_thread"() noexcept


cdef class Draws:
    # NumPy's global generator; `found` is called before each use, as programs may replace it.
    # Without the GIL, the thread whose turn it is uses the fields, and others call NumPy.
    cdef object randint    # NumPy's function
    cdef object holder     # the RandomState that it belongs to; None: its interface is unknown
    cdef dict namespace    # of np.random, where a program may have replaced the function
    cdef object bit_generator, acquire, release
    cdef bitgen_t *generator
    cdef int turn

    cdef int connect(self) except -1:
        """Look up NumPy's own function, at the first draw: np.random takes milliseconds to load."""
        self.randint, self.namespace = np.random.mtrand.randint, np.random.__dict__
        self.holder = getattr(self.randint, "__self__", None)
        if not hasattr(self.holder, "_bit_generator"):
            self.holder = None

    cdef bint found(self) except -1:
        """True if np.random.randint is NumPy's own, whose generator is then in `generator`."""
        if self.namespace is None:
            self.connect()
        if self.holder is None or self.namespace.get("randint") is not self.randint:
            return False
        current = self.holder._bit_generator
        if current is not self.bit_generator:
            self.generator = <bitgen_t *>PyCapsule_GetPointer(current.capsule, "BitGenerator")
            self.acquire, self.release = current.lock.acquire, current.lock.release
            self.bit_generator = current
        return True

    cdef int64_t one(self, uint64_t n) except -1:
        """np.random.randint(n), for n of at least 1."""
        cdef int64_t value = -1
        if nn_take_turn(&self.turn):
            try:
                if self.found():
                    if only_thread():
                        value = drawn(self.generator, n)
                    elif self.acquire(False):
                        value = drawn(self.generator, n)
                        self.release()
            finally:
                nn_end_turn(&self.turn)
        return value if value >= 0 else np.random.randint(n)

    cdef cnp.ndarray many(self, uint64_t n, Py_ssize_t count):
        """np.random.randint(n, size=count)."""
        cdef cnp.npy_intp length = count
        cdef cnp.ndarray values
        cdef int64_t *to
        cdef Py_ssize_t i
        values = <cnp.ndarray>cnp.PyArray_EMPTY(1, &length, cnp.NPY_INT64, False)
        if count < GIL_COPY and nn_take_turn(&self.turn):
            try:
                if self.found() and self.acquire(False):
                    to = <int64_t *>cnp.PyArray_DATA(values)
                    for i in range(count):
                        to[i] = drawn(self.generator, n)
                    self.release()
                    return values
            finally:
                nn_end_turn(&self.turn)
        return <cnp.ndarray>np.asarray(np.random.randint(n, size=count), dtype=np.int64)


cdef inline uint64_t mask_of(uint64_t most) noexcept nogil:
    """The least 2^k - 1 that is not below `most`."""
    most |= most >> 1
    most |= most >> 2
    most |= most >> 4
    most |= most >> 8
    most |= most >> 16
    return most | most >> 32


cdef inline int64_t drawn(bitgen_t *generator, uint64_t n) noexcept nogil:
    """A number below n: bits under the mask of n - 1, drawn again while they exceed it."""
    cdef uint64_t most = n - 1, mask = mask_of(most), value
    if most == 0:
        return 0
    while True:
        if most >> 32 == 0:
            value = generator.next_uint32(generator.state) & mask
        else:
            value = generator.next_uint64(generator.state) & mask
        if value <= most:
            return <int64_t>value


cdef void shuffle(bitgen_t *generator, int64_t *order, Py_ssize_t n) noexcept nogil:
    """NumPy's shuffle: from the last element to the second, each is swapped with a drawn one that
    does not follow it. A draw that exceeds the mask's range swaps the element with itself and does
    not advance, as a branch that nobody can predict takes longer."""
    cdef uint64_t i = <uint64_t>n - 1, j, mask, fits
    while n > 1 and i > 0:
        if i >> 32:
            j = drawn(generator, i + 1)
            order[i], order[j] = order[j], order[i]
            i -= 1
            continue
        mask = mask_of(i)
        while i > mask >> 1:
            j = generator.next_uint32(generator.state) & mask
            fits = j <= i
            j = i ^ ((i ^ j) & (0 - fits))
            order[i], order[j] = order[j], order[i]
            i -= fits


def shuffled(rng, values):
    """rng.permutation(values) for an int64 vector."""
    cdef bitgen_t *generator
    cdef cnp.ndarray order
    cdef int64_t *to
    cdef Py_ssize_t n
    if type(rng) is not np.random.Generator:
        return rng.permutation(values)
    order = np.array(values, dtype=np.int64, order="C")
    bits = rng.bit_generator
    generator = <bitgen_t *>PyCapsule_GetPointer(bits.capsule, "BitGenerator")
    to, n = <int64_t *>cnp.PyArray_DATA(order), cnp.PyArray_SIZE(order)
    with bits.lock:
        with nogil:
            shuffle(generator, to, n)
    return order


cdef Draws draws = Draws()


def randint(n, size=None):
    """np.random.randint(n, size), for n of at least 1."""
    return draws.one(n) if size is None else draws.many(n, size)
