# Forward pass, backward pass and step of a Sequential at the cost of their kernels and attributes:
# special paths of its methods. Deleting this file and its use in the Python package leaves the
# loops over the modules' own methods, with the same results.

from types import MethodType

cdef type bound_method = MethodType  # PyMethod_Check is not in the stable ABI
cdef bint uses_compiled_kernels = True


def set_live(bint compiled):
    """Set whether the modules use the compiled kernels. Called by nncore._backend."""
    global uses_compiled_kernels
    uses_compiled_kernels = compiled


cdef inline bint calls_known_forward(object method, object found) noexcept:
    """True if `method` is the forward that `found` lists, not another one of the object's."""
    if found is None or type(method) is not bound_method:
        return False
    return method.__func__ is (<tuple>found)[0]


def forward_chain(modules, X, dict known):
    """The forward pass through `modules`, from the first to the last.

    known: {type: (its forward, the activation's number)} of modules whose forward is replaced by
    its kernel, unless the object has another one. Linear stores its input as .A. An activation
    works in place on an array that a Linear has just created, and stores its output as .A unless it
    is an output unit.
    """
    cdef bint owned = False  # nobody else refers to X
    cdef int kind
    cdef object found, method
    cdef cnp.ndarray z
    for module in modules:
        method = module.forward
        found = known.get(type(module)) if uses_compiled_kernels else None
        if not calls_known_forward(method, found):
            X = method(X)
            owned = False
            continue
        kind = (<tuple>found)[1]
        if kind == NN_NONE:
            module.A = X
            X = linear_output(X, module.W, module.W0, None)
            owned = True
        # a ReLU's _scale is not 1 after a forward pass with dropout
        elif (owned and cnp.PyArray_SIZE(<cnp.ndarray>X) < GIL_ELEMENTS
                and not (kind == NN_RELU and module._scale != 1)):
            z = <cnp.ndarray>X
            if kind == NN_SOFTMAX:
                softmax_call(z, None, z, cnp.PyArray_TYPE(z), NULL)
            else:
                kernels_for(cnp.PyArray_TYPE(z)).activation_forward(
                    cnp.PyArray_SIZE(z), cnp.PyArray_DATA(z), cnp.PyArray_DATA(z),
                    nn_activation(kind, 0))
                if kind != NN_OUTPUT_SIGMOID:
                    module.A = X
                    owned = False
        else:
            X = method(X)
            owned = False
    return X


# ----------------------------------------------------------------------- backward pass and the step

cdef object bias_name = "bias"  # interned, as names of attributes are


cdef class PlainModules:
    """Which modules compute by their class's own methods, as the library defines them: not
    subclasses, no method patched on the object or on the class.

    numbers: {class: number of its activation, NN_NONE for Linear, -1 for a class without a step};
    unpatched: a function that returns whether a class's methods are those it was defined with.
    """

    cdef dict numbers
    cdef dict versions     # class -> its version when it was last found unpatched
    cdef object unpatched

    def __cinit__(self, dict numbers, unpatched):
        self.numbers, self.versions, self.unpatched = numbers, {}, unpatched

    cdef int number(self, object module) except -3:
        """The module's number, or -2 if its own methods must be called."""
        cdef object cls = type(module), number = self.numbers.get(cls)
        cdef unsigned int version = class_version(<PyObject *>module)
        cdef PyObject *key
        cdef PyObject *value
        cdef Py_ssize_t at = 0
        cdef dict attributes
        if number is None or not uses_compiled_kernels:
            return -2
        if version == 0 or self.versions.get(cls) != version:
            if not self.unpatched(cls):
                return -2
            self.versions[cls] = class_version(<PyObject *>module)
        attributes = PyObject_GenericGetDict(module, NULL)
        with cython.critical_section(attributes):
            while PyDict_Next(attributes, &at, &key, &value):
                # a Linear without bias steps by its own method
                if PySet_Contains(computation, <object>key) or key == <PyObject *>bias_name:
                    return -2
        return number


