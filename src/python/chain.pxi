# The course's forward of a network, at no more than what its kernels and attributes cost: a special
# path of Sequential.forward. Deleting this file and its use in sequential.py and _backend.py leaves
# the loop over the modules' own methods, with the same results.

from cpython.method cimport PyMethod_Check, PyMethod_GET_FUNCTION

cdef bint compiled_kernels_live = True


def set_live(bint compiled):
    """Told by nncore._backend: whether the modules' kernels are the compiled ones."""
    global compiled_kernels_live
    compiled_kernels_live = compiled


def forward_chain(modules, X, dict known):
    """The last module's forward of ... of the first module's forward of X.

    known: {type: (its forward, the activation's number)} of modules whose forward need not be
    called, as long as it is the one the object would call: Linear keeps its input as .A; the others
    may compute in place, where a Linear has just made the array they are given, and keep their
    output as .A, but for output units.
    """
    cdef bint own = False  # whether nobody else holds X
    cdef int kind
    cdef object found, method
    cdef cnp.ndarray z
    for module in modules:
        method = module.forward
        found = known.get(type(module)) if compiled_kernels_live else None
        if found is None or not PyMethod_Check(method) or <object>PyMethod_GET_FUNCTION(method) is not (<tuple>found)[0]:
            X = method(X)
            own = False
            continue
        kind = (<tuple>found)[1]
        if kind == NN_NONE:
            module.A = X
            X = linear_output(X, module.W, module.W0, None)
            own = True
        # after dropout
        elif own and cnp.PyArray_SIZE(<cnp.ndarray>X) < GIL_ELEMENTS and not (kind == NN_RELU
                                                                              and module._scale != 1):
            z = <cnp.ndarray>X
            if kind == NN_SOFTMAX:
                softmax_call(z, None, z, cnp.PyArray_TYPE(z), NULL)
            else:
                kernels_for(cnp.PyArray_TYPE(z)).activation_forward(
                    cnp.PyArray_SIZE(z), cnp.PyArray_DATA(z), cnp.PyArray_DATA(z),
                    nn_activation(kind, 0))
                if kind != NN_OUTPUT_SIGMOID:
                    module.A = X
                    own = False
        else:
            X = method(X)
            own = False
    return X
