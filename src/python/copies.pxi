# Backups of arrays, restored when a call fails. Restoring allocates nothing, so that it also works
# when memory is exhausted. Used by Program.

cdef class Copies:
    """Backup copies of arrays; put_back() restores the arrays in place."""

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