def backward_chain(list modules, delta, PlainModules plain, other, bint wanted):
    """The backward pass from the last module to the first. Linear sets .dLdW and .dLdW0. Returns
    dL/dInput if it is wanted, else a Linear that is the first module does not compute it.

    other(module, delta): dL/dInput of a module whose own methods must be called.
    """
    cdef Py_ssize_t i
    cdef int number
    cdef bint owned = False  # nobody else refers to delta
    for i in range(len(modules) - 1, -1, -1):
        module = modules[i]
        number = plain.number(module)
        if number == NN_NONE:
            A = getattr(module, "A", None)
            if A is None:
                delta = other(module, delta)  # which words the error
                continue
            delta, module.dLdW, module.dLdW0 = linear_gradients(delta, A, module.W, None,
                                                                i > 0 or wanted)
            owned = True
        elif number == NN_SOFTMAX or number == NN_OUTPUT_SIGMOID:
            pass
        elif number > NN_NONE and derive(module, delta, number, owned):
            pass
        else:
            delta = other(module, delta)
            owned = False
    return delta


cdef bint derive(object module, object delta, int number, bint owned) except -1:
    """dL/dZ of an activation in place of dL/dA. False if its own method must be called."""
    cdef object A = getattr(module, "A", None)
    cdef cnp.ndarray a, d
    cdef int t
    if not owned or not cnp.PyArray_CheckExact(A):
        return False
    a, d = <cnp.ndarray>A, <cnp.ndarray>delta
    t = cnp.PyArray_TYPE(d)
    if (cnp.PyArray_TYPE(a) != t or not cnp.PyArray_SAMESHAPE(a, d)
            or not cnp.PyArray_ISBEHAVED_RO(a)):
        return False
    if not ((cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_IS_C_CONTIGUOUS(d))
            or (cnp.PyArray_IS_F_CONTIGUOUS(a) and cnp.PyArray_IS_F_CONTIGUOUS(d))):
        return False
    if number == NN_RELU and module._scale != 1:
        return False
    if cnp.PyArray_SIZE(a) < GIL_ELEMENTS:
        kernels_for(t).activation_backward(cnp.PyArray_SIZE(a), cnp.PyArray_DATA(d),
                                           cnp.PyArray_DATA(a), cnp.PyArray_DATA(d),
                                           nn_activation(number, 0))
        return True
    return False


def step_chain(list modules, lrate, PlainModules plain):
    """W <- W - lrate dLdW and W0 <- W0 - lrate dLdW0 of every Linear. Returns False, with nothing
    changed, if a module must step by its own method, or anything must be checked or converted
    first."""
    cdef double eta
    cdef int number
    cdef list terms = []
    cdef Py_ssize_t i
    if type(lrate) is float:
        eta = lrate
    elif type(lrate) is int and -1 <= lrate <= 1:
        eta = lrate
    else:
        return False
    for module in modules:
        number = plain.number(module)
        if number == -2:
            return False
        if number == NN_NONE and not (
                add_term(terms, module.W, getattr(module, "dLdW", None), -1)
                and add_term(terms, module.W0, getattr(module, "dLdW0", None),
                             cnp.PyArray_DIM(<cnp.ndarray>module.W, 1))):
            return False
    for i in range(0, len(terms), 2):
        subtract(<cnp.ndarray>terms[i], <cnp.ndarray>terms[i + 1], eta)
    return True


cdef bint add_term(list terms, object W, object g, Py_ssize_t rows) except -1:
    """Append a weight and its gradient if they can be used as they are. rows: of a bias (rows, 1),
    or -1."""
    cdef Bounds of_w, of_g
    cdef cnp.ndarray w, d
    cdef int t = computing_type(W)
    if not cnp.PyArray_CheckExact(W) or not cnp.PyArray_CheckExact(g):
        return False
    w, d = <cnp.ndarray>W, <cnp.ndarray>g
    if (cnp.PyArray_NDIM(w) != 2 or cnp.PyArray_TYPE(w) != t or cnp.PyArray_TYPE(d) != t
            or not cnp.PyArray_ISBEHAVED(w) or not cnp.PyArray_ISBEHAVED_RO(d)
            or not cnp.PyArray_SAMESHAPE(w, d)):
        return False
    if rows >= 0 and (cnp.PyArray_DIM(w, 0) != rows or cnp.PyArray_DIM(w, 1) != 1):
        return False
    if not ((cnp.PyArray_IS_C_CONTIGUOUS(w) and cnp.PyArray_IS_C_CONTIGUOUS(d))
            or (cnp.PyArray_IS_F_CONTIGUOUS(w) and cnp.PyArray_IS_F_CONTIGUOUS(d))):
        return False
    of_w, of_g = bounds_of(w), bounds_of(d)
    if of_w.low < of_g.high and of_g.low < of_w.high:
        return False
    terms.append(W)
    terms.append(g)
    return True
