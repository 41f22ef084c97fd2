# Optimisers in the network program: what Program does by another rule than plain SGD. (Cython takes no include inside a class.)
#
# With an optimiser, or a penalty on W, the gradient of a layer is stored, a block of rows at a time that stays in the cache, and one
# leaf kernel updates the rows of W and of the optimiser's state from it. The state goes the way of the weights: padded copies that
# are written back whenever Python code can run, or the optimiser's own arrays where the weights are trained in the user's memory.

RULES = {
    "sgd": NN_SGD, "momentum": NN_MOMENTUM, "nesterov": NN_NESTEROV, "adagrad": NN_ADAGRAD, "rmsprop": NN_RMSPROP, "adam": NN_ADAM,
}
cdef Py_ssize_t GRADIENT_BYTES = 1 << 16  # of a block of rows of a gradient, which stays in the cache until the weights are updated


cdef int use_rule(Program self, str rule, dict parameters, list states, double l2) except -1:
    self.optimizes, self.capacity = True, 0
    self.rule = new_rule(RULES[rule], 0)
    self.rule.beta1, self.rule.beta2 = parameters.get("beta1", 0), parameters.get("beta2", 0)
    self.rule.eps, self.rule.l2 = parameters.get("eps", 0), l2
    self.decay = parameters.get("weight_decay", 0)
    self.states = states
    self.state_count = len(states[0][0])
    give(self.state_memory)
    self.state_memory.memory = NULL
    self.memory_used = 0
    lay_out_states(self, NULL)
    lay_out_states(self, self._block(&self.state_memory))
    return 0


cdef void lay_out_states(Program self, char *base):
    cdef Py_ssize_t i, j
    cdef Stage *s
    for i in range(self.count):
        s = &self.stages[i]
        for j in range(self.state_count if s.w_rows else 0):
            s.own_state[j] = self._carve(base, s.w_rows * s.width * self.itemsize)
            s.own_state0[j] = self._carve(base, s.width * self.itemsize)
    rows = 0
    for i in range(self.count):
        if self.stages[i].linear:
            rows += self.stages[i].inputs
    self.squares = <double *>self._carve(base, rows * sizeof(double))


cdef void lay_out_gradients(Program self, char *base):
    """Room for each thread's block of rows of a gradient."""
    cdef Py_ssize_t i
    self.gradient_bytes = 0
    for i in range(self.count):
        self.gradient_bytes = max(self.gradient_bytes, rows_at_once(self, &self.stages[i]) * self.stages[i].width * self.itemsize)
    self.gradient = self._carve(base, self.threads * self.gradient_bytes)


