# np.random.randint(n) through the generator's C interface: the same numbers and the same state of
# the generator as NumPy's own call, which takes 1.1 us for one number and 7 us for nine.

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
    # NumPy's global generator; `found` is called before each use, as programs may replace it
    cdef object randint    # NumPy's function
    cdef object holder     # the RandomState that it belongs to; None: its interface is unknown
    cdef dict namespace    # of np.random, where a program may have replaced the function
    cdef object bit_generator, acquire, release
    cdef bitgen_t *generator

    def __cinit__(self):
        self.randint, self.namespace = np.random.randint, np.random.__dict__
        self.holder = getattr(self.randint, "__self__", None)
        if not hasattr(self.holder, "_bit_generator"):
            self.holder = None

    cdef bint found(self) except -1:
        """True if np.random.randint is NumPy's own, whose generator is then in `generator`."""
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
        cdef int64_t value
        if self.found() and only_thread():
            return drawn(self.generator, n)
        if self.found() and self.acquire(False):
            value = drawn(self.generator, n)
            self.release()
            return value
        return np.random.randint(n)

    cdef cnp.ndarray many(self, uint64_t n, Py_ssize_t count):
        """np.random.randint(n, size=count)."""
        cdef cnp.npy_intp length = count
        cdef cnp.ndarray values
        cdef int64_t *to
        cdef Py_ssize_t i
        values = <cnp.ndarray>cnp.PyArray_EMPTY(1, &length, cnp.NPY_INT64, False)
        if count < GIL_COPY and self.found() and self.acquire(False):
            to = <int64_t *>cnp.PyArray_DATA(values)
            for i in range(count):
                to[i] = drawn(self.generator, n)
            self.release()
            return values
        return <cnp.ndarray>np.asarray(np.random.randint(n, size=count), dtype=np.int64)


cdef inline int64_t drawn(bitgen_t *generator, uint64_t n) noexcept nogil:
    """A number below n: bits under the mask of n - 1, drawn again while they exceed it."""
    cdef uint64_t most = n - 1, mask = most, value
    if most == 0:
        return 0
    mask |= mask >> 1
    mask |= mask >> 2
    mask |= mask >> 4
    mask |= mask >> 8
    mask |= mask >> 16
    mask |= mask >> 32
    while True:
        if most >> 32 == 0:
            value = generator.next_uint32(generator.state) & mask
        else:
            value = generator.next_uint64(generator.state) & mask
        if value <= most:
            return <int64_t>value


cdef Draws draws = Draws()


def randint(n, size=None):
    """np.random.randint(n, size), for n of at least 1."""
    return draws.one(n) if size is None else draws.many(n, size)
