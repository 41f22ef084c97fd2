# Stages of the network program that are neither Linear nor an activation: BatchNorm and Dropout, in training. (A program that predicts
# has none: the first is folded into a Linear beside it, the second does nothing.)
#
# A BatchNorm's G and B are bound, trained and written back as a Linear's W and W0 are, as one row each. Its running statistics move with
# the update, so that a step that is not taken leaves them. A Dropout's mask is made of its key and the number of its forward, which is
# that of the step: a step done again has the same mask.

OWN = ("batchnorm", "dropout")


cdef enum Own:
    OWN_NONE = 0
    OWN_NORM = 1
    OWN_DROPOUT = 2


cdef int add_own_stage(Program self, Py_ssize_t i, object module, str name) except -1:
    cdef Stage *s = &self.stages[i]
    s.activation = NN_NONE
    self.has_own = True
    self.own_modules.append((i, module))
    if name == "dropout":
        s.own = OWN_DROPOUT
        return 0
    s.own, s.w_rows = OWN_NORM, 1
    s.eps, s.momentum, s.running = module.eps, module.momentum, module.statistics == "running"
    self.has_norm = True
    self.owners.append((module, "G", "B"))
    return 0


cdef void lay_out_norm(Program self, Stage *s, char *base):
    cdef Py_ssize_t bytes_ = s.width * self.itemsize
    s.mean, s.var = self._carve(base, bytes_), self._carve(base, bytes_)
    s.running_mean, s.running_var = self._carve(base, bytes_), self._carve(base, bytes_)
    s.g_grad, s.b_grad = self._carve(base, bytes_), self._carve(base, bytes_)


# ------------------------------------------------------------------------------------------------ the user's objects

cdef int bind_statistics(Program self) except -1:
    """Read the running statistics; they are trained on copies."""
    cdef Stage *s
    cdef cnp.ndarray mean, var
    cdef int type_ = NN_F64 if self.type_number == cnp.NPY_DOUBLE else NN_F32
    self.statistics = []
    for i, module in self.own_modules:
        s = &self.stages[<Py_ssize_t>i]
        if s.running:
            mean = self._weights("running_mean", module.running_mean, s.outputs, 1, True)
            var = self._weights("running_var", module.running_var, s.outputs, 1, True)
            convert(s.running_mean, s.width, type_ == NN_F64, 1, s.outputs, <char *>cnp.PyArray_DATA(mean), 0,
                       cnp.PyArray_STRIDE(mean, 0), type_)
            convert(s.running_var, s.width, type_ == NN_F64, 1, s.outputs, <char *>cnp.PyArray_DATA(var), 0,
                       cnp.PyArray_STRIDE(var, 0), type_)
            self.statistics += [mean, var]
    return 0


cdef int sync_statistics(Program self) except -1:
    """Write the running statistics back to the arrays they were read from. Allocates nothing, as _sync."""
    cdef Stage *s
    cdef cnp.ndarray mean, var
    cdef bint is_double = self.type_number == cnp.NPY_DOUBLE
    cdef Py_ssize_t k = 0
    for i, _ in self.own_modules:
        s = &self.stages[<Py_ssize_t>i]
        if s.running:
            mean, var = self.statistics[k], self.statistics[k + 1]
            k += 2
            write_back(<char *>cnp.PyArray_DATA(mean), 0, cnp.PyArray_STRIDE(mean, 0), is_double, 1, s.outputs, s.running_mean, s.width)
            write_back(<char *>cnp.PyArray_DATA(var), 0, cnp.PyArray_STRIDE(var, 0), is_double, 1, s.outputs, s.running_var, s.width)
    return 0


cdef list user_arrays(Program self):
    """Every array of the user's that training changes."""
    arrays = []
    for owner, of_w, of_w0 in self.owners:
        arrays.append(getattr(owner, of_w))
        arrays.append(getattr(owner, of_w0))
    for i, module in self.own_modules:
        if self.stages[<Py_ssize_t>i].running:
            arrays.append(module.running_mean)
            arrays.append(module.running_var)
    if self.optimizes:
        arrays.extend(state_arrays(self))
    return arrays


