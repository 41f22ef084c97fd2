# An exact and cheap test whether Python code has replaced anything that a prepared call depends on:
# attributes, entries of lists, classes, and the memory of arrays. Used by the Python package's
# caches and by the calls that must cost no more than their arithmetic.
#
# A Snapshot remembers, for each object, its class with the class's version (which CPython changes
# with every attribute of the class and of its bases), and the names in its __dict__, in order, with
# the values of those that matter. Equal snapshots therefore have equal answers to every question
# that depends on these alone; anything else sends the caller to the full comparison.

cimport cython
from cpython.dict cimport PyDict_Next
from cpython.object cimport PyObject, PyObject_GenericGetDict
from cpython.set cimport PySet_Contains

cdef extern from "engine/turn.h":
    bint nn_take_turn(int *) noexcept
    void nn_end_turn(int *) noexcept

cdef extern from *:
    """
    #if defined(Py_LIMITED_API) /* hides it; with 0, unknown, every test is the full comparison */
    static unsigned int nncore_class_version(PyObject *x) { return (void)x, 0; }
    #else
    static unsigned int nncore_class_version(PyObject *x) { return Py_TYPE(x)->tp_version_tag; }
    #endif
    static PyObject *nncore_class(PyObject *x) { return (PyObject *)Py_TYPE(x); }
    """
    unsigned int class_version "nncore_class_version"(PyObject *) noexcept
    PyObject *class_of "nncore_class"(PyObject *) noexcept

# ------------------------------------------------------------------------------ classes of objects

cdef dict library_classes = {}      # those of nncore._kinds, which fills it
cdef object computation = frozenset()
cdef object inherited_kind = None


def set_kinds(dict library, names, inherited):
    """Share the table of library classes with nncore._kinds: {class: class that computes}, the
    names of methods that compute, and the function for other classes."""
    global library_classes, computation, inherited_kind
    library_classes, computation, inherited_kind = library, names, inherited


def kind(thing):
    """Return the library class whose computation `thing` runs, None if a subclass or the object
    overrides any of it.

    Subclasses are inspected each time, since a class can change after its creation.
    """
    cdef object cls = type(thing), found = library_classes.get(cls)
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at = 0
    if found is None:
        found = inherited_kind(cls)
        if found is None:
            return None
    cdef dict attributes = PyObject_GenericGetDict(thing, NULL)
    with cython.critical_section(attributes):
        while PyDict_Next(attributes, &at, &key, &value):
            if PySet_Contains(computation, <object>key):
                return None
    return found


# ------------------------------------------------------------------------------------ the snapshot

cdef struct Watch:
    # one object, or a dict whose every entry matters
    PyObject *thing        # NULL: the owner that is given to each test
    PyObject *cls
    unsigned int version
    bint is_dict
    Py_ssize_t count       # entries


cdef struct Entry:
    PyObject *name
    PyObject *value        # NULL: any


cdef struct Memory:
    # where an array has its numbers
    PyObject *array
    PyObject *dtype
    char *data
    int flags, ndim
    cnp.npy_intp[2] shape
    cnp.npy_intp[2] strides


