# The forward pass of a Sequential at the cost of its kernels and attributes: a special path of
# Sequential.forward. Deleting this file and its use in the Python package leaves the loop over the
# modules' own methods, with the same results.

from cpython.method cimport PyMethod_Check, PyMethod_GET_FUNCTION

cdef bint uses_compiled_kernels = True


def set_live(bint compiled):
    """Set whether the modules use the compiled kernels. Called by nncore._backend."""
    global uses_compiled_kernels
    uses_compiled_kernels = compiled


cdef inline bint calls_known_forward(object method, object found) noexcept:
    """True if `method` is the forward that `found` lists, not another one of the object's."""
    if found is None or not PyMethod_Check(method):
        return False
    return <object>PyMethod_GET_FUNCTION(method) is (<tuple>found)[0]


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