cdef Py_ssize_t rows_at_once(Program self, const Stage *s) noexcept nogil:
    return max(1, min(s.inputs, GRADIENT_BYTES // (s.width * self.itemsize)))


cdef int bind_states(Program self) except -1:
    """Read the state as _bind has read the weights."""
    cdef Py_ssize_t i, j, k = 0
    cdef Stage *s
    cdef cnp.ndarray a, a0
    for i in range(self.count):
        s = &self.stages[i]
        if not s.w_rows:
            continue
        of_w, of_w0 = self.states[k]
        k += 1
        for j in range(self.state_count):
            a, a0 = of_w[j], of_w0[j]
            if s.w != s.own_w:
                s.state[j], s.state0[j] = <char *>cnp.PyArray_DATA(a), <char *>cnp.PyArray_DATA(a0)
                continue
            s.state[j], s.state0[j] = s.own_state[j], s.own_state0[j]
            clear(s.state[j], s.w_rows * s.width * self.itemsize)
            memset(s.state0[j], 0, s.width * self.itemsize)
            convert(s.state[j], s.width, self.type_number == cnp.NPY_DOUBLE, s.w_rows, s.outputs, <char *>cnp.PyArray_DATA(a),
                       s.outputs * self.itemsize, self.itemsize, NN_F64 if self.type_number == cnp.NPY_DOUBLE else NN_F32)
            memcpy(s.state0[j], cnp.PyArray_DATA(a0), s.outputs * self.itemsize)
    return 0


cdef int sync_states(Program self) except -1:
    cdef Py_ssize_t i, j, k = 0
    cdef Stage *s
    cdef cnp.ndarray a, a0
    for i in range(self.count):
        s = &self.stages[i]
        if not s.w_rows:
            continue
        of_w, of_w0 = self.states[k]
        k += 1
        for j in range(self.state_count if s.w == s.own_w else 0):
            a, a0 = of_w[j], of_w0[j]
            write_back(<char *>cnp.PyArray_DATA(a), s.outputs * self.itemsize, self.itemsize, self.type_number == cnp.NPY_DOUBLE,
                          s.w_rows, s.outputs, s.state[j], s.width)
            memcpy(cnp.PyArray_DATA(a0), s.state0[j], s.outputs * self.itemsize)
    return 0


cdef list state_arrays(Program self):
    arrays = []
    for of_w, of_w0 in self.states:
        arrays.extend(of_w)
        arrays.extend(of_w0)
    return arrays


cdef void set_rule(Program self, Py_ssize_t step, double eta, double scale) noexcept nogil:
    """The constants of the step after `step` others of this chunk."""
    self.rule.eta, self.rule.scale = eta, scale
    if self.rule.kind == NN_ADAM:
        set_adam_step(&self.rule, self.updates + step + 1, eta, self.rule.beta1, self.rule.beta2, self.decay)


cdef int optimize_share(Program self, const Batch *batch, Py_ssize_t share, Py_ssize_t shares, Py_ssize_t thread) noexcept nogil:
    """The update by self.rule, in one of so many shares of the rows of every W. Returns WEIGHTS where something is not finite."""
    cdef Py_ssize_t i, j, at, low, high, rows, x_row = batch.x_row, first = 0, size = self.itemsize
    cdef Stage *s
    cdef const char *x = batch.x
    cdef char *gradient = self.gradient + thread * self.gradient_bytes
    cdef char *bias_grad = self.bias_grad + thread * self.widest * size
    cdef void *s1
    cdef void *s2
    cdef nn_rule of_bias = self.rule
    cdef nn_product g
    cdef bint finite = True
    of_bias.l2 = 0
    for i in range(self.count):
        s = &self.stages[i]
        if s.linear:
            low, high = s.inputs * share // shares, s.inputs * (share + 1) // shares
            at = low
            if i == 0 and batch.lists:
                turn_lists(self, batch, low, high)
            while at < high:
                rows = min(high - at, rows_at_once(self, s))
                if i == 0 and batch.lists:
                    listed_gradient(self, s, batch, at, at + rows, gradient, s.w_width, False, 0)
                else:
                    g.m, g.n, g.k = rows, s.w_width, batch.size
                    g.a, g.a_row, g.a_col = x + at * size, 1, x_row
                    g.b, g.b_row, g.b_col, g.work = s.grad, s.row, 1, self.work + thread * self.work_bytes
                    g.c, g.c_row = gradient, s.w_width
                    g.epilogue, g.activation, g.bias = NN_STORE, NN_NONE, NULL
                    self.k.product(&g)
                finite = optimize_rows(self, s, at, rows, gradient, self.squares + first + at) and finite
                at += rows
            if i % shares == share:
                self.k.sum_rows(batch.size, s.w_width, s.grad, s.row, bias_grad)
                s1 = s.state0[0] if self.state_count > 0 else NULL
                s2 = s.state0[1] if self.state_count > 1 else NULL
                finite = self.k.optimize(s.w_width, s.w0, bias_grad, s1, s2, &of_bias) and finite
            first += s.inputs
        elif s.own == OWN_NORM and share == 0:
            finite = optimize_norm(self, s, batch.size, &of_bias) and finite
        x, x_row = s.a, s.row
    return NOTHING if finite else WEIGHTS


cdef bint optimize_rows(Program self, const Stage *s, Py_ssize_t at, Py_ssize_t rows, const char *gradient, double *squares) noexcept nogil:
    """Rows at .. at + rows - 1 of one W. With a penalty each row's sum of squares is kept, so that their total is the same for any
    number of threads."""
    cdef Py_ssize_t r, n = s.w_width, size = self.itemsize
    cdef char *w = s.w + at * s.w_row * size
    cdef char *s1 = s.state[0] + at * n * size if self.state_count > 0 else NULL
    cdef char *s2 = s.state[1] + at * n * size if self.state_count > 1 else NULL
    cdef bint finite = True
    if self.rule.l2 == 0 and s.w_row == n:
        return self.k.optimize(rows * n, w, gradient, s1, s2, &self.rule)
    for r in range(rows):
        if self.rule.l2 != 0:
            squares[r] = self.k.squares(n, w + r * s.w_row * size)
        finite = self.k.optimize(n, w + r * s.w_row * size, gradient + r * n * size, s1 + r * n * size if s1 != NULL else NULL,
                                 s2 + r * n * size if s2 != NULL else NULL, &self.rule) and finite
    return finite


cdef double penalty(Program self) noexcept nogil:
    """l2 / 2 times the sum of the squares of all W before the step just taken."""
    cdef Py_ssize_t i, r, first = 0
    cdef nn_total total = nn_total(0, 0)
    if self.rule.l2 == 0:
        return 0
    for i in range(self.count):
        if self.stages[i].linear:
            for r in range(self.stages[i].inputs):
                nn_add(&total, self.squares[first + r])
            first += self.stages[i].inputs
    return self.rule.l2 / 2 * nn_value(&total)


# Where weights are trained in the user's memory there is nothing to go back to, so bounds are kept of what weights and state may
# have grown to; a step that might exceed the type's range is taken with copies at hand.


cdef void start_bounds(Program self) noexcept nogil:
    """self.weight_bound, and with an optimiser self.state_bound, from what is in use."""
    cdef Py_ssize_t i, j
    cdef Stage *s
    self.weight_bound = self._largest_weight()
    for j in range(self.state_count if self.optimizes else 0):
        self.state_bound[j] = 0
        for i in range(self.count):
            s = &self.stages[i]
            if s.w_rows:
                self.state_bound[j] = fmax(self.state_bound[j], fmax(self._largest(s.w_rows, s.w_width, s.state[j], s.w_width),
                                                                     self._largest(1, s.w_width, s.state0[j], 0)))


cdef bint bounds_hold(Program self, const Batch *batch) noexcept nogil:
    """Whether the step ahead leaves weights and state finite for sure; the bounds are then those after it."""
    cdef nn_rule *rule = &self.rule
    cdef double *state = self.state_bound
    cdef double limit = FLOAT_LIMIT if self.type_number == cnp.NPY_FLOAT else DOUBLE_LIMIT
    cdef double g = self._largest_step(batch, rule.scale) + rule.l2 * self.weight_bound, move
    if rule.kind == NN_SGD:
        move = g
    elif rule.kind == NN_MOMENTUM or rule.kind == NN_NESTEROV:
        state[0] = fabs(rule.beta1) * state[0] + g
        move = g + state[0]
    elif rule.kind == NN_ADAM:
        state[0] = state[0] + g
        state[1] = state[1] + g * g
        move = state[0] / rule.eps
    else:
        state[0] = state[0] + g * g
        move = g / rule.eps
    self.weight_bound = fabs(rule.keep) * self.weight_bound + fabs(rule.eta) * move
    return (self.weight_bound < limit and g < limit and move < limit and (self.state_count < 1 or state[0] < limit)
            and (self.state_count < 2 or state[1] < limit))