cdef class Snapshot:
    """What a prepared call depends on, as it was. A subclass defines compare(owner), the full
    comparison."""

    cdef Watch *watches
    cdef Entry *entries
    cdef Memory *memory
    cdef Py_ssize_t n_watches, n_arrays
    cdef list things       # (object or None for the owner, names whose values matter)
    cdef list lists        # lists whose entries matter
    cdef list items        # their entries, each list's as a list
    cdef list arrays
    cdef list kept         # references to everything compared by identity
    cdef bint valid        # False: only the full comparison decides
    cdef int turn          # taken while a thread reads or takes the snapshot

    def watch(self, owner, list things, list lists, list arrays, bint valid=True):
        """Take the snapshot.

        things: (object, names of its attributes that matter), with None for the owner, which is
        not kept alive; or (dict, None), of which all entries matter. arrays: up to two dimensions.
        """
        self.things, self.lists, self.arrays = things, lists, arrays
        self.valid = valid
        self.take(owner)

    def __dealloc__(self):
        self.release()

    cdef void release(self) noexcept:
        free(self.watches)
        free(self.entries)
        free(self.memory)
        self.watches, self.entries, self.memory = NULL, NULL, NULL

    cpdef bint holds(self, owner) except -1:
        """True if everything is as it was."""
        if self.same(owner):
            return True
        if not self.compare(owner):
            return False
        if self.valid and nn_take_turn(&self.turn):
            try:
                self.renew(owner)
            finally:
                nn_end_turn(&self.turn)
        return True

    def compare(self, owner):
        """The full comparison, which does not need the snapshot."""
        return False

    def renew(self, owner):
        """Take the snapshot again, as the full comparison has found nothing of importance."""
        self.take(owner)

    cdef int take(self, owner) except -1:
        """Remember everything as it is."""
        cdef Py_ssize_t i, n_entries = 0, at = 0
        cdef list found = [], kept = [], items = []
        cdef Watch *w
        cdef Entry *e
        cdef dict attributes
        self.release()
        self.n_watches = self.n_arrays = 0
        for thing, names in self.things:
            if names is None:
                attributes = <dict?>thing
            else:
                thing = owner if thing is None else thing
                attributes = PyObject_GenericGetDict(thing, NULL)
                self.valid = self.valid and attributes_are_plain(thing, attributes, names)
            n_entries += len(attributes)
            found.append(attributes)
        self.watches = <Watch *>calloc(max(len(found), 1), sizeof(Watch))
        self.entries = <Entry *>calloc(max(n_entries, 1), sizeof(Entry))
        self.memory = <Memory *>calloc(max(len(self.arrays), 1), sizeof(Memory))
        if self.watches == NULL or self.entries == NULL or self.memory == NULL:
            raise MemoryError()
        for i, (thing, names) in enumerate(self.things):
            attributes = found[i]
            w = &self.watches[i]
            w.thing = NULL if thing is None else <PyObject *>thing
            w.is_dict, w.count = names is None, len(attributes)
            thing = owner if thing is None else thing
            w.cls, w.version = class_of(<PyObject *>thing), class_version(<PyObject *>thing)
            if w.version == 0:
                self.valid = False
            kept.append(type(thing))
            for name, value in attributes.items():
                e = &self.entries[at]
                e.name = <PyObject *>name
                kept.append(name)
                if names is None or name in names:
                    e.value = <PyObject *>value
                    kept.append(value)
                at += 1
        for list_ in self.lists:
            items.append(list(list_))
            self.valid = self.valid and type(list_) is list
        for i, array in enumerate(self.arrays):
            if not cnp.PyArray_Check(array) or cnp.PyArray_NDIM(<cnp.ndarray>array) > 2:
                self.valid = False
                continue
            self.memory[i] = memory_of(<cnp.ndarray>array)
            kept.append((<object>array).dtype)
        self.kept, self.items = kept, items
        self.n_watches, self.n_arrays = len(found), len(self.arrays)
        return 0

    cdef bint same(self, object owner) except -1:
        """True if nothing differs from the snapshot; False does not say that anything matters, and
        is the answer while another thread uses the snapshot."""
        if not self.valid or not nn_take_turn(&self.turn):
            return False
        try:
            return self.attributes_same(owner) and self.lists_same() and self.memory_same()
        finally:
            nn_end_turn(&self.turn)

    cdef bint attributes_same(self, object owner) except -1:
        """True if the objects have the classes and attributes that they had."""
        cdef Py_ssize_t i, at
        cdef Watch *w = self.watches
        cdef Entry *e = self.entries
        cdef PyObject *thing
        cdef PyObject *key
        cdef PyObject *value
        cdef dict attributes
        for i in range(self.n_watches):
            thing = w.thing if w.thing != NULL else <PyObject *>owner
            if class_of(thing) != w.cls or class_version(thing) != w.version:
                return False
            attributes = (<dict><object>thing if w.is_dict
                          else <dict>PyObject_GenericGetDict(<object>thing, NULL))
            if len(attributes) != w.count:
                return False
            at = 0
            with cython.critical_section(attributes):
                while PyDict_Next(attributes, &at, &key, &value):
                    if key != e.name or (e.value != NULL and value != e.value):
                        return False
                    e += 1
            w += 1
        return True

    cdef bint lists_same(self) except -1:
        """True if the lists have the entries that they had."""
        cdef Py_ssize_t i, j
        cdef list now, before
        for i in range(len(self.lists)):
            now, before = <list>self.lists[i], <list>self.items[i]
            if len(now) != len(before):
                return False
            for j in range(len(before)):
                if <PyObject *>now[j] != <PyObject *>before[j]:
                    return False
        return True

    cdef bint memory_same(self) noexcept:
        """True if the arrays have their numbers where they had them."""
        cdef Py_ssize_t i
        for i in range(self.n_arrays):
            if not memory_equal(&self.memory[i], <cnp.ndarray>self.memory[i].array):
                return False
        return True

    cpdef bint is_disjoint(self, cnp.ndarray data) except -1:
        """True if data share no memory with the arrays."""
        cdef Bounds bounds = bounds_of(data), others
        cdef Py_ssize_t i
        for i in range(len(self.arrays)):
            others = bounds_of(<cnp.ndarray>self.arrays[i])
            if bounds.low < others.high and others.low < bounds.high:
                return False
        return True