cdef int start_counting(Program self) except -1:
    """Read what the Dropouts' masks are made of."""
    cdef Stage *s
    self.steps = 0
    for i, module in self.own_modules:
        s = &self.stages[<Py_ssize_t>i]
        if s.own == OWN_DROPOUT:
            module.draw_key()
            s.key, s.counted = module.key, module.count
            s.threshold, s.scale = dropout_threshold(module.p), 1 / (1 - module.p)
    return 0


cdef int count_forwards(Program self) except -1:
    """Count the steps that are done as forwards of the Dropouts."""
    for i, module in self.own_modules:
        if self.stages[<Py_ssize_t>i].own == OWN_DROPOUT:
            module.count = self.stages[<Py_ssize_t>i].counted + self.steps
    return 0


# ------------------------------------------------------------------------------------------------ passes

cdef void own_forward(Program self, Stage *s, const Batch *batch, const char *x, Py_ssize_t x_row) noexcept nogil:
    """Outputs of the batch into s.a."""
    cdef nn_norm f
    if s.own == OWN_DROPOUT:
        drop(self, s, batch, x, x_row, s.a + batch.first * s.row * self.itemsize)
        return
    memset(&f, 0, sizeof(f))
    f.batch, f.features, f.x, f.x_row, f.row = batch.size, s.outputs, x, x_row, s.row
    f.g, f.shift, f.eps, f.mean, f.var, f.z, f.norm = s.w, s.w0, s.eps, s.mean, s.var, s.a, s.norm
    self.k.normalize(&f)


cdef void own_backward(Program self, Stage *s, const Batch *batch) noexcept nogil:
    """s.grad, until now the gradient with respect to the stage's outputs, becomes that with respect to its inputs."""
    cdef nn_norm f
    cdef char *grad = s.grad + batch.first * s.row * self.itemsize
    if s.own == OWN_DROPOUT:
        drop(self, s, batch, grad, s.row, grad)
        return
    memset(&f, 0, sizeof(f))
    f.batch, f.features, f.row, f.g, f.var, f.eps, f.norm = batch.size, s.outputs, s.row, s.w, s.var, s.eps, s.norm
    f.dz, f.dx, f.dg, f.dshift = grad, grad, s.g_grad, s.b_grad
    self.k.normalize_back(&f)


cdef void drop(Program self, const Stage *s, const Batch *batch, const char *x, Py_ssize_t x_row, char *y) noexcept nogil:
    cdef uint64_t word = dropout_word(s.key, s.counted + <uint64_t>(self.steps + self.ahead + 1))
    cdef Py_ssize_t r
    for r in range(batch.size):
        self.k.dropout(s.outputs, x + r * x_row * self.itemsize, y + r * s.row * self.itemsize, word,
                       <uint32_t>((batch.first + r) * s.outputs), s.threshold, s.scale)


cdef void update_norm(Program self, Stage *s, Py_ssize_t batch, double eta) noexcept nogil:
    """The step of plain SGD."""
    self.k.subtract_scaled(s.w_width, s.w, s.g_grad, eta)
    self.k.subtract_scaled(s.w_width, s.w0, s.b_grad, eta)
    follow_batch(self, s, batch)


cdef bint optimize_norm(Program self, Stage *s, Py_ssize_t batch, const nn_rule *rule) noexcept nogil:
    """The step by another rule. False where something is not finite."""
    cdef void *s1 = s.state[0] if self.state_count > 0 else NULL
    cdef void *s2 = s.state[1] if self.state_count > 1 else NULL
    cdef bint finite = self.k.optimize(s.w_width, s.w, s.g_grad, s1, s2, rule)
    s1 = s.state0[0] if self.state_count > 0 else NULL
    s2 = s.state0[1] if self.state_count > 1 else NULL
    finite = self.k.optimize(s.w_width, s.w0, s.b_grad, s1, s2, rule) and finite
    follow_batch(self, s, batch)
    return finite


cdef void follow_batch(Program self, Stage *s, Py_ssize_t batch) noexcept nogil:
    if s.running:
        self.k.follow(s.outputs, s.running_mean, s.mean, 1, s.momentum)
        if batch > 1:
            self.k.follow(s.outputs, s.running_var, s.var, <double>batch / (batch - 1), s.momentum)
