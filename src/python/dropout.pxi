# Dropout as a kernel of arrays: nncore.kernels.dropout. dropout_word and dropout_threshold are also
# used by engine/special.pxi and Program.

cdef uint64_t dropout_word(uint64_t key, uint64_t count) noexcept nogil:
    """64 random bits for a key and the number of a forward pass: SplitMix64 (Steele, Lea and Flood
    2014)."""
    cdef uint64_t word = key + count * <uint64_t>0x9E3779B97F4A7C15
    word = (word ^ (word >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    word = (word ^ (word >> 27)) * <uint64_t>0x94D049BB133111EB
    return word ^ (word >> 31)


cdef uint32_t dropout_threshold(double p) noexcept nogil:
    """Random words below this drop an entry with probability p."""
    return <uint32_t>(p * 4294967296.0)


def dropout(A, p, key, count):
    """A / (1 − p) for kept entries, 0 for dropped ones, at random by key, count and the entry's
    index. A (n, b), 0 ≤ p < 1."""
    cdef int t = computing_type(A)
    cdef double dropped = _checks.share("p", p)
    cdef uint64_t word = dropout_word(_checks.word("key", key), _checks.word("count", count))
    cdef cnp.ndarray a = ordered(real_matrix("A", A, t, -1, -1, "nb"), True)
    cdef cnp.ndarray y = new_matrix(cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(a, 1), t, True)
    with nogil:
        kernels_for(t).dropout(cnp.PyArray_SIZE(a), cnp.PyArray_DATA(a), cnp.PyArray_DATA(y), word,
                               0, dropout_threshold(dropped), 1 / (1 - dropped))
    return y