cdef bint attributes_are_plain(object thing, dict attributes, names) except -1:
    """True if the attributes that matter are entries of the object's __dict__, or values of its
    class."""
    cls = type(thing)
    for name in names:
        found = getattr(cls, name, None)
        if found is not None and (hasattr(type(found), "__set__")
                                  or hasattr(type(found), "__get__")):
            return False
    return type(attributes) is dict


cdef Memory memory_of(cnp.ndarray a) noexcept:
    cdef Memory m
    cdef int i
    memset(&m, 0, sizeof(m))
    m.array, m.dtype = <PyObject *>a, <PyObject *>cnp.PyArray_DESCR(a)
    m.data, m.flags = <char *>cnp.PyArray_DATA(a), cnp.PyArray_FLAGS(a)
    m.ndim = cnp.PyArray_NDIM(a)
    for i in range(m.ndim):
        m.shape[i], m.strides[i] = cnp.PyArray_DIM(a, i), cnp.PyArray_STRIDE(a, i)
    return m


cdef bint memory_equal(const Memory *m, cnp.ndarray a) noexcept:
    cdef int i
    if (m.data != <char *>cnp.PyArray_DATA(a) or m.flags != cnp.PyArray_FLAGS(a)
            or m.ndim != cnp.PyArray_NDIM(a) or m.dtype != <PyObject *>cnp.PyArray_DESCR(a)):
        return False
    for i in range(m.ndim):
        if m.shape[i] != cnp.PyArray_DIM(a, i) or m.strides[i] != cnp.PyArray_STRIDE(a, i):
            return False
    return True


cdef class WatchedRate:
    """A user's rate function for the compiled loops: raises changed(eta), with the rate, if the
    network is no longer as the snapshot has it.

    unchanged: a function that answers that, for a snapshot that is not of the network alone.
    """

    cdef object rate, owner, changed, unchanged
    cdef Snapshot snapshot

    def __cinit__(self, rate, changed, Snapshot snapshot, owner, unchanged):
        self.rate, self.changed, self.snapshot = rate, changed, snapshot
        self.owner, self.unchanged = owner, unchanged

    def __call__(self, t):
        eta = self.rate(t)
        if not (self.unchanged() if self.snapshot is None else self.snapshot.holds(self.owner)):
            raise self.changed(eta)
        return eta
