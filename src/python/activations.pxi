# Activations as kernels of arrays: nncore.kernels.tanh_forward and the like, a pair per entry of
# the list in kernels/kernels.h. Those that take settings or other types are written out.

cdef object activation_forward(object Z, object out, int kind, double slope=0):
    """A = f(Z), for any shape."""
    cdef int t = computing_type(Z)
    cdef cnp.ndarray z = flat(real_array("Z", Z, t)), a = result_like(z, out, t, ())
    cdef nn_activation f = nn_activation(kind, slope)
    z = in_order_of(a, z)
    if cnp.PyArray_SIZE(z) < GIL_ELEMENTS:
        kernels_for(t).activation_forward(cnp.PyArray_SIZE(z), cnp.PyArray_DATA(z),
                                          cnp.PyArray_DATA(a), f)
        return a
    with nogil:
        kernels_for(t).activation_forward(cnp.PyArray_SIZE(z), cnp.PyArray_DATA(z),
                                          cnp.PyArray_DATA(a), f)
    return a


cdef object activation_backward(object dLdA, str name, object A, object out, int kind,
                                double slope=0):
    """dLdZ = dLdA ⊙ f', a function of A, which is the activation's output or input; `name` names it
    in errors."""
    cdef int t = computing_type(A)
    cdef nn_activation f = nn_activation(kind, slope)
    cdef cnp.ndarray a = flat(real_array(name, A, t)), da = real_array("dLdA", dLdA, t), dz
    if not cnp.PyArray_SAMESHAPE(a, da):
        _checks.shape("dLdA", da, (<object>a).shape)
    if out is None:
        dz = result_like(a, None, t, ())
        da = in_order_of(dz, da)
    else:
        da = flat(da)
        dz = result_like(da, out, t, (a,))
        da = in_order_of(dz, da)
        a = in_order_of(dz, a)
    if cnp.PyArray_SIZE(a) < GIL_ELEMENTS:
        kernels_for(t).activation_backward(cnp.PyArray_SIZE(a), cnp.PyArray_DATA(da),
                                           cnp.PyArray_DATA(a), cnp.PyArray_DATA(dz), f)
        return dz
    with nogil:
        kernels_for(t).activation_backward(cnp.PyArray_SIZE(a), cnp.PyArray_DATA(da),
                                           cnp.PyArray_DATA(a), cnp.PyArray_DATA(dz), f)
    return dz


cdef bint is_integer(object x):
    """True for an array of integers, which ReLU keeps."""
    return cnp.PyArray_Check(x) and cnp.PyArray_ISINTEGER(<cnp.ndarray>x)


def relu_forward(Z, out=None):
    """A = max(0, Z); integers stay integers, NaN stays NaN."""
    if is_integer(Z):
        return numpy_relu_forward(Z, out)
    return activation_forward(Z, out, NN_RELU)


def relu_backward(dLdA, A, out=None):
    """dLdZ = dLdA if A > 0, else 0."""
    if is_integer(A):
        return numpy_relu_backward(dLdA, A, out)
    return activation_backward(dLdA, "A", A, out, NN_RELU)


def numpy_relu_forward(Z, out):
    from nncore.kernels import numpy_kernels
    return numpy_kernels.relu_forward(Z, out)


def numpy_relu_backward(dLdA, A, out):
    from nncore.kernels import numpy_kernels
    return numpy_kernels.relu_backward(dLdA, A, out)


def leaky_relu_forward(Z, slope, out=None):
    """A = Z if Z > 0, else slope Z."""
    return activation_forward(Z, out, NN_LEAKY_RELU, slope)


def leaky_relu_backward(dLdA, A, slope, out=None):
    """dLdZ = dLdA if A > 0, else slope dLdA."""
    return activation_backward(dLdA, "A", A, out, NN_LEAKY_RELU, slope)


def _kernels_of(int kind):
    """The forward and backward kernels of an activation without settings."""
    def forward(Z, out=None):
        return activation_forward(Z, out, kind)

    def backward(dLdA, A, out=None):
        return activation_backward(dLdA, "A", A, out, kind)

    def backward_of_input(dLdA, Z, out=None):
        return activation_backward(dLdA, "Z", Z, out, kind)
    return forward, backward_of_input if nn_uses_input(nn_activation(kind, 0)) else backward


def _define(str name, function):
    """Make a function public under a name, unless it has one of its own there."""
    if name not in globals():
        function.__name__ = function.__qualname__ = name
        globals()[name] = function


for _number in range(NN_NONE + 1, NN_SOFTMAX):
    _name = nn_activation_name(_number).decode()
    _forward, _backward = _kernels_of(_number)
    _define(_name + "_forward", _forward)
    _define(_name + "_backward", _backward)


def apply(str function, X):
    """exp, log or log1p of every element, by the kernels' vector functions; for tests of their
    accuracy."""
    cdef int t = computing_type(X)
    cdef cnp.ndarray x = flat(real_array("X", X, t)), y = result_like(x, None, t, ())
    cdef int kind = {"exp": NN_EXP, "log": NN_LOG, "log1p": NN_LOG1P}[function]
    with nogil:
        kernels_for(t).apply(cnp.PyArray_SIZE(x), cnp.PyArray_DATA(x), cnp.PyArray_DATA(y), kind)
    return y
