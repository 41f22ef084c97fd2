# Optimiser steps as kernels of arrays: nncore.kernels.momentum_step and the like. new_rule and
# set_adam_step are also used by engine/optimizer.pxi.

cdef int optimize_arrays(object W, object dLdW, dict state, const nn_rule *rule) except -1:
    """One step on W and the arrays of `state` in place, for any layout."""
    cdef int t = computing_type(W)
    cdef cnp.ndarray w, g
    cdef cnp.ndarray s1 = None, s2 = None
    cdef bint fits = (is_addressable(W, t) and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>W)
                      and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>W))
    for array in state.values():
        fits = (fits and is_disjoint(<cnp.ndarray>W, array, t)
                and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>array))
    values = list(state.values())
    if not fits or (len(values) > 1 and not is_disjoint(<cnp.ndarray>values[0], values[1], t)):
        _checks.in_place("W", W)
        checked_state(W, state)
    g = real_array("dLdW", dLdW, t)
    if not cnp.PyArray_SAMESHAPE(<cnp.ndarray>W, g):
        _checks.shape("dLdW", g, W.shape)
    g = ordered(g, False)
    for array in (W, *values):
        if not is_disjoint(g, array, t) and np.may_share_memory(g, array):
            g = g.copy()
    # arrays that the kernel cannot address are updated through copies
    w = <cnp.ndarray>(W if fits else np.array(W, dtype_of(t), order="C"))
    states = values
    if not fits:
        states = []
        for array in values:
            states.append(np.array(array, dtype_of(t), order="C"))
    if len(states) > 0:
        s1 = <cnp.ndarray>states[0]
    if len(states) > 1:
        s2 = <cnp.ndarray>states[1]
    cdef void *data1 = cnp.PyArray_DATA(s1) if s1 is not None else NULL
    cdef void *data2 = cnp.PyArray_DATA(s2) if s2 is not None else NULL
    if cnp.PyArray_SIZE(w) < GIL_ELEMENTS:
        kernels_for(t).optimizer_step(cnp.PyArray_SIZE(w), cnp.PyArray_DATA(w),
                                      cnp.PyArray_DATA(g), data1, data2, rule)
    else:
        with nogil:
            kernels_for(t).optimizer_step(cnp.PyArray_SIZE(w), cnp.PyArray_DATA(w),
                                          cnp.PyArray_DATA(g), data1, data2, rule)
    if not fits:
        for array, copy in zip((W, *values), (w, *states)):
            array[...] = copy
    return 0


def checked_state(W, state):
    from nncore.kernels import numpy_kernels
    numpy_kernels.checked_state(W, state)


cdef nn_rule new_rule(int kind, double eta, double scale=1) noexcept nogil:
    """A rule without decay, penalty or momentum."""
    cdef nn_rule rule
    memset(&rule, 0, sizeof(rule))
    rule.kind, rule.eta, rule.scale, rule.keep, rule.root = kind, eta, scale, 1, 1
    return rule


def momentum_step(W, dLdW, V, lrate, beta, nesterov=False):
    """V ← beta V + dLdW, W ← W − lrate V; with nesterov W ← W − lrate (beta V + dLdW). In place."""
    cdef nn_rule rule = new_rule(NN_NESTEROV if nesterov else NN_MOMENTUM,
                                 _checks.number("lrate", lrate))
    rule.beta1 = _checks.number("beta", beta)
    optimize_arrays(W, dLdW, {"V": V}, &rule)


def adagrad_step(W, dLdW, S, lrate, eps):
    """S ← S + dLdW², W ← W − lrate dLdW / (√S + eps). In place."""
    cdef nn_rule rule = new_rule(NN_ADAGRAD, _checks.number("lrate", lrate))
    rule.eps = _checks.number("eps", eps)
    optimize_arrays(W, dLdW, {"S": S}, &rule)


def rmsprop_step(W, dLdW, S, lrate, rho, eps):
    """S ← rho S + (1 − rho) dLdW², W ← W − lrate dLdW / (√S + eps). In place."""
    cdef nn_rule rule = new_rule(NN_RMSPROP, _checks.number("lrate", lrate))
    rule.beta2, rule.eps = _checks.number("rho", rho), _checks.number("eps", eps)
    optimize_arrays(W, dLdW, {"S": S}, &rule)


cdef void set_adam_step(nn_rule *rule, int64_t t, double lrate, double beta1, double beta2,
                        double weight_decay) noexcept nogil:
    """Set the fields of Adam's rule that depend on the step t: the bias corrections."""
    rule.eta, rule.keep = lrate / (1 - pow(beta1, <double>t)), 1 - lrate * weight_decay
    rule.root = 1 / sqrt(1 - pow(beta2, <double>t))


def adam_step(W, dLdW, M, V, t, lrate, beta1, beta2, eps, weight_decay=0.0):
    """M ← beta1 M + (1 − beta1) dLdW, V ← beta2 V + (1 − beta2) dLdW², then
    W ← (1 − lrate weight_decay) W − lrate M' / (√V' + eps) with M' = M / (1 − beta1ᵗ),
    V' = V / (1 − beta2ᵗ). In place; t = 1, 2, ..."""
    cdef nn_rule rule = new_rule(NN_ADAM, 0)
    cdef int64_t count = _checks.count("t", t, 1)
    cdef double eta = _checks.number("lrate", lrate), decay
    rule.beta1, rule.beta2 = _checks.number("beta1", beta1), _checks.number("beta2", beta2)
    rule.eps, decay = _checks.number("eps", eps), _checks.number("weight_decay", weight_decay)
    set_adam_step(&rule, count, eta, rule.beta1, rule.beta2, decay)
    optimize_arrays(W, dLdW, {"M": M, "V": V}, &rule)


RULES = {}
for _number in range(NN_RULE_KINDS):
    RULES[nn_rule_name(_number).decode()] = _number


def rule_step(str name, W, dLdW, states, lrate, dict parameters):
    """A step of any rule of the list in kernels/kernels.h, in place. states: the arrays of its
    state; parameters: beta1, beta2, eps."""
    cdef nn_rule rule = new_rule(RULES[name], _checks.number("lrate", lrate))
    cdef dict state = {}
    for i, array in enumerate(states):
        state[f"state[{i}]"] = array
    rule.beta1, rule.beta2 = parameters.get("beta1", 0), parameters.get("beta2", 0)
    rule.eps = parameters.get("eps", 0)
    optimize_arrays(W, dLdW, state, &rule)
