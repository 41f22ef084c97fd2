# Copies to go back to when a call fails. Putting them back allocates nothing, so that it also works
# when memory has run out.

cdef class Copies:
    """Copies of arrays as they are now; put_back() writes them back into the arrays' own memory."""

    cdef list pairs

    def __cinit__(self, arrays):
        self.pairs = []
        for array in arrays:
            self.pairs.append((array, np.array(array, subok=False)))

    cpdef int put_back(self) except -1:
        cdef cnp.ndarray array, copy
        for array, copy in self.pairs:
            cnp.PyArray_CopyInto(array, copy)
        return 0
